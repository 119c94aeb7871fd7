"""The nursery, the guardian and the solver: the processes that `processes` starts.

The keeper forks the nursery by `started`. The nursery forks a guardian for each solver that the
keeper asks for, and the guardian forks the solver. The call returns only in the solver.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import socket
import struct
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from surrogates.errors import InputError

from .limits import TimeLimitError
from .solvers import LocalSolver

STATUS = struct.Struct("<i")
_PR_SET_PDEATHSIG = 1  # of Linux's prctl
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_LAUNCHERS = ("OMPI_", "PMIX_", "PMI_", "PRTE_", "ORTE_", "HYDRA_", "HYDI_", "I_MPI_", "MPI_LOCAL")
_SCHEDULERS = ("SLURM_", "PALS_", "ALPS_", "FLUX_")
RAISED: dict[str, type[BaseException]] = {
    kind.__name__: kind for kind in (InputError, TimeLimitError)
}
IN_SETUP: dict[str, type[Exception]] = {kind.__name__: kind for kind in (MemoryError, OSError)}


def started(begin: Callable[[], LocalSolver]) -> tuple[int, socket.socket]:
    """Fork the nursery. Must be called before MPI is started.

    In each solver the call does not return, but raises `SystemExit` when the keeper no longer needs
    the solver.

    Args:
        begin: Finds the problem; called in each solver.

    Returns:
        The nursery's process, and the socket for requests of solvers.
    """
    ours, theirs = socket.socketpair()
    pid = fork()
    if not pid:
        ours.close()
        _serve(_nurse(theirs), begin)
    theirs.close()
    return pid, ours


def fork() -> int:
    """Fork, and let the child end with this process."""
    parent = os.getpid()
    with warnings.catch_warnings():
        # Newer versions of Python warn of threads; these are BLAS's, which handles a fork.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if not pid:
        with contextlib.suppress(AttributeError, OSError):  # elsewhere than on Linux
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    return pid


def how_ended(code: int | None) -> str:
    """Say how a process has ended."""
    if code is None:
        return "the solver's process was killed"
    if code >= 0:
        return f"the solver ended its process, with exit status {code}"
    name = signal.Signals(-code).name
    memory = ", as the system does where memory runs out" if name == "SIGKILL" else ""
    return f"the solver's process was ended by {name}{memory}"


def _nurse(keeper: socket.socket) -> Connection:
    """Start solvers as the keeper asks for them, and say how they end; return in the solvers."""
    for kind in _SIGNALS:
        signal.signal(kind, signal.SIG_IGN)  # the keeper gets these too, and decides
    with contextlib.suppress(OSError):  # the keeper no longer waits
        while keeper.recv(1):
            ours, theirs = socket.socketpair()
            done, say = os.pipe()
            pid = fork()
            if not pid:
                keeper.close()
                ours.close()
                os.close(done)
                _guard(say, theirs)
                return Connection(theirs.detach())
            theirs.close()
            os.close(say)
            socket.send_fds(keeper, [str(pid).encode()], [ours.fileno()])
            ours.close()
            status = os.waitpid(pid, 0)[1]  # the guardian's, if that was killed
            keeper.sendall(os.read(done, STATUS.size) or STATUS.pack(status))
            os.close(done)
    os._exit(0)


def _guard(say: int, channel: socket.socket) -> None:
    """Fork a solver, and wait for it, to tell its status; return in the solver.

    Both form a session of their own: a terminal's interrupt reaches the keeper, but neither the
    solver nor processes that it starts.
    """
    os.setsid()
    pid = fork()
    if not pid:
        os.close(say)
        return
    channel.close()
    os.write(say, STATUS.pack(os.waitpid(pid, 0)[1]))
    os._exit(0)


def _serve(keeper: Connection, begin: Callable[[], LocalSolver]) -> NoReturn:
    """Run the solver until the keeper ends it."""
    for kind in _SIGNALS:
        signal.signal(kind, lambda number, frame: None)
    os.register_at_fork(after_in_child=keeper.close)
    with _alone():
        solver, answer = _begun(begin)
    number, this = 0, os.getpid()
    try:
        while os.getpid() == this:  # not in a copy that a solve has forked
            keeper.send((number, *answer))
            try:
                message = keeper.recv()
            except InputError as error:  # a folder among the arguments has been replaced
                number, answer = number + 1, ("InputError", str(error))
                continue
            if message is None:
                break
            number, name, arguments = message
            answer = _attempt(functools.partial(getattr(solver, name), *arguments))
            with contextlib.suppress(Exception):  # the solver may have closed it
                sys.stdout.flush()
        else:
            os._exit(1)
    except (EOFError, OSError):  # a solve has closed it and MPI's sockets: MPI's end would hang
        os._exit(1)
    if solver is not None:
        solver.close()
    raise SystemExit(0)


def _begun(begin: Callable[[], LocalSolver]) -> tuple[LocalSolver | None, tuple[str, Any]]:
    """Find the problem; return its solver, None on failure, and the first answer."""
    kind, found = answer = _attempt(begin)
    return (None, answer) if kind else (found, ("", (found.name, found.source)))


def _attempt(action: Callable[[], Any]) -> tuple[str, Any]:
    """Return an action's result, or the kind and the text of its exception."""
    try:
        return "", action()
    except BaseException as error:
        for name, kind in {**RAISED, **IN_SETUP}.items():
            if isinstance(error, kind):
                return name, str(error)
        if isinstance(error, Exception):
            traceback.print_exception(error)
        return "Exception", f"{type(error).__name__}: {error}".removesuffix(": ")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Hide the launcher's variables while MPI starts: this process is none of its ranks.

    They are restored for the solves, which may read them.
    """
    hidden = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name.startswith((*_LAUNCHERS, *_SCHEDULERS))
    }
    try:
        yield
    finally:
        os.environ.update(hidden)
