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
from ._domain import Coordinates, coordinates

if TYPE_CHECKING:
    from surrogates.model.likelihood import Likelihood
    from surrogates.model.loaded import LoadedSurrogate
    from surrogates.types import Array

_FAR = 1e100


def model(surrogate: LoadedSurrogate, *, cube: bool = False) -> Any:
    """Return the model y -> c, or that of points of a unit cube, which `from_cube` maps to y.

    Its geometries have the names of parameters and observables, and its gradient is the product
    with the transposed Jacobian, so that NUTS, MALA and MAP estimates need no finite differences.

    Samplers step where the surrogate is not defined: where an input whose logarithm it takes is
    not positive, or outside its domain if it refuses that. There the model is 1e100, so that the
    density of any data is zero, and the gradient is zero. (Infinity would become NaN in CUQIpy's
    products with zeros.)

    Args:
        surrogate: The surrogate.
        cube: Take points of the cube, (n_free,), as `parameters` has them with linear relations.
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

    def forward_of_cube(u: Array) -> Array:
        inside = _in_cube(u)
        return forward(on_flat.to_y(u)[0]) if inside else np.full(surrogate.n_out, _FAR)

    def gradient_of_cube(direction: Array, u: Array) -> Array:
        if not _in_cube(u):
            return np.zeros(on_flat.n_free)
        return on_flat.vjp(u, gradient(direction, on_flat.to_y(u)[0]), 0.0)

    range_geometry = geometry.Discrete(list(surrogate.c_names))
    if not cube:
        names = geometry.Discrete(list(surrogate.y_names))
        return models.Model(forward, range_geometry, names, gradient=gradient)
    on_flat = coordinates(surrogate)
    free = geometry.Discrete(_names(surrogate, on_flat))
    # CUQIpy passes variables by the names of the function's arguments.
    return models.Model(forward_of_cube, range_geometry, free, gradient=gradient_of_cube)


def from_cube(surrogate: LoadedSurrogate, u: Any) -> Array:
    """Return parameters y, (n, n_in), of samples of `parameters` where these are in the cube.

    Args:
        surrogate: The surrogate.
        u: The samples of CUQIpy, or an array (n, n_free).
    """
    U = u.samples.T if hasattr(u, "samples") else np.asarray(u)
    return coordinates(surrogate).to_y(U)[0]


def _names(surrogate: LoadedSurrogate, on_flat: Coordinates) -> list[str]:
    return [f"{surrogate.y_names[i]}, in the cube" for i in on_flat.free]


def _in_cube(u: Array) -> bool:
    return bool(((np.asarray(u) >= 0) & (np.asarray(u) <= 1)).all())


def parameters(surrogate: LoadedSurrogate, name: str = "y") -> Any:
    """Return the prior that is uniform on the training domain, with the parameters' names.

    It is a ``cuqi.distribution.Uniform`` whose gradient is zero outside the box too. There the
    density is zero, so that samplers reject the point; with CUQIpy's own gradient, NaN, the step
    size of NUTS becomes NaN, and the chain stays where it is.

    If the parameters satisfy linear relations, the random variable is points of a unit cube,
    (n_free,), with the density that makes them uniform on the domain. `from_cube` gives y, and
    `data` takes the variable.

    Args:
        surrogate: The surrogate.
        name: Name of the random variable, by which posteriors refer to it.
    """
    distribution = common.needed("cuqi.distribution", "cuqipy")
    geometry = common.needed("cuqi.geometry", "cuqipy")
    base: Any = distribution.Uniform

    class Uniform(base):
        def gradient(self, y: Array) -> Array:
            return np.zeros_like(y)

    if not len(surrogate.domain.normals):
        names = geometry.Discrete(list(surrogate.y_names))
        return Uniform(*surrogate.bounds, geometry=names, name=name)

    on_flat = coordinates(surrogate)

    class OnFlat(base):
        def logpdf(self, u: Array) -> Any:
            u = np.ravel(u)
            return on_flat.to_y(u)[1] - on_flat.log_volume if _in_cube(u) else -np.inf

        def gradient(self, u: Array) -> Array:
            if not _in_cube(u):
                return np.zeros_like(u)
            return on_flat.vjp(np.ravel(u), np.zeros(surrogate.n_in), 1.0)

        def _sample(self, N: int = 1, rng: Any = None) -> Array:
            own = np.random.default_rng((rng or np.random).randint(2**31))
            return on_flat.from_y(on_flat.draw(N, own))[0].T

    zeros, names = np.zeros(on_flat.n_free), geometry.Discrete(_names(surrogate, on_flat))
    return OnFlat(zeros, zeros + 1, geometry=names, name=name)


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
    cube = bool(len(surrogate.domain.normals)) and y.dim < surrogate.n_in
    means = model(surrogate, cube=cube)(y)
    return distribution.Gaussian(means, variance, geometry=names, name=name)


def posterior(likelihood: Likelihood, prior: Any = None) -> Any:
    """Return the posterior of the parameters, with all errors of the surrogate.

    Its likelihood has the covariance of the surrogate's errors at each y, and the gradient of it,
    where `data` has one standard deviation for all y. It is zero outside the training domain.

    Args:
        likelihood: Of the data: ``surrogate.likelihood(data, noise)``.
        prior: A distribution of CUQIpy; that of `parameters` if None.
    """
    distribution = common.needed("cuqi.distribution", "cuqipy")
    surrogate = likelihood.surrogate
    prior = parameters(surrogate) if prior is None else prior
    on_flat = coordinates(surrogate) if prior.dim < surrogate.n_in else None

    def log_density(y: Array) -> float:
        return float(likelihood.log_density(y)) if surrogate.in_domain(y) else -np.inf

    def gradient(y: Array) -> Array:
        return likelihood.gradient(y) if surrogate.in_domain(y) else np.zeros(surrogate.n_in)

    def log_density_of_cube(u: Array) -> float:
        assert on_flat is not None
        return log_density(on_flat.to_y(u)[0]) if _in_cube(u) else -np.inf

    def gradient_of_cube(u: Array) -> Array:
        assert on_flat is not None
        if not _in_cube(u):
            return np.zeros(on_flat.n_free)
        return on_flat.vjp(u, gradient(on_flat.to_y(u)[0]), 0.0)

    both = (log_density_of_cube, gradient_of_cube) if on_flat else (log_density, gradient)
    found = common.needed("cuqi.likelihood", "cuqipy").UserDefinedLikelihood(
        prior.dim, *both, prior.geometry, name="data"
    )
    return distribution.Posterior(found, prior, name=prior.name)
