"""dynesty: the posterior and the evidence of a surrogate's parameters, given data.

    sampler = dynesty.NestedSampler(**adapter.arguments(s, d, 0.01))
    sampler.run_nested()

The prior is normalised, so evidences of surrogates of several models can be compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from . import common
from ._density import likelihood

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
    """Return the arguments of dynesty's samplers that surrogate and data determine.

    The prior is uniform on the box of the training parameters.

    Args:
        surrogate: The surrogate.
        data: Observed c, (n_out,), or numbers by the names of the observables.
        noise: Standard deviation of the data's errors: of all, or of each, (n_out,).
        surrogate_errors: Whether to add those of the surrogate.

    Returns:
        ``loglikelihood``, ``prior_transform`` and ``ndim``.

    Raises:
        InputError: If the data or the noise do not fit, or the training parameters satisfy linear
            relations.
    """
    lower, upper = common.box(surrogate)
    log_likelihood = likelihood(surrogate, data, noise, surrogate_errors)

    def prior_transform(u: Array) -> Array:
        return lower + u * (upper - lower)

    return {
        "loglikelihood": lambda y: float(log_likelihood(y)),
        "prior_transform": prior_transform,
        "ndim": surrogate.n_in,
    }
