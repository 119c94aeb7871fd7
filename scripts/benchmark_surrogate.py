"""Time a surrogate file's calls on one thread, beside numpy, onnxruntime and torch.func.jacrev.

    python -m pip install onnxruntime onnxscript    # or without
    python scripts/benchmark_surrogate.py cdr.pt

All calls take turns, so that a change of the machine's pace meets them alike. The floor of a call
is what its arithmetic takes: multiplications and additions, and bytes of weights and samples.
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
from surrogates.export import LoadedSurrogate

BATCH = 4096
ROUNDS = 40


def main() -> int:
    """Time one surrogate, or complain in one line."""
    try:
        if len(sys.argv) != 2:
            raise InputError("give a surrogate file")
        benchmark(surrogates.load(sys.argv[1]))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def benchmark(surrogate: LoadedSurrogate) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    module = surrogate.module
    draws = np.random.default_rng(0).uniform(-1, 1, (BATCH, surrogate.n_in))
    Y = module.centre + module.unit * torch.from_numpy(draws)
    y, w = Y[0].clone(), torch.ones(surrogate.n_out, dtype=torch.float64)
    in_numpy, weights = numpy_forward(module)
    np.testing.assert_allclose(in_numpy(y.numpy()), module(y).numpy(), rtol=1e-9)
    jacrev = torch.func.jacrev(surrogate.eager())
    calls: dict[str, tuple[Callable[[], object], int, int]] = {
        "numpy, one sample": (lambda: in_numpy(y.numpy()), 100, 1),
        "forward": (lambda: module(y), 100, 1),
        "forward, batch": (lambda: module(Y), 10, BATCH),
        "jacobian": (lambda: module.jacobian(y), 50, 1),
        "torch.func.jacrev": (lambda: jacrev(y), 3, 1),
        "vjp": (lambda: module.vjp(y, w), 50, 1),
        "predict_std": (lambda: module.predict_std(y), 50, 1),
        "surrogates.load: predict": (lambda: surrogate.predict(y.numpy()), 50, 1),
    }
    in_onnx = onnx_forward(surrogate, Y)
    if in_onnx is not None:
        calls["onnxruntime, one sample"] = (lambda: in_onnx(Y[:1].numpy()), 100, 1)
        calls["onnxruntime, batch"] = (lambda: in_onnx(Y.numpy()), 10, BATCH)
    seconds = {name: np.empty(ROUNDS) for name in calls}
    for i in range(-3, ROUNDS):
        for name, (call, n, samples) in calls.items():
            with torch.inference_mode(mode=name != "torch.func.jacrev"):
                call()
                start = time.perf_counter()
                for _ in range(n):
                    call()
                seconds[name][max(i, 0)] = (time.perf_counter() - start) / (n * samples)
    reference = np.median(seconds["numpy, one sample"])
    print(f"{'microseconds a sample':28}{'median':>9}{'least':>9}{'of numpy':>10}")
    for name, values in seconds.items():
        median, least = 1e6 * np.median(values), 1e6 * values.min()
        print(f"{name:28}{median:9.2f}{least:9.2f}{1e-6 * median / reference:10.2f}")
    flops = 2 * (weights - len(w))
    size = 8 * (surrogate.n_in + surrogate.n_out)
    print(f"a forward is {flops} flops, {8 * weights} bytes of weights and {size} of y and c")
    ratio = np.median(seconds["torch.func.jacrev"]) / np.median(seconds["jacobian"])
    print(f"jacobian is {ratio:.0f} times as fast as torch.func.jacrev")


def numpy_forward(module: torch.jit.ScriptModule) -> tuple[Callable[..., object], int]:
    """Write the fused forward in numpy; also count its weights."""
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

    arrays = [K_in, b_in, W, c, *(x for P, p, M, w in steps for x in (P, p, *M, w))]
    return forward, sum(array.size for array in arrays)


def onnx_forward(
    surrogate: LoadedSurrogate, Y: torch.Tensor
) -> Callable[[np.ndarray], np.ndarray] | None:
    """Give the forward as onnxruntime runs it, or None where it is not installed."""
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
    sys.exit(main())
