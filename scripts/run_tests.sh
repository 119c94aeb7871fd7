#!/usr/bin/env bash
# Runs pytest in the environment that is active, two files of tests at a time: first those that keep
# their core busy, then those that start processes of their own, under a time limit, and wait.
#
#   scripts/run_tests.sh [--quick] [PYTEST ARGUMENT...]
#
# --quick leaves out the tests that are marked as slow.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

fast=""
if [ "${1:-}" = --quick ]; then
    fast=" and not slow"
    shift
fi

# part PYTEST ARGUMENT...: it is no fault when all tests are of the other part.
part() {
    python -m pytest --durations=10 "$@" || [ $? = 5 ]
}

part -m "not mpi$fast" --numprocesses=2 --dist=loadfile "$@"
part -m "mpi$fast" --numprocesses=2 --dist=loadfile "$@"
