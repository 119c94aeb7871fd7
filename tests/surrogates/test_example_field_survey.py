"""The example that inverts a field survey: its ensemble, its correction, and a whole run."""

from __future__ import annotations

import importlib
import re
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("dolfinx", reason="the example solves a PDE, which needs DOLFINx")
pytest.importorskip("emcee", reason="the example needs emcee")

from surrogates.pde import Simulator
from surrogates.survey import made

field_survey, walkers, corrected, delayed_acceptance = map(
    importlib.import_module, ("field_survey", "walkers", "corrected", "delayed_acceptance")
)

pytestmark = pytest.mark.fenicsx
N = 12


def covariance(seed: int) -> np.ndarray:
    A = np.random.default_rng(seed).standard_normal((N, N))
    return A @ A.T / N + 0.1 * np.eye(N)


def test_the_ensemble_samples_a_normal_distribution_from_a_wrong_start_and_says_its_errors():
    C, mean = covariance(1), np.linspace(-1, 1, N)
    exact = walkers.Normal(mean, C)
    wrong = walkers.Normal(mean + 0.3, 0.5 * np.diag(np.diag(C)))
    box = np.array([np.full(N, -20.0), np.full(N, 20.0)])
    found = walkers.ensemble(
        exact.log_density, wrong, box, np.random.default_rng(0), effective=2000, most=4000
    )
    assert found.effective >= 2000 and len(found.chain) >= 50 * found.tau.max()
    error = np.sqrt(np.diag(C) / found.effective)
    assert (np.abs(found.samples.mean(axis=0) - mean) < 5 * error).all()
    np.testing.assert_allclose(found.samples.std(axis=0), np.sqrt(np.diag(C)), rtol=0.1)
    # Steps by the distribution itself are hardly ever refused.
    assert found.accepted > 0.6 and found.tau.max() < 15


def test_the_ensemble_stays_in_its_box():
    box = np.array([np.zeros(2), np.ones(2)])

    def density(Y):
        inside = ((box[0] <= Y) & (box[1] >= Y)).all(axis=1)
        return np.where(inside, -Y[:, 0] / 0.3, -np.inf)

    start = walkers.Normal(np.array([0.2, 0.5]), np.diag([0.04, 0.09]))
    rng = np.random.default_rng(0)
    found = walkers.ensemble(density, start, box, rng, effective=3000, most=4000)
    assert ((box[0] <= found.samples) & (box[1] >= found.samples)).all()
    rate = 1 / 0.3
    right = 0.3 - np.exp(-rate) / (1 - np.exp(-rate))  # of a truncated exponential distribution
    np.testing.assert_allclose(found.samples.mean(axis=0), [right, 0.5], atol=0.02)


def test_an_ensemble_that_does_not_move_is_said():
    chain = np.zeros((100, 4, 2))
    chain[..., 1] = np.random.default_rng(0).standard_normal((100, 4))
    tau = walkers.autocorrelation_times(chain)
    assert np.isinf(tau[0]) and 1 <= tau[1] < 5


def test_metropolis_takes_proposals_with_a_ratio_of_densities():
    C = covariance(2)
    density, proposals = walkers.Normal(np.zeros(N), C), walkers.Normal(np.full(N, 0.2), 1.3 * C)
    rng = np.random.default_rng(0)
    chain, *_ = delayed_acceptance.metropolis(
        density.log_density, density.draw(100, rng), proposals.move, 400, rng
    )
    sd = np.sqrt(np.diag(C))
    assert (np.abs(chain.mean(axis=(0, 1))) < 0.1 * sd).all()
    np.testing.assert_allclose(chain.std(axis=(0, 1)), sd, rtol=0.07)


class Quadratic:
    """A map with a constant second derivative."""

    def __init__(self, a: float, B: np.ndarray) -> None:
        self.a, self.B = a, B

    def predict(self, y):
        return y @ self.B.T + self.a * (y**2).sum(axis=-1, keepdims=True)

    def jacobian(self, y):
        return self.B + 2 * self.a * y


def test_a_corrected_surrogate_has_values_and_derivatives_of_the_pde():
    rng = np.random.default_rng(0)
    B, wrong = rng.standard_normal((2, 5, 3))
    pde, surrogate = Quadratic(0.5, B), Quadratic(0.4, wrong)
    y, z, direction = rng.standard_normal((3, 3))
    of = corrected.Corrected(surrogate, y, pde.predict(y), pde.jacobian(y))
    np.testing.assert_allclose(of.predict(y), pde.predict(y), rtol=1e-12)
    np.testing.assert_allclose(of.jacobian(y), pde.jacobian(y), rtol=1e-12)
    errors = [
        np.abs(of.predict(y + t * direction) - pde.predict(y + t * direction)).max()
        for t in (1.0, 0.5, 0.25)
    ]
    np.testing.assert_allclose(errors[:-1], 4 * np.array(errors[1:]), rtol=1e-9)
    of.move(z, pde.predict(z))
    Y = np.stack([z, z])
    np.testing.assert_allclose(of.predict(Y), pde.predict(Y), rtol=1e-12)


@pytest.mark.thorough
def test_a_survey_is_inverted_and_its_intervals_are_checked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    truth = {"layers.resistivity": [[39.0, 41.0], [240.0, 260.0]], "layers.thickness": [[2.9, 3.1]]}
    settings = {"survey.array": "wenner", "survey.electrodes": 16, "survey.spacing": 2.0}
    pde = Simulator("ert", settings={**settings, **truth, "model.kind": "layers"})
    rhoa = pde(pde.bounds.mean(axis=0))
    error = np.full(len(rhoa), 0.03)
    rhoa = rhoa * (1 + error * np.random.default_rng(0).standard_normal(len(rhoa)))
    replace(made("wenner", 16, 2.0), values={"rhoa": rhoa, "err": error}).write("field.ohm")
    sets = (
        "model.kind=layers",
        "layers.resistivity=[[10,200],[50,1000]]",
        "layers.thickness=[[1,8]]",
    )
    words = [word for one in sets for word in ("--set", one)]
    numbers = "--samples 60 --truths 2 --solves 16 --effective 300 --steps 1500 --name f".split()
    assert field_survey.main(["field.ohm", *words, *numbers]) == 0
    out, err = capsys.readouterr()
    assert "chi-squared of the best fit over their number" in out and "NOT explain" not in out
    found = re.search(r"corrected by the PDE: 35 data; .*?number: ([\d.]+)", out)
    assert found and 0.3 < float(found[1]) < 1.9
    last = out[out.index("surrogate corrected by the PDE") :]
    for name, right in zip(pde.y_names, (np.log10(40), np.log10(250), 3.0), strict=True):
        row = next(line for line in last.splitlines() if line.startswith(name))
        low, high = map(float, re.findall(r"(\S+) to (\S+)$", row)[0])
        assert low - (high - low) < right < high + (high - low)
    assert float(re.search(r"([\d.]+) of the proposals accepted", out)[1]) > 0.5
    assert len(re.findall(r"truths \(chance: \d+ to 2\)", out)) == 2
    assert (tmp_path / "f.png").stat().st_size > 10_000
    assert "truth 2 of 2" in err
