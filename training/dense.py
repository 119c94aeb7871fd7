r"""The exact Gauss-Newton matrix of the reduced problem, from the orthogonal split.

With dF the derivative of the features, divided by sqrt(N), and the inner problem's A = U S V^T,
the two parts of the reduced residual's derivative (see `varpro`),

    (I - U U^T) dF W^T   and   -U S^-1 V^T dF^T R,

are orthogonal, so that J^T J is the sum of their Gram matrices. Each is made small first. With
W = Q L (QR), the first is that of dF L^T, width columns for n_out, less the low-rank Gram matrix of
U^T dF L^T: no projection is formed. With S^-1 V^T = P M (QR), the second is that of M dF^T R, width
rows for width + 1. For any other loss the matrix is a sum of the same form (see `newton`).

dF comes as `Sensitivities`: for the first layer, with most of the parameters where there are many
inputs, as derivatives S with respect to what it gives, and A, what it takes. Gram matrices of the
products S A are made of those of S, sample by sample, and of A.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, jacrev, vmap
from torch.nn.utils import vector_to_parameters

from surrogates.networks import Sensitivities

from .features import Features
from .varpro import Inner, first_columns

BYTES = 2**27
"""What the arrays of one chunk of samples may take, about."""


class Structure:
    """Derivatives of a module's features with respect to its parameters, sample by sample.

    A module that has `AntisymmetricODE`'s methods ``sensitivities``, ``coordinates`` and
    ``parameters_at`` is asked; of any other, torch.func finds out, and coordinates are the
    parameters. Features of one sample must not depend on the others (no batch normalisation).
    """

    def __init__(self, features: Features) -> None:
        """Look for the module's own methods."""
        self._Y = features.Y
        self._module: Any = copy.deepcopy(features.module)
        self._own = hasattr(self._module, "sensitivities")
        # glibc's malloc asks the system anew for blocks as large as those of a chunk, and a fifth
        # of the time goes to page faults, until a block of nearly 32 MiB has been freed: then it
        # keeps twice as much (mallopt(3), M_MMAP_THRESHOLD).
        torch.empty(2**25 - 2**16, dtype=torch.uint8)

    def coordinates(self, theta: Tensor) -> Tensor:
        """Turn parameters, or their gradient, into coordinates."""
        return self._module.coordinates(theta) if self._own else theta

    def parameters_at(self, z: Tensor) -> Tensor:
        """Turn coordinates into parameters."""
        return self._module.parameters_at(z) if self._own else z

    def chunks(self, theta: Tensor, width: int) -> Iterator[tuple[slice, Sensitivities]]:
        """Differentiate at theta, some samples at a time."""
        vector_to_parameters(theta.to(self._Y), self._module.parameters())
        n = max(1, BYTES // (4 * 8 * width * len(theta)))
        with torch.no_grad():
            for start in range(0, len(self._Y), n):
                Y = self._Y[start : start + n]
                one = self._module.sensitivities(Y) if self._own else self._by_torch(Y)
                yield slice(start, start + len(Y)), one

    def _by_torch(self, Y: Tensor) -> Sensitivities:
        parameters = dict(self._module.named_parameters())

        def features(parameters: dict[str, Tensor], y: Tensor) -> Tensor:
            F: Tensor = functional_call(self._module, parameters, (y[None],))
            return F[0]

        jacobians = vmap(jacrev(features), in_dims=(None, 0))(parameters, Y)
        F = self._module(Y)
        return Sensitivities(
            F=F,
            S=F.new_empty((*F.shape, 0)),
            A=F.new_empty((len(F), 0)),
            D=torch.cat([block.flatten(2) for block in jacobians.values()], dim=2),
        )


def gauss_newton_matrix(structure: Structure, theta: Tensor, inner: Inner) -> Tensor:
    """Compute J^T J at theta in the structure's coordinates, (p, p)."""
    width = inner.shape[1]
    total: list[Tensor] = []
    for rows, one in structure.chunks(theta, width):
        A = one.A
        L, pairs = inner.outer_terms(rows)
        L = first_columns(L, one.D.shape[1])
        S, D = L.to(A) @ one.S, L.to(A) @ one.D
        (n, r, a), b, q = S.shape, A.shape[1], D.shape[2]
        i, j = torch.tril_indices(a, a, device=A.device)
        SS = (S.transpose(1, 2) @ S)[:, i, j]
        sums = [
            A.T @ (A[:, :, None] * SS[:, None]).reshape(n, b * len(i)),
            A.T @ (S.transpose(1, 2) @ D).reshape(n, a * q),
            _gram(D.reshape(n * r, q)),
        ]
        for p, N in pairs:
            S, D = (X if N is None else N[..., : X.shape[1]].to(A) @ X for X in (one.S, one.D))
            k, m = p.shape[1], S.shape[1]
            SA = S[..., None] * A[:, None, None]
            for X, size in ((SA, a * b), (D, q)):
                sums.append((p.to(A).T @ X.reshape(n, m * size)).view(k, m, size))
        total = total or [torch.zeros_like(x, dtype=torch.float64) for x in sums]
        for x, y in zip(total, sums, strict=True):
            x.add_(y)
    first, mixed, others, *products = inner.over.total(*total)

    H = others.new_empty((a * b + q, a * b + q))
    blocks = first.new_empty((a, b, a, b))
    blocks[i, :, j] = first.view(b, b, len(i)).permute(2, 0, 1)
    blocks[j, :, i] = blocks[i, :, j].transpose(1, 2)
    H[: a * b, : a * b] = blocks.view(a * b, a * b)
    H[: a * b, a * b :] = mixed.view(b, a, q).transpose(0, 1).reshape(a * b, q)
    H[a * b :, : a * b] = H[: a * b, a * b :].T
    H[a * b :, a * b :] = others
    plus, minus = inner.corrections(torch.cat(products[:2], dim=2), torch.cat(products[2:], dim=2))
    H += _gram(plus)
    H -= _gram(minus)
    return H


def flops(theta: int, n_in: int, n_samples: int, width: int, n_out: int) -> float:
    """Estimate the operations of `gauss_newton_matrix` and three factorisations.

    Args:
        theta: Number of parameters.
        n_in: Number of inputs; their weights are not formed.
        n_samples: Number of training samples.
        width: Number of features.
        n_out: Number of outputs that training sees.
    """
    first = min(theta, width * (n_in + 1))
    others = theta - first
    r = min(width, n_out)
    sums = n_samples * (first**2 + 2 * first * others + r * others**2)
    return sums + 2 * n_samples * width * n_out * theta + n_out * width * theta**2 + theta**3


def _gram(M: Tensor) -> Tensor:
    """Multiply M^T M; numpy sees that it is symmetric, and does half the work."""
    if M.device.type != "cpu":
        return M.T @ M
    return torch.from_numpy(M.numpy().T @ M.numpy())
