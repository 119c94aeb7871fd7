"""Units, signs and orders of a file do not change what is learned.

Rounding is not the same in other units, and grows over iterations. Features start nearly linear and
alpha2 is small, so that W is determined badly: after the 20 iterations here, rounding is 1e-9 to
1e-6 of the outputs' spread. A tolerance of 1e-5 is above that, and far below any other effect.
"""

import dataclasses

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from draws import dataset, normal
from hypothesis import given, settings

from surrogates.config import replaced
from surrogates.training.config import Network, Stopping, TrainConfig
from surrogates.training.train import train

N_IN, N_OUT = 3, 2
TOLERANCE = 1e-5
FAST = TrainConfig(network=Network(width=4), stopping=Stopping(work_units=180))
DEFAULT = replaced(FAST, {"stopping.work_units": 90, "network.kernel": "gaussian"})

seeds = st.integers(0, 10**6)


@pytest.fixture(autouse=True, scope="module")
def one_small_network():
    """Let contests be of one small network, for the tests' time."""
    with pytest.MonkeyPatch.context() as patch:
        small = ({"network.kind": "mlp", "network.width": 4, "regularisation.alpha1": 1e-3},)
        patch.setattr("surrogates.training.selection.squares.NETWORKS", small)
        yield


def samples(n):
    """Smooth outputs with noise, not symmetric in any input, of units that are not known."""
    Y = normal(n, N_IN, seed=3).numpy()
    s = Y @ [1.0, 0.6, -0.3]
    C = np.stack([np.sin(s) + 0.3 * Y[:, 0] ** 2, np.exp(0.4 * Y[:, 1]) + 0.2 * s], axis=1)
    data = dataset(Y, C + 0.05 * normal(n, N_OUT, seed=4).numpy(), "0.7/0.3/0")
    return dataclasses.replace(data, info=dataclasses.replace(data.info, c_units=("1",) * N_OUT))


def replaced(data, Y, C):
    return dataclasses.replace(data, Y=np.ascontiguousarray(Y), C=np.ascontiguousarray(C))


@dataclasses.dataclass(frozen=True)
class Change:
    """Another way to write the same samples, and predictions turned back from it."""

    inputs: np.ndarray
    slopes: np.ndarray
    offsets: np.ndarray
    outputs: np.ndarray
    c_slopes: np.ndarray
    c_offsets: np.ndarray

    @classmethod
    def none(cls):
        return cls(
            inputs=np.arange(N_IN),
            slopes=np.ones(N_IN),
            offsets=np.zeros(N_IN),
            outputs=np.arange(N_OUT),
            c_slopes=np.ones(N_OUT),
            c_offsets=np.zeros(N_OUT),
        )

    def to(self, Y):
        return (Y * self.slopes + self.offsets)[:, self.inputs]

    def of(self, data):
        C = (data.C * self.c_slopes + self.c_offsets)[:, self.outputs]
        return replaced(data, self.to(data.Y), C)

    def back(self, C):
        out = np.empty_like(C)
        out[:, self.outputs] = C
        return (out - self.c_offsets) / self.c_slopes


def changes(seed):
    """One change of each kind."""
    rng = np.random.default_rng(seed)
    same = Change.none()
    slopes, c_slopes = (rng.choice([-1, 1], k) * 10 ** rng.uniform(-3, 3, k) for k in (N_IN, N_OUT))
    affine = {"slopes": slopes, "offsets": np.abs(slopes) * rng.uniform(-2, 2, N_IN)}
    return {
        "constant added to c": dataclasses.replace(same, c_offsets=rng.uniform(-5, 5, N_OUT)),
        "c scaled": dataclasses.replace(same, c_slopes=c_slopes),
        "outputs permuted": dataclasses.replace(same, outputs=np.roll(np.arange(N_OUT), 1)),
        "inputs permuted": dataclasses.replace(same, inputs=rng.permutation(N_IN)),
        "y mapped": dataclasses.replace(same, **affine),
    }


def shuffled(data, seed):
    """The samples of each part in another order."""
    rows = np.arange(len(data.Y))
    rng = np.random.default_rng(seed)
    for part in np.unique(data.split):
        own = np.flatnonzero(data.split == part)
        rows[own] = rng.permutation(own)
    return replaced(data, data.Y[rows], data.C[rows])


def learned(data, effort):
    config = FAST if effort == "fast" else DEFAULT
    return train(data, config, effort=effort, processes=1).surrogate


class Original:
    """What is learned from the samples as they are, once for each effort."""

    found = {}

    @classmethod
    def of(cls, effort):
        if effort not in cls.found:
            data = samples(40 if effort == "fast" else 30)
            points = 0.8 * normal(20, N_IN, seed=9).numpy()
            module = learned(data, effort)
            C, std = (f(torch.from_numpy(points)).numpy() for f in (module, module.predict_std))
            cls.found[effort] = data, points, C, std
        return cls.found[effort]


def difference(effort, kind, seed):
    """Largest difference of predictions and error bars, over the outputs' spreads."""
    data, points, C, std = Original.of(effort)
    change = changes(seed)[kind] if kind != "samples permuted" else Change.none()
    other = shuffled(data, seed) if kind == "samples permuted" else change.of(data)
    module = learned(other, effort)
    mapped = torch.from_numpy(np.ascontiguousarray(change.to(points)))
    found = change.back(module(mapped).numpy())
    bars = np.empty_like(std)
    bars[:, change.outputs] = module.predict_std(mapped).numpy()
    bars = bars / np.abs(change.c_slopes)
    spread = data.C.std(axis=0)
    return max(np.abs((found - C) / spread).max(), np.abs((bars - std) / spread).max())


KINDS = (*changes(0), "samples permuted")


def kinds(*usual):
    """Take these kinds of change, and the others where everything is run."""
    others = [pytest.param(kind, marks=pytest.mark.thorough) for kind in KINDS if kind not in usual]
    return pytest.mark.parametrize("kind", [*usual, *others])


@kinds("outputs permuted", "y mapped", "samples permuted")
@settings(derandomize=True, deadline=None, max_examples=2)
@given(seed=seeds)
def test_one_training_learns_the_same(kind, seed):
    assert difference("fast", kind, seed) < TOLERANCE


@kinds("y mapped")
@settings(derandomize=True, deadline=None, max_examples=1)
@given(seed=seeds)
def test_a_selection_chooses_and_learns_the_same(kind, seed):
    assert difference("default", kind, seed) < TOLERANCE


@pytest.mark.thorough
def test_what_is_learned_is_worth_comparing():
    # Were all predictions the mean, nothing could differ.
    for effort in ("fast", "default"):
        data, _, _, _ = Original.of(effort)
        residual = learned(data, effort)(torch.from_numpy(data.Y)).numpy() - data.C
        assert (residual.std(axis=0) / data.C.std(axis=0)).max() < 0.5
