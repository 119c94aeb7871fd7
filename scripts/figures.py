"""Remake the documentation's figures and recorded outputs, each by its command here.

    python scripts/figures.py [--list] [NAME ...]     # all of them, without a name

Commands run in build/figures, where shared files (datasets, surrogates) are made once and kept.
Figures, NAME.png, and outputs, NAME.txt, are copied to docs/figures. All take an hour and a
half on 2 cores; `derivatives` goes on with the trainings in build/figures/derivatives.jsonl.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "figures"
DOCS = ROOT / "docs" / "figures"
EXAMPLES = "python scripts/examples"

SHARED = {
    "cdr.h5": "mpirun -n 2 surrogates generate cdr --samples 800 --split 400/200/200 --out cdr.h5",
    "unseen.h5": "surrogates generate cdr --samples 100 --seed 1 --split 0/0/1 --out unseen.h5",
    "cdr.pt": "surrogates train cdr.h5 --out cdr.pt --effort fast",
    "bodies.h5": "mpirun -n 2 surrogates generate dcr --samples 800 --out bodies.h5",
    "bodies.pt": "surrogates train bodies.h5 --out bodies.pt",
    "small.h5": "surrogates generate dcr --samples 200 --out small.h5",
    "small.pt": "surrogates train small.h5 --out small.pt",
    "darcy.h5": "mpirun -n 2 surrogates generate scripts/examples/darcy.py:Darcy --samples 1000 "
    "--set batch=10 --out darcy.h5",
    "darcy.pt": "surrogates train darcy.h5 --out darcy.pt",
    "reaction_diffusion.h5": "mpirun -n 2 surrogates generate "
    "scripts/examples/reaction_diffusion.py:ReactionDiffusion --samples 100 --tangents "
    "--out reaction_diffusion.h5",
    "reaction_diffusion.pt": "surrogates train reaction_diffusion.h5 --out reaction_diffusion.pt "
    "--effort fast",
    "elasticity.h5": "mpirun -n 2 surrogates generate scripts/examples/elasticity.py:Cantilever "
    "--samples 100 --tangents --out elasticity.h5",
    "elasticity.pt": "surrogates train elasticity.h5 --out elasticity.pt --effort fast",
    "metropolis": "surrogates export cdr.pt --format c --out cdr.c\n"
    "cc -std=c99 -O2 -I. scripts/examples/metropolis.c cdr.c -lm -o metropolis",
    "build/cpp/call_surrogate": "cmake -S scripts/examples/cpp -B build/cpp "
    "-DCMAKE_PREFIX_PATH=\"$(python -c 'import torch; print(torch.utils.cmake_prefix_path)')\"\n"
    "cmake --build build/cpp",
    "y.csv": "python -c 'print(*[1 / 55] * 55, sep=\",\")' > y.csv",
}
"""The command that makes each file for several commands."""


LINE = (
    "--array dipole-dipole --electrodes 24 --spacing 2 --set model.kind=body-in-layers "
    "--set layers.resistivity=[[80,120],[30,50]] --set layers.thickness=[[6,7]] "
    "--set body.x1=[18,24] --set body.depth=[3,3.5] --set body.a1=[3,4] --set body.a3=[1.5,2] "
    "--set body.resistivity=[500,1000] --seed 1"
)
"""A line over a body in two layers."""
GALLERY = (
    "--array dipole-dipole --electrodes 16 --spacing 2.5 --lines 8 --line-spacing 4 "
    "--set model.kind=body --set model.background=[80,120] --set body.shape=cuboid "
    "--set body.x1=[16,20] --set body.x2=[14,14] --set body.depth=[4,5] --set body.a1=[1.5,2] "
    "--set body.a2=[9,11] --set body.a3=[1.5,2] --set body.rotation=[0.2,0.4] "
    "--set body.resistivity=[2000,4000] --seed 1"
)
"""Lines over a gallery that holds air and rubble."""


@dataclass(frozen=True)
class Result:
    """A figure of the documentation, or what a program prints, or both.

    Attributes:
        command: Makes the figure NAME.png.
        uses: Files of `SHARED`, in order.
        figure: Whether there is one.
        printed: Whether a page shows what the command prints.
    """

    command: str
    uses: str = ""
    figure: bool = True
    printed: bool = False

    def files(self, name: str) -> list[str]:
        """Return the names of the files in docs/figures."""
        return [f"{name}.png"] * self.figure + [f"{name}.txt"] * self.printed


RESULTS = {
    "field": Result("surrogates plot model cdr --seed 1 --out field.png"),
    "page": Result(
        "surrogates export small.pt --format html --out page.html\n"
        "chromium --headless=new --no-sandbox --hide-scrollbars --window-size=1400,960 "
        '--screenshot=page.png "file://$PWD/page.html#y=24,3200,0.6&A=31,2400,-0.7&c=198"',
        uses="small.h5 small.pt",
    ),
    "observations": Result(
        "surrogates plot observations cdr.pt unseen.h5 --out observations.png",
        uses="cdr.h5 unseen.h5 cdr.pt",
    ),
    "history": Result(
        "surrogates plot history cdr.history.jsonl --out history.png", uses="cdr.h5 cdr.pt"
    ),
    "resistivity": Result("surrogates plot model dcr --y 22,3500,0.6 --out resistivity.png"),
    "survey": Result(
        "surrogates survey --array gradient --electrodes 24 --lines 2 --line-spacing 5 "
        "--plot survey.png"
    ),
    "line": Result(f"surrogates plot model dcr {LINE} --out line.png"),
    "gallery": Result(f"surrogates plot model dcr {GALLERY} --out gallery.png"),
    "darcy": Result(
        "surrogates evaluate darcy.pt darcy.h5\n"
        "surrogates plot model scripts/examples/darcy.py:Darcy --seed 1 --out darcy.png",
        uses="darcy.h5 darcy.pt",
        printed=True,
    ),
    "reaction_diffusion": Result(
        "surrogates evaluate reaction_diffusion.pt reaction_diffusion.h5\n"
        "surrogates plot model scripts/examples/reaction_diffusion.py:ReactionDiffusion --seed 1 "
        "--out reaction_diffusion.png",
        uses="reaction_diffusion.h5 reaction_diffusion.pt",
        printed=True,
    ),
    "elasticity": Result(
        "surrogates evaluate elasticity.pt elasticity.h5\n"
        "surrogates plot model scripts/examples/elasticity.py:Cantilever --seed 1 "
        "--out elasticity.png",
        uses="elasticity.h5 elasticity.pt",
        printed=True,
    ),
    "uncertainty": Result(f"{EXAMPLES}/forward_uq.py cdr.pt", uses="cdr.h5 cdr.pt", printed=True),
    "inversion": Result(
        f"{EXAMPLES}/inversion.py bodies.pt", uses="bodies.h5 bodies.pt", printed=True
    ),
    "delayed_acceptance": Result(
        f"{EXAMPLES}/delayed_acceptance.py small.pt", uses="small.h5 small.pt", printed=True
    ),
    "digits": Result(f"{EXAMPLES}/digits.py", printed=True),
    "segmentation": Result(f"{EXAMPLES}/segment_hyperspectral.py", printed=True),
    "classification": Result(
        f"{EXAMPLES}/segment_hyperspectral.py --compare --out compared.pt\n"
        "mv compared.convergence.png classification.png",
    ),
    "metropolis": Result(
        "./metropolis", uses="cdr.h5 cdr.pt metropolis", figure=False, printed=True
    ),
    "cpp": Result(
        "build/cpp/call_surrogate cdr.pt < y.csv | cut -d, -f1-6\n"
        "build/cpp/call_surrogate cdr.pt --time < y.csv",
        uses="cdr.h5 cdr.pt build/cpp/call_surrogate y.csv",
        figure=False,
        printed=True,
    ),
    "derivatives": Result(
        "python scripts/benchmark_derivatives.py --sets cdr,dcr,darcy,reaction_diffusion"
        " --sizes 25,50,100 --seeds 1 --train-arguments '--effort fast'"
        " --out derivatives.jsonl --figure derivatives.png"
    ),
    "convergence_cdr": Result("python scripts/convergence.py cdr --out convergence_cdr.png"),
    "convergence_dcr": Result("python scripts/convergence.py dcr --out convergence_dcr.png"),
}
"""The figures and outputs, by name."""


def run(command: str, printed: Path | None = None) -> None:
    """Run a command in the folder, or raise `subprocess.CalledProcessError`.

    Args:
        command: Lines of bash.
        printed: A file for what it prints; None for none.
    """
    print("$ " + command.replace("\n", "\n$ "), flush=True)
    script = f'. "{ROOT}/scripts/mpi.sh"\n'
    script += f'{{ {command}\n}} | tee "{printed}"' if printed else command
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=FOLDER, check=True)


def remake(name: str) -> None:
    """Make what a command uses, run it, and copy its figure and what it prints."""
    result = RESULTS[name]
    for file in result.uses.split():
        if not (FOLDER / file).exists():
            run(SHARED[file])
    run(result.command, FOLDER / f"{name}.txt")
    for file in result.files(name):
        shutil.copyfile(FOLDER / file, DOCS / file)


def main() -> int:
    """Remake what is named; a command that fails does not keep the others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print the commands, and run none")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in RESULTS]:
        parser.error(f"{unknown[0]} is not one of {', '.join(RESULTS)}")
    names = options.names or list(RESULTS)
    if options.list:
        for name in names:
            print(f"{' '.join(RESULTS[name].files(name))}: {RESULTS[name].command}")
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
