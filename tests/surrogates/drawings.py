"""Histories and observables to draw."""

from __future__ import annotations

import numpy as np


def records(n=30, levels=2, **changes):
    made = []
    for i in range(n):
        falling = np.exp(-i / 5)
        record = {
            "level": i * levels // n,
            "work_units": 20.0 * (i + 1),
            "train_loss": falling,
            "validation_loss": 2 * falling,
            "train_error": 0.1 * falling,
            "validation_error": 0.2 * falling,
        }
        made.append({**record, **changes})
    return made


def surveyed(n=3):
    """Observables (n, 24): those along x1 positive, those along x2 of both signs; predictions."""
    rng = np.random.default_rng(0)
    C = np.concatenate([rng.uniform(1, 2, (n, 12)), rng.uniform(-2, 1, (n, 12))], axis=1)
    return C, C + rng.normal(0, 0.1, C.shape)
