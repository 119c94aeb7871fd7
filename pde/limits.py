"""A limit on the time that a solve may take, whatever it is stuck in.

At the limit the solve is interrupted by an exception, if this process may: one of several that
share a mesh would leave the others waiting. What does not come back, as a call of C code that
hangs, ends the process a little later, by a signal for which no Python code needs to run. What it
was doing is then in a file, the mark, with the stack, as after a crash: a later run reads it,
solves for that batch one sample at a time, and does not try again what has ended a process alone.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator
from typing import NamedTuple

from surrogates.folders import Folder

_WIDTH = 64  # of the mark's first line


class TimeLimitError(BaseException):
    """The limit is reached. No `Exception`: a problem's own code may catch those."""


class Mark(NamedTuple):
    """What a process was doing when it came to an end.

    Attributes:
        start: First sample.
        stop: Sample after the last.
        reason: What happened.
    """

    start: int
    stop: int
    reason: str


class TimeLimit:
    """The limit of one process, to be entered for each batch."""

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
        self._mark = f"mark-{secrets.token_hex(8)}.txt"
        try:
            self._file = folder.open(self._mark, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            os.pwrite(self._file, b" " * _WIDTH, 0)  # the room is there from now on
        except OSError as error:
            raise OSError(f"cannot write {folder.path / self._mark}: {error.strerror}") from error
        os.lseek(self._file, _WIDTH, os.SEEK_SET)
        self._enabled = faulthandler.is_enabled()
        faulthandler.enable(self._file)
        faulthandler.register(signal.SIGALRM, self._file, all_threads=False, chain=True)
        self._before = signal.signal(signal.SIGUSR2, self._raise)

    @contextlib.contextmanager
    def __call__(self, start: int, stop: int, seconds: float) -> Iterator[None]:
        """Limit a block that solves for the samples ``start`` to ``stop`` to some seconds.

        Raises:
            TimeLimitError: At the limit, if this process may be interrupted.
        """
        line = f"{start} {stop} {self._seconds:g}".ljust(_WIDTH - 1) + "\n"
        os.pwrite(self._file, line.encode(), 0)
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
            self._folder.remove(self._mark)


def marks(folder: Folder, seconds: float, *, forget: bool = False) -> list[Mark]:
    """Read the marks of processes that did not come back, and remove those of no more use.

    Args:
        folder: Where they are.
        seconds: The limit now: who was stopped at a shorter one may try again.
        forget: Whether all may try again.
    """
    found = []
    for name in folder.names("mark-*.txt"):
        with folder.reading(name) as file:
            text = file.read().decode(errors="replace")
        line, stack = text[:_WIDTH].split(), text[_WIDTH:].strip()
        crash = stack.startswith("Fatal Python error: ")
        if forget or len(line) != 3 or not stack or (not crash and seconds > float(line[2])):
            folder.remove(name)
            continue
        reason = too_long(float(line[2]))
        if crash:
            what = stack.splitlines()[0].removeprefix("Fatal Python error: ")
            reason = f"the solver crashed: {what}"
        found.append(Mark(int(line[0]), int(line[1]), reason))
    return found


def too_long(seconds: float) -> str:
    """Say that a sample has reached the limit."""
    return f"no result within the time limit of {seconds:g} s"
