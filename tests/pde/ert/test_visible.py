"""What ParaView shows of a survey: the ground, the electrodes, the data."""

import meshio
import numpy as np
import pytest
from commands import run
from grounds import box
from mpi4py import MPI

from surrogates import config
from surrogates.pde import meshes
from surrogates.pde.ert import ERT, ERTConfig

pytestmark = pytest.mark.fenicsx

LINE = ("--array", "wenner", "--electrodes", 8, "--spacing", 2)
BODY = (
    *("--set", "model.kind=body", "--set", "body.x1=[6.0, 8.0]", "--set", "body.depth=[2.5, 2.5]"),
    *("--set", "body.a1=[1.5, 1.5]", "--set", "body.a3=[1.0, 1.0]"),
)


def solved(tmp_path, capfd, *words, problem="dcr"):
    out = tmp_path / "ground.vtu"
    assert run("solve", problem, *words, "--out", out) == 0
    assert capfd.readouterr().out.split() == [
        str(tmp_path / f"ground{part}.vtu") for part in ("", ".electrodes", ".data")
    ]
    return [meshio.read(tmp_path / f"ground{part}.vtu") for part in ("", ".electrodes", ".data")]


def cells_of(mesh):
    (cells,) = mesh.cells
    values = {name: value[0] for name, value in mesh.cell_data.items()}
    return mesh.points[cells.data].mean(axis=1), values


def test_the_ground_has_resistivity_and_coverage(tmp_path, capfd):
    ground, _, data = solved(tmp_path, capfd, *LINE, *BODY, "--set", "grid.cells=1.0")
    middle, values = cells_of(ground)
    rho, coverage = values["resistivity [ohm m]"], values["coverage [1/m^3]"]
    tensor = values["conductivity tensor [S/m]"].reshape(-1, 3, 3)
    np.testing.assert_allclose(rho, 3 / np.trace(tensor, axis1=1, axis2=2), rtol=1e-9)
    background = np.median(rho)
    changed = np.abs(rho / background - 1) > 0.01
    assert 0 < changed.sum() < 0.1 * len(rho)
    assert np.abs(middle[changed] - [7, 0, -2.5]).max() < 4
    # Electrodes see the ground below them, not that far away.
    near = (np.abs(middle - [7, 0, 0]) <= [5, 2, 2]).all(axis=1)
    far = np.linalg.norm(middle - [7, 0, 0], axis=1) > 40
    assert coverage[near].min() > 1e4 * coverage[far].max() > 0
    size = np.prod([np.ptp(ground.points[ground.cells[0].data], axis=1)], axis=0).prod(axis=1)
    assert size @ coverage > 0.5 * len(data.points)  # sizes of sensitivities, of integral 1 each


def test_electrodes_and_data_are_points(tmp_path, capfd):
    _, electrodes, data = solved(
        tmp_path, capfd, *LINE, *BODY, "--set", "observable.kind=resistance"
    )
    np.testing.assert_allclose(electrodes.points, np.outer(np.arange(8), [2, 0, 0]))
    np.testing.assert_allclose(electrodes.point_data["electrode"], np.arange(1, 9))
    np.testing.assert_allclose(electrodes.point_data["buried"], 0)
    assert electrodes.cells[0].type == data.cells[0].type == "vertex"
    values = data.point_data
    a, b, m, n = (values[name] for name in "abmn")
    np.testing.assert_allclose(data.points[:, 0], (a + b - 2))  # spacing 2 m
    spacing = 2 * (b - a) / 3
    np.testing.assert_allclose(data.points[:, 2], -0.519 * spacing, rtol=2e-3)
    np.testing.assert_allclose(values["geometric factor [m]"], 2 * np.pi * spacing)
    rhoa = values["apparent resistivity [ohm m]"]
    words = [str(word) for word in (*BODY, "--set", "observable.kind=resistance")[1::2]]
    array = ["survey.array=wenner", "survey.electrodes=8", "survey.spacing=2.0"]
    settings = config.read(ERTConfig, None, [*array, *words])
    y = ERT.parameters(settings, seed=0, total=1, start=0, stop=1)[0]
    made = ERT(settings, MPI.COMM_SELF)
    np.testing.assert_allclose(rhoa, made.case.factors * made.solve(y).c, rtol=1e-7)


def test_elevations_are_those_of_the_survey(tmp_path, capfd):
    table = tmp_path / "raised.csv"
    places = "\n".join(f"{i + 1},{2 * i},120" for i in range(4))
    table.write_text(f"electrode,x,z\n{places}\n5,4,117\n\na,b,m,n\n1,4,2,3\n1,4,2,5\n")
    ground, electrodes, data = solved(tmp_path, capfd, "--survey", table, problem="ert")
    assert ground.points[:, 2].max() == pytest.approx(120)
    np.testing.assert_allclose(electrodes.points[:, 2], [120] * 4 + [117])
    np.testing.assert_allclose(electrodes.point_data["buried"], [0, 0, 0, 0, 1])
    assert (data.points[:, 2] < 120).all() and data.points[:, 2].min() > 110


def test_the_picture_shows_resistivity_coverage_and_data(tmp_path, drawn, capfd):
    pytest.importorskip("matplotlib", reason="the plots extra is not installed")
    table = tmp_path / "raised.csv"
    places = "\n".join(f"{i + 1},{2 * i},120" for i in range(8))
    data = "\n".join(f"{i},{i + 3},{i + 1},{i + 2}" for i in range(1, 6))
    table.write_text(f"electrode,x,z\n{places}\n\na,b,m,n\n{data}\n")
    words = ("--survey", table, *BODY, "--set", "observable.kind=log10-apparent-resistivity")
    assert run("plot", "model", "dcr", *words, "--out", tmp_path / "g.png") == 0
    resistivity, _, coverage, _, data, _ = drawn[0].axes
    rho = np.ma.filled(resistivity.collections[0].get_array(), np.nan)
    mesh = resistivity.collections[0].get_coordinates()
    middle = (mesh[1:, 1:] + mesh[:-1, :-1]) / 2
    above = middle[..., 1] > 120
    assert above.any() and np.isnan(rho[above]).all() and np.isfinite(rho[~above]).all()
    y = ERT.parameters(
        config.read(ERTConfig, None, [f'survey.file="{table}"', *map(str, BODY[1::2])]),
        **{"seed": 0, "total": 1, "start": 0, "stop": 1},
    )[0]
    background, x1, body = y[0], y[1], y[-1]
    at = [np.hypot(middle[..., 0] - x, middle[..., 1] - 117.5).argmin() for x in (x1, -1.0)]
    np.testing.assert_allclose(np.log10(rho.flat[at]), [body, background], rtol=1e-6)
    seen = np.ma.filled(coverage.collections[0].get_array(), np.nan)
    assert np.nanmean(seen[np.abs(middle[..., 1] - 119) < 0.5]) > 10 * np.nanmean(
        seen[middle[..., 1] < 117.5]
    )
    low, high = 10 ** min(body, background), 10 ** max(body, background)
    assert (
        (low < data.collections[0].get_array()) & (data.collections[0].get_array() < high)
    ).all()


def test_regions_of_a_mesh_with_topography_are_drawn(tmp_path, drawn, monkeypatch):
    """The resistivity of each side of a contact, and nothing above the hill."""
    pytest.importorskip("matplotlib", reason="the plots extra is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def hill(x):
        return 100 + 1.5 * np.exp(-((x / 4) ** 2))

    def move(points):
        x3 = 100 + points[:, 2] + (hill(points[:, 0]) - 100) * (1 + points[:, 2] / 40)
        return np.column_stack([points[:, :2], x3])

    cells = box(8, 1.0, wide=2, far=60.0, deep=40.0, move=move)
    right = cells.points[cells.vertices].mean(axis=1)[:, 0] > 1
    tags = np.where(right, 7, 4)
    meshio.Mesh(
        cells.points,
        [("hexahedron", cells.vertices[:, meshes.VTK["hexahedron"]])],
        cell_data={"gmsh:physical": [tags], "gmsh:geometrical": [tags]},
        field_data={"clay": np.array([7, 3]), "rock": np.array([4, 3])},
    ).write(tmp_path / "ground.msh", file_format="gmsh22")
    x = np.arange(-7.0, 8, 2)
    places = "\n".join(f"{i},{a},{hill(a)}" for i, a in enumerate(x, 1))
    data = "\n".join(f"{i},{i + 3},{i + 1},{i + 2}" for i in range(1, 6))
    (tmp_path / "hill.csv").write_text(f"electrode,x,z\n{places}\n\na,b,m,n\n{data}\n")
    words = (
        *("--survey", tmp_path / "hill.csv", "--set", f"mesh.file={tmp_path / 'ground.msh'}"),
        *("--set", "model.kind=regions", "--set", 'regions.names=["rock","clay"]'),
        *("--set", "regions.resistivity=[[100,900],[5,50]]", "--y", "2.5,1"),
    )
    assert run("plot", "model", "dcr", *words, "--out", tmp_path / "g.png") == 0
    resistivity = drawn[0].axes[0].collections[0]
    mesh = resistivity.get_coordinates()
    middle = (mesh[1:, 1:] + mesh[:-1, :-1]) / 2
    rho = np.ma.filled(resistivity.get_array(), np.nan)
    x1, x3 = middle[..., 0], middle[..., 1]
    # The mesh's top is straight between its nodes.
    assert np.isnan(rho[x3 > hill(x1) + 0.2]).all()
    below = x3 < hill(x1) - 0.2
    np.testing.assert_allclose(rho[below & (x1 > 1.1)], 10, rtol=1e-9)
    np.testing.assert_allclose(rho[below & (x1 < 0.9)], 10**2.5, rtol=1e-9)
    coverage = np.ma.filled(drawn[0].axes[2].collections[0].get_array(), np.nan)
    assert (np.isfinite(coverage) == np.isfinite(rho)).all()
    labels = [axes.get_xlabel() + axes.get_ylabel() for axes in drawn[0].axes]
    assert any("coverage, estimate" in label for label in labels), labels
    # The same for ParaView: straight distances are no solution there.
    assert run("solve", "dcr", *words, "--out", tmp_path / "g.vtu") == 0
    values = meshio.read(tmp_path / "g.vtu").cell_data
    assert "coverage, estimate [1/m^3]" in values and "coverage [1/m^3]" not in values
    assert (values["coverage, estimate [1/m^3]"][0] > 0).all()
