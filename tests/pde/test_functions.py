"""Problems that leave DOLFINx functions in ``self.solution`` draw themselves and go to ParaView."""

from __future__ import annotations

import os
import subprocess
import sys

import meshio
import numpy as np
import pytest
from dolfinx import fem, mesh
from mpi4py import MPI
from places import EXAMPLES

from surrogates import cli
from surrogates.errors import InputError
from surrogates.pde import Problem, Settings, fields, functions
from surrogates.pde.fenicsx import function_space

pytestmark = pytest.mark.fenicsx

EXAMPLE = EXAMPLES / "darcy.py"
KINDS = {
    "line": (mesh.CellType.interval, 1.0),
    "triangle": (mesh.CellType.triangle, 2.0),
    "quad": (mesh.CellType.quadrilateral, 2.0),
    "tetra": (mesh.CellType.tetrahedron, 6.0),
    "hexahedron": (mesh.CellType.hexahedron, 6.0),
}


def domain(kind: str, comm=MPI.COMM_SELF):
    """A mesh of [0, 1], [0, 1] x [0, 2] or [0, 1] x [0, 2] x [0, 3]."""
    cell = KINDS[kind][0]
    if kind == "line":
        return mesh.create_interval(comm, 3, [0, 1])
    if kind in ("triangle", "quad"):
        return mesh.create_rectangle(comm, [np.zeros(2), np.array([1.0, 2])], [3, 2], cell)
    return mesh.create_box(comm, [np.zeros(3), np.array([1.0, 2, 3])], [2, 2, 3], cell)


def interpolated(V, values) -> fem.Function:
    u = fem.Function(V)
    u.interpolate(values)
    return u


def volume(field: fields.Field) -> float:
    """The volume of straight cells."""
    x = field.points[field.cells]
    if field.kind == "line":
        return float(abs(x[:, 1] - x[:, 0])[:, 0].sum())
    if field.kind == "quad":  # two triangles
        halves = (np.cross(x[:, k] - x[:, 0], x[:, k + 1] - x[:, 0]) for k in (1, 2))
        return float(abs(sum(half[:, 2] for half in halves)).sum() / 2)
    if field.kind == "triangle":
        return float(abs(np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0])[:, 2]).sum() / 2)
    if field.kind == "hexahedron":  # boxes
        return float(abs((x[:, 6] - x[:, 0]).prod(axis=1)).sum())
    edges = x[:, 1:] - x[:, :1]
    return float(abs(np.linalg.det(edges)).sum() / 6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_a_function_of_any_degree_is_exact_at_the_points_of_its_field(kind, degree):
    shape = domain(kind)
    u = interpolated(function_space(shape, degree), lambda x: 1 + x[0] ** degree)
    field = functions.sampled(functions.checked(u, "P"))
    assert field.kind == kind and volume(field) == pytest.approx(KINDS[kind][1])
    values, x = field.at_points["solution"], field.points[:, 0]
    assert np.allclose(values, 2 if degree == 0 else 1 + x**degree, atol=1e-12)
    n = {"line": 3, "triangle": 12, "quad": 6, "tetra": 72, "hexahedron": 12}[kind]
    assert len(field.cells) == n * max(degree, 1) ** shape.topology.dim


def test_points_are_shared_where_no_function_jumps():
    shape = domain("triangle")
    smooth = interpolated(function_space(shape, 2), lambda x: x[1])
    jumps = interpolated(function_space(shape, 0), lambda x: x[0])
    both = functions.checked({"a": smooth, "b": jumps}, "P")
    assert len(functions.sampled({"a": smooth}).points) == 7 * 5
    field = functions.sampled(both)
    assert len(field.points) > 7 * 5
    centre = field.points[field.cells].mean(axis=1)
    at = functions.along(both, centre)
    assert np.allclose(field.at_points["a"][field.cells].mean(axis=1), at["a"][:, 0])
    assert np.allclose(field.at_points["b"][field.cells], at["b"])


def vectors(shape):
    if hasattr(fem, "functionspace"):
        return fem.functionspace(shape, ("Lagrange", 1, (shape.geometry.dim,)))
    return fem.VectorFunctionSpace(shape, ("Lagrange", 1))


@pytest.mark.parametrize("kind", ["quad", "tetra"])
def test_vectors_have_three_components_in_the_file(tmp_path, kind):
    shape = domain(kind)
    dim = shape.geometry.dim
    v = interpolated(vectors(shape), lambda x: np.stack([x[0], 2 * x[1], 3 * x[2]])[:dim])
    for ending in ("vtu", "xdmf"):
        path = tmp_path / f"a.{ending}"
        fields.write(path, functions.sampled(functions.checked({"flux": v}, "P")))
        read = meshio.read(path)
        expected = read.points * [1, 2, 3 if dim == 3 else 0]
        assert np.allclose(read.point_data["flux"], expected)


class Bump(Problem):
    y_names, y_lower, y_upper, c_names = ("a",), 0.0, 1.0, ("u(0)",)
    kind, leaves = "quad", "function"

    def __init__(self, config, comm):
        super().__init__(config, comm)
        self.V = function_space(domain(self.kind, comm), 2)

    def solve(self, y):
        u = interpolated(self.V, lambda x: y[0] + np.sin(x[0]))
        if isinstance(self.leaves, str) and self.leaves == "function":
            self.solution = u
        elif isinstance(self.leaves, str):
            V = vectors(self.V.mesh)
            v = interpolated(V, lambda x: x[: self.V.mesh.geometry.dim])
            self.solution = {"u $_1$": u, "flux": v}
        else:
            self.solution = self.leaves
        return [y[0]]


def bump(**attributes) -> Problem:
    return type("Bump", (Bump,), attributes)(Settings(), MPI.COMM_SELF)


@pytest.mark.parametrize("kind", KINDS)
def test_functions_of_any_dimension_are_drawn(tmp_path, kind):
    bump(kind=kind, leaves="dict").picture(np.array([0.5]), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_the_picture_is_of_the_sample_that_was_asked_for(tmp_path):
    problem = bump()
    low, high = (problem.field(np.array([y])).at_points["solution"] for y in (0.25, 0.75))
    assert np.allclose(high - low, 0.5)


@pytest.mark.parametrize(
    ("leaves", "message"),
    [
        (None, "Bump has no solution to draw or write: let solve set self.solution to a DOLFINx"),
        (np.ones(3), "must be a DOLFINx function or a dict of such functions by name; got ndarray"),
        ({}, "Bump: self.solution is a dict without functions"),
    ],
)
def test_without_a_function_one_line_says_what_to_do(tmp_path, leaves, message):
    problem = bump(leaves=leaves)
    for action in (lambda y: problem.picture(y, tmp_path / "a.png"), problem.field):
        with pytest.raises(InputError, match=message) as caught:
            action(np.array([0.5]))
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_functions_must_be_on_one_mesh():
    one, other = (interpolated(function_space(domain("quad"), 1), lambda x: x[0]) for _ in "ab")
    with pytest.raises(InputError, match="P: the functions of self.solution must be on one mesh"):
        functions.checked({"a": one, "b": other}, "P")


def test_the_example_draws_itself_and_goes_to_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [f"{EXAMPLE}:Darcy", "--sample", "3", "--out"]
    assert cli.main(["plot", "model", *words, "h.png"]) == 0
    assert cli.main(["solve", *words, "h.vtu"]) == 0
    assert (tmp_path / "h.png").read_bytes().startswith(b"\x89PNG")
    h = meshio.read("h.vtu")
    ends = np.isin(h.points[:, 0], (0.0, 1.0))
    assert len(h.points) == 31 * 31 and np.abs(h.point_data["solution"][ends]).max() < 1e-15
    assert h.point_data["solution"][~ends].min() > 0


SHARED = """
import sys
import numpy as np
from mpi4py import MPI
from surrogates.pde import Settings
from surrogates.pde.loading import load
Darcy = load(sys.argv[1] + ":Darcy")
y = np.linspace(-1, 1, 8)
shared = Darcy(Settings(), MPI.COMM_WORLD)
field = shared.field(y)
shared.picture(y, sys.argv[2])
if MPI.COMM_WORLD.rank == 0:
    alone = Darcy(Settings(), MPI.COMM_SELF).field(y)
    order, own = (np.lexsort(x.points.round(9).T) for x in (field, alone))
    assert np.allclose(field.points[order], alone.points[own])
    values = field.at_points["solution"][order], alone.at_points["solution"][own]
    assert np.allclose(*values, rtol=1e-6), values
    assert len(field.cells) == len(alone.cells)
else:
    assert not len(field.cells)
print("right")
"""


@pytest.mark.mpi
def test_processes_that_share_a_mesh_draw_one_picture(tmp_path):
    program = [sys.executable, "-c", SHARED, str(EXAMPLE), str(tmp_path / "h.png")]
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    done = subprocess.run(
        ["mpirun", "-n", "2", "--oversubscribe", *program],
        env={**os.environ, "OMP_NUM_THREADS": "1", **root},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["right"] * 2
    assert (tmp_path / "h.png").read_bytes().startswith(b"\x89PNG")
