"""The surrogate that a run leaves: its file says what was measured on the fresh samples."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from surrogates.data import Split
from surrogates.errors import InputError
from surrogates.files import atomic

from .asked import Asked
from .policy import CONFIDENCE, Look
from .samples import joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from surrogates.model.loaded import LoadedSurrogate


def write(
    surrogate: LoadedSurrogate, look: Look, asked: Asked, fresh: Sequence[Path], folder: Path
) -> bool:
    """Write the surrogate with the errors on samples that it has not seen, as its test errors.

    Its numbers stay the same to the bit. ``metadata["learned"]`` has the error in the measure of
    the run, its interval, the target, whether it is met, and the solves.

    Args:
        surrogate: The surrogate of a round.
        look: The last look at it.
        asked: The arguments of the run, with the file's name.
        fresh: Files of the fresh samples.
        folder: The run's folder.

    Returns:
        Whether it was written. A file that says the same, but for rounding, is left as it is.
    """
    from surrogates.model import torchscript
    from surrogates.model.describe import plain
    from surrogates.model.file import METADATA

    learned = plain(_learned(look, asked))
    if asked.out.exists() and _says(asked.out, surrogate, learned):
        return False
    data = joined(fresh, folder)
    unseen = dataclasses.replace(data, split=np.full(len(data.Y), Split.TEST, np.uint8))
    errors = {**surrogate.metadata["errors"], "test": plain(surrogate.evaluate(unseen))}
    about = {**surrogate.metadata, "errors": errors, "learned": learned}
    text = json.dumps(plain(about), indent=1, allow_nan=False).encode()
    content = torchscript.pack({**surrogate.members, f"extra/{METADATA}": text})
    with atomic(asked.out) as beside:
        beside.write_bytes(content)
    return True


def _says(path: Path, surrogate: LoadedSurrogate, learned: dict[str, Any]) -> bool:
    """Return whether a file has a surrogate, and says this of it.

    Predictions of one surrogate differ by rounding from call to call, and so do their errors.
    """
    import surrogates
    from surrogates.model.file import METADATA

    try:
        there = surrogates.load(path)
    except InputError:
        return False
    name = f"extra/{METADATA}"
    ours, theirs = ({**one.members, name: b""} for one in (surrogate, there))
    said = there.metadata.get("learned", {})
    return ours == theirs and all(
        math.isclose(value, said.get(key, math.nan), rel_tol=1e-9)
        if isinstance(value, float)
        else value == said.get(key)
        for key, value in learned.items()
    )


def _learned(look: Look, asked: Asked) -> dict[str, Any]:
    """Return what a run has found, for the metadata."""
    one = look.estimate
    return {
        "measure": asked.measure,
        "error": one.value,
        "lower": one.lower,
        "upper": one.upper,
        "samples": one.samples,
        "failed": one.failed,
        "target": asked.target,
        "met": look.certifies(asked.target),
        "confidence": CONFIDENCE,
        "solves": look.solves,
    }
