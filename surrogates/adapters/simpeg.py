"""SimPEG: a surrogate as a simulation, with `dpred`, `Jvec` and `Jtvec`, for its inversions."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from surrogates.types import Array

from . import common

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate


def simulation(surrogate: LoadedSurrogate, **options: Any) -> Any:
    """Return a simulation of SimPEG, which predicts n_out data from a model of n_in parameters.

    Args:
        surrogate: The surrogate.
        options: Options of ``simpeg.simulation.BaseSimulation``; and ``yMap``, the map from
            SimPEG's model to y, which is the identity if it is not given.
    """
    options.setdefault(
        "yMap", common.needed("simpeg.maps", "simpeg").IdentityMap(nP=surrogate.n_in)
    )
    options.setdefault("survey", survey(surrogate))
    return _class()(surrogate, **options)


def survey(surrogate: LoadedSurrogate) -> Any:
    """Return a survey with a source and a receiver for the n_out data.

    Its locations are the coordinates of the observables, or their numbers if they have none.
    """
    module = common.needed("simpeg.survey", "simpeg")
    axes = list(surrogate.c_coordinates.values()) or [np.arange(float(surrogate.n_out))]
    receiver = module.BaseRx(np.column_stack(axes))
    return module.BaseSurvey([module.BaseSrc(receiver_list=[receiver])])


@functools.cache
def _class() -> Any:
    base: Any = common.needed("simpeg.simulation", "simpeg").BaseSimulation
    props = common.needed("simpeg.props", "simpeg")

    class Simulation(base):
        """Data of a surrogate. Fields are the data: there are none between them and y."""

        y, yMap, yDeriv = props.Invertible("Parameters of the surrogate")

        def __init__(self, surrogate: LoadedSurrogate, yMap: Any, **options: Any) -> None:
            super().__init__(**options)
            self.surrogate, self.yMap = surrogate, yMap

        def fields(self, m: Any = None) -> Any:
            if m is not None:
                self.model = m
            return self.surrogate(self.y)

        def dpred(self, m: Any = None, f: Any = None) -> Any:
            return self.fields(m) if f is None else f

        def Jvec(self, m: Any, v: Any, f: Any = None) -> Any:
            self.model = m
            return self.surrogate.jvp(self.y, self.yDeriv @ v)

        def Jtvec(self, m: Any, v: Any, f: Any = None) -> Any:
            self.model = m
            return self.yDeriv.T @ self.surrogate.vjp(self.y, v)

        def getJ(self, m: Any, f: Any = None) -> Array:
            self.model = m
            dense: Array = (self.yDeriv.T @ self.surrogate.jacobian(self.y).T).T
            return dense

        def getJtJdiag(self, m: Any, W: Any = None, f: Any = None) -> Array:
            weighted = self.getJ(m) if W is None else W @ self.getJ(m)
            diagonal: Array = (weighted**2).sum(axis=0)
            return diagonal

    return Simulation
