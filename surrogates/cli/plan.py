"""The command plan."""

from __future__ import annotations

import argparse
import json

from .console import Progress
from .options import Commands, add_settings, add_trust
from .settings import list_of_training


def add_plan(commands: Commands) -> None:
    """Add plan."""
    sub = commands.add("plan", plan, "estimate how many samples a stated error takes")
    sub.add_argument("file", metavar="F.h5")
    sub.add_argument(
        "--target", type=float, default=0.01, metavar="E", help="the error; default 0.01, 1 %%"
    )
    sub.add_argument(
        "--measure",
        choices=("relative", "spread", "worst"),
        default="relative",
        help="mean relative error (default), error over spread, or the worst output's",
    )
    sub.add_argument(
        "--surrogate", metavar="F.pt", help="one that was trained on these samples: its error, time"
    )
    sub.add_argument(
        "--effort",
        choices=("fast", "default"),
        default="default",
        help="of the training that is planned: fast, one network; default, a choice",
    )
    sub.add_argument("--seed", type=int, default=None, metavar="S", help="seed of the subsets")
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub.add_argument("--plot", metavar="F.png", help="draw the learning curve; or .pdf, .svg")
    add_trust(sub)
    add_settings(sub, list_of_training)


def plan(options: argparse.Namespace) -> int:
    """Estimate the samples that an error takes."""
    import surrogates
    from surrogates.training import pool
    from surrogates.training.planning import plan as planning

    pool.keep_memory()
    told = None
    if options.surrogate is not None:
        told = surrogates.load(options.surrogate, trust=options.trust)
    found = planning.planned(
        options.file,
        options.target,
        measure=options.measure,
        surrogate=told,
        config=options.config,
        overrides=options.set,
        effort=options.effort,
        seed=options.seed,
        bar=Progress,
    )
    if options.plot is not None:
        found.plot(options.plot)
    if options.json:
        print(json.dumps(found.as_dict(), indent=2, allow_nan=False))
        return 0
    print(found)
    if options.plot is not None:
        print(f"figure:           {options.plot}")
    return 0
