"""Points at which a sample may be solved for: drawn as the problem's own design draws samples.

Candidates fill the box of the problem's bounds, beyond the first and last samples, if the samples
have filled it: from each of its sides to the next sample it is no further than `_GAP` times the
mean distance of samples along it. Of uniform samples, one in 20 000 sides is further. Samples of
the published simplex are drawn as there. Of any other samples, ones in a flat or in the middle of
wide bounds, only their domain is known: candidates are uniform on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from surrogates import given
from surrogates.errors import check
from surrogates.types import Array

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate

DOMAINS = ("problem", "samples")
_GAP = 10.0
_TRIES = 50  # times the wanted number, of draws of which those outside the samples are left out


def drawn(
    surrogate: LoadedSurrogate, n: int, rng: np.random.Generator, domain: str = "problem"
) -> Array:
    """Draw candidates, (n, n_in).

    Args:
        surrogate: The surrogate.
        n: Their number.
        rng: The source of random numbers.
        domain: ``problem``, where the problem's design draws samples; or ``samples``, the training
            domain alone, where `LoadedSurrogate.in_domain` is true.
    """
    about = surrogate.metadata
    lower, upper = (np.array(about[key], np.float64) for key in ("y_lower", "y_upper"))
    simplex = about.get("dataset", {}).get("design") == "simplex"
    if not (simplex or _fill(surrogate, lower, upper)):
        return within(surrogate, n, rng)

    def own(m: int) -> Array:
        unit = rng.random((m, surrogate.n_in))
        if simplex:
            return np.asarray(unit / unit.sum(axis=1, keepdims=True))
        return np.asarray(lower + (upper - lower) * unit)

    if domain == "problem":
        return own(n)
    kept: list[Array] = []
    done = 0
    for _ in range(_TRIES):
        Y = own(n)
        kept.append(Y[surrogate.in_domain(Y)])
        done += len(kept[-1])
        if done >= n:
            return np.concatenate(kept)[:n]
    return within(surrogate, n, rng)


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
