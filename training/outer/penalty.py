"""The penalty on the parameters: Tikhonov's, or one for weights that are smooth in time."""

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch import Tensor, nn

_TIMED = ("K", "b")


class Timed(Protocol):
    """A module whose parameters K and b depend on time and are given at nodes."""

    def roughness(self) -> Tensor:
        """Return T, (n_nodes, n_nodes): x^T T x is the integral of x'(t)^2 for x at the nodes."""


class Penalty:
    r"""alpha1/2 d^T P d with d = theta - theta_ref, P symmetric and positive semidefinite.

    P is the unit matrix, or, as in the paper (Newman et al. 2021, "Train Like a (Var)Pro"), the
    unit matrix for the first layer only, and for the weights of the neural ODE

        theta^T P theta = int_0^T ||K'(t)||^2 + ||b'(t)||^2 dt,

    with K and b linear between their nodes: its value does not change when the network is refined.
    """

    def __init__(
        self,
        module: nn.Module,
        alpha1: float,
        *,
        smooth: bool,
        theta_ref: Tensor | None = None,
    ) -> None:
        """Find the parameters that depend on time.

        Args:
            module: The features' module; if ``smooth``, it has a method ``roughness``.
            alpha1: The weight, >= 0.
            smooth: Whether P prefers weights that are smooth in time.
            theta_ref: (n_theta,); zero if None.
        """
        self._alpha1 = alpha1
        self._theta_ref = theta_ref
        self._T = cast(Timed, module).roughness() if smooth else None
        parameters = dict(module.named_parameters())
        self._sizes = [parameter.numel() for parameter in parameters.values()]
        self._timed = [name.rpartition(".")[2] in _TIMED for name in parameters]

    def of(self, theta: Tensor) -> Tensor:
        """Return the penalty of theta (n_theta,), as a tensor that torch differentiates."""
        d = self._away(theta)
        return d @ self.times(d) / 2

    def value(self, theta: Tensor) -> float:
        """Return the penalty of theta."""
        return float(self.of(theta))

    def gradient(self, theta: Tensor) -> Tensor:
        """Return the gradient, alpha1 P (theta - theta_ref), (n_theta,)."""
        return self.times(self._away(theta))

    def times(self, v: Tensor) -> Tensor:
        """Multiply the Hessian by a vector, alpha1 P v, (n_theta,)."""
        scaled = self._alpha1 * v
        if self._T is None:
            return scaled
        T = self._T.to(v)
        pieces = torch.split_with_sizes(scaled, self._sizes)
        return torch.cat(
            [
                (T @ piece.view(len(T), -1)).view(-1) if timed else piece
                for piece, timed in zip(pieces, self._timed, strict=True)
            ]
        )

    def _away(self, theta: Tensor) -> Tensor:
        return theta if self._theta_ref is None else theta - self._theta_ref

    @property
    def mean(self) -> float:
        """The mean of the Hessian's diagonal."""
        if self._T is None:
            return self._alpha1
        sizes = list(zip(self._sizes, self._timed, strict=True))
        smooth = float(self._T.diagonal().mean())
        total = sum(size * (smooth if timed else 1.0) for size, timed in sizes)
        return self._alpha1 * total / sum(self._sizes)

    def add_to(self, H: Tensor) -> None:
        """Add the Hessian to a matrix, (p, p), in the coordinates of `dense.Structure`.

        These keep norms; the parameters that depend on time come last, by nodes.
        """
        sizes = zip(self._sizes, self._timed, strict=True)
        untimed = sum(size for size, timed in sizes if not timed)
        n_first = len(H) if self._T is None else untimed
        H.diagonal()[:n_first].add_(self._alpha1)
        if self._T is not None:
            n_nodes = len(self._T)
            entries = torch.arange(n_first, len(H), device=H.device).view(n_nodes, -1)
            H[entries[:, None], entries] += self._alpha1 * self._T.to(H)[:, :, None]
