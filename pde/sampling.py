"""Sampling designs: row i of a design depends only on (design, bounds, total, seed, i).

``simplex`` draws each coordinate uniformly from (0, 1) and divides by their sum, as Newman et al.
(2021) do; this is the published data's distribution, and not the uniform one on the simplex.
``box`` is uniform in a box; ``latin-hypercube`` and ``sobol`` are those of `scipy.stats.qmc` in the
same box. The first two draw every sample from its own stream of a counter-based generator.

``nested-latin-hypercube`` is a Latin hypercube at 100, 200, 400, 800, ... samples (nested designs:
Qian 2009, "Nested Latin hypercube designs"). The first 100 samples are one. Each later block
doubles the set: n samples leave n of 2 n slices of a parameter's range empty, and the n samples of
the block fill these, in a random order of its own for each parameter.

Row i of the designs in `EXTENDABLE` depends on (bounds, seed, i) alone: a longer set begins with a
shorter one. A Latin hypercube of ``total`` samples is one design as a whole.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from surrogates.config import check, check_seed, unknown
from surrogates.types import Array

DESIGNS = ("simplex", "box", "latin-hypercube", "sobol", "nested-latin-hypercube")
EXTENDABLE = ("simplex", "box", "sobol", "nested-latin-hypercube")
_FIRST = 100  # samples of the first block of a nested Latin hypercube
_BITS = 40  # of a place within one of its slices: exact in float64, and enough for 10^9 samples
_NESTED = 0x4E4C48  # marks the streams of nested Latin hypercubes


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
    elif design == "nested-latin-hypercube":
        blocks = max(0, (-(-stop // _FIRST) - 1).bit_length())
        unit = (_nested(n_y, blocks, seed)[start:stop] + 0.5) / (_FIRST << _BITS)
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


@functools.lru_cache(maxsize=1)
def _nested(n_y: int, blocks: int, seed: int) -> npt.NDArray[np.int64]:
    """Draw the first samples of a nested Latin hypercube, and keep them, 8 n_y bytes a sample.

    Args:
        n_y: Number of parameters.
        blocks: Number of doublings.
        seed: Seed.

    Returns:
        Places, (100 2^blocks, n_y), >= 0 and below 100 2^40: integers, so that slices are exact.
    """
    random = np.random.default_rng([seed, _NESTED, blocks])
    n = _FIRST << max(0, blocks - 1)  # samples of the last block
    order = random.random((n, n_y)).argsort(axis=0, kind="stable")
    width = 1 << (_BITS - blocks)
    within = (random.random((n, n_y)) * width).astype(np.int64)
    if not blocks:
        places = order * width + within
    else:
        before = _nested(n_y, blocks - 1, seed)
        # Each of n slices has one sample, in one half; the other half is empty.
        empty = np.sort(before // width, axis=0) ^ 1
        new = np.take_along_axis(empty, order, axis=0) * width + within
        places = np.concatenate([before, new])
    places.setflags(write=False)
    return places


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
