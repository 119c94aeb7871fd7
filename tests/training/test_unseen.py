"""Adjoints: what their functionals do not see is learned from the values."""

import dataclasses

import numpy as np
import pytest
import torch
from draws import dataset, normal
from torch.func import jacrev, vmap

from surrogates.data import Split
from surrogates.model.parts import Logs
from surrogates.training.config import Derivatives, Network, Stopping, TrainConfig
from surrogates.training.fit import fit
from surrogates.training.logs import logarithms
from surrogates.training.train import train
from surrogates.training.unseen import jacobians, with_unseen

A = 0.8 * normal(6, 3, seed=8)
LOGS = Logs(inputs=np.array([True, False, False]), outputs=np.arange(6) % 2 == 0)


def truth(y):
    """Six outputs of three inputs, none a combination of the others."""
    return torch.exp(torch.sin(A @ y))


def adjoints(r, n=40, n_test=300):
    """Return samples with the derivatives of the r combinations of c that vary most."""
    Y = np.random.default_rng(0).uniform(1, 2, (n + n_test, 3))
    C = vmap(truth)(torch.from_numpy(Y)).numpy()
    W = np.linalg.svd(C[:n] - C[:n].mean(axis=0))[2][:r]
    made = dataset(Y, C)
    info = dataclasses.replace(made.info, functionals=W, c_scale=np.ones(6))
    split = np.full(n + n_test, Split.TEST, np.uint8)
    split[:n] = np.where(np.arange(n) % 5 == 4, Split.VALIDATION, Split.TRAIN)
    dW_dY = W @ vmap(jacrev(truth))(torch.from_numpy(Y)).numpy()
    dW_dY[3, :, 1:] = np.nan
    dW_dY[n:] = np.nan
    return dataclasses.replace(made, info=info, split=split, dW_dY=dW_dY)


def settings(weight=None, **changes):
    return TrainConfig(
        network=Network(width=6),
        stopping=Stopping(work_units=400),
        derivatives=Derivatives(weight=weight),
        **changes,
    )


@pytest.mark.parametrize("logs", [None, LOGS])
@pytest.mark.parametrize("kind", ["ode", "of the caller"])
def test_functionals_keep_their_derivatives_and_the_rest_is_the_network_s(logs, kind):
    made = adjoints(2)
    learned = made if logs is None else logarithms(made, logs)
    own = torch.nn.Sequential(torch.nn.Linear(3, 6), torch.nn.Tanh()).double()
    first = fit(learned, settings(0.0), network=None if kind == "ode" else own)
    found = with_unseen(made, learned, logs, jacobians(first, learned.Y))
    assert found.dW_dY is None and found.info.tangents and not found.info.adjoints
    W, eye = made.info.functionals, np.eye(6)
    P = W.T @ W
    for i in (0, 3, 7):
        # dc/dy of the filled derivatives, and that of the first network, in physical units.
        c = np.where(logs.outputs, made.C[i], 1.0) if logs else np.ones(6)
        y = np.where(logs.inputs, made.Y[i], 1.0) if logs else np.ones(3)
        J = c[:, None] * found.dC_dY[i] / y
        of = first.predict(torch.from_numpy(learned.Y[i])[None])
        assert of.shape == (1, 6)
        J0 = jacrev(lambda x: predicted(first, x))(torch.from_numpy(learned.Y[i])).numpy()
        J0 = c[:, None] * J0 / y
        there = np.isfinite(made.dW_dY[i]).all(axis=0)
        np.testing.assert_allclose((W @ J)[:, there], made.dW_dY[i][:, there], rtol=1e-10)
        np.testing.assert_allclose(
            ((eye - P) @ J)[:, there], ((eye - P) @ J0)[:, there], rtol=1e-8, atol=1e-12
        )
        assert np.isnan(found.dC_dY[i][:, ~there]).all()


def predicted(first, y):
    """Predict by operations that torch.func differentiates."""
    F = first.features.forward(((y - first.y_shift) / first.y_scale)[None])[0]
    return first.W[:, :-1] @ F + first.W[:, -1]


@pytest.mark.parametrize("r", [1, 3])
def test_adjoints_of_few_functionals_do_no_harm(r):
    """With zero for the rest of dc/dy, errors were many times those of values alone."""
    made = adjoints(r)
    Y, C = map(torch.from_numpy, made.part("test"))
    errors = {}
    for weight in (0.0, None):
        found = train(made, settings(weight), effort="fast")
        errors[weight] = float((found.surrogate(Y) - C).norm())
    assert found.training["derivatives"]["samples"] == 32
    alone = fit(made, settings())
    torch.testing.assert_close(alone.predict(Y), found.surrogate(Y), rtol=1e-9, atol=1e-9)
    assert errors[None] < errors[0.0]


def test_a_training_with_adjoints_resumes_bit_for_bit(tmp_path):
    made, checkpoint = adjoints(2), tmp_path / "run.checkpoint"
    Y = torch.from_numpy(made.part("test")[0])
    whole = train(made, settings(), effort="fast")
    asked = iter(range(1, 10**6))
    stopped = train(
        made, settings(), effort="fast", checkpoint=checkpoint, stop=lambda: next(asked) == 5
    )
    assert len(stopped.history) == 5
    resumed = train(made, settings(), effort="fast", checkpoint=checkpoint, resume=True)
    assert torch.equal(resumed.surrogate(Y), whole.surrogate(Y))


@pytest.mark.slow
def test_a_choice_learns_from_adjoints_too():
    made = adjoints(2)
    fixed = frozenset({"network.kind", "network.width", "regularisation.alpha1"})
    errors = []
    Y, C = map(torch.from_numpy, made.part("test"))
    for weight in (None, 0.0):
        found = train(made, settings(weight), given=fixed, processes=1)
        errors.append(float((found.surrogate(Y) - C).norm()))
    assert errors[0] < errors[1]


def test_kernels_with_derivatives_see_the_rest_too():
    made = adjoints(1, n=20, n_test=1)
    kernel = Network(kind="rbf", kernel="gaussian", trend=0)
    whole = with_unseen(made, made, None, np.zeros((len(made.Y), 6, 3)))  # zero for the rest
    errors = []
    for data in (made, whole):
        found = train(data, TrainConfig(network=kernel), effort="default", processes=1)
        name = "rbf gaussian with derivatives"
        errors += [one.error for one in found.tried if one.name == name]
    assert errors[0] < 0.5 * errors[1]


def test_rows_that_have_no_logarithm_are_counted_once():
    Y = np.random.default_rng(0).uniform(1, 2, (30, 3))
    made = dataset(Y, vmap(truth)(torch.from_numpy(Y)).numpy(), "24/6/0")
    J = vmap(jacrev(truth))(torch.from_numpy(Y)).numpy()
    J[5] = np.nan  # said elsewhere
    made.C[[2, 5, 7], [0, 0, 1]] = np.nan  # only the first has a logarithm, and derivatives
    made = dataclasses.replace(made, info=dataclasses.replace(made.info, tangents=True), dC_dY=J)
    text = "3 rows of derivatives are left out, in 1 samples"
    for logs, n in ((LOGS, 1), (None, 0)):
        found = train(made, settings(), effort="fast", logs=logs)
        assert sum(text in line for line in found.warnings) == n
