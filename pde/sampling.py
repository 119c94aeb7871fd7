"""Sampling designs: row i of a design depends only on (design, bounds, total, seed, i).

``simplex`` draws each coordinate uniformly from (0, 1) and divides by their sum, as Newman et al.
(2021) do; this is the published data's distribution, and not the uniform one on the simplex.
``box`` is uniform in a box; ``latin-hypercube`` and ``sobol`` are those of `scipy.stats.qmc` in the
same box. The first two draw every sample from its own stream of a counter-based generator, so that
a longer set contains a shorter one; the last two are one design of ``total`` points.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from surrogates.config import check, check_seed, unknown
from surrogates.types import Array

DESIGNS = ("simplex", "box", "latin-hypercube", "sobol")


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
        Y, (stop - start, n_y) float64, bit for bit the same for any division into parts.

    Raises:
        InputError: If the design is unknown or the seed is out of range.
    """
    check(design in DESIGNS, unknown(f"sampling design {design!r}", design, DESIGNS))
    check_seed(seed)
    n_y = len(lower)
    if design == "latin-hypercube":
        unit = _latin_hypercube(n_y, total, seed)[start:stop]
    elif design == "sobol":
        unit = _sobol(n_y, seed, start, stop)
    else:
        unit = _independent(n_y, seed, start, stop)
        if design == "simplex":
            return np.asarray(unit / unit.sum(axis=1, keepdims=True))
    return np.asarray(lower + (upper - lower) * unit)


def _independent(n_y: int, seed: int, start: int, stop: int) -> Array:
    """Draw each sample from the stream of ``Philox(key=seed, counter=[0, 0, 0, i])``."""
    unit = np.empty((stop - start, n_y))
    philox = np.random.Philox(key=seed)
    generator, state = np.random.Generator(philox), philox.state
    for i, row in enumerate(unit, start):
        state["state"]["counter"][3] = i
        philox.state = state  # a tenth of the time that a new generator takes
        generator.random(out=row)
    return unit


@functools.lru_cache(maxsize=1)
def _latin_hypercube(n_y: int, total: int, seed: int) -> Array:
    """Draw a whole design, which every part needs, and keep it, 8 n_y bytes a sample."""
    from scipy.stats import qmc  # slow to import, and not needed above

    unit: Array = qmc.LatinHypercube(n_y, seed=seed).random(total)
    unit.setflags(write=False)
    return unit


def _sobol(n_y: int, seed: int, start: int, stop: int) -> Array:
    """Draw a part of a sequence: fast forwards; backwards it starts again."""
    engine = _sobol_engine(n_y, seed)
    if engine.num_generated > start:
        engine.reset()
    if start == 0:  # scipy expects a power of two here, where the sequence is balanced
        return np.asarray(engine.random_base2((stop - 1).bit_length())[:stop])
    if start > engine.num_generated:
        engine.fast_forward(start - engine.num_generated)
    return np.asarray(engine.random(stop - start))


@functools.lru_cache(maxsize=1)
def _sobol_engine(n_y: int, seed: int) -> Any:
    from scipy.stats import qmc

    return qmc.Sobol(n_y, seed=seed)
