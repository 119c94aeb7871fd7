"""Writes to a process that has ended, or to a reader that has gone: errors, as Python has them.

Python ignores SIGPIPE. PETSc, once imported, ends the program at it, with fifteen lines. A standard
file that is closed when the program starts leaves its number to a file that is opened later.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator


def open_standard_files() -> None:
    """Open those of stdin, stdout and stderr that are closed; what is printed goes nowhere."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))


def take_no_sigpipe() -> None:
    """Ignore SIGPIPE again, where PETSc may have been imported; in the main thread alone."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)


@contextlib.contextmanager
def broken_pipes_are_errors() -> Iterator[None]:
    """Let no write of this thread be a signal; what the program does at SIGPIPE stays as it is."""
    pipe = {signal.SIGPIPE}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, pipe)
    try:
        yield
    finally:
        if not pipe & before:
            if pipe & signal.sigpending():
                signal.sigwait(pipe)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, pipe)
