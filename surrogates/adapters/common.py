"""What several adapters share: the import of their package, the box of parameters, the noise."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from surrogates.errors import InputError, check
from surrogates.types import Array

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate

    from ._model import Model


def needed(module: str, package: str = "") -> Any:
    """Import a module of an adapter's package.

    Args:
        module: The module, such as ``pymc`` or ``botorch.models``.
        package: Its name for pip; that of the module's first part if empty.

    Raises:
        InputError: If it cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = package or module.partition(".")[0]
        raise InputError(
            f"this adapter needs {package}: pip install {package} ({error})"
        ) from error


def box(surrogate: LoadedSurrogate | Model, instead: str) -> tuple[Array, Array]:
    """Return the ends of the training parameters, (n_in,) each, for independent parameters.

    Args:
        surrogate: The surrogate.
        instead: What to do if there are none, for the message.

    Raises:
        InputError: If the training parameters satisfy linear relations, such as weights that sum to
            one: almost every point of the box is outside the domain then.
    """
    k = len(surrogate.domain.normals)
    check(
        k == 0,
        f"the training parameters of {surrogate.path} satisfy {k} linear relation"
        f"{'s' if k > 1 else ''}, so they are not independent, as expected here: {instead}",
    )
    lower, upper = surrogate.bounds
    return lower, upper


def spread(surrogate: LoadedSurrogate | Model, noise: npt.ArrayLike) -> Array:
    """Return the standard deviation of data about predictions: the noise and the surrogate's error.

    The surrogate's share is the root mean square of its errors on held-out samples. It is the same
    for all y, so a likelihood needs no derivative of it. A PDE has none.

    Args:
        surrogate: The surrogate.
        noise: Standard deviation of the data's noise, one or (n_out,), units of the observables.

    Returns:
        (n_out,), units of the observables.

    Raises:
        InputError: If the noise has another shape, or is not above zero.
    """
    sigma = np.asarray(noise, np.float64)
    check(
        sigma.shape in ((), (surrogate.n_out,)) and bool((sigma > 0).all()),
        f"expected one standard deviation of the noise > 0, or {surrogate.n_out}; got {noise!r}",
    )
    errors = getattr(surrogate, "metadata", {}).get("errors", {})
    for part in ("test", "validation"):
        rms = errors.get(part, {}).get("output_rms")
        if rms and None not in rms:
            return np.hypot(sigma, np.array(rms, np.float64))
    return np.broadcast_to(sigma, (surrogate.n_out,)).copy()


def or_nan(surrogate: LoadedSurrogate | Model, call: Callable[..., Any], *given: Array) -> Any:
    """Call a method of a surrogate; the results are NaN for samples where it has none.

    A surrogate refuses y and directions that are not finite, and y <= 0 where it takes logarithms;
    a PDE (`surrogates.pde.Simulator`) refuses y outside its bounds. A sampler whose trajectory
    diverges goes there, and takes NaN as a reason to reject.

    Args:
        surrogate: The surrogate.
        call: A function of these arrays, which returns one array or a tuple of some, with the
            leading dimensions of its arguments.
        given: y, (..., n_in), and what goes with it.

    Raises:
        InputError: If the function refuses them for another reason.
    """
    try:
        return call(*given)
    except InputError:
        if hasattr(surrogate, "engine"):
            logs = surrogate.engine.box.log_inputs
            defined = ((given[0] > 0) | ~logs).all(axis=-1)
        else:
            defined = surrogate.in_domain(given[0])
        for x in given:
            defined = defined & np.isfinite(x).all(axis=-1)
        if defined.all():
            raise
    lead = defined.shape
    found = call(*(np.broadcast_to(x, (*lead, x.shape[-1]))[defined] for x in given))
    parts = []
    for part in found if isinstance(found, tuple) else (found,):
        whole = np.full((*lead, *part.shape[1:]), np.nan)
        whole[defined] = part
        parts.append(whole)
    return tuple(parts) if isinstance(found, tuple) else parts[0]


def observed(surrogate: LoadedSurrogate | Model, data: npt.ArrayLike) -> Array:
    """Return data, (n_out,), checked; names of a series are matched.

    Raises:
        InputError: If their number or names are not those of the observables, or one is not finite.
    """
    from surrogates import given

    found = given.real(data, surrogate.c_names, "data")
    check(
        found.shape == (surrogate.n_out,) and bool(np.isfinite(found).all()),
        f"expected {surrogate.n_out} finite data, one for each observable; got {found.shape}",
    )
    return found
