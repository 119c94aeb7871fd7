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

from ._domain import coordinates

if TYPE_CHECKING:
    from surrogates.model.likelihood import Likelihood
    from surrogates.model.loaded import LoadedSurrogate
    from surrogates.types import Array


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
    """Draw points that are uniform on the training domain, (n, n_in).

    With linear relations they are uniform on its flat; see `._domain.Coordinates.draw`.
    """
    check(n >= 1, f"expected at least 1 point; got {n}")
    rng, domain = np.random.default_rng(seed), surrogate.domain
    if not len(domain.normals):
        return domain.lower + rng.random((n, surrogate.n_in)) * (domain.upper - domain.lower)
    return coordinates(surrogate).draw(n, rng)
