"""The dense Gauss-Newton matrix against torch.func, and the steps that are made of it."""

import math

import pytest
import torch
from draws import flat, networks, normal, tall
from torch.func import functional_call, jacrev

from surrogates.model.networks import with_ones
from surrogates.training.features import Features
from surrogates.training.inner.solution import ReducedJacobian
from surrogates.training.outer import dense
from surrogates.training.outer.dense import gauss_newton_matrix
from surrogates.training.outer.gauss_newton import DenseModel, GaussNewton, ReducedProblem
from surrogates.training.trust_region import Multiplier


def problem(name, n_out=7, alpha2=1e-3, n=30):
    torch.manual_seed(1)
    features = Features(networks()[name], normal(n, 6, seed=1))
    made = ReducedProblem(features=features, C=normal(n, n_out, seed=2), alpha1=0.0, alpha2=alpha2)
    structure = made.structure
    # The symmetric part of K does nothing: it must not disturb.
    theta = 0.5 * normal(features.n_theta, seed=3)
    return made, structure, theta


def reduced_residual(made, theta):
    """R(theta), by the normal equations: torch.func differentiates it."""
    features, start, parameters = made.features, 0, {}
    for name, parameter in features.module.named_parameters():
        parameters[name] = theta[start : start + parameter.numel()].view(parameter.shape)
        start += parameter.numel()
    Z = with_ones(functional_call(features.module, parameters, (features.Y,)))
    n, m = Z.shape
    eye = torch.eye(m, dtype=Z.dtype)
    A = torch.cat([Z / math.sqrt(n), math.sqrt(made.alpha2) * eye])
    B = torch.cat([made.C / math.sqrt(n), made.C.new_zeros((m, made.C.shape[1]))])
    return (A @ torch.linalg.solve(A.T @ A, A.T @ B) - B).reshape(-1)


@pytest.mark.parametrize("n_out", [7, 2])  # with 2, W has not the full rank
@pytest.mark.parametrize("name", ["ode", "mlp", "resnet", "sequential", "convolution"])
def test_the_matrix_is_that_of_torch_func(name, n_out):
    made, structure, theta = problem(name, n_out)
    J = jacrev(lambda theta: reduced_residual(made, theta))(theta)
    inner = made.at(theta).inner
    H = gauss_newton_matrix(structure, theta, inner)
    basis = torch.stack(
        [structure.parameters_at(e) for e in torch.eye(len(H), dtype=H.dtype)], dim=1
    )
    expected = basis.T @ (J.T @ J) @ basis
    assert torch.linalg.norm(H - expected) < 1e-10 * torch.linalg.norm(expected)
    # What the coordinates leave out has no effect.
    assert torch.linalg.norm(J - J @ basis @ basis.T) < 1e-12 * torch.linalg.norm(J)
    # The Krylov path multiplies by the same matrix.
    operator = ReducedJacobian(made.features.jacobian(theta), inner)
    v = structure.parameters_at(normal(len(H), seed=5))
    product = structure.coordinates(operator.gram(v))
    exact = expected @ structure.coordinates(v)
    assert torch.linalg.norm(product - exact) < 1e-10 * torch.linalg.norm(exact)


@pytest.mark.parametrize("name", ["ode", "mlp", "convolution"])
def test_chunks_change_nothing(name, monkeypatch):
    made, structure, theta = problem(name)
    inner = made.at(theta).inner
    whole = gauss_newton_matrix(structure, theta, inner)
    formed = len(theta) + 3 * structure.others  # entries of a sample for each of 4 features
    monkeypatch.setattr(dense, "BYTES", 8 * 4 * formed * 7)  # 7 samples, and 2 at last
    assert len(list(structure.chunks(theta))) == 5
    parts = gauss_newton_matrix(structure, theta, inner)
    assert torch.linalg.norm(whole - parts) < 1e-13 * torch.linalg.norm(whole)


def test_fewer_samples_than_features():
    made, structure, theta = problem("ode", alpha2=1e-2, n=3)
    J = jacrev(lambda theta: reduced_residual(made, theta))(theta)
    H = gauss_newton_matrix(structure, theta, made.at(theta).inner)
    v = normal(len(H), seed=5)
    exact = structure.coordinates(J.T @ (J @ structure.parameters_at(v)))
    assert torch.linalg.norm(H @ v - exact) < 1e-10 * torch.linalg.norm(exact)


def test_the_correction_takes_the_second_derivative_along_the_step():
    made, _, theta = problem("ode")
    here = made.at(theta)
    J = ReducedJacobian(made.features.jacobian(theta), here.inner)
    model = DenseModel(made, here, J, J.gradient, Multiplier())
    v = 1e-3 * normal(len(theta), seed=6)

    def derivative(theta):
        return flat(ReducedJacobian(made.features.jacobian(theta), made.at(theta).inner) @ v)

    second = (derivative(theta + v) - derivative(theta - v)) / 2
    exact = J.T @ tall(second, 5, 7)
    assert torch.linalg.norm(model._curvature(v) - exact) < 1e-3 * torch.linalg.norm(exact)


def test_a_dense_step_decreases_the_objective_by_what_the_model_says():
    made, structure, theta = problem("ode", n=200)
    step = GaussNewton(dense=True).step(made, theta, 1e-3, 1000)
    before = made.at(theta)
    assert step.accepted and step.ratio == pytest.approx(1, abs=0.02)
    assert step.point.phi < before.phi
    assert step.rank == len(structure.coordinates(theta))
    assert step.work_units == GaussNewton(dense=True).least(4) == 2 + 4 + 3


def test_a_trial_that_overflows_shrinks_the_region():
    made, _, theta = problem("ode")

    class Fragile(Features):
        def __call__(self, other):
            F = super().__call__(other)
            return F if float((other - theta).norm()) < 1e-2 else torch.full_like(F, math.nan)

    fragile = ReducedProblem(
        features=Fragile(made.features.module, made.features.Y), C=made.C, alpha1=0.0, alpha2=1e-3
    )
    step = GaussNewton(dense=True).step(fragile, theta, 10.0, 1000)
    assert step.accepted and float((step.point.theta - theta).norm()) < 1e-2
    assert step.point.phi < made.at(theta).phi
