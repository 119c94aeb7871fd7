"""Answers that the adapters' tests compare with: of the function that was learned, and of grids."""

import numpy as np

TIMES = np.array([1.0, 2.0, 3.0])


def oscillator(Y):
    """The function of docs/start.md: positions of a damped oscillator, (n, 3)."""
    k, d = Y[:, :1], Y[:, 1:]
    return np.exp(-d / 2 * TIMES) * np.cos(np.sqrt(k - d**2 / 4) * TIMES)


def sobol_indices(bounds, n=40):
    """First-order and total indices of the oscillator, (3, 2) each, by Gauss-Legendre quadrature.

    Parameters are uniform between the bounds, (2, 2).
    """
    x, w = np.polynomial.legendre.leggauss(n)
    w = w / 2
    axes = [a + (x + 1) / 2 * (b - a) for a, b in bounds.T]
    Y = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    C = oscillator(Y).reshape(n, n, 3)
    mean = np.einsum("i,j,ijk->k", w, w, C)
    variance = np.einsum("i,j,ijk->k", w, w, (C - mean) ** 2)
    of_stiffness = w @ (np.einsum("j,ijk->ik", w, C) - mean) ** 2
    of_damping = w @ (np.einsum("i,ijk->jk", w, C) - mean) ** 2
    first = np.stack([of_stiffness, of_damping], axis=1) / variance[:, None]
    return first, 1 - first[:, ::-1]


def posterior_on_a_grid(log_likelihood, bounds, n=401):
    """Mean and standard deviation, (2,) each, and log evidence, with a uniform prior on the box.

    By the midpoint rule: a narrow posterior well within the box is integrated to rounding.
    """
    Y, log_p = _on_a_grid(log_likelihood, bounds, n)
    p = np.exp(log_p - log_p.max())
    mean = p @ Y / p.sum()
    std = np.sqrt(p @ (Y - mean) ** 2 / p.sum())
    return mean, std, log_p.max() + np.log(p.mean())


def quartiles_on_a_grid(log_likelihood, bounds, n=401):
    """First and third quartiles, (2, 2), with a uniform prior on the box."""
    Y, log_p = _on_a_grid(log_likelihood, bounds, n)
    p = np.exp(log_p - log_p.max()).reshape(n, n) / np.exp(log_p - log_p.max()).sum()
    below = [np.cumsum(p.sum(axis=1 - i)) for i in range(2)]
    axes = [np.unique(y) for y in Y.T]
    return np.array([np.interp((0.25, 0.75), *both) for both in zip(below, axes, strict=True)]).T


def _on_a_grid(log_likelihood, bounds, n):
    axes = [a + (np.arange(n) + 0.5) / n * (b - a) for a, b in bounds.T]
    Y = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    return Y, log_likelihood(Y)


def normal_log_likelihood(c, data, std):
    """Of data with independent normal errors, for each row of c: (n,)."""
    return -0.5 * (((c - data) / std) ** 2 + np.log(2 * np.pi * std**2)).sum(axis=1)
