"""The examples in weak form: derivatives, a beam's theory, and all that a run does with them."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from mpi4py import MPI
from places import EXAMPLES
from problems import MPIRUN, run
from weak_forms import taylor_orders

from surrogates.data import Dataset
from surrogates.pde import Problem, Settings
from surrogates.pde.loading import load

pytestmark = pytest.mark.fenicsx

NAMES = ["darcy.py:Darcy", "reaction_diffusion.py:ReactionDiffusion", "elasticity.py:Cantilever"]


def made(name: str) -> Problem:
    return load(str(EXAMPLES / name))(Settings(), MPI.COMM_SELF)


@pytest.mark.parametrize("name", NAMES)
def test_tangents_and_adjoints_of_the_examples(path_kept, name):
    problem = made(name)
    Y = problem.parameters(problem.config, total=1, seed=5, start=0, stop=1)
    rng = np.random.default_rng(0)
    about = problem.describe(problem.config)
    v = rng.standard_normal(Y.shape[1]) * (about["y_upper"] - about["y_lower"]) / 10
    orders = taylor_orders(problem, Y[0], v)
    assert (orders[-4:] > 1.8).all(), orders
    W = rng.standard_normal((3, len(about["c_names"])))
    batch = problem.solve_batch(Y, tangents=True, adjoints=W)
    scale = np.linalg.norm(W) * np.linalg.norm(batch.dC_dY[0])
    assert np.abs(W @ batch.dC_dY[0] - batch.dW_dY[0]).max() < 1e-10 * scale


def test_a_uniform_cantilever_bends_as_timoshenko_s_beam(path_kept):
    problem = made(NAMES[2])
    y = np.zeros((1, 12))
    y[0, -1] = -1.0  # MPa, down
    batch = problem.solve_batch(y)
    length, height, E, nu = 2.0, 0.4, 10.0, 0.3  # m and GPa: deflections in mm
    bending = height * length**3 / (3 * E / (1 - nu**2) * height**3 / 12)
    shear = length / (5 / 6 * E / (2 * (1 + nu)))
    np.testing.assert_allclose(batch.C[0, 9], -(bending + shear), rtol=0.01)
    np.testing.assert_allclose(batch.C[0, 10], height * (bending + shear), rtol=0.01)
    assert (np.diff(batch.C[0, :10]) < 0).all()


def test_without_sources_the_species_is_absent_and_more_of_it_reacts_more(path_kept):
    problem = made(NAMES[1])
    Y = np.zeros((3, 20))
    Y[1, 12:], Y[2, 12:] = 1.0, 100.0
    C = problem.solve_batch(Y).C
    assert np.abs(C[0]).max() < 1e-12
    assert (C[1] > 0).all() and (C[2] > C[1]).all()
    assert (C[2] < 70 * C[1]).all()  # 100 times, were it linear


SURROGATES = (sys.executable, "-m", "surrogates")


@pytest.mark.mpi
@pytest.mark.parametrize("name", NAMES[:2])
def test_a_run_writes_tangents_whole_and_in_directions(tmp_path, name):
    problem, out, along = str(EXAMPLES / name), tmp_path / "one.h5", tmp_path / "along.h5"
    words = ("generate", problem, "--samples", "3", "--set", "batch=2")
    run(*SURROGATES, *words, "--tangents", "--out", str(out), seconds=140)
    run(*SURROGATES, *words, "--tangents", "2", "--out", str(along), seconds=140)
    whole = Dataset.read(out)
    assert whole.problems() == [] and np.isfinite(whole.dC_dY).all()
    part = Dataset.read(along).derivatives([0, 2])
    assert part is not None
    assert part.V.shape[1] == 2
    expected = whole.dC_dY[[0, 2]] @ np.asarray(part.V).transpose(0, 2, 1)
    np.testing.assert_allclose(part.T, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


@pytest.mark.mpi
def test_two_processes_share_a_sample_and_another_run_verifies_it(tmp_path, path_kept):
    problem, shared = str(EXAMPLES / NAMES[2]), str(tmp_path / "shared.h5")
    words = ("--samples", "1", "--tangents", "--ranks-per-sample", "2", "--out", shared)
    run(*MPIRUN, *SURROGATES, "generate", problem, *words, seconds=220)
    found = Dataset.read(shared)
    alone = load(problem)(Settings(), MPI.COMM_SELF).solve_batch(found.Y, tangents=True)
    for values, others in ((found.C, alone.C), (found.dC_dY, alone.dC_dY)):
        np.testing.assert_allclose(values, others, rtol=0, atol=1e-7 * np.abs(others).max())
    run(*SURROGATES, "verify", shared, "--problem", problem, seconds=60)


def test_a_vector_field_goes_to_a_picture_and_to_paraview(tmp_path, inside, path_kept):
    problem = str(EXAMPLES / NAMES[2])
    inside("solve", problem, "--out", tmp_path / "u.vtu")
    inside("plot", "model", problem, "--out", tmp_path / "u.png")
    assert (tmp_path / "u.png").read_bytes().startswith(b"\x89PNG")
    assert "solution" in (tmp_path / "u.vtu").read_text(errors="replace")
