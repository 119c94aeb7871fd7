"""The server: surrogates over HTTP, for any client of the UM-Bridge protocol.

`umbridge` answers the requests, `connections` limits what clients can occupy, and `hosts` says by
which names they may call.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from aiohttp import web

from surrogates.config import check
from surrogates.errors import InputError

from . import connections, hosts, umbridge

MOST_CONNECTIONS = 256
PATIENCE = 60.0  # seconds for a request's head, for its body, and for taking the answer
_GRACE = 1.0  # seconds, at the end, until requests that have come in part are dropped
_QUEUE = 1024  # connections that the system keeps until they are accepted
_DESCRIPTORS = 2 * connections.AT_ONCE + 64  # beside those of the connections
logger = logging.getLogger(__name__)


def serve(
    paths: Sequence[str | os.PathLike[str]],
    *,
    host: str = "127.0.0.1",
    port: int = 4242,
    refuse_outside: bool = False,
    trust: bool = False,
    allow_hosts: Sequence[str] = (),
    most_connections: int = MOST_CONNECTIONS,
    patience: float = PATIENCE,
    on_listening: Callable[[str, Sequence[str]], None],
) -> None:
    """Answer requests until SIGINT (Ctrl-C) or SIGTERM; requests received by then are answered.

    Requests are answered one after the other, on one thread: a surrogate's call takes a small part
    of the time of its request (measured: 0.1 of 0.6 ms).

    Args:
        paths: Surrogate files; a model's name is its file's name without the ending.
        host: Name or address to listen at; ``0.0.0.0`` answers everybody who reaches the machine.
        port: Port to listen at; 0 takes a free one.
        refuse_outside: Refuse y outside the training domain in every request.
        trust: Load files whose code is not known to be harmless; see `surrogates.load`.
        allow_hosts: Further names by which clients may call the server, without a port.
        most_connections: Most connections at once; one more closes the longest idle one.
        patience: Seconds for a request's head, for its body, and for taking the answer.
        on_listening: Called with the URL and the files' names once requests are accepted.

    Raises:
        InputError: If a file is not a surrogate, two have the same name, the server cannot listen
            at host and port, or a number or a name of a host makes no sense.
    """
    check(most_connections > 0, f"there must be 1 connection at least; got {most_connections}")
    check(patience > 0, f"the time for a request must be > 0 s; got {patience}")
    hosts.check_hosts(allow_hosts)
    models = umbridge.load_models(paths, refuse_outside, trust)
    names = (host, *allow_hosts)
    with _listen(host, port) as listening, _rare_warnings():
        most = _with_descriptors(most_connections)
        door = connections.Door(most, patience)
        application = umbridge.application(models, names, door)
        files = [Path(path).stem for path in paths]
        url = _url(listening)
        asyncio.run(_run(application, door, listening, lambda: on_listening(url, files)))


def _url(listening: socket.socket) -> str:
    bound, port = listening.getsockname()[:2]
    return f"http://[{bound}]:{port}" if ":" in bound else f"http://{bound}:{port}"


@contextlib.contextmanager
def _rare_warnings() -> Iterator[None]:
    """Limit how often the server's logs repeat a warning."""
    rarely = connections.Rarely(time.monotonic)
    logs = (logger, umbridge.logger, connections.logger)
    for log in logs:
        log.addFilter(rarely)
    try:
        yield
    finally:
        for log in logs:
            log.removeFilter(rarely)


async def _run(
    application: web.Application,
    door: connections.Door,
    listening: socket.socket,
    tell: Callable[[], None],
) -> None:
    """Answer requests until a signal comes; call ``tell`` once they are accepted."""
    loop, end = asyncio.get_running_loop(), asyncio.Event()
    loop.set_exception_handler(connections.report)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    protocols = runner.server
    assert protocols is not None
    for kind in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # on Windows
            loop.add_signal_handler(kind, end.set)
    server = await loop.create_server(
        lambda: door.guarded(protocols()), sock=listening, backlog=connections.AT_ONCE
    )
    listening.listen(_QUEUE)
    sweep = asyncio.create_task(door.keep())
    tell()
    try:
        await end.wait()
    finally:
        sweep.cancel()
        server.close()
        await door.close()
        await protocols.shutdown(_GRACE)
        await runner.cleanup()


def _with_descriptors(most: int) -> int:
    """Raise this process's limit of open files for its connections; return how many fit."""
    try:
        import resource
    except ImportError:  # on Windows, which has no such limit
        return most
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = most + _DESCRIPTORS
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return most
    limit = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    fit = min(most, max(8, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _DESCRIPTORS))
    if fit < most:
        logger.warning("the limit of open files (ulimit -n) lets %d connections in at once", fit)
    return fit


def _listen(host: str, port: int) -> socket.socket:
    check(0 <= port < 2**16, f"the port must be 0 to 65535; got {port}")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family)
    except (OSError, ValueError) as error:  # ValueError: what no host can be called
        reason = f"{error}; give another host or port"
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            reason = "the port is in use; give another, or 0 for one that is free"
        raise InputError(f"cannot listen at {host}:{port}: {reason}") from error
