"""The parts of a surrogate as plain arrays, and their evaluation in numpy alone.

A block computes features of unscaled parameters; `surrogates.export.npz` has the formulas. Each
block has ``width``, its number of features, and three methods:

    features(Y)       returns the features (n, width) of parameters Y, (n, n_in)
    tangents(Y, V)    returns their derivatives in m directions, (n, width, m); V is (n_in, m), the
                      same for all samples, or (n, n_in, m)
    bends(Y, G, V)    returns the derivatives along V, (n, n_in), of the gradients by Y of the sums
                      of G features, G (n, width): (n, n_in)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

Indices = npt.NDArray[np.int64]


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _softplus(x: Array) -> Array:
    return np.asarray(np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x))))


_Function = Callable[[Array], Array]

# phi(x), and as functions of the value k = phi(x) its derivative and the second over the first
# derivative. NaN gives NaN in all.
PHI: dict[str, tuple[_Function, _Function, _Function]] = {
    "sigmoid": (_sigmoid, lambda k: k - k * k, lambda k: 1 - 2 * k),
    "softplus": (_softplus, lambda k: -np.expm1(-k), lambda k: np.exp(-k)),
    "relu": (
        lambda x: np.maximum(x, 0.0),
        lambda k: np.where(k > 0, 1.0, k),
        lambda k: np.where(np.isnan(k), k, 0.0),
    ),
}


def _far(r: Array) -> Array:
    """Return s = sqrt(5) r, capped where exp(-s) is 0: no product is infinite times 0."""
    return np.minimum(math.sqrt(5) * r, 1000.0)


def _matern52(r: Array) -> Array:
    s = _far(r)
    return np.asarray((1 + s + s * s / 3) * np.exp(-s))


def _matern52_slope(r: Array) -> Array:
    s = _far(r)
    return np.asarray(-5 / 3 * (1 + s) * np.exp(-s))


# kappa(r), kappa'(r) / r, and the derivative of that by r, over r.
KAPPA: dict[str, tuple[_Function, _Function, _Function]] = {
    "gaussian": (
        lambda r: np.exp(-0.5 * r * r),
        lambda r: -np.exp(-0.5 * r * r),
        lambda r: np.exp(-0.5 * r * r),
    ),
    "matern52": (_matern52, _matern52_slope, lambda r: 25 / 3 * np.exp(-_far(r))),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """The features of one network; ``phi`` is a name of `PHI`."""

    KIND: ClassVar = "network"
    TEXT: ClassVar = "phi"
    # Of the arrays: n inputs, width v, j steps of i stages.
    SHAPES: ClassVar = {
        "K_in": "vn",
        "b_in": "v",
        "A": "jivv",
        "b": "jiv",
        "lengths": "i",
        "weights": "i",
        "carry": "",
    }

    phi: str
    K_in: Array
    b_in: Array
    A: Array
    b: Array
    lengths: Array
    weights: Array
    carry: float

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self.b_in)

    def features(self, Y: Array) -> Array:
        """Return the features, (n, width)."""
        return self._evaluate(Y)[0]

    def tangents(self, Y: Array, V: Array) -> Array:
        """Return the derivatives in directions V, (n, width, m)."""
        _, slope, _ = PHI[self.phi]
        slopes = iter([slope(value)[:, :, None] for value in self._evaluate(Y)[1]])
        d = next(slopes) * (self.K_in @ V)
        for A in self.A:
            dk, after = np.zeros_like(d), self.carry * d
            for A_i, l_i, w_i in zip(A, self.lengths, self.weights, strict=True):
                dk = next(slopes) * (A_i @ (d + l_i * dk))
                after = after + w_i * dk
            d = after
        return d

    def bends(self, Y: Array, G: Array, V: Array) -> Array:
        """Return the derivatives along V of the gradients of sums of G features, (n, n_in)."""
        _, slope, bend = PHI[self.phi]
        values = self._evaluate(Y)[1]
        slopes = [slope(k) for k in values]
        changes = self._changes(slopes, V @ self.K_in.T)
        turns = [bend(k) * dk for k, dk in zip(values, changes, strict=True)]
        stage, dG = len(values), np.zeros_like(G)
        for A in self.A[::-1]:
            before, d_before = self.carry * G, self.carry * dG
            at = d_at = np.zeros_like(G)
            for i in range(len(A) - 1, -1, -1):
                stage -= 1
                length = self.lengths[i + 1] if i + 1 < len(A) else 0.0
                h, dh = self.weights[i] * G + length * at, self.weights[i] * dG + length * d_at
                at = (slopes[stage] * h) @ A[i]
                d_at = (slopes[stage] * dh + turns[stage] * h) @ A[i]
                before, d_before = before + at, d_before + d_at
            G, dG = before, d_before
        return np.asarray((slopes[0] * dG + turns[0] * G) @ self.K_in)

    def _changes(self, slopes: list[Array], dz: Array) -> list[Array]:
        """Return the changes of all values of phi where K_in y changes by dz, each (n, width)."""
        d = slopes[0] * dz
        changes, later = [d], iter(slopes[1:])
        for A in self.A:
            dk, after = np.zeros_like(d), self.carry * d
            for A_i, l_i, w_i in zip(A, self.lengths, self.weights, strict=True):
                dk = next(later) * ((d + l_i * dk) @ A_i.T)
                after = after + w_i * dk
                changes.append(dk)
            d = after
        return changes

    def _evaluate(self, Y: Array) -> tuple[Array, list[Array]]:
        """Return u, (n, width), and all values of phi on the way to it, each (n, width)."""
        phi, _, _ = PHI[self.phi]
        u = phi(Y @ self.K_in.T + self.b_in)
        values = [u]
        for A, b in zip(self.A, self.b, strict=True):
            k, after = np.zeros_like(u), self.carry * u
            for A_i, b_i, l_i, w_i in zip(A, b, self.lengths, self.weights, strict=True):
                k = phi((u + l_i * k) @ A_i.T + b_i)
                after = after + w_i * k
                values.append(k)
            u = after
        return u, values


@dataclass(frozen=True, kw_only=True, eq=False)
class Radial:
    """Radial functions; ``kernel`` is a name of `KAPPA`."""

    KIND: ClassVar = "radial"
    TEXT: ClassVar = "kernel"
    SHAPES: ClassVar = {"shift": "n", "factor": "n", "centres": "vn"}

    kernel: str
    shift: Array
    factor: Array
    centres: Array

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self.centres)

    def features(self, Y: Array) -> Array:
        """Return the features, (n, width)."""
        return KAPPA[self.kernel][0](self._distances(Y))

    def tangents(self, Y: Array, V: Array) -> Array:
        """Return the derivatives in directions V, (n, width, m)."""
        slope = KAPPA[self.kernel][1](self._distances(Y))
        differences = self._scaled(Y)[:, None] - self.centres
        return np.asarray(slope[:, :, None] * (differences @ (self.factor[:, None] * V)))

    def bends(self, Y: Array, G: Array, V: Array) -> Array:
        """Return the derivatives along V of the gradients of sums of G features, (n, n_in)."""
        _, slope, bend = KAPPA[self.kernel]
        r, B = self._distances(Y), V * self.factor
        differences = self._scaled(Y)[:, None] - self.centres
        H = G * bend(r) * (differences @ B[:, :, None])[:, :, 0]
        rows = (H[:, None] @ differences)[:, 0]
        return np.asarray(((G * slope(r)).sum(axis=1, keepdims=True) * B + rows) * self.factor)

    def _scaled(self, Y: Array) -> Array:
        return (Y - self.shift) * self.factor

    def _distances(self, Y: Array) -> Array:
        squares = np.zeros((len(Y), self.width))
        for a, c in zip(self._scaled(Y).T, self.centres.T, strict=True):
            squares += (a[:, None] - c) ** 2
        return np.sqrt(squares)


@dataclass(frozen=True, kw_only=True, eq=False)
class Anova:
    """Products over the inputs; ``kernel`` is a name of `KAPPA`."""

    KIND: ClassVar = "anova"
    TEXT: ClassVar = "kernel"
    SHAPES: ClassVar = {"shift": "n", "factor": "n", "shares": "n", "centres": "vn"}

    kernel: str
    shift: Array
    factor: Array
    shares: Array
    centres: Array

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self.centres)

    def features(self, Y: Array) -> Array:
        """Return the features, (n, width)."""
        product = np.ones((len(Y), self.width))
        for i in range(len(self.shift)):
            product *= self._factor(Y, i)[0]
        return product

    def tangents(self, Y: Array, V: Array) -> Array:
        """Return the derivatives in directions V, (n, width, m)."""
        V = self.factor[:, None] * V
        product = np.ones((len(Y), self.width, 1))
        total = np.zeros((len(Y), self.width, V.shape[-1]))
        for i in range(len(self.shift)):
            factor, slope = (part[:, :, None] for part in self._factor(Y, i))
            total = total * factor + product * slope * V[..., None, i, :]
            product = product * factor
        return total

    def bends(self, Y: Array, G: Array, V: Array) -> Array:
        """Return the derivatives along V of the gradients of sums of G features, (n, n_in)."""
        B, n_in = (V * self.factor)[:, :, None], len(self.shift)
        parts = [self._factor(Y, i) for i in range(n_in)]
        one = np.ones((len(Y), self.width))
        afters = [(one, np.zeros_like(one))]  # of the inputs after i, and its derivative along V
        for i in range(n_in - 1, 0, -1):
            (factor, slope), (after, d_after) = parts[i], afters[-1]
            afters.append((after * factor, d_after * factor + after * slope * B[:, i]))
        before, d_before, rows = one, np.zeros_like(one), np.empty_like(V)
        for i, (factor, slope) in enumerate(parts):
            after, d_after = afters[n_in - 1 - i]
            bend = self._bend(Y, i) * B[:, i] * (before * after)
            bend = bend + slope * (d_before * after + before * d_after)
            rows[:, i] = (G * bend).sum(axis=1)
            d_before = d_before * factor + before * slope * B[:, i]
            before = before * factor
        return rows * self.factor

    def _bend(self, Y: Array, i: int) -> Array:
        """Return the second derivative of factor i by (y - shift) factor."""
        _, slope, bend = KAPPA[self.kernel]
        d = ((Y[:, i] - self.shift[i]) * self.factor[i])[:, None] - self.centres[:, i]
        r = np.abs(d)
        return np.asarray(self.shares[i] * (slope(r) + d * d * bend(r)))

    def _factor(self, Y: Array, i: int) -> tuple[Array, Array]:
        """Return factor i of each product and its derivative by (y - shift) factor."""
        kappa, slope, _ = KAPPA[self.kernel]
        d = ((Y[:, i] - self.shift[i]) * self.factor[i])[:, None] - self.centres[:, i]
        r = np.abs(d)
        return 1 + self.shares[i] * (kappa(r) - 1), self.shares[i] * slope(r) * d


@dataclass(frozen=True, kw_only=True, eq=False)
class Polynomial:
    """Scaled parameters, and products of two of them."""

    KIND: ClassVar = "polynomial"
    TEXT: ClassVar = None
    SHAPES: ClassVar = {"shift": "n", "scale": "n", "first": "p", "second": "p"}

    shift: Array
    scale: Array
    first: Indices
    second: Indices

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self.shift) + len(self.first)

    def features(self, Y: Array) -> Array:
        """Return the features, (n, width)."""
        x = (Y - self.shift) / self.scale
        return np.concatenate([x, x[:, self.first] * x[:, self.second]], axis=1)

    def tangents(self, Y: Array, V: Array) -> Array:
        """Return the derivatives in directions V, (n, width, m); NaN for NaN in Y."""
        x = ((Y - self.shift) / self.scale)[:, :, None]
        d = V / self.scale[:, None] + (x - x).sum(axis=1, keepdims=True)
        by_first, by_second = x[:, self.second] * d[:, self.first], x[:, self.first]
        products = by_first + by_second * d[:, self.second]
        return np.concatenate([d, products], axis=1)

    def bends(self, Y: Array, G: Array, V: Array) -> Array:
        """Return the derivatives along V of the gradients of sums of G features; NaN for NaN."""
        x, d = (Y - self.shift) / self.scale, V / self.scale
        products, rows = G[:, len(self.shift) :], np.zeros_like(x)
        rows += (x - x).sum(axis=1, keepdims=True)
        for p, (i, j) in enumerate(zip(self.first, self.second, strict=True)):
            rows[:, i] += products[:, p] * d[:, j]
            rows[:, j] += products[:, p] * d[:, i]
        return rows / self.scale


Block = Network | Radial | Anova | Polynomial
BLOCKS: dict[str, type[Block]] = {kind.KIND: kind for kind in (Network, Radial, Anova, Polynomial)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Ensemble:
    """The predictions of members one by one, before any exponential."""

    W: Array
    biases: Array
    weights: Array
    widths: Indices
    spread: float

    def variance(self, F: Array, c: Array) -> Array:
        """Return spread sum_m weights_m (c_m - c)^2, (n, n_out)."""
        total = np.zeros_like(c)
        for weight, apart in self._apart(F, c):
            total += weight * apart**2
        return self.spread * total

    def deviations(self, F: Array, c: Array) -> Array:
        """Return sqrt(spread weights_m) (c_m - c), (n, n_out, n_members)."""
        found = [np.sqrt(self.spread * weight) * apart for weight, apart in self._apart(F, c)]
        return np.stack(found, axis=-1)

    def pulled(self, G: Array) -> tuple[Array, Array]:
        """Return the gradients of sums of G, (n, n_out, n_members), times `deviations`.

        They are that by the features, (n, width), at fixed c, and less that by c, (n, n_out).
        """
        G = G * np.sqrt(self.spread * self.weights.T)
        layers = np.split(self.W, np.cumsum(self.widths)[:-1], axis=1)
        by_features = [G[..., m] @ layer for m, layer in enumerate(layers)]
        return np.concatenate(by_features, axis=1), G.sum(axis=2)

    def _apart(self, F: Array, c: Array) -> Iterator[tuple[Array, Array]]:
        """Yield the weights of each member, (n_out,), and c_m - c, (n, n_out)."""
        ends = np.cumsum(self.widths)[:-1]
        pieces = zip(
            np.split(F, ends, axis=1),
            np.split(self.W, ends, axis=1),
            self.biases,
            self.weights,
            strict=True,
        )
        for features, W, bias, weight in pieces:
            yield weight, features @ W.T + bias - c
