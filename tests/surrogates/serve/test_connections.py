"""The log of a server: one record of a kind in some time."""

from __future__ import annotations

import asyncio
import logging

import pytest

pytest.importorskip("aiohttp", reason="aiohttp is not installed")
from surrogates.serve import connections


def test_one_record_of_a_kind_and_minute_with_the_number_of_the_others(caplog):
    now = 0.0
    log = logging.getLogger("surrogates.test")
    rarely = connections.Rarely(lambda: now)
    log.addFilter(rarely)
    try:
        for second in range(130):
            now = float(second)
            log.warning("host %s", second)
            if second < 2:
                log.warning("port %s", second)
            try:
                int("x")
            except ValueError:
                log.exception("cannot")
            log.error("cannot")
    finally:
        log.removeFilter(rarely)
    more = " (and 59 more like it)"
    assert sorted(record.getMessage() for record in caplog.records) == [
        *("cannot", "cannot", *["cannot" + more] * 4),
        *("host 0", f"host 120{more}", f"host 60{more}", "port 0"),
    ]


def test_faults_of_the_loop_are_one_line_but_for_those_of_the_program(caplog):
    async def fail() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(connections.report)
        message = "socket.accept() out of system resource, 100 %"
        loop.call_exception_handler({"message": message, "exception": OSError(24, "too many")})
        loop.call_exception_handler({"message": "a fault", "exception": KeyError("k")})
        loop.call_exception_handler({"message": "alone"})

    asyncio.run(fail())
    assert [record.getMessage() for record in caplog.records] == [
        "socket.accept() out of system resource, 100 %: [Errno 24] too many",
        "a fault: 'k'",
        "alone: None",
    ]
    assert [bool(record.exc_info) for record in caplog.records] == [False, True, False]
