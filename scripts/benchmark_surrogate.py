"""Time a surrogate file's calls on one thread, beside numpy, onnxruntime and torch.func.jacrev.

The first lines are for any surrogate: single calls of what `surrogates.load` returns, over those of
its module.

    python -m pip install onnxruntime onnxscript    # or without
    python scripts/benchmark_surrogate.py cdr.pt

All calls take turns, so that a change of the machine's speed affects all. The floor of a
call is the time of its multiplications and additions at the rate of a product of large matrices in
the same run; the bytes that the call reads and writes are printed beside it. torch.func.jacrev runs
on the surrogate's own module, and on an unfused network of the same sizes, as in training.
"""

import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

import surrogates
from surrogates.errors import InputError
from surrogates.model.loaded import LoadedSurrogate
from surrogates.model.networks import AntisymmetricODE

BATCH = 4096
ROUNDS = 40


def main(benchmark: Callable[[LoadedSurrogate], None]) -> int:
    """Time the surrogate that the command names, or print an error in one line."""
    try:
        if len(sys.argv) != 2:
            raise InputError("give a surrogate file")
        benchmark(surrogates.load(sys.argv[1]))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def benchmark(surrogate: LoadedSurrogate) -> None:
    """Print the ratios, and the table of a network."""
    torch.set_num_threads(1)
    module = surrogate.module
    print_ratios(surrogate)
    if getattr(module.features, "phi", None) != "sigmoid":
        print("no table: its features are not one network with tanh or sigmoid")
        return
    draws = np.random.default_rng(0).uniform(-1, 1, (BATCH, surrogate.n_in))
    Y = module.centre + module.unit * torch.from_numpy(draws)
    y, w = Y[0].clone(), torch.ones(surrogate.n_out, dtype=torch.float64)
    in_numpy = numpy_forward(module)
    np.testing.assert_allclose(in_numpy(y.numpy()), module(y).numpy(), rtol=1e-9)
    fused, trained = map(torch.func.jacrev, (surrogate.eager(), as_trained(surrogate)))
    A = torch.ones(400, 400, dtype=torch.float64)
    calls: dict[str, tuple[Callable[[], object], int, int]] = {
        "numpy, one sample": (lambda: in_numpy(y.numpy()), 100, 1),
        "forward": (lambda: module(y), 100, 1),
        "forward, batch": (lambda: module(Y), 10, BATCH),
        "jacobian": (lambda: module.jacobian(y), 50, 1),
        "jacrev": (lambda: fused(y), 3, 1),
        "jacrev, as trained": (lambda: trained(y), 3, 1),
        "vjp": (lambda: module.vjp(y, w), 50, 1),
        "predict_std": (lambda: module.predict_std(y), 50, 1),
        "surrogates.load: predict": (lambda: surrogate.predict(y.numpy()), 50, 1),
        "product of matrices": (lambda: torch.mm(A, A), 1, 1),
    }
    in_onnx = onnx_forward(surrogate, Y)
    if in_onnx is not None:
        calls["onnxruntime, one sample"] = (lambda: in_onnx(Y[:1].numpy()), 100, 1)
        calls["onnxruntime, batch"] = (lambda: in_onnx(Y.numpy()), 10, BATCH)
    seconds = {name: np.empty(ROUNDS) for name in calls}
    for i in range(-3, ROUNDS):
        for name, (call, n, samples) in calls.items():
            with torch.inference_mode(mode=not name.startswith("jacrev")):
                call()
                start = time.perf_counter()
                for _ in range(n):
                    call()
                seconds[name][max(i, 0)] = (time.perf_counter() - start) / (n * samples)
    medians = {name: np.median(values) for name, values in seconds.items()}
    rate = 2 * len(A) ** 3 / medians.pop("product of matrices")
    costs = floors(module)
    print(f"{'microseconds a sample':26}{'median':>9}{'least':>9}{'of numpy':>9}{'floor':>8}  of")
    for name, median in medians.items():
        share = median / medians["numpy, one sample"]
        line = f"{name:26}{1e6 * median:9.2f}{1e6 * seconds[name].min():9.2f}{share:9.2f}"
        if name in costs:
            flops, size = costs[name]
            line += f"{1e6 * flops / rate:8.2f}  {flops} flops, {size} bytes"
        print(line)
    for name in ("jacrev", "jacrev, as trained"):
        least = seconds[name].min() / seconds["jacobian"].min()
        print(
            f"jacobian is {least:.0f} times as fast as {name}, by the least of {ROUNDS} rounds "
            f"({medians[name] / medians['jacobian']:.0f} times by the medians)"
        )


def print_ratios(surrogate: LoadedSurrogate) -> None:
    """Print the time of single calls through the checks and names, over that of the module's."""
    module = surrogate.module
    tensor = module.centre.clone()
    y = tensor.numpy().copy()
    pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "predict": (lambda: module(tensor), lambda: surrogate.predict(y)),
        "jacobian": (lambda: module.jacobian(tensor), lambda: surrogate.jacobian(y)),
    }
    for name, calls in pairs.items():
        seconds = np.empty((ROUNDS, 2))
        for i in range(-3, ROUNDS):
            for j, call in enumerate(calls):
                call()
                start = time.perf_counter()
                for _ in range(50):
                    call()
                seconds[max(i, 0), j] = (time.perf_counter() - start) / 50
        (raw, least), medians = 1e6 * seconds.min(axis=0), np.median(seconds, axis=0)
        print(
            f"surrogates.load: {name} takes {least / raw:.2f} times the module's call "
            f"({least:.1f} and {raw:.1f} us, the least of {ROUNDS} rounds; medians "
            f"{medians[1] / medians[0]:.2f})"
        )


def floors(module: torch.jit.ScriptModule) -> dict[str, tuple[int, int]]:
    """Count the flops of a call for one sample, and the bytes that it reads and writes."""
    net, (n_out, width) = module.features, module.W.shape
    n_in = net.K_in.shape[1]
    steps = [
        [s.P, s.w, *(coupling.M for coupling in s.couplings.children())]
        for s in net.steps.children()
    ]
    sweep = 2 * sum(matrix.numel() for step in steps for matrix in step)
    first, last = 2 * width * n_in, 2 * n_out * width
    weights = 4 * (first + sweep + last)  # bytes
    pair = 8 * (n_in + n_out)
    return {
        "forward": (first + sweep + last, weights + pair),
        "forward, batch": (first + sweep + last, pair),
        "jacobian": (
            first + (1 + width) * sweep + width * (first + last * n_in // width),
            weights + 8 * n_in * (1 + n_out),
        ),
        "vjp": (2 * (first + sweep) + last, weights + 2 * pair),
        "predict_std": (first + sweep + 2 * width * (width + 1), weights + pair),
    }


def as_trained(surrogate: LoadedSurrogate) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the surrogate's function with an antisymmetric network that is not fused."""
    module = surrogate.module
    sizes = (surrogate.n_in, module.W.shape[1], len(list(module.features.steps.children())))
    net = AntisymmetricODE(*sizes).requires_grad_(False)

    def forward(y: torch.Tensor) -> torch.Tensor:
        F = net(((y - module.centre) / module.unit)[None])
        return torch.nn.functional.linear(F, module.W, module.c)[0]

    return forward


def numpy_forward(module: torch.jit.ScriptModule) -> Callable[..., object]:
    """Return the fused forward, written in numpy."""
    net = module.features
    if getattr(net, "phi", None) != "sigmoid":
        raise InputError("expected a fused network with tanh or sigmoid, as train writes it")
    steps = [
        (s.P.numpy(), s.p.numpy(), [c.M.numpy() for c in s.couplings.children()], s.w.numpy())
        for s in net.steps.children()
    ]
    K_in, b_in, W, c = (x.numpy() for x in (net.K_in, net.b_in, module.W, module.c))
    width, carry = len(b_in), next(net.steps.children()).carry

    def forward(y: np.ndarray) -> object:
        u = 1 / (1 + np.exp(-(K_in @ y + b_in)))
        for P, p, M, w in steps:
            z = P @ u + p
            k = [1 / (1 + np.exp(-z[:width]))]
            for i, coupling in enumerate(M, 1):
                at = z[i * width : (i + 1) * width] + coupling @ k[-1]
                k.append(1 / (1 + np.exp(-at)))
            u = carry * u + w @ np.concatenate(k)
        return W @ u + c

    return forward


def onnx_forward(
    surrogate: LoadedSurrogate, Y: torch.Tensor
) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return the forward in onnxruntime, or None if that is not installed."""
    if not (find_spec("onnxruntime") and find_spec("onnxscript")):
        return None
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        path = Path(folder, "surrogate.onnx")
        shapes = ({0: torch.export.Dim("n", min=1)},)
        torch.onnx.export(
            surrogate.eager(), (Y,), path, dynamo=True, dynamic_shapes=shapes, verbose=False
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options)
    name = session.get_inputs()[0].name
    np.testing.assert_allclose(session.run(None, {name: Y.numpy()})[0], surrogate.predict(Y))
    return lambda y: session.run(None, {name: y})[0]


if __name__ == "__main__":
    sys.exit(main(benchmark))
