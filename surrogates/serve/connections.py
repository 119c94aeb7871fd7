"""Limits on the connections of an HTTP server: how many there are, and how long each may wait.

aiohttp keeps every connection. Clients that send nothing, or a byte a minute, occupy a descriptor
each, until none is left for others. Here a `Door` stands before aiohttp's protocols and limits the
number of connections. If one more comes, the connection that the server has waited for longest is
closed; if it waits for none, all are at work, and the new one is refused. There is a time limit for
a request's head, for its body, and for the client to take the answer.
"""

from __future__ import annotations

import asyncio
import enum
import json
import logging
from collections.abc import Callable, Hashable
from typing import Any, cast

AT_ONCE = 32  # connections accepted in one go
_SETTLED = 0.2  # seconds after which a connection may be closed for another
_STATUS = {408: "Request Timeout", 503: "Service Unavailable"}
logger = logging.getLogger(__name__)


class _Awaited(enum.Enum):
    """The part of a request that the server waits for."""

    HEAD = "the head of a request"
    BODY = "the body of a request"
    NOTHING = "a request"  # idle, or its answer is under way


class Door:
    """Admits connections, and closes those that keep the server waiting.

    Args:
        most: Most connections at once.
        patience: Seconds for a request's head, for its body, and for taking the answer.
    """

    def __init__(self, most: int, patience: float) -> None:
        """Start without connections."""
        self.most, self.patience = most, patience
        self._inside: dict[Hashable, _Connection] = {}

    def guarded(self, protocol: asyncio.Protocol) -> asyncio.Protocol:
        """Return the protocol of a new connection, which hands all events on to aiohttp's."""
        return _Connection(self, protocol)

    def head_came(self, protocol: Hashable) -> None:
        """Note that aiohttp's protocol has received the head of a request."""
        if protocol in self._inside:
            self._inside[protocol].wait_for(_Awaited.BODY)

    def answered(self, protocol: Hashable) -> None:
        """Note that a request has been answered."""
        if protocol in self._inside:
            self._inside[protocol].wait_for(_Awaited.NOTHING)

    async def keep(self) -> None:
        """Close connections that are out of time; run until cancelled."""
        while True:
            await asyncio.sleep(min(1.0, self.patience / 4))
            for connection in list(self._inside.values()):
                connection.expire(self.patience)

    async def close(self) -> None:
        """Close the connections that have sent no head, after a moment for what is arriving."""
        await asyncio.sleep(0.05)
        for connection in list(self._inside.values()):
            if connection.awaited is not _Awaited.BODY:
                connection.hang_up()
        await asyncio.sleep(0)

    def enter(self, connection: _Connection) -> bool:
        """Admit a connection; if there is no room, close the one waited for longest first."""
        if len(self._inside) >= self.most:
            waiting = [one for one in self._inside.values() if one.waited() >= _SETTLED]
            if not waiting:
                logger.warning("%d connections are at work, which is the most: refused", self.most)
                return False
            # A request whose head has come is nearly complete, unless its client never ends it.
            oldest = max(waiting, key=lambda one: (one.awaited is not _Awaited.BODY, one.waited()))
            logger.warning("%d connections are the most: closed the longest idle", self.most)
            oldest.hang_up()
        self._inside[connection.protocol] = connection
        return True

    def leave(self, connection: _Connection) -> None:
        """Forget a connection."""
        self._inside.pop(connection.protocol, None)


class _Connection(asyncio.Protocol):
    """Passes all events on to aiohttp's protocol, and records what the server waits for."""

    def __init__(self, door: Door, protocol: asyncio.Protocol) -> None:
        self.protocol = protocol
        self._door, self._is_inside = door, False
        self._clock = asyncio.get_running_loop().time
        self.wait_for(_Awaited.HEAD)

    def wait_for(self, awaited: _Awaited) -> None:
        self.awaited, self._since = awaited, self._clock()

    def waited(self) -> float:
        return self._clock() - self._since

    def hang_up(self, status: int = 0, message: str = "") -> None:
        """Close the connection, with an error reply if a status is given."""
        self._door.leave(self)
        if status:
            self._transport.write(_reply(status, message))
        if self._transport.get_write_buffer_size():  # the client does not read
            self._transport.abort()
        else:
            self._transport.close()

    def expire(self, patience: float) -> None:
        """Close the connection if the client is out of time with its request or its answer."""
        if self.waited() < patience:
            return
        if self.awaited is _Awaited.NOTHING:
            if self._transport.get_write_buffer_size():
                logger.warning("an answer was not taken within %g s: hung up", patience)
                self._transport.abort()
            return
        what = self.awaited.value
        logger.warning(f"{what} did not come within %g s: hung up", patience)
        self.hang_up(408, f"{what} must come within {patience:g} s")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._door.enter(self):
            most = self._door.most
            self.hang_up(503, f"the server has {most} connections, the most at once; try again")
            return
        self._is_inside = True
        self.protocol.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.leave(self)
        if self._is_inside:
            self.protocol.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.awaited is _Awaited.NOTHING:
            self.wait_for(_Awaited.HEAD)
        self.protocol.data_received(data)

    def eof_received(self) -> bool | None:
        return self.protocol.eof_received()

    def pause_writing(self) -> None:
        self.protocol.pause_writing()

    def resume_writing(self) -> None:
        self.protocol.resume_writing()


class Rarely(logging.Filter):
    """Passes one log record of a kind per period, with the number of those that it dropped.

    Records are of one kind if their texts, before values are filled in, and the types of their
    exceptions are the same. Anyone who reaches the server can cause warnings; they must not fill a
    disk.
    """

    def __init__(self, clock: Callable[[], float], seconds: float = 60.0) -> None:
        """Pass the first record of each kind."""
        super().__init__()
        self._clock, self._seconds = clock, seconds
        self._next: dict[Hashable, float] = {}
        self._kept: dict[Hashable, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to pass a record; add to its text how many were dropped."""
        kind = (record.msg, record.exc_info and record.exc_info[0])
        now = self._clock()
        if now < self._next.get(kind, now):
            self._kept[kind] = self._kept.get(kind, 0) + 1
            return False
        self._next[kind] = now + self._seconds
        kept = self._kept.pop(kind, 0)
        if kept:
            record.msg = f"{record.msg} (and {kept} more like it)"
        return True


def _reply(status: int, message: str) -> bytes:
    """Return an HTTP reply with an error of the protocol, written without aiohttp."""
    body = json.dumps({"error": {"type": "InvalidInput", "message": message}})
    return (
        f"HTTP/1.1 {status} {_STATUS[status]}\r\nContent-Type: application/json; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    ).encode("ascii")


def report(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error of the loop itself, such as a connection that cannot be accepted."""
    error = context.get("exception")
    known = isinstance(error, OSError)
    text = str(context["message"]).replace("%", "%%")
    logger.error(f"{text}: %s", error, exc_info=None if known else error)
