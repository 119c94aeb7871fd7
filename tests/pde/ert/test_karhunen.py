"""The Karhunen-Loeve expansion of a random field: eigenvalues, modes, covariance."""

import numpy as np
import pytest
from ground_models import KINDS, LOWER, UPPER, boxes, model
from scipy.optimize import brentq
from scipy.special import roots_legendre

from surrogates.pde.ert.models.karhunen import CORRELATIONS, Expansion, Modes

pytestmark = pytest.mark.fenicsx  # by the package; the modules need numpy and scipy alone


def exact_exponential(extent, length, n):
    """Eigenvalues of exp(-|x - x'| / length) on an interval, over its extent (Ghanem, Spanos)."""
    a, c = extent / 2, 1 / length
    found = []
    for i in range(n):
        # Even modes c = w tan(w a), odd modes w = -c tan(w a); each w is in its own interval.
        low, high = (i * np.pi / 2 + 1e-12) / a, ((i + 1) * np.pi / 2 - 1e-12) / a
        if i % 2 == 0:
            w = brentq(lambda w: c * np.cos(w * a) - w * np.sin(w * a), low, high, xtol=1e-14)
        else:
            w = brentq(lambda w: w * np.cos(w * a) + c * np.sin(w * a), low, high, xtol=1e-14)
        found.append(2 * c / (w**2 + c**2) / extent)
    return np.array(found)


@pytest.mark.parametrize("length", [0.4, 5.0, 40.0])
def test_eigenvalues_of_an_exponential_covariance_are_the_exact_ones(length):
    modes = Modes("exponential", -3.0, 17.0, length, 12)
    assert modes.values == pytest.approx(exact_exponential(20.0, length, 12), rel=1e-3)


@pytest.mark.parametrize("kind", CORRELATIONS)
def test_modes_are_orthonormal_and_solve_the_eigenvalue_problem(kind):
    # A quadrature other than that of the modes.
    modes = Modes(kind, -3.0, 17.0, 5.0, 10)
    nodes, weights = roots_legendre(900)
    x, w = 7 + 10 * nodes, weights / 2
    phi = modes(x, 10)
    assert np.abs((phi.T * w) @ phi - np.eye(10)).max() < 1e-3
    C = CORRELATIONS[kind](np.abs(x[:, None] - x) / 5.0)
    assert np.abs((C * w) @ phi - phi * modes.values).max() < 1e-3 * modes.values[0]


@pytest.mark.parametrize("kind", CORRELATIONS)
def test_all_modes_together_have_the_covariance_in_the_box_and_less_outside(kind):
    # Of 240 modes of the exponential the rest is 0.4 %; the smoother ones have no more.
    modes = Modes(kind, 0.0, 20.0, 5.0, 160)
    x = np.linspace(0.3, 19.7, 57)
    n = len(modes.values)
    phi = modes(x, n) * np.sqrt(modes.values)
    exact = CORRELATIONS[kind](np.abs(x[:, None] - x) / 5.0)
    error = np.abs(phi @ phi.T - exact).max()
    assert error < {"exponential": 0.02, "squared-exponential": 1e-6, "matern": 1e-4}[kind]
    assert modes.values.sum() == pytest.approx(1, abs=1e-2)
    # Outside, the conditional mean: at a distance r from the end of a Markov field, exp(-r).
    away = np.array([-30.0, -5.0, -1.0, -1e-9, 20 + 1e-9, 21.0, 25.0, 90.0, 200.0])
    variance = (modes(away, n) ** 2 * modes.values).sum(axis=1)
    assert (np.diff(variance[:4]) > 0).all()
    assert (np.diff(variance[4:8]) < 0).all()
    assert variance[3] == pytest.approx(1, abs=0.02)
    assert variance[-1] == 0
    if kind == "exponential":
        assert variance[[1, 2, 5, 6]] == pytest.approx(
            np.exp(-2 * np.array([1, 0.2, 0.2, 1])), 0.02
        )


def test_terms_are_the_largest_products_and_say_what_they_keep():
    lower, upper, length = LOWER, UPPER, np.array([30.0, 20.0, 10.0])
    few = Expansion("matern", lower, upper, length, 15)
    many = Expansion("matern", lower, upper, length, 400)
    assert (np.diff(many.values) <= 0).all()
    assert few.values == pytest.approx(many.values[:15])
    assert 0.3 < few.kept < many.kept < 1
    # The kept share is the mean variance over the box, by a quadrature of its own.
    points, weights, _ = boxes(lower, upper, (6, 6, 6), order=3)
    terms = few(points.reshape(-1, 3)).reshape(*points.shape[:2], -1)
    assert (terms**2).sum(axis=2).mean(axis=0) @ weights == pytest.approx(few.kept, rel=1e-4)
    gram = np.einsum("nkp,nkq,k->pq", terms, terms, weights) / len(points)
    assert np.abs(gram - np.diag(few.values)).max() < 1e-4


def test_a_field_has_the_mean_the_variance_and_the_covariance_of_its_samples():
    made = model(
        *("model.kind=field", "field.mean=[50,50]", "field.deviation=0.4", "field.terms=60"),
        *("field.length=[60,50,30]", "field.covariance=matern"),
    )
    (note,) = made.notes
    assert "60 terms keep" in note
    kept = made.expansion.kept
    assert kept > 0.9
    x = np.random.default_rng(0).uniform(LOWER, UPPER, (40, 3))
    Z = np.random.default_rng(1).standard_normal((6000, 60))
    fields = np.array([-np.log10(made.at(z, x)) for z in Z])
    assert fields.mean(axis=0) == pytest.approx(np.full(40, np.log10(50)), abs=5 * 0.4 / 6000**0.5)
    r = np.abs(x[:, None] - x) / [60, 50, 30]
    exact = 0.16 * CORRELATIONS["matern"](r).prod(axis=-1)
    off = np.abs(np.cov(fields.T) - exact)
    assert off.max() < 0.16 * (0.35 + 5 / 6000**0.5)  # at corners terms are missed most
    assert off.mean() < 0.16 * 0.08


def test_a_line_of_electrodes_has_a_field_without_variation_across():
    expansion = Expansion("exponential", LOWER * [1, 0, 1], UPPER * [1, 0, 1], np.full(3, 20.0), 10)
    x = np.array([[3.0, 0.0, -5.0], [3.0, 100.0, -5.0]])
    a, b = expansion(x)
    assert a == pytest.approx(b)
    assert np.abs(a).max() > 0.1


def test_a_field_s_tensor_is_right_to_second_order_in_fluctuations():
    made = model(*KINDS["field"], "field.covariance=squared-exponential")
    y = np.random.default_rng(0).uniform(-1, 1, len(made.y_names))
    y[0] = 2.0
    points, weights, _ = boxes((-8, -8, -12), (8, 8, 0), (4, 4, 3), order=3)
    K, logs = made.tensor(y, points, weights), np.log(made.at(y, points))
    mean = logs @ weights
    variance = ((logs - mean[:, None]) ** 2) @ weights
    assert variance.max() > 1e-3
    assert np.abs(K[:, 0] / np.exp(mean) - 1 - variance / 6).max() < 0.2 * variance.max() / 6
    assert (K[:, :3] == K[:, :1]).all()
    assert not K[:, 3:].any()
