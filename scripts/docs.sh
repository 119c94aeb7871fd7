#!/usr/bin/env bash
# Builds the documentation site with warnings as errors, and checks every link within it.
#
#   scripts/docs.sh [FOLDER]     # default: build/docs; the first page is FOLDER/index.html
#   scripts/docs.sh --figures    # remakes docs/figures first, figures and what programs print
#                                # (scripts/figures.py); needs the whole environment, takes an hour
#
# Sets up what is missing: .venv-docs, with Sphinx and numpy. FEniCSx and torch are not needed.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
if [ "${1:-}" = --figures ]; then
    shift
    python="$("$root/scripts/setup.sh" | tail -n 1)"
    PATH="${python%/*}:$PATH" python "$root/scripts/figures.py"
fi
case "${1:-}" in
-*)
    echo "docs: '$1' is not --figures" >&2
    exit 2
    ;;
esac
out="${1:-$root/build/docs}"
venv="$root/.venv-docs"
wanted="$root/docs/requirements.txt"
if ! cmp -s "$wanted" "$venv/installed.txt"; then
    base=""
    for candidate in "$(command -v python3 || true)" /usr/bin/python3; do
        if [ -x "$candidate" ] && "$candidate" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 10))' \
            2>/dev/null; then
            base="$candidate"
            break
        fi
    done
    if [ -z "$base" ]; then
        echo "docs: there is no Python 3.10 or later with venv (on Debian: apt-get install python3-venv)" >&2
        exit 1
    fi
    echo "docs: installing Sphinx into .venv-docs" >&2
    rm -rf "$venv"
    "$base" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
        --requirement "$wanted"
    cp "$wanted" "$venv/installed.txt"
fi
timeout --kill-after=10 3000 "$venv/bin/python" -m sphinx --jobs auto --fail-on-warning --keep-going \
    --quiet "$root/docs" "$out"
echo "$out/index.html"
