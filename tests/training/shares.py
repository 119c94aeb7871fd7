"""Train several ways on one dataset, on the processes of torchrun, and save what is found.

python -m torch.distributed.run --nproc-per-node=2 shares.py DATASET.h5 FOUND.pt
"""

import dataclasses
import sys

import torch

from surrogates.data import Dataset
from surrogates.training import processes
from surrogates.training.fit import TrainConfig, fit

TAME = TrainConfig(width=4, cells=1, work_units=1000, scale=1.0, alpha1=1e-4, alpha2=1e-3)
SETTINGS = {
    "regression": {
        "dense": TrainConfig(width=4, cells=1, work_units=1000),
        "krylov": TrainConfig(width=4, cells=1, method="krylov", levels=2, work_units=1000),
        "linear": TrainConfig(width=4, cells=1, linear=True, alpha2=1e-4, work_units=1000),
        "kronecker": TrainConfig(width=4, cells=1, method="kronecker", work_units=1000),
        "gn": TrainConfig(width=4, cells=1, optimizer="gn", work_units=1000),
        "lbfgs": TrainConfig(width=4, cells=1, optimizer="lbfgs", work_units=1000),
    },
    "classification": {
        "dense": dataclasses.replace(TAME, penalty="smooth"),
        "krylov": dataclasses.replace(TAME, method="krylov"),
        "kronecker": dataclasses.replace(TAME, method="kronecker"),
        "mixed": dataclasses.replace(
            TAME, method="krylov", whitening=0.25, smoothing=10.0, noise=0.5
        ),
        "gn": dataclasses.replace(TAME, optimizer="gn"),
        "lbfgs": dataclasses.replace(TAME, optimizer="lbfgs"),
    },
}
ITERATIONS = 10


def trained(dataset, settings, over):
    """Iterate ten times, and give all numbers that training found."""
    asked = iter(range(1, 10**6))
    result = fit(dataset, settings, over=over, stop=lambda: next(asked) == ITERATIONS)
    theta = torch.nn.utils.parameters_to_vector(result.features.parameters())
    phis = torch.tensor([record.phi for record in result.history], dtype=torch.float64)
    errors = torch.tensor([record.validation_error for record in result.history])
    Y = torch.from_numpy(dataset.part("test")[0])
    return {"theta": theta, "phi": phis, "errors": errors, "predicted": result.predict(Y)}


def main():
    dataset = Dataset.read(sys.argv[1])
    with processes.of_environment("cpu") as over:
        settings = SETTINGS[dataset.info.task]
        found = {name: trained(dataset, one, over) for name, one in settings.items()}
        rows = torch.cat([value["theta"] for value in found.values()])[None]
        thetas = over.stacked(rows)
        if over.rank == 0:
            torch.save({"found": found, "thetas": thetas, "traffic": over.traffic}, sys.argv[2])


if __name__ == "__main__":
    main()
