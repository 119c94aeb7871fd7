"""Time the engines of a surrogate in turns, one sample, one Jacobian and a batch of 1000.

    python -m pip install onnx onnxruntime jax    # or without, or with some of them
    python scripts/benchmark_engines.py cdr.pt

The engines are TorchScript, numpy and the compiled C export; onnxruntime and JAX run what the
exports of these formats write. A name in brackets is the engine as `surrogates.load` returns it,
with its checks. A single call has a fresh sample each time, as in a Markov chain, and its result is
a numpy array. All calls take turns; the table has the least and the median of the rounds, and least
and median over those of TorchScript. A busy machine makes the medians large. Every engine is first
compared with TorchScript.

The bound of a batch of networks is what its matrix products take, of the same sizes, with the
library of numpy; the sigmoids come on top. OMP_NUM_THREADS is the number of threads there.

    python scripts/benchmark_engines.py cdr.pt --memory 1000000

prints the resident memory after each tenth of that many calls of each method that a Markov chain or
an inversion calls, for the engines one after the other, and ends with an error if it grows. Of the
likelihood it takes a twentieth of the calls.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import sys
import time
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import surrogates
from surrogates.errors import InputError
from surrogates.export.blocks import Network
from surrogates.export.c.compiled import Compiled
from surrogates.export.c.engine import joined_linear
from surrogates.export.constants import constants
from surrogates.export.jax.write import text
from surrogates.export.onnx.write import model
from surrogates.export.reference import Reference
from surrogates.loading import with_engine
from surrogates.model.engines import ENGINES
from surrogates.model.loaded import LoadedSurrogate

BATCH, ROUNDS = 1000, 150
Calls = dict[str, Callable[[np.ndarray], np.ndarray]]


def main() -> int:
    """Print the table, or an error in one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("surrogate", help="a .pt file")
    parser.add_argument("--threads", type=int, default=1, help="of torch and onnxruntime")
    parser.add_argument("--memory", type=int, metavar="CALLS", help="watch memory, without times")
    given = parser.parse_args()
    try:
        if given.memory:
            memory(given.surrogate, given.memory)
        else:
            benchmark(given.surrogate, given.threads)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def benchmark(path: str, threads: int) -> None:
    """Time everything that is installed."""
    torch.set_num_threads(threads)
    loaded = surrogates.load(path)
    reference = constants(loaded)
    engines = {
        "torch": in_torch(loaded.module),
        "numpy": in_numpy(reference),
        "c": in_c(reference, threads),
    }
    for name in ENGINES:
        engines[f"({name})"] = through_checks(with_engine(loaded, name), threads)
    for name, made in (("onnxruntime", in_onnx), ("jax", in_jax)):
        if importlib.util.find_spec(name):
            engines[name] = made(reference, threads)
    draws = np.random.default_rng(0).uniform(size=(BATCH, len(reference.lower)))
    Y = reference.lower + (reference.upper - reference.lower) * draws
    compare(engines, Y)
    for what, n in (("predict", 100), ("jacobian", 10), ("batch", 1)):
        report(what, engines, Y, n, BATCH if what == "batch" else 1)
    bound(reference)


def compare(engines: Mapping[str, Calls], Y: np.ndarray) -> None:
    """Refuse an engine whose results are not those of TorchScript."""
    for name, calls in engines.items():
        for what, call in calls.items():
            given = Y if what == "batch" else Y[3]
            right = engines["torch"][what](given)
            gap = np.abs(np.asarray(call(given)) - right).max() / np.abs(right).max()
            if not gap < 1e-10:  # terms of kernels cancel
                raise InputError(f"{name} differs from torch in {what} by {gap:.1e}")


def report(what: str, engines: Mapping[str, Calls], Y: np.ndarray, n: int, samples: int) -> None:
    """Time one kind of call, all engines in turns, and print a table."""
    calls = {name: one[what] for name, one in engines.items() if what in one}
    seconds = {name: np.empty(ROUNDS) for name in calls}
    rows = [np.ascontiguousarray(row) for row in Y]
    for i in range(-3, ROUNDS):
        for name, call in calls.items():
            repeats = n if name.strip("()") == "c" else max(1, n // 10)
            given = [Y] * repeats if samples > 1 else [rows[k % BATCH] for k in range(repeats)]
            start = time.perf_counter()
            for y in given:
                call(y)
            seconds[name][max(i, 0)] = (time.perf_counter() - start) / (repeats * samples)
    first = seconds["torch"].min(), float(np.median(seconds["torch"]))
    print(
        f"{what + ', us a sample':26}{'least':>9}{'median':>9}{'of torch: least':>17}{'median':>9}"
    )
    for name, found in seconds.items():
        both = found.min(), float(np.median(found))
        shares = f"{both[0] / first[0]:17.3f}{both[1] / first[1]:9.3f}"
        print(f"{name:26}{1e6 * both[0]:9.2f}{1e6 * both[1]:9.2f}{shares}")


def bound(r: Reference) -> None:
    """Print what the matrix products of a batch take at least, if the surrogate is of networks."""
    if not any(isinstance(block, Network) for block in r.blocks):
        return
    lean = joined_linear(r)
    nets = [block for block in lean.blocks if isinstance(block, Network)]
    width, n_out = lean.W.shape[1], len(lean.c_0)
    sizes = [(len(r.lower), sum(net.width for net in nets)), (width, n_out)]
    rng = np.random.default_rng(0)
    pairs = [(rng.random((BATCH, n)), rng.random((n, m)), np.empty((BATCH, m))) for n, m in sizes]
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for X, M, out in pairs:
            np.matmul(X, M, out=out)
        seconds.append((time.perf_counter() - start) / BATCH)
    least, median = 1e6 * min(seconds), 1e6 * float(np.median(seconds))
    inside = sum(net.A.size for net in nets)
    work = sum(n * m for n, m in sizes)
    print(f"{'products alone, numpy':26}{least:9.2f}{median:9.2f}")
    print(f"{work} products of two numbers in them, {inside} more between features")


def in_torch(module: Any) -> Calls:
    """Return the calls of the TorchScript module."""

    def called(method: Callable[[torch.Tensor], torch.Tensor]) -> Any:
        def call(y: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return method(torch.from_numpy(y)).numpy()

        return call

    forward = called(module)
    return {"predict": forward, "jacobian": called(module.jacobian), "batch": forward}


def in_numpy(r: Reference) -> Calls:
    """Return the calls of the reference."""
    forward = getattr(r, "forward", r)
    return {"predict": forward, "jacobian": r.jacobian, "batch": forward}


def through_checks(surrogate: LoadedSurrogate, threads: int) -> Calls:
    """Return the calls of a surrogate as users hold it."""
    if isinstance(surrogate.engine, Compiled):
        surrogate.engine.threads = threads
    call = surrogate.predict
    return {"predict": call, "jacobian": surrogate.jacobian, "batch": call}


def in_c(r: Reference, threads: int) -> Calls:
    """Return the calls of the compiled engine."""
    engine = Compiled(r)
    engine.threads = threads
    return {"predict": engine.forward, "jacobian": engine.jacobian, "batch": engine.forward}


def in_jax(r: Reference, threads: int) -> Calls:
    """Return the functions of the module that ``--format jax`` writes."""
    del threads  # XLA chooses
    module = types.ModuleType("surrogate")
    exec(compile(text(module.__name__, r), "surrogate.py", "exec"), module.__dict__)
    return {
        "predict": lambda y: np.asarray(module.forward(y)),
        "jacobian": lambda y: np.asarray(module.jacobian(y)),
        "batch": lambda y: np.asarray(module.forward(y)),
    }


def in_onnx(r: Reference, threads: int) -> Calls:
    """Return the outputs of the models that ``--format onnx`` writes, one for each method."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    forward, jacobian = (
        onnxruntime.InferenceSession(
            model(r, (method,)).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        for method in ("forward", "jacobian")
    )
    return {
        "predict": lambda y: forward.run(None, {"y": y[None]})[0][0],
        "jacobian": lambda y: jacobian.run(None, {"y": y[None]})[0][0],
        "batch": lambda y: forward.run(None, {"y": y})[0],
    }


def memory(path: str, calls: int) -> None:
    """Print the resident memory of this process while it calls each method again and again.

    Raises:
        InputError: If it grows by more than a thousandth of what the results take, and 256 KiB.
    """
    for name in ENGINES:
        surrogate = surrogates.load(path, engine=name)
        low, high = surrogate.bounds
        Y = low + (high - low) * np.random.default_rng(0).uniform(size=(1000, surrogate.n_in))
        for what, (call, n) in methods(surrogate, calls).items():
            for y in Y[:200]:  # what is made once
                call(y)
            said: list[float] = []
            for _ in range(10):
                for i in range(n // 10):
                    call(Y[i % len(Y)])
                said.append(resident())
            grown = 2**20 * (said[-1] - said[0]) / (0.9 * n)
            print(
                f"{name:6} {what:12} {n:8} calls: {' '.join(f'{one:.1f}' for one in said)} MiB; "
                f"{grown:.3f} bytes a call",
                flush=True,
            )
            if grown > 8e-3 * surrogate.n_out and said[-1] - said[0] > 0.25:
                raise InputError(f"{what} of the engine {name} grows by {grown:.3f} bytes a call")


def methods(surrogate: LoadedSurrogate, calls: int) -> dict[str, tuple[Any, int]]:
    """Return the calls of one sample that chains and inversions make, and how many to make."""
    v, w = np.ones(surrogate.n_in), np.ones(surrogate.n_out)
    found: dict[str, tuple[Any, int]] = {
        "predict": (surrogate.predict, calls),
        "jacobian": (surrogate.jacobian, calls),
        "vjp": (lambda y: surrogate.vjp(y, w), calls),
        "hvp": (lambda y: surrogate.hvp(y, w, v), calls),
        "predict_std": (surrogate.predict_std, calls),
        "in_domain": (surrogate.in_domain, calls),
    }
    if surrogate.engine.correlation is not None:
        data = surrogate.predict(surrogate.bounds.mean(axis=0))
        likelihood = surrogate.likelihood(data, 0.1 * np.abs(data).max())
        found["predict_cov"] = (surrogate.predict_cov, calls)
        found["likelihood"] = (likelihood.value_and_gradient, max(10, calls // 20))
    return found


def resident() -> float:
    """Return the resident memory of this process, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    raise SystemExit(main())
