r"""Potentials of homogeneous ground under any top, without the error of point sources.

With unit resistivity, u_i = p_i + d_i. For an electrode on the top, p_i = 1 / (Omega_i r), with the
solid angle Omega_i of the ground as seen from the electrode: 2 pi on a plane, that of the
polyhedron at a node. No current of p_i crosses the faces that meet at the electrode. For a buried
one, p_i = (1 / r + 1 / r') / (4 pi), with its image behind the nearest point of the top if that is
in the air, else without. d_i has no singularity at the electrode; it makes up for the current
that p_i sends through the other faces, and for its misfit to the condition of the far sides:

    a(d_i, v) = -int_top (dp_i/dn) v ds - int_far (dp_i/dn + (n . r / r^2) p_i) v ds =: b_i(v)

Its value at electrode j is b_i(u_j), with the potentials u_j of `direct`: no more solves. The exact
T is symmetric; the difference of T_ij and T_ji estimates the error, and their mean is taken.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.special import roots_legendre

from surrogates.types import Array

from ..fenicsx import cell_name, geometry_nodes, lagrange, reference
from .stiffness import Stiffness
from .surface import Placement

Integers = npt.NDArray[np.int64]

_POINTS = 3  # Gauss points along each direction of a face
_COLUMNS = 16  # electrodes at a time


class Primary:
    """The part p_i of all electrodes, and b_i."""

    def __init__(self, stiffness: Stiffness, placement: Placement) -> None:
        """Evaluate b_i on this process's faces.

        Args:
            stiffness: The matrices' space, and the faces of the boundary.
            placement: The electrodes.
        """
        self._stiffness = stiffness
        self._places = placement.places
        self._images = placement.images
        image = np.isfinite(self._images).all(axis=1)
        # Without an image, a place with the weight 0, and far from any electrode.
        self._images = np.where(image[:, None], self._images, 1e30)
        self._weights = np.stack([1 / placement.angles, image / (4 * np.pi)])
        made = [self._right_sides(stiffness.top, False), self._right_sides(stiffness.far, True)]
        self._dofs, self._b = _on_owners(stiffness.V, made)

    def smooth(self, U: Array) -> Array:
        """Return this process's part of b_i(u_j).

        Args:
            U: u_j at this process's own unknowns, (n_own, k).

        Returns:
            Parts whose sum over the processes is d_i at electrode j, (k, n_e).
        """
        return np.asarray(U[self._dofs].T @ self._b)

    def potential(self, at: Array) -> Array:
        """Evaluate p_i at points (n, 3): (n, n_e); infinite at the electrode itself."""
        parts = []
        for w, x in zip(self._weights, (self._places, self._images), strict=True):
            distance = np.linalg.norm(at[:, None] - x, axis=2)
            with np.errstate(divide="ignore", invalid="ignore"):  # a place without an image: 0 / 0
                parts.append(np.where(w > 0, w / distance, 0.0))
        return np.asarray(sum(parts))

    def _right_sides(self, faces: npt.NDArray[np.int32], far: bool) -> tuple[Integers, Array]:
        """Return the unknowns at some faces, and b_i there, (n, n_e)."""
        points, normals, Q, dofs = _face_points(self._stiffness.V, self._stiffness.degree, faces)
        b = np.zeros((len(dofs), len(self._places)))
        if not len(points):
            return dofs, b
        r = points - self._stiffness.centre
        fall = np.einsum("ni,ni->n", r, normals) / np.einsum("ni,ni->n", r, r) if far else 0.0
        for start in range(0, len(self._places), _COLUMNS):
            part = slice(start, start + _COLUMNS)
            flux = np.zeros((len(points), len(self._places[part])))
            for w, x in zip(self._weights[:, part], (self._places, self._images), strict=True):
                if w.any():
                    away = [points[:, i, None] - x[part, i] for i in range(3)]
                    square = sum(a * a for a in away)
                    across = sum(n[:, None] * a for n, a in zip(normals.T, away, strict=True))
                    term = across / square
                    term -= np.reshape(fall, (-1, 1))
                    flux += w * term / np.sqrt(square)
            b[:, part] = Q.T @ flux
        return dofs, b


def _on_owners(V: Any, parts: list[tuple[Integers, Array]]) -> tuple[Integers, Array]:
    """Add rows of several parts, and of all processes, at the processes that own the unknowns.

    Args:
        V: The space.
        parts: Local numbers of unknowns, and their rows, (n, n_e).

    Returns:
        Numbers of own unknowns, and their rows.
    """
    index_map, comm = V.dofmap.index_map, V.mesh.comm
    start, end = index_map.local_range
    numbers = np.concatenate([dofs for dofs, _ in parts]).astype(np.int32)
    numbers = np.asarray(index_map.local_to_global(numbers), dtype=np.int64)
    rows = np.concatenate([b for _, b in parts])
    away = (numbers < start) | (numbers >= end)
    sent = comm.allgather((numbers[away], rows[away]))
    numbers = np.concatenate([numbers[~away], *(dofs for dofs, _ in sent)])
    rows = np.concatenate([rows[~away], *(b for _, b in sent)])
    mine = (numbers >= start) & (numbers < end)
    dofs, which = np.unique(numbers[mine] - start, return_inverse=True)
    found = np.zeros((len(dofs), rows.shape[1]))
    np.add.at(found, which.ravel(), rows[mine])
    return dofs, found


def _face_points(
    V: Any, degree: int, faces: npt.NDArray[np.int32]
) -> tuple[Array, Array, Any, Integers]:
    """Return Gauss points of faces, with the weighted normals and the basis functions there.

    Returns:
        The points [m], (n, 3), outward normals times weights [m^2], (n, 3), the matrix of the
        functions' values, (n, n_dofs), and the numbers of these unknowns.
    """
    domain = V.mesh
    domain.topology.create_connectivity(3, 2)
    of_cells, of_faces = domain.topology.connectivity(3, 2), domain.topology.connectivity(2, 3)
    owners = of_faces.array[of_faces.offsets[faces]].astype(np.int64)
    own = owners < domain.topology.index_map(3).size_local
    faces, owners = faces[own], owners[own]
    around = of_cells.array.reshape(len(of_cells.offsets) - 1, -1)
    local = np.argmax(around[owners] == faces[:, None], axis=1)
    nodes, name = geometry_nodes(domain), cell_name(domain)
    places, normals, values, numbers = list[Array](), list[Array](), list[Array](), list[Integers]()
    for one, (at, slopes, weights) in enumerate(_references(name)):
        cells = owners[local == one]
        corners = domain.geometry.x[nodes[cells]]
        shape = lagrange(name, 1, at)
        s, t = (np.einsum("qv,nvi->nqi", slope, corners) for slope in slopes)
        normal = np.cross(s, t) * weights[:, None]
        x = np.einsum("qv,nvi->nqi", shape, corners)
        outwards = np.einsum("nqi,nqi->nq", normal, x - corners.mean(axis=1)[:, None]).sum(axis=1)
        places.append(x.reshape(-1, 3))
        normals.append((normal * np.sign(outwards)[:, None, None]).reshape(-1, 3))
        dofs = np.array([V.dofmap.cell_dofs(int(c)) for c in cells], dtype=np.int64)
        table = lagrange(name, degree, at)
        numbers.append(np.repeat(dofs.reshape(-1, table.shape[1]), len(at), axis=0))
        values.append(np.tile(table, (len(cells), 1)))
    value, number = np.concatenate(values), np.concatenate(numbers)
    dofs, column = np.unique(number, return_inverse=True)
    rows = np.repeat(np.arange(len(value)), value.shape[1])
    Q = csr_matrix((value.ravel(), (rows, column.ravel())), shape=(len(value), len(dofs)))
    return np.concatenate(places), np.concatenate(normals), Q, dofs


def _references(name: str) -> list[tuple[Array, tuple[Array, Array], Array]]:
    """Describe Gauss points on each face of a cell.

    Returns:
        For each face the points in the reference cell, (q, 3), the factors of the cell's corners
        in the face's two tangents, (q, n_corners) each, and the weights, (q,).
    """
    x, w = (roots_legendre(_POINTS)[0] + 1) / 2, roots_legendre(_POINTS)[1] / 2
    s, t = (a.ravel() for a in np.meshgrid(x, x, indexing="ij"))
    weights = np.outer(w, w).ravel()
    faces, corners = reference(name)
    if len(faces[0]) == 3:  # collapse the square (Duffy 1982)
        weights, t = weights * (1 - s), t * (1 - s)
        shape = np.stack([1 - s - t, s, t], axis=1)
        one = np.ones_like(s)
        along = np.stack([-one, one, 0 * s], axis=1), np.stack([-one, 0 * s, one], axis=1)
    else:
        shape = np.stack([(1 - s) * (1 - t), s * (1 - t), (1 - s) * t, s * t], axis=1)
        along = (
            np.stack([t - 1, 1 - t, -t, t], axis=1),
            np.stack([s - 1, -s, 1 - s, s], axis=1),
        )
    found = []
    for face in faces:
        whole = np.zeros((2, len(s), len(corners)))
        whole[:, :, face] = along
        found.append((shape @ corners[face], (whole[0], whole[1]), weights))
    return found
