"""The inner problem of any loss, against solvers that share no code with ours."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.optimize
import torch
from draws import (
    GeneralSquares,
    Poisson,
    PseudoHuber,
    classes,
    flat,
    networks,
    normal,
    orders,
    tall,
)
from hypothesis import given, settings

from surrogates.errors import InputError
from surrogates.model.networks import with_ones
from surrogates.training.features import Features
from surrogates.training.inner import newton
from surrogates.training.inner.losses import CrossEntropy, LeastSquares
from surrogates.training.inner.newton import TOLERANCE, conjugate_gradients, hessian, minimise
from surrogates.training.inner.solution import ReducedJacobian
from surrogates.training.outer.dense import gauss_newton_matrix
from surrogates.training.outer.gauss_newton import ReducedProblem


def phi(loss, W, Z, C, alpha2):
    """Phi at fixed features, written out."""
    return loss.values(Z @ W.T, C).mean() + alpha2 / 2 * W.square().sum()


def slope(loss, W, Z, C, alpha2):
    """The gradient of Phi in W, by torch."""
    return torch.func.grad(lambda W: phi(loss, W, Z, C, alpha2))(W)


def relative_slope(loss, inner, Z, C, alpha2):
    first = slope(loss, torch.zeros_like(inner.W), Z, C, alpha2)
    return float(slope(loss, inner.W, Z, C, alpha2).norm() / first.norm())


def targets(kind, n, n_out, seed=1):
    """Class probabilities that do not follow from the features."""
    if kind == "labels":
        return classes(n, n_out, seed=seed)
    return torch.softmax(2 * normal(n, n_out, seed=seed), dim=1)


# Against other solvers


@pytest.mark.parametrize("kind", ["labels", "soft"])
@pytest.mark.parametrize("alpha2", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("n_out", [2, 3, 7])
def test_w_is_that_of_scipy(n_out, alpha2, kind):
    Z, C = with_ones(normal(60, 5, seed=0)), targets(kind, 60, n_out)
    loss = CrossEntropy()

    def both(x):
        W = torch.from_numpy(x).view(n_out, 6).requires_grad_(True)
        value = phi(loss, W, Z, C, alpha2)
        (gradient,) = torch.autograd.grad(value, W)
        return value.item(), gradient.reshape(-1).numpy()

    def curvature(x):
        W = torch.from_numpy(x).view(n_out, 6)
        H = torch.func.hessian(lambda W: phi(loss, W, Z, C, alpha2))(W)
        return H.reshape(6 * n_out, -1).numpy()

    found = scipy.optimize.minimize(
        both, np.zeros(6 * n_out), jac=True, hess=curvature, method="trust-exact", tol=1e-11
    )
    W = minimise(loss, Z, C, alpha2).W
    expected = torch.from_numpy(found.x).view(n_out, 6)
    assert float((W - expected).abs().max()) < 1e-8 * max(1.0, float(expected.abs().max()))


def test_w_is_that_of_logistic_regression():
    linear_model = pytest.importorskip("sklearn.linear_model", reason="needs scikit-learn")
    # Ours penalises the weights of the column of ones like all others.
    Z, C = with_ones(normal(80, 4, seed=0)), classes(80, 3, seed=1)
    for alpha2 in (1e-1, 1e-4):
        model = linear_model.LogisticRegression(
            C=1 / (len(Z) * alpha2), fit_intercept=False, tol=1e-12, max_iter=10_000
        )
        model.fit(Z.numpy(), C.argmax(dim=1).numpy())
        W = minimise(CrossEntropy(), Z, C, alpha2).W.numpy()
        # Older releases end earlier, 2e-5 off.
        assert np.abs(W - model.coef_).max() < 1e-4 * np.abs(W).max()


@pytest.mark.parametrize("loss", [CrossEntropy(), Poisson(), PseudoHuber()])
def test_the_hessian_is_that_of_torch(loss, monkeypatch):
    monkeypatch.setattr(newton, "_CHUNK", 5)  # and a rest of 3 samples
    Z, C, W = with_ones(normal(13, 3, seed=0)), targets("soft", 13, 3), normal(3, 4, seed=2)
    found = hessian(loss, Z, Z @ W.T, C, 0.1)
    expected = torch.func.hessian(lambda W: phi(loss, W, Z, C, 0.1))(W).reshape(12, 12)
    assert torch.allclose(found, expected, rtol=1e-13, atol=1e-14)


# What is solved, and how well

problems = st.fixed_dictionaries(
    {
        "n": st.integers(1, 30),
        "n_feat": st.integers(1, 6),
        "rank": st.integers(0, 6),
        "n_out": st.integers(2, 16),
        "alpha2": st.sampled_from([1e-10, 1e-7, 1e-4, 1e-1, 1.0]),
        "kind": st.sampled_from(["labels", "soft"]),
        "size": st.sampled_from([0.1, 1.0, 10.0]),
        "seed": st.integers(0, 10_000),
    }
)


def random_problem(n, n_feat, rank, n_out, alpha2, kind, size, seed):
    F = size * normal(n, rank, seed=seed) @ normal(rank, n_feat, seed=seed + 1)
    return with_ones(F), targets(kind, n, n_out, seed=seed + 2), alpha2


@settings(derandomize=True, deadline=None, max_examples=100)
@given(problems)
def test_w_is_stationary_from_anywhere(problem):
    Z, C, alpha2 = random_problem(**problem)
    loss = CrossEntropy()
    cold = minimise(loss, Z, C, alpha2)
    start = 10 * normal(*cold.W.shape, seed=problem["seed"] + 3)
    for inner in (cold, minimise(loss, Z, C, alpha2, start)):
        assert inner.converged
        first, last = (
            float(slope(loss, W, Z, C, alpha2).norm()) for W in (torch.zeros_like(start), inner.W)
        )
        assert last <= 1.001 * TOLERANCE * first + 1e-15 * float(Z.norm())
        if first > 1e-10:
            assert inner.gradient_norm == pytest.approx(last / first, rel=1e-2, abs=1e-12)
        assert inner.phi == pytest.approx(float(phi(loss, inner.W, Z, C, alpha2)), rel=1e-12)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(problems)
def test_no_order_of_samples_or_classes_counts(problem):
    Z, C, alpha2 = random_problem(**problem)
    W = minimise(CrossEntropy(), Z, C, alpha2).W
    generator = torch.Generator().manual_seed(problem["seed"])
    samples = torch.randperm(len(Z), generator=generator)
    kinds = torch.randperm(C.shape[1], generator=generator)
    permuted = minimise(CrossEntropy(), Z[samples], C[samples][:, kinds], alpha2).W
    # alpha2 bounds the curvature from below, and so what the gradient's rest says of W.
    rest = 4 * TOLERANCE * float(slope(CrossEntropy(), torch.zeros_like(W), Z, C, alpha2).norm())
    rounding = 1e-16 * float(Z.norm())
    assert float((permuted - W[kinds]).norm()) <= (rest + rounding) / alpha2 + 1e-12


@pytest.mark.parametrize("loss", [CrossEntropy(), Poisson(), PseudoHuber()])
@pytest.mark.parametrize("size", [1.0, 30.0, 1e3])
def test_a_start_far_away_does_not_matter(loss, size):
    Z, C = with_ones(normal(40, 4, seed=0)), 3 * targets("soft", 40, 3)
    if isinstance(loss, CrossEntropy):
        C = C / 3
    start = size * normal(3, 5, seed=2)
    if isinstance(loss, Poisson):
        start = start.clamp(max=30)
    inner = minimise(loss, Z, C, 1e-3, start)
    assert inner.converged
    assert torch.allclose(inner.W, minimise(loss, Z, C, 1e-3).W, rtol=1e-6, atol=1e-7)


# Starts nearby


@pytest.mark.parametrize("alpha2", [1e-2, 1e-6])
@pytest.mark.parametrize("loss", [CrossEntropy(), Poisson()])
def test_conjugate_gradients_from_nearby_find_what_exact_steps_find(loss, alpha2, monkeypatch):
    F, C = normal(200, 6, seed=0), targets("labels", 200, 4)
    before = minimise(loss, with_ones(F), C, alpha2)
    Z = with_ones(F + 0.01 * normal(200, 6, seed=2))
    exact = minimise(loss, Z, C, alpha2)
    assert len(before.factor) == 4 * 7
    formed = []
    monkeypatch.setattr(newton, "hessian", lambda *a: formed.append(a) or hessian(*a))
    near = minimise(loss, Z, C, alpha2, before)
    assert not formed and near.converged
    assert 0 < near.iterations < exact.iterations
    assert torch.allclose(near.W, exact.W, rtol=1e-7, atol=1e-8)
    from_weights = minimise(loss, Z, C, alpha2, before.W)
    assert len(formed) == 1
    assert torch.allclose(from_weights.W, exact.W, rtol=1e-7, atol=1e-8)
    assert minimise(loss, Z, C, alpha2, near).iterations == 0


def test_conjugate_gradients_solve_or_say_that_they_do_not():
    A = normal(12, 12, seed=0)
    H = A @ A.T + 0.1 * torch.eye(12, dtype=torch.float64)
    g = normal(3, 4, seed=1)

    def product(V):
        return (H @ V.reshape(-1)).view(V.shape)

    expected = -torch.linalg.solve(H, g.reshape(-1)).view(3, 4)
    exact = conjugate_gradients(product, g, torch.linalg.cholesky(H), 0.0)
    assert torch.allclose(exact, expected, rtol=1e-10)
    nearby = torch.linalg.cholesky(H + 0.01 * torch.eye(12, dtype=torch.float64))
    step = conjugate_gradients(product, g, nearby, 0.0)
    assert float((product(step) + g).norm()) <= 1e-2 * float(g.norm())
    assert conjugate_gradients(lambda V: -product(V), g, nearby, 0.0) is None
    spread = torch.diag(10.0 ** torch.linspace(-4, 4, 400, dtype=torch.float64))
    unfit = conjugate_gradients(
        lambda V: (spread @ V.reshape(-1)).view(V.shape),
        torch.ones((20, 20), dtype=torch.float64),
        torch.eye(400, dtype=torch.float64),
        0.0,
    )
    assert unfit is None


# Where there is no minimum


def test_classes_that_the_features_separate_need_alpha2():
    F = torch.cat([normal(20, 2, seed=0), normal(20, 2, seed=1) + 20])
    C = torch.eye(2, dtype=torch.float64)[[0] * 20 + [1] * 20]
    with pytest.raises(InputError, match="the features separate the training samples.*alpha2 > 0"):
        minimise(CrossEntropy(), with_ones(F), C, 0.0)
    inner = minimise(CrossEntropy(), with_ones(F), C, 1e-10)
    assert inner.converged and 1 < float(inner.W.abs().max()) < 1e4


def test_one_class_of_several_that_is_separate_needs_alpha2():
    F = torch.cat([normal(60, 2, seed=0), normal(20, 2, seed=1) + 20])
    C = torch.cat([classes(60, 2, seed=2), torch.zeros((60, 1), dtype=torch.float64)], dim=1)
    C = torch.cat([C, torch.tensor([[0.0, 0.0, 1.0]] * 20, dtype=torch.float64)])
    with pytest.raises(InputError, match="the features separate"):
        minimise(CrossEntropy(), with_ones(F), C, 0.0)
    # Weights from before, with which the class is told apart already, hide nothing.
    start = minimise(CrossEntropy(), with_ones(F), C, 1e-8)
    with pytest.raises(InputError, match="the features separate"):
        minimise(CrossEntropy(), with_ones(F), C, 0.0, start)
    # The two others alone have a minimum.
    inner = minimise(CrossEntropy(), with_ones(F[:60]), C[:60, :2], 0.0)
    assert inner.converged


@pytest.mark.parametrize(
    "seeds", [range(12), pytest.param(range(12, 60), marks=pytest.mark.thorough)]
)
def test_rounding_where_the_hessian_vanishes_is_not_taken_for_separate_classes(seeds):
    # All outputs may grow alike: a sum of roundings, over an eigenvalue that is next to nothing.
    for seed in seeds:
        F, C = normal(60, 2, seed=seed), classes(60, 2, seed=seed)
        assert minimise(CrossEntropy(), with_ones(10 ** (seed % 4 - 2) * F), C, 0.0).converged
        apart = F + 30 * C
        with pytest.raises(InputError, match="the features separate"):
            minimise(CrossEntropy(), with_ones(apart), C, 0.0)


@pytest.mark.parametrize("kind", ["labels", "soft"])
def test_alpha2_of_zero_does_where_classes_overlap(kind):
    Z, C = with_ones(normal(300, 3, seed=0)), targets(kind, 300, 4)
    inner = minimise(CrossEntropy(), Z, C, 0.0)
    assert inner.converged
    assert relative_slope(CrossEntropy(), inner, Z, C, 0.0) <= 1.001 * TOLERANCE
    nearly = minimise(CrossEntropy(), Z, C, 1e-12)
    # The same vector added to all rows of W changes nothing.
    assert torch.allclose(inner.W - inner.W.mean(dim=0), nearly.W - nearly.W.mean(dim=0), atol=1e-8)


def test_targets_that_say_nothing_have_weights_of_zero():
    Z, C = with_ones(normal(50, 4, seed=0)), torch.full((50, 3), 1 / 3, dtype=torch.float64)
    for alpha2 in (1e-1, 1e-8):
        for start in (None, normal(3, 5, seed=1)):
            inner = minimise(CrossEntropy(), Z, C, alpha2, start)
            assert inner.converged
            assert float(inner.W.abs().max()) < 1e-6
            assert inner.phi == pytest.approx(math.log(3))


# The outer problem

LOSSES = {
    "cross-entropy": CrossEntropy(),
    "poisson": Poisson(),
    "pseudo-huber": PseudoHuber(),
    "squares": GeneralSquares(),
}
each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def outer(loss, name="ode", n=60, n_out=3, alpha2=1e-3, dtype=torch.float64, seed=3):
    torch.manual_seed(1)
    features = Features(networks()[name], normal(n, 6, seed=1).to(dtype))
    C = classes(n, n_out, seed=2) if isinstance(loss, CrossEntropy) else normal(n, n_out, seed=2)
    made = ReducedProblem(
        features=features,
        C=C.abs() if isinstance(loss, Poisson) else C,
        alpha1=0.0,
        alpha2=alpha2,
        loss=loss,
    )
    return made, 0.5 * normal(features.n_theta, seed=seed)


def named(features, theta):
    shapes = {name: p.shape for name, p in features.module.named_parameters()}
    pieces = theta.split([shape.numel() for shape in shapes.values()])
    return {n: p.view(s) for (n, s), p in zip(shapes.items(), pieces, strict=True)}


def implicit(made, theta, W):
    """The gradient and the Gauss-Newton matrix, by torch.func and the implicit function theorem."""
    features, loss, C, alpha2 = made.features, made.loss, made.C, made.alpha2

    def Z_at(theta):
        return with_ones(
            torch.func.functional_call(features.module, named(features, theta), (features.Y,))
        )

    def objective(W, theta):
        return phi(loss, W.view(C.shape[1], -1), Z_at(theta), C, alpha2)

    w = W.reshape(-1)
    H = torch.func.hessian(objective)(w, theta)
    mixed = torch.func.jacrev(torch.func.grad(objective), argnums=1)(w, theta)
    dW = -torch.linalg.solve(H, mixed)  # (W.numel(), n_theta)
    dO = torch.func.jacrev(lambda theta: Z_at(theta) @ W.T)(theta)
    dO = dO + torch.einsum("nm,kmp->nkp", Z_at(theta), dW.view(*W.shape, -1))
    D = torch.func.vmap(torch.func.hessian(lambda o, c: loss.values(o[None], c[None])[0]))(
        Z_at(theta) @ W.T, C
    )
    matrix = torch.einsum("nkp,nkl,nlq->pq", dO, D, dO) / len(C) + alpha2 * dW.T @ dW
    return torch.func.grad(objective, argnums=1)(w, theta), matrix


@each_loss
@pytest.mark.parametrize(
    ("name", "n", "alpha2"),
    [
        ("ode", 60, 1e-3),
        ("ode", 60, 1e-8),
        ("ode", 3, 1e-2),
        ("sequential", 60, 1e-3),
        ("convolution", 60, 1e-3),
    ],
)
def test_the_gauss_newton_matrix_is_that_of_the_implicit_function_theorem(loss, name, n, alpha2):
    made, theta = outer(loss, name, n=n, alpha2=alpha2)
    inner = made.at(theta).inner
    gradient, expected = implicit(made, theta, inner.W)
    J = ReducedJacobian(made.features.jacobian(theta), inner)
    tolerance = 1e-10 if alpha2 > 1e-6 else 1e-8
    assert torch.linalg.norm(J.gradient - gradient) < tolerance * torch.linalg.norm(gradient)
    products = torch.stack([J.gram(e) for e in torch.eye(len(theta), dtype=theta.dtype)], dim=1)
    size = torch.linalg.norm(expected)
    assert torch.linalg.norm(products - expected) < tolerance * size
    structure = made.structure
    H = gauss_newton_matrix(structure, theta, inner)
    basis = torch.stack(
        [structure.parameters_at(e) for e in torch.eye(len(H), dtype=H.dtype)], dim=1
    )
    assert torch.linalg.norm(H - basis.T @ expected @ basis) < tolerance * size


@each_loss
@pytest.mark.parametrize("alpha2", [1e-2, 1e-8])
@pytest.mark.parametrize("name", ["ode", "sequential", "convolution"])
def test_the_transpose_is_the_adjoint_and_gram_the_product_of_both(loss, name, alpha2):
    made, theta = outer(loss, name, alpha2=alpha2)
    J = ReducedJacobian(made.features.jacobian(theta), made.at(theta).inner)
    assert J.shape == ((60 + 5) * 3, len(theta))
    for seed in range(3):
        v, w = normal(J.shape[1], seed=seed), normal(J.shape[0], seed=100 + seed)
        Jv = J @ v
        gap = abs(float(flat(Jv) @ w - v @ (J.T @ tall(w, 5, 3))))
        assert gap <= 1e-12 * float(flat(Jv).norm() * w.norm())
        expected = J.T @ Jv
        assert float((J.gram(v) - expected).norm()) <= 1e-9 * float(expected.norm())


@each_loss
@pytest.mark.parametrize(("alpha2", "seed"), [(1e-2, 3), (1e-8, 4)])
def test_taylor_expansions(loss, alpha2, seed):
    made, theta = outer(loss, alpha2=alpha2, seed=seed)
    here, J, gradient = made.linearised(theta)
    v = normal(len(theta), seed=5 + seed)
    derivative, slope = J @ v, float(gradient @ v)
    of_phi, of_residual = [], []
    for k in range(8, 16):
        h = 2.0**-k
        there = made.at(theta + h * v)
        of_phi.append(abs(there.phi - here.phi - h * slope))
        change = flat(here.inner.change(there.inner))
        of_residual.append(float((change - h * flat(derivative)).norm()))
    assert of_phi[-1] > 1e-14 and of_residual[-1] > 1e-10
    assert min(orders(of_phi)[-4:]) > 1.8, orders(of_phi)
    assert min(orders(of_residual)[-4:]) > 1.8, orders(of_residual)


@pytest.mark.parametrize("n", [3, 60])
@pytest.mark.parametrize("alpha2", [1e-2, 1e-6])
def test_least_squares_by_newton_is_that_by_the_svd(alpha2, n):
    newtons, theta = outer(GeneralSquares(), n=n, n_out=5, alpha2=alpha2)
    svds, _ = outer(LeastSquares(), n=n, n_out=5, alpha2=alpha2)
    (a, J, g), (b, K, h) = (made.linearised(theta) for made in (newtons, svds))
    assert a.inner.iterations <= 2
    assert a.phi == pytest.approx(b.phi, rel=1e-10)
    v = normal(len(theta), seed=6)
    matrices = (gauss_newton_matrix(svds.structure, theta, x.inner) for x in (a, b))
    for x, y in ((a.W, b.W), (g, h), (J.gram(v), K.gram(v)), tuple(matrices)):
        assert torch.linalg.norm(x - y) < 1e-7 * torch.linalg.norm(y)
    assert float((J @ v).squared_norm()) == pytest.approx((K @ v).squared_norm(), rel=1e-7)


@each_loss
def test_single_precision_is_that_of_the_features_alone(loss):
    (made, theta), (single, _) = (outer(loss, dtype=t) for t in (torch.float64, torch.float32))
    (a, J, g), (b, K, h) = (x.linearised(theta) for x in (made, single))
    v = normal(len(theta), seed=6)
    matrices = (
        gauss_newton_matrix(x.structure, theta, y.inner) for x, y in ((made, a), (single, b))
    )
    for exact, found in ((g, h), (J.gram(v), K.gram(v)), tuple(matrices)):
        assert found.dtype == torch.float64
        assert 1e-9 < float((exact - found).norm() / exact.norm()) < 1e-4
    Z = with_ones(single.features(theta))
    assert relative_slope(loss, b.inner, Z, single.C, 1e-3) <= 1.001 * TOLERANCE
