"""Kriging with derivatives, against torch.func, finite differences and fits without samples."""

import dataclasses

import numpy as np
import pytest
import torch
from draws import dataset, normal
from torch.func import grad, jvp, vmap

from surrogates.model.kinds import KERNELS
from surrogates.training.config import Derivatives, Network, TrainConfig
from surrogates.training.selection import enhanced as module
from surrogates.training.selection.covariances import Points, Scales, solve
from surrogates.training.selection.effort import COSTS, Asked
from surrogates.training.selection.enhanced import enhanced, left_out
from surrogates.training.selection.frame import framed
from surrogates.training.selection.regression_candidates import kernels

SCALES = torch.tensor([0.7, 0.3]).double()


def function(Y):
    return np.stack([np.sin(2 * Y[:, 0]) * Y[:, 1], np.exp(Y[:, 0] / 2) + Y[:, 1] ** 2], axis=1)


def jacobian(Y):
    J = np.empty((len(Y), 2, 2))
    J[:, 0, 0], J[:, 0, 1] = 2 * np.cos(2 * Y[:, 0]) * Y[:, 1], np.sin(2 * Y[:, 0])
    J[:, 1, 0], J[:, 1, 1] = np.exp(Y[:, 0] / 2) / 2, 2 * Y[:, 1]
    return J


def drawn(n=20, **missing):
    """Samples of a function of inputs of other sizes than one, with derivatives."""
    Y = normal(n, 2, seed=1).numpy()
    J = jacobian(Y) / [10, 0.1]
    for sample in missing.get("without", ()):
        J[sample] = np.nan
    data = dataset(Y * [10, 0.1] + [3, 0], function(Y), "1/0/0")
    info = dataclasses.replace(data.info, tangents=True)
    return dataclasses.replace(data, info=info, dC_dY=J)


def asked(settings=None):
    return Asked(
        settings=settings or TrainConfig(),
        given=frozenset(),
        effort=COSTS["default"],
        each=lambda tasks: ((i, t.function(**t.arguments)) for i, t in enumerate(tasks)),
        on_progress=lambda *arguments: None,
    )


def points(n=20, **missing):
    found = Points.of(framed(drawn(n, **missing), TrainConfig()))
    assert found is not None
    return found


def scales(kernel="gaussian", nugget=0.0, of_derivatives=None):
    own = nugget if of_derivatives is None else of_derivatives
    return Scales(kernel=kernel, scales=SCALES, nugget=torch.tensor([nugget, own]).double())


def kappa(kernel):
    """Return the kernel by its definition, of one pair."""

    def gaussian(x, z):
        return torch.exp(-((x - z) * SCALES).square().sum() / 2)

    def matern52(x, z):
        s = (5 * ((x - z) * SCALES).square().sum()).sqrt()
        return (1 + s + s**2 / 3) * torch.exp(-s)

    return {"gaussian": gaussian, "matern52": matern52}[kernel]


@pytest.mark.parametrize("kernel", KERNELS)
def test_covariances_are_derivatives_of_the_kernel(kernel):
    some, own = points(6), kappa(kernel)
    X, Z, U = some.X, some.X[some.at], some.U
    eps = 1e-6 * (kernel == "matern52")  # at a distance of 0 its root has no derivative

    def along(x, z, u):
        return jvp(lambda z: own(x + eps, z), (z,), (u,))[1]

    values = vmap(vmap(lambda x, z: own(x + eps, z), (None, 0)), (0, None))(X, X)
    across = vmap(vmap(along, (None, 0, 0)), (0, None, None))(X, Z, U)
    pairs = list(zip(Z, U, strict=True))
    rows = [[grad(along)(x, z, u) @ w for z, u in pairs] for x, w in pairs]
    within = torch.stack([torch.stack(row) for row in rows])
    K = torch.cat([torch.cat([values, across], 1), torch.cat([across.T, within], 1)])
    found = some.covariance(scales(kernel))
    torch.testing.assert_close(found, K, rtol=1e-5, atol=3e-6)  # differences of step 1e-3
    added = some.covariance(scales(kernel, 0.1, 0.3)) - found
    noise = torch.tensor([0.1] * 6 + [0.3] * 12).double() * K.diagonal()
    torch.testing.assert_close(added, torch.diag(noise), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize(("kernel", "step"), [("gaussian", 1e-3), ("matern52", 1e-2)])
def test_covariances_are_those_of_the_functions_about_centres(kernel, step):
    some = dataclasses.replace(points(6), step=step)
    basis, factor = module.features(some, scales(kernel))
    assert basis.kernel == kernel
    A = (basis.centres * SCALES).numpy().astype(np.longdouble)  # differences lose 6 digits
    square = np.square(A[:, None] - A).sum(axis=2)
    s = np.sqrt(5 * square)
    k = np.exp(-square / 2) if kernel == "gaussian" else (1 + s + s**2 / 3) * np.exp(-s)
    D = module._about(torch.eye(len(some.T)).double(), factor).numpy().astype(np.longdouble)
    K = torch.from_numpy((D @ k @ D.T).astype(float))
    torch.testing.assert_close(some.covariance(scales(kernel)), K, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kernel", KERNELS)
def test_differences_and_derivatives_vary_together(kernel):
    """A difference h tends to the derivative, with an error of h^2."""
    some = points(6)
    exact, errors = some.covariance(scales(kernel)), []
    for step in (0.04, 0.02):
        coarse = dataclasses.replace(some, step=step)
        for rows in (step, some.step):
            errors.append(float((coarse.kernels(scales(kernel), rows) - exact).norm()))
    for large, small in zip(errors[:2], errors[2:], strict=True):
        assert 3 < large / small < 5


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_gradient_of_the_likelihood_is_that_of_differences(kernel):
    some, x = points(9), np.log([0.5, 0.4, 1e-3, 3e-2])
    slope = module._likelihood(some, kernel, x)[1]
    for k, step in enumerate(np.eye(4) * 1e-5):
        ends = [module._likelihood(some, kernel, x + sign * step)[0] for sign in (1, -1)]
        assert slope[k] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("number", [np.arange(12), np.arange(12) // 2])
def test_left_out_residuals_are_those_of_fits_without_the_samples(number):
    some, fit = points(12, without=(3,)), scales(nugget=1e-4)
    found = solve(some.covariance(fit), some.T, 12)
    residual, variance = left_out(some, found, number)
    for i in range(int(number.max()) + 1):
        kept, held = (torch.from_numpy(np.flatnonzero(x)) for x in (number != i, number == i))
        part = some.some(kept)
        own = solve(part.covariance(fit), part.T, len(kept))
        expected = module.predict(part, fit, own, some.X[held]) - some.T[held]
        torch.testing.assert_close(residual[held], expected, rtol=1e-7, atol=1e-9)
        expected = posterior(part, fit, some.X[held])
        torch.testing.assert_close(variance[held], expected, rtol=1e-6, atol=1e-9)


def covariances(some, X):
    """Return those of c at X."""
    h = some.step
    k = torch.exp(-torch.cdist(X * SCALES, some.X * SCALES).square() / 2)
    size = torch.linalg.vector_norm(some.U * SCALES, dim=1)
    d = ((X[:, None] - some.X[some.at]) * some.U * SCALES**2).sum(dim=2) / size
    along = torch.sinh(h * d) / h * np.exp(-(h**2) / 2)
    return torch.cat([k, k[:, some.at] * along * size], dim=1)


def posterior(some, fit, X):
    """Return the variance of c and its nugget at X."""
    K, k = some.covariance(fit), covariances(some, X)
    H = (torch.arange(len(K)) < len(some.X)).double()
    solved, lifted = torch.linalg.solve(K, k.T), torch.linalg.solve(K, H)
    return 1 + fit.nugget[0] - (k.T * solved).sum(dim=0) + (1 - H @ solved) ** 2 / (H @ lifted)


@pytest.mark.parametrize("nugget", [1e-8, 1e-3])
def test_functions_about_centres_keep_their_digits_and_predict_what_kriging_predicts(nugget):
    fine, fit = points(20), scales(nugget=nugget)
    X = normal(50, 2, seed=7)
    some, found = module.coarsened(fine, fit)
    assert some.step == 100 * fine.step
    basis, W = module.weights(some, fit, found)
    assert basis.width == 20 + 2 * 40
    F = basis.forward(X) @ W[:, :-1].T + W[:, -1]
    expected = covariances(some, X) @ found.a + found.constant
    assert float((F - expected).norm() / expected.norm()) < 2e-10
    own = solve(fine.covariance(fit), fine.T, 20)
    expected = covariances(fine, X) @ own.a + own.constant
    assert float((F - expected).norm() / expected.norm()) < 2e-3  # less than their error
    along = basis.forward_and_jacobian(fine.X)[1].transpose(1, 2) @ W[:, :-1].T
    along = (fine.U[:, :, None] * along[fine.at]).sum(dim=1)
    K = some.covariance(fit).diagonal() - some.covariance(scales()).diagonal()
    missed = along + K[20:, None] * found.a[20:] - fine.T[20:]
    assert float(missed.norm() / fine.T[20:].norm()) < 1e-6


@pytest.mark.parametrize("shaped", [600, 30])
def test_the_variance_is_the_posterior_one_of_the_samples_that_shape_it(shaped, monkeypatch):
    monkeypatch.setattr(module, "_SHAPED", shaped)
    some, fit = points(20, without=(3,)), scales(nugget=1e-4, of_derivatives=1e-3)
    found = solve(some.covariance(fit), some.T, 20)
    kriged = module.kriging(some, found, fit, np.arange(20))
    taken = some.spread(shaped)
    part = some.some(taken)
    assert len(taken) == (20 if shaped == 600 else 10)

    def variance(X):
        F = torch.cat([kriged.fit.kappa(X, kriged.centres), torch.ones(len(X), 1)], dim=1)
        less = (F[:, :-1] @ kriged.negative.T).square().sum(dim=1)
        return 1 + kriged.fit.nugget - less + (F @ kriged.positive.T).square().sum(dim=1)

    X = normal(50, 2, seed=7)
    least = 1e-8 - 1e-11  # the nugget's bound is no noise
    expected = posterior(part, fit, X) - least
    torch.testing.assert_close(variance(X), expected, rtol=1e-6, atol=1e-11)
    others = torch.tensor([i for i in range(20) if i not in taken], dtype=torch.int64)
    expected = posterior(part, fit, some.X[others]) - least
    torch.testing.assert_close(kriged.variance[others], expected, rtol=1e-6, atol=1e-11)
    own = solve(part.covariance(fit), part.T, len(taken))
    expected = left_out(part, own, np.arange(len(taken)))[1]
    torch.testing.assert_close(kriged.variance[taken], expected - least, rtol=1e-9, atol=0)


def test_derivatives_are_worth_samples_and_the_error_is_known():
    frame = framed(drawn(20), TrainConfig())
    found, rough, _ = enhanced(frame, asked())
    assert found.name == "rbf gaussian with derivatives"
    assert found.score < 0.5 * rough.score  # of a smooth function
    assert found.used.samples == 20 and found.used.whole and found.used.directions == 2
    values = TrainConfig(network=Network(kernel="gaussian", trend=0))
    alone, *_ = kernels(frame, asked(values), apart=False)
    Y = normal(300, 2, seed=5).numpy().clip(-1.5, 1.5)
    sizes = []
    for (member,) in (found.members(), alone.members()):
        error = member.predict(torch.from_numpy(Y * [10, 0.1] + [3, 0])).numpy() - function(Y)
        sizes.append(np.sqrt(np.square(error / function(Y).std(axis=0)).mean()))
    assert sizes[0] < 0.02 and sizes[0] < 0.2 * sizes[1]
    assert found.score < alone.score
    assert 1 <= np.sqrt(found.grown().score / found.score) <= 3


def test_it_is_tried_where_it_can_be():
    frame = framed(drawn(10), TrainConfig())
    kernels, apart = ["gaussian", "matern52"], "rbf with derivatives, scales by output"
    names = [f"rbf {kernel} with derivatives" for kernel in kernels]
    assert [one.name for one in enhanced(frame, asked())] == [*names, apart]
    for kernel, name in zip(kernels, names, strict=True):
        own = TrainConfig(network=Network(kernel=kernel))
        assert [one.name for one in enhanced(frame, asked(own))] == [name, apart]
    first = dataclasses.replace(drawn(10), C=drawn(10).C[:, :1], dC_dY=drawn(10).dC_dY[:, :1])
    own = {"c_names": first.info.c_names[:1], "c_units": first.info.c_units[:1]}
    first = dataclasses.replace(first, info=dataclasses.replace(first.info, **own))
    assert [one.name for one in enhanced(framed(first, TrainConfig()), asked())] == names
    off = TrainConfig(derivatives=Derivatives(weight=0.0))
    other = TrainConfig(network=Network(kernel="anova_matern52"))
    assert enhanced(frame, asked(off)) == enhanced(frame, asked(other)) == []
    values = dataclasses.replace(drawn(10), dC_dY=None)
    values = dataclasses.replace(values, info=dataclasses.replace(values.info, tangents=False))
    assert enhanced(framed(values, TrainConfig()), asked()) == []
    many = drawn(module.LARGEST // 3 + 1)
    assert enhanced(framed(many, TrainConfig()), asked()) == []


def bent(n, seed):
    """Samples of a function with bends, and its values."""
    Y = np.random.default_rng(seed).uniform(-2, 2, (n, 2))
    K = np.array([[1.0, 0.4], [-0.3, 1.2], [0.8, -0.9]])
    Z = 12 * (Y @ K.T - [0.2, 0.5, -0.3])
    C = np.logaddexp(0, Z) / 12 @ [[1.0, 0.3], [0.5, -1.0], [-0.7, 0.8]]
    slopes = np.array([[1.0, 0.5, -0.7], [0.3, -1.0, 0.8]])
    J = np.einsum("qm,nm,md->nqd", slopes, 1 / (1 + np.exp(-Z)), K)
    data = dataset(Y, C, "1/0/0")
    info = dataclasses.replace(data.info, tangents=True)
    return dataclasses.replace(data, info=info, dC_dY=J), Y, C


def test_functions_with_bends_have_the_kernel_of_matern():
    data, _, C = bent(50, 1)
    smooth, rough, _ = enhanced(framed(data, TrainConfig()), asked())
    assert rough.score < 0.3 * smooth.score
    _, Y, expected = bent(500, 2)
    (member,) = rough.members()
    error = (member.predict(torch.from_numpy(Y)).numpy() - expected) / C.std(axis=0)
    assert np.sqrt(np.square(error).mean()) < 0.05
    bars = np.sqrt(rough.variance.numpy())
    assert bars.min() > 0 and np.isfinite(bars).all()


def test_derivatives_that_are_less_exact_have_a_nugget_of_their_own():
    data, Y, _ = bent(50, 1)
    rng = np.random.default_rng(3)
    noisy = data.dC_dY * (1 + 0.2 * rng.standard_normal(data.dC_dY.shape))
    frame = framed(dataclasses.replace(data, dC_dY=noisy), TrainConfig())
    fit = module.search(Points.of(frame), kernel="matern52")
    assert fit.nugget[1] > 10 * fit.nugget[0]


def test_each_output_has_scales_and_a_kernel_of_its_own():
    # One smooth function of the first input, and one with bends of both.
    data, Y, C = bent(40, 1)
    C = np.stack([np.sin(2 * Y[:, 0]), C[:, 1]], axis=1)
    J = data.dC_dY.copy()
    J[:, 0] = np.stack([2 * np.cos(2 * Y[:, 0]), 0 * Y[:, 1]], axis=1)
    frame = framed(dataclasses.replace(data, C=C, dC_dY=J), TrainConfig())
    points = Points.of(frame)
    gaussian, matern, found = enhanced(frame, asked())
    assert found.name.endswith("scales by output")
    # The same, one output at a time: functions, weights and left-out residuals.
    (member,) = found.members()
    X = normal(7, 2, seed=3)
    scaling, first = frame.data.scaling, member.features.parts[0].width
    kernels = []
    for j, part in enumerate(member.features.parts[1:]):
        alone = dataclasses.replace(points, T=points.T[:, j : j + 1])
        fits = [
            module.search(alone, module.search(points, kernel="gaussian"), "gaussian", 30, 300),
            module.search(
                alone,
                module.search(points, module.search(points, kernel="gaussian"), "matern52"),
                "matern52",
                30,
                300,
            ),
        ]
        own = [module._Output.of(alone, fit, np.arange(40)) for fit in fits]
        best = min(own, key=lambda one: float(one.left_out.square().mean()))
        kernels.append(best.fit.kernel)
        torch.testing.assert_close(found.residual[:, j : j + 1], best.left_out)
        expected = best.basis.forward(X) @ best.W[0, :-1] + best.W[0, -1]
        expected = expected * scaling.scale[j] + scaling.shift[j]
        seen = member.predict(X * frame.data.y_scale + frame.data.y_shift)[:, j]
        torch.testing.assert_close(seen, expected)
        block = member.W[j, first : first + part.width]
        others = torch.cat([member.W[j, :first], member.W[j, first + part.width : -1]])
        assert bool((block != 0).any()) and not bool(others.any())
        first += part.width
    assert kernels == ["gaussian", "matern52"]
    for j in range(2):  # neither output pays for the other
        best = min(float(one.scores[j]) for one in (gaussian, matern))
        assert float(found.scores[j]) < 0.9 * best
    assert 1 <= np.sqrt(found.grown().score / found.score) <= 3
    # The error bars' shape is that of a common kernel, whose centres come first.
    assert member.features.parts[0].centres.shape == found.kriging.centres.shape
    torch.testing.assert_close(found.variance, found.kriging.variance)


def test_many_outputs_have_common_scales():
    frame = framed(drawn(10), TrainConfig())
    shared, *_ = enhanced(frame, asked())
    points = Points.of(frame)
    fits = [module.search(points)]
    for limit in ({"_APART": 1}, {"_APART_FEATURES": 10}, {"_APART_COST": 1e3}):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in limit.items():
                patch.setattr(module, name, value)
            assert module._apart(frame, asked(), points, fits, shared) == []
