"""PDE surrogates by variable projection: what users of a surrogate import.

    surrogate = surrogates.load("cdr.pt")
    c, std, J = surrogate.predict(y), surrogate.predict_std(y), surrogate.jacobian(y)

The file of a classifier gives classes, ``predict(y)``, and their ``probabilities(y)``.

The parts that make one are `surrogates.pde` (FEniCSx problems to dataset) and
`surrogates.training` (dataset to surrogate); importing this package imports neither, nor torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from .model.loaded import LoadedSurrogate

__version__ = "0.1.0"


def load(
    path: str | os.PathLike[str], *, refuse_outside: bool = False, trust: bool = False
) -> LoadedSurrogate:
    """Read a surrogate file: `surrogates.model.file.load`, which is imported at the first call."""
    from .model import file as export

    return export.load(path, refuse_outside=refuse_outside, trust=trust)
