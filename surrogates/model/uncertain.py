"""The methods of a surrogate in memory that say how far off its prediction may be."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from surrogates.errors import InputError, check
from surrogates.types import Array

from .calling import Called
from .covariance import Correlation, Covariance, covariance, drawn
from .frames import framed

if TYPE_CHECKING:
    from .likelihood import Likelihood
    from .loaded import LoadedSurrogate


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Uncertain(Called):
    """A surrogate with error bars, and the covariance of its errors.

    `surrogates.model.loaded.LoadedSurrogate`, which users hold, has these methods.
    """

    def predict_std(self, y: npt.ArrayLike) -> Array:
        """Return the standard deviation of the prediction's error, (..., n_out).

        `surrogates.model.parts.ErrorBars` says what it covers.
        """
        self._check_bars()
        return framed(y, self._call("predict_std", self._parameters(y)), self.c_names)

    def predict_interval(self, y: npt.ArrayLike, level: float) -> Array:
        """Return the ends between which each output lies with a probability.

        Args:
            y: Parameters, (..., n_in).
            level: The probability, between 0 and 1, such as 0.95.

        Returns:
            Lower and upper ends, (..., 2, n_out), units of the metadata. For outputs that are
            predicted by their logarithms the prediction is not in the middle.
        """
        self._check_bars()
        number = np.ndim(level) == 0 and hasattr(level, "__float__")
        check(number and 0 < level < 1, f"expected a level between 0 and 1; got {level}")
        Y = self._parameters(y)
        if hasattr(self.engine, "predict_interval"):
            return self._call("predict_interval", Y, settings=(float(level),))
        c, std = self._call("forward", Y), self._call("predict_std", Y)  # of an older version
        half = NormalDist().inv_cdf((1 + level) / 2) * std
        return np.stack([c - half, c + half], axis=-2)

    def predict_cov(self, y: npt.ArrayLike) -> Covariance:
        """Return the covariance of all outputs' errors, of low rank and a diagonal.

        `surrogates.model.covariance` says what it covers. For outputs that are predicted by their
        logarithms it is right to first order.

        Raises:
            InputError: If its file has none, as one of an older version.
        """
        known = self._correlation()
        Y = self._parameters(y)
        return covariance(self._call("forward", Y), Y, self.engine, known)

    def sample(self, y: npt.ArrayLike, n: int, *, seed: int | np.random.Generator = 0) -> Array:
        """Draw observables with the surrogate's errors, of the covariance `predict_cov`.

        Outputs that are predicted by their logarithms have the errors of these.

        Args:
            y: Parameters, (..., n_in).
            n: Number of draws for each y.
            seed: Seed, or a generator of numpy.

        Returns:
            (..., n, n_out).
        """
        found = self.predict_cov(y)
        return np.asarray(drawn(found, n, seed, self.engine.log_outputs))

    def likelihood(
        self,
        data: Any,
        noise: Any,
        *,
        surrogate_errors: bool = True,
        at: npt.ArrayLike | None = None,
    ) -> Likelihood:
        """Return the likelihood of data, with its log density, gradient and Gauss-Newton Hessian.

        The surrogate's errors count beside the noise; see `surrogates.model.likelihood`. Their
        covariance at each y is most of the cost for many outputs. With ``at``, such as the best
        fit, it is taken there for all y, and an ensemble takes a small part of the time. That is
        right for a posterior over which the covariance varies little: one that is narrow beside
        the training box.

        Args:
            data: Observed outputs, (n_out,) with NaN where none is known; or some by their names.
            noise: Its standard deviation, a number or one for each entry of data; or its covariance
                matrix, or a `Covariance`.
            surrogate_errors: Whether the surrogate's errors count.
            at: The y, (n_in,), whose covariance of errors is taken for all y; that of each y if
                None. The gradient has no derivative of the covariance then.

        Raises:
            InputError: If the data, the noise or ``at`` do not fit, or its file has no covariance.
        """
        from .likelihood import likelihood

        return likelihood(
            cast("LoadedSurrogate", self),
            data,
            noise,
            surrogate_errors=surrogate_errors,
            at=at,
        )

    def _correlation(self) -> Correlation:
        self._check_bars()
        known = self.engine.correlation
        if known is None:
            raise InputError(
                f"{self.path} has no covariance of its outputs' errors, as it was written by an "
                "older version; train it again"
            )
        return known

    def _check_bars(self) -> None:
        check(
            self.metadata["schema_version"] > 1,
            f"{self.path} was written by an older version, without error bars; train it again",
        )
