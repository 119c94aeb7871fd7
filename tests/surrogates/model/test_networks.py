import math

import numpy as np
import pytest
import torch
from plain import CLASSES
from scipy.integrate import solve_ivp

from surrogates import cli
from surrogates.data import Dataset
from surrogates.model import file as export
from surrogates.model.networks import ACTIVATIONS, AntisymmetricODE

SIGMA = {
    "tanh": np.tanh,
    "softplus": lambda x: np.logaddexp(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
}
every_network = pytest.mark.parametrize("kind", CLASSES)
every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def network(n_in=5, width=4, depth=2, kind="ode", **options):
    """A network all of whose weights, also in time, are rough."""
    net = CLASSES[kind](n_in, width, depth, generator=generator(), **options)
    for parameter in net.parameters():
        parameter.data += 0.5 * torch.randn(
            parameter.shape, generator=generator(1), dtype=torch.float64
        )
    return net


def inputs(net, n=7):
    return torch.randn((n, net.n_in), generator=generator(2), dtype=torch.float64)


def exact(net, y, nodes):
    """The ODE's solution by an independent high-order solver, weights linear between nodes."""
    values = {name: p.detach().numpy() for name, p in net.named_parameters()}
    sigma = SIGMA[net.activation]

    def at(name, t):
        flat = values[name].reshape(len(nodes), -1)
        entries = [np.interp(t, nodes, column) for column in flat.T]
        return np.array(entries).reshape(values[name].shape[1:])

    def rate(t, u):
        A = at("K", t)
        if isinstance(net, AntisymmetricODE):
            A = A - A.T - net.gamma * np.eye(net.width)
        return sigma(A @ u + at("b", t))

    u = sigma(values["K_in"] @ y.numpy() + values["b_in"])
    times = np.unique([*nodes, net.final_time])
    for start, stop in zip(times[:-1], times[1:], strict=True):
        u = solve_ivp(rate, (start, stop), u, rtol=1e-12, atol=1e-13, method="DOP853").y[:, -1]
    return torch.from_numpy(u)


def orders_and_errors(net, nodes, refinements):
    """Observed orders, and errors, of a network and its refinements at one input."""
    Y = inputs(net, 1)
    u = exact(net, Y[0], nodes)
    errors = []
    for _ in range(refinements):
        errors.append(float((net(Y)[0] - u).detach().norm()))
        net = net.refined()
    return [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)], errors


@pytest.mark.parametrize("activation", ["tanh", "softplus"])
def test_rk4_converges_with_order_four_to_an_independent_solution(activation):
    net = network(gamma=0.3, final_time=1.5, activation=activation)
    orders, errors = orders_and_errors(net, np.linspace(0, 1.5, 5), 6)
    assert all(3.9 < order < 4.3 for order in orders[-2:]), (errors, orders)
    assert errors[-1] < 1e-6


@pytest.mark.parametrize("activation", ["tanh", "softplus", "sigmoid"])
def test_layers_of_a_resnet_converge_with_order_one_to_an_independent_solution(activation):
    net = network(depth=3, kind="resnet", final_time=1.5, activation=activation)
    orders, errors = orders_and_errors(net, [0.0, 0.5, 1.0], 9)
    assert all(0.9 < order < 1.3 for order in orders[-2:]), (errors, orders)
    assert errors[-1] < 5e-3


@every_activation
@pytest.mark.parametrize(("kind", "carry", "step"), [("resnet", 1.0, 0.35), ("mlp", 0.0, 1.0)])
def test_layers_against_the_formula_written_out(kind, carry, step, activation):
    options = {"final_time": 0.7} if kind == "resnet" else {}
    net = network(kind=kind, activation=activation, **options)
    values = {name: p.detach().numpy() for name, p in net.named_parameters()}
    y, sigma = inputs(net, 1)[0], SIGMA[activation]
    u = sigma(values["K_in"] @ y.numpy() + values["b_in"])
    for K, b in zip(values["K"], values["b"], strict=True):
        u = carry * u + step * sigma(K @ u + b)
    torch.testing.assert_close(net(y[None])[0].detach(), torch.from_numpy(u), rtol=0, atol=1e-14)


def test_one_cell_against_the_scheme_written_out():
    net = network(depth=1, gamma=0.2, final_time=0.7)
    y = inputs(net, 1)[0]
    K, b, h = net.K.detach(), net.b.detach(), net.final_time

    def f(node, u):
        return torch.tanh((K[node] - K[node].T - 0.2 * torch.eye(4, dtype=u.dtype)) @ u + b[node])

    u = torch.tanh(net.K_in @ y + net.b_in).detach()
    k1 = f(0, u)
    k2 = f(1, u + h * k1 / 2)
    k3 = f(1, u + h * k2 / 2)
    k4 = f(2, u + h * k3)
    expected = u + h * (k1 + 2 * k2 + 2 * k3 + k4) / 6
    torch.testing.assert_close(net(y[None])[0].detach(), expected, rtol=0, atol=1e-15)


def test_refinement_keeps_the_weights_as_functions_of_time():
    net = network(depth=3)
    fine = net.refined()
    assert (fine.n_cells, fine.width, fine.n_in) == (6, net.width, net.n_in)
    for name in ("K", "b"):
        old, new = getattr(net, name), getattr(fine, name)
        assert torch.equal(new[::2], old)
        torch.testing.assert_close(new[1::2], (old[1:] + old[:-1]) / 2, rtol=0, atol=0)
    assert torch.equal(fine.K_in, net.K_in)
    assert torch.equal(fine.b_in, net.b_in)


def test_refinement_keeps_the_layers_of_a_resnet_and_adds_means_between_them():
    net = network(depth=3, kind="resnet")
    fine = net.refined()
    assert (fine.n_layers, fine.step, fine.final_time) == (6, net.step / 2, net.final_time)
    for name in ("K", "b"):
        old, new = getattr(net, name), getattr(fine, name)
        assert torch.equal(new[::2], old)
        assert torch.equal(new[1::2], torch.stack([*((old[1:] + old[:-1]) / 2), old[-1]]))
    assert torch.equal(fine.K_in, net.K_in)
    assert not hasattr(network(kind="mlp"), "refined")


@every_activation
@every_network
@pytest.mark.parametrize(("n_in", "width", "depth"), [(5, 4, 2), (2, 3, 3), (1, 1, 1)])
def test_sensitivities_against_automatic_differentiation(n_in, width, depth, kind, activation):
    net = network(n_in, width, depth, kind=kind, activation=activation)
    Y = inputs(net)
    names = dict(net.named_parameters())

    def features(z):
        theta = net.parameters_at(z).split([p.numel() for p in names.values()])
        parts = {k: t.view(p.shape) for t, (k, p) in zip(theta, names.items(), strict=True)}
        return torch.func.functional_call(net, parts, (Y,))

    theta = torch.nn.utils.parameters_to_vector(net.parameters()).detach()
    z = net.coordinates(theta)
    with torch.no_grad():
        one = net.sensitivities(Y)
    layers = [(S[..., None] * A[:, None, None]).flatten(2) for S, A in one.layers]
    columns = torch.cat([*layers, one.D], dim=2)
    torch.testing.assert_close(columns, torch.func.jacrev(features)(z), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(one.F, net(Y).detach(), rtol=0, atol=1e-14)
    torch.testing.assert_close(net.coordinates(net.parameters_at(z)), z, rtol=0, atol=1e-15)
    assert float(net.parameters_at(z).norm()) == pytest.approx(float(z.norm()), rel=1e-14)


@pytest.mark.parametrize(
    ("kind", "activation"),
    [
        ("resnet", "softplus"),
        pytest.param("resnet", "tanh", marks=pytest.mark.thorough),
        pytest.param("mlp", "sigmoid", marks=pytest.mark.thorough),
    ],
)
def test_from_the_command_to_the_file_and_its_jacobian(tmp_path, kind, activation):
    rng = np.random.default_rng(0)
    Y = rng.random((120, 3))
    np.savez(tmp_path / "map.npz", Y=Y, C=2 + np.tanh(Y @ rng.normal(size=(3, 5))))
    assert cli.main(["import", f"{tmp_path}/map.npz", "--out", f"{tmp_path}/map.h5"]) == 0
    settings = (
        f"network.kind={kind}",
        f"network.activation={activation}",
        "network.width=4",
        "stopping.work_units=150",
    )
    words = [word for setting in settings for word in ("--set", setting)]
    words += ["--effort", "fast", "--out", f"{tmp_path}/map.pt"]
    assert cli.main(["train", f"{tmp_path}/map.h5", *words]) == 0
    surrogate = export.load(tmp_path / "map.pt")
    written = surrogate.metadata["training"]["settings"]
    assert (written["network"]["kind"], written["network"]["activation"]) == (kind, activation)
    Y, C = Dataset.read(tmp_path / "map.h5").part("test")
    errors = np.linalg.norm(surrogate.predict(Y) - C, axis=1) / np.linalg.norm(C, axis=1)
    assert errors.mean() < 0.02
    y, v = torch.from_numpy(Y), 1e-5 * torch.ones(Y.shape, dtype=torch.float64)
    difference = surrogate.module(y + v) - surrogate.module(y - v)
    torch.testing.assert_close(surrogate.module.jvp(y, 2 * v), difference, rtol=1e-6, atol=1e-12)


def test_start_is_nearly_linear_for_a_small_scale_and_the_same_for_a_seed():
    nets = [AntisymmetricODE(55, 8, 2, scale=1e-3, generator=generator(3)) for _ in range(2)]
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(a, b)
    Y = inputs(nets[0], 50)
    F = nets[0](torch.cat([Y, 2 * Y])).detach()
    assert float((F[50:] - 2 * F[:50]).norm() / F[50:].norm()) < 1e-4
    assert torch.equal(nets[0].K[0], nets[0].K[-1])


@every_network
def test_starting_weights_have_their_sizes(kind):
    net = CLASSES[kind](300, 200, 2, scale=0.5, generator=generator())
    assert float(net.K_in.detach().std()) == pytest.approx(0.5 * math.sqrt(2 / 300), rel=0.02)
    variance = {"ode": 1 / 2, "resnet": 1, "mlp": 2}[kind] / 200  # half of it is antisymmetric
    assert float(net.K[0].detach().std()) == pytest.approx(math.sqrt(variance), rel=0.02)
    assert torch.equal(net.K[0], net.K[1]) == (kind != "mlp")
    assert not net.b_in.any() and not net.b.any()


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        ("ode", {"n_in": 0}),
        ("ode", {"n_cells": 0}),
        ("ode", {"final_time": 0.0}),
        ("ode", {"gamma": -1.0}),
        ("ode", {"scale": math.nan}),
        ("ode", {"activation": "tan"}),
        ("resnet", {"n_layers": 0}),
        ("resnet", {"final_time": math.inf}),
        ("mlp", {"width": 0}),
        ("mlp", {"activation": "linear"}),
    ],
)
def test_arguments_out_of_range(kind, bad):
    with pytest.raises(ValueError, match="expected"):
        CLASSES[kind](**{"n_in": 2, "width": 2, **bad})
