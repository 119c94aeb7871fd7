"""Commands that draw: plot history, parity, observations, confusion, reliability."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from surrogates.data import Dataset
from surrogates.errors import InputError

from .generate import add_model, drawn
from .options import Commands, add_figure, add_part, add_trust
from .use import load_both


def add_plots(commands: Commands) -> None:
    """Add plot, with a command for each figure."""
    plots = Commands(
        commands.group("plot", "draw a training, predictions or a solution"), "plots", "PLOT"
    )
    sub = plots.add("history", plot_history, "loss and error against work units, or time")
    add_figure(sub)
    sub.add_argument("histories", nargs="+", metavar="F.history.jsonl")
    sub.add_argument("--against", choices=("work", "time"), default="work", help="default work")
    for name, run, text in (
        ("parity", plot_parity, "predicted against true observables"),
        ("observations", plot_observations, "predicted and true observables of a few samples"),
        ("confusion", plot_confusion, "true against predicted classes"),
        ("reliability", plot_reliability, "accuracy against the probability of a class"),
    ):
        sub = plots.add(name, run, text)
        add_figure(sub)
        sub.add_argument("surrogate", metavar="F.pt")
        sub.add_argument("file", metavar="F.h5")
        add_part(sub)
        add_trust(sub)
    add_model(plots)


def plot_history(options: argparse.Namespace) -> int:
    """Draw the histories of trainings."""
    from surrogates.plots.history import history as draw
    from surrogates.training import history

    labels = [Path(path).name.removesuffix(".history.jsonl") for path in options.histories]
    if len(set(labels)) < len(labels):
        labels = options.histories
    records = dict(zip(labels, map(history.read, options.histories), strict=True))
    draw(records, options.out, against=options.against)
    return drawn(options)


def _load_for_plot(options: argparse.Namespace, task: str) -> tuple[Any, Dataset]:
    """Load both files; refuse a surrogate of another task than the plot's."""
    surrogate, dataset = load_both(options)
    if dataset.info.task != task:
        is_for = dataset.info.task
        plots = "parity or observations" if is_for == "regression" else "confusion or reliability"
        raise InputError(f"{options.surrogate} is for {is_for}: draw it by plot {plots}")
    return surrogate, dataset


def plot_parity(options: argparse.Namespace) -> int:
    """Draw predictions against observables."""
    from surrogates.plots.regression import parity

    surrogate, dataset = _load_for_plot(options, "regression")
    Y, C = dataset.part(options.split)
    parity(surrogate.predict(Y), C, options.out)
    return drawn(options)


def plot_observations(options: argparse.Namespace) -> int:
    """Draw observables and predictions of one sample."""
    from surrogates.plots.regression import observations

    surrogate, dataset = _load_for_plot(options, "regression")
    Y, C = dataset.part(options.split)
    mean = surrogate.training_mean
    observations(surrogate.predict(Y), C, dataset.info, options.out, mean=mean)
    return drawn(options)


def plot_confusion(options: argparse.Namespace) -> int:
    """Draw a confusion matrix."""
    from surrogates.plots.classification import confusion

    surrogate, dataset = _load_for_plot(options, "classification")
    found = surrogate.evaluate(dataset, options.split)
    confusion(found.confusion, surrogate.class_names, options.out)
    return drawn(options)


def plot_reliability(options: argparse.Namespace) -> int:
    """Draw the calibration of probabilities."""
    from surrogates.plots.classification import reliability

    surrogate, dataset = _load_for_plot(options, "classification")
    reliability(surrogate.evaluate(dataset, options.split), options.out)
    return drawn(options)
