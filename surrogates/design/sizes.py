r"""How large a surrogate's error is about y, in a measure of the error of all outputs.

With weights w_j(y) of the measure, the square error at y is expected to be

    sum_j w_j(y) std_j(y)^2 h_j(y)

with h_j of `surrogates.model.covariance.Correlation`, which says where held-out errors were larger
than `predict_std` says. A sample's own square error is sum_j w_j(y) (c_j(y) - c_j)^2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate

MEASURES = ("relative", "spread", "worst")
"""Measures of an error; see `Sizes`."""

_LEAST = 1e-3  # of the mean size of c, which an error is divided by where c is near 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Sizes:
    """Square errors of a surrogate.

    Attributes:
        surrogate: The surrogate.
        measure: One of `MEASURES`: errors count over the size of c at y (``relative``, a mean over
            the domain), over each output's spread (``spread``, a root mean square), or over that
            of the output alone that is worst (``worst``).
        least: Least square of the size of c that an error is divided by.
        weights: Of the outputs, (n_out,); for ``relative`` they are ones.
    """

    surrogate: LoadedSurrogate
    measure: str
    least: float
    weights: Array

    @classmethod
    def of(cls, surrogate: LoadedSurrogate, measure: str, Y: Array) -> Sizes:
        """Take the outputs' size and spread from the predictions at points, (n, n_in)."""
        c = surrogate.predict(Y)
        weights = np.ones(c.shape[1])
        if measure != "relative":
            least = 1e-9 * np.abs(c).max(axis=0)
            weights = 1 / np.maximum(np.maximum(c.std(axis=0), least), 1e-150) ** 2 / len(weights)
        square = float((c * c).sum(axis=1).mean())
        found = cls(
            surrogate=surrogate,
            measure=measure,
            least=max(_LEAST**2 * square, 1e-300),
            weights=weights,
        )
        if measure == "worst":
            errors = (found._variances(Y) * weights).mean(axis=0)
            only = np.arange(len(weights)) == errors.argmax()
            return replace(found, weights=np.where(only, weights * len(weights), 0.0))
        return found

    def expected(self, Y: Array) -> Array:
        """Return the expected square error at points, (n,)."""
        return self._measured(self._variances(Y), Y)

    def seen(self, Y: Array, C: Array) -> Array:
        """Return the square error at samples, (n,); NaN in C does not count."""
        apart: Array = np.nan_to_num(self.surrogate.predict(Y) - C)
        return self._measured(apart * apart, Y)

    def _measured(self, squares: Array, Y: Array) -> Array:
        total = squares @ self.weights
        if self.measure == "relative":
            c = self.surrogate.predict(Y)
            total = total / np.maximum((c * c).sum(axis=1), self.least)
        return np.asarray(np.maximum(total, 1e-300))

    def _variances(self, Y: Array) -> Array:
        return np.asarray(self.surrogate.predict_std(Y) ** 2 * self._h(Y))

    def _h(self, Y: Array) -> Array:
        known: Any = self.surrogate.engine.correlation
        if known is None:  # in files of older versions
            return np.ones((len(Y), 1))
        h = known.size(places(self.surrogate, Y, clipped=True))
        own = known.unique / ((known.loadings**2).sum(axis=1) + known.unique)
        return np.asarray(h[:, :1] * (1 - own) + h[:, 1:] * own)


def places(surrogate: LoadedSurrogate, Y: Array, clipped: bool = False) -> Array:
    """Return points less the training domain's centre and over its unit, (n, n_in).

    Args:
        surrogate: The surrogate.
        Y: Points, (n, n_in).
        clipped: Whether to take the points of the training box next to them.
    """
    box = surrogate.engine.box

    def logs(y: Array) -> npt.NDArray[np.float64]:
        return np.where(box.log_inputs, np.log(np.where(box.log_inputs, y, 1.0)), y)

    X = logs(Y)
    if clipped:
        X = np.clip(X, logs(box.lower), logs(box.upper))
    return np.asarray((X - box.centre) / box.unit)
