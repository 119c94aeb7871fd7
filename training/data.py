"""The samples for training: scaled, rotated, and divided over processes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from surrogates.config import check

from .communicator import ALONE, Communicator
from .features import CHUNK, Directions
from .inner.losses import LeastSquares, Loss, outputs_of
from .scaling import Scaling, moments
from .slopes import Given, Slopes, Used

Arrays = tuple[Tensor, Tensor]

_LEAST_NOISE = 1e-3
_ROUNDING = 1e-12  # an input with less relative spread counts as constant


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The mean loss and errors of some samples.

    Attributes:
        loss: Mean loss, in the units of training.
        error: Mean relative error, or share of misclassified samples (see `Loss.errors`).
        score: Selects the best weights, and decides when to stop: the mean norm of the scaled
            residual for least squares, the error for classes, the mean loss for any other loss. A
            mean square would depend on the few worst samples.
        outputs: Root mean square error of each output over its spread on the training samples,
            (n_out,); None if the loss takes unscaled targets.
    """

    loss: float
    error: float
    score: float
    outputs: Tensor | None = None

    def median_and_worst(self) -> tuple[float, float]:
        """Return the median and the largest of ``outputs``; NaN if there are none."""
        if self.outputs is None:
            return math.nan, math.nan
        return float(self.outputs.median()), float(self.outputs.max())


@dataclass(frozen=True, kw_only=True)
class Part:
    """This process's scaled samples of one part.

    Attributes:
        Y: Scaled inputs, (n_samples, n_in), in the precision of the features.
        C: Targets of training, (n_samples, n_seen) float64.
        loss: The loss.
        scaling: Scaling of the targets; None if the loss takes unscaled targets.
        whole: All scaled targets, (n_samples, n_out), if ``C`` holds only some; else None.
        comm: The processes.
        directions: Directions with derivatives (see `slopes`); None for values alone.
        T: Targets of the directions' rows, (m r, n_seen) float64; None for values alone.
    """

    Y: Tensor
    C: Tensor
    loss: Loss = field(default_factory=LeastSquares)
    scaling: Scaling | None = None
    whole: Tensor | None = None
    comm: Communicator = field(default=ALONE)
    directions: Directions | None = None
    T: Tensor | None = None

    @property
    def targets(self) -> Tensor:
        """Targets of all rows: of the samples, then of the directions, (n_rows, n_seen)."""
        return self.C if self.T is None else torch.cat([self.C, self.T])

    def taught(self, along: Slopes | None, weight: float, seen: Tensor) -> Part:
        """Return the part with derivatives; arguments are those of `Slopes.directions`."""
        if along is None or self.scaling is None:
            return self
        T = along.targets(weight, self.scaling.scale, self.scaling.basis)
        return replace(self, directions=along.directions(weight, seen, self.Y.dtype), T=T)

    @property
    def energy(self) -> float:
        """Mean of ||c||^2 of the scaled targets over the samples."""
        return float(self.comm.total(self.C.square().sum())[0]) / self.comm.count(len(self.C))

    def measure(self, F: Tensor, W: Tensor) -> Measured:
        """Measure linear weights on features F of all rows; W is for ``C``.

        Losses and errors are those of the values. Derivatives count for the score: beside those of
        few samples, their many rows tell good weights from bad ones with less noise.
        """
        along = self._squares_along(F, W)
        scaling, F = self.scaling, F[: len(self.C)]
        n_out = 0 if scaling is None else len(scaling.shift)
        sums = F.new_zeros(4 + n_out)
        for rows, outputs in outputs_of(F, W):
            if scaling is None:
                values = self.loss.values(outputs, self.C[rows])
                errors = self.loss.errors(outputs, self.C[rows])
                scores = errors if self.loss.selects_by_error else values
            else:
                scaled = self.C[rows] if self.whole is None else self.whole[rows]
                residual = scaling.seen_to_all(outputs).sub_(scaled)
                squares = residual.square()
                values = squares.sum(dim=1) / 2
                errors = scaling.relative_errors(residual, scaled)
                total = squares.sum(dim=1)
                scores = (total if along is None else total + along[rows]).sqrt()
                sums[4:] += squares.sum(dim=0)
            n_rows = values.new_tensor(len(values))
            sums[:4] += torch.stack([values.sum(), errors.sum(), scores.sum(), n_rows])
        sums = self.comm.total(sums)[0]
        loss, error, score, n = sums[:4].tolist()
        over_spread = None if scaling is None else (sums[4:] / n).sqrt() * scaling.over_spread
        return Measured(loss=loss / n, error=error / n, score=score / n, outputs=over_spread)

    def _squares_along(self, F: Tensor, W: Tensor) -> Tensor | None:
        """Return each sample's sum of squared residuals of derivatives; None if none has any."""
        if self.directions is None or self.T is None:
            return None
        n = len(self.C)
        found = F.new_zeros(n)
        r = self.directions.V.shape[1]
        each = torch.addmm(self.T, F[n:], W[:, :-1].T, beta=-1).square().sum(dim=1)
        found[self.directions.samples] = each.view(-1, r).sum(dim=1)
        return found


@dataclass(frozen=True, kw_only=True)
class Mix:
    r"""A linear map of standardised inputs x to the inputs z of the features.

        z = V L^(-whitening/2) V^T (I + smoothing D^T D)^(-1/2) S^-noise x

    with S the standard deviation of each input's residual in a linear regression on all others, at
    least 0.001 (an input that does not vary is left out), D the differences of neighbours, and
    V L V^T the covariance of the vectors that V^T multiplies; z is scaled to a mean variance of
    one. The network can represent the same functions of y, but its first weights, alpha1 and the
    trust region refer to weights of z. With smoothing only, the first layer's weights K of x have
    the norm

        ||K||^2 + smoothing ||K D^T||^2.

    The map is for inputs that are samples of a curve, such as the bands of a spectrum. Neighbours
    are nearly equal there: weights should be smooth, bands with little noise should count more
    (Green et al. 1988, "A transformation for ordering multispectral data in terms of image quality
    with implications for noise removal"), and small components distinguish samples too.

    Attributes:
        whitening: Power of the components' variances, 0 to 1; 1 makes variances equal.
        smoothing: Weight of the differences, >= 0.
        noise: Power of the noise's deviations that divides the inputs, 0 to 1.
    """

    whitening: float = 0.0
    smoothing: float = 0.0
    noise: float = 0.0

    def of(self, covariance: Tensor) -> Tensor:
        """Return the map, (n_in, n_in), from the covariance of x, (n_in, n_in).

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
        # V on the left too: rounding decides its signs, and its columns for close eigenvalues.
        mixing: Tensor = (vectors * values ** (-self.whitening / 2)) @ (vectors.T @ scaled)
        size: Tensor = ((values ** (1 - self.whitening)).sum() / len(covariance)).sqrt()
        return mixing / size


@dataclass(frozen=True, kw_only=True)
class Data:
    """Training and validation samples, scaled for training, and their scaling.

    Inputs are centred, and divided so that all have the same standard deviation; an input that does
    not vary is only centred. `Scaling` scales the targets, unless the loss takes unscaled ones.

    Attributes:
        train: Training samples.
        validation: Validation samples.
        y_shift: Mean of the training inputs, (n_in,) float64.
        y_scale: Divides the centred inputs, (n_in,) float64.
        scaling: Scaling of the targets; None if the loss takes unscaled targets.
        mixing: Multiplies the scaled inputs, (n_seen_in, n_in); None for no mixing.
        used: The derivatives that the training samples have; None for values alone.
    """

    train: Part
    validation: Part
    y_shift: Tensor
    y_scale: Tensor
    scaling: Scaling | None
    mixing: Tensor | None = None
    used: Used | None = None

    @classmethod
    def of(
        cls,
        train: Arrays,
        validation: Arrays,
        *,
        scale: float = 1.0,
        mix: Mix | None = None,
        ordered: bool = False,
        inputs: Arrays | None = None,
        groups: Tensor | None = None,
        weights: Tensor | None = None,
        dtype: torch.dtype = torch.float64,
        loss: Loss | None = None,
        slopes: Given | None = None,
        held_slopes: Given | None = None,
        weight: float | None = None,
        comm: Communicator = ALONE,
    ) -> Data:
        """Scale samples, in place if they are on the processes' device already.

        Args:
            train: Inputs (n_train, n_in) and targets (n_train, n_out) of this process, float64.
            validation: The same of the validation samples.
            scale: Standard deviation of the scaled inputs, on average if they are mixed.
            mix: Map of the scaled inputs; None for no mixing.
            ordered: Whether the inputs get the order and the signs of `canonical`, so that the
                weights drawn for them do not depend on the file's order. Not with ``mix``.
            inputs: ``y_shift`` and ``y_scale`` of a network whose weights are kept, instead of
                those of the samples. Not with ``mix`` or ``ordered``.
            groups: Outputs of one number share a scale, (n_out,); each has its own if None.
            weights: Factors of the scaled outputs, (n_out,), > 0; ones if None.
            dtype: Type of the scaled inputs, and so of the features.
            loss: The loss; least squares if None.
            slopes: Derivatives of the training samples, for least squares; None for values alone.
            held_slopes: The same of the validation samples, for their score.
            weight: omega of `slopes`; chosen from the data if None, values alone if 0.
            comm: The processes.

        Raises:
            InputError: If values are not finite, or too large to be squared.
        """
        _check_finite("training", train, comm)
        _check_finite("validation", validation, comm)
        how: dict[str, Any] = {"scale": scale, "mix": mix, "ordered": ordered, "inputs": inputs}
        how |= {"groups": groups, "weights": weights, "dtype": dtype, "weight": weight}
        along = (slopes, held_slopes)
        return cls._of(train, validation, along, loss or LeastSquares(), comm, **how)

    @classmethod
    def _of(
        cls,
        train: Arrays,
        validation: Arrays,
        slopes: tuple[Given | None, Given | None],
        loss: Loss,
        comm: Communicator,
        *,
        scale: float,
        mix: Mix | None,
        ordered: bool,
        inputs: Arrays | None,
        groups: Tensor | None,
        weights: Tensor | None,
        dtype: torch.dtype,
        weight: float | None,
    ) -> Data:
        """Scale samples; arguments are those of `of`."""
        Y, C = (values.to(comm.device) for values in train)
        y_shift, y_scale, varies, unit = _scale_of(Y, scale, inputs, comm)
        Y = Y.sub_(y_shift).div_(y_scale)
        along = _standard(slopes[0], unit, varies, weight, loss, comm)
        T = None if along is None else along.T.flatten(0, 1)
        scaling = Scaling.of(C, groups, weights, comm, T) if loss.scales_targets else None
        C, whole = (C, None) if scaling is None else scaling.apply(C)
        mixing = canonical(Y / scale, varies, C, comm) if ordered else None
        if mix is not None:
            mixing = mix.of(comm.total(Y.T @ Y)[0] / (comm.count(len(Y)) * scale**2))
        Y = _seen(Y, mixing, dtype)
        first = Part(Y=Y, C=C, loss=loss, scaling=scaling, whole=whole, comm=comm)
        Y, C = (values.to(comm.device) for values in validation)
        Y = _seen(Y.sub_(y_shift).div_(y_scale), mixing, dtype)
        C, whole = (C, None) if scaling is None else scaling.apply(C)
        held = replace(first, Y=Y, C=C, whole=whole)
        used = None
        if along is not None and scaling is not None:
            weight = along.omega(weight, first.energy, scaling.scale)
            seen = torch.diag(unit / y_scale) if mixing is None else scale * mixing
            used, first = along.used(weight), first.taught(along, weight, seen)
            held_along = _standard(slopes[1], unit, varies, weight, loss, comm)
            held = held.taught(held_along, weight, seen)
        return cls(
            train=first,
            validation=held,
            y_shift=y_shift,
            y_scale=y_scale,
            scaling=scaling,
            mixing=mixing,
            used=used,
        )

    def physical(self, W: Tensor) -> Tensor:
        """Turn linear weights for the targets of training into weights for c in its own units."""
        return W.clone() if self.scaling is None else self.scaling.physical(W)

    def seen(self, W: Tensor) -> Tensor:
        """Turn linear weights for c in its own units into weights for the targets of training."""
        return W.to(self.y_scale) if self.scaling is None else self.scaling.seen(W)


def _standard(
    slopes: Given | None,
    unit: Tensor,
    varies: Tensor,
    weight: float | None,
    loss: Loss,
    comm: Communicator,
) -> Slopes | None:
    """Return derivatives in standardised units; None if there are none, or their weight is 0."""
    if slopes is None or weight == 0:
        return None
    check(loss.scales_targets, "derivatives are for least squares: leave them out")
    return Slopes.of(slopes, unit, varies, comm)


def _scale_of(
    Y: Tensor, scale: float, kept: Arrays | None, comm: Communicator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return shift and scale of inputs, whether each is seen, and its unit, (n_in,) each.

    The unit of directions is the samples' standard deviation. Features see the inputs that vary. A
    kept network sees all: the unit of an input that does not vary is then that of its own samples.
    """
    y_shift, spread, size = moments(Y, comm)
    varies = spread > _ROUNDING * size
    y_scale = torch.where(varies, spread, 1.0) / scale
    unit = y_scale * scale
    if kept is not None:
        y_shift, y_scale = (values.to(y_scale) for values in kept)
        unit = torch.where(varies, unit, y_scale * scale)
        varies = torch.ones_like(varies)
    check(bool(torch.isfinite(y_scale).all()), "the training inputs are too large to be squared")
    return y_shift, y_scale, varies, unit


def _seen(Y: Tensor, mixing: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Return scaled inputs for the features: mixed, and of their type."""
    return (Y if mixing is None else Y @ mixing.T).to(dtype)


def _check_finite(name: str, arrays: Arrays, comm: Communicator) -> None:
    for kind, values in zip(("inputs", "observables"), arrays, strict=True):
        whole = (int(torch.isfinite(X).all(dim=1).sum()) for X in torch.split(values, CHUNK))
        bad = comm.count(len(values) - sum(whole))
        check(bad == 0, f"the {name} {kind} are not finite, in {bad} samples")


def canonical(X: Tensor, varies: Tensor, C: Tensor, comm: Communicator = ALONE) -> Tensor:
    """Return an order and signs of inputs that depend only on the samples.

    Inputs are ordered by how much of the targets they explain to first and second order. A sign is
    that of the input's mean product with ||c||^2 and its own square. Neither depends on the order
    of inputs, outputs or samples, nor on the inputs' signs and units, and so neither does a
    training that draws weights for the inputs in this order. An input that does not vary is left
    out: the samples do not show its effect.

    Args:
        X: Standardised inputs, (n, n_in).
        varies: Whether each of them varies, (n_in,).
        C: Scaled targets, (n, n_seen).
        comm: The processes.

    Returns:
        A signed permutation, (n_kept, n_in), n_kept >= 1.
    """
    size = C.square().sum(dim=1)
    first, second, odd, even = comm.total(
        X.T @ C, X.square().T @ C, X.T @ size + X.pow(3).sum(dim=0), X.pow(4).sum(dim=0)
    )
    weight = first.square().sum(dim=1) + second.square().sum(dim=1) + even
    kept = torch.argsort(weight, descending=True)
    kept = kept[varies[kept]] if bool(varies.any()) else kept[:1]
    mixing = X.new_zeros((len(kept), X.shape[1]))
    mixing[range(len(kept)), kept] = torch.where(odd[kept] < 0, -1.0, 1.0).to(X)
    return mixing
