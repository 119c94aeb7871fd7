"""Points at which a sample may be solved for: drawn as the problem's own design draws samples.

Candidates fill the box of the problem's bounds, beyond the first and last samples, if the samples
have filled it: from each of its sides to the next sample it is no further than `_GAP` times the
mean distance of samples along it. Of uniform samples, one in 20 000 sides is further. Samples of
the published simplex are drawn as there. Of any other samples, ones in a flat or in the middle of
wide bounds, only their domain is known: candidates are uniform on it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from surrogates import given
from surrogates.errors import InputError, check
from surrogates.types import Array

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate

DOMAINS = ("problem", "samples")
_GAP = 10.0
_TRIES = 50  # times the wanted number, of draws of which those outside the samples are left out


def drawn(
    surrogate: LoadedSurrogate,
    n: int,
    rng: np.random.Generator,
    domain: str = "problem",
    bounds: Array | None = None,
) -> Array:
    """Draw candidates, (n, n_in).

    Args:
        surrogate: The surrogate.
        n: Their number; fewer if few are in the domain or between the bounds.
        rng: The source of random numbers.
        domain: ``problem``, where the problem's design draws samples; or ``samples``, the training
            domain alone, where `LoadedSurrogate.in_domain` is true.
        bounds: Other ends of the parameters than the problem's, (2, n_in).
    """
    about = surrogate.metadata
    given_ends = (about["y_lower"], about["y_upper"]) if bounds is None else bounds
    lower, upper = (np.array(end, np.float64) for end in given_ends)
    simplex = _of_simplex(about.get("dataset", {}))
    from surrogates.adapters._domain import coordinates

    told = bounds is not None and not len(surrogate.engine.box.normals)
    filled = told or _fill(surrogate, lower, upper)

    def draw(m: int) -> Array:
        if not (simplex or filled):
            Y: Array = coordinates(surrogate).draw(m, rng)
            return Y
        unit = rng.random((m, surrogate.n_in))
        if simplex:
            return np.asarray(unit / unit.sum(axis=1, keepdims=True))
        return np.asarray(lower + (upper - lower) * unit)

    def wanted(Y: Array) -> Array:
        if bounds is not None:
            Y = Y[((Y >= bounds[0]) & (Y <= bounds[1])).all(axis=1)]
        return Y[surrogate.in_domain(Y)] if domain == "samples" else Y

    kept = [wanted(draw(n))]
    for _ in range(_TRIES):
        if sum(map(len, kept)) >= n:
            break
        kept.append(wanted(draw(n)))
    return np.concatenate(kept)[:n]


def ends(surrogate: LoadedSurrogate, bounds: npt.ArrayLike) -> Array:
    """Return the caller's bounds, (2, n_in), checked.

    Raises:
        InputError: If their shape is another, or a lower end is not below the upper one.
    """
    found = checked(surrogate, bounds, "bounds")
    check(len(found) == 2, f"expected bounds of shape (2, {surrogate.n_in}); got {found.shape}")
    wrong = np.flatnonzero(found[0] >= found[1])
    if len(wrong):
        name, (lower, upper) = surrogate.y_names[wrong[0]], found[:, wrong[0]]
        raise InputError(
            f"expected bounds with lower below upper; got {lower:g}, {upper:g} of {name}"
        )
    return found


def _of_simplex(dataset: Mapping[str, Any]) -> bool:
    """Return whether the problem draws samples as the published simplex does.

    A set to which designed samples were appended has another design, and the problem's settings.
    """
    if (design := dataset.get("design")) in ("joined", "points"):
        return (
            re.search(r'^design = "simplex"$', dataset.get("config", ""), re.MULTILINE) is not None
        )
    return bool(design == "simplex")


def _fill(surrogate: LoadedSurrogate, lower: Array, upper: Array) -> bool:
    """Return whether the training samples fill the box of the problem's bounds."""
    box = surrogate.engine.box
    if len(box.normals) or not (np.isfinite([lower, upper]).all() and (lower < upper).all()):
        return False
    n = int(surrogate.metadata["training"].get("samples") or 100)
    gaps = np.maximum(box.lower - lower, upper - box.upper) / (upper - lower)
    return bool((gaps <= _GAP / n).all())


def within(surrogate: LoadedSurrogate, n: int, rng: np.random.Generator) -> Array:
    """Draw points that are uniform on the training domain, (n, n_in)."""
    from surrogates.adapters._domain import coordinates

    return np.asarray(coordinates(surrogate).draw(n, rng))


def checked(
    surrogate: LoadedSurrogate, Y: npt.ArrayLike, what: str, *, empty: bool = False
) -> Array:
    """Return the caller's points, (n, n_in), checked.

    Args:
        surrogate: The surrogate.
        Y: The points.
        what: Their name, for messages.
        empty: Whether there may be none.

    Raises:
        InputError: If their shape is another, or a number is not finite.
    """
    found = given.real(Y, surrogate.y_names, what)
    check(
        found.ndim == 2 and (empty or len(found) > 0) and found.shape[1] == surrogate.n_in,
        f"expected {what} of shape (n, {surrogate.n_in}); got {found.shape}",
    )
    check(bool(np.isfinite(found).all()), f"expected finite {what}; got NaN or infinity")
    return found
