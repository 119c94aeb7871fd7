"""One training that starts from the weights in a surrogate file, and what that file holds."""

import dataclasses

import numpy as np
import pytest
import torch
from draws import classes, dataset, labelled, normal
from fidelities import FAST, INFINITE, QUICK, drawn, error, high, low, of, saved, started, trained
from torch.nn.utils import parameters_to_vector

from surrogates.config import replaced
from surrogates.errors import InputError
from surrogates.model import describe
from surrogates.model import file as export
from surrogates.model.networks import MLP, AntisymmetricODE, ResNet
from surrogates.model.parts import Logs
from surrogates.model.radial import AnovaBasis, Joined, Monomials, RadialBasis
from surrogates.training.config import (
    Derivatives,
    Network,
    Regularisation,
    Stopping,
    TrainConfig,
)
from surrogates.training.deploy import alone
from surrogates.training.fit import fit
from surrogates.training.initial import settings_of
from surrogates.training.member import Member
from surrogates.training.outer.multilevel import Reason
from surrogates.training.selection import kernel
from surrogates.training.train import train
from surrogates.training.weights import Start, checksums, packed

pytestmark = pytest.mark.usefixtures("small_networks")


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


def test_a_file_gives_back_weights_by_output(fast, tmp_path):
    found, _, data = fast
    before = members(len(data.info.y_names))
    shares = torch.from_numpy(np.random.default_rng(3).dirichlet(np.ones(len(before)), 2)).T
    before = [
        dataclasses.replace(member, weight=float(share.mean()), weights=share)
        for member, share in zip(before, shares, strict=True)
    ]
    about = describe.metadata(data, training=found.training, errors=found.errors)
    path, seen = tmp_path / "own.pt", checksums(data, data.rows_of("train"))
    export.save(found.surrogate, about, path, packed(before, seen, torch.zeros(2).double()))
    start = Start.read(path)
    assert all(
        torch.equal(a.weights, b.weights) for a, b in zip(before, start.members, strict=True)
    )
    assert [a.weight for a in start.members] == pytest.approx([a.weight for a in before])
    Y = normal(7, len(data.info.y_names), seed=5)
    mean = sum(a * member.predict(Y) for a, member in zip(shares, before, strict=True))
    torch.testing.assert_close(start.whole().predict(Y), mean, rtol=1e-13, atol=1e-13)
    short = [dataclasses.replace(member, weights=member.weights[:1]) for member in before]
    export.save(found.surrogate, about, path, packed(short, seen, torch.zeros(2).double()))
    with pytest.raises(InputError, match="damaged"):
        Start.read(path)


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


@pytest.mark.thorough
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


@pytest.mark.parametrize("kind", ["tangents", "directions", "adjoints"])
@pytest.mark.parametrize("old_has", [False, True])
def test_a_training_from_another_takes_the_new_samples_derivatives(tmp_path, kind, old_has):
    """Ten new samples of a function that differs: their derivatives tell more than their values."""
    A = normal(4, 3, seed=5).numpy()

    def sampled(n, seed, shift, kind):
        Y = np.random.default_rng(seed).uniform(-1, 1, (n, 3))
        made = dataset(Y, np.sin(Y @ A.T + shift), "0.8/0.2/0")
        J = np.cos(Y @ A.T + shift)[:, :, None] * A
        if kind == "tangents":
            return dataclasses.replace(made, dC_dY=J)
        if kind == "adjoints":
            info = dataclasses.replace(made.info, functionals=np.eye(4)[:3], c_scale=np.ones(4))
            return dataclasses.replace(made, info=info, dW_dY=J[:, :3])
        V = np.random.default_rng(seed + 1).standard_normal((n, 2, 3))
        info = dataclasses.replace(made.info, directions=2)
        return dataclasses.replace(made, info=info, directions=V, dC_dV=J @ V.transpose(0, 2, 1))

    settings = TrainConfig(network=Network(width=6), stopping=Stopping(work_units=300))
    before = sampled(60, 0, 0.0, "tangents")
    before = before if old_has else dataclasses.replace(before, dC_dY=None)
    first = train(before, settings, effort="fast")
    assert ("derivatives" in first.training) == old_has
    start = started(first, before, tmp_path)
    few, Y = sampled(10, 7, 0.6, kind), np.random.default_rng(9).uniform(-1, 1, (500, 3))
    errors = []
    for weight in (None, 0.0):
        own = dataclasses.replace(settings, derivatives=Derivatives(weight=weight))
        found = train(few, own, effort="fast", start=start)
        assert ("derivatives" in found.training) == (weight is None)
        errors.append(
            np.linalg.norm(found.surrogate(torch.from_numpy(Y)).numpy() - np.sin(Y @ A.T + 0.6))
        )
    assert errors[0] < 0.9 * errors[1]
