"""The problem `ert`: from a survey and a model to data, by each way, with derivatives."""

import meshio
import numpy as np
import pytest
from grounds import box, of_one_and_two_processes
from mpi4py import MPI
from scipy import stats

from surrogates import InputError, config
from surrogates.pde.ert import ERT, ERTConfig, case_of, standard_deviations
from surrogates.pde.ert.case import Case
from surrogates.pde.sampling import draw
from surrogates.pde.solving import drawn
from surrogates.survey import Survey, read
from surrogates.survey import made as made_survey
from surrogates.survey.ground import estimated_factors

pytestmark = pytest.mark.fenicsx

ARRAY = (
    "survey.array=dipole-dipole",
    "survey.electrodes=8",
    "survey.spacing=4.0",
    "grid.cells=2.0",
    "box.number=4000",
)
BODY = (
    "model.kind=body",
    "model.background=[50.0, 200.0]",
    "body.x1=[10.0, 18.0]",
    "body.x2=[0.0, 0.0]",
    "body.depth=[4.0, 5.0]",
    "body.a1=[2.5, 3.5]",
    "body.a2=[3.0, 3.0]",
    "body.a3=[2.0, 2.5]",
    "body.resistivity=[5.0, 20.0]",
)
LAYERS = (
    "model.kind=layers",
    "layers.resistivity=[[20.0, 50.0], [100.0, 300.0]]",
    "layers.thickness=[[2.0, 6.0]]",
)


def settings(*overrides):
    return config.read(ERTConfig, None, [*ARRAY, *overrides])


def problem(*overrides):
    return ERT(settings(*overrides), MPI.COMM_SELF)


def middle(made):
    return (made.case.model.y_lower + made.case.model.y_upper) / 2


@pytest.mark.parametrize(
    ("way", "model"),
    [
        ("layers", ("model.kind=half-space",)),
        ("box", BODY),
        ("direct", ("model.kind=half-space",)),
    ],
)
def test_homogeneous_ground_has_its_own_resistivity_in_each_datum(way, model):
    same = "model.background=[100.0, 100.1]", "body.resistivity=[100.0, 100.1]"
    made = problem(*model, *same, f"solver.method={way}")
    y = made.case.model.y_lower
    c = np.asarray(made.solve(y).c)
    np.testing.assert_allclose(c, 100, rtol=1e-9 if way != "direct" else 1e-6)


def test_two_ways_agree_on_a_body():
    by_box, direct = (
        problem(*BODY, f"solver.method={way}", "grid.cells=8.0") for way in ("box", "direct")
    )
    y = middle(by_box)
    background = 10 ** y[list(by_box.case.model.y_names).index("log10 resistivity of background")]
    c, other = (np.asarray(one.solve(y).c) for one in (by_box, direct))
    anomaly = np.abs(c / background - 1).max()
    assert anomaly > 0.1
    assert np.abs(other / c - 1).max() < 0.1 * anomaly


@pytest.mark.parametrize("model", [LAYERS, BODY, (*BODY, "solver.method=direct")])
@pytest.mark.parametrize("kind", ["log10-apparent-resistivity", "resistance"])
def test_taylor(model, kind):
    made = problem(*model, f"observable.kind={kind}")
    y = middle(made)
    span = made.case.model.y_upper - made.case.model.y_lower
    v = span * np.random.default_rng(0).uniform(-1, 1, len(y))
    batch = made.solve_batch(y[None], tangents=v[None, None])
    assert not batch.failure[0]
    c, slope = batch.C[0], batch.dC_dV[0, :, 0]
    steps = np.array([0.005, 0.0025])
    rest = [np.linalg.norm(np.asarray(made.solve(y + h * v).c) - c - h * slope) for h in steps]
    assert rest[0] / rest[1] == pytest.approx(4, rel=0.35)
    whole = made.solve_batch(y[None], tangents=True).dC_dY[0]
    np.testing.assert_allclose(whole @ v, slope, rtol=1e-6, atol=1e-7 * np.abs(slope).max())


def test_functionals_are_products_with_the_tangents():
    made = problem(*LAYERS)
    y, W = middle(made)[None], np.random.default_rng(1).normal(size=(2, len(made.case.survey.data)))
    batch = made.solve_batch(y, tangents=True, adjoints=W)
    np.testing.assert_allclose(batch.dW_dY[0], W @ batch.dC_dY[0], rtol=1e-12)


def test_the_description_holds_electrodes_and_factors():
    about = ERT.describe(settings(*LAYERS))
    survey = case_of(settings(*LAYERS)).survey
    coordinates = about["coordinates"]
    found = np.stack([coordinates[name] for name in "abmn"], axis=1)
    np.testing.assert_allclose(found, survey.data + 1)
    # A dipole-dipole of length a and separation n has k = pi a n (n + 1) (n + 2).
    x = survey.electrodes[survey.data][:, :, 0]
    n = np.abs(x[:, [0, 1]][:, :, None] - x[:, [2, 3]][:, None]).min(axis=(1, 2)) / 4
    np.testing.assert_allclose(
        np.abs(coordinates["k"]), np.pi * 4 * n * (n + 1) * (n + 2), rtol=1e-9
    )
    assert len(set(about["c_names"])) == len(survey.data)


def test_a_sample_without_a_logarithm_fails_with_the_reason(monkeypatch):
    made = problem(*LAYERS, "observable.kind=log10-apparent-resistivity")
    made._factors = -made._factors
    batch = made.solve_batch(middle(made)[None])
    assert "take observable.kind=apparent-resistivity" in batch.failure[0]


def test_noise_is_that_of_the_voltage_in_units_of_the_data():
    case = case_of(settings(*LAYERS, "noise.absolute=0.001", "noise.relative=0.02"))
    rhoa = np.full(len(case.survey.data), 100.0)
    resistance = rhoa / case.factors
    expected = np.abs(case.factors) * (0.001 / 0.1 + 0.02 * np.abs(resistance))
    np.testing.assert_allclose(standard_deviations(case, rhoa), expected)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (("solver.method=boxes",), "unknown solver.method 'boxes'.*box"),
        ((*LAYERS, "solver.method=box"), "solver.method=box needs .* model.kind body"),
        (("observable.kind=rho",), "unknown observable.kind 'rho'"),
        (("survey.array=wener",), "unknown.*'wener'.*wenner"),
        (("survey.file=no.ohm",), "no.ohm"),
        (("noise.absolute=-1.0",), "noise.absolute"),
        (("survey.electrodes=3",), "4|electrodes"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(overrides, line):
    with pytest.raises(InputError, match=line) as error:
        ERT.check(settings(*overrides))
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def ridge(tmp_path_factory):
    """A survey on a ridge, its file and its mesh."""
    pytest.importorskip("gmsh", exc_type=ImportError)
    from surrogates.survey.mesh import write_mesh

    folder = tmp_path_factory.mktemp("ridge")
    x = np.arange(8.0)
    places = np.column_stack([x, 0 * x, 2 - 0.3 * np.abs(x - 3.5)])
    data = np.array([(i, i + 1, i + 2, i + 3) for i in range(5)])
    Survey(electrodes=places, data=data, name="ridge").write(folder / "ridge.ohm")
    write_mesh(read(folder / "ridge.ohm"), folder / "ridge.msh")
    return folder


def test_topography_needs_a_mesh_and_says_how_to_make_one(ridge):
    with pytest.raises(InputError, match=r"surrogates survey .*ridge.ohm --mesh .* mesh.file="):
        ERT.check(settings(f"survey.file={ridge}/ridge.ohm"))


def test_factors_of_topography_are_solved_for_once_and_kept(ridge, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    given = f"survey.file={ridge}/ridge.ohm", f"mesh.file={ridge}/ridge.msh"
    made = problem(*given, "model.kind=half-space", "model.background=[20.0, 30.0]")
    np.testing.assert_allclose(np.asarray(made.solve(np.log10([25.0])).c), 25, rtol=1e-9)
    # The ridge's sides hold less ground than the half-space: its resistances are larger.
    flat = [estimated_factors(made.case.survey, made.case.ground), made.case.factors]
    assert 0.6 < np.abs(flat[1] / flat[0]).min() < 0.99
    (note,) = made.case.notes()
    assert "homogeneous" in note
    (kept,) = tmp_path.rglob("*.npz")
    with np.load(kept) as found:
        T = found["T"]
    np.savez(kept, T=2 * T, note="as kept")
    again = Case(made.config, made.case.survey, made.case.ground)
    np.testing.assert_allclose(again.factors, made.case.factors / 2, rtol=1e-12)
    assert again.notes() == ("as kept",)


def hill(points):
    """Bend the top of a box of 20 m, not its bottom."""
    height = -0.3 * np.minimum(np.abs(points[:, :1]), 4)
    return points + height * (1 + points[:, 2:] / 20) * [0, 0, 1]


PROGRAM = """
import os, sys
os.environ["XDG_CACHE_HOME"] = os.path.splitext(sys.argv[2])[0]
import numpy as np
from mpi4py import MPI
from surrogates import config
from surrogates.pde.ert import ERT, ERTConfig
from surrogates.pde.ert.direct import Direct
solved, under_top = [], Direct._under_top
Direct._under_top = lambda self, unit: solved.append(1) or under_top(self, unit)
folder = os.path.dirname(sys.argv[2])
given = [f"survey.file={folder}/ridge.ohm", f"mesh.file={folder}/ridge.vtu", "direct.degree=1"]
made = ERT(config.read(ERTConfig, None, [*given, "model.kind=half-space"]), MPI.COMM_WORLD)
all_solved = MPI.COMM_WORLD.allreduce(len(solved))
if MPI.COMM_WORLD.rank == 0:
    np.savez(sys.argv[2], solved=all_solved, k=made.case.factors)
"""


@pytest.mark.mpi
@pytest.mark.slow
def test_one_of_two_processes_solves_for_the_factors_of_topography(tmp_path):
    cells = box(4, 1, wide=2, far=20, deep=20, move=hill, tetrahedra=True)
    meshio.Mesh(cells.points, [("tetra", cells.vertices)]).write(tmp_path / "ridge.vtu")
    x = np.arange(-3.0, 4.0)
    places = hill(np.column_stack([x, 0 * x, 0 * x]))
    data = np.array([(i, i + 1, i + 2, i + 3) for i in range(4)])
    Survey(electrodes=places, data=data, name="ridge").write(tmp_path / "ridge.ohm")
    one, two = of_one_and_two_processes(PROGRAM, tmp_path)
    assert one["solved"] == two["solved"] == 1
    np.testing.assert_allclose(two["k"], one["k"], rtol=1e-10)


def test_a_mesh_whose_top_is_elsewhere_is_refused(ridge, tmp_path):
    places = read(ridge / "ridge.ohm").electrodes - [0, 0, 1.5]
    Survey(electrodes=places, data=np.array([(0, 1, 2, 3)]), name="low").write(tmp_path / "low.ohm")
    given = f"survey.file={tmp_path}/low.ohm", f"mesh.file={ridge}/ridge.msh"
    with pytest.raises(
        InputError, match=r"electrode 1 at .* in no borehole of the survey"
    ) as error:
        ERT.check(settings(*given))
    assert "use a mesh whose top meets the electrodes" in str(error.value)


def test_a_survey_s_file_that_changes_is_read_again(tmp_path):
    file = tmp_path / "line.ohm"
    found = []
    for n in (6, 7):
        made_survey("wenner", n).write(file)
        found.append(len(case_of(settings(f"survey.file={file}")).survey.electrodes))
    assert found == [6, 7]


def test_runs_draw_from_the_prior():
    field = settings("model.kind=field", "field.terms=3", "field.bounds=[-2,2]")
    Y = drawn(ERT, field, 2000, 3)
    assert Y is not None and np.array_equal(drawn(ERT, field, 100, 3), Y[:100])
    inside = stats.truncnorm(-2, 2)
    for z in Y[:, -3:].T:
        assert (
            stats.kstest(z, inside.cdf).pvalue > 1e-3 > stats.kstest(z / 4 + 0.5, "uniform").pvalue
        )
    # Without such coefficients, the draw is that of the design to the bit.
    about, uniform = ERT.describe(settings(*LAYERS)), drawn(ERT, settings(*LAYERS), 50, 3)
    rows = {"total": 50, "seed": 3, "start": 0, "stop": 50}
    assert np.array_equal(uniform, draw("box", about["y_lower"], about["y_upper"], **rows))
