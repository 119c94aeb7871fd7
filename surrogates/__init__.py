"""PDE surrogates by variable projection: what users import.

    surrogate = surrogates.fit(Y, C)                          # arrays or data frames
    dataset = surrogates.generate("darcy.py:Darcy", samples=400)
    surrogate = surrogates.train(dataset, out="darcy.pt")
    surrogate = surrogates.learn("darcy.py:Darcy", target=0.01, out="best.pt")  # or all at once
    surrogate = surrogates.load("darcy.pt")                   # or .npz, without torch
    Y = surrogates.suggest(surrogate, 50)                     # samples to solve for next
    c, std, J = surrogate.predict(y), surrogate.predict_std(y), surrogate.jacobian(y)

A classifier predicts classes, ``predict(y)``, and their ``probabilities(y)``.

`surrogates.pde` solves PDEs (FEniCSx problem to dataset), and `surrogates.training` trains (dataset
to surrogate). Importing this package imports neither, nor torch: each name below is imported when
it is first used.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data.dataset import Dataset as Dataset
    from .design.designer import Designer as Designer
    from .design.designer import suggest as suggest
    from .errors import InputError as InputError
    from .estimators import GNvproClassifier as GNvproClassifier
    from .estimators import GNvproRegressor as GNvproRegressor
    from .learning.learn import learn as learn
    from .loading import load as load
    from .model.loaded import LoadedClassifier as LoadedClassifier
    from .model.loaded import LoadedSurrogate as LoadedSurrogate
    from .pde.run import check as check
    from .pde.run import generate as generate
    from .training.config import TrainConfig as TrainConfig
    from .training.make import fit as fit
    from .training.make import train as train
    from .training.planning.plan import Plan as Plan
    from .training.planning.plan import plan as plan

__version__ = "0.1.0"

# Without the estimators, which need scikit-learn: all of these can be imported.
__all__ = [
    "Dataset",
    "Designer",
    "InputError",
    "LoadedClassifier",
    "LoadedSurrogate",
    "Plan",
    "TrainConfig",
    "__version__",
    "check",
    "fit",
    "generate",
    "learn",
    "load",
    "plan",
    "suggest",
    "train",
]

_MODULES = {
    "Dataset": "data.dataset",
    "Designer": "design.designer",
    "GNvproClassifier": "estimators",
    "GNvproRegressor": "estimators",
    "InputError": "errors",
    "LoadedClassifier": "model.loaded",
    "LoadedSurrogate": "model.loaded",
    "Plan": "training.planning.plan",
    "TrainConfig": "training.config",
    "check": "pde.run",
    "fit": "training.make",
    "generate": "pde.run",
    "learn": "learning.learn",
    "load": "loading",
    "plan": "training.planning.plan",
    "suggest": "design.designer",
    "train": "training.make",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return the public names, imported or not."""
    there = importlib.util.find_spec("sklearn") is not None
    return sorted({*globals(), *__all__, *(_MODULES if there else ())})
