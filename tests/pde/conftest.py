"""A folder for a run, the dataset of a run without any fault, and commands in this process."""

from collections.abc import Callable, Iterator

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
