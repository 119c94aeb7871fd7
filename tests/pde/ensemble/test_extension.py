"""Finished datasets that become longer: the same samples as at once, kills, splits, refusals."""

from __future__ import annotations

import dataclasses
import signal
from dataclasses import dataclass

import h5py
import numpy as np
import pytest
from faulty import N
from runs import run
from waiting import until

import surrogates
from surrogates import InputError
from surrogates.data import Dataset, Split, Status, read_info, write
from surrogates.pde import SOLVER, Batch, Problem, Settings
from surrogates.pde.sampling import EXTENDABLE, draw

pytestmark = [pytest.mark.fenicsx]

SMALL = {"mesh.cells": (4, 4), "mesh.degree": 2, "time.steps": 15, "solver.batch": 5}


class Wave(Problem):
    """A problem whose solves fail for a tenth of the samples."""

    y_names, y_lower, y_upper = ("a", "b"), 0.0, 1.0
    c_names = ("u", "v")
    solved = 0

    def solve(self, y):
        type(self).solved += 1
        if y[0] > 0.9:
            raise RuntimeError("no convergence")
        return np.sin(y)


class Together(Problem):
    """A problem whose numbers depend on the batch, as rounding does."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        batch: int = 4

    y_names, y_lower, y_upper = ("a", "b"), 0.0, 1.0
    c_names = ("u", "v")

    def solve_batch(self, Y, *, tangents=False):
        return Batch(C=Y + Y.sum(), failure=[""] * len(Y), solver=np.zeros(len(Y), SOLVER))


def same(one: Dataset, other: Dataset, *but: str) -> bool:
    names = {"Y", "C", "status", "dC_dV", "dW_dY", "directions"} - {*but}
    return all(
        (a is None and b is None) or np.array_equal(a, b, equal_nan=True)
        for a, b in ((getattr(one, name), getattr(other, name)) for name in names)
    )


@pytest.mark.parametrize("design", EXTENDABLE)
def test_an_extended_set_is_the_one_that_is_made_at_once(tmp_path, design):
    out, asked = tmp_path / "wave.h5", {"settings": {"design": design}, "seed": 2}
    short = surrogates.generate(Wave, samples=130, out=out, **asked)
    Wave.solved = 0
    longer = surrogates.generate(Wave, samples=230, out=out, **asked)
    assert Wave.solved == 100
    assert same(longer, surrogates.generate(Wave, samples=230, **asked))
    assert (longer.status == Status.FAILED).any()
    assert np.array_equal(longer.split[:130], short.split)
    assert longer.info.split == "0.8/0.1/0.1 of 130 + 0.8/0.1/0.1 of 100"
    assert np.bincount(longer.split, minlength=3).tolist() == [184, 23, 23]
    assert ["failed" in text for text in longer.problems()] == [True]
    before = out.read_bytes()
    for split in (None, "0.8/0.1/0.1", longer.info.split):
        assert surrogates.generate(Wave, samples=230, out=out, split=split, **asked)
    assert out.read_bytes() == before and sorted(tmp_path.iterdir()) == [out]


def test_samples_of_a_short_last_batch_are_kept_and_new_ones_are_of_whole_batches(tmp_path):
    out = tmp_path / "set.h5"
    short = surrogates.generate(Together, samples=10, out=out)
    longer = surrogates.generate(Together, samples=23, out=out)
    whole = surrogates.generate(Together, samples=23)
    assert np.array_equal(longer.Y, whole.Y) and np.array_equal(longer.C[:10], short.C)
    assert not np.array_equal(longer.C[8:10], whole.C[8:10])
    assert np.array_equal(longer.C[10:], whole.C[10:])
    assert np.array_equal(longer.C[:8], whole.C[:8])
    again = surrogates.generate(Together, samples=24, out=out)
    assert np.array_equal(again.C[:23], longer.C) and len(again.Y) == 24


def test_counts_are_of_the_whole_set(tmp_path):
    out = tmp_path / "wave.h5"
    surrogates.generate(Wave, samples=20, split="10/5/5", out=out)
    with pytest.raises(InputError, match="keeps its part: the split 8/8/8 has fewer than"):
        surrogates.generate(Wave, samples=40, split="8/8/8", out=out)
    longer = surrogates.generate(Wave, samples=40, split="25/5/5", out=out)
    assert np.bincount(longer.split)[[0, 1, 2, Split.UNUSED]].tolist() == [25, 5, 5, 5]
    last = surrogates.generate(Wave, samples=60, out=out)  # by the same shares
    assert np.bincount(last.split)[[0, 1, 2, Split.UNUSED]].tolist() == [37, 8, 8, 7]
    assert np.array_equal(last.split[:40], longer.split)


@pytest.mark.parametrize("wanted", [{"tangents": 2}, {"adjoints": 2}])
def test_derivatives_are_those_of_the_set_that_is_made_at_once(tmp_path, wanted):
    if "adjoints" in wanted:
        surrogates.generate("cdr", samples=6, seed=9, settings=SMALL, out=tmp_path / "pilot.h5")
        wanted = {**wanted, "pilot": tmp_path / "pilot.h5"}
    out, asked = tmp_path / "cdr.h5", {"settings": SMALL, **wanted}
    surrogates.generate("cdr", samples=10, out=out, **asked)
    longer = surrogates.generate("cdr", samples=15, out=out, **asked)
    assert same(longer, surrogates.generate("cdr", samples=15, **asked))
    assert same(longer, surrogates.generate("cdr", points=out, **asked))
    with pytest.raises(InputError, match="is another dataset: (directions|adjoints) is 2 there"):
        surrogates.generate("cdr", samples=20, out=out, settings=SMALL)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"samples": 10}, "has 20 samples, more than 10; it is left as it is: give --samples 20"),
        ({"samples": 30, "seed": 1}, "is another dataset: seed is 0 there and 1 here; it is left"),
        ({"samples": 30, "settings": {"batch": 2}}, "is another dataset.* batch is 1 there"),
        ({"samples": 30, "points": np.ones((30, 2))}, "design is box there and points here"),
    ],
)
def test_what_cannot_be_extended_is_left_as_it_is(tmp_path, asked, message):
    out = tmp_path / "wave.h5"
    surrogates.generate(Wave, samples=20, out=out)
    before = out.read_bytes()
    with pytest.raises(InputError, match=message) as caught:
        surrogates.generate(Wave, out=out, **asked)
    assert "\n" not in str(caught.value)
    assert out.read_bytes() == before and sorted(tmp_path.iterdir()) == [out]


def test_a_latin_hypercube_says_why_not(tmp_path):
    out, asked = tmp_path / "wave.h5", {"settings": {"design": "latin-hypercube"}}
    surrogates.generate(Wave, samples=20, out=out, **asked)
    with pytest.raises(InputError, match="20 samples is no part of one of 30; the designs nested-"):
        surrogates.generate(Wave, samples=30, out=out, **asked)


def test_a_design_that_draws_other_numbers_now_is_seen(tmp_path):
    out = tmp_path / "wave.h5"
    surrogates.generate(Wave, samples=20, out=out)
    with h5py.File(out, "r+") as file:
        file["Y"][3, 1] += 1e-15
    with pytest.raises(InputError, match="its y are not the first 20 of the 30 that its design"):
        surrogates.generate(Wave, samples=30, out=out)


@pytest.mark.parametrize("meanwhile", [30, 40])
def test_a_run_that_has_ended_meanwhile_is_seen(tmp_path, monkeypatch, meanwhile):
    from surrogates.pde.ensemble import generate as module

    out, begun = tmp_path / "wave.h5", module._begun
    surrogates.generate(Wave, samples=20, out=out)

    def late(path):
        monkeypatch.setattr(module, "_begun", begun)
        surrogates.generate(Wave, samples=meanwhile, out=out)
        return begun(path)

    monkeypatch.setattr(module, "_begun", late)
    Wave.solved = 0
    if meanwhile == 40:
        with pytest.raises(InputError, match="has 40 samples, more than 30"):
            surrogates.generate(Wave, samples=30, out=out)
    else:
        surrogates.generate(Wave, samples=30, out=out)
    assert Wave.solved == meanwhile - 20 and sorted(tmp_path.iterdir()) == [out]
    assert len(Dataset.read(out).Y) == meanwhile


class Own(Wave):
    """A problem with a distribution of its own."""

    @classmethod
    def parameters(cls, config, *, total, seed, start, stop):
        Y = super().parameters(config, total=total, seed=seed, start=start, stop=stop)
        return 0.8 * Y**2


class Whole(Wave):
    """A problem whose samples depend on their number."""

    @classmethod
    def parameters(cls, config, *, total, seed, start, stop):
        Y = super().parameters(config, total=total, seed=seed, start=start, stop=stop)
        return Y / total


def test_a_distribution_of_ones_own_is_drawn_from_and_extended(tmp_path):
    out = tmp_path / "own.h5"
    short = surrogates.generate(Own, samples=12, seed=1, out=out)
    assert np.array_equal(short.Y, 0.8 * surrogates.generate(Wave, samples=12, seed=1).Y ** 2)
    longer = surrogates.generate(Own, samples=20, seed=1, out=out)
    assert same(longer, surrogates.generate(Own, samples=20, seed=1))
    surrogates.generate(Whole, samples=12, out=tmp_path / "whole.h5")
    with pytest.raises(InputError, match="its y are not the first 12 of the 20"):
        surrogates.generate(Whole, samples=20, out=tmp_path / "whole.h5")


# In processes of their own

OWN = """
from surrogates.pde import Problem

class Own(Problem):
    y_names, y_lower, y_upper, c_names = ("a", "b"), 0.0, 1.0, ("u", "v")

    @classmethod
    def parameters(cls, config, *, total, seed, start, stop):
        Y = super().parameters(config, total=total, seed=seed, start=start, stop=stop)
        return 0.8 * Y**2 if seed < 9 else 1 / (seed - 9)

    def solve(self, y):
        return y + 1
"""


@pytest.mark.mpi
def test_processes_draw_from_a_distribution_of_ones_own(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    problem, out = f"{tmp_path / 'own.py'}:Own", tmp_path / "own.h5"
    words = ("generate", problem, "--out", str(out))
    run(1, *words, "--samples", "12")
    run(2, *words, "--samples", "30")
    found = Dataset.read(out)
    unit = draw("box", np.zeros(2), np.ones(2), total=30, seed=0, start=0, stop=30)
    assert np.array_equal(found.Y, 0.8 * unit**2) and np.array_equal(found.C, found.Y + 1)
    said = run(1, "verify", str(out), "--problem", problem, "--recompute", "30").stdout
    assert "c differs by 0.0e+00 at most" in said
    for seed, text in ((9, "line 10: ZeroDivisionError"), (10, "must return finite numbers of sh")):
        error = run(1, *words, "--seed", str(seed), expect=2).stderr
        assert text in error and error.count("\n") == 1


@pytest.mark.mpi
def test_a_kill_loses_nothing_and_the_old_file_stays_until_the_new_one_is_whole(site):
    site.run(samples=N)
    before = site.out.read_bytes()
    killed = site.start(2, samples=2 * N, PACE="0.1")
    until(lambda: site.parts.exists() and site.saved() > 25 * N, killed.process)
    killed.kill()
    assert site.out.read_bytes() == before
    site.command("verify", str(site.out), "--problem", *site.problem)
    for samples in (N, 3 * N):
        error = site.run(samples=samples, expect=2).stderr
        assert f"is a run for {2 * N} samples that has not ended" in error
        assert error.count("\n") == 1
    stopped = site.start(1, samples=2 * N, PACE="0.1")
    size = site.saved()
    until(lambda: site.saved() > size, stopped.process)
    stopped.process.send_signal(signal.SIGUSR1)
    stopped.end(75)
    said = site.run(2, samples=2 * N).stdout
    assert f"{2 * N} samples" in said and f"{2 * N} solved now" not in said
    longer = site.dataset()
    assert not site.parts.exists() and longer.problems() == []
    site.command("verify", str(site.out), "--problem", *site.problem, "--recompute", str(2 * N))
    site.out.unlink()
    site.run(samples=2 * N)
    assert same(longer, site.dataset())


@pytest.mark.mpi
def test_failed_samples_are_tried_again_only_if_that_is_asked_for(site):
    site.run(1, "--set", "failing=0.2", samples=20, expect=1)
    failed = site.dataset().status == Status.FAILED
    assert failed.any()
    site.run(1, "--set", "failing=0.2", samples=30, expect=1)
    assert np.array_equal(site.dataset().status[:20] == Status.FAILED, failed)
    with h5py.File(site.out, "r+") as file:
        file["status"][int(np.flatnonzero(~failed)[0])] = Status.FAILED
    said = site.run(1, "--set", "failing=0.2", "--retry-failed", samples=40, expect=1).stdout
    assert np.array_equal(site.dataset().status[:20] == Status.FAILED, failed)
    assert f"{10 + (site.dataset().status[:30] == Status.FAILED).sum() + 1} solved now" in said


@pytest.mark.mpi
def test_other_versions_are_refused_or_recorded_with_the_new_samples(site):
    site.run(samples=20)
    info = read_info(site.out)[0]
    old = dataclasses.replace(info, versions={**info.versions, "numpy": "0.9"})
    write(site.out, old, 20, [site.dataset()])
    error = site.run(samples=30, expect=2).stderr
    assert "numpy is 0.9 there and" in error and "--allow-version-change" in error
    site.run(1, "--allow-version-change", samples=30)
    assert site.dataset().made_by.tolist() == [0] * 20 + [1] * 10


@pytest.mark.mpi
def test_shards_are_merged_before_they_are_extended(site, tmp_path):
    shards = [tmp_path / f"{i}.h5" for i in (1, 2)]
    words = ("generate", *site.problem)
    for i, shard in enumerate(shards, start=1):
        run(1, *words, "--samples", "20", "--out", str(shard), "--shard", f"{i}/2")
    for more in (("--shard", "1/2"), ()):
        error = run(1, *words, "--samples", "30", "--out", str(shards[0]), *more, expect=2).stderr
        assert "cannot be extended as a shard" in error or "is another dataset" in error
    run(1, "merge", *map(str, shards), "--out", str(site.out))
    site.run(samples=30)
    longer = site.dataset()
    site.out.unlink()
    site.run(samples=30)
    assert same(longer, site.dataset())
