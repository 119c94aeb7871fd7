"""Measure the coverage of error bars of kriging with derivatives, on random smooth functions.

    python scripts/benchmark_bars.py --functions 20
    python scripts/benchmark_bars.py --functions 20 --bends
    python scripts/benchmark_bars.py --functions 20 --unlike

Each function has 2 to 5 inputs and 1 to 5 outputs: sums of sines, exponentials, rational functions
and hyperbolic tangents of random combinations of the inputs; with --bends, of functions with bends,
exponentials and hyperbolic tangents. With --unlike they have 3 to 6 inputs and 2 to 5 outputs, each
with its own combinations of some of the inputs, smooth or with bends. The 30 to 100 samples with
all derivatives are uniform in a box. It prints the kernel with the least left-out error, the shares
of 2000 test points in the intervals of 50, 90 and 95 %, the relative error of centred c, the root
mean square of the error over that of the standard deviation, and the relative errors of c with each
kernel, and with one for each output (of a single output, with the better kernel again).
"""

from __future__ import annotations

import argparse
import functools
import logging
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from surrogates.data.from_arrays import from_arrays
from surrogates.model.metrics import evaluate
from surrogates.model.surrogate import Surrogate
from surrogates.training.config import TrainConfig
from surrogates.training.deploy import assembled
from surrogates.training.pool import Task
from surrogates.training.selection import enhanced, regression
from surrogates.training.selection.effort import COSTS, Asked
from surrogates.training.selection.frame import framed

SHAPES: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda z: torch.sin(2 * z + 1),
    lambda z: torch.exp(z / 2),
    lambda z: 1 / (1 + z * z),
    lambda z: torch.tanh(2 * z),
)
BENDS: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda z: torch.nn.functional.softplus(20 * z) / 20,
    lambda z: (z * z + 1e-3).sqrt(),
    SHAPES[1],
    SHAPES[3],
)


def drawn(
    rng: np.random.Generator, shapes: tuple[Callable[[Tensor], Tensor], ...]
) -> tuple[int, Callable[[Tensor], Tensor]]:
    """Draw a function; return its number of inputs, and itself."""
    n_in, n_out, n = (int(rng.integers(*ends)) for ends in ((2, 6), (1, 6), (3, 10)))
    length = rng.uniform(0.6, 2.5)
    K = torch.from_numpy(rng.standard_normal((n, n_in)) / length / np.sqrt(n_in))
    b = torch.from_numpy(rng.uniform(-1, 1, n))
    kinds = rng.integers(0, len(shapes), n)
    W = torch.from_numpy(rng.standard_normal((n_out, n)))
    L = torch.from_numpy(rng.standard_normal((n_out, n_in)) * rng.uniform(0, 0.5))

    def function(Y: Tensor) -> Tensor:
        Z = Y @ K.T + b
        F = torch.stack([shapes[kind](Z[:, i]) for i, kind in enumerate(kinds)], dim=1)
        return F @ W.T + Y @ L.T

    return n_in, function


def unlike(rng: np.random.Generator) -> tuple[int, Callable[[Tensor], Tensor]]:
    """Draw a function of unlike outputs; return its number of inputs, and itself."""
    n_in, n_out = int(rng.integers(3, 7)), int(rng.integers(2, 6))
    outputs = []
    for _ in range(n_out):
        shapes = (SHAPES, BENDS)[int(rng.integers(2))]
        seen = rng.permutation(n_in) < rng.integers(1, n_in + 1)
        K = rng.standard_normal((4, n_in)) * seen / rng.uniform(0.6, 2.5) / np.sqrt(seen.sum())
        constants = (K, rng.uniform(-1, 1, 4), rng.standard_normal(4))
        own = [shapes[k] for k in rng.integers(0, len(shapes), 4)]
        outputs.append((own, *(torch.from_numpy(one) for one in constants)))

    def function(Y: Tensor) -> Tensor:
        columns = []
        for own, K, b, w in outputs:
            Z = Y @ K.T + b
            columns.append(torch.stack([f(z) for f, z in zip(own, Z.T, strict=True)], dim=1) @ w)
        return torch.stack(columns, dim=1)

    return n_in, function


def measured(
    seed: int, draw: Callable[[np.random.Generator], tuple[int, Callable[[Tensor], Tensor]]]
) -> tuple[str, list[float]]:
    """Train on a function; return the kernel, coverage, error, error over deviation, and errors."""
    rng = np.random.default_rng(seed)
    n_in, function = draw(rng)
    n = int(rng.integers(30, 101))
    Y, T = (torch.from_numpy(rng.uniform(-1, 1, (size, n_in))) for size in (n, 2000))
    J = torch.func.vmap(torch.func.jacrev(lambda y: function(y[None])[0]))(Y)
    arrays = (Y.numpy(), function(Y).numpy())
    data = from_arrays(*arrays, split="0.8/0.2/0", seed=seed, dC_dY=J.numpy())
    frame = framed(data, TrainConfig())

    def each(tasks: list[Task]) -> object:
        return ((i, task.function(**task.arguments)) for i, task in enumerate(tasks))

    asked = Asked(
        settings=TrainConfig(),
        given=frozenset(),
        effort=COSTS["default"],
        each=each,  # type: ignore[arg-type]
        on_progress=lambda *_: None,
    )
    C = function(T)

    def error(surrogate: Surrogate) -> float:
        return float((surrogate(T) - C).norm() / (C - C.mean(dim=0)).norm())

    candidates = [one.grown() for one in enhanced.enhanced(frame, asked)]
    made = [assembled(regression._combined(frame, [one]), data) for one in candidates]
    best = min(range(len(made)), key=lambda k: candidates[k].score)
    surrogate = made[best]
    found = evaluate(surrogate, T, C, mean=C.mean(0), predict_std=surrogate.predict_std)
    assert found.coverage is not None
    over = float((surrogate(T) - C).norm() / surrogate.predict_std(T).norm())
    errors = [error(one) for one in made]
    if len(errors) < 3:  # a single output
        errors.append(errors[best])
    name = candidates[best].name.removeprefix("rbf ").removesuffix(" with derivatives")
    return name.removeprefix("with derivatives, "), [*found.coverage, errors[best], over, *errors]


def main() -> None:
    """Print a line for each function, and the mean."""
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description="coverage of kriging with derivatives")
    parser.add_argument("--functions", type=int, default=20)
    parser.add_argument("--first", type=int, default=4000, help="seed of the first function")
    parser.add_argument("--bends", action="store_true", help="functions with bends")
    parser.add_argument("--unlike", action="store_true", help="functions of unlike outputs")
    options = parser.parse_args()
    rows, shapes = [], BENDS if options.bends else SHAPES
    draw = unlike if options.unlike else functools.partial(drawn, shapes=shapes)
    for seed in range(options.first, options.first + options.functions):
        kernel, row = measured(seed, draw)
        rows.append(row)
        print(seed, kernel, "  ".join(f"{value:.3g}" for value in row), flush=True)
    print("mean", "  ".join(f"{value:.3f}" for value in np.mean(rows, axis=0)))


if __name__ == "__main__":
    main()
