"""Time the engines of a surrogate in turns, one sample, one Jacobian and a batch of 1000.

    python -m pip install onnx onnxruntime jax    # or without, or with some of them
    python scripts/benchmark_engines.py cdr.pt

The engines are TorchScript, numpy and the compiled C export; onnxruntime and JAX run what the
exports of these formats write. A single call has a fresh sample each time, as in a Markov chain,
and its result is a numpy array. All calls take turns; the table has the least and the median of the
rounds, and their median over that of TorchScript. A busy machine makes the medians large. Every
engine is first compared with TorchScript.

    python scripts/benchmark_engines.py cdr.pt --memory 1000000

prints the resident memory after each tenth of that many calls of ``predict``, for the engines one
after the other, and ends with an error if it grows.
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
from surrogates.export.c.compiled import Compiled
from surrogates.export.constants import constants
from surrogates.export.jax.write import text
from surrogates.export.onnx.write import model
from surrogates.export.reference import Reference
from surrogates.model.engines import ENGINES

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
        "c": in_c(reference),
    }
    for name, made in (("onnxruntime", in_onnx), ("jax", in_jax)):
        if importlib.util.find_spec(name):
            engines[name] = made(reference, threads)
    draws = np.random.default_rng(0).uniform(size=(BATCH, len(reference.lower)))
    Y = reference.lower + (reference.upper - reference.lower) * draws
    compare(engines, Y)
    for what, n in (("predict", 100), ("jacobian", 10), ("batch", 1)):
        report(what, engines, Y, n, BATCH if what == "batch" else 1)


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
            repeats = n if name == "c" else max(1, n // 10)
            given = [Y] * repeats if samples > 1 else [rows[k % BATCH] for k in range(repeats)]
            start = time.perf_counter()
            for y in given:
                call(y)
            seconds[name][max(i, 0)] = (time.perf_counter() - start) / (repeats * samples)
    first = float(np.median(seconds["torch"]))
    print(f"{what + ', us a sample':26}{'least':>9}{'median':>9}{'of torch':>10}")
    for name, found in seconds.items():
        median = float(np.median(found))
        print(f"{name:26}{1e6 * found.min():9.2f}{1e6 * median:9.2f}{median / first:10.3f}")


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


def in_c(r: Reference) -> Calls:
    """Return the calls of the compiled engine."""
    engine = Compiled(r)
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
    """Print the resident memory of this process while it calls each engine again and again.

    Raises:
        InputError: If it grows by more than a thousandth of what the results take.
    """
    for name in ENGINES:
        surrogate = surrogates.load(path, engine=name)
        low, high = surrogate.bounds
        Y = low + (high - low) * np.random.default_rng(0).uniform(size=(1000, surrogate.n_in))
        for y in Y:  # what is made once
            surrogate.predict(y)
        said, first = [], resident()
        for tenth in range(10):
            for i in range(calls // 10):
                surrogate.predict(Y[i % len(Y)])
            said.append(resident())
            if tenth == 0:
                first = said[0]
        grown = 2**20 * (said[-1] - first) / (0.9 * calls)
        print(f"{name:8} {' '.join(f'{one:.1f}' for one in said)} MiB; {grown:.3f} bytes a call")
        if grown > 8e-3 * surrogate.n_out:
            raise InputError(f"the memory of the engine {name} grows by {grown:.3f} bytes a call")


def resident() -> float:
    """Return the resident memory of this process, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    raise SystemExit(main())
