"""A mesh's file against the settings: cells small enough, groups named, c that of a clean mesh."""

import itertools
from pathlib import Path

import h5py
import meshio
import numpy as np
import pytest
from mpi4py import MPI

from surrogates import config
from surrogates.cli import main
from surrogates.errors import InputError
from surrogates.pde import meshes
from surrogates.pde.dcr import mesh_fit
from surrogates.pde.dcr import problem as dcr
from surrogates.pde.dcr.survey import DCRConfig

pytestmark = pytest.mark.fenicsx

KUHN = [[0, 1 << a, (1 << a) | (1 << b), 7] for a, b in itertools.permutations(range(3), 2)]
VTK = meshes.VTK["hexahedron"]
BODY = (
    "sampling.volume=[100000.0,200000.0]",
    "sampling.depth=[70.0,90.0]",
    "body.blend=20.0",
    "stations.number=[3,3]",
    "stations.spacing=[80.0,80.0]",
    "stations.first=[-80.0,-80.0,0.0]",
    "stations.dipole=10.0",
    "source.electrodes=[[-150.0,0.0,0.0],[150.0,0.0,0.0]]",
)
"""Bodies so large that few cells are enough."""
Y = np.array([[80.0, 150000.0, 0.4]])


def settings(*overrides: str) -> DCRConfig:
    return config.read(DCRConfig, None, (*BODY, *overrides))


def graded(step: float, far: float = 500.0) -> tuple[np.ndarray, np.ndarray]:
    """Hexahedra in VTK's order, of a size up to 130 m from the origin and larger beyond."""
    n = round(130 / step)
    half = np.concatenate([np.linspace(0, 130, n + 1), 130 + (far - 130) * np.array([0.3, 1.0])])
    axis = np.concatenate([-half[:0:-1], half])
    axes = (axis, axis, -half[::-1])
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return points, meshes.corners(*(len(axis) for axis in axes))[:, VTK]


def save(path: Path, points: np.ndarray, *cells: tuple[str, np.ndarray], **more: object) -> Path:
    meshio.write(path, meshio.Mesh(points, list(cells), **more))
    return path


def solve(path: Path, *overrides: str) -> tuple[np.ndarray, np.ndarray]:
    """Return c of a body, and what the body adds to c."""
    case = settings(f'mesh.file="{path}"', "solver.rtol=1e-9", *overrides)
    problem = dcr.DCR(case, MPI.COMM_SELF)
    batch = problem.solve_batch(Y)
    assert batch.failure == [""]
    return batch.C, batch.C - problem.background


def test_a_mended_mesh_gives_c_of_the_clean_one(tmp_path):
    points, cells = graded(16.25)
    expected, anomaly = solve(save(tmp_path / "clean.vtu", points, ("hexahedron", cells)))
    below = points[cells].mean(axis=1)[:, 2] < -130
    nodes, inverse = np.unique(cells[below], return_inverse=True)
    torn = cells.copy()
    torn[below] = len(points) + inverse.reshape(cells[below].shape)
    inner = (np.abs(points[cells].mean(axis=1)) < 130).all(axis=1)
    torn[inner] = torn[inner][:, VTK]
    points = np.concatenate([points, points[nodes]])
    points[points[:, 2] == 0, 2] = -2e-4 * np.random.default_rng(0).random(
        (points[:, 2] == 0).sum()
    )
    bad = save(tmp_path / "bad.vtu", points, ("hexahedron", np.concatenate([torn, torn[inner]])))
    found, _ = solve(bad)
    assert np.linalg.norm(found - expected) < 1e-6 * np.linalg.norm(anomaly)
    notes = " ".join(dcr.DCR.notes(settings(f'mesh.file="{bad}"')))
    for words in ("merged", "more than once", "put in order", "moved to x3 = 0"):
        assert words in notes


@pytest.mark.parametrize(
    ("kind", "step"), [("hexahedron", 16.25), pytest.param("tetra", 12, marks=pytest.mark.slow)]
)
def test_the_error_is_at_most_what_the_note_says(tmp_path, kind, step):
    points, cells = graded(step)
    if kind == "tetra":
        cells = np.concatenate([cells[:, VTK][:, path] for path in KUHN])
    path = save(tmp_path / "mesh.vtu", points, (kind, cells))
    note = dcr.DCR.notes(settings(f'mesh.file="{path}"'))[-1]
    estimate = float(note.split("adds to c has an error of up to ")[1].split(" %")[0]) / 100
    _, anomaly = solve(path)
    reference = dcr.DCR(
        settings("mesh.cells=[18,18,18]", "domain.size=[1000,1000,500]"), MPI.COMM_SELF
    )
    expected = reference.solve_batch(Y).C - reference.background
    error = np.linalg.norm(anomaly - expected) / np.linalg.norm(expected)
    assert estimate / 4 < error < estimate < mesh_fit.RESOLVED


@pytest.mark.parametrize("kind", ["hexahedron", "tetra"])
@pytest.mark.parametrize("cells", [2, 5, 8, 25])
def test_uniform_cells_larger_than_the_body_s_are_refused(tmp_path, cells, kind):
    """Also where no point of the mesh is near the body."""
    axis = np.linspace(-500, 500, cells + 1)
    axes = (axis, axis, np.linspace(-500, 0, cells // 2 + 1))
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    block = meshes.corners(*(len(axis) for axis in axes))
    block = block[:, VTK] if kind == "hexahedron" else np.concatenate([block[:, p] for p in KUHN])
    path = save(tmp_path / "mesh.vtu", points, (kind, block))
    with pytest.raises(InputError, match=r"too coarse for the body: .* up to [\d.]+ m around \["):
        dcr.DCR.check(config.read(DCRConfig, None, [f'mesh.file="{path}"']))


def layered(path: Path, layers: int) -> Path:
    """Small cells where bodies can be, and some layers around these."""
    out = 65 + 435 * np.linspace(0, 1, layers + 1)[1:] ** 2
    half = np.concatenate([np.linspace(0, 65, 6), out])
    axis = np.concatenate([-half[:0:-1], half])
    depths = np.concatenate([[0], np.linspace(32.5, 130, 8), 65 + out])
    points = np.stack(np.meshgrid(axis, axis, -depths[::-1], indexing="ij"), axis=-1)
    cells = meshes.corners(len(axis), len(axis), len(depths))[:, VTK]
    return save(path, points.reshape(-1, 3), ("hexahedron", cells))


def test_cells_that_grow_too_fast_around_the_body_are_in_the_error_or_refused(tmp_path):
    """The small cells alone have 9 %; c is off by 17 % with one layer around them."""
    path = layered(tmp_path / "one.vtu", 1)
    words = (
        r"too coarse around the body, .* from \d+ cells, the worst around \[.* edges of up to 435"
    )
    with pytest.raises(InputError, match=words):
        dcr.DCR.check(settings(f'mesh.file="{path}"'))
    path = layered(tmp_path / "two.vtu", 2)
    estimate = mesh_fit.anomaly_error(settings(f'mesh.file="{path}"'), meshes.read(path))
    fine = "mesh.cells=[18,18,18]", "domain.size=[1000,1000,565]"
    reference = dcr.DCR(settings(*fine), MPI.COMM_SELF)
    expected = reference.solve_batch(Y).C - reference.background
    error = np.linalg.norm(solve(path)[1] - expected) / np.linalg.norm(expected)
    assert 0.1 < error < estimate < mesh_fit.RESOLVED


def test_the_error_of_the_total_potential_is_at_most_what_the_note_says(tmp_path):
    """The electrodes are far away, but u is linear in the stations' cells."""
    axis = np.concatenate([[-500, -400], np.linspace(-280, 280, 21), [400, 500]])
    axes = axis, axis, np.concatenate([[-500, -400, -300], np.linspace(-220, 0, 12)])
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    inner = (np.abs(points[:, :2]) < 280).all(axis=1) & (points[:, 2] > -220)
    shift = np.random.default_rng(0).uniform(-6, 6, points.shape) * [1, 1, 0]
    points += np.where(inner[:, None], shift, 0)
    cells = meshes.corners(*(len(axis) for axis in axes))[:, VTK]
    large = (
        "source.electrodes=[[-250.0,0.0,0.0],[250.0,0.0,0.0]]",
        "sampling.volume=[300000.0,600000.0]",
        "sampling.depth=[100.0,120.0]",
        "body.blend=50.0",
    )
    path = save(tmp_path / "mesh.vtu", points, ("hexahedron", cells))
    case = settings(f'mesh.file="{path}"', 'solver.formulation="total"', *large)
    bound = float(dcr.DCR.notes(case)[-1].split("c itself of up to ")[1].split(" %")[0]) / 100
    y = np.array([[110, 450000.0, 0.4]])
    found = dcr.DCR(case, MPI.COMM_SELF).solve_batch(y).C[0]
    fine = settings("mesh.cells=[18,18,18]", "domain.size=[1000,1000,500]", *large)
    expected = dcr.DCR(fine, MPI.COMM_SELF).solve_batch(y).C[0]
    size = np.tile(np.hypot(*expected.reshape(2, -1)), 2)
    assert 0.05 < np.max(np.abs(found - expected) / size) < bound < 0.2


def test_slivers_where_a_body_that_resists_can_be_are_refused(tmp_path):
    points, cells = graded(13)
    cells = np.concatenate([cells[:, VTK][:, path] for path in KUHN])
    resists = "conductivity.body=0.001"
    path = save(tmp_path / "right.vtu", points, ("tetra", cells))
    dcr.DCR.check(settings(f'mesh.file="{path}"', resists))
    near = np.argmin(np.linalg.norm(points - [0, 0, -78], axis=1))
    points[near] += [11.5, 0, 0]  # of 13 m to the next one
    path = save(tmp_path / "slivers.vtu", points, ("tetra", cells))
    with pytest.raises(InputError, match=r"has \d+ nearly flat tetrahedra .* around \["):
        dcr.DCR.check(settings(f'mesh.file="{path}"', resists))
    dcr.DCR.check(settings(f'mesh.file="{path}"', "conductivity.body=0.02"))


def test_cells_too_large_for_electrodes_and_stations_are_refused(tmp_path):
    path = save(tmp_path / "mesh.vtu", *(lambda p, c: (p, ("hexahedron", c)))(*graded(16.25)))
    case = settings(f'mesh.file="{path}"')
    dcr.DCR.check(case)
    with pytest.raises(InputError, match=r"too coarse for the total potential at \d+ of"):
        dcr.DCR.check(settings(f'mesh.file="{path}"', 'solver.formulation="total"'))
    near = "source.electrodes=[[-495.0,0.0,0.0],[150.0,0.0,0.0]]"
    with pytest.raises(InputError, match=r"too coarse at its sides: \d+ faces .* around \[-500"):
        dcr.DCR.check(settings(f'mesh.file="{path}"', near))


@pytest.mark.parametrize(
    ("kind", "corners"),
    [("wedge", [0, 1, 2, 4, 5, 6]), ("pyramid", [0, 1, 2, 3, 4]), ("tetra", [0, 1, 2, 4])],
)
def test_other_volume_cells_are_refused_with_kind_number_and_place(tmp_path, kind, corners):
    points, cells = graded(16.25)
    deep = points[cells].mean(axis=1)[:, 2] < -130
    blocks = [("hexahedron", cells[~deep]), (kind, cells[deep][:, corners])]
    path = save(tmp_path / "mesh.vtu", points, *blocks)
    words = rf"{(~deep).sum()} hexahedron, {deep.sum()} {kind} \(the first around \[-?\d"
    with pytest.raises(InputError, match=words):
        meshes.read(path)


def test_cells_of_second_order_are_refused(tmp_path):
    points = np.vstack([np.zeros(3), np.eye(3), np.full((6, 3), 0.5)])
    path = save(tmp_path / "mesh.vtu", points, ("tetra10", np.arange(10)[None]))
    with pytest.raises(InputError, match="first order; its cells are: 1 tetra10"):
        meshes.read(path)


def test_files_that_are_none_are_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        meshes.read(tmp_path)
    points, cells = graded(32.5)
    path = save(tmp_path / "mesh.vtu", points, ("hexahedron", cells))
    text = path.read_bytes()
    for name, bad in (("cut.vtu", text[:2000]), ("nothing.vtu", b""), ("noise.msh", text)):
        (tmp_path / name).write_bytes(bad)
        with pytest.raises(InputError, match="is not a mesh that meshio reads: .+") as caught:
            meshes.read(tmp_path / name)
        assert len(str(caught.value).splitlines()) == 1


# A mesh file that names another file: its bytes would be the mesh's points, and be written with it.
NAMED = {"HDF": "m.h5", "Binary": "m0.bin"}


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder of the user's, which is the working folder."""
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def sound_xdmf(own, kind):
    """Write m.xdmf, whose numbers are in the file `NAMED`; return its text."""
    points, cells = graded(65.0)
    meshio.Mesh(points, [("hexahedron", cells)]).write(own / "m.xdmf", data_format=kind)
    assert len(meshes.read(own / "m.xdmf").points) == len(points)
    text = (own / "m.xdmf").read_text()
    assert NAMED[kind] in text
    return text


@pytest.mark.parametrize("kind", NAMED)
def test_a_mesh_file_that_would_read_files_of_others_is_refused(own, kind):
    name, plain = NAMED[kind], sound_xdmf(own, kind).replace(f"{own}/", "")
    for wrong in ("/etc/", "../", "own/"):
        (own / "m.xdmf").write_text(plain.replace(name, wrong + name))
        with pytest.raises(InputError, match="names the file .*, which is not one of its own"):
            meshes.read(own / "m.xdmf")


def test_a_mesh_file_that_would_read_another_file_of_the_user_is_refused(own):
    (own / "m.xdmf").write_text(sound_xdmf(own, "Binary").replace("m0.bin", "known_hosts"))
    with pytest.raises(InputError, match="names the file '.*known_hosts', which is not"):
        meshes.read(own / "m.xdmf")


def test_a_mesh_file_with_a_link_to_a_file_of_others_is_refused(own):
    sound_xdmf(own, "HDF")
    secret = own.with_name("secret")
    with h5py.File(own / "m.h5", "r+") as file:
        with h5py.File(secret, "w") as other:
            file.copy("data0", other)
        del file["data0"]
        file["data0"] = h5py.ExternalLink(str(secret), "data0")
    with pytest.raises(InputError, match="data0 is not in the file itself: it is a link"):
        meshes.read(own / "m.xdmf")


def test_cells_that_meshio_leaves_out_are_refused(tmp_path):
    points, cells = graded(32.5)
    path = tmp_path / "mesh.vtu"
    mesh = meshio.Mesh(points, [("hexahedron", cells), ("tetra", cells[:3, :4])])
    mesh.write(path, binary=False)
    before, types = path.read_text().split('Name="types"')
    path.write_text(f'{before}Name="types"{types.replace("10", "37")}')  # 37 is of 18 points
    with pytest.raises(InputError, match=r"cells that meshio cannot read, of VTK's type 37"):
        meshes.read(path)


def test_a_file_that_has_changed_is_read_again(tmp_path):
    points, cells = graded(32.5)
    path = save(tmp_path / "mesh.vtu", points, ("hexahedron", cells))
    first = meshes.read(path)
    assert meshes.read(path) is first
    save(path, points * 1.5, ("hexahedron", cells))
    again = meshes.read(path)
    assert again.points.min() == -750
    assert again.sha256 != first.sha256


@pytest.mark.parametrize(
    ("name", "more"),
    [
        (
            "mesh.msh",
            {
                "field_data": {"ore": np.array([7, 3]), "rock": np.array([3, 3])},
                "physical": {True: 7, False: 3},
            },
        ),
        ("mesh.vtu", {"material": {True: 7, False: 3}}),
        ("mesh.inp", {"sets": ("ore", "rock")}),
    ],
)
def test_groups_of_the_mesh_generator_are_named_with_their_cells(tmp_path, name, more):
    points, cells = graded(32.5)
    inner = (np.abs(points[cells].mean(axis=1)) < 130).all(axis=1)
    words = [f"ore ({inner.sum()})", f"rock ({(~inner).sum()})"]
    given = {}
    if "physical" in more:
        tags = [np.where(inner, 7, 3)]
        given = {
            "field_data": more["field_data"],
            "cell_data": {"gmsh:physical": tags, "gmsh:geometrical": tags},
        }
    elif "material" in more:
        given = {"cell_data": {"material": [np.where(inner, 7, 3)]}}
        words = [f"material 7 ({inner.sum()})", f"material 3 ({(~inner).sum()})"]
    else:
        given = {"cell_sets": {"ore": [np.flatnonzero(inner)], "rock": [np.flatnonzero(~inner)]}}
    path = tmp_path / name
    options = {"file_format": "gmsh22"} if name.endswith("msh") else {}
    meshio.Mesh(points, [("hexahedron", cells)], **given).write(path, **options)
    (line,) = (note for note in meshes.read(path).notes if "groups of cells" in note)
    assert all(word in line for word in words), line


def test_notes_reach_the_dataset_and_info(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    points, cells = graded(16.25)
    data = {"cell_data": {"material\n": [np.zeros(2 * len(cells), int)]}}
    save(Path("mesh.vtu"), points, ("hexahedron", np.concatenate([cells, cells])), **data)
    keys = [f"--set={key}" for key in (*BODY, "mesh.file=mesh.vtu")]
    assert main(["generate", "dcr", "--samples=2", "--split=1/1/0", "--out=d.h5", *keys]) == 0
    said = capsys.readouterr().err
    assert main(["info", "d.h5"]) == 0
    shown = capsys.readouterr().out
    for words in (f"{len(cells)} cells that are there more than once", "adds to c has an error"):
        assert words in said
        assert words in shown
    assert "groups of cells, which conductivities do not depend on: material" in shown
