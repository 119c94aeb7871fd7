"""The CDR discretisation: order of convergence, SUPG, an independent solver, failures."""

import numpy as np
import pytest
import ufl
from dolfinx import fem
from mpi4py import MPI
from scipy.integrate import solve_ivp

from surrogates import config
from surrogates.errors import InputError
from surrogates.pde.cdr import CDR, CDRConfig, discretisation
from surrogates.pde.cdr import config as settings

pytestmark = pytest.mark.fenicsx

EQUAL = np.full((1, 55), 1 / 55)


def make(*overrides: str) -> CDR:
    return CDR(config.read(CDRConfig, None, overrides), MPI.COMM_SELF)


def exact(x1, x2, t):
    """A solution with zero normal derivative on the boundary."""
    cos, sin, pi = np.cos, np.sin, np.pi
    return 2 + sin(2 * t) * cos(pi * x1) * cos(2 * pi * x2) + t * cos(pi * x2)


def manufactured_error(problem: CDR) -> float:
    """The L2 error at the final time for `exact`, its forcing derived here by hand."""
    flow, reaction = problem.config.flow, problem.config.reaction
    assert problem.config.sources.strength == 0
    pi = np.pi

    def forcing(points, t):
        x1, x2 = points.T
        u = exact(x1, x2, t)
        u_t = 2 * np.cos(2 * t) * np.cos(pi * x1) * np.cos(2 * pi * x2) + np.cos(pi * x2)
        u_1 = -pi * np.sin(2 * t) * np.sin(pi * x1) * np.cos(2 * pi * x2)
        u_2 = -2 * pi * np.sin(2 * t) * np.cos(pi * x1) * np.sin(2 * pi * x2) - t * pi * np.sin(
            pi * x2
        )
        lap = -5 * pi**2 * np.sin(2 * t) * np.cos(pi * x1) * np.cos(2 * pi * x2)
        lap -= pi**2 * t * np.cos(pi * x2)
        v1 = flow.drift[0] + flow.swirl * np.sin(pi * x1) * np.cos(pi * x2)
        v2 = flow.drift[1] - flow.swirl * np.cos(pi * x1) * np.sin(pi * x2)
        rate = reaction.rate * u / (1 + u / reaction.saturation)
        return u_t + v1 * u_1 + v2 * u_2 - flow.diffusivity * lap - rate

    *_, u = problem.march(EQUAL, forcing=forcing, initial=exact(*problem.points.T, 0.0))
    x = ufl.SpatialCoordinate(problem.V.mesh)
    T = problem.config.time.final
    difference = problem.function(u[:, 0]) - exact_ufl(x, T)
    form = fem.form(difference**2 * ufl.dx(metadata={"quadrature_degree": 14}))
    return float(np.sqrt(fem.assemble_scalar(form)))


def exact_ufl(x, t):
    space = ufl.cos(np.pi * x[0]) * ufl.cos(2 * np.pi * x[1])
    return 2 + np.sin(2 * t) * space + t * ufl.cos(np.pi * x[1])


def orders(errors):
    return np.log2(np.array(errors[:-1]) / np.array(errors[1:]))


MANUFACTURED = ("sources.strength=0.0", "observations.times=[0.5]", "time.final=0.5")


@pytest.mark.parametrize(
    ("degree", "cells", "steps", "bound"),
    [
        (1, (16, 32, 64), 40, 8e-4),
        (2, (8, 16, 32), 80, 2e-5),
        pytest.param(4, (4, 8, 16), 320, 7e-8, marks=pytest.mark.thorough),
    ],
)
def test_order_in_space_is_degree_plus_one(degree, cells, steps, bound):
    errors = [
        manufactured_error(
            make(
                *MANUFACTURED,
                "flow.diffusivity=0.1",
                f"mesh.cells=[{n},{n}]",
                f"mesh.degree={degree}",
                f"time.steps={steps}",
            )
        )
        for n in cells
    ]
    assert np.all(np.abs(orders(errors) - (degree + 1.1)) < 0.2), errors  # -0.1, +0.3
    assert errors[-1] < bound


@pytest.mark.parametrize(
    ("degree", "drift"),
    [
        (1, [0.0, 0.0]),
        *(pytest.param(2, drift, marks=pytest.mark.thorough) for drift in ([0.2, 0.1], [0.0, 0.0])),
    ],
)
def test_stabilised_order_in_space_at_mesh_peclet_numbers_above_100(degree, drift):
    errors = []
    for n in (32 // degree, 64 // degree, 128 // degree):
        problem = make(
            *MANUFACTURED,
            "flow.diffusivity=1e-5",
            f"flow.drift={drift}",  # not zero, it comes in through two sides
            f"mesh.cells=[{n},{n}]",
            f"mesh.degree={degree}",
            "time.steps=80",
        )
        assert problem.peclet > 100
        errors.append(manufactured_error(problem))
    assert np.all(np.abs(orders(errors) - (degree + 1.1)) < 0.2), errors


def test_order_in_time_is_three():
    errors = [
        manufactured_error(
            make(*MANUFACTURED, "mesh.cells=[8,8]", "mesh.degree=6", f"time.steps={steps}")
        )
        for steps in (20, 40, 80)
    ]
    assert np.all(np.abs(orders(errors) - 3.1) < 0.2), errors
    assert errors[-1] < 1e-6


def test_high_mesh_peclet_numbers_are_handled_and_without_stabilisation_they_fail():
    Y = CDR.parameters(CDRConfig(), total=4, seed=0, start=0, stop=4)
    for diffusivity in ("1e-4", "1e-5"):
        convection = f"flow.diffusivity={diffusivity}"
        stabilised, fine = make(convection), make(convection, "mesh.cells=[24,24]")
        assert stabilised.peclet > 100
        reference = fine.solve_batch(Y).C
        error = np.linalg.norm(stabilised.solve_batch(Y).C - reference) / np.linalg.norm(reference)
        assert error < 2e-3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("surrogates.pde.cdr.problem.mesh_peclet", lambda config: 0.0)
        galerkin = make("flow.diffusivity=1e-4").solve_batch(Y)
    assert all("u has the wrong sign" in reason for reason in galerkin.failure)


def spectral_observations(c: CDRConfig, y: np.ndarray, n: int = 34) -> np.ndarray:
    """Solve by Chebyshev collocation and an adaptive Runge-Kutta method: nothing is shared."""
    theta = np.pi * np.arange(n + 1) / n
    z = np.cos(theta)
    weight = np.r_[2, np.ones(n - 1), 2] * (-1) ** np.arange(n + 1)
    D = np.outer(weight, 1 / weight) / (z[:, None] - z + np.eye(n + 1))
    D -= np.diag(D.sum(axis=1))
    x, D = (z + 1) / 2, 2 * D
    # Zero normal derivatives give the boundary values from the inner ones.
    ends = [0, n]
    inner = np.arange(1, n)
    E = np.zeros((n + 1, n - 1))
    E[inner] = np.eye(n - 1)
    E[ends] = -np.linalg.solve(D[np.ix_(ends, ends)], D[np.ix_(ends, inner)])
    D1, D2 = D[inner] @ E, (D @ D)[inner] @ E
    X1, X2 = np.meshgrid(x[inner], x[inner], indexing="ij")
    f = np.zeros_like(X1)
    for s in c.sources.centres:
        square = (X1 - s[0]) ** 2 + (X2 - s[1]) ** 2
        f += c.sources.strength * np.exp(-square / 2 / c.sources.width**2)
    m1, m2 = c.bumps.lattice
    total, weighted = np.zeros_like(X1), np.zeros_like(X1)
    for k, yk in enumerate(y):
        a, b = (k % m1 + 0.5) / m1, (k // m1 + 0.5) / m2
        square = ((X1 - a) * m1 / c.bumps.width) ** 2 + ((X2 - b) * m2 / c.bumps.width) ** 2
        total += np.exp(-square / 2)
        weighted += yk * np.exp(-square / 2)
    r = c.reaction.rate * len(y) * weighted / total
    v1 = c.flow.drift[0] + c.flow.swirl * np.sin(np.pi * X1) * np.cos(np.pi * X2)
    v2 = c.flow.drift[1] - c.flow.swirl * np.cos(np.pi * X1) * np.sin(np.pi * X2)

    def rate(t, flat):
        u = flat.reshape(n - 1, n - 1)
        s = u / (1 + u / c.reaction.saturation)
        diffusion = c.flow.diffusivity * (D2 @ u + u @ D2.T)
        return (diffusion - v1 * (D1 @ u) - v2 * (u @ D1.T) + f + r * s).ravel()

    times = c.observations.times
    solution = solve_ivp(
        rate, (0, times[-1]), np.zeros((n - 1) ** 2), t_eval=times, rtol=1e-6, atol=1e-6
    )
    barycentric = (-1.0) ** np.arange(n + 1) * np.r_[0.5, np.ones(n - 1), 0.5]

    def row(p):
        q = barycentric / (p - x)
        return q / q.sum() @ E

    u = solution.y.T.reshape(len(times), n - 1, n - 1)
    return np.array([[row(a) @ ut @ row(b) for a, b in c.observations.sensors] for ut in u]).ravel()


def test_agrees_with_an_independent_spectral_solver():
    problem = make()
    Y = CDR.parameters(problem.config, total=2, seed=3, start=0, stop=2)
    C = problem.solve_batch(Y).C
    for y, c in zip(Y, C, strict=True):
        reference = spectral_observations(problem.config, y)
        assert np.linalg.norm(c - reference) < 1e-3 * np.linalg.norm(reference)


def test_discretisation_error_of_the_defaults_is_below_two_per_mille():
    config_, fine = CDRConfig(), ("mesh.cells=[16,16]", "time.steps=120")
    Y = CDR.parameters(config_, total=20, seed=1, start=0, stop=20)
    C, reference = make().solve_batch(Y).C, make(*fine).solve_batch(Y).C
    errors = np.linalg.norm(C - reference, axis=1) / np.linalg.norm(reference, axis=1)
    assert errors.mean() < 2e-3


@pytest.mark.thorough
def test_the_default_map_is_as_rich_as_the_published_data():
    problem = make()
    Y = CDR.parameters(problem.config, total=800, seed=0, start=0, stop=800)
    C = np.vstack([problem.solve_batch(rows).C for rows in np.split(Y, 20)])
    spread = C.std(axis=0) / C.mean(axis=0)
    assert 0.10 < spread.min() and spread.max() < 0.25
    values = np.linalg.svd(C - C.mean(axis=0), compute_uv=False)
    assert values[5] < 1e-2 * values[0] < values[3]
    Z = np.hstack([Y, np.ones((800, 1))])
    W = np.linalg.lstsq(Z[:400], C[:400], rcond=None)[0]
    left = np.linalg.norm(Z[400:] @ W - C[400:], axis=1) / np.linalg.norm(C[400:], axis=1)
    assert left.mean() > 0.02


def test_equal_weights_give_the_uniform_rate():
    points = np.random.default_rng(0).random((50, 2))
    psi = discretisation.bumps(points, settings.Bumps())
    assert np.allclose(psi @ EQUAL[0], 1, rtol=0, atol=1e-13)


@pytest.mark.parametrize("law", settings.LAWS)
def test_every_law_solves_and_differs(law):
    C = make(f"reaction.law='{law}'", "reaction.rate=2.0").solve_batch(EQUAL).C
    linear = make("reaction.law='linear'", "reaction.rate=2.0").solve_batch(EQUAL).C
    assert np.isfinite(C).all()
    assert law == "linear" or np.abs(C / linear - 1).max() > 0.01


def test_a_sample_does_not_depend_on_its_batch():
    problem = make()
    Y = CDR.parameters(problem.config, total=7, seed=0, start=0, stop=7)
    together = problem.solve_batch(Y).C
    alone = np.vstack([problem.solve_batch(Y[i : i + 1]).C for i in range(7)])
    assert np.allclose(together, alone, rtol=1e-12)


def test_gmres_agrees_with_lu():
    Y = CDR.parameters(CDRConfig(), total=2, seed=0, start=0, stop=2)
    small = ("mesh.cells=[6,6]", "mesh.degree=2", "time.steps=15")
    lu, gmres = make(*small).solve_batch(Y), make(*small, "solver.method=gmres").solve_batch(Y)
    assert np.allclose(lu.C, gmres.C, rtol=1e-7)
    assert (gmres.solver["iterations"] > lu.solver["iterations"]).all()
    pictures = [make(*small, *how).snapshots(Y[:1])[1] for how in ((), ("solver.method=gmres",))]
    assert np.allclose(*pictures, rtol=1e-7)


def test_an_unconverged_solve_is_a_failure_with_its_reason_and_no_data():
    batch = make("solver.method=gmres", "solver.max_iterations=1").solve_batch(
        np.vstack([EQUAL] * 2)
    )
    assert all("diverged" in reason or "max" in reason for reason in batch.failure), batch.failure
    assert np.isnan(batch.C).all()


def test_an_overflow_fails_its_sample_alone():
    Y = np.vstack([EQUAL, 1e4 * EQUAL, EQUAL])
    batch = make("reaction.law=linear").solve_batch(Y)
    assert [bool(reason) for reason in batch.failure] == [False, True, False]
    assert np.isnan(batch.C[1]).all()
    assert np.allclose(batch.C[0], batch.C[2], rtol=1e-12)


@pytest.mark.parametrize(
    "overrides",
    [
        ("reaction.rate=-100.0",),
        ("reaction.law='linear'", "reaction.rate=-100.0"),
        ("reaction.rate=200.0",),
        ("time.steps=3", "observations.times=[0.5,1.0,1.5]"),
        ("reaction.law='ignition'", "reaction.activation=0.1"),
    ],
)
def test_a_time_step_too_long_for_the_reaction_is_a_failure(overrides):
    batch = make(*overrides).solve_batch(np.vstack([EQUAL, 0.001 * EQUAL]))
    assert "the time step is too long for the reaction" in batch.failure[0]
    assert np.isnan(batch.C[0]).all()
    assert batch.failure[1] == "" and np.isfinite(batch.C[1]).all()


@pytest.mark.parametrize("law", settings.LAWS)
def test_the_steepest_slope_of_a_law_is_its_largest(law):
    p = settings.Reaction(law=law, saturation=7.0, capacity=3.0, activation=2.0)
    u = np.linspace(0, 3, 3001)
    slopes = np.abs(np.diff(settings.LAWS[law](u, p)) / np.diff(u))
    assert slopes.max() == pytest.approx(settings.STEEPEST[law](p), rel=1e-3)


def test_a_picture_of_few_steps_has_a_panel_for_each_and_a_failure_has_none():
    few = ("time.steps=2", "time.final=0.1", "observations.times=[0.1]")
    _, values, titles, _ = make(*few).snapshots(EQUAL)
    assert (len(values), titles) == (2, ["t = 0.05", "t = 0.10"])
    with pytest.raises(InputError, match="the solve failed: the time step is too long"):
        make("reaction.rate=-100.0").snapshots(EQUAL)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("observations.times=[0.4,0.40000001]", "at different time steps of 0.025"),
        ("observations.times=[1e-9]", "multiples of the time step 0.025"),
        ("flow.diffusivty=0.1", "did you mean 'flow.diffusivity'"),
        ("flow.diffusivity=-1.0", "must be positive; got -1.0"),
        ("reaction.law=logistik", "did you mean 'logistic'"),
        ("observations.times=[0.41]", "multiples of the time step 0.025"),
        ("observations.sensors=[[1.2, 0.5]]", "unit square"),
        ("time.steps=2.5", "must be of type int"),
        ("mesh.cells=[10]", "must have 2 entries"),
    ],
)
def test_bad_settings_are_one_clear_line(override, message):
    with pytest.raises(InputError, match=".") as caught:
        config.read(CDRConfig, None, [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
