"""BoTorch optimises acquisition functions of a surrogate, by torch's gradients."""

import numpy as np
import pytest
import torch
from botorch.acquisition import LogExpectedImprovement, UpperConfidenceBound
from botorch.acquisition.objective import ScalarizedPosteriorTransform
from botorch.models.deterministic import DeterministicModel
from botorch.optim import optimize_acqf

import surrogates
from surrogates import InputError
from surrogates.adapters import botorch as adapter


@pytest.fixture
def scripted(folder):
    """Its errors are about 0.03, and outputs about one."""
    return surrogates.load(folder / "noisy.pt")


def test_the_posterior_has_the_predictions_and_their_deviations(scripted, draws, close):
    Y = torch.tensor(draws[:6].reshape(3, 2, 2))
    posterior = adapter.model(scripted).posterior(Y)
    close(posterior.mean.detach().numpy(), scripted.predict(Y.numpy()))
    std = scripted.predict_std(Y.numpy())
    np.testing.assert_allclose(posterior.variance.detach().sqrt().numpy(), std, rtol=1e-6)
    samples = posterior.rsample(torch.Size([4000])).detach().numpy()
    assert samples.shape == (4000, 3, 2, 3)
    # The relative error of a deviation of n draws is 1 / sqrt(2 n): five of them are allowed.
    np.testing.assert_allclose(samples.std(axis=0), std, rtol=5 / np.sqrt(2 * 4000))


def test_some_outputs_are_those_of_the_whole(scripted, draws, close):
    unit = np.array([0.1, 2.0, 3.0])
    model, Y = adapter.model(scripted, unit=unit), torch.tensor(draws)
    assert model.num_outputs == 3 and model.subset_output([2, 0]).num_outputs == 2
    for one in (
        model.posterior(Y, output_indices=[2, 0]),
        model.subset_output([2, 0]).posterior(Y),
    ):
        close(one.mean.detach().numpy() * unit[[2, 0]], scripted.predict(draws)[:, [2, 0]])
    single = model.subset_output([1]).posterior(Y)
    assert single.mean.shape == (7, 1)
    std = scripted.predict_std(draws)[:, [1]] / unit[1]
    np.testing.assert_allclose(single.variance.detach().sqrt().numpy(), std, rtol=1e-6)


def test_the_gradient_of_an_acquisition_has_that_of_the_deviation(scripted, draws):
    acquisition = UpperConfidenceBound(adapter.model(scripted.select([1])), beta=1e4)
    y = torch.tensor(draws[:1], requires_grad=True)
    (slope,) = torch.autograd.grad(acquisition(y[:, None])[0], y)

    def value(at):  # c + sqrt(beta) std
        return scripted.predict(at)[1] + 100 * scripted.predict_std(at)[1]

    step = 1e-5
    found = [
        (value(draws[0] + step * e) - value(draws[0] - step * e)) / (2 * step) for e in np.eye(2)
    ]
    np.testing.assert_allclose(slope[0].numpy(), found, rtol=1e-5)
    J = scripted.jacobian(draws[0])[1]
    assert (np.abs(slope[0].numpy() - J) > 0.01 * np.abs(J)).any()  # the deviation's part counts


def test_the_greatest_value_of_an_output_is_found(surrogate):
    model = adapter.model(surrogate.select([0]), deterministic=True)
    assert isinstance(model, DeterministicModel)
    torch.manual_seed(0)
    acquisition = UpperConfidenceBound(model, beta=1.0)
    best, value = optimize_acqf(
        acquisition, adapter.bounds(surrogate), q=1, num_restarts=4, raw_samples=32
    )
    axes = [np.linspace(*ends, 101) for ends in surrogate.bounds.T]
    grid = surrogate.predict(np.stack(np.meshgrid(*axes), axis=-1))[..., 0]
    assert grid.max() - 1e-6 < value.item() < grid.max() + 1e-3
    # The acquisition has a tiny variance in place of none, 1e-12.
    assert abs(surrogate.predict(best.numpy())[0, 0] - value.item()) < 1e-5


def test_a_scalar_of_the_outputs_is_improved(scripted, draws):
    weights = torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)
    model = adapter.model(scripted)
    transform = ScalarizedPosteriorTransform(weights)
    posterior = model.posterior(torch.tensor(draws), posterior_transform=transform)
    right = scripted.predict(draws) @ weights.numpy()
    np.testing.assert_allclose(posterior.mean.detach().numpy()[:, 0], right, rtol=1e-9, atol=1e-9)
    deviation = np.sqrt(scripted.predict_std(draws) ** 2 @ weights.numpy() ** 2)
    found = posterior.variance.detach().sqrt().numpy()[:, 0]
    np.testing.assert_allclose(found, deviation, rtol=1e-6)
    improvement = LogExpectedImprovement(model, best_f=right.min(), posterior_transform=transform)
    assert torch.isfinite(improvement(torch.tensor(draws)[:, None])).all()


def test_the_program_finds_the_parameters_of_the_data(program):
    names = program("botorch")
    np.testing.assert_allclose(names["best"].numpy(), [[2.0, 0.3]], atol=1e-2)


def test_deviations_need_the_torch_engine(surrogate, folder):
    with pytest.raises(InputError, match=r"load the \.pt file of .*oscillator.npz, or take determ"):
        adapter.model(surrogate)


def test_a_unit_is_checked(surrogate):
    with pytest.raises(InputError, match=r"expected one unit > 0, or 3; got \[1, 2\]"):
        adapter.model(surrogate, unit=[1, 2], deterministic=True)
    model = adapter.model(surrogate, unit=[1, 2, 4], deterministic=True)
    y = torch.tensor([[2.0, 0.3]], dtype=torch.float64)
    np.testing.assert_allclose(model(y).numpy(), surrogate.predict(y) / [1, 2, 4], rtol=1e-15)


def test_points_of_the_cube_are_mapped_between_the_bounds(scripted, draws, close):
    lower, upper = scripted.bounds
    X = torch.tensor((draws - lower) / (upper - lower), requires_grad=True)
    assert adapter.bounds(scripted, cube=True).tolist() == [[0.0, 0.0], [1.0, 1.0]]
    np.testing.assert_array_equal(adapter.bounds(scripted), scripted.bounds)
    np.testing.assert_allclose(adapter.from_cube(scripted, X).detach(), draws, rtol=1e-15)
    for model in (adapter.model(scripted, cube=True).subset_output([2]), fixed_in_cube(scripted)):
        mean = model.posterior(X).mean
        close(mean.detach().numpy()[:, 0], scripted.predict(draws)[:, 2])
        (slope,) = torch.autograd.grad(mean.sum(), X)
        close(slope.numpy(), scripted.jacobian(draws)[:, 2] * (upper - lower))
    posterior = adapter.model(scripted, cube=True).posterior(X)
    std = scripted.predict_std(draws)
    np.testing.assert_allclose(posterior.variance.detach().sqrt().numpy(), std, rtol=1e-6)


def fixed_in_cube(surrogate):
    return adapter.model(surrogate.select([2]), cube=True, deterministic=True)


def test_weights_that_sum_to_one_are_found_in_a_cube_of_two(folder):
    weights = surrogates.load(folder / "weights.pt")
    with pytest.raises(InputError, match=r"satisfy 1 linear relation, .*: take cube=True"):
        adapter.bounds(weights)
    ends = adapter.bounds(weights, cube=True)
    assert ends.shape == (2, 2)
    X = torch.rand(20, 2, dtype=torch.float64, requires_grad=True)
    y = adapter.from_cube(weights, X)
    assert weights.in_domain(y.detach().numpy()).all()
    model = adapter.model(weights.select([0]), cube=True)
    (slope,) = torch.autograd.grad(model.posterior(X).mean.sum(), X)
    step = 1e-6
    difference = [
        (model(X + step * e) - model(X - step * e))[:, 0] / (2 * step) for e in torch.eye(2)
    ]
    right = torch.stack(difference, dim=1).detach().numpy()
    np.testing.assert_allclose(slope.numpy(), right, rtol=1e-5, atol=1e-7)
    torch.manual_seed(0)
    acquisition = UpperConfidenceBound(model, beta=1e-6)
    best, value = optimize_acqf(acquisition, ends, q=1, num_restarts=4, raw_samples=64)
    # The output grows with the first weight most of all.
    grid = adapter.from_cube(weights, torch.rand(20000, 2, dtype=torch.float64))
    assert value.item() > weights.predict(grid.numpy())[:, 0].max() - 1e-3
