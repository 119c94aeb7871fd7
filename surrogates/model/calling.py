"""What every method of a surrogate in memory does: check the caller's numbers, call, check."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt

from surrogates import given
from surrogates.errors import InputError
from surrogates.types import Array

from .engines import Engine, results

_DOUBLE = np.dtype(np.float64)
_FEW = 64


@dataclass(frozen=True, kw_only=True)
class TrainingDomain:
    """The domain of the training parameters, where the held-out errors apply.

    Attributes:
        lower: Lower corner of the box, (n_in,), units of y.
        upper: Upper corner of the box, (n_in,), units of y.
        normals: Directions in which the training parameters do not vary, (k, n_in): rows a with
            a . (y - centre) = 0. k = 0 if they vary in all directions. For inputs that are seen as
            logarithms, y and centre are these.
        centre: A point of their flat, (n_in,).
        contains: Returns whether y lies in it, bool () or (n,).
    """

    lower: Array
    upper: Array
    normals: Array
    centre: Array
    contains: Callable[[npt.ArrayLike], npt.NDArray[np.bool_]] = field(repr=False)


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Called:
    """A surrogate's engine with its names and checks.

    `surrogates.model.loaded.LoadedSurrogate`, which users hold, describes its attributes.
    """

    OUTPUTS: ClassVar[str] = "observables"

    engine: Engine
    metadata: Mapping[str, Any]
    path: str
    refuse_outside: bool = False

    @functools.cached_property
    def n_in(self) -> int:
        """Number of parameters."""
        return len(self.metadata["y_names"])

    @functools.cached_property
    def n_out(self) -> int:
        """Number of observables."""
        return len(self.metadata["c_names"])

    @functools.cached_property
    def y_names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(self.metadata["y_names"])

    @functools.cached_property
    def c_names(self) -> tuple[str, ...]:
        """Names of the observables."""
        return tuple(self.metadata["c_names"])

    @property
    def y_units(self) -> tuple[str, ...]:
        """Units of the parameters."""
        return tuple(self.metadata["y_units"])

    @property
    def c_units(self) -> tuple[str, ...]:
        """Units of the observables."""
        return tuple(self.metadata["c_units"])

    @property
    def c_coordinates(self) -> dict[str, Array]:
        """Coordinates of the observables, (n_out,) each, by their names."""
        found = self.metadata["coordinates"].items()
        return {name: np.array(values, np.float64) for name, values in found}

    @property
    def bounds(self) -> Array:
        """Lower and upper ends of the training parameters, (2, n_in)."""
        return np.stack([self.engine.box.lower, self.engine.box.upper])

    def _parameters(self, y: npt.ArrayLike) -> Array:
        Y = self._array("y", y, self.y_names)
        if self._is_guarded:
            self._guard(Y.reshape(-1, self.n_in))
        return Y

    @functools.cached_property
    def _is_guarded(self) -> bool:
        return self.refuse_outside or bool(self.engine.box.log_inputs.any())

    def _guard(self, rows: Array) -> None:
        """Refuse rows whose logarithms are not defined, and those outside if that was asked."""
        wrong = np.argwhere(self.engine.box.log_inputs & (rows <= 0))
        if len(wrong):
            i, j = wrong[0]
            raise InputError(
                f"{self.path} takes the logarithm of {self.y_names[j]}: expected "
                f"values > 0; got {rows[i, j]:.6g} in sample {i} (from 0)"
            )
        if self.refuse_outside:
            outside = np.flatnonzero(~self._call("in_domain", rows))
            if len(outside):
                raise InputError(
                    f"y is outside the training domain of {self.path} in {len(outside)} of "
                    f"{len(rows)} samples, first in sample {outside[0]} (from 0): "
                    + self._why_outside(rows[outside[0]])
                )

    def _why_outside(self, y: Array) -> str:
        lower, upper = self.bounds
        with np.errstate(invalid="ignore", divide="ignore"):
            j = int(np.nan_to_num(np.maximum(lower - y, y - upper) / (upper - lower)).argmax())
        if lower[j] <= y[j] <= upper[j]:
            of = "the logarithms of " if self.engine.box.log_inputs.any() else ""
            return f"it does not satisfy the linear relations of {of}the training parameters"
        bounds = f"{lower[j]:.6g} to {upper[j]:.6g}"
        return f"{self.y_names[j]} is {y[j]:.6g}, in training it was {bounds}"

    def _array(
        self, name: str, values: npt.ArrayLike, names: Sequence[str], *, finite: bool = True
    ) -> Array:
        """Return the caller's numbers as an array that owns all it needs, checked."""
        if type(values) is np.ndarray and values.dtype is _DOUBLE and values.flags.carray:
            array = values  # as engines take it
        else:
            array = given.real(values, names, name)
        size = len(names)
        if array.ndim == 0 or array.shape[-1] != size:
            raise InputError(
                f"{self.path} takes {self.n_in} parameters and gives {self.n_out} {self.OUTPUTS}: "
                f"expected {name} of shape ({size},), (n, {size}) or (..., {size}); got "
                f"{array.shape}"
            )
        if finite and not self._finite(array):
            raise InputError(f"expected finite numbers in {name}; got NaN or infinity")
        return array

    @functools.cached_property
    def _finite(self) -> Callable[[Array], bool]:
        """Whether all numbers are finite, by the engine if it can say so."""
        return getattr(self.engine, "finite", _finite)

    def _together(self, Y: Array, **others: Array) -> list[Array]:
        """Return y and what goes with it, with the same leading dimensions."""
        lead = Y.shape[:-1]
        if all(x.shape[:-1] == lead for x in others.values()):
            return [Y, *others.values()]
        for name, x in others.items():
            try:
                lead = np.broadcast_shapes(lead, x.shape[:-1])
            except ValueError as error:
                raise InputError(
                    f"expected {name} for each y, {(*Y.shape[:-1], x.shape[-1])}, or of a shape "
                    f"that broadcasts with it; got {x.shape}"
                ) from error
        pairs = ((x, (*lead, x.shape[-1])) for x in (Y, *others.values()))
        return [np.array(np.broadcast_to(x, shape), order="C") for x, shape in pairs]

    def failure(self, method: str, error: Exception) -> InputError:
        """Return the error to raise where a method of its engine fails, in one line."""
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else type(error).__name__
        return InputError(f"{self.path} fails in {method}: {reason[:200]}")

    def _call(
        self,
        method: str,
        *given: Array,
        settings: tuple[float, ...] = (),
        out: Array | None = None,
    ) -> npt.NDArray[Any]:
        shape, kind = self._results[method]
        Y = given[0]
        try:
            call = getattr(self.engine, method)
            if Y.ndim == 1:
                result = call(*given, *settings)
            else:
                lead = Y.shape[:-1]
                rows = given if Y.ndim == 2 else [x.reshape(-1, x.shape[-1]) for x in given]
                result = self._in_batches(call, rows, settings, (0, *shape), kind)
                shape = (*lead, *shape)
                if Y.ndim > 2:
                    result = result.reshape(*lead, *result.shape[1:])
        except InputError:
            raise
        except self.engine.FAILURES as error:  # no memory, or a network unlike its metadata
            raise self.failure(method, error) from error
        if result.shape != shape or result.dtype != kind:
            raise InputError(
                f"{self.path} is damaged: {method} must give {kind} of shape {shape}; got "
                f"{result.dtype} of shape {result.shape}"
            )
        if out is not None:
            return _copied(result, out)
        # Of no dimensions it is a number of numpy, as its own functions return.
        return result if shape else cast("npt.NDArray[Any]", result[()])

    def _in_batches(
        self,
        call: Callable[..., npt.NDArray[Any]],
        rows: Sequence[Array],
        settings: tuple[float, ...],
        empty: tuple[int, ...],
        kind: npt.DTypeLike,
    ) -> npt.NDArray[Any]:
        """Call a method with at most as many samples at once as the engine takes."""
        n, most = len(rows[0]), self.engine.BATCH
        if n == 0:
            return np.empty(empty, kind)
        if most is None or n <= most:
            return call(*rows, *settings)
        starts = range(0, n, most)
        return np.concatenate([call(*(x[i : i + most] for x in rows), *settings) for i in starts])

    @functools.cached_property
    def _results(self) -> Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shape and type of the result of each method for one sample."""
        return results(self.n_in, self.n_out)


def _finite(x: Array) -> bool:
    """Return whether all numbers are finite.

    A sum is quick, and finite unless a number is not, or numbers are huge. Few numbers are summed
    by Python: after a call of torch, numpy's products are no longer in the processor's cache, and
    take ten times as long.
    """
    if x.ndim == 1 and len(x) <= _FEW:
        total = sum(x.tolist())
    else:
        flat = x.reshape(-1)
        total = flat.dot(flat)
    return math.isfinite(total) or bool(np.isfinite(x).all())


def _copied(result: npt.NDArray[Any], out: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Copy a result to the array that a caller has given for it."""
    fits = isinstance(out, np.ndarray) and (out.shape, out.dtype) == (result.shape, result.dtype)
    if not (fits and out.flags.writeable):
        got = f"{out.dtype} of shape {out.shape}" if isinstance(out, np.ndarray) else type(out)
        raise InputError(
            f"expected out to be a writable array of {result.dtype}, of shape {result.shape}; got "
            f"{got}"
        )
    out[...] = result
    return out
