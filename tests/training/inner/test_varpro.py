"""The inner problem and the reduced Jacobian, against references that share no code with them."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from draws import flat, normal, tall
from hypothesis import given, settings

from surrogates.model.networks import AntisymmetricODE, with_ones
from surrogates.training.features import Features
from surrogates.training.inner.solution import ReducedJacobian
from surrogates.training.inner.varpro import LeastSquaresSolution, solve_path, solve_w
from surrogates.training.outer.dense import Structure, gauss_newton_matrix

N, N_IN, WIDTH, N_OUT = 13, 3, 4, 5


def stacked(Z, C, alpha2, W_ref):
    """A and B of 1/2 ||A W^T - B||^2 = Phi."""
    n, m = Z.shape
    A = torch.cat([Z / math.sqrt(n), math.sqrt(alpha2) * torch.eye(m, dtype=torch.float64)])
    return A, torch.cat([C / math.sqrt(n), math.sqrt(alpha2) * W_ref.T])


def phi(W, Z, C, alpha2, W_ref):
    A, B = stacked(Z, C, alpha2, W_ref)
    return 0.5 * float((A @ W.T - B).square().sum())


# The inner problem


@pytest.mark.parametrize("n", [3, 6, 40])
@pytest.mark.parametrize("alpha2", [1e-10, 1e-3, 10.0])
@pytest.mark.parametrize("reference", [False, True])
def test_solve_w_is_least_squares_on_the_stacked_system(n, alpha2, reference):
    Z = with_ones(normal(n, 5, seed=0))
    C = normal(n, 7, seed=1)
    W_ref = normal(7, 6, seed=2) if reference else torch.zeros((7, 6), dtype=torch.float64)
    A, B = stacked(Z, C, alpha2, W_ref)
    expected = np.linalg.lstsq(A.numpy(), B.numpy(), rcond=None)[0].T
    W = solve_w(Z, C, alpha2, W_ref if reference else None).numpy()
    # Below n_feat + 1 samples the condition number is that of sqrt(alpha2).
    tolerance = 1e-12 if n > 6 else 1e-12 / math.sqrt(alpha2)
    assert np.abs(W - expected).max() <= tolerance * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("n", [3, 40])
def test_a_path_has_the_solution_for_every_alpha2(n):
    Z, C = with_ones(normal(n, 5, seed=0)), normal(n, 7, seed=1)
    Z[:, 1] = Z[:, 0]  # of deficient rank
    alphas = [0.0, 1e-10, 1e-4, 1.0]
    found = solve_path(Z, C, alphas)
    assert len(found) == len(alphas)
    for W, alpha2 in zip(found, alphas, strict=True):
        torch.testing.assert_close(W, solve_w(Z, C, alpha2), rtol=1e-10, atol=1e-10)


def test_solve_w_keeps_the_accuracy_of_a_small_alpha2():
    # Singular values down to 1e-7: the normal equations would have lost half of them.
    Q, _ = torch.linalg.qr(normal(50, 6, seed=0))
    s = torch.logspace(0, -7, 6, dtype=torch.float64)
    V, _ = torch.linalg.qr(normal(6, 6, seed=1))
    Z, W_true = Q * s @ V.T * math.sqrt(50), normal(2, 6, seed=2)
    W = solve_w(Z, Z @ W_true.T, 1e-22)
    assert float((W - W_true).abs().max()) < 1e-7
    shrunk = solve_w(Z, Z @ W_true.T, 1e-10)
    expected = (V * (s**2 / (s**2 + 1e-10))) @ V.T @ W_true.T
    assert float((shrunk.T - expected).abs().max()) < 1e-8


problems = st.fixed_dictionaries(
    {
        "n": st.integers(1, 12),
        "n_feat": st.integers(1, 12),
        "rank": st.integers(0, 12),
        "n_out": st.integers(1, 4),
        "alpha2": st.sampled_from([1e-10, 1e-6, 1e-2, 1.0]),
        "seed": st.integers(0, 10_000),
    }
)


def random_problem(n, n_feat, rank, n_out, alpha2, seed):
    F = normal(n, rank, seed=seed) @ normal(rank, n_feat, seed=seed + 1)
    W_ref = normal(n_out, n_feat + 1, seed=seed + 3)
    return with_ones(F), normal(n, n_out, seed=seed + 2), alpha2, W_ref


@settings(derandomize=True, deadline=None, max_examples=200)
@given(problems)
def test_w_is_stationary(problem):
    Z, C, alpha2, W_ref = random_problem(**problem)
    inner = LeastSquaresSolution.of(Z, C, alpha2, W_ref)
    A, B = stacked(Z, C, alpha2, W_ref)
    gradient = A.T @ (A @ inner.W.T - B)
    size = float(torch.linalg.matrix_norm(A)) * (1 + float(torch.linalg.matrix_norm(B)))
    assert float(gradient.abs().max()) <= 1e-12 * size * (1 + float(inner.W.abs().max()))
    # What is told beside W is that of W.
    assert (
        float(((A @ inner.W.T - B).reshape(-1) - flat(inner.residual)).abs().max()) <= 1e-11 * size
    )
    assert inner.phi == pytest.approx(phi(inner.W, Z, C, alpha2, W_ref), rel=1e-8, abs=1e-20)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(problems, st.floats(-6, 2))
def test_no_other_w_is_better(problem, exponent):
    Z, C, alpha2, W_ref = random_problem(**problem)
    inner = LeastSquaresSolution.of(Z, C, alpha2, W_ref)
    other = inner.W + 10**exponent * normal(*inner.W.shape, seed=problem["seed"] + 4)
    assert inner.phi <= phi(other, Z, C, alpha2, W_ref) * (1 + 1e-10) + 1e-20


@settings(derandomize=True, deadline=None, max_examples=50)
@given(problems)
def test_w_does_not_depend_on_the_order_of_samples(problem):
    Z, C, alpha2, W_ref = random_problem(**problem)
    order = torch.randperm(len(Z), generator=torch.Generator().manual_seed(problem["seed"]))
    W, permuted = solve_w(Z, C, alpha2, W_ref), solve_w(Z[order], C[order], alpha2, W_ref)
    assert float((Z @ (W - permuted).T).abs().max()) <= 1e-8 * (1 + float(C.abs().max()))


def test_the_part_of_the_reference_that_no_sample_sees_is_kept():
    Z, W_ref = with_ones(normal(3, 7, seed=0)), normal(2, 8, seed=1)
    W = solve_w(Z, normal(3, 2, seed=2), 0.5, W_ref)
    _, _, Vh = torch.linalg.svd(Z)
    unseen = Vh[3:]
    assert float(((W - W_ref) @ unseen.T).abs().max()) < 1e-13
    assert float((W - W_ref).abs().max()) > 0.1


def test_alpha2_of_zero_gives_the_solution_nearest_to_the_reference():
    Z, C = with_ones(normal(3, 7, seed=0)), normal(3, 2, seed=1)
    assert np.allclose(solve_w(Z, C, 0.0).T, np.linalg.lstsq(Z, C, rcond=None)[0], atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Z": torch.ones(4, 3, dtype=torch.float32)}, "float64"),
        ({"Z": torch.full((4, 3), math.nan, dtype=torch.float64)}, "finite"),
        ({"C": torch.full((4, 2), math.inf, dtype=torch.float64)}, "finite"),
        ({"C": torch.ones(5, 2, dtype=torch.float64)}, "got .4, 3. and .5, 2."),
        ({"C": torch.ones(4, dtype=torch.float64)}, "expected Z"),
        ({"Z": torch.ones(0, 3, dtype=torch.float64), "C": torch.ones(0, 2)}, "expected Z"),
        ({"W_ref": torch.ones(3, 2, dtype=torch.float64)}, "expected W_ref .2, 3."),
        ({"alpha2": -1.0}, "alpha2 >= 0"),
        ({"alpha2": math.nan}, "alpha2 >= 0"),
    ],
)
def test_solve_w_refuses(change, message):
    good = {"Z": normal(4, 3, seed=0), "C": normal(4, 2, seed=1), "alpha2": 1.0}
    with pytest.raises(ValueError, match=message):
        solve_w(**{**good, **change})


# The reduced Jacobian


def setting(*, n=N, chunk=8192, n_cells=1):
    generator = torch.Generator().manual_seed(7)
    module = AntisymmetricODE(N_IN, WIDTH, n_cells, generator=generator)
    features = Features(module, normal(n, N_IN, seed=8), chunk)
    C = 3 + normal(n, N_OUT, seed=9)
    theta = 0.7 * normal(features.n_theta, seed=10)
    return features, C, theta


def operator(features, C, theta, alpha2):
    dF = features.jacobian(theta)
    inner = LeastSquaresSolution.of(with_ones(dF.F), C, alpha2)
    return ReducedJacobian(dF, inner), inner


def named(features, theta):
    shapes = {name: p.shape for name, p in features.module.named_parameters()}
    pieces = theta.split([shape.numel() for shape in shapes.values()])
    return {n: p.view(s) for (n, s), p in zip(shapes.items(), pieces, strict=True)}


def reduced_residual(features, C, alpha2):
    """Theta -> r(theta, W(theta)) with a full-rank inner solve that torch.func differentiates."""

    def residual(theta):
        F = torch.func.functional_call(features.module, named(features, theta), (features.Y,))
        A, B = stacked(with_ones(F), C, alpha2, C.new_zeros((C.shape[1], F.shape[1] + 1)))
        Q, R = torch.linalg.qr(A)
        X = torch.linalg.solve_triangular(R, Q.T @ B, upper=True)
        return (A @ X - B).reshape(-1)

    return residual


# With 3 samples for 5 columns only alpha2 gives the inner problem full rank.
@pytest.mark.parametrize(("n", "alpha2"), [(N, 0.0), (N, 1e-10), (N, 1e-2), (3, 1e-2)])
def test_reduced_jacobian_is_that_of_torch_func(n, alpha2):
    features, C, theta = setting(n=n)
    J, inner = operator(features, C, theta, alpha2)
    residual = reduced_residual(features, C, alpha2)
    reference = torch.func.jacrev(residual)(theta)
    dense = torch.stack([flat(J @ v) for v in torch.eye(len(theta), dtype=torch.float64)], dim=1)
    assert J.shape == reference.shape and J.T.shape == J.shape[::-1] and J.T.T is J
    assert float((flat(inner.residual) - residual(theta)).abs().max()) < 1e-11
    assert float((dense - reference).abs().max()) < 1e-9 * float(reference.abs().max())
    # The implicit term is there: without it the error would be of order one.
    frozen = torch.func.jacrev(
        lambda theta: (
            with_ones(
                torch.func.functional_call(features.module, named(features, theta), (features.Y,))
            )
            @ inner.W.T
            / math.sqrt(n)
        )
    )(theta)
    size = float(reference[: n * N_OUT].abs().max())
    assert float((frozen.reshape(n * N_OUT, -1) - dense[: n * N_OUT]).abs().max()) > 1e-2 * size


@pytest.mark.parametrize("alpha2", [0.0, 1e-10, 1e-2])
@pytest.mark.parametrize("chunk", [8192, 4])
def test_transpose_is_the_adjoint(alpha2, chunk):
    features, C, theta = setting(chunk=chunk)
    J, _ = operator(features, C, theta, alpha2)
    for seed in range(5):
        v, w = normal(J.shape[1], seed=seed), normal(J.shape[0], seed=100 + seed)
        Jv = flat(J @ v)
        gap = abs(float(Jv @ w - v @ (J.T @ tall(w, WIDTH + 1, N_OUT))))
        assert gap <= 1e-12 * float(torch.linalg.vector_norm(Jv) * torch.linalg.vector_norm(w))


@pytest.mark.parametrize("alpha2", [0.0, 1e-10, 1e-2])
def test_gram_is_the_product_of_the_two(alpha2):
    features, C, theta = setting()
    J, _ = operator(features, C, theta, alpha2)
    v = normal(J.shape[1], seed=0)
    expected = J.T @ (J @ v)
    assert float((J.gram(v) - expected).abs().max()) <= 1e-11 * float(expected.abs().max())


@pytest.mark.parametrize("alpha2", [1e-10, 1e-2])
def test_gradient_is_that_of_phi(alpha2):
    features, C, theta = setting()
    J, inner = operator(features, C, theta, alpha2)
    residual = reduced_residual(features, C, alpha2)
    expected = torch.func.grad(lambda theta: 0.5 * residual(theta).square().sum())(theta)
    size = float(expected.abs().max())
    assert float((J.gradient - expected).abs().max()) <= 1e-10 * size
    assert float((J.T @ inner.residual - expected).abs().max()) <= 1e-9 * size


def test_chunks_change_nothing_but_rounding():
    whole, C, theta = setting()
    parts, _, _ = setting(chunk=4)
    (J, _), (K, _) = (operator(features, C, theta, 1e-10) for features in (whole, parts))
    v, r = normal(J.shape[1], seed=0), tall(normal(J.shape[0], seed=1), WIDTH + 1, N_OUT)
    products = ((flat(J @ v), flat(K @ v)), (J.T @ r, K.T @ r), (J.gram(v), K.gram(v)))
    for a, b in products:
        assert float((a - b).abs().max()) <= 1e-11 * float(a.abs().max())
    assert torch.allclose(whole(theta), parts(theta), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("alpha2", [0.0, 1e-2])
def test_taylor(alpha2):
    features, C, theta = setting(n_cells=2)
    J, inner = operator(features, C, theta, alpha2)
    v = normal(J.shape[1], seed=0)
    slope = flat(J @ v)

    def residual(h):
        return flat(LeastSquaresSolution.of(with_ones(features(theta + h * v)), C, alpha2).residual)

    errors = [
        float(torch.linalg.vector_norm(residual(h) - residual(0.0) - h * slope))
        for h in (2.0**-k for k in range(6, 14))
    ]
    orders = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert min(orders[-4:]) > 1.8, (errors, orders)


def test_vectors_of_another_size_are_refused():
    features, C, theta = setting()
    J, _ = operator(features, C, theta, 1e-2)
    with pytest.raises(ValueError, match="expected a vector"):
        J @ theta[1:]
    with pytest.raises(ValueError, match=r"expected \(5, 5\) lower rows, got \(4, 5\)"):
        J.T @ tall(normal(J.shape[0], seed=0), WIDTH, N_OUT)
    inner = LeastSquaresSolution.of(normal(N, 3, seed=0), C, 1e-2)
    with pytest.raises(ValueError, match="expected W"):
        ReducedJacobian(features.jacobian(theta), inner)


@pytest.mark.parametrize("chunk", [8192, 4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_all_is_computed_where_the_samples_are(chunk, dtype):
    # Tensors on the device "meta" have no values, and torch refuses to mix devices.
    module = AntisymmetricODE(N_IN, WIDTH, 2)
    features = Features(module, torch.empty((N, N_IN), device="meta", dtype=dtype), chunk)
    theta = torch.empty(features.n_theta, device="meta", dtype=torch.float64)
    C = torch.empty((N, N_OUT), device="meta", dtype=torch.float64)
    J, inner = operator(features, C, theta, 1e-2)
    H = gauss_newton_matrix(Structure(features), theta, inner)
    for found in (inner.W, J.gradient, J.gram(theta), J.T @ (J @ theta), H):
        assert found.device.type == "meta" and found.dtype == torch.float64


def test_single_precision_is_that_of_the_features_alone():
    features, C, theta = setting()
    single = Features(features.module, features.Y.float())
    (J, _), (K, inner) = (operator(f, C, theta, 1e-2) for f in (features, single))
    assert inner.W.dtype == torch.float64
    v = normal(J.shape[1], seed=0)
    H = gauss_newton_matrix(Structure(features), theta, operator(features, C, theta, 1e-2)[1])
    G = gauss_newton_matrix(Structure(single), theta, inner)
    for exact, found in ((J.gradient, K.gradient), (J.gram(v), K.gram(v)), (H, G)):
        gap = float((exact - found).norm() / exact.norm())
        assert 1e-9 < gap < 1e-5
    # Given single features, W is solved for to all digits.
    A, B = stacked(with_ones(single(theta)), C, 1e-2, C.new_zeros((N_OUT, WIDTH + 1)))
    assert float((A.T @ (A @ inner.W.T - B)).abs().max()) < 1e-13


def test_differences_of_tall_matrices_are_those_of_their_entries():
    features, C, theta = setting()
    J, inner = operator(features, C, theta, 1e-2)
    other = LeastSquaresSolution.of(with_ones(features(theta + 0.1)), C, 1e-2)
    derivative = J @ normal(J.shape[1], seed=0)
    for a, b in (
        (inner.residual, other.residual),
        (inner.residual, derivative),
        (other.residual - inner.residual, derivative),
    ):
        difference = a - b
        assert torch.allclose(flat(difference), flat(a) - flat(b), rtol=1e-12, atol=1e-13)
        X, P = normal(N_OUT, 3, seed=1), normal(N, 2, seed=2)
        formed = difference.rows(slice(None))
        assert torch.allclose(difference @ X, formed @ X, rtol=1e-12, atol=1e-13)
        assert torch.allclose(difference.transposed_times(P), formed.T @ P, rtol=1e-12, atol=1e-13)
        assert difference.squared_norm() == pytest.approx(float(flat(difference).square().sum()))
