from __future__ import annotations

import pytest
import torch
from derivatives import Features, check_all_methods
from extended import draw
from plain import CLASSES

from surrogates.model import fused
from surrogates.model.networks import ACTIVATIONS

every_network = pytest.mark.parametrize("kind", CLASSES)
every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
every_size = pytest.mark.parametrize(
    ("n_in", "width", "depth"), [(5, 4, 2), (3, 6, 1), (4, 4, 3), (1, 1, 1)]
)


def both(n_in, width, depth, kind, activation):
    """A network with rough weights as a function of unscaled y, and its fused form."""
    net = CLASSES[kind](n_in, width, depth, activation=activation)
    for seed, parameter in enumerate(net.parameters()):
        parameter.data = 0.7 * draw(*parameter.shape, seed=seed)
    shift, scale = draw(n_in, seed=8), 0.3 + draw(n_in, seed=9).abs()
    return lambda y: net((y - shift) / scale), Features(net.fused(shift, scale))


@every_activation
@every_network
@every_size
def test_is_the_network_and_its_derivative(n_in, width, depth, kind, activation):
    net, form = both(n_in, width, depth, kind, activation)
    check_all_methods(net, form, draw(7, n_in))


@every_network
def test_scripted_and_frozen_are_the_network_and_its_derivative(kind):
    net, form = both(5, 4, 3, kind, "tanh")
    scripted = torch.jit.script(form.eval())
    frozen = torch.jit.freeze(scripted, preserved_attrs=["jacobian", "jvp", "vjp", "hvp"])
    for module in (scripted, frozen):
        for _ in range(3):  # torch compiles anew after the first calls
            check_all_methods(net, module, draw(7, 5))


@every_network
def test_one_sample_of_a_network_too_large_for_one_system(kind, monkeypatch):
    net, whole = both(5, 4, 3, kind, "softplus")
    monkeypatch.setattr(fused, "_WHOLE", 11)
    net, parts = both(5, 4, 3, kind, "softplus")
    assert whole.form.whole and not parts.form.whole and parts.form.L.numel() == 0
    check_all_methods(net, parts, draw(7, 5))
    check_all_methods(net, torch.jit.script(parts), draw(7, 5))


@every_activation
@every_network
def test_slopes_where_activations_are_flat_or_steep_or_have_a_kink(kind, activation):
    net = CLASSES[kind](1, 1, 1, activation=activation)
    for parameter in net.parameters():
        parameter.data.fill_(float(parameter is net.K_in))
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    form = Features(net.fused(zero, one))
    Y = torch.tensor([[-700.0], [-36.0], [-1e-9], [0.0], [1e-9], [19.9], [20.1], [39.9], [700.0]])
    check_all_methods(net, form, Y.double())


@every_network
@every_activation
def test_nan_gives_nan_in_every_derivative(kind, activation):
    _, form = both(3, 4, 2, kind, activation)
    Y = draw(5, 3)
    Y[2, 1] = torch.nan
    for scripted in (form, torch.jit.script(form)):
        for values in (
            scripted(Y),
            scripted.jacobian(Y),
            scripted.jvp(Y, Y),
            scripted.vjp(Y, draw(5, 4)),
        ):
            rows = values.isnan().flatten(1)
            assert rows[2].all() and not rows[[0, 1, 3, 4]].any()
        assert scripted.jacobian(Y[2]).isnan().all()
