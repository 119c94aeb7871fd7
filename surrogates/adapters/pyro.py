"""Pyro: a surrogate as a module of torch with gradients, and as sites of a Pyro model."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from . import _torch, common
from ._domain import Coordinates, coordinates

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate

_PACKAGE = "pyro-ppl"


def function(surrogate: LoadedSurrogate) -> Any:
    """Return a module of torch, y -> c, (..., n_in) -> (..., n_out), with two derivatives."""
    return _torch.module(surrogate)


def parameters(surrogate: LoadedSurrogate, name: str = "y") -> Any:
    """Sample the parameters, (n_in,): uniform on the training domain.

    If they satisfy linear relations, the site that is sampled is their coordinates in a unit cube,
    ``{name}_cube``, with the density that makes them uniform on the domain, and ``name`` is
    deterministic.
    """
    pyro, torch = common.needed("pyro", _PACKAGE), common.needed("torch")
    if not len(surrogate.domain.normals):
        lower, upper = map(torch.tensor, surrogate.bounds)
        return pyro.sample(name, pyro.distributions.Uniform(lower, upper).to_event(1))
    on_flat = coordinates(surrogate)
    u = pyro.sample(f"{name}_cube", _on_flat()(on_flat))
    return pyro.deterministic(name, _torch.from_cube(on_flat, u)[0])


@functools.cache
def _on_flat() -> Any:
    """Return the class of a distribution in the cube, which is uniform on the domain."""
    torch = common.needed("torch")
    distributions = common.needed("pyro.distributions", _PACKAGE)
    constraints: Any = distributions.constraints
    base: Any = distributions.TorchDistribution

    class OnFlat(base):
        """Of the coordinates, (n_free,)."""

        arg_constraints: ClassVar[dict[str, Any]] = {}
        support = constraints.independent(constraints.unit_interval, 1)

        def __init__(self, on_flat: Coordinates) -> None:
            self.coordinates = on_flat
            super().__init__(event_shape=torch.Size([on_flat.n_free]), validate_args=False)

        def sample(self, sample_shape: Any = ()) -> Any:
            rng = np.random.default_rng(int(torch.randint(2**62, ())))
            Y = self.coordinates.draw(math.prod(sample_shape), rng)
            return torch.tensor(self.coordinates.from_y(Y)[0]).reshape(*sample_shape, -1)

        def log_prob(self, value: Any) -> Any:
            return _torch.from_cube(self.coordinates, value)[1] - self.coordinates.log_volume

    return OnFlat


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
