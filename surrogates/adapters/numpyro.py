"""NumPyro: a surrogate as native functions of JAX, and as sites of a NumPyro model."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from surrogates.errors import check

from . import common, jax
from ._domain import Coordinates, coordinates

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate
    from surrogates.types import Array

function = jax.function


def _numpyro() -> Any:
    """Return the package, in double precision: arrays that were made before would not be."""
    found = common.needed("numpyro")
    check(
        bool(common.needed("jax").config.jax_enable_x64),
        "a surrogate needs double precision: call numpyro.enable_x64() first",
    )
    return found


def parameters(surrogate: LoadedSurrogate, name: str = "y") -> Any:
    """Sample the parameters, (n_in,): uniform on the training domain.

    If they satisfy linear relations, the site that is sampled is their coordinates in a unit cube,
    ``{name}_cube``, with the density that makes them uniform on the domain, and ``name`` is
    deterministic.

    Raises:
        InputError: If JAX computes in single precision.
    """
    numpyro, distributions = _numpyro(), common.needed("numpyro.distributions")
    if not len(surrogate.domain.normals):
        return numpyro.sample(name, distributions.Uniform(*surrogate.bounds).to_event(1))
    on_flat = coordinates(surrogate)
    u = numpyro.sample(f"{name}_cube", _on_flat()(on_flat))
    return numpyro.deterministic(name, jax.from_cube(on_flat)(u)[0])


@functools.cache
def _on_flat() -> Any:
    """Return the class of a distribution in the cube, which is uniform on the domain."""
    distributions = common.needed("numpyro.distributions", "numpyro")
    random = common.needed("jax.random", "jax")
    base: Any = distributions.Distribution

    class OnFlat(base):
        """Of the coordinates, (n_free,)."""

        support = distributions.constraints.independent(distributions.constraints.unit_interval, 1)

        def __init__(self, on_flat: Coordinates) -> None:
            self.coordinates = on_flat
            super().__init__(event_shape=(on_flat.n_free,))

        def sample(self, key: Any, sample_shape: tuple[int, ...] = ()) -> Any:
            def draw(seed: Any) -> Array:
                rng = np.random.default_rng(np.asarray(seed))
                Y = self.coordinates.draw(math.prod(sample_shape), rng)
                return self.coordinates.from_y(Y)[0].reshape(*sample_shape, -1)

            shape = (*sample_shape, self.coordinates.n_free)
            seed = random.bits(key, (2,), "uint32")
            package = common.needed("jax")
            result = package.ShapeDtypeStruct(shape, np.float64)
            return package.pure_callback(draw, result, seed, vmap_method="sequential")

        def log_prob(self, value: Any, intermediates: Any = None) -> Any:
            return jax.from_cube(self.coordinates)(value)[1] - self.coordinates.log_volume

    return OnFlat


def observables(surrogate: LoadedSurrogate, y: Any, name: str = "c") -> Any:
    """Record the predicted observables at a site, (..., n_out), and return them.

    Args:
        surrogate: The surrogate.
        y: Parameters, (..., n_in).
        name: Name of the site.
    """
    return _numpyro().deterministic(name, function(surrogate)(y))


def data(
    surrogate: LoadedSurrogate,
    c: Any,
    values: npt.ArrayLike,
    noise: npt.ArrayLike,
    name: str = "data",
) -> Any:
    """Condition on measured observables, with normal errors: the noise's and the surrogate's.

    Args:
        surrogate: The surrogate.
        c: Predicted observables, (..., n_out).
        values: Data, (n_out,).
        noise: Standard deviation of the noise, one or (n_out,). `common.spread` adds the
            surrogate's errors to it.
        name: Name of the site.

    Raises:
        InputError: If data or noise do not fit the observables.
    """
    numpyro, distributions = _numpyro(), common.needed("numpyro.distributions")
    found, sigma = common.observed(surrogate, values), common.spread(surrogate, noise)
    return numpyro.sample(name, distributions.Normal(c, sigma).to_event(1), obs=found)


def likelihood(
    surrogate: LoadedSurrogate, y: Any, values: Any, noise: Any, name: str = "likelihood"
) -> None:
    """Condition on data, in place of `data`, by a factor.

    It has the covariance of the surrogate's errors, which depends on y and correlates the
    observables, and its exact gradient. It calls back into Python.

    Args:
        surrogate: The surrogate.
        y: Parameters, (..., n_in).
        values: Data, as `LoadedSurrogate.likelihood` takes them: of all observables, or of some by
            their names.
        noise: Standard deviations of the noise, or its covariance.
        name: Name of the site.

    Raises:
        InputError: If data or noise do not fit the observables, or the surrogate has no covariance.
    """
    _numpyro().factor(name, jax.density(surrogate.likelihood(values, noise))(y))
