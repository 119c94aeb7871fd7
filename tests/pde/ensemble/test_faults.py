"""Faults of solves: one that dies, hangs or lies costs its sample, and changes no other number."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from faulty import CRASHED, TOY, N, failed, same, y
from runs import Run
from waiting import SECONDS, until

pytestmark = [pytest.mark.fenicsx, pytest.mark.mpi]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("raise", "ArithmeticError: no root"),
        ("nan", "c is not finite"),
        ("exit", "SystemExit: 0"),
        ("leave", "GeneratorExit"),
    ],
)
def test_a_solve_that_fails_is_recorded_and_the_rest_goes_on(site, whole, fault, reason):
    error = site.run(1, FAULT=fault, AT=y(3, 17), expect=1).stderr
    assert f"2 of {N} samples failed" in error and reason in error
    failed(site, whole, [3, 17], reason)


TOO_LONG = "no result within the time limit of 0.5 s"


@pytest.mark.parametrize("batch", [1, 4])
def test_a_solve_that_sleeps_fails_at_the_limit_and_the_rest_goes_on(site, whole, batch):
    words = ("--time-limit", "0.5", "--set", f"batch={batch}")
    start = time.monotonic()
    site.run(1, *words, FAULT="sleep", AT=y(21), expect=1)
    assert time.monotonic() - start < 60
    failed(site, whole, [21], TOO_LONG)


@pytest.mark.parametrize("fault", ["hang", pytest.param("swallow", marks=pytest.mark.thorough)])
def test_a_solve_that_cannot_be_interrupted_fails_and_the_rest_goes_on(site, whole, fault):
    site.run(1, "--time-limit", "0.5", FAULT=fault, AT=y(0), expect=1)
    failed(site, whole, [0], TOO_LONG)


@pytest.mark.thorough
def test_a_solve_that_takes_the_limit_from_its_process_fails_all_the_same(site, whole):
    site.run(1, "--time-limit", "0.5", FAULT="limitless", AT=y(0), expect=1)
    failed(site, whole, [0], TOO_LONG)


ENDS = [
    ("crash", CRASHED),
    ("abort", "the solver crashed: Aborted"),
    ("kill", "the solver's process was ended by SIGKILL, as the system does where memory"),
    ("end", "the solver ended its process, with exit status 0"),
    ("linger", "the solver ended its process, with exit status 7"),
]


@pytest.mark.parametrize(
    ("ranks", "fault", "reason"),
    [
        *((ranks, *ENDS[0]) for ranks in (1, 2)),
        *(
            pytest.param(ranks, *end, marks=pytest.mark.thorough)
            for ranks in (1, 2)
            for end in ENDS[1:]
        ),
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
        ("greedy", "MemoryError: "),
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


@pytest.mark.thorough
def test_a_run_with_many_samples_that_end_their_process_is_one_run(site):
    bad = list(range(3, 300, 25))
    assert len(bad) == 12
    run = site.run(1, samples=300, FAULT="end", AT=y(*bad, samples=300), expect=1)
    assert "300 solved now" in run.stdout
    assert np.flatnonzero(site.dataset().failure).tolist() == bad


def test_a_process_that_ended_once_is_no_fault_of_its_sample(site, whole):
    run = site.start(1, PACE="0.1")
    killed: set[int] = set()
    for _ in range(3):
        before = site.saved()
        until(lambda b=before: site.saved() > b and not killed >= {*run.solvers()}, run.process)
        (solver,) = {*run.solvers()} - killed
        os.kill(solver, signal.SIGKILL)
        killed.add(solver)
    run.end(0)
    assert "ended by SIGKILL" in run.stderr
    same(site.dataset(), whole)


TOGETHER = """
from surrogates.pde import Batch

class Together(Toy):
    def solve_batch(self, Y, *, tangents=False):
        with open(os.environ["BEGUN"], "a") as file:
            file.write("x")
        time.sleep(PACE)
        return Batch(C=np.outer(Y[:, 0], np.ones(7)) + 1e-9 * len(Y))
"""


@pytest.mark.thorough
# A batch's size changes the last bits of its samples, here by more.
def test_a_batch_whose_process_was_killed_has_the_numbers_of_a_batch(site):
    problem = site.out.with_name("toy.py")
    problem.write_text(problem.read_text() + TOGETHER)
    site.problem = (f"{problem}:Together", "--set", "batch=4")
    begun = site.out.with_name("begun")
    run = site.start(1, samples=16, PACE="0.5", BEGUN=str(begun))
    until(lambda: begun.exists() and begun.stat().st_size > 1 and site.saved() > 0, run.process)
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
from surrogates.pde import Field, Problem

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


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.thorough), 1])
def test_a_problem_that_changes_while_a_run_is_at_work_does_not_go_on(site, tmp_path, rank):
    run = site.start(2, FAULT="sleep", AT=y(*range(4, N)))  # each rank comes to one
    until(lambda: site.saved() > 0, run.process)
    (tmp_path / "toy.py").write_text(TOY + "# changed\n")
    until(lambda: len(run.solvers()) == 2, run.process)
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
    [
        ("hang", "0.5", 1, TOO_LONG),
        pytest.param("crash", "60", 2, CRASHED, marks=pytest.mark.thorough),
    ],
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
