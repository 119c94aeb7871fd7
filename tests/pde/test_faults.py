"""Faults: what dies, hangs, lies, fills up or is flipped costs time, and never a number.

The problem is a cheap one of a user's. What goes wrong, and at which sample, is in the environment:
the dataset is the same one with and without the fault.
"""

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from test_generate import SECONDS, SMALL, Run, environment, saved, until

from surrogates.data.dataset import Dataset, Status, read_info, write
from surrogates.folders import Folder
from surrogates.pde.ensemble.lock import progress
from surrogates.pde.ensemble.shards import Parts
from surrogates.pde.sampling import draw

pytestmark = [pytest.mark.fenicsx, pytest.mark.mpi]

N = 40
TOY = """
import ctypes, os, signal, sys, time
from dataclasses import dataclass
import numpy as np
from surrogates.pde import Problem, Settings, Solution

WHAT, AT = os.environ.get("FAULT"), [float(x) for x in os.environ.get("AT", "").split()]
PACE = float(os.environ.get("PACE", "0"))  # seconds of a solve

def swallow():
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass

def linger():  # with a child that keeps all pipes open
    if os.fork():
        os._exit(7)
    time.sleep(600)

def limitless():  # and takes every signal that could end it
    for kind in (signal.SIGALRM, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
        signal.signal(kind, signal.SIG_IGN)
    swallow()

def change():  # what all later samples, and the run itself, would have to do with
    os.umask(0o777)
    os.environ.clear()
    os.closerange(0, 3)
    for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(kind, signal.SIG_DFL)
    os.chdir("/")

def interrupt():
    raise KeyboardInterrupt

def leave():
    raise GeneratorExit

FAULTS = {
    "copy": lambda: ctypes.CDLL(None).fork() and 0,  # both processes go on
    "shut": lambda: os.closerange(3, 4096),  # MPI's files, and the socket for the answer
    "orphan": lambda: (os.kill(os.getppid(), signal.SIGKILL), time.sleep(600)),
    "greedy": lambda: np.zeros(10**15),
    "interrupt": interrupt,
    "leave": leave,
    "change": change,
    "raise": lambda: 1 / 0,
    "nan": lambda: np.nan,
    "sleep": lambda: time.sleep(600),
    "wait": lambda: time.sleep(3),
    "swallow": swallow,
    "hang": lambda: ctypes.PyDLL(None).pause(),  # with the interpreter's lock held
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "abort": os.abort,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda: sys.exit(0),
    "end": lambda: os._exit(0),
    "linger": linger,
    "limitless": limitless,
}

class Toy(Problem):
    y_names, y_lower, y_upper = ("a", "b"), 0.0, 1.0
    c_names = [f"c{i}" for i in range(7)]

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        failing: float = 0.0

    def solve(self, y):
        time.sleep(PACE)
        if y[1] < self.config.failing:
            raise ArithmeticError(f"b is {y[1]:.17g}")
        more = 0.0
        if y[0] in AT and self.comm.rank == int(os.environ.get("ON", "0")):
            more = FAULTS[WHAT]() or 0.0
        self.comm.Barrier()
        c = np.sin(np.arange(7) * y[0] + y[1]) + more
        return Solution(c, residual=1e-9 * y[0], iterations=int(100 * y[1]))
"""


class Site:
    """A problem, and a folder where its dataset is made."""

    def __init__(self, folder: Path) -> None:
        (folder / "toy.py").write_text(TOY)
        self.problem: tuple[str, ...] = (f"{folder / 'toy.py'}:Toy",)
        self.runs: list[Run] = []
        self.move(folder)

    def move(self, folder: Path) -> None:
        """Make the dataset in another folder."""
        self.out = folder / "toy.h5"
        self.parts = folder / "toy.h5.parts"

    def start(self, ranks: int = 1, *words: str, samples: int = N, **more: str) -> Run:
        base = ("generate", *self.problem, "--out", str(self.out), "--samples", str(samples))
        self.runs.append(Run(ranks, *base, *words, more=more))
        return self.runs[-1]

    def run(self, ranks: int = 1, *words: str, expect: int = 0, **how) -> Run:
        run = self.start(ranks, *words, **how)
        run.end(expect)
        return run

    def command(self, *words: str, expect: int = 0) -> str:
        """Another command on the dataset, or what there is of it; what it has said."""
        self.runs.append(Run(1, *words))
        self.runs[-1].end(expect)
        return self.runs[-1].stdout + self.runs[-1].stderr

    def saved(self) -> int:
        """Bytes of finished samples."""
        size = 0
        for path in self.parts.glob("shard-*"):
            with contextlib.suppress(FileNotFoundError):  # it was renamed meanwhile
                size += path.stat().st_size
        return size

    def stopped(self, *words: str, samples: int = N) -> None:
        """Begin the dataset, and leave it unfinished."""
        run = self.start(1, *words, samples=samples, PACE="0.02")
        until(lambda: self.saved() > 1000, run)
        run.process.send_signal(signal.SIGUSR1)
        run.end(75)

    def dataset(self) -> Dataset:
        assert not self.parts.exists()
        assert {path.name for path in self.out.parent.glob("*toy*")} <= {"toy.py", "toy.h5"}
        return Dataset.read(self.out)


def y(*numbers: int, samples: int = N) -> str:
    """The first parameter of some samples, as the problem is told where to fail."""
    Y = draw("box", np.zeros(2), np.ones(2), total=samples, seed=0, start=0, stop=samples)
    return " ".join(repr(float(Y[k, 0])) for k in numbers)


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    for run in made.runs:
        if run.process.poll() is None:
            run.kill()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Dataset:
    """The dataset without any fault."""
    made = Site(tmp_path_factory.mktemp("whole"))
    made.run()
    return made.dataset()


def same(a: Dataset, b: Dataset) -> None:
    """All but the times are equal, bit for bit."""
    assert a.digest == b.digest
    assert a.failure == b.failure
    for name in ("residual", "iterations"):
        assert a.solver[name].tobytes() == b.solver[name].tobytes()


def failed(site: Site, whole: Dataset, numbers: list[int], reason: str) -> None:
    """These samples failed for this reason, and the others are what they should be."""
    dataset = site.dataset()
    bad = np.isin(np.arange(len(dataset.Y)), numbers)
    assert [dataset.failure[k] for k in numbers] == [reason] * len(numbers)
    assert ((dataset.status == Status.FAILED) == bad).all()
    assert np.isnan(dataset.C[bad]).all()
    assert np.array_equal(dataset.C[~bad], whole.C[~bad])


# Solves


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("raise", "ZeroDivisionError: division by zero"),
        ("nan", "c is not finite"),
        ("exit", "SystemExit: 0"),
        ("leave", "GeneratorExit"),
    ],
)
def test_a_solve_that_fails_is_recorded_and_the_rest_goes_on(site, whole, fault, reason):
    error = site.run(1, FAULT=fault, AT=y(3, 17), expect=1).stderr
    assert f"2 of {N} samples failed" in error and reason in error
    failed(site, whole, [3, 17], reason)


CRASHED = "the solver crashed: Segmentation fault"
TOO_LONG = "no result within the time limit of 0.5 s"


@pytest.mark.parametrize("batch", [1, 4])
def test_a_solve_that_sleeps_fails_at_the_limit_and_the_rest_goes_on(site, whole, batch):
    words = ("--time-limit", "0.5", "--set", f"batch={batch}")
    start = time.monotonic()
    site.run(1, *words, FAULT="sleep", AT=y(21), expect=1)
    assert time.monotonic() - start < 60
    failed(site, whole, [21], TOO_LONG)


@pytest.mark.parametrize("fault", ["hang", "swallow"])
def test_a_solve_that_cannot_be_interrupted_fails_and_the_rest_goes_on(site, whole, fault):
    site.run(1, "--time-limit", "0.5", FAULT=fault, AT=y(0), expect=1)
    failed(site, whole, [0], TOO_LONG)


@pytest.mark.slow
def test_a_solve_that_takes_the_limit_from_its_process_fails_all_the_same(site, whole):
    site.run(1, "--time-limit", "0.5", FAULT="limitless", AT=y(0), expect=1)
    failed(site, whole, [0], TOO_LONG)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("crash", CRASHED),
        ("abort", "the solver crashed: Aborted"),
        ("kill", "the solver's process was ended by SIGKILL, as the system does where memory"),
        ("end", "the solver ended its process, with exit status 0"),
        ("linger", "the solver ended its process, with exit status 7"),
    ],
)
def test_a_solve_that_ends_its_process_costs_its_sample_alone(site, whole, ranks, fault, reason):
    run = site.run(ranks, "--set", "batch=8", FAULT=fault, AT=y(21), expect=1)
    ends = [line for line in run.stderr.splitlines() if line.startswith("warning:")]
    assert [line.split(": ")[1] for line in ends] == ["samples 16 to 23", "sample 21"]
    assert all(reason in line for line in ends)
    assert f"{N} solved now" in run.stdout and "1 of 40 samples failed" in run.stderr
    (text,) = filter(None, site.dataset().failure)
    assert text.startswith(reason)
    failed(site, whole, [21], text)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("shut", "the solver ended its process, with exit status 1"),
        ("orphan", "the solver's process was ended by SIGKILL, as the system does where memory"),
        ("greedy", "MemoryError: Unable to allocate"),
        ("interrupt", "KeyboardInterrupt"),
    ],
)
def test_a_solve_that_its_process_does_not_survive_costs_its_sample_alone(
    site, whole, fault, reason
):
    run = site.run(1, FAULT=fault, AT=y(21), expect=1)
    assert f"{N} solved now" in run.stdout and "1 of 40 samples failed" in run.stderr
    (text,) = filter(None, site.dataset().failure)
    assert text.startswith(reason)
    failed(site, whole, [21], text)


def test_a_copy_of_its_process_that_a_solve_forks_answers_no_question(site, whole):
    site.run(1, FAULT="copy", AT=y(0))
    same(site.dataset(), whole)


@pytest.mark.slow
def test_a_run_with_many_samples_that_end_their_process_is_one_run(site):
    bad = list(range(3, 300, 25))
    assert len(bad) == 12
    run = site.run(1, samples=300, FAULT="end", AT=y(*bad, samples=300), expect=1)
    assert "300 solved now" in run.stdout
    assert np.flatnonzero(site.dataset().failure).tolist() == bad


def test_a_process_that_ended_once_is_no_fault_of_its_sample(site, whole):
    run = site.start(1, PACE="0.1")
    for _ in range(3):
        before = site.saved()
        until(lambda b=before: site.saved() > b and bool(run.solvers()), run)
        os.kill(run.solvers()[0], signal.SIGKILL)
    run.end(0)
    assert "ended by SIGKILL" in run.stderr
    same(site.dataset(), whole)


TOGETHER = """
from surrogates.pde import Batch

class Together(Toy):
    def solve_batch(self, Y, *, tangents=False):
        time.sleep(PACE)
        return Batch(C=np.outer(Y[:, 0], np.ones(7)) + 1e-9 * len(Y))
"""


# A batch's size changes the last bits of its samples, here by more.
def test_a_batch_whose_process_was_killed_has_the_numbers_of_a_batch(site):
    problem = site.out.with_name("toy.py")
    problem.write_text(problem.read_text() + TOGETHER)
    site.problem = (f"{problem}:Together", "--set", "batch=4")
    run = site.start(1, samples=16, PACE="0.5")
    until(lambda: site.saved() > 0 and bool(run.solvers()), run)
    time.sleep(0.1)  # within the solve for the next batch
    os.kill(run.solvers()[0], signal.SIGKILL)
    run.end(0)
    assert "ended by SIGKILL" in run.stderr
    dataset = site.dataset()
    assert np.array_equal(dataset.C, np.outer(dataset.Y[:, 0], np.ones(7)) + 4e-9)


def test_what_a_solve_changes_of_its_process_loses_nothing(site, whole):
    run = site.run(1, FAULT="change", AT=y(0, 9))
    assert f"{N} solved now" in run.stdout
    same(site.dataset(), whole)


@pytest.mark.parametrize("words", [(), ("--in-process",)])
def test_a_solve_that_changes_the_working_folder_loses_nothing(site, whole, tmp_path, words):
    text = TOY.replace("time.sleep(PACE)", "open('toy.py').close(); os.chdir('/')")
    (tmp_path / "toy.py").write_text(text)
    words = ("generate", "toy.py:Toy", "--samples", str(N), "--out", "toy.h5", *words)
    program = [sys.executable, "-m", "surrogates", *words]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    assert site.dataset().digest == whole.digest


MOVES = """
import os
import numpy as np
from surrogates.pde import Problem
from surrogates.pde.problem import Field

class Moves(Problem):
    y_names, y_lower, y_upper, c_names = ("a",), 0.0, 1.0, ("c",)

    def solve(self, y):
        return y

    def field(self, y):
        if "END" in os.environ:
            os._exit(int(os.environ["END"]))
        os.chdir("/")
        points = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
        return Field(
            points=points, kind="quad", cells=np.arange(4)[None], at_points={}, at_cells={}
        )

    def picture(self, y, path):
        os.chdir("/")
        open(path, "w").close()
"""


@pytest.mark.parametrize("words", [("solve",), ("plot", "model")])
def test_a_field_or_picture_goes_where_it_was_asked_for(tmp_path, words):
    (tmp_path / "moves.py").write_text(MOVES)
    words = (*words, "moves.py:Moves", "--out", "a.vtu")
    program = [sys.executable, "-m", "surrogates", *words]
    subprocess.run(program, cwd=tmp_path, check=True, capture_output=True, timeout=SECONDS)
    assert (tmp_path / "a.vtu").exists()


def test_a_solve_that_ends_its_process_is_no_success_of_another_command(site, tmp_path):
    (tmp_path / "moves.py").write_text(MOVES)
    out = str(tmp_path / "a.vtu")
    done = Run(1, "solve", str(tmp_path / "moves.py:Moves"), "--out", out, more={"END": "0"})
    error = done.end(1)
    ended = "error: ended before all was done: the solver ended its process, with exit status 0\n"
    assert error == ended
    site.run()
    words = ("verify", str(site.out), "--problem", *site.problem, "--recompute", str(N))
    again = Run(1, *words, more={"FAULT": "end", "AT": y(3)})
    assert again.end(1) == ended
    assert "all is well" not in again.stdout
    crash = Run(1, *words, more={"FAULT": "crash", "AT": y(3)})
    assert crash.end(128 + signal.SIGSEGV).endswith("was ended by SIGSEGV\n")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_problem_that_changes_while_a_run_is_at_work_does_not_go_on(site, tmp_path, rank):
    run = site.start(2, FAULT="sleep", AT=y(*range(4, N)))  # each rank comes to one
    until(lambda: site.saved() > 0, run)
    (tmp_path / "toy.py").write_text(TOY + "# changed\n")
    time.sleep(0.5)
    os.kill(run.solvers()[rank], signal.SIGKILL)
    error = run.end(2)
    assert (
        "error: toy.py:Toy has changed while the run was at work; go on by the same command"
        in error
    )


def test_a_crash_while_the_problem_is_made_is_one_line(site, tmp_path):
    made = "def solve(self, y):"
    text = TOY.replace(made, f"def __init__(self, *a):\n        FAULTS[WHAT]()\n\n    {made}")
    (tmp_path / "toy.py").write_text(text)
    error = site.run(1, FAULT="crash", expect=1).stderr
    assert error.endswith(
        "error: the solver cannot be set up: the solver's process was ended by SIGSEGV\n"
    )
    assert "Traceback" not in error
    assert not site.out.exists()


def test_a_solver_that_is_in_the_processes_that_were_started_ends_them(site, whole):
    words, how = ("--in-process", "--set", "batch=8"), {"FAULT": "crash", "AT": y(21)}
    codes: list[int] = []
    while len(codes) < 4 and codes[-1:] != [1]:
        run = site.start(1, *words, **how)
        run.end()
        codes.append(run.process.returncode)
    assert codes == [128 + signal.SIGSEGV, 128 + signal.SIGSEGV, 1]
    failed(site, whole, [21], CRASHED)


def test_a_solver_in_the_process_that_was_started_does_not_end_it_with_success(site, whole):
    ended = "the solver ended its process, with exit status 0"
    how = {"FAULT": "end", "AT": y(21)}
    for _ in range(2):
        run = site.run(1, "--in-process", expect=1, **how)
        assert run.stderr.endswith(f"error: ended before all was done: {ended}\n")
    site.run(1, "--in-process", expect=1, **how)
    failed(site, whole, [21], ended)


def test_a_signal_reaches_a_solver_in_the_process_that_was_started(site, whole):
    site.stopped("--in-process")
    site.run(1)
    same(site.dataset(), whole)


@pytest.mark.parametrize(
    ("fault", "limit", "runs", "reason"),
    [("hang", "0.5", 1, TOO_LONG), ("crash", "60", 2, CRASHED)],
)
def test_the_second_of_two_ranks_that_share_a_sample_ends_the_run(
    site, whole, fault, limit, runs, reason
):
    words = ("--ranks-per-sample", "2", "--time-limit", limit)
    how = {"FAULT": fault, "AT": y(0), "ON": "1"}
    for _ in range(runs):
        run = site.start(2, *words, **how)
        run.end()
        assert run.process.returncode not in (0, 1, 2, 75)
    site.run(2, *words, expect=1, **how)
    failed(site, whole, [0], reason)


# Kills


def kill_at_random(site: Site, kills: int, *words: str, samples: int, **how: str) -> int:
    """Kill runs of two ranks at random moments; give how many there were before all was done."""
    rng = np.random.default_rng(0)
    for killed in range(kills):
        run, before = site.start(2, *words, samples=samples, **how), site.saved()
        if killed % 4:  # else at any moment, also before the first sample
            until(lambda b=before: site.saved() != b or site.out.exists(), run)
        time.sleep(rng.uniform(0, 0.4))
        if killed % 3 == 1 and run.ranks():  # a rank alone; the launcher ends the others
            os.kill(rng.choice(run.ranks()), signal.SIGKILL)
            run.end()
        run.kill()
        if site.out.exists():
            return killed
    return kills


def undisturbed(site: Site, folder: Path, *words: str, samples: int) -> Dataset:
    """The same dataset, made by one process without any fault."""
    folder.mkdir()
    other = Site(folder)
    other.problem = site.problem
    other.run(1, *words, samples=samples, expect=None)
    return other.dataset()


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_no_number(site, tmp_path):
    words = ("--set", "failing=0.02", "--set", "batch=3")
    assert kill_at_random(site, 20, *words, samples=1500, PACE="0.01") > 15
    site.run(2, *words, samples=1500, expect=1)
    dataset = site.dataset()
    assert (dataset.status == Status.FAILED).sum() > 10
    same(dataset, undisturbed(site, tmp_path / "whole", *words, samples=1500))


@pytest.mark.slow
def test_kills_of_solves_of_a_pde_change_no_number(site, tmp_path):
    site.problem = ("cdr", *SMALL, "--set", "time.steps=150")
    assert kill_at_random(site, 5, samples=150) == 5
    site.run(2, samples=150)
    same(site.dataset(), undisturbed(site, tmp_path / "whole", samples=150))


def test_a_rank_that_is_killed_ends_the_run_and_loses_samples_in_flight_alone(site, whole):
    run = site.start(2, FAULT="sleep", AT=y(21))
    until(lambda: site.saved() > 0, run)
    solvers = run.solvers()
    os.kill(run.ranks()[1], signal.SIGKILL)
    run.end()
    assert run.process.returncode not in (0, 1, 2, 75)
    assert len(solvers) == 2
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in solvers))
    assert f"{N} solved now" not in site.run(2).stdout
    same(site.dataset(), whole)


def test_a_launcher_that_is_killed_takes_its_ranks_along(site, whole):
    run = site.start(2, PACE="0.1")
    until(lambda: site.saved() > 0, run)
    ranks = run.ranks()
    assert len(ranks) == 2
    run.process.kill()
    run.end(-signal.SIGKILL)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in ranks))
    site.run(2)
    same(site.dataset(), whole)


# Ends a process at the n-th step that changes the folder, or half way through a write.
STEPS = """
import os, signal, sys
from surrogates import cli

left, keeper = int(os.environ["STEPS"]), os.getpid()

def step():
    global left
    left -= os.getpid() == keeper  # and not the processes that solve
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def look(event, about):
    if event in {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate"}:
        if "toy.h5" in str(about[0]) or event == "os.truncate" or about[-1] >= 0:
            step()  # in the folder around it, or in an open one

def halves(file, content):
    half = whole(file, content[: len(content) // 2])
    step()
    return half + whole(file, content[half:])

whole, os.write = os.write, halves
sys.addaudithook(look)
raise SystemExit(cli.main())
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_kill_at_any_step_that_changes_the_folder_changes_no_number(site, tmp_path):
    script = tmp_path / "steps.py"
    script.write_text(STEPS)
    base = ("generate", *site.problem, "--out", str(site.out), "--samples", "3")
    whole = undisturbed(site, tmp_path / "whole", samples=3)

    def killed(step: int) -> bool:
        run = Run(1, *base, program=(str(script),), more={"STEPS": str(step)})
        run.end()
        assert run.process.returncode in (0, -signal.SIGKILL), run.stderr
        return run.process.returncode != 0

    step = 1
    while killed(step):
        killed(1 + step % 4)  # and the next one as well
        site.run(samples=3)
        same(site.dataset(), whole)
        site.out.unlink()
        step += 1
    assert step > 12


# Signals


@pytest.mark.parametrize(
    ("kind", "ranks", "rank"),
    [
        (signal.SIGTERM, 1, 0),
        (signal.SIGUSR1, 1, 0),
        (signal.SIGINT, 1, 0),
        (signal.SIGTERM, 2, 0),
        (signal.SIGUSR1, 2, 1),
    ],
)
def test_a_signal_to_a_rank_ends_the_run_with_everything_saved(site, whole, kind, ranks, rank):
    run = site.start(ranks, PACE="0.1")
    until(lambda: site.saved() > 0, run)
    os.kill(run.ranks()[rank], kind)
    error = run.end()
    assert run.process.returncode == (130 if kind == signal.SIGINT else 75)
    assert "all saved; run the same command again to go on" in error
    (done,) = re.findall(r"stopped with (\d+) of 40", error)
    assert not site.out.exists()
    assert {path.suffix for path in site.parts.glob("shard-*")} == {".shard"}
    assert not list(site.parts.glob("mark-*"))
    assert f"{N - int(done)} solved now" in site.run(ranks).stdout
    same(site.dataset(), whole)


def test_mpirun_hands_sigusr1_on(site):
    run = site.start(2, PACE="0.1")
    until(lambda: site.saved() > 0, run)
    run.process.send_signal(signal.SIGUSR1)
    run.end(75)
    assert {path.suffix for path in site.parts.glob("shard-*")} == {".shard"}


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_mpirun_that_is_ended_ends_the_ranks_which_save_what_they_have(site, whole, kind):
    run = site.start(2, PACE="0.1")
    until(lambda: site.saved() > 0, run)
    run.process.send_signal(kind)
    run.end()
    assert run.process.returncode not in (0, 2)  # its own, whatever the ranks' are
    assert f"{N - saved(site.out)} solved now" in site.run(2).stdout
    same(site.dataset(), whole)


def test_a_second_ctrl_c_ends_a_run_at_once(site):
    run = site.start(1, FAULT="sleep", AT=y(21))
    until(lambda: site.saved() > 0, run)
    time.sleep(0.5)
    for _ in range(2):
        assert run.process.poll() is None
        run.process.send_signal(signal.SIGINT)
        time.sleep(1.5)
    run.end(130)
    assert site.saved() > 0


# Disks


def or_skip(*words: str) -> None:
    """Do what not every machine or user may, or skip the test."""
    if shutil.which(words[0]) is None:
        pytest.skip(f"there is no {words[0]} here")
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    if done.returncode:
        pytest.skip(f"{words[0]} is not for us here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A disk of 200 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    or_skip("mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True, timeout=20)


def remount(folder: Path, options: str) -> None:
    words = ["mount", "-o", f"remount,{options}", str(folder)]
    subprocess.run(words, check=True, timeout=20)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_full_disk_is_one_line_and_the_run_goes_on_once_there_is_room(
    site, disk, tmp_path, ranks
):
    site.move(disk)
    run = site.run(ranks, samples=2500, expect=1)
    lines = [line for line in run.stderr.splitlines() if line.startswith("error:")]
    full = [line for line in lines if f"cannot write {site.out}" in line]
    assert full and all("No space left on device" in line for line in full)
    assert lines == full or ranks > 1  # where another rank may see that one has died
    assert not site.out.exists()
    assert site.saved() > 50_000
    remount(disk, "size=20m")
    assert "2500 solved now" not in site.run(ranks, samples=2500).stdout
    same(site.dataset(), undisturbed(site, tmp_path / "whole", samples=2500))


def test_a_disk_with_room_for_the_shards_alone_keeps_them(site, disk, tmp_path):
    site.move(disk)
    run = site.run(1, samples=1200, expect=1)
    assert run.stderr.startswith(f"error: cannot write {site.out}: No space left on device")
    assert run.stderr.count("\n") == 1
    assert not site.out.exists()
    remount(disk, "size=20m")
    assert "0 solved now" in site.run(1, samples=1200).stdout
    same(site.dataset(), undisturbed(site, tmp_path / "whole", samples=1200))


def test_a_disk_that_is_read_only_is_one_line(site, disk, whole):
    site.move(disk)
    site.stopped()
    remount(disk, "ro")
    before = site.saved()
    error = site.run(1, expect=2).stderr
    assert error.startswith(f"error: cannot write {site.out}: no permission to write in {disk}")
    assert error.count("\n") == 1
    assert site.saved() == before
    remount(disk, "rw")
    site.run()
    same(site.dataset(), whole)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_folder_that_cannot_be_changed_any_more_is_one_line(site, whole, ranks):
    run = site.start(ranks, PACE="0.1")
    until(lambda: site.saved() > 0, run)
    or_skip("chattr", "+i", str(site.parts))
    try:
        error = run.end(1)
        assert not site.out.exists()
    finally:
        subprocess.run(["chattr", "-i", str(site.parts)], check=True, timeout=20)
    lines = [line for line in error.splitlines() if line.startswith("error:")]
    assert lines and all(f"cannot write {site.parts}" in line for line in lines)
    assert all("Operation not permitted" in line for line in lines)
    assert ranks > 1 or len(lines) == 1
    kept = saved(site.out)
    assert kept > 0
    assert f"{N - kept} solved now" in site.run(ranks).stdout
    same(site.dataset(), whole)


# Locks


def test_a_second_run_is_refused_and_the_first_one_goes_on(site, whole):
    first = site.start(2, PACE="1.5")  # so that it goes on for long after the other two
    until(lambda: site.saved() > 0, first)
    error = site.run(1, expect=2).stderr
    assert re.match(rf"error: another run \(process \d+ on .*\) is writing {site.parts}", error)
    assert error.count("\n") == 1
    assert re.search(r"run: +running", site.command("info", str(site.out)))
    before = site.saved()
    until(lambda: site.saved() > before, first)
    first.process.send_signal(signal.SIGUSR1)
    first.end(75)
    site.run(2)
    same(site.dataset(), whole)


def test_the_lock_of_a_dead_process_is_not_in_the_way(site, whole):
    run = site.start(1, PACE="0.1")
    until(lambda: site.saved() > 0 and (site.parts / "progress.json").exists(), run)
    run.kill()
    assert (site.parts / "lock").exists()
    assert not json.loads((site.parts / "progress.json").read_text())["ended"]
    assert re.search(r"run: +not running", site.command("info", str(site.out)))
    site.run()
    same(site.dataset(), whole)


def test_a_run_of_another_host_is_in_the_way_as_long_as_it_shows_signs_of_life(site, whole):
    site.stopped()
    path = site.parts / "progress.json"
    state = {**json.loads(path.read_text()), "boot": "another", "host": "far", "ended": False}
    path.write_text(json.dumps(state))
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(1.0):
            state["beat"] += 1
            beside = path.with_suffix(".other")
            beside.write_text(json.dumps(state))
            beside.replace(path)

    far = threading.Thread(target=beat)
    far.start()
    try:
        error = site.run(1, expect=2).stderr
    finally:
        ended.set()
        far.join()
    assert re.match(r"error: another run \(process \d+ on far\) is writing", error)
    assert error.count("\n") == 1
    site.run()  # and no longer
    same(site.dataset(), whole)


# Flipped bits


def flip(path: Path, offset: int) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 4]))


def test_a_flipped_bit_in_a_shard_is_named_and_repaired(site, whole):
    site.stopped()
    parts = Parts(Folder.there(site.parts), read_info(site.parts / "description.h5")[0])
    (path,) = parts.shards()
    block = list(parts.blocks(path))[1]
    flip(path, block.offset + 22 + block.size - 3)
    last = block.start + block.count - 1
    for name in (site.out, site.parts):
        said = site.command("verify", str(name), expect=1)
        assert f"{path}: damaged: samples {block.start} to {last}" in said
    error = site.run(1, expect=1).stderr
    assert f"samples {block.start} to {last} are lost" in error and "--repair" in error
    assert error.count("\n") == 1
    assert not site.out.exists()
    assert f"{block.count} solved now" in site.run(1, "--repair").stdout
    same(site.dataset(), whole)


def test_a_flipped_bit_in_the_dataset_is_named_and_repaired(site):
    site.run(2, samples=2500)
    before = site.dataset()
    with h5py.File(site.out) as file:
        offset = file["C"].id.get_chunk_info(1).byte_offset
    flip(site.out, offset + 1000)
    said = site.command("verify", str(site.out), expect=1)
    assert "samples 1024 to 2047 are damaged: the checksum of /C is wrong" in said
    assert "1024 solved now" in site.run(2, "--repair", samples=2500).stdout
    same(site.dataset(), before)
    said = site.command("verify", str(site.out), "--recompute", "0")
    assert "nothing wrong found; not checked: whether samples can be solved again" in said


def test_a_flipped_bit_in_the_description_is_one_line(site):
    site.stopped()
    path = site.parts / "description.h5"
    with h5py.File(path) as file:
        text = file.attrs["config"]
    flip(path, path.read_bytes().index(text) + 3)
    error = site.run(1, expect=2).stderr
    assert f"{path} is not a whole dataset file" in error
    assert error.count("\n") == 1


def test_shards_of_another_set_are_no_part_of_this_one(site, whole):
    site.stopped("--seed", "5")
    foreign = [
        (path.name, path.read_bytes())
        for path in Parts(Folder.there(site.parts), whole.info).shards()
    ]
    shutil.rmtree(site.parts)
    site.stopped()
    for name, content in foreign:
        (site.parts / name).write_bytes(content)
    assert f"{foreign[0][0]}: damaged" in site.command("verify", str(site.out), expect=1)
    site.run()
    same(site.dataset(), whole)


def test_failed_samples_are_tried_again_when_asked_for_and_alone(site, whole):
    site.run(1, FAULT="raise", AT=y(3, 17), expect=1)
    assert "0 solved now" in site.run(1, expect=1).stdout
    assert "2 solved now" in site.run(1, "--retry-failed").stdout
    same(site.dataset(), whole)


def test_what_ended_a_process_is_tried_again_when_asked_for(site, whole):
    how = {"FAULT": "crash", "AT": y(0)}
    site.run(1, **how, expect=1)
    assert site.dataset().failure[0] == CRASHED
    error = site.run(1, "--retry-failed", **how, expect=1).stderr
    assert error.count("warning: sample 0: the solver crashed") == 2
    assert "1 solved now" in site.run(1, "--retry-failed").stdout
    same(site.dataset(), whole)


# The calendar and other versions

CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>

static long jump(void) {  /* three days forth and back, at each call */
    static unsigned calls;
    return __sync_fetch_and_add(&calls, 1) % 2 ? 259200 : -259200;
}
int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(id, t);
    if (id == CLOCK_REALTIME) t->tv_sec += jump();
    return status;
}
int gettimeofday(struct timeval *t, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    t->tv_sec = now.tv_sec;
    t->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *t) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t) *t = now.tv_sec;
    return now.tv_sec;
}
"""


@pytest.fixture(scope="module")
def jumping(tmp_path_factory) -> dict[str, str]:
    """What makes the clock of a process jump."""
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(CLOCK)
    words = ["cc", "-shared", "-fPIC", "-o", "clock.so", "clock.c", "-ldl"]
    subprocess.run(words, cwd=folder, check=True, timeout=60)
    jumps = {"LD_PRELOAD": str(folder / "clock.so")}
    probe = "import time; a, b = time.time(), time.time(); assert abs(a - b) > 86400"
    subprocess.run([sys.executable, "-c", probe], env={**environment(), **jumps}, check=True)
    return jumps


def test_a_clock_that_jumps_and_times_of_files_change_nothing(site, whole, jumping):
    run = site.start(2, FAULT="sleep", AT=y(N - 1), **jumping)
    until(lambda: site.saved() > 0 and (site.parts / "progress.json").exists(), run)
    assert "another run" in site.run(1, expect=2, **jumping).stderr
    run.kill()
    state = json.loads((site.parts / "progress.json").read_text())
    assert 0 <= state["seconds"] < SECONDS
    for k, path in enumerate(sorted(site.parts.iterdir())):
        os.utime(path, (k % 2 * 4e9, k % 2 * 4e9))
    out = site.run(2, PACE="0.1", **jumping).stdout
    (seconds,) = re.findall(r"in ([0-9.]+) s", out)
    assert 0 < float(seconds) < SECONDS
    dataset = site.dataset()
    same(dataset, whole)
    assert (dataset.solver["seconds"] > 0).all() and (dataset.solver["seconds"] < SECONDS).all()


def test_other_versions_are_refused_or_recorded_with_each_sample(site, whole):
    site.stopped()
    path = site.parts / "description.h5"
    info = read_info(path)[0]
    write(path, dataclasses.replace(info, versions={**info.versions, "numpy": "0.9"}), 0, [])
    error = site.run(1, expect=2).stderr
    assert f"numpy is 0.9 there and {np.__version__} here" in error
    assert "--allow-version-change" in error and error.count("\n") == 1
    (done,) = re.findall(r"(\d+) done", site.command("info", str(site.out)))
    site.run(1, "--allow-version-change")
    dataset = site.dataset()
    same(dataset, whole)
    assert [maker["versions"]["numpy"] for maker in dataset.info.makers] == ["0.9", np.__version__]
    assert dataset.made_by.tolist() == [0] * int(done) + [1] * (N - int(done))
    # And stays so when a part is solved for again.
    with h5py.File(site.out, "r+") as file:
        file["status"][3] = Status.FAILED
    site.run(1, "--retry-failed")
    again = site.dataset()
    same(again, whole)
    expected = dataset.made_by.copy()
    expected[3] = 1
    assert again.made_by.tolist() == expected.tolist()


def test_a_sample_that_does_not_end_holds_up_nobody(site, whole):
    run = site.start(2, FAULT="sleep", AT=y(0))
    until(site.parts.exists, run)
    until(lambda: progress(Folder.there(site.parts)).get("done") == N - 1, run)
    run.kill()
    assert "1 solved now" in site.run(2).stdout
    same(site.dataset(), whole)


# Trust


def test_verify_solves_again_and_finds_a_number_that_no_solve_has_given(site):
    site.run()
    words = ("verify", str(site.out), "--problem", *site.problem)
    assert "c differs by 0.0e+00 at most" in site.command(*words)
    dataset = Dataset.read(site.out)
    dataset.C[17, 3] += 1e-3  # with checksums that are right
    dataset.write(site.out)
    said = site.command(*words, "--recompute", str(N), expect=1)
    (fault,) = [line for line in said.splitlines() if "not reproduced" in line]
    assert "sample 17 is not reproduced" in fault
    assert site.command(*words, "--recompute", str(N), "--tolerance", "1e-2").endswith("is well\n")
    dataset.C[17, 3] -= 1e-3
    dataset.Y[5, 1] = dataset.Y[4, 1]
    dataset.write(site.out)
    assert "sample 5 is not reproduced" in site.command(*words, "--recompute", str(N), expect=1)


def test_verify_does_not_solve_by_another_file_than_the_dataset_s(site):
    site.run()
    problem = Path(site.problem[0].removesuffix(":Toy"))
    problem.write_text(problem.read_text() + "# another one\n")
    said = site.command("verify", str(site.out), "--problem", *site.problem, expect=1)
    assert "nothing wrong found; not checked: whether samples can be solved again" in said
    assert "is not the file that made it" in said


def test_info_says_how_far_a_run_is(site):
    site.stopped()
    said = site.command("info", str(site.out))
    done, missing = map(int, re.findall(r"(\d+) done, 0 of them failed, (\d+) missing", said)[0])
    assert 0 < done < N
    assert done + missing == N
    assert re.search(r"rate: +[\d.]+ a second\n", said)  # of a run that has ended: no time left
    run = site.start(2, FAULT="sleep", AT=y(N - 1))  # it has not ended before it is asked about
    until(lambda: progress(Folder.there(site.parts)).get("done", 0) > done, run)
    said = site.command("info", str(site.parts))
    assert re.search(r"rate: +[\d.]+ a second, about \d+ s left\n", said)
