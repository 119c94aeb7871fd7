"""The samples as training sees them: scaled, rotated, and divided over processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from surrogates.config import check

from .features import CHUNK
from .processes import ALONE, Alone
from .varpro import Tall, with_ones

Arrays = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Scaled samples of one part, this process's.

    Attributes:
        Y: Scaled inputs, (n_samples, n_in), in the precision of the features.
        C: Targets that training sees, (n_samples, n_seen) float64.
        size: Norms of the unscaled targets in units of ``c_scale``, (n_samples,).
        missed: Squared norms of what of the scaled targets training does not see, (n_samples,).
        over: The processes.
    """

    Y: Tensor
    C: Tensor
    size: Tensor
    missed: Tensor
    over: Alone = field(default=ALONE)

    def measure(self, F: Tensor, W: Tensor) -> tuple[float, float]:
        """Give the loss and the mean relative error of linear weights on features F.

        The loss is 1/(2N) ||Z W^T - C||_F^2 of the scaled targets; W is for those that are seen.
        """
        none = W.new_zeros((0, len(W)))
        difference = Tall(parts=((with_ones(F), W.T),), last=none, n_samples=1, C=self.C)
        sums = F.new_zeros(3)
        for start in range(0, len(F), CHUNK):
            rows = slice(start, start + CHUNK)
            squares = difference.rows(rows).square().sum(dim=1) + self.missed[rows]
            errors = squares.sqrt() / self.size[rows]
            sums += torch.stack([squares.sum(), errors.sum(), squares.new_tensor(len(squares))])
        loss, error, n = self.over.total(sums)[0].tolist()
        return loss / (2 * n), error / n


@dataclass(frozen=True, kw_only=True)
class Data:
    """Training and validation samples, and the scaling that makes them what training sees.

    Inputs are centred, and divided so that each has one standard deviation; one that does not vary
    is only centred. Targets are centred by the training mean, and divided by one number, so that
    the regularisation means the same in every unit. Where the outputs' singular values fall below
    rounding, training sees their leading right singular vectors instead: the problem is the same,
    and smaller.

    Attributes:
        train: Training samples.
        validation: Validation samples.
        y_shift: Mean of the training inputs, (n_in,) float64.
        y_scale: What divides the centred inputs, (n_in,) float64.
        c_shift: Mean of the training targets, (n_out,).
        c_scale: Root mean square of the centred training targets; 1 if they are all equal.
        basis: What training sees of the scaled outputs, orthonormal, (n_out, n_seen); None for all.
    """

    train: Part
    validation: Part
    y_shift: Tensor
    y_scale: Tensor
    c_shift: Tensor
    c_scale: float
    basis: Tensor | None

    @classmethod
    def of(
        cls,
        train: Arrays,
        validation: Arrays,
        *,
        scale: float = 1.0,
        dtype: torch.dtype = torch.float64,
        over: Alone = ALONE,
    ) -> Data:
        """Scale samples, in place where they are on the processes' device already.

        Args:
            train: Inputs (n_train, n_in) and targets (n_train, n_out) of this process, float64.
            validation: Likewise.
            scale: Standard deviation of the scaled inputs.
            dtype: Of the scaled inputs, and so of the features.
            over: The processes.

        Raises:
            InputError: If values are not finite, or too large to be squared.
        """
        for name, arrays in {"training": train, "validation": validation}.items():
            for kind, values in zip(("inputs", "observables"), arrays, strict=True):
                whole = (
                    int(torch.isfinite(X).all(dim=1).sum()) for X in torch.split(values, CHUNK)
                )
                bad = over.count(len(values) - sum(whole))
                check(bad == 0, f"the {name} {kind} are not finite, in {bad} samples")
        Y, C = train[0].to(over.device), train[1].to(over.device)
        n = over.count(len(Y))

        def mean(of: Callable[[Tensor], Tensor], X: Tensor) -> Tensor:
            sums = torch.stack([of(chunk).sum(dim=0) for chunk in torch.split(X, CHUNK)])
            return over.total(sums.sum(dim=0))[0] / n

        y_shift, c_shift = mean(lambda X: X, Y), mean(lambda X: X, C)
        spread = mean(lambda X: (X - y_shift).square(), Y).sqrt()
        largest = over.stacked(torch.stack(torch.aminmax(Y, dim=0)).abs()).amax(dim=0)
        y_scale = torch.where(spread > 1e-12 * largest, spread, 1.0) / scale
        c_scale = float(mean(lambda X: (X - c_shift).square(), C).mean().sqrt()) or 1.0
        for name, size in {"inputs": y_scale, "observables": torch.tensor(c_scale)}.items():
            finite = bool(torch.isfinite(size).all())
            check(finite, f"the training {name} are too large to be squared")

        def part(arrays: Arrays, basis: Tensor | None) -> Part:
            Y, C = arrays
            size = torch.linalg.vector_norm(C, dim=1) / c_scale
            C = C.sub_(c_shift).div_(c_scale)
            missed = torch.zeros_like(size)
            if basis is not None:
                seen = C.new_empty((len(C), basis.shape[1]))
                pieces = (torch.split(X, CHUNK) for X in (C, seen, missed))
                for chunk, part_seen, part_missed in zip(*pieces, strict=True):
                    torch.mm(chunk, basis, out=part_seen)
                    part_missed.copy_((chunk - part_seen @ basis.T).square().sum(dim=1))
                C = seen
            Y = Y.sub_(y_shift).div_(y_scale).to(dtype)
            return Part(Y=Y, C=C, size=size, missed=missed, over=over)

        R = C.new_zeros((0, len(c_shift)))
        for chunk in torch.split(C, CHUNK):
            scaled = (chunk - c_shift) / c_scale
            R = torch.linalg.qr(torch.cat([R, scaled]), mode="r").R
        R = torch.cat([R, R.new_zeros((len(c_shift) - len(R), len(c_shift)))])
        _, s, Vh = torch.linalg.svd(over.stacked(R), full_matrices=False)
        rank = max(1, int((s > 1e-12 * s[0]).sum()))
        basis = Vh[:rank].T if rank < 0.8 * len(c_shift) else None
        return cls(
            train=part((Y, C), basis),
            validation=part((validation[0].to(over.device), validation[1].to(over.device)), basis),
            y_shift=y_shift,
            y_scale=y_scale,
            c_shift=c_shift,
            c_scale=c_scale,
            basis=basis,
        )

    def physical(self, W: Tensor) -> Tensor:
        """Turn linear weights for what training sees into those for c in its own units."""
        W = self.c_scale * (W if self.basis is None else self.basis @ W)
        W[:, -1] += self.c_shift
        return W
