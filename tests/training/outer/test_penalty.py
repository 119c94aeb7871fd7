"""The penalty on the parameters, against quadrature of what it stands for."""

import pytest
import torch
from draws import normal
from scipy.integrate import quad
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from surrogates.model.networks import MLP, AntisymmetricODE, ResNet
from surrogates.training.features import Features
from surrogates.training.outer.dense import Structure
from surrogates.training.outer.penalty import Penalty

NETWORKS = {
    "ode": AntisymmetricODE(3, 4, 2, 1.7),
    "resnet": ResNet(3, 4, 5, 1.7),
    "mlp": MLP(3, 4, 2),
}


def drawn(name, seed=0):
    """A network with weights that differ from node to node, and their vector."""
    net = NETWORKS[name].requires_grad_(False)
    theta = normal(len(parameters_to_vector(net.parameters())), seed=seed)
    vector_to_parameters(theta.clone(), net.parameters())
    return net, theta


def by_quadrature(net):
    """alpha1 = 2: ||first layer||^2, and the integral of ||K'||^2 + ||b'||^2 between the nodes."""
    nodes = torch.cat([net.K.flatten(1), net.b], dim=1)
    spacing = net.step / (2 if isinstance(net, AntisymmetricODE) else 1)
    end = spacing * (len(nodes) - 1)

    def at(t):
        j = min(int(t / spacing), len(nodes) - 2)
        return nodes[j] + (t / spacing - j) * (nodes[j + 1] - nodes[j])

    def rate(t, h=1e-6):
        return float(((at(t + h) - at(t - h)) / (2 * h)).square().sum())

    breaks = [spacing * j for j in range(1, len(nodes) - 1)]
    value, _ = quad(rate, 0, end, points=breaks, epsrel=1e-9, limit=200)
    return value + float(net.K_in.square().sum() + net.b_in.square().sum())


@pytest.mark.parametrize("name", ["ode", "resnet"])
def test_smooth_is_the_integral_of_the_weights_rates(name):
    net, theta = drawn(name)
    assert Penalty(net, 2.0, smooth=True).value(theta) == pytest.approx(
        by_quadrature(net), rel=1e-6
    )
    # Weights that are constant in time cost nothing, but for the first layer's.
    with torch.no_grad():
        net.K.copy_(net.K[:1].expand_as(net.K))
        net.b.copy_(net.b[:1].expand_as(net.b))
    first = float(net.K_in.square().sum() + net.b_in.square().sum())
    constant = parameters_to_vector(net.parameters())
    assert Penalty(net, 2.0, smooth=True).value(constant) == pytest.approx(first, rel=1e-12)


@pytest.mark.parametrize("name", ["ode", "resnet", "mlp"])
def test_tikhonov_is_the_norm_of_all(name):
    net, theta = drawn(name)
    penalty = Penalty(net, 0.3, smooth=False)
    assert penalty.value(theta) == pytest.approx(0.15 * float(theta @ theta), rel=1e-14)
    assert torch.equal(penalty.gradient(theta), 0.3 * theta)


def test_refinement_keeps_the_value():
    for name in ("ode", "resnet"):
        net, theta = drawn(name)
        fine = net.refined()
        refined = parameters_to_vector(fine.parameters()).detach()
        values = (
            Penalty(net, 0.3, smooth=True).value(theta),
            Penalty(fine, 0.3, smooth=True).value(refined),
        )
        assert values[1] == pytest.approx(values[0], rel=1e-13)


@pytest.mark.parametrize(
    ("name", "smooth"),
    [("ode", False), ("ode", True), ("resnet", False), ("resnet", True), ("mlp", False)],
)
def test_gradient_and_hessian_are_those_of_the_value(name, smooth):
    net, theta = drawn(name)
    penalty = Penalty(net, 0.3, smooth=smooth)
    gradient = torch.func.grad(penalty.of)(theta)
    torch.testing.assert_close(penalty.gradient(theta), gradient, rtol=1e-13, atol=1e-14)
    structure = Structure(Features(net, normal(2, 3, seed=1)))
    H = torch.zeros((len(structure.coordinates(theta)),) * 2, dtype=torch.float64)
    penalty.add_to(H)
    basis = torch.stack([structure.parameters_at(e) for e in torch.eye(len(H)).double()], dim=1)
    P = torch.func.hessian(penalty.of)(theta)
    torch.testing.assert_close(H, basis.T @ P @ basis, rtol=1e-12, atol=1e-13)
