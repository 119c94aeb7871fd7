#!/usr/bin/env bash
#SBATCH --job-name=dcr
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=16
#SBATCH --cpus-per-task=1
#SBATCH --mem-per-cpu=1G
#SBATCH --time=02:00:00
# Generate a dataset of DC resistivity:
#
#   bash scripts/slurm_dcr.sh                       # here, on 2 processes
#   sbatch scripts/slurm_dcr.sh                     # one job
#   sbatch --array=1-8 scripts/slurm_dcr.sh         # an array, each task a shard; then
#   surrogates merge dcr.shard*.h5 --out dcr.h5
#
# Submit from the project's folder. The same command again goes on with what was killed. Words after
# the script go to `surrogates generate`; SAMPLES and SPLIT are taken from the environment.
set -euo pipefail

# Slurm runs a copy of this script, from the folder where it was submitted.
root="${SLURM_SUBMIT_DIR:-$(dirname "${BASH_SOURCE[0]}")/..}"
exec "$root/scripts/slurm_generate.sh" dcr 10000 8000/1000/1000 "$@"
