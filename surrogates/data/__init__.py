"""Dataset files: read, write, check, merge and import them. Imports neither torch nor DOLFINx.

    dataset = Dataset.read("cdr.h5")            # all of it in memory
    Y, C = dataset.part("train")
    with opened("cdr.h5") as stored:            # rows on request, for files larger than memory
        first = stored.rows(0, 100)

`import_file` and `as_dataset` make a dataset of a file of another program or of arrays; `merge`
joins the shards of one dataset, and `append` several datasets.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .dataset import Dataset
    from .description import PARTS, TASKS, Info, Split, Status
    from .format import SOLVER, is_dataset, read_info, write
    from .hyperspectral import Scene, indian_pines, read_scene
    from .importing import as_dataset, import_file
    from .inspection import Summary
    from .joining import Joined, append, merge
    from .split import assign_split
    from .stored import Stored, opened

__all__ = [
    "PARTS",
    "SOLVER",
    "TASKS",
    "Dataset",
    "Info",
    "Joined",
    "Scene",
    "Split",
    "Status",
    "Stored",
    "Summary",
    "append",
    "as_dataset",
    "assign_split",
    "import_file",
    "indian_pines",
    "is_dataset",
    "merge",
    "opened",
    "read_info",
    "read_scene",
    "write",
]

_MODULES = {
    "dataset": ("Dataset",),
    "description": ("PARTS", "TASKS", "Info", "Split", "Status"),
    "format": ("SOLVER", "is_dataset", "read_info", "write"),
    "hyperspectral": ("Scene", "indian_pines", "read_scene"),
    "importing": ("as_dataset", "import_file"),
    "inspection": ("Summary",),
    "joining": ("Joined", "append", "merge"),
    "split": ("assign_split",),
    "stored": ("Stored", "opened"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: reading a file needs no scipy."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
