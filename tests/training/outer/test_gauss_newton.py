"""One Gauss-Newton iteration: its derivatives, its accounting, and what a rejection costs."""

import math

import pytest
import torch
from draws import flat, normal

from surrogates.model.networks import AntisymmetricODE
from surrogates.training.features import Features
from surrogates.training.inner.solution import ReducedJacobian
from surrogates.training.outer import gauss_newton
from surrogates.training.outer.gauss_newton import GaussNewton, ReducedProblem
from surrogates.training.trust_region import RadiusRule


class Counted(Features):
    """Features that count their evaluations, and products with their Jacobian."""

    def __init__(self, module, Y):
        super().__init__(module, Y)
        self.forwards = 0
        self.products = 0

    def __call__(self, theta):
        self.forwards += 1
        return super().__call__(theta)

    def jacobian(self, theta):
        dF = super().jacobian(theta)
        product = dF.jvp

        def jvp(v):
            self.products += 1
            return product(v)

        dF.jvp = jvp
        return dF


def setting(alpha1=1e-3, alpha2=1e-4):
    net = AntisymmetricODE(3, 4, 1, generator=torch.Generator().manual_seed(0))
    features = Counted(net, normal(30, 3, seed=1))
    problem = ReducedProblem(
        features=features, C=normal(30, 5, seed=2), alpha1=alpha1, alpha2=alpha2
    )
    return problem, 0.5 * normal(features.n_theta, seed=3)


def test_taylor_expansion_of_the_reduced_objective():
    problem, theta = setting()
    here = problem.at(theta)
    J = ReducedJacobian(problem.features.jacobian(theta), here.inner)
    gradient = J.gradient + problem.alpha1 * theta
    v = normal(len(theta), seed=4)
    slope = float(gradient @ v)
    remainders = [
        abs(problem.at(theta + 2.0**-k * v).phi - here.phi - 2.0**-k * slope) for k in range(3, 11)
    ]
    orders = [math.log2(a / b) for a, b in zip(remainders, remainders[1:], strict=False)]
    assert remainders[-1] > 1e-12
    assert all(order > 1.8 for order in orders[-4:]), orders


def test_the_step_is_that_of_the_dense_gauss_newton_matrix():
    problem, theta = setting()
    J = ReducedJacobian(problem.features.jacobian(theta), problem.at(theta).inner)
    eye = torch.eye(len(theta), dtype=torch.float64)
    dense = torch.stack([flat(J @ v) for v in eye], dim=1)
    gradient = J.gradient + problem.alpha1 * theta
    newton = -torch.linalg.solve(dense.T @ dense + problem.alpha1 * eye, gradient)
    method = GaussNewton(rank=len(theta), tolerance=0.0, rule=RadiusRule(accept=-math.inf))
    step = method.step(problem, theta, 1e6, 1000)
    found = step.point.theta - theta
    assert float((found - newton).norm() / newton.norm()) < 1e-8
    assert step.gradient_norm == pytest.approx(float(gradient.norm()), rel=1e-12)


def test_an_accepted_step_costs_two_passes_and_two_for_each_vector():
    problem, theta = setting()
    step = GaussNewton(rank=6, tolerance=0.0).step(problem, theta, 0.1, 1000)
    assert step.accepted and step.rank == 6
    assert step.work_units == 2 + 2 * 6
    assert problem.features.products == 6
    assert problem.features.forwards == 1
    assert step.point.phi < problem.at(theta).phi


def test_a_step_that_is_tried_again_reuses_the_subspace():
    problem, theta = setting()
    # The full step has a ratio of 0.6, a quarter of it one of 1.2.
    method = GaussNewton(rank=6, tolerance=0.0, rule=RadiusRule(accept=0.9, shrink=0.25))
    step = method.step(problem, theta, 1e3, 1000)
    tries = problem.features.forwards
    assert step.accepted and tries == 2
    assert problem.features.products == step.rank == 6
    assert step.work_units == 2 + 2 * 6 + 1


def test_work_never_exceeds_the_budget():
    for budget in range(4, 20):
        problem, theta = setting()
        strict = GaussNewton(rank=6, tolerance=0.0, rule=RadiusRule(accept=math.inf))
        step = strict.step(problem, theta, 1e3, budget)
        assert step.work_units <= budget
        assert step.rank == min(6, (budget - 2) // 2)
        assert not step.accepted
        assert torch.equal(step.point.theta, theta)


def test_a_rule_that_nothing_meets_ends_with_steps_down_to_rounding():
    problem, theta = setting()
    step = GaussNewton(rule=RadiusRule(accept=math.inf)).step(problem, theta, 1e3, 10**6)
    assert not step.accepted
    assert step.work_units < 200
    assert step.radius < 1e-12


class Exploding(torch.nn.Module):
    """Features that overflow away from the start."""

    def __init__(self):
        super().__init__()
        self.a = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def forward(self, Y):
        return torch.exp(torch.exp(40 * (Y + self.a)))


def test_a_trial_that_is_not_finite_is_a_rejected_step():
    module = Exploding()
    features = Features(module, -normal(20, 2, seed=1).abs())
    problem = ReducedProblem(features=features, C=normal(20, 3, seed=2), alpha1=0.0, alpha2=1e-10)
    theta = torch.full((2,), -0.01, dtype=torch.float64)
    assert problem.at(theta + 10) is None
    step = GaussNewton().step(problem, theta, 1e6, 1000)
    assert math.isfinite(step.point.phi)
    assert step.point.phi <= problem.at(theta).phi
    with pytest.raises(ValueError, match="finite features"):
        GaussNewton().step(problem, theta + 10, 1e6, 1000)


def test_a_dense_matrix_that_overflows_is_no_step(monkeypatch):
    problem, theta = setting()
    exact = gauss_newton.gauss_newton_matrix
    monkeypatch.setattr(gauss_newton, "gauss_newton_matrix", lambda *a: exact(*a) * math.inf)
    step = GaussNewton(dense=True).step(problem, theta, 1.0, 1000)
    assert not step.accepted
    assert torch.equal(step.point.theta, theta)


def test_no_gradient_is_no_step():
    problem, theta = setting()
    still = ReducedProblem(
        features=problem.features, C=torch.zeros_like(problem.C), alpha1=0.0, alpha2=1e-4
    )
    step = GaussNewton().step(still, theta, 1.0, 100)
    assert (step.accepted, step.rank, step.work_units) == (False, 0, 2)
    assert math.isnan(step.ratio)
