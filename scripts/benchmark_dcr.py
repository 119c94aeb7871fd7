"""Time DC resistivity on one core: where a sample's time goes, how it scales, and against SimPEG.

    python scripts/benchmark_dcr.py [--samples 40] [--sizes] [--simpeg PYTHON]

The first table is the profile of `generate` at the default mesh. ``--sizes`` solves on meshes of
40 000 to 350 000 unknowns. ``--simpeg`` names a python that imports simpeg (``pip install simpeg``
in a separate environment). SimPEG's own solver then solves for the same bodies and stations on its
tensor mesh, right after ours, and the observables are compared.
"""

import argparse
import cProfile
import dataclasses
import json
import pstats
import resource
import subprocess
from pathlib import Path

import numpy as np
from mpi4py import MPI

import surrogates
from surrogates.pde.dcr.problem import DCR
from surrogates.pde.dcr.survey import DCRConfig, Mesh

PARTS = {  # function and caller, as the profiler knows them
    "conductivity": ("change", "solve_batch"),
    "assembly": ("_assemble", "solve"),
    "solve": ("_respond", "solve"),
    "output": ("append", "run"),
    "all": ("_task", "run"),
    "set-up, once": ("__init__", "made"),
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=40, metavar="N")
    parser.add_argument("--sizes", action="store_true")
    parser.add_argument("--simpeg", metavar="PYTHON")
    options = parser.parse_args()
    print_parts(options.samples)
    if options.sizes:
        print_sizes()
    if options.simpeg:
        compare(options.simpeg)


def print_parts(samples: int) -> None:
    """Profile `generate`."""
    profile = cProfile.Profile()
    profile.runcall(surrogates.generate, "dcr", samples=samples, split="1/0/0")
    seconds = {part: spent(profile, *calls) for part, calls in PARTS.items()}
    once = seconds.pop("set-up, once")
    parts = {part: value / samples for part, value in seconds.items()}
    total = parts.pop("all") + parts["output"]
    print(f"core-seconds a sample, mean of {samples} at the default mesh")
    for part, value in {**parts, "rest": total - sum(parts.values()), "all": total}.items():
        print(f"  {part:18}{value:8.4f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"  set-up, once      {once:8.4f}; the process takes {peak:.2f} GiB")


def spent(profile: cProfile.Profile, function: str, caller: str) -> float:
    """Return the seconds spent in a function when it was called by another one."""
    return sum(
        values[3]
        for (_, _, name), (*_, callers) in pstats.Stats(profile).stats.items()
        for (_, _, by), values in callers.items()
        if (name, by) == (function, caller)
    )


def print_sizes() -> None:
    """Solve on meshes of several sizes, without extrapolation."""
    print("unknowns  iterations  solve [s]  microseconds an unknown")
    for n in (4, 5, 6, 7, 8):
        mesh = Mesh(cells=(4 * n, 4 * n, 5 * n), above=n // 2, layers=5 * n // 2, extrapolate=False)
        config = dataclasses.replace(DCRConfig(), mesh=mesh)
        problem = DCR(config, MPI.COMM_SELF)
        Y = DCR.parameters(config, total=10, seed=0, start=0, stop=10)
        problem.solve_batch(Y[:1])
        profile = cProfile.Profile()
        batch = profile.runcall(problem.solve_batch, Y)
        seconds = spent(profile, *PARTS["solve"]) / len(Y)
        unknowns = int(problem.mesh.split(" unknowns")[0].split()[-1])
        iterations = batch.solver["iterations"].mean()
        print(f"{unknowns:8}{iterations:12.1f}{seconds:11.3f}{1e6 * seconds / unknowns:15.2f}")


def compare(python: str) -> None:
    """Solve for the same bodies by SimPEG, and print times and differences."""
    config = DCRConfig()
    Y = DCR.parameters(config, total=3, seed=0, start=0, stop=3)
    problem = DCR(config, MPI.COMM_SELF)
    ours = problem.solve_batch(Y)
    plus, minus = config.stations.ends
    background, seconds = problem.background, ours.solver["seconds"][1:].mean()
    task = {
        "Y": Y.tolist(),
        "aspect": config.body.aspect,
        "blend": config.body.blend,
        "conductivity": [config.conductivity.background, config.conductivity.body],
        "electrodes": config.source.electrodes,
        "plus": plus.tolist(),
        "minus": minus.tolist(),
    }
    script = Path(__file__).with_name("simpeg_dcr.py")
    run = subprocess.run(
        [python, str(script)], input=json.dumps(task), capture_output=True, text=True, check=True
    )
    for line in run.stdout.splitlines():
        result = json.loads(line)
        theirs = np.array(result["anomaly"])
        mine = ours.C - background
        scale = (theirs * mine).sum(axis=1) / (mine * mine).sum(axis=1)
        shape = np.linalg.norm(theirs - scale[:, None] * mine, axis=1) / np.linalg.norm(
            theirs, axis=1
        )
        print(
            f"{result['solver']}, {result['cells']} cells, {result['mean']} mean: "
            f"{np.mean(result['seconds']):.2f} s a sample (ours {seconds:.3f} s); the body's "
            f"anomaly is {scale.mean():.3f} times ours, and of that form but for "
            f"{100 * shape.mean():.1f} %"
        )


if __name__ == "__main__":
    main()
