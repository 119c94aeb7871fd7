"""Time the engines of a surrogate in turns, one sample, one Jacobian and a batch of 1000.

    python -m pip install onnx onnxruntime jax    # or without, or with some of them
    python scripts/benchmark_engines.py cdr.pt

The engines are TorchScript, numpy and the compiled C export. onnxruntime and JAX (jit, double
precision) run the same formulas, written here for networks, monomials and functions about centres
without logarithms. A single call has a fresh sample each time, as in a Markov chain, and its result
is a numpy array. All calls take turns; the table has the least and the median of the rounds, and
their median over that of TorchScript. A busy machine makes the medians large. Every engine is
first compared with TorchScript.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

import surrogates
from surrogates.errors import InputError
from surrogates.export.blocks import Anova, Network, Polynomial
from surrogates.export.c.compiled import Compiled
from surrogates.export.constants import constants
from surrogates.export.reference import Reference

BATCH, ROUNDS = 1000, 150
Calls = dict[str, Callable[[np.ndarray], np.ndarray]]


def main() -> int:
    """Print the table, or an error in one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("surrogate", help="a .pt file")
    parser.add_argument("--threads", type=int, default=1, help="of torch and onnxruntime")
    given = parser.parse_args()
    try:
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
    plain = not (reference.log_inputs.any() or reference.log_outputs.any())
    for name, made in (("onnxruntime", in_onnx), ("jax", in_jax)):
        known = plain and not any(isinstance(block, Anova) for block in reference.blocks)
        if known and importlib.util.find_spec(name):
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
            if not gap < 1e-11:
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
    """Return jitted functions of JAX, in double precision."""
    del threads  # XLA chooses
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    phi = {"sigmoid": jax.nn.sigmoid, "softplus": jax.nn.softplus, "relu": jax.nn.relu}

    def features(block: Any, y: Any) -> Any:
        if isinstance(block, Polynomial):
            x = (y - block.shift) / block.scale
            return jnp.concatenate([x, x[block.first] * x[block.second]])
        if not isinstance(block, Network):
            s = (((y - block.shift) * block.factor - block.centres) ** 2).sum(1)
            if block.kernel == "gaussian":
                return jnp.exp(-0.5 * s)
            s = jnp.sqrt(5 * s)
            return (1 + s + s * s / 3) * jnp.exp(-s)
        sigma = phi[block.phi]
        u = sigma(block.K_in @ y + block.b_in)
        for A, b in zip(block.A, block.b, strict=True):
            k, after = jnp.zeros_like(u), block.carry * u
            for A_i, b_i, l_i, w_i in zip(A, b, block.lengths, block.weights, strict=True):
                k = sigma(A_i @ (u + l_i * k) + b_i)
                after = after + w_i * k
            u = after
        return u

    def forward(y: Any) -> Any:
        return r.W @ jnp.concatenate([features(block, y) for block in r.blocks]) + r.c_0

    one, batch = jax.jit(forward), jax.jit(jax.vmap(forward))
    differentiate = jax.jacfwd if len(r.lower) < r.W.shape[1] else jax.jacrev
    jacobian = jax.jit(differentiate(forward))
    return {
        "predict": lambda y: np.asarray(one(y)),
        "jacobian": lambda y: np.asarray(jacobian(y)),
        "batch": lambda y: np.asarray(batch(y)),
    }


def in_onnx(r: Reference, threads: int) -> Calls:
    """Return the forward of onnxruntime, in double precision."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants_, names = [], [], iter(range(10**9))

    def constant(values: Any) -> str:
        name = f"a{next(names)}"
        constants_.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def op(kind: str, *inputs: Any, **settings: Any) -> str:
        name = f"x{next(names)}"
        given = [x if isinstance(x, str) else constant(x) for x in inputs]
        nodes.append(helper.make_node(kind, given, [name], **settings))
        return name

    def features(block: Any) -> str:
        if isinstance(block, Polynomial):
            x = op("Div", op("Sub", "y", block.shift), block.scale)
            if not len(block.first):
                return x
            pair = (op("Gather", x, index, axis=1) for index in (block.first, block.second))
            return op("Concat", x, op("Mul", *pair), axis=1)
        if not isinstance(block, Network):
            raise InputError("onnxruntime is timed for networks and monomials alone")
        sigma = {"sigmoid": "Sigmoid", "softplus": "Softplus", "relu": "Relu"}[block.phi]
        u = op(sigma, op("Gemm", "y", block.K_in.T, block.b_in))
        for A, b in zip(block.A, block.b, strict=True):
            k, after = "", op("Mul", u, np.float64(block.carry))
            for A_i, b_i, l_i, w_i in zip(A, b, block.lengths, block.weights, strict=True):
                at = op("Add", u, op("Mul", k, np.float64(l_i))) if k else u
                k = op(sigma, op("Gemm", at, A_i.T, b_i))
                after = op("Add", after, op("Mul", k, np.float64(w_i)))
            u = after
        return u

    try:
        joined = op("Concat", *[features(block) for block in r.blocks], axis=1)
    except InputError:
        return {}
    nodes.append(helper.make_node("Gemm", [joined, constant(r.W.T), constant(r.c_0)], ["c"]))
    sizes = {"y": len(r.lower), "c": len(r.c_0)}
    ends = [
        helper.make_tensor_value_info(k, TensorProto.DOUBLE, ["n", n]) for k, n in sizes.items()
    ]
    graph = helper.make_graph(nodes, "surrogate", ends[:1], ends[1:], constants_)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return {
        "predict": lambda y: session.run(None, {"y": y[None]})[0][0],
        "batch": lambda y: session.run(None, {"y": y})[0],
    }


if __name__ == "__main__":
    raise SystemExit(main())
