"""The command info, which describes a dataset, a surrogate or an unfinished run."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from surrogates import config
from surrogates.data import PARTS, Info, Status, Stored, Summary, opened
from surrogates.data.derivatives import in_words
from surrogates.folders import Folder
from surrogates.pde.ensemble import lock
from surrogates.pde.ensemble.journal import DESCRIPTION, Journal, described

from .console import duration, per_cent, print_rows
from .options import Commands


def add_info(commands: Commands) -> None:
    """Add info."""
    text = "say what a dataset or a surrogate is, or how far a run is"
    commands.add("info", info, text).add_argument("file")


_LINES = 12  # of parameters' bounds


def info(options: argparse.Namespace) -> int:
    """Describe a dataset or a surrogate, or the progress of a run."""
    if Path(options.file).is_file() and h5py.is_hdf5(options.file):
        with opened(options.file) as stored:
            _print_dataset(stored)
        return 0
    if folder := run_folder(options.file):
        _print_run(folder)
        return 0
    if Path(options.file).suffix == ".npz":
        from surrogates.export import npz

        _print_surrogate(npz.load(options.file).metadata, "none: numbers and texts alone")
        return 0
    from surrogates.model import file as export

    about, refused = export.read_metadata(options.file)
    known = "functions of tensors alone, which read and write no files"
    code = f"NOT KNOWN TO BE HARMLESS: {refused}" if refused else known
    _print_surrogate(about, code)
    print("all of it:        unzip -p FILE '*/extra/metadata.json'")
    return 0


def _print_surrogate(about: Mapping[str, Any], code: str) -> None:
    """Print the metadata of a surrogate file; ``code`` says whether its code is harmless."""
    from surrogates.model.metadata import task_of
    from surrogates.model.recorded import derivatives_in_words

    training, dataset = about["training"], about.get("dataset", {})
    y, c = about["y_names"], about["c_names"]
    task = task_of(about)
    classifies = task == "classification"
    command = f"by {about['command']}" if "command" in about else ""
    print_rows(
        {
            "problem": about["problem"],
            "task": task,
            "takes": f"{len(y)} parameters, {y[0]} to {y[-1]}",
            "gives": f"{len(c)} {'classes' if classifies else 'observables'}, {c[0]} to {c[-1]}",
            **(_told_classes(about) if classifies else _told_errors(about)),
            "learned": _told_learned(about.get("learned")),
            "training": ", ".join(
                f"{training[key]}{unit}"
                for key, unit in (
                    ("optimizer", ""),
                    ("samples", " samples"),
                    ("work_units", " work units"),
                )
                if key in training
            ),
            "derivatives": derivatives_in_words(training),
            "chosen": training.get("chosen", ""),
            "settings": _settings(training.get("settings", {})),
            "dataset": f"{dataset['digest']}, by {dataset.get('command') or 'unknown'}"
            if dataset
            else "",
            "created": f"{about.get('created', '')} {command}".strip(),
            "revision": about.get("revision", ""),
            "versions": _versions(about.get("versions", {})),
            "code": code,
        }
    )


def _settings(settings: Mapping[str, Any]) -> str:
    told = config.flat(settings).items()
    return ", ".join(f"{key} {config.AUTO if value is None else value}" for key, value in told)


def _told_errors(about: Mapping[str, Any]) -> dict[str, str]:
    """Return the errors of a regression, by the part of the dataset."""
    from surrogates.model.recorded import recorded

    keys, told = ("mean", "std", "min", "max"), {}
    for part, found in about.get("errors", {}).items():
        if "relative" not in found:  # of some outputs of a surrogate
            continue
        told[f"{part} error"] = (
            "undefined, as a sample has c = 0"
            if any(found["relative"][key] is None for key in keys)
            else ", ".join(f"{key} {found['relative'][key]:.3%}" for key in keys)
        )
        slopes = recorded(about)[part].by_unit.items()  # titles: dc/dy, or dc/dy [unit]
        lines = [f"{what.removeprefix('dc/dy')} {line}".strip() for what, line in slopes]
        told[f"{part} dc/dy"] = "; ".join(lines)  # the error of it; no row without one
    return told


def _told_learned(found: Any) -> str:
    """Return the error that `surrogates learn` has certified; empty if there is none."""
    keys = ("error", "lower", "upper", "target")
    if not isinstance(found, dict) or not all(isinstance(found.get(key), float) for key in keys):
        return ""
    error, lower, upper, target = (f"{100 * found[key]:.3g} %" for key in keys)
    met = "met" if found.get("met") is True else "not met"
    return f"{found.get('measure')} error {error} ({lower} to {upper}), target {target} {met}"


def _told_classes(about: Mapping[str, Any]) -> dict[str, str]:
    """Return the accuracy of a classifier and its calibration."""
    shares = {
        name: ", ".join(
            f"{per_cent(found[name])} ({part})"
            for part, found in about.get("errors", {}).items()
            if found[name] is not None
        )
        for name in ("accuracy", "calibration_error")
    }
    temperature = about["training"].get("temperature")
    known = [] if temperature is None else [f"temperature {temperature:.4g}"]
    if shares["calibration_error"]:
        known.append(f"expected calibration error {shares['calibration_error']}")
    return {"accuracy": shares["accuracy"], "calibration": ", ".join(known)}


def _print_dataset(stored: Stored) -> None:
    info, found = stored.info, stored.summary()
    status = ", ".join(f"{n} {value.name.lower()}" for value, n in found.status.items() if n)
    spread = found.spread[np.isfinite(found.spread)]
    rows = {
        "problem": info.problem,
        "samples": f"{size(stored)}; {status}",
        "task": info.task,
        "split": ", ".join(f"{n} {name}" for name, n in found.split.items()),
        "design": f"{info.design or 'unknown'}, seed {info.seed}",
    }
    print_rows(rows)
    for text in _bounds(info):
        print_rows({"y": text})
    rows = {
        "c": f"{_range(found.c_range)} ({info.c_names[0]} to {info.c_names[-1]})",
        "spread of c": f"{spread.min():.1%} to {spread.max():.1%} of the size of an output"
        if len(spread)
        else "",
        "missing in c": f"{found.missing} entries, masked" if found.missing else "",
        "derivatives": _gaps(found),
        "mesh": info.mesh,
        "files": ", ".join(f"{name} {sha[:12]}" for name, sha in info.files.items()),
    }
    if found.classes is not None:
        del rows["c"], rows["spread of c"]
    elif not found.status[Status.DONE]:
        del rows["c"]
    print_rows(rows)
    if found.classes is not None:
        _print_classes(info.c_names, found.classes)
    for n, maker in zip(found.made_by, info.makers, strict=True):
        print_rows(
            {
                "created": f"{maker['created']} by {maker['command']}"
                + (f" ({n} samples)" if info.later_makers else ""),
                "revision": maker["revision"],
                "versions": _versions(maker["versions"]),
            }
        )
    for note in info.notes:
        print_rows({"note": note})
    print_rows({"digest": found.digest})
    if info.config:
        print("configuration:")
        print("\n".join(f"    {line}" for line in info.config.splitlines() if line))


def _gaps(found: Summary) -> str:
    """Return which derivatives are left out of trainings; empty if none are."""
    n, done = found.derivatives, found.status[Status.DONE]
    if not n or (n == done and not found.derivative_gaps):
        return ""
    text = f"{n} of {done} done samples have them"
    if found.derivative_gaps:
        text += f"; {found.derivative_gaps} of their {found.derivative_rows} rows are not finite"
        text += " and are left out"
    return text


def _bounds(info: Info) -> list[str]:
    """Return the bounds of the parameters, one line for neighbours with equal bounds and units."""
    groups: list[list[int]] = []
    for k in range(len(info.y_names)):
        about = (info.y_lower[k], info.y_upper[k], info.y_units[k])
        first = groups[-1][0] if groups else k
        same = about == (info.y_lower[first], info.y_upper[first], info.y_units[first])
        if groups and same:
            groups[-1].append(k)
        else:
            groups.append([k])
    lines = []
    for group in groups[:_LINES]:
        first, last = group[0], group[-1]
        names = info.y_names[first] + (f" to {info.y_names[last]}" if last > first else "")
        unit = "" if info.y_units[first] in ("", "1") else f" {info.y_units[first]}"
        lines.append(f"{names}: {_range((info.y_lower[first], info.y_upper[first]))}{unit}")
    rest = sum(map(len, groups[_LINES:]))
    return [*lines, f"and {rest} more parameters"] if rest else lines


def _print_classes(names: Sequence[str], counts: Any) -> None:
    """Print the samples of each class and part; counts are (n_classes, 3)."""
    width = max(16, *map(len, names)) + 2
    print(f"{'classes:':{width}}{''.join(f'{part:>12}' for part in PARTS)}")
    for name, row in zip(names, counts.tolist(), strict=True):
        print(f"{'  ' + name:{width}}{''.join(f'{n:12}' for n in row)}")


def _print_run(folder: Folder) -> None:
    """Print the progress of a run from the files in its folder."""
    info = described(folder)
    journal, state, running = Journal(folder, info), lock.progress(folder), lock.held(folder)
    blocks = journal.all_blocks()
    done, failed = sum(b.count for b in blocks), sum(b.failed for b in blocks)
    total = state.get("total", info.total)
    rate = state["solved"] / state["seconds"] if state.get("solved") else 0.0
    left = f"about {duration((total - done) / rate)} left" if running and rate else ""
    print_rows(
        {
            "problem": info.problem,
            "run": "running" if running else "not running",
            "where": f"process {state['pid']} on {state['host']}" if state else "",
            "samples": f"{total}: {done} done, {failed} of them failed, {total - done} missing",
            "rate": f"{rate:.3g} a second{', ' * bool(left)}{left}" if rate else "",
            "design": f"{info.design}, seed {info.seed}",
            "mesh": info.mesh,
            "command": info.makers[-1]["command"],
        }
    )
    if not running:
        print("the same command goes on with it")


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def size(stored: Stored) -> str:
    """Return the size of a dataset in words."""
    info = stored.info
    kind = "classes" if info.task == "classification" else "outputs"
    text = f"{len(stored)} samples, {len(info.y_names)} parameters, {len(info.c_names)} {kind}"
    derivatives = in_words(info)
    return f"{text}, with {derivatives}" if derivatives else text


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.4g} to {ends[1]:.4g}"


def run_folder(path: str) -> Folder | None:
    """Open the folder of an unfinished run; return None if there is none.

    Args:
        path: The folder, or the dataset that the run will write.
    """
    beside = Path(f"{path}.parts")
    for place in (Path(path), beside):
        if place.is_dir() and not (place == beside and Path(path).exists()):
            folder = Folder.there(place)
            config.check(
                folder.stat(DESCRIPTION) is not None,
                f"{place} has nothing to show yet, or is not the folder of a run",
            )
            return folder
    return None
