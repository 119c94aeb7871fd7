from __future__ import annotations

import pytest
import torch
from derivatives import Features, check_all_methods
from extended import draw, joined

from surrogates.model.forms import Blocks, Unfused, form_of
from surrogates.model.radial import Joined

CENTRED = ("gaussian", "matern52", "anova_gaussian", "anova_matern52")
KINDS = (*CENTRED, "linear", "quadratic", "ode gaussian quadratic resnet matern52 anova_gaussian")
every_kind = pytest.mark.parametrize("kinds", KINDS)


def both(features, n_in):
    """Features as a function of unscaled y, and their form for export."""
    shift, scale = draw(n_in, seed=8), 0.3 + draw(n_in, seed=9).abs()
    return lambda y: features((y - shift) / scale), Features(features.fused(shift, scale))


@every_kind
@pytest.mark.parametrize("n_in", [1, 3])
def test_is_the_features_and_their_derivative(kinds, n_in):
    features, form = both(joined(kinds, n_in), n_in)
    check_all_methods(features, form, draw(7, n_in))


@pytest.mark.parametrize(  # the last is slow with torch 2.6
    "kinds", [*KINDS[:-1], pytest.param(KINDS[-1], marks=pytest.mark.slow)]
)
def test_scripted_and_frozen_are_the_features_and_their_derivative(kinds):
    features, form = both(joined(kinds, 3), 3)
    scripted = torch.jit.script(form.eval())
    frozen = torch.jit.freeze(scripted, preserved_attrs=["jacobian", "jvp", "vjp", "hvp"])
    for module in (scripted, frozen):
        for _ in range(3):  # torch compiles anew after the first calls
            check_all_methods(features, module, draw(7, 3))


@pytest.mark.parametrize("kind", CENTRED)
@pytest.mark.parametrize("script", [False, True])
def test_derivatives_of_torch_of_a_batch_are_right_in_every_order_of_transforms(kind, script):
    """Those of torch.cdist are not."""
    if script:  # torch 2.6 fuses, now and then, and reads what is no storage
        pytest.importorskip("torch", minversion="2.7", reason="its fuser fails under torch.func")
    _, form = both(joined(kind, 3), 3)
    module = torch.jit.script(form) if script else form
    Y = draw(4, 5, 3)
    expected = form.jacobian(Y.view(20, 3)).view(4, 5, -1, 3)
    whole = torch.func.jacrev(torch.func.vmap(module))(Y)
    batches = torch.func.vmap(torch.func.jacrev(module))(Y)
    alone = torch.func.jacrev(module)(Y[0])
    for n in range(5):
        found = torch.stack([whole[m, n, :, m, n] for m in range(4)])
        torch.testing.assert_close(found, expected[:, n], rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(batches[:, n, :, n], expected[:, n], rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(alone[n, :, n], expected[0, n], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", CENTRED[1:3])
def test_many_samples_are_done_in_pieces_of_the_centres(kind):
    features, form = both(joined(kind, 3), 3)
    Y = draw(65536 // 4, 3)
    torch.testing.assert_close(torch.jit.script(form)(Y), features(Y), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", CENTRED)
def test_second_derivatives_are_those_of_the_jacobian(kind):
    _, form = both(joined(kind, 3), 3)
    y = draw(3)
    H = torch.func.jacrev(torch.func.jacrev(form))(y)
    torch.testing.assert_close(H, torch.func.jacrev(form.jacobian)(y), rtol=1e-10, atol=1e-10)
    assert float(H.abs().max()) > 0.1


@pytest.mark.parametrize("kind", CENTRED)
def test_at_a_centre_all_derivatives_of_its_feature_are_zero(kind):
    basis = joined(kind, 3)
    features, form = both(basis, 3)
    shift, scale = draw(3, seed=8), 0.3 + draw(3, seed=9).abs()
    Y = basis.centres[:4] * scale + shift
    # There torch's second derivative of the root in matern52 is wrong.
    check_all_methods(features, form, Y, twice=kind.endswith("gaussian"))
    J = form.jacobian(Y)[range(4), range(4)]
    torch.testing.assert_close(J, torch.zeros_like(J), rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", CENTRED)
def test_at_a_centre_the_second_derivative_is_the_limit(kind):
    """kappa has one there: it is 1 - r^2 / 2 + ..., or 1 - 5 r^2 / 6 + ..."""
    basis = joined(kind, 3)
    _, form = both(basis, 3)
    shift, scale = draw(3, seed=8), 0.3 + draw(3, seed=9).abs()
    y, v, w = basis.centres[2] * scale + shift, draw(3, seed=4), torch.eye(basis.width).double()[2]
    near = y + 1e-7 * draw(3, seed=5)
    found = form.hvp(y, w, v)
    torch.testing.assert_close(found, form.hvp(near, w, v), rtol=1e-5, atol=1e-7)
    assert float(found.abs().max()) > 0.01


@every_kind
def test_nan_gives_nan_in_every_derivative(kinds):
    width = joined(kinds, 3).width
    _, form = both(joined(kinds, 3), 3)
    Y = draw(5, 3)
    Y[2, 1] = torch.nan
    for module in (form, torch.jit.script(form)):
        w = draw(5, width)
        for values in (
            module.jacobian(Y),
            module.jvp(Y, Y),
            module.vjp(Y, w),
            module.hvp(Y, w, draw(5, 3)),
        ):
            rows = values.isnan().flatten(1)
            assert rows[2].all() and not rows[[0, 1, 3, 4]].any()
        assert module(Y)[2].isnan().any() and module.jacobian(Y[2]).isnan().all()


def test_a_part_of_a_users_own_joins_the_others(convolution):
    parts = [joined("gaussian", 4), convolution.double(), joined("quadratic", 4)]
    features = Joined(parts, draw(3, 4), 0.5 + draw(3, 4).abs())
    unscaled, form = both(features, 4)
    assert isinstance(form.form, Blocks) and isinstance(form.form.parts[1], Unfused)
    for module in (form, torch.jit.script(form)):
        check_all_methods(unscaled, module, draw(7, 4), twice=False)


def test_blocks_within_blocks():
    inner = joined("ode linear", 3)
    features = Joined([inner, joined("gaussian", 3)], draw(2, 3), 0.5 + draw(2, 3).abs())
    unscaled, form = both(features, 3)
    check_all_methods(unscaled, form, draw(7, 3))


def test_folding_keeps_the_columns_of_each_feature():
    """Members need it: what one of them weighs must not move to another's features."""
    features = joined("ode gaussian mlp", 3)
    form = form_of(features, torch.zeros(3).double(), torch.ones(3).double())
    W = draw(4, features.width + 1)
    W[:, 2:5] = 0
    folded = form.folded(W)
    assert not folded[:, 2:5].any() and (folded[:, 5:-1] != 0).all()
