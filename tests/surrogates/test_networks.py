import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from surrogates.networks import AntisymmetricODE


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def network(n_in=5, width=4, n_cells=2, **options):
    """A network all of whose weights, also in time, are rough."""
    net = AntisymmetricODE(n_in, width, n_cells, generator=generator(), **options)
    for parameter in net.parameters():
        parameter.data += 0.5 * torch.randn(
            parameter.shape, generator=generator(1), dtype=torch.float64
        )
    return net


def inputs(net, n=7):
    return torch.randn((n, net.n_in), generator=generator(2), dtype=torch.float64)


class Both(torch.nn.Module):
    """What an exported surrogate does with a network."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, Y):
        return self.net.forward(Y), self.net.forward_and_jacobian(Y)


def exact(net, y):
    """The ODE's solution by an independent high-order solver, weights linear between nodes."""
    values = {name: p.detach().numpy() for name, p in net.named_parameters()}
    nodes = np.linspace(0, net.final_time, 2 * net.n_cells + 1)

    def at(name, t):
        flat = values[name].reshape(len(nodes), -1)
        entries = [np.interp(t, nodes, column) for column in flat.T]
        return np.array(entries).reshape(values[name].shape[1:])

    def rate(t, u):
        K = at("K", t)
        return np.tanh((K - K.T - net.gamma * np.eye(net.width)) @ u + at("b", t))

    u = np.tanh(values["K_in"] @ y.numpy() + values["b_in"])
    for start, stop in zip(nodes[:-1], nodes[1:], strict=True):
        u = solve_ivp(rate, (start, stop), u, rtol=1e-12, atol=1e-13, method="DOP853").y[:, -1]
    return torch.from_numpy(u)


def test_rk4_converges_with_order_four_to_an_independent_solution():
    net = network(gamma=0.3, final_time=1.5)
    Y = inputs(net, 1)
    u = exact(net, Y[0])
    errors = []
    for _ in range(6):
        errors.append(float((net(Y)[0] - u).detach().norm()))
        net = net.refined()
    orders = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert all(3.9 < order < 4.3 for order in orders[-2:]), (errors, orders)
    assert errors[-1] < 1e-6


def test_one_cell_against_the_scheme_written_out():
    net = network(n_cells=1, gamma=0.2, final_time=0.7)
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
    net = network(n_cells=3)
    fine = net.refined()
    assert (fine.n_cells, fine.width, fine.n_in) == (6, net.width, net.n_in)
    for name in ("K", "b"):
        old, new = getattr(net, name), getattr(fine, name)
        assert torch.equal(new[::2], old)
        torch.testing.assert_close(new[1::2], (old[1:] + old[:-1]) / 2, rtol=0, atol=0)
    assert torch.equal(fine.K_in, net.K_in)
    assert torch.equal(fine.b_in, net.b_in)


@pytest.mark.parametrize(("n_in", "width"), [(5, 4), (3, 6), (4, 4), (1, 1)])
def test_jacobian_against_automatic_differentiation(n_in, width):
    net = network(n_in, width)
    Y = inputs(net)
    F, dF = net.forward_and_jacobian(Y)
    expected = torch.func.vmap(torch.func.jacrev(lambda y: net(y[None])[0]))(Y)
    assert dF.shape == (len(Y), width, n_in)
    torch.testing.assert_close(dF, expected, rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(F, net(Y), rtol=0, atol=1e-15)


@pytest.mark.parametrize(("n_in", "width"), [(5, 4), (3, 6)])
def test_scripted_equals_eager(n_in, width):
    both = Both(network(n_in, width))
    Y = inputs(both.net)
    F, (G, dG) = both(Y)
    for scripted in (torch.jit.script(both), torch.jit.freeze(torch.jit.script(both.eval()))):
        F_scripted, (G_scripted, dG_scripted) = scripted(Y)
        for a, b in ((F, F_scripted), (G, G_scripted), (dG, dG_scripted)):
            torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-14)


def test_start_is_nearly_linear_for_a_small_scale_and_the_same_for_a_seed():
    nets = [AntisymmetricODE(55, 8, 2, scale=1e-3, generator=generator(3)) for _ in range(2)]
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(a, b)
    Y = inputs(nets[0], 50)
    F = nets[0](torch.cat([Y, 2 * Y])).detach()
    assert float((F[50:] - 2 * F[:50]).norm() / F[50:].norm()) < 1e-4
    assert torch.equal(nets[0].K[0], nets[0].K[-1])


@pytest.mark.parametrize(
    "bad", [{"n_in": 0}, {"n_cells": 0}, {"final_time": 0.0}, {"gamma": -1.0}, {"scale": math.nan}]
)
def test_arguments_out_of_range(bad):
    with pytest.raises(ValueError, match="expected"):
        AntisymmetricODE(**{"n_in": 2, "width": 2, **bad})
