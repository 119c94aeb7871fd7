"""Training that starts from a surrogate: the objective, the file, and what it is worth."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from draws import GeneralSquares, Poisson, classes, dataset, flat, labelled, normal, orders, tall
from torch.nn.utils import parameters_to_vector

from surrogates.config import replaced
from surrogates.errors import InputError
from surrogates.model import describe
from surrogates.model import file as export
from surrogates.model.networks import MLP, AntisymmetricODE, ResNet, with_ones
from surrogates.model.parts import Logs
from surrogates.model.radial import AnovaBasis, Joined, Monomials, RadialBasis
from surrogates.training.config import Network, Outputs, Regularisation, Stopping, TrainConfig
from surrogates.training.deploy import alone
from surrogates.training.features import Features
from surrogates.training.fit import fit
from surrogates.training.initial import settings_of
from surrogates.training.inner.losses import LeastSquares
from surrogates.training.inner.solve import solve
from surrogates.training.inner.varpro import LeastSquaresSolution
from surrogates.training.member import Member
from surrogates.training.outer.baselines import JointJacobian
from surrogates.training.outer.gauss_newton import GaussNewton, ReducedProblem
from surrogates.training.outer.multilevel import Reason
from surrogates.training.selection import kernel
from surrogates.training.selection.contest import Contest
from surrogates.training.selection.effort import Terms
from surrogates.training.selection.frame import framed
from surrogates.training.selection.regression import choose
from surrogates.training.selection.squares import Squares
from surrogates.training.selection.start import NEW, _Old, enlarged
from surrogates.training.train import train
from surrogates.training.trust_region import RadiusRule
from surrogates.training.weights import Start, checksums, packed

QUICK = TrainConfig(stopping=Stopping(work_units=150), outputs=Outputs(scaling="column"))
FAST = TrainConfig(network=Network(kind="mlp", width=4), stopping=Stopping(work_units=100))
INFINITE = {"regularisation.alpha1": 1e10, "regularisation.alpha2": 1e10}


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    """Let contests be of few small networks, for the tests' time."""
    small = ({"network.kind": "mlp", "network.width": 4, "regularisation.alpha1": 1e-3},)
    monkeypatch.setattr("surrogates.training.selection.squares.NETWORKS", small)
    few = ({"regularisation.alpha1": 1e-3, "regularisation.alpha2": 1e-4},)
    monkeypatch.setattr("surrogates.training.selection.contest.STARTED", few)


def high(Y):
    """Forrester's function of y0 (Forrester et al. 2008), changed by y1, and another one."""
    y0, y1 = Y.T
    first = (6 * y0 - 2) ** 2 * np.sin(12 * y0 - 4) + 8 * y0 * np.sin(4 * y1)
    return np.stack([first, np.cos(5 * y0 + 2 * y1)], axis=1)


def low(Y):
    """A cheap version of it: scaled, and with an error that is smooth."""
    y0, y1 = Y.T
    return 0.5 * high(Y) + np.stack([10 * y0 + np.exp(y1), 0.3 * np.sin(2 * y0) * y1], axis=1)


def drawn(n, seed):
    return np.random.default_rng(seed).uniform(0, 1, (n, 2))


def of(function, Y, split="0.9/0.1/0"):
    return dataset(Y, function(Y), split)


def trained(data, **others):
    return train(data, **{"settings": QUICK, "processes": 1, **others})


def saved(found, data, path):
    about = describe.metadata(data, training=found.training, errors=found.errors)
    export.save(found.surrogate, about, path, found.weights)
    return path


def started(found, data, folder):
    return Start.read(saved(found, data, folder / "old.pt"))


def error(found, function):
    """Root mean square error of each output over its spread, on many samples."""
    Y = drawn(2000, 99)
    C = function(Y)
    residual = found.surrogate(torch.from_numpy(Y)).numpy() - C
    return np.sqrt((residual**2).mean(axis=0)) / C.std(axis=0)


@pytest.fixture(scope="module")
def cheap(tmp_path_factory):
    """A surrogate of 200 cheap samples."""
    data = of(low, drawn(200, 0))
    return started(trained(data), data, tmp_path_factory.mktemp("low"))


@pytest.fixture(scope="module")
def fast(tmp_path_factory):
    """The surrogate of one network, its start, and its dataset."""
    data = of(high, drawn(60, 0), "0.7/0.3/0")
    found = train(data, FAST, effort="fast")
    return found, started(found, data, tmp_path_factory.mktemp("fast")), data


# The objective


def problem(loss, alpha1=0.3, alpha2=0.2, referred=True):
    net = AntisymmetricODE(3, 4, 1, generator=torch.Generator().manual_seed(0))
    features = Features(net, normal(30, 3, seed=1))
    C = normal(30, 5, seed=2)
    made = ReducedProblem(
        features=features,
        C=C.abs() if isinstance(loss, Poisson) else C,
        alpha1=alpha1,
        alpha2=alpha2,
        loss=loss,
        theta_ref=normal(features.n_theta, seed=5) if referred else None,
        W_ref=normal(5, 5, seed=6) if referred else None,
    )
    return made, 0.5 * normal(features.n_theta, seed=3)


def phi(made, theta, W):
    """Phi(W, theta), written out."""
    outputs = with_ones(made.features(theta)) @ W.T
    value = made.loss.values(outputs, made.C).mean()
    value += made.alpha1 / 2 * (theta - made.theta_ref).square().sum()
    return float(value + made.alpha2 / 2 * (W - made.W_ref).square().sum())


@pytest.mark.parametrize("loss", [LeastSquares(), Poisson()])
def test_phi_is_least_at_its_own_w(loss):
    made, theta = problem(loss)
    here = made.at(theta)
    assert here.phi == pytest.approx(phi(made, theta, here.W), rel=1e-12)
    for seed in range(5):
        other = here.W + 1e-3 * normal(*here.W.shape, seed=seed)
        assert here.phi < phi(made, theta, other)


@pytest.mark.parametrize("loss", [LeastSquares(), Poisson()])
def test_taylor_expansion_of_the_reduced_objective(loss):
    made, theta = problem(loss)
    here, _, gradient = made.linearised(theta)
    v = normal(len(theta), seed=4)
    slope = float(gradient @ v)
    remainders = [
        abs(made.at(theta + 2.0**-k * v).phi - here.phi - 2.0**-k * slope) for k in range(4, 12)
    ]
    assert remainders[-1] > 1e-12
    assert all(order > 1.8 for order in orders(remainders)[-4:]), orders(remainders)


def test_the_jacobian_is_the_residuals_and_its_transpose_is_adjoint():
    made, theta = problem(LeastSquares())
    here, J, _ = made.linearised(theta)
    v = normal(len(theta), seed=4)
    change = flat(J @ v)
    remainders = []
    for k in range(4, 12):
        there = made.at(theta + 2.0**-k * v)
        remainders.append(
            float(
                (flat(there.inner.residual) - flat(here.inner.residual) - 2.0**-k * change).norm()
            )
        )
    assert all(order > 1.8 for order in orders(remainders)[-4:]), orders(remainders)
    w = normal(len(change), seed=7)
    product = float(v @ (J.T @ tall(w, 5, 5)))
    assert abs(float(change @ w) - product) <= 1e-12 * float(change.norm() * w.norm())


def test_without_variable_projection_the_gradient_is_that_of_phi():
    made, theta = problem(LeastSquares())
    W = normal(5, 5, seed=8)
    J = JointJacobian(made, made.features.jacobian(theta), W)
    gradient = J.gradient(theta)
    v = normal(len(gradient), seed=9)
    n = len(theta)

    def at(t):
        return phi(made, theta + t * v[:n], W + t * v[n:].view(5, 5))

    remainders = [abs(at(2.0**-k) - at(0) - 2.0**-k * float(gradient @ v)) for k in range(4, 12)]
    assert all(order > 1.8 for order in orders(remainders)[-4:]), orders(remainders)
    # The model's matrix knows of no reference.
    plain, _ = problem(LeastSquares(), referred=False)
    other = JointJacobian(plain, plain.features.jacobian(theta), W)
    torch.testing.assert_close(J.gram(v), other.gram(v), rtol=1e-13, atol=1e-13)


def test_newtons_w_is_that_of_the_svd():
    Z, C, W_ref = with_ones(normal(30, 4, seed=0)), normal(30, 3, seed=1), normal(3, 5, seed=2)
    expected = LeastSquaresSolution.of(Z, C, 0.1, W_ref).W
    found = solve(GeneralSquares(), Z, C, 0.1, W_ref=W_ref).W
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)


def test_a_step_is_that_of_the_dense_gauss_newton_matrix_with_references():
    made, theta = problem(LeastSquares(), alpha1=1e-3)
    _, J, gradient = made.linearised(theta)
    eye = torch.eye(len(theta), dtype=torch.float64)
    dense = torch.stack([flat(J @ v) for v in eye], dim=1)
    newton = -torch.linalg.solve(dense.T @ dense + 1e-3 * eye, gradient)
    method = GaussNewton(rank=len(theta), tolerance=0.0, rule=RadiusRule(accept=-math.inf))
    found = method.step(made, theta, 1e6, 1000).point.theta - theta
    assert float((found - newton).norm() / newton.norm()) < 1e-8


# One training that starts from weights


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer.method": "krylov"},
        {"optimizer.method": "kronecker"},
        {"optimizer.name": "lbfgs"},
        {"optimizer.name": "gn"},
        {"precision": "single"},
    ],
)
def test_infinite_weights_give_the_old_surrogate_back(fast, changes):
    _, start, data = fast
    old, settings = start.network(replaced(QUICK, changes), frozenset())
    result = fit(data, replaced(settings, INFINITE), start=old)
    Y = torch.from_numpy(drawn(50, 3))
    tolerance = 1e-3 if "precision" in changes else 1e-5
    torch.testing.assert_close(result.predict(Y), old.predict(Y), rtol=tolerance, atol=tolerance)
    assert torch.equal(result.y_shift, old.y_shift) and torch.equal(result.y_scale, old.y_scale)


def test_finite_weights_fit_new_data(fast):
    _, start, _ = fast
    data = of(lambda Y: high(Y) + 3 * Y[:, :1], drawn(60, 1), "0.7/0.3/0")
    old, settings = start.network(QUICK, frozenset())
    result = fit(data, settings, start=old)
    Y, C = map(torch.from_numpy, data.part("validation"))
    assert float((result.predict(Y) - C).norm()) < 0.5 * float((old.predict(Y) - C).norm())


def test_levels_keep_the_prolonged_reference():
    data = of(high, drawn(60, 0), "0.7/0.3/0")
    settings = TrainConfig(
        network=Network(kind="ode", width=4, cells=2), stopping=Stopping(work_units=100)
    )
    old = alone(fit(data, settings), data).members[0]
    deep = replaced(settings, {"network.levels": 2, **INFINITE})
    result = fit(data, deep, start=old)
    fine = old.features.refined()
    # Either level may be the best on validation: their functions nearly agree.
    expected = {len(parameters_to_vector(net.parameters())): net for net in (old.features, fine)}
    theta = parameters_to_vector(result.features.parameters())
    reference = parameters_to_vector(expected[len(theta)].parameters())
    torch.testing.assert_close(theta, reference, rtol=0, atol=1e-7)
    assert {record.level for record in result.history} == {0, 1}


@pytest.mark.slow
def test_classes_start_from_a_classifiers_weights(tmp_path):
    Y = normal(90, 3, seed=0).numpy()
    data = labelled(Y, classes(90, 3, 1).numpy(), "0.6/0.4/0")
    settings = TrainConfig(
        network=Network(width=4),
        stopping=Stopping(work_units=60),
        regularisation=Regularisation(alpha1=1e-3, alpha2=1e-3),
    )
    found = train(data, settings, effort="fast")
    start = started(found, data, tmp_path)
    again = train(data, replaced(settings, INFINITE), start=start)
    y = torch.from_numpy(Y)
    torch.testing.assert_close(
        again.surrogate.temperature * again.surrogate(y),
        found.surrogate.temperature * found.surrogate(y),
        rtol=1e-6,
        atol=1e-6,
    )


def test_a_resumed_training_is_that_without_a_break_and_of_the_same_start(fast, tmp_path):
    _, start, data = fast
    data = of(low, drawn(60, 2), "0.7/0.3/0")
    old, settings = start.network(QUICK, frozenset())
    whole = fit(data, settings, start=old)
    path = tmp_path / "c.checkpoint"
    asked = iter([False, False, True])
    first = fit(data, settings, start=old, checkpoint=path, stop=lambda: next(asked))
    assert first.reason is Reason.INTERRUPTED
    other = dataclasses.replace(old, W=1.5 * old.W)
    for wrong in (other, None):
        with pytest.raises(InputError, match="started from other weights"):
            fit(data, settings, start=wrong, checkpoint=path, resume=True)
    second = fit(data, settings, start=old, checkpoint=path, resume=True)
    assert torch.equal(second.W, whole.W)
    assert second.history[-1].phi == whole.history[-1].phi


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network.width": 5}, "has network.width 4; got 5"),
        ({"network.kind": "ode"}, "has network.kind mlp; got ode"),
        ({"inputs.whitening": 0.5}, "keeps their inputs"),
    ],
)
def test_settings_of_another_network_are_refused(fast, changes, message):
    _, start, data = fast
    old, settings = start.network(QUICK, frozenset())
    with pytest.raises(InputError, match=message):
        fit(data, replaced(settings, changes), start=old)
    with pytest.raises(InputError, match=message):
        train(
            data,
            replaced(QUICK, changes),
            effort="fast",
            given=frozenset(changes),
            start=start,
        )


def test_fast_needs_a_network(tmp_path):
    data = of(high, drawn(12, 0))
    start = started(trained(data), data, tmp_path)
    assert start.networks() == ()
    with pytest.raises(InputError, match="no network that one training could start from"):
        train(data, FAST, effort="fast", start=start)


def test_fast_says_that_validation_samples_were_trained_on(fast):
    _, start, data = fast
    n = data.size("validation")
    assert not any(
        "was trained on" in w for w in train(data, FAST, effort="fast", start=start).warnings
    )
    turned = dataclasses.replace(data, split=np.where(data.split == 0, 1, 0).astype(np.uint8))
    found = train(turned, FAST, effort="fast", start=start)
    assert any(f"on {turned.size('validation')} of" in warning for warning in found.warnings)
    assert turned.size("train") == n


# What a file holds


def members(n=3):
    """One of each kind, of n inputs and two outputs."""
    generator = torch.Generator().manual_seed(0)
    zeros = torch.zeros((2, n), dtype=torch.float64)
    basis = RadialBasis(normal(5, n, seed=1), normal(n, seed=2).abs(), "matern52")
    kinds = [
        AntisymmetricODE(n, 4, 2, 1.7, 1e-3, activation="softplus", generator=generator),
        ResNet(n, 4, 3, 0.8, generator=generator),
        MLP(n, 4, 2, activation="sigmoid", generator=generator),
        basis,
        AnovaBasis(basis.centres, basis.scales, torch.linspace(0, 1, n).double(), "gaussian"),
        Monomials(n, kernel.pairs(n, 2)),
        Joined([basis, MLP(n, 2, 1, generator=generator)], zeros, zeros + 2),
    ]
    return [
        Member(
            features=features,
            y_shift=normal(n, seed=i),
            y_scale=normal(n, seed=i + 10).abs() + 0.1,
            W=normal(2, features.width + 1, seed=i + 20),
            weight=1 / len(kinds),
            group=i // 2,
        )
        for i, features in enumerate(kinds)
    ]


def test_a_file_gives_back_what_was_trained_bit_for_bit(fast, tmp_path, monkeypatch):
    found, _, data = fast
    before = members(len(data.info.y_names))
    about = describe.metadata(data, training=found.training, errors=found.errors)
    path = tmp_path / "all.pt"
    seen = checksums(data, data.rows_of("train"))
    error = torch.tensor([0.1, 0.2]).double()
    export.save(found.surrogate, about, path, packed(before, seen, error))
    state = torch.get_rng_state()
    start = Start.read(path)
    assert torch.equal(torch.get_rng_state(), state)
    Y = normal(7, len(data.info.y_names), seed=5)
    for a, b in zip(before, start.members, strict=True):
        assert torch.equal(a.predict(Y), b.predict(Y))
        assert (a.weight, a.group) == (b.weight, b.group)
        assert settings_of(a.features) == settings_of(b.features)
    assert torch.equal(start.error, error)
    mean = sum(member.weight * member.predict(Y) for member in before)
    torch.testing.assert_close(start.whole().predict(Y), mean, rtol=1e-13, atol=1e-13)
    # The file itself is the same to those who only call it.
    y = torch.from_numpy(drawn(3, 0))
    assert torch.equal(torch.jit.load(path)(y), found.surrogate(y))
    known, shared = start.overlap(data)
    assert known.sum() == len(seen) and not shared.any()
    other = dataclasses.replace(data, C=data.C + 1)
    known, shared = start.overlap(other)
    assert shared.sum() == len(seen) and not known.any()


def test_networks_are_those_of_the_largest_weight():
    made = Start(surrogate=None, members=tuple(members()), seen=None, error=None, digest="")
    heavy = [dataclasses.replace(m, weight=0.9) if m.group == 1 else m for m in made.members]
    found = dataclasses.replace(made, members=tuple(heavy)).networks()
    assert [type(member.features) for member in found] == [MLP]
    assert [type(member.features) for member in made.networks()] == [AntisymmetricODE, ResNet]


def test_a_network_of_the_callers_has_no_weights_to_start_from(fast, tmp_path):
    found, _, data = fast

    class Own(torch.nn.Module):
        n_in, width = 2, 2

    member = dataclasses.replace(members()[0], features=Own())
    assert packed([member], checksums(data, [0]), torch.zeros(2)) == b""
    path = saved(dataclasses.replace(found, weights=b""), data, tmp_path / "own.pt")
    with pytest.raises(InputError, match="has no weights to start from"):
        Start.read(path)


def test_what_does_not_match_is_refused(fast):
    _, start, data = fast
    info = data.info

    def refused(message, made, logs=None):
        with pytest.raises(InputError, match=message) as caught:
            train(made, FAST, effort="fast", start=start, logs=logs)
        assert "\n" not in str(caught.value)

    def renamed(**names):
        return dataclasses.replace(data, info=dataclasses.replace(info, **names))

    refused("input 'y0' where the dataset has 'depth'", renamed(y_names=("depth", "y1")))
    refused("output 'c1' where the dataset has 'flow'", renamed(c_names=("c0", "flow")))
    refused("takes 2 parameters and gives 2", dataset(normal(30, 3, seed=0).numpy(), data.C[:30]))
    one_hot = classes(60, 2, 0).numpy()
    refused("is for regression; the dataset", labelled(data.Y, one_hot, "0.7/0.3/0"))
    marks = Logs(inputs=np.array([True, False]), outputs=np.array([False, False]))
    refused("learned the logarithms of no inputs: leave --log-inputs out", data, marks)


def test_logarithms_that_were_learned_are_asked_for(tmp_path):
    data = of(lambda Y: np.exp(low(Y) / 10), drawn(40, 0))
    logs = Logs(inputs=np.array([False, False]), outputs=np.array([True, False]))
    start = started(trained(data, logs=logs), data, tmp_path)
    with pytest.raises(InputError, match="logarithms of c0 outputs: give --log c0"):
        trained(data, start=start)
    more = of(lambda Y: np.exp(low(Y) / 10), np.concatenate([data.Y, drawn(12, 5)]))
    found = trained(more, logs=logs, start=start)
    assert any(one.name.startswith("old") for one in found.tried)
    assert error(found, lambda Y: np.exp(low(Y) / 10)).max() < 0.05


# A selection


@pytest.mark.thorough
@pytest.mark.parametrize("nested", [False, True])
def test_a_cheap_fidelity_saves_samples_of_a_dear_one(cheap, nested):
    data = of(high, drawn(200, 0)[:15] if nested else drawn(15, 1))
    without, found = trained(data), trained(data, start=cheap)
    assert found.reason.startswith("old + rbf")
    assert (3 * error(found, high) < error(without, high)).all()
    Y = torch.from_numpy(drawn(2000, 99))
    std = found.surrogate.predict_std(Y)
    inside = ((found.surrogate(Y) - torch.from_numpy(high(Y.numpy()))).abs() < 1.645 * std).double()
    assert float(inside.mean()) > 0.6
    assert found.training["from"] == cheap.digest


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(2))
def test_more_data_are_never_much_worse_and_bars_hold(seed, tmp_path):
    Y = drawn(120, 10 + seed)
    few, more = of(high, Y[:100]), of(high, Y)
    without = trained(more)
    found = trained(more, start=started(trained(few), few, tmp_path))
    assert (error(found, high) < 2 * error(without, high)).all()
    X = torch.from_numpy(drawn(2000, 99))
    std = found.surrogate.predict_std(X)
    inside = ((found.surrogate(X) - torch.from_numpy(high(X.numpy()))).abs() < 1.645 * std).double()
    assert float(inside.mean()) > 0.6


@pytest.mark.thorough
def test_an_old_surrogate_of_noise_does_not_pass_for_good(tmp_path):
    """What it has learned by heart is no reason to take it: new samples tell."""
    rng = np.random.default_rng(0)
    Y = drawn(120, 3)
    C = high(Y) + 3 * rng.normal(size=(120, 2))
    few, more = dataset(Y[:100], C[:100], "0.9/0.1/0"), dataset(Y, C, "0.9/0.1/0")
    centres = RadialBasis(torch.from_numpy(Y[:100]), torch.full((2,), 40.0), "matern52")
    F = centres(torch.from_numpy(Y[:100])).detach()
    W = torch.linalg.solve(F, torch.from_numpy(C[:100])).T
    zeros = torch.zeros(2, dtype=torch.float64)
    heart = Member(
        features=centres,
        y_shift=zeros,
        y_scale=zeros + 1,
        W=torch.cat([W, zeros[:, None]], dim=1),
    )
    found = trained(few)
    weights = packed([heart], checksums(few, range(100)), zeros + 1.0)
    start = started(dataclasses.replace(found, weights=weights), few, tmp_path)
    tried = {one.name: one.error for one in trained(more, start=start).tried}
    best_old = min(value for name, value in tried.items() if name.startswith("old"))
    best = min(value for name, value in tried.items() if not name.startswith("old"))
    assert best_old > 0.7 * best


@pytest.mark.thorough
def test_too_few_new_samples_are_said_and_the_old_surrogate_is_left_out(fast):
    _, start, data = fast
    more = of(high, np.concatenate([data.Y, drawn(NEW - 1, 5)]))
    # Validation samples of the old one only chose its weights: they count as new.
    count = len(more.Y) - data.size("train")
    assert count >= NEW
    assert any(one.name.startswith("old") for one in trained(more, start=start).tried)
    old = dataclasses.replace(start, seen=checksums(data, range(len(data.Y))))
    found = trained(more, start=old)
    assert not any(one.name.startswith("old") for one in found.tried)
    assert any(f"all but {NEW - 1} samples" in warning for warning in found.warnings)


def test_residuals_of_samples_that_were_seen_are_enlarged():
    residual = torch.ones((12, 2)).double()
    residual[:6] *= 0.01
    known = torch.arange(12) < 6
    nothing = torch.zeros(12, dtype=torch.bool)
    error = torch.tensor([0.3, 0.4]).double()
    found = enlarged(residual, known, nothing, error)
    assert torch.equal(found[6:], residual[6:])
    expected = math.sqrt(1 + math.sqrt(2 / 6))
    torch.testing.assert_close(found[:6], torch.full((6, 2), expected).double())
    found = enlarged(residual, nothing, known, error)
    expected = math.sqrt(0.01**2 + 0.125)
    torch.testing.assert_close(found[:6], torch.full((6, 2), expected).double())
    assert torch.equal(found[6:], residual[6:])


def left_out_slope(K, H, g, t, i):
    """The residual of sample i by generalised least squares on the others, written out."""
    others = [j for j in range(len(t)) if j != i]
    A = np.column_stack([H, g])
    inverse = np.linalg.inv(K[np.ix_(others, others)])
    B = A[others]
    b = np.linalg.solve(B.T @ inverse @ B, B.T @ inverse @ t[others])
    a = inverse @ (t[others] - B @ b)
    return K[i, others] @ a + A[i] @ b - t[i]


def test_left_out_residuals_are_those_of_fits_without_each_sample(cheap):
    data = of(high, drawn(20, 1))
    frame = framed(data, QUICK)
    asked = asked_of(data)
    old = _Old.of(cheap, frame)
    for candidate in old.corrected(asked):
        fit_ = candidate.kriging.fit
        K = fit_.kappa(frame.X, frame.X)
        K = (K + fit_.nugget * torch.eye(len(K))).numpy()
        H = fit_.form.trend(frame.X).numpy()
        found = candidate.residual.numpy()
        for j in range(2):
            expected = np.array(
                [
                    left_out_slope(K, H, old.G[:, j].numpy(), old.T[:, j].numpy(), i)
                    for i in range(20)
                ]
            )
            ratio = (found[:, j] @ expected) / (expected @ expected)
            assert 0.99 <= ratio <= 3.01  # what errors grow by where the scales are found anew
            np.testing.assert_allclose(
                found[:, j], ratio * expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max()
            )
    # a + b c_old, by fits without each sample.
    found = old.affine().residual.numpy()
    for j in range(2):
        A = np.column_stack([old.G[:, j], np.ones(20)])
        for i in range(20):
            others = np.arange(20) != i
            b = np.linalg.lstsq(A[others], old.T[others, j].numpy(), rcond=None)[0]
            assert found[i, j] == pytest.approx(A[i] @ b - float(old.T[i, j]), rel=1e-8, abs=1e-12)


def asked_of(data):
    """What a selection of all that is affordable asks for, on this process."""
    kept = []

    def keep(frame, asked, best):
        kept.append(asked)
        return []

    choose(data, Terms(settings=QUICK, processes=1), more=keep)
    return kept[0]


def test_residuals_of_a_fold_are_those_of_the_members(cheap, monkeypatch):
    monkeypatch.setattr("surrogates.training.selection.frame.FOLDED", 30)
    data = of(high, drawn(60, 4), "0.7/0.3/0")
    frame = framed(data, QUICK)
    assert not frame.closed
    old = _Old.of(cheap, frame)
    Y, C = map(torch.from_numpy, data.part("validation"))
    found = [old.itself(), old.affine(), old.shrunk(), *old.corrected(asked_of(data))]
    assert len(found) > 3
    for candidate in found:
        (member,) = candidate.members()
        residual = frame.scaled(member.predict(Y) - C)
        torch.testing.assert_close(candidate.residual, residual, rtol=1e-6, atol=1e-8)


def test_networks_of_folds_start_from_the_old_ones_in_turn(fast):
    _, start, data = fast
    frame = framed(data, QUICK)
    asked = asked_of(data)
    first = start.networks()[0]
    pair = (first, dataclasses.replace(first, W=2 * first.W))
    contest = Contest(
        dataset=data,
        folds=frame.folds,
        judge=Squares(scale=frame.data.scaling.scale, n_seen=2),
        run=asked.each,
        on_progress=asked.on_progress,
        starts=pair,
    )
    settings = replaced(QUICK, {**settings_of(first.features), **INFINITE})
    given = frozenset({"regularisation.alpha1", "regularisation.alpha2"})
    (winner,) = contest.winners(settings, given, asked.effort, math.inf)
    assert winner.name == "old mlp 4, alpha1 1e+10, alpha2 1e+10"
    Y = torch.from_numpy(data.Y)
    for k, result in enumerate(winner.results):
        expected = pair[k % 2].predict(Y)
        torch.testing.assert_close(result.predict(Y), expected, rtol=0, atol=1e-3)


@pytest.mark.thorough
def test_settings_of_another_network_leave_the_old_ones_out(fast):
    _, start, data = fast
    more = of(high, np.concatenate([data.Y, drawn(20, 5)]))
    fixed = trained(
        more,
        settings=replaced(QUICK, {"network.width": 6}),
        given=frozenset({"network.width"}),
        start=start,
    )
    names = {one.name for one in fixed.tried if one.name.startswith("old")}
    assert names and not any("mlp" in name for name in names)
    network = trained(more, settings=FAST, given=frozenset({"network.kind"}), start=start)
    assert {one.name for one in network.tried} >= {"old mlp 4, alpha1 1e-03, alpha2 1e-04"}
    assert not any("rbf" in one.name or one.name == "old" for one in network.tried)


def test_a_chain_of_fidelities_remembers_all_samples(cheap, tmp_path):
    data = of(high, drawn(15, 1))
    start = started(trained(data, start=cheap), data, tmp_path)
    assert len(start.seen) == len(cheap.seen) + 15
    third = of(lambda Y: high(Y) + Y[:, :1], drawn(12, 2))
    found = trained(third, start=start)
    assert found.reason.startswith("old")
    assert error(found, lambda Y: high(Y) + Y[:, :1]).max() < 0.01
