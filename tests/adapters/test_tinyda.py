"""tinyDA samples the posterior of a model, with the surrogate to propose."""

import numpy as np
import pytest
import tinyDA as tda
from known import normal_log_likelihood, oscillator, posterior_on_a_grid
from scipy import stats

import surrogates
from surrogates.adapters import tinyda as adapter

DATA, NOISE = np.array([0.1, -0.7, -0.3]), np.array([0.02, 0.03, 0.01])


def solve(y):
    return oscillator(y[None])[0]


def test_the_prior_is_uniform_on_the_bounds(surrogate):
    prior, (lower, upper) = adapter.parameters(surrogate), surrogate.bounds
    exact = tda.JointPrior(prior.distributions)
    np.random.seed(0)
    Y = prior.rvs(1000)
    assert surrogate.in_domain(Y).all() and prior.rvs().shape == (2,)
    np.testing.assert_allclose(
        (Y.mean(axis=0) - lower) / (upper - lower), 0.5, atol=4 / (12 * 1000) ** 0.5
    )
    for y in (Y[0], lower, 2 * upper):
        np.testing.assert_allclose(prior.logpdf(y), exact.logpdf(y), rtol=1e-14)
    np.testing.assert_allclose(prior.ppf(np.array([[0.0, 1.0]])), [[lower[0], upper[1]]])


def test_densities_are_those_of_normal_errors(surrogate, draws):
    coarse = adapter.posterior(surrogate, DATA, NOISE)
    fine = adapter.posterior(surrogate, DATA, NOISE, model=solve)
    scale = normal_log_likelihood(DATA[None], DATA, NOISE)[0]
    for target, c in ((coarse, surrogate.predict(draws)), (fine, oscillator(draws))):
        links = [target.create_link(y) for y in draws]
        found = np.array([link.likelihood for link in links])
        np.testing.assert_allclose(found, normal_log_likelihood(c, DATA, NOISE) - scale, rtol=1e-7)


def test_data_may_be_some_and_their_errors_correlated(surrogate, draws):
    names, noise = surrogate.c_names[::2], np.array([[4e-4, 1e-4], [1e-4, 1e-4]])
    target = adapter.posterior(surrogate, dict(zip(names, DATA[::2], strict=True)), noise)
    for y in draws:
        r = surrogate.predict(y)[::2] - DATA[::2]
        link = target.create_link(y)
        np.testing.assert_allclose(link.likelihood, -r @ np.linalg.solve(noise, r) / 2, rtol=1e-6)


def test_a_prior_of_ones_own_where_parameters_satisfy_relations(folder):
    weights = surrogates.load(folder / "weights.npz")
    data = weights.predict([0.2, 0.3, 0.5])
    target = adapter.posterior(weights, data, 0.1, prior=stats.dirichlet(np.ones(3)))
    link = target.create_link(np.array([0.2, 0.3, 0.5]))
    assert link.posterior == pytest.approx(np.log(2), abs=1e-8)  # the density of the simplex


def test_weights_that_sum_to_one_are_sampled_on_their_domain(weights, triangle):
    prior = adapter.parameters(weights)
    np.random.seed(3)
    drawn = prior.rvs(2000)
    assert weights.in_domain(drawn).all() and prior.rvs().shape == (3,)
    mean, spread = triangle()
    np.testing.assert_array_less(np.abs(drawn.mean(axis=0) - mean), 4 * spread / 2000**0.5)
    assert prior.logpdf(np.array([0.5, 0.5, 0.5])) == -np.inf
    target = adapter.posterior(weights, [1.6, 1.0], 0.1)
    likelihood = weights.likelihood([1.6, 1.0], 0.1, surrogate_errors=False)
    chain = tda.sample(
        target,
        tda.GaussianRandomWalk(0.5 * np.cov(drawn.T)),
        iterations=6000,
        initial_parameters=mean,
        force_sequential=True,
    )
    found = tda.to_inference_data(chain, parameter_names=list(weights.y_names))
    samples = np.stack([found.posterior[name].values[0] for name in weights.y_names], axis=1)
    assert weights.in_domain(samples).all()
    check(samples, *triangle(likelihood.log_density))


def test_a_model_is_not_called_where_the_prior_is_zero(surrogate, draws):
    calls = []
    fine = adapter.posterior(surrogate, DATA, NOISE, model=lambda y: calls.append(y) or solve(y))
    assert fine.create_link(9 * draws[0]).posterior == -np.inf and not calls
    assert np.isfinite(fine.create_link(draws[0]).posterior) and len(calls) == 1


def test_a_chain_samples_the_posterior_of_the_model_not_of_the_surrogate(surrogate):
    """The model differs from the surrogate by more than the noise."""
    data, noise = DATA, 0.03

    def shifted(y):
        return solve(y) + [0.03, 0.0, -0.03]

    def on_a_grid(shift):
        def log_likelihood(Y):
            return normal_log_likelihood(oscillator(Y) + shift, data, np.full(3, noise))

        return posterior_on_a_grid(log_likelihood, surrogate.bounds)

    mean, spread, _ = on_a_grid([0.03, 0.0, -0.03])
    other = on_a_grid([0.0, 0.0, 0.0])[0]
    assert np.abs(mean - other).max() > 0.5 * spread.max()
    coarse = adapter.posterior(surrogate, data, noise)
    fine = adapter.posterior(surrogate, data, noise, model=shifted)
    samples = sampled(surrogate, [coarse, fine], mean, spread)
    check(samples, mean, spread)


def test_the_program_samples_the_posterior_of_the_model(program, surrogate):
    names = program("tinyda")
    draws = names["found"].posterior
    assert list(draws.data_vars) == list(surrogate.y_names)
    samples = np.stack([draws[name].values[0] for name in surrogate.y_names], axis=1)

    def log_likelihood(Y):
        return normal_log_likelihood(oscillator(Y), names["data"], np.full(3, names["noise"]))

    check(samples, *posterior_on_a_grid(log_likelihood, surrogate.bounds)[:2])


def sampled(surrogate, posteriors, start, spread):
    np.random.seed(2)
    chain = tda.sample(
        posteriors,
        tda.GaussianRandomWalk(C=np.diag(2 * spread**2)),
        iterations=3000,
        subchain_length=5,
        initial_parameters=start,
        adaptive_error_model="state-independent",
        force_sequential=True,
    )
    found = tda.to_inference_data(chain, level="fine", parameter_names=list(surrogate.y_names))
    return np.stack([found.posterior[name].values[0] for name in surrogate.y_names], axis=1)


def check(samples, mean, spread):
    import arviz

    effective = min(float(arviz.ess(samples[None, :, j])) for j in range(samples.shape[1]))
    assert effective > 200
    np.testing.assert_array_less(np.abs(samples.mean(axis=0) - mean), 4 * spread / effective**0.5)
    np.testing.assert_allclose(samples.std(axis=0), spread, rtol=4 / (2 * effective) ** 0.5)
