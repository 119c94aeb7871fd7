"""Files larger than a window, a chunk at a time: rows, summaries, and what damage costs."""

from __future__ import annotations

import dataclasses
import itertools
import tracemalloc
from fractions import Fraction

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import ARRAYS, assert_same, cut, flip, made, made_classes, sound

from surrogates.data import Dataset, Status, merge, opened, write
from surrogates.data import stored as stored_module
from surrogates.data.statistics import RunningStats
from surrogates.errors import InputError


def test_classes_are_counted_window_by_window(tmp_path, monkeypatch):
    made_classes(5000).write(tmp_path / "a.h5")
    with opened(tmp_path / "a.h5") as stored:
        at_once = stored.summary().classes
        monkeypatch.setattr(stored_module, "WINDOW_BYTES", 1)
        assert len(list(stored._pieces("C"))) > 3
        np.testing.assert_array_equal(stored.summary().classes, at_once)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(1, 39), max_size=6), seed=st.integers(0, 99))
def test_masked_pieces_of_any_size_have_the_range_and_spread_of_the_whole(cuts, seed):
    rng = np.random.default_rng(seed)
    rows = 5 + rng.normal(size=(40, 3))
    rows[rng.random((40, 3)) < rng.choice([0.1, 0.9])] = np.nan
    rows[:, 2] = np.nan
    stats = RunningStats(np.ones(40, dtype=bool), "mask")
    ends = sorted({0, 40, *cuts})
    for _ in stats.over(rows[a:b] for a, b in itertools.pairwise(ends)):
        pass
    known = rows[~np.isnan(rows)]
    assert stats.missing == rows.size - known.size
    assert stats.range == (known.min(), known.max())
    for k in range(2):
        column = rows[~np.isnan(rows[:, k]), k]
        expected = column.std() / np.sqrt((column**2).mean()) if len(column) else np.nan
        np.testing.assert_allclose(stats.spread[k], expected, rtol=1e-10, atol=1e-12)
    assert np.isnan(stats.spread[2])


# Files larger than a window, a chunk at a time


N_LARGE = 2500


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A dataset of several chunks in each of its arrays, and its file."""
    whole = made(N_LARGE, n_c=60, tangents=True)
    path = tmp_path_factory.mktemp("large") / "a.h5"
    whole.write(path)
    return whole, path


def chunk(path, name, number):
    """Rows of a chunk, and its place in the file."""
    with h5py.File(path) as file:
        array = file[name]
        start = number * array.chunks[0]
        assert start < len(array) and len(array) > array.chunks[0], "there is one chunk alone"
        place = array.id.get_chunk_info_by_coord((start,) + (0,) * (array.ndim - 1))
    rows = range(start, min(start + array_rows(path, name), N_LARGE))
    return rows, range(place.byte_offset, place.byte_offset + place.size)


def array_rows(path, name):
    with h5py.File(path) as file:
        return int(file[name].chunks[0])


@settings(derandomize=True, deadline=None, max_examples=20)
@given(size=st.integers(1, 5_000_000))
def test_windows_of_any_size_give_the_same_as_the_whole(large, size):
    whole, path = large
    with pytest.MonkeyPatch.context() as patch, opened(path) as stored:
        patch.setattr(stored_module, "WINDOW_BYTES", size)
        windows = list(stored.windows(size))
        assert [window.info.first for window in windows] == list(
            np.cumsum([0, *(len(window.Y) for window in windows[:-1])])
        )
        assert all(window.info.first % array_rows(path, "C") == 0 for window in windows)
        for name in (*ARRAYS, "dC_dY"):
            joined = np.concatenate([getattr(window, name) for window in windows])
            np.testing.assert_array_equal(joined, getattr(whole, name))
        assert [text for window in windows for text in window.failure] == whole.failure
        assert stored.digest == whole.digest
        assert stored.problems() == whole.problems()
        assert stored.damage() == [] and stored.readable_rows().all()
        summary = stored.summary()
    C = whole.C[whole.status == Status.DONE]
    assert summary.status == {Status.MISSING: 0, Status.DONE: 2000, Status.FAILED: 500}
    assert summary.split == {"train": 1250, "validation": 625, "test": 625}
    assert summary.made_by == (N_LARGE - 834, 834)
    assert summary.y_range == (whole.Y.min(), whole.Y.max())
    assert summary.c_range == (C.min(), C.max())
    assert summary.digest == whole.digest
    np.testing.assert_allclose(summary.spread, C.std(axis=0) / np.sqrt((C**2).mean(0)), 1e-12)


def test_windows_are_of_the_size_asked_for(large):
    whole, path = large
    with opened(path) as stored:
        assert len(stored) == N_LARGE
        assert len(list(stored.windows(10**9))) == 1
        assert len(list(stored.windows(1))) == -(-N_LARGE // array_rows(path, "C"))
        np.testing.assert_array_equal(stored.status, whole.status)
        np.testing.assert_array_equal(stored.split, whole.split)
        assert_same(stored.rows(700, 703), cut(whole, 700, 703))


def test_missing_samples_are_one_run_across_windows(tmp_path):
    whole = sound(3000)
    whole.status[900:2100] = Status.MISSING
    whole.write(tmp_path / "a.h5")
    with pytest.MonkeyPatch.context() as patch, opened(tmp_path / "a.h5") as stored:
        patch.setattr(stored_module, "WINDOW_BYTES", 1)
        assert len(list(stored.windows(1))) == 3
        assert stored.problems() == ["samples 900 to 2099 are missing"]


def test_a_small_spread_about_a_large_mean_keeps_its_digits(tmp_path):
    n = 2100
    rng = np.random.default_rng(0)
    C = np.stack([1e9 + 1e-3 * rng.standard_normal(n), np.zeros(n)], axis=1)
    whole = dataclasses.replace(made(n, n_c=2), C=C, status=np.ones(n, np.uint8), failure=[""] * n)
    whole.write(tmp_path / "a.h5")
    with opened(tmp_path / "a.h5") as stored:
        spread = stored.summary().spread
    exact = [Fraction(value) for value in C[:, 0].tolist()]
    mean = sum(exact) / n
    variance = sum((value - mean) ** 2 for value in exact) / n
    assert spread[0] == pytest.approx(float(variance) ** 0.5 / float(mean), rel=1e-6)
    assert np.isnan(spread[1])


def test_a_range_with_a_value_that_is_no_number_says_so(tmp_path):
    n = 2100
    whole = dataclasses.replace(made(n), C=np.ones((n, 3)), status=np.ones(n, np.uint8))
    for row in (0, n - 1):
        C = whole.C.copy()
        C[row] = np.nan
        dataclasses.replace(whole, C=C).write(tmp_path / "a.h5")
        with pytest.MonkeyPatch.context() as patch, opened(tmp_path / "a.h5") as stored:
            patch.setattr(stored_module, "WINDOW_BYTES", 1)
            assert np.isnan(stored.summary().c_range).all()


def test_a_file_without_a_done_sample_has_a_summary(tmp_path):
    none = dataclasses.replace(made(4), status=np.full(4, 2, np.uint8), C=np.full((4, 3), np.nan))
    none.write(tmp_path / "a.h5")
    with opened(tmp_path / "a.h5") as stored:
        summary = stored.summary()
    assert np.isnan(summary.c_range).all() and np.isnan(summary.spread).all()
    assert summary.digest == none.digest


def test_memory_holds_a_window_and_not_the_file(tmp_path):
    n, path = 10_000, tmp_path / "a.h5"
    piece = sound(100)
    piece = dataclasses.replace(piece, C=np.ones((100, 400)))
    names = tuple(f"c{i}" for i in range(400))
    info = dataclasses.replace(piece.info, total=n, c_names=names, c_units=names)
    tracemalloc.start()
    try:
        write(path, info, n, (piece for _ in range(n // 100)))
        with opened(path) as stored:
            assert stored.problems() == []
            assert stored.damage() == []
            assert stored.summary().status[Status.DONE] == n
        merge([path], tmp_path / "b.h5")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 32e6
    assert peak < 30e6


@pytest.mark.parametrize("name", [*ARRAYS, "failure", "dC_dY"])
def test_damage_costs_the_rows_of_its_chunk_and_is_named(large, tmp_path, name):
    whole, path = large
    bad = tmp_path / "bad.h5"
    rows, places = chunk(path, name, 1)
    for place in (places[0], places[len(places) // 2], places[-1]):
        flip(path, bad, place)
        with pytest.raises(InputError, match="is not a whole dataset file"):
            Dataset.read(bad)
        with opened(bad) as stored:  # opens whichever array is damaged
            assert stored.damage() == [(name, rows)]
            mask = stored.readable_rows()
            assert [*np.flatnonzero(~mask)] == [*rows]
            assert_same(stored.rows(rows.stop, N_LARGE), cut(whole, rows.stop, N_LARGE))
            first, *rest = stored.problems()
        assert first == (
            f"samples {rows.start} to {rows.stop - 1} are damaged: the checksum of /{name} is wrong"
        )
        failed = (whole.status == Status.FAILED) & mask
        assert rest == [f"{failed.sum()} samples failed, first 4 (sample 4: ü)"]


def test_damage_of_several_chunks_is_one_line_for_each_array(large, tmp_path):
    whole, path = large
    shard = tmp_path / "shard.h5"
    info = dataclasses.replace(whole.info, first=10_000, total=20_000)
    dataclasses.replace(whole, info=info).write(shard)
    (_, a), (_, b), (c, d) = (chunk(shard, "C", number) for number in (0, 1, 3))
    (s, e) = chunk(shard, "status", 2)
    flip(shard, tmp_path / "bad.h5", a[9], b[9], d[9], e[0])
    with opened(tmp_path / "bad.h5") as stored:
        found = stored.problems()
        runs = [range(2 * len(c)), c]
        assert stored.damage() == [*(("C", run) for run in runs), ("status", s)]
        with pytest.raises(InputError, match="is not a whole dataset file"):
            stored.summary()
        with pytest.raises(InputError, match="is not a whole dataset file"):
            len(stored.status)
    assert found[:2] == [
        f"samples 10000 to {10_000 + 2 * len(c) - 1} and {10_000 + c.start} to "
        f"{10_000 + c.stop - 1} are damaged: the checksum of /C is wrong",
        f"samples {10_000 + s.start} to 12499 are damaged: the checksum of /status is wrong",
    ]
    assert found[2] == "2500 of 20000 samples: a shard; merge it with the others"
    readable = set(range(N_LARGE)) - set(runs[0]) - set(c) - set(s)
    failed = [10_000 + row for row in sorted(readable) if row % 5 == 4]
    assert found[3].startswith(f"{len(failed)} samples failed, first {failed[0]} ")


def test_a_cut_file_is_refused_wherever_it_is_cut(large, tmp_path):
    content = large[1].read_bytes()
    for size in range(0, len(content), len(content) // 25):
        (tmp_path / "cut.h5").write_bytes(content[:size])
        with pytest.raises(InputError, match="is not a whole dataset file"):
            opened(tmp_path / "cut.h5").__enter__()


def test_a_failure_while_a_file_is_open_stays_what_it_is(large):
    for fault in (OSError("the disk is full"), KeyError("a bug")):
        with pytest.raises(type(fault)) as caught, opened(large[1]):
            raise fault
        assert caught.value is fault


@settings(derandomize=True, deadline=None, max_examples=10)
@given(cuts=st.sets(st.integers(1, N_LARGE - 1), max_size=12))
def test_pieces_of_any_size_make_the_same_file(large, cuts):
    whole, path = large
    edges = [0, *sorted(cuts), N_LARGE]
    pieces = (cut(whole, *pair) for pair in zip(edges, edges[1:], strict=False))
    write(path.parent / "b.h5", whole.info, N_LARGE, pieces)
    assert_same(Dataset.read(path.parent / "b.h5"), whole)
