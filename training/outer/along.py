r"""Rows of directions in the Gauss-Newton matrix, from the structure of their derivatives.

The features' derivative along a direction k of the inputs has, for a layer with S and A (see
`SensitivitiesAlong`), the derivative dS_k A + S dA_k with respect to the layer's weights. For two
layers S, A and T, B, the sums over the directions of a sample are

    sum_k (dS_k A + S dA_k)^T (dT_k B + T dB_k)
        = (sum_k dS_k^T dT_k) A B + A (sum_k dS_k^T T dB_k) + (sum_k dA_k S^T dT_k) B
          + S^T T (sum_k dA_k dB_k).

Each of the four is then one product over the samples, as large as that of the samples' own rows:
r directions of a sample cost about as much as three samples more, not r. Only parameters that
belong to no layer cost r times, or as many times as the network has features if these are fewer:
the rows of a sample are then turned (see `SensitivitiesAlong`).
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
    if one.beyond is not None:
        H[: sizes[0], : sizes[0]] += _beyond(layers[0][0], one.beyond)
    return H


def _beyond(S: Tensor, dA: Tensor) -> Tensor:
    """Sum (S dA_k)^T (S dA_k) over the rows, (a b, a b)."""
    n, _, b = dA.shape
    a = S.shape[2]
    SS = (S.transpose(1, 2) @ S).reshape(n, a * a)
    found = SS.T @ (dA.transpose(1, 2) @ dA).reshape(n, b * b)
    return found.view(a, a, b, b).transpose(1, 2).reshape(a * b, a * b)


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
    all_rows = p.to(one.D).view(n, -1, p.shape[1]).transpose(1, 2)
    by_sample = all_rows if one.Q is None else all_rows @ one.Q
    k = by_sample.shape[1]
    parts = []
    for i, (S, A, dS, dA) in enumerate(one.layers):
        m, a, b = S.shape[1], S.shape[2], A.shape[1]
        moved = (by_sample @ dS.reshape(n, r, m * a)).reshape(n, k * m * a)
        first = (moved.T @ A).view(k, m, a * b)
        along = by_sample @ dA
        if i == 0 and one.beyond is not None:
            along = along + all_rows @ one.beyond
        second = S.reshape(n, m * a).T @ along.reshape(n, k * b)
        parts.append(first + second.view(m, a, k, b).permute(2, 0, 1, 3).flatten(2))
    D = one.D
    rows = by_sample.transpose(1, 2).reshape(n * r, k)
    parts.append((rows.T @ D.flatten(0, 1).flatten(1)).view(k, *D.shape[2:]))
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
    first = A.T @ (dS.reshape(n, r * m, a).transpose(1, 2) @ D.view(n, r * m, q)).flatten(1)
    # S is repeated for the directions: a copy of it is far smaller than one of D.
    by_row = S.transpose(1, 2).repeat_interleave(r, dim=0) @ D.view(n * r, m, q)
    second = dA.reshape(n * r, b).T @ by_row.flatten(1)
    return (first + second).view(b, a, q).transpose(0, 1).reshape(a * b, q)
