"""Coordinates of domains with linear relations: a bijection, its determinant, uniform draws."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from surrogates import InputError
from surrogates.adapters._domain import coordinates
from surrogates.model.engines import Box
from surrogates.model.parts import Domain


class Surrogate(SimpleNamespace):
    """What coordinates are made of."""

    __hash__ = object.__hash__


def made(X, logs=()):
    """The coordinates of the domain of samples X, (n, n_in); some of them are logarithms."""
    marked = np.isin(np.arange(X.shape[1]), logs)
    found, ends = Domain.of(X), np.stack([X.min(axis=0), X.max(axis=0)])
    lower, upper = np.where(marked, np.exp(ends), ends)
    box = Box(
        lower=lower,
        upper=upper,
        unit=found.unit,
        normals=found.normals,
        centre=found.centre,
        log_inputs=marked,
    )
    return coordinates(Surrogate(engine=SimpleNamespace(box=box), n_in=X.shape[1], path="a.npz"))


def weights(n, rng, rows=400):
    X = rng.random((rows, n))
    return X / X.sum(axis=1, keepdims=True)


def samples(kind, rng):
    """Samples of parameters with relations, and which of them are logarithms."""
    if kind == "weights":
        return rng.dirichlet(np.ones(4), 4000), ()
    if kind == "many weights":
        return weights(30, rng), ()
    if kind == "mixed signs":  # x2 = 3 x0 - x1 + 1, and one that is free
        X = rng.random((400, 4))
        X[:, 2] = 3 * X[:, 0] - 0.2 * X[:, 1] + 1
        return X[X[:, 2] < 3], ()
    if kind == "two sets":
        return np.concatenate([weights(3, rng), 5 * rng.random((400, 1)), weights(4, rng)], 1), ()
    if kind == "shared":  # two relations with parameters in common
        X = rng.random((2000, 5))
        X[:, 3] = X[:, 0] + X[:, 1] - X[:, 2]
        X[:, 4] = X[:, 0] - X[:, 1] + 0.5 * X[:, 2]
        return X[(X[:, 3] > 0) & (X[:, 3] < 1) & (np.abs(X[:, 4]) < 0.6)], ()
    if kind == "product":  # of two that are seen as logarithms; another one is in no relation
        X = np.log(1 + rng.random((400, 4)))
        X[:, 3] = 1 - X[:, 0]
        return X, (0, 1, 3)
    assert kind == "constant"
    X = rng.random((400, 3))
    X[:, 1] = 7.0
    return X, ()


KINDS = ("weights", "many weights", "mixed signs", "two sets", "shared", "product", "constant")


@pytest.fixture(params=KINDS)
def domain(request):
    return made(*samples(request.param, np.random.default_rng(0)))


def seen(domain, Y):
    return np.where(domain.logs, np.log(np.where(domain.logs, Y, 1.0)), Y)


def rejected(domain, rng, n=400_000):
    """Points of the domain that are uniform: x, (number, n_in), and their share of the box."""
    lower, upper = domain.lower, domain.upper
    X = lower + rng.random((n, len(lower))) * (upper - lower)
    X[:, domain.dependent] = domain.b - X[:, domain.free] @ domain.A.T
    inside = (lower - 1e-12 <= X) & (upper + 1e-12 >= X)
    X = X[inside.all(axis=1)]
    return X, len(X) / n


def test_points_of_the_cube_are_points_of_the_domain(domain):
    rng = np.random.default_rng(1)
    U = rng.random((500, domain.n_free))
    Y, log_det = domain.to_y(U)
    there = np.isfinite(log_det)
    assert there.mean() > 0.1
    X = seen(domain, Y)
    ends = X[:, domain.dependent]
    right = domain.b - X[:, domain.free] @ domain.A.T
    np.testing.assert_allclose(ends[there], right[there], rtol=0, atol=1e-12)
    assert (X >= domain.lower - 1e-12).all() and (X <= domain.upper + 1e-12).all()
    again, same = domain.from_y(Y[there])
    np.testing.assert_allclose(domain.to_y(again)[0], Y[there], rtol=0, atol=1e-9)
    middle = log_det[there] > log_det[there].max() - 20  # elsewhere u is known to fewer digits
    np.testing.assert_allclose(again[middle], U[there][middle], rtol=0, atol=1e-4)
    np.testing.assert_allclose(same[middle], log_det[there][middle], rtol=0, atol=1e-4)
    one = domain.to_y(U[0])
    np.testing.assert_allclose(one[0], Y[0], rtol=1e-14)
    assert np.shape(one[1]) == () and domain.to_y(U.reshape(5, 100, -1))[0].shape[:2] == (5, 100)


def test_the_determinant_is_that_of_finite_differences(domain):
    rng, step = np.random.default_rng(2), 1e-6
    U = domain.from_y(domain.draw(5, rng))[0]
    for u in np.clip(U, 0.05, 0.95):
        log_det = domain.to_y(u)[1]
        if not np.isfinite(log_det):
            continue
        E = step * np.eye(domain.n_free)
        ends = [seen(domain, domain.to_y(u + sign * E)[0])[:, domain.free] for sign in (1, -1)]
        J = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(np.linalg.slogdet(J)[1], log_det, rtol=0, atol=1e-5)


def test_gradients_are_those_of_finite_differences(domain):
    rng, step = np.random.default_rng(3), 1e-6
    U = np.clip(domain.from_y(domain.draw(40, rng))[0], 0.05, 0.95)
    U = U[np.isfinite(domain.to_y(U)[1])]
    assert len(U) > 10
    by_y, by_log = rng.normal(size=(len(U), len(domain.lower))), rng.normal(size=len(U))

    def total(U):
        Y, log_det = domain.to_y(U)
        return (Y * by_y).sum(axis=1) + by_log * log_det

    E = step * np.eye(domain.n_free)
    found = domain.vjp(U, by_y, by_log)
    differences = np.stack([(total(U + e) - total(U - e)) / (2 * step) for e in E], axis=1)
    # Where ends of intervals change their side within a step, differences are not derivatives.
    close = np.isclose(found, differences, rtol=1e-5, atol=1e-4)
    assert close.mean() > 0.99


def test_single_points_are_those_of_a_batch(domain):
    rng = np.random.default_rng(10)
    U = rng.random((50, domain.n_free))
    by_y, by_log = rng.normal(size=(50, len(domain.lower))), rng.normal(size=50)
    Y, log_det = domain.to_y(U)
    gradients = domain.vjp(U, by_y, by_log)
    for u, y, value, g, slope, gradient in zip(U, Y, log_det, by_y, by_log, gradients, strict=True):
        found = domain.to_y(u)
        np.testing.assert_allclose(found[0], y, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(found[1], value, rtol=1e-9)
        size = 1e-9 * np.abs(gradient).max()
        np.testing.assert_allclose(domain.vjp(u, g, slope), gradient, rtol=1e-9, atol=size)


def test_draws_and_weighted_points_are_uniform_on_the_domain():
    for kind in KINDS:
        if kind == "many weights":
            continue  # its share of the box's points is small: the next test
        rng = np.random.default_rng(4)
        domain = made(*samples(kind, rng))
        X, share = rejected(domain, rng)
        moves = np.flatnonzero(domain.upper > domain.lower)
        mean, covariance = X.mean(axis=0)[moves], np.cov(X[:, moves].T)
        n = 40_000
        drawn = seen(domain, domain.draw(n, rng))[:, moves]
        std = np.sqrt(np.diag(covariance))
        error = 4 * np.sqrt(1 / n + 1 / len(X))  # four errors of a mean, in units of std
        assert len(X) > 5000
        np.testing.assert_array_less(np.abs(drawn.mean(axis=0) - mean), error * std)
        of_products = np.abs(np.cov(drawn.T) - covariance) / np.outer(std, std)
        assert of_products.max() < 1.5 * error  # the products of two have deviations below 1.5

        Y, log_det = domain.to_y(rng.random((n, domain.n_free)))
        p = np.exp(log_det - log_det.max())
        effective, Z = p.sum() ** 2 / (p**2).sum(), seen(domain, Y)[:, moves]
        error = 4 * np.sqrt(1 / effective + 1 / len(X))
        assert effective > 0.1 * n, kind
        np.testing.assert_array_less(np.abs(p @ Z / p.sum() - mean), error * std)
        box = domain.upper[domain.free] - domain.lower[domain.free]
        volume = share * np.prod(box)
        np.testing.assert_allclose(np.exp(domain.log_volume), volume, rtol=0.04)


def test_many_weights_are_drawn_as_by_hit_and_run():
    rng = np.random.default_rng(5)
    domain = made(*samples("many weights", rng))
    drawn, walked = domain.draw(4000, rng), domain._walked(4000, rng)
    std = drawn.std(axis=0)
    np.testing.assert_allclose(drawn.sum(axis=1), 1, rtol=0, atol=1e-12)
    # The walks start from points that are nearly uniform, so they count as independent.
    difference = np.abs(drawn.mean(axis=0) - walked.mean(axis=0)) / std
    assert difference.max() < 4.5 * np.sqrt(2 / 4000)
    np.testing.assert_allclose(walked.std(axis=0), std, rtol=0.06)


def test_the_volume_of_weights_is_that_of_the_simplex():
    corners = np.concatenate([np.eye(4), np.random.default_rng(6).dirichlet(np.ones(4), 50)])
    domain = made(corners)
    np.testing.assert_allclose(domain.log_volume, -np.log(6), atol=0.02)
    Y = domain.draw(20_000, np.random.default_rng(7))
    # Of a Dirichlet distribution of ones: means 1 / 4, variances 3 / 80.
    np.testing.assert_allclose(Y.mean(axis=0), 0.25, atol=4 * (3 / 80 / 20_000) ** 0.5)
    np.testing.assert_allclose(Y.var(axis=0), 3 / 80, rtol=0.05)


def test_coordinates_reach_other_processes(domain):
    sent = pickle.loads(pickle.dumps(domain))
    U = np.random.default_rng(8).random((3, domain.n_free))
    np.testing.assert_array_equal(sent.to_y(U)[0], domain.to_y(U)[0])
    assert np.isfinite(sent.to_y(sent.initial)[1])


def test_coordinates_are_made_once_for_a_surrogate(domain):
    box = Box(
        lower=domain.lower,
        upper=domain.upper,
        unit=np.ones(len(domain.lower)),
        normals=np.empty((0, len(domain.lower))),
        centre=domain.lower,
        log_inputs=np.zeros(len(domain.lower), dtype=bool),
    )
    one = Surrogate(engine=SimpleNamespace(box=box), n_in=len(domain.lower), path="a.npz")
    assert coordinates(one) is coordinates(one)
    # Without relations they are those of the box.
    U = np.random.default_rng(9).random((10, len(domain.lower)))
    right = domain.lower + U * (domain.upper - domain.lower)
    np.testing.assert_allclose(coordinates(one).to_y(U)[0], right, rtol=1e-14)


def test_a_single_point_is_refused():
    with pytest.raises(InputError, match="a.npz was trained at a single y"):
        made(np.ones((5, 2)))
