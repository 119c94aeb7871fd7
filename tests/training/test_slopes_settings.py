"""Rows of derivatives under every setting that changes what they are rows of.

Each test prepares a training as `fit` does, and compares its rows with a function known in closed
form, and its objective with that of the surrogate in physical units, differentiated by torch.func.
"""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from draws import dataset, normal
from torch.func import functional_call, grad, jacrev, vmap

from surrogates.data import Split, Status
from surrogates.model.networks import MLP
from surrogates.model.parts import Logs
from surrogates.training.config import (
    Derivatives,
    Inputs,
    Network,
    Outputs,
    Regularisation,
    TrainConfig,
)
from surrogates.training.features import Features
from surrogates.training.fit import _Run, _whole
from surrogates.training.logs import logarithms
from surrogates.training.member import Member
from surrogates.training.outer.gauss_newton import ReducedProblem
from surrogates.training.train import without

N, N_IN, N_OUT, R = 24, 5, 8, 2
A = 0.4 * normal(3, N_IN, seed=8)
B = normal(N_OUT - 1, 3, seed=9)
OMEGA = 0.7
ALPHA2 = 1e-6

LOGS = {
    "none": None,
    "outputs": Logs(inputs=np.zeros(N_IN, bool), outputs=np.arange(N_OUT) % 2 == 1),
    "both": Logs(inputs=np.arange(N_IN) < 2, outputs=np.arange(N_OUT) != 3),
}
MIXES = {
    "none": {},
    "whitening": {"inputs": Inputs(scale=0.3, whitening=0.7)},
    "smoothing": {"regularisation": Regularisation(smoothing=2.0)},
    "all": {
        "inputs": Inputs(whitening=0.5, noise=0.5),
        "regularisation": Regularisation(smoothing=0.5),
    },
}
OUTPUTS = {
    "unit": Outputs(),
    "column": Outputs(scaling="column"),
    "weighted": Outputs(scaling="common", weights=("c1=3", "c2=0.2")),
}
KINDS = ("tangents", "directions", "adjoints")


def truth(y):
    """Eight outputs of rank three and of different sizes; the last is constant."""
    waves = torch.exp(torch.sin(A @ y) + 0.3 * (A @ y))
    size = 10.0 ** (torch.arange(N_OUT - 1, dtype=torch.float64) / 3)
    c = size * (B.abs() @ waves)
    return torch.cat([c, c.new_ones(1)])


def sampled(kind, seed=0):
    """Return samples with derivatives of half of them, and one row of NaN."""
    rng = np.random.default_rng(seed)
    Y = 3 + rng.uniform(-1, 1, (N, N_IN)) * [1, 0.1, 2, 1, 0.5]
    C = vmap(truth)(torch.from_numpy(Y)).numpy()
    J = vmap(jacrev(truth))(torch.from_numpy(Y)).numpy()
    made = dataset(Y, C)
    split = np.where(np.arange(N) % 4 == 3, Split.VALIDATION, Split.TRAIN).astype(np.uint8)
    none = np.arange(N) % 2 == 1
    changes, info = {}, {}
    if kind == "tangents":
        J[none] = np.nan
        J[4, :, 1] = np.nan
        changes["dC_dY"], info["tangents"] = J, True
    elif kind == "directions":
        V = rng.standard_normal((N, R, N_IN)) * [1, 0.1, 2, 1, 0.5]
        T = J @ V.transpose(0, 2, 1)
        T[none] = np.nan
        T[4, 3, 1] = np.nan
        changes |= {"directions": V, "dC_dV": T}
        info["directions"] = R
    else:
        W = np.linalg.svd(C - C.mean(axis=0))[2][:3]
        T = W @ J
        T[none] = np.nan
        changes["dW_dY"] = T
        info |= {"functionals": W, "c_scale": np.ones(N_OUT)}
    units = tuple("V" if j % 2 else "A" for j in range(N_OUT))
    info = dataclasses.replace(made.info, c_units=units, **info)
    return dataclasses.replace(made, info=info, split=split, **changes)


def prepared(
    kind,
    logs="none",
    mix="none",
    outputs="unit",
    precision="double",
    described=None,
    **more,
):
    """Return the samples as they are learned, and the training."""
    learned = sampled(kind)
    learned = learned if LOGS[logs] is None else logarithms(learned, LOGS[logs])
    config = TrainConfig(
        network=described or Network(width=4),
        outputs=OUTPUTS[outputs],
        derivatives=Derivatives(weight=OMEGA),
        precision=precision,
        **MIXES[mix],
    )
    given = {"network": None, "start": None, "loss": None, "comm": None, **more}
    return learned, _Run.of(learned, config, *given.values())


def expected_rows(learned, data, J):
    """Return samples and rows by the text of `slopes`, from Jacobians of the training samples."""
    rows = learned.rows_of("train")
    found = learned.derivatives(rows)
    s = torch.from_numpy(learned.Y[rows].std(axis=0))
    there = torch.from_numpy(found.there)
    samples = torch.nonzero(there.any(dim=1))[:, 0]
    V = torch.from_numpy(found.V.copy())
    share = N_IN / there.sum(dim=1, dtype=torch.float64).clamp(min=1)
    factor = there * (OMEGA * share).sqrt()[:, None] / torch.linalg.vector_norm(V / s, dim=2)
    T = torch.einsum("ijy,iky->ikj", J, V) / data.scaling.scale
    T = torch.where(there[:, :, None], T * factor.nan_to_num(0.0)[:, :, None], 0.0)[samples]
    T = T.flatten(0, 1)
    return samples, T if data.scaling.basis is None else T @ data.scaling.basis


def jacobians(learned, of):
    """Return the Jacobians of a function at the training samples, (n, n_out, n_in)."""
    return vmap(jacrev(of))(torch.from_numpy(learned.Y[learned.rows_of("train")]))


def learned_truth(logs):
    """Return the closed form as it is learned: of logarithms, perhaps."""
    marks = LOGS[logs]
    if marks is None:
        return truth
    inputs, outputs = map(torch.from_numpy, (marks.inputs, marks.outputs))

    def of(z):
        c = truth(torch.where(inputs, z.exp(), z))
        return torch.where(outputs, c.log(), c)

    return of


@pytest.mark.parametrize("kind", KINDS)
def test_targets_are_those_of_the_closed_form_under_every_setting(kind):
    """Half of the samples, a row of NaN, a constant output, outputs of rank three."""
    tried = 0
    for logs, mix, outputs in itertools.product(LOGS, MIXES, OUTPUTS):
        learned, run = prepared(kind, logs, mix, outputs)
        data, of = run.data, learned_truth(logs)
        samples, T = expected_rows(learned, data, jacobians(learned, of))
        assert torch.equal(data.train.directions.samples, samples)
        # The functionals span c, but for the constant output and rounding.
        tolerance = 1e-10 if kind != "adjoints" else 1e-6
        miss = float((data.train.T - T).norm() / T.norm())
        assert miss < tolerance, (logs, mix, outputs, miss)
        tried += 1
    assert tried == len(LOGS) * len(MIXES) * len(OUTPUTS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mix", MIXES)
def test_predicted_rows_are_derivatives_of_the_surrogate_under_every_setting(kind, mix):
    """Of random weights: what training compares to the targets is dc/dy v of the surrogate."""
    networks = [Network(width=4, kind=name) for name in ("ode", "mlp", "resnet")]
    networks.append(Network(width=4, linear=True))
    for logs, outputs, network in itertools.product(LOGS, OUTPUTS, networks):
        learned, run = prepared(kind, logs, mix, outputs, described=network)
        part, predict, theta, W = drawn(run)
        _, expected = expected_rows(learned, run.data, jacobians(learned, predict))
        n = len(part.Y)
        features = Features(run.network, part.Y, directions=part.directions)
        rows = features(theta)[n:] @ W[:, :-1].T
        miss = float((rows - expected).norm() / expected.norm())
        assert miss < 1e-10, (logs, outputs, network.kind, miss)


def drawn(run, seed=5):
    """Return a training's part, a surrogate with random weights, and these weights."""
    part, data = run.data.train, run.data
    theta = torch.cat([p.detach().reshape(-1) for p in run.network.parameters()])
    theta = theta + 0.1 * normal(len(theta), seed=seed)
    network = run.method.network(run.network, 0, theta)
    with torch.no_grad():
        width = network(part.Y[:1]).shape[1]
    W = normal(part.C.shape[1], width + 1, seed=seed + 1)
    features, physical = _whole(network, data.physical(W), data)

    def predict(y):
        F = features.forward(((y - data.y_shift) / data.y_scale)[None])[0]
        return physical[:, :-1] @ F + physical[:, -1]

    return part, predict, theta, W


def objective(learned, run, W):
    """Return Phi(theta) at fixed W by the text of `slopes`, from Jacobians in units of c and y."""
    data, part, mixing = run.data, run.data.train, run.data.mixing
    Y = torch.from_numpy(learned.Y[learned.rows_of("train")])
    scale, basis = data.scaling.scale, data.scaling.basis
    named = {name: parameter.shape for name, parameter in run.network.named_parameters()}

    def phi(theta):
        pieces = torch.split(theta, [shape.numel() for shape in named.values()])
        own = {name: p.view(named[name]) for name, p in zip(named, pieces, strict=True)}

        def seen(y):
            z = (y - data.y_shift) / data.y_scale
            z = z if mixing is None else mixing @ z
            F = functional_call(run.network, own, (z[None],))[0]
            return W[:, :-1] @ F + W[:, -1]

        def physical(y):
            return scale * (seen(y) if basis is None else basis @ seen(y))

        residual = vmap(seen)(Y) - part.C
        _, rows = expected_rows(learned, data, vmap(jacrev(physical))(Y))
        total = residual.square().sum() + (rows - part.T).square().sum()
        return total / (2 * len(Y)) + ALPHA2 / 2 * W.square().sum()

    return phi


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mix", MIXES)
def test_the_gradient_is_that_of_the_objective_in_physical_units(kind, mix):
    """W is stationary: the reduced gradient is that of Phi at fixed W, here by torch.func."""
    for logs, outputs in itertools.product(LOGS, OUTPUTS):
        learned, run = prepared(kind, logs, mix, outputs)
        part = run.data.train
        features = Features(run.network, part.Y, directions=part.directions)
        made = ReducedProblem(features=features, C=part.targets, alpha1=0.0, alpha2=ALPHA2)
        theta = torch.cat([p.detach().reshape(-1) for p in run.network.parameters()])
        here, _, gradient = made.linearised(theta)
        phi = objective(learned, run, here.W)
        assert float(phi(theta)) == pytest.approx(here.phi, rel=1e-10), (logs, outputs)
        expected = grad(phi)(theta)
        miss = float((gradient - expected).norm() / expected.norm())
        assert miss < 1e-8, (logs, outputs, miss)


def test_single_precision_rounds_the_features_rows_alone():
    learned, run = prepared("directions", mix="whitening", precision="single")
    _, double = prepared("directions", mix="whitening")
    part, exact = run.data.train, double.data.train
    assert part.directions.V.dtype == torch.float32
    assert torch.equal(part.T, exact.T)
    assert torch.allclose(part.directions.V.double(), exact.directions.V, rtol=1e-6)
    assert run.data.used == double.data.used


def test_a_network_of_the_caller_gets_the_same_rows():
    own = torch.nn.Sequential(torch.nn.Linear(N_IN, 4), torch.nn.Tanh()).double()
    learned, run = prepared("tangents", "both", network=own)
    _, T = expected_rows(learned, run.data, jacobians(learned, learned_truth("both")))
    assert float((run.data.train.T - T).norm() / T.norm()) < 1e-10


def test_rows_follow_the_scales_of_the_inputs_that_a_training_starts_with():
    """The kept network's inputs have other units; directions are those of the new samples."""
    first = MLP(N_IN, 4, 2)
    start = Member(
        features=first,
        y_shift=torch.full((N_IN,), 2.5).double(),
        y_scale=torch.tensor([10.0, 0.3, 7.0, 1.0, 2.0]).double(),
        W=normal(N_OUT, 5, seed=3),
    )
    network = Network(width=4, kind="mlp")
    for kind in KINDS:
        learned, run = prepared(kind, described=network, start=start)
        part, predict, theta, W = drawn(run)
        _, expected = expected_rows(learned, run.data, jacobians(learned, predict))
        features = Features(run.network, part.Y, directions=part.directions)
        rows = features(theta)[len(part.Y) :] @ W[:, :-1].T
        assert float((rows - expected).norm() / expected.norm()) < 1e-10
        fresh = prepared(kind)[1].data.train
        assert float((part.T.norm() - fresh.T.norm()) / fresh.T.norm()) == pytest.approx(0)


def test_samples_left_out_and_failed_ones_give_no_rows():
    learned = sampled("directions")
    status = learned.status.copy()
    status[8] = Status.FAILED
    failed = dataclasses.replace(learned, status=status)
    few = without(failed, [0, 1, 12])
    config = TrainConfig(network=Network(width=4), derivatives=Derivatives(weight=OMEGA))
    run = _Run.of(few, config, None, None, None, None)
    rows = few.rows_of("train")
    assert not set(rows) & {0, 1, 8, 12}
    samples, T = expected_rows(few, run.data, jacobians(few, truth))
    assert torch.equal(run.data.train.directions.samples, samples)
    assert len(samples) == len([i for i in rows if i % 2 == 0])
    assert float((run.data.train.T - T).norm() / T.norm()) < 1e-10
