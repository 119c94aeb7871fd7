#!/usr/bin/env bash
# The main job from nothing: PDE solves under MPI, a surrogate, a TorchScript file, plots.
#
#   scripts/demo.sh [FOLDER]        # default: demo
#
# Sets up what is missing. Files that exist are used again; remove the folder to start anew.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
folder="${1:-$root/demo}"
python="$("$root/scripts/setup.sh" | tail -n 1)"
export PATH="${python%/*}:$PATH"
. "$root/scripts/mpi.sh"
mkdir -p "$folder"
cd "$folder"

say() { printf '\n== %s\n' "$*"; }

say "1. Data: 800 solves for training, validation and test, on 2 processes"
timeout 600 mpirun -n 2 surrogates generate cdr --samples 800 --split 400/200/200 --out cdr.h5
surrogates verify cdr.h5

say "2. Training: every setting the default, the surrogate chosen by held-out errors"
surrogates train cdr.h5 --out cdr.pt

say "3. Test: parameters of the test split, and others of a new seed"
surrogates evaluate cdr.pt cdr.h5
timeout 600 mpirun -n 2 surrogates generate cdr --samples 100 --seed 1 --split 0/0/1 --out unseen.h5

say "4. Plots"
surrogates plot history cdr.history.jsonl --out history.png
surrogates plot observations cdr.pt unseen.h5 --out observations.png
surrogates plot parity cdr.pt unseen.h5 --out parity.png
surrogates plot model cdr --seed 1 --out field.png

say "5. The TorchScript file in a process that imports torch alone, against the PDE"
python "$root/scripts/report.py" cdr.pt cdr.h5 unseen.h5
cat <<END

files in $PWD
  cdr.h5                400 PDE solves for training, 200 for validation, 200 for test
  unseen.h5             100 more, of another seed
  cdr.pt                the surrogate: torch.jit.load("cdr.pt")(y)
  cdr.history.jsonl     the training of its network, one line for each iteration
  history.png           loss and error against work units
  observations.png      predicted and true sensor series of unseen parameters
  parity.png            every predicted against every true observable
  field.png             the solution of the PDE at four times
END
