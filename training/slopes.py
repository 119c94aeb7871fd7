r"""Rows of derivatives for training: scaled as values are, per unit of the standardised inputs.

A directional derivative t = dc/dy v of a sample has, in the units of training, the direction

    x = (v / s) / ||v / s||,    t / (scale ||v / s||),

with s the inputs' standard deviations and ``scale`` that of the outputs. It is a further row of the
same least-squares problem: Phi has, beside 1/(2N) sum_i ||W z_i - c_i||^2, the sum

    1/(2N) sum_i  omega n_y / r_i  sum_k ||W [F'(y_i) x_ik, 0] - t_ik||^2

over the r_i directions of each sample that has some. The expectation of sum_k over r random
orthonormal directions is r / n_y times the squared Frobenius norm of the whole Jacobian's error, so
that the factor n_y / r makes the objective's expectation independent of r.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from surrogates.config import check
from surrogates.data import Dataset
from surrogates.model.networks import FeatureExtractor, with_ones

from .communicator import ALONE, Communicator
from .features import Directions, Tangents
from .scaling import moments

_ROUNDING = 1e-12  # an input with less relative spread counts as constant

Given = tuple[Tensor, Tensor]
"""Directions (n, r, n_in), units of y, and derivatives along them (n, n_out, r); NaN for none."""


def given(dataset: Dataset, rows: npt.NDArray[np.int64]) -> Given | None:
    """Return the derivatives of some samples of a dataset as tensors; None if it has none."""
    found = dataset.derivatives(rows)
    if found is None:
        return None
    V, T = found.V, torch.from_numpy(found.T)
    if len(V) and V.strides[0] == 0:  # one matrix for all samples: keep one copy
        return torch.from_numpy(V[0].copy()).expand(V.shape), T
    return torch.from_numpy(V), T


@dataclass(frozen=True, kw_only=True)
class DerivativeRows:
    """Rows of derivatives in physical units, for features of any scaling.

    Attributes:
        samples: Samples with derivatives, (m,) int64.
        Y: Their inputs, (m, n_in), units of y.
        V: Directions, (m, r, n_in), units of y, times the roots of the rows' weights.
        T: Derivatives along them, times the same roots, (m r, n_out), units of c.
    """

    samples: Tensor
    Y: Tensor
    V: Tensor
    T: Tensor

    @classmethod
    def of(
        cls, dataset: Dataset, rows: npt.NDArray[np.int64], weight: float
    ) -> DerivativeRows | None:
        """Return the rows of some samples with the weight omega; None if there are none."""
        own = given(dataset, rows)
        if own is None:
            return None
        Y = torch.from_numpy(dataset.Y[rows])
        spread, varies = standard(Y)
        along = Slopes.of(own, spread, varies)
        if along is None:
            return None
        V = along.directions(weight, torch.diag(spread), torch.float64).V
        T = along.targets(weight, torch.ones(along.T.shape[2]).to(Y), None)
        return cls(samples=along.samples, Y=Y[along.samples], V=V, T=T)

    def features(self, features: FeatureExtractor, shift: Tensor, scale: Tensor) -> Tensor:
        """Return derivatives of features of (y - shift) / scale, (m r, width)."""
        with torch.no_grad():
            along = Tangents(cast(nn.Module, features))
            found: Tensor = along((self.Y - shift) / scale, self.V / scale)
            return found.flatten(0, 1)


def design(F: Tensor, along: Tensor | None = None) -> Tensor:
    """Return features (n, width) and a column of ones, and below derivatives, and zeros."""
    Z = with_ones(F)
    return Z if along is None else torch.cat([Z, torch.nn.functional.pad(along, (0, 1))])


def standard(Y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inputs' standard deviations, 1 for constant ones, and whether each varies."""
    _, spread, size = moments(Y)
    varies = spread > _ROUNDING * size
    return torch.where(varies, spread, 1.0), varies


@dataclass(frozen=True, kw_only=True)
class Used:
    """The derivatives that a training has used.

    Attributes:
        directions: Largest number of directions of a sample.
        whole: Whether they are all directions.
        samples: Number of samples with derivatives, of all processes.
        weight: omega.
    """

    directions: int
    whole: bool
    samples: int
    weight: float


@dataclass(frozen=True, kw_only=True)
class Slopes:
    """This process's derivatives in standardised units.

    Attributes:
        samples: Samples with derivatives, (m,) int64, ascending.
        X: Directions of size one in standardised inputs, (m, r, n_in) float64; zero where none.
        T: Derivatives along them, (m, r, n_out), units of c; zero where there are none.
        there: Whether there is a derivative, (m, r).
        comm: The processes.
    """

    samples: Tensor
    X: Tensor
    T: Tensor
    there: Tensor
    comm: Communicator = ALONE

    @classmethod
    def of(
        cls, given: Given, spread: Tensor, varies: Tensor, comm: Communicator = ALONE
    ) -> Slopes | None:
        """Standardise directions; return None if no process has a derivative.

        A direction in which an input changes that does not vary over the samples is left out: the
        features do not see that input.

        Args:
            given: Directions and derivatives of this process's samples.
            spread: Standard deviations of the inputs, (n_in,), > 0.
            varies: Whether each input varies over the samples, (n_in,).
            comm: The processes.
        """
        V, T = (values.to(comm.device) for values in given)
        same = len(V) > 1 and V.stride(0) == 0  # of all samples: keep one copy
        own = V[:1] if same else V
        size = torch.linalg.vector_norm(own / spread, dim=2)
        usable = torch.isfinite(size) & (size > 0) & (own[:, :, ~varies] == 0).all(dim=2)
        there = torch.isfinite(T).all(dim=1) & usable
        samples = torch.nonzero(there.any(dim=1))[:, 0]
        if comm.count(len(samples)) == 0:
            return None
        length = torch.where(usable, size, 1.0)
        X = torch.where(usable[:, :, None], own / spread / length[:, :, None], 0.0)
        X = X.expand(len(samples), -1, -1) if same else X[samples]
        length = length.expand(len(V), -1)[samples]
        there = there[samples]
        scaled = T[samples].transpose(1, 2) / length[:, :, None]
        return cls(
            samples=samples,
            X=X,
            T=torch.where(there[:, :, None], scaled, 0.0),
            there=there,
            comm=comm,
        )

    @property
    def share(self) -> Tensor:
        """Factor n_y / r_i of each row, zero where there is none, (m, r) float64."""
        there = self.there.to(self.X)
        return there * (self.X.shape[2] / there.sum(dim=1, keepdim=True).clamp(min=1))

    def energy(self, scale: Tensor) -> float:
        """Return the mean of ||dc/dx||_F^2 over the samples, c in units of ``scale`` (n_out,).

        Raises:
            InputError: If squares overflow.
        """
        squares = (self.T / scale).square().sum(dim=2)
        total = float(self.comm.total((self.share * squares).sum())[0])
        check(math.isfinite(total), "the training derivatives are too large to be squared")
        return total / self.comm.count(len(self.samples))

    def omega(self, asked: float | None, energy: float, scale: Tensor) -> float:
        """Return omega, chosen from the data unless it is given.

        Args:
            asked: omega; None to choose it.
            energy: Mean of ||c||^2 of the scaled targets over the samples.
            scale: Divides the outputs, (n_out,).

        Raises:
            InputError: If squares of derivatives overflow; or if omega is to be chosen and all
                derivatives are zero, but c varies: they are wrong.
        """
        own = self.energy(scale)
        if asked is not None:
            return asked
        check(
            own > 0 or energy == 0,
            "all derivatives of the training samples are 0, but c varies: leave them out, or set "
            "derivatives.weight=0",
        )
        return energy / own if own > 0 else 0.0

    def directions(self, weight: float, seen: Tensor, dtype: torch.dtype) -> Directions:
        """Return the directions for the features.

        Args:
            weight: omega.
            seen: Maps directions of standardised inputs to those of the features' inputs,
                (n_seen_in, n_in).
            dtype: Precision of the features.
        """
        V = self._roots(weight)[:, :, None] * (self.X @ seen.T)
        return Directions(samples=self.samples, V=V.to(dtype))

    def targets(self, weight: float, scale: Tensor, basis: Tensor | None) -> Tensor:
        """Return the rows' targets, (m r, n_seen)."""
        T = self._roots(weight)[:, :, None] * (self.T / scale)
        return (T if basis is None else T @ basis).flatten(0, 1)

    def used(self, weight: float) -> Used:
        """Return what a training with this weight uses."""
        r = self.X.shape[1]
        return Used(
            directions=r,
            whole=r == self.X.shape[2],
            samples=self.comm.count(len(self.samples)),
            weight=weight,
        )

    def _roots(self, weight: float) -> Tensor:
        return (weight * self.share).sqrt()
