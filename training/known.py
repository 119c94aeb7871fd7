"""What the settings of a training may name, and what an iteration of each method costs at least.

It stands below the numerics and imports no torch: settings are checked, and listed by ``train
--help``, without it.
"""

from __future__ import annotations

WAYS = ("unit", "column", "common")
"""Outputs that share a scale: those of one known unit, none, or all."""

METHODS = ("dense", "krylov", "kronecker")
"""Models of a step of GNvpro."""

LEAST = {"gn": 4, "lbfgs": 4, "adam": 2, "sgd": 2}
"""Work units of the cheapest iteration of the other optimizers; of ``lbfgs`` a level's first."""

OPTIMIZERS = ("gnvpro", *LEAST)

CORRECTION = 3
"""Work units of the second-order correction of a step by the exact Gauss-Newton matrix."""


def least(optimizer: str, method: str | None, width: int) -> int:
    """Return the work units of the cheapest iteration of an optimizer.

    Args:
        optimizer: One of `OPTIMIZERS`.
        method: Of ``gnvpro``, one of `METHODS`; None for ``dense``.
        width: Number of the network's features.
    """
    if optimizer != "gnvpro":
        return LEAST[optimizer]
    if method == "krylov":
        return 4  # one vector, beside the gradient
    if method == "kronecker":
        return 6  # of a level's first iteration: its start, the matrix, and a step
    return 2 + width + CORRECTION  # passes for the gradient, one for each feature, the correction
