"""The words of the command line: each command with its options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from surrogates import __version__
from surrogates.data import PARTS, TASKS

from .console import complain_once
from .data import append_sets, import_files, merge_shards
from .generate import generate, plot_model, solve, watched
from .info import info
from .plot import plot_confusion, plot_history, plot_observations, plot_parity, plot_reliability
from .train import train
from .use import evaluate, export_surrogate, predict, serve
from .verify import verify

_PROBLEM = "cdr, dcr, or FILE.py:CLASS, one of your own"


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        """Complain, and end the process with status 2."""
        complain_once(f"{message}; see '{self.prog} --help'")
        raise SystemExit(2)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = _Parser(prog="surrogates", description="PDE surrogates by variable projection.")
    parser.add_argument("--version", action="version", version=f"surrogates {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[Any], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(run=run)
        return sub

    def settings(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--config", metavar="F.toml", help="settings; the rest are defaults")
        sub.add_argument(
            "--set",
            metavar="KEY=VALUE",
            action="append",
            default=[],
            help="override one setting, such as reaction.rate=3; may be repeated",
        )

    sub = command("generate", generate, "solve a PDE for many parameters, under mpirun or alone")
    sub.add_argument("problem", help=_PROBLEM)
    sub.add_argument("--samples", type=int, default=800, metavar="N", help="default 800")
    sub.add_argument("--out", default=None, metavar="F.h5", help="default: the problem's name, .h5")
    sub.add_argument("--seed", type=int, default=0, metavar="S", help="default 0")
    sub.add_argument("--ranks-per-sample", type=int, default=1, metavar="R", help="default 1")
    sub.add_argument("--tangents", action="store_true", help="solve for dc/dy as well (dcr)")
    sub.add_argument("--shard", default="1/1", metavar="I/N", help="do the I-th of N parts")
    sub.add_argument(
        "--time-limit",
        type=float,
        default=3600.0,
        metavar="SECONDS",
        help="of one sample, which fails beyond it; default 3600",
    )
    sub.add_argument(
        "--in-process",
        action="store_true",
        help="solve in the processes that were started; a crash of one then ends the run",
    )
    sub.add_argument(
        "--interface",
        default="",
        metavar="NAME|ADDRESS",
        help="of rank 0's host, where other hosts reach it; default: the networks that they share",
    )
    sub.add_argument("--repair", action="store_true", help="solve again for what is damaged")
    sub.add_argument("--retry-failed", action="store_true", help="solve again for what failed")
    sub.add_argument(
        "--allow-version-change",
        action="store_true",
        help="go on with other versions of the libraries than before",
    )
    _add_split(sub)
    settings(sub)

    sub = command(
        "import", import_files, "make a dataset of tables, arrays, or a hyperspectral scene"
    )
    sub.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="a table (.csv, .tsv, .txt, .dat, also .gz), .npz, .mat or .h5; two files, such as "
        "Y.npy C.npy; or indian_pines, the scene that the package tensorly has",
    )
    sub.add_argument("--out", required=True, metavar="F.h5")
    sub.add_argument(
        "--task",
        choices=TASKS,
        default=None,
        help="default regression; of a classification C holds labels from 0, or one-hot rows",
    )
    sub.add_argument(
        "--inputs",
        metavar="A,B|N",
        help="columns or arrays that are parameters: names, or the first N; default: y..., or Y",
    )
    sub.add_argument(
        "--outputs",
        metavar="C,D|N",
        help="those that are observables: names, or the last N; default: the rest, c..., or C",
    )
    sub.add_argument(
        "--missing",
        choices=("fail", "mask"),
        default="fail",
        help="whether a NaN in c means that the sample failed (default), or that it is masked",
    )
    sub.add_argument(
        "--exclude", default="", metavar="ROWS", help="samples to leave out, such as 3,77,100-120"
    )
    sub.add_argument(
        "--ground-truth",
        metavar="GT.mat",
        help="the file is a scene, rows x columns x bands, and this the class of each pixel",
    )
    sub.add_argument(
        "--order",
        choices=("auto", "rows", "columns"),
        default="auto",
        help="of a scene's dimensions in HDF5 that is not MATLAB's: as there, or reversed",
    )
    sub.add_argument(
        "--background",
        default="",
        metavar="N,M",
        help="labels of a scene's pixels without a class; default 0",
    )
    sub.add_argument("--seed", type=int, default=0, metavar="S", help="of the split; default 0")
    _add_split(sub)
    sub.add_argument(
        "--samples",
        choices=("auto", "rows", "columns"),
        default="auto",
        help="where the arrays hold one sample; default: as Y and C agree",
    )

    sub = command("info", info, "say what a dataset or a surrogate is, or how far a run is")
    sub.add_argument("file")

    sub = command("verify", watched(verify), "check a dataset, and solve for a few samples again")
    sub.add_argument("file")
    sub.add_argument("--max-residual", type=float, default=1e-5, metavar="R", help="default 1e-5")
    sub.add_argument(
        "--recompute",
        type=int,
        default=None,
        metavar="K",
        help="solve again for K samples; default 3, where that can be done",
    )
    sub.add_argument(
        "--tolerance",
        type=float,
        default=1e-6,
        metavar="R",
        help="relative difference of their c that is allowed; default 1e-6",
    )
    sub.add_argument(
        "--problem",
        metavar="FILE.py:CLASS",
        help="where a problem of your own is; it must be the file that made the dataset",
    )

    sub = command("merge", merge_shards, "make one dataset of its shards")
    sub.add_argument("files", nargs="+", metavar="SHARD")
    sub.add_argument("--out", required=True, metavar="F.h5")

    sub = command(
        "append", append_sets, "join finished datasets of the same parameters and outputs"
    )
    sub.add_argument("files", nargs="+", metavar="F.h5")
    sub.add_argument("--out", required=True, metavar="F.h5")

    sub = command("train", train, "fit a surrogate to a dataset")
    sub.add_argument("file", metavar="F.h5")
    sub.add_argument("--out", default=None, metavar="F.pt", help="default: the dataset's name, .pt")
    sub.add_argument("--optimizer", metavar="NAME", help="gnvpro (default), gn, lbfgs, adam or sgd")
    sub.add_argument("--seed", type=int, default=None, metavar="S", help="of the first weights")
    sub.add_argument("--device", metavar="NAME", help="cpu (default) or cuda")
    sub.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    sub.add_argument(
        "--from",
        dest="start",
        metavar="OLD.pt",
        help="start from a surrogate of the same inputs and outputs: more data, another fidelity",
    )
    sub.add_argument(
        "--effort",
        choices=("fast", "default", "high"),
        default="default",
        help="fast: one training with the settings; default, high: chosen by held-out errors",
    )
    sub.add_argument("--exclude", default="", metavar="ROWS", help="leave out samples 3,77,100-120")
    sub.add_argument(
        "--log", default="", metavar="C1,C2", help="learn logarithms of outputs, or all"
    )
    sub.add_argument("--log-inputs", default="", metavar="Y1,Y2", help="and of inputs, or all")
    _add_trust(sub)
    settings(sub)

    sub = command("evaluate", evaluate, "measure a surrogate's errors on a part of a dataset")
    sub.add_argument("surrogate", metavar="F.pt")
    sub.add_argument("file", metavar="F.h5")
    sub.add_argument("--split", choices=PARTS, default="test", help="default test")
    sub.add_argument("--json", action="store_true", help="print JSON")
    _add_trust(sub)

    sub = command("predict", predict, "evaluate a surrogate at the parameters in a file")
    sub.add_argument("surrogate", metavar="F.pt")
    sub.add_argument("--in", dest="input", required=True, metavar="y.csv|.npy|.h5")
    sub.add_argument("--out", required=True, metavar="c.csv|.npy|.h5")
    _add_refuse_outside(sub)
    _add_trust(sub)

    sub = command(
        "export", export_surrogate, "write a surrogate as C99, for numpy alone or torch.export"
    )
    sub.add_argument("surrogate", metavar="F.pt")
    sub.add_argument("--format", choices=("c", "npz", "pt2"), required=True)
    sub.add_argument("--out", required=True, metavar="F.c|F.npz|F.pt2")
    sub.add_argument(
        "--method", default="forward", metavar="NAME", help="that a pt2 has; default forward"
    )
    _add_trust(sub)

    sub = command("serve", serve, "answer UM-Bridge clients over HTTP")
    sub.add_argument("surrogates", nargs="+", metavar="F.pt")
    sub.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1, this machine alone")
    sub.add_argument("--port", type=int, default=4242, help="default 4242; 0 for any that is free")
    sub.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a further name by which clients call this server; may be repeated",
    )
    _add_refuse_outside(sub)
    _add_trust(sub)

    def sample(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("problem", help=_PROBLEM)
        sub.add_argument("--sample", type=int, default=0, metavar="I", help="default 0")
        sub.add_argument("--seed", type=int, default=0, metavar="S", help="default 0")
        sub.add_argument("--y", metavar="Y1,Y2,...", help="parameters instead of a sample's")
        settings(sub)

    sub = command(
        "solve", watched(solve), "solve a PDE for one sample, for ParaView: model and solution"
    )
    sub.add_argument("--out", required=True, metavar="F.vtu", help="or .xdmf")
    sample(sub)

    plots = commands.add_parser("plot", help="draw", description="Draw.").add_subparsers(
        title="plots", metavar="PLOT", required=True
    )

    def plot(name: str, run: Callable[[Any], int], text: str) -> argparse.ArgumentParser:
        sub = plots.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.add_argument("--out", required=True, metavar="F.png", help="or .pdf, .svg")
        sub.set_defaults(run=run)
        return sub

    sub = plot("history", plot_history, "loss and error against work units, or time")
    sub.add_argument("histories", nargs="+", metavar="F.history.jsonl")
    sub.add_argument("--against", choices=("work", "time"), default="work", help="default work")
    for name, run, text in (
        ("parity", plot_parity, "predicted against true observables"),
        ("observations", plot_observations, "predicted and true observables of a few samples"),
        ("confusion", plot_confusion, "true against predicted classes"),
        ("reliability", plot_reliability, "accuracy against the probability of a class"),
    ):
        sub = plot(name, run, text)
        sub.add_argument("surrogate", metavar="F.pt")
        sub.add_argument("file", metavar="F.h5")
        sub.add_argument("--split", choices=PARTS, default="test", help="default test")
        _add_trust(sub)
    sub = plot("model", watched(plot_model), "solve the PDE for one sample and draw the solution")
    sample(sub)
    return parser


def _add_split(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--split",
        default="0.8/0.1/0.1",
        metavar="A/B/C",
        help="counts or fractions of train, validation and test, or balanced (import of a "
        "classification); default 0.8/0.1/0.1",
    )


def _add_refuse_outside(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--refuse-outside", action="store_true", help="refuse y outside the training domain"
    )


def _add_trust(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--trust",
        action="store_true",
        help="load a surrogate file whose code is not known to be harmless",
    )
