"""The wheel and the sdist: what they hold, and a life with the wheel alone."""

import ctypes
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from places import ROOT

SOURCES = ("pde", "training", "surrogates", "pyproject.toml", "README.md", "LICENSE")
FENICSX = ("basix", "dolfinx", "ffcx", "mpi4py", "petsc4py", "ufl")
BUILD = """
import setuptools.build_meta as backend, sys
print(getattr(backend, f"build_{sys.argv[1]}")(sys.argv[2]))
"""

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(900)]


def built(kind: str, source: Path, folder: Path) -> Path:
    """Build a wheel or an sdist, without a download."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, kind, str(folder)],
        cwd=source,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=200,
    )
    return folder / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist of the checkout, and the wheel of what the sdist unpacks to."""
    folder = tmp_path_factory.mktemp("dist")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            caches = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=caches)
        else:
            shutil.copy(ROOT / name, source / name)
    sdist = built("sdist", source, folder)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked")
    (unpacked,) = (folder / "unpacked").iterdir()
    return sdist, built("wheel", unpacked, folder)


def package_files() -> set[str]:
    """Every file of the package in the checkout, the links to pde and training followed."""
    return {
        (Path(folder) / name).relative_to(ROOT).as_posix()
        for folder, _, names in os.walk(ROOT / "surrogates", followlinks=True)
        for name in names
        if not name.endswith(".pyc")
    }


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(archives):
    _, wheel = archives
    with zipfile.ZipFile(wheel) as archive:
        members = {name for name in archive.namelist() if ".dist-info/" not in name}
        (licence,) = [name for name in archive.namelist() if name.endswith("/LICENSE")]
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
    assert members == package_files()
    assert {"surrogates/pde/problem.py", "surrogates/training/fit.py"} <= members
    assert "surrogates/py.typed" in members


def test_the_sdist_holds_the_package_and_what_builds_it(archives):
    sdist, _ = archives
    with tarfile.open(sdist) as archive:
        files = {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}
    assert package_files() | {"pyproject.toml", "README.md", "LICENSE"} <= files


@pytest.fixture(scope="module")
def clean(archives, tmp_path_factory) -> Path:
    """The bin folder of an environment with the wheel and its dependencies, without FEniCSx."""
    folder = tmp_path_factory.mktemp("clean")
    venv, others = folder / "venv", folder / "others"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    others.mkdir()
    for place in map(Path, sys.path[1:]):
        if place.name not in ("site-packages", "dist-packages") or not place.is_dir():
            continue
        for entry in place.iterdir():
            hidden = entry.suffix in (".pth", ".egg-link") or entry.name.startswith(
                ("__editable__", "surrogates", "varpro_surrogates", *FENICSX)
            )
            if not hidden and not (others / entry.name).exists():
                (others / entry.name).symlink_to(entry)
    (site,) = (venv / "lib").glob("python*/site-packages")
    (site / "others.pth").write_text(f"{others}\n")
    install = [sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python"), "install"]
    subprocess.run(
        [*install, "--no-deps", "--no-index", "--quiet", str(archives[1])], check=True, timeout=200
    )
    return venv / "bin"


def run(clean: Path, folder: Path, *words: str) -> str:
    """Run a program of the clean environment in a folder, and return what it prints."""
    done = subprocess.run(
        [str(clean / words[0]), *words[1:]],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "HOME": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_without_fenicsx_the_wheel_fits_saves_loads_and_exports(clean, tmp_path):
    assert "None" in run(
        clean, tmp_path, "python", "-c", "import importlib.util as u; print(u.find_spec('dolfinx'))"
    )
    where = run(clean, tmp_path, "python", "-c", "import surrogates; print(surrogates.__file__)")
    assert str(clean.parent) in where
    Y = np.random.default_rng(0).random((120, 2))
    C = np.sin(Y @ [[1.0, 2.0, 0.5], [0.5, -1.0, 2.0]])
    np.savez(tmp_path / "mine.npz", Y=Y, C=C)
    run(clean, tmp_path, "surrogates", "import", "mine.npz", "--out", "mine.h5")
    run(clean, tmp_path, "surrogates", "train", "mine.h5", "--effort", "fast", "--out", "mine.pt")
    load = "import surrogates; print(*surrogates.load('mine.pt').predict([0.3, 0.6]))"
    predicted = np.array(run(clean, tmp_path, "python", "-c", load).split(), dtype=float)
    truth = np.sin(np.array([0.3, 0.6]) @ [[1.0, 2.0, 0.5], [0.5, -1.0, 2.0]])
    assert np.abs(predicted - truth).max() < 1e-2
    run(clean, tmp_path, "surrogates", "export", "mine.pt", "--format", "c", "--out", "mine.c")
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "needs a C compiler, as DOLFINx does"
    command = [compiler, "-std=c99", "-O2", "-shared", "-fPIC", "mine.c", "-lm", "-o", "mine.so"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=200)
    y, c = (ctypes.c_double * 2)(0.3, 0.6), (ctypes.c_double * 3)()
    ctypes.CDLL(str(tmp_path / "mine.so")).mine_forward(y, c)
    np.testing.assert_allclose(np.array(c), predicted, rtol=0, atol=1e-12)
