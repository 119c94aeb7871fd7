"""The example of flow in random sand against an expansion and a solver of its own."""

import sys

import numpy as np
import pytest
from mpi4py import MPI
from places import EXAMPLES
from problems import MPIRUN, run

from surrogates.data import Dataset
from surrogates.export import npz
from surrogates.pde import Problem, Settings
from surrogates.pde.loading import load

pytestmark = pytest.mark.fenicsx

DARCY = str(EXAMPLES / "darcy.py") + ":Darcy"


def darcy(cells: int) -> Problem:
    class Finer(load(DARCY)):
        pass

    Finer.cells = cells
    return Finer(Settings(), MPI.COMM_SELF)


def modes(points: np.ndarray) -> np.ndarray:
    return sys.modules[load(DARCY).__module__].modes(points.T).T


def test_the_expansion_is_that_of_the_covariance(path_kept):
    t = (np.arange(40) + 0.5) / 40
    points = np.stack(np.meshgrid(t, t), axis=-1).reshape(-1, 2)
    terms = modes(points)
    products = terms.T @ terms / len(points)
    sizes = np.diag(products)
    # Orthogonal in L2, and as large as the covariance's eigenvalues, which are products of those
    # in one dimension.
    assert np.abs(products - np.diag(sizes)).max() < 2e-3 * sizes[0]
    one, two = (
        np.linalg.eigvalsh(np.exp(-(((t[:, None] - t) / length) ** 2) / 2) / len(t))
        for length in (0.4, 0.3)
    )
    expected = np.sort(np.outer(one, two).ravel())[::-1]
    np.testing.assert_allclose(sizes, expected[:8], rtol=5e-3)
    assert abs(sizes.sum() - 0.963) < 1e-3  # of the variance, 1
    # Nothing is left of the covariance but the terms that are cut off.
    differences = (points[:, None] - points) / [0.4, 0.3]
    left = np.exp(-(differences**2).sum(axis=2) / 2) - terms @ terms.T
    norm = np.linalg.norm(left) / len(points)
    np.testing.assert_allclose(norm, np.linalg.norm(expected[8:]), rtol=1e-2)


def collocation(y: np.ndarray, n: int = 26) -> np.ndarray:
    """Solve the flow by Chebyshev collocation, which shares no code: heads at the wells."""
    k = np.arange(n + 1)
    x = (1 - np.cos(np.pi * k / n)) / 2
    c = np.where((k == 0) | (k == n), 2.0, 1.0) * (-1.0) ** k
    D = np.outer(c, 1 / c) / (x[:, None] - x + np.eye(n + 1))
    D -= np.diag(D.sum(axis=1))
    points = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
    K, one = np.exp(modes(points) @ y)[:, None], np.eye(n + 1)
    D1, D2 = np.kron(D, one), np.kron(one, D)
    A = -(D1 @ (K * D1) + D2 @ (K * D2))
    b = np.ones(len(points))
    flow, ends = (np.isclose(points[:, i] * (1 - points[:, i]), 0) for i in (1, 0))
    A[flow], b[flow] = D2[flow], 0
    A[ends], b[ends] = np.eye(len(points))[ends], 0
    h = np.linalg.solve(A, b).reshape(n + 1, n + 1)
    wells = np.arange(1, 6) / 6
    weights = (-1.0) ** k * np.where((k == 0) | (k == n), 0.5, 1.0)
    L = weights / (wells[:, None] - x)
    L /= L.sum(axis=1, keepdims=True)
    return (L @ h @ L.T).T.ravel()  # x1 fastest


def test_darcy_s_heads_converge_to_those_of_another_method_at_order_two(path_kept):
    y = load(DARCY).parameters(Settings(), total=1, seed=3, start=0, stop=1)
    reference = collocation(y[0])
    assert np.abs(collocation(y[0], 20) - reference).max() < 1e-5 * reference.max()
    errors = []
    for cells in (12, 24, 48, 96):
        batch = darcy(cells).solve_batch(np.vstack([0 * y, y]))
        assert batch.failure == ["", ""]
        assert 0 < batch.solver["residual"][1] < 1e-9
        errors.append(np.linalg.norm(batch.C[1] - reference) / np.linalg.norm(reference))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert ((orders[-2:] > 1.9) & (orders[-2:] < 2.3)).all(), (errors, orders)
    assert errors[1] < 0.01, errors


@pytest.mark.parametrize("cells", [30, 3])  # with 3, wells are in the cells of the ends too
def test_darcy_s_heads_in_uniform_sand_are_exact_at_the_nodes(path_kept, cells):
    nodes = np.linspace(0, 1, cells + 1)
    x1 = np.tile(np.arange(1, 6) / 6, 5)
    batch = darcy(cells).solve_batch(np.zeros((1, 8)))
    expected = np.interp(x1, nodes, nodes * (1 - nodes) / 2)
    np.testing.assert_allclose(batch.C[0], expected, rtol=1e-8)


@pytest.mark.mpi
def test_darcy_end_to_end(tmp_path):
    surrogates = (sys.executable, "-m", "surrogates")
    out, model = str(tmp_path / "darcy.h5"), str(tmp_path / "darcy.pt")
    words = ("generate", DARCY, "--set", "batch=8")
    run(*MPIRUN, *surrogates, *words, "--samples", "120", "--out", out)
    dataset = Dataset.read(out)
    assert dataset.info.problem == "darcy.py:Darcy"
    assert dataset.problems() == []
    assert 0.02 < dataset.C.std(axis=0).min()
    shared = str(tmp_path / "shared.h5")
    both = ("--samples", "16", "--ranks-per-sample", "2", "--out", shared)
    run(*MPIRUN, *surrogates, *words, *both)
    np.testing.assert_allclose(Dataset.read(shared).C, dataset.C[:16], rtol=1e-6)
    run(
        *surrogates,
        "train",
        out,
        "--out",
        model,
        "--effort",
        "fast",
        "--set",
        "stopping.work_units=100",
    )
    run(*surrogates, "export", model, "--format", "npz", "--out", str(tmp_path / "darcy.npz"))
    h = npz.load(tmp_path / "darcy.npz").predict(np.zeros(8))
    x1 = np.tile(np.arange(1, 6) / 6, 5)
    assert np.linalg.norm(h - x1 * (1 - x1) / 2) < 0.3 * np.linalg.norm(x1 * (1 - x1) / 2)
