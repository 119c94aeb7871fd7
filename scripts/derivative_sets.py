"""The sets of `benchmark_derivatives.py`: problems with solver runs, and functions with Jacobians.

The functions are those of the documentation of the two programs that are compared with: JENN's
tutorials (sinusoid, Rastrigin, Rosenbrock) and the Surrogate Modeling Toolbox's problems (sphere,
tensor product, welded beam, torsion vibration, water flow, which is the borehole function), and
three others of the suite (`suite_sets`: Ishigami, OTL circuit, piston). Their derivatives are by
the complex step, exact to rounding (Martins, Sturdza, Alonso 2003, "The complex-step derivative
approximation"). No default of the package was chosen on these sets.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import suite_sets

from surrogates.data import Dataset, assign_split
from surrogates.data.from_arrays import from_arrays
from surrogates.types import Array

EXAMPLES = Path(__file__).with_name("examples")
TEST_SAMPLES, TEST_SEED = 200, 10_000
N_TEST = 1000  # of a function
STEP = 1e-30  # of the complex step: no difference is formed, so nothing cancels
GENERATE_SECONDS = 7200.0


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem of `surrogates generate`.

    Attributes:
        name: Its name there.
        centred: Whether the error is relative to c - mean, and not to c: the mean of c is the
            largest part of c where only a body or a source changes.
    """

    name: str
    centred: bool = True


PROBLEMS = {
    "cdr": Problem(name="cdr", centred=False),
    "dcr": Problem(name="dcr"),
    "darcy": Problem(name=f"{EXAMPLES}/darcy.py:Darcy"),
    "reaction_diffusion": Problem(name=f"{EXAMPLES}/reaction_diffusion.py:ReactionDiffusion"),
}


@dataclass(frozen=True, kw_only=True)
class Function:
    """An analytic function on a box.

    Attributes:
        citation: Its source.
        lower: Lower ends of the inputs.
        upper: Upper ends.
        evaluate: Maps complex (n, n_in) to (n,) or (n, n_out).
    """

    citation: str
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    evaluate: Callable[[Array], Array]

    def __call__(self, Y: Array) -> tuple[Array, Array]:
        """Return outputs, (n, n_out), and their Jacobians, (n, n_out, n_in)."""
        C = np.real(self.evaluate(Y.astype(complex))).reshape(len(Y), -1)
        columns = []
        for k in range(Y.shape[1]):
            moved = Y.astype(complex)
            moved[:, k] += 1j * STEP
            columns.append(np.imag(self.evaluate(moved)).reshape(len(Y), -1) / STEP)
        return C, np.stack(columns, axis=2)

    def dataset(self, n: int, seed: int, part: str) -> Dataset:
        """Draw n points by Latin hypercube, with whole tangents, all in one part."""
        own = {"train": 0, "test": 1}[part]
        state = np.random.SeedSequence([seed, own])
        box = suite_sets.Function(
            citation="", lower=self.lower, upper=self.upper, evaluate=self.evaluate
        )
        Y = box.sample(n, state)
        C, J = self(Y)
        ends = list(self.lower), list(self.upper)
        split = "0/0/1" if part == "test" else "0.8/0.2/0"
        return with_tangents(from_arrays(Y, C, bounds=ends, split=split, seed=seed), J)


def _rastrigin(Y: Array) -> Array:
    return (Y**2 - 10 * np.cos(2 * np.pi * Y) + 10).sum(axis=1)


def _rosenbrock(Y: Array) -> Array:
    return (1 - Y[:, 0]) ** 2 + 100 * (Y[:, 1] - Y[:, 0] ** 2) ** 2


def _welded_beam(Y: Array) -> Array:
    height, thickness, length = Y.T
    arm = np.sqrt(0.25 * (length**2 + (thickness + height) ** 2))
    primary = 6000 / (np.sqrt(2) * thickness * length)
    inertia = 2 * 0.707 * thickness * length * (length**2 / 12 + 0.25 * (thickness + height) ** 2)
    # l^2 / 12 as in the source (Deb 2000); SMT has l / 12.
    secondary = 6000 * (14 + 0.5 * length) * arm / inertia
    return np.sqrt(primary**2 + secondary**2 + length * primary * secondary / arm)


def _torsion_vibration(Y: Array) -> Array:
    d1, L1, G1, L3, G3, D1, d2, L2, G2, d3, t1, rho1, D2, t2, rho2 = Y.T
    K1, K2, K3 = (
        np.pi * G * d / (32 * L) for G, d, L in ((G1, d1, L1), (G2, d2, L2), (G3, d3, L3))
    )
    J1, J2 = (
        0.5 * rho * np.pi * t * D / (4 * 9.80665) * (D / 2) ** 2
        for rho, t, D in ((rho1, t1, D1), (rho2, t2, D2))
    )
    b = -((K1 + K2) / J1 + (K2 + K3) / J2)
    c = (K1 * K2 + K2 * K3 + K3 * K1) / (J1 * J2)
    return np.sqrt((-b - np.sqrt(b**2 - 4 * c)) / 2) / (2 * np.pi)


_TORSION = (1.8, 9, 10.53e6, 7.2, 3.51e6, 10.8, 1.6425, 10.8, 5.58e6, 2.025, 2.7, 0.252, 12.6)
_TORSION += (3.6, 0.09)  # the upper ends are 11/9 of these
_LIU = "Liu, Xu, Wang (2016), Sampling strategies and metamodeling techniques; SMT's problems"


def _suite(name: str) -> Function:
    known = suite_sets.SETS[name]
    assert isinstance(known, suite_sets.Function)
    return Function(
        citation=known.citation, lower=known.lower, upper=known.upper, evaluate=known.evaluate
    )


FUNCTIONS = {
    "sinusoid": Function(
        citation="JENN's tutorial 1",
        lower=(-np.pi,),
        upper=(np.pi,),
        evaluate=lambda Y: Y * np.sin(Y),
    ),
    "rastrigin": Function(
        citation="Rastrigin (1974); JENN's tutorial 2",
        lower=(-1.0, -1.0),
        upper=(1.5, 1.5),
        evaluate=_rastrigin,
    ),
    "rosenbrock": Function(
        citation="Rosenbrock (1960); JENN's tutorial 4, SMT's problems",
        lower=(-2.0, -2.0),
        upper=(2.0, 2.0),
        evaluate=_rosenbrock,
    ),
    "sphere": Function(
        citation="SMT's example of GEKPLS",
        lower=(-10.0, -10.0),
        upper=(10.0, 10.0),
        evaluate=lambda Y: (Y**2).sum(axis=1),
    ),
    "tensor_product": Function(
        citation="Hwang, Martins (2018), RMTS; SMT's problems, tanh of width 1",
        lower=(-1.0,) * 4,
        upper=(1.0,) * 4,
        evaluate=lambda Y: np.tanh(Y).prod(axis=1),
    ),
    "welded_beam": Function(
        citation=_LIU, lower=(5.0, 0.125, 5.0), upper=(10.0, 1.0, 10.0), evaluate=_welded_beam
    ),
    "torsion_vibration": Function(
        citation=_LIU,
        lower=_TORSION,
        upper=tuple(11 / 9 * end for end in _TORSION),
        evaluate=_torsion_vibration,
    ),
    "borehole": _suite("borehole"),
    "ishigami": _suite("ishigami"),
    "otl_circuit": _suite("otl_circuit"),
    "piston": _suite("piston"),
}


def with_tangents(dataset: Dataset, J: Array) -> Dataset:
    """Return a dataset with whole tangents J, (n, n_c, n_y)."""
    info = dataclasses.replace(dataset.info, tangents=True)
    return dataclasses.replace(dataset, info=info, dC_dY=J)


def without(dataset: Dataset) -> Dataset:
    """Return a dataset without its derivatives."""
    info = dataclasses.replace(dataset.info, tangents=False)
    return dataclasses.replace(dataset, info=info, dC_dY=None)


def in_directions(dataset: Dataset, r: int, seed: int) -> Dataset:
    """Return a dataset with dc/dy in r random directions of each sample, of its whole tangents.

    They are orthonormal in units of the parameters' ranges, as those of ``generate --tangents r``.
    """
    assert dataset.dC_dY is not None
    n, n_y = dataset.Y.shape
    rng = np.random.default_rng([seed, r])
    Q = np.linalg.qr(rng.standard_normal((n, n_y, r)))[0].transpose(0, 2, 1)
    V = Q * (dataset.info.y_upper - dataset.info.y_lower)
    info = dataclasses.replace(dataset.info, tangents=False, directions=r)
    return dataclasses.replace(
        dataset, info=info, dC_dY=None, directions=V, dC_dV=dataset.dC_dY @ V.transpose(0, 2, 1)
    )


def first(dataset: Dataset, n: int, seed: int) -> Dataset:
    """Return the first n samples, divided into training and validation by the seed."""
    part = dataset.rows(slice(0, n))
    split = "0.8/0.2/0"
    info = dataclasses.replace(part.info, total=n, split=split, seed=seed)
    return dataclasses.replace(part, info=info, split=assign_split(split, n, seed))


def generated(name: str, samples: int, seed: int, tangents: bool, cache: Path) -> Dataset:
    """Return samples of a problem, with tangents or not; generate them once.

    Sample i is a function of configuration, seed and i: a set of fewer samples of the same seed is
    the beginning of one with more, with the same parameters.
    """
    kind = "tangents" if tangents else "values"
    path = cache / f"{name}-{kind}-{seed}-{samples}.h5"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        words = ["generate", PROBLEMS[name].name, "--samples", str(samples), "--seed", str(seed)]
        words += ["--out", str(path), "--split", "1/0/0", *(["--tangents"] if tangents else [])]
        subprocess.run(
            [sys.executable, "-m", "surrogates", *words],
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            timeout=GENERATE_SECONDS,
            stdout=subprocess.DEVNULL,
        )
    return Dataset.read(path)


def held_out(name: str, samples: int, cache: Path) -> Dataset:
    """Return the test samples of a problem, with tangents."""
    found = generated(name, samples, TEST_SEED, True, cache)
    info = dataclasses.replace(found.info, split="0/0/1")
    return dataclasses.replace(found, info=info, split=assign_split("0/0/1", samples, TEST_SEED))


def costs(name: str, directions: int, cache: Path, rounds: int = 3) -> dict[str, float]:
    """Measure solver seconds of a sample in a batch: values alone, tangents, r directions.

    The kinds take turns on the same parameters, so that a change of the machine's speed affects
    all; the least of the rounds counts. Kept in the cache.
    """
    path = cache / f"{name}-costs-{directions}.json"
    if path.exists():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    from mpi4py import MPI

    from surrogates.pde.loading import load
    from surrogates.pde.solving import made, solved

    cls = load(PROBLEMS[name].name)
    problem = made(cls, cls.Config(), MPI.COMM_SELF)
    n = max(cls.batch(problem.config), 4)
    Y = cls.parameters(problem.config, total=n, seed=TEST_SEED, start=0, stop=n)
    n_y = Y.shape[1]
    V = np.linalg.qr(np.random.default_rng(0).standard_normal((n, n_y, min(directions, n_y))))[0]
    kinds: dict[str, bool | Array] = {"values": False, "tangents": True}
    if cls.has_directions and directions < n_y:
        kinds["directions"] = V.transpose(0, 2, 1)
    seconds = {kind: np.inf for kind in kinds}
    for number in range(rounds + 1):
        for kind, tangents in kinds.items():
            start = time.perf_counter()
            batch = solved(problem, Y, size=cls.batch(problem.config), tangents=tangents)
            taken = (time.perf_counter() - start) / n
            assert not any(batch.failure)
            if number:  # the first is warm-up
                seconds[kind] = min(seconds[kind], taken)
    path.write_text(json.dumps(seconds), encoding="utf-8")
    return seconds
