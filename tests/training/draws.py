"""What the tests of training share: random numbers, and matrices in factors written out."""

import torch

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
