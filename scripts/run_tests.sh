#!/usr/bin/env bash
# Runs pytest in the environment that is active, two files of tests at a time: first those that keep
# their core busy, then those that start processes of their own, under a time limit, and wait.
#
#   scripts/run_tests.sh [PYTEST ARGUMENT...]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# part PYTEST ARGUMENT...: it is no fault when all tests are of the other part.
part() {
    python -m pytest --durations=10 "$@" || [ $? = 5 ]
}

part -m 'not mpi' --numprocesses=2 --dist=loadfile "$@"
part -m mpi --numprocesses=2 --dist=loadfile "$@"
