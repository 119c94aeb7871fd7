"""A solver in a process of its own: a solve that ends its process fails only its sample.

The process that a user or a launcher has started is the keeper: it receives the signals, asks for
tasks and saves the results. Its solver is forked before MPI is started, as a fork after that is not
safe. The solver starts its own MPI, as a program of one process. When a solver ends, MPI already
runs in the keeper, which can fork no other. So a third process, the nursery, is forked first; it
starts the solvers, reports how they end, and does nothing else (`nursery`). Between it and each
solver is a guardian, which waits for the solver: a solve that kills its parent process kills only
its guardian. Each of these processes is killed when its parent ends.

The keeper sends the name of a method of `LocalSolver` and its pickled arguments over a socket, and
the solver sends back the method's result or exception. Questions and answers are numbered, and an
answer with another number is refused.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, cast

from surrogates.config import check
from surrogates.data import Info
from surrogates.errors import InputError
from surrogates.folders import Folder
from surrogates.types import Array

from ..prescribed import Space
from ..results import Batch
from ..wanted import Wanted
from .limits import Mark, complete, read, too_long
from .nursery import IN_SETUP, RAISED, STATUS, fork, how_ended, started
from .solvers import LocalSolver

if TYPE_CHECKING:
    from mpi4py import MPI

_LEAVE_SECONDS = 10.0  # for a solver to end, after its last answer
_RANKS = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "MPI_LOCALRANKID")
_RAISES = 255  # exit status of an action that raises
_MEANWHILE = "while the run was at work; go on by the same command with the file as it was"


class SolveEnded(Exception):
    """A solve has ended its process.

    Attributes:
        mark: The samples, and how it ended.
    """

    def __init__(self, mark: Mark) -> None:
        """Take the mark."""
        super().__init__(mark.reason)
        self.mark = mark


class _Died(Exception):
    """The solver's process has ended, for this reason; None if it was killed at the time limit."""

    def __init__(self, reason: str | None) -> None:
        super().__init__(reason)
        self.reason = reason


class _Unforeseen(Exception):
    """The solver has raised an error that fails no sample: its kind in `IN_SETUP`, and text."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(kind, text)
        self.kind, self.text = kind, text


class SolverProcess:
    """A `LocalSolver` in another process: the keeper's side, with the same methods."""

    def __init__(self, begin: Callable[[], LocalSolver]) -> None:
        """Start the process, which begins at once; `ready` waits for it.

        Must be called before MPI is started. In the process itself the call does not return, but
        raises `SystemExit` when the keeper no longer needs it.

        Args:
            begin: Finds the problem; called in each process that is started.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        self._nursery_pid, self._nursery = started(begin)
        self._setup: list[tuple[str, tuple[Any, ...], Any]] = []
        self._marks: list[str] = []  # of those that have ended
        self._mark: str | None = None
        self._name = self._source = ""
        self._pid: int | None = None
        self._start()

    @property
    def name(self) -> str:
        """The problem's name."""
        return self._name

    def ready(self) -> SolverProcess:
        """Wait until the problem is found.

        Raises:
            InputError: If there is none of that name, or it cannot be used.
        """
        before = self._source
        self._name, self._source = self._answer()
        check(not before or before == self._source, f"{self._name} has changed {_MEANWHILE}")
        return self

    def settings(self, file: str | None, overrides: Sequence[str]) -> str:
        """Read settings; see `LocalSolver`."""
        return cast(str, self._call("settings", file, list(overrides)))

    def configure(self, text: str) -> None:
        """Take settings from TOML text."""
        self._set_up("configure", text)

    def space(self) -> Space:
        """Return the space of the parameters; see `LocalSolver`."""
        return cast(Space, self._call("space"))

    def drawn(self, total: int, seed: int) -> Array | None:
        """Draw all samples by the problem's own method; see `LocalSolver`."""
        return cast("Array | None", self._call("drawn", total, seed))

    def describe(
        self, samples: int, seed: int, split: str, wanted: Wanted, there: Sequence[str]
    ) -> tuple[Info, int]:
        """Check the arguments, and describe the set; see `LocalSolver`."""
        arguments = (samples, seed, split, wanted, there)
        return cast(tuple[Info, int], self._set_up("describe", *arguments))

    def compile(self) -> None:
        """Compile the problem's forms; every process then finds them in a cache."""
        self._call("compile")

    def make(
        self, comm: MPI.Comm | None, folder: Folder, seconds: float, size: int, wanted: Wanted
    ) -> str:
        """Make the problem; see `LocalSolver`. The communicator holds only this process."""
        self._seconds = seconds
        self._folder = folder
        mesh = cast(str, self._set_up("make", None, folder, seconds, size, wanted))
        self._mark = self._call("mark")
        return mesh

    def notes(self) -> tuple[str, ...]:
        """Return notes for the users of the samples, one line each."""
        return cast(tuple[str, ...], self._call("notes"))

    def needs(self, there: Sequence[str]) -> dict[str, str]:
        """Return the digests of the files that the samples depend on; see `LocalSolver`."""
        return cast(dict[str, str], self._set_up("needs", there))

    def expect(self, known: Mapping[str, str]) -> None:
        """From now on, refuse to import a module whose digest is not known."""
        self._set_up("expect", known)

    def changes(self, info: Info) -> list[str]:
        """Name the files that have changed while samples were solved, a line each."""
        self._revive()
        return cast(list[str], self._call("changes", info))

    def remake(self) -> None:
        """Make the problem again; if that fails, the next solve does so in another process."""
        try:
            self._exchange("remake")
        except (_Died, _Unforeseen):
            self._end()

    def fault(self, seed: int, seconds: float) -> str:
        """Return what is wrong with the derivatives; see `LocalSolver`. Empty if it ends."""
        try:
            return cast(str, self._exchange("fault", seed, seconds))
        except (_Died, _Unforeseen):  # its samples will say why
            self._end()
            if self._mark is not None:
                self._folder.remove(self._mark)
                self._mark = None
            return ""

    def solve(self, Y: Array, V: Array | None, start: int, seconds: float) -> Batch:
        """Solve for consecutive samples; see `LocalSolver`.

        Raises:
            TimeLimitError: At the limit.
            SolveEnded: If the process has ended. It is ended if it has run out of memory, or has
                raised an exception such as `SystemExit`.
        """
        self._revive()
        # The process keeps the limit itself, but a solve can disable all its ways to do so.
        patience = seconds + max(5.0, 0.1 * seconds) + 20.0
        reason: str | None
        try:
            return cast(Batch, self._exchange("solve", Y, V, start, seconds, patience=patience))
        except _Died as death:
            reason = death.reason
        except _Unforeseen as error:
            self._end()
            reason = f"{error.kind}: {error.text}" if error.kind in IN_SETUP else error.text
        raise SolveEnded(self._marked(reason, start, start + len(Y)))

    def settle(self) -> None:
        """Remove the marks of processes that have ended: their samples are saved."""
        while self._marks:
            self._folder.remove(self._marks.pop())

    def close(self, *, kill: bool = False) -> None:
        """End the process; a second call does nothing.

        Args:
            kill: Whether to end it at once, even in a solve.
        """
        if self._nursery.fileno() < 0:
            return
        if self._pid is not None:
            if kill:
                self._kill()
            with contextlib.suppress(OSError):  # it has ended
                self._channel.send(None)  # MPI's processes may hold the socket open
            self._channel.close()
            with contextlib.suppress(ChildProcessError):
                self._code()
        self._nursery.close()
        os.waitpid(self._nursery_pid, 0)
        if self._mark is not None:  # no solve has ended it
            self._folder.remove(self._mark)

    def _start(self) -> None:
        try:
            self._nursery.sendall(b"+")
            text, files, _, _ = socket.recv_fds(self._nursery, 32, 1)
        except OSError:
            text = b""
        if not text:
            raise ChildProcessError("the process that starts the solver was killed")
        os.set_inheritable(files[0], False)
        self._pid = int(text)
        self._channel = Connection(files[0])
        self._number = 0

    def _revive(self) -> None:
        """Start another process if this one has ended, in a solve or between two tasks."""
        if self._pid is None or wait([self._nursery], 0):
            self._restart()

    def _restart(self) -> None:
        """Start another process, and repeat the set-up of the one before."""
        if self._pid is not None:
            self._code()
        self._start()
        self.ready()
        setup, self._setup = self._setup, []
        for name, arguments, before in setup:
            answer = self._set_up(name, *arguments)
            if name == "describe" and (differences := before[0].differences(answer[0])):
                text = "; ".join(differences)
                raise InputError(f"{self._name} has changed {_MEANWHILE}: {text}")
            if name in ("make", "needs"):
                text = f"{self._name} has changed {_MEANWHILE}: {before} is now {answer}"
                check(before == answer, text)
            if name == "make":
                self._mark = self._call("mark")

    def _set_up(self, name: str, *arguments: Any) -> Any:
        answer = self._call(name, *arguments)
        self._setup.append((name, arguments, answer))
        return answer

    def _call(self, name: str, *arguments: Any) -> Any:
        """Call a method of the solver other than `solve`."""
        try:
            return self._exchange(name, *arguments)
        except _Died as death:
            raise ChildProcessError(f"the solver cannot be set up: {death.reason}") from None
        except _Unforeseen as error:
            raise IN_SETUP.get(error.kind, ChildProcessError)(error.text) from None

    def _answer(self) -> Any:
        try:
            return self._received(None)
        except _Died as death:
            raise ChildProcessError(f"the problem cannot be loaded: {death.reason}") from None
        except _Unforeseen as error:
            raise IN_SETUP.get(error.kind, ChildProcessError)(error.text) from None

    def _exchange(self, name: str, *arguments: Any, patience: float | None = None) -> Any:
        self._number += 1
        try:
            self._channel.send((self._number, name, arguments))
        except OSError:
            raise _Died(how_ended(self._code())) from None
        return self._received(patience)

    def _received(self, patience: float | None) -> Any:
        """Wait for an answer, or for the end of the process.

        An open socket does not show that it runs: processes that it has forked may hold it open.
        """
        found = wait([self._channel, self._nursery], patience)
        if not found:
            self._end()
            raise _Died(None)
        if self._nursery not in found:
            try:
                number, kind, content = self._channel.recv()
            except (EOFError, OSError):
                raise _Died(how_ended(self._code())) from None
            if number != self._number:
                self._end()
                raise _Died("the solver's process has answered another question")
            if kind in RAISED:
                raise RAISED[kind](content)
            if kind:
                raise _Unforeseen(kind, content)
            return content
        raise _Died(how_ended(self._code()))

    def _end(self) -> None:
        """End the process, if there is one."""
        if self._pid is not None:
            self._kill()
            self._code()

    def _code(self) -> int:
        """Wait for the end of the process, end those it has started, and return its exit code."""
        if not wait([self._nursery], _LEAVE_SECONDS):  # it may wait for a thread
            self._kill()
        status = self._nursery.recv(STATUS.size)
        if not status:
            raise ChildProcessError("the process that starts the solver was killed")
        with contextlib.suppress(ProcessLookupError):  # most start none
            os.killpg(cast(int, self._pid), signal.SIGKILL)
        self._pid = None
        self._channel.close()
        return os.waitstatus_to_exitcode(*STATUS.unpack(status))

    def _kill(self) -> None:
        """Kill the running process and its process group."""
        assert self._pid is not None
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                kill(self._pid, signal.SIGKILL)

    def _marked(self, reason: str | None, start: int, stop: int) -> Mark:
        """Return the mark of an ended process, and keep it for later runs."""
        name, self._mark = self._mark, None
        assert name is not None
        if reason is None:
            self._folder.remove(name)
            return Mark(start, stop, too_long(self._seconds), self._seconds)
        mark = None
        with contextlib.suppress(OSError, ValueError):  # a disk that is full, or a mark cut short
            complete(self._folder, name, reason)
            mark = read(self._folder, name)
            self._marks.append(name)
        if mark is None or not (start <= mark.start < mark.stop <= stop):
            return Mark(start, stop, reason)
        return mark


def watched(action: Callable[[], int]) -> tuple[int, str]:
    """Run an action in a forked process, which may end at any point.

    Must be called before MPI is started. The call returns in the forked process too.

    Returns:
        The exit status, 0 only if the action has returned 0. Then how the process ended, if the
        action neither returned nor raised; else empty.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    done, say = os.pipe()
    pid = fork()
    if not pid:
        os.close(done)
        code = _RAISES
        try:
            code = action()
        finally:
            os.write(say, bytes([code]))
            os.close(say)
        return code, ""
    os.close(say)

    def forward(kind: int, frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, kind)

    before = {kind: signal.signal(kind, forward) for kind in (signal.SIGTERM, signal.SIGUSR1)}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    for kind, handler in before.items():
        signal.signal(kind, handler)
    os.set_blocking(done, False)  # forked processes may hold the other end
    with contextlib.suppress(BlockingIOError), open(done, "rb", buffering=0) as file:
        if status := file.read(1):
            return (max(ended, 1) if status[0] == _RAISES else status[0]), ""
    return (128 - ended if ended < 0 else max(ended, 1)), how_ended(ended)


def is_launched() -> bool:
    """Return whether a launcher such as mpirun has started this process."""
    return any(name in os.environ for name in _RANKS)
