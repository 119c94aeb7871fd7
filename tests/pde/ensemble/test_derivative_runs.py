"""Runs that store derivatives: the same numbers for any processes, shards, kills and failures."""

import dataclasses
import signal
from pathlib import Path

import numpy as np
import pytest
from faulty import Site, same
from waiting import until

import surrogates
from surrogates.data import Dataset, Status
from surrogates.pde.sampling import draw

pytestmark = [pytest.mark.fenicsx, pytest.mark.mpi]

N = 40
SLOPES = """
import os, signal, time
from dataclasses import dataclass
import numpy as np
from surrogates.pde import SOLVER, Batch, Problem, Settings

PACE, AT = float(os.environ.get("PACE", "0")), float(os.environ.get("AT", "nan"))
WHAT = os.environ.get("FAULT")

class Slopes(Problem):
    has_tangents = has_directions = has_adjoints = True
    y_names, y_lower, y_upper = ("a", "b", "c"), (0.0, 0.0, 10.0), (1.0, 1.0, 40.0)
    c_names = ("u", "v", "w", "x")

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        batch: int = 3
        failing: float = 0.0

    def solve_batch(self, Y, *, tangents=False, adjoints=None):
        time.sleep(PACE)
        if (Y[:, 0] == AT).any():
            time.sleep(600) if WHAT == "sleep" else os.kill(os.getpid(), signal.SIGKILL)
        self.comm.Barrier()
        a, b, c = Y.T
        k = np.arange(1.0, 5)[:, None]
        phase = k * a + b * c / 10
        inner = np.stack([k + 0 * a, c / 10 + 0 * phase, b / 10 + 0 * phase], axis=-1)
        J = (np.cos(phase)[..., None] * inner).transpose(1, 0, 2)
        bad = b < self.config.failing
        found = {}
        if adjoints is not None:
            found["dW_dY"] = np.where(bad[:, None, None], np.nan, adjoints @ J)
        elif isinstance(tangents, np.ndarray):
            along = J @ tangents.transpose(0, 2, 1)
            found["dC_dV"] = np.where(bad[:, None, None], np.nan, along)
        elif tangents:
            found["dC_dY"] = np.where(bad[:, None, None], np.nan, J)
        failure = ["too small" if one else "" for one in bad]
        C = np.where(bad[:, None], np.nan, np.sin(phase).T)
        return Batch(C=C, failure=failure, **found)
"""
KINDS = ("whole", "random", "subspace", "adjoints")


@pytest.fixture(scope="session")
def pilot(tmp_path_factory) -> Path:
    """A set of another seed, with whole tangents."""
    site = made(tmp_path_factory.mktemp("pilot"))
    site.run(1, "--tangents", "--seed", "7", samples=30)
    return site.out


def made(folder: Path) -> Site:
    site = Site(folder)
    (folder / "slopes.py").write_text(SLOPES)
    site.problem = (f"{folder / 'slopes.py'}:Slopes",)
    return site


def words(kind: str, pilot: Path) -> tuple[str, ...]:
    return {
        "whole": ("--tangents",),
        "random": ("--tangents", "2"),
        "subspace": ("--tangents", "2", "--subspace", str(pilot)),
        "adjoints": ("--adjoints", "2", "--pilot", str(pilot)),
    }[kind]


@pytest.fixture(scope="session")
def wholes(tmp_path_factory, pilot) -> dict[str, Dataset]:
    """The sets of one process."""
    found = {}
    for kind in KINDS:
        site = made(tmp_path_factory.mktemp(kind))
        site.run(1, *words(kind, pilot))
        found[kind] = site.dataset()
    return found


@pytest.fixture
def slopes(tmp_path):
    site = made(tmp_path)
    yield site
    for run in site.runs:
        if run.process.poll() is None:
            run.kill()


def test_the_kinds_are_of_one_jacobian(wholes, pilot):
    J = wholes["whole"].dC_dY
    assert J.shape == (N, 4, 3) and wholes["whole"].info.tangents
    for kind in ("random", "subspace"):
        one = wholes[kind]
        assert np.array_equal(one.Y, wholes["whole"].Y)
        assert one.directions.shape == (N, 2, 3) and one.info.directions == 2
        assert np.allclose(one.dC_dV, J @ one.directions.transpose(0, 2, 1), atol=1e-14)
        U = one.directions / [1, 1, 30]
        assert np.allclose(U @ U.transpose(0, 2, 1), np.eye(2), atol=1e-14)
    assert (wholes["subspace"].directions == wholes["subspace"].directions[0]).all()
    assert not np.isclose(wholes["random"].directions[0], wholes["random"].directions[1]).any()
    of = wholes["adjoints"]
    assert np.allclose(of.dW_dY, of.info.functionals @ J, atol=1e-14)
    centred = Dataset.read(pilot).C - Dataset.read(pilot).C.mean(axis=0)
    assert np.allclose(of.info.c_scale, centred.std(axis=0))
    assert all(one.problems() == [] for one in wholes.values())
    assert list(wholes["adjoints"].info.inputs) == ["--pilot"]
    assert list(wholes["subspace"].info.inputs) == ["--subspace"]


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("per_sample", ["1", "2"])
def test_two_ranks_store_the_same(slopes, wholes, pilot, kind, per_sample):
    slopes.run(2, *words(kind, pilot), "--ranks-per-sample", per_sample)
    found = slopes.dataset()
    same(found, wholes[kind])
    assert np.array_equal(found.info.functionals, wholes[kind].info.functionals)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_killed_run_goes_on_with_the_same_derivatives(slopes, wholes, pilot, kind):
    run = slopes.start(2, *words(kind, pilot), PACE="0.2")
    until(lambda: slopes.saved() > 1000, run.process)
    run.kill()
    assert not slopes.out.exists()
    said = slopes.run(1, *words(kind, pilot)).stdout
    assert f"{N} samples" in said and f" {N} solved now" not in said
    same(slopes.dataset(), wholes[kind])


@pytest.mark.parametrize("kind", KINDS[1:])
def test_shards_merge_into_the_same_set(tmp_path, wholes, pilot, kind, inside):
    site = made(tmp_path)
    shards = [tmp_path / f"{i}.h5" for i in (1, 2, 3)]
    for i, shard in enumerate(shards, start=1):
        common = ("--samples", N, "--shard", f"{i}/3", "--out", shard, "--in-process")
        inside("generate", *site.problem, *common, *words(kind, pilot))
    inside("merge", *reversed(shards), "--out", tmp_path / "all.h5")
    same(Dataset.read(tmp_path / "all.h5"), wholes[kind])


@pytest.mark.parametrize("fault", ["kill", "sleep"])
@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_sample_that_ends_its_process_or_takes_too_long_fails_alone(
    slopes, wholes, pilot, kind, fault
):
    Y = draw("box", np.array([0, 0, 10.0]), np.array([1, 1, 40.0]), **_rows(N))
    given = {"FAULT": fault, "AT": repr(float(Y[10, 0]))}
    limit = ("--time-limit", "2")
    slopes.run(1, *words(kind, pilot), *limit, expect=1, **given)
    found, whole = slopes.dataset(), wholes[kind]
    bad = np.arange(N) == 10
    assert np.array_equal(found.status == Status.FAILED, bad)
    for name in ("dC_dV", "dW_dY"):
        values = getattr(found, name)
        if values is not None:
            assert np.isnan(values[10]).all()
            assert np.allclose(values[~bad], getattr(whole, name)[~bad], rtol=1e-14)
    if whole.directions is not None:
        assert np.array_equal(found.directions, whole.directions)
    there = found.derivatives().there
    assert not there[10].any() and there[~bad].all()
    # The failed one is solved for again on request, and the set is whole.
    slopes.run(1, *words(kind, pilot), *limit, "--retry-failed")
    same(slopes.dataset(), whole)


def _rows(n):
    return {"total": n, "seed": 0, "start": 0, "stop": n}


@pytest.mark.parametrize("kind", KINDS)
def test_failed_samples_have_directions_and_no_derivatives(slopes, pilot, kind):
    slopes.run(1, *words(kind, pilot), "--set", "failing=0.3", expect=1)
    found = slopes.dataset()
    failed = found.status == Status.FAILED
    assert 3 < failed.sum() < 30 and set(np.array(found.failure)[failed]) == {"too small"}
    assert np.array_equal(~found.derivatives().there.all(axis=1), failed)
    if found.directions is not None:
        assert np.isfinite(found.directions).all()


@pytest.mark.parametrize("kind", ["random", "adjoints"])
def test_a_damaged_block_of_the_journal_is_repaired(slopes, wholes, pilot, kind):
    slopes.stopped(*words(kind, pilot), samples=N)
    path = next(slopes.parts.glob("shard-*"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    slopes.run(1, *words(kind, pilot), "--repair", expect=None)
    slopes.run(1, *words(kind, pilot))
    same(slopes.dataset(), wholes[kind])


@pytest.mark.parametrize("kind", ["subspace", "adjoints"])
def test_a_run_goes_on_with_the_same_pilot_set_alone(slopes, pilot, kind, tmp_path):
    mine = tmp_path / "mine.h5"
    mine.write_bytes(pilot.read_bytes())
    slopes.stopped(*words(kind, mine), samples=N)
    (tmp_path / "other").mkdir()
    other = made(tmp_path / "other")
    other.run(1, "--tangents", "--seed", "8", samples=30)
    mine.write_bytes(other.out.read_bytes())
    option = words(kind, mine)[2]
    said = slopes.run(1, *words(kind, mine), expect=2).stderr
    assert f"{option} has SHA-256" in said and said.count("\n") == 1
    # It counts what the file holds, and not where it is.
    slopes.run(1, *words(kind, pilot))
    moved = slopes.run(1, *words(kind, pilot)).stdout
    assert "0 solved now" in moved


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("whole", "random", "tangents is True there and False here; directions is 0 there and 2"),
        ("random", "subspace", "--subspace has no SHA-256 there"),
        ("random", "adjoints", "adjoints is 0 there and 2 here"),
    ],
)
def test_another_kind_is_another_dataset(tmp_path, pilot, before, after, reason, inside):
    site = made(tmp_path)
    base = ("generate", *site.problem, "--samples", 6, "--out", site.out, "--in-process")
    inside(*base, *words(before, pilot))
    content = site.out.read_bytes()
    assert reason in inside(*base, *words(after, pilot), expect=2)
    assert site.out.read_bytes() == content


@pytest.mark.parametrize("kind", KINDS)
def test_verify_solves_for_derivatives_again(tmp_path, wholes, kind, inside):
    site = made(tmp_path)
    out = tmp_path / "set.h5"
    wholes[kind].write(out)
    verify = ("verify", out, "--problem", *site.problem, "--recompute", N)
    assert "c differs by 0.0e+00 at most, its derivatives by " in inside(*verify)
    name = {"whole": "dC_dY", "adjoints": "dW_dY"}.get(kind, "dC_dV")
    values = getattr(wholes[kind], name).copy()
    values[5] *= 1.001
    dataclasses.replace(wholes[kind], **{name: values}).write(out)
    inside(*verify, expect=1)
    if kind == "random":
        V = wholes[kind].directions.copy()
        V[4] = V[3]
        dataclasses.replace(wholes[kind], directions=V).write(out)
        inside(*verify, expect=1)


def test_a_problem_that_has_whole_tangents_alone_gives_every_kind(tmp_path, wholes, pilot, inside):
    every = "has_tangents = has_directions = has_adjoints = True"
    text = SLOPES.replace(every, "has_tangents = True")
    assert text != SLOPES
    (tmp_path / "slopes.py").write_text(text)
    for kind in KINDS[1:]:
        out = tmp_path / f"{kind}.h5"
        asked = ("--samples", N, "--out", out, "--in-process", *words(kind, pilot))
        inside("generate", f"{tmp_path / 'slopes.py'}:Slopes", *asked)
        found, name = Dataset.read(out), "dW_dY" if kind == "adjoints" else "dC_dV"
        assert np.allclose(getattr(found, name), getattr(wholes[kind], name), rtol=1e-12)


def test_generate_from_python_takes_the_same_options(tmp_path, wholes, pilot):
    site = made(tmp_path)
    for kind, asked in (
        ("whole", {"tangents": True}),
        ("random", {"tangents": 2}),
        ("subspace", {"tangents": 2, "subspace": pilot}),
        ("adjoints", {"adjoints": 2, "pilot": str(pilot)}),
    ):
        found = surrogates.generate(site.problem[0], samples=N, **asked)
        assert found.digest == wholes[kind].digest
    found = surrogates.generate(site.problem[0], samples=N, processes=2, **asked)
    assert found.digest == wholes["adjoints"].digest


def test_the_number_after_the_option_may_be_left_out(tmp_path, wholes, inside, capsys):
    """``--tangents`` stood alone before it took a number."""
    site, common = made(tmp_path), ("--samples", N, "--in-process", "--out")
    first, last = tmp_path / "first.h5", tmp_path / "last.h5"
    inside("generate", "--tangents", *site.problem, *common, first)
    inside("generate", *common, last, *site.problem, "--tangents")
    assert Dataset.read(first).digest == Dataset.read(last).digest == wholes["whole"].digest
    said = inside("generate", *site.problem, "--tangents", "-1", expect=2)
    assert "--tangents must be at least 1; got -1" in said
    said = inside("generate", *site.problem, "--tangents", "4", expect=2)
    assert "has 3 parameters: --tangents can be 3 at most; got 4" in said
    for words in (("--tangents=1.5",), ("--tangents", "1.5"), ("--tangents", "1.5", "--seed", "2")):
        with pytest.raises(SystemExit, match="2"):
            inside("generate", *site.problem, *words)
        assert "--tangents: expected a whole number; got '1.5'" in capsys.readouterr().err


def test_an_interrupted_run_says_how_far_it_is(slopes, pilot):
    run = slopes.start(1, *words("adjoints", pilot), PACE="0.1")
    until(lambda: slopes.saved() > 500, run.process)
    run.process.send_signal(signal.SIGUSR1)
    run.end(75)
    assert "missing" in slopes.command("info", str(slopes.out))
