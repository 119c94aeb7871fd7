from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import QUICK, run, trained

from surrogates.data import SOLVER, Dataset, Info, Status, assign_split
from surrogates.model import describe
from surrogates.model import file as export
from surrogates.model.metrics import evaluate
from surrogates.model.networks import AntisymmetricODE
from surrogates.model.parts import Domain, ErrorBars
from surrogates.model.surrogate import Surrogate

N_IN, N_OUT = 4, 6


class Convolution(torch.nn.Module):
    """A feature extractor of a user's, with the methods of `FeatureExtractor`."""

    def __init__(self) -> None:
        super().__init__()
        self.n_in, self.width = N_IN, 5
        generator = torch.Generator().manual_seed(4)
        self.weight = torch.nn.Parameter(torch.randn(5, 1, N_IN, generator=generator))

    def forward(self, Y: torch.Tensor) -> torch.Tensor:
        return torch.tanh(torch.conv1d(Y.unsqueeze(1), self.weight)[:, :, 0])

    def forward_and_jacobian(self, Y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        F = self.forward(Y)
        return F, (1 - F * F).unsqueeze(2) * self.weight[:, 0]


@pytest.fixture
def convolution() -> Convolution:
    return Convolution()


@pytest.fixture
def parts() -> dict[str, Any]:
    """What the surrogate is made of; its domain is a box."""
    generator = torch.Generator().manual_seed(0)
    lower, upper = np.array([0.0, -10.0, -4.0, -3.0]), np.array([2.0, 30.0, -2.0, 3.0])
    return {
        "features": AntisymmetricODE(N_IN, 5, 2, generator=generator),
        "W": torch.randn(N_OUT, 6, generator=generator, dtype=torch.float64),
        "y_shift": torch.tensor([1.0, 10.0, -3.0, 0.0]),
        "y_scale": torch.tensor([0.5, 20.0, 1.0, 3.0]),
        "domain": Domain(
            lower=lower,
            upper=upper,
            unit=(upper - lower) / 4,
            normals=np.empty((0, N_IN)),
            centre=(lower + upper) / 2,
        ),
        "error_bars": ErrorBars(
            leverage=torch.randn(6, 6, generator=generator, dtype=torch.float64) / 3,
            floor=0.25,
            sigma=torch.linspace(0.01, 0.06, N_OUT),
        ),
    }


@pytest.fixture(scope="module")
def written_once(tmp_path_factory) -> Callable[..., Path]:
    """Write a surrogate file at its first use in a module, and copy it to each test's folder."""
    folder = tmp_path_factory.mktemp("written")

    def copied(name: str, write: Callable[[Path], object], to: Path) -> Path:
        (folder / name).mkdir(exist_ok=True)
        path = folder / name / "toy.pt"
        if not path.exists():
            write(path)
        return Path(shutil.copy(path, to))

    return copied


@pytest.fixture
def surrogate(parts: dict[str, Any]) -> Surrogate:
    return Surrogate(**parts)


@pytest.fixture
def Y(surrogate: Surrogate) -> torch.Tensor:
    draws = torch.rand(7, N_IN, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return surrogate.lower + draws * (surrogate.upper - surrogate.lower)


@pytest.fixture
def dataset(surrogate: Surrogate) -> Dataset:
    """Twenty exact samples, 2 times 3 places, of which the last failed."""
    n = 20
    rng = np.random.default_rng(0)
    lower, upper = surrogate.lower.numpy(), surrogate.upper.numpy()
    Y = rng.uniform(lower, upper, (n, N_IN))
    C = surrogate(torch.from_numpy(Y)).numpy()
    C[-1] = np.nan
    status = np.full(n, Status.DONE, np.uint8)
    status[-1] = Status.FAILED
    info = Info(
        problem="toy",
        config="[mesh]\nn = 3\n",
        design="uniform",
        seed=3,
        split="10/5/5",
        total=n,
        y_names=("a", "b", "γ", "d"),
        y_units=("1", "m", "S/m", "1"),
        y_lower=lower,
        y_upper=upper,
        c_names=tuple(f"u(s{j}, {t})" for t in (0.5, 1.0) for j in range(3)),
        c_units=("V",) * N_OUT,
        coordinates={"time": np.repeat([0.5, 1.0], 3), "x1": np.tile([0.1, 0.2, 0.3], 2)},
        mesh="3 cells",
        versions={"numpy": np.__version__},
        command="surrogates generate toy",
        created="2026-01-01T00:00:00+00:00",
        revision="abc",
    )
    solver = np.zeros(n, SOLVER)
    solver["iterations"] = np.arange(n)
    return Dataset(
        info=info,
        Y=Y,
        C=C,
        status=status,
        split=assign_split(info.split, n, info.seed),
        failure=[*[""] * (n - 1), "the solver diverged: ü"],
        solver=solver,
    )


@pytest.fixture
def saved(surrogate, dataset, tmp_path, written_once) -> Path:
    """A file of the surrogate, with errors and settings in its metadata."""
    Y, C = map(torch.from_numpy, dataset.part("test"))
    std = surrogate.predict_std
    errors = {"test": evaluate(surrogate, Y, C + 0.01, mean=C.mean(dim=0), predict_std=std)}
    training = {"width": 5, "alpha": (1e-10, np.float64(2)), "gap": float("nan"), "mean": C[0]}
    about = describe.metadata(dataset, training=training, errors=errors)
    return written_once("saved", lambda path: export.save(surrogate, about, path), tmp_path)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty folder, which is the working one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# The commands' own datasets and surrogates


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with an imported dataset of a smooth map and a surrogate of it."""
    folder = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    Y = rng.random((120, 3))
    A = rng.normal(size=(3, 5))
    np.savez(folder / "map.npz", Y=Y, C=2 + np.tanh(Y @ A) + 0.1 * (Y @ A) ** 2)
    assert run("import", folder / "map.npz", "--out", folder / "map.h5") == 0
    assert run("train", folder / "map.h5", "--out", folder / "map.pt", *QUICK) == 0
    return folder


@pytest.fixture(scope="module")
def apart(folder, tmp_path_factory) -> Path:
    return trained(folder, tmp_path_factory.mktemp("apart") / "map.pt")


@pytest.fixture(scope="module")
def classes(tmp_path_factory) -> Path:
    """A folder with a dataset of three classes, of which ``b, c`` is rare, and a classifier."""
    folder = tmp_path_factory.mktemp("classes")
    rng = np.random.default_rng(0)
    Y = rng.uniform(-1, 1, (300, 2))
    labels = np.digitize(Y[:, 0] ** 2 + Y[:, 1] + 0.1 * rng.normal(size=300), [0.3, 0.45])
    np.savez(folder / "map.npz", Y=Y, C=labels)
    words = ("--task", "classification", "--split", "150/100/50")
    assert run("import", folder / "map.npz", "--out", folder / "plain.h5", *words) == 0
    plain = Dataset.read(folder / "plain.h5")
    info = dataclasses.replace(plain.info, c_names=("a", "b, c", "100 % d"))
    dataclasses.replace(plain, info=info).write(folder / "map.h5")
    assert run("train", folder / "map.h5", "--out", folder / "map.pt", *QUICK) == 0
    return folder
