"""A limit on the time that a solve may take, whatever it is stuck in.

At the limit the solve is interrupted by an exception, if this process may: one of several that
share a mesh would leave the others waiting. What does not come back, as a call of C code that
hangs, ends the process a little later, by a signal for which no Python code needs to run. What it
was doing is then in a file, the mark, with the stack, as after a crash, or with how the process
ended. Those samples are solved for again one at a time, by the same run where it goes on, else by
the next one. `verdict` says which of them have failed.
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
    """The limit is reached. No `Exception`: a problem's own code may catch those."""


class Mark(NamedTuple):
    """What a process was doing when it came to an end.

    Attributes:
        start: First sample.
        stop: Sample after the last.
        reason: What happened.
        limit: The time limit in seconds, where that was reached; None if the process ended.
    """

    start: int
    stop: int
    reason: str
    limit: float | None = None


def verdict(marks: Sequence[Mark]) -> str:
    """Return why a sample has failed, by the marks on it; empty if it is to be solved for.

    The time limit, reached by the sample alone, is enough. A process that ended may have done so
    for another reason, such as the memory that other programs take: a second end is asked for, and
    one of the two with no other sample in the batch.
    """
    alone = [mark for mark in marks if mark.stop - mark.start == 1]
    slow = [mark.reason for mark in alone if mark.limit is not None]
    crashed = [mark.reason for mark in alone if mark.limit is None and len(marks) > 1]
    return (slow + crashed + [""])[0]


class TimeLimit:
    """The limit of one process, to be entered for each batch.

    Attributes:
        mark: Name of the file that says what the process is doing.
    """

    def __init__(self, seconds: float, folder: Folder, *, interrupt: bool) -> None:
        """Prepare, and take the signals that it needs.

        Args:
            seconds: Of one sample, > 0.
            folder: Where a process that does not come back leaves its mark.
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
            finally:  # where the limit may still be reached
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
        """Remove the mark: the process has come to its end by itself."""
        signal.signal(signal.SIGUSR2, self._before)
        faulthandler.unregister(signal.SIGALRM)
        faulthandler.disable()
        if self._enabled and sys.__stderr__ is not None:
            faulthandler.enable(sys.__stderr__)
        os.close(self._file)
        with contextlib.suppress(OSError):  # one that stays says nothing
            self._folder.remove(self.mark)


class NoLimit:
    """In place of a `TimeLimit`, in a process whose signals are its user's: there is no limit.

    Attributes:
        mark: Empty: no file says what the process is doing.
    """

    mark = ""

    def at(self, start: int, stop: int) -> None:
        """Do nothing."""

    @contextlib.contextmanager
    def __call__(self, start: int, stop: int, seconds: float) -> Iterator[None]:
        """Enter a block, which may take any time."""
        yield

    def close(self) -> None:
        """Do nothing."""


def marks(folder: Folder, seconds: float, *, forget: bool = False) -> list[Mark]:
    """Read the marks of processes that did not come back, and remove those of no more use.

    Args:
        folder: Where they are.
        seconds: The limit now: who was stopped at a shorter one may try again.
        forget: Whether all may try again.
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
    """Read a mark; None where it does not say how the process ended, as after a kill of all."""
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
    """Add to the mark of a process that has ended how it did, unless a stack is there."""
    with os.fdopen(folder.open(name, os.O_RDWR | os.O_APPEND), "r+b") as file:
        if not file.read()[_WIDTH:].strip():
            file.write(f"{_ENDED}{reason}\n".encode())


def complete_all(path: Path, reason: str) -> None:
    """Add to the marks in a folder how the one process that solved there has ended, if they can be.

    Args:
        path: The folder.
        reason: How the process has ended.
    """
    with contextlib.suppress(InputError, OSError, ValueError):
        folder = Folder.there(path)
        for name in folder.names("mark-*.txt"):
            complete(folder, name, reason)


def too_long(seconds: float) -> str:
    """Say that a sample has reached the limit."""
    return f"no result within the time limit of {seconds:g} s"
