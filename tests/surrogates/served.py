"""A server in a process of its own, and requests to it."""

import contextlib
import http.client
import json
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SERVE = """
import json, sys
from surrogates.serve import serving
options, *paths = sys.argv[1:]
tell = lambda url, names: print(f"serving {', '.join(names)} at {url}", flush=True)
serving.serve(paths, **json.loads(options), on_listening=tell)
"""
Y0 = [1.0, 2.0, -3.0, 0.5]
OUTSIDE = [1.0, 2.0, -3.0, 50.0]
SENS = [1.0, -2.0, 0.5, 3.0, 0.0, 1.0]
AT = {"name": "toy", "input": [Y0], "outWrt": 0, "inWrt": 0}
GOOD: dict[str, dict[str, Any]] = {
    "ModelInfo": {"name": "toy"},
    "InputSizes": {"name": "toy"},
    "OutputSizes": {"name": "toy"},
    "Evaluate": {"name": "toy", "input": [Y0]},
    "Gradient": {**AT, "sens": SENS},
    "ApplyJacobian": {**AT, "vec": Y0},
    "ApplyHessian": {**AT, "inWrt1": 0, "inWrt2": 0, "sens": SENS, "vec": Y0},
}


@dataclass
class Server:
    process: subprocess.Popen[str]
    line: str  # what it prints once it listens
    errors: str = ""  # what it has printed to stderr, once it has ended

    @property
    def url(self) -> str:
        return re.findall(r"http://\S+", self.line)[0]

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":")[-1])

    def post(self, endpoint: str, body: Any, method: str = "POST") -> tuple[int, dict[str, Any]]:
        """Send a body, bytes or what JSON knows; give the status and the reply."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            content = body if isinstance(body, bytes) else json.dumps(body)
            connection.request(method, f"/{endpoint}", content)
            response = connection.getresponse()
            assert response.headers.get_content_type() == "application/json"
            return response.status, json.load(response)

    def end(self, kind: int = signal.SIGTERM) -> int:
        self.process.send_signal(kind)
        self.errors = self.process.communicate(timeout=60)[1]
        return self.process.returncode


@contextlib.contextmanager
def started(*command: object):
    words = [sys.executable, *map(str, command)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, text=True, **pipes) as process:
        try:
            server = Server(process, process.stdout.readline())
            assert server.line, process.communicate(timeout=60)[1]
            yield server
        finally:
            process.kill()


def serve(*paths: Path, script: str = SERVE, **options: Any):
    return started("-c", script, json.dumps({"port": 0, **options}), *paths)


def close(found: Any, expected: Any) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-13)


def error(kind: str, message: str) -> dict[str, Any]:
    return {"error": {"type": kind, "message": message}}
