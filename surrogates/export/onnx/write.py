"""Write the model: the outputs of each method, the metadata, the file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from surrogates import __version__
from surrogates.config import check, unknown
from surrogates.errors import InputError
from surrogates.files import atomic

from ..about import about
from ..constants import constants
from ..reference import ClassifierReference, Reference
from .blocks import features
from .graph import IR_VERSION, OPSET, Graph, Value

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate

OUTPUTS: Mapping[str, str] = {
    "forward": "c",
    "jacobian": "jacobian",
    "predict_std": "std",
    "in_domain": "in_domain",
    "probabilities": "probabilities",
    "predict": "class",
}
"""Names of the outputs, by the method of a surrogate or classifier."""


def save(
    surrogate: LoadedSurrogate, path: str | os.PathLike[str], *, method: str | None = None
) -> None:
    """Write a surrogate as an .onnx file, whole or not at all.

    Args:
        surrogate: From `surrogates.load`.
        path: The file, NAME.onnx.
        method: A method of `OUTPUTS`, to write its output alone; None for all.

    Raises:
        InputError: If the package onnx is missing, there is no such method, the path is no .onnx or
            cannot be written, or the surrogate's features have no such form (see
            `surrogates.export.constants.constants`).
    """
    check(Path(path).suffix == ".onnx", f"cannot write {path}: expected the name of an .onnx file")
    reference = constants(surrogate)
    known = methods(reference)
    check(method is None or method in known, unknown("method", method or "", known))
    try:
        content = model(reference, known if method is None else (method,)).SerializeToString()
    except ImportError as error:
        raise InputError(
            f"--format onnx needs onnx: pip install 'varpro-surrogates[onnx]' ({error})"
        ) from error
    with atomic(path) as beside:
        beside.write_bytes(content)


def methods(r: Reference) -> tuple[str, ...]:
    """Return the methods for which a surrogate has an output, in their order."""
    if isinstance(r, ClassifierReference):
        return ("forward", "probabilities", "predict", "jacobian", "in_domain")
    bars = () if math.isnan(r.floor) else ("predict_std",)
    return ("forward", "jacobian", *bars, "in_domain")


def model(r: Reference, outputs: tuple[str, ...]) -> Any:
    """Return the model, an ``onnx.ModelProto``.

    Args:
        r: The constants of the surrogate.
        outputs: The methods whose outputs it has.
    """
    from onnx import TensorProto, helper

    parts = _Parts(r)
    for method in outputs:
        parts.graph.output(OUTPUTS[method], getattr(parts, method)())
    n_in, n_out = len(r.lower), len(r.c_0)
    shapes: dict[str, tuple[int, list[int]]] = {
        name: (TensorProto.DOUBLE, [n_out]) for name in ("c", "std", "probabilities")
    }
    shapes.update(jacobian=(TensorProto.DOUBLE, [n_out, n_in]))
    shapes.update({"in_domain": (TensorProto.BOOL, []), "class": (TensorProto.INT64, [])})
    results = [
        helper.make_tensor_value_info(OUTPUTS[key], shapes[OUTPUTS[key]][0], ["n", *size])
        for key, size in ((key, shapes[OUTPUTS[key]][1]) for key in outputs)
    ]
    y = helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["n", n_in])
    graph = helper.make_graph(parts.graph.nodes, "surrogate", [y], results, parts.graph.constants)
    found = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="varpro-surrogates",
        producer_version=__version__,
        doc_string="\n".join(about(r.metadata)),
    )
    helper.set_model_props(found, _properties(r))
    return found


def _properties(r: Reference) -> dict[str, str]:
    """Return the metadata of a model, each value as JSON."""
    found = {key: r.metadata[key] for key in ("y_names", "y_units", "c_names", "c_units")}
    found["bounds"] = [r.lower.tolist(), r.upper.tolist()]
    box = r.box
    normals = (box.normals / box.unit).tolist()
    found["domain"] = {"normals": normals, "centre": box.centre.tolist()}
    found.update(coordinates=r.metadata["coordinates"], errors=r.metadata.get("errors", {}))
    found["metadata"] = r.metadata
    return {key: json.dumps(value, allow_nan=False) for key, value in found.items()}


class _Parts:
    """The expressions of a surrogate, each appended once."""

    def __init__(self, r: Reference) -> None:
        self.r, self.graph = r, Graph()
        self.y = self.graph.input("y")
        self._made: dict[str, Value] = {}
        self.x = self._seen()
        self.blocks = [features(block, self.x) for block in r.blocks]
        self.u = self.graph.concatenated([u for u, _ in self.blocks])

    def forward(self) -> Value:
        """Return c, (n, n_out)."""
        return self._once("c", self._physical)

    def linear(self) -> Value:
        """Return the output of the linear layer, (n, n_out)."""
        return self._once("linear", lambda: self.u @ self.r.W.T + self.r.c_0)

    def jacobian(self) -> Value:
        """Return dc/dy, (n, n_out, n_in)."""
        ends = np.cumsum([block.width for block in self.r.blocks])[:-1]
        layers = np.split(self.r.W, ends, axis=1)
        pieces = [part(W) for (_, part), W in zip(self.blocks, layers, strict=True)]
        J = pieces[0]
        for piece in pieces[1:]:
            J = J + piece
        if self.r.log_outputs.any():
            J = J * self._output_factors().column(2)
        if self.r.log_inputs.any():
            J = J * (1.0 / self._positive()).column(1)
        return J

    def predict_std(self) -> Value:
        """Return the standard deviation of the error of c, (n, n_out)."""
        r, op = self.r, self.graph.op
        z = self.u @ r.leverage.T + r.constant
        lower, upper = r.seen(r.lower), r.seen(r.upper)
        beyond = op("Max", op("Max", lower - self.x, self.x - upper), 0.0) / r.unit
        share = float(r.floor) + (z * z) @ r.signs + (beyond * beyond).sum(1)
        if len(r.normals):
            off = self._off_flat()
            share = share + (off * off).sum(1)
        share = op("Max", share, 1e-12).column(1)
        if r.ensemble.spread:
            std = (share * r.sigma**2 + self._disagreement()).sqrt()
        else:
            std = share.sqrt() * r.sigma
        return std * self._output_factors() if r.log_outputs.any() else std

    def in_domain(self) -> Value:
        """Return whether y lies in the domain, bool (n,)."""
        r = self.r
        lower, upper = r.seen(r.lower), r.seen(r.upper)
        slack = 1e-9 * (upper - lower) + 1e-12 * r.log_inputs
        marks = [self.graph.op("GreaterOrEqual", self.x, lower - slack), self.x <= upper + slack]
        if len(r.normals):
            marks.append(self.graph.op("Abs", self._off_flat()) <= 1e-4)
        return self._all(marks)

    def probabilities(self) -> Value:
        """Return the probability of each class, (n, n_out)."""
        return self.graph.op("Softmax", self.forward(), axis=1)

    def predict(self) -> Value:
        """Return the index of the most probable class, int64 (n,); -1 for NaN."""
        op, c = self.graph.op, self.forward()
        best = op("ArgMax", c, axis=1, keepdims=0)
        known = self._all([op("Equal", c, c)])
        return known.where(best, np.array(-1, np.int64))

    def _all(self, marks: list[Value]) -> Value:
        """Return whether all marks of a row are set; ONNX has no such operator."""
        op = self.graph.op
        counts = [op("Cast", op("Not", mark), to=11).sum(1) for mark in marks]  # 11: double
        total = counts[0]
        for count in counts[1:]:
            total = total + count
        return total <= 0.0

    def _once(self, name: str, make: Callable[[], Value]) -> Value:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def _positive(self) -> Value:
        """Return y of inputs with logarithms, NaN unless positive; 1 for the others."""
        op, marks = self.graph.op, self.r.log_inputs
        positive = (self.y > 0.0).where(self.y, math.nan)
        return self._once("positive", lambda: op("Where", marks, positive, 1.0))

    def _seen(self) -> Value:
        marks = self.r.log_inputs
        if not marks.any():
            return self.y
        return self.graph.op("Where", marks, self.graph.op("Log", self._positive()), self.y)

    def _physical(self) -> Value:
        marks, linear, op = self.r.log_outputs, self.linear(), self.graph.op
        if not marks.any():
            return linear
        return op("Where", marks, op("Where", marks, linear, 0.0).exp(), linear)

    def _output_factors(self) -> Value:
        """Return the derivatives of c by the output of the linear layer, (n, n_out)."""
        op, marks = self.graph.op, self.r.log_outputs
        return self._once("factors", lambda: op("Where", marks, self.forward(), 1.0))

    def _off_flat(self) -> Value:
        r = self.r
        return self._once("off", lambda: ((self.x - r.centre) / r.unit) @ r.normals.T)

    def _disagreement(self) -> Value:
        """Return spread sum_m weights_m (c_m - c)^2, (n, n_out)."""
        members = self.r.ensemble
        widths = members.widths.tolist()
        pieces = self.graph.split(self.u, widths)
        layers = np.split(members.W, np.cumsum(widths)[:-1], axis=1)
        total: Value | None = None
        for u, W, bias, weight in zip(pieces, layers, members.biases, members.weights, strict=True):
            gap = u @ W.T + bias - self.linear()
            term = float(members.spread) * weight * (gap * gap)
            total = term if total is None else total + term
        assert total is not None
        return total
