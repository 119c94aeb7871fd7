"""The Gauss-Newton matrix in Kronecker products, and L-BFGS that starts from it."""

import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from draws import Poisson, classes, normal, orders

from surrogates.model.networks import AntisymmetricODE
from surrogates.training.communicator import Communicator
from surrogates.training.features import Features
from surrogates.training.inner.losses import CrossEntropy, LeastSquares
from surrogates.training.outer import kronecker
from surrogates.training.outer.gauss_newton import GaussNewton, ReducedProblem
from surrogates.training.outer.kronecker import Kronecker, KroneckerMatrix
from surrogates.training.outer.lbfgs import LBFGS, inverse_times


def linear(n_in=3, width=2):
    """Features without an activation: a linear layer with a bias."""
    return torch.nn.Linear(n_in, width).double()


def bent(n_in=3, width=4):
    return AntisymmetricODE(n_in, width, 1, generator=torch.Generator().manual_seed(0))


def setting(net=None, n=30, n_out=1, loss=None, C=None, alpha1=1e-3, smooth=False):
    """A problem, and its point at a random theta."""
    features = Features(net or bent(), normal(n, 3, seed=1))
    C = normal(n, n_out, seed=2) if C is None else C
    problem = ReducedProblem(
        features=features,
        C=C,
        alpha1=alpha1,
        alpha2=1e-3,
        loss=loss or LeastSquares(),
        smooth=smooth,
    )
    return problem, problem.at(0.5 * normal(features.n_theta, seed=3))


def of_classes(n=30, **more):
    return setting(n=n, loss=CrossEntropy(), C=classes(n, 3, seed=2), **more)


def written_out(matrix, n_theta):
    return torch.stack([matrix @ e for e in torch.eye(n_theta, dtype=torch.float64)], dim=1)


def gauss_newton(problem, here):
    """The Gauss-Newton matrix at fixed W, by torch: its blocks, and the outputs' derivatives."""
    names = [name for name, _ in problem.features.module.named_parameters()]
    shapes = problem.features.shapes

    def outputs(theta):
        pieces = torch.split(theta, [shape.numel() for shape in shapes])
        parameters = {n: p.view(s) for n, p, s in zip(names, pieces, shapes, strict=True)}
        module, Y = problem.features.module, problem.features.Y
        return torch.func.functional_call(module, parameters, (Y,)) @ here.W[:, :-1].T

    dO = torch.func.jacrev(outputs)(here.theta)
    D = problem.loss.hessian(outputs(here.theta) + here.W[:, -1], problem.C)
    return torch.einsum("nkp,nkl,nlq->pq", dO, D, dO) / len(problem.C)


def blocks(problem):
    """The parameters' places in theta."""
    ends = torch.tensor([0] + [s.numel() for s in problem.features.shapes]).cumsum(0).tolist()
    return [slice(a, b) for a, b in zip(ends, ends[1:], strict=False)]


def test_a_linear_layer_with_one_output_has_its_matrix_exactly():
    problem, here = setting(linear())
    found = KroneckerMatrix.of(problem, here)
    G = gauss_newton(problem, here)
    H = written_out(found, len(here.theta))
    for block in blocks(problem):
        eye = torch.eye(block.stop - block.start, dtype=torch.float64)
        torch.testing.assert_close(H[block, block], G[block, block] + found.shift * eye)
        H[block, block] = 0
    assert float(H.abs().max()) == 0  # nothing but blocks
    mean = float(G.trace()) / len(G)
    assert found.shift == pytest.approx(1e-3 + kronecker.DAMPING * mean, rel=1e-12)


@pytest.mark.parametrize("loss", [LeastSquares(), Poisson()])
def test_traces_and_biases_are_exact_with_one_output(loss):
    problem, here = setting(loss=loss, C=normal(30, 1, seed=2).abs())
    found = KroneckerMatrix.of(problem, here)
    G = gauss_newton(problem, here)
    H = written_out(found, len(here.theta)) - found.shift * torch.eye(len(G), dtype=torch.float64)
    for block, shape in zip(blocks(problem), problem.features.shapes, strict=True):
        assert float(H[block, block].trace()) == pytest.approx(float(G[block, block].trace()))
        if len(shape) == 1:
            torch.testing.assert_close(H[block, block], G[block, block], rtol=1e-9, atol=1e-12)
        assert float(torch.linalg.eigvalsh(H[block, block])[0]) > -1e-12


@pytest.mark.parametrize("problem_of", [lambda: setting(n_out=3), of_classes])
def test_random_signs_give_the_matrix_on_average(problem_of):
    problem, here = problem_of()
    bias = blocks(problem)[1]
    assert problem.features.shapes[1] == (4,)
    G = gauss_newton(problem, here)[bias, bias]
    mean = torch.zeros_like(G)
    for seed in range(100):
        block = KroneckerMatrix.of(problem, here, seed).blocks[1]
        mean += (block.bases[0] * block.values[0]) @ block.bases[0].T / 100
    gap = float((mean - G).norm() / G.norm())
    one = KroneckerMatrix.of(problem, here, 0).blocks[1]
    alone = float(((one.bases[0] * one.values[0]) @ one.bases[0].T - G).norm() / G.norm())
    assert 3 * gap < alone < 1 and gap < 0.06


@pytest.mark.parametrize("smooth", [False, True])
def test_the_matrix_is_positive_and_solved_and_written_as_tensors(smooth):
    problem, here = of_classes(smooth=smooth)
    found = KroneckerMatrix.of(problem, here)
    H = written_out(found, len(here.theta))
    assert torch.allclose(H, H.T, rtol=1e-12, atol=1e-15)
    assert float(torch.linalg.eigvalsh(H)[0]) == pytest.approx(found.shift, rel=0.5)
    v = normal(len(here.theta), seed=5)
    assert torch.allclose(found.solve(found @ v), v, rtol=1e-10, atol=1e-13)
    memory = found.memory()
    assert all(isinstance(value, torch.Tensor) for value in memory.values())
    again = KroneckerMatrix.remembered(problem, memory)
    assert torch.equal(found.solve(v), again.solve(v))
    trace = float(torch.func.hessian(problem.penalty.of)(here.theta).trace())
    assert problem.penalty.mean == pytest.approx(trace / len(here.theta))


def test_rotated_inputs_and_features_have_the_same_step_rotated():
    problem, here = of_classes(net=bent(width=3))
    Q = torch.linalg.qr(normal(3, 3, seed=7))[0]
    turned = replace(problem, features=Features(bent(width=3), problem.features.Y @ Q))

    def rotated(theta):
        first = theta[:9].view(3, 3) @ Q
        return torch.cat([first.reshape(-1), theta[9:]])

    there = turned.at(rotated(here.theta))
    assert there.phi == pytest.approx(here.phi, rel=1e-10)
    v = normal(len(here.theta), seed=5)
    steps = (
        KroneckerMatrix.of(problem, here).solve(v),
        KroneckerMatrix.of(turned, there).solve(rotated(v)),
    )
    torch.testing.assert_close(rotated(steps[0]), steps[1], rtol=1e-8, atol=1e-10)


def test_rotated_outputs_have_the_same_matrix():
    problem, here = setting(n_out=3)
    Q = torch.linalg.qr(normal(3, 3, seed=7))[0]
    turned = replace(problem, C=problem.C @ Q)
    v = normal(len(here.theta), seed=5)
    expected = KroneckerMatrix.of(problem, here).solve(v)
    for there in (turned, replace(problem, C=-problem.C)):
        found = KroneckerMatrix.of(there, there.at(here.theta)).solve(v)
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


def test_a_long_dimension_has_the_trace_alone(monkeypatch):
    problem, here = setting()
    before = KroneckerMatrix.of(problem, here)
    monkeypatch.setattr(kronecker, "_LARGEST", 3)
    found = KroneckerMatrix.of(problem, here)
    assert found.shift == before.shift
    assert [None if U is None else len(U) for U in found.blocks[0].bases] == [None, 3]
    eye = torch.eye(len(here.theta), dtype=torch.float64)
    for matrix in (found, KroneckerMatrix.remembered(problem, found.memory())):
        H = written_out(matrix, len(here.theta)) - found.shift * eye
        for block in blocks(problem):
            expected = (written_out(before, len(here.theta)) - found.shift * eye)[block, block]
            assert float(H[block, block].trace()) == pytest.approx(float(expected.trace()))
        bias = H[blocks(problem)[1], blocks(problem)[1]]
        assert torch.allclose(bias, bias[0, 0] * eye[:4, :4], rtol=1e-12, atol=1e-15)


class Share(Communicator):
    """One of two processes, whose sums are its own."""

    def __init__(self, rank):
        super().__init__()
        self.rank, self.size = rank, 2

    def count(self, n):
        return 31 if n in (15, 16) else n


def test_evenly_spread_samples_stand_for_all_and_keep_their_signs(monkeypatch):
    monkeypatch.setattr(kronecker, "SAMPLES", 11)
    problem, here = setting(n=31, n_out=3)
    rows, T = kronecker._cotangents(here, 31, 5)
    assert rows.tolist() == list(range(0, 31, 3))
    L = here.inner.outer_terms(slice(None))[0]
    ratio = T @ torch.linalg.pinv(L)  # L has a row for each of the three outputs
    assert torch.allclose(ratio.abs(), torch.full_like(ratio, math.sqrt(31 / 11)))
    found = []
    for rank in (0, 1):
        inner = replace(here.inner, comm=Share(rank))
        some, part = kronecker._cotangents(replace(here, inner=inner), 31, 5)
        found += [(rank + 2 * int(i), t) for i, t in zip(some, part, strict=True)]
    found.sort(key=lambda pair: pair[0])
    assert [i for i, _ in found] == rows.tolist()
    assert torch.equal(torch.stack([t for _, t in found]), T)


def test_the_secant_equation_holds_for_any_initial_matrix():
    problem, here = of_classes()
    matrix = KroneckerMatrix.of(problem, here)
    n = len(here.theta)
    s, y = normal(4, n, seed=1), normal(4, n, seed=2)
    y = y + 10 * s
    torch.testing.assert_close(inverse_times(s, y, y[-1], matrix), s[-1])
    # Without pairs it is the matrix's inverse, with them the dense update of that, scaled.
    v = normal(n, seed=3)
    assert torch.equal(inverse_times(s[:0], y[:0], v, matrix), matrix.solve(v))
    eye = torch.eye(n, dtype=torch.float64)
    H = torch.linalg.inv(written_out(matrix, n))
    H = (s[-1] @ y[-1]) / (y[-1] @ H @ y[-1]) * H
    for a, b in zip(s, y, strict=True):
        rho = 1 / (a @ b)
        V = eye - rho * torch.outer(b, a)
        H = V.T @ H @ V + rho * torch.outer(a, a)
    torch.testing.assert_close(inverse_times(s, y, v, matrix), H @ v, rtol=1e-8, atol=1e-10)


def iterate(method, problem, theta, n, radius=0.1):
    steps, memory = [], {}
    for _ in range(n):
        steps.append(method.step(problem, theta, radius, 10**6, memory))
        theta, radius, memory = steps[-1].point.theta, steps[-1].radius, steps[-1].memory
        if not steps[-1].accepted:
            break
    return steps


@pytest.mark.parametrize("problem_of", [lambda: setting(n_out=3), of_classes])
def test_the_first_step_is_the_matrix_s_and_no_longer_than_the_radius(problem_of):
    problem, here = problem_of()
    _, _, gradient = problem.linearised(here.theta)
    expected = -KroneckerMatrix.of(problem, here).solve(gradient)
    for radius in (1e-4, 1e6):
        moved = Kronecker().step(problem, here.theta, radius, 6, {}).point.theta - here.theta
        assert float(moved @ expected / (moved.norm() * expected.norm())) == pytest.approx(1)
        assert float(moved.norm()) <= min(radius, float(expected.norm())) * (1 + 1e-12)


@pytest.mark.parametrize("problem_of", [lambda: setting(n_out=3), of_classes])
def test_the_objective_has_the_predicted_slope_along_the_direction(problem_of):
    problem, here = problem_of()
    _, _, gradient = problem.linearised(here.theta)
    direction = -KroneckerMatrix.of(problem, here).solve(gradient)
    slope = float(gradient @ direction)
    assert slope < 0
    sizes = [2.0**-k for k in range(7, 14)]
    values = [problem.at(here.theta + t * direction).phi for t in sizes]
    remainders = [abs(v - here.phi - t * slope) for v, t in zip(values, sizes, strict=True)]
    assert min(orders(remainders)[-4:]) > 1.8


def test_work_units_are_counted_and_kept_to():
    problem, here = of_classes()
    for budget in range(6, 14):
        step = Kronecker(slope=0.0).step(problem, here.theta, 1e-6, budget, {})
        assert step.work_units <= budget and step.accepted
    # A step that is found at once: the start, the matrix, and the step; the start, and the step.
    steps = iterate(Kronecker(period=3, slope=1e9), problem, here.theta, 3, radius=1e-3)
    plain = LBFGS(slope=1e9).step(problem, here.theta, 1e-3, 100, {})
    assert (steps[0].work_units, plain.work_units) == (6, 4)
    assert [int(step.memory["count"]) for step in steps] == [1, 2, 3]
    # With room for a step alone, the old matrix serves once more.
    last = steps[2]
    tight = Kronecker(period=3).step(problem, last.point.theta, last.radius, 2, last.memory)
    assert tight.work_units == 2
    wide = Kronecker(period=3, slope=1e9).step(
        problem, last.point.theta, last.radius, 100, last.memory
    )
    assert wide.work_units >= 4
    assert torch.equal(tight.memory["basis.0.0"], last.memory["basis.0.0"])
    assert not torch.equal(wide.memory["basis.0.0"], last.memory["basis.0.0"])


def test_without_a_gradient_there_is_no_step():
    problem, here = setting(C=torch.zeros((30, 1), dtype=torch.float64), alpha1=0.0)
    step = Kronecker().step(problem, here.theta, 1.0, 100, {})
    assert (step.accepted, step.work_units, step.gradient_norm) == (False, 4, 0.0)
    assert torch.equal(step.point.theta, here.theta)


def after(method, problem, theta, work):
    """Phi at the last point of as many work units."""
    spent, memory, radius, phi = 0, {}, 0.1, math.inf
    while spent + 6 <= work:
        step = method.step(problem, theta, radius, work - spent, memory)
        theta, radius, memory, phi = step.point.theta, step.radius, step.memory, step.point.phi
        spent += step.work_units
    return phi


@pytest.mark.parametrize("seed", [0, 1])
def test_classes_need_less_work_than_on_krylov_spaces(seed):
    Y = normal(400, 8, seed=10 + seed)
    net, teacher = (
        AntisymmetricODE(8, 6, 1, generator=torch.Generator().manual_seed(seed + k))
        for k in (0, 50)
    )
    F = Features(teacher, Y)(torch.nn.utils.parameters_to_vector(teacher.parameters()).detach())
    labels = ((F - F.mean(dim=0)) @ normal(6, 4, seed=seed)).argmax(dim=1)
    problem = ReducedProblem(
        features=Features(net, Y),
        C=torch.nn.functional.one_hot(labels, 4).double(),
        alpha1=1e-4,
        alpha2=1e-3,
        loss=CrossEntropy(),
    )
    theta = torch.nn.utils.parameters_to_vector(net.parameters()).detach()
    found, other = (after(method, problem, theta, 100) for method in (Kronecker(), GaussNewton()))
    assert found < 0.5 * other


_IMPORTS = """
import sys, torch
from test_kronecker import of_classes
from surrogates.training.outer.kronecker import KroneckerMatrix

problem, here = of_classes()
torch.func.vmap(torch.sin)(here.theta)
before = set(sys.modules)
KroneckerMatrix.of(problem, here)
print([name for name in ("torch._dynamo", "sympy") if name in set(sys.modules) - before])
"""


def test_the_matrix_does_not_import_torch_s_compiler():
    """It would take longer than a training of few samples."""
    code = f"import sys; sys.path[:0] = {sys.path!r}\n{_IMPORTS}"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True
    )
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("smooth", [False, True])
def test_where_inputs_differ_in_size_it_needs_far_less_work_than_l_bfgs(smooth):
    Y = normal(200, 3, seed=1) * torch.tensor([10.0, 1.0, 0.1], dtype=torch.float64)
    labels = (Y @ torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64) > 0).long()
    C = torch.nn.functional.one_hot(labels, 2).double()
    problem = ReducedProblem(
        features=Features(bent(), Y),
        C=C,
        alpha1=1e-5,
        alpha2=1e-3,
        loss=CrossEntropy(),
        smooth=smooth,
    )
    theta = torch.nn.utils.parameters_to_vector(bent().parameters()).detach()

    assert after(Kronecker(), problem, theta, 60) < after(LBFGS(), problem, theta, 100)
