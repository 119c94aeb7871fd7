"""The posterior of parameters given data, for samplers that want a log density.

The prior is uniform on the training domain, or another one within it. Samplers step outside the
domain: there the density is zero, and the surrogate is not evaluated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from surrogates.errors import check

if TYPE_CHECKING:
    from surrogates.model.likelihood import Likelihood
    from surrogates.model.loaded import LoadedSurrogate
    from surrogates.types import Array

_STEPS = 50  # of hit and run, for each starting point


@dataclass(frozen=True, kw_only=True, eq=False)
class Posterior:
    """Log density of the posterior, up to a constant: likelihood times prior.

    It can be pickled and sent to other processes, if its prior can.

    Attributes:
        likelihood: Of the data.
        log_prior: Log density of the prior, of y (n, n_in) to (n,), within the training domain of
            the likelihood's surrogate; uniform if None.
    """

    likelihood: Likelihood
    log_prior: Callable[[Array], Array] | None = None

    def __call__(self, y: Array) -> Any:
        """Return the log density of y, (n, n_in) or (n_in,): (n,) or a number."""
        rows = np.atleast_2d(y)
        inside = self.likelihood.surrogate.in_domain(rows)
        found = np.full(len(rows), -np.inf)
        if inside.any():
            found[inside] = self.likelihood.log_density(rows[inside])
            if self.log_prior is not None:
                found[inside] += self.log_prior(rows[inside])
        return found if np.ndim(y) == 2 else float(found[0])


def draw(surrogate: LoadedSurrogate, n: int, seed: int) -> Array:
    """Draw points of the training domain, (n, n_in), for samplers to start from.

    They are uniform on the box, if the parameters satisfy no linear relations. Otherwise each is
    the end of a walk from the centre by hit and run (Smith 1984, "Efficient Monte Carlo procedures
    for generating points uniformly distributed over bounded regions"): random directions that keep
    the relations, and steps that are uniform between the sides of the box.
    """
    check(n >= 1, f"expected at least 1 point to start from; got {n}")
    rng, domain, n_in = np.random.default_rng(seed), surrogate.domain, surrogate.n_in
    if not len(domain.normals):
        return domain.lower + rng.random((n, n_in)) * (domain.upper - domain.lower)
    logs = surrogate.engine.box.log_inputs  # the relations are of their logarithms
    ends = np.stack([domain.lower, domain.upper])
    lower, upper = np.where(logs, np.log(np.where(logs, ends, 1.0)), ends)
    free = np.linalg.svd(domain.normals)[2][np.linalg.matrix_rank(domain.normals) :]
    X = np.tile(domain.centre, (n, 1))
    for _ in range(_STEPS):
        D = rng.standard_normal((n, len(free))) @ free
        with np.errstate(divide="ignore", invalid="ignore"):
            sides = np.stack([lower - X, upper - X]) / D
        first = np.fmax.reduce(np.fmin(*sides), axis=1)  # NaN: neither moves nor is bounded
        last = np.fmin.reduce(np.fmax(*sides), axis=1)
        X = X + (first + rng.random(n) * (last - first))[:, None] * D
        X = np.clip(X, lower, upper)  # by rounding
    return np.where(logs, np.exp(np.where(logs, X, 0.0)), X)
