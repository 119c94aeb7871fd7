r"""An ensemble of walkers (emcee) that goes on until its samples suffice.

Most steps are by the normal distribution of the posterior's mean and covariance (`Normal`), the
others by differential evolution, which needs no such knowledge. Mean and covariance are at first
those of a fit, and then those of the walkers, after each of a few short runs that are left out.
Where the posterior is near to normal, a walker soon forgets where it was, in many dimensions too:
for a field survey with 41 parameters the autocorrelation time is a third of that with steps by the
fit's covariance, or by differential evolution alone.

The chain then goes on until it has enough effective samples in each parameter, steps times walkers
over the autocorrelation time, and is 50 of these times long, without which emcee's estimate of the
time is too small (Foreman-Mackey, Hogg, Lang and Goodman, "emcee: the MCMC hammer", 2013).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import emcee
import numpy as np

from surrogates.types import Array

WALKERS, SHARE = 32, 0.7  # least number of walkers; share of the steps by the normal distribution
ADAPTING = (200, 400, 800)  # steps of the runs that are left out
FIRST, LONG = 500, 50  # steps before the first check; autocorrelation times


class Normal:
    """A normal distribution, for proposals.

    A step x' = m + (1 - b^2)^(1/2) (x - m) + b z, with z of the distribution around 0, leaves the
    distribution as it is, in any number of dimensions (Neal 1998; Cotter, Roberts, Stuart and White
    2013): the posterior's ratio to it decides whether the step is accepted.
    """

    def __init__(self, mean: Array, covariance: Array) -> None:
        """Take the mean, (n,), and the covariance, (n, n)."""
        self.mean = mean
        # Of some parameters there may be no spread, as at the end of an interval.
        self.factor = np.linalg.cholesky(covariance + 1e-10 * np.diag(np.diag(covariance) + 1e-300))
        self._inverse = np.linalg.inv(self.factor)

    def draw(self, n: int, rng: Any) -> Array:
        """Draw n points."""
        return self.mean + rng.standard_normal((n, len(self.mean))) @ self.factor.T

    def log_density(self, Y: Array) -> Array:
        """Return the log density of Y (n, n_y), up to a constant."""
        return np.asarray(-0.5 * (((Y - self.mean) @ self._inverse.T) ** 2).sum(axis=1))

    def move(self, Y: Array, rng: Any) -> tuple[Array, Array]:
        """Propose a step from each of Y, (n, n_y); return it and its ratio of densities."""
        b = rng.uniform(0.1, 1.0, (len(Y), 1))
        z = rng.standard_normal(Y.shape) @ self.factor.T
        new = self.mean + np.sqrt(1 - b**2) * (Y - self.mean) + b * z
        return new, self.log_density(Y) - self.log_density(new)


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Samples of a density.

    Attributes:
        chain: (steps, walkers, n_y).
        tau: Autocorrelation times of the parameters, in steps, (n_y,); infinite where the walkers
            did not move.
        accepted: Share of the steps that were accepted.
        normal: The normal distribution of the steps.
        seconds: Seconds that it took.
    """

    chain: Array
    tau: Array
    accepted: float
    normal: Normal
    seconds: float

    @property
    def samples(self) -> Array:
        """All samples, (n, n_y)."""
        return self.chain.reshape(-1, self.chain.shape[-1])

    @property
    def effective(self) -> float:
        """Effective number of independent samples, of the parameter with the fewest."""
        return float(self.chain[..., 0].size / self.tau.max())

    @property
    def said(self) -> str:
        """Size and convergence, in words."""
        steps, walkers, _ = self.chain.shape
        return (
            f"{steps} steps of {walkers} walkers, {self.accepted:.2f} accepted, autocorrelation "
            f"times up to {self.tau.max():.0f} steps, {self.effective:.0f} effective samples, "
            f"{self.seconds:.1f} s"
        )


def ensemble(
    density: Callable[[Array], Array],
    start: Normal,
    box: Array,
    rng: np.random.Generator,
    *,
    effective: int,
    most: int,
) -> Ensemble:
    """Sample a density.

    Args:
        density: Its logarithm up to a constant, of Y (n, n_y) to (n,); -inf outside of the box.
        start: About the density, as a fit says it.
        box: Lower and upper ends of the parameters, (2, n_y).
        rng: Random generator.
        effective: Effective samples to have.
        most: Steps after which it ends without them.
    """
    begun = time.perf_counter()
    n = len(start.mean)
    margin = 1e-3 * (box[1] - box[0])
    walkers = max(WALKERS, 2 * n + 2)
    state = start.draw(walkers, rng).clip(box[0] + margin, box[1] - margin)

    def sampler(normal: Normal) -> Any:
        moves = [(emcee.moves.DEMove(), 1 - SHARE), (emcee.moves.MHMove(normal.move), SHARE)]
        found = emcee.EnsembleSampler(walkers, n, density, vectorize=True, moves=moves)
        found.random_state = np.random.RandomState(rng.integers(2**32)).get_state()
        return found

    normal = start
    for steps in ADAPTING:
        run = sampler(normal)
        state = run.run_mcmc(state, steps).coords
        near = run.get_chain(discard=steps // 2, flat=True)
        normal = Normal(near.mean(axis=0), np.cov(near.T).reshape(n, n))
    run, more = sampler(normal), min(FIRST, most)
    while True:
        state = run.run_mcmc(state, more)
        chain = run.get_chain()
        tau = autocorrelation_times(chain)
        needed = max(LONG * tau.max(), effective * tau.max() / walkers)
        if len(chain) >= min(needed, most):
            break
        more = int(min(max(1.05 * needed, 1.2 * len(chain)), 2 * len(chain), most)) - len(chain)
    return Ensemble(
        chain=chain,
        tau=tau,
        accepted=float(run.acceptance_fraction.mean()),
        normal=normal,
        seconds=time.perf_counter() - begun,
    )


def autocorrelation_times(chain: Array) -> Array:
    """Return emcee's autocorrelation times of a chain (steps, walkers, n_y), (n_y,)."""
    with np.errstate(invalid="ignore"):
        tau = emcee.autocorr.integrated_time(chain, tol=0, quiet=True)
    return np.where(np.isfinite(tau), np.maximum(tau, 1.0), np.inf)
