"""Engines: how a surrogate in memory is evaluated.

`surrogates.model.loaded.LoadedSurrogate` checks what callers give and names the results. An engine
computes, and knows no names:

    torch    `scripted.Scripted`, the TorchScript module of a .pt file
    numpy    `surrogates.export.reference.Reference`, the arrays of an .npz file
    c        `surrogates.export.c.compiled`, the C export, compiled and called in this process

No engine changes once it is made, so surrogates, copies and threads share it. This module, and
each engine but ``torch``, needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

from ..covariance import Correlation

ENGINES = ("torch", "numpy", "c")
"""Names of the engines."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Box:
    """Constants of the training domain; see `surrogates.model.parts.Domain`.

    Attributes:
        lower: Lower corner of the box, (n_in,), units of y.
        upper: Upper corner of the box, (n_in,), units of y.
        unit: Unit of distances, (n_in,); ones where the file does not say it.
        normals: Directions in which the training parameters do not vary, (k, n_in), in these units.
        centre: A point of their flat, (n_in,).
        log_inputs: Inputs whose logarithms take the place of y, bool (n_in,); unit, normals and
            centre are theirs.
    """

    lower: Array
    upper: Array
    unit: Array
    normals: Array
    centre: Array
    log_inputs: npt.NDArray[np.bool_]


class Engine(Protocol):
    """Evaluates a surrogate on contiguous float64 arrays, whose sizes and values were checked.

    It has a method for each entry of `METHODS` that its surrogate has, of that name. Each takes one
    sample y, (n_in,), or a batch, (n, n_in) with n >= 1, with as many directions v (n_in) and
    cotangents w (n_out). Results are numpy arrays, with the leading n for a batch.

    An engine can be pickled. Forked children and several threads may call it.

    Attributes:
        NAME: Its name in `ENGINES`.
        BATCH: The most samples that it takes at once, which bounds its memory; None for any number.
        FAILURES: Exceptions of a call that are no error of this package's.
    """

    NAME: ClassVar[str]
    BATCH: ClassVar[int | None]
    FAILURES: ClassVar[tuple[type[Exception], ...]]

    @property
    def box(self) -> Box:
        """The training domain."""

    @property
    def n_members(self) -> int:
        """Number of surrogates whose weighted mean is the prediction; 1 for a single one."""

    @property
    def log_outputs(self) -> npt.NDArray[np.bool_]:
        """Outputs that are predicted by their logarithms, (n_out,)."""

    @property
    def correlation(self) -> Correlation | None:
        """The correlation of the outputs' errors; None if it is not known, or of a classifier."""

    def predict_cov(self, y: Array) -> tuple[Array, Array]:
        """Return the covariance of errors: the factor, (n_out, k), and the diagonal, (n_out,)."""

    def cov_vjp(self, y: Array, by_factor: Array, by_diagonal: Array) -> Array:
        """Return the gradient by y, (n, n_in), of a sum over `predict_cov` with these weights.

        It takes a batch of y alone; the weights have the shapes of factor and diagonal.
        """

    def forward(self, y: Array) -> Array:
        """Predict the observables, or the logits: (n_out,)."""


METHODS: Mapping[str, str] = {
    "forward": "o",
    "jacobian": "oi",
    "jvp": "o",
    "vjp": "i",
    "hvp": "i",
    "predict_std": "o",
    "predict_interval": "2o",
    "in_domain": "",
    "probabilities": "o",
    "predict": "",
}
"""The methods of engines, and the shape of the result for one sample: i is n_in, and o is n_out.

They take y; ``jvp`` takes y and v, ``vjp`` y and w, ``hvp`` y, w and v, ``predict_interval`` y and
the level. Results are float64, of ``in_domain`` bool. ``probabilities`` and ``predict``, int64 and
the index of a class, are of classifiers; ``predict_std`` and ``predict_interval`` of others.
"""

_KINDS: Mapping[str, Any] = {"in_domain": np.bool_, "predict": np.int64}


def results(n_in: int, n_out: int) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Return the shape for one sample and the type of the result of each method."""
    sizes = {"i": n_in, "o": n_out, "2": 2}
    return {
        name: (tuple(sizes[letter] for letter in letters), np.dtype(_KINDS.get(name, np.float64)))
        for name, letters in METHODS.items()
    }
