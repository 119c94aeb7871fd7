"""The errors that a surrogate file records, and its description in a line and in a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from surrogates.errors import listed
from surrogates.notebook import SHOWN, Rows, number, per_cent, table

from .metadata import task_of
from .summaries import LEVELS, Assessment, Bin, ErrorSummary, Evaluation

if TYPE_CHECKING:
    from .loaded import LoadedSurrogate

_FIRST = ("relative", "accuracy")  # errors that a line has


def recorded(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the errors on held-out samples in the metadata of a file, by the part's name.

    They are an `Evaluation` of a regression, and an `Assessment` of a classification. Numbers
    are NaN where they were not finite, or where an older file lacks them.
    """
    read = _assessment if task_of(metadata) == "classification" else _evaluation
    return {name: read(found) for name, found in metadata.get("errors", {}).items()}


def _evaluation(found: Mapping[str, Any]) -> Evaluation:
    return Evaluation(
        samples=int(found["samples"]),
        relative=_summary(found.get("relative")),
        centred=_summary(found.get("centred")),
        output_rms=_numbers(found.get("output_rms")),
        output_relative=_numbers(found.get("output_relative")),
        output_spread=_numbers(found.get("output_spread")),
        coverage=_numbers(found.get("coverage")),
        jacobian=_jacobian(found.get("jacobian")),
    )


def _assessment(found: Mapping[str, Any]) -> Assessment:
    confusion, bins = found.get("confusion"), found.get("reliability")
    return Assessment(
        samples=int(found["samples"]),
        accuracy=_number(found.get("accuracy")),
        class_accuracy=_numbers(found.get("class_accuracy")),
        confusion=tuple(map(_numbers, confusion if isinstance(confusion, list) else [])),
        cross_entropy=_number(found.get("cross_entropy")),
        brier=_number(found.get("brier")),
        calibration_error=_number(found.get("calibration_error")),
        reliability=tuple(map(_bin, bins if isinstance(bins, list) else [])),
    )


def _bin(found: Any) -> Bin:
    found = found if isinstance(found, dict) else {}
    names = ("lower", "upper", "samples", "confidence", "accuracy")
    return Bin(**{name: _number(found.get(name)) for name in names})


def _summary(found: Any) -> ErrorSummary:
    found = found if isinstance(found, dict) else {}
    numbers = {name: _number(found.get(name)) for name in ("mean", "std", "min", "max")}
    near_zero = _number(found.get("near_zero"))
    return ErrorSummary(**numbers, near_zero=int(near_zero) if near_zero > 0 else 0)


def _jacobian(found: Any) -> dict[str, ErrorSummary]:
    return {unit: _summary(one) for unit, one in (found if isinstance(found, dict) else {}).items()}


def _numbers(found: Any) -> tuple[float, ...]:
    return tuple(map(_number, found)) if isinstance(found, list) else ()


def _number(found: Any) -> Any:
    return found if type(found) in (int, float) else math.nan


def described(surrogate: LoadedSurrogate) -> str:
    """Return a surrogate's description in one line."""
    kind, about = type(surrogate).__name__, surrogate.metadata
    said = _errors(surrogate).items()
    errors = "; ".join(f"{name} {text}" for name, text in said if name.startswith(_FIRST))
    return (
        f"{kind}({about['problem']}: {surrogate.n_in} parameters, {surrogate.n_out} "
        f"{surrogate.OUTPUTS}{f'; {errors}' if errors else ''})"
    )


def derivatives_in_words(training: Mapping[str, Any]) -> str:
    """Return which derivatives a surrogate was trained with; empty if none.

    Args:
        training: The metadata of its training, whose ``derivatives`` are a mapping of
            ``directions`` (a number of a sample, or ``all``), ``samples`` (their number), and
            ``weight`` (of the rows of derivatives beside those of values).
    """
    found = training.get("derivatives")
    if not isinstance(found, Mapping) or not found.get("samples"):
        return ""
    r, weight = found.get("directions", "all"), _number(found.get("weight"))
    where = "all y" if r == "all" else f"{r} direction{'s' * (r != 1)} a sample"
    said = f"dc/dy of {found['samples']} samples in {where}"
    return said + (f", weight {weight:.3g}" if math.isfinite(weight) else "")


def described_in_html(surrogate: LoadedSurrogate) -> str:
    """Return a table of a surrogate's sizes, errors and domain, with escaped names."""
    about, training = surrogate.metadata, surrogate.metadata["training"]
    rows = [
        ("problem", about["problem"]),
        ("parameters", listed(about["y_names"], SHOWN)),
        (surrogate.OUTPUTS, listed(about["c_names"], SHOWN)),
        ("training samples", str(training.get("samples", ""))),
        ("derivatives", derivatives_in_words(training)),
        ("chosen", str(training.get("chosen", ""))),
        *_errors(surrogate).items(),
        *(("warning", line) for line in surrogate.warnings),
    ]
    lower, upper = surrogate.bounds.tolist()
    domain: Rows = list(
        zip(
            about["y_names"][:SHOWN],
            map(number, lower),
            map(number, upper),
            about["y_units"],
            strict=False,
        )
    )
    more = surrogate.n_in - len(domain)
    title = "training domain" + (f" (the first {SHOWN} of {surrogate.n_in})" if more else "")
    parts = [
        table(type(surrogate).__name__, (), [row for row in rows if row[1]]),
        table(title, ("parameter", "lower", "upper", "unit"), domain),
    ]
    return "".join(parts)


def _errors(surrogate: LoadedSurrogate) -> dict[str, str]:
    """Return the errors in words, by their names."""
    said = {}
    for name, found in surrogate.errors.items():
        if isinstance(found, Assessment):
            said[f"accuracy, {name}"] = f"{per_cent(found.accuracy)} of {found.samples} samples"
            continue
        if not math.isnan(found.relative.mean):  # as of selected outputs
            said[f"relative error, {name}"] = f"{per_cent(found.relative.mean)} (mean)"
        if found.output_spread:
            said[f"error over spread, {name}"] = found.by_spread(surrogate.metadata["c_names"])
        for what, line in found.by_unit.items():
            said[f"error of {what}, {name}"] = line
        if len(found.coverage) == len(LEVELS):
            said[f"errors within 95 % bars, {name}"] = per_cent(found.coverage[-1])
    return said
