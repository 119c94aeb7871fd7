"""Random numbers that the tests of training share."""

import torch


def normal(*shape, seed):
    """Draw standard normal numbers, float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)
