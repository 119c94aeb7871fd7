"""OpenTURNS: a surrogate as an ``openturns.Function``, and a distribution of its parameters.

    from surrogates.adapters import openturns as adapter
    f, X = adapter.function(s), adapter.parameters(s)

The function has the surrogate's names, evaluates samples in one call, and gives the gradient and
the Hessian in closed form, so that FORM, SORM and optimisation need no finite differences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import common

if TYPE_CHECKING:
    from surrogates.model.likelihood import Likelihood
    from surrogates.model.loaded import LoadedSurrogate
    from surrogates.types import Array


def function(surrogate: LoadedSurrogate) -> Any:
    """Return the ``openturns.Function`` y -> c.

    OpenTURNS has the gradient as (n_in, n_out), which is the transposed Jacobian, and the Hessian
    as (n_in, n_in, n_out). It differentiates the gradient itself where the surrogate's file is of
    an older version, without second derivatives.

    Args:
        surrogate: The surrogate, or its outputs of interest: ``surrogate.select(...)``.
    """
    ot = common.needed("openturns")

    def gradient(y: Any) -> Array:
        return surrogate.jacobian(np.array(y)).T

    def hessian(y: Any) -> Array:
        n_in, n_out = surrogate.n_in, surrogate.n_out
        W, V = np.eye(n_out)[:, None], np.eye(n_in)
        H = surrogate.hvp(np.array(y), W, V)  # (n_out, n_in, n_in)
        return np.ascontiguousarray((H + H.swapaxes(1, 2)).T / 2)  # symmetric to the last bit

    found = ot.PythonFunction(
        surrogate.n_in,
        surrogate.n_out,
        func=lambda y: surrogate(np.array(y)),
        func_sample=lambda Y: surrogate(np.array(Y)),
        gradient=gradient,
        hessian=hessian if hasattr(surrogate.engine, "hvp") else None,
    )
    found.setInputDescription(surrogate.y_names)
    found.setOutputDescription(surrogate.c_names)
    return found


def log_density(likelihood: Likelihood) -> Any:
    """Return the ``openturns.Function`` from y to the log likelihood of data, with its gradient.

    With ``parameters(s)`` as prior it makes a posterior, for ``RandomWalkMetropolisHastings`` and
    optimisation. The likelihood has the covariance of the surrogate's errors at each y.

    Args:
        likelihood: Of the data: ``surrogate.likelihood(data, noise)``.
    """
    ot = common.needed("openturns")
    found = ot.PythonFunction(
        likelihood.surrogate.n_in,
        1,
        func=lambda y: likelihood.log_density(np.array(y))[None],
        func_sample=lambda Y: likelihood.log_density(np.array(Y))[:, None],
        gradient=lambda y: likelihood.gradient(np.array(y))[:, None],
    )
    found.setInputDescription(likelihood.surrogate.y_names)
    found.setOutputDescription(["log likelihood"])
    return found


def parameters(surrogate: LoadedSurrogate) -> Any:
    """Return the joint distribution of independent parameters, uniform on the bounds.

    Raises:
        InputError: If the training parameters satisfy linear relations.
    """
    ot = common.needed("openturns")
    lower, upper = common.box(surrogate)
    marginals = [ot.Uniform(a, b) for a, b in zip(lower, upper, strict=True)]
    found = ot.JointDistribution(marginals)
    found.setDescription(surrogate.y_names)
    return found
