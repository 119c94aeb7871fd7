"""DC resistivity: analytic solutions, manufactured ones, symmetries, derivatives."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import ufl
from dolfinx import fem
from mpi4py import MPI
from petsc4py import PETSc
from places import SCRIPTS
from scipy.integrate import solve_ivp
from surveys import SMALL, grid, make, settings, solve

from surrogates.errors import InputError
from surrogates.pde import meshes
from surrogates.pde.dcr import problem as dcr
from surrogates.pde.dcr.multigrid import Multigrid

pytestmark = pytest.mark.fenicsx
TIGHT = ("solver.rtol=1e-12",)


def stretched(fine: float, core: float, end: float, ratio: float) -> np.ndarray:
    """Steps of a size up to ``core``, then growing ones to ``end``."""
    x = list(np.arange(0, core + fine / 2, fine))
    step = fine
    while x[-1] < end:
        step *= ratio
        x.append(min(end, x[-1] + step))
    return np.array(x)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("formulation", "cells", "bound"),
    [("secondary", 2, 0.01), ("total", 4, 0.05)],
)
def test_two_layers_agree_with_the_analytic_solution(formulation, cells, bound):
    """Images of a pole in a layer on a half-space; point sources on the mesh are less accurate."""
    thickness, m1, cell = 10.0, 0.05, 3.0
    case = settings(
        f'solver.formulation="{formulation}"',
        "source.electrodes=[[-40,0,0],[40,0,0]]",
        "stations.first=[-30,-10,0]",
        "stations.number=[13,3]",
        "stations.spacing=[5,10]",
        *TIGHT,
    )
    half = stretched(cell, 54, 1000, 1.45)
    axis = np.concatenate([-half[:0:-1], half])
    depth = stretched(2.5, 25, 1000, 1.45)
    level = Multigrid(grid(axis, axis, -depth[::-1]), case, MPI.COMM_SELF, (1e4, thickness, 1e4))
    K = np.zeros((len(level.cells), 6))
    below = level.region.midpoints[:, 2] < -thickness
    K[below, :3] = m1 / case.conductivity.background - 1
    c = level.c0 + level.solve(K)
    assert level.failure == ""
    m0 = case.conductivity.background
    k = (m0 - m1) / (m0 + m1)

    def u(x):
        total = np.zeros(len(x))
        for pole, current in zip(case.source.electrodes, (1.0, -1.0), strict=True):
            r = np.linalg.norm(x - np.array(pole), axis=1)
            n = np.arange(1, 200)[:, None]
            images = 2 * (k**n / np.sqrt(r**2 + (2 * n * thickness) ** 2)).sum(axis=0)
            total += current / (2 * np.pi * m0) * (1 / r + images)
        return total

    plus, minus = case.stations.ends
    expected = u(plus) - u(minus)
    far = np.minimum(
        *[np.linalg.norm((plus + minus) / 2 - np.array(e), axis=1) for e in case.source.electrodes]
    )
    # dV2 is 0 on the axis: measure against the whole difference of potential at the station.
    n = len(case.stations.centres)
    size = np.tile(np.hypot(expected[:n], expected[n:]), 2)
    error = np.abs(c - expected) / size
    judged = far > cells * cell + case.stations.dipole / 2
    assert judged.sum() > 50
    assert error[judged].max() < bound


def test_a_sphere_agrees_with_its_multipoles():
    """The blended sphere's response to the field's gradient and its curvature, by radial equations.

    The image at the surface doubles it there. What is left out is below (a / 2 depth)^3, 0.2 %.
    """
    problem = make("body.aspect=[1,1,1]", "sampling.volume=[1500,2500]")
    case, depth, volume = problem.config, 32.0, 2000.0
    anomaly = solve(problem, (depth, volume, 0.0))[0] - problem.background
    m0, m1, w = case.conductivity.background, case.conductivity.body, case.body.blend
    a = (volume / (4 / 3 * np.pi)) ** (1 / 3)
    far = a + w / 2

    def conductivity(r):
        t = np.clip(0.5 - (r - a) / w, 0, 1)
        return m0 * (m1 / m0) ** (t**3 * (10 + t * (6 * t - 15)))

    def response(order):
        """Return B / A of the potential A r^l + B r^-(l + 1) outside."""

        def radial(r, state):  # f and r^2 m f'
            return [
                state[1] / (r**2 * conductivity(r)),
                order * (order + 1) * conductivity(r) * state[0],
            ]

        near = 0.1
        start = [near**order, order * conductivity(near) * near ** (order + 1)]
        f, flux = solve_ivp(radial, (near, far), start, rtol=1e-10, atol=0).y[:, -1]
        slope = flux / (far**2 * m0)
        # f = A r^l + B r^-(l+1), f' = l A r^(l-1) - (l+1) B r^-(l+2)
        B = (order * f / far - slope) * far ** (order + 2) / (2 * order + 1)
        return B / ((f - B * far ** -(order + 1)) / far**order)

    centre = np.array([0.0, 0.0, -depth])
    gradient, hessian = np.zeros(3), np.zeros((3, 3))
    for pole, current in zip(case.source.electrodes, (1.0, -1.0), strict=True):
        x = centre - np.array(pole)
        r = np.linalg.norm(x)
        gradient -= current / (2 * np.pi * m0) * x / r**3
        hessian += current / (2 * np.pi * m0) * (3 * np.outer(x, x) / r**5 - np.eye(3) / r**3)

    def u(points):
        x = points - centre
        r = np.linalg.norm(x, axis=1)
        quadratic = np.einsum("ni,ij,nj->n", x, hessian, x) / 2
        return 2 * (response(1) * x @ gradient / r**3 + response(2) * quadratic / r**5)

    plus, minus = case.stations.ends
    expected = u(plus) - u(minus)
    assert np.linalg.norm(anomaly - expected) < 0.01 * np.linalg.norm(expected)


def test_the_background_potential_agrees_with_images_of_the_electrodes():
    case = settings("domain.size=[400,400,200]", *SMALL)
    (cells, _) = dcr._built_in(settings("domain.size=[400,400,200]"))
    level = dcr._level(cells, case, MPI.COMM_SELF)
    half_space, box = np.zeros(len(level.c0)), np.zeros(len(level.c0))
    for end, sign in zip(case.stations.ends, (1, -1), strict=True):
        for pole, current in zip(case.source.electrodes, (1.0, -1.0), strict=True):
            scale = sign * current / (2 * np.pi * case.conductivity.background)
            half_space += scale / np.linalg.norm(end - np.array(pole), axis=1)
            for places, weights in images(case.domain.size, np.array(pole)):
                distance = np.linalg.norm(end[:, None] - places, axis=2)
                box += scale * (weights / distance).sum(axis=1)
    correction = np.linalg.norm(box - half_space)
    assert correction > 0.03 * np.linalg.norm(box)
    assert np.linalg.norm(level.c0 - box) < 0.005 * correction


def images(size, pole, reach=6000.0):
    """Images of a pole at the surface in the box's sides and bottom, with a smooth cut-off.

    The period is a cell of four images, of a dipole without net moment: the sum converges.
    """
    period = np.array([2 * size[0], 2 * size[1], 2 * size[2]])
    counts = [int(reach / p) + 1 for p in period]
    cells = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in counts]), axis=-1).reshape(-1, 3)
    t = np.clip((np.linalg.norm(cells * period, axis=1) / reach - 0.3) / 0.7, 0, 1)
    weights = 1 - t**4 * (35 - 84 * t + 70 * t**2 - 20 * t**3)
    cells, weights = cells[weights > 0] * period, weights[weights > 0]
    for x1, x2 in itertools.product((pole[0], size[0] - pole[0]), (pole[1], size[1] - pole[1])):
        for start in range(0, len(cells), 1000):
            some = slice(start, start + 1000)
            yield cells[some] + [x1, x2, 0], weights[some]


def manufactured_errors(factor: int) -> tuple[float, float]:
    """Errors of u in L2 and of its gradient for a manufactured solution with a body."""
    case = settings(
        "domain.size=[120,120,80]",
        "source.electrodes=[[-58,0,0],[58,0,0]]",
        "conductivity.body=0.03",  # the edge of a contrast of 100 needs finer cells to be resolved
        *TIGHT,
    )
    cells = meshes.graded(
        case.core, case.domain.size, (6 * factor, 6 * factor, 8 * factor), factor, 4 * factor
    )
    level = Multigrid(cells.cells(), case, MPI.COMM_SELF)
    y = np.array([27.0, 3000.0, 0.4])
    K = level.region.change(y) * case.conductivity.background
    domain = level.V.mesh
    x, v = ufl.SpatialCoordinate(domain), ufl.TestFunction(level.V)
    exact = (
        ufl.cos(ufl.pi * x[0] / 60) * ufl.cos(ufl.pi * x[1] / 60) * ufl.cos(ufl.pi * x[2] / 80)
        + ufl.sin(ufl.pi * x[0] / 120)
        + ufl.cos(ufl.pi * x[2] / 40)
    )
    # The model again, in the words of its docstring.
    a = np.array(case.body.aspect) * (3000 / (4 / 3 * np.pi * np.prod(case.body.aspect))) ** (1 / 3)
    c, s = np.cos(0.4), np.sin(0.4)
    z = ufl.as_vector([c * x[0] + s * x[1], c * x[1] - s * x[0], x[2] + 27.0])
    q = ufl.sqrt(sum((z[i] / a[i]) ** 2 for i in range(3)))
    d = (q - 1) * q / ufl.sqrt(sum((z[i] / a[i] ** 2) ** 2 for i in range(3)))
    t = ufl.max_value(0, ufl.min_value(1, 0.5 - d / case.body.blend))
    S = 6 * t**5 - 15 * t**4 + 10 * t**3
    m0, m1 = case.conductivity.background, case.conductivity.body
    m = m0 * ufl.exp(np.log(m1 / m0) * S)
    dx = ufl.dx(metadata={"quadrature_degree": 6})
    b = fem.petsc.assemble_vector(fem.form(m * ufl.inner(ufl.grad(exact), ufl.grad(v)) * dx))
    level._change.add(K, level._A0, level._A)
    u = fem.Function(level.V)
    level._ksp.setOperators(level._A)
    level._ksp.solve(b, level._d)
    u.x.array[:] = level._d.array
    volume = fem.assemble_scalar(fem.form(fem.Constant(domain, PETSc.ScalarType(1)) * dx))
    mean = fem.assemble_scalar(fem.form((u - exact) * dx)) / volume
    L2 = fem.assemble_scalar(fem.form((u - exact - mean) ** 2 * dx))
    gradient = ufl.grad(u - exact)
    H1 = fem.assemble_scalar(fem.form(ufl.inner(gradient, gradient) * dx))
    return float(np.sqrt(L2)), float(np.sqrt(H1))


@pytest.mark.thorough
def test_manufactured_solution_has_the_order_of_trilinear_elements():
    coarse, fine = (np.array(manufactured_errors(factor)) for factor in (2, 3))
    orders = np.log(coarse / fine) / np.log(3 / 2)
    assert orders[0] > 1.9
    assert orders[1] > 0.95


def test_c_is_the_same_after_a_rotation_by_pi():
    problem = make(*SMALL, *TIGHT)
    low, high = problem.config.sampling.rotation
    turned = solve(problem, (25, 3000, low), (25, 3000, high), (25, 3000, 0.3))
    assert np.allclose(turned[0], turned[1], rtol=0, atol=1e-8 * np.abs(turned).max())
    # The body is symmetric about its axis, and the source changes its sign: so does u.
    maps = turned[2].reshape(2, 21, 21)
    assert np.allclose(maps, maps[:, ::-1, ::-1], rtol=0, atol=1e-8 * np.abs(maps).max())
    assert not np.allclose(maps, maps[:, ::-1], rtol=0, atol=1e-5 * np.abs(maps).max())


def test_source_and_receiver_can_be_exchanged():
    y = (25, 3000, 0.6)
    one = ("stations.number=[1,1]", *SMALL, *TIGHT)
    there = make(
        "source.electrodes=[[-75,0,0],[75,0,0]]",
        "stations.first=[10,5,0]",
        "stations.dipole=8",
        *one,
    )
    back = make(
        "source.electrodes=[[6,5,0],[14,5,0]]",
        "stations.first=[0,0,0]",
        "stations.dipole=150",
        *one,
    )
    c, r = solve(there, y)[0, 0], solve(back, y)[0, 0]
    assert c == pytest.approx(r, rel=1e-4)
    body = c - there._levels[0].c0[0]
    assert abs(body) > 1e-3 * abs(c)
    assert body == pytest.approx(r - back._levels[0].c0[0], rel=1e-3)


@pytest.mark.thorough
def test_secondary_and_total_potential_agree():
    y = (25.0, 3000.0, 0.6)
    case = settings(*TIGHT)
    total = settings('solver.formulation="total"', *TIGHT)
    half = stretched(4.0, 56, 500, 1.4)
    axis = np.concatenate([-half[:0:-1], half])
    cells = grid(axis, axis, -stretched(3.0, 45, 500, 1.5)[::-1])
    anomaly = []
    for each in (case, total):
        level = Multigrid(cells, each, MPI.COMM_SELF)
        K = level.region.change(np.array(y))
        anomaly.append(level.solve(K) - level.solve(0 * K))
    difference = np.linalg.norm(anomaly[0] - anomaly[1])
    assert difference < 0.05 * np.linalg.norm(anomaly[0])


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ('body.shape="cuboid"', "body.blend=3"),
        pytest.param(('solver.formulation="total"',), marks=pytest.mark.thorough),
    ],
)
def test_tangents_pass_a_taylor_test_down_to_small_steps(overrides):
    problem = make(*SMALL, *TIGHT, *overrides)
    y = np.array([26.3, 2700.0, 0.37])
    batch = problem.solve_batch(y[None], tangents=True)
    c, J = batch.C[0], batch.dC_dY[0]
    assert batch.solver["residual"][0] < 1e-9
    for k, scale in enumerate((1.0, 400.0, 0.15)):  # about a metre of the body's edge
        steps = scale * 0.5 ** np.arange(9)  # a cell is about 3 m
        remainder = []
        for h in steps:
            moved = solve(problem, tuple(y + h * np.eye(3)[k]))[0]
            remainder.append(np.linalg.norm(moved - c - h * J[:, k]))
        orders = np.log2(np.array(remainder[:-1]) / np.array(remainder[1:]))
        assert np.all(np.abs(orders[4:] - 2) < 0.15), (k, orders)


@pytest.mark.parametrize(
    "override",
    [
        'solver.method="condensed"',
        'solver.method="multigrid"',
        pytest.param('solver.formulation="total"', marks=pytest.mark.thorough),
    ],
)
def test_directions_and_adjoints_are_the_products_of_the_tangents(override):
    problem, random = make(*SMALL, *TIGHT, override), np.random.default_rng(0)
    Y = np.array([[26.3, 2700.0, 0.37], [24.0, 3000.0, -0.5]])
    V = random.standard_normal((2, 4, 3)) * [1.0, 400.0, 0.15]
    W = random.standard_normal((2, 882))
    whole = problem.solve_batch(Y, tangents=True, adjoints=W)
    some = problem.solve_batch(Y, tangents=V)
    expected = np.einsum("icy,ijy->icj", whole.dC_dY, V)
    assert np.abs(some.dC_dV - expected).max() < 1e-10 * np.abs(expected).max()
    forward = np.einsum("kc,icy->iky", W, whole.dC_dY)
    difference = np.abs(forward - whole.dW_dY).max(axis=(0, 1))
    assert (difference < 1e-10 * np.abs(forward).max(axis=(0, 1))).all()  # of each parameter
    values = problem.solve_batch(Y)
    assert np.array_equal(values.C, whole.C) and np.array_equal(values.C, some.C)


@pytest.mark.thorough
def test_extrapolation_raises_the_accuracy():
    ys = np.array([[22.0, 3500.0, 0.3], [30.0, 2000.0, -1.0], [26.0, 2700.0, 1.2]])
    reference = solve(make("mesh.cells=[27,27,36]", "mesh.above=6", "mesh.layers=12"), *ys)
    spread = np.linalg.norm(reference - reference.mean(axis=0))

    def error(*overrides):
        return np.linalg.norm(solve(make(*overrides), *ys) - reference) / spread

    alone = error(*SMALL, "mesh.extrapolate=false")
    assert error(*SMALL) < 0.3 * alone


@pytest.mark.thorough
@pytest.mark.timeout(400)
def test_default_mesh_has_an_error_below_one_per_cent():
    script = SCRIPTS / "discretisation_error.py"
    run = subprocess.run(
        [sys.executable, str(script), "dcr", "--samples", "6", "--seed", "5"],
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert run.returncode == 0, run.stderr
    row = next(line for line in run.stdout.splitlines() if line.startswith("default  "))
    assert float(row.split()[-2]) < 1.0


def test_parameters_out_of_bounds_are_refused():
    with pytest.raises(InputError, match="parameters must be within"):
        make(*SMALL).solve_batch(np.array([[10.0, 3000.0, 0.0]]))


def test_a_solve_that_does_not_converge_fails_its_sample_alone():
    problem = make(*SMALL, "solver.max_iterations=3", "solver.rtol=1e-9")
    y = np.array([[25.0, 3000.0, 0.0]])
    batch = problem.solve_batch(y, tangents=True, adjoints=np.ones((1, 882)))
    assert "linear solve: diverged" in batch.failure[0]
    assert np.isnan(batch.C).all()
    assert np.isnan(batch.dC_dY).all()
    assert np.isnan(batch.dW_dY).all()
