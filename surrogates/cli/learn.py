"""The command learn."""

from __future__ import annotations

import argparse
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from surrogates.config import check, overridden

from .console import Progress, complain, duration, warn
from .generate import add_problem_settings, take_survey
from .options import PROBLEM, Commands

_FAR = 20
"""Largest factor in the number of solves of a projection."""
_TEMPORARY_FAILURE = 75
"""Exit status after a batch system's signal, as of generate: run the same command again."""
_SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGUSR1


def add_learn(commands: Commands) -> None:
    """Add learn."""
    text = "solve and train until a surrogate has a stated error"
    sub = commands.add("learn", learn, text)
    sub.add_argument("problem", help=PROBLEM)
    sub.add_argument(
        "--target", type=float, required=True, metavar="E", help="error to reach, 0.01 for 1 %%"
    )
    sub.add_argument("--out", default=None, metavar="F.pt", help="default: the problem's name, .pt")
    sub.add_argument(
        "--budget", default=None, metavar="2000|2h", help="most solves, most time, or 2000,2h"
    )
    sub.add_argument(
        "--measure",
        choices=("relative", "spread", "worst"),
        default="relative",
        help="mean relative error (default), error over spread, or that of the worst output",
    )
    sub.add_counted("--tangents", "R", "solve for dc/dy; with R in R directions of each sample")
    sub.add_argument("--unchecked", action="store_true", help="as for generate")
    sub.add_argument(
        "--coarse",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a setting that makes a cheap solve, such as time.steps=30; may be repeated, or "
        "several with commas",
    )
    sub.add_argument(
        "--effort", choices=("fast", "default", "high"), default="default", help="as for train"
    )
    sub.add_argument(
        "--train",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="one setting of the trainings, such as network.width=16; may be repeated",
    )
    sub.add_argument("--seed", type=int, default=0, metavar="S", help="default 0")
    text = "samples of the first design; default 5 a parameter, 20 to 100"
    sub.add_argument("--first", type=int, default=None, metavar="N", help=text)
    text = "processes that solve, started by mpirun; default 1"
    sub.add_argument("--processes", type=int, default=1, metavar="P", help=text)
    text = "processes that share the mesh of a sample; default 1"
    sub.add_argument("--ranks-per-sample", type=int, default=1, metavar="R", help=text)
    text = "what starts processes in place of mpirun, such as 'srun --exact'"
    sub.add_argument("--launcher", default="", metavar="WORDS", help=text)
    text = "time limit of a sample, which fails beyond it; default 3600"
    sub.add_argument("--time-limit", type=float, default=3600.0, metavar="SECONDS", help=text)
    add_problem_settings(sub)


def learn(options: argparse.Namespace) -> int:
    """Solve and train until the error is below the target."""
    from surrogates.learning.loop import learned
    from surrogates.training import pool

    _check_alone()
    take_survey(options)
    pool.keep_memory()
    asked = _asked(options)
    with _stopping() as kinds:
        try:
            found = learned(asked, _watch(asked, kinds))
        except KeyboardInterrupt:
            complain(
                f"stopped; what was finished is in {asked.folder}: run the same command again to "
                "go on"
            )
            return _TEMPORARY_FAILURE if kinds[-1:] != [signal.SIGINT] else 130
    return _tell(found)


def _check_alone() -> None:
    """Refuse to run under mpirun: each of its processes would learn."""
    size = max(int(os.environ.get(name, "1")) for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE"))
    check(
        size == 1,
        "learn starts its solves itself: leave mpirun out, and give --processes "
        f"{size} (and --launcher, if it is not mpirun that starts processes here)",
    )


@contextmanager
def _stopping() -> Iterator[list[int]]:
    """Let SIGTERM and SIGUSR1 stop the block as Ctrl-C does; yield the signals that came.

    A training that has all but ended takes no notice of one.
    """
    kinds: list[int] = []

    def stop(kind: int, frame: object) -> None:
        kinds.append(kind)
        if len(kinds) < 3:  # a launcher may pass one on that has already come
            raise KeyboardInterrupt

    before = {kind: signal.signal(kind, stop) for kind in _SIGNALS}
    try:
        yield kinds
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _asked(options: argparse.Namespace) -> Any:
    """Return the arguments of the run."""
    from surrogates.learning.asked import Asked, Budget

    name = options.problem.rpartition(":")[2].lower()
    out = Path(f"{name}.pt" if options.out is None else options.out)
    settings, training = overridden(options.set), overridden(options.train)
    coarse = overridden(_words(options.coarse))
    same = (
        *("problem", "target", "measure", "config", "seed", "first", "effort", "tangents"),
        *("unchecked", "processes", "ranks_per_sample", "launcher", "time_limit"),
    )
    given = {key: getattr(options, key) for key in same}
    return Asked(
        out=out,
        budget=Budget.read(options.budget),
        settings=settings,
        training=training,
        coarse=coarse,
        **given,
    )


def _words(given: list[str]) -> list[str]:
    """Divide ``a=1,b=[2,3]`` at the commas before a key."""
    return [word for text in given for word in re.split(r",(?=\s*[A-Za-z_][\w.]*\s*=)", text)]


def _watch(asked: Any, kinds: list[int]) -> Any:
    """Return what shows the run, a line for each look, and bars, and ends it at a signal."""
    from surrogates.learning.estimate import percent
    from surrogates.learning.loop import Watch

    def on_look(look: Any, needed: Any) -> None:
        print(
            f"round {look.round + 1}: {look.solves} solves, error {look.estimate}; target "
            f"{percent(asked.target)} %: {_ahead(look, needed, asked.target)}",
            flush=True,
        )

    return Watch(
        on_look=on_look,
        on_note=warn,
        solving=_bar("samples"),
        training=_bar("trainings"),
        stop=lambda: bool(kinds),
    )


def _ahead(look: Any, needed: Any, target: float) -> str:
    """Return in words how far the target is."""
    if look.certifies(target):
        return "met"
    if needed.hopeless:
        return "out of reach, more samples hardly bring the error down"
    far = _FAR * look.solves
    if needed.middle > far:
        return f"more than {far} solves, too far to tell"
    low, middle, high = (max(n, look.solves) for n in (needed.low, needed.middle, needed.high))
    if low == high:
        return f"about {middle:.3g} solves"
    most = f"{high:.3g}" if high < far else "many more"
    return f"about {middle:.3g} solves ({low:.3g} to {most})"


def _bar(unit: str) -> Any:
    """Return a function that shows progress in units, as long as numbers grow on one bar."""
    bars: list[Progress] = []

    def tell(done: int, total: int, note: str) -> None:
        if not bars:
            bars.append(Progress(unit))
        bars[-1].update(done, total, note and f", {note}")
        if done >= total:
            bars.pop().close()

    return tell


def _tell(found: Any) -> int:
    """Print the outcome, and return the exit status."""
    from surrogates.learning.estimate import percent

    asked, look, estimate = found.asked, found.left, found.estimate
    if not found.new:
        print(f"{asked.out}: finished before; nothing is left to do")
    print(
        f"{asked.out}: error {estimate}, on {estimate.samples} samples that it has not seen; "
        f"trained on {look.trained}, {found.looks[-1].solves} solves in all"
    )
    print(
        f"spent: {duration(found.core_seconds)} of core time in solves, "
        f"{duration(3600 * found.hours)} in all"
    )
    print(f"samples: {asked.dataset}" + f", {asked.coarse_dataset}" * bool(asked.coarse))
    if found.why == "budget":
        complain(
            f"the target, {percent(asked.target)} %, is not met within the budget, "
            f"{asked.budget}; a larger --budget goes on"
        )
    elif found.why == "floor":
        complain(
            f"the target, {percent(asked.target)} %, seems to be out of reach: more samples hardly "
            "bring the error down. A --budget goes on all the same; --effort high may help"
        )
    return int(not found.met)
