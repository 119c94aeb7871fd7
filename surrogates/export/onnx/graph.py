"""Expressions that append the nodes of an ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

OPSET = 17
"""Version of the operators: that of onnx 1.12 and onnxruntime 1.12, from 2022."""

IR_VERSION = 8
"""Version of the file format, of the same time."""


class Graph:
    """The nodes and constants of a graph; each array is stored once."""

    def __init__(self) -> None:
        """Begin an empty graph."""
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._known: dict[tuple[Any, ...], str] = {}

    def input(self, name: str) -> Value:
        """Return the graph's input of that name."""
        return Value(self, name)

    def output(self, name: str, value: Value) -> None:
        """Name a value as an output."""
        self._append("Identity", [value.name], [name], {})

    def op(self, kind: str, *inputs: Value | npt.ArrayLike, **settings: Any) -> Value:
        """Append a node, and return its result."""
        given = [x.name if isinstance(x, Value) else self.constant(x) for x in inputs]
        name = f"v{len(self.nodes)}"
        self._append(kind, given, [name], settings)
        return Value(self, name)

    def split(self, value: Value, widths: Sequence[int], axis: int = 1) -> list[Value]:
        """Return the pieces of an axis."""
        if len(widths) == 1:
            return [value]
        names = [f"v{len(self.nodes)}_{i}" for i in range(len(widths))]
        sizes = self.constant(np.asarray(widths, np.int64))
        self._append("Split", [value.name, sizes], names, {"axis": axis})
        return [Value(self, name) for name in names]

    def concatenated(self, values: Sequence[Value], axis: int = 1) -> Value:
        """Return values side by side."""
        return values[0] if len(values) == 1 else self.op("Concat", *values, axis=axis)

    def constant(self, values: npt.ArrayLike) -> str:
        """Return the name of a constant: float64, or of its own type for integers and marks."""
        from onnx import numpy_helper

        array = np.ascontiguousarray(values)
        if array.ndim == 0 or np.ndim(values) == 0:
            array = array.reshape(())
        if array.dtype.kind == "f":
            array = array.astype(np.float64)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = f"a{len(self._known)}"
            self.constants.append(numpy_helper.from_array(array, self._known[key]))
        return self._known[key]

    def _append(
        self, kind: str, inputs: list[str], outputs: list[str], settings: dict[str, Any]
    ) -> None:
        from onnx import helper

        # A name each: onnxruntime 1.18 takes two nodes without one for the same when it fuses them.
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=name, **settings))


class Value:
    """A result in a graph, with the operators of arrays; constants broadcast with it."""

    # Before numpy's operators, which would make an array of objects.
    __array_ufunc__ = None

    def __init__(self, graph: Graph, name: str) -> None:
        """Name a result.

        Args:
            graph: Where it is.
            name: Its name there.
        """
        self.graph, self.name = graph, name

    def __add__(self, other: Value | npt.ArrayLike) -> Value:
        """Return the sum."""
        return self.graph.op("Add", self, other)

    def __radd__(self, other: npt.ArrayLike) -> Value:
        """Return the sum."""
        return self.graph.op("Add", other, self)

    def __sub__(self, other: Value | npt.ArrayLike) -> Value:
        """Return the difference."""
        return self.graph.op("Sub", self, other)

    def __rsub__(self, other: npt.ArrayLike) -> Value:
        """Return the difference."""
        return self.graph.op("Sub", other, self)

    def __mul__(self, other: Value | npt.ArrayLike) -> Value:
        """Return the product."""
        return self.graph.op("Mul", self, other)

    def __rmul__(self, other: npt.ArrayLike) -> Value:
        """Return the product."""
        return self.graph.op("Mul", other, self)

    def __truediv__(self, other: Value | npt.ArrayLike) -> Value:
        """Return the quotient."""
        return self.graph.op("Div", self, other)

    def __rtruediv__(self, other: npt.ArrayLike) -> Value:
        """Return the quotient."""
        return self.graph.op("Div", other, self)

    def __matmul__(self, other: Value | npt.ArrayLike) -> Value:
        """Return the product of matrices."""
        return self.graph.op("MatMul", self, other)

    def __rmatmul__(self, other: npt.ArrayLike) -> Value:
        """Return the product of matrices."""
        return self.graph.op("MatMul", other, self)

    def __neg__(self) -> Value:
        """Return the negative."""
        return self.graph.op("Neg", self)

    def __le__(self, other: Value | npt.ArrayLike) -> Value:
        """Return marks where it is at most the other."""
        return self.graph.op("LessOrEqual", self, other)

    def __gt__(self, other: Value | npt.ArrayLike) -> Value:
        """Return marks where it is larger."""
        return self.graph.op("Greater", self, other)

    def exp(self) -> Value:
        """Return the exponential."""
        return self.graph.op("Exp", self)

    def sqrt(self) -> Value:
        """Return the square root."""
        return self.graph.op("Sqrt", self)

    def sum(self, *axes: int) -> Value:
        """Return sums over axes, which go."""
        return self.graph.op("ReduceSum", self, np.array(axes, np.int64), keepdims=0)

    def column(self, axis: int) -> Value:
        """Return the value with a new axis of one entry."""
        return self.graph.op("Unsqueeze", self, np.array([axis], np.int64))

    def at(self, indices: npt.ArrayLike, axis: int = 1) -> Value:
        """Return the entries of an axis at indices; one index removes the axis."""
        return self.graph.op("Gather", self, np.asarray(indices, np.int64), axis=axis)

    def where(self, yes: Value | npt.ArrayLike, no: Value | npt.ArrayLike) -> Value:
        """Return ``yes`` where this mark is set, else ``no``."""
        return self.graph.op("Where", self, yes, no)
