"""The engine of some outputs of another engine's, for `LoadedSurrogate.select`.

Only the TorchScript module needs it: an engine of arrays has an engine of fewer rows of W.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

from ..covariance import Correlation
from . import Box, Engine

Rows = npt.NDArray[np.int64]


class Selected:
    """The `Engine` of some outputs, which computes all and returns these.

    Products with the transposed Jacobian cost what they cost for one w. The Jacobian of one output
    is such a product.

    Attributes:
        whole: The engine of all outputs.
        rows: Indices of the outputs.
    """

    NAME: ClassVar[str] = "torch"

    def __init__(self, whole: Engine, rows: Rows, n_out: int) -> None:
        """Keep the engine, the indices, and the number of all outputs."""
        self.whole: Any = whole
        self.rows, self.n_out = rows, n_out
        self.BATCH, self.FAILURES = whole.BATCH, whole.FAILURES

    @property
    def box(self) -> Box:
        """The training domain."""
        box: Box = self.whole.box
        return box

    @property
    def n_members(self) -> int:
        """Number of surrogates whose weighted mean is the prediction."""
        return int(self.whole.n_members)

    @property
    def log_outputs(self) -> npt.NDArray[np.bool_]:
        """Outputs that are predicted by their logarithms."""
        marks: npt.NDArray[np.bool_] = self.whole.log_outputs[self.rows]
        return marks

    @property
    def correlation(self) -> Correlation | None:
        """The correlation of the outputs' errors."""
        found: Correlation | None = self.whole.correlation
        return None if found is None else found.selected(self.rows)

    def __getattr__(self, name: str) -> Any:
        """Refuse `hvp` where the whole engine has none, as files of older versions."""
        if name == "hvp" and "whole" in self.__dict__ and hasattr(self.whole, "hvp"):
            return self._hvp
        raise AttributeError(name)

    def forward(self, y: Array) -> Array:
        """Predict the outputs."""
        return self._of(self.whole.forward(y))

    def jacobian(self, y: Array) -> Array:
        """Differentiate the outputs."""
        if len(self.rows) == 1:
            ones = np.ones((*y.shape[:-1], 1))
            return np.asarray(self.vjp(y, ones)[..., None, :])
        return np.ascontiguousarray(self.whole.jacobian(y)[..., self.rows, :])

    def jvp(self, y: Array, v: Array) -> Array:
        """Apply the Jacobian to v."""
        return self._of(self.whole.jvp(y, v))

    def vjp(self, y: Array, w: Array) -> Array:
        """Apply the transposed Jacobian to w."""
        found: Array = self.whole.vjp(y, self._among_all(w))
        return found

    def _hvp(self, y: Array, w: Array, v: Array) -> Array:
        found: Array = self.whole.hvp(y, self._among_all(w), v)
        return found

    def predict_std(self, y: Array) -> Array:
        """Return the standard deviations of the outputs' errors."""
        return self._of(self.whole.predict_std(y))

    def predict_cov(self, y: Array) -> tuple[Array, Array]:
        """Return the covariance of the outputs' errors, a factor and a diagonal."""
        factor, diagonal = self.whole.predict_cov(y)
        return np.ascontiguousarray(factor[..., self.rows, :]), self._of(diagonal)

    def cov_vjp(self, y: Array, by_factor: Array, by_diagonal: Array) -> Array:
        """Return the gradient by y of a weighted sum of `predict_cov`."""
        whole = np.zeros((len(y), self.n_out, by_factor.shape[-1]))
        for k, row in enumerate(self.rows.tolist()):
            whole[:, row] += by_factor[:, k]
        found: Array = self.whole.cov_vjp(y, whole, self._among_all(by_diagonal))
        return found

    def predict_interval(self, y: Array, level: float) -> Array:
        """Return the outputs' intervals."""
        return self._of(self.whole.predict_interval(y, level))

    def in_domain(self, y: Array) -> npt.NDArray[np.bool_]:
        """Return whether y lies in the training domain."""
        found: npt.NDArray[np.bool_] = self.whole.in_domain(y)
        return found

    def _of(self, found: Array) -> Array:
        return np.ascontiguousarray(found[..., self.rows])

    def _among_all(self, w: Array) -> Array:
        """Return cotangents of all outputs: w of the selected ones, added up where repeated."""
        G = np.zeros((*w.shape[:-1], self.n_out))
        for k, row in enumerate(self.rows.tolist()):
            G[..., row] += w[..., k]
        return G
