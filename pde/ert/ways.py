"""The ways from parameters to potentials, all with the methods of `Way`."""

from __future__ import annotations

from typing import Protocol

from mpi4py import MPI

from surrogates.types import Array

from .box import Box
from .case import Case
from .layers import pair_derivatives, pair_potentials
from .models.layered import LayeredModel


class Way(Protocol):
    """Potentials of a survey's pairs of electrodes, for parameters y.

    Attributes:
        iterations: Iterations of the last sample's solves.
        residual: Their largest relative residual.
        failure: Why one of them failed; empty if none did.
    """

    iterations: int
    residual: float
    failure: str

    def solve(self, y: Array) -> Array:
        """Return the potentials [V] of 1 A, (n_p,), on every process; collective."""

    def tangents(self, y: Array, V: Array) -> Array:
        """Return derivatives of the last solution in directions V (r, n_y), (r, n_p)."""

    def description(self) -> str:
        """Return the way and its mesh as one line."""


def way_of(case: Case, comm: MPI.Comm) -> Way:
    """Make the way that a case takes; collective."""
    if case.method == "layers":
        return Exact(case)
    if case.method == "box":
        return Box(case.electrodes, case.survey.pairs, case.model, case.config.box, comm)
    return OnMesh(case, comm)


class Exact:
    """Horizontal layers: the potentials are integrals, and no mesh is needed."""

    iterations, residual, failure = 0, 0.0, ""

    def __init__(self, case: Case) -> None:
        """Take a case."""
        self._case = case

    def solve(self, y: Array) -> Array:
        """Return the potentials, as `Way.solve`."""
        case = self._case
        return pair_potentials(case.model.layers(y), case.electrodes, case.survey.pairs)

    def tangents(self, y: Array, V: Array) -> Array:
        """Return derivatives, as `Way.tangents`."""
        case = self._case
        by_layers = pair_derivatives(case.model.layers(y), case.electrodes, case.survey.pairs)
        return case.model.layer_derivatives(y, V) @ by_layers

    def description(self) -> str:
        """Return the way as one line."""
        return "horizontal layers, exact; no mesh"


class OnMesh:
    """Any model, by a factorisation of the whole mesh."""

    def __init__(self, case: Case, comm: MPI.Comm) -> None:
        """Prepare all that does not depend on the sample; collective."""
        self._case, self._model = case, case.model
        self._direct = case.solver(comm, case.homogeneous)
        self._tags = case.tags[self._direct.cells] if case.tags is not None else None
        model, many = case.model, len(case.model.layers(case.model.y_lower).thickness) > 0
        self._layered = model if case.level and many and isinstance(model, LayeredModel) else None

    def solve(self, y: Array) -> Array:
        """Return the potentials, as `Way.solve`."""
        direct = self._direct
        K = self._model.tensor(y, direct.points, direct.weights, self._tags)
        T = direct.solve(K, self._layers(y))
        self.iterations, self.residual = direct.iterations, direct.residual
        self.failure = direct.failure
        return T

    def tangents(self, y: Array, V: Array) -> Array:
        """Return derivatives, as `Way.tangents`."""
        direct = self._direct
        dK = self._model.derivatives(y, V, direct.points, direct.weights, self._tags)
        if self._layered is None:
            return direct.tangents(dK)
        case, model = self._case, self._layered
        exact = pair_derivatives(model.layers(y), case.electrodes, case.survey.pairs)
        dT = model.layer_derivatives(y, V) @ exact
        background = model.background_derivatives(y, V, direct.points, direct.weights)
        return direct.tangents(dK, (dT, background))

    def _layers(self, y: Array) -> tuple[Array, Array] | None:
        """Return T and the tensor of the layers, where they are more than a half-space."""
        case, model, direct = self._case, self._layered, self._direct
        if model is None:
            return None
        exact = pair_potentials(model.layers(y), case.electrodes, case.survey.pairs)
        return exact, model.background(y, direct.points, direct.weights)

    def description(self) -> str:
        """Return size and hash of the mesh, and the ground that corrects it, as one line."""
        ground = "homogeneous ground" if self._layered is None else "the model's layers"
        return f"{self._direct.description()}; corrected by {ground}"
