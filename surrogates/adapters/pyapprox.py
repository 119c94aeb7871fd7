"""PyApprox: a surrogate as a function with derivatives, and a distribution of its parameters.

    f, Y = adapter.function(s), adapter.parameters(s)
    indices = SobolSequenceSensitivityAnalysis(Y, f.bkd())

The function satisfies PyApprox's protocols: of functions with Jacobian and Hessian products, for
its optimisers and checks, and of observation operators, for its inverse problems. Samples are
columns in PyApprox, (n_in, n). It works with PyApprox's numpy backend, without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import common

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate
    from surrogates.types import Array

_BACKEND = "pyapprox.util.backends.numpy"


class Function:
    """A surrogate with the methods of PyApprox's protocols.

    One sample and one direction are columns, (n_in, 1); weights and cotangents (n_out, 1).
    """

    def __init__(self, surrogate: LoadedSurrogate) -> None:
        """Take a surrogate."""
        self.surrogate = surrogate
        self._bkd = common.needed(_BACKEND, "pyapprox").NumpyBkd()
        if surrogate.n_out == 1:  # PyApprox asks whether a function has the attribute
            self.hvp = self._hvp

    def bkd(self) -> Any:
        """Return the backend, of numpy arrays."""
        return self._bkd

    def nvars(self) -> int:
        """Return the number of parameters."""
        return self.surrogate.n_in

    def nqoi(self) -> int:
        """Return the number of observables."""
        return self.surrogate.n_out

    def nobs(self) -> int:
        """Return the number of observables, as observation operators call it."""
        return self.surrogate.n_out

    def __call__(self, samples: Array) -> Array:
        """Predict: (n_in, n) to (n_out, n)."""
        return self.surrogate(_rows(samples)).T

    def jacobian(self, sample: Array) -> Array:
        """Return the Jacobian, (n_out, n_in)."""
        return self.jacobian_batch(sample).reshape(self.nqoi(), self.nvars())

    def jacobian_batch(self, samples: Array) -> Array:
        """Return the Jacobian at each of n samples, (n, n_out, n_in)."""
        return self.surrogate.jacobian(_rows(samples))

    def apply_jacobian(self, sample: Array, vec: Array) -> Array:
        """Apply the Jacobian: (n_out, 1)."""
        return self.surrogate.jvp(_rows(sample), _rows(vec)).T

    def apply_jacobian_transpose(self, sample: Array, vec: Array) -> Array:
        """Apply the transposed Jacobian: (n_in, 1)."""
        return self.surrogate.vjp(_rows(sample), _rows(vec)).T

    def whvp(self, sample: Array, vec: Array, weights: Array) -> Array:
        """Apply the Hessian of the weighted sum of the observables: (n_in, 1)."""
        return self.surrogate.hvp(_rows(sample), np.reshape(weights, (1, -1)), _rows(vec)).T

    def apply_weighted_hessian(self, sample: Array, vec: Array, weights: Array) -> Array:
        """Apply the Hessian of the weighted sum of the observables: (n_in, 1)."""
        return self.whvp(sample, vec, weights)

    def apply_hessian(self, sample: Array, vec: Array) -> Array:
        """Apply the Hessian of the sum of the observables: (n_in, 1)."""
        return self.whvp(sample, vec, np.ones(self.surrogate.n_out))

    def hessian_batch(self, samples: Array) -> Array:
        """Return the Hessians at each of n samples, (n, n_out, n_in, n_in)."""
        n_in, n_out = self.surrogate.n_in, self.surrogate.n_out
        W, V = np.eye(n_out)[:, None], np.eye(n_in)
        return self.surrogate.hvp(_rows(samples)[:, None, None], W, V)

    def _hvp(self, sample: Array, vec: Array) -> Array:
        """Apply the Hessian of the one observable: (n_in, 1)."""
        return self.whvp(sample, vec, np.ones(1))


def function(surrogate: LoadedSurrogate) -> Function:
    """Return the function y -> c for PyApprox; for one observable, of ``surrogate.select(...)``."""
    return Function(surrogate)


def parameters(surrogate: LoadedSurrogate) -> Any:
    """Return the ``IndependentJoint`` that is uniform on the box of the training parameters.

    Raises:
        InputError: If the training parameters satisfy linear relations.
    """
    joint = common.needed("pyapprox.probability.joint", "pyapprox")
    univariate = common.needed("pyapprox.probability.univariate", "pyapprox")
    bkd = common.needed(_BACKEND, "pyapprox").NumpyBkd()
    lower, upper = common.box(
        surrogate,
        "PyApprox's joint distributions are of independent variables; draw parameters by "
        "surrogates.adapters.emcee.start(s, n), and take their transpose",
    )
    ends = zip(lower, upper, strict=True)
    marginals = [univariate.UniformMarginal(float(a), float(b), bkd) for a, b in ends]
    return joint.IndependentJoint(marginals, bkd)


def _rows(columns: Array) -> Array:
    """Return samples as rows of contiguous memory, as surrogates take them."""
    return np.ascontiguousarray(np.asarray(columns).T)
