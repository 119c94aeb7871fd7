"""Surrogates over HTTP, for any client of the UM-Bridge protocol, version 1.0.

UM-Bridge (Seelinger et al. 2023, "UM-Bridge: Uncertainty quantification and modeling bridge",
Journal of Open Source Software 8(83)) has clients in Python, C++, R, Julia and MATLAB, and in UQ
packages. Of a surrogate file ``NAME.pt`` they see two models:

    NAME         y -> [c]; supports Evaluate, Gradient (sens^T J) and ApplyJacobian (J vec)
    NAME.trust   y -> [standard deviations of the error of c, [1.0 if y is in the training domain,
                 else 0.0]]; supports Evaluate

Of a classifier, c are the calibrated logits, whose derivatives are in closed form as well, and
``NAME.trust`` gives the probabilities of the classes in place of the standard deviations.

A request's config knows one key: with ``{"refuse_outside": true}``, y outside the training domain
is refused by both.

The package umbridge has a server too, ``serve_models``. It listens on every interface of the
machine, answers a request that it cannot read with a page that is not JSON, on which umbridge's
client fails without the reason, and takes NaN. So the handlers are written here, on aiohttp, which
umbridge stands on as well. Shared memory, which umbridge offers within one machine, is answered as
an unsupported feature, on which its client uses HTTP.

A page in a browser on this machine can reach the server under a name of its own, which it has made
to mean 127.0.0.1 (DNS rebinding), and then read what is answered. So the Host that a request names
must be an address, localhost, this machine's name, that which the server was told to listen at, or
one that was allowed. No name is needed to reach an address, and a page cannot change the name that
it is asked for. The port is not compared: a tunnel has another.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import ipaddress
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web

from surrogates.config import check, unknown
from surrogates.data.dataset import Array
from surrogates.errors import InputError
from surrogates.model import file as export
from surrogates.model.loaded import LoadedClassifier, LoadedSurrogate

from . import connections

MAX_BODY = 2**24  # bytes of a request: numbers for some 600 000 inputs and outputs
MOST_CONNECTIONS = 256
PATIENCE = 60.0  # seconds for a request's head, for its body, and for taking the answer
_GRACE = 1.0  # seconds, at the end, until requests that have come in part are dropped
_QUEUE = 1024  # connections that the system keeps until they are accepted
_DESCRIPTORS = 2 * connections.AT_ONCE + 64  # beside those of the connections
_OPERATIONS = ("Evaluate", "Gradient", "ApplyJacobian", "ApplyHessian")
_SHARED_MEMORY = ("TestShMem", *(f"{operation}ShMem" for operation in _OPERATIONS))

_Body = Mapping[str, Any]
_Output = Array | list[Array]  # a vector, or the output vectors
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
logger = logging.getLogger(__name__)


class _Refusal(Exception):
    """An error reply whose type, of the four that the protocol knows, is not InvalidInput."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class _Model:
    """What clients see under one name.

    Attributes:
        name: The name.
        surrogate: What answers.
        output_sizes: Lengths of the output vectors; the input is one vector.
        operations: What the model supports, each from surrogate, y and request to the output.
    """

    name: str
    surrogate: LoadedSurrogate
    output_sizes: Sequence[int]
    operations: Mapping[str, Callable[[LoadedSurrogate, Array, _Body], _Output]]


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
    """Answer requests until SIGINT (Ctrl-C) or SIGTERM; those that have come by then as well.

    Requests are answered one after the other, on one thread: a surrogate's call is a small part of
    its request (measured: 0.1 of 0.6 ms).

    Args:
        paths: Surrogate files; a model's name is its file's name without the ending.
        host: Name or address to listen at; at ``0.0.0.0`` whoever reaches the machine is answered.
        port: Port to listen at; 0 for any that is free.
        refuse_outside: Refuse y outside the training domain in every request.
        trust: Load files whose code is not known to be harmless; see `surrogates.load`.
        allow_hosts: Further names by which clients may call the server, without a port.
        most_connections: How many there may be at once; the longest idle goes for one more.
        patience: Seconds for a request's head, for its body, and for taking the answer.
        on_listening: Called with the URL and the files' names once requests are accepted.

    Raises:
        InputError: If a file is no surrogate, two have one name, host and port cannot be had, or a
            number or a name of a host makes no sense.
    """
    check(most_connections > 0, f"there must be 1 connection at least; got {most_connections}")
    check(patience > 0, f"the time for a request must be > 0 s; got {patience}")
    for name in allow_hosts:
        fits = _name(name) == name.lower().rstrip(".") and name.strip() == name != ""
        check(
            fits, f"cannot allow the host {name!r}: expected a name or an address, without a port"
        )
    models = _load(paths, refuse_outside, trust)
    with _listen(host, port) as listening:
        bound, port = listening.getsockname()[:2]
        url = f"http://[{bound}]:{port}" if ":" in bound else f"http://{bound}:{port}"

        names = (host, *allow_hosts)
        most = _with_descriptors(most_connections)
        rarely = connections.Rarely(time.monotonic)
        for log in (logger, connections.logger):
            log.addFilter(rarely)
        try:
            asyncio.run(
                _run(
                    lambda door: _application(models, names, door),
                    listening,
                    most,
                    patience,
                    lambda: on_listening(url, [Path(path).stem for path in paths]),
                )
            )
        finally:
            for log in (logger, connections.logger):
                log.removeFilter(rarely)


async def _run(
    application: Callable[[connections.Door], web.Application],
    listening: socket.socket,
    most: int,
    patience: float,
    tell: Callable[[], None],
) -> None:
    """Answer until a signal comes."""
    loop, end = asyncio.get_running_loop(), asyncio.Event()
    loop.set_exception_handler(connections.report)
    runner: web.AppRunner
    door = connections.Door(lambda: _protocol(runner), most, patience)
    runner = web.AppRunner(application(door), access_log=None)
    await runner.setup()
    for kind in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # on Windows
            loop.add_signal_handler(kind, end.set)
    server = await loop.create_server(door, sock=listening, backlog=connections.AT_ONCE)
    listening.listen(_QUEUE)
    sweep = asyncio.create_task(door.keep())
    tell()
    try:
        await end.wait()
    finally:
        sweep.cancel()
        server.close()
        await door.close()
        assert runner.server is not None
        await runner.server.shutdown(_GRACE)
        await runner.cleanup()


def _protocol(runner: web.AppRunner) -> asyncio.Protocol:
    assert runner.server is not None
    return runner.server()


def _with_descriptors(most: int) -> int:
    """Raise this process's limit of open files for so many connections; return how many fit."""
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


def _load(
    paths: Sequence[str | os.PathLike[str]], refuse_outside: bool, trust: bool = False
) -> dict[str, _Model]:
    models: dict[str, _Model] = {}
    for path in paths:
        for model in _models_of(path, refuse_outside, trust):
            check(
                model.name not in models,
                f"two models would have the name {model.name!r}, as a file's name without its "
                "ending is its model's; rename one of the files",
            )
            models[model.name] = model
    return models


def _models_of(
    path: str | os.PathLike[str], refuse_outside: bool, trust: bool
) -> tuple[_Model, _Model]:
    surrogate = export.load(path, refuse_outside=refuse_outside, trust=trust)
    name, n_out = Path(path).stem, surrogate.n_out
    calls = {"Evaluate": _evaluate, "Gradient": _gradient, "ApplyJacobian": _apply_jacobian}
    return (
        _Model(name, surrogate, (n_out,), calls),
        _Model(f"{name}.trust", surrogate, (n_out, 1), {"Evaluate": _trust}),
    )


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


# Requests and replies


def _application(
    models: Mapping[str, _Model], names: Sequence[str], door: connections.Door
) -> web.Application:
    async def info(_: web.Request) -> web.Response:
        return _reply({"protocolVersion": 1.0, "models": list(models)})

    def post(path: str, answer: Callable[[_Model, _Body], Mapping[str, Any]]) -> web.RouteDef:
        async def handler(request: web.Request) -> web.Response:
            body = await _read(request)
            return _reply(answer(_model(models, body), body))

        return web.post(path, handler)

    def operation(name: str) -> web.RouteDef:
        return post(f"/{name}", lambda model, body: {"output": _operate(name, model, body)})

    app = web.Application(
        client_max_size=MAX_BODY,
        middlewares=[_errors_are_replies(names, door)],
        # aiohttp logs a traceback of what is not HTTP; faults of handlers are logged here.
        handler_args={"logger": logging.Logger("aiohttp", logging.CRITICAL)},
    )
    app.add_routes(
        [
            web.get("/Info", info),
            post("/ModelInfo", _support),
            post("/InputSizes", _input_sizes),
            post("/OutputSizes", _output_sizes),
            *map(operation, (*_OPERATIONS, *_SHARED_MEMORY)),
        ]
    )
    return app


def _errors_are_replies(names: Sequence[str], door: connections.Door) -> Any:
    is_served = functools.lru_cache(maxsize=64)(_hosts(names))

    @web.middleware
    async def middleware(request: web.Request, handler: _Handler) -> web.StreamResponse:
        door.head_came(request.protocol)
        try:
            hosts = request.headers.getall("Host", [])  # a client of HTTP 1.0 has none
            if hosts:  # a request for http://host/path is for that host
                hosts = [*hosts, request.host or ""]
            for host in hosts:
                if not is_served(host):
                    logger.warning("refused a request for the host %.80r", host)
                    return _foreign(host)
            return await handler(request)
        except InputError as error:
            return _error("InvalidInput", str(error), 400)
        except _Refusal as error:
            return _error(error.kind, str(error), 400)
        except web.HTTPException as error:  # no such path or method, body too large
            where = f"{request.method} {request.path[:80]}"
            return _error("InvalidInput", f"{where}: {error.text}", error.status)
        except Exception:
            logger.exception("cannot answer %s %s", request.method, request.path[:80])
            return _error("InvalidOutput", "an error of the server; its log has the reason", 500)
        finally:
            door.answered(request.protocol)

    return middleware


def _hosts(names: Sequence[str]) -> Callable[[str], bool]:
    """Make the test of whether a Host may be called here; names are more than the usual ones."""
    known = {_name(name) for name in ("localhost", socket.gethostname(), *names)} - {""}

    def is_served(host: str) -> bool:
        name = _name(host)
        return name in known or _is_address(name)

    return is_served


def _name(host: str) -> str:
    """Return a Host without its port, in small letters; empty if it is none."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name = host if _is_address(host) else host.partition(":")[0]
    return name.rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def _foreign(host: str) -> web.Response:
    name = _name(host)[:80]
    return _error(
        "InvalidInput",
        f"no model is served to the host {name!r}; --allow-host {name} allows it",
        403,
    )


def _reply(content: Mapping[str, Any], status: int = 200) -> web.Response:
    try:
        text = json.dumps(content, default=np.ndarray.tolist, allow_nan=False)
    except ValueError as error:
        raise _Refusal("InvalidOutput", "the result at this input is not finite") from error
    return web.Response(text=text, status=status, content_type="application/json")


def _error(kind: str, message: str, status: int) -> web.Response:
    return _reply({"error": {"type": kind, "message": " ".join(message.split())}}, status)


async def _read(request: web.Request) -> _Body:
    try:
        body: _Body = json.loads(await request.read())
    except (ValueError, RecursionError) as error:  # not UTF-8 either
        raise InputError(f"the request's body is not JSON: {error}") from error
    except (ConnectionError, web.RequestPayloadError) as error:
        raise InputError(f"the request's body cannot be read: {error}") from error
    check(isinstance(body, dict), f"the request must be a JSON object; got {_shown(body)}")
    return body


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return "an array" if isinstance(value, list) else "an object"
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _field(body: _Body, key: str) -> Any:
    check(key in body, f"the request has no field {key!r}")
    return body[key]


def _model(models: Mapping[str, _Model], body: _Body) -> _Model:
    name = _field(body, "name")
    check(isinstance(name, str), f"name must be a string; got {_shown(name)}")
    if name not in models:
        raise _Refusal("ModelNotFound", unknown(f"model {name[:40]!r}", name[:40], models))
    return models[name]


def _chosen(model: _Model, body: _Body) -> LoadedSurrogate:
    """Give what answers under the request's config."""
    config = body.get("config")
    config = {} if config is None else config  # null, as some clients write it
    check(isinstance(config, dict), f"config must be an object; got {_shown(config)}")
    for key in config.keys() - {"refuse_outside"}:
        raise InputError(unknown(f"config key {key[:40]!r}", key[:40], ["refuse_outside"]))
    refuse = config.get("refuse_outside", False)
    check(isinstance(refuse, bool), f"refuse_outside must be true or false; got {_shown(refuse)}")
    return replace(model.surrogate, refuse_outside=True) if refuse else model.surrogate


def _support(model: _Model, _: _Body) -> Mapping[str, Any]:
    return {"support": {operation: operation in model.operations for operation in _OPERATIONS}}


def _input_sizes(model: _Model, body: _Body) -> Mapping[str, Any]:
    return {"inputSizes": [_chosen(model, body).n_in]}


def _output_sizes(model: _Model, body: _Body) -> Mapping[str, Any]:
    _chosen(model, body)
    return {"outputSizes": model.output_sizes}


def _vector(value: Any, size: int, what: str) -> Array:
    check(isinstance(value, list), f"{what} must be an array of numbers; got {_shown(value)}")
    check(len(value) == size, f"{what} must have {size} numbers; got {len(value)}")
    for i, entry in enumerate(value):
        # Not a number (booleans are of another type), NaN, infinite, or an integer beyond doubles.
        if type(entry) not in (int, float) or not abs(entry) <= sys.float_info.max:
            raise InputError(f"{what}[{i}] must be a finite number; got {_shown(entry)}")
    return np.array(value, dtype=np.float64)


# Operations


def _operate(operation: str, model: _Model, body: _Body) -> _Output:
    if operation not in model.operations:
        raise _Refusal(
            "UnsupportedFeature",
            f"{model.name} does not support {operation}; it supports {', '.join(model.operations)}",
        )
    surrogate = _chosen(model, body)
    vectors = _field(body, "input")
    check(isinstance(vectors, list), f"input must be an array of arrays; got {_shown(vectors)}")
    check(len(vectors) == 1, f"input must hold 1 array; got {len(vectors)}")
    y = _vector(vectors[0], surrogate.n_in, "input[0]")
    return model.operations[operation](surrogate, y, body)


def _evaluate(surrogate: LoadedSurrogate, y: Array, _: _Body) -> _Output:
    return [surrogate(y)]


def _trust(surrogate: LoadedSurrogate, y: Array, _: _Body) -> _Output:
    inside = np.array([surrogate.in_domain(y)], np.float64)
    if isinstance(surrogate, LoadedClassifier):
        return [surrogate.probabilities(y), inside]
    return [surrogate.predict_std(y), inside]


def _gradient(surrogate: LoadedSurrogate, y: Array, body: _Body) -> _Output:
    return surrogate.vjp(y, _direction(body, "sens", surrogate.n_out))


def _apply_jacobian(surrogate: LoadedSurrogate, y: Array, body: _Body) -> _Output:
    return surrogate.jvp(y, _direction(body, "vec", surrogate.n_in))


def _direction(body: _Body, key: str, size: int) -> Array:
    for index in ("outWrt", "inWrt"):
        value = _field(body, index)
        check(
            type(value) is int and value == 0,
            f"{index} must be 0, as there is one input and one output; got {_shown(value)}",
        )
    return _vector(_field(body, key), size, key)
