from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from draws import dataset

from surrogates.dataset import Dataset
from surrogates.surrogate import evaluate
from surrogates.training.deploy import deployed
from surrogates.training.fit import TrainConfig, fit

CONFIG = TrainConfig(width=4, work_units=150)


def make_dataset(noise: float, n: int = 700, simplex: bool = False) -> Dataset:
    """A smooth map of three inputs to five outputs."""
    rng = np.random.default_rng(0)
    Y = rng.uniform(-1, 1, (n, 3))
    if simplex:
        Y = np.abs(Y) / np.abs(Y).sum(axis=1, keepdims=True)
    C = np.exp(0.7 * Y @ rng.normal(size=(3, 5))) + noise * rng.normal(size=(n, 5))
    return dataset(Y, C, split="200/200/300")


def train(data: Dataset):
    return deployed(fit(data, CONFIG), data, alpha2=CONFIG.alpha2)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_intervals_cover_what_they_say(noise):
    data = make_dataset(noise)
    surrogate = train(data)
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
        assert errors[order[-30:]].mean() > 1.5 * errors[order[:150]].mean()


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
    config = dataclasses.replace(CONFIG, precision="single")
    result = fit(data, config)
    surrogate = deployed(result, data, alpha2=config.alpha2)
    Y = torch.from_numpy(data.part("test")[0])
    assert surrogate(Y).dtype == torch.float64
    features = result.features.double()
    F = features((Y - result.y_shift) / result.y_scale).detach()
    expected = F @ result.W[:, :-1].T + result.W[:, -1]
    torch.testing.assert_close(surrogate(Y), expected, rtol=1e-10, atol=1e-10)
