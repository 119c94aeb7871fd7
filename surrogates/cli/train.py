"""The command train."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from surrogates.data import Dataset, read_info
from surrogates.errors import InputError

from .console import Interruption, Progress, accuracy, complain, coverage, per_cent, warn
from .options import Commands, add_settings, add_trust
from .settings import list_of_training


def add_train(commands: Commands) -> None:
    """Add train."""
    sub = commands.add("train", train, "fit a surrogate to a dataset")
    sub.add_argument("file", metavar="F.h5")
    sub.add_argument("--out", default=None, metavar="F.pt", help="default: the dataset's name, .pt")
    sub.add_argument("--optimizer", metavar="NAME", help="gnvpro (default), gn, lbfgs, adam or sgd")
    sub.add_argument(
        "--seed", type=int, default=None, metavar="S", help="seed of the first weights"
    )
    sub.add_argument("--device", metavar="NAME", help="cpu (default) or cuda")
    sub.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    sub.add_argument(
        "--from",
        dest="start",
        metavar="OLD.pt",
        help="start from a surrogate of the same inputs and outputs: more data, another fidelity",
    )
    sub.add_argument(
        "--coarse",
        metavar="COARSE.h5",
        help="with --from: samples that OLD.pt was trained on, some at the same parameters",
    )
    sub.add_argument(
        "--effort",
        choices=("fast", "default", "high"),
        default="default",
        help="fast: one training with the settings; default, high: chosen by held-out errors",
    )
    sub.add_argument(
        "--exclude", default="", metavar="ROWS", help="leave out samples, such as 3,77,100-120"
    )
    sub.add_argument(
        "--log", default="", metavar="C1,C2", help="learn logarithms of these outputs, or of all"
    )
    sub.add_argument(
        "--log-inputs", default="", metavar="Y1,Y2", help="and of these inputs, or of all"
    )
    add_trust(sub)
    add_settings(sub, list_of_training)


def train(options: argparse.Namespace) -> int:
    """Train a surrogate on a dataset."""
    from surrogates.training import pool, run

    pool.keep_memory()
    out = _out(options)
    watch = run.Watch(interruption=Interruption(), bar=Progress)
    try:
        found = run.run(_request(options), out, watch)
    except pool.Interrupted:
        complain("interrupted before anything was chosen; nothing is written")
        return 130
    if found.trained is None:
        print(f"{out}: finished before, with these settings: nothing is left to do")
        return 0
    return _tell(found, out)


def _out(options: argparse.Namespace) -> Path:
    """Return the file that the training writes."""
    if options.out is None and not Path(options.file).name:
        raise InputError(f"there is no file {options.file!r}")
    return Path(options.file).with_suffix(".pt") if options.out is None else Path(options.out)


def _request(options: argparse.Namespace) -> Any:
    """Return the arguments of the training."""
    from surrogates.training.run import Request
    from surrogates.training.settings import DEVICE, OPTIMIZER, SEED, settings_of

    named = {OPTIMIZER: options.optimizer, SEED: options.seed, DEVICE: options.device}
    overrides = [f"{key}={value}" for key, value in named.items() if value is not None]
    task = read_info(options.file)[0].task
    settings, given = settings_of(options.config, task, [*options.set, *overrides])
    return Request(
        read=lambda: Dataset.read(options.file),
        settings=settings,
        given=given,
        effort=options.effort,
        log=_names(options.log),
        log_inputs=_names(options.log_inputs),
        exclude=options.exclude,
        start=None if options.start is None else _start(options),
        coarse=None if options.coarse is None else lambda: Dataset.read(options.coarse),
        resume=options.resume,
    )


def _start(options: argparse.Namespace) -> Callable[[], Any]:
    """Return a function that reads the surrogate to start from."""
    from surrogates.training.weights import Start

    return lambda: Start.read(options.start, trust=options.trust)


def _names(text: str) -> list[str]:
    """Read names that are separated by commas outside of brackets."""
    return [name.strip() for name in re.split(r",(?![^(]*\))", text) if name.strip()]


def _tell(finished: Any, out: Path) -> int:
    """Print a surrogate's errors, and return the exit status."""
    from surrogates.training.run import Output

    found, fault, output = finished.trained, finished.history_fault, Output(out)
    interrupted = 130 if found.interrupted else 0
    if finished.rank:
        return interrupted
    if fault:
        complain(fault)
    units = f", {found.history[-1].work_units} work units" if not found.tried else ""
    print(
        f"{out}: {found.training['samples']} training samples{units} in {found.seconds:.1f} s "
        f"({found.reason})"
    )
    _tell_errors(found, finished.dataset.info)
    print(f"history: {output.records if finished.written and not fault else 'none'}")
    for warning in found.warnings:
        warn(warning)
    if interrupted:
        complain(f"interrupted; {_left(finished, output)}")
    return interrupted or int(bool(fault))


def _left(finished: Any, output: Any) -> str:
    """Say what an interrupted training has left."""
    found, out = finished.trained, output.path
    if not finished.written:
        return f"{out} was there before, and is left as it was"
    if found.tried:
        return f"{out} is the best of what was tried so far"
    more = "--resume goes on" if found.kept else f"{output.checkpoint} is not of this moment"
    return f"{out} has the best weights so far, {more}"


def _tell_errors(found: Any, info: Any) -> None:
    """Print the candidates, and the held-out errors."""
    from surrogates.model.summaries import Assessment

    if found.tried:
        print(_tried(found.tried, info.task))
    if (members := found.training.get("members", 1)) > 1:
        print(f"members:{'':23}{members}; a call costs about as much as {members} of one")
    for name, errors in found.errors.items():
        where = "held out:" if found.tried and name == "validation" else f"{name}:"
        if isinstance(errors, Assessment):
            print(f"accuracy, {where:<17}{accuracy(errors)}")
            continue
        print(f"error over spread, {where:<12}{errors.by_spread(info.c_names)}")
        print(f"relative error, {where:<15}{errors.relative}")
        for what, line in errors.by_unit.items():
            print(f"{f'error of {what}, {where}':<30} {line}")
        if errors.coverage:
            print(f"error bars, {where:<19}{coverage(errors.coverage)}")
    if "temperature" in found.training:
        print(f"temperature:{'':15}{found.training['temperature']:.4g}")


def _tried(tried: Any, task: str) -> str:
    """Return a line with the candidates, the best first."""
    if task == "classification":
        errors = (f"{one.name}: {per_cent(one.error)}, {one.cross_entropy:.3g}" for one in tried)
        return f"tried, wrong and cross-entropy: {'; '.join(errors)}"
    said = ", ".join(f"{one.name} {one.error:.3g}" for one in tried)
    return f"tried, error over spread:{'':6}{said}"
