"""Pyro: a surrogate as a module of torch with gradients, and as sites of a Pyro model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from . import _torch, common

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate

_PACKAGE = "pyro-ppl"


def function(surrogate: LoadedSurrogate) -> Any:
    """Return a module of torch, y -> c, (..., n_in) -> (..., n_out), with two derivatives."""
    return _torch.module(surrogate)


def parameters(surrogate: LoadedSurrogate, name: str = "y") -> Any:
    """Sample the parameters, (n_in,): uniform on the training bounds.

    Raises:
        InputError: If the training parameters satisfy linear relations.
    """
    pyro, torch = common.needed("pyro", _PACKAGE), common.needed("torch")
    lower, upper = map(torch.tensor, common.box(surrogate))
    return pyro.sample(name, pyro.distributions.Uniform(lower, upper).to_event(1))


def observables(surrogate: LoadedSurrogate, y: Any, name: str = "c") -> Any:
    """Record the predicted observables at a site, (..., n_out), and return them.

    Args:
        surrogate: The surrogate.
        y: Parameters, (..., n_in).
        name: Name of the site.
    """
    return common.needed("pyro", _PACKAGE).deterministic(name, function(surrogate)(y))


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
    pyro, torch = common.needed("pyro", _PACKAGE), common.needed("torch")
    found = torch.tensor(common.observed(surrogate, values))
    sigma = torch.tensor(common.spread(surrogate, noise))
    return pyro.sample(name, pyro.distributions.Normal(c, sigma).to_event(1), obs=found)


def likelihood(
    surrogate: LoadedSurrogate, y: Any, values: Any, noise: Any, name: str = "likelihood"
) -> None:
    """Condition on data, in place of `data`, by a factor.

    It has the covariance of the surrogate's errors, which depends on y and correlates the
    observables, and its exact gradient.

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
    pyro = common.needed("pyro", _PACKAGE)
    pyro.factor(name, _torch.density(surrogate.likelihood(values, noise), y))
