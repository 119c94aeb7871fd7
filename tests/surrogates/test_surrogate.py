from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from surrogates.networks import AntisymmetricODE
from surrogates.surrogate import ErrorSummary, Surrogate, evaluate, relative_errors

N_IN, N_OUT = 4, 6
METHODS = ("forward", "jacobian", "jvp", "vjp", "in_domain")


def call(module, method, y, cotangent):
    extra = {"jvp": (y,), "vjp": (cotangent,)}.get(method, ())
    return getattr(module, method)(y, *extra)


def parts(**changes):
    good = {
        "features": AntisymmetricODE(2, 3, generator=torch.Generator().manual_seed(0)),
        "W": torch.ones(5, 4),
        "y_shift": torch.zeros(2),
        "y_scale": torch.ones(2),
        "lower": torch.zeros(2),
        "upper": torch.ones(2),
    }
    return {**good, **changes}


def test_is_the_documented_formula(surrogate, Y):
    F = surrogate.features((Y - surrogate.y_shift) / surrogate.y_scale)
    expected = torch.cat([F, torch.ones(len(Y), 1)], dim=1) @ surrogate.W.T
    torch.testing.assert_close(surrogate(Y), expected, rtol=1e-14, atol=1e-14)


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
    }
    for method, shape in shapes.items():
        batch = call(surrogate, method, Y, w)
        single = call(surrogate, method, Y[0], w[0])
        assert batch.shape == (n, *shape) and single.shape == shape
        assert batch.dtype == (torch.bool if method == "in_domain" else torch.float64)
        torch.testing.assert_close(batch[0], single, rtol=1e-13, atol=1e-13)


def test_an_empty_batch_gives_an_empty_result(surrogate):
    nothing = torch.empty(0, N_IN)
    assert surrogate(nothing).shape == (0, N_OUT)
    assert surrogate.jacobian(nothing).shape == (0, N_OUT, N_IN)


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
    v *= surrogate.y_scale
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


def test_a_frozen_input_has_a_gradient_and_the_constants_have_none(surrogate, Y):
    assert not surrogate(Y).requires_grad
    y = Y[0].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(surrogate(y).sum(), y)
    torch.testing.assert_close(gradient, surrogate.vjp(y.detach(), torch.ones(N_OUT)))


def test_the_parts_are_copied(Y):
    features = AntisymmetricODE(N_IN, 5, generator=torch.Generator().manual_seed(0))
    W = np.ones((2, 6))
    box = np.ones(N_IN)
    made = Surrogate(features, W, 0 * box, box, -box, box)
    before = made(Y)
    with torch.no_grad():
        features.K_in.zero_()
    W[:] = 0
    assert torch.equal(made(Y), before)
    assert features.K_in.requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"W": torch.ones(5, 3)}, "expected W of shape (n_out, 4); got (5, 3)"),
        ({"W": torch.ones(4)}, "expected W of shape"),
        ({"W": torch.full((5, 4), math.nan)}, "expected finite values in W"),
        ({"y_shift": torch.ones(3)}, "expected y_shift of shape (2,); got (3,)"),
        ({"lower": torch.ones(1)}, "expected lower of shape (2,); got (1,)"),
        ({"y_scale": torch.tensor([1.0, 0.0])}, "expected y_scale > 0; the least is 0"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, message):
    Surrogate(**parts())
    with pytest.raises(ValueError, match=re.escape(message)):
        Surrogate(**parts(**change))


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
    ],
)
def test_sizes_that_do_not_fit_are_one_clear_line(surrogate, method, shapes, message):
    arguments = [torch.ones(shape) for shape in shapes]
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        getattr(surrogate, method)(*arguments)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(torch.jit.Error) as scripted:
        getattr(torch.jit.script(surrogate), method)(*arguments)
    assert str(scripted.value).strip().splitlines()[-1].endswith(message)


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
    found = evaluate(surrogate, Y, C, mean=mean, batch=3)
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
