"""dynesty: the posterior and the evidence of a surrogate's parameters, given data.

    sampler = dynesty.NestedSampler(**adapter.arguments(s.likelihood(data, 0.01)))
    sampler.run_nested()

Prior and likelihood are normalised, so evidences of surrogates of several models can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._density import Posterior
from ._domain import Coordinates, coordinates

if TYPE_CHECKING:
    from surrogates.model.likelihood import Likelihood
    from surrogates.types import Array


def arguments(
    likelihood: Likelihood,
    *,
    prior_transform: Callable[[Array], Array] | None = None,
) -> dict[str, Any]:
    """Return the arguments of dynesty's samplers that surrogate and data determine.

    The likelihood is zero outside the training domain.

    Args:
        likelihood: Of the data: ``surrogate.likelihood(data, noise)``.
        prior_transform: The prior, as a map from the unit cube of n_in dimensions to y; if None, it
            is uniform on the training domain. If the training parameters satisfy k linear
            relations, the transform leaves the last k coordinates of the cube unused, and the
            log likelihood contains the log of the prior's density in the others, up to 0.01: its
            maximum is not that of the likelihood.

    Returns:
        ``loglikelihood``, ``prior_transform`` and ``ndim``, for pools of processes too.
    """
    surrogate = likelihood.surrogate
    target = Posterior(likelihood=likelihood)
    if prior_transform is None and len(surrogate.domain.normals):
        on_flat = coordinates(surrogate)
        prior_transform = _FromCubeToFlat(on_flat)
        target = Posterior(likelihood=likelihood, log_prior=_LogDensity(on_flat))
    elif prior_transform is None:
        prior_transform = _FromCube(surrogate.domain.lower, surrogate.domain.upper)
    return {
        "loglikelihood": target,
        "prior_transform": prior_transform,
        "ndim": surrogate.n_in,
    }


@dataclass(frozen=True)
class _FromCube:
    """Parameters of the box, by points of the unit cube."""

    lower: Array
    upper: Array

    def __call__(self, u: Array) -> Array:
        return self.lower + u * (self.upper - self.lower)


@dataclass(frozen=True)
class _FromCubeToFlat:
    """Parameters that satisfy the relations, by points of the unit cube."""

    coordinates: Coordinates

    def __call__(self, u: Array) -> Array:
        return self.coordinates.to_y(u[: self.coordinates.n_free])[0]


@dataclass(frozen=True)
class _LogDensity:
    """Log density in the cube of points that are uniform on the domain."""

    coordinates: Coordinates

    def __call__(self, y: Array) -> Array:
        log_det: Array = self.coordinates.from_y(y)[1]
        return log_det - self.coordinates.log_volume
