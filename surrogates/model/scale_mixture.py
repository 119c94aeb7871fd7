r"""The density of a sum of two parts, of which one has a random scale s.

    p(r) = sum_q weights_q N(r; 0, N + s_q F F^T),    N = diag(d) + G G^T

for residuals r of n outputs and a factor F of few columns. With the eigenvalues and eigenvectors of
the small matrix F^T N^-1 F = U diag(lambda) U^T, Q = N^-1 F U and h = Q^T r,

    r^T (N + s F F^T)^-1 r = left + sum_k h_k^2 / lambda_k / (1 + s lambda_k)
    log det (N + s F F^T) = log det N + sum_k log(1 + s lambda_k)
    (N + s F F^T)^-1 = N^-1 - Q diag(kappa) Q^T,    kappa_k = s / (1 + s lambda_k)

where left is r^T N^-1 r without the part of r in the span of F. Many s cost hardly more than one.

`ScaleMixture` has an N and an F for each r. `Whitened` has one of each for all r. It finds a root
M of the inverse, N^-1 = M^T M, and the singular values S and left singular vectors V of M F once:

    r^T (N + s F F^T)^-1 r = ||M r - V z||^2 + sum_k z_k^2 / (1 + s S_k^2),    z = V^T M r

Each r costs products with M and V; those of a batch are products of matrices.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from surrogates.types import Array

from .low_rank import LowRank, check_positive

_STEP = 0.25  # of log s
_REACH = 3.0  # deviations of log s
_FEWEST = 8  # steps


@functools.lru_cache(maxsize=16)
def scales(scatter: float, least: float = 1.0) -> tuple[Array, Array]:
    """Return values of s, and the logarithms of their weights.

    log s is that of ``least``, and the absolute value of a normal number with the standard
    deviation ``scatter``.
    """
    n = max(_FEWEST, math.ceil(_REACH * scatter / _STEP)) if scatter > 0 else 0
    xi = np.arange(n + 1) * _REACH / max(n, 1)
    weights = np.exp(-(xi**2) / 2)
    weights[0] /= 1 if n == 0 else 2  # the trapezoidal rule
    return least * np.exp(scatter * xi), np.log(weights / weights.sum())


class ScaleMixture:
    """The density at residuals r, (n, m), each with an N and an F of its own.

    What `log_density` does not need is computed when it is asked for.

    Attributes:
        log_density: log p, (n,).
    """

    def __init__(
        self, r: Array, base: LowRank, F: Array, scatter: float, least: float = 1.0
    ) -> None:
        """Factorise.

        Args:
            r: Residuals, (n, m).
            base: N, one for all or n of them.
            F: (n, m, k), k >= 0.
            scatter: Standard deviation of log s.
            least: The least s.
        """
        self._r, self._base, self._F = r, base, F
        constant = r.shape[-1] * math.log(2 * math.pi)
        self._has_scale = F.shape[-1] > 0
        if not self._has_scale:  # N alone
            self._chi2 = base.chi2(r)[..., None]
            self.log_density: Array = -(self._chi2[..., 0] + base.logdet() + constant) / 2
            return
        self._s, log_weights = scales(scatter, least)
        solved = base.solve_columns(F)
        eigenvalues, self._U = np.linalg.eigh(np.swapaxes(F, -1, -2) @ solved)
        # Directions below the noise's rounding do not change N.
        self._seen = eigenvalues > 1e-14 * np.maximum(1, eigenvalues[..., -1:])
        eigenvalues = np.where(self._seen, eigenvalues, 0.0)
        self._Q = solved @ self._U
        h = np.where(self._seen, (np.swapaxes(self._Q, -1, -2) @ r[..., None])[..., 0], 0.0)
        inside = h / np.where(self._seen, eigenvalues, 1.0)
        left = r - (F @ (self._U @ inside[..., None]))[..., 0]
        self._h, self._grown = h, 1 + self._s[:, None] * eigenvalues[..., None, :]  # (n, q, k)
        between = ((h * inside)[..., None, :] / self._grown).sum(axis=-1)
        self._chi2 = base.chi2(left)[..., None] + between
        logdet = base.logdet()[..., None] + np.log(self._grown).sum(axis=-1)
        self._terms = log_weights - (self._chi2 + logdet + constant) / 2
        self.log_density = _log_sum(self._terms)

    @property
    def chi2(self) -> Array:
        """The mean of chi-squared over s, given r, (n,)."""
        if not self._has_scale:
            return np.asarray(self._chi2[..., 0])
        return np.asarray((self._shares * self._chi2).sum(axis=-1))

    @functools.cached_property
    def _shares(self) -> Array:
        """The probability of each s, given r, (n, q)."""
        return np.asarray(np.exp(self._terms - self.log_density[..., None]))

    @functools.cached_property
    def _kappas(self) -> Array:
        """Kappa of each s, (n, q, k)."""
        return np.where(self._seen[..., None, :], self._s[:, None] / self._grown, 0.0)

    @functools.cached_property
    def _kappa(self) -> Array:
        """The mean of kappa over s, given r, (n, k)."""
        return np.asarray((self._shares[..., None] * self._kappas).sum(axis=-2))

    @functools.cached_property
    def _b(self) -> Array:
        return self._base.solve(self._r)

    def by_residual(self) -> Array:
        """Return minus the gradient of log p by r, (n, m): the mean of the inverses times r."""
        if not self._has_scale:
            return self._b
        return np.asarray(self._b - (self._Q @ (self._kappa * self._h)[..., None])[..., 0])

    def by_covariance(self) -> tuple[Array, Array]:
        """Return the gradients of log p by F, (n, m, k), and by d, (n, m)."""
        if not self._has_scale:
            return np.zeros_like(self._F), (self._b**2 - self._base.inverse_diagonal()) / 2
        pulled = self._kappa * self._h
        both = np.swapaxes(self._kappas * self._shares[..., None], -1, -2) @ self._kappas
        both = both * self._h[..., None] * self._h[..., None, :]
        index = range(both.shape[-1])
        kappa = np.zeros_like(both)
        kappa[..., index, index] = self._kappa
        turned = self._Q @ (both + kappa)
        by_F = self._b[..., None] * pulled[..., None, :] - turned
        by_d = self._b**2 - 2 * self._b * (self._Q @ pulled[..., None])[..., 0]
        by_d += (turned * self._Q).sum(axis=-1)
        by_d -= self._base.inverse_diagonal()
        return by_F @ np.swapaxes(self._U, -1, -2), by_d / 2

    def between(self, J: Array) -> Array:
        """Return J^T times the mean of the inverses times J, for J (n, m, n_in)."""
        if not self._has_scale:
            return self._base.inverse_between(J)
        P = np.swapaxes(self._Q, -1, -2) @ J
        inside = np.swapaxes(P, -1, -2) @ (self._kappa[..., None] * P)
        return np.asarray(self._base.inverse_between(J) - inside)


class Whitened:
    """One N and one F for the density at many residuals: see the module."""

    def __init__(
        self, d: Array, G: Array, F: Array, scatter: float = 0.0, least: float = 1.0
    ) -> None:
        """Factorise.

        Args:
            d: The diagonal of N, (m,), > 0.
            G: The factor of N, (m, j), j >= 0.
            F: (m, k), k >= 0.
            scatter: Standard deviation of log s.
            least: The least s.

        Raises:
            InputError: If an entry of d is not > 0.
        """
        check_positive(d)
        self._root = np.sqrt(d)
        # M = (I + W diag(fall) W^T) diag(d)^(-1/2) turns N into the identity.
        self._W, of_noise = _singular(G / self._root[:, None])
        self._fall = 1 / np.sqrt(1 + of_noise**2) - 1
        self.V, of_factor = _singular(self.whiten(F.T).T)
        s, self._log_weights = scales(scatter, least) if F.shape[1] else scales(0.0)
        grown = 1 + s[:, None] * of_factor**2
        self.shrunk = 1 / grown  # (q, k)
        self._logdet = np.log(d).sum() + np.log1p(of_noise**2).sum() + np.log(grown).sum(axis=1)

    def whiten(self, R: Array) -> Array:
        """Return M r for each row r of R, (..., m)."""
        scaled = R / self._root
        return np.asarray(scaled + (scaled @ self._W * self._fall) @ self._W.T)

    def back(self, R: Array) -> Array:
        """Return M^T r for each row r of R, (..., m)."""
        return np.asarray((R + (R @ self._W * self._fall) @ self._W.T) / self._root)

    def density(self, r: Array) -> WhitenedDensity:
        """Return the density at residuals r, (n, m)."""
        return WhitenedDensity(self, r)

    def log_terms(self, chi2: Array) -> Array:
        """Return the logarithms of the weights times the densities at chi-squared, (n, q)."""
        constant = len(self._root) * math.log(2 * math.pi)
        return np.asarray(self._log_weights - (chi2 + self._logdet + constant) / 2)


class WhitenedDensity:
    """The density at residuals r, (n, m), of one N and F, with the methods of `ScaleMixture`.

    N and F do not depend on r, so that there is no derivative by them.

    Attributes:
        log_density: log p, (n,).
    """

    def __init__(self, of: Whitened, r: Array) -> None:
        """Project r."""
        self._of = of
        white = of.whiten(r)
        self._z = white @ of.V
        self._left = white - self._z @ of.V.T
        between = self._z**2 @ of.shrunk.T
        self._chi2 = (self._left**2).sum(axis=-1, keepdims=True) + between
        self._terms = of.log_terms(self._chi2)
        self.log_density: Array = _log_sum(self._terms)

    @property
    def chi2(self) -> Array:
        """The mean of chi-squared over s, given r, (n,)."""
        return np.asarray((self._shares * self._chi2).sum(axis=-1))

    @functools.cached_property
    def _shares(self) -> Array:
        """The probability of each s, given r, (n, q)."""
        return np.asarray(np.exp(self._terms - self.log_density[..., None]))

    @functools.cached_property
    def _shrunk(self) -> Array:
        """The mean of 1 / (1 + s S^2) over s, given r, (n, k)."""
        return np.asarray(self._shares @ self._of.shrunk)

    def by_residual(self) -> Array:
        """Return minus the gradient of log p by r, (n, m): the mean of the inverses times r."""
        return self._of.back(self._left + (self._z * self._shrunk) @ self._of.V.T)

    def between(self, J: Array) -> Array:
        """Return J^T times the mean of the inverses times J, for J (n, m, n_in)."""
        white = self._of.whiten(np.swapaxes(J, -1, -2))
        inside = white @ self._of.V
        left = white - inside @ self._of.V.T
        inside *= np.sqrt(self._shrunk)[..., None, :]
        return np.asarray(left @ np.swapaxes(left, -1, -2) + inside @ np.swapaxes(inside, -1, -2))


def _singular(F: Array) -> tuple[Array, Array]:
    """Return the left singular vectors of F, (m, k), and its singular values."""
    if F.shape[1] == 0:
        return F, np.zeros(0)
    V, values, _ = np.linalg.svd(F, full_matrices=False)
    return V, values


def _log_sum(terms: Array) -> Array:
    """Return log sum exp over the last axis."""
    top = terms.max(axis=-1, keepdims=True)
    return np.asarray((top + np.log(np.exp(terms - top).sum(axis=-1, keepdims=True)))[..., 0])
