r"""Losses, whose mean training minimises: one class for all methods.

    Phi(W, theta) = 1/N sum_i ell(o_i, c_i) + alpha1/2 d^T P d + alpha2/2 ||W - W_ref||_F^2

with d = theta - theta_ref and outputs o_i = W [F(y_i; theta), 1]. A loss is smooth and convex in o.
A loss of your own returns its value for each sample, and is an argument of `fit.fit`. Torch
differentiates it, unless it has `gradient`, `hessian` and `hvp` of its own:

>>> class Poisson(Loss):
...     def values(self, outputs, C):
...         return (outputs.exp() - C * outputs).sum(dim=1)

For least squares, W has a closed form, by an SVD (`varpro`). For any other loss, W is found by
Newton's method (`newton`). `solve` chooses between them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.func import hessian as second_derivatives

from surrogates.model.metrics import relative_errors

from ..communicator import ALONE, Communicator
from ..features import CHUNK
from .tall import Tall


class Loss(ABC):
    """A loss ell(o, c), smooth and convex in o; outputs and targets are rows, (n, n_out) float64.

    Attributes:
        scales_targets: Whether training may centre, scale and rotate the targets, as a loss that is
            a norm of o - c allows.
        iterative: Whether W is found by iterations, which start from the last W.
        selects_by_error: Whether the best weights have the least mean error on the validation
            samples, instead of the least mean loss.
        watched: Name of the score that selects the best weights (see `data.Measured`).
    """

    scales_targets: bool = False
    iterative: bool = True
    selects_by_error: bool = False
    watched: str = "loss"

    @abstractmethod
    def values(self, outputs: Tensor, C: Tensor) -> Tensor:
        """Return ell of each sample, (n,), by operations that torch differentiates."""

    def gradient(self, outputs: Tensor, C: Tensor) -> Tensor:
        """Return the gradient of ell with respect to o, (n, n_out)."""
        gradient: Tensor = vmap(grad(self._one))(outputs, C)
        return gradient

    def hessian(self, outputs: Tensor, C: Tensor) -> Tensor:
        """Return the Hessian of ell with respect to o, (n, n_out, n_out)."""
        found: Tensor = vmap(second_derivatives(self._one))(outputs, C)
        return found

    def hvp(self, outputs: Tensor, C: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the function that multiplies the Hessians by a change of o, (n, n_out)."""
        matrices = self.hessian(outputs, C)
        return lambda change: (matrices @ change[:, :, None])[:, :, 0]

    def roots(self, outputs: Tensor, C: Tensor) -> Tensor:
        """Return matrices M whose M^T M are the Hessians, (n, k, n_out)."""
        values, vectors = torch.linalg.eigh(self.hessian(outputs, C))
        roots: Tensor = values.clamp(min=0).sqrt()[:, :, None] * vectors.transpose(1, 2)
        return roots

    def errors(self, outputs: Tensor, C: Tensor) -> Tensor:
        """Return the error for the history, (n,): the relative one, ||o - c|| / ||c||."""
        return relative_errors(outputs, C)

    def tall_gradient(
        self,
        Z: Tensor,
        W: Tensor,
        C: Tensor,
        comm: Communicator = ALONE,
        n_samples: int | None = None,
    ) -> Tall:
        """Return the gradients at outputs Z W^T, over sqrt(N); N is the number of rows if None."""
        return self._tall(self.gradient(Z @ W.T, C), comm)

    def tall_hvp(self, Z: Tensor, W: Tensor, C: Tensor, change: Tall) -> Tall:
        """Multiply a change of the outputs by the Hessians at Z W^T."""
        curved = self.hvp(Z @ W.T, C)(change.rows(slice(None)))
        return self._tall(curved * math.sqrt(change.n_samples), change.comm)

    def _tall(self, rows: Tensor, comm: Communicator) -> Tall:
        n_samples = comm.count(len(rows))
        eye = torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
        parts = ((rows, eye / math.sqrt(n_samples)),)
        return Tall(parts=parts, last=rows[:0], n_samples=n_samples, comm=comm)

    def _one(self, o: Tensor, c: Tensor) -> Tensor:
        return self.values(o[None], c[None])[0]


class LeastSquares(Loss):
    """Half the squared norm of o - c."""

    scales_targets = True
    iterative = False
    watched = "loss, as a mean norm,"

    def values(self, outputs: Tensor, C: Tensor) -> Tensor:
        """Return ell of each sample."""
        return (outputs - C).square().sum(dim=1) / 2

    def gradient(self, outputs: Tensor, C: Tensor) -> Tensor:
        """Return o - c."""
        return outputs - C

    def hessian(self, outputs: Tensor, C: Tensor) -> Tensor:
        """Return unit matrices."""
        return torch.eye(outputs.shape[1], dtype=outputs.dtype, device=outputs.device).expand(
            len(outputs), -1, -1
        )

    def tall_gradient(
        self,
        Z: Tensor,
        W: Tensor,
        C: Tensor,
        comm: Communicator = ALONE,
        n_samples: int | None = None,
    ) -> Tall:
        """Return Z W^T - C, over sqrt(N), in factors."""
        n_samples = comm.count(len(Z)) if n_samples is None else n_samples
        parts = ((Z, W.T / math.sqrt(n_samples)),)
        return Tall(parts=parts, last=C[:0], n_samples=n_samples, comm=comm, C=C)

    def tall_hvp(self, Z: Tensor, W: Tensor, C: Tensor, change: Tall) -> Tall:
        """Return the unchanged change of the outputs."""
        return change


class CrossEntropy(Loss):
    """Cross-entropy of class probabilities c, which sum to one, and softmax(o), in nats.

    The error is the share of misclassified samples, whose class does not have the largest output; a
    sample counts for each class with its probability. The best weights have the least share: the
    validation cross-entropy may rise while accuracy still rises, by samples that are wrong with
    confidence. The temperature corrects this afterwards.
    """

    selects_by_error = True
    watched = "error"

    def values(self, outputs: Tensor, C: Tensor) -> Tensor:
        """Return ell of each sample."""
        return torch.logsumexp(outputs, dim=1) - (C * outputs).sum(dim=1)

    def gradient(self, outputs: Tensor, C: Tensor) -> Tensor:
        """Return p - c, with p = softmax(o)."""
        return torch.softmax(outputs, dim=1) - C

    def hessian(self, outputs: Tensor, C: Tensor) -> Tensor:
        """Return diag(p) - p p^T."""
        p = torch.softmax(outputs, dim=1)
        return torch.diag_embed(p) - p[:, :, None] * p[:, None, :]

    def hvp(self, outputs: Tensor, C: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the function that multiplies diag(p) - p p^T by a change of o."""
        p = torch.softmax(outputs, dim=1)

        def product(change: Tensor) -> Tensor:
            part = p * change
            return part - p * part.sum(dim=1, keepdim=True)

        return product

    def roots(self, outputs: Tensor, C: Tensor) -> Tensor:
        """Return diag(sqrt(p)) - sqrt(p) p^T."""
        p = torch.softmax(outputs, dim=1)
        root = p.sqrt()
        return torch.diag_embed(root) - root[:, :, None] * p[:, None, :]

    def errors(self, outputs: Tensor, C: Tensor) -> Tensor:
        """Return the probability that the class of the largest output is wrong."""
        return 1.0 - C.gather(1, outputs.argmax(dim=1, keepdim=True))[:, 0].double()


def outputs_of(F: Tensor, W: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield the outputs [F, 1] W^T, some samples at a time."""
    for start in range(0, len(F), CHUNK):
        rows = slice(start, start + CHUNK)
        yield rows, torch.addmm(W[:, -1], F[rows], W[:, :-1].T)
