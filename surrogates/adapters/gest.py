"""gest-api: a surrogate as a generator of samples for the loops of libEnsemble, Xopt and optimas.

    from surrogates.adapters import gest

    generator = gest.generator(s, gest.vocs(s))
    points = generator.suggest(8)           # dicts of y by names
    generator.ingest(results)               # the same with c by names; NaN, None or none: failed

It suggests the samples that take most off the surrogate's expected error: see
`surrogates.design.designer.Designer`, its attribute ``designer``.
"""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from surrogates.design.designer import Designer
from surrogates.errors import InputError

from . import common

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate

BATCH = 10
"""Number of points that a generator suggests where it may choose it."""

_ERRORS = ("xopt_error",)  # keys by which other packages mark a failed evaluation


def vocs(surrogate: LoadedSurrogate) -> Any:
    """Return the names and bounds of a surrogate's problem, a ``gest_api.vocs.VOCS``.

    Parameters are variables, and observables are what is observed: nothing is minimised.

    Raises:
        InputError: If gest-api is not installed.
    """
    made = common.needed("gest_api.vocs", "gest-api").VOCS
    known = surrogate.metadata
    ends = zip(known["y_lower"], known["y_upper"], surrogate.bounds.T.tolist(), strict=True)
    bounds = [
        own if lower is None or upper is None or not lower < upper else [lower, upper]
        for lower, upper, own in ends
    ]
    return made(
        variables=dict(zip(surrogate.y_names, bounds, strict=True)),
        observables={name: "float" for name in surrogate.c_names},
    )


def generator(
    surrogate: LoadedSurrogate,
    vocs: Any = None,
    *,
    batch: int = BATCH,
    **settings: Any,
) -> Any:
    """Return a ``gest_api.generator.Generator`` of samples.

    Args:
        surrogate: The surrogate.
        vocs: A ``gest_api.vocs.VOCS`` with the parameters as continuous variables, in any order,
            and the observables as observables or objectives; that of `vocs` if None. Its bounds are
            those of the samples. Constants are passed on.
        batch: Number of points that are suggested where it may choose it.
        settings: Further arguments of `Designer`, such as ``seed``.

    Raises:
        InputError: If gest-api is not installed.
        ValueError: If the vocs do not fit the surrogate.
    """
    chosen = globals()["vocs"](surrogate) if vocs is None else vocs
    return _class()(chosen, surrogate, batch=batch, **settings)


@functools.cache
def _class() -> Any:
    base: Any = common.needed("gest_api.generator", "gest-api").Generator
    continuous: Any = common.needed("gest_api.vocs", "gest-api").ContinuousVariable

    class Samples(base):
        """A generator; see the module's text."""

        returns_id = False

        def __init__(
            self, vocs: Any, surrogate: LoadedSurrogate, *, batch: int = BATCH, **settings: Any
        ) -> None:
            self.vocs, self.batch = vocs, batch
            self._names = surrogate.y_names, surrogate.c_names
            self._validate_vocs(vocs)
            domains = [vocs.variables[name].domain for name in surrogate.y_names]
            ends = np.array(domains, np.float64).T
            self.designer = Designer(surrogate, **{"bounds": ends, **settings})

        def _validate_vocs(self, vocs: Any) -> None:
            y_names, c_names = self._names
            if set(vocs.variables) != set(y_names):
                raise ValueError(
                    f"expected the variables {', '.join(y_names)}; got {', '.join(vocs.variables)}"
                )
            for name, variable in vocs.variables.items():
                if not isinstance(variable, continuous) or not np.isfinite(variable.domain).all():
                    raise ValueError(f"expected {name} to be continuous, between finite ends")
            there = {*vocs.observables, *vocs.objectives, *vocs.constraints}
            if missing := [name for name in c_names if name not in there]:
                raise ValueError(
                    "expected the surrogate's observables as observables or objectives; "
                    f"{', '.join(missing[:3])} missing"
                )

        def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
            """Return points, dicts of the variables and constants."""
            number = self.batch if num_points is None else int(num_points)
            try:
                Y = self.designer.suggest(number)
            except InputError as error:
                raise ValueError(str(error)) from error
            constants = {name: one.value for name, one in self.vocs.constants.items()}
            names = self._names[0]
            return [{**dict(zip(names, y, strict=True)), **constants} for y in Y.tolist()]

        def ingest(self, results: Sequence[Mapping[str, Any]]) -> None:
            """Take evaluated points, dicts with the variables and the observables."""
            if not results:
                return
            y_names, c_names = self._names
            Y = np.array([[float(one[name]) for name in y_names] for one in results])
            self.designer.ingest(Y, np.array([_values(one, c_names) for one in results]))

    return Samples


def _values(result: Mapping[str, Any], names: Sequence[str]) -> list[float]:
    """Return the observables of a result; NaN where there is none, and all of a failed one."""
    if any(result.get(key) is not None and bool(result[key]) for key in _ERRORS):
        return [math.nan] * len(names)
    return [_number(result.get(name)) for name in names]


def _number(value: Any) -> float:
    if isinstance(value, numbers.Real):  # of numpy too
        return float(value)
    return math.nan if value is None else float(np.asarray(value).item())
