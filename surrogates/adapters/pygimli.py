"""pyGIMLi: a surrogate as a forward operator, with `response` and `createJacobian`.

A PDE is one too: `surrogates.pde.Simulator` takes a surrogate's place. Surveys of DC resistivity
become pyGIMLi's data containers, for its plots, filters and files:

    container = adapter.data(s, c, noise)
    found = MarquardtInversion(fop=adapter.modelling(s)).run(container["rhoa"], container["err"])

and containers data of a survey's observables, with the geometric factors of its ground:

    c, noise = adapter.observed(s, ert.load("field.dat"))
    found = MarquardtInversion(fop=adapter.modelling(s)).run(c, absoluteError=noise)
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from surrogates.errors import check
from surrogates.survey import Survey
from surrogates.types import Array

from . import _survey, common

if TYPE_CHECKING:
    from ._model import Model


def modelling(surrogate: Model) -> Any:
    """Return a forward operator of pyGIMLi for its inversions: the model is y, and the data are c.

    Data have the order of the observables, which is that of a survey's data. An inversion keeps
    each parameter within its bounds, by a transformation that goes to infinity there (TransCotLU),
    and starts from the middle of the domain. The parameters have no neighbours: take
    ``pygimli.frameworks.MarquardtInversion``, which does not smooth.

    Raises:
        InputError: If the parameters satisfy linear relations, which pyGIMLi's models do not.
    """
    lower, upper = common.box(
        surrogate,
        "pyGIMLi changes one without the others; minimise with constraints by scipy's SLSQP, or "
        "take another adapter",
    )
    return _class()(surrogate, lower, upper)


def data(
    source: Model | Survey,
    c: npt.ArrayLike | None = None,
    noise: npt.ArrayLike | None = None,
) -> Any:
    """Return the ``pygimli.DataContainerERT`` of a survey: electrodes, a, b, m, n, and columns.

    Data keep their order. Electrodes at infinity are -1, as pyGIMLi has them. ``k`` of a surrogate
    or simulator are those of its ground: on topography they come from a solve. pyGIMLi keeps them,
    unless ``geometricFactors`` is called: its formula is for flat ground at elevation 0.

    Args:
        source: A surrogate or simulator of the problem `ert`; or a survey, with all its columns.
        c: Data of its observables, (n_d,), which become ``rhoa`` and ``r``; None for none. A survey
            has its own.
        noise: Their standard deviation, one or (n_d,), in units of the observables: it becomes
            ``err``, which is relative.

    Raises:
        InputError: If the source has no survey, or c or noise do not fit it.
    """
    pg = common.needed("pygimli")
    if isinstance(source, Survey):
        check(c is None and noise is None, "a survey has its own data: leave c and noise out")
        return _container(pg, source, dict(source.values))
    return _container(pg, *_survey.columns(source, c, noise))


def observed(surrogate: Model, measured: Any) -> tuple[Array, Array | None]:
    """Return data of a container as observables of a survey's surrogate, and their deviations.

    Resistances count: the apparent resistivities of a container have its own factors ``k``, which
    on topography may be those of flat ground; those of the surrogate's ground take their place.

    Args:
        surrogate: A surrogate or simulator of the problem `ert`.
        measured: A ``DataContainerERT`` or a survey. Its data may have another order, and be more;
            those with ``valid`` 0 are left out.

    Returns:
        Data c, (n_d,), and the standard deviations by ``err``, None without it, in units of the
        observables.

    Raises:
        InputError: If a datum of the surrogate is not there, or there are no values.
    """
    return _survey.observed(
        surrogate, measured if isinstance(measured, Survey) else _survey_of(measured)
    )


def _survey_of(container: Any) -> Survey:
    """Return the survey of a container; columns of zeros are not there."""
    names = {str(name) for name in container.dataMap().keys()} - {*"abmn"}
    columns = {name: np.array(container[name]) for name in sorted(names)}
    valid = columns.pop("valid", np.ones(container.size())) != 0
    survey = Survey(
        electrodes=np.array(container.sensors(), dtype=np.float64).reshape(-1, 3),
        data=np.stack([np.array(container[name]) for name in "abmn"], axis=1).astype(np.int64),
        values={name: column for name, column in columns.items() if np.any(column)},
        name="the container",
    )
    return survey.select(valid)


def _container(pg: Any, survey: Survey, columns: dict[str, Array]) -> Any:
    """Fill a container; ``createSensor`` would merge electrodes that are a millimetre apart."""
    container = pg.DataContainerERT()
    container.setSensorPositions([pg.Pos(*place) for place in survey.electrodes.tolist()])
    container.resize(len(survey.data))
    for name, numbers in zip("abmn", survey.data.T, strict=True):
        container.set(name, pg.Vector(numbers.astype(float)))
    for name, values in {"valid": np.ones(len(survey.data)), **columns}.items():
        container.set(name, pg.Vector(np.asarray(values, dtype=float)))
    return container


@functools.cache
def _class() -> Any:
    pg = common.needed("pygimli")
    base: Any = common.needed("pygimli.frameworks", "pygimli").Modelling

    class Modelling(base):
        """The map y -> c of a surrogate, or of a PDE."""

        def __init__(self, surrogate: Model, lower: Any, upper: Any) -> None:
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
