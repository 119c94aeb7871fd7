"""Designs: a row depends on (design, total, seed, index) alone; each fills what it should."""

import time

import numpy as np
import pytest
from scipy.stats import qmc

from surrogates.errors import InputError
from surrogates.pde.sampling import DESIGNS, EXTENDABLE, draw

LOWER, UPPER = np.array([1.0, -2.0, 0.0]), np.array([3.0, 2.0, 1e-3])


def rows(design, start, stop, total=37, seed=5):
    return draw(design, LOWER, UPPER, total=total, seed=seed, start=start, stop=stop)


@pytest.mark.parametrize("design", DESIGNS)
def test_any_division_gives_the_same_bits(design):
    whole = rows(design, 0, 37)
    pieces = [rows(design, start, min(start + 5, 37)) for start in range(0, 37, 5)]
    assert np.array_equal(whole, np.vstack(pieces))
    assert not np.array_equal(whole, rows(design, 0, 37, seed=6))


@pytest.mark.parametrize("design", DESIGNS)
def test_a_longer_set_of_some_designs_begins_with_a_shorter_one(design):
    longer = rows(design, 0, 1000, total=1000)
    assert np.array_equal(rows(design, 0, 37), longer[:37]) == (design in EXTENDABLE)
    assert np.array_equal(rows(design, 0, 517, total=517), longer[:517]) == (design in EXTENDABLE)


@pytest.mark.parametrize("design", ["box", "latin-hypercube", "sobol", "nested-latin-hypercube"])
def test_a_box_is_filled_and_kept(design):
    Y = rows(design, 0, 512, total=512)
    assert np.all((LOWER <= Y) & (Y <= UPPER))
    assert np.allclose(Y.mean(axis=0), (LOWER + UPPER) / 2, atol=0.1 * (UPPER - LOWER).max())
    assert np.all(np.ptp(Y, axis=0) > 0.95 * (UPPER - LOWER))


def test_a_latin_hypercube_has_one_point_in_every_slice():
    Y = (rows("latin-hypercube", 0, 100, total=100) - LOWER) / (UPPER - LOWER)
    assert np.array_equal(np.sort(np.floor(100 * Y).astype(int), axis=0)[:, 0], np.arange(100))


@pytest.mark.parametrize("n", [100, 200, 400, 800, 1600, 12800])
def test_a_nested_latin_hypercube_has_one_point_in_every_slice_at_each_doubling(n):
    Y = draw(
        "nested-latin-hypercube", np.zeros(3), np.ones(3), total=12800, seed=5, start=0, stop=n
    )
    slices = np.sort(np.floor(n * Y).astype(int), axis=0)
    assert np.array_equal(slices, np.tile(np.arange(n)[:, None], 3))
    # Each parameter has an order of its own, and within its slice a point lies anywhere.
    assert np.abs(np.corrcoef(Y.T) - np.eye(3)).max() < 4 / np.sqrt(n)
    within = n * Y % 1
    assert np.abs(within.mean(axis=0) - 0.5).max() < 4 / np.sqrt(12 * n)


def test_the_mean_over_a_nested_latin_hypercube_errs_less_than_over_random_samples():
    # Of a sum of functions of one parameter each, a Latin hypercube takes most of the variance
    # (McKay, Beckman, Conover 1979; Stein 1987).
    def errors(design, n):
        made = (
            draw(design, np.zeros(3), np.ones(3), total=n, seed=s, start=0, stop=n)
            for s in range(40)
        )
        return np.array([np.mean(np.exp(Y).sum(axis=1)) - 3 * (np.e - 1) for Y in made])

    for n in (100, 400):
        nested, drawn = (errors(name, n).std() for name in ("nested-latin-hypercube", "box"))
        assert nested < 0.05 * drawn


def test_sobol_points_are_balanced():
    Y = (rows("sobol", 0, 64, total=64) - LOWER) / (UPPER - LOWER)
    assert (np.histogram(Y[:, 1], bins=64, range=(0, 1))[0] == 1).all()


def test_the_simplex_is_uniform_draws_divided_by_their_sum():
    Y = draw("simplex", np.zeros(55), np.ones(55), total=400, seed=0, start=0, stop=400)
    assert np.allclose(Y.sum(axis=1), 1, rtol=0, atol=1e-14)
    assert Y.min() > 0
    # As the published data: 1/55 on average, with the deviation of a uniform draw.
    assert abs(55 * Y.std() - 1 / np.sqrt(3)) < 0.02


def test_no_two_samples_share_random_numbers():
    Y = rows("box", 0, 37)
    assert len(np.unique(Y.round(12), axis=0)) == 37
    assert abs(np.corrcoef(Y[:-1, 0], Y[1:, 0])[0, 1]) < 0.5


@pytest.mark.parametrize(
    ("design", "seed", "message"),
    [("sobel", 0, "did you mean 'sobol'"), ("box", -1, "seed must be at least 0")],
)
def test_bad_designs_and_seeds_are_refused(design, seed, message):
    with pytest.raises(InputError, match=message):
        rows(design, 0, 1, seed=seed)


def nested(n_y: int, total: int, seed: int) -> np.ndarray:
    """Draw a nested Latin hypercube point by point, each in the empty slice of its turn."""
    columns: list[list[int]] = [[] for _ in range(n_y)]
    k = 0
    while len(columns[0]) < total:
        n = 100 * 2 ** max(0, k - 1)
        random = np.random.default_rng([seed, 0x4E4C48, k])
        turns, width = random.random((n, n_y)), 2 ** (40 - k)
        within = random.random((n, n_y))
        for d, column in enumerate(columns):
            taken = {place // width for place in column}
            empty = [s for s in range(100 * 2**k) if s not in taken]
            by_turn = sorted(range(n), key=lambda i: turns[i, d])
            column += [empty[by_turn[i]] * width + int(within[i, d] * width) for i in range(n)]
        k += 1
    return (np.array(columns, dtype=float).T[:total] + 0.5) / (100 * 2**40)


def whole(design: str, n_y: int, total: int, seed: int) -> np.ndarray:
    """Draw a design in [0, 1] at once, as its definition says."""
    if design == "latin-hypercube":
        return qmc.LatinHypercube(n_y, seed=seed).random(total)
    if design == "nested-latin-hypercube":
        return nested(n_y, total, seed)
    if design == "sobol":
        return qmc.Sobol(n_y, seed=seed).random_base2(max(total - 1, 1).bit_length())[:total]
    streams = (np.random.Philox(key=seed, counter=[0, 0, 0, i]) for i in range(total))
    unit = np.array([np.random.Generator(stream).random(n_y) for stream in streams])
    return unit / unit.sum(axis=1, keepdims=True) if design == "simplex" else unit


@pytest.mark.parametrize("n_y", [1, 3, 55])
@pytest.mark.parametrize("design", DESIGNS)
def test_parts_in_any_order_are_those_of_the_whole_to_the_bit(design, n_y):
    random = np.random.default_rng(n_y)
    for seed, total in ((0, 100), (2**32 + 5, 1), (7, 64), (3, 250)):
        expected = whole(design, n_y, total, seed)
        for _ in range(20):
            start, stop = sorted(random.integers(0, total + 1, 2).tolist())
            part = draw(
                design, np.zeros(n_y), np.ones(n_y), total=total, seed=seed, start=start, stop=stop
            )
            assert part.shape == (stop - start, n_y)
            assert np.array_equal(part, expected[start:stop])
            part[:] = np.nan  # what is kept between calls is not the caller's


@pytest.mark.parametrize("design", DESIGNS)
def test_a_million_samples_in_small_batches_take_microseconds_each(design):
    def seconds(start: int) -> float:
        began = time.perf_counter()
        for first in range(start, start + 400, 40):
            draw(design, LOWER, UPPER, total=10**6, seed=1, start=first, stop=first + 40)
        return time.perf_counter() - began

    draw(design, LOWER, UPPER, total=10**6, seed=1, start=400_000, stop=400_040)
    # Twenty times what they take; a draw from the beginning for each batch takes longer.
    assert min(seconds(start) for start in (500_000, 600_000, 990_000)) < 400 * 100e-6
