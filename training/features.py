r"""Features as a function of their parameters, chunk by chunk, and products with their Jacobian.

Derivative data are further rows. With features F(y; theta) of a sample y and a direction v of its
inputs, a linear layer W predicts the derivative along v by W [F'(y) v, 0]. So the rows of samples,
[F(y), 1], are followed by rows [F'(y) v, 0], and all that is linear in W treats both alike.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from surrogates.model.networks import with_ones

from .communicator import ALONE, Communicator

CHUNK = 8192
_ALONG = 4  # times as many rows of directions as of samples: they need no sigma


@dataclass(frozen=True, kw_only=True)
class Directions:
    """Directions of the inputs of some of this process's samples, r for each.

    Attributes:
        samples: The samples, (m,) int64, ascending.
        V: Directions, (m, r, n_in), times the roots of their rows' weights; zero where a sample has
            fewer than r. A row is linear in its direction, and so has the direction's factor.
    """

    samples: Tensor
    V: Tensor

    @property
    def n_rows(self) -> int:
        """Number of rows, m r."""
        return self.V.shape[0] * self.V.shape[1]


class Tangents(nn.Module):
    """Derivatives of a module's features along directions: its own, or torch's."""

    def __init__(self, module: nn.Module) -> None:
        """Keep the module; it is not copied."""
        super().__init__()
        self.module = module

    def forward(self, Y: Tensor, V: Tensor) -> Tensor:
        """Map inputs (n, n_in) and directions (n, r, n_in) to derivatives (n, r, width)."""
        own = getattr(self.module, "tangents", None)
        if own is not None:
            along: Tensor = own(Y, V)
            return along
        n, r, n_in = V.shape
        # Samples are repeated: vmap does not take every module, such as a ReLU in place.
        repeated = Y.repeat_interleave(r, dim=0)
        found: Tensor = torch.func.jvp(self.module, (repeated,), (V.reshape(n * r, n_in),))[1]
        return found.view(n, r, found.shape[-1])  # also of no sample


class Features:
    """A module's features at given inputs as a function of its parameters, one flat vector.

    They are computed in the precision of the inputs, and returned in float64.

    Args:
        module: Maps (N, n_in) to (N, width). It is copied, to the device and dtype of Y.
        Y: Inputs of this process, (n_samples, n_in); float64 or float32.
        chunk: Samples per pass. With more samples, each product with the Jacobian records the
            graphs of its passes again, since only one chunk's graph is held.
        comm: The processes that the samples are divided over.
        directions: Directions whose rows follow those of the samples; None for no such rows.

    Attributes:
        width: Number of features.
        trained: Number of features that depend on the parameters, the first ones.
        n_rows: Number of rows of this process, those of directions included.
        tangents: Maps inputs and directions to derivatives along these.
    """

    def __init__(
        self,
        module: nn.Module,
        Y: Tensor,
        chunk: int = CHUNK,
        comm: Communicator = ALONE,
        directions: Directions | None = None,
    ) -> None:
        """Keep the module and the inputs; nothing is computed."""
        self.module = copy.deepcopy(module).to(Y).requires_grad_(False)
        self.Y = Y
        self.directions = directions
        self.n_rows = len(Y) + (0 if directions is None else directions.n_rows)
        self.tangents = Tangents(self.module)
        self.chunk = chunk
        self.comm = comm
        self._names = [name for name, _ in module.named_parameters()]
        self.shapes = [parameter.shape for parameter in module.parameters()]
        self.n_theta = sum(shape.numel() for shape in self.shapes)
        with torch.no_grad():
            self.width = self.module(Y[:1]).shape[1]
        self.trained: int = getattr(module, "trained", self.width)

    def __call__(self, theta: Tensor) -> Tensor:
        """Compute the features, (n_rows, width), without a graph."""
        with torch.no_grad():
            leaves = self._leaves(theta)
            return torch.cat([self._features(leaves, rows).double() for rows in self._chunks()])

    def design(self, F: Tensor) -> Tensor:
        """Append the column that carries the bias: ones, and zeros in rows of directions."""
        Z = with_ones(F)
        Z[len(self.Y) :, -1] = 0
        return Z

    @cached_property
    def n_samples(self) -> int:
        """Number of samples of all processes, without rows of directions."""
        return self.comm.count(len(self.Y))

    @property
    def whole(self) -> bool:
        """Whether one chunk holds all rows."""
        n_rows = self.n_rows - len(self.Y)
        return len(self.Y) <= self.chunk and n_rows <= _ALONG * self.chunk

    def parameters(self, theta: Tensor) -> dict[str, Tensor]:
        """Return the module's parameters at theta (n_theta,), by name, in the inputs' precision."""
        return dict(zip(self._names, self._leaves(theta), strict=True))

    def jacobian(self, theta: Tensor) -> FeatureJacobian:
        """Return the Jacobian at theta (n_theta,), which has the features there too."""
        return FeatureJacobian(self, theta)

    def _chunks(self) -> Iterator[slice]:
        """Yield some rows at a time: of samples, then of the directions of some samples."""
        n = len(self.Y)
        for start in range(0, n, self.chunk):
            yield slice(start, min(start + self.chunk, n))
        if self.directions is not None:
            r = self.directions.V.shape[1]
            some = max(1, self.chunk // r) * r
            for start in range(n, self.n_rows, some):
                yield slice(start, min(start + some, self.n_rows))

    def _leaves(self, theta: Tensor) -> list[Tensor]:
        pieces = torch.split_with_sizes(
            theta.detach().to(self.Y), [shape.numel() for shape in self.shapes]
        )
        return [piece.view(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]

    def _features(self, leaves: list[Tensor], rows: slice) -> Tensor:
        """Compute some rows: all, or a slice of `_chunks`."""
        parameters = dict(zip(self._names, leaves, strict=True))
        n, start = len(self.Y), rows.start or 0
        blocks = []
        if start < n:
            Y = self.Y[rows]
            blocks.append(torch.func.functional_call(self.module, parameters, (Y,)))
        if self.directions is not None and (rows.stop is None or rows.stop > n):
            r = self.directions.V.shape[1]
            stop = None if rows.stop is None else (rows.stop - n) // r
            some = slice(max(0, start - n) // r, stop)
            Y, V = self.Y[self.directions.samples[some]], self.directions.V[some]
            own = {f"module.{name}": leaf for name, leaf in parameters.items()}
            along = torch.func.functional_call(self.tangents, own, (Y, V))
            blocks.append(along.flatten(0, 1))
        return blocks[0] if len(blocks) == 1 else torch.cat(blocks)


class FeatureJacobian:
    """dF/dtheta at one theta, by products only: nothing of size n_rows x n_theta is held.

    `jvp` is the derivative, with respect to the cotangent, of the backward pass. It costs two
    backward passes of one recorded graph, which torch replays without Python.
    """

    def __init__(self, features: Features, theta: Tensor) -> None:
        """Record the graph, if one chunk holds all samples."""
        self._features = features
        self._theta = theta
        self._held = _Graph(features, theta, slice(None)) if features.whole else None
        self.n_theta = features.n_theta
        self.shape = (features.n_rows, features.width)  # shape of F

    @property
    def F(self) -> Tensor:
        """The features, (n_rows, width); not kept if there are several chunks."""
        return self._held.F.detach().double() if self._held else self._features(self._theta)

    def jvp(self, v: Tensor) -> Tensor:
        """Multiply by a vector: (n_theta,) to (n_rows, width)."""
        pieces = self._features._leaves(v)
        return torch.cat([graph.jvp(pieces).double() for _, graph in self._graphs()])

    def vjp(self, T: Tensor) -> Tensor:
        """Multiply the transpose by all processes' cotangents: (n_rows, width) to (n_theta,)."""
        total = T.new_zeros(self.n_theta)
        for rows, graph in self._graphs():
            total += graph.vjp(T[rows].to(self._features.Y))
        return self._features.comm.total(total)[0]

    def _graphs(self) -> Iterator[tuple[slice, _Graph]]:
        if self._held:
            yield slice(None), self._held
            return
        for rows in self._features._chunks():
            yield rows, _Graph(self._features, self._theta, rows)


class _Graph:
    """The recorded forward pass of one chunk, and its backward pass once `jvp` asks for it.

    Only scalars are differentiated: for cotangents, torch would import sympy first.
    """

    def __init__(self, features: Features, theta: Tensor, rows: slice) -> None:
        self.leaves = [leaf.requires_grad_() for leaf in features._leaves(theta.clone())]
        self.F = features._features(self.leaves, rows)

    @cached_property
    def _backward(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        """A cotangent, and the gradients as functions of it."""
        cotangent = torch.zeros_like(self.F, requires_grad=True)
        gradients = torch.autograd.grad(
            (self.F * cotangent).sum(), self.leaves, create_graph=True, materialize_grads=True
        )
        return cotangent, gradients

    def jvp(self, pieces: list[Tensor]) -> Tensor:
        cotangent, gradients = self._backward
        products = [
            (gradient * piece).sum()
            for gradient, piece in zip(gradients, pieces, strict=True)
            if gradient.requires_grad
        ]
        (product,) = torch.autograd.grad(
            torch.stack(products).sum(), [cotangent], retain_graph=True
        )
        return product

    def vjp(self, T: Tensor) -> Tensor:
        gradients = torch.autograd.grad(
            (self.F * T).sum(), self.leaves, retain_graph=True, materialize_grads=True
        )
        return torch.cat([gradient.reshape(-1) for gradient in gradients])
