r"""The potential of electrodes in a half-space of horizontal layers.

-div(sigma grad u) = delta(x - x_i) below the surface x3 = 0, where no current leaves, u -> 0 far
away; sigma = 1 / rho is constant in each layer. u is the potential [V] of 1 A. It is a Hankel
integral of reflections (`reflections`), which is computed to rounding (`hankel`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surrogates.errors import check
from surrogates.types import Array

from .hankel import all_integrals, integrals
from .jets import Jet
from .reflections import Kernel

Integers = npt.NDArray[np.int64]

_KERNELS = 1024
"""Kernels that are held at a time."""
_PLACES = 16384
"""Distances of a grid that are held at a time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Layers:
    """Horizontal layers from the surface x3 = 0 downwards; the last one is a half-space.

    A place on an interface belongs to the layer above it.

    Attributes:
        resistivity: Resistivities [ohm m], (n,).
        thickness: Thicknesses [m], (n - 1,).
    """

    resistivity: Array
    thickness: Array

    def __post_init__(self) -> None:
        """Check the counts and signs."""
        n = np.size(self.resistivity)
        check(
            np.ndim(self.resistivity) == 1 and n > 0 and np.shape(self.thickness) == (n - 1,),
            "layers need one thickness fewer than resistivities, and at least one resistivity; got "
            f"{n} resistivities and {np.size(self.thickness)} thicknesses",
        )
        for name, unit, values in (
            ("resistivity", "ohm m", self.resistivity),
            ("thickness", "m", self.thickness),
        ):
            wrong = np.flatnonzero(~(np.isfinite(values) & (np.asarray(values) > 0)))
            check(
                len(wrong) == 0,
                f"the {name} of layer {wrong[:1] + 1} must be a finite number > 0; got "
                f"{np.asarray(values)[wrong[:1]]} {unit}",
            )

    @property
    def depths(self) -> Array:
        """The depths of the interfaces [m], (n - 1,)."""
        return np.cumsum(self.thickness)

    def number(self, x3: Array) -> Integers:
        """Return the number of the layer from 0 at heights x3 <= 0 [m], any shape."""
        return np.searchsorted(self.depths, -np.asarray(x3), side="left").astype(np.int64)

    def averages(self, x3: Array) -> tuple[Array, Array]:
        """Return the mean conductivities of cells along x3.

        Args:
            x3: The nodes between the cells [m], (n_c + 1,), ascending or descending.

        Returns:
            Arithmetic and harmonic mean of the conductivity [S/m] of each cell, (n_c,) each: the
            conductivity along the layers and across them.
        """
        ends = -np.stack([np.maximum(x3[1:], x3[:-1]), np.minimum(x3[1:], x3[:-1])])
        tops = np.concatenate([[-np.inf], self.depths])
        bottoms = np.concatenate([self.depths, [np.inf]])
        length = np.minimum(ends[1][:, None], bottoms) - np.maximum(ends[0][:, None], tops)
        share = np.maximum(length, 0.0) / (ends[1] - ends[0])[:, None]
        return share @ (1 / self.resistivity), 1 / (share @ self.resistivity)


def pair_potentials(layers: Layers, electrodes: Array, pairs: Integers) -> Array:
    """Return the potential at one electrode of each pair of 1 A into the other one.

    Args:
        layers: The ground.
        electrodes: Places [m], x3 <= 0, (n_e, 3).
        pairs: Numbers of two electrodes at different places, (n_p, 2).

    Returns:
        Potentials T [V], (n_p,).

    Raises:
        InputError: If an electrode is above the surface, or a pair is at one place.
    """
    return _pairs(layers, electrodes, pairs, slopes=False).value


def pair_derivatives(layers: Layers, electrodes: Array, pairs: Integers) -> Array:
    """Return the derivatives of `pair_potentials` by the layers' parameters.

    The formulas are differentiated, not their results: errors are those of the potentials.

    Returns:
        The derivatives by the n resistivities [V/(ohm m)] and the n - 1 thicknesses [V/m],
        (2 n - 1, n_p). An electrode on an interface belongs to the layer above it: where the
        derivative by the thickness jumps, it is that of an interface that moves downwards.
    """
    return _pairs(layers, electrodes, pairs, slopes=True).slope


def grid_potentials(layers: Layers, electrodes: Array, axes: tuple[Array, Array, Array]) -> Array:
    """Return every electrode's potential at the nodes of a tensor grid.

    Args:
        layers: The ground.
        electrodes: Places [m], x3 <= 0, (n_e, 3).
        axes: Coordinates of the nodes along x1, x2 and x3 <= 0 [m], (n_1,), (n_2,), (n_3,).

    Returns:
        Potentials [V] of 1 A, (n_e, n_1, n_2, n_3); infinite at a node where the electrode is.

    Raises:
        InputError: If an electrode or a node is above the surface.
    """
    _check_below(electrodes[:, 2], "electrode")
    _check_below(axes[2], "level")
    shape = (len(electrodes), len(axes[0]), len(axes[1]), len(axes[2]))
    found = np.empty(shape)
    across = (electrodes[:, :1, None] - axes[0][:, None]) ** 2
    squared = across + (electrodes[:, 1:2, None] - axes[1]) ** 2
    depths, which = np.unique(-electrodes[:, 2], return_inverse=True)
    for k, depth in enumerate(depths):
        own = np.flatnonzero(which.ravel() == k)
        size = max(1, _PLACES // (shape[1] * shape[2]))
        for start in range(0, len(own), size):
            rows = own[start : start + size]
            u = _columns(layers, depth, np.sqrt(squared[rows]).ravel(), -axes[2])
            found[rows] = u.reshape(len(rows), *shape[1:])
    return found


def _check_below(x3: Array, what: str) -> None:
    """Check that places are at or below the surface."""
    wrong = np.flatnonzero(~(x3 <= 0))
    check(
        len(wrong) == 0,
        f"layers begin at the surface x3 = 0, and no {what} may be above it; "
        f"{what} {wrong[:1] + 1} is at x3 = {x3[wrong[:1]]} m",
    )


def _jets(layers: Layers, slopes: bool) -> tuple[Jet, Jet]:
    """Return resistivities (n, 1, 1) and thicknesses (n - 1, 1, 1), parameters if ``slopes``."""
    n = len(layers.resistivity)
    unit = np.eye(2 * n - 1)[:, :, None, None] if slopes else np.zeros((0, 2 * n - 1, 1, 1))
    return (
        Jet(layers.resistivity[:, None, None], unit[:, :n]),
        Jet(layers.thickness[:, None, None], unit[:, n:]),
    )


def _kernels(layers: Layers, s: Array, z: Array, slopes: bool) -> Iterator[tuple[Kernel, Integers]]:
    """Yield the kernel of each pair of layers, and which depths s <= z (n,) are in them."""
    resistivity, thickness = _jets(layers, slopes)
    n = len(layers.resistivity)
    codes = layers.number(-s) * n + layers.number(-z)
    for code in np.unique(codes):
        yield Kernel(resistivity, thickness, *divmod(int(code), n)), np.flatnonzero(codes == code)


def _pairs(layers: Layers, electrodes: Array, pairs: Integers, slopes: bool) -> Jet:
    """Return potentials of pairs, (n_p,), and their derivatives if ``slopes``."""
    _check_below(electrodes[:, 2], "electrode")
    places = electrodes[pairs]
    r = np.hypot(*(places[:, 0, :2] - places[:, 1, :2]).T)
    depths = np.sort(-places[:, :, 2], axis=1)
    same = np.flatnonzero((r == 0) & (depths[:, 0] == depths[:, 1]))
    check(
        len(same) == 0,
        f"the potential of an electrode at itself is infinite; electrodes {pairs[same[:1]] + 1} "
        "of a pair are at the same place",
    )
    (s, z), which = _unique_rows(depths)
    n_slopes = 2 * len(layers.resistivity) - 1 if slopes else 0
    found = Jet(np.empty(len(pairs)), np.empty((n_slopes, len(pairs))))
    order = np.argsort(which, kind="stable")
    ends = np.concatenate([[0], np.cumsum(np.bincount(which, minlength=len(s)))])
    for kernel, own in _kernels(layers, s, z, slopes):
        for start in range(0, len(own), _KERNELS):
            part = own[start : start + _KERNELS]
            counts = ends[part + 1] - ends[part]
            local = np.repeat(np.arange(len(part)), counts)
            rows = order[np.concatenate([np.arange(ends[k], ends[k + 1]) for k in part])]
            u = _potential(kernel, s[part, None], z[part, None], local, r[rows])
            found.value[rows], found.slope[:, rows] = u.value, u.slope
    return found


def _unique_rows(depths: Array) -> tuple[tuple[Array, Array], Integers]:
    """Return the different rows of (n, 2) as two columns, and each row's number among them."""
    unique, which = np.unique(depths, axis=0, return_inverse=True)
    return (unique[:, 0], unique[:, 1]), which.ravel()


def _potential(kernel: Kernel, s: Array, z: Array, which: Integers, r: Array) -> Jet:
    """Return potentials at distances r (n,) for the depths s, z (m, 1) with numbers ``which``."""
    found = Jet(np.zeros(len(r)), np.zeros((len(kernel.source.slope), len(r))))
    for weight, path in kernel.images(s, z):
        own = path[:, 0][which]
        found = found + weight[0] / (own * own + r**2).sqrt()
    if np.isfinite(kernel.gap):
        rest = integrals(kernel.remainder(s, z), (z - s)[:, 0] + kernel.gap, which, r)
        found = found + Jet(rest[0], rest[1:])
    return found * kernel.source[0] * (0.25 / np.pi)


def _columns(layers: Layers, depth: float, r: Array, levels: Array) -> Array:
    """Return potentials at distances r (n,) from an electrode and depths (m,), (n, m)."""
    found = np.empty((len(r), len(levels)))
    s, z = np.minimum(levels, depth), np.maximum(levels, depth)
    for kernel, own in _kernels(layers, s, z, slopes=False):
        up, down = s[own, None], z[own, None]
        u = np.zeros((len(r), len(own)))
        for weight, path in kernel.images(up, down):
            distance = np.sqrt(r[:, None] ** 2 + path.value[:, 0] ** 2)
            with np.errstate(divide="ignore", invalid="ignore"):
                u += weight.value[0, 0] / distance
        if np.isfinite(kernel.gap):
            u += all_integrals(kernel.remainder(up, down), (down - up)[:, 0] + kernel.gap, r)
        u *= kernel.source.value[0, 0] / (4 * np.pi)
        u[(r == 0)[:, None] & (up == down)[:, 0]] = np.inf
        found[:, own] = u
    return found
