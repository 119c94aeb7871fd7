"""The command ``surrogates``: one subcommand for each thing a user does.

A user's mistake is one line after ``error:`` and exit status 2. Exit status 1 says that the work
was done and the result is not all right: samples failed, or a file has problems. DOLFINx, MPI and
torch are imported by the subcommands that need them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import signal
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np
from tqdm import tqdm

from surrogates import __version__, config
from surrogates.data.dataset import (
    PARTS,
    TASKS,
    Dataset,
    Info,
    Status,
    Stored,
    is_dataset,
    merge,
    opened,
    read_info,
)
from surrogates.errors import InputError
from surrogates.files import check_writable, remove_leftovers
from surrogates.folders import Folder
from surrogates.pde.ensemble import lock
from surrogates.pde.ensemble.shards import DESCRIPTION, Parts, described
from surrogates.pipes import open_standard_files

_PROBLEM = "cdr, dcr, or FILE.py:CLASS, one of your own"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: The words after ``surrogates``; those of the process if None.

    Returns:
        The exit status: 0, 1 if the result is not all right, 2 for bad input.
    """
    open_standard_files()
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)  # compilers report each of their calls as information
    logging.basicConfig(format="%(levelname)s: %(message)s", handlers=[handler])
    try:
        options = _parser().parse_args(arguments)
        options.called = arguments is not None
        status = int(options.run(options))
        sys.stdout.flush()
        return status
    except InputError as error:
        _complain_once(str(error))
        return 2
    except BrokenPipeError:  # the reader of our output has gone: nothing to tell it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, say; nothing half-written is left
        _complain(str(error))
        return 1
    except MemoryError as error:
        _complain(f"not enough memory: {error}")
        return 1
    except KeyboardInterrupt:
        _complain("interrupted; what was finished is kept (train goes on with --resume)")
        return 130


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        """Complain, and end the process with status 2."""
        _complain_once(f"{message}; see '{self.prog} --help'")
        raise SystemExit(2)


def _complain_once(text: str) -> None:
    """Print an error that may be one of every process, under mpirun or torchrun, once.

    The first process prints it and ends, on which the launcher ends the others. If it does not,
    the mistake is of this process alone.
    """
    # MPI is not started for this; Open MPI, or MPICH and its relatives, give the rank.
    names = ["OMPI_COMM_WORLD_RANK", "PMI_RANK"]
    if "TORCHELASTIC_RUN_ID" in os.environ:
        names.append("RANK")
    if any(os.environ.get(name, "0") != "0" for name in names):
        time.sleep(10)
    _complain(text)


def _parser() -> argparse.ArgumentParser:
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

    sub = command("generate", _generate, "solve a PDE for many parameters, under mpirun or alone")
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

    sub = command("import", _import, "make a dataset of tables, arrays, or a hyperspectral scene")
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

    sub = command("info", _info, "say what a dataset or a surrogate is, or how far a run is")
    sub.add_argument("file")

    sub = command("verify", _watched(_verify), "check a dataset, and solve for a few samples again")
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

    sub = command("merge", _merge, "make one dataset of its shards")
    sub.add_argument("files", nargs="+", metavar="SHARD")
    sub.add_argument("--out", required=True, metavar="F.h5")

    sub = command("append", _append, "join finished datasets of the same parameters and outputs")
    sub.add_argument("files", nargs="+", metavar="F.h5")
    sub.add_argument("--out", required=True, metavar="F.h5")

    sub = command("train", _train, "fit a surrogate to a dataset")
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

    sub = command("evaluate", _evaluate, "measure a surrogate's errors on a part of a dataset")
    sub.add_argument("surrogate", metavar="F.pt")
    sub.add_argument("file", metavar="F.h5")
    sub.add_argument("--split", choices=PARTS, default="test", help="default test")
    sub.add_argument("--json", action="store_true", help="print JSON")
    _add_trust(sub)

    sub = command("predict", _predict, "evaluate a surrogate at the parameters in a file")
    sub.add_argument("surrogate", metavar="F.pt")
    sub.add_argument("--in", dest="input", required=True, metavar="y.csv|.npy|.h5")
    sub.add_argument("--out", required=True, metavar="c.csv|.npy|.h5")
    _add_refuse_outside(sub)
    _add_trust(sub)

    sub = command("export", _export, "write a surrogate as C99, for numpy alone or torch.export")
    sub.add_argument("surrogate", metavar="F.pt")
    sub.add_argument("--format", choices=("c", "npz", "pt2"), required=True)
    sub.add_argument("--out", required=True, metavar="F.c|F.npz|F.pt2")
    sub.add_argument(
        "--method", default="forward", metavar="NAME", help="that a pt2 has; default forward"
    )
    _add_trust(sub)

    sub = command("serve", _serve, "answer UM-Bridge clients over HTTP")
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
        "solve", _watched(_solve), "solve a PDE for one sample, for ParaView: model and solution"
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

    sub = plot("history", _plot_history, "loss and error against work units, or time")
    sub.add_argument("histories", nargs="+", metavar="F.history.jsonl")
    sub.add_argument("--against", choices=("work", "time"), default="work", help="default work")
    for name, run, text in (
        ("parity", _plot_parity, "predicted against true observables"),
        ("observations", _plot_observations, "predicted and true observables of a few samples"),
        ("confusion", _plot_confusion, "true against predicted classes"),
        ("reliability", _plot_reliability, "accuracy against the probability of a class"),
    ):
        sub = plot(name, run, text)
        sub.add_argument("surrogate", metavar="F.pt")
        sub.add_argument("file", metavar="F.h5")
        sub.add_argument("--split", choices=PARTS, default="test", help="default test")
        _add_trust(sub)
    sub = plot("model", _watched(_plot_model), "solve the PDE for one sample and draw the solution")
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


def _watched(
    run: Callable[[Any], int], on_end: Callable[[Any, str], None] = lambda options, how: None
) -> Callable[[Any], int]:
    """Let no solve that ends its process pass for the end of a command's work.

    Args:
        run: The command.
        on_end: Called with its options, and with how the process has ended, where that was not by
            the command.
    """

    def watching(options: Any) -> int:
        from surrogates.pde.ensemble import processes

        if options.called or "mpi4py.MPI" in sys.modules:
            return run(options)
        status, how = processes.watched(lambda: run(options))
        if how:
            on_end(options, how)
            _complain(f"ended before all was done: {how}")
        return status

    return watching


# Data


def _generate(options: argparse.Namespace) -> int:
    from surrogates.pde.ensemble import processes, solvers

    def begin() -> solvers.LocalSolver:
        _mpi()
        return solvers.LocalSolver(_load(options.problem))

    # Processes that share a mesh need each other's MPI. A caller's process is not to be forked, and
    # no process can be that has started MPI.
    if options.called or "mpi4py.MPI" in sys.modules:
        return _generated(options, begin)
    if options.in_process or options.ranks_per_sample > 1:
        if processes.is_launched():  # the launcher sees how its processes end
            return _generated(options, begin)
        return _watched(lambda options: _generated(options, begin), _mark_the_end)(options)
    process = processes.SolverProcess(begin)
    try:
        return _generated(options, process.ready)
    finally:
        process.close(kill=True)  # unless it has ended


def _mark_the_end(options: argparse.Namespace, how: str) -> None:
    """Leave word for the next run of how the one process that solves has ended this one."""
    from surrogates.pde.ensemble import limits

    out = _out(options)
    limits.complete_all(out.with_name(f"{out.name}.parts"), how)


def _out(options: argparse.Namespace) -> Path:
    """Return the file that `generate` writes."""
    name = options.problem.rpartition(":")[2].lower()
    return Path(f"{name}.h5" if options.out is None else options.out)


def _generated(options: argparse.Namespace, begin: Callable[[], Any]) -> int:
    """Generate a dataset by the solver that ``begin`` gives on each process."""
    here = Path.cwd()  # a problem may change it
    MPI = _mpi()
    from surrogates.pde import collective
    from surrogates.pde.ensemble import generate, work

    comm = MPI.COMM_WORLD
    root = comm.rank == 0
    try:
        solver = collective.on_each(comm, begin)
    except InputError:
        if root:
            raise
        return 2
    out = _out(options)
    progress = _Progress("samples") if root else None

    def on_progress(state: Any) -> None:
        if progress is not None:
            failed = f", {state.failed} failed" if state.failed else ""
            progress.update(state.done, state.total, failed)

    try:
        with _Interruption() as interruption:
            read = collective.on_root(comm, lambda: solver.settings(options.config, options.set))
            collective.on_each(comm, lambda: solver.configure(read))
            summary = generate.generate(
                solver,
                comm,
                out=here / out,
                samples=options.samples,
                seed=options.seed,
                split=options.split,
                ranks_per_sample=options.ranks_per_sample,
                shard=collective.on_root(comm, lambda: _read_shard(options.shard)),
                tangents=options.tangents,
                time_limit=options.time_limit,
                repair=options.repair,
                retry_failed=options.retry_failed,
                allow_version_change=options.allow_version_change,
                interface=options.interface,
                stop=lambda: interruption.asked,
                on_progress=on_progress,
                on_note=_warn,
            )
    except InputError:
        if root:
            raise
        return 2
    finally:
        if progress is not None:
            progress.close()
    if summary.done < summary.total:
        if root:
            _complain(
                f"stopped with {summary.done} of {summary.total} samples, all saved; run the same "
                "command again to go on"
            )
        return 130 if interruption.kind == signal.SIGINT else work.TEMPORARY_FAILURE
    if root:
        _tell(summary, out, comm.size)
    return 1 if summary.failed else 0


def _tell(summary: Any, out: Path, size: int) -> None:
    """Print what a run has done."""
    rate = f", {summary.solved / summary.seconds:.3g} a second" if summary.solved else ""
    print(
        f"{out}: {summary.total} samples, {summary.solved} solved now on {size} "
        f"process{'es' if size > 1 else ''} in {summary.seconds:.1f} s{rate}"
    )
    if summary.mesh:
        print(f"mesh: {summary.mesh}")
    if summary.failed:
        _complain(
            f"{summary.failed} of {summary.total} samples failed and are marked so in "
            f"{out}; the first: {summary.reason}"
        )


def _read_shard(text: str) -> tuple[int, int]:
    try:
        i, n = (int(number) for number in text.split("/"))
    except ValueError:
        raise InputError(f"cannot read the shard {text!r}; write 1/4 to 4/4") from None
    return i, n


def _import(options: argparse.Namespace) -> int:
    from surrogates.data import hyperspectral
    from surrogates.data.importing import import_file

    check_writable(options.out)
    files, truth = options.files, options.ground_truth
    config.check(len(files) < 3, f"import takes one file or two, Y and C; got {len(files)}")
    pines, notes = files[0] == hyperspectral.INDIAN_PINES, list[str]()
    of_scene = {"order": options.order, "background": options.background}
    for name, value in of_scene.items():
        others = value in ("auto", "") or truth is not None
        config.check(others, f"--{name} is for a scene, with --ground-truth")
    if pines or truth is not None:
        config.check(options.task != "regression", "a scene is of --task classification")
        config.check(not pines or truth is None, "indian_pines comes with its ground truth")
        config.check(len(files) == 1, "a scene is one file, and --ground-truth another")
        for name, default in _NOT_OF_A_SCENE.items():
            config.check(
                getattr(options, name) == default, f"--{name} is not for a scene: it has pixels"
            )
        if pines:
            scene = hyperspectral.indian_pines()
        else:
            scene = hyperspectral.read_scene(files[0], truth, note=notes.append, **of_scene)
        dataset = scene.dataset(split=options.split, seed=options.seed)
    else:
        dataset = import_file(
            *files,
            task=options.task or "regression",
            split=options.split,
            seed=options.seed,
            **{name: getattr(options, name) for name in _NOT_OF_A_SCENE},
            note=notes.append,
        )
    _refuse_another(Path(options.out), dataset.info, dataset.digest)
    dataset.write(options.out)
    with opened(options.out) as stored:
        print(f"{options.out}: {_size(stored)}")
    for note in notes:
        print(note, file=sys.stderr)
    return 0


_NOT_OF_A_SCENE = {
    "samples": "auto",
    "inputs": None,
    "outputs": None,
    "missing": "fail",
    "exclude": "",
}


def _refuse_another(out: Path, info: Info, digest: str | None = None) -> None:
    """Refuse to write over a file that is not the same dataset; the digest is of its numbers."""
    if not out.exists():
        return
    with opened(out) as there:
        differences = there.info.differences(info)
        if not differences and digest is not None and there.digest != digest:
            differences = ["its numbers are others"]
    if differences:
        raise InputError(
            f"{out} is another dataset: {'; '.join(differences)}; it is left as it is, give "
            "another --out"
        )


def _check_out(out: str | Path, *inputs: str) -> None:
    """Refuse a path that cannot be written, or that would cost a dataset or an input."""
    check_writable(out)
    if is_dataset(out):
        raise InputError(f"{out} is a dataset; it is left as it is, give another --out")
    for path in inputs:
        if Path(out).exists() and Path(path).exists() and os.path.samefile(path, out):
            raise InputError(f"{out} is an input as well; it is left as it is, give another --out")


def _info(options: argparse.Namespace) -> int:
    if Path(options.file).is_file() and h5py.is_hdf5(options.file):
        with opened(options.file) as stored:
            _print_dataset(stored)
        return 0
    if folder := _run_folder(options.file):
        _print_run(folder)
        return 0
    if Path(options.file).suffix == ".npz":
        from surrogates.export import reference

        _print_surrogate(reference.load(options.file).metadata, "none: numbers and texts alone")
        return 0
    from surrogates.model import file as export

    about, refused = export.read_metadata(options.file)
    known = "functions of tensors alone, which read and write no files"
    code = f"NOT KNOWN TO BE HARMLESS: {refused}" if refused else known
    _print_surrogate(about, code)
    print("all of it:        unzip -p FILE '*/extra/metadata.json'")
    return 0


def _print_surrogate(about: Mapping[str, Any], code: str) -> None:
    """Print what a surrogate file says of itself, and what is to be said of its code."""
    from surrogates.model.metadata import task_of

    training, dataset = about["training"], about.get("dataset", {})
    y, c = about["y_names"], about["c_names"]
    task = task_of(about)
    classifies = task == "classification"
    command = f"by {about['command']}" if "command" in about else ""
    _print_rows(
        {
            "problem": about["problem"],
            "task": task,
            "takes": f"{len(y)} parameters, {y[0]} to {y[-1]}",
            "gives": f"{len(c)} {'classes' if classifies else 'observables'}, {c[0]} to {c[-1]}",
            **(_told_classes(about) if classifies else _told_errors(about)),
            "training": ", ".join(
                f"{training[key]}{unit}"
                for key, unit in (
                    ("optimizer", ""),
                    ("samples", " samples"),
                    ("work_units", " work units"),
                )
                if key in training
            ),
            "chosen": training.get("chosen", ""),
            "settings": ", ".join(f"{k} {v}" for k, v in training.get("settings", {}).items()),
            "dataset": f"{dataset['digest']}, by {dataset.get('command') or 'unknown'}"
            if dataset
            else "",
            "created": f"{about.get('created', '')} {command}".strip(),
            "revision": about.get("revision", ""),
            "versions": _versions(about.get("versions", {})),
            "code": code,
        }
    )


def _told_errors(about: Mapping[str, Any]) -> dict[str, str]:
    """Return the errors of a regression, by the part of the dataset."""
    keys = ("mean", "std", "min", "max")
    return {
        f"{part} error": "undefined, as a sample has c = 0"
        if any(found["relative"][key] is None for key in keys)
        else ", ".join(f"{key} {found['relative'][key]:.3%}" for key in keys)
        for part, found in about.get("errors", {}).items()
    }


def _told_classes(about: Mapping[str, Any]) -> dict[str, str]:
    """Return the accuracy of a classifier and its calibration."""
    shares = {
        name: ", ".join(
            f"{_per_cent(found[name])} ({part})"
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
    tangents = ", with tangents dc/dy" if info.tangents else ""
    spread = found.spread[np.isfinite(found.spread)]
    rows = {
        "problem": info.problem,
        "samples": f"{_size(stored)}{tangents}; {status}",
        "task": info.task,
        "split": ", ".join(f"{n} {name}" for name, n in found.split.items()),
        "design": f"{info.design or 'unknown'}, seed {info.seed}",
        "y": f"{_range(found.y_range)} ({info.y_names[0]} to {info.y_names[-1]})",
        "c": f"{_range(found.c_range)} ({info.c_names[0]} to {info.c_names[-1]})",
        "spread of c": f"{spread.min():.1%} to {spread.max():.1%} of the size of an output"
        if len(spread)
        else "",
        "missing in c": f"{found.missing} entries, masked" if found.missing else "",
        "mesh": info.mesh,
        "files": ", ".join(f"{name} {sha[:12]}" for name, sha in info.files.items()),
    }
    if found.classes is not None:
        del rows["c"], rows["spread of c"]
    elif not found.status[Status.DONE]:
        del rows["c"]
    _print_rows(rows)
    if found.classes is not None:
        _print_classes(info.c_names, found.classes)
    for n, maker in zip(found.made_by, info.makers, strict=True):
        _print_rows(
            {
                "created": f"{maker['created']} by {maker['command']}"
                + (f" ({n} samples)" if info.later_makers else ""),
                "revision": maker["revision"],
                "versions": _versions(maker["versions"]),
            }
        )
    for note in info.notes:
        _print_rows({"note": note})
    _print_rows({"digest": found.digest})
    if info.config:
        print("configuration:")
        print("\n".join(f"    {line}" for line in info.config.splitlines() if line))


def _print_classes(names: Sequence[str], counts: Any) -> None:
    """Print the samples of each class and part; counts are (n_classes, 3)."""
    width = max(16, *map(len, names)) + 2
    print(f"{'classes:':{width}}{''.join(f'{part:>12}' for part in PARTS)}")
    for name, row in zip(names, counts.tolist(), strict=True):
        print(f"{'  ' + name:{width}}{''.join(f'{n:12}' for n in row)}")


def _print_run(folder: Folder) -> None:
    """Say how far a run is, from what it has left in its folder."""
    info = described(folder)
    parts, state, running = Parts(folder, info), lock.progress(folder), lock.held(folder)
    blocks = parts.all_blocks()
    done, failed = sum(b.count for b in blocks), sum(b.failed for b in blocks)
    total = state.get("total", info.total)
    rate = state["solved"] / state["seconds"] if state.get("solved") else 0.0
    left = f"about {_duration((total - done) / rate)} left" if running and rate else ""
    _print_rows(
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


def _duration(seconds: float) -> str:
    days, rest = divmod(round(seconds), 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _print_rows(rows: Mapping[str, str]) -> None:
    for name, value in rows.items():
        if value:  # names of a file are not to move a terminal's cursor
            line = f"{name + ':':18}{value}"
            print("".join(char if char.isprintable() else " " for char in line))


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _size(stored: Stored) -> str:
    info = stored.info
    kind = "classes" if info.task == "classification" else "outputs"
    return f"{len(stored)} samples, {len(info.y_names)} parameters, {len(info.c_names)} {kind}"


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.4g} to {ends[1]:.4g}"


def _verify(options: argparse.Namespace) -> int:
    largest, n = options.max_residual, options.recompute
    # A residual of 1 is that of c = 0.
    config.check(
        0 <= largest < 1, f"--max-residual must be below 1 and at least 0; got {largest:g}"
    )
    config.check(n is None or n >= 0, f"--recompute must be at least 0; got {n}")
    config.check(
        0 <= options.tolerance < 1,
        f"--tolerance must be below 1 and at least 0; got {options.tolerance:g}",
    )
    if folder := _run_folder(options.file):
        return _verify_run(folder)
    with opened(options.file) as stored:
        problems = stored.problems(largest)
        unchecked = ""
        try:
            problems += _recompute(options, stored)
        except InputError as error:
            unchecked = f"not checked: whether samples can be solved again ({error})"
        for problem in problems:
            print(f"{options.file}: {problem}")
        if not problems:
            verdict = "nothing wrong found" if unchecked else "all is well"
            print(f"{options.file}: {_size(stored)}: {verdict}{'; ' * bool(unchecked)}{unchecked}")
        elif unchecked:
            print(f"{options.file}: {unchecked}")
    # What was asked for, and could not be done, is not all right.
    asked = n or (n is None and options.problem)
    return 1 if problems or (unchecked and asked) else 0


def _recompute(options: argparse.Namespace, stored: Stored) -> list[str]:
    """Solve for some samples again, and print so.

    A dataset never names code to run: the file of a problem that is not built in is an option.

    Returns:
        What differs.

    Raises:
        InputError: If no sample can be solved for, or none shall be.
    """
    info, n = stored.info, 3 if options.recompute is None else options.recompute
    if not info.config and options.recompute is None and options.problem is None:
        config.check(info.design != "joined", "it is joined of several sets")
        return []  # imported: nobody has solved for it here
    from surrogates.pde.problem import BUILT_IN

    config.check(n > 0, "--recompute 0")
    config.check(bool(info.config), "it has no configuration of a problem")
    config.check(bool((stored.status == Status.DONE).any()), "none is done")
    name = options.problem or info.problem
    config.check(
        options.problem is not None or name in BUILT_IN,
        "give --problem FILE.py:CLASS, where the problem is",
    )
    problem = _load(name, info)
    config.check(problem.source == info.source, f"{name} is not what made it")
    from surrogates.pde.ensemble.recompute import recompute

    found = recompute(stored, problem, n, seed=int(np.random.default_rng().integers(2**31)))
    largest = max(one.c for one in found)
    print(
        f"{options.file}: solved again for samples {', '.join(str(one.sample) for one in found)}: "
        f"c differs by {largest:.1e} at most"
    )
    return [
        f"sample {one.sample} is another one when it is solved for again: y differs by "
        f"{one.y:.1e}, c by {one.c:.1e}"
        for one in found
        if not (one.c <= options.tolerance and one.y <= 1e-12)
    ]


def _run_folder(path: str) -> Folder | None:
    """Open the folder of a run that is not finished: as it was named, or beside its dataset."""
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


def _verify_run(folder: Folder) -> int:
    """Check what a run has finished so far."""
    info = described(folder)
    parts = Parts(folder, info)
    damage = list(parts.damage())
    for path, what in damage:
        print(f"{path}: damaged: {what}; generate --repair solves for them again")
    blocks = parts.all_blocks()
    total = lock.progress(folder).get("total", info.total)
    print(f"{folder.path}: not finished: {sum(b.count for b in blocks)} of {total} samples")
    return 1


def _merge(options: argparse.Namespace) -> int:
    check_writable(options.out)
    info = read_info(options.files[0])[0]
    _refuse_another(Path(options.out), info)
    # Imported sets have no configuration that would tell whether they are the same.
    if not info.config and Path(options.out).exists():
        raise InputError(f"{options.out} exists; it is left as it is, give another --out")
    merge(options.files, options.out)
    print(f"{options.out}: {info.total} samples from {len(options.files)} files")
    return 0


def _append(options: argparse.Namespace) -> int:
    from surrogates.data.joining import append

    check_writable(options.out)
    if Path(options.out).exists():
        raise InputError(f"{options.out} exists; it is left as it is, give another --out")
    joined = append(options.files, options.out)
    print(f"{options.out}: {joined.info.total} samples from {len(options.files)} files")
    if joined.repeated:
        sample, before = joined.repeated[0]
        print(
            f"samples with the y and c of an earlier one, which are kept: {len(joined.repeated)}, "
            f"the first {sample}, as {before}",
            file=sys.stderr,
        )
    return 0


# Surrogates


def _train(options: argparse.Namespace) -> int:
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
        progress = _Progress(unit) if over.rank == 0 else None
        try:
            with _Interruption() as interruption:
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
            _complain("interrupted before anything was chosen; nothing is written")
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
    from surrogates.data.inspection import read_rows
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
        _complain(str(error))
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
            print(f"accuracy, {where:<17}{_accuracy(errors)}")
            continue
        print(f"error over spread, {where:<12}{errors.by_spread(dataset.info.c_names)}")
        print(f"relative error, {where:<15}{errors.relative}")
        if errors.coverage:
            print(f"error bars, {where:<19}{_coverage(errors.coverage)}")
    if "temperature" in found.training:
        print(f"temperature:{'':15}{found.training['temperature']:.4g}")
    print(f"history: {records}" if not status else "history: none")
    for warning in found.warnings:
        _warn(warning)
    if found.interrupted:
        more = "--resume goes on" if found.kept else f"{checkpoint} is not of this moment"
        _complain(f"interrupted; {out} has the best weights so far, {more}")
    return 130 if found.interrupted else status


def _tried(tried: Any, task: str) -> str:
    """Return what was tried in a line, the best first."""
    if task == "classification":
        errors = (f"{one.name}: {_per_cent(one.error)}, {one.cross_entropy:.3g}" for one in tried)
        return f"tried, wrong and cross-entropy: {'; '.join(errors)}"
    said = ", ".join(f"{one.name} {one.error:.3g}" for one in tried)
    return f"tried, error over spread:{'':6}{said}"


def _prepare_training(out: Path, checkpoint: Path, records: Path, resume: bool) -> None:
    """Refuse paths that would cost something, and remove what a killed run has left."""
    from surrogates.training.fit import is_finished

    _check_out(out)
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


class _Interruption:
    """While it is entered, Ctrl-C, SIGTERM or SIGUSR1 asks to stop; a second one stops at once.

    A launcher may pass on a batch system's signal that its processes have got already: within a
    second, it counts as the same.

    Attributes:
        asked: Whether to stop.
        kind: The signal that asked for it.
    """

    asked: bool = False
    kind: int = 0

    def __enter__(self) -> _Interruption:
        """Take the signals."""
        kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
        self._before = {kind: signal.signal(kind, self._ask) for kind in kinds}
        return self

    def __exit__(self, *error: object) -> None:
        """Give them back."""
        for kind, handler in self._before.items():
            signal.signal(kind, handler)

    def _ask(self, kind: int, frame: object) -> None:
        if not self.asked:
            self.asked, self.kind, self._since = True, kind, time.monotonic()
        elif kind == signal.SIGINT or time.monotonic() - self._since > 1:
            raise KeyboardInterrupt


def _coverage(shares: Sequence[float]) -> str:
    from surrogates.model.metrics import LEVELS

    if not shares:
        return "none; the file is of an older version"
    pairs = zip(LEVELS, shares, strict=True)
    return ", ".join(f"{share:.1%} of errors in {level:.0%} intervals" for level, share in pairs)


def _accuracy(found: Any) -> str:
    return (
        f"{_per_cent(found.accuracy)}, cross-entropy {found.cross_entropy:.3g}, "
        f"expected calibration error {_per_cent(found.calibration_error)}"
    )


def _per_cent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _load_both(options: argparse.Namespace) -> tuple[Any, Dataset]:
    from surrogates.model import file as export

    surrogate = export.load(options.surrogate, trust=options.trust)
    dataset = Dataset.read(options.file)
    surrogate.check_matches(dataset.info)
    return surrogate, dataset


def _evaluate(options: argparse.Namespace) -> int:
    from surrogates.model import file as export

    surrogate, dataset = _load_both(options)
    from surrogates.training.train import poor_outputs

    about = surrogate.metadata["training"]
    mean = None if dataset.info.task == "classification" else _mean(surrogate)
    spread = about.get("c_std")
    if spread is not None and None in spread:
        spread = None
    errors = _held_out_errors(surrogate, dataset, options.split, mean, spread)
    if options.json:
        print(json.dumps(export.plain(errors), indent=2, allow_nan=False))
        return 0
    print(f"{options.surrogate} on the {errors.samples} {options.split} samples of {options.file}")
    if dataset.info.task == "classification":
        _print_assessment(errors, surrogate)
    else:
        print(f"error over spread: {errors.by_spread(dataset.info.c_names)}")
        print(f"relative error:    {errors.relative}")
        print(f"of centred c:      {errors.centred}")
        print(f"error bars:        {_coverage(errors.coverage)}")
        for warning in poor_outputs({options.split: errors}, dataset):
            _warn(warning)
    same = surrogate.metadata.get("dataset", {}).get("digest") == dataset.digest
    if same and options.split == "validation" and "tried" in about:
        _warn("it has been trained on these samples too; train printed errors held out by folds")
    return 0


def _held_out_errors(
    surrogate: Any, dataset: Dataset, part: str, mean: Any = None, spread: Any = None
) -> Any:
    """Measure a loaded surrogate's errors, as `held_out_errors`, once one sample has been right."""
    from surrogates.model.file import FAILURES
    from surrogates.training.train import held_out_errors

    y = dataset.part(part)[0][:1]
    surrogate(y)
    if hasattr(surrogate.module, "predict_std"):
        surrogate.predict_std(y)
    try:
        return held_out_errors(surrogate.module, dataset, part, mean, spread)
    except FAILURES as error:
        raise surrogate.failure("forward", error) from error


def _mean(surrogate: Any) -> Any:
    """Return the mean of c over the training samples, from the metadata."""
    mean = surrogate.metadata["training"].get("c_mean")
    config.check(
        mean is not None and None not in mean,
        f"{surrogate.path} does not say the mean of c in training (training.c_mean)",
    )
    return np.array(mean)


def _print_assessment(found: Any, surrogate: Any) -> None:
    names, numbers = surrogate.class_names, [sum(row) for row in found.confusion]
    there = [k for k, number in enumerate(numbers) if number]
    worst = sorted(there, key=lambda k: float(found.class_accuracy[k]))[:3]
    mistakes = np.array(found.confusion) * (1 - np.eye(len(names), dtype=int))
    true, predicted = np.unravel_index(mistakes.argmax(), mistakes.shape)
    _print_rows(
        {
            "accuracy": _per_cent(found.accuracy),
            "worst classes": ", ".join(
                f"{names[k]} {_per_cent(found.class_accuracy[k])} of {numbers[k]:.6g}"
                for k in worst
            ),
            "most mistaken": f"{names[true]} for {names[predicted]}, {mistakes.max():.6g} times"
            if mistakes.any()
            else "",
            "cross-entropy": f"{found.cross_entropy:.4g} (natural logarithm)",
            "Brier score": f"{found.brier:.4g}",
            "calibration": f"expected calibration error {_per_cent(found.calibration_error)}, "
            f"temperature {surrogate.temperature:.4g}",
        }
    )
    print("largest probability     mean  accuracy  samples")
    for bin in found.reliability:
        if bin.samples:
            interval = f"{100 * bin.lower:.0f} to {100 * bin.upper:.0f} %"
            mean, share = _per_cent(bin.confidence), _per_cent(bin.accuracy)
            print(f"{interval:>19}{mean:>9}{share:>10}{bin.samples:9}")


def _predict(options: argparse.Namespace) -> int:
    from surrogates.model import file as export

    _check_out(options.out, options.input, options.surrogate)
    surrogate = export.load(
        options.surrogate, refuse_outside=options.refuse_outside, trust=options.trust
    )
    Y = export.read_table(options.input, surrogate.metadata["y_names"])
    names = surrogate.metadata["c_names"]
    if isinstance(surrogate, export.LoadedClassifier):
        classes = [names[k] for k in surrogate.predict(Y)]
        export.write_table(options.out, surrogate.probabilities(Y), names, classes)
        what = f"the probabilities of {surrogate.n_out} classes"
    else:
        export.write_table(options.out, surrogate.predict(Y), names)
        what = f"{surrogate.n_out} observables"
    outside = int((~surrogate.in_domain(Y)).sum())
    print(f"{options.out}: {len(Y)} predictions of {what}")
    if outside:
        print(f"{outside} of them outside the training domain (in_domain)")
    return 0


def _export(options: argparse.Namespace) -> int:
    from surrogates.export import c_source, reference
    from surrogates.model import file as export

    _check_out(options.out, options.surrogate)
    if options.method != "forward" and options.format != "pt2":
        raise InputError("--method is for --format pt2: the others have all methods")
    surrogate = export.load(options.surrogate, trust=options.trust)
    if options.format == "c":
        c_source.write(surrogate, options.out)
    elif options.format == "npz":
        reference.save(surrogate, options.out)
    else:
        export.save_program(surrogate, options.out, method=options.method)
    print(f"{options.out}: {surrogate.n_in} parameters, {surrogate.n_out} {surrogate.OUTPUTS}")
    return 0


def _serve(options: argparse.Namespace) -> int:
    try:
        from surrogates.serve import serving
    except ImportError as error:
        raise InputError(
            f"serving needs aiohttp: pip install 'varpro-surrogates[serve]' ({error})"
        ) from error

    def tell(url: str, names: Sequence[str]) -> None:
        print(f"serving {', '.join(names)} at {url} (Ctrl-C ends)", flush=True)

    serving.serve(
        options.surrogates,
        host=options.host,
        port=options.port,
        refuse_outside=options.refuse_outside,
        trust=options.trust,
        allow_hosts=options.allow_host,
        on_listening=tell,
    )
    return 0


# Plots


def _plot_history(options: argparse.Namespace) -> int:
    from surrogates.plots import figures as plotting
    from surrogates.training import history

    labels = [Path(path).name.removesuffix(".history.jsonl") for path in options.histories]
    if len(set(labels)) < len(labels):
        labels = options.histories
    records = dict(zip(labels, map(history.read, options.histories), strict=True))
    plotting.history(records, options.out, against=options.against)
    return _drawn(options)


def _load_for_plot(options: argparse.Namespace, task: str) -> tuple[Any, Dataset]:
    """Load both where the surrogate's task is the plot's."""
    surrogate, dataset = _load_both(options)
    if dataset.info.task != task:
        is_for = dataset.info.task
        plots = "parity or observations" if is_for == "regression" else "confusion or reliability"
        raise InputError(f"{options.surrogate} is for {is_for}: draw it by plot {plots}")
    return surrogate, dataset


def _plot_parity(options: argparse.Namespace) -> int:
    from surrogates.plots import figures as plotting

    surrogate, dataset = _load_for_plot(options, "regression")
    Y, C = dataset.part(options.split)
    plotting.parity(surrogate.predict(Y), C, options.out)
    return _drawn(options)


def _plot_observations(options: argparse.Namespace) -> int:
    from surrogates.plots import figures as plotting

    surrogate, dataset = _load_for_plot(options, "regression")
    Y, C = dataset.part(options.split)
    mean = _mean(surrogate)
    plotting.observations(surrogate.predict(Y), C, dataset.info, options.out, mean=mean)
    return _drawn(options)


def _plot_confusion(options: argparse.Namespace) -> int:
    from surrogates.plots import figures as plotting

    surrogate, dataset = _load_for_plot(options, "classification")
    found = _held_out_errors(surrogate, dataset, options.split)
    plotting.confusion(found.confusion, surrogate.class_names, options.out)
    return _drawn(options)


def _plot_reliability(options: argparse.Namespace) -> int:
    from surrogates.plots import figures as plotting

    surrogate, dataset = _load_for_plot(options, "classification")
    plotting.reliability(_held_out_errors(surrogate, dataset, options.split), options.out)
    return _drawn(options)


def _plot_model(options: argparse.Namespace) -> int:
    out = Path(options.out).absolute()  # the problem may change the working folder
    problem, y = _one_sample(options)
    problem.picture(y, out)
    return _drawn(options)


def _solve(options: argparse.Namespace) -> int:
    out = Path(options.out).absolute()
    problem, y = _one_sample(options)
    from surrogates.pde import meshes

    meshes.write(out, problem.field(y))
    return _drawn(options)


def _one_sample(options: argparse.Namespace) -> tuple[Any, Any]:
    """Make the problem on this process, and the parameters that were asked for."""
    MPI = _mpi()
    check_writable(options.out)
    problem = _load(options.problem)
    settings = config.read(problem.Config, options.config, options.set)
    config.check(options.sample >= 0, f"the sample must be at least 0; got {options.sample}")
    if options.y is None:
        rows = {"total": options.sample + 1, "start": options.sample, "stop": options.sample + 1}
        y = problem.parameters(settings, seed=options.seed, **rows)[0]
    else:
        names = problem.describe(settings)["y_names"]
        try:
            y = np.array([float(word) for word in options.y.split(",")])
        except ValueError:
            y = np.array([np.nan])
        config.check(
            len(y) == len(names) and bool(np.isfinite(y).all()),
            f"--y must be {len(names)} numbers, {names[0]} to {names[-1]}; got {options.y!r}",
        )
    from surrogates.pde.problem import noted

    problem.check(settings)
    for note in noted(problem, settings):
        _warn(note)
    return problem(settings, MPI.COMM_SELF), y


def _load(name: str, info: Info | None = None) -> Any:
    """Find a problem by its name: that of a dataset, if one is given."""
    from surrogates.pde.problem import load

    try:
        return load(name, info)
    except ImportError as error:
        raise _no_pde(error) from error


def _drawn(options: argparse.Namespace) -> int:
    print(options.out)
    return 0


def _mpi() -> Any:
    """Import MPI, which all that solves needs."""
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise _no_pde(error) from error
    return MPI


def _no_pde(error: ImportError) -> InputError:
    return InputError(
        f"solving a PDE needs DOLFINx, petsc4py, mpi4py and meshio (scripts/setup.sh): {error}"
    )


class _Progress:
    """A bar with rate and time left on a terminal, else one plain line every few seconds."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._bar: Any = None
        self._start = self._last = time.monotonic()
        self._first: int | None = None  # done before

    def update(self, done: int, total: int, note: str = "") -> None:
        """Say that ``done`` of ``total`` are finished."""
        if self._first is None:
            self._first, self._start = done, time.monotonic()
        if sys.stderr.isatty():
            if self._bar is None:
                unit = f" {self._unit}"
                self._bar = tqdm(total=total, initial=done, unit=unit, file=sys.stderr)
            self._bar.total = total
            self._bar.set_postfix_str(note.lstrip(", "), refresh=False)
            self._bar.update(done - self._bar.n)
        elif time.monotonic() - self._last > 3 and done > self._first:
            self._last = time.monotonic()
            left = (self._last - self._start) / (done - self._first) * (total - done)
            text = f"{done} of {total} {self._unit}{note}, about {left:.0f} s left"
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()


def _complain(text: str) -> None:
    """Print an error as one line."""
    print(f"error: {' '.join(text.split())}", file=sys.stderr, flush=True)


def _warn(text: str) -> None:
    """Print a warning as one line."""
    print(f"warning: {' '.join(text.split())}", file=sys.stderr, flush=True)
