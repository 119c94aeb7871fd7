"""Connections that are slow, idle or too many, and the log: one record of a kind in some time."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from served import GOOD, SERVE, Server, error, serve

from surrogates.model import file as export

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


LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
"""


# In a process of its own: where more than 1024 files are open, libraries that call select() abort.
CROWD = """
import contextlib, resource, socket, sys
port, n = map(int, sys.argv[1:])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (2 * n, hard))
idle = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(n)]
print(len(idle), flush=True)
sys.stdin.readline()
waiting = 0
for connection in idle:
    connection.setblocking(False)
    try:
        with contextlib.suppress(ConnectionResetError):
            connection.recv(1000)
    except BlockingIOError:
        waiting += 1
print(waiting, flush=True)
sys.stdin.readline()
"""


@contextlib.contextmanager
def crowd(port: int, n: int):
    """Hold so many idle connections; yield what counts those that are not hung up."""
    resource = pytest.importorskip("resource")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < 2 * n:
        pytest.skip(f"the limit of open files is {hard}")
    process = subprocess.Popen(
        [sys.executable, "-c", CROWD, str(port), str(n)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def counted() -> int:
        process.stdin.write("\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    with process:
        assert int(process.stdout.readline()) == n
        yield counted
        process.kill()


def check_idle_connections(toy, soft, hard, most, fewer):
    script = LIMITED.format(soft=soft, hard=hard) + SERVE
    with serve(toy, script=script) as server, crowd(server.port, 1100) as counted:
        for _ in range(3):
            while (answer := post_or_busy(server)) == 503:  # until some count as idle
                pass
            assert answer == 200
        assert most - 4 <= counted() <= most
        assert server.end() == 0
    found = server.errors.splitlines()
    assert len(found) < 12  # of four kinds, each once in a minute
    assert any(f"{most} connections are the most: closed the longest idle" in x for x in found)
    assert ("the limit of open files (ulimit -n) lets 8 connections" in found[0]) == fewer


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("soft", "hard", "most", "fewer"),
    [(256, 1024, 256, False), (64, 64, 8, True)],
)
def test_idle_connections_lock_nobody_out_and_leave_few_lines(request, soft, hard, most, fewer):
    # In a process of its own: after all tests before it, it has ended the one that runs them, three
    # times, by a SIGSEGV in PyList_New, called on the main thread without a thread state. That is
    # not select() with too large a descriptor, as it happened with the crowd elsewhere, too.
    if "APART" not in os.environ:
        words = (
            "-q",
            "-p",
            "no:xdist",
            "-p",
            "no:cacheprovider",
            f"{__file__}::{request.node.name}",
        )
        command = [sys.executable, "-m", "pytest", *words]
        environment = {**os.environ, "APART": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stdout
        assert "1 passed" in done.stdout or "1 skipped" in done.stdout
    else:
        check_idle_connections(request.getfixturevalue("toy"), soft, hard, most, fewer)


def post_or_busy(server: Server) -> int:
    with contextlib.suppress(ConnectionError, http.client.BadStatusLine):
        return server.post("Evaluate", GOOD["Evaluate"])[0]
    return 503  # the reply is lost where the request was not read


HEAD = b"POST /Evaluate HTTP/1.1\r\nHost: localhost\r\n"


def test_slow_requests_are_answered_with_408_and_hung_up_and_idle_clients_kept(toy):
    chunk = b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"
    with serve(toy, patience=0.4) as server:
        kept = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        kept.connect()
        kept.auto_open = 0
        for content, what in (
            (b"", "head"),
            (b"POST /Eval", "head"),
            (HEAD, "head"),
            (HEAD + b"Content-Length: 50\r\n\r\n{", "body"),
            (HEAD + chunk, "body"),
            (b"GET /Info HTTP/1.1\r\nHost: localhost\r\n\r\nGET", "head"),
        ):
            kept.request("POST", "/Evaluate", json.dumps(GOOD["Evaluate"]))
            assert len(json.load(kept.getresponse())["output"][0]) == 6
            with socket.create_connection(("127.0.0.1", server.port), timeout=60) as slow:
                slow.sendall(content)
                if content.startswith(b"GET"):  # the second of two, after the first was answered
                    assert slow.recv(65536).startswith(b"HTTP/1.1 200 OK")
                    slow.sendall(b" /Info HTTP/1.1\r\n")
                reply = b"".join(iter(lambda: slow.recv(65536), b""))
            head, _, body = reply.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
            message = f"the {what} of a request must come within 0.4 s"
            assert json.loads(body) == error("InvalidInput", message)
        kept.close()
        assert server.post("Evaluate", GOOD["Evaluate"])[0] == 200
        assert server.end() == 0
    found = {line.partition(" (and ")[0] for line in server.errors.splitlines()}
    message = "the {} of a request did not come within 0.4 s: hung up"
    assert found == {message.format("head"), message.format("body")}


def test_a_client_that_takes_no_answers_is_hung_up(toy):
    with serve(toy, patience=0.4) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as deaf:
            with pytest.raises(ConnectionError):
                while True:
                    deaf.sendall(b"GET /Info HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000)
        assert server.post("Evaluate", GOOD["Evaluate"])[0] == 200
        assert server.end() == 0
        assert server.errors.endswith("hung up\n") and server.errors.count("\n") == 1


CLIENT = """
import http.client, json, sys
port, path = sys.argv[1:]
with open(path) as file:
    cases = json.load(file)
connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
connection.connect()
connection.auto_open = 0  # the one connection must last
print("ready", flush=True)
sys.stdin.readline()
right = 0
for y, c in cases:
    connection.request("POST", "/Evaluate", json.dumps({"name": "toy", "input": [y]}))
    (found,) = json.load(connection.getresponse())["output"]
    # A process with DOLFINx, as this test may be, has another BLAS, which rounds otherwise.
    right += len(found) == len(c) and max(abs(a - b) for a, b in zip(found, c)) < 1e-12
print(right)
"""


def test_of_ten_thousand_requests_from_four_clients_none_is_lost_or_wrong(
    server, toy, surrogate, tmp_path
):
    clients, each = 4, 2500
    loaded = export.load(toy)
    lower, upper = surrogate.lower.numpy(), surrogate.upper.numpy()
    Y = np.random.default_rng(0).uniform(lower, upper, (clients * each, 4))
    cases = [(y.tolist(), loaded.predict(y).tolist()) for y in Y]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with contextlib.ExitStack() as stack:
        processes = []
        for i in range(clients):
            path = tmp_path / f"{i}.json"
            path.write_text(json.dumps(cases[i::clients]))
            words = [sys.executable, "-c", CLIENT, str(server.port), str(path)]
            processes.append(stack.enter_context(subprocess.Popen(words, **pipes)))
            stack.callback(processes[-1].kill)
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * clients
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        printed = [process.communicate(timeout=200)[0] for process in processes]
    assert printed == [f"{each}\n"] * clients
