#!/usr/bin/env bash
# Sets up what is missing, then checks format, lint, types and tests (those under MPI too).
#
#   scripts/test.sh [--quick|--all] [PYTEST ARGUMENT...]
#   scripts/test.sh --adapters [NAME...]
#   scripts/test.sh --lowest [--quick|--all] [PYTEST ARGUMENT...]
#
# --quick leaves out the tests that are marked as slow. --all adds the thorough ones, then builds the
# documentation (scripts/docs.sh) and runs the blocks that README.md and the first page print, but for
# those that take minutes. scripts/readme_commands.py runs those of all pages, in ten minutes or more.
#
# --adapters tests only the adapters, or some of them, each with the real package in an environment of
# its own (scripts/adapters.py). All of them install several gigabytes, once.
#
# --lowest runs only the tests, with each package at the lower end of its range in pyproject.toml
# (.venv-lowest). Packages that DOLFINx was built with, such as numpy, stay at the system's version:
# on Debian 12 that is the lower end too. pip's torch of that age comes with 2 GB of GPU libraries.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ "${1:-}" = --lowest ]; then
    shift
    python="$(scripts/setup.sh --lowest | tail -n 1)"
    export PATH="${python%/*}:$PATH" OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
    exec timeout --kill-after=10 9000 scripts/run_tests.sh "$@"
fi
python="$(scripts/setup.sh | tail -n 1)"
export PATH="${python%/*}:$PATH" OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

if [ "${1:-}" = --adapters ]; then
    shift
    exec python scripts/adapters.py "$@"
fi

python -m ruff format --check .
python -m ruff check .
python -m mypy
timeout --kill-after=10 4500 scripts/run_tests.sh "$@"
if [ "$*" = --all ]; then
    scripts/docs.sh
    folder="$(mktemp -d)"
    trap 'rm -rf "$folder"' EXIT
    timeout --kill-after=10 1800 python scripts/readme_commands.py "$folder" --quick --page README docs/start
fi
