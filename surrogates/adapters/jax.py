"""JAX: a surrogate as native functions of JAX, for jit, vmap, grad and the packages built on them.

They are those of the module that `surrogates.export.jax` writes, without the file: y and results
are arrays of JAX in double precision, and nothing calls back into Python.
"""

from __future__ import annotations

import types
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from surrogates.export.constants import constants
from surrogates.export.jax.write import text

from . import common

if TYPE_CHECKING:
    from surrogates.adapters._domain import Coordinates
    from surrogates.model.loaded import LoadedSurrogate


_MADE: weakref.WeakKeyDictionary[LoadedSurrogate, Any] = weakref.WeakKeyDictionary()
"""The modules by their surrogates, each compiled by JAX once."""


def functions(surrogate: LoadedSurrogate) -> Any:
    """Return a module of JAX functions: ``forward``, ``jacobian``, ``predict_std``, ``in_domain``.

    Each takes y, (..., n_in). Names, units, bounds and metadata are attributes of the module.

    JAX computes in double precision from then on (``jax_enable_x64``), so this comes before any
    other array of JAX.

    Raises:
        InputError: If the surrogate's features are a module of the user's own.
    """
    common.needed("jax")
    if surrogate not in _MADE:
        module = types.ModuleType("surrogate")
        source = text(module.__name__, constants(surrogate))
        exec(compile(source, f"<{surrogate.path} in JAX>", "exec"), module.__dict__)
        _MADE[surrogate] = module
    return _MADE[surrogate]


def function(surrogate: LoadedSurrogate) -> Any:
    """Return the function y -> c of JAX, (..., n_in) -> (..., n_out); see `functions`."""
    return functions(surrogate).forward


def transposed(surrogate: LoadedSurrogate) -> Any:
    """Return the function y, w -> J(y)^T w of JAX, (..., n_in), (..., n_out) -> (..., n_in)."""
    jax, forward = common.needed("jax"), function(surrogate)
    return lambda y, w: jax.vjp(forward, y)[1](w)[0]


def density(likelihood: Any) -> Any:
    """Return the function y -> log p(data | y) of JAX, with a gradient, of a `Likelihood`.

    The covariance of the surrogate's errors is not among the native functions: this one calls back
    into Python.
    """
    both = value_and_gradient(likelihood)
    found = common.needed("jax").custom_vjp(lambda y: both(y)[0])
    found.defvjp(both, lambda gradient, g: (g[..., None] * gradient,))
    return found


def value_and_gradient(likelihood: Any) -> Any:
    """Return the function y -> log p(data | y), and its gradient, of JAX; see `density`."""
    jax = common.needed("jax")

    def call(y: Any) -> Any:
        return common.or_nan(likelihood.surrogate, likelihood.value_and_gradient, np.asarray(y))

    def both(y: Any) -> Any:
        results = [jax.ShapeDtypeStruct(shape, y.dtype) for shape in (y.shape[:-1], y.shape)]
        return jax.pure_callback(call, tuple(results), y, vmap_method="expand_dims")

    return both


def density_and_gradient(likelihood: Any) -> Any:
    """Return the function y -> `density` and its gradient, of which JAX differentiates the first.

    JAX leaves out which of the two is not used.
    """
    stopped = common.needed("jax.lax", "jax").stop_gradient
    value, both = density(likelihood), value_and_gradient(likelihood)
    return lambda y: (value(y), both(stopped(y))[1])


def from_cube(coordinates: Coordinates) -> Any:
    """Return `Coordinates.to_y` as a function of JAX: u (..., n_free) to y and log determinant."""
    jax, jnp = common.needed("jax"), common.needed("jax.numpy", "jax")
    own, free = coordinates, coordinates.free
    order = np.argsort(np.concatenate([free, own.dependent]))
    size = own.upper[free] - own.lower[free]
    each = (own.rates, own.lower[free], own.upper[free], 1e-12 * size, own.A.T, own.later.T)

    def step(s: Any, given: Any) -> Any:
        (rate, lower, upper, slack, a, later), u = given
        ends = (s[..., None] - later) / jnp.where(a == 0, 1.0, a)[:, None]
        lo, hi = ends.min(axis=-1), ends.max(axis=-1)
        lo = jnp.maximum(jnp.where(a == 0, -jnp.inf, lo).max(axis=-1), lower)
        hi = jnp.minimum(jnp.where(a == 0, jnp.inf, hi).min(axis=-1), upper)
        w, r = jnp.maximum(hi - lo, 1e-300), jnp.where(rate == 0, 1.0, rate)
        E = jnp.expm1(-r * w)
        near = jnp.log1p(jnp.maximum(u * E, -0.5))
        far = jnp.log(jnp.maximum((1 - u) + u * (1 + E), 1e-300))
        log_d = jnp.where(u * E > -0.5, near, far)
        x = lo + jnp.where(rate == 0, u * w, -log_d / r)
        log_slope = jnp.where(rate == 0, jnp.log(w), jnp.log(-E / r) - log_d)
        return s - x[..., None] * a, (x, jnp.where(hi >= lo - slack, log_slope, -jnp.inf))

    def call(u: Any) -> Any:
        u = jnp.asarray(u)
        s = jnp.broadcast_to(own.b, (*u.shape[:-1], len(own.b)))
        s, (x, log_slopes) = jax.lax.scan(step, s, (each, jnp.moveaxis(u, -1, 0)))
        x = jnp.concatenate([jnp.moveaxis(x, 0, -1), s], axis=-1)[..., order]
        x = jnp.clip(x, own.lower, own.upper)
        if own.logs.any():
            x = jnp.where(own.logs, jnp.exp(jnp.where(own.logs, x, 0.0)), x)
        return x, log_slopes.sum(axis=0)

    return call
