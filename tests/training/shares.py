"""Train several ways on one dataset, on the processes of torchrun, and save what is found.

python -m torch.distributed.run --nproc-per-node=2 shares.py DATASET.h5 FOUND.pt
"""

import sys

import torch

from surrogates.config import replaced
from surrogates.data import Dataset
from surrogates.training import communicator
from surrogates.training.config import (
    Inputs,
    Network,
    Optimizer,
    Regularisation,
    Stopping,
    TrainConfig,
)
from surrogates.training.fit import fit

TAME = TrainConfig(
    network=Network(width=4, cells=1),
    stopping=Stopping(work_units=1000),
    inputs=Inputs(scale=1.0),
    regularisation=Regularisation(alpha1=1e-4, alpha2=1e-3),
)
SETTINGS = {
    "regression": {
        "dense": TrainConfig(network=Network(width=4, cells=1), stopping=Stopping(work_units=1000)),
        "krylov": TrainConfig(
            network=Network(width=4, cells=1, levels=2),
            optimizer=Optimizer(method="krylov"),
            stopping=Stopping(work_units=1000),
        ),
        "linear": TrainConfig(
            network=Network(width=4, cells=1, linear=True),
            regularisation=Regularisation(alpha2=1e-4),
            stopping=Stopping(work_units=1000),
        ),
        "kronecker": TrainConfig(
            network=Network(width=4, cells=1),
            optimizer=Optimizer(method="kronecker"),
            stopping=Stopping(work_units=1000),
        ),
        "gn": TrainConfig(
            network=Network(width=4, cells=1),
            optimizer=Optimizer(name="gn"),
            stopping=Stopping(work_units=1000),
        ),
        "lbfgs": TrainConfig(
            network=Network(width=4, cells=1),
            optimizer=Optimizer(name="lbfgs"),
            stopping=Stopping(work_units=1000),
        ),
    },
    "classification": {
        "dense": replaced(TAME, {"regularisation.penalty": "smooth"}),
        "krylov": replaced(TAME, {"optimizer.method": "krylov"}),
        "kronecker": replaced(TAME, {"optimizer.method": "kronecker"}),
        "mixed": replaced(
            TAME,
            {
                "optimizer.method": "krylov",
                "inputs.whitening": 0.25,
                "regularisation.smoothing": 10.0,
                "inputs.noise": 0.5,
            },
        ),
        "gn": replaced(TAME, {"optimizer.name": "gn"}),
        "lbfgs": replaced(TAME, {"optimizer.name": "lbfgs"}),
    },
}
ITERATIONS = 10


def trained(dataset, settings, comm):
    """Iterate ten times, and give all numbers that training found."""
    asked = iter(range(1, 10**6))
    result = fit(dataset, settings, comm=comm, stop=lambda: next(asked) == ITERATIONS)
    theta = torch.nn.utils.parameters_to_vector(result.features.parameters())
    phis = torch.tensor([record.phi for record in result.history], dtype=torch.float64)
    errors = torch.tensor([record.validation_error for record in result.history])
    Y = torch.from_numpy(dataset.part("test")[0])
    return {"theta": theta, "phi": phis, "errors": errors, "predicted": result.predict(Y)}


def task_of(dataset):
    """Name the settings for a dataset: its task, or ``derivatives`` if it has some."""
    return dataset.info.task if dataset.dC_dY is None else "derivatives"


SETTINGS["derivatives"] = {
    name: SETTINGS["regression"][name] for name in ("dense", "krylov", "kronecker", "gn", "lbfgs")
}


def main():
    dataset = Dataset.read(sys.argv[1])
    with communicator.of_environment("cpu") as comm:
        settings = SETTINGS[task_of(dataset)]
        found = {name: trained(dataset, one, comm) for name, one in settings.items()}
        rows = torch.cat([value["theta"] for value in found.values()])[None]
        thetas = comm.stacked(rows)
        if comm.rank == 0:
            torch.save({"found": found, "thetas": thetas, "traffic": comm.traffic}, sys.argv[2])


if __name__ == "__main__":
    main()
