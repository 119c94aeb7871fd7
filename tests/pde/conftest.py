"""The folder of a test's dataset, and the dataset without any fault."""

from collections.abc import Iterator

import pytest
from faulty import Site

from surrogates.data.dataset import Dataset


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
