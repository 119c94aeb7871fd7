"""The server and its command: addresses, hosts, faults, and how it ends."""

import contextlib
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from served import GOOD, OUTSIDE, SERVE, Y0, Server, close, error, serve, started

from surrogates import cli
from surrogates.errors import InputError

umbridge = pytest.importorskip("umbridge")
serving = pytest.importorskip("surrogates.serve.serving", reason="aiohttp is not installed")


def test_a_server_may_refuse_all_that_is_outside_the_domain(toy, surrogate):
    with serve(toy, refuse_outside=True) as server:
        model = umbridge.HTTPModel(server.url, "toy")
        for config in ({}, {"refuse_outside": False}):
            with pytest.raises(Exception, match="InvalidInput: .*outside"):
                model([OUTSIDE], config)
            close(model([Y0], config), [surrogate(torch.tensor(Y0))])


def test_what_is_no_http_and_who_hangs_up_leave_the_server_answering(server):
    head = b"POST /Evaluate HTTP/1.1\r\nHost: localhost\r\n"
    for content, status in (
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"400"),  # the start of TLS
        (head + b"Content-Length: many\r\n\r\n", b"400"),
        (head + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello", b"400"),
        (head + b"Content-Length: 50\r\n\r\nhello", None),
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(content)
            if status is not None:
                assert connection.recv(12)[9:] == status
        assert server.post("Evaluate", GOOD["Evaluate"])[0] == 200


def test_a_fault_of_the_server_is_logged_and_the_server_goes_on(toy):
    fault = """
from surrogates.model.loaded import LoadedSurrogate
call = LoadedSurrogate.__call__
LoadedSurrogate.__call__ = lambda self, y: call(self, y) if y[0] != 13 else 1 / 0
"""
    with serve(toy, script=fault + SERVE) as server:
        status, reply = server.post("Evaluate", {"name": "toy", "input": [[13, 2, 3, 4]]})
        message = "an error of the server; its log has the reason"
        assert (status, reply) == (500, error("InvalidOutput", message))
        assert server.post("Evaluate", GOOD["Evaluate"])[0] == 200
        assert server.end() == 0
        assert "cannot answer POST /Evaluate" in server.errors
        assert "ZeroDivisionError" in server.errors


def accepts(host: str, port: int) -> bool:
    with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection((host, port), timeout=60).close()
        return True
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is this machine on Linux alone")
def test_other_addresses_are_not_listened_at_unless_asked_for(server, toy):
    assert accepts("127.0.0.1", server.port) and not accepts("127.0.0.2", server.port)
    with serve(toy, host="0.0.0.0") as everywhere:
        assert accepts("127.0.0.1", everywhere.port) and accepts("127.0.0.2", everywhere.port)


def test_what_cannot_be_served_is_one_clear_line(toy, tmp_path):
    def refused(*paths: Path, **options: Any) -> str:
        with pytest.raises(InputError) as caught:
            serving.serve(paths, **options, on_listening=pytest.fail)
        assert len(str(caught.value).splitlines()) == 1
        return str(caught.value)

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = f"cannot listen at 127.0.0.1:{port}: the port is in use; give another, or 0 for"
        assert message in refused(toy, port=port)
    assert "the port must be 0 to 65535; got 65536" in refused(toy, port=65536)
    assert "cannot listen at no.such.invalid:0: " in refused(toy, host="no.such.invalid", port=0)
    assert "cannot listen at .a:0: " in refused(toy, host=".a", port=0)
    assert "cannot listen at 192.0.2.1:0: " in refused(toy, host="192.0.2.1", port=0)
    assert "there is no file" in refused(tmp_path / "missing.pt", port=0)
    (tmp_path / "other").mkdir()
    for name, wrong in (("toy.pt", "toy"), ("toy.trust.pt", "toy.trust")):
        other = shutil.copy(toy, tmp_path / "other" / name)
        assert f"two models would have the name '{wrong}'" in refused(toy, other, port=0)


def test_a_request_that_has_come_is_answered_before_the_end(toy):
    with serve(toy) as server:
        busy, idle = (http.client.HTTPConnection("127.0.0.1", server.port) for _ in range(2))
        for connection in (busy, idle):
            connection.request("GET", "/Info")
            assert connection.getresponse().read()
        server.process.send_signal(signal.SIGSTOP)
        busy.request("POST", "/Evaluate", json.dumps(GOOD["Evaluate"]))
        server.process.terminate()
        server.process.send_signal(signal.SIGCONT)
        assert len(json.load(busy.getresponse())["output"][0]) == 6
        assert server.process.wait(timeout=60) == 0
        assert idle.sock.recv(1) == b""  # hung up
        for connection in (busy, idle):
            connection.close()
        socket.create_server(("127.0.0.1", server.port)).close()  # the port is free


def asked(server: Server, *hosts: str, path: str = "/Info") -> tuple[int, dict[str, Any]]:
    """Send a request with these Host headers; give status and reply."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    with contextlib.closing(connection):
        connection.putrequest("GET", path, skip_host=True)
        for host in hosts:
            connection.putheader("Host", host)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, json.load(response)


def test_requests_for_a_foreign_host_are_refused(toy):
    names = ["Proxy.example", "other.example."]
    with serve(toy, allow_hosts=names) as server:
        for host in (
            *("localhost", f"LOCALHOST:{server.port}", f"127.0.0.1:{server.port}", "[::1]:80"),
            *("192.0.2.7:4242", "::1", "[fe80::1%eth0]", socket.gethostname()),
            *("proxy.example:8000", "PROXY.example.", "other.example"),
        ):
            assert asked(server, host)[0] == 200, host
        foreign = (
            *("evil.example", f"evil.example:{server.port}", "localhost.evil.example", "", ":80"),
            *("127.0.0.1.evil.example", "127.0.0.1@evil.example", "[evil.example]", "0x7f.1"),
        )
        for host in (*foreign, *(f"{i}.evil.example" for i in range(300))):
            status, reply = asked(server, host)
            assert (status, reply["error"]["type"]) == (403, "InvalidInput"), host
            assert "no model is served to the host '" in reply["error"]["message"]
        body = json.dumps(GOOD["Evaluate"])
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        with contextlib.closing(connection):
            connection.request("POST", "/Evaluate", body, {"Host": "evil.example"})
            assert connection.getresponse().status == 403
        for host, expected in (("evil.example", 403), ("localhost:80", 200), ("[::1]", 200)):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            with contextlib.closing(connection):
                connection.request("GET", f"http://{host}/Info", headers={"Host": "localhost"})
                assert connection.getresponse().status == expected, host
        assert server.end() == 0
    assert server.errors.splitlines() == ["refused a request for the host 'evil.example'"]


def test_a_host_that_is_no_name_cannot_be_allowed(toy):
    for name in ("", "a:80", "[::1]:80", " a", "http://a"):
        with pytest.raises(InputError, match="cannot allow the host .*without a port"):
            serving.serve([toy], port=0, allow_hosts=[name], on_listening=pytest.fail)
    for options, message in (
        ({"most_connections": 0}, "1 connection at least; got 0"),
        ({"patience": 0.0}, "must be > 0 s; got 0"),
    ):
        with pytest.raises(InputError, match=message):
            serving.serve([toy], port=0, on_listening=pytest.fail, **options)


def test_the_command_serves_until_ctrl_c(toy, surrogate):
    with started("-m", "surrogates", "serve", toy, "--port", 0, "--refuse-outside") as server:
        message = r"serving toy at http://127\.0\.0\.1:\d+ \(Ctrl-C ends\)\n"
        assert re.fullmatch(message, server.line)
        model = umbridge.HTTPModel(server.url, "toy")
        close(model([Y0]), [surrogate(torch.tensor(Y0))])
        with pytest.raises(Exception, match="InvalidInput: .*outside"):
            model([OUTSIDE])
        assert server.end(signal.SIGINT) == 0
        assert server.errors == ""


def test_a_port_in_use_is_one_line_and_status_2(toy, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["serve", str(toy), "--port", str(port)]) == 2
    assert re.fullmatch(f"error: .*127.0.0.1:{port}.* in use.*\n", capsys.readouterr().err)


def test_without_aiohttp_the_command_says_what_to_install(toy):
    script = """
import sys
sys.modules["aiohttp"] = None
from surrogates import cli
raise SystemExit(cli.main(["serve", sys.argv[1]]))
"""
    words = [sys.executable, "-c", script, toy]
    run = subprocess.run(words, capture_output=True, text=True, timeout=100)
    assert run.returncode == 2
    assert re.fullmatch(r"error: .*aiohttp.*\[serve\].*\n", run.stderr)
