"""OpenTURNS: a surrogate as an ``openturns.Function``, and a distribution of its parameters.

    from surrogates.adapters import openturns as adapter
    f, X = adapter.function(s), adapter.parameters(s)

The function has the surrogate's names, evaluates samples in one call, and gives the gradient and
the Hessian in closed form, so that FORM, SORM and optimisation need no finite differences.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from surrogates.errors import InputError

from . import common
from ._domain import Coordinates, coordinates

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
    """Return the joint distribution of the parameters, uniform on the training domain.

    They are independent, unless they satisfy linear relations. The distribution then has samples,
    for Monte Carlo methods, and a density, which is one of the flat. FORM and Sobol indices, which
    need independent parameters, and marginals are refused.
    """
    ot = common.needed("openturns")
    if len(surrogate.domain.normals):
        found = ot.Distribution(_on_flat()(surrogate))
    else:
        marginals = [ot.Uniform(a, b) for a, b in zip(*surrogate.bounds, strict=True)]
        found = ot.JointDistribution(marginals)
    found.setDescription(surrogate.y_names)
    return found


@functools.cache
def _on_flat() -> Any:
    """Return the class of a distribution that is uniform on a domain with linear relations."""
    ot = common.needed("openturns")
    base: Any = ot.PythonDistribution

    class OnFlat(base):
        def __init__(self, surrogate: LoadedSurrogate) -> None:
            super().__init__(surrogate.n_in)
            self.surrogate: LoadedSurrogate = surrogate
            self.coordinates: Coordinates = coordinates(surrogate)

        def getRange(self) -> Any:
            return ot.Interval(*self.surrogate.bounds.tolist())

        def getSample(self, size: int) -> Array:
            rng = np.random.default_rng(ot.RandomGenerator.IntegerGenerate(2**31 - 1))
            found: Array = self.coordinates.draw(size, rng)
            return found

        def getRealization(self) -> Any:
            return self.getSample(1)[0]

        def computeLogPDF(self, y: Any) -> float:
            inside = self.surrogate.in_domain(np.array(y))
            return -self.coordinates.log_volume if inside else -np.inf

        def computePDF(self, y: Any) -> float:
            return float(np.exp(self.computeLogPDF(y)))

        def computeCDF(self, y: Any) -> float:
            raise InputError(
                f"the training parameters of {self.surrogate.path} satisfy linear relations: their "
                "distribution has samples and a density, and is for Monte Carlo methods alone"
            )

    return OnFlat
