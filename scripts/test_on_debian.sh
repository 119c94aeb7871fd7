#!/usr/bin/env bash
# Runs the tests on another Debian release, and so on another DOLFINx, only with its packages:
#
#   scripts/test_on_debian.sh [trixie|sid] [--quick|--all] [PYTEST ARGUMENT...]
#
# trixie (Debian 13) has DOLFINx 0.9, sid 0.11. The release's root file system (3 GB) is built once,
# in ~/.cache/varpro-surrogates, and built again when its list of packages changes or after a month
# for sid. All mounts are in a private namespace, so none can outlive this script.
#
# Without PYTEST ARGUMENT, or with tests/surrogates/model/test_compatibility.py by name, surrogate files are
# exchanged between the release's torch and the environment's torch here, if there is one.
set -euo pipefail

packages=(python3-dolfinx-real python3-petsc4py-real python3-mpi4py python3-h5py python3-torch
    python3-numpy python3-scipy python3-sklearn python3-tqdm python3-tomli-w python3-matplotlib python3-meshio
    python3-pytest python3-pytest-timeout python3-pytest-xdist python3-hypothesis
    python3-setuptools python3-venv openmpi-bin gcc g++ libc6-dev pkg-config libopenblas0-pthread
    libtorch-dev cmake make)
minutes=50 # for all that runs inside

say() { echo "test_on_debian: $*" >&2; }
die() {
    say "$*"
    exit 1
}
skip() {
    echo "test_on_debian: skipped: $*"
    exit 0
}

suite=${1:-trixie}
case "$suite" in
trixie) options=() age=$((10 * 365)) ;;
# Its index names a date after which apt refuses it, but a mirror may be older.
sid) options=(--aptopt='Acquire::Check-Valid-Until "false"') age=30 ;;
*)
    say "'$suite' is not one of: trixie, sid"
    exit 2
    ;;
esac
if [ $# -gt 0 ]; then shift; fi

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
git=(git -c safe.directory='*' -C "$root") # under sudo the checkout is another user's
cache="${XDG_CACHE_HOME:-$HOME/.cache}/varpro-surrogates"
debian="$cache/$suite"
stamp="$cache/$suite.packages" # what the complete root file system holds; written last

[ "$(id -u)" = 0 ] || skip "a root file system of Debian $suite needs root (mmdebstrap, chroot)"
"${git[@]}" rev-parse --is-inside-work-tree >/dev/null 2>&1 ||
    skip "$root is not a git work tree, so which files to test is unknown"
if ! command -v mmdebstrap >/dev/null; then
    command -v apt-get >/dev/null || skip "there is neither mmdebstrap nor apt-get to install it with"
    [ -z "${NO_ROOT:-}" ] || skip "mmdebstrap is not installed, and NO_ROOT forbids to do it"
    say "as root, this installs Debian packages and changes nothing else: apt-get update;" \
        "apt-get install --no-install-recommends mmdebstrap debian-archive-keyring"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update >/dev/null 2>&1 || true # another package source may be broken
    apt-get -qq -y -o DPkg::Lock::Timeout=300 install --no-install-recommends \
        mmdebstrap debian-archive-keyring >/dev/null 2>&1 || skip "apt-get could not install mmdebstrap"
fi
unshare --mount --pid --fork true 2>/dev/null || skip "mounts are not allowed here (unshare failed)"

mkdir -p "$cache"
exec 9>"$cache/$suite.lock" # one run at a time: they share the checkout inside
flock --nonblock 9 || {
    say "waiting for another run on $suite"
    flock 9
}

build() {
    local mirror log="$cache/$suite.log"
    say "building a root file system of Debian $suite in $debian (1 to 4 minutes)"
    rm -rf --one-file-system "$debian" "$stamp"
    # This machine's own mirror if it is a Debian; else the default mirror.
    # shellcheck disable=SC2016 # apt-get expands it
    mirror="$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' \
        'Label: Debian' 2>/dev/null | head -n 1 || true)"
    mmdebstrap --variant=apt --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' \
        --include="$(IFS=,; echo "${packages[*]}")" "${options[@]}" \
        "$suite" "$debian" ${mirror:+"$mirror"} >"$log" 2>&1 9>&- </dev/null ||
        die "mmdebstrap failed: $(grep '^E:' "$log" | head -n 1) (all of it: $log)"
    chroot "$debian" /usr/bin/python3 -m venv --system-site-packages /venv >>"$log" 2>&1 ||
        die "no virtual environment in $debian: see $log"
    echo "${packages[*]}" >"$stamp"
}
if [ "$(cat "$stamp" 2>/dev/null)" != "${packages[*]}" ] || [ -n "$(find "$stamp" -mtime "+$age")" ]; then
    build
fi

# Files that git has or would add: neither build products nor another environment. Hypothesis keeps
# its data on the installed packages, which take 20 seconds to collect.
mkdir -p "$debian/checkout"
find "$debian/checkout" -mindepth 1 -maxdepth 1 ! -name .hypothesis -exec rm -rf {} +
"${git[@]}" ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' file; do
        if [ -e "$root/$file" ] || [ -L "$root/$file" ]; then printf '%s\0' "$file"; fi
    done |
    tar -C "$root" --create --null --no-recursion --files-from=- |
    tar -C "$debian/checkout" --extract --no-same-owner

# inside PYTEST ARGUMENT...: ends this shell with the status of the tests on Debian.
inside() {
    unset VIRTUAL_ENV CONDA_PREFIX PYTHONPATH PYTHONHOME XDG_CACHE_HOME TMPDIR
    export PATH=/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    export HOME=/root LANG=C.UTF-8 OMP_NUM_THREADS=1 LIMIT="${minutes}m" SURROGATE_EXCHANGE=/exchange
    # Open MPI refuses root, and warns of network interfaces that cannot reach each other in a
    # sandbox.
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl=^tcp
    # shellcheck disable=SC2016 # the inner shells expand it
    exec unshare --mount --pid --fork --kill-child bash -c '
        set -e
        mount -t proc proc "$1/proc"
        mount -t sysfs -o ro sysfs "$1/sys"
        mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
        mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
        exec chroot "$1" bash -c "$2" inside "${@:3}"' \
        mounts "$debian" '
        set -e
        cd /checkout
        python -m pip install --quiet --no-index --no-deps --no-build-isolation --editable .
        # Not by exec: this shell is process 1 here, which timeout must not be, and collects the
        # orphans.
        timeout --foreground --kill-after=10 "$LIMIT" scripts/run_tests.sh "$@" || {
            status=$?
            if [ "$status" = 124 ]; then echo "test_on_debian: stopped after $LIMIT" >&2; fi
            exit "$status"
        }' "$@"
}

compatibility=tests/surrogates/model/test_compatibility.py
rm -rf "$debian/exchange"
mkdir "$debian/exchange"
for python in python "$root/.venv/bin/python" ""; do
    if "$python" -c 'import pytest_timeout, surrogates.model.file' 2>/dev/null; then break; fi
done
case "$*" in
"" | --quick | --all | *"$compatibility"*)
    if [ -n "$python" ]; then
        say "exchanging surrogate files with $(command -v "$python")"
        (inside -q "$compatibility")
        (cd "$root" && SURROGATE_EXCHANGE="$debian/exchange" PYTHONDONTWRITEBYTECODE=1 \
            "$python" -m pytest -q -p no:cacheprovider "$compatibility")
    else
        say "there is no environment here to exchange surrogate files with (see scripts/setup.sh)"
    fi
    ;;
esac
say "running the tests on Debian $suite (at most $minutes minutes)"
inside "$@"
