"""CDR's derivatives: Taylor tests, the adjoint identity, the scheme's stages, two processes."""

import numpy as np
import pytest
from mpi4py import MPI
from runs import SMALL as SMALLEST
from runs import run

from surrogates import config
from surrogates.data import Dataset
from surrogates.pde.cdr import CDR, CDRConfig, linearised
from surrogates.pde.cdr import config as settings

pytestmark = pytest.mark.fenicsx

SMALL = ("mesh.cells=[8,8]", "mesh.degree=2", "time.steps=30")
DESIGNS = {
    "simplex": (),
    "box": ("sampling.design=box",),
    "latin-hypercube": ("sampling.design=latin-hypercube", "sampling.upper=0.03"),
    "sobol": ("sampling.design=sobol", "sampling.lower=0.01"),
}


def make(*overrides: str) -> CDR:
    return CDR(config.read(CDRConfig, None, overrides), MPI.COMM_SELF)


def samples(problem: CDR, n: int, seed: int = 0) -> np.ndarray:
    return problem.parameters(problem.config, total=n, seed=seed, start=0, stop=n)


def directions(n: int, r: int, seed: int = 0) -> np.ndarray:
    """Random directions, as long as the samples are."""
    return np.random.default_rng(seed).standard_normal((n, r, 55)) / 55


def taylor_orders(problem: CDR, Y: np.ndarray, V: np.ndarray) -> np.ndarray:
    """Orders of the remainders c(y + h v) - c(y) - h dc/dy v in h, over h = 2^-2 to 2^-6.

    Returns:
        The orders over the last four halvings, (4, n).
    """
    batch = problem.solve_batch(Y, tangents=V)
    assert batch.failure == [""] * len(Y)
    assert batch.dC_dV is not None
    remainders = []
    for h in 2.0 ** -np.arange(2, 7):
        moved = problem.solve_batch(Y + h * V[:, 0])
        assert moved.failure == [""] * len(Y)
        remainders.append(np.linalg.norm(moved.C - batch.C - h * batch.dC_dV[..., 0], axis=1))
    assert np.min(remainders) > 1e-9 * np.linalg.norm(batch.C, axis=1).max()  # above rounding
    return np.log2(np.array(remainders[:-1]) / np.array(remainders[1:]))


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("law", settings.LAWS)
def test_tangents_pass_a_taylor_test_for_every_law_and_design(law, design):
    problem = make(*SMALL, f"reaction.law={law}", *DESIGNS[design])
    orders = taylor_orders(problem, samples(problem, 4), directions(4, 1))
    assert (orders > 1.8).all(), orders


@pytest.mark.parametrize("diffusivity", ["1e-4", "1e-5"])
def test_tangents_pass_a_taylor_test_at_high_mesh_peclet_numbers(diffusivity):
    problem = make(f"flow.diffusivity={diffusivity}")
    assert problem.peclet > 100
    orders = taylor_orders(problem, samples(problem, 3, seed=2), directions(3, 1, seed=1))
    assert (orders > 1.8).all(), orders


@pytest.mark.parametrize("law", settings.LAWS)
def test_slopes_are_the_derivatives_of_the_laws(law):
    p = settings.Reaction(law=law, saturation=7.0, capacity=3.0, activation=2.0)
    u, h = np.linspace(-1, 3, 401), 1e-30
    # The complex step; |u| has no complex derivative, so the law is written with the sign of u.
    z = u + 1j * h
    if law == "michaelis-menten":
        value = z / (1 + z * np.where(u < 0, -1, 1) / p.saturation)
    elif law == "ignition":
        value = np.where(
            u > 2e-3, p.saturation * np.exp(-p.activation / np.where(u > 2e-3, z, 1)), 0
        )
    else:
        value = settings.LAWS[law](z, p)
    assert np.allclose(value.real, settings.LAWS[law](u, p), rtol=1e-12, atol=1e-29)
    s, slope = settings.SLOPES[law](u, p)
    assert np.allclose(s, value.real, rtol=1e-12, atol=1e-29)
    assert np.allclose(slope, value.imag / h, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    "overrides", [SMALL, ("flow.diffusivity=1e-5",), (*SMALL, "reaction.law=ignition")]
)
def test_adjoints_are_the_transpose_of_the_tangents(overrides):
    problem = make(*overrides)
    V, W = directions(3, 4), np.random.default_rng(1).standard_normal((2, 72))
    batch = problem.solve_batch(samples(problem, 3), tangents=V, adjoints=W)
    forward = np.einsum("kc,icj->ikj", W, batch.dC_dV)
    backward = np.einsum("iky,ijy->ikj", batch.dW_dY, V)
    assert np.abs(forward - backward).max() < 1e-12 * np.abs(forward).max()


def test_directions_are_the_whole_tangents_contracted_and_c_is_the_same():
    problem = make(*SMALL)
    Y, V = samples(problem, 3), directions(3, 70)  # more than are solved for at a time
    whole, some = problem.solve_batch(Y, tangents=True), problem.solve_batch(Y, tangents=V)
    assert whole.dC_dY.shape == (3, 72, 55)
    assert some.dC_dV.shape == (3, 72, 70)
    expected = np.einsum("icy,ijy->icj", whole.dC_dY, V)
    assert np.abs(some.dC_dV - expected).max() < 1e-12 * np.abs(expected).max()
    values = problem.solve_batch(Y)
    for batch in (whole, some):
        assert np.allclose(batch.C, values.C, rtol=1e-12)  # c by dense blocks, and by MUMPS
    assert (values.dC_dY, values.dC_dV, values.dW_dY) == (None, None, None)


def test_a_sample_that_fails_has_no_derivatives_and_the_others_do():
    problem = make(*SMALL, "reaction.law=linear")
    Y = np.full((3, 55), 1 / 55) * [[1.0], [1e4], [1.0]]
    W = np.ones((1, 72))
    batch = problem.solve_batch(Y, tangents=directions(3, 2), adjoints=W)
    assert [bool(reason) for reason in batch.failure] == [False, True, False]
    for values in (batch.C, batch.dC_dV, batch.dW_dY):
        assert np.isnan(values[1]).all() and np.isfinite(values[[0, 2]]).all()


def test_memory_is_bounded_by_smaller_groups_and_by_steps_that_are_computed_again(monkeypatch):
    problem = make(*SMALL)
    Y, V, W = samples(problem, 5), directions(5, 3), np.random.default_rng(1).random((2, 72))
    whole = problem.solve_batch(Y, tangents=V, adjoints=W)
    monkeypatch.setattr("surrogates.pde.cdr.problem._MOST_BYTES", 2 * 8 * 289 * 32)
    monkeypatch.setattr("surrogates.pde.cdr.scheme._MOST_BYTES", 1)
    assert problem._together(V, W) == 2
    parts = problem.solve_batch(Y, tangents=V, adjoints=W)
    assert np.allclose(parts.C, whole.C, rtol=1e-12)
    for name in ("dC_dV", "dW_dY"):
        a, b = getattr(parts, name), getattr(whole, name)
        assert np.abs(a - b).max() < 1e-12 * np.abs(b).max()


def test_gmres_agrees_with_lu():
    case = ("mesh.cells=[6,6]", "mesh.degree=2", "time.steps=15")
    problem, V, W = make(*case), directions(2, 2), np.ones((1, 72))
    Y = samples(problem, 2)
    lu = problem.solve_batch(Y, tangents=V, adjoints=W)
    gmres = make(*case, "solver.method=gmres").solve_batch(Y, tangents=V, adjoints=W)
    assert np.allclose(lu.dC_dV, gmres.dC_dV, rtol=0, atol=1e-7 * np.abs(lu.dC_dV).max())
    assert np.allclose(lu.dW_dY, gmres.dW_dY, rtol=0, atol=1e-7 * np.abs(lu.dW_dY).max())


def test_the_stages_without_the_implicit_parts_are_those_of_the_method():
    """The scalar equation du/dt = -a u + n(u), by the tableaus and by `stage_weights`."""
    from surrogates.pde.cdr.discretisation import EXPLICIT, GAMMA, IMPLICIT

    a, dt, U, N, G = 3.0, 0.1, [0.7], [], [0.0]
    weights = [0.7]
    for i in range(1, len(IMPLICIT)):
        N.append(np.sin(U[-1]))
        R = U[0] + dt * (EXPLICIT[i, :i] @ N + IMPLICIT[i, :i] @ G)
        U.append(R / (1 + dt * GAMMA * a))
        G.append(-a * U[-1])
        S = 1 / (1 + dt * GAMMA * a)
        weights.append(S * (linearised.C[i, :i] @ U[:i] + dt * linearised.E[i, :i] @ N))
    assert np.allclose(weights, U, rtol=1e-14)


@pytest.mark.mpi
@pytest.mark.parametrize("kind", [("--tangents",), ("--tangents", "3"), ("--adjoints", "2")])
def test_derivatives_do_not_depend_on_the_processes_that_share_a_mesh(tmp_path, kind):
    pilot = tmp_path / "pilot.h5"
    words = ("generate", "cdr", *SMALLEST, "--samples", "4", "--split", "1/0/0")
    if kind[0] == "--adjoints":
        run(1, *words, "--out", str(pilot))
        kind = (*kind, "--pilot", str(pilot))
    sets = []
    for ranks in (1, 2):
        out = tmp_path / f"{ranks}.h5"
        many = ("--ranks-per-sample", "2") if ranks > 1 else ()
        run(ranks, *words, "--seed", "7", *kind, *many, "--out", str(out))
        sets.append(Dataset.read(out))
    one, two = sets
    name = {"--adjoints": "dW_dY"}.get(kind[0], "dC_dV" if len(kind) > 1 else "dC_dY")
    a, b = (getattr(data, name) for data in sets)
    assert np.isfinite(a).all() and np.abs(a).max() > 0
    assert np.abs(a - b).max() < 1e-12 * np.abs(a).max()
    assert np.allclose(one.C, two.C, rtol=1e-12)
