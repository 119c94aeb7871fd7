"""The condensed method against multigrid, and against DOLFINx's matrix."""

import numpy as np
import pytest
from mpi4py import MPI
from surveys import SMALL, make, settings

from surrogates.pde.dcr import problem as dcr
from surrogates.pde.dcr.condensed import EVERYWHERE, Background
from surrogates.pde.dcr.potential import stiffness
from surrogates.pde.fenicsx import function_space

pytestmark = pytest.mark.fenicsx


def test_the_background_s_inverse_is_that_of_the_matrix_of_dolfinx():
    case = settings("mesh.cells=[8,9,10]", "mesh.layers=4", "mesh.extrapolate=false")
    (mesh,) = dcr._built_in(case)
    V = function_space(mesh.cells().create(MPI.COMM_SELF), 1)
    A0 = stiffness(V, 0.03)
    shape = [len(axis) for axis in mesh.axes]
    x = V.tabulate_dof_coordinates()
    at = tuple(np.abs(x[:, i, None] - axis).argmin(axis=1) for i, axis in enumerate(mesh.axes))
    b = np.random.default_rng(0).standard_normal(shape)
    b -= b.mean()
    u = Background(mesh.axes, 0.03, MPI.COMM_SELF).solve(b, EVERYWHERE, EVERYWHERE)
    left, right = A0.createVecRight(), A0.createVecLeft()
    left.array[:] = u[at]
    A0.mult(left, right)
    assert np.abs(right.array - b[at]).max() < 1e-11 * np.abs(b).max()


def test_elimination_along_an_axis_is_the_inverse_by_modes_in_every_box():
    case = settings("mesh.cells=[8,9,10]", "mesh.layers=4", "mesh.extrapolate=false")
    (mesh,) = dcr._built_in(case)
    background = Background(mesh.axes, 0.03, MPI.COMM_SELF)
    n1, n2, n3 = (len(axis) for axis in mesh.axes)
    boxes = [(slice(0, n1), slice(0, n2), slice(0, n3)), (slice(5, 9), slice(4, 5), slice(2, 8))]
    boxes += [(slice(3, 12), slice(0, 7), slice(4, 9)), (slice(6, 8), slice(9, n2), slice(0, 3))]
    for box in boxes:
        shape = [part.stop - part.start for part in box]
        B = np.random.default_rng(0).standard_normal((3, *shape))  # their sums are not 0
        found = background.solve_several(B, box)
        for b, ours in zip(B, found, strict=True):
            theirs = background.solve(b, box, box)
            assert np.abs(ours - theirs).max() < 1e-11 * np.abs(theirs).max()


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        pytest.param(
            ('body.shape="cuboid"', "conductivity.body=1e-4", "mesh.cells=[15,15,15]"),
            marks=pytest.mark.thorough,
        ),
    ],
)
def test_condensed_and_multigrid_agree(overrides):
    y = np.array([[26.3, 2700.0, 0.37]])
    results, added = [], []
    for method in ("condensed", "multigrid"):
        problem = make(*SMALL, "solver.rtol=1e-10", f'solver.method="{method}"', *overrides)
        results.append(problem.solve_batch(y, tangents=True))
        added.append(problem._levels[0].added())
    ours, theirs = results
    anomaly = np.linalg.norm(ours.C - problem.background)
    assert np.linalg.norm(ours.C - theirs.C) < 1e-7 * anomaly
    assert np.linalg.norm(ours.dC_dY - theirs.dC_dY) < 1e-7 * np.linalg.norm(ours.dC_dY)
    difference = added[0] - added[1]
    assert np.ptp(difference) < 1e-6 * np.ptp(added[0])  # d is known up to a constant


def test_adjoints_and_directions_are_products_of_tangents_at_the_default_tolerance():
    problem, random = make(*SMALL), np.random.default_rng(0)
    y = np.array([[26.3, 2700.0, 0.37]])
    W, scale = random.standard_normal((2, 882)), np.array([1.0, 400.0, 0.15])
    whole = problem.solve_batch(y, tangents=True, adjoints=W)
    J = whole.dC_dY[0] * scale
    apart = np.abs(W @ J - whole.dW_dY[0] * scale)
    assert (
        apart < 1e-10 * np.linalg.norm(W, axis=1)[:, None] * np.linalg.norm(J, axis=0).max()
    ).all()
    assert whole.solver["residual"][0] < 1e-5


def test_directions_may_depend_on_each_other_and_be_zero():
    problem = make(*SMALL)
    y = np.array([[26.3, 2700.0, 0.37]])
    J = problem.solve_batch(y, tangents=True).dC_dY[0]
    v = np.array([1.0, 400.0, 0.1])
    V = np.array([v, 2 * v, 0 * v, v * (1 + 1e-9 * np.arange(3)), [0.0, 300.0, 0.0], [-1.0, 0, 0]])
    batch = problem.solve_batch(y, tangents=V[None])
    assert not batch.failure[0]
    expected = J @ V.T
    size = np.linalg.norm(expected, axis=0)
    error = np.linalg.norm(batch.dC_dV[0] - expected, axis=0)
    assert (error <= 1e-9 * size.max()).all()
    assert error[2] == 0 == size[2]


def test_scaled_background_takes_far_fewer_iterations_than_the_plain_one():
    problem = make(*SMALL, "solver.rtol=1e-10", "mesh.extrapolate=false")
    y, V = np.array([[26.3, 2700.0, 0.37]]), np.array([[[1.0, 0.0, 0.0]]])
    alone = problem.solve_batch(y).solver["iterations"][0]
    both = problem.solve_batch(y, tangents=V).solver["iterations"][0]
    assert both - alone < alone / 3


@pytest.mark.thorough
def test_condensed_iterations_do_not_grow_with_the_unknowns():
    counts = [
        make(f"mesh.cells=[{4 * n},{4 * n},{5 * n}]", "mesh.extrapolate=false")
        .solve_batch(np.array([[26.3, 2700.0, 0.37]]))
        .solver["iterations"][0]
        for n in (3, 6)
    ]
    assert counts[1] <= counts[0] + 2


def test_auto_leaves_high_contrasts_to_multigrid():
    assert settings().condensed
    assert not settings("conductivity.body=1e3").condensed
    assert settings("conductivity.body=1e3", 'solver.method="condensed"').condensed


def test_scaled_preconditioner_and_its_matrix_are_symmetric_in_a_small_box():
    # The box is hardly larger than the body: means over the earth are not small.
    problem = make(*SMALL, "domain.size=[160,160,60]", "mesh.extrapolate=false")
    problem.solve_batch(np.array([[26.3, 2700.0, 0.37]]))
    (level,) = problem._levels
    equation = level._equation()
    shape = (4, *level._u.shape)
    R = np.random.default_rng(0).standard_normal((4, level._u.size))  # their sums are not 0
    Z, A_Z = equation._precondition(R, shape)
    for G in (R @ Z.T, Z @ A_Z.T):
        assert np.abs(G - G.T).max() < 1e-13 * np.abs(G).max()
        assert np.linalg.eigvalsh(G).min() > 0
