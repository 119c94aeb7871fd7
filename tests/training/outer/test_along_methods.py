"""Every outer method with rows of derivatives, against the written-out objective."""

import math

import pytest
import torch
from draws import networks, normal
from torch.func import functional_call, jacrev, jvp

from surrogates.model.networks import with_ones
from surrogates.training.features import Directions, Features
from surrogates.training.outer.baselines import JointGaussNewton, Stochastic
from surrogates.training.outer.gauss_newton import GaussNewton, ReducedProblem
from surrogates.training.outer.kronecker import Kronecker, KroneckerMatrix
from surrogates.training.outer.lbfgs import LBFGS
from surrogates.training.trust_region import RadiusRule


def problem(name="ode", n=24, r=3, n_out=2, **weights):
    samples = torch.arange(1, n, 2)
    along = Directions(samples=samples, V=normal(len(samples), r, 6, seed=4))
    features = Features(networks()[name], normal(n, 6, seed=1), directions=along)
    C = normal(features.n_rows, n_out, seed=2)
    weights = {"alpha1": 1e-2, "alpha2": 1e-2, **weights}
    made = ReducedProblem(features=features, C=C, **weights)
    return made, 0.5 * normal(features.n_theta, seed=3)


def parts(made, theta):
    start, found = 0, {}
    for name, parameter in made.features.module.named_parameters():
        found[name] = theta[start : start + parameter.numel()].view(parameter.shape)
        start += parameter.numel()
    return found


def design(made, theta):
    own, features = parts(made, theta), made.features
    Y = features.Y

    def of(Y):
        return functional_call(features.module, own, (Y,))

    r = features.directions.V.shape[1]
    there = Y[features.directions.samples].repeat_interleave(r, dim=0)
    along = jvp(of, (there,), (features.directions.V.flatten(0, 1),))[1]
    return torch.cat([with_ones(of(Y)), torch.nn.functional.pad(along, (0, 1))])


def residual(made, x):
    """The residual of Phi(W, theta): half its squared norm is Phi."""
    n_theta = made.features.n_theta
    theta, W = x[:n_theta], x[n_theta:].view(made.C.shape[1], -1)
    upper = (design(made, theta) @ W.T - made.C) / math.sqrt(len(made.features.Y))
    pieces = (upper, math.sqrt(made.alpha1) * theta, math.sqrt(made.alpha2) * W)
    return torch.cat([piece.reshape(-1) for piece in pieces])


@pytest.mark.parametrize("name", ["mlp", "convolution"])
def test_the_joint_step_is_that_of_the_dense_gauss_newton_matrix(name):
    made, theta = problem(name)
    W = normal(2, 5, seed=6)
    x = torch.cat([theta, W.reshape(-1)])
    J = jacrev(lambda x: residual(made, x))(x)
    r = residual(made, x).detach()
    newton = -torch.linalg.lstsq(J, r[:, None]).solution[:, 0]
    method = JointGaussNewton(rank=len(x), tolerance=0.0, rule=RadiusRule(accept=-math.inf))
    step = method.step(made, theta, 1e6, 1000, {"W": W})
    found = torch.cat([step.point.theta, step.point.W.reshape(-1)]) - x
    assert float((found - newton).norm() / newton.norm()) < 1e-8
    assert step.gradient_norm == pytest.approx(float((J.T @ r).norm()), rel=1e-10)
    after = residual(made, x + found).detach()
    assert step.point.phi == pytest.approx(0.5 * float(after.square().sum()), rel=1e-12)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_one_batch_of_all_samples_is_the_optimizer_s_step_on_phi(optimizer):
    made, theta = problem()
    W = normal(2, 5, seed=6)
    x = torch.cat([theta, W.reshape(-1)])
    gradient = torch.func.grad(lambda x: residual(made, x).square().sum() / 2)(x)
    method = Stochastic(optimizer=optimizer, learning_rate=1e-3, ridge=1.0, batch=24)
    step = method.step(made, theta, 0.1, 2, {"W": W, "epoch": torch.tensor(0)})
    found = torch.cat([step.point.theta, step.point.W.reshape(-1)]) - x
    expected = -1e-3 * (gradient if optimizer == "sgd" else gradient / (gradient.abs() + 1e-8))
    assert torch.allclose(found, expected, rtol=1e-8, atol=1e-14)
    after = residual(made, x + found).detach()
    assert step.point.phi == pytest.approx(0.5 * float(after.square().sum()), rel=1e-12)


def test_batches_take_each_row_once():
    made, theta = problem(alpha1=0.0, alpha2=0.0)
    W = normal(2, 5, seed=6)
    x = torch.cat([theta, W.reshape(-1)])
    # With a tiny step, the mean of the batches' gradients is that of Phi, for batches of one size.
    method = Stochastic(optimizer="sgd", learning_rate=1e-14, ridge=1.0, batch=6)
    step = method.step(made, theta, 0.1, 2, {"W": W, "epoch": torch.tensor(0)})
    gradient = torch.func.grad(lambda x: residual(made, x).square().sum() / 2)(x)
    assert step.gradient_norm == pytest.approx(float(gradient.norm()), rel=1e-8)


METHODS = {
    "dense": GaussNewton(dense=True),
    "krylov": GaussNewton(),
    "kronecker": Kronecker(),
    "lbfgs": LBFGS(),
    "gn": JointGaussNewton(),
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_decreases_the_objective(name):
    made, theta = problem("mlp")
    first = made.at(theta).phi
    radius, memory, phi = 0.3, {}, math.inf
    for _ in range(12):
        step = METHODS[name].step(made, theta, radius, 1000, memory)
        theta, radius, memory = step.point.theta, step.radius, step.memory
        assert step.point.phi <= phi
        phi = step.point.phi
    assert phi < 0.9 * first
    whole = residual(made, torch.cat([theta, step.point.W.reshape(-1)]))
    assert phi == pytest.approx(0.5 * float(whole.square().sum()), rel=1e-10)


def test_the_kronecker_matrix_has_the_traces_of_all_rows():
    made, theta = problem("mlp", n_out=1)
    here = made.at(theta)
    matrix = KroneckerMatrix.of(made, here)
    eye = torch.eye(len(theta), dtype=torch.float64)
    H = torch.stack([matrix @ e for e in eye], dim=1) - matrix.shift * eye
    outputs = jacrev(lambda theta: design(made, theta) @ here.W[0])(theta)
    G = outputs.T @ outputs / len(made.features.Y)
    start = 0
    for shape in made.features.shapes:
        block = slice(start, start + shape.numel())
        start += shape.numel()
        assert float(H[block, block].trace()) == pytest.approx(float(G[block, block].trace()))


def test_the_kronecker_matrix_of_some_rows_stands_for_all(monkeypatch):
    made, theta = problem("mlp", n=400, n_out=1)
    here = made.at(theta)
    whole = KroneckerMatrix.of(made, here)
    monkeypatch.setattr("surrogates.training.outer.kronecker.SAMPLES", 200)
    some = KroneckerMatrix.of(made, here, seed=3)
    ratio = some.shift / whole.shift
    assert 0.8 < ratio < 1.25
    assert ratio != 1
