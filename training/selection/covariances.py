r"""Covariances of values and derivatives, of functions that are as smooth as a kernel.

The values and derivatives of c at the samples are jointly normal. With kappa a kernel of scaled
inputs, the covariances of derivatives along u_j at x_j are derivatives of kappa,

    Cov(c(x), u_j . c'(x_j))             =  kappa_1 d . u_j,                            d = x - x_j
    Cov(u_i . c'(x_i), u_j . c'(x_j))    =  kappa_1 u_i . u_j - kappa_2 (d . u_i)(d . u_j),
                                                                                   d = x_i - x_j
    gaussian    kappa_1 = kappa_2 = kappa
    matern52    kappa_1 = 5/3 (1 + s) exp(-s),    kappa_2 = 25/3 exp(-s),          s = sqrt(5) |d|

(Morris, Mitchell and Ylvisaker 1993, "Bayesian design and analysis of computer experiments: use of
derivatives in surface prediction"). Functions of the Matern kernel have one derivative in each
direction and no more, which is what functions with bends and tables have; those of the Gaussian
kernel have all. Values and derivatives have a nugget each, the latter relative to a derivative's
own variance: derivatives of a table, or of another discretisation, are less exact than c.

A surrogate's functions are sums of kappa(x - x_k), which every export knows. So its derivatives are
central differences, of c at x_j + h u_j and x_j - h u_j: centres lie beside the samples. Their
covariances with one another, and with derivatives, are here too.

For the Gaussian kernel they have closed forms without cancellation: with e_j = u_j of size one,
h and d in scaled inputs,

    Cov(c(x), difference j)             =  kappa(d) exp(-h^2 / 2) sinh(h d . e_j) / h
    Cov(difference i, difference j)     =  kappa(d) exp(-h^2) (sinh(g) cosh(a) cosh(b)
                                               - cosh(g) sinh(a) sinh(b)) / h^2,
    g = h^2 e_i . e_j,  a = h d . e_i,  b = h d . e_j,

and a step of `FINE` makes them derivatives. For the Matern kernel, derivatives have the forms
above, and differences are formed with steps so large that few digits cancel.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..slopes import Slopes, given, standard
from .frame import Frame
from .kernel import kappa_and_slope

FINE = 1e-3
"""Step of differences that are derivatives, in scaled inputs: an error of 1e-6 of derivatives."""

_LEAST = 1e-30  # square of a distance: the root of a smaller one has no derivative
_OWN = {"gaussian": 1.0, "matern52": 5 / 3}  # variance of a derivative along u, |u| = 1


@dataclass(frozen=True, kw_only=True)
class Scales:
    """A kernel, inverse lengths of standardised inputs, (n_in,), and nuggets.

    Attributes:
        kernel: One of `surrogates.model.kinds.KERNELS`.
        scales: Inverse lengths, (n_in,).
        nugget: Variance of noise over that of the kernel, of values and of derivatives, (2,).
    """

    kernel: str
    scales: Tensor
    nugget: Tensor


@dataclass(frozen=True, kw_only=True)
class Points:
    """Samples with derivatives along directions.

    Attributes:
        X: Standardised inputs, (n, n_in).
        at: Sample of each derivative, (m,) int64.
        U: Its direction, of size one, (m, n_in).
        T: Scaled targets, of the samples and then of the derivatives, (n + m, n_seen).
        step: h of the differences, in scaled inputs.
    """

    X: Tensor
    at: Tensor
    U: Tensor
    T: Tensor
    step: float = FINE

    @classmethod
    def of(cls, frame: Frame) -> Points | None:
        """Take the samples of a frame; None if none has derivatives."""
        own = given(frame.dataset, frame.rows)
        if own is None:
            return None
        data = frame.data
        varies = standard(torch.from_numpy(frame.dataset.Y[frame.rows]))[1]
        slopes = Slopes.of(own, data.y_scale, varies)
        if slopes is None:
            return None
        assert data.scaling is not None
        T = slopes.T[slopes.there] / data.scaling.scale
        T = T if data.scaling.basis is None else T @ data.scaling.basis
        sample, _ = torch.nonzero(slopes.there, as_tuple=True)
        return cls(
            X=frame.X,
            at=slopes.samples[sample],
            U=slopes.X[slopes.there],
            T=torch.cat([frame.C, T]),
        )

    def some(self, samples: Tensor) -> Points:
        """Take some samples, ascending, with their derivatives."""
        place = torch.full((len(self.X),), -1)
        place[samples] = torch.arange(len(samples))
        rows = self.along(samples)
        return dataclasses.replace(
            self,
            X=self.X[samples],
            at=place[self.at[rows]],
            U=self.U[rows],
            T=torch.cat([self.T[samples], self.T[len(self.X) + rows]]),
        )

    def along(self, samples: Tensor) -> Tensor:
        """Return the numbers of the derivatives of some samples."""
        return torch.nonzero(torch.isin(self.at, samples))[:, 0]

    def spread(self, most: int) -> Tensor:
        """Return evenly spread samples, with about ``most`` values and derivatives."""
        n = max(2, int(len(self.X) * most / len(self.T)))
        return torch.linspace(0, len(self.X) - 1, min(n, len(self.X))).round().long()

    def covariance(self, fit: Scales) -> Tensor:
        """Return the covariance of values and derivatives, (n + m, n + m)."""
        own = (self.U * fit.scales).square().sum(dim=1) * _OWN[fit.kernel]
        noise = torch.cat([fit.nugget[0].expand(len(self.X)), fit.nugget[1] * own])
        return self.kernels(fit, self.step) + torch.diag(noise)

    def kernels(self, fit: Scales, of_rows: float) -> Tensor:
        """Return covariances without noise, with another step for the rows' differences."""
        A, U, at = self.X * fit.scales, self.U * fit.scales, self.at
        size = torch.linalg.vector_norm(U, dim=1)
        e = U / size[:, None]
        # (x_i - x_j) . e_j for samples i and derivatives j; no array has a dimension more.
        E = A @ e.T
        E = E - E[at, torch.arange(len(at))]
        squares = A.square().sum(dim=1)
        square = squares[:, None] + squares - 2 * A @ A.T
        of_kernel = _gaussian if fit.kernel == "gaussian" else _matern52
        k, across, down, within = of_kernel(square, E, e @ e.T, at, of_rows, self.step)
        upper = torch.cat([k, across * size], dim=1)
        lower = torch.cat([down.T * size[:, None], within * torch.outer(size, size)], dim=1)
        return torch.cat([upper, lower])


Parts = tuple[Tensor, Tensor, Tensor, Tensor]
"""Covariances of values, (n, n); of values with derivatives of columns and of rows, (n, m) both;
and of derivatives of rows with those of columns, (m, m)."""


def _gaussian(square: Tensor, E: Tensor, g: Tensor, at: Tensor, p: float, h: float) -> Parts:
    """Return covariances of differences along e, with step p of rows and h of columns."""
    k = torch.exp(-square / 2)
    by_rows, by_columns = (math.exp(-(step**2) / 2) / step for step in (p, h))
    across, down = k[:, at] * (h * E).sinh(), k[:, at] * (p * E).sinh()
    E, g = E[at], p * h * g
    within = g.sinh() * (h * E).cosh() * (p * E).cosh().T
    within = within + g.cosh() * (h * E).sinh() * (p * E).sinh().T
    within = k[at][:, at] * within * (by_rows * by_columns)
    return k, across * by_columns, down * by_rows, within


def _matern52(square: Tensor, E: Tensor, g: Tensor, at: Tensor, p: float, h: float) -> Parts:
    """Return covariances of differences, or of derivatives where a step is `FINE`."""

    def kappa(square: Tensor) -> Tensor:
        return kappa_and_slope("matern52", square.clamp(min=_LEAST))[0]

    def slope(square: Tensor) -> Tensor:
        return -kappa_and_slope("matern52", square.clamp(min=_LEAST))[1]

    def across(step: float) -> Tensor:
        near = square[:, at]
        if step <= FINE:
            return slope(near) * E
        ahead, behind = (kappa(near - 2 * s * E + step**2) for s in (step, -step))
        return (ahead - behind) / (2 * step)

    near, by_column = square[at][:, at], E[at]
    by_row = -by_column.T  # (x_i - x_j) . e_i
    if max(p, h) <= FINE:
        decay = torch.exp(-(5 * near.clamp(min=_LEAST)).sqrt())
        within = slope(near) * g - (25 / 3) * decay * by_row * by_column
    elif p <= FINE:
        ahead, behind = (slope(near - 2 * s * by_column + s**2) * (by_row - s * g) for s in (h, -h))
        within = (behind - ahead) / (2 * h)
    else:

        def at_ends(s: float, t: float) -> Tensor:
            return kappa(near + s**2 + t**2 + 2 * (s * by_row - t * by_column - s * t * g))

        within = at_ends(p, h) - at_ends(p, -h) - at_ends(-p, h) + at_ends(-p, -h)
        within = within / (4 * p * h)
    return kappa(square), across(h), across(p), within


@dataclass(frozen=True, kw_only=True)
class Kriged:
    """Weights of values and derivatives, and what is needed to leave samples out.

    Attributes:
        a: Weights, (n + m, n_seen).
        constant: The trend, (n_seen,).
        P: See `kernel`, (n + m, n + m).
        L: Cholesky factor of the covariance K, (n + m, n + m).
        lifted: K^-1 H, (n + m,), where H is one for values and zero for derivatives.
        size: H^T K^-1 H.
    """

    a: Tensor
    constant: Tensor
    P: Tensor
    L: Tensor
    lifted: Tensor
    size: Tensor

    @property
    def logs(self) -> float:
        """Return log |K| + log (H^T K^-1 H)."""
        return float(2 * self.L.diagonal().log().sum() + self.size.log())


def solve(K: Tensor, T: Tensor, n: int) -> Kriged | None:
    """Solve with a covariance and a constant of the n values; None where it is singular."""
    L, failed = torch.linalg.cholesky_ex(K)
    if failed:
        return None
    inverse = torch.cholesky_inverse(L)
    lifted = inverse[:, :n].sum(dim=1)
    size = lifted[:n].sum()
    if not float(size) > 0:
        return None
    constant = lifted @ T / size
    H = (torch.arange(len(T)) < n).to(T)
    a = torch.cholesky_solve(T - H[:, None] * constant, L)
    P = inverse - torch.outer(lifted, lifted) / size
    return Kriged(a=a, constant=constant, P=P, L=L, lifted=lifted, size=size)
