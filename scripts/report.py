"""Compare a surrogate file, called with torch alone, with PDE solves that it was not trained on.

python scripts/report.py F.pt F.h5 [F.h5 ...]

It prints the errors on each dataset's test samples, those of dc/dy too where a dataset has it, and
the times of calls on the last one's.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from surrogates.data import Dataset
from surrogates.errors import InputError
from surrogates.model.held_out import held_out_jacobian
from surrogates.model.metrics import relative_errors
from surrogates.types import Array


def main() -> int:
    """Print the table."""
    if len(sys.argv) < 3:
        print("error: give a surrogate file and one or more datasets", file=sys.stderr)
        return 2
    surrogate, *files = sys.argv[1:]
    try:
        datasets = {file: Dataset.read(file) for file in files}
        errors, slopes = {}, {}
        for file, dataset in datasets.items():
            Y, C = dataset.part("test")
            c, single, batched = call(surrogate, Y)
            errors[file] = 100 * relative_errors(*map(torch.from_numpy, (c, C))).numpy()
            slopes[file] = held_out_jacobian(torch.jit.load(surrogate), dataset, "test")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    pde = float(dataset.solver["seconds"].mean())
    print(f"{'PDE':24}{pde:.2e} seconds a sample on one core, in batches")
    print(f"{'surrogate':24}{1e6 * single:.1f} microseconds a sample, one at a time")
    print(f"{'':24}{1e6 * batched:.2f} microseconds a sample, 4096 at a time")
    print(f"{'speed-up':24}{pde / single:.0f} one at a time, {pde / batched:.0f} in batches")
    print(f"{'relative error':24}{'mean':>8}{'std':>8}{'min':>8}{'max':>8}")
    for file, values in errors.items():
        numbers = (values.mean(), values.std(), values.min(), values.max())
        row = "".join(f"{number:6.2f} %" for number in numbers)
        print(f"  {file + ', test':22}{row}   ({len(values)} samples)")
        for unit, of in slopes[file].items():
            row = "".join(f"{100 * number:6.2f} %" for number in (of.mean, of.std, of.min, of.max))
            print(f"  {'  dc/dy' + (f' [{unit}]' if len(slopes[file]) > 1 else ''):22}{row}")
    return 0


def call(surrogate: str, Y: Array) -> tuple[Array, float, float]:
    """Predict in a process that imports only torch.

    Returns:
        c, and the seconds of a sample, one at a time and in batches.
    """
    text = "\n".join(",".join(map(repr, row)) for row in Y.tolist())
    script = Path(__file__).with_name("call_surrogate.py")
    # -I: neither this folder nor PYTHONPATH can be imported.
    command = [sys.executable, "-I", str(script), str(Path(surrogate).resolve())]
    run = subprocess.run(command, input=text, capture_output=True, text=True, timeout=300)
    if run.returncode:
        raise InputError(f"{surrogate} does not work with torch alone: {run.stderr}")
    single, batched = map(float, run.stderr.split()[-2:])
    c = np.array([[float(number) for number in line.split(",")] for line in run.stdout.split()])
    return c, single, batched


if __name__ == "__main__":
    sys.exit(main())
