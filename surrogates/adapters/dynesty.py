"""dynesty: the posterior and the evidence of a surrogate's parameters, given data.

    sampler = dynesty.NestedSampler(**adapter.arguments(s.likelihood(data, 0.01)))
    sampler.run_nested()

Prior and likelihood are normalised, so evidences of surrogates of several models can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import common
from ._density import Posterior

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
            is uniform on the box of the training parameters. For weights that sum to one and are
            uniform, it is the exponentials ``-log(u)`` over their sum.

    Returns:
        ``loglikelihood``, ``prior_transform`` and ``ndim``, for pools of processes too.

    Raises:
        InputError: If the training parameters satisfy linear relations, and no prior is given.
    """
    if prior_transform is None:
        prior_transform = _FromCube(*common.box(likelihood.surrogate))
    return {
        "loglikelihood": Posterior(likelihood=likelihood),
        "prior_transform": prior_transform,
        "ndim": likelihood.surrogate.n_in,
    }


@dataclass(frozen=True)
class _FromCube:
    """Parameters of the box, by points of the unit cube."""

    lower: Array
    upper: Array

    def __call__(self, u: Array) -> Array:
        return self.lower + u * (self.upper - self.lower)
