r"""The weighted mean of candidates with the least held-out residual, for all outputs or for each.

With R the candidates' residuals of an output, a column each, the weights w >= 0 of sum one minimise
w^T G w, G = R^T R (Breiman 1996, "Stacked regressions"). Common weights minimise the sum over the
outputs, in which one output with large errors decides. Outputs that are unlike need weights of
their own: a ridge regression may be exact for one that is quadratic, and a kernel best for one with
bends.

The weights of one output are known from its residuals alone, n rows. They are drawn towards the
common ones: for residuals that are normal with a covariance that is inverse Wishart with nu degrees
of freedom about the common one, in units of the output's least error, the expected covariance is
proportional to

    G_j + (nu / n) r_j G,    G = sum_j G_j,    r_j = min diag G_j / min diag G

(Anderson 2003, "An introduction to multivariate statistical analysis", section 7.7). nu, how alike
the outputs are, is the one with the least error on folds of the residuals, in units of the error of
the common weights; these are nu = infinity. They stay unless weights by output pay on samples that
have not decided them, as a mean must. Many outputs of a field are alike, and keep them: linear
relations between the outputs then hold for the mean as for its members.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import nnls
from torch import Tensor

_LEFT_OUT = 0.03  # members with a smaller weight are left out
_HOPELESS = 100.0  # times the least error; beyond it, a weight is smaller than that
_PAYS = 0.95  # members are averaged, or weighed by output, below this share of the error without
_ALIKE = (10.0, 30.0, 100.0, 300.0, 1000.0)  # nu; fewer degrees of freedom than this are noise
_FOLDS = 5  # of the residuals
_JUDGED = 50  # outputs that decide nu
_FEWEST = 20  # residuals for weights by output

Weights = npt.NDArray[np.float64]


def stacked(residuals: Sequence[Tensor]) -> Weights:
    """Return weights >= 0 with sum one for the mean with the least held-out residual.

    Small weights are dropped: they cost a member and gain nothing.

    Args:
        residuals: The candidates' residuals on the same samples, (n, n_out) each.
    """
    return _least(_gram(residuals))


def chosen(residuals: Sequence[Tensor]) -> Weights:
    """Return the weights of the prediction: of a mean where it pays, or else of the best member.

    Args:
        residuals: The candidates' residuals on the same samples, (n, n_out) each.

    Returns:
        Weights of each output, (n_candidates, n_out), or (n_candidates, 1) if they are common.
    """
    common = _paying(_gram(residuals))[:, None]
    n, n_out = residuals[0].shape
    if len(residuals) == 1 or n_out == 1 or n < _FEWEST:
        return common
    some = slice(None, None, -(-n_out // _JUDGED))
    alike = _likeness([residual[:, some] for residual in residuals])
    if math.isinf(alike):
        return common
    found = _by_output(_grams(residuals), n, alike)
    return found[:, :1] if (found == found[:, :1]).all() else found


def _likeness(residuals: Sequence[Tensor]) -> float:
    """Return nu (see the module's text); infinity for common weights."""
    n, n_out = residuals[0].shape
    fold = torch.arange(n) % _FOLDS
    common, own = np.zeros(n_out), np.zeros((len(_ALIKE), n_out))
    for k in range(_FOLDS):
        seen, held = (_grams([r[rows] for r in residuals]) for rows in (fold != k, fold == k))
        w = _paying(seen.sum(axis=0))
        common += np.einsum("jab,a,b->j", held, w, w)
        for i, nu in enumerate(_ALIKE):
            W = _by_output(seen, int((fold != k).sum()), nu)
            own[i] += np.einsum("jab,aj,bj->j", held, W, W)
    told = common > 0
    if not told.any():
        return math.inf
    ratios = (own[:, told] / common[told]).mean(axis=1)
    return _ALIKE[int(ratios.argmin())] if ratios.min() < _PAYS**2 else math.inf


def _by_output(G: Weights, n: int, nu: float) -> Weights:
    """Return weights of each output, (n_candidates, n_out), from matrices (n_out, m, m)."""
    least = np.diagonal(G, axis1=1, axis2=2).min(axis=1)
    whole = G.sum(axis=0)
    size = float(whole.diagonal().min())
    found = [
        _paying(own + (nu / n * r / size) * whole if own.any() and size > 0 else whole)
        for own, r in zip(G, least, strict=True)
    ]
    return np.stack(found, axis=1)


def _gram(residuals: Sequence[Tensor]) -> Weights:
    flat = torch.stack([residual.reshape(-1) for residual in residuals])
    found: Weights = (flat @ flat.T).numpy()
    return found


def _grams(residuals: Sequence[Tensor]) -> Weights:
    """Return the matrices of each output, (n_out, m, m), without a copy of all residuals."""
    m = len(residuals)
    found = np.empty((residuals[0].shape[1], m, m))
    for a in range(m):
        for b in range(a + 1):
            found[:, a, b] = found[:, b, a] = (residuals[a] * residuals[b]).sum(dim=0).numpy()
    return found


def _paying(gram: Weights) -> Weights:
    """Return the weights of the mean, or one for the best member where a mean gains too little."""
    weights = _least(gram)
    best = int(gram.diagonal().argmin())
    if weights @ gram @ weights >= _PAYS**2 * gram[best, best]:
        weights = np.eye(len(gram))[best]
    return weights


def _least(gram: Weights) -> Weights:
    """Return weights w >= 0 with sum one and the least w^T gram w, without small ones."""
    # A far larger error would be left out below, and would hide the others' digits.
    kept = np.flatnonzero(gram.diagonal() <= _HOPELESS**2 * gram.diagonal().min())
    size = math.sqrt(float(gram.diagonal()[kept].sum())) or 1.0
    while True:
        # Least squares with non-negative weights; a heavy row holds their sum.
        root = np.linalg.cholesky(gram[np.ix_(kept, kept)] / size**2 + 1e-14 * np.eye(len(kept))).T
        system = np.vstack([root, np.full(len(kept), 1e4)])
        found = nnls(system, np.append(np.zeros(len(kept)), 1e4))[0]
        found /= found.sum()
        if (found >= _LEFT_OUT).all():
            weights = np.zeros(len(gram))
            weights[kept] = found
            return weights
        kept = kept[found >= _LEFT_OUT]


def weighted(residuals: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Return the weighted sum of residuals, with weights (n_residuals, n_out), or (.., 1)."""
    total = torch.zeros_like(residuals[0])
    for residual, weight in zip(residuals, weights, strict=True):
        total += weight * residual
    return total
