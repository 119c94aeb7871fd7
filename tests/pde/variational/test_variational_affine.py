"""Linear problems by products of matrices, against assemblies of every residual and matrix."""

from __future__ import annotations

import numpy as np
import pytest
from weak_forms import Channel, Conduction, Fields, Linear, drawn, made

from surrogates.pde.variational import affine, linear

pytestmark = pytest.mark.fenicsx


def solved(problem):
    """Solve for two samples, and differentiate."""
    W = np.random.default_rng(1).standard_normal((2, len(problem.c_names)))
    return problem.solve_batch(drawn(problem, 2), tangents=True, adjoints=W)


@pytest.mark.parametrize("problem", [Linear, Fields, Conduction, Channel])
def test_sums_of_terms_and_assemblies_give_the_same(problem, monkeypatch):
    by_terms = solved(made(problem))
    monkeypatch.setattr(linear, "TERMS", 0)
    monkeypatch.setattr(affine, "without", lambda form, *functions: form)
    by_assembly = solved(made(problem))
    for name in ("C", "dC_dY", "dW_dY"):
        one, other = getattr(by_terms, name), getattr(by_assembly, name)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12 * np.abs(other).max())


@pytest.mark.parametrize("unit", [1e-11, 1e11])
def test_units_of_y_change_rounding_alone(unit):
    one = made(Conduction)
    Y = drawn(one, 2)
    scale = np.array([1, unit, 1, 1, 1, 1])
    other = made(Conduction, unit=unit, y_lower=0.5 * scale, y_upper=1.5 * scale)
    a, b = one.solve_batch(Y, tangents=True), other.solve_batch(Y * scale, tangents=True)
    for x, y in ((a.C, b.C), (a.dC_dY, b.dC_dY * scale)):
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-12 * np.abs(x).max())


def test_a_stage_of_a_linear_problem_assembles_nothing_that_has_not_changed(monkeypatch):
    vectors, matrices = [], []
    vector, assemble = affine.vector, linear.assemble_matrix
    monkeypatch.setattr(affine, "vector", lambda form: vectors.append(1) or vector(form))
    monkeypatch.setattr(
        linear, "assemble_matrix", lambda A, form: matrices.append(1) or assemble(A, form)
    )
    problem = made(Conduction)
    Y = drawn(problem, 4)
    problem.solve_batch(Y[:1])
    vectors.clear(), matrices.clear()
    problem.solve_batch(Y[1:])
    assert len(vectors) == 3 * 2 * problem.steps  # its source contains t
    assert not matrices
