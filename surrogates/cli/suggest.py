"""The command ``surrogates suggest``."""

from __future__ import annotations

import argparse

import surrogates

from .data import check_out
from .options import Commands, add_trust

_ERRORS = {
    "relative": "relative error",
    "spread": "error over spread",
    "worst": "error over spread of the worst output",
}


def add_suggest(commands: Commands) -> None:
    """Add suggest."""
    from surrogates.design.candidates import DOMAINS
    from surrogates.design.sizes import MEASURES

    sub = commands.add("suggest", suggest, "choose the samples to solve for next, by a surrogate")
    sub.add_argument("surrogate", metavar="F.pt")
    sub.add_argument("--samples", type=int, required=True, metavar="N", help="their number")
    sub.add_argument("--out", required=True, metavar="next.h5|.csv|.npy")
    sub.add_argument("--seed", type=int, default=0, help="seed of the candidates; default 0")
    sub.add_argument(
        "--measure",
        choices=MEASURES,
        default="relative",
        help="error that the samples reduce: of c relative to its size, relative to the outputs' "
        "spreads, or of the worst output; default relative",
    )
    sub.add_argument(
        "--domain",
        choices=DOMAINS,
        default="problem",
        help="where samples may lie: where the problem draws its own, or between those that the "
        "surrogate was trained on; default problem",
    )
    sub.add_argument("--candidates", type=int, default=10_000, metavar="N", help="default 10000")
    add_trust(sub)


def suggest(options: argparse.Namespace) -> int:
    """Write the samples to solve for next."""
    from surrogates.data.points import write_points
    from surrogates.design.designer import Designer

    check_out(options.out, options.surrogate)
    surrogate = surrogates.load(options.surrogate, trust=options.trust)
    designer = Designer(
        surrogate,
        seed=options.seed,
        measure=options.measure,
        domain=options.domain,
        candidates=options.candidates,
    )
    Y = designer.suggest(options.samples)
    write_points(options.out, Y, surrogate.y_names)
    report = designer.report
    assert report is not None
    print(
        f"{options.out}: {len(Y)} points of {surrogate.n_in} parameters, chosen of "
        f"{report.candidates} candidates"
    )
    print(
        f"{_ERRORS[options.measure]}: expected {100 * report.before:.3g} % without them, "
        f"{100 * report.after:.3g} % with them, features as they are"
    )
    print(f"outside the domain of the samples so far: {report.outside} of {len(Y)}")
    return 0
