#!/usr/bin/env bash
#SBATCH --job-name=generate
#SBATCH --output=%x-%A_%a.out
#SBATCH --open-mode=append
#SBATCH --array=1-8             # the shards; 1-8%4 runs at most four at a time
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=16    # the node's cores
#SBATCH --cpus-per-task=1
#SBATCH --mem-per-cpu=1G        # a rank of dcr takes 0.63 GiB on the default mesh
#SBATCH --time=02:00:00
#SBATCH --signal=B:USR1@180     # the warning: this long before the end, or longer than a sample takes
#SBATCH --requeue
# A dataset in shards, each a job of its own, and a job that merges them:
#
#   job=$(sbatch --parsable --array=1-8 scripts/slurm/array.sh dcr --samples 10000 --out dcr.h5)
#   sbatch --dependency=afterany:$job --wrap 'surrogates merge dcr.shard*.h5 --out dcr.h5'
#   SHARDS=8 sbatch --array=3,5 scripts/slurm/array.sh dcr --samples 10000 --out dcr.h5   # two again
#   SHARDS=2 bash scripts/slurm/array.sh dcr --samples 100 --out dcr.h5   # here, on 2 processes; merges
set -euo pipefail

here="$(dirname "${BASH_SOURCE[0]}")"
[ -e "$here/common.sh" ] || here="$SLURM_SUBMIT_DIR/scripts/slurm" # Slurm runs a copy of this file
# shellcheck source=scripts/slurm/common.sh
. "$here/common.sh"

whole="$(out_of "$@")"

name() { echo "${whole%.h5}.shard$1.h5"; }

# shard I N WORD...: the words' own --out is outdone by the last.
shard() {
    local i="$1" n="$2"
    shift 2
    run "$@" --shard "$i/$n" --out "$(name "$i")"
}

if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
    # Which samples a task makes must not depend on the tasks that are submitted with it.
    # shellcheck disable=SC2153 # these are Slurm's
    numbers="$SLURM_ARRAY_TASK_MIN to $SLURM_ARRAY_TASK_MAX"
    if [ -z "${SHARDS:-}" ] && [ "$numbers" != "1 to $SLURM_ARRAY_TASK_COUNT" ]; then
        die "number the tasks from 1 without gaps, as in --array=1-8; to submit some of 8 again:" \
            "SHARDS=8 sbatch --array=3,5 ..."
    fi
    shard "$SLURM_ARRAY_TASK_ID" "${SHARDS:-$SLURM_ARRAY_TASK_COUNT}" "$@"
else
    n="${SHARDS:-2}" worst=0 shards=()
    for ((i = 1; i <= n; i++)); do
        shard "$i" "$n" "$@" || worst="$code"
        shards+=("$(name "$i")")
        if [ "$code" -gt 1 ] || [ ! -e "${shards[-1]}" ]; then exit "$code"; fi
    done
    surrogates merge "${shards[@]}" --out "$whole"
    exit "$worst"
fi
