"""The objective with references for theta and W: values, derivatives and steps."""

import math

import pytest
import torch
from draws import GeneralSquares, Poisson, flat, normal, orders, tall

from surrogates.model.networks import AntisymmetricODE, with_ones
from surrogates.training.features import Features
from surrogates.training.inner.losses import LeastSquares
from surrogates.training.inner.solve import solve
from surrogates.training.inner.varpro import LeastSquaresSolution
from surrogates.training.outer.baselines import JointJacobian
from surrogates.training.outer.gauss_newton import GaussNewton, ReducedProblem
from surrogates.training.trust_region import RadiusRule


def problem(loss, alpha1=0.3, alpha2=0.2, referred=True):
    net = AntisymmetricODE(3, 4, 1, generator=torch.Generator().manual_seed(0))
    features = Features(net, normal(30, 3, seed=1))
    C = normal(30, 5, seed=2)
    made = ReducedProblem(
        features=features,
        C=C.abs() if isinstance(loss, Poisson) else C,
        alpha1=alpha1,
        alpha2=alpha2,
        loss=loss,
        theta_ref=normal(features.n_theta, seed=5) if referred else None,
        W_ref=normal(5, 5, seed=6) if referred else None,
    )
    return made, 0.5 * normal(features.n_theta, seed=3)


def phi(made, theta, W):
    """Phi(W, theta), written out."""
    outputs = with_ones(made.features(theta)) @ W.T
    value = made.loss.values(outputs, made.C).mean()
    value += made.alpha1 / 2 * (theta - made.theta_ref).square().sum()
    return float(value + made.alpha2 / 2 * (W - made.W_ref).square().sum())


@pytest.mark.parametrize("loss", [LeastSquares(), Poisson()])
def test_phi_is_least_at_its_own_w(loss):
    made, theta = problem(loss)
    here = made.at(theta)
    assert here.phi == pytest.approx(phi(made, theta, here.W), rel=1e-12)
    for seed in range(5):
        other = here.W + 1e-3 * normal(*here.W.shape, seed=seed)
        assert here.phi < phi(made, theta, other)


@pytest.mark.parametrize("loss", [LeastSquares(), Poisson()])
def test_taylor_expansion_of_the_reduced_objective(loss):
    made, theta = problem(loss)
    here, _, gradient = made.linearised(theta)
    v = normal(len(theta), seed=4)
    slope = float(gradient @ v)
    remainders = [
        abs(made.at(theta + 2.0**-k * v).phi - here.phi - 2.0**-k * slope) for k in range(4, 12)
    ]
    assert remainders[-1] > 1e-12
    assert all(order > 1.8 for order in orders(remainders)[-4:]), orders(remainders)


def test_the_jacobian_is_the_residuals_and_its_transpose_is_adjoint():
    made, theta = problem(LeastSquares())
    here, J, _ = made.linearised(theta)
    v = normal(len(theta), seed=4)
    change = flat(J @ v)
    remainders = []
    for k in range(4, 12):
        there = made.at(theta + 2.0**-k * v)
        remainders.append(
            float(
                (flat(there.inner.residual) - flat(here.inner.residual) - 2.0**-k * change).norm()
            )
        )
    assert all(order > 1.8 for order in orders(remainders)[-4:]), orders(remainders)
    w = normal(len(change), seed=7)
    product = float(v @ (J.T @ tall(w, 5, 5)))
    assert abs(float(change @ w) - product) <= 1e-12 * float(change.norm() * w.norm())


def test_without_variable_projection_the_gradient_is_that_of_phi():
    made, theta = problem(LeastSquares())
    W = normal(5, 5, seed=8)
    J = JointJacobian(made, made.features.jacobian(theta), W)
    gradient = J.gradient(theta)
    v = normal(len(gradient), seed=9)
    n = len(theta)

    def at(t):
        return phi(made, theta + t * v[:n], W + t * v[n:].view(5, 5))

    remainders = [abs(at(2.0**-k) - at(0) - 2.0**-k * float(gradient @ v)) for k in range(4, 12)]
    assert all(order > 1.8 for order in orders(remainders)[-4:]), orders(remainders)
    # The model's matrix knows of no reference.
    plain, _ = problem(LeastSquares(), referred=False)
    other = JointJacobian(plain, plain.features.jacobian(theta), W)
    torch.testing.assert_close(J.gram(v), other.gram(v), rtol=1e-13, atol=1e-13)


def test_newtons_w_is_that_of_the_svd():
    Z, C, W_ref = with_ones(normal(30, 4, seed=0)), normal(30, 3, seed=1), normal(3, 5, seed=2)
    expected = LeastSquaresSolution.of(Z, C, 0.1, W_ref).W
    found = solve(GeneralSquares(), Z, C, 0.1, W_ref=W_ref).W
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)


def test_a_step_is_that_of_the_dense_gauss_newton_matrix_with_references():
    made, theta = problem(LeastSquares(), alpha1=1e-3)
    _, J, gradient = made.linearised(theta)
    eye = torch.eye(len(theta), dtype=torch.float64)
    dense = torch.stack([flat(J @ v) for v in eye], dim=1)
    newton = -torch.linalg.solve(dense.T @ dense + 1e-3 * eye, gradient)
    method = GaussNewton(rank=len(theta), tolerance=0.0, rule=RadiusRule(accept=-math.inf))
    found = method.step(made, theta, 1e6, 1000).point.theta - theta
    assert float((found - newton).norm() / newton.norm()) < 1e-8
