from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from draws import classes, dataset, labelled, normal
from scipy.optimize import minimize_scalar

from surrogates.config import replaced
from surrogates.data import Dataset
from surrogates.model.classifier import Classifier, assess
from surrogates.model.metrics import evaluate
from surrogates.model.networks import MLP
from surrogates.model.radial import Monomials, RadialBasis
from surrogates.training.config import Network, Regularisation, Stopping, TrainConfig
from surrogates.training.deploy import assembled_classes, deployed
from surrogates.training.fit import fit
from surrogates.training.member import Member
from surrogates.training.selection.classes import Choice
from surrogates.training.temperature import TEMPERATURES, temperature

CONFIG = TrainConfig(network=Network(width=4), stopping=Stopping(work_units=150))


def make_dataset(noise: float, n: int = 700, simplex: bool = False) -> Dataset:
    """A smooth map of three inputs to five outputs."""
    rng = np.random.default_rng(0)
    Y = rng.uniform(-1, 1, (n, 3))
    if simplex:
        Y = np.abs(Y) / np.abs(Y).sum(axis=1, keepdims=True)
    C = np.exp(0.7 * Y @ rng.normal(size=(3, 5))) + noise * rng.normal(size=(n, 5))
    return dataset(Y, C, split="200/200/300")


def train(data: Dataset):
    return deployed(fit(data, CONFIG), data)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_intervals_cover_what_they_say(noise):
    data = make_dataset(noise)
    # Of other first weights the floor differs, without noise from 0.25 to 0.9; the rest does not.
    surrogate = deployed(fit(data, replaced(CONFIG, {"seed": 1})), data)
    Y, C = map(torch.from_numpy, data.part("test"))
    mean = torch.zeros(C.shape[1], dtype=torch.float64)
    found = evaluate(surrogate, Y, C, mean=mean, predict_std=surrogate.predict_std)
    # 300 samples of 5 outputs, whose errors are correlated: the deviation of a share is below 3 %.
    np.testing.assert_allclose(found.coverage, (0.5, 0.9, 0.95), atol=0.08)
    std = surrogate.predict_std(Y)
    if noise:
        expected = torch.full((5,), noise, dtype=torch.float64)
        torch.testing.assert_close(std.median(dim=0).values, expected, rtol=0.25, atol=0)
        assert surrogate.floor > 0.5  # noise is the same for all y
    else:
        assert surrogate.floor < 0.5  # the features' cover is what differs
        errors = (surrogate(Y) - C).norm(dim=1)
        order = std[:, 0].argsort()
        assert errors[order[-30:]].mean() > 2.5 * errors[order[:150]].mean()


def test_bars_grow_outside_the_domain_as_the_errors_do():
    data = make_dataset(0.0)
    surrogate = train(data)
    Y = torch.from_numpy(data.part("test")[0])
    assert (
        surrogate.predict_std(3 * Y)[~surrogate.in_domain(3 * Y)].median(dim=0).values
        > 3 * surrogate.predict_std(Y).median(dim=0).values
    ).all()


def test_weights_on_the_simplex_make_a_flat():
    surrogate = train(make_dataset(0.0, simplex=True))
    y = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    assert surrogate.in_domain(y) and not surrogate.in_domain(1.01 * y)
    assert (surrogate.predict_std(1.5 * y) > surrogate.predict_std(y)).all()


def test_an_output_that_never_varies_has_no_error_and_the_others_keep_their_bars():
    data = make_dataset(0.0)
    C = data.C.copy()
    C[:, 2] = 0.0
    surrogate = train(dataclasses.replace(data, C=C))
    std = surrogate.predict_std(torch.zeros(3))
    assert std[2] < 1e-12 and (std[[0, 1, 3, 4]] > 1e-9).all()


def test_single_precision_is_deployed_in_double():
    data = make_dataset(0.0)
    config = replaced(CONFIG, {"precision": "single"})
    result = fit(data, config)
    surrogate = deployed(result, data)
    Y = torch.from_numpy(data.part("test")[0])
    assert surrogate(Y).dtype == torch.float64
    features = result.features.double()
    F = features((Y - result.y_shift) / result.y_scale).detach()
    expected = F @ result.W[:, :-1].T + result.W[:, -1]
    torch.testing.assert_close(surrogate(Y), expected, rtol=1e-10, atol=1e-10)


def cross_entropy(logits, C):
    return float(-(C * torch.log_softmax(logits, dim=1)).sum(dim=1).mean())


def drawn_labels(logits, seed=1):
    """Draw classes with the probabilities softmax(logits), as one-hot rows."""
    generator = torch.Generator().manual_seed(seed)
    k = torch.multinomial(torch.softmax(logits, dim=1), 1, generator=generator)[:, 0]
    return torch.nn.functional.one_hot(k, logits.shape[1]).double()


@pytest.mark.parametrize("size", [1e-2, 1.0, 1e2])
@pytest.mark.parametrize("rows", ["one-hot", "probabilities"])
def test_the_temperature_minimises_the_cross_entropy(size, rows):
    true = 2 * normal(500, 6, seed=0)
    C = drawn_labels(true) if rows == "one-hot" else torch.softmax(true, dim=1)
    logits = size * (true + normal(500, 6, seed=2))
    T = temperature(logits, C)
    best = minimize_scalar(
        lambda log_T: cross_entropy(logits / np.exp(log_T), C), bounds=(-8, 8), method="bounded"
    )
    assert T == pytest.approx(np.exp(best.x), rel=1e-3)
    # Where the derivative by 1 / T is zero, which the values of a minimum tell to half the digits.
    inverse = torch.tensor(1 / T, dtype=torch.float64, requires_grad=True)
    loss = -(C * torch.log_softmax(inverse * logits, dim=1)).sum(dim=1).mean()
    (slope,) = torch.autograd.grad(loss, inverse)
    assert abs(float(slope)) < 1e-12 * size
    assert temperature(logits + 1e3 * normal(500, 1, seed=3), C) == pytest.approx(T, rel=1e-9)


def test_probabilities_that_are_calibrated_have_the_temperature_one():
    logits = 2 * normal(40_000, 5, seed=0)
    C = drawn_labels(logits)
    assert temperature(logits, C) == pytest.approx(1, rel=0.02)
    assert temperature(7 * logits, C) == pytest.approx(7, rel=0.02)


@pytest.mark.parametrize("size", [1e-2, 1.0, 30.0])
@pytest.mark.parametrize("n", [1, 20, 1000])
def test_where_all_are_classified_rightly_the_mean_probability_follows_the_rule_of_succession(
    n, size
):
    C = torch.eye(4, dtype=torch.float64)[torch.arange(n) % 4]
    logits = size * (normal(n, 4, seed=0) + 9 * C)
    T = temperature(logits, C)
    p = torch.softmax(logits / T, dim=1).max(dim=1).values
    assert float(p.mean()) == pytest.approx((n + 1) / (n + 2), rel=1e-9)


def test_logits_that_say_nothing_become_equal_and_the_temperature_stays_in_its_bounds():
    C = torch.eye(3, dtype=torch.float64)
    assert temperature(-C, C) == TEMPERATURES[1]  # worse than equal ones
    assert temperature(1e-9 * C, C) == TEMPERATURES[0]
    assert TEMPERATURES[0] <= temperature(0 * C, C) <= TEMPERATURES[1]


def make_classes(n: int = 900, noise: float = 0.3) -> Dataset:
    """Three classes along a parabola of two inputs, whose borders are blurred."""
    rng = np.random.default_rng(0)
    Y = rng.uniform(-1, 1, (n, 2))
    k = np.digitize(Y[:, 0] ** 2 + Y[:, 1] + noise * rng.normal(size=n), [0.0, 0.6])
    made = dataset(Y, np.eye(3)[k], split="120/380/400")
    info = dataclasses.replace(made.info, task="classification", c_units=("1",) * 3)
    return dataclasses.replace(made, info=info)


def test_a_classifier_is_calibrated_where_training_is_sure_of_too_much():
    data = make_classes()
    config = TrainConfig(
        network=Network(width=8),
        stopping=Stopping(work_units=300),
        regularisation=Regularisation(alpha2=1e-6),
    )
    result = fit(data, config)
    # As after training until nothing is misclassified: the same classes, and too sure of them.
    result = dataclasses.replace(result, W=4 * result.W)
    classifier = deployed(result, data)
    assert isinstance(classifier, Classifier)
    Y, C = map(torch.from_numpy, data.part("validation"))
    T = float(classifier.temperature)
    torch.testing.assert_close(classifier(Y), result.predict(Y) / T, rtol=1e-9, atol=1e-9)
    found = cross_entropy(classifier(Y), C)
    for other in (0.9, 1.1):
        assert found < cross_entropy(result.predict(Y) / (other * T), C)
    Y, C = map(torch.from_numpy, data.part("test"))
    before, after = assess(result.predict, Y, C), assess(classifier, Y, C)
    assert T > 2 and after.accuracy == before.accuracy > 0.7
    assert after.calibration_error < 0.6 * before.calibration_error
    assert after.cross_entropy < before.cross_entropy
    assert classifier.in_domain(torch.zeros(2)) and not classifier.in_domain(2 * torch.ones(2))


def member(features, weight, seed):
    return Member(
        features=features,
        y_shift=normal(2, seed=seed),
        y_scale=0.5 + normal(2, seed=seed + 1).abs(),
        W=normal(3, features.width + 1, seed=seed + 2),
        weight=weight,
    )


@pytest.mark.parametrize("n_members", [1, 3])
def test_a_classifier_of_members_has_their_weighted_logits_over_the_temperature(n_members):
    parts = [
        RadialBasis(normal(5, 2, seed=0), torch.ones(2).double(), "gaussian"),
        Monomials(2, torch.zeros((0, 2), dtype=torch.int64)),
        MLP(2, 4, 1, generator=torch.Generator().manual_seed(0)),
    ][:n_members]
    weights = (1.0,) if n_members == 1 else (0.2, 0.3, 0.5)
    pairs = zip(parts, weights, strict=True)
    members = tuple(member(part, w, 10 * i) for i, (part, w) in enumerate(pairs))
    Y, C = normal(12, 2, seed=5), classes(12, 3, seed=6)
    choice = Choice(
        members=members,
        tried=(),
        rows=np.arange(12),
        logits=torch.zeros(12, 3).double(),
        temperature=1.7,
        history=(),
        train=np.arange(8),
    )
    classifier = assembled_classes(choice, labelled(Y.numpy(), C.numpy()))
    expected = sum(w * one.predict(Y) for w, one in zip(weights, members, strict=True)) / 1.7
    torch.testing.assert_close(classifier(Y), expected, rtol=1e-10, atol=1e-10)
    assert float(classifier.temperature) == 1.7
    assert torch.equal(classifier.lower, Y[:8].min(dim=0).values)
