"""DC resistivity data under MPI, and the commands that solve for one sample."""

from pathlib import Path

import meshio
import numpy as np
import pytest
from runs import SETTINGS, run

from surrogates.data import Dataset

pytestmark = [pytest.mark.fenicsx, pytest.mark.mpi]

COARSE = (
    "mesh.cells=[12,12,15]",
    "mesh.above=3",
    "mesh.layers=6",
    "solver.batch=2",
    "solver.rtol=1e-9",
)


def dcr(out: Path, *words: str, samples: int = 5) -> tuple[str, ...]:
    settings = [word for setting in COARSE for word in ("--set", setting)]
    return ("generate", "dcr", "--out", str(out), "--samples", str(samples), *settings, *words)


def generate_dcr(out: Path, ranks: int = 1, *words: str, samples: int = 5, **how):
    return run(ranks, *dcr(out, *words, samples=samples), **how)


@pytest.fixture(scope="module")
def resistivity(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("resistivity") / "dcr.h5"
    generate_dcr(out, 1, "--tangents")
    return out


def test_dcr_makes_a_dataset_with_tangents(resistivity, inside):
    dataset = Dataset.read(resistivity)
    assert dataset.C.shape == (5, 882)
    assert dataset.dC_dY.shape == (5, 882, 3)
    assert dataset.problems() == []
    assert dataset.info.y_names == ("depth", "volume", "rotation")
    assert set(dataset.info.coordinates) == {"direction", "x1", "x2"}
    assert "with tangents" in inside("info", resistivity)


@pytest.mark.parametrize(
    ("ranks", "per_sample", "method"),
    [
        (2, 1, "auto"),
        (2, 2, "auto"),
        *[
            pytest.param(*case, marks=pytest.mark.thorough)
            for case in ((3, 3, "auto"), (2, 2, "multigrid"), (3, 3, "multigrid"))
        ],
    ],
)
def test_dcr_gives_the_same_c_on_any_number_of_ranks(
    resistivity, tmp_path, ranks, per_sample, method
):
    out = tmp_path / "dcr.h5"
    words = ("--ranks-per-sample", str(per_sample), "--set", f"solver.method={method}")
    n = 5 if method == "auto" else 2  # multigrid on several ranks of two cores is slow
    generate_dcr(out, ranks, "--tangents", *words, samples=n)
    one, many = Dataset.read(resistivity), Dataset.read(out)
    assert np.array_equal(one.Y[:n], many.Y)
    assert one.info.mesh == many.info.mesh
    anomaly = np.linalg.norm(one.C - one.C.mean(axis=0), axis=1)
    assert (np.linalg.norm(one.C[:n] - many.C, axis=1) < 1e-4 * anomaly[:n]).all()
    assert np.linalg.norm(one.dC_dY[:n] - many.dC_dY) < 1e-4 * np.linalg.norm(many.dC_dY)
    if per_sample == 1:
        assert one.digest == many.digest


@pytest.mark.thorough
def test_shards_with_and_without_tangents_do_not_merge(resistivity, tmp_path, inside):
    plain = tmp_path / "plain.h5"
    inside(*dcr(plain, "--shard", "1/3"))
    shards = [plain]
    for i in (2, 3):
        shards.append(tmp_path / f"{i}.h5")
        inside(*dcr(shards[-1], "--tangents", "--shard", f"{i}/3"))
    words = ("merge", *shards, "--out", tmp_path / "dcr.h5")
    assert "tangents is False there and True here" in inside(*words, expect=2)
    plain.unlink()
    inside(*dcr(plain, "--tangents", "--shard", "1/3"))
    inside(*words)
    merged = Dataset.read(tmp_path / "dcr.h5")
    assert merged.digest == Dataset.read(resistivity).digest
    assert np.array_equal(merged.dC_dY, Dataset.read(resistivity).dC_dY)


@pytest.mark.thorough
def test_petsc_options_reach_the_solver_and_a_failed_solve_is_recorded(tmp_path):
    out = tmp_path / "dcr.h5"
    options = {"PETSC_OPTIONS": "-dcr_ksp_monitor"}
    words = ("--set", "solver.max_iterations=3", "--set", "solver.method=multigrid")
    done = generate_dcr(out, 1, *words, samples=4, expect=1, more=options)
    assert "KSP Residual norm" in done.stdout
    assert "4 of 4 samples failed" in done.stderr
    dataset = Dataset.read(out)
    assert all("diverged_max_it after 3 iterations" in text for text in dataset.failure)
    assert np.isnan(dataset.C).all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.msh", "there is no mesh file 'absent.msh'"),
        ("words.msh", "words.msh is not a mesh that meshio reads"),
        ("words.vtu", "words.vtu is not a mesh that meshio reads"),
        ("words.abc", "words.abc is not a mesh that meshio reads"),
    ],
)
def test_a_bad_mesh_file_is_one_line_and_writes_nothing(
    tmp_path, monkeypatch, inside, name, message
):
    monkeypatch.chdir(tmp_path)
    if name != "absent.msh":
        (tmp_path / name).write_text("no mesh\nat all\n")
    error = inside(*dcr(Path("dcr.h5"), "--set", f"mesh.file={name}"), expect=2)
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1
    assert not (tmp_path / "dcr.h5").exists()
    assert not (tmp_path / "dcr.h5.parts").exists()


# Commands


@pytest.mark.parametrize(("problem", "cells"), [("cdr", "quad"), ("dcr", "hexahedron")])
@pytest.mark.parametrize("ending", ["vtu", "xdmf"])
def test_solve_writes_a_file_that_opens_again(tmp_path, inside, problem, cells, ending):
    out = tmp_path / f"solution.{ending}"
    settings = COARSE if problem == "dcr" else SETTINGS
    words = [word for setting in settings for word in ("--set", setting)]
    inside("solve", problem, "--out", out, *words)
    assert {path.name for path in tmp_path.iterdir()} == {out.name}
    mesh = meshio.read(out)
    (block,) = mesh.cells
    assert block.type == cells
    assert len(block.data) > 50
    for values in mesh.point_data.values():
        assert values.shape == (len(mesh.points),)
        assert np.isfinite(values).all()
        assert np.ptp(values) > 0
    if problem == "cdr":
        areas = np.cross(
            *(mesh.points[block.data[:, k]] - mesh.points[block.data[:, 0]] for k in (1, 3))
        )
        assert areas[:, 2].min() > 0
        assert areas[:, 2].sum() == pytest.approx(1)
    else:
        corners = mesh.points[block.data]
        edges = [corners[:, k] - corners[:, 0] for k in (1, 3, 4)]
        assert np.einsum("ni,ni->n", np.cross(edges[0], edges[1]), edges[2]).min() > 0
        m = mesh.cell_data["conductivity [S/m]"][0]
        assert m.min() == pytest.approx(0.01)
        assert 0.5 < m.max() <= 1.0 + 1e-9


@pytest.mark.thorough
def test_plot_model_draws_a_body(tmp_path, inside):
    words = [word for setting in COARSE for word in ("--set", setting)]
    out = tmp_path / "model.png"
    inside("plot", "model", "dcr", "--y", "25,3000,0.5", "--out", out, *words)
    assert out.read_bytes()[:4] == b"\x89PNG"
    for y, message in (
        ("25,3000", "--y must be 3 numbers, depth to rotation; got '25,3000'"),
        ("a,b,c", "--y must be 3 numbers"),
        ("5,3000,0", "parameters must be within"),
    ):
        bad = ("plot", "model", "dcr", "--y", y, "--out", tmp_path / "bad.png", *words)
        error = inside(*bad, expect=2)
        assert message in error
        assert error.count("error:") == 1 and "Traceback" not in error
    ending = inside("solve", "dcr", "--out", tmp_path / "bad.stl", *words, expect=2)
    assert "ends in .vtu or .xdmf" in ending
    assert {path.name for path in tmp_path.iterdir()} == {"model.png"}
