#!/usr/bin/env bash
#SBATCH --job-name=cdr
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=16
#SBATCH --cpus-per-task=1
#SBATCH --mem-per-cpu=1G
#SBATCH --time=00:30:00
# Generate a dataset of convection, diffusion and reaction:
#
#   bash scripts/slurm_cdr.sh                       # here, on 2 processes
#   sbatch scripts/slurm_cdr.sh                     # one job
#   sbatch --array=1-8 scripts/slurm_cdr.sh         # an array, each task a shard; then
#   surrogates merge cdr.shard*.h5 --out cdr.h5
#
# Submit from the project's folder. The same command again goes on with what was killed. Words after
# the script go to `surrogates generate`; SAMPLES and SPLIT are taken from the environment.
set -euo pipefail

if ! command -v surrogates >/dev/null; then
    root="${SLURM_SUBMIT_DIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)}"
    python="$("$root/scripts/setup.sh" | tail -n 1)"
    export PATH="${python%/*}:$PATH"
fi
export OMP_NUM_THREADS=1

shard=1/1
out=cdr.h5
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
    shard=$((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN + 1))/$SLURM_ARRAY_TASK_COUNT
    out=cdr.shard$SLURM_ARRAY_TASK_ID.h5
fi
if [ -n "${SLURM_JOB_ID:-}" ]; then
    launch=(srun)
else
    # Open MPI refuses root, as in a container, and more processes than cores, unless told otherwise.
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    export OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
    launch=(mpirun -n 2)
fi
"${launch[@]}" surrogates generate cdr --samples "${SAMPLES:-800}" --split "${SPLIT:-400/200/200}" \
    --shard "$shard" --out "$out" "$@"
