"""Errors of predictions: relative errors, errors by output and of dc/dy, coverage of error bars.

Missing entries of C (NaN) are left out of all of them, and so are directions without derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from surrogates.types import Array

from .summaries import LEVELS, ErrorSummary, Evaluation
from .tails import widened

_QUANTILES = tuple(NormalDist().inv_cdf((1 + level) / 2) for level in LEVELS)

_NEAR_ZERO = 0.02  # size of c, over its spread, below which a relative error says little


def relative_errors(prediction: Tensor, C: Tensor) -> Tensor:
    """Return the relative error of each sample, ||prediction - c||_2 / ||c||_2.

    Args:
        prediction: Predicted observables, (n, n_out).
        C: True observables, same shape, dtype and device.

    Returns:
        (n,), dimensionless; infinite or NaN for a sample with c = 0.

    Raises:
        ValueError: If the shapes differ or are not (n, n_out).
    """
    if prediction.shape != C.shape or C.ndim != 2:
        got = f"{tuple(prediction.shape)} and {tuple(C.shape)}"
        raise ValueError(f"expected prediction and C of one shape (n, n_out); got {got}")
    there = torch.isfinite(C)
    unit = torch.where(there, C, 0.0).abs().max().clamp(min=1e-300)  # squares must not vanish
    difference = torch.where(there, (prediction - C) / unit, 0.0)
    error: Tensor = torch.linalg.vector_norm(difference, dim=1)
    norm: Tensor = torch.linalg.vector_norm(torch.where(there, C / unit, 0.0), dim=1)
    return error / norm


def evaluate(
    predict: Callable[[Tensor], Tensor],
    Y: Tensor,
    C: Tensor,
    *,
    mean: Tensor,
    spread: Tensor | None = None,
    predict_std: Callable[[Tensor], Tensor] | None = None,
    batch: int = 8192,
) -> Evaluation:
    """Measure a surrogate's errors.

    Args:
        predict: A `Surrogate`, or any function (n, n_in) -> (n, n_out). The intervals of a
            `Surrogate` are those of its `predict_interval`, with tails and logarithms. Those of a
            function are normal.
        predict_std: Its method of that name, for the coverage; without it the coverage is empty.
        Y: Parameters, (n, n_in), n >= 1.
        C: True observables, (n, n_out); NaN where one is missing.
        mean: Mean of the training observables, (n_out,).
        spread: Their standard deviation, (n_out,); that of C if None.
        batch: Samples predicted at once, which bounds the memory.

    Raises:
        ValueError: If there is no sample, or the shapes disagree.
    """
    if not len(Y) == len(C) > 0:
        raise ValueError(f"expected as many Y as C, at least 1; got {len(Y)} and {len(C)}")
    pieces = torch.split(Y, batch)
    coverage: tuple[float, ...] = ()
    with torch.no_grad():
        prediction = torch.cat([predict(piece) for piece in pieces])
        if predict_std is not None:
            std = torch.cat([predict_std(piece) for piece in pieces])
            sizes = (prediction - C).abs()
            logs = getattr(predict, "logs", None)
            if logs is not None:  # std / prediction is the deviation of the logarithm
                of_logs = (prediction.log() - C.log()).abs() * prediction
                sizes = torch.where(logs.outputs, of_logs, sizes)
            there = torch.isfinite(C)
            # A constant is predicted to rounding, and its error bar is 0.
            allowed = 1e-14 * C.abs()
            tail = getattr(predict, "tail", None)
            tails = [0.0] if tail is None else tail.tolist()
            widths = [C.new_tensor([widened(q, tail) for tail in tails]) for q in _QUANTILES]
            coverage = tuple(
                float((sizes <= width * std + allowed)[there].double().mean()) for width in widths
            )
    return compared(prediction, C, mean=mean, spread=spread, coverage=coverage)


def compared(
    prediction: Tensor,
    C: Tensor,
    *,
    mean: Tensor,
    spread: Tensor | None = None,
    coverage: tuple[float, ...] = (),
) -> Evaluation:
    """Measure the errors of predictions; see `evaluate` for the arguments.

    Raises:
        ValueError: If the shapes disagree.
    """
    errors = relative_errors(prediction, C)
    there = torch.isfinite(C)
    counts = there.sum(dim=0).clamp(min=1)
    zero = C.new_zeros(())

    def rms(values: Tensor) -> Tensor:
        values = torch.where(there, values, zero)
        unit = values.abs().amax(dim=0)
        unit = torch.where(unit > 0, unit, 1.0)  # squares must not vanish or overflow
        return ((values / unit).square().sum(dim=0) / counts).sqrt() * unit

    error, size = rms(prediction - C), rms(C)
    if spread is None:
        spread = rms(C - torch.where(there, C, zero).sum(dim=0) / counts)
    unit = torch.where(spread > 1e-13 * size, spread, torch.where(size > 0, size, 1.0))
    deviation = torch.where(there, (C - mean) / unit, zero)
    # In units of the outputs' spreads: c of a sample is small if all its entries are.
    norms = torch.where(there, C / unit, zero).norm(dim=1)
    near = int((norms < _NEAR_ZERO * deviation.square().sum(dim=1).mean().sqrt()).sum())
    return Evaluation(
        samples=len(C),
        relative=ErrorSummary.of(errors, near),
        centred=ErrorSummary.of(relative_errors(prediction - mean, C - mean)),
        output_rms=tuple(error.tolist()),
        output_relative=tuple((error / size).tolist()),
        output_spread=tuple((error / unit).tolist()),
        coverage=coverage,
    )


def jacobian_errors(
    jacobian: Callable[[Tensor], Tensor],
    Y: Array,
    V: Array,
    T: Array,
    *,
    units: Sequence[str],
    ranges: Array,
    seen: Array | None = None,
    entries: int = 1 << 21,
) -> dict[str, ErrorSummary]:
    """Measure the errors of dc/dy: ||(J_s - J) D||_F / ||J D||_F for each sample.

    J_s is the surrogate's Jacobian, J the data's, and the columns of D are a sample's directions,
    each of length 1 with the parameters in units of their ranges. So the error depends neither on
    the units of y nor on the lengths of directions. For whole tangents D = diag(ranges).

    Args:
        jacobian: The surrogate's ``jacobian`` of tensors, (n, n_in) -> (n, n_out, n_in).
        Y: Parameters, (n, n_in), float64.
        V: Directions, (n, r, n_in), in units of y.
        T: Derivatives J V, (n, n_out, r); NaN in T[i, :, k] for a direction without data.
        units: Units of the outputs; those of one unit form a group with a summary of its own.
        ranges: Ranges of the parameters, (n_in,); 1 is taken for a parameter of range 0.
        seen: Projection of c, (n_out, n_out), whose derivatives T holds; None if it is all of c.
        entries: Entries of the Jacobians that are in memory at once.

    Returns:
        Summaries by unit, over the samples with data; empty if there are none.
    """
    there = ~np.isnan(T).any(axis=1)
    used = np.flatnonzero(there.any(axis=1))
    if not len(used):
        return {}
    unit = np.where(ranges > 0, ranges, 1.0)
    kinds = [u.strip() or "1" for u in units]
    groups = {kind: np.array([k == kind for k in kinds]) for kind in dict.fromkeys(kinds)}
    pairs: dict[str, list[Array]] = {name: [] for name in groups}
    step = max(1, entries // (T.shape[1] * Y.shape[1]))
    for rows in (used[start : start + step] for start in range(0, len(used), step)):
        with torch.no_grad():
            J = jacobian(torch.from_numpy(Y[rows])).numpy()
        length = np.linalg.norm(V[rows] / unit, axis=2)
        weight = np.zeros_like(length)
        np.divide(1.0, length, out=weight, where=there[rows] & (length > 0))
        truth = np.where(there[rows, None], T[rows], 0.0) * weight[:, None]
        D = np.swapaxes(V[rows], 1, 2) * weight[:, None]
        error = (J if seen is None else seen @ J) @ D - truth
        for name, mine in groups.items():
            norms = [_norm(part[:, mine]) for part in (error, truth)]
            pairs[name].append(np.stack(norms, axis=1))
    found = {}
    for name, parts in pairs.items():
        error, size = torch.from_numpy(np.concatenate(parts)).unbind(dim=1)
        near = int((size < _NEAR_ZERO * size.square().mean().sqrt()).sum())
        found[name] = ErrorSummary.of(error / size, near)
    return found


def _norm(values: Array) -> Array:
    """Return the Frobenius norms of matrices, (n,); squares neither vanish nor overflow."""
    unit = np.abs(values).max(axis=(1, 2), keepdims=True).clip(min=1e-300)
    return np.asarray(np.linalg.norm(values / unit, axis=(1, 2)) * unit[:, 0, 0])
