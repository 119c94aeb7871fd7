"""Problems of one's own, and those that are built in: what they say of themselves."""

import hashlib

import numpy as np
import pytest
from mpi4py import MPI
from problems import OSCILLATOR, Plain

from surrogates import config
from surrogates.errors import InputError
from surrogates.pde import Settings
from surrogates.pde.loading import load
from surrogates.pde.problem import BUILT_IN

pytestmark = pytest.mark.fenicsx


def test_a_file_with_a_class_is_a_problem(write):
    path = write(OSCILLATOR)
    problem = load(f"{path}:Oscillator")
    assert problem.name == "own.py:Oscillator"
    assert problem.source == hashlib.sha256(path.read_bytes()).hexdigest()
    settings = config.read(problem.Config, None, ["mass=2", "batch=7", "design=sobol"])
    assert settings.mass == 2.0
    assert (problem.design(settings), problem.batch(settings)) == ("sobol", 7)
    assert config.from_toml(problem.Config, config.to_toml(settings)) == settings
    about = problem.describe(settings)
    assert about["y_names"] == ("stiffness", "damping")
    assert about["y_units"] == ("N/m", "kg/s")
    assert about["c_units"] == ("m", "m", "m")
    np.testing.assert_array_equal(about["y_lower"], [1, 0])
    np.testing.assert_array_equal(about["y_upper"], [4, 0.5])
    np.testing.assert_array_equal(about["coordinates"]["time"], [1, 2, 3])
    Y = problem.parameters(settings, total=8, seed=0, start=2, stop=6)
    assert Y.shape == (4, 2)
    assert ((about["y_lower"] <= Y) & (about["y_upper"] >= Y)).all()
    batch = problem(settings, MPI.COMM_SELF).solve_batch(Y)
    assert batch.failure == [""] * 4
    omega = np.sqrt(Y[:, 0] / 2 - (Y[:, 1] / 4) ** 2)
    np.testing.assert_allclose(
        batch.C[:, 1], np.exp(-Y[:, 1] / 2) * np.cos(2 * omega), rtol=1e-14, atol=1e-14
    )
    assert np.isnan(batch.solver["residual"]).all()
    assert (batch.solver["seconds"] > 0).all()
    assert load(f"{path}:Oscillator") is problem
    write(OSCILLATOR.replace("mass: float = 1.0", "mass: float = 3.0"))
    assert load(f"{path}:Oscillator").Config().mass == 3.0


def test_the_simplex_has_bounds_of_its_own():
    about = Plain.describe(Settings(design="simplex"))
    assert (about["y_lower"].tolist(), about["y_upper"].tolist()) == ([0, 0], [1, 1])
    Y = Plain.parameters(Settings(design="simplex"), total=9, seed=0, start=0, stop=9)
    np.testing.assert_allclose(Y.sum(axis=1), 1, rtol=1e-15)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"y_names": ()}, r"y_names must be a sequence of names; got \(\)"),
        ({"y_names": "ab"}, "y_names must be a sequence of names; got 'ab'"),
        ({"c_names": ("sum", 2)}, "c_names must be a sequence of names"),
        ({"c_names": None}, "c_names must be a sequence of names; got None"),
        ({"c_names": ("sum", "sum")}, r"c_names has \['sum'\] twice"),
        ({"y_units": ("m",)}, "y_units must be a text or 2 of them"),
        ({"c_units": 1}, "c_units must be a text or 2 of them"),
        ({"y_lower": None}, "y_lower must be a finite number or 2 of them, as y_names; got None"),
        ({"y_upper": (1, 2, 3)}, "y_upper must be a finite number or 2 of them"),
        ({"y_upper": np.inf}, "y_upper must be a finite number or 2 of them, as y_names; got inf"),
        ({"y_lower": (0, 2)}, "y_lower must be below y_upper; got 2 and 2 for b"),
        ({"coordinates": {"time": (1.0,) * 3}}, r"coordinates\['time'\] must be a finite number"),
        ({"coordinates": (1.0, 2.0)}, "coordinates must be a dict"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(attributes, message):
    wrong = type("Wrong", (Plain,), attributes)
    with pytest.raises(InputError, match=f"^Wrong: {message}"):
        wrong.describe(Settings())


@pytest.mark.parametrize(
    ("settings", "message"),
    [("design=sobel", "did you mean 'sobol'"), ("batch=0", "batch must be at least 1; got 0")],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(InputError, match=message):
        config.read(Plain.Config, None, [settings])


def test_a_problem_without_pictures_says_so(tmp_path):
    problem = Plain(Settings(), MPI.COMM_SELF)
    for action in (lambda y: problem.picture(y, tmp_path / "a.png"), problem.field):
        with pytest.raises(InputError, match="^Plain has no solution to draw or write: let solve"):
            action(np.ones(2))


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_problems_are_of_the_same_kind(name):
    problem = load(name)
    settings = problem.Config()
    assert (problem.name, problem.source) == (name, "")
    assert problem.design(settings) == settings.sampling.design
    assert problem.batch(settings) == settings.solver.batch
    Y = problem.parameters(settings, total=30, seed=1, start=4, stop=6)
    assert Y.shape == (2, len(problem.describe(settings)["y_names"]))


def test_one_sample_of_a_built_in_problem():
    problem = load("cdr")
    settings = config.read(problem.Config, None, ["mesh.cells=[4,4]", "mesh.degree=2"])
    cdr = problem(settings, MPI.COMM_SELF)
    y = np.full(55, 1 / 55)
    alone, batch = cdr.solve(y), cdr.solve_batch(y[None])
    assert np.array_equal(alone.c, batch.C[0])
    assert alone.residual == batch.solver["residual"][0] > 0
    with pytest.raises(InputError, match="the solve failed: the time step is too long"):
        cdr.solve(500 * y)
