"""Surrogate files to serve, and a server that the tests of a module share."""

import contextlib
import copy
from pathlib import Path

import pytest
from served import Server, serve

from surrogates.model import describe
from surrogates.model import file as export


@pytest.fixture
def toy(surrogate, dataset, tmp_path, written_once) -> Path:
    about = describe.metadata(dataset, training={}, errors={})
    return written_once("served", lambda path: export.save(surrogate, about, path), tmp_path)


@pytest.fixture
def doubled(surrogate):
    other = copy.deepcopy(surrogate)
    other.W *= 2
    return other


@pytest.fixture(scope="module")
def servers():
    """What keeps the server of these tests running between them."""
    with contextlib.ExitStack() as stack:
        kept: dict[str, Server] = {}
        yield stack, kept
        for server in kept.values():
            assert server.end() == 0
            assert server.errors == ""  # none of the requests has left a traceback


@pytest.fixture
def server(servers, toy, doubled, dataset, tmp_path) -> Server:
    """A server of two surrogates, toy and doubled."""
    stack, kept = servers
    if not kept:
        path = tmp_path / "doubled.pt"
        export.save(doubled, describe.metadata(dataset, training={}, errors={}), path)
        kept["server"] = stack.enter_context(serve(toy, path))
    return kept["server"]
