"""Errors of dc/dy: every kind of derivatives, groups of outputs, units, and what commands print."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from commands import run
from samples import made, with_derivatives

import surrogates
from surrogates.data import Dataset
from surrogates.data.from_arrays import from_arrays
from surrogates.model import torchscript
from surrogates.model.held_out import held_out_jacobian
from surrogates.model.metrics import jacobian_errors
from surrogates.model.recorded import derivatives_in_words, recorded
from surrogates.model.summaries import ErrorSummary, Evaluation

KINDS = ("tangents", "directions", "adjoints")


class Bilinear:
    """A map y -> A y + b_j y_0 y_1, whose Jacobian is known, in the place of a surrogate."""

    def __init__(self, n_y=2, n_c=3, seed=0):
        rng = np.random.default_rng(seed)
        self.A, self.b = rng.standard_normal((n_c, n_y)), rng.standard_normal(n_c)

    def exact(self, Y):
        J = np.repeat(self.A[None], len(Y), axis=0)
        J[:, :, 0] += self.b * Y[:, 1:2]
        J[:, :, 1] += self.b * Y[:, :1]
        return J

    def jacobian(self, Y):
        return torch.from_numpy(self.exact(Y.numpy()))


def ranged(dataset, ranges):
    info = dataclasses.replace(dataset.info, y_upper=dataset.info.y_lower + ranges)
    return dataclasses.replace(dataset, info=info)


def relative(error, truth):
    return np.linalg.norm(error, axis=(1, 2)) / np.linalg.norm(truth, axis=(1, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_errors_are_those_of_the_formula(kind):
    ranges = np.array([2.0, 0.5])
    dataset = ranged(with_derivatives(made(40), kind), ranges)
    rows, model = dataset.rows_of("test"), Bilinear()
    J = model.exact(dataset.Y[rows])
    if kind == "tangents":
        error, truth = (J - dataset.dC_dY[rows]) * ranges, dataset.dC_dY[rows] * ranges
    elif kind == "directions":
        V = dataset.directions[rows]
        lengths = np.linalg.norm(V / ranges, axis=2)[:, None]
        error = (J @ V.transpose(0, 2, 1) - dataset.dC_dV[rows]) / lengths
        truth = dataset.dC_dV[rows] / lengths
    else:
        W, S = dataset.info.functionals, np.diag(dataset.info.c_scale)
        lifted = S @ np.linalg.pinv(W @ S)
        error, truth = ((lifted @ part) * ranges for part in (W @ J, dataset.dW_dY[rows]))
        error = error - truth
    found = held_out_jacobian(model, dataset, "test")
    expected = relative(error, truth)
    assert list(found) == ["V"]
    assert found["V"].mean == pytest.approx(expected.mean(), rel=1e-12)
    assert found["V"].max == pytest.approx(expected.max(), rel=1e-12)
    assert 0.1 < found["V"].mean < 10


def test_all_directions_of_an_orthonormal_basis_have_the_error_of_the_whole():
    ranges = np.array([3.0, 0.2])
    dataset = ranged(with_derivatives(made(40), "tangents"), ranges)
    rng = np.random.default_rng(5)
    Q = np.linalg.qr(rng.standard_normal((40, 2, 2)))[0]
    V = Q * ranges
    info = dataclasses.replace(dataset.info, tangents=False, directions=2)
    turned = dataclasses.replace(
        dataset, info=info, dC_dY=None, directions=V, dC_dV=dataset.dC_dY @ V.transpose(0, 2, 1)
    )
    whole = held_out_jacobian(Bilinear(), dataset, "test")["V"]
    other = held_out_jacobian(Bilinear(), turned, "test")["V"]
    assert dataclasses.astuple(other) == pytest.approx(dataclasses.astuple(whole), rel=1e-12)


def test_the_exact_jacobian_has_no_error():
    dataset = made(30)
    model = Bilinear()
    J = model.exact(dataset.Y)
    info = dataclasses.replace(dataset.info, tangents=True)
    exact = dataclasses.replace(dataset, info=info, dC_dY=J)
    assert held_out_jacobian(model, exact, "test")["V"].max < 1e-14
    a_little_off = dataclasses.replace(exact, dC_dY=J * 1.01)
    assert held_out_jacobian(model, a_little_off, "test")["V"].mean == pytest.approx(0.01 / 1.01)


def given(n=12, n_c=4, n_y=3, seed=0):
    rng = np.random.default_rng(seed)
    Y, J = rng.standard_normal((n, n_y)), rng.standard_normal((n, n_c, n_y))
    V = np.broadcast_to(np.eye(n_y), (n, n_y, n_y))
    T = J + 0.1 * rng.standard_normal(J.shape)
    return Y, J, V, T


def of_rows(Y, J):
    """A function that finds the Jacobians of rows of Y, as a surrogate does."""

    def jacobian(rows):
        places = [int(np.flatnonzero((Y == row).all(axis=1))[0]) for row in rows.numpy()]
        return torch.from_numpy(J[places])

    return jacobian


def test_outputs_of_each_unit_have_an_error_of_their_own():
    Y, J, V, T = given()
    about = {"ranges": np.ones(3)}
    found = jacobian_errors(of_rows(Y, J), Y, V, T, units=["V", "m", "V", ""], **about)
    assert list(found) == ["V", "m", "1"]
    for unit, mine in {"V": [0, 2], "m": [1], "1": [3]}.items():
        expected = relative((J - T)[:, mine], T[:, mine])
        assert found[unit].mean == pytest.approx(expected.mean(), rel=1e-12)


def test_units_of_y_do_not_matter():
    Y, J, V, T = given()
    unit = np.array([1e-6, 1.0, 1e9])
    ranges = np.array([1.0, 2.0, 3.0])
    plain = jacobian_errors(of_rows(Y, J), Y, V, T, units=["V"] * 4, ranges=ranges)["V"]
    other = jacobian_errors(
        of_rows(Y * unit, J / unit), Y * unit, V, T / unit, units=["V"] * 4, ranges=ranges * unit
    )["V"]
    assert dataclasses.astuple(other) == pytest.approx(dataclasses.astuple(plain), rel=1e-12)
    raw = relative(J - T, T).mean()
    assert abs(raw / plain.mean - 1) > 1e-3  # the ranges do


def test_directions_without_data_and_samples_without_any_are_left_out():
    Y, J, V, T = given()
    T[2, :, 1] = T[5] = math.nan
    found = jacobian_errors(of_rows(Y, J), Y, V, T, units=["V"] * 4, ranges=np.ones(3), entries=30)[
        "V"
    ]
    rows = [i for i in range(12) if i != 5]
    error, truth = (part[rows].copy() for part in (J - T, T))
    error[2, :, 1] = truth[2, :, 1] = 0
    expected = relative(error, truth)
    assert found.mean == pytest.approx(expected.mean(), rel=1e-12)
    assert found.std == pytest.approx(expected.std(), rel=1e-12)
    T[:] = math.nan
    about = {"units": ["V"] * 4, "ranges": np.ones(3)}
    assert jacobian_errors(of_rows(Y, J), Y, V, T, **about) == {}


def test_a_sample_whose_derivatives_are_near_zero_is_counted():
    Y, J, V, T = given()
    T[3] *= 1e-6
    about = {"units": ["V"] * 4, "ranges": np.ones(3)}
    found = jacobian_errors(of_rows(Y, J), Y, V, T, **about)["V"]
    assert found.near_zero == 1
    assert found.said("dc/dy").endswith("(says little: dc/dy is near 0 in 1 samples)")
    T[3] = 0
    found = jacobian_errors(of_rows(Y, J), Y, V, T, **about)["V"]
    assert found.said("dc/dy") == "undefined, as a sample has dc/dy = 0"


def test_a_title_names_the_unit_where_there_are_several():
    one = ErrorSummary(mean=0.01, std=0.0, min=0.01, max=0.01)
    plain = {"samples": 1, "relative": one, "centred": one}
    plain |= dict.fromkeys(("output_rms", "output_relative"), (0.1,))
    assert Evaluation(**plain).by_unit == {}
    assert list(Evaluation(**plain, jacobian={"V": one}).by_unit) == ["dc/dy"]
    several = Evaluation(**plain, jacobian={"V": one, "m": one})
    assert list(several.by_unit) == ["dc/dy [V]", "dc/dy [m]"]


# The commands


@pytest.fixture(scope="module")
def differentiable(tmp_path_factory):
    """A folder with a dataset of a smooth map with tangents, and a surrogate of it."""
    folder = tmp_path_factory.mktemp("differentiable")
    rng = np.random.default_rng(0)
    Y, A = rng.random((120, 3)), rng.normal(size=(3, 5))
    C = 2 + np.tanh(Y @ A) + 0.1 * (Y @ A) ** 2
    slope = 1 - np.tanh(Y @ A) ** 2 + 0.2 * (Y @ A)
    plain = from_arrays(Y, C)
    info = dataclasses.replace(plain.info, tangents=True)
    whole = dataclasses.replace(plain, info=info, dC_dY=slope[:, :, None] * A.T)
    whole.write(folder / "map.h5")
    words = ("--effort", "fast", "--set", "stopping.work_units=130", "--set", "network.width=4")
    assert run("train", folder / "map.h5", "--out", folder / "map.pt", *words) == 0
    return folder


def test_evaluate_prints_the_error_that_a_user_would_compute(differentiable, capsys):
    files = differentiable / "map.pt", differentiable / "map.h5"
    surrogate, dataset = surrogates.load(files[0]), Dataset.read(files[1])
    rows = dataset.rows_of("test")
    ranges = dataset.info.y_upper - dataset.info.y_lower
    error = (surrogate.jacobian(dataset.Y[rows]) - dataset.dC_dY[rows]) * ranges
    expected = relative(error, dataset.dC_dY[rows] * ranges)
    assert 1e-4 < expected.mean() < 0.5
    capsys.readouterr()
    assert run("evaluate", *files) == 0
    printed = capsys.readouterr().out
    assert f"\nerror of dc/dy:    mean {100 * expected.mean():.3f} %, std " in printed
    assert run("evaluate", *files, "--json") == 0
    found = json.loads(capsys.readouterr().out)["jacobian"]
    assert found["1"]["mean"] == pytest.approx(expected.mean(), rel=1e-9)
    assert surrogate.evaluate(dataset).jacobian["1"].max == pytest.approx(expected.max(), rel=1e-9)


def test_a_surrogate_s_file_keeps_the_errors_of_its_derivatives(differentiable, capsys):
    surrogate = surrogates.load(differentiable / "map.pt")
    found = surrogate.errors["test"].jacobian
    assert found == surrogate.evaluate(Dataset.read(differentiable / "map.h5")).jacobian
    assert run("info", differentiable / "map.pt") == 0
    assert f"\ntest dc/dy:       mean {100 * found['1'].mean:.3f} %" in capsys.readouterr().out
    assert "error of dc/dy, test" in surrogate._repr_html_()


def test_errors_of_a_file_of_an_older_version_have_no_derivatives():
    errors = {"test": {"samples": 3}}
    assert recorded({"task": "regression", "errors": errors})["test"].jacobian == {}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, ""),
        ({"directions": 6, "samples": 0, "weight": 0.3}, ""),
        (
            {"directions": "all", "samples": 40, "weight": 0.25},
            "dc/dy of 40 samples in all y, weight 0.25",
        ),
        (
            {"directions": 6, "samples": 40, "weight": None},
            "dc/dy of 40 samples in 6 directions a sample",
        ),
        (
            {"directions": 1, "samples": 40, "weight": 1},
            "dc/dy of 40 samples in 1 direction a sample, weight 1",
        ),
    ],
)
def test_a_file_says_which_derivatives_it_was_trained_with(found, said):
    assert derivatives_in_words({"derivatives": found}) == said


def test_info_and_notebooks_say_so_too(differentiable, tmp_path, capsys):
    surrogate = surrogates.load(differentiable / "map.pt")
    told = {"directions": "all", "samples": 96, "weight": 0.5}
    training = {**surrogate.metadata["training"], "derivatives": told}
    about = {**surrogate.metadata, "training": training}
    members = {**surrogate.members, "extra/metadata.json": json.dumps(about).encode()}
    (tmp_path / "d.pt").write_bytes(torchscript.pack(members))
    assert run("info", tmp_path / "d.pt") == 0
    line = "dc/dy of 96 samples in all y, weight 0.5"
    assert line in capsys.readouterr().out
    assert line in surrogates.load(tmp_path / "d.pt")._repr_html_()
