from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm

from surrogates.model.metrics import evaluate, relative_errors
from surrogates.model.networks import AntisymmetricODE
from surrogates.model.parts import Domain, ErrorBars
from surrogates.model.summaries import LEVELS, ErrorSummary
from surrogates.model.surrogate import Surrogate

N_IN, N_OUT = 4, 6
METHODS = ("forward", "jacobian", "jvp", "vjp", "in_domain", "predict_std")


def call(module, method, y, cotangent):
    extra = {"jvp": (y,), "vjp": (cotangent,)}.get(method, ())
    return getattr(module, method)(y, *extra)


@pytest.fixture(params=["fused", "unfused"])
def surrogate(request, parts, convolution):
    changes = {} if request.param == "fused" else {"features": convolution}
    return Surrogate(**{**parts, **changes})


def flat_domain(sums_to_one: bool) -> Domain:
    """That of ten thousand draws from the simplex in N_IN dimensions, or from a box."""
    Y = np.random.default_rng(0).random((10_000, N_IN))
    return Domain.of(Y / Y.sum(axis=1, keepdims=True) if sums_to_one else Y)


def test_is_the_documented_formula(parts, Y):
    p = parts
    F = p["features"]((Y - p["y_shift"]) / p["y_scale"]).detach()
    expected = torch.cat([F, torch.ones(len(Y), 1)], dim=1) @ p["W"].T
    surrogate = Surrogate(**p)
    torch.testing.assert_close(surrogate(Y), expected, rtol=1e-13, atol=1e-13)
    bars = p["error_bars"]
    z = torch.cat([F, torch.ones(len(Y), 1)], dim=1)
    variance = bars.floor + (z @ bars.leverage.T).square().sum(dim=1)
    expected = variance.sqrt()[:, None] * bars.sigma
    torch.testing.assert_close(surrogate.predict_std(Y), expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("n", [1, 7])
def test_one_sample_and_a_batch_agree_in_shape_and_value(surrogate, Y, n):
    Y = Y[:n]
    w = torch.ones(n, N_OUT, dtype=torch.float64)
    shapes = {
        "forward": (N_OUT,),
        "jacobian": (N_OUT, N_IN),
        "jvp": (N_OUT,),
        "vjp": (N_IN,),
        "in_domain": (),
        "predict_std": (N_OUT,),
    }
    for method, shape in shapes.items():
        batch = call(surrogate, method, Y, w)
        single = call(surrogate, method, Y[0], w[0])
        assert batch.shape == (n, *shape) and single.shape == shape
        assert batch.dtype == (torch.bool if method == "in_domain" else torch.float64)
        torch.testing.assert_close(batch[0], single, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64, torch.int32])
def test_other_types_of_numbers_become_double(surrogate, dtype):
    y = torch.tensor([1, 10, -3, 2], dtype=dtype)
    assert surrogate(y).dtype == torch.float64
    assert torch.equal(surrogate(y), surrogate(y.to(torch.float64)))


def test_jacobian_is_that_of_automatic_differentiation(surrogate, Y):
    expected = torch.func.vmap(torch.func.jacrev(surrogate.forward))(Y)
    torch.testing.assert_close(surrogate.jacobian(Y), expected, rtol=1e-12, atol=1e-14)


def test_jvp_is_of_second_order_in_a_taylor_test(surrogate, Y):
    v = torch.randn(Y.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    v *= surrogate.unit
    c, tangent = surrogate(Y), surrogate.jvp(Y, v)
    steps = [2.0**-k for k in range(3, 14)]
    remainders = [float((surrogate(Y + h * v) - c - h * tangent).norm()) for h in steps]
    above = [r for r in remainders if r > 1e-11]
    orders = [math.log2(a / b) for a, b in zip(above, above[1:], strict=False)]
    assert len(orders) >= 4 and min(orders[-4:]) > 1.8


def test_jvp_and_vjp_are_adjoint_and_those_of_the_jacobian(surrogate, Y):
    generator = torch.Generator().manual_seed(3)
    v = torch.randn(Y.shape, generator=generator, dtype=torch.float64)
    w = torch.randn(len(Y), N_OUT, generator=generator, dtype=torch.float64)
    J, Jv, Jtw = surrogate.jacobian(Y), surrogate.jvp(Y, v), surrogate.vjp(Y, w)
    gap = (Jv * w).sum() - (v * Jtw).sum()
    assert abs(gap) <= 1e-12 * Jv.norm() * w.norm()
    torch.testing.assert_close(Jv, torch.einsum("noi,ni->no", J, v), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(Jtw, torch.einsum("noi,no->ni", J, w), rtol=1e-12, atol=1e-13)


def test_domain_is_the_closed_training_box(surrogate):
    lower, upper = surrogate.lower, surrogate.upper
    width = upper - lower
    corners = torch.stack([lower, upper, lower - 1e-12 * width, lower + width / 2])
    assert surrogate.in_domain(corners).all()
    for i in range(N_IN):
        outside = corners.clone()
        outside[0, i] -= 1e-6 * width[i]
        outside[1, i] += 1e-6 * width[i]
        outside[2, i] = math.nan
        assert surrogate.in_domain(outside).tolist() == [False, False, False, True]


def test_domain_is_the_flat_that_the_samples_fill_where_they_fill_less_than_the_box(parts):
    on_simplex, in_box = (
        Surrogate(**{**parts, "domain": flat_domain(flat)}) for flat in (True, False)
    )
    assert on_simplex.normals.shape == (1, N_IN) and in_box.normals.shape == (0, N_IN)
    y = torch.tensor([0.2, 0.3, 0.1, 0.4])
    off = y + torch.tensor([0.01, 0.0, 0.0, 0.0])
    assert on_simplex.in_domain(y) and not on_simplex.in_domain(off)  # y is in single precision
    assert in_box.in_domain(y) and in_box.in_domain(off)
    distance = on_simplex.squared_distance(torch.stack([y, off]).double()).sqrt()
    assert distance[0] < 1e-4 < 0.01 < distance[1]


def test_few_samples_make_no_flat_and_a_constant_input_has_a_unit():
    Y = np.random.default_rng(0).random((3, 5))
    Y[:, 1] = 20.0
    Y[:, 3] = 0.0
    domain = Domain.of(Y)
    assert domain.normals.shape == (0, 5)
    assert domain.unit[1] == 20 and domain.unit[3] == 1
    flat = Domain.of(np.repeat(Y, 4, axis=0)).normals
    assert flat.shape == (3, 5)
    assert np.allclose(flat @ ((Y - Y.mean(axis=0)) / domain.unit).T, 0, atol=1e-9)


def test_many_samples_take_no_more_memory_than_they_are():
    Y = np.random.default_rng(0).random((200_000, 3))  # left singular vectors would be 298 GiB
    domain = Domain.of(Y)
    assert domain.normals.shape == (0, 3) and np.allclose(domain.centre, 0.5, atol=0.01)


def test_error_bars_grow_out_of_the_domain_and_are_unknown_without_any(surrogate, parts, Y):
    inside = surrogate.predict_std(Y)
    for i in range(N_IN):
        away = Y.clone()
        away[:, i] = surrogate.upper[i] + 50 * surrogate.unit[i]
        assert (surrogate.predict_std(away) > 10 * inside.max(dim=0).values).all()
    unknown = Surrogate(**{**parts, "error_bars": None})
    assert unknown.predict_std(Y).isnan().all() and unknown.predict_std(Y).shape == (7, N_OUT)


def test_a_frozen_input_has_a_gradient_and_the_constants_have_none(surrogate, Y):
    assert not surrogate(Y).requires_grad
    y = Y[0].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(surrogate(y).sum(), y)
    torch.testing.assert_close(gradient, surrogate.vjp(y.detach(), torch.ones(N_OUT)))


def test_the_parts_are_copied(parts, Y):
    features = AntisymmetricODE(N_IN, 5, generator=torch.Generator().manual_seed(0))
    W = np.ones((2, 6))
    made = Surrogate(features, W, np.zeros(N_IN), np.ones(N_IN), parts["domain"])
    before = made(Y)
    with torch.no_grad():
        features.K_in.zero_()
    W[:] = 0
    assert torch.equal(made(Y), before)
    assert features.K_in.requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"W": torch.ones(6, 3)}, "expected W of shape (n_out, 6); got (6, 3)"),
        ({"W": torch.ones(4)}, "expected W of shape (n_out, 6); got (4,)"),
        ({"W": torch.full((6, 6), math.nan)}, "expected finite values in W"),
        ({"y_shift": torch.ones(3)}, "expected y_shift of shape (4,); got (3,)"),
        ({"y_scale": torch.tensor([1.0, 0.0, 1.0, 1.0])}, "expected y_scale > 0; the least is 0"),
        ({"lower": np.ones(1)}, "expected lower of shape (4,); got (1,)"),
        ({"unit": np.zeros(4)}, "expected unit > 0; the least is 0"),
        ({"normals": np.ones((1, 3))}, "expected normals of shape (1, 4); got (1, 3)"),
        (
            {"error_bars": ErrorBars(leverage=np.ones((6, 6)), floor=1.0, sigma=np.ones(5))},
            "expected sigma of shape (6,); got (5,)",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, change, message):
    (name, value) = next(iter(change.items()))
    if hasattr(parts["domain"], name):
        change = {"domain": replace(parts["domain"], **{name: value})}
    with pytest.raises(ValueError, match=re.escape(message)):
        Surrogate(**{**parts, **change})


@pytest.mark.parametrize(
    ("method", "shapes", "message"),
    [
        ("forward", [(5,)], "expected y of shape (4,) or (n, 4); got [5]"),
        ("forward", [(2, 3)], "expected y of shape (4,) or (n, 4); got [2, 3]"),
        ("forward", [()], "expected y of shape (4,) or (n, 4); got []"),
        ("jacobian", [(1, 2, 4)], "expected y of shape (4,) or (n, 4); got [1, 2, 4]"),
        ("in_domain", [(3,)], "expected y of shape (4,) or (n, 4); got [3]"),
        ("jvp", [(4,), (3,)], "expected v of shape (4,) or (n, 4); got [3]"),
        ("jvp", [(7, 4), (4,)], "expected v for each y, of shape [7, 4]; got [4]"),
        ("vjp", [(4,), (4,)], "expected w of shape (6,) or (n, 6); got [4]"),
        ("vjp", [(2, 4), (3, 6)], "expected w for each y, of shape [2, 4]; got [3, 6]"),
        ("predict_std", [(0, 4)], "expected y of at least one sample; got [0, 4]"),
        ("jacobian", [(0, 4)], "expected y of at least one sample; got [0, 4]"),
    ],
)
def test_sizes_that_do_not_fit_are_one_clear_line(surrogate, method, shapes, message):
    refused(surrogate, method, [torch.ones(shape) for shape in shapes], message)


def test_other_devices_and_complex_numbers_are_one_clear_line(surrogate):
    there, y = torch.ones(N_IN, device="meta"), torch.ones(N_IN)
    refused(surrogate, "forward", [there], "expected y on cpu; got meta")
    refused(surrogate, "jvp", [y, there], "expected v on cpu; got meta")
    refused(surrogate, "forward", [y.to(torch.complex128)], "expected real numbers in y")


def refused(surrogate, method, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        getattr(surrogate, method)(*arguments)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(torch.jit.Error) as scripted:
        getattr(torch.jit.script(surrogate), method)(*arguments)
    assert message in str(scripted.value).strip().splitlines()[-1]


def test_scripted_equals_eager(surrogate, Y):
    scripted = torch.jit.script(surrogate)
    w = torch.ones(len(Y), N_OUT)
    for method in METHODS:
        for rows in (slice(None), 0):
            expected = call(surrogate, method, Y[rows], w[rows])
            for _ in range(3):  # torch compiles anew after the first calls
                found = call(scripted, method, Y[rows], w[rows])
                torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


def test_frozen_equals_eager(surrogate, Y):
    scripted = torch.jit.script(surrogate)
    frozen = torch.jit.freeze(scripted, preserved_attrs=list(METHODS[1:]))
    w = torch.ones(len(Y), N_OUT)
    for method in METHODS:
        expected = call(surrogate, method, Y, w)
        for _ in range(3):
            torch.testing.assert_close(call(frozen, method, Y, w), expected, rtol=1e-13, atol=1e-13)


def test_relative_errors_are_row_by_row():
    C = torch.tensor([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]])
    prediction = torch.tensor([[3.0, 6.5], [2.0, 2.0], [0.0, 1.0]])
    assert relative_errors(prediction, C).tolist() == [0.5, 1.0, math.inf]
    with pytest.raises(ValueError, match=r"one shape \(n, n_out\); got \(3, 2\) and \(3, 1\)"):
        relative_errors(prediction, C[:, :1])
    with pytest.raises(ValueError, match="one shape"):
        relative_errors(C[0], C[0])


def test_evaluation_in_batches_is_that_of_numpy(surrogate, Y):
    C = surrogate(Y) * torch.linspace(0.9, 1.2, N_OUT)
    mean = C.mean(dim=0) + 0.1
    found = evaluate(surrogate, Y, C, mean=mean, predict_std=surrogate.predict_std, batch=3)
    p, c, m = surrogate(Y).numpy(), C.numpy(), mean.numpy()
    errors = np.linalg.norm(p - c, axis=1) / np.linalg.norm(c, axis=1)
    centred = np.linalg.norm(p - c, axis=1) / np.linalg.norm(c - m, axis=1)
    for summary, expected in ((found.relative, errors), (found.centred, centred)):
        values = (summary.mean, summary.std, summary.min, summary.max)
        expected = (expected.mean(), expected.std(), expected.min(), expected.max())
        np.testing.assert_allclose(values, expected, rtol=1e-12)
    rms = np.sqrt(((p - c) ** 2).mean(axis=0))
    np.testing.assert_allclose(found.output_rms, rms, rtol=1e-12)
    relative = rms / np.sqrt((c**2).mean(axis=0))
    np.testing.assert_allclose(found.output_relative, relative, rtol=1e-12)
    assert found.samples == len(Y)
    sizes = np.abs(p - c) / surrogate.predict_std(Y).numpy()
    covered = [(sizes <= norm.ppf(0.5 + level / 2)).mean() for level in LEVELS]
    np.testing.assert_allclose(found.coverage, covered, rtol=1e-12)
    assert 0 < found.coverage[0] < found.coverage[-1] < 1
    assert evaluate(surrogate, Y, C, mean=mean).coverage == ()


def test_evaluation_refuses_what_does_not_fit(surrogate, Y):
    C, mean = surrogate(Y), torch.zeros(N_OUT)
    with pytest.raises(ValueError, match="at least 1; got 0 and 0"):
        evaluate(surrogate, Y[:0], C[:0], mean=mean)
    with pytest.raises(ValueError, match="got 7 and 6"):
        evaluate(surrogate, Y, C[:-1], mean=mean)
    with pytest.raises(ValueError, match="one shape"):
        evaluate(surrogate, Y, C[:, :2], mean=mean)


def test_summary_reads_in_per_cent_and_knows_one_sample():
    one = ErrorSummary.of(torch.tensor([0.0123], dtype=torch.float64))
    assert one.std == 0
    assert str(one) == "mean 1.230 %, std 0.000 %, min 1.230 %, max 1.230 %"
