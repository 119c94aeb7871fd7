"""All differences between DOLFINx 0.5, 0.9 and 0.11 that matter here, and nothing else."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import basix
import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem, geometry, mesh

T = TypeVar("T")


def function_space(domain: Any, degree: int, shape: tuple[int, ...] = ()) -> Any:
    """Make a space of Lagrange elements on a mesh; functions of degree 0 are constant in cells.

    Args:
        domain: The mesh.
        degree: Degree of the polynomials.
        shape: ``()`` for scalars, ``(k,)`` for vectors of k components.
    """
    family = "Lagrange" if degree else "DG"
    if hasattr(fem, "functionspace"):
        element = (family, degree, shape) if shape else (family, degree)
        return _compiling(lambda: fem.functionspace(domain, element))
    if shape:  # up to 0.6
        return _compiling(lambda: fem.VectorFunctionSpace(domain, (family, degree), dim=shape[0]))
    return _compiling(lambda: fem.FunctionSpace(domain, (family, degree)))


def mixed_space(domain: Any, *parts: tuple[int, tuple[int, ...]]) -> Any:
    """Make a space of several Lagrange functions, such as velocity and pressure.

    Args:
        domain: The mesh.
        parts: Degree and shape of each, as `function_space` takes them: ``(2, (2,)), (1, ())``.
    """
    try:
        import basix.ufl

        made = [basix.ufl.element("Lagrange", cell_name(domain), k, shape=n) for k, n in parts]
        element = basix.ufl.mixed_element(made)
    except ImportError:  # up to 0.6
        cell = domain.ufl_cell()
        element = ufl.MixedElement(
            [
                ufl.VectorElement("Lagrange", cell, k, dim=n[0])
                if n
                else ufl.FiniteElement("Lagrange", cell, k)
                for k, n in parts
            ]
        )
    make = getattr(fem, "functionspace", None) or fem.FunctionSpace  # the latter up to 0.6
    return _compiling(lambda: make(domain, element))


def collapsed(V: Any, i: int) -> tuple[Any, npt.NDArray[np.int64]]:
    """Return a subspace as a space of its own, and the coefficients in V of its coefficients."""
    W, inside = V.sub(i).collapse()
    return W, np.asarray(inside, dtype=np.int64).ravel()  # since 0.10 a list for each kind of cell


def form(expression: Any) -> Any:
    """Compile a form, or find it in the cache."""
    return _compiling(lambda: fem.form(expression))


def interpolation(expression: Any, V: Any) -> Callable[[Any], None]:
    """Compile a UFL expression; return what interpolates it in a function of a space."""
    points = V.element.interpolation_points
    points = points() if callable(points) else points  # a method up to 0.9
    made = _compiling(lambda: fem.Expression(expression, points))
    return lambda g: g.interpolate(made)


@contextmanager
def quiet() -> Iterator[None]:
    """Let UFL raise its errors without logging them too."""
    loggers = [logging.getLogger(name) for name in ("UFL", "ufl")]  # the former up to 2023.1
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


def _compiling(action: Callable[[], T]) -> T:
    """Run an action that compiles; if a killed process blocks the cache, clear it and try again.

    FFCx takes a source file without its library for another process's compilation: it waits for ten
    seconds and gives up, every time.
    """
    while True:
        try:
            return action()
        except (TimeoutError, RuntimeError) as error:  # the latter if the mesh is divided
            stale = re.search(r"remove (\S.*\.c)\)", str(error))
            if stale is None:
                raise
            Path(stale[1]).unlink(missing_ok=True)


def locate(domain: Any, points: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """Find for each point a cell of this process that holds it.

    Args:
        domain: A mesh of any dimension.
        points: Coordinates, (n, 3).

    Returns:
        Local cell indices, (n,) int32; -1 if the point is in no cell of this process.
    """
    dim = domain.topology.dim
    if hasattr(geometry, "bb_tree"):
        candidates = geometry.compute_collisions_points(geometry.bb_tree(domain, dim), points)
    else:  # up to 0.7
        candidates = geometry.compute_collisions(geometry.BoundingBoxTree(domain, dim), points)
    hits = geometry.compute_colliding_cells(domain, candidates, points)
    found = [hits.links(i) for i in range(len(points))]
    return np.array([cells[0] if len(cells) else -1 for cells in found], dtype=np.int32)


def create_mesh(
    comm: Any, kind: str, points: npt.NDArray[np.float64], cells: npt.NDArray[np.int64]
) -> Any:
    """Make a mesh of straight cells of one kind in space; each process passes a part of it."""
    try:
        import basix.ufl

        domain = ufl.Mesh(basix.ufl.element("Lagrange", kind, 1, shape=(3,)))
    except ImportError:  # up to 0.6
        cell = ufl.Cell(kind, geometric_dimension=3)
        domain = ufl.Mesh(ufl.VectorElement("Lagrange", cell, 1))
    # By name: 0.10 changed the order, and 0.7 the name.
    name = "e" if "e" in inspect.signature(mesh.create_mesh).parameters else "domain"
    return mesh.create_mesh(comm, cells=cells, x=points, **{name: domain})


def geometry_nodes(domain: Any) -> npt.NDArray[np.int64]:
    """Return the nodes of each cell of this process, (n_cells, k)."""
    nodes = _first(domain.geometry, "dofmap")
    if isinstance(nodes, np.ndarray):
        return nodes.astype(np.int64)
    return np.array(nodes.array, dtype=np.int64).reshape(nodes.num_nodes, -1)  # up to 0.6


def _first(geometry: Any, name: str) -> Any:
    """Return a map of a mesh's geometry, which newer versions have in a list: one for each kind."""
    several = getattr(geometry, f"{name}s", None)
    return getattr(geometry, name) if several is None or callable(several) else several[0]


def shape_functions(domain: Any, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Evaluate the shape functions of a mesh's nodes at points of the reference cell, (n, k)."""
    cmap = _first(domain.geometry, "cmap")
    k = geometry_nodes(domain).shape[1]
    unit = np.zeros((k, k, domain.geometry.dim))
    unit[np.arange(k), np.arange(k), 0] = 1
    return np.stack([cmap.push_forward(points, x)[:, 0] for x in unit], axis=1)


def cell_name(domain: Any) -> str:
    """Return UFL's name of a mesh's cells, such as ``triangle``."""
    name = domain.ufl_cell().cellname  # a method up to 0.10
    return str(name() if callable(name) else name)


def reference(name: str) -> tuple[list[list[int]], npt.NDArray[np.float64]]:
    """Return the corners of each face of a reference cell, and the places of its corners."""
    kind = getattr(basix.CellType, name)
    return basix.topology(kind)[2], np.asarray(basix.geometry(kind))


def lagrange(name: str, degree: int, at: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Evaluate Lagrange functions of degree 1 or 2 at points of the reference cell, (n, k)."""
    family, variant = basix.ElementFamily.P, basix.LagrangeVariant.gll_warped
    made = basix.create_element(family, getattr(basix.CellType, name), degree, variant)
    return np.asarray(made.tabulate(0, at))[0, :, :, 0]
