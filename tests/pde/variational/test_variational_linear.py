"""Factors of the matrices of problems in weak form: Cholesky's for symmetric ones, else LU's."""

from __future__ import annotations

import numpy as np
import pytest
import ufl
from ufl import dot, dx, grad
from weak_forms import Channel, Heat, Rubber, Square, drawn, left, made

from surrogates.pde import At, Dirichlet, WeakForm
from surrogates.pde.variational import linear

pytestmark = pytest.mark.fenicsx


class Wind(Square):
    """Convection, diffusion and a sink, linear or not; symmetric without wind, which is a."""

    c_names, power = ("u(0.3, 0.6)", "mass"), 1

    def define(self, u, v, y):
        wind = ufl.as_vector([y[0], 2 * y[0]])
        return WeakForm(
            residual=(dot(grad(u), grad(v)) + dot(wind, grad(u)) * v + u**self.power * v - y[1] * v)
            * dx,
            conditions=[Dirichlet(u, 1, left)],
            observables=[At(u, [[0.3, 0.6]]), u * dx],
        )


def kind(problem) -> str:
    return problem._equations.solver.ksp.getPC().getType()


@pytest.mark.parametrize("power", [1, 3])
@pytest.mark.parametrize("small", [4000, 0], ids=["petsc", "mumps"])
def test_factors_follow_the_symmetry_of_each_sample_s_matrix(power, small, monkeypatch):
    monkeypatch.setattr(linear, "_SMALL", small)
    Y = np.array([[0.0, 1.0], [1.5, 1.0], [0.0, 1.2], [0.7, 0.8]])
    chosen = made(Wind, power=power)
    by_lu = made(Wind, power=power, petsc_options={"pc_type": "lu"})
    kinds = []
    for y in Y:
        found, expected = (
            one.solve_batch(y[None], tangents=True, adjoints=np.eye(2)) for one in (chosen, by_lu)
        )
        kinds.append(kind(chosen))
        assert kind(by_lu) == "lu"
        for name in ("C", "dC_dY", "dW_dY"):
            np.testing.assert_allclose(
                getattr(found, name), getattr(expected, name), rtol=1e-10, atol=1e-12
            )
    assert kinds == ["cholesky", "lu", "cholesky", "lu"]


@pytest.mark.parametrize("problem", [Channel, Heat, Rubber])
def test_symmetric_matrices_have_the_factors_of_cholesky_and_the_results_of_lu(problem):
    chosen, by_lu = made(problem), made(problem, petsc_options={"pc_type": "lu"})
    Y = drawn(chosen, 1)
    found, expected = (one.solve_batch(Y, tangents=True) for one in (chosen, by_lu))
    assert found.failure == expected.failure == [""]
    for name in ("C", "dC_dY"):
        one, other = getattr(found, name), getattr(expected, name)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-10 * np.abs(other).max())
    assert kind(chosen) == "cholesky"
