"""emcee: the posterior of a surrogate's parameters, given data.

    sampler = emcee.EnsembleSampler(32, **adapter.arguments(s.likelihood(data, 0.01)))
    sampler.run_mcmc(adapter.start(s, 32), 1000)

All walkers are evaluated in one call of the surrogate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import common
from ._density import Posterior, draw

if TYPE_CHECKING:
    from surrogates.model.likelihood import Likelihood
    from surrogates.model.loaded import LoadedSurrogate
    from surrogates.types import Array


def arguments(
    likelihood: Likelihood, *, log_prior: Callable[[Array], Array] | None = None
) -> dict[str, Any]:
    """Return the arguments of ``emcee.EnsembleSampler`` that surrogate and data determine.

    The density is zero outside the training domain. If the training parameters satisfy linear
    relations, as weights that sum to one, the moves are those by differences of walkers: walkers
    that satisfy them, as those of `start` do, then satisfy them all along, to the tolerance of
    `in_domain`. (The default stretch moves would have the density of a space of more dimensions.)
    emcee refuses such a start unless told ``run_mcmc(..., skip_initial_state_check=True)``.

    Args:
        likelihood: Of the data: ``surrogate.likelihood(data, noise)``.
        log_prior: Log density of the prior, of y (n, n_in) to (n,); uniform if None.

    Returns:
        ``ndim``, ``log_prob_fn``, ``vectorize`` and, with such relations, ``moves``.
    """
    surrogate = likelihood.surrogate
    target = Posterior(likelihood=likelihood, log_prior=log_prior)
    found = {"ndim": surrogate.n_in, "log_prob_fn": target, "vectorize": True}
    if len(surrogate.domain.normals):
        moves = common.needed("emcee").moves
        found["moves"] = [(moves.DEMove(), 0.8), (moves.DEMove(gamma0=1.0), 0.2)]
    return found


def start(surrogate: LoadedSurrogate, walkers: int, *, seed: int = 0) -> Array:
    """Draw points of the training domain for walkers to start from, (walkers, n_in)."""
    return draw(surrogate, walkers, seed)
