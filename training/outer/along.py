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

The last layer's S and dS are diagonal: feature j depends on output j alone. With G = L^T L, the
products by L become factors G[a, c] or products with G T, and the features are not summed over.
"""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor

from surrogates.model.networks import SensitivitiesAlong

from ..inner.varpro import first_columns

_Layer = tuple[Tensor, Tensor, Tensor, Tensor]
"""S, A, dS and dA; S (n, width) and dS (n, r, width) of a diagonal layer."""


def squares_along(one: SensitivitiesAlong, L: Tensor) -> Tensor:
    """Sum (L dF)^T (L dF) over rows of directions, (p, p).

    Args:
        one: Derivatives of some samples along their directions.
        L: (n_rows, n_feat), the same for all rows.
    """
    L = first_columns(L, one.D.shape[2]).to(one.D)
    layers = [_times(L, layer) for layer in one.layers]
    D = L @ one.D
    q = D.shape[3]
    sizes = [S.shape[-1] * A.shape[1] for S, A, _, _ in layers]
    starts = [0, *accumulate(sizes)]
    H = D.new_empty((starts[-1] + q, starts[-1] + q))
    for k, layer in enumerate(layers):
        rows = slice(starts[k], starts[k + 1])
        for i in range(k):
            columns = slice(starts[i], starts[i + 1])
            product = _diagonal_product if _is_diagonal(layer) else _product
            H[rows, columns] = product(layer, layers[i], L)
            H[columns, rows] = H[rows, columns].T
        H[rows, rows] = _square(layer, L)
        H[rows, starts[-1] :] = _mixed(layer, D, L)
        H[starts[-1] :, rows] = H[rows, starts[-1] :].T
    H[starts[-1] :, starts[-1] :] = gram(D.flatten(0, 2))
    if one.beyond is not None:
        H[: sizes[0], : sizes[0]] += _beyond(layers[0], one.beyond, L)
    return H


def _beyond(layer: _Layer, dA: Tensor, L: Tensor) -> Tensor:
    """Sum (S dA_k)^T (S dA_k) over the rows, (a b, a b)."""
    n, _, b = dA.shape
    SS = _still(layer[0], L)
    a = SS.shape[1]
    found = SS.reshape(n, a * a).T @ (dA.transpose(1, 2) @ dA).reshape(n, b * b)
    return found.view(a, a, b, b).transpose(1, 2).reshape(a * b, a * b)


def _still(S: Tensor, L: Tensor) -> Tensor:
    """Return S^T S of each sample, (n, a, a)."""
    return S[:, :, None] * S[:, None] * (L.T @ L) if S.ndim == 2 else S.transpose(1, 2) @ S


def _is_diagonal(layer: _Layer) -> bool:
    return layer[0].ndim == 2


def _times(L: Tensor, layer: _Layer) -> _Layer:
    """Multiply S and dS by L; a diagonal layer stays as it is."""
    S, A, dS, dA = layer
    return layer if _is_diagonal(layer) else (L @ S, A, L @ dS, dA)


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
    for i, layer in enumerate(one.layers):
        S, A, dS, dA = layer
        a, b = S.shape[-1], A.shape[1]
        m = 1 if _is_diagonal(layer) else S.shape[1]
        moved = (by_sample @ dS.reshape(n, r, m * a)).reshape(n, k * m * a)
        first = (moved.T @ A).view(k, m, a, b)
        along = by_sample @ dA
        if i == 0 and one.beyond is not None:
            along = along + all_rows @ one.beyond
        second = (S.reshape(n, m * a).T @ along.reshape(n, k * b)).view(m, a, k, b)
        total = first + second.permute(2, 0, 1, 3)
        if _is_diagonal(layer):  # feature j has a derivative by row j alone
            total = torch.diag_embed(total[:, 0].transpose(1, 2)).permute(0, 2, 3, 1)
        parts.append(total.flatten(2))
    D = one.D
    rows = by_sample.transpose(1, 2).reshape(n * r, k)
    parts.append((rows.T @ D.flatten(0, 1).flatten(1)).view(k, *D.shape[2:]))
    return torch.cat(parts, dim=2)


def _square(layer: _Layer, L: Tensor) -> Tensor:
    """Sum the product of a layer and itself, (a b, a b)."""
    S, A, dS, dA = layer
    n = len(dS)
    a, b = S.shape[-1], A.shape[1]
    if _is_diagonal(layer):
        G = L.T @ L
        moved, still = (dS.transpose(1, 2) @ dS) * G, _still(S, L)
        both = (dS.transpose(1, 2) @ dA).reshape(n, a * b)
        left = ((A[:, :, None] * S[:, None]).reshape(n, b * a).T @ both).view(b, a, a, b)
        left = left.permute(2, 0, 1, 3) * G[:, None, :, None]
    else:
        rows = dS.reshape(n, -1, a)
        moved, still = (X.transpose(1, 2) @ X for X in (rows, S))
        left = (A.T @ _crossed(dS, S, dA)).view(b, a, a, b).transpose(0, 1)
    total = _pairs(moved, still, layer, layer) + left
    return (total + left.permute(2, 3, 0, 1)).reshape(a * b, a * b)


def _product(one: _Layer, other: _Layer, L: Tensor) -> Tensor:
    """Sum the product of two layers (see the module's text), (a b, c d)."""
    S, A, dS, dA = one
    T, B, dT, dB = other
    n = len(dS)
    a, b, c, d = S.shape[2], A.shape[1], T.shape[2], B.shape[1]
    moved = dS.reshape(n, -1, a).transpose(1, 2) @ dT.reshape(n, -1, c)
    still = S.transpose(1, 2) @ T
    total = _pairs(moved, still, one, other)
    left = (A.T @ _crossed(dS, T, dB)).view(b, a, c, d)
    right = (B.T @ _crossed(dT, S, dA)).view(d, c, a, b)
    total = total + left.transpose(0, 1) + right.permute(2, 3, 1, 0)
    return total.reshape(a * b, c * d)


def _diagonal_product(one: _Layer, other: _Layer, L: Tensor) -> Tensor:
    """Sum the product of a diagonal layer and another one, (a b, c d)."""
    S, A, dS, dA = one
    T, B, dT, dB = other
    n, r, m, c = dT.shape
    a, b, d = S.shape[1], A.shape[1], B.shape[1]
    GT, GdT = L.T @ T, L.T @ dT
    moved = (dS[..., None] * GdT).sum(dim=1)
    total = _pairs(moved, S[:, :, None] * GT, one, other)
    both = dS.transpose(1, 2) @ dB
    left = (A.T @ (GT[..., None] * both[:, :, None]).reshape(n, -1)).view(b, a, c, d)
    crossed = (GdT.reshape(n, r, a * c).transpose(1, 2) @ dA).view(n, a, c * b)
    right = (B.T @ (crossed * S[:, :, None]).reshape(n, -1)).view(d, a, c, b)
    total = total + left.transpose(0, 1) + right.permute(1, 3, 2, 0)
    return total.reshape(a * b, c * d)


def _pairs(moved: Tensor, still: Tensor, one: _Layer, other: _Layer) -> Tensor:
    """Sum the products with both A, and with both dA, (a, b, c, d).

    Args:
        moved: The sums of dS^T dT over the directions, (n, a, c).
        still: S^T T, (n, a, c).
        one: A layer.
        other: Another.
    """
    (_, A, _, dA), (_, B, _, dB) = one, other
    n, a, c = moved.shape
    b, d = A.shape[1], B.shape[1]
    inputs = torch.cat([A[:, :, None] * B[:, None], dA.transpose(1, 2) @ dB])
    sums = torch.cat([moved, still]).reshape(2 * n, a * c).T @ inputs.reshape(2 * n, b * d)
    return sums.view(a, c, b, d).transpose(1, 2)


def _crossed(dS: Tensor, T: Tensor, dB: Tensor) -> Tensor:
    """Sum dS_k^T T dB_k over the directions of each sample, (n, a c d)."""
    n, r, m, a = dS.shape
    c = T.shape[2]
    both = (dS.permute(0, 1, 3, 2).reshape(n, r * a, m) @ T).view(n, r, a * c)
    return (both.transpose(1, 2) @ dB).flatten(1)


def _mixed(one: _Layer, D: Tensor, L: Tensor) -> Tensor:
    """Sum the product of a layer and the other parameters, (a b, q)."""
    S, A, dS, dA = one
    n, r, m, q = D.shape
    a, b = S.shape[-1], A.shape[1]
    if q == 0:
        return D.new_empty((a * b, 0))
    if _is_diagonal(one):
        S, dS = L * S[:, None], L * dS[:, :, None]
    first = A.T @ (dS.reshape(n, r * m, a).transpose(1, 2) @ D.reshape(n, r * m, q)).flatten(1)
    by_sample = S.transpose(1, 2) @ D.transpose(1, 2).reshape(n, m, r * q)
    by_row = by_sample.view(n, a, r, q).transpose(1, 2).reshape(n * r, a * q)
    second = dA.reshape(n * r, b).T @ by_row
    return (first + second).view(b, a, q).transpose(0, 1).reshape(a * b, q)
