"""dynesty: the posterior and the evidence of a surrogate's parameters, given data.

    sampler = dynesty.NestedSampler(**adapter.arguments(s.likelihood(data, 0.01)))
    sampler.run_nested()

Prior and likelihood are normalised, so evidences of surrogates of several models can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import common

if TYPE_CHECKING:
    from surrogates.model.likelihood import Likelihood
    from surrogates.types import Array


def arguments(likelihood: Likelihood) -> dict[str, Any]:
    """Return the arguments of dynesty's samplers that surrogate and data determine.

    The prior is uniform on the box of the training parameters.

    Args:
        likelihood: Of the data: ``surrogate.likelihood(data, noise)``.

    Returns:
        ``loglikelihood``, ``prior_transform`` and ``ndim``, for pools of processes too.

    Raises:
        InputError: If the training parameters satisfy linear relations.
    """
    lower, upper = common.box(likelihood.surrogate)
    return {
        "loglikelihood": _Value(likelihood),
        "prior_transform": _FromCube(lower, upper),
        "ndim": likelihood.surrogate.n_in,
    }


@dataclass(frozen=True)
class _Value:
    """The log likelihood of one y, as a number."""

    likelihood: Likelihood

    def __call__(self, y: Array) -> float:
        return float(self.likelihood.log_density(y))


@dataclass(frozen=True)
class _FromCube:
    """Parameters of the box, by points of the unit cube."""

    lower: Array
    upper: Array

    def __call__(self, u: Array) -> Array:
        return self.lower + u * (self.upper - self.lower)
