"""Numbers of callers: names are matched, and what is more than numbers is refused."""

from __future__ import annotations

import decimal
import fractions
from collections import OrderedDict, namedtuple

import h5py
import numpy as np
import pytest
import scipy.sparse
import torch

from surrogates import given
from surrogates.errors import InputError

NAMES = ("a", "b", "γ")
Y = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
Point = namedtuple("Point", ["b", "c", "a"])


def structured(order=("γ", "a", "b")):
    array = np.zeros(len(Y), [(name, "f4") for name in order])
    for name in order:
        array[name] = Y[:, NAMES.index(name)]
    return array


def of_pandas(order=("γ", "a", "b"), **options):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(dict(zip(NAMES, Y.T, strict=True)), **options)[list(order)]


def test_arrays_lists_and_tensors_are_taken_in_the_order_of_the_names():
    for values in (
        *(Y, Y.tolist(), tuple(map(tuple, Y)), list(Y), torch.from_numpy(Y), list(torch.tensor(Y))),
        *(Y.astype(kind) for kind in ("f2", "f4", "g", "i1", "u8", ">f8")),
        *(np.asfortranarray(Y), Y[:, ::-1][:, ::-1], memoryview(Y)),
    ):
        found = given.real(values, NAMES, "y")
        assert found.dtype == np.float64 and found.flags.c_contiguous
        np.testing.assert_array_equal(found, Y)
    found = given.real(Y, NAMES, "y")
    found[:] = 0
    assert Y.all()  # a copy
    assert given.real(np.array(["1e400"], "g"), NAMES, "y")[0] == np.inf or np.finfo("g").bits == 64


@pytest.mark.parametrize(
    "values",
    [
        structured(),
        structured().view(np.recarray),
        {"b": Y[:, 1], "γ": Y[:, 2].tolist(), "a": torch.from_numpy(Y[:, 0])},
        [dict(zip("baγ", row, strict=True)) for row in Y[:, [1, 0, 2]]],
        list(structured()),
    ],
)
def test_names_are_matched_in_any_order(values):
    np.testing.assert_array_equal(given.real(values, NAMES, "y"), Y)


@pytest.mark.parametrize(
    "values",
    [
        structured()[0],
        {"b": 2, "γ": np.float32(3), "a": True},
        {"b": 2, "γ": np.float64(3), "a": 1.0},
        OrderedDict(γ=3.0, a=1, b=2.0),
        Point(b=2.0, c=3.0, a=1.0),
    ],
)
def test_one_sample_may_have_names_too(values):
    names = ("a", "b", "c") if isinstance(values, Point) else NAMES
    assert given.real(values, names, "y").tolist() == [1, 2, 3]


def test_frames_and_series_of_pandas():
    pandas = pytest.importorskip("pandas")
    frame = of_pandas()
    nullable = frame.astype({"a": "Float64", "b": "Int64", "γ": "float32"})
    for values in (frame, nullable, list(frame.itertuples(index=False)), frame.loc[[0, 1]]):
        np.testing.assert_array_equal(given.real(values, NAMES, "y"), Y)
    np.testing.assert_array_equal(given.real([row for _, row in frame.iterrows()], NAMES, "y"), Y)
    assert given.real(frame.iloc[1], NAMES, "y").tolist() == [4, 5, 6]
    assert given.real(nullable.iloc[1], NAMES, "y").tolist() == [4, 5, 6]
    # Numbered columns have no names.
    np.testing.assert_array_equal(given.real(pandas.DataFrame(Y), NAMES, "y"), Y)
    assert given.real(pandas.Series(Y[0]), NAMES, "y").tolist() == [1, 2, 3]
    with pytest.raises(InputError, match="y lacks 'a', 'b', 'γ', has the unknown '2', '1', '0'"):
        given.real(pandas.DataFrame(Y)[[2, 1, 0]], NAMES, "y")
    nullable.loc[1, "b"] = pandas.NA
    assert np.isnan(given.real(nullable, NAMES, "y")).tolist() == [
        [False] * 3,
        [False, True, False],
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": {"b": "bb"}}, "y lacks 'b', has the unknown 'bb'; did you mean 'b'"),
        ({"columns": {"b": "a"}}, "y lacks 'b', has twice 'a'; expected are a, b, γ"),
        ({"columns": {"b": "x"}}, "y lacks 'b', has the unknown 'x'; expected are a, b, γ"),
    ],
)
def test_names_that_do_not_fit_are_one_clear_line(change, message):
    refused(of_pandas().rename(**change), message)
    refused(of_pandas().rename(**change).iloc[0], message)


def refused(values, message):
    with pytest.raises(InputError) as caught:
        given.real(values, NAMES, "y")
    assert message in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_missing_and_further_columns_are_refused():
    refused(of_pandas()[["a", "b"]], "y lacks 'γ'; expected are a, b, γ")
    refused(of_pandas().assign(z=1), "y has the unknown 'z'; expected are a, b, γ")
    refused({"a": 1.0, "b": 2.0}, "y lacks 'γ'")
    refused({}, "y lacks 'a', 'b', 'γ'")
    refused([{"a": 1, "b": 2, "γ": 3}, {"a": 1, "b": 2}], "y, row 1 lacks 'γ'")
    refused({"a": [1.0, 2.0], "b": [1.0, 2.0], "γ": 1.0}, "columns of one length in y; got the sh")
    refused({"a": Y, "b": Y, "γ": Y}, "expected columns of one length in y")


def test_what_is_no_real_number_is_one_clear_line():
    frame = of_pandas()
    for kind, message in (
        ("category", "y, column 'b' holds categories; give numbers"),
        ("str", "expected real numbers in y, column 'b'; got"),
        ("complex", "expected real numbers in y, column 'b'; got complex128"),
        ("datetime64[ns]", "expected real numbers in y, column 'b'; got datetime64"),
    ):
        refused(frame.astype({"b": kind}), message)
    refused(frame["b"].astype("category"), "y holds categories")
    for values in (
        *(Y * 1j, Y.astype("U3"), Y.astype("S3"), Y.astype("M8[s]"), "text"),
        *(None, [1.0, 2.0, "3"], [[1.0, 2.0, 3.0], {"a"}], 1 + 2j),
    ):
        refused(values, "y")


def test_objects_that_are_real_numbers_are_taken_as_such():
    """As rows of a data frame with texts elsewhere have them."""
    exact = [
        [decimal.Decimal(1), fractions.Fraction(2), 3],
        [4.0, np.float32(5), fractions.Fraction(6)],
    ]
    objects = np.array([[1, 2.0, np.int8(3)], [4, 5, 6]], dtype=object)
    for values in (Y.astype(object), objects, exact, np.array(exact, dtype=object), list(objects)):
        found = given.real(values, NAMES, "y")
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, Y)
    assert given.real([10**30, 1, 2], NAMES, "y").tolist() == [1e30, 1.0, 2.0]

    class Length(float):
        unit = "km"

        def __array__(self, dtype=None, copy=None):
            return np.float64(self)

    for value, message in (
        (None, "got an object of type NoneType"),
        ("2", "got an object of type str"),
        (1j, "got an object of type complex"),
        (np.complex128(1), "got an object of type complex128"),
        (10**400, "int too large to convert to float"),
        (Length(2.0), "has the unit km"),
        (torch.ones((), requires_grad=True), "is a tensor with gradients"),
    ):
        objects[0, 1] = value
        refused(objects, message)


def test_columns_of_objects_are_taken_where_they_are_numbers():
    frame = of_pandas().astype(object)
    np.testing.assert_array_equal(given.real(frame, NAMES, "y"), Y)
    row = of_pandas().assign(label="wet").iloc[0]
    assert given.real(row[list(NAMES)], NAMES, "y").tolist() == [1, 2, 3]
    frame.loc[1, "b"] = None
    refused(frame, "expected real numbers in y, column 'b'; got an object of type NoneType")


def test_values_that_are_read_once_are_taken_in_their_order():
    row = dict(zip(NAMES, Y[0].tolist(), strict=True))
    for values in (row.values(), (x for x in Y[0]), map(float, Y[0]), iter(Y[0].tolist())):
        assert given.real(values, NAMES, "y").tolist() == [1, 2, 3]
    np.testing.assert_array_equal(given.real((list(one) for one in Y), NAMES, "y"), Y)
    refused({1.0, 2.0, 3.0}, "got an object of type set")


def test_an_array_that_jax_traces_is_one_clear_line():
    class Tracer:
        """What `given` sees of one."""

        def __array__(self, dtype=None, copy=None):
            raise TypeError("traced\nin lines")

    class Inner(Tracer):
        pass

    for values in (Inner(), [Inner(), 1.0, 2.0]):
        refused(values, "is traced by JAX, as within jit, grad and vmap, and has no numbers yet; ")


def test_what_numpy_would_strip_is_refused():
    masked = np.ma.masked_less(Y, 2)
    for values in (
        masked,
        masked[0],
        np.ma.array(Y),
        list(masked),
        {"a": masked[:, 0], "b": 1, "γ": 1},
    ):
        refused(values, "is a masked array; leave its masked values out, or fill them")
    refused(np.ma.array(structured(), mask=[(1, 0, 0)] * 2), "is a masked array")

    class Quantity(np.ndarray):
        unit = "km"

    refused(Y.view(Quantity), "y has the unit km; give plain numbers, in the dataset's units")
    refused(
        {"a": Y[:, 0].view(Quantity), "b": Y[:, 1], "γ": Y[:, 2]}, "y, column 'a' has the unit km"
    )


def test_tensors_with_gradients_are_one_clear_line():
    refused(
        torch.ones(3, requires_grad=True), "y is a tensor with gradients, which end here; give its"
    )
    refused([[1.0, 2.0], [3.0]], "y cannot be read as an array of numbers")


def test_a_mask_is_seen_wherever_it_is():
    class Masked:
        def __array__(self, dtype=None, copy=None):
            return np.ma.masked_less(Y, 2)

    row = np.ma.masked_less(Y, 2)[0]
    for values in (Masked(), [[row]], [[Y[0], row]], {"a": 1, "b": 2, "γ": row[0]}):
        refused(values, "is a masked array; leave its masked values out, or fill them")


def test_arrays_of_a_file_are_taken(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["plain"], file["named"] = Y, structured()
        for name in file:
            np.testing.assert_array_equal(given.real(file[name], NAMES, "y"), Y)


def test_sparse_matrices_are_one_clear_line():
    for kind in ("csr", "coo", "dok", "lil"):
        refused(scipy.sparse.random(2, 3, format=kind), "y is a sparse matrix; give a full one")


def test_series_of_rows_with_other_labels_are_refused():
    frame = of_pandas()
    columns = {name: frame[name] for name in NAMES}
    np.testing.assert_array_equal(given.real(columns, NAMES, "y"), Y)
    message = "the columns of y are series with rows of different labels"
    refused({**columns, "b": frame["b"][::-1]}, message)


def test_structures_of_polars_have_names():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(dict(zip(NAMES, Y.T, strict=True))).select(["γ", "a", "b"])
    series = frame.select(polars.struct("γ", "a", "b").alias("s"))["s"]
    for values in (frame, series):
        np.testing.assert_array_equal(given.real(values, NAMES, "y"), Y)


class Labelled(np.ndarray):
    """What `given` sees of an array of xarray."""

    def isel(self, where):
        ((dim, i),) = where.items()
        rest = tuple(one for one in self.dims if one != dim)
        return labelled(np.asarray(self).take(i, axis=self.dims.index(dim)), rest)


def labelled(values, dims, **coords):
    array = values.view(Labelled)
    array.dims, array.coords = dims, {}
    for dim, labels in coords.items():
        array.coords[dim] = np.array(labels).view(Labelled)
        array.coords[dim].values, array.coords[dim].dims = np.array(labels), (dim,)
    return array


def test_labels_of_xarray_are_matched_along_any_dimension():
    turned, names = Y[:, [2, 0, 1]], ["γ", "a", "b"]
    for values in (
        labelled(turned, ("s", "p"), p=names),
        labelled(turned, ("s", "p"), s=["first", "second"], p=names),
        labelled(np.ascontiguousarray(turned.T), ("p", "s"), p=names),
        labelled(Y, ("s", "p"), s=[4, 7]),
        labelled(Y, ("s", "p"), p=[0, 1, 2]),
        labelled(Y, ("s", "p"), p=[10, 20, 30]),
        labelled(Y, ("s", "p")),
    ):
        np.testing.assert_array_equal(given.real(values, NAMES, "y"), Y)
    several = np.stack([Y, 2 * Y, 3 * Y])  # chains, draws, parameters
    for values in (
        labelled(several[:, :, [2, 0, 1]], ("chain", "draw", "p"), chain=[0, 1, 2], p=names),
        labelled(several[:, :, [2, 0, 1]].transpose(2, 0, 1), ("p", "chain", "draw"), p=names),
        {n: labelled(several[..., NAMES.index(n)].copy(), ("chain", "draw")) for n in names},
    ):
        np.testing.assert_array_equal(given.real(values, NAMES, "y"), several)
    columns = {n: labelled(Y.copy(), ("chain", "draw")) for n in names}
    refused({**columns, "a": labelled(Y.copy(), ("draw", "chain"))}, "the dimensions of the column")
    refused({**columns, "a": Y}, "the dimensions of the columns of y differ")
    refused(labelled(Y, ("s", "p"), p=["a", "b", "c"]), "y lacks 'γ', has the unknown 'c'")
    refused(labelled(Y, ("s", "p"), p=[2, 0, 1]), "y lacks 'a', 'b', 'γ', has the unknown '2'")
