"""NumPyro: a surrogate as native functions of JAX, and as sites of a NumPyro model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from surrogates.errors import check

from . import common, jax

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate

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
    """Sample the parameters, (n_in,): uniform on the training bounds.

    Raises:
        InputError: If the training parameters satisfy linear relations, or JAX computes in single
            precision.
    """
    numpyro, distributions = _numpyro(), common.needed("numpyro.distributions")
    return numpyro.sample(name, distributions.Uniform(*common.box(surrogate)).to_event(1))


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
