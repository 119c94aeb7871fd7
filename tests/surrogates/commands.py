"""How tests run commands, and what several of them run."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from surrogates import cli
from surrogates.data import Dataset

QUICK = ("--effort", "fast", "--set", "stopping.work_units=130", "--set", "network.width=4")


def run(*words: object) -> int:
    try:
        return cli.main([str(word) for word in words])
    except SystemExit as stop:  # argparse's
        return int(stop.code or 0)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refused(capsys, *words: object) -> str:
    """Return the error line of a command that must refuse."""
    capsys.readouterr()
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def trained(folder: Path, out: Path, *words: str, **more: str) -> Path:
    """Train in a process of its own: other tests in this one may have changed the last bits."""
    words = ("train", str(folder / "map.h5"), "--out", str(out), *QUICK, *words)
    command = [sys.executable, "-m", "surrogates", *words]
    environment = {**os.environ, **more}
    subprocess.run(command, check=True, capture_output=True, timeout=300, env=environment)
    return out


FEW = ("--effort", "fast", "--set", "stopping.work_units=40", "--set", "network.width=4")


def imported(folder: Path, Y, C, *words: object) -> Path:
    """Import arrays; give the dataset's path."""
    np.savez(folder / "made.npz", Y=Y, C=C)
    assert run("import", folder / "made.npz", "--out", folder / "made.h5", *words) == 0
    return folder / "made.h5"


def over_spread(surrogate, data: Dataset, part: str, seen=("train",)):
    """Compute what training and evaluate say of each output."""
    Y, C = data.part(part)
    spread = np.concatenate([data.part(name)[1] for name in seen]).std(axis=0)
    return np.sqrt(((surrogate.predict(Y) - C) ** 2).mean(axis=0)) / spread


SMALL_CHOICE = (
    "--set",
    "network.kind=mlp",
    "--set",
    "network.width=4",
    "--set",
    "stopping.work_units=60",
)
