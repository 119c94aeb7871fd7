r"""The scaling of the targets for training, and back.

    seen = ((c - shift) / scale) basis

Each output is centred by its mean over the training samples and divided by a scale, so that the
regularisation means the same in every unit. Least squares weighs outputs by these scales: a small
output with a common scale is not learned at all. The scale is the output's standard deviation, or,
for outputs that share a unit and are therefore comparable, the root mean square of their standard
deviations (`groups_of`).

An output that does not vary is left out, and predicted exactly. If the outputs' singular values
fall below rounding, training uses their leading right singular vectors: the problem is the same,
and smaller.
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
_ROUNDING = 1e-13  # an output with less relative spread is constant
_NEGLIGIBLE = 1e-9  # singular values of scaled outputs, relative to the largest
_ZERO = 1e-15  # times the outputs' means; smaller samples are zero


def groups_of(way: str, units: Sequence[str]) -> Tensor:
    """Return the groups of outputs that share a scale.

    Args:
        way: One of `known.WAYS`. Dimensionless outputs, and those whose unit is not known, share
            none with ``unit``: nothing says that they can be compared.
        units: Of the outputs.

    Returns:
        Group number of each output, (n_out,) int64; outputs of one number share a scale.
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
        (n_out,) float64, one for outputs without a weight; None if no weight is given.

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

    Columns are divided by their largest deviation before they are squared: squares neither overflow
    nor vanish at 1e-200.
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
        over_spread: Factor of errors in units of ``scale``, for errors over the output's own
            standard deviation on the training samples (size if it is constant), (n_out,).
        basis: Orthonormal; multiplies the scaled outputs, (n_out, n_seen); None for all outputs.
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
        slopes: Tensor | None = None,
    ) -> Scaling:
        """Find the scaling of training targets.

        Args:
            C: Targets of this process, (n, n_out).
            groups: As `groups_of` returns them; each output has its own scale if None.
            weights: Factors of the scaled outputs, (n_out,), > 0; ones if None.
            comm: The processes.
            slopes: Derivatives of the outputs along directions of the standardised inputs,
                (m, n_out), for the basis: few samples span a part of their space only. None for
                values alone.

        Raises:
            InputError: If the targets are so large that their spread overflows.
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
        basis = _basis(C, rough, varies, comm, slopes)
        return cls(shift=shift, scale=scale, over_spread=scale / own, basis=basis)

    def apply(self, C: Tensor) -> tuple[Tensor, Tensor | None]:
        """Scale targets in place; return the targets of training, and all if these differ."""
        C = C.sub_(self.shift).div_(self.scale)
        if self.basis is None:
            return C, None
        seen = C.new_empty((len(C), self.basis.shape[1]))
        for piece, chunk in zip(torch.split(seen, CHUNK), torch.split(C, CHUNK), strict=True):
            torch.mm(chunk, self.basis, out=piece)
        return seen, C

    def seen_to_all(self, outputs: Tensor) -> Tensor:
        """Turn outputs of training into all scaled outputs, (n, n_out), in new memory."""
        return outputs.clone() if self.basis is None else outputs @ self.basis.T

    def physical(self, W: Tensor) -> Tensor:
        """Turn linear weights for the targets of training into weights for c in its own units."""
        W = self.scale[:, None] * (W if self.basis is None else self.basis @ W)
        W[:, -1] += self.shift
        return W

    def seen(self, W: Tensor) -> Tensor:
        """Turn linear weights for c in its own units into weights for the targets of training.

        The part of their prediction outside the basis is lost.
        """
        W = W.to(self.scale, copy=True)
        W[:, -1] -= self.shift
        W /= self.scale[:, None]
        return W if self.basis is None else self.basis.T @ W

    def relative_errors(self, residual: Tensor, scaled: Tensor) -> Tensor:
        """Return ||residual|| / ||c|| in units of c, (n,), from scaled residuals and targets.

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


def _basis(
    C: Tensor, scaling: Scaling, varies: Tensor, comm: Communicator, slopes: Tensor | None
) -> Tensor | None:
    """Return the leading right singular vectors of the scaled targets, if they are far fewer.

    Otherwise return unit vectors of the outputs that vary; None if all do.
    """
    n_out = len(varies)
    R = C.new_zeros((0, n_out))
    for chunk in torch.split(C, CHUNK):
        scaled = (chunk - scaling.shift) / scaling.scale
        R = torch.linalg.qr(torch.cat([R, torch.where(varies, scaled, 0.0)]), mode="r").R
    for chunk in () if slopes is None else torch.split(slopes, CHUNK):
        scaled = chunk / scaling.scale
        R = torch.linalg.qr(torch.cat([R, torch.where(varies, scaled, 0.0)]), mode="r").R
    if comm.size > 1:  # all processes must have as many rows
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
