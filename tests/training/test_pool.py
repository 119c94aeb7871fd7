"""Tasks on several processes: their results, their failures, and how they are stopped."""

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tasks
import torch

from surrogates.errors import InputError
from surrogates.training import pool
from surrogates.training.pool import Interrupted, Task, run

LIMIT = 60  # seconds within which all that a test starts must have ended

pytestmark = pytest.mark.timeout(120)


def python(*words):
    """Run Python in a process that finds `tasks`."""
    path = os.pathsep.join([str(Path(tasks.__file__).parent), *sys.path])
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env={**os.environ, "PYTHONPATH": path},
    )


def squares(n):
    return [Task(function=tasks.squared, arguments={"x": i}) for i in range(n)]


def gone(number):
    """Tell whether a process has ended."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    return False


def workers(monkeypatch):
    """Record the processes that are started."""
    started = []
    start = subprocess.Popen

    def recorded(*arguments, **named):
        process = start(*arguments, **named)
        started.append(process)
        return process

    monkeypatch.setattr(pool.subprocess, "Popen", recorded)
    return started


def test_results_are_the_same_for_any_number_of_processes(monkeypatch):
    started = workers(monkeypatch)
    # What a task prints is no reply.
    talking = Task(function=tasks.printed, arguments={"text": "x" * 10000})
    expected = [*((i, i * i) for i in range(5)), (5, 10000)]
    assert list(run([*squares(5), talking], 1)) == expected
    assert started == []
    assert sorted(run([*squares(5), talking], 2)) == expected
    assert len(started) == 2
    assert all(process.returncode is not None for process in started)


def test_a_task_in_this_process_has_one_thread_as_in_a_worker():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        task = Task(function=tasks.number_of_threads, arguments={})
        assert list(run([task], 1)) == [(0, 1)]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_no_task_is_no_result():
    assert list(run([], 2)) == []


@pytest.mark.parametrize("processes", [1, 2])
def test_bad_input_of_a_task_arrives_as_such(processes, monkeypatch):
    started = workers(monkeypatch)
    bad = Task(function=tasks.refused, arguments={"message": "the depth must be positive"})
    with pytest.raises(InputError, match="^the depth must be positive$"):
        list(run([bad, *squares(3)], processes))
    assert all(process.returncode is not None for process in started)


def test_a_process_that_ends_is_an_error_in_one_line(monkeypatch):
    # With more tasks than processes, the next ones are sent to a process that has gone.
    started = workers(monkeypatch)
    dying = [Task(function=tasks.ended, arguments={"status": 7})] * 30
    with pytest.raises(RuntimeError, match="ended with status 7") as caught:
        list(run(dying, 2))
    assert "\n" not in str(caught.value)
    assert all(process.returncode is not None for process in started)


@pytest.mark.parametrize(
    "first",
    [
        "import signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL)",
        pytest.param("from petsc4py import PETSc", marks=pytest.mark.fenicsx),
    ],
)
def test_a_process_that_has_ended_ends_no_program_that_sigpipe_ends(first):
    # PETSc ends its program at SIGPIPE: what is sent to a process that has gone is an error.
    if "petsc4py" in first:
        pytest.importorskip("petsc4py")
    program = (
        f"{first}\n"
        "import tasks\n"
        "from surrogates.training.pool import Task, _Workers\n"
        "workers = _Workers()\n"
        "for _ in range(2):\n"
        "    try: workers.call(Task(function=tasks.ended, arguments={'status': 7}))\n"
        "    except RuntimeError as error: print(error)\n"
        "workers.end()\n"
    )
    done = python("-c", program)
    assert done.returncode == 0 and done.stdout.count("ended with status 7") == 2, done.stderr


def test_stop_ends_a_long_task_and_its_process(tmp_path, monkeypatch):
    started = workers(monkeypatch)
    files = [tmp_path / str(i) for i in range(2)]
    long = [
        Task(function=tasks.slept, arguments={"seconds": 1000, "started": str(file)})
        for file in files
    ]
    begin = time.monotonic()
    with pytest.raises(Interrupted):
        list(run(long * 3, 2, stop=lambda: all(file.exists() for file in files)))
    assert time.monotonic() - begin < LIMIT
    assert [gone(process.pid) for process in started] == [True, True]


def test_stop_ends_processes_that_are_sent_much(tmp_path, monkeypatch):
    # A worker that is killed while megabytes are on their way to it leaves a broken pipe.
    started = workers(monkeypatch)
    large = Task(function=tasks.printed, arguments={"text": "x" * 10**8})
    with pytest.raises(Interrupted):
        list(run([large] * 2, 2, stop=lambda: len(started) == 2))
    assert all(process.returncode is not None for process in started)


def test_stop_before_the_first_task_runs_none(tmp_path):
    file = tmp_path / "started"
    task = Task(function=tasks.slept, arguments={"seconds": 0, "started": str(file)})
    with pytest.raises(Interrupted):
        list(run([task], 1, stop=lambda: True))
    assert not file.exists()


def test_a_script_needs_no_guard_and_its_functions_run_by_name(tmp_path):
    # The workers import the task's module, never the program.
    script = tmp_path / "program.py"
    script.write_text(
        "import tasks\n"
        "from surrogates.training.pool import Task, run\n"
        "calls = [Task(function=tasks.squared, arguments={'x': i}) for i in range(3)]\n"
        "print(sorted(run(calls, 2)))\n"
    )
    done = python(str(script))
    assert (done.stdout, done.returncode) == ("[(0, 0), (1, 1), (2, 4)]\n", 0), done.stderr


def test_the_number_of_cores_is_that_of_this_process():
    assert 1 <= pool.cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asks glibc")
@pytest.mark.parametrize("kept", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_memory_that_is_kept_is_not_asked_for_again(kept):
    program = (
        "import resource, torch\n"
        "from surrogates.training.pool import keep_memory\n"
        f"if {kept}: keep_memory()\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(20): torch.ones(2 * 10**7)\n"
        "before = faults()\n"
        "for _ in range(5): torch.ones(2 * 10**7)\n"
        "print(faults() - before)\n"
    )
    done = python("-c", program)
    assert (int(done.stdout) < 30_000) == kept  # of 100 000 pages
