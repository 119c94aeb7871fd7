"""The process that hands out tasks: rank 0 starts it; solves neither block it nor wait for it.

A task is a run of consecutive batches that takes about a fifth of a second, or one batch if that
takes longer, and at most half of an equal share of the remaining batches. A group that is ready
asks for the next task, so that a slow sample delays no other group. The requests use sockets
instead of MPI: no rank has to interrupt a solve to answer, and waiting ranks use no core. The same
process holds the lock of the folder, and writes the run's progress.

It listens at the addresses that rank 0 names (`network`), and answers only connections that send
the run's token first. A connection that sends other bytes, none, or too many is closed. If too many
connections have not sent the token, the oldest are closed.

Rank 0 talks to it by lines of JSON. First it sends the folder, whose descriptor the process
inherits; the answer says that the lock is taken, or why not. Then it sends the pending batches; the
answer is the address for requests. The process ends whenever rank 0 ends.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import hmac
import json
import math
import os
import resource
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import surrogates
from surrogates.errors import InputError
from surrogates.folders import Folder
from surrogates.pipes import take_no_sigpipe

from .lock import BEAT_SECONDS, Lock

# The working folder is not on the path: others may have put modules there.
_START = """
import sys
sys.path[:] = filter(None, sys.path)
import runpy
runpy.run_module(sys.argv[1], run_name="__main__")
"""
_TASK_SECONDS = 0.2
_WAIT_SECONDS = 0.2
_CONNECT_SECONDS = 60.0
_STRANGER_SECONDS = 10.0  # in which a connection must send the token
_STRANGERS = 256  # largest number of connections without it


@dataclass(frozen=True)
class Task:
    """Consecutive batches: the number of the first, and how many."""

    first: int
    count: int


class Dispatcher:
    """Rank 0's side of the process."""

    def __init__(self, folder: Folder) -> None:
        """Start the process, which takes the folder's lock.

        Raises:
            InputError: If another run has the lock.
            FileNotFoundError: If the run that had it has ended, and removed the folder.
        """
        take_no_sigpipe()
        # The process imports this same package, and none of the user's files as a module.
        here = str(Path(surrogates.__file__).resolve().parents[1])
        path = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, "surrogates.pde.ensemble.dispatcher"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[folder.file],
            text=True,
            start_new_session=True,
        )
        answer = self._ask({"folder": str(folder.path.absolute()), "file": folder.file})
        if "error" in answer:
            self.end()
            if answer["gone"]:
                raise FileNotFoundError(answer["error"])
            raise InputError(answer["error"])

    def open(self, pending: list[tuple[int, int]], **about: Any) -> dict[str, Any]:
        """Open for requests.

        Args:
            pending: Runs of batches to do: the first, and the one after the last.
            about: ``groups``, the number that will ask; ``most``, the most batches in a task;
                ``total``, ``done`` and ``failed``, samples so far; ``hosts``, the addresses to
                listen at.

        Returns:
            The address for `Requests`.
        """
        return self._ask({"pending": pending, **about})

    def end(self) -> None:
        """End the process, which releases the lock; a second call does nothing."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError, ValueError):  # it has ended already
            # By a line: processes that a solver has forked may hold the pipe open.
            self._process.stdin.write("\n")
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        except (BrokenPipeError, ValueError) as error:
            raise ChildProcessError("the process that hands out the samples has died") from error
        return answer


class Requests:
    """The side of a group: ask for tasks, and report their results.

    Attributes:
        done: Samples done in the whole run, at the last answer.
        failed: Samples failed.
        stopped: Whether the run ends before all samples are done.
    """

    def __init__(self, address: dict[str, Any]) -> None:
        """Connect to the address that `Dispatcher.open` returned."""
        self.done = self.failed = 0
        self.stopped = False
        take_no_sigpipe()
        self._socket, self._file = _connected(address)

    def next(self, stop: Callable[[], bool], **report: Any) -> Task | None:
        """Report the last task, and get the next one; None at the end of the run.

        Args:
            stop: Returns whether the whole run is to end.
            report: ``samples``, ``failed`` and ``seconds`` of the last task.

        Raises:
            ConnectionError: If a process of the run has died.
        """
        while True:
            try:
                self._file.write(json.dumps({**report, "stop": stop()}) + "\n")
                self._file.flush()
                line = self._file.readline()
            except OSError:
                line = ""
            if not line:
                raise ConnectionError("a process of the run has died")
            answer = json.loads(line)
            self.done, self.failed, self.stopped = (
                answer[key] for key in ("done", "failed", "stopped")
            )
            if answer.get("lost"):
                raise ConnectionError("a process of the run has died")
            if not answer.get("wait"):
                task = answer["task"]
                return None if task is None else Task(*task)
            report = {}
            time.sleep(_WAIT_SECONDS)

    def close(self, *, leave: bool = True) -> None:
        """Close the connection; unless ``leave``, the others learn that a process is lost."""
        with contextlib.suppress(OSError):
            if leave:
                self._file.write(json.dumps({"leave": True}) + "\n")
            self._file.close()
        self._socket.close()


def _connected(address: dict[str, Any]) -> tuple[socket.socket, TextIO]:
    """Connect and send the token; try again if other connections have filled the queue."""
    stop, pause = time.monotonic() + _CONNECT_SECONDS, 0.05
    while True:
        reasons = []
        for host, port in address["places"]:
            try:
                return _greeted(host, port, address["token"])
            except OSError as error:
                reasons.append(f"{host}, port {port}: {error}")
        if time.monotonic() > stop:
            raise ConnectionError(
                f"cannot reach rank 0 at {'; '.join(reasons)}; where hosts have several networks, "
                "--interface names the one to use"
            )
        time.sleep(pause)
        pause = min(2 * pause, 2.0)


def _greeted(host: str, port: int, token: str) -> tuple[socket.socket, TextIO]:
    made = socket.create_connection((host, port), timeout=30)
    try:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.sendall(token.encode() + b"\n")
        if made.recv(1) != b"\n":
            raise ConnectionError("closed before it has answered")
        made.settimeout(None)
        return made, made.makefile("rw", encoding="utf-8", newline="\n")
    except BaseException:
        made.close()
        raise


class _Server:
    """The process itself."""

    def __init__(self, lock: Lock, about: dict[str, Any]) -> None:
        self._lock = lock
        self._about = about
        self._pending = collections.deque(tuple(run) for run in about["pending"])
        self._left = sum(stop - first for first, stop in self._pending)
        self._done, self._failed = about["done"], about["failed"]
        self._solved = 0
        self._start: float | None = None  # of the first task
        self._seconds: float | None = None  # of one batch, a mean over the latest tasks
        self._out: dict[int, int] = {}  # batches in flight, by group
        self._stopped = self._lost = False
        self._token = secrets.token_hex(16)
        self._strangers: dict[asyncio.StreamWriter, None] = {}  # the oldest first
        self._parent = os.getppid()

    async def run(self) -> None:
        """Serve until rank 0 closes its end, or ends."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(sys.stdin.fileno(), ended.set)
        hosts = self._about["hosts"]
        server = await asyncio.start_server(
            self._serve, hosts, 0, family=socket.AF_INET, backlog=4096
        )
        places = [listening.getsockname() for listening in server.sockets]
        places.sort(key=lambda place: hosts.index(place[0]))
        _answer({"places": places, "token": self._token})
        while not ended.is_set() and os.getppid() == self._parent:
            self._lock.beat(self._state())
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(ended.wait(), BEAT_SECONDS)
        server.close()
        self._lock.beat(self._state(), ended=True)

    def _state(self) -> dict[str, Any]:
        return {
            "total": self._about["total"],
            "done": self._done,
            "failed": self._failed,
            "solved": self._solved,
            "seconds": time.monotonic() - self._start if self._start is not None else 0.0,
            "groups": self._about["groups"],
        }

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name, left = id(writer), False
        try:
            if not await self._known(reader, writer):
                return
            try:
                writer.write(b"\n")
                while line := await reader.readline():
                    message = json.loads(line)
                    if left := message.get("leave", False):
                        break
                    writer.write((json.dumps(self._reply(name, message)) + "\n").encode())
                    await writer.drain()
            except (OSError, ValueError, KeyError, AttributeError):  # not from a group
                left = False
            self._lost |= not left
        finally:
            writer.close()

    async def _known(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Return whether a connection sends the token in time."""
        expected = f"{self._token}\n".encode()
        self._strangers[writer] = None
        while len(self._strangers) > self._about["groups"] + _STRANGERS:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.transport.abort()
        try:
            reading = reader.readexactly(len(expected))
            given = await asyncio.wait_for(reading, _STRANGER_SECONDS)
            return hmac.compare_digest(given, expected)
        except (OSError, EOFError, asyncio.TimeoutError):
            return False
        finally:
            self._strangers.pop(writer, None)

    def _reply(self, name: int, message: dict[str, Any]) -> dict[str, Any]:
        if samples := message.get("samples", 0):
            batches = self._out.pop(name)
            seconds = message["seconds"] / batches
            self._seconds = seconds if self._seconds is None else (self._seconds + seconds) / 2
            self._done += samples
            self._solved += samples
            self._failed += message["failed"]
        self._stopped |= message["stop"] and (self._left > 0 or bool(self._out))
        answer = {
            "done": self._done,
            "failed": self._failed,
            "stopped": self._stopped,
            "lost": self._lost,
        }
        if self._left and not self._stopped:
            return {**answer, "task": self._next(name)}
        if self._out and not self._stopped:
            return {**answer, "wait": True}  # a waiting group must not use a core
        return {**answer, "task": None}

    def _next(self, name: int) -> tuple[int, int]:
        if self._start is None:
            self._start = time.monotonic()
        count = 1
        if self._seconds is not None:
            share = math.ceil(self._left / (2 * self._about["groups"]))
            count = int(_TASK_SECONDS / max(self._seconds, 1e-9))
            count = max(1, min(count, share, self._about["most"]))
        first, stop = self._pending.popleft()
        count = min(count, stop - first)
        if first + count < stop:
            self._pending.appendleft((first + count, stop))
        self._left -= count
        self._out[name] = count
        return first, count


def _answer(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def main() -> int:
    """Run the process: read from stdin, answer on stdout."""
    for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(kind, signal.SIG_IGN)  # the ranks get these too, and decide
    try:
        message = json.loads(sys.stdin.readline())
        lock = Lock(Folder(Path(message["folder"]), message["file"]))
    except (InputError, OSError) as error:
        _answer({"error": str(error), "gone": isinstance(error, FileNotFoundError)})
        return 1
    _answer({})
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # one for each group
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    line = sys.stdin.readline()
    if line.strip():
        asyncio.run(_Server(lock, json.loads(line)).run())
    lock.release()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
