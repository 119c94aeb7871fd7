"""The UM-Bridge protocol, version 1.0: which models a surrogate file offers, and their replies.

UM-Bridge (Seelinger et al. 2023, "UM-Bridge: Uncertainty quantification and modeling bridge",
Journal of Open Source Software 8(83)) has clients in Python, C++, R, Julia and MATLAB, and in UQ
packages. A surrogate file ``NAME.pt`` offers them two models:

    NAME         y -> [c]; supports Evaluate, Gradient (sens^T J), ApplyJacobian (J vec)
                 and ApplyHessian (the derivative of sens^T J along vec)
    NAME.trust   y -> [standard deviations of the error of c, [1.0 if y is in the training domain,
                 else 0.0]]; supports Evaluate

For a classifier, c are the calibrated logits, whose derivatives have a closed form too, and
``NAME.trust`` returns the probabilities of the classes in place of the standard deviations.

A request's config may have one key: with ``{"refuse_outside": true}`` both models refuse y outside
the training domain.

The package umbridge has a server too, ``serve_models``. It listens on every interface of the
machine, accepts NaN, and answers a malformed request with a page that is not JSON, so that
umbridge's client fails without the reason. Therefore the handlers are written here, on aiohttp,
which umbridge uses as well. umbridge's shared memory within one machine is answered as an
unsupported feature; its client then uses HTTP.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web

from surrogates.config import check, unknown
from surrogates.errors import InputError
from surrogates.loading import load
from surrogates.model.loaded import LoadedClassifier, LoadedSurrogate
from surrogates.types import Array

from . import hosts
from .connections import Door

MAX_BODY = 2**24  # bytes of a request: about 600 000 numbers
_OPERATIONS = ("Evaluate", "Gradient", "ApplyJacobian", "ApplyHessian")
_SHARED_MEMORY = ("TestShMem", *(f"{operation}ShMem" for operation in _OPERATIONS))

_Body = Mapping[str, Any]
_Output = Array | list[Array]  # a vector, or the output vectors
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
logger = logging.getLogger(__name__)


class _Refusal(Exception):
    """An error reply whose type is one of the protocol's other three, not InvalidInput."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Model:
    """A model that clients can call.

    Attributes:
        name: Its name.
        surrogate: The surrogate that answers.
        output_sizes: Lengths of the output vectors; the input is one vector.
        operations: The supported operations; each maps surrogate, y and request to the output.
    """

    name: str
    surrogate: LoadedSurrogate
    output_sizes: Sequence[int]
    operations: Mapping[str, Callable[[LoadedSurrogate, Array, _Body], _Output]]


def load_models(
    paths: Sequence[str | os.PathLike[str]], refuse_outside: bool, trust: bool = False
) -> dict[str, Model]:
    """Read surrogate files; return their models by name.

    Args:
        paths: The files.
        refuse_outside: Refuse y outside the training domain in every request.
        trust: Load files whose code is not known to be harmless; see `surrogates.load`.

    Raises:
        InputError: If a file is not a surrogate, or two models would have the same name.
    """
    models: dict[str, Model] = {}
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
) -> tuple[Model, Model]:
    surrogate = load(path, refuse_outside=refuse_outside, trust=trust)
    name, n_out = Path(path).stem, surrogate.n_out
    calls = {"Evaluate": _evaluate, "Gradient": _gradient, "ApplyJacobian": _apply_jacobian}
    if hasattr(surrogate.engine, "hvp"):  # not in files of older versions
        calls["ApplyHessian"] = _apply_hessian
    return (
        Model(name, surrogate, (n_out,), calls),
        Model(f"{name}.trust", surrogate, (n_out, 1), {"Evaluate": _trust}),
    )


# Requests and replies


def application(models: Mapping[str, Model], names: Sequence[str], door: Door) -> web.Application:
    """Return the web application that answers the protocol's requests.

    Args:
        models: The models by name.
        names: Names of this host that clients may use beside the usual ones.
        door: The connections, which are told of each request's head and answer.
    """

    async def info(_: web.Request) -> web.Response:
        return _reply({"protocolVersion": 1.0, "models": list(models)})

    def post(path: str, answer: Callable[[Model, _Body], Mapping[str, Any]]) -> web.RouteDef:
        async def handler(request: web.Request) -> web.Response:
            body = await _read(request)
            return _reply(answer(_model(models, body), body))

        return web.post(path, handler)

    def operation(name: str) -> web.RouteDef:
        return post(f"/{name}", lambda model, body: {"output": _operate(name, model, body)})

    app = web.Application(
        client_max_size=MAX_BODY,
        middlewares=[_errors_are_replies(names, door)],
        # aiohttp logs a traceback for bytes that are not HTTP; faults of handlers are logged here.
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


def _errors_are_replies(names: Sequence[str], door: Door) -> Any:
    is_allowed = functools.lru_cache(maxsize=64)(hosts.allowed(names))

    @web.middleware
    async def middleware(request: web.Request, handler: _Handler) -> web.StreamResponse:
        door.head_came(request.protocol)
        try:
            called = request.headers.getall("Host", [])  # a client of HTTP 1.0 has none
            if called:  # a request for http://host/path is for that host
                called = [*called, request.host or ""]
            for host in called:
                if not is_allowed(host):
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


def _foreign(host: str) -> web.Response:
    name = hosts.plain(host)[:80]
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


def _model(models: Mapping[str, Model], body: _Body) -> Model:
    name = _field(body, "name")
    check(isinstance(name, str), f"name must be a string; got {_shown(name)}")
    if name not in models:
        raise _Refusal("ModelNotFound", unknown(f"model {name[:40]!r}", name[:40], models))
    return models[name]


def _chosen(model: Model, body: _Body) -> LoadedSurrogate:
    """Return the model's surrogate with the settings of the request's config."""
    config = body.get("config")
    config = {} if config is None else config  # null, as some clients write it
    check(isinstance(config, dict), f"config must be an object; got {_shown(config)}")
    for key in config.keys() - {"refuse_outside"}:
        raise InputError(unknown(f"config key {key[:40]!r}", key[:40], ["refuse_outside"]))
    refuse = config.get("refuse_outside", False)
    check(isinstance(refuse, bool), f"refuse_outside must be true or false; got {_shown(refuse)}")
    return replace(model.surrogate, refuse_outside=True) if refuse else model.surrogate


def _support(model: Model, _: _Body) -> Mapping[str, Any]:
    return {"support": {operation: operation in model.operations for operation in _OPERATIONS}}


def _input_sizes(model: Model, body: _Body) -> Mapping[str, Any]:
    return {"inputSizes": [_chosen(model, body).n_in]}


def _output_sizes(model: Model, body: _Body) -> Mapping[str, Any]:
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


def _operate(operation: str, model: Model, body: _Body) -> _Output:
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


def _apply_hessian(surrogate: LoadedSurrogate, y: Array, body: _Body) -> _Output:
    _wrt(body, "outWrt", "inWrt1", "inWrt2")
    w = _vector(_field(body, "sens"), surrogate.n_out, "sens")
    return surrogate.hvp(y, w, _vector(_field(body, "vec"), surrogate.n_in, "vec"))


def _direction(body: _Body, key: str, size: int) -> Array:
    _wrt(body, "outWrt", "inWrt")
    return _vector(_field(body, key), size, key)


def _wrt(body: _Body, *indices: str) -> None:
    for index in indices:
        value = _field(body, index)
        check(
            type(value) is int and value == 0,
            f"{index} must be 0, as there is one input and one output; got {_shown(value)}",
        )
