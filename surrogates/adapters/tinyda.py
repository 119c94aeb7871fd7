"""tinyDA: posteriors of a surrogate and of finer models, for delayed acceptance.

    coarse = adapter.posterior(s, d, 0.01)
    fine = adapter.posterior(s, d, 0.01, model=solve)
    chain = tinyDA.sample([coarse, fine], proposal, iterations=500, subchain_length=20)
    tinyDA.to_inference_data(chain, parameter_names=list(s.y_names))

The chain samples the posterior of the finer model. The surrogate's errors make it slower, not
wrong, so they are not added to the noise here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from . import common
from ._domain import coordinates

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate
    from surrogates.types import Array


def posterior(
    surrogate: LoadedSurrogate,
    data: Any,
    noise: Any,
    *,
    model: Callable[[Array], Array] | None = None,
    prior: Any = None,
) -> Any:
    """Return a ``tinyDA.Posterior`` of a surrogate, or of another model of the same quantities.

    Where the prior's density is zero no model is evaluated: a finer one is spared the solve.
    tinyDA's adaptive error models work with it.

    Args:
        surrogate: The surrogate.
        data: As ``surrogate.likelihood`` takes them: all of c, (n_out,), or some by their names.
        noise: Their standard deviation, one or one for each; or their covariance matrix.
        model: A finer model, y -> c of the observables with data; the surrogate if None.
        prior: A prior with ``logpdf`` and ``rvs``; that of `parameters` if None.

    Raises:
        InputError: If the data or the noise do not fit.
    """
    tda = common.needed("tinyDA", "tinyda ray")
    likelihood = surrogate.likelihood(data, noise, surrogate_errors=False)
    covariance = np.diag(likelihood.variances) + likelihood.factor @ likelihood.factor.T
    nowhere = np.full(len(likelihood.data), np.nan)

    base: Any = tda.Posterior

    class Posterior(base):
        def create_link(self, y: Array) -> Any:
            log_prior = self.prior.logpdf(y)
            if log_prior == -np.inf:
                return tda.Link(y, log_prior, nowhere, -np.inf)
            return super().create_link(y)

    return Posterior(
        parameters(surrogate) if prior is None else prior,
        tda.AdaptiveGaussianLogLike(likelihood.data, covariance),
        likelihood.surrogate.predict if model is None else model,
    )


def parameters(surrogate: LoadedSurrogate) -> Any:
    """Return the prior that is uniform on the training domain, with ``logpdf`` and ``rvs``.

    Without linear relations it is a ``tinyDA.JointPrior`` that computes with arrays: one call of
    scipy for each parameter would take longer than the surrogate. With them its density is one of
    the flat, and only proposals that keep them are accepted, such as
    ``tinyDA.GaussianRandomWalk(scale**2 * np.cov(prior.rvs(1000).T))``.
    """
    if len(surrogate.domain.normals):
        return _OnFlat(surrogate)
    tda, stats = common.needed("tinyDA", "tinyda ray"), common.needed("scipy.stats")
    lower, upper = surrogate.domain.lower, surrogate.domain.upper
    width = upper - lower
    density = -float(np.log(width).sum())

    base: Any = tda.JointPrior

    class Uniform(base):
        def logpdf(self, y: Array) -> float:
            return density if bool(((lower <= y) & (y <= upper)).all()) else -np.inf

        def rvs(self, n_samples: int = 1) -> Array:
            found = lower + np.random.random((n_samples, len(lower))) * width
            return found[0] if n_samples == 1 else found

    return Uniform([stats.uniform(a, b) for a, b in zip(lower, width, strict=True)])


class _OnFlat:
    """Uniform on a domain with linear relations."""

    def __init__(self, surrogate: LoadedSurrogate) -> None:
        self.surrogate, self.coordinates = surrogate, coordinates(surrogate)

    def logpdf(self, y: Array) -> float:
        inside = bool(self.surrogate.in_domain(y))
        return -self.coordinates.log_volume if inside else -np.inf

    def rvs(self, n_samples: int = 1) -> Any:
        rng = np.random.default_rng(np.random.randint(2**31))  # tinyDA's seed is numpy's
        found = self.coordinates.draw(n_samples, rng)
        return found[0] if n_samples == 1 else found
