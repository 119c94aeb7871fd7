"""Derivatives in directions and of functionals, solved for or computed from those that are."""

import numpy as np
import pytest
from mpi4py import MPI

from surrogates.errors import InputError
from surrogates.pde import Batch, Problem, Settings
from surrogates.pde.solving import solved

pytestmark = pytest.mark.fenicsx

Y = np.array([[0.5, 1.0, 1.5], [1.0, 0.2, 0.1], [1.5, 0.7, 2.0]])


def value(Y):
    return np.column_stack([np.sin(Y[:, 0]) * Y[:, 1], Y.prod(axis=1)])


def jacobian(Y):
    a, b, c = Y.T
    rows = [[np.cos(a) * b, np.sin(a), 0 * a], [b * c, a * c, a * b]]
    return np.array(rows).transpose(2, 0, 1)


class Smooth(Problem):
    """Solves for the kinds of derivatives that its subclass declares, and for no other."""

    y_names, y_lower, y_upper = ("a", "b", "c"), 0.0, 2.0
    c_names = ("wave", "product")

    def solve_batch(self, Y, *, tangents=False, adjoints=None):
        J, given = jacobian(Y), {}
        if adjoints is not None:
            assert self.has_adjoints and adjoints.shape[1] == 2
            given["dW_dY"] = adjoints @ J
        elif isinstance(tangents, np.ndarray):
            assert self.has_directions and tangents.shape[::2] == (len(Y), 3)
            given["dC_dV"] = np.stack([J[i] @ V.T for i, V in enumerate(tangents)])
        elif tangents:
            assert self.has_tangents
            given["dC_dY"] = J
        return Batch(C=value(Y), **given)


def problem(*kinds):
    return type("Some", (Smooth,), {f"has_{kind}": True for kind in kinds})


def derivatives(cls, **asked):
    batch = solved(cls(Settings(), MPI.COMM_SELF), Y, size=2, **asked)
    assert np.array_equal(batch.C, value(Y))
    return batch


@pytest.mark.parametrize("kind", ["tangents", "directions", "adjoints"])
def test_every_kind_is_computed_from_each(kind):
    rng = np.random.default_rng(1)
    V, W = rng.standard_normal((3, 2, 3)), rng.standard_normal((4, 2))
    J = jacobian(Y)
    whole = derivatives(problem(kind), tangents=True)
    assert np.allclose(whole.dC_dY, J, rtol=1e-14) and whole.dC_dV is whole.dW_dY is None
    along = derivatives(problem(kind), tangents=V)
    assert along.dC_dV.shape == (3, 2, 2) and along.dC_dY is along.dW_dY is None
    for i in range(3):
        for k in range(2):
            assert np.allclose(along.dC_dV[i, :, k], J[i] @ V[i, k], rtol=1e-13)
    of = derivatives(problem(kind), adjoints=W)
    assert of.dW_dY.shape == (3, 4, 3) and of.dC_dY is of.dC_dV is None
    for i in range(3):
        for k in range(4):
            assert np.allclose(of.dW_dY[i, k], W[k] @ J[i], rtol=1e-13)
    none = derivatives(problem(kind))
    assert none.dC_dY is none.dC_dV is none.dW_dY is None


def test_a_kind_that_a_problem_has_is_asked_of_it_as_it_is():
    V, W = np.ones((3, 1, 3)), np.ones((1, 2))
    every = problem("tangents", "directions", "adjoints")
    assert derivatives(every, tangents=True).dC_dY.shape == (3, 2, 3)
    assert derivatives(every, tangents=V).dC_dV.shape == (3, 2, 1)
    assert derivatives(every, adjoints=W).dW_dY.shape == (3, 1, 3)

    class Only(Smooth):
        has_tangents = has_directions = True

        def solve_batch(self, Y, *, tangents=False):
            assert tangents is not True
            return super().solve_batch(Y, tangents=tangents)

    assert derivatives(Only, tangents=V).dC_dV.shape == (3, 2, 1)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"tangents": True}, "has no tangents; leave out --tangents"),
        ({"tangents": np.ones((3, 1, 3))}, "has no tangents"),
        ({"adjoints": np.ones((1, 2))}, "has no tangents"),
    ],
)
def test_a_problem_without_derivatives_is_refused(asked, reason):
    with pytest.raises(InputError, match=reason):
        derivatives(Smooth, **asked)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"tangents": np.ones((3, 1, 2))}, r"V must be of shape \(3, r, 3\); got \(3, 1, 2\)"),
        ({"tangents": np.ones((2, 1, 3))}, r"V must be of shape \(3, r, 3\); got \(2, 1, 3\)"),
        ({"tangents": np.ones((3, 0, 3))}, r"V must be of shape"),
        ({"adjoints": np.ones(2)}, r"W must be of shape \(r, 2\); got \(2,\)"),
        ({"adjoints": np.ones((1, 2)), "tangents": True}, "give either tangents or adjoints"),
    ],
)
def test_directions_and_functionals_of_another_shape_are_refused(asked, reason):
    with pytest.raises(InputError, match=reason):
        derivatives(problem("tangents"), **asked)


def test_derivatives_that_are_no_data_fail_their_samples():
    class Wrong(Smooth):
        has_directions = has_adjoints = True

        def solve_batch(self, Y, **asked):
            batch = super().solve_batch(Y, **asked)
            for values in filter(lambda one: one is not None, (batch.dC_dV, batch.dW_dY)):
                values[Y[:, 0] == 1] = np.inf
            return batch

    for asked, name in ((np.ones((3, 1, 3)), "dC_dV"), (np.ones((5, 2)), "dW_dY")):
        word = "tangents" if name == "dC_dV" else "adjoints"
        batch = solved(Wrong(Settings(), MPI.COMM_SELF), Y, **{word: asked})
        assert batch.failure == ["", f"{name} is not finite", ""]
        assert np.isnan(batch.C[1]).all() and np.isnan(getattr(batch, name)[1]).all()
        assert np.isfinite(getattr(batch, name)[[0, 2]]).all()

    class Short(Smooth):
        has_directions = True

        def solve_batch(self, Y, *, tangents=False):
            return Batch(C=value(Y), dC_dV=np.ones((len(Y), 2, 5)))

    batch = solved(Short(Settings(), MPI.COMM_SELF), Y, tangents=np.ones((3, 1, 3)))
    assert batch.failure == 3 * ["solve_batch must give dC_dV of shape (3, 2, 1); got (3, 2, 5)"]
