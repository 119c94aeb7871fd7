"""Broken pipes raise Python's errors, and the standard files are always open.

Python ignores SIGPIPE, so that a write to a reader that has gone raises an error. PETSc, once
imported, ends the program at SIGPIPE, with fifteen lines of output. If a standard file is closed
when the program starts, its number goes to a file that is opened later.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator


def open_standard_files() -> None:
    """Open those of stdin, stdout and stderr that are closed; their output is discarded."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))


def take_no_sigpipe() -> None:
    """Ignore SIGPIPE again after an import of PETSc; does nothing outside the main thread."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)


@contextlib.contextmanager
def broken_pipes_are_errors() -> Iterator[None]:
    """Make broken pipes raise errors in this thread; the program's handler of SIGPIPE stays."""
    pipe = {signal.SIGPIPE}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, pipe)
    try:
        yield
    finally:
        if not pipe & before:
            if pipe & signal.sigpending():
                signal.sigwait(pipe)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, pipe)
