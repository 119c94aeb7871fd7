#!/usr/bin/env bash
#SBATCH --job-name=generate
#SBATCH --output=%x-%j.out
#SBATCH --open-mode=append
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=16    # each node's cores
#SBATCH --cpus-per-task=1
#SBATCH --mem-per-cpu=1G        # a rank of dcr takes 0.63 GiB on the default mesh
#SBATCH --time=08:00:00
#SBATCH --signal=B:USR1@180     # the warning: this long before the end, or longer than a sample takes
#SBATCH --requeue
# A dataset on the cores of several nodes, which must see the folder of --out, and the cache of compiled
# forms (README.md here). Submit from the project's folder; the words are those of `surrogates generate`:
#
#   sbatch scripts/slurm/many_nodes.sh dcr --samples 1000000 --split 0.8/0.1/0.1 --out dcr.h5
#   bash scripts/slurm/many_nodes.sh dcr --samples 100 --out dcr.h5       # here, on 2 processes
set -euo pipefail

here="$(dirname "${BASH_SOURCE[0]}")"
[ -e "$here/common.sh" ] || here="$SLURM_SUBMIT_DIR/scripts/slurm" # Slurm runs a copy of this file
# shellcheck source=scripts/slurm/common.sh
. "$here/common.sh"

run "$@"
