"""Remake the figures of the documentation, each by its command here.

    python scripts/figures.py [--list] [NAME.png ...]     # all of them, without a name

Commands run in build/figures, where shared files (datasets, surrogates) are made once and kept.
Their figures are copied to docs/figures. All take an hour on 2 cores.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "figures"
EXAMPLES = "python scripts/examples"

SHARED = {
    "cdr.h5": "mpirun -n 2 surrogates generate cdr --samples 800 --split 400/200/200 --out cdr.h5",
    "unseen.h5": "surrogates generate cdr --samples 100 --seed 1 --split 0/0/1 --out unseen.h5",
    "cdr.pt": "surrogates train cdr.h5 --out cdr.pt --effort fast",
    "dcr.h5": "mpirun -n 2 surrogates generate dcr --samples 2000 --out dcr.h5",
    "dcr.pt": "surrogates train dcr.h5 --out dcr.pt",
    "small.h5": "surrogates generate dcr --samples 200 --out small.h5",
    "small.pt": "surrogates train small.h5 --out small.pt",
}
"""The command that makes each file for several commands."""

FIGURES = {
    "field.png": ("", "surrogates plot model cdr --seed 1 --out field.png"),
    "observations.png": (
        "cdr.h5 unseen.h5 cdr.pt",
        "surrogates plot observations cdr.pt unseen.h5 --out observations.png",
    ),
    "history.png": (
        "cdr.h5 cdr.pt",
        "surrogates plot history cdr.history.jsonl --out history.png",
    ),
    "resistivity.png": ("", "surrogates plot model dcr --y 22,3500,0.6 --out resistivity.png"),
    "maps.png": ("dcr.h5 dcr.pt", "surrogates plot observations dcr.pt dcr.h5 --out maps.png"),
    "uncertainty.png": (
        "cdr.h5 cdr.pt",
        f"{EXAMPLES}/forward_uq.py cdr.pt --out uncertainty.png",
    ),
    "inversion.png": ("dcr.h5 dcr.pt", f"{EXAMPLES}/inversion.py dcr.pt --out inversion.png"),
    "delayed_acceptance.png": (
        "small.h5 small.pt",
        f"{EXAMPLES}/delayed_acceptance.py small.pt --out delayed_acceptance.png",
    ),
    "segmentation.png": (
        "",
        f"{EXAMPLES}/segment_hyperspectral.py --out segmentation.pt",
    ),
    "classification.png": (
        "",
        f"{EXAMPLES}/segment_hyperspectral.py --compare --out compared.pt"
        " && mv compared.convergence.png classification.png",
    ),
    "convergence_cdr.png": ("", "python scripts/convergence.py cdr --out convergence_cdr.png"),
    "convergence_dcr.png": ("", "python scripts/convergence.py dcr --out convergence_dcr.png"),
}
"""The files that each figure's command uses, and the command."""


def run(command: str) -> None:
    """Run a command in the folder, or raise `subprocess.CalledProcessError`."""
    print(f"$ {command}", flush=True)
    script = f'. "{ROOT}/scripts/mpi.sh"\n{command}'
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=FOLDER, check=True)


def remake(name: str) -> None:
    """Make the files for a figure's command, run it, and copy the figure."""
    shared, command = FIGURES[name]
    for file in shared.split():
        if not (FOLDER / file).exists():
            run(SHARED[file])
    run(command)
    shutil.copyfile(FOLDER / name, ROOT / "docs" / "figures" / name)


def main() -> int:
    """Remake the named figures; go on if one fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", nargs="*", metavar="NAME.png")
    parser.add_argument("--list", action="store_true", help="print the commands, and run none")
    options = parser.parse_args()
    if unknown := [name for name in options.figures if name not in FIGURES]:
        parser.error(f"{unknown[0]} is not one of {', '.join(FIGURES)}")
    names = options.figures or list(FIGURES)
    if options.list:
        for name in names:
            print(f"{name}: {FIGURES[name][1]}")
        return 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not (FOLDER / "scripts").exists():
        os.symlink(ROOT / "scripts", FOLDER / "scripts")
    failed = []
    for name in names:
        try:
            remake(name)
        except subprocess.CalledProcessError as error:
            failed.append(name)
            print(f"{name}: its command ended with {error.returncode}")
    if failed:
        print(f"not made: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
