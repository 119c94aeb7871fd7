"""The arguments of `learn`, checked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from surrogates.config import check, check_seed, unknown
from surrogates.errors import InputError

from .estimate import MEASURES

EFFORTS = ("fast", "default", "high")
_HOURS = {"s": 1 / 3600, "m": 1 / 60, "min": 1 / 60, "h": 1.0, "d": 24.0}
_FEWEST = 3  # samples of a first design that can be trained on
PAIRED = 24
"""Fewest samples of a first design of two fidelities, half of which both solve for."""
LEAST = 12
"""Fewest solves of a budget: a first design, and a batch that estimates its error."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a run may spend; both limits hold.

    Attributes:
        solves: Number of solves, with those of earlier calls; None for no limit.
        hours: Hours of wall time, with those of earlier calls; None for no limit.
    """

    solves: int | None = None
    hours: float | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(
            self.solves is None or self.solves >= LEAST,
            f"a budget must be at least {LEAST} solves; got {self.solves}",
        )
        check(self.hours is None or self.hours > 0, f"a budget must be above 0 h; got {self.hours}")

    @classmethod
    def read(cls, given: int | str | Budget | None) -> Budget:
        """Return the budget of a number of solves, or of a text: ``2000``, ``2h``, ``2000,2h``.

        Raises:
            InputError: If it is none of these.
        """
        if given is None or isinstance(given, Budget):
            return given or cls()
        found: dict[str, Any] = {}
        for word in str(given).split(","):
            match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?)\s*(s|min|m|h|d)?\s*", word)
            key = "hours" if match and match[2] else "solves"
            whole = match is not None and (key == "hours" or match[1].isdigit())
            if match is None or not whole or key in found:
                raise InputError(f"cannot read the budget {given!r}; write 2000, 2h or 2000,2h")
            unit = _HOURS[match[2]] if match[2] else None
            found[key] = int(match[1]) if unit is None else float(match[1]) * unit
        return cls(**found)

    def __str__(self) -> str:
        """Return the limits in words."""
        solves = [] if self.solves is None else [f"{self.solves} solves"]
        hours = [] if self.hours is None else [f"{self.hours:.4g} h"]
        return " and ".join(solves + hours) or "no limit"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of `learn`.

    Attributes:
        problem: A name, or a class or object of a notebook.
        target: The error to reach, > 0.
        out: The surrogate's file.
        budget: What may be spent.
        measure: The error's meaning, one of `MEASURES`.
        config: Settings of the problem: a TOML file, or a ``Config``.
        settings: Single settings of the problem.
        seed: Seed of the samples and of the training.
        first: Samples of the first design; None for a number by the parameters.
        effort: Of each training.
        training: Settings of each training by their keys, which are then not chosen.
        tangents: Derivatives that each solve brings, as for `surrogates.generate`.
        unchecked: Whether to trust derivatives of a user's problem without a test.
        coarse: Settings of the problem that make a cheap solve of it; empty for fine ones alone.
        processes: Processes of the solves.
        ranks_per_sample: Processes that share a mesh.
        launcher: Words that start processes in place of mpirun, such as ``srun``.
        time_limit: Seconds after which a sample fails.
    """

    problem: Any
    target: float
    out: Path
    budget: Budget = field(default_factory=Budget)
    measure: str = "relative"
    config: Any = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    first: int | None = None
    effort: str = "default"
    training: Mapping[str, Any] = field(default_factory=dict)
    tangents: bool | int = False
    unchecked: bool = False
    coarse: Mapping[str, Any] = field(default_factory=dict)
    processes: int = 1
    ranks_per_sample: int = 1
    launcher: str = ""
    time_limit: float = 3600.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(
            self.target > 0 and self.target < float("inf"),
            f"the target must be a positive error, such as 0.01 for 1 %; got {self.target:g}",
        )
        check(
            self.measure in MEASURES, unknown(f"measure {self.measure!r}", self.measure, MEASURES)
        )
        check(self.effort in EFFORTS, unknown(f"effort {self.effort!r}", self.effort, EFFORTS))
        check(self.out.suffix == ".pt", f"a surrogate's file ends in .pt; got {str(self.out)!r}")
        check(
            not self.coarse or self.effort != "fast",
            "the fidelities' difference takes a choice among corrections: leave --effort fast out",
        )
        fewest = min(self.first or PAIRED, self.budget.solves or PAIRED)
        check(
            not self.coarse or fewest >= PAIRED,
            f"two fidelities are compared on {PAIRED} samples: a first design and a budget must be "
            f"at least that; got {fewest}",
        )
        check(self.processes >= 1, f"processes must be at least 1; got {self.processes}")
        check(
            self.first is None or self.first >= _FEWEST,
            f"a first design has at least {_FEWEST} samples; got {self.first}",
        )
        check_seed(self.seed)

    @property
    def folder(self) -> Path:
        """The folder with the run's state."""
        return self.out.with_name(self.out.name + ".learn")

    @property
    def dataset(self) -> Path:
        """The file of all samples."""
        return self.out.with_suffix(".h5")

    @property
    def coarse_dataset(self) -> Path:
        """The file of all coarse samples."""
        return self.out.with_suffix(".coarse.h5")

    @property
    def page(self) -> Path:
        """The report."""
        return self.out.with_suffix(".html")


PathLike = str | os.PathLike[str]
