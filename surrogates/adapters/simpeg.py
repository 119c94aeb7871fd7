"""SimPEG: a surrogate as a simulation, with `dpred`, `Jvec` and `Jtvec`, for its inversions.

A PDE is one too: `surrogates.pde.Simulator` takes a surrogate's place. Surveys of DC resistivity
become SimPEG's own, with poles and dipoles at the electrodes.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from surrogates.survey import INFINITY, Survey, half_space_factors
from surrogates.types import Array

from . import _survey, common

if TYPE_CHECKING:
    from ._model import Model


def simulation(surrogate: Model, **options: Any) -> Any:
    """Return a simulation of SimPEG, which predicts n_out data from a model of n_in parameters.

    Args:
        surrogate: The surrogate, or a simulator.
        options: Options of ``simpeg.simulation.BaseSimulation``; and ``yMap``, the map from
            SimPEG's model to y, which is the identity if it is not given.
    """
    options.setdefault(
        "yMap", common.needed("simpeg.maps", "simpeg").IdentityMap(nP=surrogate.n_in)
    )
    options.setdefault("survey", survey(surrogate))
    return _class()(surrogate, **options)


def survey(surrogate: Model) -> Any:
    """Return a survey of the n_out data, in their order.

    Observables of the problem `ert` give a survey of ``simpeg.electromagnetics.static.resistivity``
    (see `resistivity`), which SimPEG's own simulations take too. Others give a source and a
    receiver, whose locations are the coordinates of the observables, or their numbers if they have
    none.
    """
    if "a_x1" in surrogate.c_coordinates:
        return resistivity(*_survey.surveyed(surrogate))
    module = common.needed("simpeg.survey", "simpeg")
    axes = list(surrogate.c_coordinates.values()) or [np.arange(float(surrogate.n_out))]
    receiver = module.BaseRx(np.column_stack(axes))
    return module.BaseSurvey([module.BaseSrc(receiver_list=[receiver])])


def resistivity(survey: Survey, observed: str = "r") -> Any:
    """Return SimPEG's survey of a DC resistivity survey, whose data have the same order.

    SimPEG groups data by their source. Here each run of data with the same current electrodes is a
    source, so that no datum changes its place. A file that is not ordered by current electrodes
    gives the same source several times, each of which costs SimPEG's own simulations a solve.

    SimPEG has no pole that is b or n alone. Data with m at infinity, but not n, are turned around,
    (a, b, m, n) to (b, a, n, m), and a pole that is still on the wrong side has a current of -1 A:
    neither changes the data.

    Args:
        survey: The survey.
        observed: ``r``: data are resistances, voltages of 1 A; else apparent resistivities or their
            logarithms, with the geometric factors ``k`` of the survey, SimPEG's being 1/k. On flat
            ground without ``k`` they are those of the half-space.

    Raises:
        InputError: If apparent resistivities on topography have no factors: SimPEG's own formula
            is for flat ground.
    """
    dc = common.needed("simpeg.electromagnetics.static.resistivity", "simpeg")
    kind = "volt" if observed == "r" else "apparent_resistivity"
    abmn, current = _poles(survey.data)
    factors = survey.values.get("k")
    if factors is None and observed != "r":
        factors = half_space_factors(survey, survey.ground())
    sources = []
    for rows in _runs(np.column_stack([abmn[:, :2], current])):
        a, b = (survey.electrodes[i] for i in abmn[rows[0], :2])
        receivers = []
        for part in _runs(abmn[rows, 3:] == INFINITY):
            m, n = (survey.electrodes[abmn[rows[part], i]] for i in (2, 3))
            pole = abmn[rows[part[0]], 3] == INFINITY
            receiver = (
                dc.receivers.Pole(locations=m, data_type=kind)
                if pole
                else dc.receivers.Dipole(locations_m=m, locations_n=n, data_type=kind)
            )
            receivers.append((receiver, rows[part]))
        ones, amperes = [receiver for receiver, _ in receivers], float(current[rows[0]])
        source = (
            dc.sources.Pole(ones, location=a, current=amperes)
            if abmn[rows[0], 1] == INFINITY
            else dc.sources.Dipole(ones, location_a=a, location_b=b, current=amperes)
        )
        for receiver, which in receivers:
            if factors is not None:
                receiver.geometric_factor[source] = 1 / factors[which]
        sources.append(source)
    return dc.Survey(sources, survey_geometry="general")


def observed(surrogate: Model, measured: Survey) -> tuple[Array, Array | None]:
    """Return measured data as observables of a survey's surrogate, for ``Data(dobs=)``.

    Apparent resistivities get the geometric factors of the surrogate's ground in place of their
    own: on topography those of files are often of flat ground.

    Args:
        surrogate: A surrogate or simulator of the problem `ert`.
        measured: A survey, such as ``surrogates.survey.read(FILE)``, with the same data among
            others in any order.

    Returns:
        Data c, (n_d,), and the standard deviations by ``err``, None without it, in units of the
        observables.

    Raises:
        InputError: If a datum of the surrogate is not there, or there are no values.
    """
    return _survey.observed(surrogate, measured)


def _poles(data: Any) -> tuple[Any, Array]:
    """Return numbers of electrodes with b and n at infinity, not a and m, and currents in A."""
    turned = np.where((data[:, 2] == INFINITY)[:, None], data[:, [1, 0, 3, 2]], data)
    alone = turned[:, 0] == INFINITY
    turned = np.where(alone[:, None], turned[:, [1, 0, 2, 3]], turned)
    return turned, np.where(alone, -1.0, 1.0)


def _runs(keys: Any) -> list[Any]:
    """Return the rows of each run of equal rows of keys, (n, k)."""
    changes = np.flatnonzero((keys[1:] != keys[:-1]).any(axis=1)) + 1
    return np.split(np.arange(len(keys)), changes)


@functools.cache
def _class() -> Any:
    base: Any = common.needed("simpeg.simulation", "simpeg").BaseSimulation
    props = common.needed("simpeg.props", "simpeg")

    class Simulation(base):
        """Data of a surrogate or a PDE. Fields are the data: there are none between them and y."""

        y, yMap, yDeriv = props.Invertible("Parameters of the surrogate")

        def __init__(self, surrogate: Model, yMap: Any, **options: Any) -> None:
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
