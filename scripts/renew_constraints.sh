#!/usr/bin/env bash
# Writes scripts/constraints.txt anew: the newest release of every package that pip installs, and of
# what those need, for Python 3.10 to 3.14.
#
#   scripts/renew_constraints.sh [REQUIREMENT...]    # such as 'torch==2.14.1' 'pytest<10'
#
# Run scripts/test.sh after it: setup.sh then brings .venv to the new versions, and the tests check
# them. uv resolves the versions, as it can for all releases of Python at once, in an environment that
# is removed at the end; of the old file, only torch's version counts.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
file="$root/scripts/constraints.txt"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT

# What Debian 12, Ubuntu 24.04 and Debian 13 have, as DOLFINx is built with it, one package whose
# release for these has no wheel on Python 3.14, and one whose newest needs numpy 2.
cat >"$folder/held.txt" <<'END'
numpy==1.24.2 ; python_version < "3.12"
scipy==1.10.1 ; python_version < "3.12"
numpy==1.26.4 ; python_version == "3.12"
scipy==1.11.4 ; python_version == "3.12"
numpy==2.2.4 ; python_version == "3.13"
scipy==1.15.3 ; python_version == "3.13"
numpy>=2.3 ; python_version >= "3.14"
contourpy>=1.3.3 ; python_version >= "3.14"
pyarrow<26 ; python_version < "3.13"
END
printf '%s\n' "$@" >>"$folder/held.txt"
# A new torch may bring gigabytes of GPU libraries, or lack support for numpy 1.24: only on request.
case " $*" in
*" torch"*) ;;
*) grep '^torch==' "$file" >>"$folder/held.txt" ;;
esac

python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --only-binary :all: uv
cd "$root"
"$folder/venv/bin/uv" pip compile pyproject.toml --all-extras \
    --universal --python-version 3.10 --only-binary :all: --no-cache --no-annotate --no-header \
    --constraint "$folder/held.txt" --output-file "$folder/found.txt" >"$folder/log" 2>&1 || {
    cat "$folder/log" >&2
    exit 1
}
{
    cat <<'END'
# The version of every package that pip installs here (scripts/setup.sh), written by
# scripts/renew_constraints.sh. Beside a system's DOLFINx its own numpy, scipy, h5py, mpi4py,
# petsc4py and torch hold instead, which setup.sh looks up.
END
    cat "$folder/found.txt"
} >"$folder/new.txt"
if cmp -s "$folder/new.txt" "$file"; then
    echo "renew_constraints: every version is the newest already" >&2
    exit
fi
diff "$file" "$folder/new.txt" | sed -n 's/^\([<>]\)/\1/p' >&2 || true
cat "$folder/new.txt" >"$file"
echo "renew_constraints: $file is new; run scripts/test.sh" >&2
