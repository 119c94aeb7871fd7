"""emcee: the posterior of a surrogate's parameters, given data.

    sampler = emcee.EnsembleSampler(32, **adapter.arguments(s, d, 0.01))
    sampler.run_mcmc(adapter.start(s, 32), 1000)

All walkers are evaluated in one call of the surrogate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from . import common
from ._density import Posterior, draw, likelihood

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate
    from surrogates.types import Array


def arguments(
    surrogate: LoadedSurrogate,
    data: Any,
    noise: npt.ArrayLike,
    *,
    surrogate_errors: bool = True,
) -> dict[str, Any]:
    """Return the arguments of ``emcee.EnsembleSampler`` that surrogate and data determine.

    The prior is uniform on the training domain. If the training parameters satisfy linear
    relations, as weights that sum to one, the moves are those by differences of walkers: walkers
    that satisfy them, as those of `start` do, then satisfy them all along, to the tolerance of
    `in_domain`. (The default stretch moves would have the density of a space of more dimensions.)
    emcee refuses such a start unless told ``run_mcmc(..., skip_initial_state_check=True)``.

    Args:
        surrogate: The surrogate.
        data: Observed c, (n_out,), or numbers by the names of the observables.
        noise: Standard deviation of the data's errors: of all, or of each, (n_out,).
        surrogate_errors: Whether to add those of the surrogate.

    Returns:
        ``ndim``, ``log_prob_fn``, ``vectorize`` and, with such relations, ``moves``.

    Raises:
        InputError: If the data or the noise do not fit.
    """
    target = Posterior(likelihood=likelihood(surrogate, data, noise, surrogate_errors))
    found = {"ndim": surrogate.n_in, "log_prob_fn": target, "vectorize": True}
    if len(surrogate.domain.normals):
        moves = common.needed("emcee").moves
        found["moves"] = [(moves.DEMove(), 0.8), (moves.DEMove(gamma0=1.0), 0.2)]
    return found


def start(surrogate: LoadedSurrogate, walkers: int, *, seed: int = 0) -> Array:
    """Draw points of the training domain for walkers to start from, (walkers, n_in)."""
    return draw(surrogate, walkers, seed)
