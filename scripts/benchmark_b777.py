"""Learn SMT's table of the B777 engine, of three inputs and two outputs, with derivatives.

    pip download smt==2.15.0 --no-deps && unzip -d smt smt-2.15.0*.whl
    python scripts/benchmark_b777.py smt/smt/examples/b777_engine

The table has 1056 points (Mach number, altitude in km, throttle) with thrust and specific fuel
consumption, and their derivatives. Some points, drawn at random, are learned with the default
effort; the error is the root mean square over all others, in per cent of each output's standard
deviation there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from surrogates.data.from_arrays import from_arrays
from surrogates.training.train import train


def main() -> None:
    """Print a line for each number of samples and split."""
    parser = argparse.ArgumentParser(description="errors on SMT's table of the B777 engine")
    parser.add_argument("folder", type=Path, help="smt/examples/b777_engine of the package")
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 100])
    parser.add_argument("--splits", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    Y, C, J = (
        np.loadtxt(options.folder / f"b777_engine_{name}.dat").reshape(-1, *shape)
        for name, shape in (("inputs", (3,)), ("outputs", (2,)), ("derivs", (2, 3)))
    )
    for n in options.sizes:
        for split in options.splits:
            order = np.random.default_rng(split).permutation(len(Y))
            seen, others = order[:n], order[n:]
            data = from_arrays(Y[seen], C[seen], split="0.8/0.2/0", seed=1, dC_dY=J[seen])
            found = train(data, effort="default", processes=1)
            error = found.surrogate(torch.from_numpy(Y[others])).numpy() - C[others]
            size = np.sqrt(np.square(error).mean(axis=0)) / C[others].std(axis=0)
            numbers = "  ".join(f"{100 * one:.3g} %" for one in size)
            print(
                f"{n} samples, split {split}: {numbers}  ({found.training['chosen']})", flush=True
            )


if __name__ == "__main__":
    main()
