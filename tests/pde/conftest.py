"""Folders for runs and for files of problems, a faultless dataset, commands in this process."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faulty import Site

from surrogates import cli
from surrogates.data import Dataset


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    for run in made.runs:
        if run.process.poll() is None:
            run.kill()


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Dataset:
    """The dataset without any fault."""
    made = Site(tmp_path_factory.mktemp("whole"))
    made.run()
    return made.dataset()


@pytest.fixture
def inside(capsys) -> Callable[..., str]:
    """Run a command in this process: return what it prints where it succeeds, else its errors."""

    def call(*words: object, expect: int = 0) -> str:
        capsys.readouterr()
        status = cli.main([str(word) for word in words])
        said = capsys.readouterr()
        assert status == expect, said
        return said.err if expect else said.out

    return call


@pytest.fixture
def path_kept(monkeypatch):
    """Let `load` change the path of imports for one test."""
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture
def write(tmp_path, path_kept) -> Callable[..., Path]:
    """Write a file of problems into the test's folder."""

    def write_(text: str, name: str = "own.py") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_
