"""A dataset as a notebook shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from surrogates.notebook import listed, number, table

from .description import PARTS, Split, Status

if TYPE_CHECKING:
    from .dataset import Dataset

_SHOWN = 12  # parameters in a table


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
        "parameters": listed(info.y_names),
        "classes" if info.task == "classification" else "observables": listed(info.c_names),
        "mesh": info.mesh,
        "notes": " ".join(f"{note}." for note in info.notes),
    }
    ends = (map(number, end) for end in (info.y_lower, info.y_upper))
    bounds = list(zip(info.y_names, *ends, info.y_units, strict=True))
    more = f" (the first {_SHOWN} of {len(bounds)})" if len(bounds) > _SHOWN else ""
    return table("Dataset", (), [row for row in rows.items() if row[1]]) + table(
        f"bounds{more}", ("parameter", "lower", "upper", "unit"), bounds[:_SHOWN]
    )
