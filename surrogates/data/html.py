"""A dataset as a notebook shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from surrogates.errors import listed
from surrogates.notebook import SHOWN, number, table

from .derivatives import in_words
from .description import PARTS, Split, Status

if TYPE_CHECKING:
    from .dataset import Dataset


def shown(dataset: Dataset) -> str:
    """Return tables of a dataset's sizes and bounds, its names escaped."""
    info, done = dataset.info, dataset.status == Status.DONE
    failed = int((dataset.status == Status.FAILED).sum())
    sizes = [int((done & (dataset.split == Split[name.upper()])).sum()) for name in PARTS]
    rows = {
        "problem": info.problem,
        "task": info.task,
        "samples": str(len(dataset.Y)),
        "train, validation, test": ", ".join(map(str, sizes)),
        "failed": str(failed) if failed else "",
        "parameters": listed(info.y_names, SHOWN),
        "classes" if info.task == "classification" else "observables": listed(info.c_names, SHOWN),
        "derivatives": in_words(info),
        "mesh": info.mesh,
        "notes": " ".join(f"{note}." for note in info.notes),
    }
    ends = (map(number, end) for end in (info.y_lower, info.y_upper))
    bounds = list(zip(info.y_names, *ends, info.y_units, strict=True))
    more = f" (the first {SHOWN} of {len(bounds)})" if len(bounds) > SHOWN else ""
    return table("Dataset", (), [row for row in rows.items() if row[1]]) + table(
        f"bounds{more}", ("parameter", "lower", "upper", "unit"), bounds[:SHOWN]
    )
