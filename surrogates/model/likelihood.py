r"""The likelihood of observed data, with the surrogate's own errors beside the noise.

    p(data | y) = mean over s of N(r; 0, C_s),    r = data - c(y)
    C_s = s F(y) F(y)^T + along diag(diagonal(y)) + noise

where Cov(y) = F F^T + diag(diagonal) is that of `surrogates.model.covariance`. s is ``along`` times
the exponential of the absolute value of a normal number. ``along``, of
`surrogates.model.covariance.Correlation`, is >= 1: errors are larger along J than the covariance
says, which is right for all directions together. An error is largest where the prediction varies
most, and so is J. The normal number's deviation is the ``scatter`` of F: errors at some y are
larger, and data that fit badly in the span of F widen the posterior. s has no smaller values: small
coordinates in the span of F do not mean that the errors along J are small too, and with these
values intervals were too narrow. The mean over s is a sum over values of which each is up to 1.28
times the one before: see `surrogates.model.scale_mixture`.

Cov(y) depends on y, and the gradient contains its derivative. The Gauss-Newton Hessian, of -log p,
is J^T C_s^-1 J, averaged over s given the data. Each y costs O(n_out k^2), with the k columns of
the factors of Cov and noise.

**At one y.** With ``at``, Cov(at) stands for Cov(y): C_s is factorised once, and each y costs its
prediction and O(n_out k). The density is another one, right where Cov varies little over the
posterior: where the posterior is narrow beside the training box, and data, not the growth of Cov
away from samples, decide its ends. It equals the full one at y = at. Differences of both log
densities over samples of the posterior show what is neglected, and weight the samples.

This module needs numpy alone.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from surrogates import given
from surrogates.errors import check
from surrogates.types import Array

from .covariance import Covariance, noise_of
from .frames import framed
from .low_rank import LowRank
from .scale_mixture import ScaleMixture, Whitened, WhitenedDensity
from .selecting import rows_of

if TYPE_CHECKING:
    from .loaded import LoadedSurrogate

_BATCH = 2**17  # entries of factors at once, which lie in a processor's cache


@dataclass(frozen=True, kw_only=True, eq=False)
class Likelihood:
    """The likelihood of data for a surrogate's parameters.

    Each method takes y, (..., n_in), as the surrogate's do, and returns an array with the same
    leading dimensions.

    Attributes:
        surrogate: The surrogate of the outputs with data.
        data: Their data, (n,).
        variances: Variances of the noise, (n,).
        factor: Beside them, the factor of its covariance, (n, k); k = 0 for independent noise.
        surrogate_errors: Whether the surrogate's own errors count.
        at: The y whose covariance of the surrogate's errors stands for all y, (n_in,); None for
            that of each y.
    """

    surrogate: LoadedSurrogate
    data: Array
    variances: Array
    factor: Array
    surrogate_errors: bool
    at: Array | None = None

    def __call__(self, y: npt.ArrayLike) -> Array:
        """Return `log_density`."""
        return self.log_density(y)

    def log_density(self, y: npt.ArrayLike) -> Array:
        """Return log p(data | y), (...)."""
        Y = self.surrogate._parameters(y)
        return _joined([p.log_density for _, p in self._parts(Y)], Y.shape[:-1])

    def chi2(self, y: npt.ArrayLike) -> Array:
        """Return chi-squared, the mean of r^T C_s^-1 r over s given data, (...)."""
        Y = self.surrogate._parameters(y)
        return _joined([p.chi2 for _, p in self._parts(Y)], Y.shape[:-1])

    def gradient(self, y: npt.ArrayLike) -> Array:
        """Return the gradient of log p by y, (..., n_in)."""
        return self.value_and_gradient(y)[1]

    def value_and_gradient(self, y: npt.ArrayLike) -> tuple[Array, Array]:
        """Return log p, (...), and its gradient by y, (..., n_in)."""
        Y = self.surrogate._parameters(y)
        values, gradients = [], []
        for rows, p in self._parts(Y):
            gradient = self.surrogate.vjp(rows, p.by_residual())
            if isinstance(p, ScaleMixture) and self.surrogate_errors:
                by_factor, by_diagonal = p.by_covariance()
                by_diagonal = self.surrogate._correlation().along * by_diagonal
                gradient = gradient + self.surrogate.engine.cov_vjp(rows, by_factor, by_diagonal)
            values.append(p.log_density)
            gradients.append(gradient)
        lead = Y.shape[:-1]
        whole = _joined(gradients, (*lead, self.surrogate.n_in))
        return _joined(values, lead), framed(y, whole, self.surrogate.y_names)

    def hessian(self, y: npt.ArrayLike) -> Array:
        """Return the Gauss-Newton Hessian of -log p by y, (..., n_in, n_in).

        It is symmetric and has no negative eigenvalue. Derivatives of Cov(y) are left out.
        """
        Y = self.surrogate._parameters(y)
        n_in = self.surrogate.n_in
        found = [p.between(self.surrogate.jacobian(rows)) for rows, p in self._parts(Y)]
        return _joined(found, (*Y.shape[:-1], n_in, n_in))

    @functools.cached_property
    def _noise(self) -> LowRank:
        return LowRank(self.variances, self.factor)

    @functools.cached_property
    def _fixed(self) -> Whitened:
        """The covariance at ``at``, factorised; of the noise alone without surrogate errors."""
        if self.at is None or not self.surrogate_errors:
            return Whitened(self.variances, self.factor, np.zeros((len(self.data), 0)))
        known, found = self.surrogate._correlation(), self.surrogate.predict_cov(self.at)
        d = known.along * found.diagonal + self.variances
        return Whitened(d, self.factor, found.factor, float(found.scatter[0]), float(known.along))

    def _parts(self, Y: Array) -> Iterator[tuple[Array, ScaleMixture | WhitenedDensity]]:
        """Yield rows of y, (n, n_in), with the density of their residuals."""
        rows = Y.reshape(-1, Y.shape[-1])
        if self.at is not None:
            most = max(1, _BATCH // len(self.data))
            for i in range(0, len(rows), most):
                part = rows[i : i + most]
                yield part, self._fixed.density(self.data - self.surrogate.predict(part))
            return
        n, width = self.factor.shape
        if self.surrogate_errors:
            known = self.surrogate._correlation()
            width += known.loadings.shape[1] + self.surrogate.n_members
        most = max(1, _BATCH // (n * (width + 1)))
        for i in range(0, len(rows), most):
            part = rows[i : i + most]
            if not self.surrogate_errors:
                r = self.data - self.surrogate.predict(part)
                yield part, ScaleMixture(r, self._noise, np.zeros((len(part), n, 0)), 0.0)
                continue
            found = self.surrogate.predict_cov(part)
            base = LowRank(known.along * found.diagonal + self.variances, self.factor)
            scatter, least = float(found.scatter[0]), float(known.along)
            yield part, ScaleMixture(self.data - found.mean, base, found.factor, scatter, least)


def likelihood(
    surrogate: LoadedSurrogate, data: Any, noise: Any, *, surrogate_errors: bool, at: Any = None
) -> Likelihood:
    """Return the likelihood of data; see `surrogates.model.loaded.LoadedSurrogate.likelihood`."""
    names = given.column_names(data)
    of: tuple[str, ...] = tuple(names) if names else surrogate.c_names
    rows = rows_of(surrogate, names) if names else np.arange(surrogate.n_out)
    values = given.real(data, of, "data").reshape(-1)
    check(
        len(values) == len(of),
        f"expected data of {surrogate.n_out} outputs, in their order, or by their names; got "
        f"{len(values)} numbers",
    )
    check(not np.isinf(values).any(), "expected finite numbers in data, or NaN where none is known")
    there = np.isfinite(values)
    check(bool(there.any()), "expected data of at least one output; all are NaN")
    variances, factor = _noise(noise, of)
    known = surrogate
    if surrogate_errors:
        surrogate._correlation()  # or its reason why there is none
    else:
        check(bool((variances[there] > 0).all()), "expected noise > 0 without surrogate errors")
    if at is not None:
        at = surrogate._array("at", at, surrogate.y_names)
        check(at.ndim == 1, f"expected one y in at, ({surrogate.n_in},); got the shape {at.shape}")
        surrogate._parameters(at)  # or its reason why it is not in the domain
        at = at.copy()
    if names or not there.all():
        known = surrogate.select(rows[there].tolist())
    return Likelihood(
        surrogate=known,
        data=values[there],
        variances=variances[there],
        factor=factor[there],
        surrogate_errors=surrogate_errors,
        at=at,
    )


def _noise(noise: Any, names: tuple[str, ...]) -> tuple[Array, Array]:
    """Return noise as variances and a factor, for outputs of these names."""
    if not isinstance(noise, Covariance) and given.column_names(noise):
        noise = given.real(noise, names, "noise").reshape(-1)
    return noise_of(noise, len(names), "std")


def _joined(parts: list[Array], shape: tuple[int, ...]) -> Array:
    whole: Array = np.concatenate(parts).reshape(shape) if parts else np.empty(shape)
    return whole if shape else whole[()]
