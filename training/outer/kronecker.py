r"""Quasi-Newton steps that start from a Gauss-Newton matrix in Kronecker products.

The exact Gauss-Newton matrix of thousands of parameters costs too much. A Krylov space costs 2 work
units a vector, and leaves out the features' second derivative, which matters if residuals stay
large, as for classes. Here the matrix is approximated once in ten iterations, for 2 work units.
L-BFGS takes it as its initial matrix, and corrects it by the gradients. This is a structured secant
method (Dennis, Gay and Welsch 1981, "An adaptive nonlinear least-squares algorithm") with a limited
memory: the last secant equation holds for any initial matrix.

The outputs' curvature is W^T D_i W / N = L_i^T L_i, with D_i the second derivative of the loss. For
random signs xi_i, the gradients t_i of (L_i^T xi_i)^T F(y_i; theta) have the second moment

    sum_i E[t_i t_i^T] = sum_i dF_i^T L_i^T L_i dF_i,

which is the Gauss-Newton matrix at fixed W, for one backward pass (Martens and Grosse 2015,
"Optimizing neural networks with Kronecker-factored approximate curvature"). Each parameter has a
block of it. For a parameter of k dimensions, the block is approximated by

    M_1 (x) ... (x) M_k / trace^(k-1),    M_j = sum_i T_ij T_ij^T,

with T_ij the parameter's part of t_i, unfolded along dimension j (Gupta, Koren and Singer 2018,
"Shampoo: preconditioned stochastic tensor optimization"), and the block's trace. The block of a
vector is exact. The block of a linear layer is exact if its inputs and the gradients by its outputs
are independent. A network need only be differentiable by torch.func.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from ..features import Features
from ..known import least
from .gauss_newton import Memory, ReducedPoint, ReducedProblem
from .lbfgs import LBFGS, Initial

SAMPLES = 1024
"""The matrix is made from about as many samples, evenly spread."""
DAMPING = 0.1
"""The matrix is shifted by this multiple of its mean eigenvalue."""
PERIOD = 10
"""Iterations between two matrices."""

_BYTES = 2**26  # of the gradients of one chunk of samples, about
_LARGEST = 2048  # a longer dimension has a multiple of the unit matrix as its factor


class Block(NamedTuple):
    """A parameter's block, by the eigenvectors and eigenvalues of its factors.

    Attributes:
        shape: Shape of the parameter.
        bases: Eigenvectors for each dimension, (size, size); None for the unit matrix.
        values: Eigenvalues for each dimension, (size,).
    """

    shape: torch.Size
    bases: tuple[Tensor | None, ...]
    values: tuple[Tensor, ...]


class KroneckerMatrix(Initial):
    """The Gauss-Newton matrix in Kronecker products, shifted.

    Attributes:
        blocks: The blocks of the parameters, in the order of theta.
        shift: Added to all eigenvalues, > 0.
    """

    def __init__(self, blocks: Sequence[Block], shift: float) -> None:
        """Multiply the eigenvalues."""
        self.blocks, self.shift = tuple(blocks), shift
        self._sizes = [block.shape.numel() for block in blocks]
        self._values = []
        for shape, _, values in blocks:
            total = torch.full(shape, 1.0, dtype=torch.float64, device=values[0].device)
            for j, own in enumerate(values):
                total = total * own.view([-1 if i == j else 1 for i in range(len(shape))])
            self._values.append(total + shift)

    @classmethod
    def of(cls, problem: ReducedProblem, here: ReducedPoint, seed: int = 0) -> KroneckerMatrix:
        """Approximate the Gauss-Newton matrix of Phi_red, with the penalty's mean, at a point.

        Args:
            problem: The problem.
            here: The point.
            seed: Seed of the random signs.
        """
        shapes = problem.features.shapes
        factors, traces = _moments(problem, here, seed)
        blocks = [
            _decomposed(shape, block, trace)
            for shape, block, trace in zip(shapes, factors, traces, strict=True)
        ]
        shift = problem.penalty.mean + DAMPING * float(traces.sum()) / len(here.theta)
        return cls(blocks, shift or 1.0)

    @classmethod
    def remembered(cls, problem: ReducedProblem, memory: Memory) -> KroneckerMatrix:
        """Read the matrix that `memory` wrote."""
        blocks = [
            Block(
                shape,
                tuple(memory.get(f"basis.{i}.{j}") for j in range(len(shape))),
                tuple(memory[f"values.{i}.{j}"] for j in range(len(shape))),
            )
            for i, shape in enumerate(problem.features.shapes)
        ]
        return cls(blocks, float(memory["shift"]))

    def memory(self) -> Memory:
        """Write the matrix as tensors."""
        kept = {"shift": torch.tensor(self.shift, dtype=torch.float64)}
        for i, block in enumerate(self.blocks):
            for j, (basis, values) in enumerate(zip(block.bases, block.values, strict=True)):
                kept[f"values.{i}.{j}"] = values
                if basis is not None:
                    kept[f"basis.{i}.{j}"] = basis
        return kept

    def __matmul__(self, v: Tensor) -> Tensor:
        """Multiply by a vector (n_theta,)."""
        return self._scaled(v, self._values)

    def solve(self, v: Tensor) -> Tensor:
        """Multiply the inverse by a vector (n_theta,)."""
        return self._scaled(v, [values.reciprocal() for values in self._values])

    def _scaled(self, v: Tensor, scales: Sequence[Tensor]) -> Tensor:
        pieces = torch.split_with_sizes(v, self._sizes)
        results = []
        for piece, block, scale in zip(pieces, self.blocks, scales, strict=True):
            T = piece.view(block.shape)
            T = _turned(T, [basis if basis is None else basis.T for basis in block.bases])
            results.append(_turned(T * scale, block.bases).reshape(-1))
        return torch.cat(results)


@dataclass(frozen=True, kw_only=True)
class Kronecker(LBFGS):
    """GNvpro by L-BFGS that starts from the Gauss-Newton matrix in Kronecker products.

    A new matrix costs 2 work units, a forward and a backward pass, like the gradient. The first
    step is no longer than the radius. All else is `LBFGS`.

    Attributes:
        period: Iterations between two matrices.
    """

    period: int = PERIOD

    def least(self, width: int) -> int:
        """Return the work units of a level's first iteration: its start, the matrix, and a step."""
        return least("gnvpro", "kronecker", width)

    def initial(
        self, problem: ReducedProblem, here: ReducedPoint, memory: Memory, budget: int
    ) -> tuple[Initial, Memory, int]:
        """Return the matrix, made anew if the period is over and the budget allows a step too."""
        count = int(memory.get("count", torch.tensor(0)))
        due = count % self.period == 0 and (count == 0 or budget >= 4)
        if due:
            matrix = KroneckerMatrix.of(problem, here, seed=count)
        else:
            matrix = KroneckerMatrix.remembered(problem, memory)
        kept = {**matrix.memory(), "count": torch.tensor(count + 1)}
        return matrix, kept, 2 if due else 0


def _decomposed(shape: torch.Size, factors: Sequence[Tensor | None], trace: Tensor) -> Block:
    """Decompose a block's factors over the trace; multiply the first eigenvalues by it."""
    bases: list[Tensor | None] = []
    values: list[Tensor] = []
    scale = trace
    for size, M in zip(shape, factors, strict=True):
        if M is None or not float(trace) > 0:
            bases.append(None)
            values.append((scale / size).repeat(size))
        else:
            own, vectors = torch.linalg.eigh(M / trace)
            bases.append(vectors)
            values.append(scale * own.clamp(min=0))
        scale = torch.ones_like(trace)
    return Block(shape, tuple(bases), tuple(values))


def _turned(T: Tensor, bases: Sequence[Tensor | None]) -> Tensor:
    """Multiply a tensor by a matrix along each dimension."""
    for j, basis in enumerate(bases):
        if basis is not None:
            T = torch.tensordot(basis, T, dims=([1], [j])).movedim(0, j)
    return T


def _moments(
    problem: ReducedProblem, here: ReducedPoint, seed: int
) -> tuple[list[list[Tensor | None]], Tensor]:
    """Return the factors of each parameter, None for a long dimension, and the blocks' traces."""
    features, comm = problem.features, problem.features.comm
    drawn = [_cotangents(here, features.n_samples, seed)]
    if features.directions is not None:
        drawn.append(_cotangents_along(here, features, seed))
    cotangents = drawn[0][1]
    sums = [
        [cotangents.new_zeros((size, size)) for size in shape if size <= _LARGEST]
        for shape in features.shapes
    ]
    traces = cotangents.new_zeros(len(sums))

    parameters = features.parameters(here.theta)
    chunk = max(1, _BYTES // (8 * features.n_theta))
    pieces = [
        piece
        for rows, t in drawn
        for piece in zip(torch.split(rows, chunk), torch.split(t, chunk), strict=True)
    ]
    for some, t in pieces:
        # Each sample has its own copy of the parameters: one backward pass gives all gradients.
        # torch.func.grad would import torch's compiler, which takes a second or two.
        own = {
            name: value.expand(len(some), *value.shape).requires_grad_()
            for name, value in parameters.items()
        }
        projected = (_each(features, own, some) * t.to(features.Y)).sum()
        found = torch.autograd.grad(projected, list(own.values()), materialize_grads=True)
        for i, T in enumerate(T.double() for T in found):
            traces[i] += T.square().sum()
            sizes = [j for j, size in enumerate(T.shape[1:]) if size <= _LARGEST]
            for M, j in zip(sums[i], sizes, strict=True):
                unfolded = T.movedim(j + 1, 0).reshape(len(M), -1)
                M.addmm_(unfolded, unfolded.T)
    *flat, traces = comm.total(*(M for block in sums for M in block), traces)
    in_order = iter(flat)
    factors = [
        [next(in_order) if size <= _LARGEST else None for size in shape]
        for shape in features.shapes
    ]
    return factors, traces


def _each(features: Features, own: dict[str, Tensor], rows: Tensor) -> Tensor:
    """Return features of some rows, of samples or of directions, each with its own parameters."""
    n = len(features.Y)
    if features.directions is None or not len(rows) or int(rows[0]) < n:

        def feature(parameters: dict[str, Tensor], y: Tensor) -> Tensor:
            F: Tensor = functional_call(features.module, parameters, (y[None],))
            return F[0]

        return vmap(feature)(own, features.Y[rows])
    V = features.directions.V
    own = {f"module.{name}": value for name, value in own.items()}

    def along(parameters: dict[str, Tensor], y: Tensor, v: Tensor) -> Tensor:
        F: Tensor = functional_call(features.tangents, parameters, (y[None], v[None, None]))
        return F[0, 0]

    sample, k = (rows - n) // V.shape[1], (rows - n) % V.shape[1]
    Y = features.Y[features.directions.samples[sample]]
    return vmap(along)(own, Y, V[sample, k])


def _cotangents_along(here: ReducedPoint, features: Features, seed: int) -> tuple[Tensor, Tensor]:
    """Draw L_i^T xi_i for some rows of directions of this process, weighted to stand for all.

    Rows are drawn: evenly spread ones could be those of a few directions. As in `_cotangents`, rows
    and signs do not depend on the number of processes.
    """
    comm, own = here.inner.comm, features.directions
    assert own is not None
    r = own.V.shape[1]
    generator = torch.Generator().manual_seed(seed + 1)
    n_slots = features.n_samples * r  # a sample without directions has slots too
    total = comm.count(own.n_rows)
    kept = torch.rand(n_slots, generator=generator) * total < SAMPLES
    width = here.inner.outer_terms(slice(0, 0))[0].shape[-2]
    signs = 2.0 * torch.randint(2, (n_slots, width), generator=generator) - 1.0
    mine = torch.arange(features.n_samples)[comm.share()][own.samples.cpu()]
    slots = (r * mine[:, None] + torch.arange(r)).reshape(-1)
    chosen = torch.nonzero(kept[slots])[:, 0]
    rows = len(features.Y) + chosen.to(comm.device)
    L = _signed(here.inner.outer_terms(rows)[0])
    weight = math.sqrt(total / max(1, comm.count(len(chosen))))
    return rows, weight * signs[slots[chosen]].to(L) @ L


def _signed(L: Tensor) -> Tensor:
    """Return a triangular factor with rows of such signs that its diagonal is not negative."""
    return torch.where(L.diagonal() < 0, -1.0, 1.0).to(L)[:, None] * L


def _cotangents(here: ReducedPoint, n_samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw L_i^T xi_i for evenly spread samples of this process, weighted to stand for all.

    A sample's signs do not depend on the number of processes. An L of all samples is triangular up
    to the signs of its rows; with a non-negative diagonal, it is the same for rotated outputs.
    """
    comm = here.inner.comm
    stride = -(-n_samples // SAMPLES)
    mine = torch.arange(n_samples)[comm.share()]
    rows = torch.nonzero(mine % stride == 0)[:, 0]
    L = here.inner.outer_terms(rows.to(comm.device))[0]
    if L.ndim == 2:
        L = _signed(L)
    L = L.expand(len(rows), *L.shape[-2:])
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(2, (n_samples, L.shape[1]), generator=generator)[mine[rows]]
    weight = math.sqrt(n_samples / -(-n_samples // stride))
    xi = weight * (2.0 * signs - 1.0).to(L)
    return rows.to(comm.device), (xi[:, None] @ L)[:, 0]
