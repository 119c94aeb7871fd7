"""The surrogate in numpy alone, against torch."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from exports import METHODS, arguments, check_close, expected, in_numpy, saved
from plain import NETWORKS, Sine, both, made, points

from surrogates.errors import InputError
from surrogates.export import npz
from surrogates.export.constants import constants
from surrogates.model.networks import ACTIVATIONS
from surrogates.model.surrogate import Surrogate


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_is_the_surrogate_also_after_a_round_trip(network, tmp_path):
    surrogate, loaded = both(*network)
    npz.save(loaded, tmp_path / "s.npz")
    Y = points(surrogate)
    inside = surrogate.in_domain(torch.from_numpy(Y))
    assert inside.any() and not inside.all()
    for found in (in_numpy(loaded), npz.load(tmp_path / "s.npz")):
        assert found.metadata == loaded.metadata
        for method in METHODS:
            more = arguments(surrogate, method, len(Y))
            for rows in (slice(None), slice(0, 1), 0):
                given = [x[rows] for x in (Y, *more)]
                result = np.asarray(getattr(found, method)(*given))
                check_close(result, expected(surrogate, method, *given), f"{method} {rows}")


def test_is_the_surrogate_file(surrogate, Y, tmp_path):
    loaded = saved(surrogate, tmp_path / "s.pt")
    found = in_numpy(loaded)
    for method in METHODS:
        given = (Y.numpy(), *arguments(surrogate, method, len(Y)))
        check_close(getattr(found, method)(*given), getattr(loaded, method)(*given), method)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_and_huge_numbers_go_through_without_a_warning(activation, tmp_path):
    surrogate, loaded = both(*next(network for network in NETWORKS if network[1] == activation))
    found = constants(loaded)
    Y = points(surrogate)[:4]
    Y[0, 2], Y[1], Y[2] = np.nan, 1e200, -1e200
    for method in METHODS:
        given = (Y, *arguments(surrogate, method, 4))
        result = getattr(found, "forward" if method == "predict" else method)(*given)
        check_close(result[1:], expected(surrogate, method, *given)[1:], method)
        assert method == "in_domain" or np.isnan(result[0]).all()
    assert found.in_domain(Y).tolist() == [False, False, False, True]
    assert np.isinf(found.predict_std(Y)[1:3]).all()
    found.forward(np.full(len(Y[0]), np.inf))


@pytest.mark.parametrize("change", [{"schema_version": 1}, {}])
def test_without_error_bars_the_deviation_is_nan(change, tmp_path):
    surrogate = made("mlp", "tanh", 3, 4, 2, 1, bars=bool(change))
    loaded = saved(surrogate, tmp_path / "s.pt", **change)
    npz.save(loaded, tmp_path / "s.npz")
    y = surrogate.lower.numpy()
    found = npz.load(tmp_path / "s.npz")
    assert np.isnan(found.engine.predict_std(y)).all()
    check_close(found.predict(y), loaded.predict(y), "predict")
    for one in (loaded, found) if change else ():
        with pytest.raises(InputError, match="older version, without error bars"):
            one.predict_std(y)


def test_other_features_are_refused(parts, tmp_path):
    changes = {"features": Sine(), "W": torch.ones(6, 5), "error_bars": None}
    loaded = saved(Surrogate(**{**parts, **changes}), tmp_path / "user.pt")
    with pytest.raises(InputError, match=r"user.pt cannot be exported: .* features are another m"):
        npz.save(loaded, tmp_path / "user.npz")
    assert os.listdir(tmp_path) == ["user.pt"]
