#!/usr/bin/env bash
# The paper's comparison of optimizers, on data of this project's PDEs: figures and a table.
#
#   scripts/reproduce_paper.sh [FOLDER]                         # default: paper
#   DCR_SAMPLES=10000 scripts/reproduce_paper.sh [FOLDER]       # the paper's number; default 800
#
# Sets up what is missing. Existing data and surrogates are used again; remove the folder, or a
# surrogate's files, to make them anew. PROCESSES (default 2) solve the PDEs.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
folder="${1:-$root/paper}"
samples="${DCR_SAMPLES:-800}"
python="$("$root/scripts/setup.sh" | tail -n 1)"
export PATH="${python%/*}:$PATH"
. "$root/scripts/mpi.sh"
mkdir -p "$folder"
cd "$folder"

say() { printf '\n== %s\n' "$*"; }

generate() { mpirun -n "${PROCESSES:-2}" surrogates generate "$@"; }

# The paper's setting: all optimizers have equal work units, and none stops early.
source=(--set network.levels=3 --set network.final_time=1 --set stopping.work_units=200
    --set stopping.patience=1000 --set regularisation.alpha1=1e-10)

train() { # PROBLEM NAME WORDS...
    local problem=$1 name=$2
    shift 2
    [ -e "$problem/$name.pt" ] && return
    [ -e "$problem/$name.checkpoint" ] && set -- --resume "$@"
    surrogates train "$problem.h5" --out "$problem/$name.pt" --effort fast "$@"
}

compare() { # PROBLEM WIDTH
    local problem=$1 width=$2 names=(gnvpro-krylov gnvpro-dense gn lbfgs adam sgd) name histories
    mkdir -p "$problem"
    say "$problem: training, $width features"
    train "$problem" gnvpro-krylov --set network.width="$width" --set optimizer.method=krylov "${source[@]}"
    train "$problem" gnvpro-dense --set network.width="$width"
    for name in "${names[@]:2}"; do
        train "$problem" "$name" --set network.width="$width" --set optimizer.name="$name" "${source[@]}"
    done
    histories=("${names[@]/#/$problem/}")
    histories=("${histories[@]/%/.history.jsonl}")
    surrogates plot history "${histories[@]}" --out "$problem.work.png"
    surrogates plot history "${histories[@]}" --against time --out "$problem.time.png"
}

say "Data: convection-diffusion-reaction, 800 solves; DC resistivity, $samples"
generate cdr --samples 800 --split 400/200/200 --out cdr.h5
generate dcr --samples "$samples" --split 0.8/0.1/0.1 --out dcr.h5

compare cdr 8
compare dcr 16

say "Errors on the test samples"
python "$root/scripts/compare.py" cdr dcr
printf '%s\n' '' "$PWD"/{cdr,dcr}.{work,time}.png
