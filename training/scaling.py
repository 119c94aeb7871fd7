r"""How the targets are scaled before training sees them, and back.

    seen = ((c - shift) / scale) basis

Each output is centred by its mean over the training samples and divided by a scale, so that the
regularisation means the same in every unit. Least squares weighs outputs by these scales: an output
that is divided by a common one, and is small, is not learned at all. The scale is the standard
deviation of the output itself, or, for outputs that share a unit and are therefore comparable, the
root mean square of theirs (`groups_of`).

An output that does not vary costs nothing and is predicted exactly: it is not seen. Where the
outputs' singular values fall below rounding, training sees their leading right singular vectors:
the problem is the same, and smaller.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from surrogates.config import check, unknown

from .communicator import ALONE, Communicator
from .features import CHUNK
from .known import WAYS

_UNKNOWN_UNITS = ("", "1", "?", "-", "unknown")
_ROUNDING = 1e-13  # an output of less relative spread is constant
_NEGLIGIBLE = 1e-9  # singular values of scaled outputs, relative to the largest
_ZERO = 1e-15  # of the outputs' means, below which a sample is zero


def groups_of(way: str, units: Sequence[str]) -> Tensor:
    """Return the groups of outputs that share a scale.

    Args:
        way: One of `known.WAYS`. Dimensionless outputs, and those whose unit is not known, share
            none with ``unit``: nothing says that they can be compared.
        units: Of the outputs.

    Returns:
        Outputs of one number share a scale, (n_out,) int64.
    """
    check(way in WAYS, unknown(f"outputs.scaling {way!r}", way, WAYS))
    if way == "common":
        return torch.zeros(len(units), dtype=torch.int64)
    numbers: dict[str, int] = {}
    groups = []
    for j, unit in enumerate(units):
        alone = way == "column" or unit.strip() in _UNKNOWN_UNITS
        groups.append(numbers.setdefault(f"{j}" if alone else f"[{unit.strip()}]", len(numbers)))
    return torch.tensor(groups)


def weights_of(texts: Sequence[str], names: Sequence[str]) -> Tensor | None:
    """Read weights of outputs, given as ``name=number``.

    Returns:
        (n_out,) float64, ones where none is given; None if there are none at all.

    Raises:
        InputError: If a name is not one of the outputs', or a number is not positive.
    """
    weights = torch.ones(len(names), dtype=torch.float64)
    for text in texts:
        name, equals, number = text.rpartition("=")
        check(bool(equals), f"cannot read the weight {text!r}; write name=2")
        check(name in names, unknown(f"observable {name!r} in outputs.weights", name, names))
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        check(0 < weight <= 1e12, f"the weight of {name} must be positive; got {number!r}")
        weights[list(names).index(name)] = weight
    return weights if texts else None


def moments(X: Tensor, comm: Communicator = ALONE) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, standard deviation and largest size of each column, (n_columns,) each.

    Squares are those of the columns over their largest deviation: they neither overflow nor vanish
    at 1e-200.
    """
    n = comm.count(len(X))
    low, high = comm.stacked(torch.stack(torch.aminmax(X, dim=0))).view(-1, 2, X.shape[1]).unbind(1)
    low, high = low.amin(dim=0), high.amax(dim=0)
    size = torch.maximum(low.abs(), high.abs())
    unit = torch.where(size > 0, size, 1.0)

    def mean(values: Tensor) -> Tensor:
        sums = torch.stack([piece.sum(dim=0) for piece in torch.split(values, CHUNK)]).sum(dim=0)
        return comm.total(sums)[0] / n

    shift = torch.clamp(mean(X / unit) * unit, low, high)
    reach = torch.maximum(high - shift, shift - low)
    reach = torch.where(reach > 0, reach, 1.0)
    squares = [((piece - shift) / reach).square().sum(dim=0) for piece in torch.split(X, CHUNK)]
    spread = (comm.total(torch.stack(squares).sum(dim=0))[0] / n).sqrt() * reach
    return shift, spread, size


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """The scaling of targets (see the module's text).

    Attributes:
        shift: Subtracted from c, (n_out,), units of c.
        scale: Divides c after that, (n_out,), units of c, > 0.
        over_spread: Turns an error in units of ``scale`` into one over the output's own standard
            deviation on the training samples (of a constant output over its size), (n_out,).
        basis: What training sees of the scaled outputs, orthonormal, (n_out, n_seen); None for all.
    """

    shift: Tensor
    scale: Tensor
    over_spread: Tensor
    basis: Tensor | None

    @classmethod
    def of(
        cls,
        C: Tensor,
        groups: Tensor | None = None,
        weights: Tensor | None = None,
        comm: Communicator = ALONE,
    ) -> Scaling:
        """Find the scaling of training targets, (n, n_out) of this process.

        Args:
            C: Targets.
            groups: As `groups_of` returns them; each output has its own scale if None.
            weights: What the scaled outputs are multiplied by, (n_out,), > 0; ones if None.
            comm: The processes.

        Raises:
            InputError: If the targets are too large for their spread to be a number.
        """
        shift, spread, size = moments(C, comm)
        check(bool(torch.isfinite(spread).all()), "the training observables are too large")
        varies = spread > _ROUNDING * size
        own = torch.where(varies, spread, torch.where(size > 0, size, 1.0))
        scale = own.clone()
        if groups is not None:
            groups = groups.to(C.device)
            for group in sorted(set(groups[varies].tolist())):
                members = (groups == group) & varies
                largest = spread[members].max()
                mean = (spread[members] / largest).square().mean().sqrt() * largest
                scale[members] = mean
        if weights is not None:
            scale = scale / weights.to(C)
        rough = cls(shift=shift, scale=scale, over_spread=scale / own, basis=None)
        basis = _basis(C, rough, varies, comm)
        return cls(shift=shift, scale=scale, over_spread=scale / own, basis=basis)

    def apply(self, C: Tensor) -> tuple[Tensor, Tensor | None]:
        """Scale targets in place; return those that are seen, and all where these are others."""
        C = C.sub_(self.shift).div_(self.scale)
        if self.basis is None:
            return C, None
        seen = C.new_empty((len(C), self.basis.shape[1]))
        for piece, chunk in zip(torch.split(seen, CHUNK), torch.split(C, CHUNK), strict=True):
            torch.mm(chunk, self.basis, out=piece)
        return seen, C

    def seen_to_all(self, outputs: Tensor) -> Tensor:
        """Turn outputs that are seen into all scaled ones, (n, n_out), in new memory."""
        return outputs.clone() if self.basis is None else outputs @ self.basis.T

    def physical(self, W: Tensor) -> Tensor:
        """Turn linear weights for what training sees into those for c in its own units."""
        W = self.scale[:, None] * (W if self.basis is None else self.basis @ W)
        W[:, -1] += self.shift
        return W

    def seen(self, W: Tensor) -> Tensor:
        """Turn linear weights for c in its own units into those for what training sees of it.

        What they predict outside of the basis is lost.
        """
        W = W.to(self.scale, copy=True)
        W[:, -1] -= self.shift
        W /= self.scale[:, None]
        return W if self.basis is None else self.basis.T @ W

    def relative_errors(self, residual: Tensor, scaled: Tensor) -> Tensor:
        """Return ||residual|| / ||c|| in units of c, (n,), of scaled residuals and targets.

        Infinite for c = 0, which scaling and back turns into rounding. The relative errors of
        `surrogates.model.metrics` are those of predictions: to add c to the residual, so that they
        can take it off again, would cost its last digits.
        """
        unit = torch.maximum(self.scale.max(), self.shift.abs().max())
        scale, shift = self.scale / unit, self.shift / unit
        size = torch.linalg.vector_norm(scaled * scale + shift, dim=1)
        size = torch.where(size > _ZERO * torch.linalg.vector_norm(shift), size, 0.0)
        error: Tensor = torch.linalg.vector_norm(residual * scale, dim=1) / size
        return error


def _basis(C: Tensor, scaling: Scaling, varies: Tensor, comm: Communicator) -> Tensor | None:
    """Return the leading right singular vectors of the scaled targets, if these are fewer by far.

    Otherwise the outputs that vary, if not all do.
    """
    n_out = len(varies)
    R = C.new_zeros((0, n_out))
    for chunk in torch.split(C, CHUNK):
        scaled = (chunk - scaling.shift) / scaling.scale
        R = torch.linalg.qr(torch.cat([R, torch.where(varies, scaled, 0.0)]), mode="r").R
    if comm.size > 1:  # all processes must give as many rows
        R = torch.cat([R, R.new_zeros((n_out - len(R), n_out))])
    _, s, Vh = torch.linalg.svd(comm.stacked(R), full_matrices=False)
    rank = max(1, int((s > _NEGLIGIBLE * s[0]).sum()))
    if rank < 0.8 * int(varies.sum()):
        # Exactly zero for an output that does not vary: rounding must not move its constant.
        leading: Tensor = torch.where(varies[:, None], Vh[:rank].T, 0.0)
        return leading
    if bool(varies.all()):
        return None
    eye = torch.eye(n_out, dtype=C.dtype, device=C.device)
    return eye[:, varies] if bool(varies.any()) else eye[:, :1]
