#!/usr/bin/env bash
# Sets up what is missing, then every check: format, lint, types, tests (those under MPI too).
#
#   scripts/test.sh [--quick] [PYTEST ARGUMENT...]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="$(scripts/setup.sh | tail -n 1)"
export PATH="${python%/*}:$PATH" OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

python -m ruff format --check .
python -m ruff check .
python -m mypy
timeout --kill-after=10 4500 scripts/run_tests.sh "$@"
