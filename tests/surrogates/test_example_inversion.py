"""The examples on the buried body: inversion with coverage, and delayed acceptance."""

import importlib
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

pytest.importorskip("dolfinx", reason="the examples solve a PDE, which needs DOLFINx")
pytest.importorskip("emcee", reason="the examples need emcee")

from surrogates import cli
from surrogates.model import describe
from surrogates.model import file as export

buried_body, inversion, delayed_acceptance = map(
    importlib.import_module, ("buried_body", "inversion", "delayed_acceptance")
)

pytestmark = pytest.mark.fenicsx

SMALL = (
    *("mesh.cells=[6,6,7]", "mesh.above=2", "mesh.layers=4", "mesh.extrapolate=false"),
    *("sampling.depth=[30,36]", "sampling.volume=[6000,9000]"),
    *("stations.first=[-45,-45,0]", "stations.spacing=[15,15]", "stations.number=[7,7]"),
)
SEAM = np.array([32.0, 8000.0, 1.56])  # hardly less than half a turn from where the box begins
TWO_MINIMA = np.array([32.0, 8500.0, -1.2])  # with noise, another at (31, 6000, -0.4) is as deep


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """A surrogate of 200 solves on a coarse mesh, with 98 outputs."""
    folder = tmp_path_factory.mktemp("dcr")
    settings = [word for setting in SMALL for word in ("--set", setting)]
    data, out = str(folder / "dcr.h5"), folder / "dcr.pt"
    words = ("--samples", "200", "--split", "160/40/0", "--out", data)
    assert cli.main(["generate", "dcr", *words, *settings]) == 0
    words = ("--effort", "fast", "--set", "stopping.work_units=400")
    assert cli.main(["train", data, "--out", str(out), *words]) == 0
    return out


@pytest.fixture(scope="module")
def body(path):
    return buried_body.BuriedBody(str(path))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def fitted(body, d, rng):
    predict, jacobian = body.surrogate.predict, body.surrogate.jacobian
    return body.fit(lambda y: (predict(y), jacobian(y)), d, body.starts(d, rng))


# Counting


def test_coverage_is_that_of_exact_posteriors_and_not_of_narrower_ones(rng):
    """x is standard normal, d = x + e: the posterior is normal around d / 2, of variance 1 / 2."""
    n = 400
    x = rng.standard_normal((n, 3))
    d = x + rng.standard_normal((n, 3))

    def count(factor):
        sd = factor * math.sqrt(0.5)
        ranks = [
            inversion.Inversion(
                truth=x[i],
                fit=d[i] / 2,
                samples=d[i] / 2 + sd * rng.standard_normal((2000, 3)),
                starts=np.empty((0, 3)),
                evaluations=0,
                seconds=(0, 0),
                tau=1,
            ).rank
            for i in range(n)
        ]
        return inversion.covered(np.array(ranks))

    mean, std, low, high = inversion.expected(n)
    assert (mean, std) == pytest.approx((360, 6))
    assert mean - 2 * std < low < high < mean + 2 * std
    assert (np.abs(count(1) - mean) < 3.5 * std).all()
    assert (count(0.8) < mean - 3.5 * std).all()


def test_a_truth_is_covered_between_the_quantiles_only():
    ranks = np.array([[0.04, 0.06, 0.5], [0.94, 0.96, 0.5]])
    assert inversion.covered(ranks).tolist() == [1, 1, 2]


# The inverse problem


def test_rotations_go_round(body, rng):
    Y = body.draw(50, rng)
    turned = Y + [0, 0, body.turn] * rng.integers(-3, 4, (50, 1))
    np.testing.assert_allclose(body.wrap(turned), Y, rtol=1e-12)
    X = inversion.coordinates(body, Y, rng.normal(1, 0.1, 50))
    np.testing.assert_allclose(inversion.parameters(body, X), Y, rtol=1e-12)
    np.testing.assert_allclose(body.near_to(Y[0], turned)[:, 2], Y[0, 2], atol=np.pi / 2)
    d = body.surrogate.predict(SEAM)
    posterior = body.on_box(body.log_likelihood(d, SEAM))
    mixture = buried_body.Mixture(body, fitted(body, d, rng))
    for near in (mixture.draw(200, rng), mixture.choose(posterior, 200, rng)):
        assert (near[:, 2] < -1).any() and (near[:, 2] > 1).any()
        assert (body.lower[2] <= near[:, 2]).all() and (near[:, 2] <= body.upper[2]).all()
    assert np.isfinite(posterior(near)).all()


def test_the_data_are_of_a_finer_mesh(body):
    old, new = body.config.mesh, body.finer.mesh
    assert new.cells == tuple(2 * n for n in old.cells)
    assert (new.above, new.layers) == (2 * old.above, 2 * old.layers)


def test_noise_does_not_vanish_where_a_datum_does(body):
    across = np.abs(body.pde.background).reshape(2, 7, 7)[1, 3]  # dV2 on the line of electrodes
    assert across.max() < 1e-9
    along = np.abs(body.pde.background).reshape(2, 7, 7)[0, 3]
    expected = np.hypot(buried_body.RELATIVE * along, buried_body.FLOOR)
    np.testing.assert_allclose(body.noise.reshape(2, 7, 7)[:, 3], [expected] * 2, rtol=1e-6)


def test_likelihood_is_the_normal_one_with_the_covariance_of_noise_and_errors(body, rng):
    Y = body.draw(4, rng)
    errors = body.surrogate.predict_cov(Y[0]).dense()
    assert np.diag(errors).max() > 1e-6 * body.noise.max() ** 2
    covariance = errors + np.diag(body.noise**2)
    d = body.surrogate.predict(Y[0]) + body.noise * rng.standard_normal(98)
    expected = [stats.multivariate_normal(c, covariance).logpdf(d) for c in body.surrogate(Y)]
    found = body.log_likelihood(d, Y[0])(Y)
    np.testing.assert_allclose(np.diff(found), np.diff(expected), rtol=1e-8)


def test_the_covariance_at_the_fit_is_enough_over_a_posterior(body, rng):
    """The likelihood with the errors of each y differs by less than what matters to a posterior."""
    truth = np.array([33.0, 7500.0, 0.4])
    d = body.surrogate.predict(truth) + body.noise * rng.standard_normal(98)
    fit = fitted(body, d, rng)
    Y = buried_body.Mixture(body, fit).draw(300, rng)
    Y = Y[((body.lower <= Y) & (Y <= body.upper)).all(axis=1)]
    fixed, moving = body.log_likelihood(d, fit.minima[0]), body.surrogate.likelihood(d, body.noise)
    assert len(Y) > 100
    assert (fixed(Y) - moving(Y)).std() < 0.3


def test_the_posterior_is_wider_with_the_errors_of_the_surrogate(body):
    y = np.array([33.0, 7500.0, 0.4])
    J = body.surrogate.jacobian(y)
    total = body.surrogate.predict_cov(y).dense() + np.diag(body.noise**2)
    prior = np.diag(12 / (body.upper - body.lower) ** 2)
    right = np.linalg.inv(J.T @ np.linalg.solve(total, J) + prior)
    found = body.covariance(y, surrogate_errors=True)
    np.testing.assert_allclose(found, right, rtol=1e-8)
    assert (np.diag(found) > np.diag(body.covariance(y))).all()


def test_the_box_is_the_prior(body):
    ends = np.stack([body.lower, body.upper])
    outside = [[ends[0, 0] - 1e-6, 8000, 0], [32, ends[1, 1] + 1e-3, 0]]
    density = body.on_box(lambda Y: np.zeros(len(Y)))
    assert density(np.array([*outside, [32, 8000, 9]])).tolist() == [-np.inf, -np.inf, 0]
    assert density(np.array(outside)).tolist() == [-np.inf, -np.inf]


def test_the_mixture_is_drawn_with_its_density(path, rng):
    body = buried_body.BuriedBody(str(path), 0.3)
    minima = np.array([SEAM, TWO_MINIMA])
    fit = buried_body.Fit(minima=minima, costs=np.array([0.0, 1.0]), evaluations=0)
    mixture = buried_body.Mixture(body, fit)
    Y = mixture.draw(4000, rng)
    shares = [1 / (1 + math.exp(-1)), 1 / (1 + math.exp(1))]
    covariances = [body.covariance(y) for y in minima]
    parts = [
        share
        * sum(
            stats.multivariate_normal(y + [0, 0, k * body.turn], covariance).pdf(Y)
            for k in range(-2, 3)
        )
        for y, covariance, share in zip(minima, covariances, shares, strict=True)
    ]
    ratio = mixture.log_density(Y) - np.log(sum(parts))
    np.testing.assert_allclose(ratio, ratio[0], atol=1e-6)
    of_first = parts[0] > parts[1]
    assert np.mean(of_first) == pytest.approx(shares[0], abs=0.03)
    near = body.near_to(SEAM, Y[of_first]) - SEAM
    z = near / np.sqrt(np.diag(covariances[0]))
    expected = covariances[0] / np.sqrt(np.outer(*[np.diag(covariances[0])] * 2))
    np.testing.assert_allclose(np.cov(z.T), expected, atol=0.1)


@pytest.mark.parametrize("y", [SEAM, SEAM * [1, 1, -1], [33, 6500, -0.9], [35, 8500, 0.1]])
def test_the_fit_finds_the_truth_from_exact_data(body, y, rng):
    y = np.array(y, dtype=float)
    fit = fitted(body, body.surrogate.predict(y), rng)
    assert (np.abs(fit.minima[0] - y) < 1e-4 * (body.upper - body.lower)).all()
    assert fit.costs[0] < 1e-6 and (np.diff(fit.costs) >= 0).all()
    assert 8 < fit.evaluations < 200


def test_a_small_error_shifts_the_fit_as_foretold(path, rng):
    body = buried_body.BuriedBody(
        str(path), 0.01
    )  # so that the fit, which has no prior, feels none
    y = np.array([32.0, 7500.0, 0.4])
    d = body.surrogate.predict(y)
    delta = 0.1 * body.noise * (1 + rng.standard_normal(98))
    # A fit to d - delta is that of a model with the error delta to d.
    moved = fitted(body, d - delta, rng).minima[0] - y
    shift = body.shift(y, delta) * np.sqrt(np.diag(body.covariance(y)))
    assert np.abs(body.shift(y, delta)).min() > 0.02
    np.testing.assert_allclose(moved, -shift, rtol=0.02)


@pytest.mark.parametrize("truth", [SEAM, TWO_MINIMA])
def test_the_ensemble_has_the_moments_of_importance_sampling(body, rng, truth):
    d = body.surrogate.predict(truth) + body.noise * rng.standard_normal(98)
    one = inversion.invert(body, truth, d, 600, rng)
    Y = body.draw(40_000, rng)
    log_weights = body.log_likelihood(d, one.fit)(Y)
    w = np.exp(log_weights - log_weights.max())
    w /= w.sum()
    number = 1 / (w**2).sum()
    assert number > 50
    Y = body.near_to(one.samples.mean(axis=0), Y)
    mean = w @ Y
    sd = np.sqrt(w @ (Y - mean) ** 2)
    error = math.sqrt(1 / number + 1 / one.effective)
    assert (np.abs(one.samples.mean(axis=0) - mean) < 4 * error * sd).all()
    assert (np.abs(one.samples.std(axis=0) / sd - 1) < 4 * error).all()


def test_autocorrelation_time_is_that_of_an_autoregression_and_sees_chains_that_stay_apart(rng):
    rho, noise = 0.8, rng.standard_normal((4000, 20, 2))
    chains = np.zeros_like(noise)
    for i in range(1, len(noise)):
        chains[i] = rho * chains[i - 1] + noise[i]
    assert buried_body.autocorrelation(chains) == pytest.approx((1 + rho) / (1 - rho), rel=0.1)
    assert buried_body.autocorrelation(noise) == pytest.approx(1, abs=0.05)
    apart = chains + 5 * np.array([-1, 1] * 10)[:, None]
    assert buried_body.autocorrelation(apart) > 1000


# Delayed acceptance


def normal(mean, sd):
    return lambda x: -0.5 * (((x - mean) / sd) ** 2).sum(axis=1)


MEAN, SD = np.array([1.0, -2.0]), np.array([1.0, 0.5])
WRONG = normal(MEAN + [0.7, 0.4], SD * [1.3, 0.9])


def test_delayed_acceptance_samples_the_second_density_whatever_the_first(rng):
    start = MEAN + SD * rng.standard_normal((100, 2))
    chains = delayed_acceptance.delayed_acceptance(
        WRONG, normal(MEAN, SD), start, np.diag(SD), subchain=4, steps=1500, rng=rng
    )
    kept = chains.samples[100:]
    tau = buried_body.autocorrelation(kept)
    error = math.sqrt(tau / kept[..., 0].size)
    assert error < 0.01
    assert 0.2 < chains.accepted < 0.95
    assert (np.abs(kept.mean(axis=(0, 1)) - MEAN) < 4 * error * SD).all()
    assert (np.abs(kept.std(axis=(0, 1)) / SD - 1) < 4 * error).all()
    alone, *_ = delayed_acceptance.metropolis(WRONG, start, np.diag(SD), 2000, rng)
    assert (np.abs(alone[100:].mean(axis=(0, 1)) - MEAN) > 20 * error * SD).all()


def test_an_exact_first_stage_has_all_its_proposals_accepted(rng):
    density = normal(MEAN, SD)
    chains = delayed_acceptance.delayed_acceptance(
        density, density, np.tile(MEAN, (4, 1)), np.diag(SD), subchain=3, steps=50, rng=rng
    )
    assert chains.accepted == 1
    np.testing.assert_allclose(chains.log_weights, 0, atol=1e-12)


def test_metropolis_samples_its_density_and_says_its_last_value(rng):
    density = normal(MEAN, SD)
    chain, log_p, accepted = delayed_acceptance.metropolis(
        density, np.tile(MEAN, (200, 1)), np.diag(1.5 * SD), 1000, rng
    )
    np.testing.assert_array_equal(log_p, density(chain[-1]))
    assert 0.2 < accepted < 0.7
    error = math.sqrt(buried_body.autocorrelation(chain) / chain[..., 0].size)
    assert (np.abs(chain[50:].mean(axis=(0, 1)) - MEAN) < 4 * error * SD).all()
    assert (np.abs(chain[50:].std(axis=(0, 1)) / SD - 1) < 4 * error).all()


def test_reweighted_samples_have_the_target_s_mean_within_the_error(rng):
    samples = MEAN + [0.7, 0.4] + SD * [1.3, 0.9] * rng.standard_normal((20_000, 2))
    log_weights = normal(MEAN, SD)(samples) - WRONG(samples)
    estimate = delayed_acceptance.Estimate.of_weighted(samples, log_weights)
    assert (np.abs(estimate.mean - MEAN) < 4 * estimate.error).all()
    assert (estimate.error < 0.03 * SD).all()
    assert 1000 < estimate.effective < 20_000


# The programs


@pytest.mark.thorough
def test_the_inversion_runs_and_draws(path, tmp_path, capsys):
    out = tmp_path / "inversion.png"
    words = ("--truths", "2", "--steps", "100", "--out", str(out))
    assert inversion.main([str(path), *words]) == 0
    text = capsys.readouterr().out
    assert re.search(r"coverage of 90 % intervals over 2 truths; .* 1\.8 \+- 0\.4", text)
    assert len(re.findall(r"[0-2] / 2 ", text)) == 3
    assert float(re.search(r"differ by ([\d.]+) posterior sd", text)[1]) < 0.5
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.thorough
def test_delayed_acceptance_runs_and_draws(path, tmp_path, capsys):
    out = tmp_path / "delayed.png"
    words = ("--solves", "96", "--subchain", "20", "--noise", "1", "--out", str(out))
    assert delayed_acceptance.main([str(path), *words]) == 0
    text = capsys.readouterr().out
    assert "delayed acceptance: 105 solves, 1920 calls" in text
    assert 0.3 < float(re.search(r"the second stage accepts ([\d.]+)", text)[1]) <= 1
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("program", [inversion, delayed_acceptance])
def test_a_surrogate_of_another_problem_is_refused(program, surrogate, dataset, tmp_path, capsys):
    about = describe.metadata(dataset, training={}, errors={})
    export.save(surrogate, about, tmp_path / "toy.pt")
    assert program.main([str(tmp_path / "toy.pt"), "--out", str(tmp_path / "a.png")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert "surrogate of 'toy'" in error


@pytest.mark.parametrize(
    ("program", "words", "message"),
    [
        (inversion, "--truths 0", "--truths must be at least 1; got 0"),
        (inversion, "--steps 10", "--steps must be at least 100; got 10"),
        (inversion, "--seed -1", "seed must be at least 0"),
        (inversion, "--out a.txt", "the known endings are .png, .pdf, .svg"),
        (inversion, "--walkers 3", "--walkers"),
        (inversion, "--steps many", "--steps: "),
        (delayed_acceptance, "--solves 10", "--solves must be at least 80; got 10"),
        (delayed_acceptance, "--subchain 0", "--subchain must be at least 1; got 0"),
        (delayed_acceptance, "--noise 0", "noise must be positive; got 0"),
    ],
)
def test_mistakes_are_one_line(program, words, message, path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert program.main([str(path), *words.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert message in error
    assert not list(tmp_path.iterdir())
