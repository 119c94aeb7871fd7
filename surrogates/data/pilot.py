"""A pilot set shows where derivatives are worth a solve: functionals of c, and directions of y.

Both come from a small dataset of the same parameters and observables, made before.

`functionals` returns the leading right singular vectors of its centred outputs, divided by their
scales: the combinations of c that vary most. An adjoint solve for each gives their derivatives.

`active_directions` returns the leading eigenvectors of the mean of (dc/dx)^T dc/dx, with x the
parameters in units of their ranges and c in units of its scales: the directions of y in which c
changes most (Constantine, Dow, Wang 2014, "Active subspace methods in theory and practice:
applications to kriging surfaces"). Of derivatives in r directions alone, P dc/dx with P the
projection onto these, it takes the mean of P (dc/dx)^T dc/dx P. For random orthonormal directions
its expectation is a sum of the whole mean and of a multiple of the identity, with the same
eigenvectors.

The scale of an output is its standard deviation over the pilot; outputs that share a known unit are
comparable, and share the root mean square of theirs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from surrogates.config import check
from surrogates.types import Array

from .description import Info, Status
from .stored import Stored, opened

_UNKNOWN_UNITS = ("", "1", "?", "-", "unknown")
_ROUNDING = 1e-12  # an output, or a singular value, with less relative size is rounding
_OF_SQUARES = 1e-7  # so is a singular value from an eigenvalue of a mean square

_Path = str | os.PathLike[str]


def functionals(path: _Path, r: int) -> tuple[Array, Array, Info]:
    """Return the combinations of outputs that vary most in a pilot set.

    Args:
        path: The set's file.
        r: Number of functionals.

    Returns:
        W, (r, n_c), in 1 over units of c; the scales S of the outputs, (n_c,), in units of c, with
        orthonormal rows of W S; and the description of the set.

    Raises:
        InputError: If the file is no dataset, or its outputs vary in fewer than r ways.
    """
    with opened(path) as stored:
        C, scale = _outputs(stored, path)
        centred = (C - C.mean(axis=0)) / scale
        _, sizes, vectors = np.linalg.svd(centred, full_matrices=False)
        _check_number(path, r, sizes > _ROUNDING * sizes[0], "the outputs vary in")
        return _signed(vectors[:r]) / scale, scale, stored.info


def active_directions(path: _Path, r: int) -> tuple[Array, Info]:
    """Return the directions of y in which c changes most in a pilot set with derivatives.

    Args:
        path: The set's file.
        r: Number of directions.

    Returns:
        V, (r, n_y), in units of y, orthonormal in units of the parameters' ranges; and the
        description of the set.

    Raises:
        InputError: If the file is no dataset, has no derivatives, or c changes in fewer than r
            directions.
    """
    with opened(path) as stored:
        info = stored.info
        _, scale = _outputs(stored, path)
        ranges = ranges_of(info)
        n_y = len(ranges)
        mean, n = np.zeros((n_y, n_y)), 0
        for window in stored.windows():
            found = window.derivatives(window.status == Status.DONE)
            check(
                found is not None,
                f"{path} has no derivatives: a subspace needs a set made with --tangents",
            )
            assert found is not None
            for V, T in zip(found.V, found.T / scale[:, None], strict=True):
                there = ~np.isnan(T[0])
                if there.any():
                    # T = dc/dx U^T, so that T (U^T)^+ is dc/dx on the directions' span.
                    seen = T[:, there] @ np.linalg.pinv((V[there] / ranges).T)
                    mean += seen.T @ seen
                    n += 1
        check(n > 0, f"{path} has no sample with derivatives")
        values, vectors = np.linalg.eigh(mean / n)
        sizes = np.sqrt(np.maximum(values[::-1], 0))
        _check_number(path, r, sizes > _OF_SQUARES * sizes[0], "c changes in")
        return _signed(vectors.T[::-1][:r]) * ranges, info


def ranges_of(info: Info) -> Array:
    """Return the distances of the parameters' bounds, (n_y,); 1 where a parameter does not vary.

    For parameters on a simplex they are 1.
    """
    ranges = info.y_upper - info.y_lower
    return np.where(ranges > 0, ranges, 1.0)


def scales(C: Array, units: Sequence[str]) -> Array:
    """Return the scales of outputs, (n_c,), in units of c, > 0.

    Args:
        C: Outputs of samples, (n, n_c), finite.
        units: Units of the outputs.
    """
    spread, size = C.std(axis=0), np.abs(C).max(axis=0)
    varies = spread > _ROUNDING * size
    scale = np.where(varies, spread, np.where(size > 0, size, 1.0))
    names = np.array([unit.strip() for unit in units])
    for unit in {*names.tolist()} - {*_UNKNOWN_UNITS}:
        members = (names == unit) & varies
        if members.any():
            largest = spread[members].max()
            common = np.sqrt(np.mean((spread[members] / largest) ** 2)) * largest
            scale[names == unit] = common
    return scale


def _outputs(stored: Stored, path: _Path) -> tuple[Array, Array]:
    """Return the outputs of the done samples, (n, n_c), and their scales."""
    info = stored.info
    check(info.task == "regression", f"{path} is a classification: a pilot set is a regression")
    check(not info.missing, f"{path} lacks entries of c: a pilot set has all of them")
    C = np.concatenate([window.C[window.status == Status.DONE] for window in stored.windows()])
    check(len(C) > 1, f"{path} has {len(C)} done samples: a pilot set has at least 2")
    return C, scales(C, info.c_units)


def _check_number(path: _Path, r: int, there: npt.NDArray[np.bool_], what: str) -> None:
    most = int(there.sum())
    check(1 <= r <= most, f"{path}: {what} {most} ways; asked for {r}")


def _signed(vectors: Array) -> Array:
    """Return rows with a positive largest entry: rounding decides their signs otherwise."""
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, None], axis=1)
    return np.where(largest < 0, -vectors, vectors)
