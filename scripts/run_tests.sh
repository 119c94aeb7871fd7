#!/usr/bin/env bash
# Runs pytest in the environment that is active: first the tests that keep their core busy, two at a
# time, then, four at a time, those that start processes and mostly wait for them.
#
#   scripts/run_tests.sh [--quick|--all] [PYTEST ARGUMENT...]
#
# --quick leaves out the tests marked as slow.
# --all adds those marked as thorough. Those of adapters need packages of their own (scripts/adapters.py).
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

chosen=" and not adapters and not thorough"
case "${1:-}" in
--quick)
    chosen+=" and not slow"
    shift
    ;;
--all)
    chosen=" and not adapters"
    shift
    ;;
esac

# part WORKERS PYTEST ARGUMENT...: succeeds also if the arguments select only tests of the other part.
part() {
    python -m pytest --durations=10 --dist=worksteal --numprocesses="$@" || [ $? = 5 ]
}

# A process alone that calls MPI, as MUMPS does, would yield its core at each call: Open MPI takes it
# for one of too many. Beside other programs it would get next to no time.
OMPI_MCA_mpi_yield_when_idle=0 part 2 -m "not mpi$chosen" "$@"
if [ $# -eq 0 ]; then # the other files are not read a second time
    mapfile -t files < <(grep -rl --include='test_*.py' 'pytest\.mark\.mpi' tests)
    set -- "${files[@]}"
fi
part 4 -m "mpi$chosen" "$@"
