#!/usr/bin/env bash
# Finds or builds the environment that this project runs in, and installs the project into it.
#
#   python="$(scripts/setup.sh | tail -n 1)"; export PATH="${python%/*}:$PATH"
#   scripts/setup.sh --no-root    # or NO_ROOT=1 before this or any other script: nothing as root
#   scripts/setup.sh --lowest     # .venv-lowest, with the oldest packages that pyproject.toml allows
#
# Standard output ends with the path of the environment's python; all else goes to standard error.
# An active environment with DOLFINx, petsc4py, mpi4py, h5py and torch is used unchanged. Otherwise
# .venv is built: by conda, mamba or micromamba if there is one, else from Debian or Ubuntu packages.
# A complete environment costs a second; an interrupted or moved one is repaired.
#
# Root is needed only for missing Debian packages. The commands are shown before they run, and on a
# terminal they wait for a yes. pip installs the versions in constraints.txt, which
# renew_constraints.sh renews; other versions in .venv are replaced.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
venv="$root/.venv"
lowest=""
for word in "$@"; do
    case "$word" in
    --no-root) export NO_ROOT=1 ;;
    --lowest) lowest=--lowest venv="$root/.venv-lowest" ;;
    *)
        echo "setup: '$word' is not one of: --no-root, --lowest" >&2
        exit 2
        ;;
    esac
done
stamp="$venv/.varpro-surrogates" # in a .venv made here: "building", at last the checkout's path
log=""
pins=""
building=""

say() { echo "setup: $*" >&2; }
die() {
    say "$*"
    exit 1
}

finish() {
    local status=$?
    if [ -n "$building" ]; then rm -rf "$venv"; fi
    if [ -n "$pins" ]; then rm -f "$pins"; fi
    if [ "$status" = 0 ] && [ -n "$log" ]; then rm -f "$log"; fi
}
trap finish EXIT

# step TEXT COMMAND...: runs the command with its output in the log.
step() {
    local text=$1
    shift
    say "$text"
    log="${log:-$(mktemp "${TMPDIR:-/tmp}/varpro-surrogates-setup.XXXXXX")}"
    "$@" >>"$log" 2>&1 </dev/null ||
        die "that failed: $(grep -v '^ *$' "$log" | tail -n 1) (all of it: $log)"
}

# inspect PYTHON QUESTION: prints environment.py's answer for that environment.
inspect() { "$1" "$root/scripts/environment.py" "$2" ${lowest:+"$lowest"}; }

# imports PYTHON: whether the compiled packages work together, and DOLFINx is not too old.
imports() {
    "$1" -c '
import dolfinx, h5py, torch, mpi4py.MPI, petsc4py.PETSc
if [int(part) for part in dolfinx.__version__.split(".")[:2]] < [0, 5]:
    raise ImportError(f"DOLFINx {dolfinx.__version__} is older than 0.5")' </dev/null
}

# find_environment: sets python to an environment that has the compiled packages, or fails.
find_environment() {
    local active candidate lacking
    local candidates=("$venv/bin/python")
    active="${VIRTUAL_ENV:+$VIRTUAL_ENV/bin/python}"
    if [ -z "$lowest" ]; then
        candidates=("$active" "${CONDA_PREFIX:+$CONDA_PREFIX/bin/python}" "$venv/bin/python"
            "$(command -v python3 || true)")
    fi
    for candidate in "${candidates[@]}"; do
        [ -x "$candidate" ] || continue
        [ "$(inspect "$candidate" kind 2>/dev/null)" = environment ] || continue
        lacking="$(inspect "$candidate" lacking 2>/dev/null || echo "a working python")"
        # If the project is in it, its imports have been tried before.
        if [ -z "$lacking" ]; then
            if [ "$(inspect "$candidate" project 2>/dev/null)" = installed ] ||
                imports "$candidate" >/dev/null 2>&1; then
                python="$candidate"
                return 0
            fi
            lacking="imports that work"
        fi
        if [ "$candidate" = "$active" ]; then
            say "the active environment $VIRTUAL_ENV lacks $lacking: not used"
        fi
    done
    return 1
}

# find_base: sets base to a python outside any environment that has DOLFINx, or fails.
find_base() {
    local candidate
    for candidate in "$(command -v python3 || true)" /usr/bin/python3; do
        [ -x "$candidate" ] || continue
        [ "$(inspect "$candidate" kind 2>/dev/null)" = base ] || continue
        case "$(inspect "$candidate" lacking 2>/dev/null || echo broken)" in
        "" | torch)
            base="$candidate"
            return 0
            ;;
        esac
    done
    return 1
}

find_conda() {
    for conda in micromamba mamba conda "${MAMBA_EXE:-}" "${CONDA_EXE:-}"; do
        if [ -n "$conda" ] && command -v "$conda" >/dev/null; then return 0; fi
    done
    return 1
}

build_with_conda() {
    local create=(env create) gcc
    case "${conda##*/}" in micromamba*) create=(create) ;; esac
    export CONDA_ALWAYS_YES=true MAMBA_ALWAYS_YES=true
    step "building .venv with ${conda##*/} from conda-forge (about 3 GB, several minutes)" \
        "$conda" "${create[@]}" --prefix "$venv" --file "$root/environment.yml"
    # Python calls the compiler "gcc"; conda has it under a longer name until the environment is
    # activated, which callers of .venv/bin/python do not do.
    for gcc in "$venv"/bin/*-linux-gnu-gcc; do
        if [ -x "$gcc" ] && [ ! -e "$venv/bin/gcc" ]; then ln -s "${gcc##*/}" "$venv/bin/gcc"; fi
    done
}

debian_packages=(python3-dolfinx-real python3-petsc4py-real python3-mpi4py python3-h5py python3-venv
    openmpi-bin gcc g++ libc6-dev pkg-config
    libopenblas0-pthread # in place of the reference BLAS, which is several times slower
    libglu1-mesa libxcursor1 libxft2 libxinerama1 libxrender1) # gmsh, which makes meshes, loads them

missing_packages() {
    local package
    for package in "${debian_packages[@]}"; do
        [ "$(dpkg-query -Wf '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
    done
}

# Debian 13 has a torch only for the CPU, gigabytes smaller than pip's.
torch_packages() {
    local candidate
    candidate="$(apt-cache policy python3-torch 2>/dev/null | sed -n 's/^ *Candidate: \([0-9]\)/\1/p')"
    if [ -n "$candidate" ] && dpkg --compare-versions "$candidate" ge 2.2; then echo python3-torch; fi
}

# ask_for_root PACKAGE...: shows the commands that run as root, and on a terminal asks.
ask_for_root() {
    local answer=""
    say "as root${sudo:+, by sudo}, this installs Debian packages and changes nothing else:" \
        "dpkg --configure -a (or apt-get install --fix-broken, where packages are half installed);" \
        "apt-get update; apt-get install --no-install-recommends $*" \
        "(and python3-torch, where Debian's is 2.2 or later)"
    if [ -t 0 ] && [ -t 2 ]; then
        read -r -p "setup: go on? [y/N] " answer
        case "$answer" in y | Y | yes) ;; *) return 1 ;; esac
    fi
}

# may_be_root PACKAGE...: succeeds if commands may run as root; else sets reason.
may_be_root() {
    reason="neither root nor sudo"
    if [ -n "${NO_ROOT:-}" ]; then
        reason="nothing is done as root (NO_ROOT)"
        return 1
    fi
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || return 1
        sudo=(sudo)
        # Without a terminal, sudo could only wait for a password.
        sudo -n true 2>/dev/null || [ -t 0 ] || return 1
    fi
    if ! ask_for_root "$@"; then
        reason="nothing was done as root"
        return 1
    fi
    [ "$(id -u)" = 0 ] || sudo -v
}

install_packages() {
    local packages=() sudo=() reason=""
    mapfile -t packages < <(missing_packages)
    if [ "${#packages[@]}" = 0 ]; then return 0; fi
    if ! may_be_root "${packages[@]}"; then
        if find_base && "$base" -c 'import ensurepip' 2>/dev/null; then
            say "$reason: going on without ${packages[*]}"
            return 0
        fi
        die "$reason: have an administrator run" \
            "'apt-get install --no-install-recommends ${packages[*]}', then run this again"
    fi
    local apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=300)
    # An interrupted run may have left packages unpacked but not configured.
    "${sudo[@]}" dpkg --configure -a >/dev/null 2>&1 ||
        step "repairing an interrupted apt-get" "${apt[@]}" install --fix-broken
    # A broken source that these packages do not come from must not stop us: no 'step'.
    say "updating the package lists"
    "${apt[@]}" update >/dev/null 2>&1 </dev/null || say "apt-get update failed in part; going on"
    mapfile -t -O "${#packages[@]}" packages < <(torch_packages)
    step "installing ${packages[*]} and what they need (1 to 3 minutes)" \
        "${apt[@]}" install --no-install-recommends "${packages[@]}"
}

# build_over BASE: builds a .venv that sees BASE's packages, which pip cannot replace.
build_over() {
    mkdir "$venv"
    echo building >"$stamp"
    step "making ${venv##*/} over $1" "$1" -m venv --system-site-packages "$venv"
    "$venv/bin/python" - <<'PYTHON'
import importlib.metadata as metadata
import pathlib
import sys
import sysconfig

import h5py

# For every later pip in this environment too.
pins = (pathlib.Path(sys.prefix) / "constraints.txt").as_uri()
(pathlib.Path(sys.prefix) / "pip.conf").write_text(f"[install]\nconstraint = {pins}\n")
# Debian 12 registers h5py under another name, so pip would fetch one with another HDF5 than
# DOLFINx has. Without a RECORD pip cannot replace it either.
if not any(d.metadata["Name"] == "h5py" for d in metadata.distributions()):
    info = pathlib.Path(sysconfig.get_path("purelib")) / f"h5py-{h5py.__version__}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: h5py\nVersion: {h5py.__version__}\n")
    (info / "INSTALLER").write_text("scripts/setup.sh, for the system's h5py\n")
PYTHON
}

build() {
    if [ -e "$venv" ] && [ ! -e "$stamp" ]; then
        die "$venv is not of this script's making and lacks what is needed: rename or remove it first"
    fi
    rm -rf "$venv"
    building=yes
    python="$venv/bin/python"
    if [ -n "$lowest" ]; then
        find_base || die "--lowest needs Debian's python3-dolfinx-real and what it depends on"
        build_over "$base"
    elif find_base && [ -z "$(inspect "$base" lacking)" ] && "$base" -c 'import ensurepip' 2>/dev/null; then
        build_over "$base"
    elif find_conda; then
        build_with_conda
    elif find_base && [ "$base" != /usr/bin/python3 ]; then
        build_over "$base"
    elif command -v apt-get >/dev/null; then
        install_packages
        build_over /usr/bin/python3
    else
        die "no active environment has dolfinx, petsc4py, mpi4py, h5py and torch, and there is" \
            "neither conda, mamba, micromamba nor apt-get to build one with: install Miniforge" \
            "(conda for conda-forge), or activate an environment that has them, and run this again"
    fi
}

install_project() {
    local listed wanted=()
    listed="$(inspect "$python" wanted)"
    if [ -n "$listed" ]; then
        mapfile -t wanted <<<"$listed"
        pins="$(mktemp)"
        inspect "$python" pins >"$pins"
        if [ -e "$venv/pip.conf" ] && [ "$python" = "$venv/bin/python" ]; then
            cp "$pins" "$venv/constraints.txt" # for every later pip there, by pip.conf
        fi
        # No source packages: the tools that build them would have no exact version.
        step "installing with pip what ${python%/bin/python} lacks: ${wanted[*]}" \
            "$python" -m pip install --only-binary :all: --constraint "$pins" "${wanted[@]}"
    fi
    if [ "$(inspect "$python" project)" != installed ]; then
        # Without the dependencies, which are there by now, and without a download to build with.
        step "installing this project into it, editable" \
            "$python" -m pip install --no-deps --no-build-isolation --editable "$root"
    fi
}

# One run at a time in a checkout. Processes that outlive a run keep the lock too.
exec 9<"$root/scripts/setup.sh"
if command -v flock >/dev/null && ! flock --nonblock 9; then
    say "waiting for another setup.sh of this checkout"
    flock 9 || true
fi

cd "$root"
if [ -e "$stamp" ] && [ "$(cat "$stamp")" != "$root" ]; then
    say "${venv##*/} is unfinished or was made for another folder: making it anew"
    rm -rf "$venv"
fi
case "$root" in
*[\"\$\`\\:]* | *$'\n'*)
    die "$root has a double quote, dollar, backtick, backslash, colon or line break in its name," \
        "which neither PATH nor the commands that pip writes can stand: move the checkout"
    ;;
esac
find_environment || build
install_project
if [ -n "$building" ]; then
    step "trying the imports" imports "$python"
    echo "$root" >"$stamp"
    building=""
    say "done: $venv"
fi
PATH="${python%/*}:$PATH" command -v mpirun >/dev/null ||
    die "$python has mpi4py, but there is no mpirun: install the one of the same MPI (openmpi-bin on Debian)"
echo "$python"
