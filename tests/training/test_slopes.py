"""Derivatives as training takes them: units, weights, and what a training learns from them."""

import dataclasses

import numpy as np
import pytest
import torch
from draws import classes, dataset, labelled, normal
from torch.func import jacrev, vmap

from surrogates.data import Split
from surrogates.errors import InputError
from surrogates.model.metrics import evaluate
from surrogates.model.networks import with_ones
from surrogates.model.parts import Logs
from surrogates.model.radial import Monomials
from surrogates.model.summaries import LEVELS
from surrogates.training.config import (
    Derivatives,
    Network,
    Optimizer,
    Outputs,
    Stopping,
    TrainConfig,
)
from surrogates.training.data import Data
from surrogates.training.features import Features
from surrogates.training.fit import fit
from surrogates.training.logs import logarithms
from surrogates.training.member import Member
from surrogates.training.selection.bars import _shape
from surrogates.training.selection.contest import _path
from surrogates.training.selection.folds import Fold
from surrogates.training.selection.kernel import pairs
from surrogates.training.selection.regression import Selection
from surrogates.training.slopes import DerivativeRows, Slopes, given
from surrogates.training.train import train

A = normal(3, 4, seed=8)


def waves(y):
    """Three outputs of four inputs."""
    return torch.sin(A @ y) + 0.3 * (A @ y) ** 2


def sampled(n=40, n_test=200, seed=0, rows=slice(None)):
    """Return a dataset with derivatives of some rows, NaN in all others."""
    Y = np.random.default_rng(seed).uniform(-1, 1, (n + n_test, 4))
    C = vmap(waves)(torch.from_numpy(Y)).numpy()
    made = dataset(Y, C)
    split = np.full(n + n_test, Split.TEST, np.uint8)
    split[:n] = np.where(np.arange(n) % 5 == 4, Split.VALIDATION, Split.TRAIN)
    dC_dY = np.full((n + n_test, 3, 4), np.nan)
    dC_dY[:n][rows] = vmap(jacrev(waves))(torch.from_numpy(Y[:n])).numpy()[rows]
    return dataclasses.replace(made, split=split, dC_dY=dC_dY)


def held_out(result, made):
    Y, C = made.part("test")
    return float(np.sqrt(((result.predict(torch.from_numpy(Y)).numpy() - C) ** 2).mean()))


def settings(weight=None, **changes):
    changes = {"stopping": Stopping(work_units=600), **changes}
    return TrainConfig(derivatives=Derivatives(weight=weight), **changes)


def test_directions_have_size_one_and_derivatives_follow():
    made = sampled(20, 0)
    found = made.derivatives(np.arange(20))
    spread = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    varies = torch.ones(4, dtype=torch.bool)
    V, T = torch.from_numpy(found.V.copy()), torch.from_numpy(found.T)
    whole = Slopes.of((V, T), spread, varies)
    assert torch.allclose(whole.X.norm(dim=2), torch.ones(20, 4, dtype=torch.float64))
    assert torch.allclose(whole.T, (T * spread).transpose(1, 2))
    # A direction's length does not matter.
    longer = Slopes.of((7 * V, 7 * T), spread, varies)
    assert torch.allclose(longer.T, whole.T)
    assert torch.allclose(longer.X, whole.X)


def test_the_weight_of_random_directions_is_that_of_all_in_expectation():
    made = sampled(400, 0)
    T = torch.from_numpy(made.dC_dY)
    spread, varies = torch.ones(4, dtype=torch.float64), torch.ones(4, dtype=torch.bool)
    ones = torch.ones(3, dtype=torch.float64)
    whole = Slopes.of((torch.eye(4).double().expand(400, 4, 4), T), spread, varies)
    V = torch.linalg.qr(normal(400, 4, 2, seed=3)).Q.transpose(1, 2)
    some = Slopes.of((V, T @ V.transpose(1, 2)), spread, varies)
    assert abs(some.energy(ones) / whole.energy(ones) - 1) < 0.1
    assert float(whole.share[0, 0]) == 1.0
    assert float(some.share[0, 0]) == 2.0


def test_rows_without_derivatives_are_left_out():
    made = sampled(20, 0)
    T = torch.from_numpy(made.dC_dY)
    T[3] = np.nan
    T[5, 1, 2] = np.nan
    V = torch.eye(4).double().expand(20, 4, 4)
    spread, varies = torch.ones(4, dtype=torch.float64), torch.ones(4, dtype=torch.bool)
    found = Slopes.of((V, T), spread, varies)
    assert found.samples.tolist() == [i for i in range(20) if i != 3]
    at = found.samples.tolist().index(5)
    assert found.there[at].tolist() == [True, True, False, True]
    assert found.share[at].tolist() == pytest.approx([4 / 3, 4 / 3, 0, 4 / 3])
    assert not found.T[at, 2].any()
    varies[1] = False  # the features do not see this input
    assert not Slopes.of((V, T), spread, varies).there[:, 1].any()
    assert Slopes.of((V, torch.full_like(T, np.nan)), spread, varies) is None


def test_the_targets_are_the_derivatives_of_the_scaled_outputs():
    made = sampled(40, 0)
    Y, C = made.part("train")
    rows = made.rows_of("train")
    found = made.derivatives(rows)
    slopes = (torch.from_numpy(found.V.copy()), torch.from_numpy(found.T))
    arrays = torch.from_numpy(Y), torch.from_numpy(C)
    held = tuple(map(torch.from_numpy, made.part("validation")))
    data = Data.of(arrays, held, scale=0.1, ordered=True, slopes=slopes, weight=2.0)
    # Scaled outputs as a function of the features' inputs, and a finite difference along a row.
    i, k, h = 7, 2, 1e-6
    V = data.train.directions.V[i, k]
    root = 2.0**0.5
    y = data.train.Y[i] + h * V / root
    z = data.mixing.T @ y  # a signed permutation
    there = waves(data.y_shift + data.y_scale * z)
    scaled = (there - data.scaling.shift) / data.scaling.scale
    change = (scaled - data.train.C[i]) / h
    assert torch.allclose(root * change, data.train.T.view(-1, 4, 3)[i, k], atol=1e-4)
    assert float((V / root).norm()) == pytest.approx(0.1)


def test_derivatives_teach():
    made = sampled()
    alone = fit(made, settings(0.0))
    along = fit(made, settings())
    assert alone.used is None
    assert (along.used.samples, along.used.whole) == (32, True)
    assert held_out(along, made) < 0.5 * held_out(alone, made)


@pytest.mark.parametrize("rows", [slice(0, 20), slice(0, 1)])
def test_derivatives_of_some_samples_teach_too(rows):
    made = sampled(rows=rows)
    along = fit(made, settings())
    assert along.used.samples == sum(made.split[:40][rows] == Split.TRAIN)
    if rows.stop > 1:
        assert held_out(along, made) < held_out(fit(made, settings(0.0)), made)


def test_no_derivatives_is_the_training_of_values():
    made = sampled(rows=slice(0, 0))
    bare = dataclasses.replace(made, dC_dY=None)
    results = [fit(one, settings(w)) for one, w in ((made, None), (bare, None), (sampled(), 0.0))]
    for one in results:
        assert torch.equal(one.W, results[0].W)
        assert one.used is None


def test_a_mixed_scaled_and_single_training_takes_derivatives():
    made = sampled()
    base = held_out(fit(made, settings(0.0)), made)
    for changes in (
        {"precision": "single"},
        {"network": Network(width=8, linear=True)},
        {"network": Network(width=8, kind="mlp")},
        {"network": Network(width=8, levels=2)},
    ):
        assert held_out(fit(made, settings(**changes)), made) < base, changes


@pytest.mark.parametrize("name", ["gn", "lbfgs", "adam"])
def test_other_optimizers_learn_from_derivatives(name):
    made = sampled()
    changes = {"optimizer": Optimizer(name=name), "network": Network(kind="mlp", width=8)}
    alone = held_out(fit(made, settings(0.0, **changes)), made)
    assert held_out(fit(made, settings(**changes)), made) < 0.7 * alone


@pytest.mark.parametrize("method", ["dense", "krylov", "kronecker"])
def test_a_training_with_derivatives_resumes_bit_for_bit(tmp_path, method):
    made, checkpoint = sampled(), tmp_path / "run.ckpt"
    changes = {"optimizer": Optimizer(method=method), "network": Network(width=4, levels=2)}
    own = settings(stopping=Stopping(work_units=400), **changes)
    whole = fit(made, own)
    for iteration in (3, len(whole.history) - 2):
        asked = iter(range(1, 10**6))
        stopped = fit(
            made, own, checkpoint=checkpoint, stop=lambda asked=asked, n=iteration: next(asked) == n
        )
        assert len(stopped.history) == iteration
        resumed = fit(made, own, checkpoint=checkpoint, resume=True)
        assert torch.equal(resumed.W, whole.W)
    other = dataclasses.replace(made, dC_dY=2 * made.dC_dY)
    with pytest.raises(InputError, match="dataset"):
        fit(other, own, checkpoint=checkpoint, resume=True)


def test_derivatives_of_logarithms_are_those_of_the_logarithms():
    made = sampled(20, 0)
    made = dataclasses.replace(made, Y=made.Y + 2, C=np.exp(made.C))
    made = dataclasses.replace(made, dC_dY=made.dC_dY * made.C[:, :, None])
    logs = Logs(inputs=np.array([True, False, False, True]), outputs=np.array([False, True, True]))
    found = logarithms(made, logs)

    def by_logs(z):
        x = torch.where(torch.from_numpy(logs.inputs), z.exp(), z) - 2
        return torch.where(torch.from_numpy(logs.outputs), waves(x), waves(x).exp())

    expected = jacrev(by_logs)(torch.from_numpy(found.Y[4]))
    np.testing.assert_allclose(found.dC_dY[4], expected.numpy(), rtol=1e-10)
    # Along a direction of y, the same numbers.
    V = normal(20, 2, 4, seed=5).numpy()
    info = dataclasses.replace(made.info, tangents=False, directions=2)
    dC_dV = made.dC_dY @ V.transpose(0, 2, 1)
    some = logarithms(
        dataclasses.replace(made, info=info, dC_dY=None, directions=V, dC_dV=dC_dV), logs
    )
    np.testing.assert_allclose(some.dC_dV[4], expected.numpy() @ some.directions[4].T, rtol=1e-10)


def test_classes_have_no_derivatives():
    made = labelled(normal(30, 4, seed=1).numpy(), classes(30, 3, seed=2).numpy())
    made = dataclasses.replace(made, dC_dY=np.zeros((30, 3, 4)))
    with pytest.raises(InputError, match="derivatives are for regression"):
        fit(made, settings(network=Network(width=4)))


def test_derivatives_that_no_weight_fits_are_one_line():
    made = sampled(20, 0)
    zero = dataclasses.replace(made, dC_dY=0 * made.dC_dY)
    with pytest.raises(InputError, match="all derivatives of the training samples are 0, but c"):
        fit(zero, settings())
    huge = dataclasses.replace(made, dC_dY=1e200 * made.dC_dY)
    for weight in (None, 1.0):
        with pytest.raises(InputError, match="derivatives are too large to be squared"):
            fit(huge, settings(weight))
    still = dataclasses.replace(zero, C=0 * zero.C + 3.0)  # a constant has the derivative 0
    found = fit(still, settings())
    assert torch.equal(found.predict(torch.from_numpy(made.Y)), torch.from_numpy(still.C))


def test_derivatives_of_some_outputs_directions_span_more_than_few_values():
    """Six samples of nine outputs: derivatives show the rest of the outputs' space."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((9, 4))
    Y = rng.uniform(-1, 1, (60, 4))
    made = dataset(Y, Y @ A.T)
    split = np.full(60, Split.TEST, np.uint8)
    split[:3], split[3:5] = Split.TRAIN, Split.VALIDATION
    dC_dY = np.broadcast_to(A, (60, 9, 4)).copy()
    made = dataclasses.replace(made, split=split, dC_dY=dC_dY)
    along = fit(made, settings(network=Network(width=4, linear=True)))
    assert held_out(along, made) < 1e-4 * made.C.std()


@pytest.mark.parametrize("changes", [{}, {"network": Network(kind="mlp", width=6, linear=True)}])
def test_w_is_solved_anew_with_the_same_rows(changes):
    made = sampled(rows=slice(0, 21))
    own = settings(outputs=Outputs(scaling="column"), **changes)
    result = fit(made, own)
    fold = Fold(train=made.rows_of("train"), held=made.rows_of("validation"))
    same, other = _path(made, result, fold, [own.regularisation.alpha2, 1e-2])
    assert float((same.W - result.W).norm() / result.W.norm()) < 1e-6
    assert float((other.W - result.W).norm() / result.W.norm()) > 1e-3


def test_a_choice_learns_from_derivatives_and_says_so():
    made = sampled(rows=slice(0, 32))
    fixed = frozenset({"network.kind", "network.width", "regularisation.alpha1"})
    base = settings(network=Network(kind="mlp", width=8), stopping=Stopping(work_units=300))
    found = train(made, base, given=fixed, processes=1)
    alone = train(made, settings(0.0, network=base.network), given=fixed, processes=1)
    assert found.training["derivatives"]["directions"] == "all"
    assert found.training["derivatives"]["samples"] == 32
    assert found.training["derivatives"]["weight"] > 0
    assert "derivatives" not in alone.training
    Y, C = map(torch.from_numpy, made.part("test"))
    errors = [float((one.surrogate(Y) - C).norm()) for one in (found, alone)]
    assert errors[0] < 0.5 * errors[1]


def test_error_bars_with_derivatives_keep_their_coverage():
    """Over four sets of forty samples: quantiles of one set's residuals vary by 0.1."""
    fixed = frozenset({"network.kind", "network.width", "regularisation.alpha1"})
    base = settings(network=Network(kind="mlp", width=8))
    found = []
    for seed in (21, 22, 23, 24):  # sets that no choice of the method has seen
        made = sampled(40, 2000, seed=seed)
        surrogate = train(made, base, given=fixed, processes=1).surrogate
        Y, C = map(torch.from_numpy, made.part("test"))
        inside = surrogate.in_domain(Y)
        assert int(inside.sum()) > 500
        judged = evaluate(
            surrogate, Y[inside], C[inside], mean=C.mean(dim=0), predict_std=surrogate.predict_std
        )
        found.append(judged.coverage)
    mean = np.mean(found, axis=0)
    for share, level, tolerance in zip(mean, LEVELS, (0.12, 0.06, 0.05), strict=True):
        assert abs(share - level) < tolerance, found


def test_the_leverage_without_a_sample_is_that_of_a_fit_without_its_rows():
    made = sampled(20, 0, rows=slice(0, 15))
    rows = np.arange(20)
    member = Member(
        features=Monomials(4, pairs(4, 1)),
        y_shift=torch.zeros(4).double(),
        y_scale=torch.ones(4).double(),
        W=torch.zeros((3, 5)).double(),
    )
    alone = Selection(
        members=(member,),
        tried=(),
        rows=rows,
        residual=normal(20, 3, seed=1),
        variance=None,
        kriging=None,
        history=(),
        train=rows,
    )
    Y = torch.from_numpy(made.Y)
    along = DerivativeRows.of(made, rows, 0.3)
    shape, found = _shape(alone, Y, Y, along)
    Z = torch.cat([with_ones(Y), torch.nn.functional.pad(along.V.flatten(0, 1), (0, 1))])
    owner = torch.cat([torch.arange(20), along.samples.repeat_interleave(4)])
    for i in range(20):
        kept = Z[owner != i]
        expected = Z[i] @ torch.linalg.solve(kept.T @ kept, Z[i])
        assert float(found[i]) * shape.share == pytest.approx(float(expected), rel=1e-8)


def test_the_score_counts_derivatives_of_held_out_samples():
    made = sampled(40, 0, rows=slice(0, 40))
    arrays = [tuple(map(torch.from_numpy, made.part(name))) for name in ("train", "validation")]
    slopes = [given(made, made.rows_of(name)) for name in ("train", "validation")]
    data = Data.of(*arrays, slopes=slopes[0], held_slopes=slopes[1], weight=0.7)
    held, W = data.validation, normal(3, 5, seed=1)
    features = Features(torch.nn.Linear(4, 4).double(), held.Y, directions=held.directions)
    theta = normal(features.n_theta, seed=2)
    F = features(theta)
    found = held.measure(F, W)
    residual = with_ones(F[:8]) @ W.T - held.C
    along = (F[8:] @ W[:, :-1].T - held.T).view(8, -1)
    expected = (residual.square().sum(dim=1) + along.square().sum(dim=1)).sqrt().mean()
    assert found.score == pytest.approx(float(expected))
    assert found.loss == pytest.approx(float(residual.square().sum(dim=1).mean()) / 2)
