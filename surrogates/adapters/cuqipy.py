"""CUQIpy: a surrogate as a ``cuqi.model.Model`` with its gradient; prior and likelihood.

    y = adapter.parameters(s)
    c = adapter.data(s, y, 0.01)
    problem = cuqi.problem.BayesianProblem(y, c).set_data(c=data)

Geometries have the names of parameters and observables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import common

if TYPE_CHECKING:
    from surrogates.model.likelihood import Likelihood
    from surrogates.model.loaded import LoadedSurrogate
    from surrogates.types import Array

_FAR = 1e100


def model(surrogate: LoadedSurrogate) -> Any:
    """Return the model y -> c.

    Its geometries have the names of parameters and observables, and its gradient is the product
    with the transposed Jacobian, so that NUTS, MALA and MAP estimates need no finite differences.

    Samplers step where the surrogate is not defined: where an input whose logarithm it takes is
    not positive, or outside its domain if it refuses that. There the model is 1e100, so that the
    density of any data is zero, and the gradient is zero. (Infinity would become NaN in CUQIpy's
    products with zeros.)
    """
    models = common.needed("cuqi.model", "cuqipy")
    geometry = common.needed("cuqi.geometry", "cuqipy")

    logs = surrogate.engine.box.log_inputs

    def is_defined(y: Array) -> bool:
        outside = surrogate.refuse_outside and not surrogate.in_domain(y)
        return bool((np.asarray(y)[logs] > 0).all()) and not outside

    def forward(y: Array) -> Array:
        return surrogate(y) if is_defined(y) else np.full(surrogate.n_out, _FAR)

    def gradient(direction: Array, y: Array) -> Array:
        return surrogate.vjp(y, direction) if is_defined(y) else np.zeros(surrogate.n_in)

    return models.Model(
        forward,
        range_geometry=geometry.Discrete(list(surrogate.c_names)),
        domain_geometry=geometry.Discrete(list(surrogate.y_names)),
        gradient=gradient,
    )


def parameters(surrogate: LoadedSurrogate, name: str = "y") -> Any:
    """Return the prior that is uniform on the box of the training parameters, with their names.

    It is a ``cuqi.distribution.Uniform`` whose gradient is zero outside the box too. There the
    density is zero, so that samplers reject the point; with CUQIpy's own gradient, NaN, the step
    size of NUTS becomes NaN, and the chain stays where it is.

    Args:
        surrogate: The surrogate.
        name: Name of the random variable, by which posteriors refer to it.

    Raises:
        InputError: If the training parameters satisfy linear relations.
    """
    distribution = common.needed("cuqi.distribution", "cuqipy")
    geometry = common.needed("cuqi.geometry", "cuqipy")
    lower, upper = common.box(surrogate)
    names = geometry.Discrete(list(surrogate.y_names))

    base: Any = distribution.Uniform

    class Uniform(base):
        def gradient(self, y: Array) -> Array:
            return np.zeros_like(y)

    return Uniform(lower, upper, geometry=names, name=name)


def data(surrogate: LoadedSurrogate, y: Any, noise: npt.ArrayLike, name: str = "c") -> Any:
    """Return the distribution of data given y, with normal errors: noise's and surrogate's.

    Args:
        surrogate: The surrogate.
        y: Random variable of the parameters.
        noise: Standard deviation of the noise, one or (n_out,). `common.spread` adds the
            surrogate's errors to it.
        name: Name of the random variable, by which data are given.

    Raises:
        InputError: If the noise does not fit the observables.
    """
    distribution = common.needed("cuqi.distribution", "cuqipy")
    geometry = common.needed("cuqi.geometry", "cuqipy")
    variance = common.spread(surrogate, noise) ** 2
    names = geometry.Discrete(list(surrogate.c_names))
    return distribution.Gaussian(model(surrogate)(y), variance, geometry=names, name=name)


def posterior(likelihood: Likelihood, prior: Any = None) -> Any:
    """Return the posterior of the parameters, with all errors of the surrogate.

    Its likelihood has the covariance of the surrogate's errors at each y, and the gradient of it,
    where `data` has one standard deviation for all y. It is zero outside the training domain.

    Args:
        likelihood: Of the data: ``surrogate.likelihood(data, noise)``.
        prior: A distribution of CUQIpy; that of `parameters` if None.

    Raises:
        InputError: If the training parameters satisfy linear relations, and no prior is given.
    """
    distribution = common.needed("cuqi.distribution", "cuqipy")
    surrogate = likelihood.surrogate
    prior = parameters(surrogate) if prior is None else prior

    def log_density(y: Array) -> float:
        return float(likelihood.log_density(y)) if surrogate.in_domain(y) else -np.inf

    def gradient(y: Array) -> Array:
        return likelihood.gradient(y) if surrogate.in_domain(y) else np.zeros(surrogate.n_in)

    found = common.needed("cuqi.likelihood", "cuqipy").UserDefinedLikelihood(
        surrogate.n_in, log_density, gradient, prior.geometry, name="data"
    )
    return distribution.Posterior(found, prior, name=prior.name)
