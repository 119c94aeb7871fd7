r"""The exact Gauss-Newton matrix of the reduced problem, from the orthogonal split.

With dF the derivative of the features, divided by sqrt(N), and the inner problem's A = U S V^T,
the two parts of the reduced residual's derivative (see `varpro`),

    (I - U U^T) dF W^T   and   -U S^-1 V^T dF^T R,

are orthogonal, so that J^T J is the sum of their Gram matrices. Both parts are made small first.
With W = Q L (QR), the first Gram matrix is that of dF L^T, with width instead of n_out columns,
less the low-rank Gram matrix of U^T dF L^T: no projection is formed. With S^-1 V^T = P M (QR), the
second Gram matrix is that of M dF^T R, with width instead of width + 1 rows. For any other loss the
matrix is a sum of the same form (see `newton`).

dF comes as `Sensitivities`. For a layer that each sample passes once, dF is the product of S, the
derivatives with respect to the layer's outputs, and A, the layer's inputs. The Gram matrix of two
such products needs only S^T S, sample by sample, and A. If the derivatives were formed, each of
these operations would be repeated for every feature.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, jacrev, jvp, vmap
from torch.nn.utils import vector_to_parameters

from surrogates.model.networks import Sensitivities, SensitivitiesAlong

from ..features import Features
from ..inner.solution import Inner
from ..inner.varpro import first_columns
from .along import gram, products_along, squares_along

BYTES = 2**27
"""Bytes that the arrays of one chunk of samples may take, about."""

_STAGES = 16  # arrays of (width, width) that each direction of a sample takes, about


class Structure:
    """Derivatives of a module's features with respect to its parameters, sample by sample.

    A module that has `AntisymmetricODE`'s methods ``sensitivities``, ``coordinates`` and
    ``parameters_at`` computes them; any other is differentiated by torch.func, and its coordinates
    are the parameters. Features of one sample must not depend on the others (no batch
    normalisation).

    Attributes:
        others: Number of coordinates that belong to no layer in `Sensitivities`.
    """

    def __init__(self, features: Features) -> None:
        """Look for the module's own methods."""
        self._Y = features.Y
        self._width = features.trained
        module: Any = copy.deepcopy(features.module)
        self._module = module
        self._directions = features.directions
        needed = "sensitivities" if features.directions is None else "sensitivities_along"
        self._own = hasattr(module, "sensitivities") and hasattr(module, needed)
        self.others = features.n_theta
        if self._own:
            with torch.no_grad():
                self.others = module.sensitivities(torch.zeros_like(self._Y[:1])).D.shape[2]
        # glibc's malloc maps each block of a chunk's size anew, and page faults take a fifth of the
        # time, until a block of nearly 32 MiB has been freed: then malloc keeps twice as much
        # (mallopt(3), M_MMAP_THRESHOLD).
        torch.empty(2**25 - 2**16, dtype=torch.uint8)

    def coordinates(self, theta: Tensor) -> Tensor:
        """Turn parameters, or their gradient, into coordinates."""
        return self._module.coordinates(theta) if self._own else theta

    def parameters_at(self, z: Tensor) -> Tensor:
        """Turn coordinates into parameters."""
        return self._module.parameters_at(z) if self._own else z

    def chunks(self, theta: Tensor) -> Iterator[tuple[slice, Sensitivities]]:
        """Differentiate at theta, some samples at a time."""
        vector_to_parameters(theta.to(self._Y), self._module.parameters())
        formed = self._width * (len(theta) + 3 * self.others)
        n = max(1, BYTES // (8 * formed))
        with torch.no_grad():
            for start in range(0, len(self._Y), n):
                Y = self._Y[start : start + n]
                one = self._module.sensitivities(Y) if self._own else self._by_torch(Y)
                yield slice(start, start + len(Y)), one

    def chunks_along(self, theta: Tensor) -> Iterator[tuple[slice, SensitivitiesAlong]]:
        """Differentiate along the directions at theta, the rows of some samples at a time."""
        if self._directions is None:
            return
        samples, V = self._directions.samples, self._directions.V
        vector_to_parameters(theta.to(self._Y), self._module.parameters())
        r, first = V.shape[1], len(self._Y)
        kept = min(r, self._width) if self._own else r  # rows, see `SensitivitiesAlong`
        formed = kept * self._width * (_STAGES * self._width + 3 * self.others)
        formed += self._width**2 * self._Y.shape[1]
        n = max(1, BYTES // (8 * formed))
        with torch.no_grad():
            for start in range(0, len(samples), n):
                Y, some = self._Y[samples[start : start + n]], V[start : start + n]
                own = self._own
                one = self._module.sensitivities_along(Y, some) if own else self._along(Y, some)
                rows = slice(first + start * r, first + (start + len(Y)) * r)
                yield rows, one

    def _along(self, Y: Tensor, V: Tensor) -> SensitivitiesAlong:
        """Differentiate by torch: with respect to the parameters, then along the directions."""
        parameters = dict(self._module.named_parameters())

        def features(parameters: dict[str, Tensor], y: Tensor, v: Tensor) -> Tensor:
            def of(y: Tensor) -> Tensor:
                F: Tensor = functional_call(self._module, parameters, (y[None],))
                return F[0]

            tangent: Tensor = jvp(of, (y,), (v,))[1]
            return tangent

        each = vmap(vmap(jacrev(features), in_dims=(None, None, 0)), in_dims=(None, 0, 0))
        blocks = each(parameters, Y, V).values()
        return SensitivitiesAlong(
            layers=(), D=torch.cat([block.flatten(3) for block in blocks], dim=3)
        )

    def _by_torch(self, Y: Tensor) -> Sensitivities:
        parameters = dict(self._module.named_parameters())

        def features(parameters: dict[str, Tensor], y: Tensor) -> Tensor:
            F: Tensor = functional_call(self._module, parameters, (y[None],))
            return F[0]

        jacobians = vmap(jacrev(features), in_dims=(None, 0))(parameters, Y)
        F = self._module(Y)
        return Sensitivities(
            F=F, layers=(), D=torch.cat([block.flatten(2) for block in jacobians.values()], dim=2)
        )


def gauss_newton_matrix(structure: Structure, theta: Tensor, inner: Inner) -> Tensor:
    """Compute J^T J at theta in the structure's coordinates, (p, p)."""
    total: list[Tensor] = []
    for rows, one in structure.chunks(theta):
        L, pairs = inner.outer_terms(rows)
        sums = [_squares(one, L), *(_products(one, p, N) for p, N in pairs)]
        total = total or [torch.zeros_like(x, dtype=torch.float64) for x in sums]
        for x, y in zip(total, sums, strict=True):
            x.add_(y)
    for rows, along in structure.chunks_along(theta):
        L, pairs = inner.outer_terms(rows)
        total[0].add_(squares_along(along, L))
        together = products_along(along, torch.cat([p for p, _ in pairs], dim=1))
        sizes = [p.shape[1] for p, _ in pairs]
        for x, part in zip(total[1:], torch.split(together, sizes), strict=True):
            x.add_(part)
    H, *products = inner.comm.total(*total)
    plus, minus = inner.corrections(*products)
    H += gram(plus)
    H -= gram(minus)
    return H


def _squares(one: Sensitivities, L: Tensor) -> Tensor:
    """Sum (L dF)^T (L dF) over samples, (p, p)."""
    L = first_columns(L, one.D.shape[1]).to(one.D)
    layers = [(L @ S, A) for S, A in one.layers]
    D = L @ one.D
    n, r, q = D.shape
    starts = [0, *accumulate(S.shape[2] * A.shape[1] for S, A in layers)]
    H = D.new_empty((starts[-1] + q, starts[-1] + q))
    for k, (S, A) in enumerate(layers):
        rows = slice(starts[k], starts[k + 1])
        H[rows, rows] = _square(S, A)
        for i in range(k):
            columns = slice(starts[i], starts[i + 1])
            H[rows, columns] = _product(S, A, *layers[i])
            H[columns, rows] = H[rows, columns].T
        mixed = A.T @ (S.transpose(1, 2) @ D).flatten(1)
        H[rows, starts[-1] :] = mixed.view(A.shape[1], S.shape[2], q).transpose(0, 1).flatten(0, 1)
        H[starts[-1] :, rows] = H[rows, starts[-1] :].T
    H[starts[-1] :, starts[-1] :] = gram(D.reshape(n * r, q))
    return H


def _square(S: Tensor, A: Tensor) -> Tensor:
    """Sum (S A)^T (S A) over samples, only for pairs (i, j), i >= j, of the layer's outputs."""
    n, a, b = len(S), S.shape[2], A.shape[1]
    i, j = torch.tril_indices(a, a, device=S.device)
    SS = (S.transpose(1, 2) @ S)[:, i, j]
    found = A.T @ (A[:, :, None] * SS[:, None]).reshape(n, -1)
    blocks = S.new_empty((a, b, a, b))
    blocks[i, :, j] = found.view(b, b, len(i)).permute(2, 0, 1)
    blocks[j, :, i] = blocks[i, :, j].transpose(1, 2)
    return blocks.view(a * b, a * b)


def _product(S: Tensor, A: Tensor, T: Tensor, B: Tensor) -> Tensor:
    """Sum (S A)^T (T B) over samples."""
    n, a, b, c, d = len(S), S.shape[2], A.shape[1], T.shape[2], B.shape[1]
    ST = (S.transpose(1, 2) @ T).reshape(n, a * c)
    AB = (A[:, :, None] * B[:, None]).reshape(n, b * d)
    return (ST.T @ AB).view(a, c, b, d).transpose(1, 2).reshape(a * b, c * d)


def _products(one: Sensitivities, p: Tensor, N: Tensor | None) -> Tensor:
    """Sum p (N dF) over samples, (n_p, n_rows of N, p)."""
    p = p.to(one.D)
    n, k = p.shape
    parts = []
    for S, A in one.layers:
        X = _times(N, S)
        m, a, b = X.shape[1], X.shape[2], A.shape[1]
        pA = (p[:, :, None] * A[:, None]).reshape(n, k * b)
        parts.append((X.reshape(n, m * a).T @ pA).view(m, a, k, b).permute(2, 0, 1, 3).flatten(2))
    X = _times(N, one.D)
    parts.append((p.T @ X.flatten(1)).view(k, *X.shape[1:]))
    return torch.cat(parts, dim=2)


def _times(N: Tensor | None, X: Tensor) -> Tensor:
    return X if N is None else N[..., : X.shape[1]].to(X) @ X


def flops(
    theta: int, others: int, n_samples: int, width: int, n_out: int, directions: float = 0.0
) -> float:
    """Estimate the operations of `gauss_newton_matrix` and three factorisations.

    Args:
        theta: Number of parameters.
        others: Number of parameters that belong to no layer in `Sensitivities`.
        n_samples: Number of training samples.
        width: Number of features.
        n_out: Number of outputs that training sees.
        directions: Mean number of directions with derivatives of a sample.
    """
    layers = theta - others
    r = min(width, n_out)
    # Of a network with layers, more directions than features take as many rows as features.
    n_rows = n_samples * (1 + (min(directions, width) if layers else directions))
    # Layers take about three times the samples for any number of directions (see `along`).
    sums: float = n_samples * layers**2 * (4 if directions else 1)
    sums += n_rows * (2 * layers * others + r * others**2)
    return sums + 2 * n_rows * width * n_out * theta + n_out * width * theta**2 + theta**3
