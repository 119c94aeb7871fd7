"""Meshes from files: tetrahedra, hexahedra, and what is refused."""

import itertools
from pathlib import Path

import meshio
import numpy as np
import pytest
from surveys import SMALL, grid, make, settings, solve

from surrogates.errors import InputError
from surrogates.pde import meshes
from surrogates.pde.dcr import problem as dcr

pytestmark = pytest.mark.fenicsx


def tetrahedra(cells: meshes.Cells) -> np.ndarray:
    """Divide hexahedra into six tetrahedra each, around a diagonal."""
    paths = [(0, 1 << a, (1 << a) | (1 << b), 7) for a, b in itertools.permutations(range(3), 2)]
    return np.concatenate([cells.vertices[:, list(path)] for path in paths])


def tetrahedral(path: Path) -> meshes.Cells:
    """Write a mesh of tetrahedra, graded around the bodies."""
    case = settings()
    mesh = meshes.graded(case.core, case.domain.size, (18, 18, 22), 3, 8).cells()
    cells = tetrahedra(mesh)
    meshio.write(path, meshio.Mesh(mesh.points, [("tetra", cells)]))
    return meshes.Cells("tetrahedron", mesh.points, cells)


@pytest.mark.parametrize("ending", ["vtu", "msh", "xdmf"])
def test_tetrahedra_are_read_from_files_of_any_format(tmp_path, ending):
    expected = tetrahedral(tmp_path / f"tetrahedra.{ending}")
    found = meshes.read(tmp_path / f"tetrahedra.{ending}")
    assert found.kind == expected.kind
    assert np.array_equal(found.points, expected.points)
    ours, theirs = (np.sort(cells.vertices, axis=1) for cells in (found, expected))
    assert np.array_equal(ours, theirs)


@pytest.mark.thorough
def test_tetrahedra_from_a_file_agree_with_hexahedra(tmp_path):
    path = tmp_path / "tetrahedra.msh"
    tetrahedral(path)
    problem = make(f'mesh.file="{path}"')
    assert "tetrahedra" in problem.mesh
    ys = [(22.0, 3500.0, 0.3), (30.0, 2000.0, -1.0)]
    anomaly = solve(problem, *ys) - problem._levels[0].c0
    reference = make()
    expected = solve(reference, *ys) - reference._levels[0].c0
    error = np.linalg.norm(anomaly - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert error.max() < 0.12


def test_hexahedra_from_a_file_are_the_built_in_mesh(tmp_path):
    case = settings(*SMALL, "mesh.extrapolate=false")
    (mesh,) = dcr._built_in(case)
    cells = mesh.cells()
    path = tmp_path / "hexahedra.vtk"
    block = ("hexahedron", cells.vertices[:, meshes.VTK["hexahedron"]])
    meshio.write(path, meshio.Mesh(cells.points, [block]))
    y = (25.0, 3000.0, 0.5)
    expected = solve(make(*SMALL, "mesh.extrapolate=false"), y)
    assert np.allclose(solve(make(f'mesh.file="{path}"'), y), expected, rtol=1e-5)


def test_bad_mesh_files_are_refused_with_what_is_wrong(tmp_path):
    def refused(words: str, name: str) -> None:
        with pytest.raises(InputError, match=words):
            dcr.DCR.check(settings(f'mesh.file="{tmp_path / name}"'))

    refused("there is no mesh file", "absent.vtu")
    (tmp_path / "words.vtu").write_text("not a mesh")
    refused("is not a mesh that meshio reads", "words.vtu")
    (tmp_path / "mesh.abc").write_text("not a mesh")
    refused("is not a mesh that meshio reads", "mesh.abc")
    flat = meshio.Mesh(np.eye(3), [("triangle", np.array([[0, 1, 2]]))])
    meshio.write(tmp_path / "flat.vtu", flat)
    refused("must have volume cells of one kind.*its cells are: triangle", "flat.vtu")

    def write(name: str, *axes: np.ndarray) -> None:
        cells = grid(*axes)
        block = ("hexahedron", cells.vertices[:, meshes.VTK["hexahedron"]])
        meshio.write(tmp_path / name, meshio.Mesh(cells.points, [block]))

    wide = np.linspace(-500, 500, 11)
    write("coarse.vtu", wide, wide, np.linspace(-500, 0, 6))
    refused("too coarse for the body: the edges of the 4 cells there are 100 m", "coarse.vtu")
    write("deep.vtu", wide, wide, np.linspace(-500, -10, 6))
    refused("top at x3 = 0.*its points go from x3 = -500 to -10 m", "deep.vtu")
    write("small.vtu", wide / 10, wide / 10, np.linspace(-500, 0, 6))
    refused("an electrode is outside the mesh", "small.vtu")
