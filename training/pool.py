"""Tasks on several cores: worker processes that run functions by name.

Each process is a fresh interpreter that imports this package, but not the caller's program: a
script needs no guard around its main part, and the caller's threads do no harm. A task depends
neither on the process that runs it nor on the order of the tasks.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

from surrogates.errors import InputError
from surrogates.pipes import broken_pipes_are_errors

T = TypeVar("T")

_SERVE = "import sys; sys.path[:] = {path!r}; from {module} import serve; serve()"
_POLL = 0.5  # seconds
# Of mallopt(3): M_MMAP_MAX, M_TRIM_THRESHOLD and M_TOP_PAD.
_HEAP = ((-4, 0), (-1, 2**31 - 1), (-2, 2**26))


def keep_memory() -> None:
    """Let this process keep freed memory until it ends.

    By default glibc maps each large tensor anew and returns it. System calls then took a sixth of
    the processor time of a choice with 400 samples, and two fifths of L-BFGS with 8000 samples of
    882 outputs. Other allocators do not change.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)
        for parameter, value in _HEAP:
            libc.mallopt(parameter, value)


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class Task:
    """A call of a function of this package.

    Attributes:
        function: Defined at the top of a module of this package.
        arguments: Keyword arguments that can be pickled.
    """

    function: Callable[..., Any]
    arguments: dict[str, Any]


class Interrupted(Exception):
    """The tasks were told to stop."""


class Pool:
    """Processes that stay for several rounds of tasks, as starting one costs seconds.

    Args:
        processes: Largest number at a time; with one, this process runs the tasks in turn.
        stop: Called between tasks, and twice a second; returns whether to end.
    """

    def __init__(self, processes: int, stop: Callable[[], bool] | None = None) -> None:
        """Start nothing yet."""
        self._processes, self._stop = processes, stop
        self._threads = ThreadPoolExecutor(max(1, processes))
        self._workers = _Workers()

    def __enter__(self) -> Pool:
        """Begin."""
        return self

    def __exit__(self, *error: object) -> None:
        """End all processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._workers.end()
        self._threads.shutdown()

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[int, Any]]:
        """Run tasks and yield each one's number and result as it ends.

        Raises:
            Interrupted: If ``stop`` returned True; running tasks are ended with the pool.
            InputError: If a task raised it.
            RuntimeError: If a process ended without a result.
        """
        if min(self._processes, len(tasks)) <= 1:
            for i, task in enumerate(tasks):
                self._ask()
                yield i, _on_one_thread(task)
            return
        left: dict[Future[Any], int] = {
            self._threads.submit(self._workers.call, task): i for i, task in enumerate(tasks)
        }
        while left:
            done, _ = wait(left, timeout=_POLL, return_when=FIRST_COMPLETED)
            self._ask()
            for future in sorted(done, key=left.__getitem__):
                yield left.pop(future), future.result()

    def _ask(self) -> None:
        if self._stop is not None and self._stop():
            raise Interrupted


def latest(results: Iterable[list[T]]) -> tuple[list[T], bool]:
    """Go through lists of results, each of which takes the place of the one before.

    Returns:
        The last list, and whether the tasks were told to stop before the end.

    Raises:
        Interrupted: If they were told so before there was a result.
    """
    found: list[T] = []
    try:
        for result in results:
            found = result
    except Interrupted:
        if not found:
            raise
        return found, True
    return found, False


def run(
    tasks: Sequence[Task], processes: int, stop: Callable[[], bool] | None = None
) -> Iterator[tuple[int, Any]]:
    """Run tasks in a new `Pool`, with at most as many processes as tasks."""
    with Pool(min(processes, len(tasks)), stop) as own:
        yield from own.run(tasks)


def _on_one_thread(task: Task) -> Any:
    """Run a task on one thread, like a worker: sums of several threads round differently."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return task.function(**task.arguments)
    finally:
        torch.set_num_threads(before)


class _Workers:
    """One process for each thread that calls it."""

    def __init__(self) -> None:
        self._own = threading.local()
        self._all: list[subprocess.Popen[bytes]] = []
        self._ended = False
        self._lock = threading.Lock()

    def call(self, task: Task) -> Any:
        """Run a task in this thread's process."""
        process = getattr(self._own, "process", None) or self._start()
        try:
            assert process.stdin is not None and process.stdout is not None  # both are pipes
            with broken_pipes_are_errors():
                pickle.dump((task.function.__module__, task.function.__name__), process.stdin)
                pickle.dump(task.arguments, process.stdin)
                process.stdin.flush()
            failure, result = pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            status = process.wait()
            raise RuntimeError(
                f"a process of the training has ended with status {status}, perhaps for lack of "
                "memory"
            ) from error
        if failure is not None:
            raise failure
        return result

    def end(self) -> None:
        """End all processes, whatever they do."""
        with self._lock:
            self._ended = True
            for process in self._all:
                process.kill()
        for process in self._all:
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    # Data that was not sent is not needed.
                    with broken_pipes_are_errors(), contextlib.suppress(BrokenPipeError):
                        stream.close()

    def _start(self) -> subprocess.Popen[bytes]:
        code = _SERVE.format(path=sys.path, module=__name__)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with self._lock:
            if self._ended:
                raise Interrupted
            process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches only the parent, which ends its workers
            )
            self._all.append(process)
        self._own.process = process
        return process


def serve() -> None:
    """Run tasks from standard input until it ends; results go to standard output."""
    keep_memory()
    requests: BinaryIO = sys.stdin.buffer
    replies = os.fdopen(os.dup(1), "wb")
    # Prints must not mix with replies: scipy's L-BFGS-B of 2023 prints if it ends by rounding.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    import torch

    torch.set_num_threads(1)
    while True:
        try:
            module, name = pickle.load(requests)
            arguments = pickle.load(requests)
        except EOFError:
            return
        failure, result = None, None
        try:
            result = getattr(importlib.import_module(module), name)(**arguments)
        except (InputError, ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
            failure = error
        pickle.dump((failure, result), replies)
        replies.flush()
