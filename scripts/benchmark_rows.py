"""Time Gauss-Newton iterations with derivatives, and with as many samples more.

    python scripts/benchmark_rows.py [SAMPLES [INPUTS]]

Prints, for each network, seconds of an iteration's matrix and gradient with all derivatives of N
samples, over those with N (n_in + 1) samples, in the same run.
"""

from __future__ import annotations

import sys
import time

import torch

from surrogates.model.networks import MLP, AntisymmetricODE, ResNet
from surrogates.training.features import Directions, Features
from surrogates.training.outer.dense import gauss_newton_matrix
from surrogates.training.outer.gauss_newton import ReducedProblem

N_OUT = 72
REPEATS = 5


def seconds(features: Features) -> float:
    """Return the least processor time of an iteration, without its factorisation."""
    C = torch.randn((features.n_rows, N_OUT), dtype=torch.float64)
    problem = ReducedProblem(features=features, C=C, alpha1=1e-6, alpha2=1e-8)
    theta = torch.cat([p.reshape(-1) for p in features.module.parameters()]).detach()
    structure, times = problem.structure, []
    for _ in range(REPEATS):
        clock = time.process_time()
        here, _, _ = problem.linearised(theta)
        gauss_newton_matrix(structure, theta, here.inner)
        times.append(time.process_time() - clock)
    return min(times)


def main(n: int = 40, n_in: int = 55) -> None:
    """Measure and print the table."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    networks = {
        "ode 8": AntisymmetricODE(n_in, 8, 2, 2.0, generator=generator),
        "mlp 16": MLP(n_in, 16, 2, generator=generator),
        "resnet 16": ResNet(n_in, 16, 2, 2.0, generator=generator),
    }
    print(f"{n} samples of {n_in} inputs, {N_OUT} outputs")
    print("network    alone, s  derivatives, s  n_in + 1 times the samples, s  ratio")
    for name, network in networks.items():
        Y = torch.randn((n * (n_in + 1), n_in), generator=generator, dtype=torch.float64)
        V = torch.eye(n_in, dtype=torch.float64).expand(n, n_in, n_in)
        along = Directions(samples=torch.arange(n), V=V)
        alone = seconds(Features(network, Y[:n]))
        rows = seconds(Features(network, Y[:n], directions=along))
        many = seconds(Features(network, Y))
        print(f"{name:10} {alone:8.4f}  {rows:14.4f}  {many:29.4f}  {rows / many:5.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
