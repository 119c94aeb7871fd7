"""Test the adapters, each with the real package in an environment of its own.

    python scripts/adapters.py [NAME ...]      # all, if none is named; scripts/test.sh --adapters

tests/adapters/environments.toml lists the environments: which adapters each tests, and what pip
installs into it. They lie in ~/.cache/varpro-surrogates/adapters (or in XDG_CACHE_HOME), and are
made once. This checkout is in none of them, but on PYTHONPATH: several checkouts share them. The
environment ``pde`` sees the system's packages, DOLFINx among them.

The surrogates that the tests call are the one of docs/start.md; one of the same data with noise,
whose standard deviations are not tiny; one of the logarithm of an input; one of weights that sum to
one; and a classifier. They are trained here and handed over as oscillator, noisy, logarithmic,
weights and sides, each as .pt and .npz. So are layers, the survey of docs/adapters.md, where
DOLFINx is installed, and hill, a survey on topography, where gmsh is too. Each adapter has a line
of result; the tests of one that failed are printed. The exit status is 1 if one failed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from readme_commands import blocks, run_script

try:
    import tomllib
except ImportError:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "tests" / "adapters" / "environments.toml"
PYTEST = ("pytest==9.2.0", "pytest-timeout==2.4.0")
INSTALL, TEST = 3600, 1800  # seconds


@dataclass(frozen=True)
class Environment:
    """An environment: its name, the adapters that are tested in it, and pip's requirements.

    Requirements ``alone`` are installed without what they require themselves. ``tests`` are of no
    adapter alone. An environment of the ``system`` has its packages too.
    """

    name: str
    adapters: tuple[str, ...]
    packages: tuple[str, ...]
    alone: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    system: bool = False

    @property
    def folder(self) -> Path:
        """Where it lies."""
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        return Path(cache) / "varpro-surrogates" / "adapters" / self.name

    @property
    def python(self) -> Path:
        """Its Python."""
        return self.folder / "bin" / "python"

    @property
    def content(self) -> str:
        """What it is made of, as its stamp says it."""
        return "\n".join(
            [sys.version, *["system"] * self.system, *PYTEST, *self.packages, *self.alone]
        )


def environments() -> list[Environment]:
    """Read the table."""
    read = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return [
        Environment(
            name,
            tuple(one["adapters"]),
            tuple(one["packages"]),
            alone=tuple(one.get("alone", ())),
            tests=tuple(one.get("tests", ())),
            system=one.get("system", False),
        )
        for name, one in read.items()
    ]


def make(environment: Environment) -> None:
    """Make an environment, unless it is there with these requirements.

    Raises:
        subprocess.SubprocessError: If pip fails or takes too long.
    """
    stamp = environment.folder / "content.txt"
    if stamp.is_file() and stamp.read_text() == environment.content:
        return
    print(
        f"making {environment.folder}: {' '.join(environment.packages + environment.alone)}",
        flush=True,
    )
    shutil.rmtree(environment.folder, ignore_errors=True)
    venv.create(environment.folder, with_pip=True, system_site_packages=environment.system)
    kept = [f"numpy=={_numpy(environment.python)}"] if environment.system else []
    install = ["-m", "pip", "install", "--quiet", "--no-cache-dir", "--prefer-binary"]
    subprocess.run(
        [environment.python, *install, *PYTEST, *environment.packages, *kept],
        check=True,
        timeout=INSTALL,
    )
    if environment.alone:
        subprocess.run(
            [environment.python, *install, "--no-deps", *environment.alone],
            check=True,
            timeout=INSTALL,
        )
    stamp.write_text(environment.content)


def _numpy(python: Path) -> str:
    """Return the version of numpy that a Python has."""
    asked = [python, "-c", "import numpy; print(numpy.__version__)"]
    return subprocess.run(
        asked, check=True, capture_output=True, text=True, timeout=120
    ).stdout.strip()


def train_survey(folder: Path) -> None:
    """Run the blocks of docs/adapters.md that make a survey's surrogate, where DOLFINx is there.

    Raises:
        RuntimeError: If they fail; what they printed is in the folder's commands.log.
    """
    if importlib.util.find_spec("dolfinx") is None:
        return
    for block in blocks("docs/adapters", (ROOT / "docs" / "adapters.md").read_text()):
        if block.file:
            (folder / block.file).write_text(block.text)
        elif block.kind == "fenicsx" and run_script(block.text, folder, TEST):
            raise RuntimeError((folder / "commands.log").read_text())


HILL = """[survey]
file = "hill.ohm"

[mesh]
file = "hill.msh"

[model]
background = [80.0, 150.0]

[body]
x1 = [14.0, 18.0]
x2 = [4.0, 4.0]
depth = [2.0, 4.0]
a1 = [4.0, 4.0]
a2 = [4.0, 4.0]
a3 = [2.5, 2.5]
resistivity = [10.0, 10.0]
"""
"""A conductive body below three lines on a hill; depths are from the mean elevation."""


def train_hill(folder: Path) -> None:
    """Train a surrogate of a survey on topography, where DOLFINx and gmsh are there.

    Raises:
        RuntimeError: If a command fails; what they printed is in the folder's commands.log.
    """
    if any(importlib.util.find_spec(name) is None for name in ("dolfinx", "gmsh")):
        return
    import numpy as np

    from surrogates.survey import Survey, made

    flat = made("dipole-dipole", electrodes=12, spacing=3.0, lines=3, line_spacing=4.0, levels=6)
    x1, x2, _ = flat.electrodes.T
    x3 = 100 + 6 * np.exp(-((x1 - 16) ** 2 + (x2 - 4) ** 2) / (2 * 7**2))
    Survey(electrodes=np.stack([x1, x2, x3], axis=1), data=flat.data).write(folder / "hill.ohm")
    (folder / "hill.toml").write_text(HILL)
    commands = (
        "surrogates survey hill.ohm --mesh hill.msh --mesh-cells 2",
        "surrogates generate ert --config hill.toml --samples 120 --out hill.h5",
        "surrogates train hill.h5 --effort fast --out hill.pt",
        "surrogates export hill.pt --format npz --out hill.npz",
    )
    if run_script("\n".join(commands), folder, TEST):
        raise RuntimeError((folder / "commands.log").read_text())


def train(folder: Path) -> None:
    """Train the surrogates, and write each as .pt and .npz."""
    import numpy as np

    import surrogates
    from surrogates.export import npz

    page = blocks("docs/start", (ROOT / "docs" / "start.md").read_text())
    text = next(block.text for block in page if "surrogates.fit(" in block.text)
    names: dict[str, Any] = {}
    exec(compile(text, "docs/start.md", "exec"), names)
    found = {"oscillator": names["s"]}
    noise = 0.03 * np.random.default_rng(1).normal(size=names["C"].shape)
    columns = {"y_names": found["oscillator"].y_names, "c_names": found["oscillator"].c_names}
    found["noisy"] = surrogates.fit(names["Y"], names["C"] + noise, effort="fast", **columns)
    found["logarithmic"] = surrogates.fit(
        names["Y"], names["C"], effort="fast", log_inputs=["stiffness"], **columns
    )
    Y = np.random.default_rng(2).dirichlet(np.ones(3), 60)
    found["weights"] = surrogates.fit(
        Y, np.exp(Y @ [[1.0, 0.0], [0.5, -1.0], [0.0, 1.0]]), effort="fast"
    )
    sides = np.where(names["C"][:, 0] > 0, "right", "left")
    found["sides"] = surrogates.fit(names["Y"], labels=sides, effort="fast")
    for name, surrogate in found.items():
        surrogate.save(folder / f"{name}.pt")
        npz.save(surrogate, folder / f"{name}.npz")
    train_survey(folder)
    train_hill(folder)


def test(environment: Environment, name: str, folder: Path) -> tuple[bool, str]:
    """Run the tests of an adapter; return whether they passed, and what pytest printed."""
    options = ["-q", "-p", "no:cacheprovider", "-W", "default", "--disable-warnings"]
    try:
        done = subprocess.run(
            [environment.python, "-m", "pytest", *options, f"tests/adapters/test_{name}.py"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "ADAPTERS_FOLDER": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TEST,
        )
    except subprocess.TimeoutExpired as error:
        return False, f"{(error.stdout or b'').decode()}\nno end after {TEST} s"
    # A test that was skipped has not tried the package.
    return done.returncode == 0 and "skipped" not in done.stdout, done.stdout


def results(
    chosen: Sequence[tuple[Environment, str]], folder: Path
) -> Iterator[tuple[str, bool, str]]:
    """Make the environments and test the adapters; yield each one's name, result and output."""
    for environment, name in chosen:
        try:
            make(environment)
        except subprocess.SubprocessError as error:
            yield name, False, f"the environment {environment.name} cannot be made: {error}"
        else:
            yield name, *test(environment, name, folder)


def main() -> int:
    """Test the chosen adapters."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="an adapter, such as pymc")
    wanted = parser.parse_args().names
    known = [(one, name) for one in environments() for name in one.adapters + one.tests]
    if unknown := set(wanted) - {name for _, name in known}:
        there = ", ".join(sorted(name for _, name in known))
        parser.error(f"no such adapter: {', '.join(sorted(unknown))}; there are {there}")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        train(Path(folder))
        start = time.monotonic()
        chosen = [(one, name) for one, name in known if not wanted or name in wanted]
        for name, passed, output in results(chosen, Path(folder)):
            last = (output.strip().splitlines() or ["nothing printed"])[-1].strip("= ")
            said = "" if passed else "FAILED: "
            if not passed:
                print(output)
                failed += 1
            print(f"{name:12} {said}{last}, {time.monotonic() - start:.0f} s", flush=True)
            start = time.monotonic()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
