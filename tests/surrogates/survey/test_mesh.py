"""Meshes for surveys, by gmsh; they pass the checks of meshes, and electrodes are nodes."""

import itertools
import json
import signal
import sys

import numpy as np
import pytest
from commands import refused, run
from scipy.spatial import cKDTree
from written import LINE, line_survey, written

from surrogates.survey import Survey, made
from surrogates.survey.mesh import MeshSettings, write_mesh
from surrogates.survey.terrain import Terrain

PAIRS = list(itertools.combinations(range(4), 2))
WENNER = [(i, i + 3, i + 1, i + 2) for i in range(18)]


@pytest.fixture
def gmsh():
    try:
        import gmsh
    except (ImportError, OSError) as error:
        pytest.skip(f"gmsh is not installed (pip install gmsh): {error}")
    return gmsh


def hill(n: int = 6) -> Survey:
    """Electrodes on a hill, one borehole, and points of the surface around them."""
    plane = np.stack(np.meshgrid(np.arange(n), np.arange(n)), axis=-1).reshape(-1, 2) * 2.0
    height = 100 + 2 * np.exp(-((plane - 5) ** 2).sum(axis=1) / 9)
    hole = np.array([[5.0, 4.9, 101.5 - k] for k in range(4)])
    around = np.array([[-20.0, -20, 99], [30, -20, 99], [-20, 30, 98], [30, 30, 98]])
    electrodes = np.concatenate([np.column_stack([plane, height]), hole])
    return Survey(electrodes=electrodes, data=np.array([[0, 1, 2, 3]]), topography=around)


def read(path):
    meshes = pytest.importorskip("surrogates.pde.meshes", reason="DOLFINx is not installed")
    return meshes.read(path, curved=True)


def distance(mesh, places) -> float:
    return float(cKDTree(mesh.points).query(places)[0].max())


def edges_at(mesh, places) -> np.ndarray:
    """The mean length of the edges at nodes."""
    found = []
    for node in cKDTree(mesh.points).query(places)[1]:
        others = np.setdiff1d(mesh.vertices[(mesh.vertices == node).any(axis=1)], [node])
        found.append(np.linalg.norm(mesh.points[others] - mesh.points[node], axis=1).mean())
    return np.array(found)


@pytest.mark.fenicsx
@pytest.mark.parametrize("kind", ["flat", "line", "hill"])
def test_a_mesh_has_electrodes_as_nodes_and_passes_the_checks(gmsh, tmp_path, kind):
    survey = line_survey(range(21), WENNER) if kind != "hill" else hill()
    if kind == "line":
        at = survey.electrodes.copy()
        at[:, 2] = 0.5 * np.sin(at[:, 0])
        survey = Survey(electrodes=at, data=survey.data)
    made = write_mesh(survey, tmp_path / "m.msh")
    mesh = read(tmp_path / "m.msh")
    assert mesh.mended == () and len(mesh.points) == made.nodes > 500
    assert mesh.groups.keys() == {"ground"} and len(mesh.groups["ground"]) == made.cells
    assert made.least > 0.08
    assert distance(mesh, survey.electrodes) < 1e-9
    top = np.unique(mesh.top)
    on_top = cKDTree(mesh.points[top]).query(survey.electrodes)[0] < 1e-9
    assert np.array_equal(on_top, ~survey.ground().buried)
    extent = np.ptp(survey.electrodes, axis=0).max()
    low, high = mesh.points.min(axis=0), mesh.points.max(axis=0)
    assert low[:2] == pytest.approx(survey.electrodes[:, :2].min(axis=0) - 4 * extent)
    assert high[:2] == pytest.approx(survey.electrodes[:, :2].max(axis=0) + 4 * extent)
    assert low[2] < survey.electrodes[:, 2].min() - 3.9 * extent
    surface = survey.electrodes[~survey.ground().buried]
    terrain = Terrain(np.concatenate([surface, survey.topography]))
    assert mesh.points[top][:, 2] == pytest.approx(terrain(mesh.points[top]), abs=1e-9)


@pytest.mark.fenicsx
def test_edges_at_electrodes_are_a_part_of_their_distance_and_shrink_with_the_factor(
    gmsh, tmp_path
):
    survey, counts = hill(), []
    apart = cKDTree(survey.electrodes).query(survey.electrodes, k=2)[0][:, 1]
    for refine in (1.0, 1.5):
        made = write_mesh(survey, tmp_path / "m.msh", MeshSettings(refine=refine))
        mesh = read(tmp_path / "m.msh")
        edges = edges_at(mesh, survey.electrodes) / apart
        # They grow on their way from 1 / 4 of the distance.
        assert np.median(edges) == pytest.approx(1.2 / 4 / refine, rel=0.2)
        assert edges.max() < 1.8 / 4 / refine
        counts.append(made.nodes)
    assert 2.2 < counts[1] / counts[0] < 4.5  # 1.5 cubed is 3.4


@pytest.mark.fenicsx
def test_edges_in_a_fine_box_are_short(gmsh, tmp_path):
    """The box below the hill is 1 to 4 m below 100 m; a wider one around it has longer edges."""
    fine = (3.0, 7.0, 3.0, 7.0, 96.0, 99.0)
    made = write_mesh(hill(), tmp_path / "m.msh", MeshSettings(fine=(*fine, 0.6)))
    mesh = read(tmp_path / "m.msh")
    x = mesh.points[mesh.vertices]
    edges = np.mean([np.linalg.norm(x[:, i] - x[:, j], axis=1) for i, j in PAIRS], axis=0)
    low, high = np.array(fine[::2]), np.array(fine[1::2])
    inside = ((x.mean(axis=1) > low) & (x.mean(axis=1) < high)).all(axis=1)
    volumes = np.abs(np.linalg.det(x[:, 1:] - x[:, :1])) / 6
    assert volumes[inside].sum() == pytest.approx(48, rel=0.1)
    assert np.average(edges[inside], weights=volumes[inside]) < 0.75
    plain = write_mesh(hill(), tmp_path / "n.msh")
    assert plain.nodes < made.nodes < 3 * plain.nodes


def test_signal_handlers_stay_as_they_are(gmsh, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    write_mesh(made("wenner", 4), tmp_path / "line.msh")
    assert signal.getsignal(signal.SIGINT) is before


def test_the_command_writes_a_mesh_and_says_its_size(gmsh, tmp_path, capsys):
    path, out = written(tmp_path, LINE), tmp_path / "m.msh"
    run("survey", path, "--mesh", out, "--mesh-cells", 2)
    text = capsys.readouterr().out
    assert f"m.msh: {(n := count(out))} nodes, " in text
    run("survey", path, "--mesh", out, "--mesh-cells", 2, "--mesh-refine", 2, "--json")
    assert json.loads(capsys.readouterr().out)["mesh"]["nodes"] == count(out) > 3 * n


def count(path) -> int:
    import meshio

    return len(meshio.read(path).points)


def test_wrong_settings_and_files_are_refused(gmsh, tmp_path, capsys):
    path = written(tmp_path, LINE)
    line = refused(capsys, "survey", path, "--mesh", tmp_path / "m.msh", "--mesh-cells", 0)
    assert "cells of a mesh must be 0.5 to 100; got 0" in line
    fine = ("--mesh-fine", 0, 1, 0, 1, -1, -2, 0.1)
    line = refused(capsys, "survey", path, "--mesh", tmp_path / "m.msh", *fine)
    assert "three increasing pairs of bounds and a positive length; got [0.0, 1.0" in line
    line = refused(capsys, "survey", path, "--mesh", tmp_path / "m.abc")
    assert "gmsh could not make the mesh: Unknown output file" in line
    assert not (tmp_path / "m.abc").exists()
    line = refused(capsys, "survey", path, "--mesh", tmp_path / "no" / "m.msh")
    assert str(tmp_path / "no") in line


def test_without_gmsh_one_line_says_how_to_get_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gmsh", None)
    line = refused(capsys, "survey", written(tmp_path, LINE), "--mesh", tmp_path / "m.msh")
    assert "needs gmsh (pip install 'varpro-surrogates[meshing]'" in line and "libGLU" in line
