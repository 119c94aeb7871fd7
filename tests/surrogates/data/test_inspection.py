from __future__ import annotations

import numpy as np
import pytest

from surrogates.data.outliers import decades, outliers
from surrogates.data.ranges import read_rows
from surrogates.errors import InputError

RNG = np.random.default_rng(0)
HONEST = {
    "normal": lambda n: RNG.normal(size=(n, 3)),
    "normal about 1e6": lambda n: 1e6 + RNG.normal(size=(n, 3)),
    "of 1e-200": lambda n: 1e-200 * RNG.normal(size=(n, 3)),
    "uniform": lambda n: RNG.random((n, 3)),
    "Laplace": lambda n: RNG.laplace(size=(n, 3)),
    "exponential of normal": lambda n: np.exp(2 * RNG.normal(size=(n, 3))),
    "of wider normal": lambda n: np.exp(4 * RNG.normal(size=(n, 3))),
    "cube of normal": lambda n: RNG.normal(size=(n, 3)) ** 3,
    "distances' inverses": lambda n: 1 / np.linalg.norm(0.5 + RNG.random((n, 3, 3)), axis=2),
    "rare counts": lambda n: RNG.poisson(0.01, (n, 3)).astype(float),
    "counts": lambda n: RNG.poisson(0.3, (n, 3)).astype(float),
    "mostly zero": lambda n: np.exp(2 * RNG.normal(size=(n, 3))) * (RNG.random((n, 3)) < 0.3),
    "constant to rounding": lambda n: 1 + 1e-16 * RNG.integers(0, 3, (n, 3)),
    "constant": lambda n: np.ones((n, 3)),
    "bump": lambda n: np.exp(-((8 * RNG.random((n, 3))) ** 2)),
}


@pytest.mark.parametrize("kind", HONEST)
@pytest.mark.parametrize("n", [20, 300, 5000])
def test_honest_data_have_no_outliers(kind, n):
    for _ in range(5):
        assert outliers(HONEST[kind](n)) == []


@pytest.mark.parametrize(
    "kind", ["normal", "normal about 1e6", "of 1e-200", "uniform", "Laplace", "distances' inverses"]
)
@pytest.mark.parametrize("n", [40, 300, 5000])
def test_a_spoiled_row_is_found_where_it_is_farthest(kind, n):
    C = HONEST[kind](n)
    C[7] *= 1e4
    C[11, 0] = np.nan
    C[12, 1] += 1e8 * np.abs(C[:, 1]).max()
    C[13, 2] = np.inf
    found = outliers(C)
    assert [row for row, _, _ in found] == [7, 12] and found[1][1] == 1
    row, column, far = found[0]
    others = np.delete(C[:, column], [7, 12])
    others = others[np.isfinite(others)]
    mad = np.median(np.abs(others - np.median(others)))
    expected = abs(C[row, column] - np.median(others)) / (1.4826 * mad)
    assert far == pytest.approx(expected, rel=0.5 if n == 40 else 0.1) and far > 50


def test_the_limit_is_50_deviations():
    C = RNG.normal(size=(20000, 1))
    for far, number in ((47, 0), (53, 1)):
        C[5] = far
        assert len(outliers(C)) == number


def test_a_column_that_often_is_far_is_like_that():
    C = RNG.normal(size=(300, 2))
    C[:10, 0] += 1e6
    assert outliers(C) == []
    C[:10, 0] = RNG.normal(size=10)
    C[:2, 0] += 1e6
    assert [row for row, _, _ in outliers(C)] == [0, 1]


def test_few_rows_and_none_have_no_outliers():
    assert outliers(np.array([[1.0], [2.0], [1e9]])) == []
    assert outliers(np.empty((0, 2))) == []
    assert outliers(np.full((20, 2), np.nan)) == []


def test_decades_of_positive_columns():
    C = np.array([[1.0, -1, 1e-300, 5, np.nan], [1e5, 1e5, 1e300, 5, 1], [10, 3, 1, 5, 1e4]])
    np.testing.assert_allclose(decades(C), [5, 0, 600, 0, 4])
    assert decades(np.array([[0.0], [1e5]])).tolist() == [0]
    assert decades(np.empty((0, 2))).tolist() == [0, 0]


def test_rows_are_read_as_written():
    assert read_rows("250", 300).tolist() == [250]
    assert read_rows(" 77, 3,100-103 ,101", 300).tolist() == [3, 77, 100, 101, 102, 103]
    assert read_rows("0-299", 300).tolist() == list(range(300))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read the rows ''; write 3,77,100-120"),
        ("a", "cannot read the rows 'a'"),
        ("1,,2", "cannot read the rows '1,,2'"),
        ("1 2", "cannot read"),
        ("-1", "cannot read"),
        ("1-", "cannot read"),
        ("1-2-3", "cannot read"),
        ("1e1", "cannot read"),
        ("٣", "cannot read"),
        ("5-3", "the rows 5-3 end before they begin"),
        ("300", "there is no row 300: there are 300, from 0 to 299"),
        ("0-9999999999999", "there is no row 9999999999999"),
    ],
)
def test_rows_that_are_none_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        read_rows(text, 300)
