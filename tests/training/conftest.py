"""Contests of few small networks, and the surrogate of one network to start from."""

import pytest
from fidelities import FAST, drawn, high, of, started

from surrogates.training.train import train


@pytest.fixture
def small_networks(monkeypatch):
    """Let contests be of few small networks, for the tests' time."""
    small = ({"network.kind": "mlp", "network.width": 4, "regularisation.alpha1": 1e-3},)
    for name in ("NETWORKS", "ALONG"):
        monkeypatch.setattr(f"surrogates.training.selection.squares.{name}", small)
    few = ({"regularisation.alpha1": 1e-3, "regularisation.alpha2": 1e-4},)
    monkeypatch.setattr("surrogates.training.selection.contest.STARTED", few)


@pytest.fixture(scope="module")
def fast(tmp_path_factory):
    """The surrogate of one network, its start, and its dataset."""
    data = of(high, drawn(60, 0), "0.7/0.3/0")
    found = train(data, FAST, effort="fast")
    return found, started(found, data, tmp_path_factory.mktemp("fast")), data
