"""Check a file's mesh against the settings of DC resistivity: its extent, and its cells' sizes.

**Secondary potential.** The anomaly, the body's contribution to c, has the error of u in the body
(see `potential`): the cells there matter, but not the cells at electrodes and stations, as nothing
singular is on the mesh. The error was measured against the built-in mesh, for graded and jittered
hexahedra and tetrahedra, ellipsoids and cuboids. With the longest edge h of the cells that a body
meets, the harmonic mean t of its three thicknesses (a shift of its surface changes its volume by a
part of 6 / t), the width b of its edge and the contrast q of the conductivities, it is at most
about

    h^2 / (t max(b, 0.4 h)) 1.25 max(3, q^(1/3)) / 7

and on tetrahedra of poor shape larger by a factor (`cell_shapes.poorness`). For a resistive body it
is half of that on fine cells, and all of it if cells are as long as its edge is wide. Around the
body, its field falls like a dipole's, and cells that grow fast do not resolve it. The error there
is at most about

    D / (1 + D),   D = int |grad(d - I d)|^2 / int |grad d|^2

for d = x_i / (1 + s^2)^(3/2), a dipole's field without its singularity, with s = 1 on the body's
surface, I the interpolation on the mesh, and the upper integral over the cells that the body does
not meet. `RESOLVED` is the largest accepted sum of both errors. The correction for the far sides
needs cells there that are not much larger than their distance from the electrodes.

**Total potential.** Electrodes and stations are on the mesh too, and the cells there matter: see
`_check_electrodes`. The errors of the body's field in the body and at stations are independent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surrogates.config import check
from surrogates.errors import InputError
from surrogates.types import Array

from ..cell_shapes import SLIVER, chunks, edges, elements, poorness
from ..mesh_checks import place
from ..meshes import FileMesh
from .survey import DCRConfig

RESOLVED = 0.4
"""Largest accepted bound of the anomaly's error, in the Euclidean norm.

The note states the bound, so that users can decide."""
NEAR = 0.3
"""Largest accepted error of c, or of the anomaly, from the cells at a station."""
SIDES = 0.05
"""Largest accepted error of c without the body, from the cells at the far sides."""
FAR = 8.0
"""Distance, in largest semi-axes of a body, beyond which a 500th of a dipole's energy is left."""
DEPTHS = 5
"""Bodies for the estimate, of the smallest and of the largest volume."""


def notes(config: DCRConfig, mesh: FileMesh) -> tuple[str, ...]:
    """Check a mesh against the settings, and return notes for the users of the samples.

    Raises:
        InputError: If the mesh does not hold all bodies, electrodes and stations, or its cells are
            too large.
    """
    name = f"the mesh {mesh.path}"
    _check_holds(config, mesh, name)
    sides = _check_sides(config, mesh, name)
    error, more = anomaly_error(config, mesh), ""
    if config.solver.formulation == "total":
        worst, seen = _check_electrodes(config, mesh, name)
        error = float(np.hypot(error, seen))
        more = f"; c itself of up to {100 * worst:.2g} % near electrodes"
    said = f"what the body adds to c has an error of up to {100 * error:.2g} %, by the cells there"
    without = f"; c without the body of up to {100 * sides:.2g} %, by those at the sides"
    return (*mesh.notes, f"{name}: {said}{without}{more}")


def anomaly_error(config: DCRConfig, mesh: FileMesh) -> float:
    """Estimate the anomaly's relative error from the cells near the body.

    The cells that a body can meet are weighted by volume; the estimate is the worst of some depths
    and volumes.

    Raises:
        InputError: If it is above `RESOLVED`.
    """
    low, high = mesh.bounds
    contrast = config.conductivity.body / config.conductivity.background
    factor = 1.25 * max(3.0, contrast ** (1 / 3)) / 7
    b = config.body.blend
    centre = np.array(config.body.centre)
    distance = np.linalg.norm(np.clip(centre, low[:, :2], high[:, :2]) - centre, axis=1)
    longest, size = edges(mesh.points, mesh.vertices)[1], (high - low).prod(axis=1)
    poor = poorness(mesh.kind, mesh.points, mesh.vertices)
    worst, fault, around = 0.0, "", []
    for volume in config.sampling.volume:
        plane, upwards = config.body.reach(volume)
        axes = config.body.semi_axes(volume)
        t = 6 / float((1 / axes).sum())
        for depth in np.linspace(*config.sampling.depth, DEPTHS):
            met = distance < plane
            met &= (low[:, 2] < upwards - depth) & (high[:, 2] > -upwards - depth)
            h = float(np.sqrt(np.average(longest[met] ** 2, weights=size[met])))
            shape = float(np.average(poor[met], weights=size[met]))
            error = shape * factor * h**2 / (t * max(b, 0.4 * h))
            if depth in config.sampling.depth:
                around.append(_Around(np.array([*centre, -depth]), axes, met, error))
            if error > worst:
                # The edge for half of `RESOLVED`: one of the two terms of the bound's max holds.
                half = RESOLVED / 2 / factor / shape * t
                right = max(np.sqrt(half * b), 0.4 * half)
                first = int(np.argmax(longest * met))
                where = place(mesh.points[mesh.vertices[first]].mean(axis=0))
                worst, fault = (
                    error,
                    f"is too coarse for the body: the edges of the {met.sum()} cells there are "
                    f"{h:.3g} m, up to {longest[first]:.3g} m around {where} m, and at a volume of "
                    f"{volume:g} m^3 the body is {2 * axes.min():.3g} m thick; edges of "
                    f"{right:.2g} m would do" + (", or better shapes" if shape > 1.2 else ""),
                )
    check(worst <= RESOLVED, f"the mesh {mesh.path} {fault}")
    if contrast < 1:
        _check_slivers(mesh, np.any([body.met for body in around], axis=0) & (poor >= SLIVER))
    return max(worst, _around_error(mesh, around, longest))


@dataclass(frozen=True)
class _Around:
    """A body whose field the cells around it must resolve.

    Attributes:
        centre: Its centre [m], (3,).
        axes: Semi-axes [m], (3,).
        met: Whether it can meet each cell.
        error: Error from the cells that it can meet.
    """

    centre: Array
    axes: Array
    met: npt.NDArray[np.bool_]
    error: float

    def field(self, x: Array) -> Array:
        """Return the fields d_i of three dipoles at points, (..., 3)."""
        r = x - self.centre
        return np.asarray(r * ((1 + ((r / self.axes) ** 2).sum(axis=-1)) ** -1.5)[..., None])

    def gradients(self, x: Array) -> Array:
        """Return the gradients of the three fields, (..., 3 fields, 3)."""
        r = x - self.centre
        s = 1 + ((r / self.axes) ** 2).sum(axis=-1)[..., None, None]
        outer = r[..., :, None] * (r / self.axes**2)[..., None, :]
        return np.asarray(s**-1.5 * np.eye(3) - 3 * s**-2.5 * outer)

    @property
    def energies(self) -> Array:
        """The fields' integrals of |grad d_i|^2 over all of space, (3,)."""
        squares = self.axes**2
        others = squares * (1 / squares).sum() - 1
        return np.asarray(3 * np.pi**2 / 64 * self.axes.prod() * (3 + others))


def _check_slivers(mesh: FileMesh, slivers: npt.NDArray[np.bool_]) -> None:
    """Refuse nearly flat tetrahedra where a resistive body can be.

    No edge length bounds the error there: with 0.7 % of such cells in Delaunay meshes of random
    points, the anomaly was off by up to 86 %, and right without them.
    """
    if slivers.any():
        where = place(mesh.points[mesh.vertices[int(np.argmax(slivers))]].mean(axis=0))
        raise InputError(
            f"the mesh {mesh.path} has {slivers.sum()} nearly flat tetrahedra where a body that "
            f"resists can be, the first around {where} m: there c would be wrong; let the mesh "
            "generator optimise them (a mean ratio of 0.19 would do)"
        )


def _around_error(mesh: FileMesh, bodies: list[_Around], longest: Array) -> float:
    """Estimate the error from all cells near bodies, the largest of some bodies.

    Args:
        mesh: The mesh.
        bodies: Bodies of the least and the largest depth and volume.
        longest: Longest edge of each cell, (n_cells,).

    Raises:
        InputError: If it is above `RESOLVED`.
    """
    worst = 0.0
    for body in bodies:
        parts = _missed(mesh, body) / body.energies
        D = parts.sum(axis=0)
        error = body.error + float((D / (1 + D)).max())
        worst = max(worst, error)
        if error <= RESOLVED:
            continue
        part = parts[:, np.argmax(D)]
        order = np.argsort(-part)
        n, first = int(np.searchsorted(part[order].cumsum(), D.max() / 2)) + 1, order[0]
        at = mesh.points[mesh.vertices[first]]
        distance = float(np.linalg.norm(at - body.centre, axis=1).min())
        raise InputError(
            f"the mesh {mesh.path} is too coarse around the body, whose field falls over "
            f"{body.axes.min():.3g} m: most of the error comes from {n} cells, the worst around "
            f"{place(at.mean(axis=0))} m with edges of up to {longest[first]:.3g} m, "
            f"{distance:.3g} m from the body's centre; let cells grow more slowly from there"
        )
    return worst


def _missed(mesh: FileMesh, body: _Around) -> Array:
    """Integrate |grad(d - I d)|^2 over each cell that a body does not meet, (n_cells, 3)."""
    shape, slopes, weight = elements(mesh.kind)
    n = shape.shape[1]
    d = body.field(mesh.points)
    near = np.linalg.norm(mesh.points - body.centre, axis=1) < FAR * body.axes.max()
    cells = np.flatnonzero(near[mesh.vertices].any(axis=1) & ~body.met)
    missed = np.zeros((len(mesh.vertices), 3))
    for part in chunks(len(cells)):
        vertices = mesh.vertices[cells[part]]
        corners = mesh.points[vertices]
        J = (slopes.reshape(-1, n) @ corners).reshape(len(vertices), -1, 3, 3)
        a, b, c = (J[..., k, :] for k in range(3))
        across = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=-2)
        det = (across[..., 0, :] * a).sum(axis=-1)
        dual = across / det[..., None, None]
        along = (slopes.reshape(-1, n) @ d[vertices]).reshape(len(vertices), -1, 3, 3)
        off = along.swapaxes(-1, -2) @ dual - body.gradients(shape @ corners)
        missed[cells[part]] = ((off**2).sum(axis=-1) * (weight * det)[..., None]).sum(axis=1)
    return missed


def _check_holds(config: DCRConfig, mesh: FileMesh, name: str) -> None:
    """Check that the convex mesh holds the bodies, electrodes and stations of the settings."""
    bounds = mesh.points.min(axis=0), mesh.points.max(axis=0)
    config.check_box(*bounds, f"{name} (lengths are in m)")
    turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    plane, (top, bottom) = config.body.reach(config.sampling.volume[1])[0], config.core[2:]
    rim = np.array(config.body.centre) + plane * np.column_stack([np.cos(turn), np.sin(turn)])
    body = np.concatenate([np.column_stack([rim, np.full(64, -z)]) for z in (top, bottom)])
    receivers = np.concatenate(config.stations.ends)
    for what, places in (
        ("an electrode is", np.array(config.source.electrodes)),
        ("a station is", receivers),
        ("the body can be", body),
    ):
        inside = places @ mesh.hull[:, :3].T + mesh.hull[:, 3]
        outside = np.flatnonzero((inside > 1e-6).any(axis=1))
        check(
            not len(outside),
            f"{what} outside {name}: {place(places[outside[:1]].ravel())} m (lengths are in m)",
        )


def _check_sides(config: DCRConfig, mesh: FileMesh, name: str) -> float:
    """Estimate the relative error of c without the body from the cells at the far sides.

    There, the flux of an electrode at a distance D is cancelled. With electrodes and stations over
    2 L, and cells of a size H, the error of c without the body was at most 1.5 % of
    (H / D)^2 (L / D)^1.5.

    Raises:
        InputError: If it is above `SIDES`.
    """
    corners = mesh.points[mesh.sides]
    size = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    receivers = np.concatenate(config.stations.ends)
    places = np.concatenate([receivers, config.source.electrodes])
    low, high = places.min(axis=0), places.max(axis=0)
    nearest = np.clip(corners, low, high)  # in the rectangle of electrodes and stations
    distance = np.linalg.norm(corners - nearest, axis=2).min(axis=1)
    half = float(np.linalg.norm(high - low)) / 2
    error = 0.015 * (size / distance) ** 2 * (half / distance) ** 1.5
    worst = int(np.argmax(error))
    check(
        bool(error[worst] <= SIDES),
        f"{name} is too coarse at its sides: {int((error > SIDES).sum())} faces are too large for "
        f"their distance from electrodes and stations; the worst has {size[worst]:.3g} m at "
        f"{distance[worst]:.3g} m, around {place(corners[worst].mean(axis=0))} m",
    )
    return float(error[worst])


def _check_electrodes(config: DCRConfig, mesh: FileMesh, name: str) -> tuple[float, float]:
    """Estimate the errors of c at a station, with electrodes and stations on the mesh.

    With cells of a size H at an electrode or a station, and a distance R between these, the error
    was at most 0.7 (H / R)^2 of the field there if that is small. In a station's cells, u is
    linear: a dipole of a length L observes a field that falls over R with an error of up to
    H / (2 R), and of H^2 / (2 R L) if it is longer than the cells. The body's field falls over the
    distance from the body.

    Returns:
        The relative errors of c, and of the anomaly, each at the worst station.

    Raises:
        InputError: If one is above `NEAR`.
    """
    low, high = mesh.bounds
    top = np.flatnonzero(high[:, 2] >= 0)
    longest = edges(mesh.points, mesh.vertices[top])[1]

    def size(x: Array) -> float:
        around = (low[top, :2] <= x[:2] + 1e-6) & (high[top, :2] >= x[:2] - 1e-6)
        return float(longest[around.all(axis=1)].max())

    electrodes = np.array(config.source.electrodes)
    receivers = np.unique(np.concatenate(config.stations.ends).round(6), axis=0)
    distance = np.linalg.norm(receivers[:, None] - electrodes, axis=2)
    at = np.array([size(x) for x in receivers])
    sizes = np.maximum(at[:, None], [size(x) for x in electrodes])
    slope = at / 2 * np.minimum(1, at / config.stations.dipole)
    error = np.maximum(0.7 * (sizes / distance) ** 2, slope[:, None] / distance).max(axis=1)
    worst = int(np.argmax(error))
    check(
        bool(error[worst] <= NEAR),
        f"{name} is too coarse for the total potential at {(error > NEAR).sum()} of the "
        f"stations' electrodes: the cells at {place(receivers[worst])} m or at the source are up "
        f"to {sizes[worst].max():.3g} m, and the source is {distance[worst].min():.3g} m away; "
        "take half of such a distance, or the secondary potential",
    )
    body = np.array([*config.body.centre, -config.sampling.depth[0]])
    away = np.linalg.norm(receivers - body, axis=1)
    seen = slope / away
    blind = int(np.argmax(seen))
    check(
        bool(seen[blind] <= NEAR),
        f"{name} is too coarse for the total potential of the body at {(seen > NEAR).sum()} of "
        f"the stations' electrodes: the cells at {place(receivers[blind])} m are up to "
        f"{at[blind]:.3g} m, and the body can be {away[blind]:.3g} m away; take half of that, or "
        "the secondary potential",
    )
    return float(error[worst]), float(seen[blind])
