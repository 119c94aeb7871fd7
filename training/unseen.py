r"""The part of dc/dy that adjoints do not see, from a training on values.

Adjoints are derivatives of r functionals of c, W dc/dy. They say nothing on the rest of dc/dy,

    (1 - P) dc/dy,    P = S (W S)^+ W

(see `surrogates.data.derivatives`). Rows of derivatives are rows of all outputs, so this rest needs
targets. Zero would be wrong, and decide the fit: on a set whose functionals left out 12 % of the
spread of c, such rows made errors of c 18 times as large as without any. So a surrogate is trained
on values alone first, in the same way, and (1 - P) of its Jacobian takes the place.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import nn

from surrogates.data import Dataset
from surrogates.data.derivatives import seen
from surrogates.model.parts import Logs
from surrogates.types import Array

from .features import CHUNK, Tangents

if TYPE_CHECKING:
    from .fit import FitResult


def with_unseen(dataset: Dataset, learned: Dataset, logs: Logs | None, J: Array) -> Dataset:
    """Return the samples as they are learned with whole tangents, instead of adjoints.

    Args:
        dataset: The samples with adjoints.
        learned: The same with logarithms, and without missing observables.
        logs: Inputs and outputs whose logarithms ``learned`` holds.
        J: Jacobians of a surrogate of the values of ``learned``, (n, n_out, n_in).
    """
    P, found = seen(dataset.info), learned.derivatives(slice(None))
    assert P is not None and found is not None
    rest = np.broadcast_to(np.eye(len(P)) - P, (len(learned.Y), *P.shape))
    if logs is not None:  # d log c = dc / c: what W sees of the logarithms depends on c
        unit = np.where(np.asarray(logs.outputs, dtype=bool), np.exp(learned.C), 1.0)
        rest = rest * unit[:, None, :] / unit[:, :, None]
    dC_dY = found.T + rest @ J
    info = dataclasses.replace(
        learned.info, tangents=True, functionals=np.empty((0, 0)), c_scale=np.empty(0)
    )
    return dataclasses.replace(learned, info=info, dC_dY=dC_dY, dW_dY=None)


def jacobians(first: FitResult, Y: Array) -> Array:
    """Return the Jacobians of a training's result, of any network, (n, n_out, n_in)."""
    along = Tangents(cast(nn.Module, first.features))
    V = torch.diag(1 / first.y_scale)
    blocks = []
    with torch.no_grad():
        for piece in torch.split(torch.from_numpy(Y), CHUNK):
            X = (piece - first.y_shift) / first.y_scale
            F = along(X, V.expand(len(X), -1, -1))
            blocks.append((F @ first.W[:, :-1].T).transpose(1, 2))
    return np.asarray(torch.cat(blocks).numpy())
