r"""Rows of directions in the Gauss-Newton matrix, from the structure of their derivatives.

The features' derivative along a direction k of the inputs has, for a layer with S and A (see
`SensitivitiesAlong`), the derivative dS_k A + S dA_k with respect to the layer's weights. For two
layers S, A and T, B, the sums over the directions of a sample are

    sum_k (dS_k A + S dA_k)^T (dT_k B + T dB_k)
        = (sum_k dS_k^T dT_k) A B + A (sum_k dS_k^T T dB_k) + (sum_k dA_k S^T dT_k) B
          + S^T T (sum_k dA_k dB_k).

Each of the four is then one product over the samples, as large as that of the samples' own rows:
r directions of a sample cost about as much as three samples more, not r. Only parameters that
belong to no layer cost r times.
"""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor

from surrogates.model.networks import SensitivitiesAlong

from ..inner.varpro import first_columns

_Layer = tuple[Tensor, Tensor, Tensor, Tensor]


def squares_along(one: SensitivitiesAlong, L: Tensor) -> Tensor:
    """Sum (L dF)^T (L dF) over rows of directions, (p, p).

    Args:
        one: Derivatives of some samples along their directions.
        L: (n_rows, n_feat), the same for all rows.
    """
    L = first_columns(L, one.D.shape[2]).to(one.D)
    layers = [(L @ S, A, L @ dS, dA) for S, A, dS, dA in one.layers]
    D = L @ one.D
    q = D.shape[3]
    sizes = [S.shape[2] * A.shape[1] for S, A, _, _ in layers]
    starts = [0, *accumulate(sizes)]
    H = D.new_empty((starts[-1] + q, starts[-1] + q))
    for k, layer in enumerate(layers):
        rows = slice(starts[k], starts[k + 1])
        for i in range(k + 1):
            columns = slice(starts[i], starts[i + 1])
            H[rows, columns] = _product(layer, layers[i], same=i == k)
            H[columns, rows] = H[rows, columns].T
        H[rows, starts[-1] :] = _mixed(layer, D)
        H[starts[-1] :, rows] = H[rows, starts[-1] :].T
    H[starts[-1] :, starts[-1] :] = gram(D.flatten(0, 2))
    return H


def gram(M: Tensor) -> Tensor:
    """Return M^T M; numpy uses the symmetry, and does half the work."""
    if M.device.type != "cpu":
        return M.T @ M
    return torch.from_numpy(M.numpy().T @ M.numpy())


def products_along(one: SensitivitiesAlong, p: Tensor) -> Tensor:
    """Sum p dF over rows of directions, (n_p, width, p).

    Args:
        one: Derivatives of some samples along their directions.
        p: (n r, n_p), by samples.
    """
    n, r = one.D.shape[:2]
    p = p.to(one.D)
    by_sample = p.view(n, r, -1).transpose(1, 2)
    k = by_sample.shape[1]
    parts = []
    for S, A, dS, dA in one.layers:
        m, a, b = S.shape[1], S.shape[2], A.shape[1]
        moved = (by_sample @ dS.reshape(n, r, m * a)).reshape(n, k * m * a)
        first = (moved.T @ A).view(k, m, a * b)
        moved = (by_sample @ dA).reshape(n, k * b)
        second = (S.reshape(n, m * a).T @ moved).view(m, a, k, b).permute(2, 0, 1, 3)
        parts.append(first + second.flatten(2))
    D = one.D
    parts.append((p.T @ D.flatten(0, 1).flatten(1)).view(k, *D.shape[2:]))
    return torch.cat(parts, dim=2)


def _product(one: _Layer, other: _Layer, same: bool) -> Tensor:
    """Sum the product of two layers (see the module's text), (a b, c d)."""
    S, A, dS, dA = one
    T, B, dT, dB = other
    n, r = dS.shape[:2]
    a, b, c, d = S.shape[2], A.shape[1], T.shape[2], B.shape[1]
    moved = dS.reshape(n, -1, a).transpose(1, 2) @ dT.reshape(n, -1, c)
    first = moved.reshape(n, a * c).T @ (A[:, :, None] * B[:, None]).reshape(n, b * d)
    still = (S.transpose(1, 2) @ T).reshape(n, a * c)
    last = still.T @ (dA.transpose(1, 2) @ dB).reshape(n, b * d)
    total = (first + last).view(a, c, b, d).transpose(1, 2)
    left = (A.T @ _crossed(dS, T, dB)).view(b, a, c, d)
    right = left if same else (B.T @ _crossed(dT, S, dA)).view(d, c, a, b)
    total = total + left.transpose(0, 1) + right.permute(2, 3, 1, 0)
    return total.reshape(a * b, c * d)


def _crossed(dS: Tensor, T: Tensor, dB: Tensor) -> Tensor:
    """Sum dS_k^T T dB_k over the directions of each sample, (n, a c d)."""
    n, r, m, a = dS.shape
    c = T.shape[2]
    both = (dS.permute(0, 1, 3, 2).reshape(n, r * a, m) @ T).view(n, r, a * c)
    return (both.transpose(1, 2) @ dB).flatten(1)


def _mixed(one: _Layer, D: Tensor) -> Tensor:
    """Sum the product of a layer and the other parameters, (a b, q)."""
    S, A, dS, dA = one
    n, r, m, q = D.shape
    a, b = S.shape[2], A.shape[1]
    first = A.T @ (dS.reshape(n, r * m, a).transpose(1, 2) @ D.reshape(n, r * m, q)).flatten(1)
    by_sample = S.transpose(1, 2) @ D.transpose(1, 2).reshape(n, m, r * q)
    by_row = by_sample.view(n, a, r, q).transpose(1, 2).reshape(n * r, a * q)
    second = dA.reshape(n * r, b).T @ by_row
    return (first + second).view(b, a, q).transpose(0, 1).reshape(a * b, q)
