"""Missing observables: what they are filled with, and that they count nowhere."""

import dataclasses

import numpy as np
import pytest
from draws import dataset

from surrogates.config import replaced
from surrogates.errors import InputError
from surrogates.training.completion import completed
from surrogates.training.train import train


def smooth(missing, n=60):
    """Three smooth outputs of two inputs, some of which are missing; and all of them."""
    rng = np.random.default_rng(0)
    Y = rng.random((n, 2))
    s = Y @ [1.0, 2.0]
    C = np.stack([np.sin(s), 1e3 * np.cos(s), np.exp(-s)], axis=1)
    data = dataset(Y, C, split=f"{n - 20}/10/10")
    holes = C.copy()
    for row, column in missing:
        holes[row, column] = np.nan
    return dataclasses.replace(data, C=holes), C


HOLES = [(3, 0), (3, 1), (10, 2), *((row, 1) for row in range(20, 30))]


def test_missing_entries_are_predicted_from_the_others_and_the_rest_stays():
    data, C = smooth(HOLES)
    filled = completed(data).C
    there = ~np.isnan(data.C)
    assert np.array_equal(filled[there], C[there])
    assert (
        np.abs((filled - C) / C.std(axis=0)).max(axis=0) < 0.1
    ).all()  # the worst is in a corner


def test_a_whole_dataset_stays_as_it_is():
    data, _ = smooth([])
    assert completed(data) is data


def test_an_output_of_fewer_than_three_samples_is_refused():
    data, _ = smooth([(row, 2) for row in range(58)])
    with pytest.raises(InputError, match="is there in 2 samples; training needs it in 3"):
        completed(data)


def test_errors_of_a_training_are_of_the_entries_that_are_there():
    data, _ = smooth(HOLES)
    whole = dataclasses.replace(data, C=completed(data).C)
    given = frozenset({"network.kind"})
    found, same = (
        train(one, replaced(found_settings(), {"network.kind": "rbf"}), given=given, processes=1)
        for one in (data, whole)
    )
    for part in ("validation", "test"):
        errors = found.errors[part].output_spread
        assert np.isfinite(errors).all() and max(errors) < 0.05
    # What was filled in is predicted almost exactly, and would make the error look less.
    assert found.errors["validation"].output_rms[1] != same.errors["validation"].output_rms[1]


def found_settings():
    from surrogates.training.config import Network, TrainConfig

    return TrainConfig(network=Network(kernel="gaussian", trend=0))
