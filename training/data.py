"""The samples as training sees them: scaled, rotated, and divided over processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from surrogates.config import check

from .features import CHUNK
from .losses import LeastSquares, Loss, outputs_of
from .processes import ALONE, Alone

Arrays = tuple[Tensor, Tensor]

_LEAST_NOISE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Part:
    """Scaled samples of one part, this process's.

    Attributes:
        Y: Scaled inputs, (n_samples, n_in), in the precision of the features.
        C: Targets that training sees, (n_samples, n_seen) float64.
        loss: The loss.
        size: Norms of the unscaled targets in units of ``c_scale``, (n_samples,); None where the
            loss takes the targets as they are.
        missed: Squared norms of what of the scaled targets training does not see, (n_samples,).
        over: The processes.
    """

    Y: Tensor
    C: Tensor
    loss: Loss = field(default_factory=LeastSquares)
    size: Tensor | None = None
    missed: Tensor | None = None
    over: Alone = field(default=ALONE)

    def measure(self, F: Tensor, W: Tensor) -> tuple[float, float]:
        """Give the mean loss and the mean error of linear weights on features F.

        For least squares these are 1/(2N) ||Z W^T - C||_F^2 of the scaled targets, and the relative
        error; W is for the targets that are seen.
        """
        sums = F.new_zeros(3)
        for rows, outputs in outputs_of(F, W):
            values = self.loss.values(outputs, self.C[rows])
            if self.size is None or self.missed is None:
                errors = self.loss.errors(outputs, self.C[rows])
            else:
                values = values + self.missed[rows] / 2
                errors = (2 * values).sqrt() / self.size[rows]
            sums += torch.stack([values.sum(), errors.sum(), values.new_tensor(len(values))])
        loss, error, n = self.over.total(sums)[0].tolist()
        return loss / n, error / n


@dataclass(frozen=True, kw_only=True)
class Mix:
    r"""A linear map of standardised inputs x to those that the features see.

        z = V L^(-whitening/2) V^T (I + smoothing D^T D)^(-1/2) S^-noise x

    with S the standard deviations of what an input's linear regression on all others leaves, at
    least 0.001 (an input that does not vary is left out), D the differences of neighbours, and
    V L V^T the covariance of what V^T acts on; scaled so that the mean variance of z is one. A
    network sees the same functions of y as before, but the weights that alpha1 and the trust region
    measure, and that are drawn first, are those of z. With smoothing alone the first layer's
    weights K of x have the norm

        ||K||^2 + smoothing ||K D^T||^2.

    It is for inputs that are samples of a curve, as the bands of a spectrum are. Neighbours say
    much the same there: weights ought to be smooth, bands with little noise count more (Green et
    al. 1988, "A transformation for ordering multispectral data in terms of image quality with
    implications for noise removal"), and what tells samples apart is in small components too.

    Attributes:
        whitening: Power of the components' variances that is taken out, 0 to 1.
        smoothing: Weight of the differences, >= 0.
        noise: Power of the noise's deviations that is divided by, 0 to 1.
    """

    whitening: float = 0.0
    smoothing: float = 0.0
    noise: float = 0.0

    def of(self, covariance: Tensor) -> Tensor:
        """Give the map, (n_in, n_in), from the covariance of x, (n_in, n_in).

        Raises:
            InputError: If no input varies.
        """
        check(bool((covariance.diagonal() > 0.5).any()), "no input varies: nothing can be mixed")
        eye = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
        precision = torch.linalg.inv(covariance + 1e-12 * covariance.trace() * eye)
        noise = precision.diagonal().rsqrt().clamp(min=_LEAST_NOISE)
        weights = torch.where(covariance.diagonal() > 0.5, noise ** (-self.noise), 0.0)
        D = eye.diff(dim=0)
        values, vectors = torch.linalg.eigh(D.T @ D)
        smooth = (vectors / (1 + self.smoothing * values).sqrt()) @ vectors.T
        scaled = smooth * weights
        values, vectors = torch.linalg.eigh(scaled @ covariance @ scaled.T)
        kept = values > 1e-12 * values[-1]
        values, vectors = values[kept], vectors[:, kept]
        # V on the left too: its signs, and what it is where values are close, are up to rounding.
        mixing: Tensor = (vectors * values ** (-self.whitening / 2)) @ (vectors.T @ scaled)
        size: Tensor = ((values ** (1 - self.whitening)).sum() / len(covariance)).sqrt()
        return mixing / size


@dataclass(frozen=True, kw_only=True)
class Data:
    """Training and validation samples, and the scaling that makes them what training sees.

    Inputs are centred, and divided so that each has one standard deviation; one that does not vary
    is only centred. Targets are centred by the training mean, and divided by one number, so that
    the regularisation means the same in every unit. Where the outputs' singular values fall below
    rounding, training sees their leading right singular vectors instead: the problem is the same,
    and smaller. A loss whose ``scales_targets`` is false gets the targets as they are.

    Attributes:
        train: Training samples.
        validation: Validation samples.
        y_shift: Mean of the training inputs, (n_in,) float64.
        y_scale: What divides the centred inputs, (n_in,) float64.
        c_shift: Mean of the training targets, (n_out,).
        mixing: What multiplies the inputs after that, (n_in, n_in); None for nothing.
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
    mixing: Tensor | None = None

    @classmethod
    def of(
        cls,
        train: Arrays,
        validation: Arrays,
        *,
        scale: float = 1.0,
        mix: Mix | None = None,
        dtype: torch.dtype = torch.float64,
        loss: Loss | None = None,
        over: Alone = ALONE,
    ) -> Data:
        """Scale samples, in place where they are on the processes' device already.

        Args:
            train: Inputs (n_train, n_in) and targets (n_train, n_out) of this process, float64.
            validation: Likewise.
            scale: Standard deviation of the scaled inputs, on average where they are mixed.
            mix: How the scaled inputs are mixed; not at all if None.
            dtype: Of the scaled inputs, and so of the features.
            loss: The loss; least squares if None.
            over: The processes.

        Raises:
            InputError: If values are not finite, or too large to be squared.
        """
        loss = loss or LeastSquares()
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

        y_shift, c_shift = mean(lambda X: X, Y), torch.zeros_like(C[0])
        spread = mean(lambda X: (X - y_shift).square(), Y).sqrt()
        largest = over.stacked(torch.stack(torch.aminmax(Y, dim=0)).abs()).amax(dim=0)
        y_scale = torch.where(spread > 1e-12 * largest, spread, 1.0) / scale
        c_scale, basis = 1.0, None
        if loss.scales_targets:
            c_shift = mean(lambda X: X, C)
            c_scale = float(mean(lambda X: (X - c_shift).square(), C).mean().sqrt()) or 1.0
        for name, size in {"inputs": y_scale, "observables": torch.tensor(c_scale)}.items():
            finite = bool(torch.isfinite(size).all())
            check(finite, f"the training {name} are too large to be squared")

        if loss.scales_targets:
            basis = _basis(C, c_shift, c_scale, over)

        mixing = None
        if mix is not None:
            X = (Y - y_shift) / (y_scale * scale)
            mixing = mix.of(over.total(X.T @ X)[0] / n)

        def part(arrays: Arrays) -> Part:
            Y, C = (values.to(over.device) for values in arrays)
            Y = Y.sub_(y_shift).div_(y_scale)
            Y = (Y if mixing is None else Y @ mixing.T).to(dtype)
            if not loss.scales_targets:
                return Part(Y=Y, C=C, loss=loss, over=over)
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
            return Part(Y=Y, C=C, loss=loss, size=size, missed=missed, over=over)

        return cls(
            train=part((Y, C)),
            validation=part(validation),
            y_shift=y_shift,
            y_scale=y_scale,
            c_shift=c_shift,
            c_scale=c_scale,
            basis=basis,
            mixing=mixing,
        )

    def physical(self, W: Tensor) -> Tensor:
        """Turn linear weights for what training sees into those for c in its own units."""
        W = self.c_scale * (W if self.basis is None else self.basis @ W)
        W[:, -1] += self.c_shift
        return W


def _basis(C: Tensor, c_shift: Tensor, c_scale: float, over: Alone) -> Tensor | None:
    """Give the leading right singular vectors of the scaled targets, if these are fewer by far."""
    R = C.new_zeros((0, len(c_shift)))
    for chunk in torch.split(C, CHUNK):
        scaled = (chunk - c_shift) / c_scale
        R = torch.linalg.qr(torch.cat([R, scaled]), mode="r").R
    R = torch.cat([R, R.new_zeros((len(c_shift) - len(R), len(c_shift)))])
    _, s, Vh = torch.linalg.svd(over.stacked(R), full_matrices=False)
    rank = max(1, int((s > 1e-12 * s[0]).sum()))
    return Vh[:rank].T if rank < 0.8 * len(c_shift) else None
