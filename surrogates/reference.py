r"""A surrogate as plain arrays: an .npz file, and its evaluation in numpy alone.

`save` makes the .npz file of a surrogate file and `load` reads it. This module imports numpy and
nothing else that is not Python's own. A program without it needs only ``numpy.load`` and what
follows. Of y, (n_in,), in the units of the metadata, the prediction c, (n_out,), is

    u = phi(K_in y + b_in)
    for each step j = 0, ..., n_steps - 1:
        k_0 = phi(A[j, 0] u + b[j, 0])
        k_i = phi(A[j, i] (u + l_i k_(i-1)) + b[j, i]),    i = 1, ..., n_stages - 1
        u = carry u + sum_i w_i k_i
    c = W u + c_0

where phi, by entries, is named by the file:

    sigmoid     1 / (1 + exp(-x))
    softplus    log(1 + exp(x))
    relu        max(0, x)

tanh has become sigmoid, in which it is affine: A, b, w and W absorb that, as K_in and b_in do the
scaling of y. Where the metadata's ``task`` is classification, c are calibrated logits: the
probability of class k is exp(c_k) / sum_j exp(c_j). Where it is not, the standard deviation of the
error of c is

    std = sigma sqrt(floor + ||leverage u + constant||^2 + ||beyond||^2 + ||off||^2)
    beyond = max(0, lower - y, y - upper) / unit,    off = normals (y - centre) / unit

and y is in the training domain if all of lower - s <= y <= upper + s, s = 1e-9 (upper - lower), and
all of |off| <= 1e-4. `surrogates.surrogate` says where these come from. The arrays, float64 except
where said:

    format, schema_version    "varpro-surrogates-npz", text (), and 1, integer ()
    phi                       text ()
    metadata                  text (): the surrogate file's metadata, as JSON
    K_in, b_in                (width, n_in), (width,)
    A, b                      (n_steps, n_stages, width, width), (n_steps, n_stages, width)
    lengths, weights, carry   l and w, (n_stages,) each; ()
    W, c_0                    (n_out, width), (n_out,), units of c
    lower, upper, unit        (n_in,), units of y
    normals, centre           (k, n_in), k = 0 without a flat; (n_in,), units of y
    leverage, constant        (width + 1, width), (width + 1,)
    floor, sigma              (), NaN where there are no error bars; (n_out,), units of c
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from .errors import InputError
from .files import atomic, reading

if TYPE_CHECKING:
    import torch

    from .export import LoadedSurrogate

FORMAT = "varpro-surrogates-npz"
SCHEMA_VERSION = 1

Array = npt.NDArray[np.float64]
_Method = TypeVar("_Method", bound=Callable[..., Any])
_Rows = TypeVar("_Rows", bound=npt.NDArray[Any])

# Of the arrays: n inputs, o outputs, width w, z = w + 1, j steps of i stages, k normals.
_SHAPES = {
    "K_in": "wn",
    "b_in": "w",
    "A": "jiww",
    "b": "jiw",
    "lengths": "i",
    "weights": "i",
    "carry": "",
    "W": "ow",
    "c_0": "o",
    "lower": "n",
    "upper": "n",
    "unit": "n",
    "normals": "kn",
    "centre": "n",
    "leverage": "zw",
    "constant": "z",
    "floor": "",
    "sigma": "o",
}


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _softplus(x: Array) -> Array:
    return np.asarray(np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x))))


# phi, and its derivative where its value is k; both give NaN for NaN.
_PHI: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "sigmoid": (_sigmoid, lambda k: k - k * k),
    "softplus": (_softplus, lambda k: -np.expm1(-k)),
    "relu": (lambda x: np.maximum(x, 0.0), lambda k: np.where(k > 0, 1.0, k)),
}
# As a decorator: no warning of y that is huge, infinite or NaN.
_quiet: Callable[[_Method], _Method] = np.errstate(over="ignore", invalid="ignore")


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """The constants of a surrogate, float64, and its evaluation.

    The module's text has the formulas and the shapes. Each method takes one sample, (n_in,), or a
    batch, (n, n_in) with n >= 1, in the units of the metadata, and gives results with or without
    the leading n alike. Sizes that do not fit raise an `InputError`. A NaN gives NaN, and is
    outside the domain.

    Attributes:
        phi: Name of phi.
        metadata: Of the surrogate file; see `surrogates.export.metadata`.
    """

    phi: str
    K_in: Array
    b_in: Array
    A: Array
    b: Array
    lengths: Array
    weights: Array
    carry: float
    W: Array
    c_0: Array
    lower: Array
    upper: Array
    unit: Array
    normals: Array
    centre: Array
    leverage: Array
    constant: Array
    floor: float
    sigma: Array
    metadata: Mapping[str, Any]

    @_quiet
    def __call__(self, y: npt.ArrayLike) -> Array:
        """Give c, (n_out,) or (n, n_out)."""
        u, _ = self._features(self._rows(y, "y"))
        return _like(y, u @ self.W.T + self.c_0)

    def predict(self, y: npt.ArrayLike) -> Array:
        """Predict the observables, (n_out,) or (n, n_out)."""
        return self(y)

    @_quiet
    def jacobian(self, y: npt.ArrayLike) -> Array:
        """Differentiate the prediction: dc/dy, (n_out, n_in) or (n, n_out, n_in)."""
        return _like(y, self.W @ self._tangents(self._rows(y, "y"), self.K_in))

    @_quiet
    def jvp(self, y: npt.ArrayLike, v: npt.ArrayLike) -> Array:
        """Apply the Jacobian to directions v, of y's shape: (n_out,) or (n, n_out)."""
        Y, V = self._rows(y, "y"), self._rows(v, "v", like=y)
        du = self._tangents(Y, (V @ self.K_in.T)[:, :, None])
        return _like(y, du[:, :, 0] @ self.W.T)

    @_quiet
    def vjp(self, y: npt.ArrayLike, w: npt.ArrayLike) -> Array:
        """Apply the transposed Jacobian to w, (n_out,) or (n, n_out): (n_in,) or (n, n_in)."""
        g = self._rows(w, "w", like=y, size=len(self.c_0)) @ self.W
        du = self._tangents(self._rows(y, "y"), self.K_in)
        return _like(y, (g[:, None] @ du)[:, 0])

    @_quiet
    def predict_std(self, y: npt.ArrayLike) -> Array:
        """Give the standard deviation of the prediction's error, (n_out,) or (n, n_out).

        `surrogates.surrogate.ErrorBars` says what it covers.
        """
        Y = self._rows(y, "y")
        u, _ = self._features(Y)
        z = u @ self.leverage.T + self.constant
        beyond = np.maximum(0.0, np.maximum(self.lower - Y, Y - self.upper)) / self.unit
        squares = [(x * x).sum(axis=1) for x in (z, beyond, self._off_flat(Y))]
        return _like(y, np.sqrt(self.floor + sum(squares))[:, None] * self.sigma)

    @_quiet
    def in_domain(self, y: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Tell whether y lies in the training domain: bool, () or (n,)."""
        Y = self._rows(y, "y")
        slack = 1e-9 * (self.upper - self.lower)
        inside = ((self.lower - slack <= Y) & (Y <= self.upper + slack)).all(axis=1)
        return _like(y, inside & (np.abs(self._off_flat(Y)) <= 1e-4).all(axis=1))

    def _features(self, Y: Array) -> tuple[Array, list[Array]]:
        """Give u, (n, width), and all values of phi on the way to it, each (n, width)."""
        phi, _ = _PHI[self.phi]
        u = phi(Y @ self.K_in.T + self.b_in)
        values = [u]
        for A, b in zip(self.A, self.b, strict=True):
            k, after = np.zeros_like(u), self.carry * u
            for A_i, b_i, l_i, w_i in zip(A, b, self.lengths, self.weights, strict=True):
                k = phi((u + l_i * k) @ A_i.T + b_i)
                after = after + w_i * k
                values.append(k)
            u = after
        return u, values

    def _tangents(self, Y: Array, D: Array) -> Array:
        """Differentiate u in m directions, (n, width, m), whose derivatives of K_in y are D.

        D is (width, m), or (n, width, m).
        """
        _, slope = _PHI[self.phi]
        slopes = iter([slope(value)[:, :, None] for value in self._features(Y)[1]])
        d = next(slopes) * D
        for A in self.A:
            dk, after = np.zeros_like(d), self.carry * d
            for A_i, l_i, w_i in zip(A, self.lengths, self.weights, strict=True):
                dk = next(slopes) * (A_i @ (d + l_i * dk))
                after = after + w_i * dk
            d = after
        return d

    def _off_flat(self, Y: Array) -> Array:
        return np.asarray(((Y - self.centre) / self.unit) @ self.normals.T)

    def _rows(
        self,
        x: npt.ArrayLike,
        name: str,
        *,
        like: npt.ArrayLike | None = None,
        size: int | None = None,
    ) -> Array:
        """Check x, and give it as rows, one for each of ``like``'s."""
        array, size = np.asarray(x), size or len(self.lower)
        lead = array.shape[:-1] if like is None else np.shape(like)[:-1]
        fits = array.shape == (*lead, size) and len(lead) < 2 and 0 not in lead
        if not fits or array.dtype.kind not in "fiub":
            raise InputError(
                f"expected real numbers {name} of shape ({size},) or (n, {size}), n at least 1 and "
                f"that of y; got {array.dtype} of shape {array.shape}"
            )
        return np.atleast_2d(array.astype(np.float64))


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassifierReference(Reference):
    """The constants of a classifier, of which c are the calibrated logits."""

    def logits(self, y: npt.ArrayLike) -> Array:
        """Give the calibrated logits, (n_out,) or (n, n_out)."""
        return self(y)

    @_quiet
    def probabilities(self, y: npt.ArrayLike) -> Array:
        """Give the probability of each class, (n_out,) or (n, n_out)."""
        logits = self(y)
        p = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return np.asarray(p / p.sum(axis=-1, keepdims=True))

    def predict(self, y: npt.ArrayLike) -> npt.NDArray[Any]:
        """Give the index of the most probable class, int64 () or (n,); -1 for NaN."""
        logits = self(y)
        return np.where(np.isnan(logits).any(axis=-1), -1, logits.argmax(axis=-1))

    def predict_std(self, y: npt.ArrayLike) -> Array:
        """Refuse: a classifier has no error bars."""
        raise InputError("a classifier has probabilities, and no error bars")


def constants(surrogate: LoadedSurrogate) -> Reference:
    """Take the constants out of a surrogate file.

    Args:
        surrogate: From `surrogates.load`.

    Raises:
        InputError: If its features are not a network in the form of `surrogates.fused`.
    """
    module: Any = surrogate.module
    net = module.features
    if getattr(net, "phi", None) not in _PHI:
        raise InputError(
            f"{surrogate.path} cannot be exported: expected a network of this package; its "
            "features are another module, or were written by an older version (train it again)"
        )
    steps = list(net.steps.children())
    shape = (len(steps), -1, net.width, net.width)
    A = np.reshape([step.P.numpy() for step in steps], shape)
    # The coupling of a stage with the one before it is l A.
    couplings = [coupling.M.numpy() for step in steps for coupling in step.couplings.children()]
    later, M = A[:, 1:], np.reshape(couplings, shape)
    squares, products = ((later * x).sum(axis=(0, 2, 3)) for x in (later, M))
    lengths = products / np.where(squares > 0, squares, 1.0)
    has_bars = surrogate.metadata["schema_version"] > 1
    names = ("W", "lower", "upper", "unit", "normals", "centre", "leverage", "constant", "sigma")
    return _kind(surrogate.metadata)(
        phi=net.phi,
        K_in=_array(net.K_in),
        b_in=_array(net.b_in),
        A=A,
        b=np.reshape([step.p.numpy() for step in steps], shape[:-1]),
        lengths=np.concatenate([[0.0], lengths]),
        weights=_array(steps[0].w[0, :: net.width]),
        carry=steps[0].carry,
        c_0=_array(module.c),
        floor=float(module.floor) if has_bars else math.nan,
        metadata=surrogate.metadata,
        **{name: _array(getattr(module, name)) for name in names},
    )


def save(surrogate: LoadedSurrogate, path: str | os.PathLike[str]) -> None:
    """Write a surrogate as an .npz file, whole or not at all.

    Args:
        surrogate: From `surrogates.load`.
        path: The file, NAME.npz.

    Raises:
        InputError: If its features have no such form, or the path is no .npz or cannot be written.
    """
    if Path(path).suffix != ".npz":
        raise InputError(f"cannot write {path}: expected the name of an .npz file")
    reference = constants(surrogate)
    arrays = {name: getattr(reference, name) for name in (*_SHAPES, "phi")}
    text = json.dumps(reference.metadata, allow_nan=False)
    buffer = io.BytesIO()  # a full disk would make zipfile complain once more
    np.savez(buffer, format=FORMAT, schema_version=SCHEMA_VERSION, metadata=text, **arrays)
    with atomic(path) as beside:
        beside.write_bytes(buffer.getvalue())


def load(path: str | os.PathLike[str]) -> Reference:
    """Read an .npz file that `save` wrote.

    Raises:
        InputError: If it is missing, truncated, damaged, of another program, or of a newer version
            of this one.
    """
    with reading(path, ".npz file"), open(path, "rb") as stream:
        with np.load(stream, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    if str(found.get("format")) != FORMAT:
        raise InputError(f"{path} is an .npz file but not a surrogate of this package")
    if (version := int(found["schema_version"])) > SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {version}, this package reads up to {SCHEMA_VERSION}; "
            "update varpro-surrogates"
        )
    sizes: dict[str, int] = {}
    for name, letters in _SHAPES.items():
        array = found.get(name, np.array(""))
        shaped = len(letters) == array.ndim and all(
            sizes.setdefault(letter, n) == n for letter, n in zip(letters, array.shape, strict=True)
        )
        if not shaped or array.dtype != np.float64:
            raise InputError(f"{path} is damaged: {name} is {array.dtype} of shape {array.shape}")
    metadata = json.loads(str(found["metadata"]))
    return _kind(metadata)(
        phi=str(found["phi"]),
        metadata=metadata,
        **{name: found[name][()] for name in _SHAPES},
    )


def _kind(metadata: Mapping[str, Any]) -> type[Reference]:
    return ClassifierReference if metadata.get("task") == "classification" else Reference


def _like(y: npt.ArrayLike, rows: _Rows) -> _Rows:
    """Give rows, or the only one where y is one sample."""
    first: _Rows = rows[0]
    return rows if np.ndim(y) == 2 else first


def _array(tensor: torch.Tensor) -> Array:
    return np.array(tensor.numpy())
