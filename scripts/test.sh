#!/usr/bin/env bash
# Sets up what is missing, then every check: format, lint, types, tests (those under MPI too).
#
#   scripts/test.sh [--quick] [PYTEST ARGUMENT...]
#   scripts/test.sh --lowest [--quick] [PYTEST ARGUMENT...]
#
# --lowest runs the tests alone, with each package at the lower end of its range in pyproject.toml
# (.venv-lowest). What DOLFINx was built with, numpy for one, stays at the system's version: on Debian
# 12 that is the lower end too. pip's torch of that age comes with 2 GB of GPU libraries.
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

python -m ruff format --check .
python -m ruff check .
python -m mypy
timeout --kill-after=10 4500 scripts/run_tests.sh "$@"
