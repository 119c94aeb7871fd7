"""Ensembles under MPI: the same dataset for any number of processes, kills, failures, refusals."""

import signal
from pathlib import Path

import numpy as np
import pytest
from runs import SMALL, Run, run, saved
from waiting import until

from surrogates.data import Dataset, Split, Status

pytestmark = [pytest.mark.fenicsx, pytest.mark.mpi]


def generate(out: Path, ranks: int = 1, *words: str, samples: int = 24, **how):
    return run(ranks, *cdr(out, *words, samples=samples), **how)


def cdr(out: Path, *words: str, samples: int = 24) -> tuple[str, ...]:
    return ("generate", "cdr", "--out", str(out), "--samples", str(samples), *SMALL, *words)


@pytest.fixture(scope="module")
def serial(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("serial") / "cdr.h5"
    generate(out)
    return out


def same(a: Dataset, b: Dataset) -> None:
    assert np.array_equal(a.Y, b.Y)
    assert np.allclose(a.C, b.C, rtol=1e-10)
    assert np.array_equal(a.split, b.split)
    assert np.array_equal(a.status, b.status)
    assert a.info.mesh == b.info.mesh
    assert "sha256" in a.info.mesh


def test_one_process_makes_a_whole_dataset(serial):
    dataset = Dataset.read(serial)
    assert dataset.Y.shape == (24, 55)
    assert dataset.C.shape == (24, 72)
    assert dataset.problems() == []
    assert (dataset.split == Split.TRAIN).sum() == 19
    assert "dolfinx" in dataset.info.versions
    assert not serial.with_name("cdr.h5.parts").exists()


@pytest.mark.parametrize(
    ("ranks", "per_sample"),
    [
        (2, 1),
        (2, 2),
        pytest.param(3, 1, marks=pytest.mark.thorough),
        pytest.param(3, 3, marks=pytest.mark.thorough),
    ],
)
def test_any_number_of_ranks_gives_the_same_dataset(serial, tmp_path, ranks, per_sample):
    generate(tmp_path / "cdr.h5", ranks, "--ranks-per-sample", str(per_sample))
    one, many = Dataset.read(serial), Dataset.read(tmp_path / "cdr.h5")
    same(one, many)
    assert one.digest == many.digest or per_sample > 1


def test_shards_merge_into_the_same_dataset(serial, tmp_path, inside):
    shards = [tmp_path / f"{i}.h5" for i in (1, 2, 3)]
    for i, shard in enumerate(shards, start=1):
        inside(*cdr(shard, "--shard", f"{i}/3"))
    inside("merge", *reversed(shards), "--out", tmp_path / "cdr.h5")
    same(Dataset.read(serial), Dataset.read(tmp_path / "cdr.h5"))
    assert Dataset.read(serial).digest == Dataset.read(tmp_path / "cdr.h5").digest
    missing = ("merge", shards[0], shards[2], "--out", tmp_path / "no.h5")
    assert "are missing" in inside(*missing, expect=2)
    assert not (tmp_path / "no.h5").exists()


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.thorough)])
def test_a_killed_run_goes_on_and_loses_at_most_the_batches_in_flight(tmp_path, ranks):
    def words(name):
        out = ("--out", str(tmp_path / name), "--samples", "60")
        return ("generate", "cdr", *out, "--set", "solver.batch=5", "--set", "time.steps=150")

    out, parts = tmp_path / "killed.h5", tmp_path / "killed.h5.parts"
    killed = Run(ranks, *words(out.name))
    until(lambda: bool(list(parts.glob("shard-*"))) and saved(out) >= 15, killed.process)
    killed.kill()
    kept = saved(out)
    assert 15 <= kept < 60
    assert not out.exists()
    assert f"{60 - kept} solved now" in run(ranks, *words(out.name)).stdout
    run(ranks, *words("whole.h5"))
    assert Dataset.read(out).digest == Dataset.read(tmp_path / "whole.h5").digest
    assert {path.name for path in tmp_path.iterdir()} == {"killed.h5", "whole.h5"}


# The system refuses larger files, as a full disk does; not before MPI has made its own.
FULL = """
import resource
from mpi4py import MPI
from surrogates import cli
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
raise SystemExit(cli.main())
"""


@pytest.mark.thorough
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_ended_by_a_full_disk_goes_on_once_there_is_room(tmp_path, ranks):
    out, script = tmp_path / "cdr.h5", tmp_path / "full.py"
    script.write_text(FULL)
    words = ("generate", "cdr", "--out", str(out), "--samples", "150", *SMALL)
    full = run(ranks, *words, program=(str(script),), expect=1)
    lines = [line for line in full.stderr.splitlines() if line.startswith("error:")]
    assert lines and all(f"cannot write {out}.parts/shard-" in line for line in lines)
    assert ranks > 1 or len(lines) == 1
    kept = saved(out)
    assert 0 < kept < 150
    assert f"{150 - kept} solved now" in run(ranks, *words).stdout
    generate(tmp_path / "whole.h5", samples=150)
    same(Dataset.read(tmp_path / "whole.h5"), Dataset.read(out))
    assert {path.name for path in tmp_path.iterdir()} == {"cdr.h5", "full.py", "whole.h5"}


def test_a_factorisation_without_memory_is_one_line(tmp_path):
    limit = {"PETSC_OPTIONS": "-cdr_mat_mumps_icntl_23 1"}  # megabytes
    large = ("--set", "mesh.cells=[40,40]", "--set", "mesh.degree=4")
    error = generate(tmp_path / "cdr.h5", 1, *large, samples=2, expect=1, more=limit).stderr
    assert error.startswith("error: not enough memory: the matrix could not be factored")
    assert error.count("\n") == 1
    assert not (tmp_path / "cdr.h5").exists()


@pytest.mark.thorough
def test_a_kill_during_the_compilation_of_the_forms_does_not_stop_later_runs(tmp_path):
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    generate(tmp_path / "cdr.h5", 2, samples=2, more=cache)
    compiled = list((tmp_path / "cache").rglob("libffcx_forms_*"))
    assert compiled
    for path in compiled:
        if path.suffix != ".c":  # such is what a kill leaves
            path.unlink()
    (tmp_path / "cdr.h5").unlink()
    generate(tmp_path / "cdr.h5", 2, samples=2, more=cache)


def test_a_finished_dataset_is_left_alone(serial, inside):
    before = serial.stat().st_mtime_ns
    assert "0 solved now" in inside(*cdr(serial))
    assert serial.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--seed", "1"), "seed is 0 there and 1 here"),
        (("--set", "reaction.rate=3"), "reaction.rate is 4.0 there and 3.0 here"),
        (("--samples", "20"), "has 24 samples, more than 20; it is left as it is"),
        (("--split", "8/8/8"), "split is 0.8/0.1/0.1 there and 8/8/8 here"),
    ],
)
def test_a_dataset_of_another_run_is_named_and_left_alone(serial, inside, words, message):
    before = serial.read_bytes()
    error = inside(*cdr(serial, *words), expect=2)
    assert message in error
    assert error.count("\n") == 1
    assert serial.read_bytes() == before


def stopped(out: Path, *words: str) -> None:
    """Begin a dataset, and leave it unfinished."""
    slow = ("--samples", "300", *SMALL, *words)
    begun = Run(1, "generate", "cdr", "--out", str(out), *slow)
    until(lambda: bool(list(out.with_name(f"{out.name}.parts").glob("shard-*"))), begun.process)
    begun.process.send_signal(signal.SIGUSR1)
    begun.end(75)


def test_shards_of_another_run_are_named_and_left_alone(tmp_path, inside):
    out, parts = tmp_path / "cdr.h5", tmp_path / "cdr.h5.parts"
    stopped(out, "--seed", "9")
    before = {path.name: path.read_bytes() for path in parts.glob("*.[hs]*")}
    error = inside(*cdr(out, samples=300), expect=2)
    assert "seed is 9 there and 0 here" in error
    assert error.count("\n") == 1
    assert {path.name: path.read_bytes() for path in parts.glob("*.[hs]*")} == before
    (parts / "description.h5").unlink()
    error = inside(*cdr(out, samples=300), expect=2)
    assert error == f"error: {parts} is in the way: its description.h5 is missing; remove it\n"


def test_what_one_shard_has_left_is_not_taken_for_another(tmp_path, inside):
    out = tmp_path / "cdr.h5"
    stopped(out, "--shard", "1/2")
    kept = saved(out)
    error = inside(*cdr(out, "--shard", "2/2", samples=300), expect=2)
    assert f"{out}.parts has samples of another --shard of the set" in error
    assert error.count("\n") == 1
    assert saved(out) == kept
    said = inside(*cdr(out, "--shard", "1/2", samples=300))
    assert f"150 samples, {150 - kept} solved now" in said
    assert Dataset.read(out).problems() == ["150 of 300 samples: a shard; merge it with the others"]


REFUSED = [
    (("--samples", "0"), "at least 1 and at most 10^9; got 0"),
    (("--seed", "-1"), "seed must be at least 0"),
    (("--seed", str(2**63)), "below 2^63; got 9223372036854775808"),
    (("--split", "30/2/2"), "needs 34 samples; there are 24"),
    (("--split", "a/b"), "cannot read the split"),
    (("--shard", "3/2"), "shard is i/n"),
    (("--shard", "x"), "cannot read the shard"),
    (("--set", "flow.difusivity=1"), "did you mean 'flow.diffusivity'"),
    (("--config", "/nowhere.toml"), "cannot read the configuration"),
    (("--out", "/nowhere/cdr.h5"), "there is no folder /nowhere"),
    (("--samples", "1000000000000"), "at most 10^9"),
    (("--set", "time.final=1e9"), "at different time steps"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, inside, words, message):
    error = inside(*cdr(tmp_path / "cdr.h5", *words), expect=2)
    assert error.startswith("error: ") and error.count("\n") == 1
    assert message in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("ranks", "words", "message"),
    [
        (1, ("--set", "flow.difusivity=1"), "did you mean 'flow.diffusivity'"),
        (2, ("--set", "flow.difusivity=1"), "did you mean 'flow.diffusivity'"),
        (2, ("--out", "/"), "'/' is a folder"),
        (2, ("--ranks-per-sample", "3"), "must divide the 2 ranks; got 3"),
    ],
)
def test_bad_input_is_one_line_of_all_processes(tmp_path, ranks, words, message):
    error = generate(tmp_path / "cdr.h5", ranks, *words, expect=2).stderr
    lines = [line for line in error.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert message in lines[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ranks", [1, 2])
def test_samples_that_do_not_converge_are_recorded_and_the_exit_status_says_so(tmp_path, ranks):
    words = ("--set", "solver.method=gmres", "--set", "solver.max_iterations=1")
    done = generate(tmp_path / "cdr.h5", ranks, *words, samples=10, expect=1)
    assert "10 of 10 samples failed" in done.stderr
    dataset = Dataset.read(tmp_path / "cdr.h5")
    assert (dataset.status == Status.FAILED).all()
    assert "linear solve" in dataset.failure[0]
    assert np.isnan(dataset.C).all()
    verify = run(1, "verify", str(tmp_path / "cdr.h5"), expect=1)
    assert "10 samples failed" in verify.stdout


FAILING = """
from mpi4py import MPI
from surrogates.pde import cdr
from surrogates import cli
whole = cdr.CDR.solve_batch
def solve_batch(self, Y, **how):
    if MPI.COMM_WORLD.rank == 1:
        raise MemoryError("no memory left")
    return whole(self, Y, **how)
cdr.CDR.solve_batch = solve_batch
raise SystemExit(cli.main())
"""


@pytest.mark.parametrize("per_sample", ["1", "2"])
def test_a_rank_that_fails_ends_all(tmp_path, per_sample):
    script = tmp_path / "failing.py"
    script.write_text(FAILING)
    words = ("generate", "cdr", "--out", str(tmp_path / "cdr.h5"), "--samples", "40", *SMALL)
    done = Run(2, *words, "--ranks-per-sample", per_sample, program=(str(script),))
    done.end()
    assert done.process.returncode not in (0, 2)
    assert "rank 1 failed, all stop: MemoryError: no memory left" in done.stderr
    assert not (tmp_path / "cdr.h5").exists()
