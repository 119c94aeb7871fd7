"""Sampling designs: row i of a design depends on (design, bounds, total, seed, i) alone.

``simplex`` draws each coordinate uniformly from (0, 1) and divides by their sum, as Newman et al.
(2021) do; this is not the uniform distribution on the simplex, but it is the published data's.
``box`` is uniform in a box, ``latin-hypercube`` and ``sobol`` are `scipy.stats.qmc`'s in the same
box. The first two draw every sample from its own stream of a counter-based generator, so that a
set can be made longer without a change to what is there; the last two are one design of ``total``
points.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import qmc

from surrogates.config import check, check_seed, unknown

DESIGNS = ("simplex", "box", "latin-hypercube", "sobol")

Array = npt.NDArray[np.float64]


def draw(
    design: str, lower: Array, upper: Array, *, total: int, seed: int, start: int, stop: int
) -> Array:
    """Draw the samples ``start`` to ``stop`` of a design of ``total``.

    Args:
        design: One of `DESIGNS`.
        lower: Lower bounds, (n_y,); the simplex does not use them.
        upper: Upper bounds, (n_y,).
        total: Samples in the whole design.
        seed: Seed, >= 0 and below 2^63.
        start: First sample.
        stop: Sample after the last.

    Returns:
        Y, (stop - start, n_y) float64, the same to the bit for any division into parts.

    Raises:
        InputError: If the design is unknown or the seed is out of range.
    """
    check(design in DESIGNS, unknown(f"sampling design {design!r}", design, DESIGNS))
    check_seed(seed)
    n_y = len(lower)
    if design in ("simplex", "box"):
        unit = np.array([_stream(seed, i).random(n_y) for i in range(start, stop)])
        unit = unit.reshape(stop - start, n_y)
        if design == "simplex":
            return np.asarray(unit / unit.sum(axis=1, keepdims=True))
    elif design == "latin-hypercube":
        unit = qmc.LatinHypercube(n_y, seed=seed).random(total)[start:stop]
    else:
        # A power of two, as Sobol sequences are balanced there; scipy warns otherwise.
        power = max(total - 1, 1).bit_length()
        unit = qmc.Sobol(n_y, seed=seed).random_base2(power)[start:stop]
    return np.asarray(lower + (upper - lower) * unit)


def _stream(seed: int, i: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, i]))
