"""Rows of derivatives in the inner and the outer problem, against torch.func."""

import dataclasses
import math

import pytest
import torch
from draws import networks, normal, orders
from torch.func import functional_call, jacrev, jvp

from surrogates.model.networks import with_ones
from surrogates.training.beside import WithInputs
from surrogates.training.features import Directions, Features
from surrogates.training.inner.varpro import solve_w
from surrogates.training.outer import dense
from surrogates.training.outer.along import products_along, squares_along
from surrogates.training.outer.dense import Structure, gauss_newton_matrix
from surrogates.training.outer.gauss_newton import ReducedProblem

NAMES = ["ode", "mlp", "resnet", "linear", "sequential", "convolution"]


def directions(n, r, seed=11):
    """Every second sample has directions; of the last, one is left out (zero)."""
    samples = torch.arange(0, n, 2)
    V = normal(len(samples), r, 6, seed=seed)
    V[-1, -1] = 0
    return Directions(samples=samples, V=V)


def problem(name, n=17, n_out=3, r=4, alpha2=1e-3, chunk=8192, along=None):
    module = WithInputs(networks()["ode"]) if name == "linear" else networks()[name]
    along = directions(n, r) if along is None else along
    Y = normal(n, 6, seed=1)
    features = Features(module, Y, chunk=chunk, directions=along)
    C = normal(features.n_rows, n_out, seed=2)
    made = ReducedProblem(features=features, C=C, alpha1=1e-3, alpha2=alpha2)
    return made, 0.5 * normal(features.n_theta, seed=3)


def design(made, theta):
    """[F, 1] and [F' v, 0], written out: torch.func differentiates it."""
    features, start, parameters = made.features, 0, {}
    for name, parameter in features.module.named_parameters():
        parameters[name] = theta[start : start + parameter.numel()].view(parameter.shape)
        start += parameter.numel()

    def of(Y):
        return functional_call(features.module, parameters, (Y,))

    rows = [with_ones(of(features.Y))]
    for y, V in zip(features.Y[features.directions.samples], features.directions.V, strict=True):
        for v in V:
            along = jvp(of, (y[None],), (v[None],))[1]
            rows.append(torch.cat([along, along.new_zeros((1, 1))], dim=1))
    return torch.cat(rows)


def reduced_residual(made, theta):
    Z = design(made, theta)
    m, n = Z.shape[1], len(made.features.Y)
    eye = torch.eye(m, dtype=Z.dtype)
    A = torch.cat([Z / math.sqrt(n), math.sqrt(made.alpha2) * eye])
    B = torch.cat([made.C / math.sqrt(n), made.C.new_zeros((m, made.C.shape[1]))])
    return (A @ torch.linalg.solve(A.T @ A, A.T @ B) - B).reshape(-1)


def close(found, expected, tolerance=1e-10):
    return torch.linalg.norm(found - expected) < tolerance * torch.linalg.norm(expected)


@pytest.mark.parametrize("r", [4, 9])
@pytest.mark.parametrize("name", NAMES)
def test_rows_of_directions_are_derivatives_of_the_features(name, r):
    made, theta = problem(name, r=r)
    assert close(made.features.design(made.features(theta)), design(made, theta), 1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_a_taylor_test_of_the_rows(name):
    made, theta = problem(name)
    samples, V = made.features.directions.samples, made.features.directions.V
    values = Features(made.features.module, made.features.Y[samples])
    along = made.features(theta)[17:].view(*V.shape[:2], -1)
    remainders = []
    for k in range(4, 10):
        h = 2.0**-k
        there = Features(made.features.module, made.features.Y[samples] + h * V[:, 0])
        change = there(theta) - values(theta)
        remainders.append(float((change - h * along[:, 0]).norm()))
    if name == "convolution":  # its ReLU has no second derivative: linear but at kinks
        assert remainders[-1] < 1e-3 * float(along.norm())
        return
    assert min(orders(remainders)[-4:]) > 1.8


@pytest.mark.parametrize(("n_out", "r"), [(7, 4), (2, 4), (3, 9)])
@pytest.mark.parametrize("name", NAMES)
def test_w_gradient_and_matrix_are_those_of_torch_func(name, n_out, r):
    """Nine directions are more than features, and more than inputs: their rows are turned."""
    made, theta = problem(name, n_out=n_out, r=r)
    here, operator, gradient = made.linearised(theta)
    Z = design(made, theta)
    n, m = len(made.features.Y), Z.shape[1]
    normal_matrix = Z.T @ Z / n + made.alpha2 * torch.eye(m, dtype=Z.dtype)
    assert close(here.W, torch.linalg.solve(normal_matrix, Z.T @ made.C / n).T)
    R = reduced_residual(made, theta)
    assert abs(float(R @ R) / 2 + made.penalty.value(theta) - here.phi) < 1e-12 * here.phi
    J = jacrev(lambda theta: reduced_residual(made, theta))(theta)
    assert close(gradient, J.T @ R + made.alpha1 * theta)
    structure = Structure(made.features)
    H = gauss_newton_matrix(structure, theta, here.inner)
    eye = torch.eye(len(H), dtype=H.dtype)
    basis = torch.stack([structure.parameters_at(e) for e in eye], dim=1)
    expected = basis.T @ (J.T @ J) @ basis
    assert close(H, expected)
    assert close(J @ basis @ basis.T, J, 1e-12)  # what the coordinates leave out has no effect
    v = structure.parameters_at(normal(len(H), seed=5))
    assert close(operator.gram(v), J.T @ (J @ v))
    assert close(operator.T @ (operator @ v), J.T @ (J @ v))
    assert operator.shape == tuple(J.shape)


@pytest.mark.parametrize("name", ["mlp", "resnet"])
def test_a_diagonal_layer_gives_what_its_matrices_give(name):
    n, r = 9, 3
    found = networks()[name].sensitivities_along(normal(n, 6, seed=1), normal(n, r, 6, seed=2))
    *others, (S, A, dS, dA) = found.layers
    assert S.shape == (n, 4) and dS.shape == (n, r, 4)
    written_out = (torch.diag_embed(S), A, torch.diag_embed(dS), dA)
    full = dataclasses.replace(found, layers=(*others, written_out))
    L, p = normal(3, 4, seed=3), normal(n * r, 5, seed=4)
    with torch.no_grad():
        assert close(squares_along(found, L), squares_along(full, L), 1e-13)
        assert close(products_along(found, p), products_along(full, p), 1e-13)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softplus"])
def test_the_structure_holds_for_every_activation(activation):
    for name in ("ode", "mlp"):
        made, theta = problem(name)
        module = made.features.module
        module.activation = activation
        features = Features(module, made.features.Y, directions=made.features.directions)
        made = ReducedProblem(features=features, C=made.C, alpha1=0.0, alpha2=1e-3)
        J = jacrev(lambda theta, made=made: reduced_residual(made, theta))(theta)
        structure = Structure(features)
        H = gauss_newton_matrix(structure, theta, made.at(theta).inner)
        eye = torch.eye(len(H), dtype=H.dtype)
        basis = torch.stack([structure.parameters_at(e) for e in eye], dim=1)
        assert close(H, basis.T @ (J.T @ J) @ basis)


@pytest.mark.parametrize("r", [4, 7])
@pytest.mark.parametrize("name", ["ode", "mlp", "convolution"])
def test_chunks_change_nothing(name, r, monkeypatch):
    made, theta = problem(name, r=r)
    whole = gauss_newton_matrix(Structure(made.features), theta, made.at(theta).inner)
    _, J, gradient = made.linearised(theta)
    v = normal(len(theta), seed=5)
    product = J.gram(v)
    module, Y = made.features.module, made.features.Y
    small = Features(module, Y, chunk=5, directions=made.features.directions)
    assert not small.whole
    parts = ReducedProblem(features=small, C=made.C, alpha1=1e-3, alpha2=1e-3)
    _, J, same = parts.linearised(theta)
    assert close(same, gradient, 1e-13)
    assert close(J.gram(v), product, 1e-13)
    monkeypatch.setattr(dense, "BYTES", 2**14)
    structure = Structure(small)
    assert len(list(structure.chunks_along(theta))) > 2
    H = gauss_newton_matrix(structure, theta, parts.at(theta).inner)
    assert close(H, whole, 1e-13)


@pytest.mark.parametrize("r", [2, 5])
def test_zero_directions_are_as_none(r):
    V = torch.zeros((17, r, 6), dtype=torch.float64)
    made, theta = problem("ode", along=Directions(samples=torch.arange(17), V=V))
    features = Features(made.features.module, made.features.Y)
    alone = ReducedProblem(features=features, C=made.C[:17], alpha1=1e-3, alpha2=1e-3)
    zero = made.C.clone()
    zero[17:] = 0
    along = ReducedProblem(features=made.features, C=zero, alpha1=1e-3, alpha2=1e-3)
    here, _, gradient = along.linearised(theta)
    there, _, expected = alone.linearised(theta)
    assert close(here.W, there.W, 1e-12)
    assert close(gradient, expected, 1e-11)
    assert close(here.W, solve_w(with_ones(features(theta)), made.C[:17], 1e-3), 1e-12)
    matrices = [
        gauss_newton_matrix(Structure(one.features), theta, one.at(theta).inner)
        for one in (along, alone)
    ]
    assert close(*matrices, 1e-12)


@pytest.mark.parametrize("name", ["ode", "mlp", "resnet"])
def test_more_directions_than_features_take_as_many_rows_as_features(name):
    made, theta = problem(name, r=9)
    ((_, one),) = Structure(made.features).chunks_along(theta)
    assert one.D.shape[1] == one.layers[0][2].shape[1] == 4
    eye = torch.eye(4, dtype=torch.float64).expand(9, 4, 4)
    assert torch.allclose(one.Q.transpose(1, 2) @ one.Q, eye, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_a_process_whose_samples_have_no_direction_has_the_numbers_of_values_alone(name):
    empty = Directions(
        samples=torch.zeros(0, dtype=torch.int64), V=torch.zeros((0, 3, 6), dtype=torch.float64)
    )
    made, theta = problem(name, along=empty)
    alone = Features(made.features.module, made.features.Y)
    expected = ReducedProblem(features=alone, C=made.C, alpha1=1e-3, alpha2=1e-3)
    _, J, gradient = made.linearised(theta)
    _, other, same = expected.linearised(theta)
    assert close(gradient, same, 1e-14)
    v = normal(len(theta), seed=5)
    assert close(J.gram(v), other.gram(v), 1e-14)
    H = gauss_newton_matrix(Structure(made.features), theta, made.at(theta).inner)
    matrix = gauss_newton_matrix(Structure(alone), theta, expected.at(theta).inner)
    assert close(H, matrix, 1e-14)
