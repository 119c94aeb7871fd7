"""A member of a surrogate: features with their scaling and linear weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from surrogates.model.networks import FeatureExtractor


@dataclass(frozen=True, kw_only=True)
class Member:
    """A member of the surrogate: c = [features((y - y_shift) / y_scale), 1] W^T.

    Attributes:
        features: Features of scaled inputs.
        y_shift: (n_in,), units of y.
        y_scale: (n_in,), units of y.
        W: (n_out, width + 1), units of c.
        weight: Its weight in the prediction.
        weights: Its weight for each output, (n_out,), of which ``weight`` is the mean; None if it
            is the same for all.
        group: Members with one number were trained alike, on different folds.
        kriging: Whether it is the kernel in `selection.regression.Selection.kriging`.
    """

    features: FeatureExtractor
    y_shift: Tensor
    y_scale: Tensor
    W: Tensor
    weight: float = 1.0
    group: int = 0
    kriging: bool = False
    weights: Tensor | None = None

    @property
    def shares(self) -> Tensor:
        """Its weight for each output, (n_out,); (1,) if it is the same for all."""
        return self.W.new_tensor([self.weight]) if self.weights is None else self.weights

    @property
    def share(self) -> Tensor:
        """Its W times its weights, (n_out, width + 1)."""
        return self.shares[:, None] * self.W

    def predict(self, Y: Tensor) -> Tensor:
        """Predict at inputs (n, n_in), units of y."""
        with torch.no_grad():
            F = self.features.forward((Y - self.y_shift) / self.y_scale)
            return F @ self.W[:, :-1].T + self.W[:, -1]
