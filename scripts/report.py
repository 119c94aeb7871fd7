"""Compare a surrogate file, called with torch alone, with PDE solves that it has not seen.

python scripts/report.py cdr.pt unseen.h5
"""

import subprocess
import sys
from pathlib import Path

import numpy as np

from surrogates.dataset import Dataset


def main() -> None:
    """Print the table."""
    surrogate, file = sys.argv[1:]
    dataset = Dataset.read(file)
    Y, C = dataset.part("test")
    text = "\n".join(",".join(map(repr, row)) for row in Y.tolist())
    script = Path(__file__).with_name("call_surrogate.py")
    # -I: neither this folder nor PYTHONPATH, so that torch is all there is to import.
    command = [sys.executable, "-I", str(script), str(Path(surrogate).resolve())]
    run = subprocess.run(command, input=text, capture_output=True, text=True, timeout=300)
    if run.returncode:
        sys.exit(f"error: {surrogate} does not work with torch alone: {run.stderr}")
    single, batched = map(float, run.stderr.split()[-2:])
    c = np.array([[float(number) for number in line.split(",")] for line in run.stdout.split()])
    errors = 100 * np.linalg.norm(c - C, axis=1) / np.linalg.norm(C, axis=1)
    pde = float(dataset.solver["seconds"].mean())
    print(f"PDE                  {pde:.2e} seconds a sample on one core, in batches")
    print(f"surrogate            {1e6 * single:.1f} microseconds a sample, one at a time")
    print(f"                     {1e6 * batched:.2f} microseconds a sample, 4096 at a time")
    print(f"speed-up             {pde / single:.0f} one at a time, {pde / batched:.0f} in batches")
    print(
        f"error, {len(C)} unseen    {errors.mean():.2f} % mean, {errors.std():.2f} % std, "
        f"{errors.min():.2f} % min, {errors.max():.2f} % max"
    )
    print("files:")
    for path in sorted(Path.cwd().iterdir()):
        print(f"    {path}")


if __name__ == "__main__":
    main()
