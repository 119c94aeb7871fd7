"""A surrogate as plain arrays, and its evaluation in numpy alone.

The text of `surrogates.export.npz` has the formulas. This module and those that it imports need
numpy and nothing else but Python's own library.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from surrogates.model import metadata
from surrogates.model.covariance import Correlation
from surrogates.model.engines import Box
from surrogates.model.tails import widened
from surrogates.types import Array

from .blocks import Block, Ensemble

Marks = npt.NDArray[np.bool_]
_Method = TypeVar("_Method", bound=Callable[..., Any])
_Rows = TypeVar("_Rows", bound=npt.NDArray[Any])

# A decorator: numpy does not warn of y that is huge, infinite or NaN.
_quiet: Callable[[_Method], _Method] = np.errstate(over="ignore", invalid="ignore")


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """The constants of a surrogate, float64, and its evaluation: the `Engine` of numpy.

    The text of `surrogates.export.npz` has the formulas and the shapes. Each method takes one
    sample, (n_in,), or a batch, (n, n_in) with n >= 1, in the units of the metadata, and as many v
    and w. Results have the leading n if y has it. For a NaN in y the results are NaN, and y is
    outside the domain. Nothing is checked: `surrogates.model.loaded.LoadedSurrogate` does.

    Attributes:
        NAME, BATCH, FAILURES: See `surrogates.model.engines.Engine`.
        SHAPES: Of the arrays that every surrogate has: n inputs, o outputs, w features, z rows of
            leverage, k normals.
        blocks: The blocks of features, one after the other.
        ensemble: The members; one of weight 1 if the surrogate has no others.
        metadata: Metadata of the surrogate file; see `surrogates.model.metadata`.
        correlation: Of the outputs' errors; None if it is not known.
    """

    NAME: ClassVar[str] = "numpy"
    BATCH: ClassVar[int | None] = 8192
    FAILURES: ClassVar[tuple[type[Exception], ...]] = (ValueError, MemoryError)
    SHAPES: ClassVar[Mapping[str, str]] = {
        "W": "ow",
        "c_0": "o",
        "lower": "n",
        "upper": "n",
        "unit": "n",
        "normals": "kn",
        "centre": "n",
        "leverage": "zw",
        "constant": "z",
        "floor": "",
        "sigma": "o",
    }

    blocks: tuple[Block, ...]
    W: Array
    c_0: Array
    lower: Array
    upper: Array
    unit: Array
    normals: Array
    centre: Array
    leverage: Array
    constant: Array
    floor: float
    sigma: Array
    signs: Array
    ensemble: Ensemble
    log_inputs: Marks
    log_outputs: Marks
    tail: Array
    metadata: Mapping[str, Any]
    correlation: Correlation | None = None

    @property
    def box(self) -> Box:
        """The training domain."""
        names = ("lower", "upper", "unit", "normals", "centre", "log_inputs")
        return Box(**{name: getattr(self, name) for name in names})

    @property
    def task(self) -> str:
        """What the surrogate is for: regression or classification."""
        return metadata.task_of(self.metadata)

    @property
    def n_members(self) -> int:
        """Number of surrogates whose weighted mean is the prediction."""
        return len(self.ensemble.weights)

    @property
    def n_cov(self) -> int:
        """Number of columns of the factor of `predict_cov`, which needs a correlation."""
        members = len(self.ensemble.widths) if self.ensemble.spread else 0
        return members + (0 if self.correlation is None else self.correlation.loadings.shape[1])

    def selected(self, rows: npt.NDArray[np.int64]) -> Reference:
        """Return the constants of some outputs alone; the metadata are the caller's matter."""
        ensemble = replace(
            self.ensemble,
            W=self.ensemble.W[rows],
            biases=self.ensemble.biases[:, rows],
            weights=self.ensemble.weights[:, rows],
        )
        names = ("W", "c_0", "sigma", "log_outputs", "tail")
        known = self.correlation
        return replace(
            self,
            ensemble=ensemble,
            correlation=None if known is None else known.selected(rows),
            **{n: getattr(self, n)[rows] for n in names},
        )

    @_quiet
    def forward(self, y: Array) -> Array:
        """Return c, (n_out,) or (n, n_out)."""
        return _like(y, self._physical(self._linear(self.seen(np.atleast_2d(y)))[1]))

    @_quiet
    def jacobian(self, y: Array) -> Array:
        """Differentiate the prediction: dc/dy, (n_out, n_in) or (n, n_out, n_in)."""
        return _like(y, self._jacobians(np.atleast_2d(y)))

    @_quiet
    def jvp(self, y: Array, v: Array) -> Array:
        """Apply the Jacobian to directions v, of y's shape: (n_out,) or (n, n_out)."""
        Y, V = np.atleast_2d(y), np.atleast_2d(v)
        X = self.seen(Y)
        V = V * self._input_factors(Y)
        du = np.concatenate([block.tangents(X, V[:, :, None]) for block in self.blocks], axis=1)
        return _like(y, du[:, :, 0] @ self.W.T * self._output_factors(X))

    @_quiet
    def vjp(self, y: Array, w: Array) -> Array:
        """Apply the transposed Jacobian to w, (n_out,) or (n, n_out): (n_in,) or (n, n_in)."""
        G = np.atleast_2d(w)
        return _like(y, (G[:, None] @ self._jacobians(np.atleast_2d(y)))[:, 0])

    @_quiet
    def hvp(self, y: Array, w: Array, v: Array) -> Array:
        """Differentiate `vjp` along v, of y's shape, at fixed w: (n_in,) or (n, n_in)."""
        Y, G, V = (np.atleast_2d(x) for x in (y, w, v))
        X, by = self.seen(Y), self._input_factors(Y)
        along, G = V * by, G * self._output_factors(X)
        du = np.concatenate(
            [block.tangents(X, np.eye(Y.shape[1])) for block in self.blocks], axis=1
        )
        J = self.W @ du
        dc = (J @ along[:, :, None])[:, :, 0]
        turned = np.where(self.log_outputs, G * dc, 0.0)
        h = (turned[:, None] @ J)[:, 0] + self._bends(X, G @ self.W, along)
        return _like(y, by * (h - np.where(self.log_inputs, along, 0.0) * (G[:, None] @ J)[:, 0]))

    @_quiet
    def predict_std(self, y: Array) -> Array:
        """Return the standard deviation of the prediction's error, (n_out,) or (n, n_out).

        `surrogates.model.parts.ErrorBars` says what it covers.
        """
        X = self.seen(np.atleast_2d(y))
        return _like(y, self._deviations(X) * self._output_factors(X))

    @_quiet
    def predict_cov(self, y: Array) -> tuple[Array, Array]:
        """Return the covariance of all outputs' errors; see `surrogates.model.covariance`.

        Returns:
            The factor, (n_out, k) or (n, n_out, k), and the diagonal, (n_out,) or (n, n_out).
        """
        assert self.correlation is not None
        X = self.seen(np.atleast_2d(y))
        u, c = self._linear(X)
        std = np.sqrt(self._share(X, u))[:, None] * self.sigma
        size = self.correlation.size(self._place(X))
        factor = (np.sqrt(size[:, :1]) * std)[:, :, None] * self.correlation.loadings
        diagonal = size[:, 1:] * std**2 * self.correlation.unique
        if self.ensemble.spread:
            factor = np.concatenate([factor, self.ensemble.deviations(u, c)], axis=2)
        if self.log_outputs.any():
            by = np.where(self.log_outputs, self._physical(c), 1.0)
            factor, diagonal = factor * by[:, :, None], diagonal * by**2
        return _like(y, factor), _like(y, diagonal)

    @_quiet
    def cov_vjp(self, y: Array, by_factor: Array, by_diagonal: Array) -> Array:
        """Return the gradient by y, (n, n_in), of a sum over `predict_cov` with these weights."""
        X, by = self.seen(y), self._input_factors(y)
        u, c = self._linear(X)
        factor, diagonal = self.predict_cov(y)
        k = factor.shape[2] - (len(self.ensemble.widths) if self.ensemble.spread else 0)
        rows, own = (by_factor * factor).sum(axis=2), by_diagonal * diagonal
        # Of share g: the factor is proportional to its root, the diagonal to itself.
        share, floor = self._share(X, u), 1e-12
        sizes = [(by_factor[..., :k] * factor[..., :k]).sum(axis=(1, 2)) / 2, own.sum(axis=1)]
        g = np.where(share > floor, 2 * sum(sizes) / share, 0.0)[:, None]
        z = u @ self.leverage.T + self.constant
        by_u = (g * z * self.signs) @ self.leverage
        by_c = np.where(self.log_outputs, rows + 2 * own, 0.0)
        if self.ensemble.spread:
            physical = np.where(self.log_outputs, self._physical(c), 1.0)
            pulled, left = self.ensemble.pulled(by_factor[..., k:] * physical[:, :, None])
            by_u, by_c = by_u + pulled, by_c - left
        lower, upper = self.seen(self.lower), self.seen(self.upper)
        beyond = np.maximum(0.0, X - upper) - np.maximum(0.0, lower - X)
        by_X = g * (beyond / self.unit + self._off_flat(X) @ self.normals) / self.unit
        assert self.correlation is not None
        slopes = self.correlation.size_slopes(self._place(X))
        slopes = (np.stack(sizes, axis=1)[:, None] @ slopes)[:, 0]
        by_X += np.where((lower < X) & (X < upper), slopes, 0.0) / self.unit
        by_X += self._pulled(X, by_u + by_c @ self.W)
        return np.asarray(by_X * by)

    def _pulled(self, X: Array, G: Array) -> Array:
        """Return the gradients by X of sums of G features, (n, n_in)."""
        du = np.concatenate(
            [block.tangents(X, np.eye(X.shape[1])) for block in self.blocks], axis=1
        )
        return np.asarray((G[:, None] @ du)[:, 0])

    @_quiet
    def predict_interval(self, y: Array, level: float) -> Array:
        """Return the interval in which each output lies with the probability ``level``.

        Returns:
            Lower and upper ends, (2, n_out) or (n, 2, n_out).
        """
        X = self.seen(np.atleast_2d(y))
        q = NormalDist().inv_cdf((1 + level) / 2)
        widths = np.array([widened(q, tail) for tail in self.tail.tolist()])
        c, half = self._linear(X)[1], widths * self._deviations(X)
        return _like(y, np.stack([self._physical(c - half), self._physical(c + half)], axis=1))

    @_quiet
    def in_domain(self, y: Array) -> npt.NDArray[np.bool_]:
        """Return whether y lies in the training domain: bool, () or (n,)."""
        X = self.seen(np.atleast_2d(y))
        lower, upper = self.seen(self.lower), self.seen(self.upper)
        slack = 1e-9 * (upper - lower) + 1e-12 * self.log_inputs
        inside = ((lower - slack <= X) & (X <= upper + slack)).all(axis=1)
        return _like(y, inside & (np.abs(self._off_flat(X)) <= 1e-4).all(axis=1))

    def seen(self, Y: Array) -> Array:
        """Return the argument of the features: y, with logarithms for the marked inputs."""
        positive = np.where(self.log_inputs, np.where(Y > 0, Y, math.nan), 1.0)
        return np.where(self.log_inputs, np.log(positive), Y)

    def _physical(self, c: Array) -> Array:
        return np.where(self.log_outputs, np.exp(np.where(self.log_outputs, c, 0.0)), c)

    def _linear(self, X: Array) -> tuple[Array, Array]:
        """Return the features, (n, width), and the output of the linear layer, (n, n_out)."""
        u = np.concatenate([block.features(X) for block in self.blocks], axis=1)
        return u, u @ self.W.T + self.c_0

    def _jacobians(self, Y: Array) -> Array:
        X, eye = self.seen(Y), np.eye(Y.shape[1])
        du = np.concatenate([block.tangents(X, eye) for block in self.blocks], axis=1)
        factors = self._output_factors(X)[:, :, None] * self._input_factors(Y)[:, None]
        return np.asarray(self.W @ du * factors)

    def _bends(self, X: Array, G: Array, V: Array) -> Array:
        """Return the derivatives along V of the gradients by X of sums of G features."""
        ends = np.cumsum([block.width for block in self.blocks])[:-1]
        pieces = zip(self.blocks, np.split(G, ends, axis=1), strict=True)
        return np.asarray(sum(block.bends(X, own, V) for block, own in pieces))

    def _input_factors(self, Y: Array) -> Array:
        return 1 / np.where(self.log_inputs, np.where(Y > 0, Y, math.nan), 1.0)

    def _output_factors(self, X: Array) -> Array:
        """Return the derivatives of c by the output of the linear layer."""
        if not self.log_outputs.any():
            return np.ones((1, len(self.c_0)))
        return np.where(self.log_outputs, self._physical(self._linear(X)[1]), 1.0)

    def _deviations(self, X: Array) -> Array:
        """Return the standard deviation of the linear layer's output, (n, n_out)."""
        u, c = self._linear(X)
        share = self._share(X, u)
        if not self.ensemble.spread:
            return np.asarray(np.sqrt(share)[:, None] * self.sigma)
        variance = share[:, None] * self.sigma**2 + self.ensemble.variance(u, c)
        return np.asarray(np.sqrt(variance))

    def _share(self, X: Array, u: Array) -> Array:
        """Return the variance that all outputs share, in units of sigma squared, (n,)."""
        z = u @ self.leverage.T + self.constant
        lower, upper = self.seen(self.lower), self.seen(self.upper)
        beyond = np.maximum(0.0, np.maximum(lower - X, X - upper)) / self.unit
        squares = [(x * x).sum(axis=1) for x in (beyond, self._off_flat(X))]
        return np.asarray(np.maximum(1e-12, self.floor + (z * z) @ self.signs + sum(squares)))

    def _place(self, X: Array) -> Array:
        """Return the point of the box next to X, less its centre and over its unit, (n, n_in)."""
        inside = np.clip(X, self.seen(self.lower), self.seen(self.upper))
        return np.asarray((inside - self.centre) / self.unit)

    def _off_flat(self, Y: Array) -> Array:
        return np.asarray(((Y - self.centre) / self.unit) @ self.normals.T)


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassifierReference(Reference):
    """The constants of a classifier. Its c are the calibrated logits."""

    @_quiet
    def probabilities(self, y: Array) -> Array:
        """Return the probability of each class, (n_out,) or (n, n_out)."""
        logits = self.forward(y)
        p = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return np.asarray(p / p.sum(axis=-1, keepdims=True))

    def predict(self, y: Array) -> npt.NDArray[Any]:
        """Return the index of the most probable class, int64 () or (n,); -1 for NaN."""
        logits = self.forward(y)
        return np.where(np.isnan(logits).any(axis=-1), -1, logits.argmax(axis=-1))


def defaults(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return the constants that stand for no signs, members, logarithms and tails.

    Args:
        arrays: Those of `Reference.SHAPES`.
    """
    n_out, width = arrays["W"].shape
    return {
        "signs": np.ones(len(arrays["leverage"])),
        "ensemble": Ensemble(
            W=arrays["W"],
            biases=arrays["c_0"][None],
            weights=np.ones((1, n_out)),
            widths=np.array([width], np.int64),
            spread=0.0,
        ),
        "log_inputs": np.zeros(len(arrays["lower"]), bool),
        "log_outputs": np.zeros(n_out, bool),
        "tail": np.zeros(n_out),
    }


def kind_of(about: Mapping[str, Any]) -> type[Reference]:
    """Return the class for the task of a surrogate, by its metadata."""
    return ClassifierReference if metadata.task_of(about) == "classification" else Reference


def _like(y: Array, rows: _Rows) -> _Rows:
    """Return the rows, or their first one if y is a single sample."""
    first: _Rows = rows[0]
    return rows if y.ndim == 2 else first
