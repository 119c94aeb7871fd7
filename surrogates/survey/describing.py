"""What is in a survey: electrodes, ground, arrays, factors, depths, reciprocity, outliers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

from . import quality
from .depth import median_depths
from .ground import Ground, estimated_factors
from .kinds import kinds
from .survey import Survey


@dataclass(frozen=True, kw_only=True, eq=False)
class Description:
    """A survey, described.

    Attributes:
        survey: The survey.
        ground: Its ground.
        factors: Geometric factors [m], (n_d,): of the half-space; on topography estimates by
            straight distances. Infinite where undefined.
        depths: Median depths of investigation [m], (n_d,).
        kinds: Number of data of each array.
        resistivity: Measured apparent resistivities [ohm m], (n_d,), or None.
        reciprocal: Pairs of reciprocal data, numbers from 0, (n, 2).
        misfits: Their relative differences, (n,), or None without measured values.
        repeated: Numbers from 0 of data that are measured again.
        outliers: Numbers from 0 of outliers.
        questions: What is doubtful, a line each.
    """

    survey: Survey
    ground: Ground
    factors: Array
    depths: Array
    kinds: Mapping[str, int]
    resistivity: Array | None
    reciprocal: quality.Integers
    misfits: Array | None
    repeated: quality.Integers
    outliers: quality.Integers
    questions: list[str]

    def usable(self) -> npt.NDArray[np.bool_]:
        """Return which data have a defined factor, a positive resistivity, and are no outliers."""
        found = np.isfinite(self.factors)
        if self.resistivity is not None:
            found &= self.resistivity > 0
            found[self.outliers] = False
        return found

    def rows(self) -> dict[str, str]:
        """Return the description as lines by their names."""
        survey = self.survey
        found = {
            "electrodes": f"{len(survey.electrodes)}, nearest neighbours {_spacing(survey)}"
            f"{self._unused()}",
            **{f"  {x}": _range(c, "m") for x, c in zip(_AXES, survey.electrodes.T, strict=True)},
            "ground": self._ground(),
            "data": f"{len(survey.data)} of {len(survey.pairs)} pairs of electrodes",
            "columns": ", ".join(sorted(survey.values)) or "none: electrodes and a b m n alone",
            "arrays": ", ".join(f"{n} {kind}" for kind, n in self.kinds.items()),
            "geometric factor": f"{_range(np.abs(self.factors), 'm')}{self._signs()}",
            "median depth": _range(self.depths, "m"),
        }
        if self.resistivity is not None:
            found["apparent res."] = (
                f"{_range(self.resistivity, 'ohm m')}, median {np.median(self.resistivity):.4g}"
            )
        found["reciprocal pairs"] = self._reciprocal()
        if len(self.repeated):
            found["repeated"] = f"{len(self.repeated)}: {quality.data(self.repeated)}"
        if self.resistivity is not None:
            n = len(self.outliers)
            found["outliers"] = f"{n}: {quality.data(self.outliers)}" if n else "none"
        return found

    def json(self) -> dict[str, Any]:
        """Return the description as numbers and texts; numbers of data count from 1."""
        return {
            "name": self.survey.name,
            "electrodes": len(self.survey.electrodes),
            "lower": self.survey.electrodes.min(axis=0).tolist(),
            "upper": self.survey.electrodes.max(axis=0).tolist(),
            "flat": self.ground.flat,
            "top": self.ground.top,
            "buried": int(self.ground.buried.sum()),
            "data": len(self.survey.data),
            "pairs": len(self.survey.pairs),
            "columns": sorted(self.survey.values),
            "arrays": dict(self.kinds),
            "geometric_factor": _ends(np.abs(self.factors)),
            "negative_factors": int((self.factors < 0).sum()),
            "median_depth": _ends(self.depths),
            "apparent_resistivity": None if self.resistivity is None else _ends(self.resistivity),
            "reciprocal_pairs": (self.reciprocal + 1).tolist(),
            "reciprocal_misfit": None
            if self.misfits is None or not len(self.misfits)
            else float(np.median(self.misfits)),
            "repeated": (self.repeated + 1).tolist(),
            "outliers": (self.outliers + 1).tolist(),
            "questions": self.questions,
        }

    def _ground(self) -> str:
        buried = int(self.ground.buried.sum())
        kind = "flat at" if self.ground.flat else "topography, mean"
        below = f"; {buried} electrodes are buried" if buried else ""
        return f"{kind} x3 = {self.ground.top:.6g} m{below}"

    def _unused(self) -> str:
        unused = len(self.survey.electrodes) - len(np.unique(self.survey.pairs))
        return f"; no datum uses {unused} of them" if unused else ""

    def _signs(self) -> str:
        negative = int((self.factors < 0).sum())
        estimated = "" if self.ground.flat else ", by straight distances"
        return f", {negative} negative{estimated}" if negative else estimated

    def _reciprocal(self) -> str:
        n = len(self.reciprocal)
        if self.misfits is None or not n:
            return str(n) if n else "none"
        median, worst = float(np.median(self.misfits)), int(self.misfits.argmax())
        return (
            f"{n}, misfit median {median:.2%}, largest {self.misfits[worst]:.2%} "
            f"({quality.data(self.reciprocal[worst])})"
        )


_AXES = ("x1", "x2", "x3")


def describe(survey: Survey, top: float | None = None) -> Description:
    """Describe a survey.

    Args:
        survey: The survey.
        top: Elevation of flat ground [m]; None: found from the electrodes.

    Raises:
        InputError: If an electrode is above ``top``, or the ground cannot be found.
    """
    ground = survey.ground(top)
    factors, depths = estimated_factors(survey, ground), median_depths(survey, ground)
    resistivity = quality.apparent_resistivities(survey, factors)
    pairs, measured = quality.reciprocal(survey), quality.resistances(survey, factors)
    none = np.zeros(0, dtype=np.int64)
    return Description(
        survey=survey,
        ground=ground,
        factors=factors,
        depths=depths,
        kinds=dict(Counter(kinds(survey, ground).tolist()).most_common()),
        resistivity=resistivity,
        reciprocal=pairs,
        misfits=None if measured is None else quality.misfits(pairs, measured),
        repeated=quality.repeated(survey),
        outliers=none
        if resistivity is None
        else quality.outliers(survey, depths, resistivity, holes=bool(ground.buried.any())),
        questions=quality.questions(survey, factors, flat=ground.flat),
    )


def _spacing(survey: Survey) -> str:
    """Return the distances of electrodes to their nearest neighbours, in words."""
    from scipy.spatial import cKDTree

    distance, _ = cKDTree(survey.electrodes).query(survey.electrodes, k=2)
    return _range(distance[:, 1], "m")


def _range(values: Array, unit: str) -> str:
    """Return the least and the largest finite value in words."""
    ends = _ends(values)
    if ends is None:
        return "none"
    low, high = (f"{end:.4g}" for end in ends)
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def _ends(values: Array) -> list[float] | None:
    """Return the least and the largest finite value."""
    finite = values[np.isfinite(values)]
    return [float(finite.min()), float(finite.max())] if len(finite) else None
