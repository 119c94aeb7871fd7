"""Descriptions and observables to draw."""

from __future__ import annotations

import numpy as np
import pytest
from panels import X1, X2

from surrogates.data import Info


@pytest.fixture
def data(dataset):
    """The dataset's description, and true and predicted observables of its done samples."""
    C = dataset.C[:-1]
    factors = 1 + 0.01 * np.arange(len(C))
    return dataset.info, C, factors[:, None] * C


@pytest.fixture
def survey():
    """The description of a survey: at 4 x 3 places differences along x1, then along x2."""
    n = 2 * len(X1) * len(X2)
    return Info(
        problem="toy",
        total=3,
        y_names=("a",),
        y_units=("m",),
        y_lower=np.zeros(1),
        y_upper=np.ones(1),
        c_names=tuple(f"c{i}" for i in range(n)),
        c_units=("V",) * n,
        coordinates={
            "direction": np.repeat([1.0, 2.0], n // 2),
            "x1": np.tile(X1, 2 * len(X2)),
            "x2": np.tile(np.repeat(X2, len(X1)), 2),
        },
    )
