"""A limit on the time of a solve, also for one that hangs.

At the limit an exception interrupts the solve, unless processes share a mesh: the others would
wait for the interrupted one. If the solve does not return, for example from C code that hangs, a
signal ends the process a little later, without running Python code. A file, the mark, then names
the samples, with the stack, as after a crash, or with the process's status. These samples are
solved for again one at a time, by the same run if it continues, or by the next one. `verdict`
decides which of them have failed.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re
import secrets
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from surrogates.errors import InputError
from surrogates.folders import Folder, named

_WIDTH = 64  # of the mark's first line
_ENDED = "Ended: "


class TimeLimitError(BaseException):
    """The limit is reached. It is no `Exception`, as a problem's own code may catch those."""


class Mark(NamedTuple):
    """The samples that a process was solving for when it ended.

    Attributes:
        start: First sample.
        stop: Sample after the last.
        reason: Why it ended, in words.
        limit: The time limit in seconds if that was reached; None if the process ended.
    """

    start: int
    stop: int
    reason: str
    limit: float | None = None


def verdict(marks: Sequence[Mark]) -> str:
    """Return why a sample has failed, from its marks; empty if it is to be solved for.

    A sample that reached the time limit alone has failed. A process may also end for another
    reason, such as other programs' memory: the sample has failed once two processes have ended, one
    of them with no other sample in the batch.
    """
    alone = [mark for mark in marks if mark.stop - mark.start == 1]
    slow = [mark.reason for mark in alone if mark.limit is not None]
    crashed = [mark.reason for mark in alone if mark.limit is None and len(marks) > 1]
    return (slow + crashed + [""])[0]


class TimeLimit:
    """The limit of one process, to be entered for each batch.

    Attributes:
        mark: Name of the file that names the samples at work.
    """

    def __init__(self, seconds: float, folder: Folder, *, interrupt: bool) -> None:
        """Prepare, and take the signals that it needs.

        Args:
            seconds: Limit of one sample, > 0.
            folder: Folder for the mark of a process that does not return.
            interrupt: Whether this process may be interrupted on its own.

        Raises:
            OSError: If the mark cannot be written.
        """
        self._seconds = seconds
        self._interrupt = interrupt
        self._armed = False
        self._folder = folder
        self.mark = f"mark-{secrets.token_hex(8)}.txt"
        with named(folder.path / self.mark):
            self._file = folder.open(self.mark, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            os.pwrite(self._file, b" " * _WIDTH, 0)  # the room is there from now on
        os.lseek(self._file, _WIDTH, os.SEEK_SET)
        self._enabled = faulthandler.is_enabled()
        faulthandler.enable(self._file)
        faulthandler.register(signal.SIGALRM, self._file, all_threads=False, chain=True)
        self._before = signal.signal(signal.SIGUSR2, self._raise)

    def at(self, start: int, stop: int) -> None:
        """Note that the samples ``start`` to ``stop`` are being solved for."""
        line = f"{start} {stop} {self._seconds:g}".ljust(_WIDTH - 1) + "\n"
        os.pwrite(self._file, line.encode(), 0)

    @contextlib.contextmanager
    def __call__(self, start: int, stop: int, seconds: float) -> Iterator[None]:
        """Limit a block that solves for the samples ``start`` to ``stop`` to some seconds.

        Raises:
            TimeLimitError: At the limit, if this process may be interrupted.
        """
        self.at(start, stop)
        limit = min(seconds, 1e8)
        main = threading.main_thread().ident
        assert main is not None
        timer = threading.Timer(limit, signal.pthread_kill, (main, signal.SIGUSR2))
        timer.daemon = True
        grace = max(5.0, 0.1 * limit) if self._interrupt else 0.0
        before = signal.setitimer(signal.ITIMER_REAL, limit + grace)
        try:
            if self._interrupt:
                timer.start()
            self._armed = self._interrupt
            try:
                yield
            finally:  # the limit may be reached here too
                self._armed = False
        finally:
            signal.setitimer(signal.ITIMER_REAL, *before)
            if self._interrupt:
                timer.cancel()
                timer.join()  # else its signal could come within the next block

    def _raise(self, kind: int, frame: object) -> None:
        if self._armed:
            self._armed = False
            raise TimeLimitError

    def close(self) -> None:
        """Remove the mark: the process ends normally."""
        signal.signal(signal.SIGUSR2, self._before)
        faulthandler.unregister(signal.SIGALRM)
        faulthandler.disable()
        if self._enabled and sys.__stderr__ is not None:
            faulthandler.enable(sys.__stderr__)
        os.close(self._file)
        with contextlib.suppress(OSError):  # one that stays has no effect
            self._folder.remove(self.mark)


class NoLimit:
    """No limit, instead of a `TimeLimit`, in a process whose signals belong to its user.

    Attributes:
        mark: Empty: there is no file.
    """

    mark = ""

    def at(self, start: int, stop: int) -> None:
        """Do nothing."""

    @contextlib.contextmanager
    def __call__(self, start: int, stop: int, seconds: float) -> Iterator[None]:
        """Enter a block without a limit."""
        yield

    def close(self) -> None:
        """Do nothing."""


def marks(folder: Folder, seconds: float, *, forget: bool = False) -> list[Mark]:
    """Read the marks of processes that did not return, and remove useless ones.

    Args:
        folder: Folder of the marks.
        seconds: The limit now: a sample that was stopped at a shorter limit may try again.
        forget: Whether all samples may try again.
    """
    found = []
    for name in folder.names("mark-*.txt"):
        mark = read(folder, name)
        if forget or mark is None or (mark.limit is not None and seconds > mark.limit):
            folder.remove(name)
        else:
            found.append(mark)
    return found


def read(folder: Folder, name: str) -> Mark | None:
    """Read a mark; None if it does not say how the process ended, as after a kill of all."""
    with folder.reading(name) as file:
        text = file.read().decode(errors="replace")
    line, after = text[:_WIDTH].split(), text[_WIDTH:].strip()
    if len(line) != 3 or not after:
        return None
    start, stop, limit = int(line[0]), int(line[1]), float(line[2])
    if fatal := re.search(r"^Fatal Python error: (.*)$", after, re.MULTILINE):
        return Mark(start, stop, f"the solver crashed: {fatal[1]}")
    if ended := re.search(rf"^{_ENDED}(.*)$", after, re.MULTILINE):
        return Mark(start, stop, ended[1])
    return Mark(start, stop, too_long(limit), limit)


def complete(folder: Folder, name: str, reason: str) -> None:
    """Add the reason to the mark of an ended process, unless a stack is there."""
    with os.fdopen(folder.open(name, os.O_RDWR | os.O_APPEND), "r+b") as file:
        if not file.read()[_WIDTH:].strip():
            file.write(f"{_ENDED}{reason}\n".encode())


def complete_all(path: Path, reason: str) -> None:
    """Add the reason to the marks in a folder where one process solved, if it can be written.

    Args:
        path: The folder.
        reason: How the process has ended.
    """
    with contextlib.suppress(InputError, OSError, ValueError):
        folder = Folder.there(path)
        for name in folder.names("mark-*.txt"):
            complete(folder, name, reason)


def too_long(seconds: float) -> str:
    """Return the reason of a sample that has reached the limit."""
    return f"no result within the time limit of {seconds:g} s"
