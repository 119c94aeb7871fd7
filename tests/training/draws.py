"""What the tests of training share: random numbers, datasets, matrices in factors written out."""

import numpy as np
import torch

from surrogates.dataset import SOLVER, Dataset, Info, Status, assign_split
from surrogates.training.varpro import Tall


def normal(*shape, seed):
    """Draw standard normal numbers, float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def flat(M):
    """Form a matrix, one vector by rows."""
    return torch.cat([M.rows(slice(None)), M.last]).reshape(-1)


def tall(r, m, n_out):
    """Invert `flat`, for m lower rows."""
    rows = r.view(-1, n_out)
    n = len(rows) - m
    eye = torch.eye(n_out, dtype=r.dtype)
    return Tall(parts=((rows[:n], eye),), last=rows[n:], n_samples=n)


def dataset(Y, C, split="0.6/0.2/0.2", seed=0):
    """Make a dataset of arrays, all of its samples done."""
    n, n_in = Y.shape
    n_out = C.shape[1]
    info = Info(
        problem="test",
        split=split,
        total=n,
        y_names=tuple(f"y{i}" for i in range(n_in)),
        y_units=("1",) * n_in,
        y_lower=Y.min(axis=0),
        y_upper=Y.max(axis=0),
        c_names=tuple(f"c{i}" for i in range(n_out)),
        c_units=("V",) * n_out,
    )
    return Dataset(
        info=info,
        Y=Y,
        C=C,
        status=np.full(n, Status.DONE, dtype=np.uint8),
        split=assign_split(split, n, seed),
        failure=[""] * n,
        solver=np.zeros(n, SOLVER),
    )
