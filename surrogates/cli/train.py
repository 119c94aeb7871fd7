"""The command train."""

from __future__ import annotations

import argparse
import re
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from surrogates import config
from surrogates.data import Dataset, read_info
from surrogates.errors import InputError
from surrogates.files import check_writable, remove_leftovers

from .console import Interruption, Progress, accuracy, complain, coverage, per_cent, warn
from .data import check_out


def train(options: argparse.Namespace) -> int:
    """Train a surrogate on a dataset."""
    from surrogates.training import fit, pool, processes
    from surrogates.training import train as training

    if options.out is None and not Path(options.file).name:
        raise InputError(f"there is no file {options.file!r}")
    pool.keep_memory()
    out = Path(options.file).with_suffix(".pt") if options.out is None else Path(options.out)
    checkpoint, records = out.with_suffix(".checkpoint"), out.with_suffix(".history.jsonl")
    settings, given = _settings(options, fit.DEFAULTS[read_info(options.file)[0].task])
    with processes.of_environment(settings.device) as over:
        over.on_root(lambda: _prepare_training(out, checkpoint, records, options.resume))
        dataset = over.on_each(lambda: _training_set(options))
        logs = training.logs_of(dataset, _names(options.log), _names(options.log_inputs))
        selecting = over.size == 1 and training.chooses(dataset, settings, options.effort)
        effort = options.effort if selecting else "fast"
        start = over.on_each(lambda: _start(options, dataset, logs))
        if start is not None and not selecting:
            _, settings = over.on_each(lambda: start.network(settings, given))
        if options.resume and _is_trained(out, checkpoint, dataset, settings, logs, effort, start):
            print(f"{out}: finished before, with these settings: nothing is left to do")
            return 0
        config.check(
            not (options.resume and selecting and (out.exists() or checkpoint.exists())),
            f"no checkpoint is kept of a choice by held-out errors: leave --resume out, or go on "
            f"with a training of one network, {checkpoint}, by --effort fast",
        )
        unit = "trainings" if selecting else "work units"
        progress = Progress(unit) if over.rank == 0 else None
        try:
            with Interruption() as interruption:
                found = training.train(
                    dataset,
                    settings,
                    given=given,
                    effort=options.effort,
                    logs=logs,
                    start=start,
                    checkpoint=None if selecting else checkpoint,
                    resume=options.resume,
                    on_iteration=_notes(progress, settings),
                    on_progress=progress.update if progress is not None else None,
                    stop=lambda: interruption.asked,
                    over=over,
                )
        except ConnectionError as error:
            raise ConnectionError(f"{error}; go on with --resume, from {checkpoint}") from error
        except pool.Interrupted:
            complain("interrupted before anything was chosen; nothing is written")
            return 130
        finally:
            if progress is not None:
                progress.close()
    if over.rank:
        return 130 if found.interrupted else 0
    status = _write_trained(found, dataset, out, checkpoint, records)
    if selecting:  # that of a training whose surrogate was there before
        checkpoint.unlink(missing_ok=True)
    return status


def _settings(options: argparse.Namespace, defaults: Any) -> tuple[Any, frozenset[str]]:
    """Read the settings of a training, and the names of those that were given."""
    named = {"optimizer": options.optimizer, "seed": options.seed, "device": options.device}
    given = [f"{name}={value}" for name, value in named.items() if value is not None]
    overrides = [*options.set, *given]
    settings = config.read(type(defaults), options.config, overrides, defaults)
    names = {text.partition("=")[0].strip() for text in overrides}
    return settings, frozenset(names | config.keys(options.config))


def _training_set(options: argparse.Namespace) -> Dataset:
    """Read the dataset, without the samples that are left out."""
    from surrogates.data.ranges import read_rows
    from surrogates.training.train import without

    dataset = Dataset.read(options.file)
    if not options.exclude:
        return dataset
    return without(dataset, read_rows(options.exclude, len(dataset.Y)).tolist())


def _start(options: argparse.Namespace, dataset: Dataset, logs: Any) -> Any:
    """Read the surrogate that the training starts from; None where none is named."""
    from surrogates.training.weights import Start

    if options.start is None:
        return None
    start = Start.read(options.start, trust=options.trust)
    start.check(dataset, logs)
    return start


def _names(text: str) -> list[str]:
    """Read names that are separated by commas outside of brackets."""
    return [name.strip() for name in re.split(r",(?![^(]*\))", text) if name.strip()]


def _notes(progress: Any, settings: Any) -> Callable[[Any], None]:
    """Return what tells of an iteration."""

    def note(record: Any) -> None:
        if progress is not None:
            progress.update(
                record.work_units,
                settings.levels * settings.work_units,
                f", level {record.level + 1}, iteration {record.iteration}, "
                f"loss {record.train_loss:.2e}, validation loss {record.validation_loss:.2e}",
            )

    return note


def _is_trained(
    out: Path,
    checkpoint: Path,
    dataset: Dataset,
    settings: Any,
    logs: Any,
    effort: str,
    start: Any,
) -> bool:
    """Tell whether a file is what this training would write, and there is none to go on with."""
    from surrogates.model import file as export

    def marks(logs: Any) -> Any:
        return logs and [np.asarray(mark).tolist() for mark in (logs.inputs, logs.outputs)]

    if not out.exists() or (checkpoint.exists() and effort == "fast"):
        return False
    there = export.load(out)
    training = there.metadata["training"]
    return bool(
        there.metadata.get("dataset", {}).get("digest") == dataset.digest
        and training.get("settings") == export.plain(settings)
        and marks(getattr(there.module, "logs", None)) == marks(logs)
        and training.get("effort", "fast") == effort
        and training.get("from") == (start and start.digest)
    )


def _save_trained(found: Any, dataset: Dataset, out: Path, checkpoint: Path) -> None:
    """Write the surrogate; where it cannot be, say where the training is kept instead.

    Raises:
        OSError: If it is not written. Nothing is lost by that: there is a checkpoint of the
            training's end, or the surrogate is in a temporary folder, or, where that is full as
            well, the last checkpoint stays as it is.
    """
    from surrogates.model import file as export

    about = export.metadata(dataset, training=found.training, errors=found.errors)

    def save(path: Path) -> None:
        try:
            export.save(found.surrogate, about, path, found.weights)
        except InputError as error:  # its folder has gone, say
            raise OSError(str(error)) from error

    try:
        save(out)
        return
    except OSError as error:
        if found.kept:
            raise OSError(
                f"{error}; the training is in {checkpoint}: make room, and --resume writes it"
            ) from error
        full = error
    safe = Path(tempfile.mkdtemp(prefix="surrogates-")) / out.name  # for this user alone
    try:
        save(safe)
    except OSError:
        safe.parent.rmdir()
        raise full from None
    try:
        checkpoint.unlink(missing_ok=True)  # of an earlier moment; its room may do
        save(out)
    except OSError:
        raise OSError(f"{full}; the surrogate is in {safe}: move it") from None
    safe.unlink()
    safe.parent.rmdir()


def _write_trained(found: Any, dataset: Dataset, out: Path, checkpoint: Path, records: Path) -> int:
    """Write the surrogate and its history, say how good it is, and return the exit status."""
    from surrogates.model import classifier
    from surrogates.training import history

    _save_trained(found, dataset, out, checkpoint)
    status = 0
    try:
        history.write(records, found.history)
    except (InputError, OSError) as error:  # its folder has gone, say
        complain(str(error))
        status = 1
    units = f", {found.history[-1].work_units} work units" if not found.tried else ""
    print(
        f"{out}: {found.training['samples']} training samples{units} in {found.seconds:.1f} s "
        f"({found.reason})"
    )
    if found.tried:
        print(_tried(found.tried, dataset.info.task))
    if (members := found.training.get("members", 1)) > 1:
        print(f"members:{'':23}{members}; a call costs about as much as {members} of one")
    for name, errors in found.errors.items():
        where = "held out:" if found.tried and name == "validation" else f"{name}:"
        if isinstance(errors, classifier.Assessment):
            print(f"accuracy, {where:<17}{accuracy(errors)}")
            continue
        print(f"error over spread, {where:<12}{errors.by_spread(dataset.info.c_names)}")
        print(f"relative error, {where:<15}{errors.relative}")
        if errors.coverage:
            print(f"error bars, {where:<19}{coverage(errors.coverage)}")
    if "temperature" in found.training:
        print(f"temperature:{'':15}{found.training['temperature']:.4g}")
    print(f"history: {records}" if not status else "history: none")
    for warning in found.warnings:
        warn(warning)
    if found.interrupted:
        more = "--resume goes on" if found.kept else f"{checkpoint} is not of this moment"
        complain(f"interrupted; {out} has the best weights so far, {more}")
    return 130 if found.interrupted else status


def _tried(tried: Any, task: str) -> str:
    """Return what was tried in a line, the best first."""
    if task == "classification":
        errors = (f"{one.name}: {per_cent(one.error)}, {one.cross_entropy:.3g}" for one in tried)
        return f"tried, wrong and cross-entropy: {'; '.join(errors)}"
    said = ", ".join(f"{one.name} {one.error:.3g}" for one in tried)
    return f"tried, error over spread:{'':6}{said}"


def _prepare_training(out: Path, checkpoint: Path, records: Path, resume: bool) -> None:
    """Refuse paths that would cost something, and remove what a killed run has left."""
    from surrogates.training.fit import is_finished

    check_out(out)
    config.check(out.suffix == ".pt", f"a surrogate's file ends in .pt; got {str(out)!r}")
    if out.exists() and not zipfile.is_zipfile(out):
        raise InputError(f"{out} is not a surrogate; it is left as it is, give another --out")
    if checkpoint.exists() and not resume and not is_finished(checkpoint):
        raise InputError(
            f"{checkpoint} is of a training that was interrupted: go on with --resume, or remove it"
        )
    for path in (out, checkpoint, records):
        check_writable(path)
        remove_leftovers(path)
