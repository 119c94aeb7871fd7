"""Restore the state of the process that a solve may change, for the next sample and the run."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import locale
import os
import resource
from collections.abc import Iterator

import numpy as np

_LIMITS = (
    resource.RLIMIT_AS,
    resource.RLIMIT_CPU,
    resource.RLIMIT_DATA,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_NOFILE,
)
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY
_ROUNDING = ctypes.CDLL(None)  # the C library, which may have fegetenv and fesetenv
_ROUNDING_BYTES = 256  # of a fenv_t, at most


@contextlib.contextmanager
def surroundings_kept() -> Iterator[None]:
    """Restore the state of the process after a block: a sample must not depend on earlier ones.

    The state is the working folder, which many codes change, the umask, the environment, the
    locale, resource limits, numpy's handling of floating-point errors, and the processor's
    rounding. If the block forks the process, and the copy returns from the block, it ends here: it
    would repeat all that follows.
    """
    folder = os.open(".", _FOLDER)
    if folder < 3:  # the block may close those
        opened, folder = folder, fcntl.fcntl(folder, fcntl.F_DUPFD_CLOEXEC, 3)
        os.close(opened)
    mask = os.umask(0o077)
    os.umask(mask)
    errors, names, this = np.geterr(), locale.setlocale(locale.LC_ALL), os.getpid()
    environment = _environment()
    limits = [resource.getrlimit(kind) for kind in _LIMITS]
    rounding = ctypes.create_string_buffer(_ROUNDING_BYTES)
    with contextlib.suppress(AttributeError):
        _ROUNDING.fegetenv(rounding)
    try:
        yield
    finally:
        if os.getpid() != this:
            os._exit(1)
        with contextlib.suppress(AttributeError):
            _ROUNDING.fesetenv(rounding)
        for kind, before in zip(_LIMITS, limits, strict=True):
            if resource.getrlimit(kind) != before:
                _limit(kind, before)
        if _environment() != environment:
            os.environb.clear()
            os.environb.update(environment)
        if locale.setlocale(locale.LC_ALL) != names:
            locale.setlocale(locale.LC_ALL, names)
        np.seterr(**errors)
        os.umask(mask)
        os.fchdir(folder)
        os.close(folder)


def _environment() -> dict[bytes, bytes]:
    """Return a copy of the environment in bytes; a copy of texts takes fifty times as long."""
    return dict(vars(os.environ)["_data"])


def _limit(kind: int, before: tuple[int, int]) -> None:
    """Restore a limit, as far as this user may."""
    try:
        resource.setrlimit(kind, before)
    except (OSError, ValueError):  # the hard limit was lowered too
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (hard, hard))
