"""Learning curves with and without derivatives, and beside programs that learn from derivatives.

    python scripts/benchmark_derivatives.py --out derivatives.jsonl --figure derivatives.png
    python scripts/benchmark_derivatives.py --sets darcy --sizes 25,50 --seeds 1,2
    python scripts/benchmark_derivatives.py --quick

`derivative_sets.py` has the problems (CDR, DCR, Darcy, reaction-diffusion) and the functions. For
each seed a set's first n samples are learned by `surrogates train`:

values      c of n samples, and of 4 n
tangents    c and the whole dc/dy of n samples
directions  c and dc/dy in --directions random directions of each sample, for problems with more
            inputs than twice that number
jenn        Jacobian-enhanced perceptrons, for functions (`derivative_methods.py`)
gekpls      gradient-enhanced Kriging, for functions of two inputs or more

All errors are on samples of another seed. Of a problem they are means over samples, as `evaluate`
prints them: ||prediction - c|| / ||c|| for CDR, relative to c - mean for the others, and of dc/dy.
Of a function, they are root mean squares over samples, over the standard deviation of c and over
the root mean square of dc/dy: a relative error of one sample says nothing where c = 0.

Solver seconds are measured by `derivative_sets.costs` on one process: a sample in a batch alone,
with tangents, and with directions, in turn. Medians over seeds are printed; a training that failed
or met --limit counts as infinite. The ratios:

of 4 n      error with tangents of n samples over the error with values of 4 n: at most 1 means that
            derivatives replace three quarters of the samples
cheaper     solver seconds of the samples with values alone that have the same error (between two
            sizes by a line in logarithms; > where even the largest number has not) over those of n
            samples with tangents
of dc/dy    error of dc/dy with tangents over that with values alone, of n samples

--out holds a JSON line for each training; a stopped run goes on, and repeats only what failed, met
a smaller limit, or had other arguments. Datasets and the other programs' environment are made once,
in --cache.
"""

from __future__ import annotations

import argparse
import math
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import benchmark_suite as suite
import derivative_methods
import derivative_sets as sets
import numpy as np
from benchmark_suite import Failed, Row, say
from derivative_sets import FUNCTIONS, N_TEST, PROBLEMS

import surrogates
from surrogates.config import check, unknown
from surrogates.data import Dataset
from surrogates.errors import InputError
from surrogates.plots import style as plotting
from surrogates.types import Array

VALUES, TANGENTS, DIRECTIONS = "values", "tangents", "directions"
OTHERS = tuple(derivative_methods.METHODS)
METHODS = (VALUES, TANGENTS, DIRECTIONS, *OTHERS)
MORE = 4  # times as many samples with values alone
COLOURS = {VALUES: plotting.GREY, TANGENTS: plotting.BLUE, DIRECTIONS: plotting.GREEN}
TITLES = {"cdr": "CDR", "dcr": "DCR", "darcy": "Darcy", "reaction_diffusion": "reaction-diffusion"}
QUICK = ("--sets", "darcy,rosenbrock", "--sizes", "10", "--seeds", "1", "--test-samples", "20")


def main(words: Sequence[str] | None = None) -> int:
    """Run the missing trainings, then print the tables."""
    words = sys.argv[1:] if words is None else words
    options = parser().parse_args([*QUICK, *words] if "--quick" in words else words)
    try:
        check_options(options)
        rows = suite.read_rows(options.out)
        measure(options, rows)
        found = [row for row in rows.values() if asked(row, options)]
        report(found, options)
        if options.figure:
            draw_figure(found, options)
    except (InputError, Failed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names, numbers = suite._list(str), suite._list(int)
    known = [*PROBLEMS, *FUNCTIONS]
    made.add_argument("--sets", type=names, default=known, metavar="A,B", help="default: all")
    made.add_argument("--sizes", type=numbers, default=[25, 50, 100, 200], metavar="N,N")
    made.add_argument("--seeds", type=numbers, default=[1, 2, 3, 4, 5], metavar="S,S")
    made.add_argument("--methods", type=names, default=list(METHODS), metavar="A,B")
    made.add_argument("--directions", type=int, default=6, metavar="R", help="default 6")
    made.add_argument("--train-arguments", default="--effort default", metavar="TEXT")
    made.add_argument("--test-samples", type=int, default=sets.TEST_SAMPLES, metavar="N")
    made.add_argument("--cache", type=Path, default=Path("derivatives-cache"), metavar="DIR")
    made.add_argument("--limit", type=float, default=1800.0, help="seconds of a training; 1800")
    made.add_argument("--threads", type=int, default=1, help="of a training; default 1")
    made.add_argument("--jobs", type=int, default=1, help="trainings at once; default 1")
    made.add_argument("--out", type=Path, default=Path("derivatives.jsonl"), metavar="F.jsonl")
    made.add_argument("--figure", type=Path, metavar="F.png", help="the curves of the problems")
    made.add_argument("--quick", action="store_true", help="two sets, 10 samples, short trainings")
    return made


def check_options(options: argparse.Namespace) -> None:
    """Check the options."""
    for name in options.sets:
        check(
            name in PROBLEMS or name in FUNCTIONS,
            unknown(f"set {name!r}", name, [*PROBLEMS, *FUNCTIONS]),
        )
    for name in options.methods:
        check(name in METHODS, unknown(f"method {name!r}", name, METHODS))
    for name in ("directions", "test_samples", "threads", "jobs"):
        number = getattr(options, name)
        words = name.replace("_", "-")
        check(number >= 1, f"--{words} must be at least 1; got {number}")
    check(min(options.sizes) >= 10, f"--sizes must be at least 10; got {min(options.sizes)}")
    check(
        0 <= min(options.seeds) and max(options.seeds) < sets.TEST_SEED,
        f"--seeds must be from 0 to {sets.TEST_SEED - 1}; the test samples have seed "
        f"{sets.TEST_SEED}",
    )
    if options.quick:
        options.train_arguments = "--effort fast --set stopping.work_units=100"


def arguments(name: str, method: str, options: argparse.Namespace) -> str:
    """Return the arguments to store with a row: all that its errors depend on but its key."""
    tests = f"{options.test_samples if name in PROBLEMS else N_TEST} tests"
    if method in OTHERS:
        return f"{tests}, quick" if options.quick else tests
    r = f", {options.directions} directions" if method == DIRECTIONS else ""
    return f"{options.train_arguments}{r}, {tests}"


def asked(row: Row, options: argparse.Namespace) -> bool:
    """Return whether a row belongs to the tables of these options."""
    sizes = {*options.sizes, *(MORE * size for size in options.sizes)}
    wanted = (options.sets, sizes, options.seeds, options.methods)
    chosen = all(part in parts for part, parts in zip(suite.key(row), wanted, strict=False))
    return chosen and row["arguments"] == arguments(row["set"], row["method"], options)


def trainings(options: argparse.Namespace) -> Iterator[tuple[str, int, int, str]]:
    """Return set, size, seed and method of each training, those of few samples first."""
    sizes = sorted({*options.sizes, *(MORE * size for size in options.sizes)})
    for name in options.sets:
        for size in sizes:
            for seed in options.seeds:
                for method in options.methods:
                    if size in options.sizes or method == VALUES:
                        yield name, size, seed, method


def measure(options: argparse.Namespace, rows: dict[suite.Key, Row]) -> None:
    """Run the trainings missing from rows; add them there and to the file."""
    lock = threading.Lock()

    def cell(name: str, size: int, seed: int, method: str) -> None:
        about = arguments(name, method, options)
        if suite.done(rows.get((name, size, seed, method, about)), options.limit):
            return
        with lock:  # so that data are made once
            data = drawn(name, size, seed, method, options)
            python = comparators(options.cache) if method in OTHERS else Path(sys.executable)
        if data is None:
            return
        row = train(name, size, seed, method, data, python, options)
        with lock:
            rows[suite.key(row)] = row
            suite.append(options.out, row)
        result = f"{row['error']:.4g}" if row["status"] == "done" else row["message"]
        say(f"{name} {size} seed {seed} {method}: {result} ({row['seconds']:.1f} s)")

    with ThreadPoolExecutor(options.jobs) as pool:
        waiting = [pool.submit(cell, *one) for one in trainings(options)]
        try:
            for future in waiting:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def drawn(
    name: str, size: int, seed: int, method: str, options: argparse.Namespace
) -> tuple[Dataset, Dataset] | None:
    """Return training and test samples; None if the method is not for this set."""
    if name in FUNCTIONS:
        n_in = len(FUNCTIONS[name].lower)
        if method == DIRECTIONS or (method == "gekpls" and n_in < 2):
            return None
        data = FUNCTIONS[name].dataset(size, seed, "train")
        tests = FUNCTIONS[name].dataset(N_TEST, sets.TEST_SEED, "test")
    else:
        if method in OTHERS:
            return None
        most = max(options.sizes) * (MORE if method == VALUES else 1)
        data = sets.generated(name, most, seed, method != VALUES, options.cache)
        data = sets.first(data, size, seed)
        tests = sets.held_out(name, options.test_samples, options.cache)
    if method == VALUES:
        return sets.without(data), tests
    if method == DIRECTIONS:
        if 2 * options.directions >= data.Y.shape[1]:
            return None
        return sets.in_directions(data, options.directions, seed), tests
    return data, tests


def comparators(cache: Path) -> Path:
    """Return the Python of an environment with the other programs; make it where it is missing."""
    folder = cache.absolute() / "comparators"
    python = folder / "bin" / "python"
    mark = folder / "complete"
    if not mark.exists():
        cache.mkdir(parents=True, exist_ok=True)
        say(f"{folder}: {' '.join(derivative_methods.REQUIRED)}")
        install = [str(python), "-m", "pip", "install", "--quiet", *derivative_methods.REQUIRED]
        for command in ([sys.executable, "-m", "venv", str(folder)], install):
            done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise Failed(f"no environment for jenn and smt: {last}")
        mark.touch()
    return python


def train(
    name: str,
    size: int,
    seed: int,
    method: str,
    data: tuple[Dataset, Dataset],
    python: Path,
    options: argparse.Namespace,
) -> Row:
    """Train one method on one draw and measure it at the test points."""
    row: Row = {"set": name, "size": size, "seed": seed, "method": method}
    row |= {"arguments": arguments(name, method, options), "limit": options.limit}
    row |= {"threads": options.threads, "cores": os.cpu_count(), "jobs": options.jobs}
    start = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory() as folder:
            run = run_other if method in OTHERS else run_surrogate
            found = run(method, *data, seed, Path(folder), python, options)
    except (Failed, subprocess.TimeoutExpired) as reason:
        late = isinstance(reason, subprocess.TimeoutExpired)
        message = "over the time limit" if late else str(reason)
        status = {"status": "time limit" if late else "failed", "message": message}
        return {**row, **status, "seconds": time.perf_counter() - start}
    if name in PROBLEMS:
        found["error"] = found["centred" if PROBLEMS[name].centred else "relative"]
        found["dc_dy"] = found["jacobian"]
    else:
        found["error"], found["dc_dy"] = found["over_std"], found["jacobian_rms"]
    return {**row, "status": "done", **found}


def run_surrogate(
    method: str,
    data: Dataset,
    tests: Dataset,
    seed: int,
    folder: Path,
    python: Path,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Train by the command line; return the errors."""
    data.write(folder / "train.h5")
    words = ["-m", "surrogates", "train", str(folder / "train.h5"), "--out", str(folder / "s.pt")]
    words += ["--seed", str(seed), *shlex.split(options.train_arguments)]
    start = time.perf_counter()
    suite.call(words, options.limit, options.threads, python)
    seconds = time.perf_counter() - start
    surrogate = surrogates.load(folder / "s.pt")
    errors = surrogate.evaluate(tests)
    found = measured(surrogate.predict(tests.Y), surrogate.jacobian(tests.Y), tests)
    found |= {"relative": errors.relative.mean, "centred": errors.centred.mean}
    # One unit in each set: one group.
    found |= {"jacobian": next(iter(errors.jacobian.values())).mean}
    training = surrogate.metadata["training"]
    found |= {"coverage": errors.coverage, "chosen": training.get("chosen", "")}
    return {**found, "derivatives": training.get("derivatives"), "seconds": seconds}


def run_other(
    method: str,
    data: Dataset,
    tests: Dataset,
    seed: int,
    folder: Path,
    python: Path,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Run a method of `derivative_methods` in its environment; return the errors."""
    given, result = folder / "draw.npz", folder / "result.npz"
    assert data.dC_dY is not None
    ends = {"lower": data.info.y_lower, "upper": data.info.y_upper}
    arrays = {"Y_train": data.Y, "C_train": data.C, "dC_dY_train": data.dC_dY, "Y_test": tests.Y}
    np.savez(given, **arrays, **ends)
    words = [str(derivative_methods.__file__), method, str(given), str(result), "--seed", str(seed)]
    words += ["--quick"] * options.quick
    suite.call(words, options.limit, options.threads, python)
    with np.load(result) as arrays:
        found = measured(arrays["mean"], arrays["jacobian"], tests)
        return {**found, "seconds": float(arrays["seconds"]), "chosen": str(arrays["setting"])}


def measured(mean: Array, jacobian: Array, tests: Dataset) -> dict[str, float]:
    """Return root mean square errors: of c over its standard deviation, of dc/dy over its size.

    Columns of dc/dy are in units of the parameters' ranges.
    """
    assert tests.dC_dY is not None
    ranges = tests.info.y_upper - tests.info.y_lower
    slopes = tests.dC_dY * ranges
    error = np.linalg.norm(jacobian * ranges - slopes) / np.linalg.norm(slopes)
    return {
        "over_std": suite.error(mean, tests.C, "regression"),
        "jacobian_rms": float(error) if math.isfinite(error) else math.inf,
    }


# The tables

Curves = Mapping[tuple[str, str], Mapping[int, float]]
"""For each set and method, the median over seeds by the number of samples."""


def curves(rows: Iterable[Row], what: str) -> dict[tuple[str, str], dict[int, float]]:
    """Return medians over seeds; a training without a result counts as infinite."""
    groups: dict[tuple[str, str], dict[int, list[float]]] = {}
    for row in rows:
        sizes = groups.setdefault((row["set"], row["method"]), {})
        value = row.get(what, math.inf)
        sizes.setdefault(row["size"], []).append(math.inf if math.isnan(value) else value)
    return {
        key: {size: statistics.median(values) for size, values in sorted(sizes.items())}
        for key, sizes in groups.items()
    }


def samples_for(error: float, curve: Mapping[int, float]) -> float:
    """Return how many samples have an error, by a line in logarithms between two sizes.

    Args:
        error: The error.
        curve: Errors by the number of samples; one that grows with it is not taken as worse than
            that of fewer samples.

    Returns:
        The number; infinite if the smallest error of the curve is larger. The smallest number of
        the curve if its error is smaller already.
    """
    before: tuple[int, float] | None = None
    for size, value in sorted(curve.items()):
        if value <= error:
            if before is None or not math.isfinite(before[1]) or value <= 0:
                return float(size)
            share = math.log(before[1] / error) / math.log(before[1] / value)
            return float(math.exp((1 - share) * math.log(before[0]) + share * math.log(size)))
        if before is None or value <= before[1]:
            before = size, value
        else:
            before = size, before[1]
    return math.inf


def report(rows: Sequence[Row], options: argparse.Namespace) -> None:
    """Print a table for each problem, and one for the functions."""
    errors, slopes = curves(rows, "error"), curves(rows, "dc_dy")
    for name in options.sets:
        if name in PROBLEMS:
            seconds = sets.costs(name, options.directions, options.cache)
            print("\n".join(of_problem(name, errors, slopes, seconds, options)), "\n")
    functions = [name for name in options.sets if name in FUNCTIONS]
    if functions:
        print("\n".join(of_functions(functions, errors, slopes, options)), "\n")
    threads, cores = options.threads, os.cpu_count()
    print(f"{len(options.seeds)} seeds, {threads} thread(s) a training, {options.jobs} at once, "
          f"on {cores} cores")  # fmt: skip


def of_problem(
    name: str, errors: Curves, slopes: Curves, seconds: Mapping[str, float], options: Any
) -> list[str]:
    """Return the lines on a problem."""
    ms = ", ".join(f"{kind} {1e3 * value:.3g} ms" for kind, value in seconds.items())
    lines = [f"{name}: solver time of a sample: {ms}"]
    heads = ("method", "n", "error", "of 4 n", "cheaper", "dc/dy", "of dc/dy")
    lines.append(f"  {heads[0]:12}" + "".join(f"{head:>10}" for head in heads[1:]))
    plain, flat = errors.get((name, VALUES), {}), slopes.get((name, VALUES), {})
    for method in (VALUES, TANGENTS, DIRECTIONS):
        curve = errors.get((name, method), {})
        for size, error in curve.items():
            slope = slopes[name, method][size]
            texts = [f"{size}", _per_cent(error), "", "", _per_cent(slope), ""]
            if method != VALUES:
                cost = seconds.get(method, seconds[TANGENTS])
                ratio, least = gain(error, size, plain, seconds[VALUES] / cost)
                texts[2] = _ratio(error, plain.get(MORE * size))
                texts[3] = f"{'>' * least}{ratio:.2f}" if math.isfinite(ratio) else "-"
                texts[5] = _ratio(slope, flat.get(size))
            lines.append(f"  {method:12}" + "".join(f"{text:>10}" for text in texts))
    return lines


def gain(
    error: float, size: int, plain: Mapping[int, float], relative_cost: float
) -> tuple[float, bool]:
    """Return how much cheaper samples with derivatives are, and whether that is a lower bound.

    Args:
        error: The error of ``size`` samples with derivatives.
        size: Their number.
        plain: Errors with values alone, by the number of samples.
        relative_cost: Solver seconds of a sample alone over those of one with derivatives.
    """
    if not plain or not math.isfinite(error):
        return math.nan, False
    number = samples_for(error, plain)
    least = not math.isfinite(number)
    return (max(plain) if least else number) / size * relative_cost, least


def _ratio(value: float, other: float | None) -> str:
    if other is None or not (math.isfinite(value) and 0 < other < math.inf):
        return "-"
    return f"{value / other:.2f}"


def _per_cent(value: float) -> str:
    return f"{100 * value:.3g} %" if math.isfinite(value) else "-"


def of_functions(
    names: Sequence[str], errors: Curves, slopes: Curves, options: argparse.Namespace
) -> list[str]:
    """Return the lines on the functions: errors of c, and of dc/dy, in per cent."""
    methods = [m for m in METHODS if m in options.methods and m != DIRECTIONS]
    lines = []
    for what, found in (("error of c over its standard deviation", errors), ("of dc/dy", slopes)):
        heads = "".join(f"{head:>12}" for head in (*methods, "ratio"))
        lines.append(f"{what:40}{heads}")
        ratios = []
        for name in names:
            for size in options.sizes:
                values = {m: found.get((name, m), {}).get(size, math.inf) for m in methods}
                others = [values[m] for m in OTHERS if math.isfinite(values.get(m, math.inf))]
                ratio = math.nan
                if others and math.isfinite(values.get(TANGENTS, math.inf)):
                    least = suite.SMALLEST_ERROR
                    ratio = max(values[TANGENTS], least) / max(min(others), least)
                    ratios.append(ratio)
                texts = [*map(_per_cent, values.values()), _ratio(ratio, 1.0)]
                lines.append(f"{f'  {name}, {size}':40}" + "".join(f"{t:>12}" for t in texts))
        if ratios:
            mean = math.exp(statistics.fmean(map(math.log, ratios)))
            worst = max(ratios)
            lines.append(f"  tangents over the best other: geometric mean {mean:.3g}, "
                         f"largest {worst:.3g}")  # fmt: skip
    return lines


def draw_figure(rows: Sequence[Row], options: argparse.Namespace) -> None:
    """Draw the curves of the problems: errors of c by samples and by seconds, and of dc/dy."""
    names = [name for name in options.sets if name in PROBLEMS]
    check(bool(names), "--figure takes a problem in --sets")
    cost = {name: sets.costs(name, options.directions, options.cache) for name in names}
    panels: list[tuple[str, str, Callable[[str, str, int], float]]] = [
        ("error", "samples", lambda name, method, size: size),
        (
            "error",
            "solver seconds",
            lambda name, method, size: size * cost[name].get(method, cost[name][TANGENTS]),
        ),
        ("dc_dy", "samples", lambda name, method, size: size),
    ]
    from matplotlib.ticker import LogLocator

    height = 2.1 * len(panels)
    with plotting.saved_figure(options.figure, (plotting.WIDTH, height), "") as figure:
        sizes = sorted({*options.sizes, *(MORE * size for size in options.sizes)})
        axes = figure.subplots(len(panels), len(names), squeeze=False)
        for i, (what, along, place) in enumerate(panels):
            found = curves(rows, what)
            for j, name in enumerate(names):
                ax = axes[i, j]
                for method, colour in COLOURS.items():
                    curve = found.get((name, method), {})
                    x = [place(name, method, size) for size in curve]
                    label = {DIRECTIONS: f"{options.directions} directions"}.get(method, method)
                    if curve:
                        y = [100 * value for value in curve.values()]
                        ax.plot(x, y, "o-", color=colour, label=label, markersize=3)
                ax.set_xscale("log")
                ax.set_yscale("log")
                ax.set_xlabel(along)
                for axis in (ax.xaxis, ax.yaxis):
                    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                    axis.set_major_formatter("{x:g}")
                if along == "samples":
                    ax.set_xticks(sizes, map(str, sizes))
                ax.minorticks_off()
                if i == 0:
                    ax.set_title(TITLES[name])
                if j == 0:
                    ax.set_ylabel(f"error of {'dc/dy' if what == 'dc_dy' else 'c'}, %")
        lines = {line.get_label(): line for ax in axes.flat for line in ax.lines}
        figure.legend(lines.values(), lines, loc="outside lower center", ncols=len(lines))


if __name__ == "__main__":
    sys.exit(main())
