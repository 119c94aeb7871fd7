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
