r"""Logistic regression on features without weights to train: the inputs, or radial functions.

For a kernel kappa and its values at the centres, kappa(x_k, x_l) = V L V^T, the whitened features

    z(x) = L^-1/2 V^T [kappa(x, x_1) .. kappa(x, x_K)]^T

have the kernel as their product on the centres' span, and ||W||_F is the norm of the logits in the
kernel's space. The kernel of the inputs themselves is x^T x' / n_in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from surrogates.model.networks import FeatureExtractor
from surrogates.model.radial import Monomials, RadialBasis

from ..inner import logistic
from ..inner.losses import CrossEntropy
from .entropy import calibrated
from .kernel import CENTRES, distances, kappa

_LEAST = 1e-10  # times a kernel's largest eigenvalue; smaller eigenvalues are left out
_WORSE = 1.3  # times the least held-out cross-entropy; above it, smaller alpha2 are not tried


@dataclass(frozen=True, kw_only=True)
class Plain:
    """Features without weights to train.

    Attributes:
        kernel: ``linear``, or one of `surrogates.model.kinds.KERNELS`.
        scales: Inverse lengths, (n_in,).
        n_centres: Largest number of centres.
    """

    kernel: str
    scales: Tensor
    n_centres: int = CENTRES

    def basis(self, X: Tensor) -> Basis:
        """Make the features of standardised samples (n, n_in), and whiten them."""
        n_in = X.shape[1]
        if self.kernel == "linear":
            values, V = torch.linalg.eigh(X.T @ X)
            kept = _leading(values)
            none = torch.zeros((0, 2), dtype=torch.int64)
            return Basis(features=Monomials(n_in, none), whitening=V[:, kept] / math.sqrt(n_in))
        some = torch.linspace(0, len(X) - 1, min(len(X), self.n_centres)).round().long()
        centres = X[some]
        k = kappa(self.kernel, distances(centres, centres, self.scales))
        values, V = torch.linalg.eigh(k)
        kept = _leading(values)
        whitening = V[:, kept] / values[kept].sqrt()
        return Basis(features=RadialBasis(centres, self.scales, self.kernel), whitening=whitening)


def _leading(values: Tensor) -> Tensor:
    """Mark the eigenvalues that are above rounding; the largest always is."""
    kept = values > _LEAST * values[-1]
    kept[-1] = True
    return kept


@dataclass(frozen=True, kw_only=True)
class Basis:
    """Features and the matrix that whitens them.

    Attributes:
        features: Features of standardised inputs.
        whitening: Multiplies them from the right, (width, r).
    """

    features: FeatureExtractor
    whitening: Tensor

    def __call__(self, X: Tensor) -> Tensor:
        """Return the whitened features with a last column of ones, (n, r + 1)."""
        with torch.no_grad():
            F = self.features.forward(X) @ self.whitening
        return torch.cat([F, F.new_ones((len(F), 1))], dim=1)

    def weights(self, W: Tensor) -> Tensor:
        """Turn weights of the whitened features into weights of the features themselves."""
        return torch.cat([W[:, :-1] @ self.whitening.T, W[:, -1:]], dim=1)


def path(
    X: Tensor, C: Tensor, X_held: Tensor, C_held: Tensor, plain: Plain, alphas: Sequence[float]
) -> Tensor:
    """Return the held-out logits of each alpha2 of a path, (n_alphas, n_held, n_classes): a task.

    Smaller alpha2 take longer. Once the cross-entropy is far worse, they are not tried: the last
    logits stand for theirs, as another fold may prefer them.

    Args:
        X: Standardised inputs, (n, n_in).
        C: Classes, (n, n_classes).
        X_held: Standardised inputs of the held-out samples, (n_held, n_in).
        C_held: Their classes.
        plain: The features.
        alphas: Values, falling.
    """
    basis = plain.basis(X)
    Z, Z_held = basis(X), basis(X_held)
    W: Tensor | None = None
    found: list[Tensor] = []
    entropies: list[float] = []
    for alpha2 in alphas:
        W = logistic.minimise(CrossEntropy(), Z, C, alpha2, W)
        found.append(Z_held @ W.T)
        entropies.append(calibrated(found[-1], C_held)[1])
        if min(entropies[-2:]) > _WORSE * min(entropies):
            break
    found += [found[-1]] * (len(alphas) - len(found))
    return torch.stack(found)
