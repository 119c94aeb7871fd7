#!/usr/bin/env bash
# What slurm_cdr.sh and slurm_dcr.sh share: generate here on 2 processes, as a job, or as a task of an
# array, whose tasks each make a shard.
#
#   slurm_generate.sh PROBLEM SAMPLES SPLIT [WORD...]     # words for `surrogates generate`
set -euo pipefail

problem="$1" samples="${SAMPLES:-$2}" split="${SPLIT:-$3}"
shift 3
scripts="$(dirname "${BASH_SOURCE[0]}")"
if ! command -v surrogates >/dev/null; then
    python="$("$scripts/setup.sh" | tail -n 1)"
    export PATH="${python%/*}:$PATH"
fi
. "$scripts/mpi.sh"

shard=1/1
out=$problem.h5
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
    shard=$((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN + 1))/$SLURM_ARRAY_TASK_COUNT
    out=$problem.shard$SLURM_ARRAY_TASK_ID.h5
fi
if [ -n "${SLURM_JOB_ID:-}" ]; then
    launch=(srun)
else
    launch=(mpirun -n 2)
fi
exec "${launch[@]}" surrogates generate "$problem" --samples "$samples" --split "$split" \
    --shard "$shard" --out "$out" "$@"
