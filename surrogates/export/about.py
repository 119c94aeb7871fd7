"""What an export says of a surrogate in comments: its origin, its errors, its names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def about(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Return lines on a surrogate's origin and its errors, as far as the metadata know them."""
    for key in ("problem", "created", "command"):
        if key in metadata:
            yield f"{key}: {quoted(metadata[key])}"
    if "dataset" in metadata:
        yield f"digest of the dataset: {quoted(metadata['dataset']['digest'])}"
    for part, errors in metadata.get("errors", {}).items():
        on = f"on {errors['samples']} samples ({quoted(part)})"
        if "accuracy" in errors:
            yield (
                f"accuracy {on}: {errors['accuracy']:.1%}, "
                f"expected calibration error {errors['calibration_error']:.1%}"
            )
        elif errors.get("relative", {}).get("mean") is not None:
            relative = errors["relative"]
            yield f"relative error {on}: mean {relative['mean']:.3%}, max {relative['max']:.3%}"


def quoted(text: str) -> str:
    """Return any text as a JSON string without control characters."""
    chars = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in chars)
