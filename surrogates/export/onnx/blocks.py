"""The features of each block of a surrogate as nodes of a graph, and their derivatives.

The formulas are those of `surrogates.export.blocks`. Each function takes x, (n, n_in), and returns
the features, (n, width), and a function that returns the block's part of the Jacobian: it takes the
block's columns of W, (n_out, width), and returns (n, n_out, n_in).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from surrogates.types import Array

from ..blocks import Anova, Block, Network, Polynomial, Radial
from .graph import Value

Features = tuple[Value, Callable[[Array], Value]]


def features(block: Block, x: Value) -> Features:
    """Append the features of a block."""
    if isinstance(block, Network):
        return _network(block, x)
    if isinstance(block, Radial):
        return _radial(block, x)
    if isinstance(block, Anova):
        return _anova(block, x)
    return _polynomial(block, x)


def _phi(name: str, x: Value) -> Value:
    """Return phi(x); written out where an operator of ONNX would lose digits for large x."""
    op = x.graph.op
    if name == "relu":
        return op("Max", x, 0.0) + 0.0 * x  # NaN stays NaN
    if name == "sigmoid":
        return 1.0 / (1.0 + (-x).exp())
    small = (-op("Abs", x)).exp()
    # log(1 + small), which rounding of 1 + small would spoil: Kahan's formula.
    rounded = 1.0 + small
    log = (rounded > 1.0).where(
        op("Log", rounded) * small / op("Max", rounded - 1.0, 1e-300), small
    )
    return op("Max", x, 0.0) + log


def _slope(name: str, k: Value) -> Value:
    """Return the derivative of phi by its value k."""
    if name == "relu":
        return (k > 0.0).where(1.0, k)
    return k - k * k if name == "sigmoid" else 1.0 - (-k).exp()


def _network(block: Network, x: Value) -> Features:
    """Append a network; its derivatives go through the fewer of inputs and features."""
    u = _phi(block.phi, x @ block.K_in.T + block.b_in)
    values = [u]
    for A, b in zip(block.A, block.b, strict=True):
        k, after = None, float(block.carry) * u
        for A_i, b_i, l_i, w_i in zip(A, b, block.lengths, block.weights, strict=True):
            at = u if k is None else u + float(l_i) * k
            k = _phi(block.phi, at @ A_i.T + b_i)
            after = after + float(w_i) * k
            values.append(k)
        u = after

    def jacobian(W: Array) -> Value:
        slopes = iter([_slope(block.phi, value).column(2) for value in values])
        first, last = block.K_in, None
        if first.shape[0] < first.shape[1]:
            first, last = np.eye(len(first)), block.K_in
        d = next(slopes) * first
        for A in block.A:
            dk, after = None, float(block.carry) * d
            for A_i, l_i, w_i in zip(A, block.lengths, block.weights, strict=True):
                at = d if dk is None else d + float(l_i) * dk
                dk = next(slopes) * (A_i @ at)
                after = after + float(w_i) * dk
            d = after
        return W @ d if last is None else (W @ d) @ last

    return u, jacobian


def _kappa(name: str, square: Value) -> tuple[Value, Callable[[], Value]]:
    """Return kappa(r) for r^2, and kappa'(r) / r."""
    if name == "gaussian":
        value = (-0.5 * square).exp()
        return value, lambda: -value
    s = square.graph.op("Min", math.sqrt(5) * square.sqrt(), 1000.0)
    decay = (-s).exp()
    return (1.0 + s + s * s / 3.0) * decay, lambda: -5 / 3 * (1.0 + s) * decay


def _radial(block: Radial, x: Value) -> Features:
    differences = ((x - block.shift) * block.factor).column(1) - block.centres
    u, slope = _kappa(block.kernel, (differences * differences).sum(2))

    def jacobian(W: Array) -> Value:
        return (W @ (slope().column(2) * differences)) * block.factor

    return u, jacobian


def _anova(block: Anova, x: Value) -> Features:
    d = ((x - block.shift) * block.factor).column(1) - block.centres
    kappa, slope = _kappa(block.kernel, d * d)
    factors = 1.0 + block.shares * (kappa - 1.0)
    n_in = len(block.shift)
    each = [factors.at(i, axis=2) for i in range(n_in)]
    before: list[Value | None] = [None]
    for factor in each:
        last = before[-1]
        before.append(factor if last is None else last * factor)

    def jacobian(W: Array) -> Value:
        slopes = block.shares * slope() * d
        after: list[Value | None] = [None]
        for factor in each[:0:-1]:
            last = after[-1]
            after.append(factor if last is None else last * factor)
        columns = []
        for i in range(n_in):
            column = slopes.at(i, axis=2)
            for others in (before[i], after[n_in - 1 - i]):
                column = column if others is None else column * others
            columns.append(column.column(2))
        return (W @ x.graph.concatenated(columns, axis=2)) * block.factor

    whole = before[-1]
    assert whole is not None
    return whole, jacobian


def _polynomial(block: Polynomial, x: Value) -> Features:
    scaled = (x - block.shift) / block.scale
    n_in, pairs = len(block.shift), len(block.first)
    u = scaled
    if pairs:
        u = x.graph.concatenated([scaled, scaled.at(block.first) * scaled.at(block.second)])

    def jacobian(W: Array) -> Value:
        nan = (scaled - scaled).sum(1).column(1).column(2)  # or the constant would hide it
        J = nan + W[:, :n_in] / block.scale
        if pairs:
            unit = np.eye(n_in) / block.scale
            by_first = scaled.at(block.second).column(2) * unit[block.first]
            by_second = scaled.at(block.first).column(2) * unit[block.second]
            J = J + W[:, n_in:] @ (by_first + by_second)
        return J

    return u, jacobian
