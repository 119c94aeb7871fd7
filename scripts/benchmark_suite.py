"""Compare `surrogates train` with other methods on sets with published definitions.

    python scripts/benchmark_suite.py --out suite.jsonl [--published F.mat] [--darcy F.npz]
    python scripts/benchmark_suite.py --held-out --out held_out.jsonl --figure held_out.png
    python scripts/benchmark_suite.py --sets ishigami,borehole --sizes 100,400 --seeds 1

`suite_sets.py` defines the sets and cites their sources; `suite_methods.py` has the other methods.
Every method, the surrogate too, gets the same n training rows, 100, 400 and 1000 by default, by
Latin hypercube or from the shuffled rows of a data set. The surrogate takes its validation samples
from these rows (--split); the other methods choose their settings by folds of them. Test points are
an independent draw of 1000, or the remaining rows of a data set. No training can use them: the
other methods' processes do not get the outputs at the test points, and only `evaluate` reads the
surrogate's separate dataset of them.

The surrogate is run by the command line: import, train, predict, evaluate. --train-arguments are
passed to train. Each training runs in its own process with --threads threads, and is ended after
--limit seconds, shown as "-". Seconds are those of tuning and training; for the surrogate, those of
the command train, with the start of Python.

The error is the root mean square error over the standard deviation of an output on the test points,
as root mean square over outputs; the share of wrong labels for a classification. If a function has
noise, the error is measured against the function without it, and `error_observed` in --out against
observations. Coverages are of observations, at 50, 90 and 95 %.

Medians over seeds are printed; a seed that failed or met the limit counts as infinite. The ratio is
the surrogate's median over the smallest of the others'. In ratios, errors are at least 1e-6, or
half a test label. --out holds a JSON line for each training; a stopped run continues, and repeats
only trainings that failed, met a smaller limit, or had other arguments.

Data of `surrogates generate` are made once, in --cache: 2000 samples of CDR (half a minute) and
1250 of DCR (three to ten minutes).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import suite_methods
import suite_sets
from scipy.stats import norm
from suite_sets import HELD_OUT, SETS, Draw, Files

from surrogates.config import check, unknown
from surrogates.errors import InputError
from surrogates.plots import style as plotting
from surrogates.types import Array

SURROGATE = "surrogate"
METHODS = Path(suite_methods.__file__)
LEVELS = (0.5, 0.9, 0.95)
COMMAND_SECONDS = 600.0  # for import, predict and evaluate
SMALLEST_ERROR = 1e-6  # smaller differences do not matter
BAD_RATIO = 1.5
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch")
Row = dict[str, Any]
Key = tuple[str, int, int, str, str]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result of one training.

    Attributes:
        mean: Predictions at the test points, or labels.
        seconds: Time of tuning and training.
        coverage: Shares of observations in intervals of `LEVELS`; None if there are none.
    """

    mean: Array
    seconds: float
    coverage: Sequence[float] | None


class Failed(Exception):
    """Raised when a process fails; the message is its last line."""


def main() -> int:
    """Run the missing trainings, then print the table."""
    options = parser().parse_args()
    try:
        check_options(options)
        rows = read_rows(options.out)
        measure(options, rows)
        found = [row for row in rows.values() if asked(row, options)]
        report(found, options)
        if options.figure:
            draw_figure(medians(found), options.figure)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names, numbers = _list(str), _list(int)
    made.add_argument("--sets", type=names, default=None, metavar="A,B", help="default: all")
    made.add_argument("--held-out", action="store_true", help="the other sets, see suite_sets.py")
    made.add_argument("--sizes", type=numbers, default=[100, 400, 1000], metavar="N,N")
    made.add_argument("--seeds", type=numbers, default=[1, 2, 3], metavar="S,S", help="1,2,3")
    made.add_argument("--methods", type=names, default=None, metavar="A,B", help="default: all")
    made.add_argument("--train-arguments", default="--effort default", metavar="TEXT")
    made.add_argument("--split", default="0.8/0.2/0", help="of the surrogate; default 0.8/0.2/0")
    made.add_argument("--published", type=Path, metavar="F.mat", help="the published CDR data")
    made.add_argument("--darcy", type=Path, metavar="F.npz", help="Darcy flow, 16 x 16")
    made.add_argument("--cache", type=Path, default=Path("suite-cache"), metavar="DIR")
    made.add_argument("--limit", type=float, default=300.0, help="seconds of a training; 300")
    made.add_argument("--threads", type=int, default=1, help="of a training; default 1")
    made.add_argument("--jobs", type=int, default=1, help="trainings at once; default 1")
    made.add_argument("--out", type=Path, default=Path("suite.jsonl"), metavar="F.jsonl")
    made.add_argument("--figure", type=Path, metavar="F.png", help="ratios by set and size")
    return made


def _list(kind: type) -> Any:
    def parse(text: str) -> list[Any]:
        return [kind(item) for item in text.split(",")]

    parse.__name__ = f"list of {kind.__name__}"  # for argparse's error messages
    return parse


def check_options(options: argparse.Namespace) -> None:
    """Check the options and fill in the lists that were not given."""
    known = {**SETS, **HELD_OUT}
    options.sets = options.sets or list(HELD_OUT if options.held_out else SETS)
    methods = [SURROGATE, *suite_methods.available()]
    options.methods = options.methods or methods
    for name in options.sets:
        check(name in known, unknown(f"set {name!r}", name, known))
    for name in options.methods:
        check(name in methods, unknown(f"method {name!r}", name, methods))
    check(min(options.sizes) >= 20, f"--sizes must be at least 20; got {min(options.sizes)}")
    check(min(options.seeds) >= 0, f"--seeds must be at least 0; got {min(options.seeds)}")
    check(options.limit > 0, f"--limit must be above 0; got {options.limit:g}")
    for name in ("threads", "jobs"):
        number = getattr(options, name)
        check(number >= 1, f"--{name} must be at least 1; got {number}")


def read_rows(path: Path) -> dict[Key, Row]:
    """Read the rows of earlier runs, the last of each key; a cut last line is left out."""
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = {}
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            rows[key(row)] = row
        except (ValueError, KeyError, TypeError) as error:
            check(number == len(lines), f"{path}, line {number} is none of this script: {error!r}")
    return rows


def key(row: Mapping[str, Any]) -> Key:
    """Return a training's key: set, size, seed, method, the surrogate's arguments."""
    return row["set"], row["size"], row["seed"], row["method"], row["arguments"]


def arguments(method: str, options: argparse.Namespace) -> str:
    """Return the arguments to store with a row: those of the surrogate, nothing for others."""
    return f"{options.train_arguments} {options.split}".strip() if method == SURROGATE else ""


def asked(row: Row, options: argparse.Namespace) -> bool:
    """Return whether a row belongs to the table of these options."""
    wanted = (options.sets, options.sizes, options.seeds, options.methods)
    chosen = all(part in parts for part, parts in zip(key(row), wanted, strict=False))
    return chosen and row["arguments"] == arguments(row["method"], options)


def done(row: Row | None, limit: float) -> bool:
    """Return whether a training need not be run (again)."""
    if row is None or row["status"] == "failed":
        return False
    return bool(row["status"] == "done" or row["limit"] >= limit)


def measure(options: argparse.Namespace, rows: dict[Key, Row]) -> None:
    """Run the trainings missing from rows; add them there and to the file."""
    files = Files(published=options.published, darcy=options.darcy, cache=options.cache)
    lock, sizes = threading.Lock(), sorted(set(options.sizes))

    def cell(name: str, size: int, seed: int) -> None:
        missing = [
            method
            for method in options.methods
            if not done(
                rows.get((name, size, seed, method, arguments(method, options))), options.limit
            )
        ]
        if not missing:
            return
        with lock:  # so that data are generated once
            drawn = suite_sets.draw(name, size, seed, files)
        if drawn is None:
            say(f"{name}: left out, its file is not given (--published, --darcy)")
            return
        if any(other < size and other >= len(drawn.Y_train) for other in sizes):
            say(f"{name} {size}: left out, the set has {len(drawn.Y_train)} rows for training")
            return
        for method in missing:
            if method not in (SURROGATE, *suite_methods.of_task(drawn.task)):
                continue
            row = train(name, size, seed, method, drawn, options)
            with lock:
                rows[key(row)] = row
                append(options.out, row)
            result = f"{row['error']:.4g}" if row["status"] == "done" else row["message"]
            say(f"{name} {size} seed {seed} {method}: {result} ({row['seconds']:.1f} s)")

    with ThreadPoolExecutor(options.jobs) as pool:
        waiting = [
            pool.submit(cell, name, size, seed)
            for name in options.sets
            for size in sizes
            for seed in options.seeds
        ]
        try:
            for future in waiting:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def say(text: str) -> None:
    """Write a line of progress."""
    print(text, file=sys.stderr, flush=True)


def append(path: Path, row: Row) -> None:
    """Write a row at the end of the file, on a new line even after a cut one."""
    with open(path, "a+b") as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":
                file.truncate(_last_line(path))
        file.write(json.dumps(row).encode() + b"\n")


def _last_line(path: Path) -> int:
    return path.read_bytes().rfind(b"\n") + 1


def train(
    name: str, size: int, seed: int, method: str, drawn: Draw, options: argparse.Namespace
) -> Row:
    """Train one method on one draw and measure it at the test points."""
    run = run_surrogate if method == SURROGATE else run_other
    row: Row = {"set": name, "size": size, "seed": seed, "method": method}
    row |= {"arguments": arguments(method, options), "samples": len(drawn.Y_train)}
    row |= {"tests": len(drawn.Y_test), "task": drawn.task, "limit": options.limit}
    row |= {"threads": options.threads, "cores": os.cpu_count(), "jobs": options.jobs}
    row |= {"versions": {library: importlib.metadata.version(library) for library in LIBRARIES}}
    start = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory() as folder:
            outcome = run(method, drawn, seed, Path(folder), options)
    except (Failed, subprocess.TimeoutExpired) as reason:
        late = isinstance(reason, subprocess.TimeoutExpired)
        message = "over the time limit" if late else str(reason)
        status = {"status": "time limit" if late else "failed", "message": message}
        return {**row, **status, "seconds": time.perf_counter() - start}
    return {
        **row,
        "status": "done",
        "error": error(outcome.mean, drawn.truth, drawn.task),
        "error_observed": error(outcome.mean, drawn.C_test, drawn.task),
        "seconds": outcome.seconds,
        "coverage": outcome.coverage,
    }


def error(mean: Array, truth: Array, task: str) -> float:
    """Return the share of wrong labels, or the error relative to the standard deviation.

    Outputs that do not vary on the test points are left out.
    """
    if task == "classification":
        return float((mean != truth).mean())
    std = truth.std(axis=0)
    varies = std > 1e-12 * np.abs(truth).max(axis=0)
    squares = ((mean - truth) ** 2).mean(axis=0)[varies] / std[varies] ** 2
    value = float(np.sqrt(squares.mean()))
    return value if math.isfinite(value) else math.inf


def coverage(mean: Array, std: Array, observed: Array) -> list[float]:
    """Return the shares of observations in the intervals of normal distributions."""
    sizes = np.abs(observed - mean)
    return [float((sizes <= norm.ppf(0.5 + level / 2) * std).mean()) for level in LEVELS]


def run_other(
    method: str, drawn: Draw, seed: int, folder: Path, options: argparse.Namespace
) -> Outcome:
    """Run a method of `suite_methods` in a process of its own."""
    given, result = folder / "draw.npz", folder / "result.npz"
    task = np.array(drawn.task)
    np.savez(given, Y_train=drawn.Y_train, C_train=drawn.C_train, Y_test=drawn.Y_test, task=task)
    command = [str(METHODS), method, str(given), str(result), "--seed", str(seed)]
    call(command, options.limit, options.threads)
    with np.load(result) as arrays:
        mean, seconds = arrays["mean"], float(arrays["seconds"])
        shares = coverage(mean, arrays["std"], drawn.C_test) if "std" in arrays else None
    return Outcome(mean=mean, seconds=seconds, coverage=shares)


def run_surrogate(
    method: str, drawn: Draw, seed: int, folder: Path, options: argparse.Namespace
) -> Outcome:
    """Run the command line: import, train, predict, evaluate."""

    def command(*words: str, limit: float = COMMAND_SECONDS) -> str:
        return call(["-m", "surrogates", *words], limit, options.threads)

    parts = {"train": (drawn.Y_train, drawn.C_train), "test": (drawn.Y_test, drawn.C_test)}
    path = {name: str(folder / name) for name in (*parts, "predicted")}
    for name, (Y, C) in parts.items():
        np.savez(f"{path[name]}.npz", Y=Y, C=C)
        how = ("--samples", "rows", "--task", drawn.task, "--seed", str(seed))
        split = options.split if name == "train" else "0/0/1"
        files = (f"{path[name]}.npz", "--out", f"{path[name]}.h5")
        command("import", *files, *how, "--split", split)
    surrogate = f"{path['train']}.pt"
    start = time.perf_counter()
    extra = shlex.split(options.train_arguments)
    files = (f"{path['train']}.h5", "--out", surrogate)
    command("train", *files, "--seed", str(seed), *extra, limit=options.limit)
    seconds = time.perf_counter() - start
    np.save(f"{path['test']}.npy", drawn.Y_test)
    ends = (f"{path['test']}.npy", "--out", f"{path['predicted']}.npy")
    command("predict", surrogate, "--in", *ends)
    found = json.loads(command("evaluate", surrogate, f"{path['test']}.h5", "--json"))
    mean = np.load(f"{path['predicted']}.npy").reshape(len(drawn.Y_test), -1)
    if drawn.task == "classification":
        mean = mean.argmax(axis=1)[:, None]
    return Outcome(mean=mean, seconds=seconds, coverage=found.get("coverage") or None)


def call(
    command: Sequence[str], limit: float, threads: int, python: str | Path = sys.executable
) -> str:
    """Run Python, this one by default, with a number of threads; return what it printed.

    Raises:
        Failed: If it failed.
        subprocess.TimeoutExpired: If it took longer than the limit; it is ended then.
    """
    result = subprocess.run(
        [str(python), *command],
        env={**os.environ, **dict.fromkeys(THREADS, str(threads))},
        capture_output=True,
        text=True,
        timeout=limit,
    )
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["no message"]
        raise Failed(f"exit status {result.returncode}: {lines[-1]}")
    return result.stdout


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Medians of one set and size.

    Attributes:
        name: The set.
        size: Requested number of training rows.
        samples: Actual number of training rows.
        seeds: Number of seeds.
        errors: Median error of each method; infinite if half of its trainings have none.
        ratio: The surrogate's error over the smallest other; None without a surrogate or another.
        surrogate_seconds: Median time of the surrogate.
        coverages: Medians of the surrogate and the Gaussian process (RBF); None if there are none.
    """

    name: str
    size: int
    samples: int
    seeds: int
    errors: Mapping[str, float]
    ratio: float | None
    surrogate_seconds: float
    coverages: Mapping[str, Sequence[float] | None]


def medians(rows: Iterable[Row]) -> list[Cell]:
    """Return the medians of each set and size, in the order of the rows' sets."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["set"], row["size"]), []).append(row)
    order = [*SETS, *HELD_OUT]
    return [
        _cell(name, size, groups[name, size])
        for name, size in sorted(groups, key=lambda pair: (order.index(pair[0]), pair[1]))
    ]


def _cell(name: str, size: int, rows: Sequence[Row]) -> Cell:
    methods = list(dict.fromkeys(row["method"] for row in rows))
    of = {method: [row for row in rows if row["method"] == method] for method in methods}
    errors = {
        method: statistics.median(row.get("error", math.inf) for row in group)
        for method, group in of.items()
    }
    least = SMALLEST_ERROR
    if rows[0]["task"] == "classification":
        least = 0.5 / rows[0]["tests"]
    others = [value for method, value in errors.items() if method != SURROGATE]
    ratio = None
    if SURROGATE in errors and others and min(others) < math.inf:
        ratio = max(errors[SURROGATE], least) / max(min(others), least)
    seconds = [row["seconds"] for row in of.get(SURROGATE, [])]
    return Cell(
        name=name,
        size=size,
        samples=rows[0]["samples"],
        seeds=len({row["seed"] for row in rows}),
        errors=errors,
        ratio=ratio,
        surrogate_seconds=statistics.median(seconds) if seconds else math.nan,
        coverages={method: _coverages(of.get(method, [])) for method in (SURROGATE, "gp_rbf")},
    )


def _coverages(rows: Sequence[Row]) -> list[float] | None:
    shares = [row["coverage"] for row in rows if row.get("coverage")]
    return [statistics.median(level) for level in zip(*shares, strict=True)] if shares else None


def report(rows: Sequence[Row], options: argparse.Namespace) -> None:
    """Print a line for each set and size, then the summary of the ratios."""
    cells = medians(rows)
    width = max((len(name) for name in options.sets), default=0)
    columns = [*options.methods, "ratio", "seconds"]
    heads = " ".join(f"{name:>{max(len(name), 8)}}" for name in columns)
    print(f"{'set':{width}}    n seeds {heads}  in 50/90/95 % intervals: surrogate, gp_rbf")
    for cell in cells:
        values = [cell.errors.get(method, math.inf) for method in options.methods]
        values += [math.inf if cell.ratio is None else cell.ratio, cell.surrogate_seconds]
        texts = [
            f"{f'{value:.4g}' if math.isfinite(value) else '-':>{max(len(name), 8)}}"
            for name, value in zip(columns, values, strict=True)
        ]
        shares = [
            "/".join(f"{100 * s:.0f}" for s in c or ()) or "-" for c in cell.coverages.values()
        ]
        start = f"{cell.name:{width}} {cell.samples:4d} {cell.seeds:5d}"
        print(start, *texts, "", f"{shares[0]}, {shares[1]}")
    print("\n".join(summary(cells)))
    threads, cores = options.threads, os.cpu_count()
    print(f"{threads} thread(s) a training, {options.jobs} at once, on {cores} cores")


def summary(cells: Sequence[Cell]) -> list[str]:
    """Return lines with the geometric mean of the ratios, the largest, and how many are bad."""
    pairs = [(cell, cell.ratio) for cell in cells if cell.ratio is not None]
    finite = [(cell, ratio) for cell, ratio in pairs if ratio < math.inf]
    lines = []
    if finite:
        mean = math.exp(statistics.fmean(math.log(ratio) for _, ratio in finite))
        worst, ratio = max(finite, key=lambda pair: pair[1])
        bad = [cell for cell, ratio in pairs if ratio > BAD_RATIO]
        sets = {cell.name for cell, _ in pairs}
        lines = [
            f"ratio surrogate / best other: geometric mean {mean:.3g}, largest {ratio:.3g} "
            f"({worst.name}, {worst.samples} rows)",
            f"above {BAD_RATIO}: {len(bad)} of {len(pairs)} rows of this table, "
            f"{len({cell.name for cell in bad})} of {len(sets)} sets at some size",
        ]
    if len(pairs) > len(finite):
        lines.append(f"no surrogate, failed or over the limit: {len(pairs) - len(finite)} rows")
    return lines or ["no ratio: that takes the surrogate and another method"]


def draw_figure(cells: Sequence[Cell], path: Path) -> None:
    """Draw the ratios by set and size."""
    names = list(dict.fromkeys(cell.name for cell in cells))
    with plotting.saved_figure(path, (max(4.0, 0.5 * len(names)), 4), "") as figure:
        axes = figure.add_subplot()
        for size in sorted({cell.size for cell in cells}):
            shown = [
                (names.index(cell.name), cell.ratio)
                for cell in cells
                if cell.size == size and cell.ratio is not None and cell.ratio < math.inf
            ]
            if shown:
                axes.plot(*zip(*shown, strict=True), "o", label=f"{size}")
        axes.axhline(1, color="black", linewidth=0.8)
        axes.axhline(BAD_RATIO, color=plotting.GREY, linewidth=0.8, linestyle="--")
        axes.set_yscale("log")
        axes.set_xticks(range(len(names)), map(plotting.plain, names), rotation=60, ha="right")
        axes.set_ylabel("error: surrogate / best other")
        if axes.lines[2:]:
            axes.legend(title="training rows")


if __name__ == "__main__":
    sys.exit(main())
