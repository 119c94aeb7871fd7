"""The methods that GNvpro is compared with: their steps, and what their iterations find."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from draws import classes, normal

from surrogates.model.networks import AntisymmetricODE, with_ones
from surrogates.training.features import Features
from surrogates.training.inner.losses import CrossEntropy
from surrogates.training.inner.solve import solve
from surrogates.training.outer.baselines import JointGaussNewton, JointJacobian, Stochastic
from surrogates.training.outer.gauss_newton import ReducedProblem
from surrogates.training.outer.lbfgs import LBFGS, inverse_times
from surrogates.training.trust_region import RadiusRule


def setting(alpha1=1e-3, alpha2=1e-4):
    net = AntisymmetricODE(3, 4, 1, generator=torch.Generator().manual_seed(0))
    features = Features(net, normal(30, 3, seed=1))
    problem = ReducedProblem(
        features=features, C=normal(30, 5, seed=2), alpha1=alpha1, alpha2=alpha2
    )
    return problem, 0.5 * normal(features.n_theta, seed=3)


def classifying(alpha1=1e-3, alpha2=1e-3, smooth=False):
    """Three classes, by cross-entropy."""
    problem, theta = setting(alpha1, alpha2)
    loss = CrossEntropy()
    return replace(problem, C=classes(30, 3, seed=2), loss=loss, smooth=smooth), theta


def evaluated(problem, x, n_out, width):
    """Divide x into theta and W, and give the outputs there, for torch to differentiate."""
    p = problem.features.n_theta
    theta, W = x[:p], x[p:].view(n_out, width + 1)
    pieces, start = {}, 0
    for name, parameter in problem.features.module.named_parameters():
        pieces[name] = theta[start : start + parameter.numel()].view(parameter.shape)
        start += parameter.numel()
    F = torch.func.functional_call(problem.features.module, pieces, (problem.features.Y,))
    return theta, W, with_ones(F) @ W.T


def objective(problem, x, n_out=3, width=4):
    """Phi in [theta, W] with cross-entropy, for torch to differentiate, and the outputs."""
    theta, W, outputs = evaluated(problem, x, n_out, width)
    weights = problem.penalty.of(theta) + problem.alpha2 / 2 * W.square().sum()
    return torch.nn.functional.cross_entropy(outputs, problem.C) + weights, outputs


def planted():
    """A problem with a minimum of zero, and a theta near it."""
    net = AntisymmetricODE(2, 2, 1, generator=torch.Generator().manual_seed(0))
    features = Features(net, normal(60, 2, seed=1))
    theta = torch.nn.utils.parameters_to_vector(net.parameters()).detach()
    C = with_ones(features(theta)) @ normal(4, 3, seed=2).T
    problem = ReducedProblem(features=features, C=C, alpha1=0.0, alpha2=0.0)
    return problem, theta + 0.05 * normal(len(theta), seed=3)


def residual(problem, x, n_out=5, width=4):
    """The residual of Phi in [theta, W], written out for torch to differentiate."""
    theta, W, outputs = evaluated(problem, x, n_out, width)
    misfit = (outputs - problem.C) / math.sqrt(len(problem.C))
    parts = (misfit, math.sqrt(problem.alpha1) * theta, math.sqrt(problem.alpha2) * W)
    return torch.cat([part.reshape(-1) for part in parts])


def started(problem, theta, seed=5):
    """A W that is not the inner problem's solution, and with theta one vector."""
    W = normal(5, 5, seed=seed)
    return W, torch.cat([theta, W.reshape(-1)])


def iterate(method, problem, theta, n, radius=0.1):
    steps, memory = [], {}
    for _ in range(n):
        steps.append(method.step(problem, theta, radius, 10**6, memory))
        theta, radius, memory = steps[-1].point.theta, steps[-1].radius, steps[-1].memory
        if not steps[-1].accepted:
            break
    return steps


METHODS = {
    "gn": JointGaussNewton(rank=8),
    "lbfgs": LBFGS(),
    "adam": Stochastic(optimizer="adam", learning_rate=1e-2, ridge=1e-2, batch=8),
    "sgd": Stochastic(optimizer="sgd", learning_rate=1e-2, ridge=1e-2, batch=8),
}
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


# Gauss-Newton without variable projection


def test_the_joint_step_is_that_of_the_dense_gauss_newton_matrix():
    problem, theta = setting()
    W, x = started(problem, theta)
    J = torch.func.jacrev(lambda x: residual(problem, x))(x)
    r = residual(problem, x).detach()
    newton = -torch.linalg.lstsq(J, r[:, None]).solution[:, 0]
    method = JointGaussNewton(rank=len(x), tolerance=0.0, rule=RadiusRule(accept=-math.inf))
    step = method.step(problem, theta, 1e6, 1000, {"W": W})
    found = torch.cat([step.point.theta, step.point.W.reshape(-1)]) - x
    assert float((found - newton).norm() / newton.norm()) < 1e-8
    assert step.gradient_norm == pytest.approx(float((J.T @ r).norm()), rel=1e-12)
    after = residual(problem, x + found).detach()
    assert step.point.phi == pytest.approx(0.5 * float(after.square().sum()), rel=1e-12)
    assert torch.equal(step.memory["W"], step.point.W)


def test_the_joint_method_keeps_the_books_of_gnvpro():
    problem, theta = setting()
    step = JointGaussNewton(rank=6, tolerance=0.0).step(problem, theta, 0.1, 1000, {})
    assert (step.accepted, step.rank, step.work_units) == (True, 6, 2 + 2 * 6)
    for budget in range(4, 20):
        strict = JointGaussNewton(rank=6, tolerance=0.0, rule=RadiusRule(accept=math.inf))
        step = strict.step(problem, theta, 1e3, budget, {})
        assert step.work_units <= budget and step.rank == min(6, (budget - 2) // 2)
        assert not step.accepted and torch.equal(step.point.theta, theta)


@pytest.mark.parametrize("smooth", [False, True])
def test_the_joint_step_with_cross_entropy_is_that_of_the_gauss_newton_matrix(smooth):
    problem, theta = classifying(smooth=smooth)
    W = normal(3, 5, seed=5)
    x = torch.cat([theta, W.reshape(-1)])
    gradient = torch.func.grad(lambda x: objective(problem, x)[0])(x)
    dO = torch.func.jacrev(lambda x: objective(problem, x)[1])(x).detach()
    p = torch.softmax(objective(problem, x)[1], dim=1).detach()
    D = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    H = torch.einsum("nkp,nkl,nlq->pq", dO, D, dO) / 30
    n = len(theta)
    H[:n, :n] += torch.func.hessian(problem.penalty.of)(theta)
    H[n:, n:] += problem.alpha2 * torch.eye(len(x) - n, dtype=x.dtype)
    J = JointJacobian(problem, problem.features.jacobian(theta), W)
    torch.testing.assert_close(J.gradient(theta), gradient, rtol=1e-11, atol=1e-13)
    products = torch.stack([J.gram(e) for e in torch.eye(len(x), dtype=x.dtype)], dim=1)
    torch.testing.assert_close(products, H, rtol=1e-11, atol=1e-13)
    assert float(torch.linalg.eigvalsh(products)[0]) > -1e-14
    method = JointGaussNewton(rank=6, tolerance=0.0)
    step = method.step(problem, theta, 1e-3, 1000, {"W": W})
    assert step.gradient_norm == pytest.approx(float(gradient.norm()), rel=1e-12)
    assert step.accepted and step.ratio == pytest.approx(1, abs=0.02)
    after = objective(problem, torch.cat([step.point.theta, step.point.W.reshape(-1)]))[0]
    assert step.point.phi == pytest.approx(float(after), rel=1e-12)


# L-BFGS with variable projection


def test_the_first_step_follows_the_reduced_gradient_for_the_radius():
    problem, theta = setting()
    _, _, gradient = problem.linearised(theta)
    step = LBFGS().step(problem, theta, 1e-3, 100, {})
    assert step.gradient_norm == pytest.approx(float(gradient.norm()), rel=1e-12)
    moved = step.point.theta - theta
    assert float(moved @ gradient) == pytest.approx(-float(moved.norm() * gradient.norm()))
    # The slope has hardly risen after the radius, and the search goes on beyond.
    assert step.radius == pytest.approx(float(moved.norm())) and step.radius > 1e-3
    long = LBFGS().step(problem, theta, 1e3, 100, {})
    assert long.radius < 1e3 and long.point.phi < problem.at(theta).phi
    assert step.point.phi == problem.at(step.point.theta).phi


def test_l_bfgs_decreases_the_objective_always_and_reaches_a_planted_minimum():
    problem, theta = planted()
    steps = iterate(LBFGS(), problem, theta, 800)
    phis = [problem.at(theta).phi, *(step.point.phi for step in steps if step.accepted)]
    assert all(b < a for a, b in zip(phis, phis[1:], strict=False))
    assert phis[0] > 1e-4 and phis[-1] < 1e-9
    assert max(step.rank for step in steps) == 10
    # Most steps are found at once.
    assert sum(step.work_units for step in steps) < 1.5 * 2 * len(steps)


def test_the_two_loops_are_the_dense_bfgs_update():
    s, y = normal(4, 6, seed=1), normal(4, 6, seed=2)
    y = y + 5 * s
    gradient, eye = normal(6, seed=3), torch.eye(6, dtype=torch.float64)
    H = (s[-1] @ y[-1]) / (y[-1] @ y[-1]) * eye
    for a, b in zip(s, y, strict=True):
        rho = 1 / (a @ b)
        V = eye - rho * torch.outer(b, a)
        H = V.T @ H @ V + rho * torch.outer(a, a)
    assert torch.allclose(inverse_times(s, y, gradient), H @ gradient, rtol=1e-12)
    assert torch.equal(inverse_times(s[:0], y[:0], gradient), gradient)


def test_l_bfgs_stays_within_its_budget_and_says_that_nothing_helps():
    problem, theta = setting()
    for budget in range(4, 12):
        step = LBFGS(slope=0.0).step(problem, theta, 1e-6, budget, {})
        assert step.work_units <= budget and step.accepted
        assert step.point.phi < problem.at(theta).phi
    step = LBFGS(decrease=1e6).step(problem, theta, 1.0, 10**6, {})
    assert not step.accepted and step.work_units == 2 + 2 * 20
    assert torch.equal(step.point.theta, theta)
    still = ReducedProblem(
        features=problem.features, C=torch.zeros_like(problem.C), alpha1=0.0, alpha2=1e-4
    )
    step = LBFGS().step(still, theta, 1.0, 100, {})
    assert (step.accepted, step.work_units, step.gradient_norm) == (False, 2, 0.0)


# Mini-batches


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_one_batch_of_all_samples_is_the_optimizer_s_step_on_phi(optimizer):
    problem, theta = setting(alpha1=0.1, alpha2=0.2)
    W, x = started(problem, theta)
    gradient = torch.func.grad(lambda x: residual(problem, x).square().sum() / 2)(x)
    method = Stochastic(optimizer=optimizer, learning_rate=1e-3, ridge=1.0, batch=30)
    memory = {"W": W, "epoch": torch.tensor(0)}
    step = method.step(problem, theta, 0.1, 2, memory)
    found = torch.cat([step.point.theta, step.point.W.reshape(-1)]) - x
    expected = -1e-3 * (gradient if optimizer == "sgd" else gradient / (gradient.abs() + 1e-8))
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-15)
    assert step.gradient_norm == pytest.approx(float(gradient.norm()), rel=1e-12)
    assert (step.work_units, step.accepted) == (2, True)
    after = residual(problem, x + found).detach()
    assert step.point.phi == pytest.approx(0.5 * float(after.square().sum()), rel=1e-12)


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_one_batch_is_a_step_on_phi_with_cross_entropy(optimizer, smooth):
    problem, theta = classifying(alpha1=0.1, alpha2=0.2, smooth=smooth)
    W = normal(3, 5, seed=5)
    x = torch.cat([theta, W.reshape(-1)])
    gradient = torch.func.grad(lambda x: objective(problem, x)[0])(x)
    method = Stochastic(optimizer=optimizer, learning_rate=1e-3, ridge=1.0, batch=30)
    step = method.step(problem, theta, 0.1, 2, {"W": W, "epoch": torch.tensor(0)})
    found = torch.cat([step.point.theta, step.point.W.reshape(-1)]) - x
    expected = -1e-3 * (gradient if optimizer == "sgd" else gradient / (gradient.abs() + 1e-8))
    assert torch.allclose(found, expected, rtol=1e-8, atol=1e-14)
    assert step.point.phi == pytest.approx(float(objective(problem, x + found)[0]), rel=1e-12)


def test_an_epoch_takes_each_sample_once_in_an_order_of_its_own(monkeypatch):
    problem, theta = setting()
    seen = []
    forward = AntisymmetricODE.forward

    def watched(self, Y):
        seen.append(Y)
        return forward(self, Y)

    monkeypatch.setattr(AntisymmetricODE, "forward", watched)
    orders = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        seen.clear()
        method = Stochastic(optimizer="sgd", learning_rate=1e-3, ridge=1.0, seed=seed, batch=8)
        W, _ = started(problem, theta)
        method.step(problem, theta, 0.1, 2, {"W": W, "epoch": torch.tensor(epoch)})
        batches = seen[:-1]  # the last is the whole set, for Phi
        assert [len(batch) for batch in batches] == [8, 8, 8, 6]
        orders.append(torch.cat(batches)[:, 0].tolist())
    first = problem.features.Y[:, 0].tolist()
    assert all(sorted(order) == sorted(first) for order in orders)
    assert len({tuple(order) for order in [*orders, first]}) == 4


def test_an_epoch_that_diverges_is_refused():
    problem, theta = setting()
    steps = iterate(
        Stochastic(optimizer="sgd", learning_rate=100.0, ridge=1.0), problem, theta, 500
    )
    assert not steps[-1].accepted and math.isfinite(steps[-1].point.phi)
    assert torch.equal(steps[-1].point.theta, steps[-2].point.theta)
    assert torch.equal(steps[-1].point.W, steps[-2].point.W)


# All


@each_method
@pytest.mark.parametrize("made", [setting, classifying])
def test_the_objective_falls_and_falls_alike_again(method, made):
    problem, theta = made()
    steps = iterate(method, problem, theta, 40)
    assert steps[-1].point.phi < min(0.97 * problem.at(theta).phi, steps[0].point.phi)
    again = iterate(method, problem, theta, 40)
    assert torch.equal(steps[-1].point.theta, again[-1].point.theta)
    assert torch.equal(steps[-1].point.W, again[-1].point.W)


def last_of(method):
    """Return where a method is after five iterations, W solved for there, and what it carries."""
    problem, theta = setting()
    last = iterate(method, problem, theta, 5)[-1]
    return last, problem.at(last.point.theta), method.carried(last.memory)


def test_lbfgs_has_the_w_that_solves_the_inner_problem_and_carries_nothing():
    last, solved, carried = last_of(next(m for m in METHODS.values() if isinstance(m, LBFGS)))
    assert torch.equal(last.point.W, solved.W) and carried == {}


@pytest.mark.parametrize(
    "name", [name for name, method in METHODS.items() if not isinstance(method, LBFGS)]
)
def test_joint_methods_have_a_w_of_their_own_and_carry_it_on(name):
    last, solved, carried = last_of(METHODS[name])
    assert last.point.phi > solved.phi
    assert torch.equal(carried["W"], last.point.W) and set(carried) <= {"W", "epoch"}


@pytest.mark.parametrize("name", ["gn", "adam", "sgd"])
def test_the_first_w_is_the_regularised_solution(name, monkeypatch):
    problem, theta = setting()
    solved = []

    def recorded(loss, Z, C, alpha2, *rest, **others):
        solved.append((Z, C, alpha2))
        return solve(loss, Z, C, alpha2, *rest, **others)

    monkeypatch.setattr("surrogates.training.outer.gauss_newton.solve", recorded)
    first = METHODS[name].step(problem, theta, 0.1, 100, {})
    METHODS[name].step(problem, first.point.theta, 0.1, 100, first.memory)
    ((Z, C, ridge),) = solved
    assert torch.equal(Z, with_ones(problem.features(theta))) and C is problem.C
    assert ridge == METHODS[name].ridge


@each_method
def test_a_step_leaves_what_it_is_given_as_it_is(method):
    problem, theta = setting()
    last = iterate(method, problem, theta, 3)[-1]
    given = (last.point.theta, *last.memory.values())
    copies = [value.clone() for value in given]
    method.step(problem, last.point.theta, last.radius, 100, last.memory)
    assert all(torch.equal(value, copy) for value, copy in zip(given, copies, strict=True))
    assert all(isinstance(value, torch.Tensor) for value in last.memory.values())


@each_method
def test_features_that_are_not_finite_are_refused(method):
    problem, theta = setting()
    with pytest.raises(ValueError, match="finite (features|values)"):
        method.step(problem, theta * np.nan, 0.1, 100, {})
