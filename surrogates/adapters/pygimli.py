"""pyGIMLi: a surrogate as a forward operator, with `response` and `createJacobian`."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from . import common

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate


def modelling(surrogate: LoadedSurrogate) -> Any:
    """Return a forward operator of pyGIMLi for its inversions: the model is y, and the data are c.

    An inversion keeps each parameter within its training bounds, by a transformation that goes to
    infinity there (TransCotLU), and starts from the middle of the domain. The parameters have no
    neighbours: take ``pygimli.frameworks.MarquardtInversion``, which does not smooth.

    Raises:
        InputError: If the training parameters satisfy linear relations, which pyGIMLi's models do
            not.
    """
    lower, upper = common.box(
        surrogate,
        "pyGIMLi changes one without the others; minimise with constraints by scipy's SLSQP, or "
        "take another adapter",
    )
    return _class()(surrogate, lower, upper)


@functools.cache
def _class() -> Any:
    pg = common.needed("pygimli")
    base: Any = common.needed("pygimli.frameworks", "pygimli").Modelling

    class Modelling(base):
        """The map y -> c of a surrogate."""

        def __init__(self, surrogate: LoadedSurrogate, lower: Any, upper: Any) -> None:
            super().__init__()
            self.surrogate = surrogate
            self.middle = (lower + upper) / 2
            self.limits = pg.trans.TransCumulative()
            for ends in zip(lower.tolist(), upper.tolist(), strict=True):
                self.limits.add(pg.trans.TransCotLU(*ends), 1)
            self.modelTrans = self.limits
            self.regionManager().setParameterCount(surrogate.n_in)
            self.setStartModel(self.middle)

        @property
        def parameterCount(self) -> int:
            return self.surrogate.n_in

        def createStartModel(self, dataVals: Any = None) -> Any:
            return pg.Vector(self.middle)

        def response(self, par: Any) -> Any:
            return pg.Vector(self.surrogate(np.array(par)))

        def createJacobian(self, par: Any) -> None:
            self.J = pg.Matrix(self.surrogate.jacobian(np.array(par)))
            self.setJacobian(self.J)  # which keeps no reference to it

    return Modelling
