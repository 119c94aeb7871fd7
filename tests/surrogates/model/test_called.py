"""What a loaded surrogate takes and gives: attributes, shapes, data frames, selected outputs."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
from exports import arguments, check_close, in_numpy
from extended import both, every_surrogate, points

import surrogates
from surrogates.errors import InputError
from surrogates.export import npz
from surrogates.model import file as export
from surrogates.model.surrogate import Surrogate

OF_Y = ("predict", "predict_std", "jacobian", "in_domain")
OF_PAIRS = ("jvp", "vjp", "hvp")


@pytest.fixture(
    params=[
        "torch",
        "numpy",
        pytest.param(
            "c", marks=pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
        ),
    ]
)
def loaded(saved, request):
    return surrogates.load(saved, engine=request.param)


def rows_of(found, *lead):
    return found.reshape(*lead, *found.shape[1:])


def test_attributes(loaded, dataset, Y):
    info = dataset.info
    assert (loaded.n_in, loaded.n_out) == (4, 6)
    assert loaded.y_names == info.y_names and loaded.c_names == info.c_names
    assert loaded.y_units == info.y_units and loaded.c_units == info.c_units
    assert loaded.c_coordinates.keys() == info.coordinates.keys()
    for name, values in info.coordinates.items():
        np.testing.assert_array_equal(loaded.c_coordinates[name], values)
    domain = loaded.domain
    np.testing.assert_array_equal(loaded.bounds, [domain.lower, domain.upper])
    assert domain.normals.shape == (0, 4) and domain.centre.shape == (4,)
    assert domain.contains(Y.numpy()).all() and not domain.contains(domain.upper + 1)
    domain.lower[:] = 1e9  # a copy
    assert loaded.in_domain(Y.numpy()).all()


def test_normals_are_those_of_y(parts, saved, tmp_path):
    parts["domain"] = dataclasses.replace(
        parts["domain"], normals=np.full((1, 4), 0.5), unit=np.array([1.0, 2.0, 4.0, 8.0])
    )
    export.save(Surrogate(**parts), export.load(saved).metadata, tmp_path / "flat.pt")
    loaded = surrogates.load(tmp_path / "flat.pt")
    domain = loaded.domain
    step = np.array([1.0, -1.0, 0.0, 0.0])
    on, off = step * [1, 2, 4, 8], step * [1, -2, 4, 8]
    for s in (loaded, in_numpy(loaded)):
        assert s.domain.contains(domain.centre + 1e-2 * on)
        assert not s.domain.contains(domain.centre + 1e-2 * off)
    assert abs(domain.normals @ on) < 1e-15 < 1e-2 < abs(domain.normals @ off)


@every_surrogate
def test_any_leading_dimensions(name):
    surrogate, of_torch = both(name)
    for s in (of_torch, in_numpy(of_torch)):
        Y = points(surrogate)[:12]
        for method in (*OF_Y, *OF_PAIRS):
            more = arguments(surrogate, method, 12)
            call = getattr(s, method)
            flat = call(Y, *more)
            found = call(Y.reshape(2, 3, 2, -1), *(x.reshape(2, 3, 2, -1) for x in more))
            right = rows_of(flat, 2, 3, 2)
            assert found.shape == right.shape and found.dtype == right.dtype
            slack = 1e-12 * np.abs(right).max()  # products are rounded by how arrays lie in memory
            np.testing.assert_allclose(found, right, rtol=1e-12, atol=slack)
            for lead in ((0,), (2, 0)):
                none = call(
                    np.empty((*lead, s.n_in)), *(np.empty((*lead, x.shape[1])) for x in more)
                )
                assert none.shape == (*lead, *flat.shape[1:]) and none.dtype == flat.dtype
        assert s.predict_interval(Y.reshape(3, 4, -1), 0.9).shape == (3, 4, 2, s.n_out)


def test_directions_and_cotangents_broadcast(loaded, Y):
    y, rng = Y.numpy(), np.random.default_rng(0)
    v, w = rng.standard_normal((3, 1, 4)), rng.standard_normal((3, 1, 6))
    J = loaded.jacobian(y)
    for found, right in (
        (loaded.jvp(y, v), np.einsum("nij,knj->kni", J, np.broadcast_to(v, (3, 7, 4)))),
        (loaded.jvp(y, v[0, 0]), J @ v[0, 0]),
        (loaded.jvp(y[0], v), (J[0] @ v[..., None])[..., 0]),
        (loaded.vjp(y, w), np.einsum("nij,kni->knj", J, np.broadcast_to(w, (3, 7, 6)))),
        (loaded.vjp(y[0], w[:, 0]), w[:, 0] @ J[0]),
        (loaded.vjp(y, w[0, 0]), w[0, 0] @ J),
    ):
        assert found.shape == right.shape
        np.testing.assert_allclose(found, right, rtol=1e-11, atol=1e-12)
    found = loaded.hvp(y, w[0, 0], v)
    assert found.shape == (3, 7, 4)
    np.testing.assert_allclose(found[1, 2], loaded.hvp(y[2], w[0, 0], v[1, 0]), atol=1e-12)
    for call, given, message in (
        (loaded.hvp, (y, w[:, 0], v), r"expected w for each y, \(7, 6\), or .*got \(3, 6\)"),
        (loaded.vjp, (y, w[:2, 0]), r"expected w for each y, \(7, 6\), or .*got \(2, 6\)"),
    ):
        with pytest.raises(InputError, match=message):
            call(*given)


def test_what_is_not_finite_is_outside_the_domain(loaded, Y):
    """Samplers ask it of points to which they have diverged."""
    y = Y.numpy().reshape(7, 1, 4).copy()
    y[1, 0, 2], y[2, 0, 0], y[4, 0] = np.nan, np.inf, -np.inf
    right = [[True], [False], [False], [True], [False], [True], [True]]
    assert loaded.in_domain(y).tolist() == loaded.domain.contains(y).tolist() == right
    assert not loaded.in_domain(y[1, 0]) and loaded.in_domain(y[0, 0])


def test_a_number_of_one_sample_is_a_number_of_numpy(loaded, Y):
    """Dicts take it as a key, and codes in C as a float; an array of no dimensions is neither."""
    y = Y.numpy()[0]
    assert type(loaded.in_domain(y)) is np.bool_
    likelihood = loaded.likelihood(loaded.predict(y), 0.1, surrogate_errors=False)
    value, _ = likelihood.value_and_gradient(y)
    for found in (likelihood(y), likelihood.log_density(y), likelihood.chi2(y), value):
        assert type(found) is np.float64
    assert likelihood(y[None]).shape == (1,)


def test_other_numbers(loaded, Y):
    y = Y.numpy().astype(np.float32)
    right = loaded.predict(y.astype(np.float64))
    readonly = y.astype(np.float64)
    readonly.flags.writeable = False
    for values in (
        y,
        y.tolist(),
        tuple(map(tuple, y.tolist())),
        np.asfortranarray(y),
        y.astype(">f8"),
        readonly,
        np.repeat(y.astype(np.float64), 2, axis=0)[::2],
    ):
        np.testing.assert_array_equal(loaded.predict(values), right)
    huge = np.full(4, 1e200)  # finite, though its square is not
    assert loaded.predict(huge).shape == (6,)


def test_out(loaded, Y):
    y = Y.numpy()
    for method, shape in (("predict", (6,)), ("jacobian", (6, 4))):
        call = getattr(loaded, method)
        for rows in (y, y[0], y[:6].reshape(2, 3, 4)):
            out = np.full((*rows.shape[:-1], *shape), np.nan)
            assert call(rows, out=out) is out
            np.testing.assert_array_equal(out, call(rows))
        part = np.zeros((len(y), 2, *shape))[:, 1]
        np.testing.assert_array_equal(call(y, out=part), call(y))
        for out, message in (
            (np.empty((7, 5)), r"out to be a writable array of float64.*got float64 of shape \(7,"),
            (np.empty((7, *shape), np.float32), "got float32 of shape"),
            ([0.0], "got <class 'list'>"),
        ):
            with pytest.raises(InputError, match=message):
                call(y, out=out)


def test_data_frames_give_data_frames(loaded, Y):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(Y.numpy(), columns=list(loaded.y_names), index=list("pqrstuv"))
    shuffled = frame[list(loaded.y_names[::-1])]
    y, w = Y.numpy(), np.linspace(-1, 1, 6)
    for found, right, names in (
        (loaded.predict(shuffled), loaded.predict(y), loaded.c_names),
        (loaded(shuffled), loaded.predict(y), loaded.c_names),
        (loaded.predict_std(shuffled), loaded.predict_std(y), loaded.c_names),
        (loaded.jvp(shuffled, frame), loaded.jvp(y, y), loaded.c_names),
        (loaded.vjp(shuffled, w), loaded.vjp(y, w), loaded.y_names),
    ):
        assert isinstance(found, pandas.DataFrame)
        assert list(found.index) == list("pqrstuv") and tuple(found.columns) == names
        np.testing.assert_array_equal(found.to_numpy(), right)
    one = loaded.predict(shuffled.loc["r"])
    assert isinstance(one, pandas.Series) and one["u(s0, 0.5)"] == loaded.predict(y[2])[0]
    assert type(loaded.jacobian(shuffled)) is np.ndarray
    assert list(frame[loaded.in_domain(frame)].index) == list("pqrstuv")
    assert loaded.predict(frame.iloc[:0]).shape == (0, 6)


def test_tables_of_polars_and_pyarrow_give_their_like(loaded, Y):
    """They are known by what they show of columns and rows."""
    polars = pytest.importorskip("polars", reason="there is no polars")
    pyarrow = pytest.importorskip("pyarrow", reason="there is no pyarrow")
    y, names = Y.numpy(), loaded.y_names[::-1]
    columns = {name: y[:, loaded.y_names.index(name)] for name in names}
    right = loaded.predict(y)
    frame = loaded.predict(polars.DataFrame(columns))
    assert type(frame) is polars.DataFrame and tuple(frame.columns) == loaded.c_names
    np.testing.assert_array_equal(frame.to_numpy(), right)
    table = pyarrow.table(columns)
    for given, kind in ((table, pyarrow.Table), (table.to_batches()[0], pyarrow.RecordBatch)):
        found = loaded.predict_std(given)
        assert type(found) is kind and tuple(found.schema.names) == loaded.c_names
        values = np.stack([np.asarray(column) for column in found.columns], axis=1)
        np.testing.assert_array_equal(values, loaded.predict_std(y))
    assert type(loaded.jacobian(table)) is np.ndarray
    assert loaded.predict(table.slice(0, 0)).num_rows == 0
    with pytest.raises(InputError, match="lacks"):
        loaded.predict(table.drop_columns([names[0]]))


@every_surrogate
def test_selected_outputs(name, tmp_path):
    surrogate, whole = both(name)
    Y, rows = points(surrogate)[:5], [7, 2]
    v, w = np.random.default_rng(0).standard_normal((5, whole.n_in)), np.ones((5, 2))
    G = np.zeros((5, whole.n_out))
    G[:, rows] = w
    for s in (whole, in_numpy(whole)):
        found = s.select(["c7", 2])
        assert found.c_names == ("c7", "c2") and found.n_out == 2 and found.c_units == ("V", "V")
        for y, at in ((Y, slice(None)), (Y[0], 0)):
            for method in ("predict", "predict_std"):
                check_close(getattr(found, method)(y), getattr(s, method)(y)[..., rows], method)
            check_close(found.jacobian(y), s.jacobian(y)[..., rows, :], "jacobian")
            check_close(found.jvp(y, v[at]), s.jvp(y, v[at])[..., rows], "jvp")
            check_close(found.vjp(y, w[at]), s.vjp(y, G[at]), "vjp")
            check_close(found.hvp(y, w[at], v[at]), s.hvp(y, G[at], v[at]), "hvp")
            interval = s.predict_interval(y, 0.9)[..., rows]
            check_close(found.predict_interval(y, 0.9), interval, "interval")
            one = found.select("c2")
            check_close(one.predict(y), s.predict(y)[..., [2]], "one")
            check_close(one.jacobian(y), s.jacobian(y)[..., [2], :], "jacobian of one")
            check_close(
                one.hvp(y, w[at][..., :1], v[at]), s.select(2).hvp(y, w[at][..., :1], v[at]), ""
            )
        npz.save(found, tmp_path / "two.npz")
        check_close(surrogates.load(tmp_path / "two.npz").predict(Y), found.predict(Y), "npz")
        assert s.select(slice(0, 3)).c_names == ("c0", "c1", "c2") and s.select(-1).n_out == 1
        marks = np.isin(np.arange(11), rows)
        for given in (marks, marks.tolist()):
            assert s.select(given).c_names == ("c2", "c7")
        for outputs, message in (
            ("c99", "there is no output 'c99'; did you mean 'c9'"),
            (11, "expected an index of one of 11 outputs; got 11"),
            ([], "expected at least one output to select"),
            (1.5, "expected the name or index of an output to select; got 1.5"),
            (marks[:3], "or a mark for each of 11; got "),
            (~marks & marks, "expected at least one output to select"),
        ):
            with pytest.raises(InputError, match=message):
                s.select(outputs)


def test_a_selection_keeps_what_is_true_of_it(saved, dataset):
    s = surrogates.load(saved).select([4, 1])
    for name, values in dataset.info.coordinates.items():
        np.testing.assert_array_equal(s.c_coordinates[name], np.asarray(values)[[4, 1]])
    for errors in s.errors.values():
        assert len(errors.output_rms) in (0, 2) and np.isnan(errors.relative.mean)
    assert "nan" not in repr(s) and "nan" not in s._repr_html_()
    with pytest.raises(
        InputError, match="has no TorchScript module to write as .pt: write an .npz"
    ):
        s.save("two.pt")
    with pytest.raises(InputError, match="module: these are some of a surrogate's outputs; take"):
        s.eager()
