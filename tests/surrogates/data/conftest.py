"""Arrays to import."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def arrays():
    """Y and C with samples in rows, (10, 3) and (10, 4)."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(10, 3)), rng.normal(size=(10, 4))
