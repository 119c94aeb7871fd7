"""Measure the time of a training iteration: by samples, number of processes, and device.

    python scripts/benchmark_training.py [--samples 1000 10000 100000] [--set KEY=VALUE ...]
    python scripts/benchmark_training.py --samples 100000 --processes 1 2
    python scripts/benchmark_training.py --samples 1000 100000 1000000 --devices cpu cuda

The samples are of a made-up map of 55 inputs to 72 outputs. Each case runs in new processes. It
prints the seconds of an iteration of the chosen method, in total and for a sample, the peak memory
beyond the dataset's own (of the largest process), the data that a process sends in an iteration,
and the speed relative to the first case with as many samples.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time

import numpy as np
import torch

from surrogates import config
from surrogates.data import SOLVER, Dataset, Info, Status
from surrogates.errors import InputError
from surrogates.training import communicator
from surrogates.training.config import TrainConfig
from surrogates.training.fit import fit
from surrogates.training.outer import multilevel

N_IN, N_OUT = 55, 72


def main() -> int:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--processes", type=int, nargs="+", default=[1])
    parser.add_argument("--devices", nargs="+", default=["cpu"], choices=("cpu", "cuda"))
    parser.add_argument("--iterations", type=int, default=4, help="each case; default 4")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        settings = [
            config.read(TrainConfig, None, [*options.set, f"device={device}"])
            for device in options.devices
        ]
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.worker:
        work(options.samples[0], settings[0], options.iterations)
        return 0
    print("  samples processes device  iteration, s  us a sample  memory, GiB  sent, MB  ratio")
    for n in options.samples:
        first = 0.0
        for size in options.processes:
            for device in options.devices:
                words = ["--worker", "--samples", str(n), "--devices", device]
                words += ["--iterations", str(options.iterations)]
                words += [word for override in options.set for word in ("--set", override)]
                found = run(size, words)
                seconds = found["seconds"]
                first = first or seconds
                print(
                    f"{n:9d} {size:9d} {device:>6} {seconds:13.3f} {1e6 * seconds / n:12.2f} "
                    f"{found['memory']:12.2f} {found['sent'] / 1e6:9.2f} {first / seconds:6.2f}",
                    flush=True,
                )
    return 0


def run(size: int, words: list[str]) -> dict[str, float]:
    """Run one case; return the figures that its first process prints."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}"]
    command = [sys.executable, *(launcher if size > 1 else []), __file__, *words]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


def work(n: int, settings: TrainConfig, iterations: int) -> None:
    """Iterate in this process, together with torchrun's others, and print the figures."""
    multilevel.WARM_UP = 0  # the method itself is measured
    with communicator.of_environment(settings.device) as comm:
        dataset = made_up(n)
        peak = Peak()
        asked = iter(range(1, iterations + 1))
        result = fit(dataset, settings, comm=comm, stop=lambda: next(asked) == iterations)
        ends = [0.0, *(record.seconds for record in result.history)]
        times = [b - a for a, b in zip(ends, ends[1:], strict=False)]
        memory = comm.stacked(torch.tensor([[peak.gib()]], device=comm.device)).max()
        if comm.rank == 0:
            found = {
                "seconds": statistics.median(times),
                "memory": float(memory),
                "sent": comm.traffic / iterations,
            }
            print(json.dumps(found))


def made_up(n: int) -> Dataset:
    """Make n training samples, 1000 for validation, and 1000 for tests."""
    rng = np.random.default_rng(0)
    total = n + 2000
    Y, C = rng.random((total, N_IN)), np.empty((total, N_OUT))
    V, W = rng.standard_normal((N_IN, 20)) / 4, rng.standard_normal((20, N_OUT))
    for i in range(0, total, 10_000):
        noise = 1e-3 * rng.standard_normal((min(10_000, total - i), N_OUT))
        C[i : i + 10_000] = np.tanh(Y[i : i + 10_000] @ V) @ W + noise
    info = Info(
        problem="made-up",
        split="",
        total=total,
        y_names=tuple(f"y{i}" for i in range(N_IN)),
        y_units=("1",) * N_IN,
        y_lower=np.zeros(N_IN),
        y_upper=np.ones(N_IN),
        c_names=tuple(f"c{i}" for i in range(N_OUT)),
        c_units=("1",) * N_OUT,
    )
    return Dataset(
        info=info,
        Y=Y,
        C=C,
        status=np.full(total, Status.DONE, dtype=np.uint8),
        split=np.repeat(np.arange(3, dtype=np.uint8), [n, 1000, 1000]),
        failure=[""] * total,
        solver=np.zeros(total, SOLVER),
    )


class Peak:
    """Peak of this process's memory above its present use, sampled every 5 ms."""

    def __init__(self) -> None:
        """Start sampling."""
        self._base = self._most = self._now()
        threading.Thread(target=self._watch, daemon=True).start()

    def gib(self) -> float:
        """Return the peak in GiB; on a GPU, the peak of torch's memory there."""
        if torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0:
            return torch.cuda.max_memory_allocated() / 2**30
        return (self._most - self._base) / 2**30

    def _watch(self) -> None:
        while True:
            self._most = max(self._most, self._now())
            time.sleep(0.005)

    @staticmethod
    def _now() -> int:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * 4096


if __name__ == "__main__":
    sys.exit(main())
