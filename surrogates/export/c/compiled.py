"""A surrogate as compiled C in this process: the engine without torch.

The first call for a surrogate compiles its source with the system's C compiler, and keeps the
library: see `surrogates.export.c.library`. ctypes calls it: a library of that kind needs no header
of Python, which few users have installed. The functions read numpy's arrays by Python's buffer
interface, so a call costs less than asking an array for its address does.
"""

from __future__ import annotations

import os
from statistics import NormalDist
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from surrogates.errors import check
from surrogates.model.covariance import Correlation
from surrogates.model.engines import Box
from surrogates.types import Array

from ..reference import ClassifierReference, Reference
from .library import library

_METHODS = {
    name: number
    for number, name in enumerate(
        ("forward", "jacobian", "jvp", "vjp", "hvp", "predict_std", "predict_interval")
    )
} | {"in_domain": 7, "probabilities": 8, "predict": 9, "predict_cov": 10}
# Samples for which a thread pays: about 30 us of work, against 10 us to start it.
_GRAIN = {"forward": 128, "jacobian": 4, "predict_std": 8, "predict_interval": 8, "predict_cov": 8}


def engine(reference: Reference) -> Compiled:
    """Return the compiled engine of a surrogate's constants; see `Compiled`."""
    return Compiled(reference)


class Compiled:
    """The functions of a surrogate, compiled.

    Every method takes contiguous float64 arrays, one sample or a batch of at least one, and returns
    float64 (bool, int64 for ``in_domain``, ``predict``). Nothing is checked but the sizes in bytes:
    `surrogates.LoadedSurrogate` checks. NaN gives NaN. Any number of threads may call it. Batches
    use all processors that the process may use, by threads that end with the call, so that a
    process may fork at any time. Copies and pickles hold the constants, and load the library anew.

    Attributes:
        NAME: Its name among the engines.
        BATCH: The most samples that it takes at once: any number.
        FAILURES: Exceptions of a call for arrays that do not fit.
        constants: The constants.
        threads: The most threads of a call.
    """

    NAME: ClassVar[str] = "c"
    BATCH: ClassVar[int | None] = None
    FAILURES: ClassVar[tuple[type[Exception], ...]] = (ValueError, BufferError, MemoryError)

    def __init__(self, reference: Reference) -> None:
        """Compile the surrogate, or take the library from the cache.

        Args:
            reference: Its constants, from `surrogates.export.constants` or an .npz file.

        Raises:
            InputError: If there is no C compiler, it fails, or the cache cannot be trusted.
        """
        self.constants = reference
        self.threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        self._n_in, self._n_out = len(reference.lower), len(reference.c_0)
        found = library(reference)
        self._one, self._jacobian = found.engine_forward, found.engine_jacobian
        self._call, self._finite = found.engine_call, found.engine_finite
        self._n_cov = reference.n_cov
        n_in, n_out = self._n_in, self._n_out
        self._shapes: dict[str, tuple[int, ...]] = {
            **dict.fromkeys(("forward", "jvp", "predict_std", "probabilities"), (n_out,)),
            **{"jacobian": (n_out, n_in), "vjp": (n_in,), "hvp": (n_in,)},
            **{"predict_interval": (2, n_out), "in_domain": (), "predict": ()},
            "predict_cov": (n_out * (self._n_cov + 1),),
        }
        self._check()

    def _check(self) -> None:
        """Compare with numpy at the domain's centre, alone and in a batch.

        Compilers and their options differ, and a wrong number would go unnoticed.
        """
        r = self.constants
        y = (r.lower + r.upper) / 2
        for method, right in (("forward", r.forward(y)), ("jacobian", r.jacobian(y))):
            call = getattr(self, method)
            for found in (call(y), call(np.tile(y, (9, 1)))):
                gap = float(np.abs(found - right).max())
                check(
                    gap <= 1e-8 * float(np.abs(right).max()),
                    f"the compiler made a wrong {method} of the surrogate: it differs by {gap:.3g}",
                )

    @property
    def box(self) -> Box:
        """The training domain."""
        return self.constants.box

    @property
    def n_members(self) -> int:
        """Number of surrogates whose weighted mean is the prediction."""
        return self.constants.n_members

    @property
    def log_outputs(self) -> npt.NDArray[np.bool_]:
        """Outputs that are predicted by their logarithms."""
        return self.constants.log_outputs

    @property
    def correlation(self) -> Correlation | None:
        """The correlation of the outputs' errors."""
        return self.constants.correlation

    def selected(self, rows: npt.NDArray[np.int64]) -> Compiled:
        """Return the engine of some outputs alone, which is compiled too."""
        return Compiled(self.constants.selected(rows))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the constants."""
        return type(self), (self.constants,)

    def forward(self, y: Array, out: Array | None = None) -> Array:
        """Return c, (n_out,) or (n, n_out); in ``out`` if it is given."""
        if y.ndim != 1:
            return self._many("forward", y, y, y, out)
        c = np.empty(self._n_out) if out is None else out
        if self._one(y, c):
            raise _wrong("forward")
        return c

    def jacobian(self, y: Array, out: Array | None = None) -> Array:
        """Return dc/dy, (n_out, n_in) or (n, n_out, n_in); in ``out`` if it is given."""
        if y.ndim != 1:
            return self._many("jacobian", y, y, y, out)
        J = np.empty((self._n_out, self._n_in)) if out is None else out
        if self._jacobian(y, J):
            raise _wrong("jacobian")
        return J

    def jvp(self, y: Array, v: Array) -> Array:
        """Return dc/dy v, of c's shape, for v of y's shape."""
        return self._many("jvp", y, v, y)

    def vjp(self, y: Array, w: Array) -> Array:
        """Return (dc/dy)^T w, of y's shape, for w of c's shape."""
        return self._many("vjp", y, w, y)

    def hvp(self, y: Array, w: Array, v: Array) -> Array:
        """Return the derivative of `vjp` along v, of y's shape."""
        return self._many("hvp", y, w, v)

    def predict_std(self, y: Array) -> Array:
        """Return the standard deviations of the errors of c."""
        return self._many("predict_std", y, y, y)

    def predict_cov(self, y: Array) -> tuple[Array, Array]:
        """Return the covariance of the outputs' errors, a factor and a diagonal."""
        both, size = self._many("predict_cov", y, y, y), self._n_out * self._n_cov
        factor = both[..., :size].reshape(*y.shape[:-1], self._n_out, self._n_cov)
        return factor, both[..., size:]

    def cov_vjp(self, y: Array, by_factor: Array, by_diagonal: Array) -> Array:
        """Return the gradient by y of a weighted sum of `predict_cov`, by numpy."""
        return self.constants.cov_vjp(y, by_factor, by_diagonal)

    def predict_interval(self, y: Array, level: float) -> Array:
        """Return lower and upper ends, (2, n_out) or (n, 2, n_out)."""
        q = NormalDist().inv_cdf((1 + level) / 2)
        return self._many("predict_interval", y, y, y, q=q)

    def in_domain(self, y: Array) -> npt.NDArray[np.bool_]:
        """Return whether y lies in the training domain, bool () or (n,)."""
        return self._many("in_domain", y, y, y, kind=np.bool_)

    def probabilities(self, y: Array) -> Array:
        """Return the probabilities of the classes of a classifier."""
        return self._many("probabilities", y, y, y)

    def predict(self, y: Array) -> npt.NDArray[np.int64]:
        """Return the most probable class of a classifier, -1 for NaN, int64 () or (n,)."""
        return self._many("predict", y, y, y, kind=np.int64)

    def finite(self, x: Array) -> bool:
        """Return whether all numbers are finite: the check of one sample, without temporaries."""
        return bool(self._finite(x) == 1)

    def _many(
        self,
        method: str,
        y: Array,
        a: Array,
        b: Array,
        out: npt.NDArray[Any] | None = None,
        *,
        q: float = 0.0,
        kind: npt.DTypeLike = np.float64,
    ) -> npt.NDArray[Any]:
        trust = ("predict_std", "predict_interval", "predict_cov")
        if isinstance(self.constants, ClassifierReference):
            known = method not in trust
        else:
            known = method not in ("probabilities", "predict")
        check(known, f"{method} is not a method of this kind of surrogate")
        n = 1 if y.ndim == 1 else len(y)
        result = np.empty((*y.shape[:-1], *self._shapes[method]), kind) if out is None else out
        threads = max(1, min(self.threads, n // _GRAIN.get(method, 32)))
        if self._call(_METHODS[method], n, y, a, b, q, result, threads):
            raise _wrong(method)
        return result


def _wrong(method: str) -> ValueError:
    return ValueError(f"{method} expects contiguous float64 arrays of the surrogate's sizes")
