"""The potential of electrodes in a half-space of horizontal layers."""

from __future__ import annotations

from dataclasses import dataclass

from surrogates.types import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Layers:
    """Horizontal layers from the surface x3 = 0 downwards; the last one is a half-space.

    Attributes:
        resistivity: Resistivities [ohm m], (n,).
        thickness: Thicknesses [m], (n - 1,).
    """

    resistivity: Array
    thickness: Array
