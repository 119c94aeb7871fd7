"""Features as a function of their parameters, chunk by chunk, and products with their Jacobian."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor, nn

from .communicator import ALONE, Communicator

CHUNK = 8192


class Features:
    """A module's features at given inputs as a function of its parameters, one flat vector.

    They are computed in the precision of the inputs, and returned in float64.

    Args:
        module: Maps (N, n_in) to (N, width). It is copied, to the device and dtype of Y.
        Y: Inputs of this process, (n_samples, n_in); float64 or float32.
        chunk: Samples per pass. With more samples, each product with the Jacobian records the
            graphs of its passes again, since only one chunk's graph is held.
        comm: The processes that the samples are divided over.

    Attributes:
        width: Number of features.
        trained: Number of features that depend on the parameters, the first ones.
    """

    def __init__(
        self, module: nn.Module, Y: Tensor, chunk: int = CHUNK, comm: Communicator = ALONE
    ) -> None:
        """Keep the module and the inputs; nothing is computed."""
        self.module = copy.deepcopy(module).to(Y).requires_grad_(False)
        self.Y = Y
        self.chunk = chunk
        self.comm = comm
        self._names = [name for name, _ in module.named_parameters()]
        self.shapes = [parameter.shape for parameter in module.parameters()]
        self.n_theta = sum(shape.numel() for shape in self.shapes)
        with torch.no_grad():
            self.width = self.module(Y[:1]).shape[1]
        self.trained: int = getattr(module, "trained", self.width)

    def __call__(self, theta: Tensor) -> Tensor:
        """Compute the features, (n_samples, width), without a graph."""
        with torch.no_grad():
            leaves = self._leaves(theta)
            return torch.cat([self._features(leaves, rows).double() for rows in self._chunks()])

    def parameters(self, theta: Tensor) -> dict[str, Tensor]:
        """Return the module's parameters at theta (n_theta,), by name, in the inputs' precision."""
        return dict(zip(self._names, self._leaves(theta), strict=True))

    def jacobian(self, theta: Tensor) -> FeatureJacobian:
        """Return the Jacobian at theta (n_theta,), which has the features there too."""
        return FeatureJacobian(self, theta)

    def _chunks(self) -> Iterator[slice]:
        for start in range(0, len(self.Y), self.chunk):
            yield slice(start, start + self.chunk)

    def _leaves(self, theta: Tensor) -> list[Tensor]:
        pieces = torch.split_with_sizes(
            theta.detach().to(self.Y), [shape.numel() for shape in self.shapes]
        )
        return [piece.view(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]

    def _features(self, leaves: list[Tensor], rows: slice) -> Tensor:
        parameters = dict(zip(self._names, leaves, strict=True))
        F: Tensor = torch.func.functional_call(self.module, parameters, (self.Y[rows],))
        return F


class FeatureJacobian:
    """dF/dtheta at one theta, by products only: nothing of size n_samples x n_theta is held.

    `jvp` is the derivative, with respect to the cotangent, of the backward pass. It costs two
    backward passes of one recorded graph, which torch replays without Python.
    """

    def __init__(self, features: Features, theta: Tensor) -> None:
        """Record the graph, if one chunk holds all samples."""
        self._features = features
        self._theta = theta
        single = len(features.Y) <= features.chunk
        self._held = _Graph(features, theta, slice(None)) if single else None
        self.n_theta = features.n_theta
        self.shape = (len(features.Y), features.width)  # shape of F

    @property
    def F(self) -> Tensor:
        """The features, (n_samples, width); not kept if there are several chunks."""
        return self._held.F.detach().double() if self._held else self._features(self._theta)

    def jvp(self, v: Tensor) -> Tensor:
        """Multiply by a vector: (n_theta,) to (n_samples, width)."""
        pieces = self._features._leaves(v)
        return torch.cat([graph.jvp(pieces).double() for _, graph in self._graphs()])

    def vjp(self, T: Tensor) -> Tensor:
        """Multiply the transpose by all processes' cotangents: (n_samples, width) to (n_theta,)."""
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
