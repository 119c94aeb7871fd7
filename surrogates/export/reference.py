r"""A surrogate as plain arrays: an .npz file, and its evaluation in numpy alone.

`save` makes the .npz file of a surrogate file and `load` reads it. A TorchScript file is code; this
one holds numbers and texts, which nobody runs. It is the one for exchange with strangers.

This module and those that it imports need numpy and nothing else that is not Python's own. A
program without them needs only ``numpy.load`` and what follows. Of y, (n_in,), in the units of the
metadata, the prediction c, (n_out,), is

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

    std = sigma sqrt(max(1e-12, floor + ||leverage u + constant||^2 + ||beyond||^2 + ||off||^2))
    beyond = max(0, lower - y, y - upper) / unit,    off = normals (y - centre) / unit

and y is in the training domain if all of lower - s <= y <= upper + s, s = 1e-9 (upper - lower), and
all of |off| <= 1e-4. `surrogates.model.surrogate` says where these come from. The arrays, float64
except where said:

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

Version 2 is written where version 1 does not suffice. Its u are the features of several blocks, one
after the other, width in all. ``blocks`` names their kinds, and the arrays of block B, from 0, are
``blockB_NAME``:

    network       phi, K_in, b_in, A, b, lengths, weights, carry: u as above
    radial        shift, factor, (n_in,); centres, (its width, n_in); kernel, text ():
                  u_k = kappa(r_k), r_k = ||(y - shift) factor - centres_k||
                      gaussian    kappa(r) = exp(-r^2 / 2)
                      matern52    kappa(r) = (1 + s + s^2 / 3) exp(-s), s = sqrt(5) r
    anova         shift, factor, shares, (n_in,); centres, (its width, n_in); kernel, text ():
                  u_k = prod_i (1 + shares_i (kappa(r_ki) - 1)), with r_ki the absolute value of
                  entry i of (y - shift) factor - centres_k, and kappa as above
    polynomial    shift, scale, (n_in,); first, second, integers (n_pairs,):
                  u = [x, x_first x_second], x = (y - shift) / scale

All formulas above are then for y and c with logarithms in them: of the inputs that ``log_inputs``
marks the natural logarithm takes the place of y, NaN for y <= 0, and of lower and upper; c is the
exponential of W u + c_0 for the outputs that ``log_outputs`` marks. Lower and upper are stored in
units of y, and unit, normals, centre and sigma are of the logarithms. For marked inputs, s above is
larger by 1e-12. The square of the deviation is, in place of that above,

    sigma^2 max(1e-12, floor + signs . (leverage u + constant)^2 + ||beyond||^2 + ||off||^2)
    + spread sum_m member_weights_m (c_m - W u - c_0)^2
    c_m = member_W[:, its columns] u[its columns] + member_biases_m

and times c^2 for marked outputs, to first order; the ends of an interval are then exp(log c -/+ q
std), std that of the logarithm. The columns of the members lie side by side. Further arrays:

    schema_version               2, integer ()
    blocks                       texts (n_blocks,)
    leverage, constant, signs    (k, width), (k,), (k,) of +1 and -1; any k
    member_W                     (n_out, width): the members' own layers, unweighted
    member_biases                (n_members, n_out)
    member_weights               (n_members, n_out), of sum 1
    member_widths                integers (n_members,), of sum width
    spread                       (), >= 0
    log_inputs, log_outputs      bool (n_in,), (n_out,)

Version 3 is version 2 with one more array, of errors that have heavier tails than a normal
distribution. The ends of an interval are then

    c -/+ q exp(tail (q^2 - 1.5802399386074917) / 2) std

with q the normal quantile of (1 + level) / 2, of the logarithm for marked outputs. In the other
versions tail is 0, and the ends are c -/+ q std. `surrogates.model.tails` says where the number is
from.

    tail                         (n_out,), >= 0
"""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from surrogates import given
from surrogates.errors import InputError
from surrogates.files import atomic, members, reading
from surrogates.model import metadata
from surrogates.model.tails import LIMIT, widened

from .blocks import BLOCKS, KAPPA, PHI, Anova, Array, Block, Ensemble, Network, Polynomial, Radial

if TYPE_CHECKING:
    import torch

    from surrogates.model.loaded import LoadedSurrogate

FORMAT = "varpro-surrogates-npz"
SCHEMA_VERSION = 3

Marks = npt.NDArray[np.bool_]
_Method = TypeVar("_Method", bound=Callable[..., Any])
_Rows = TypeVar("_Rows", bound=npt.NDArray[Any])

# Of the arrays: n inputs, o outputs, w features, z rows of leverage, k normals.
_SHAPES = {
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
# Of version 2 beside these, with m members.
_MORE_SHAPES = {
    "signs": "z",
    "member_W": "ow",
    "member_biases": "mo",
    "member_weights": "mo",
    "member_widths": "m",
    "spread": "",
    "log_inputs": "n",
    "log_outputs": "o",
}
_TAIL_SHAPES = {"tail": "o"}  # of version 3 beside these
_ENSEMBLE = {  # field of `Ensemble`: name in the file
    "W": "member_W",
    "biases": "member_biases",
    "weights": "member_weights",
    "widths": "member_widths",
    "spread": "spread",
}
_TYPES: dict[str, type] = {  # of what is not float64
    **dict.fromkeys(("member_widths", "first", "second"), np.int64),
    **dict.fromkeys(("log_inputs", "log_outputs"), np.bool_),
}
# As a decorator: no warning of y that is huge, infinite or NaN.
_quiet: Callable[[_Method], _Method] = np.errstate(over="ignore", invalid="ignore")


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """The constants of a surrogate, float64, and its evaluation.

    The module's text has the formulas and the shapes. Each method takes one sample, (n_in,), or a
    batch, (n, n_in) with n >= 1, in the units of the metadata, and gives results with or without
    the leading n alike. Numbers that bear names are matched by them (`surrogates.given`). Sizes
    and names that do not fit raise an `InputError`. A NaN gives NaN, and is outside the domain.

    Attributes:
        blocks: Of the features.
        ensemble: The members, one of weight 1 where there is no other.
        metadata: Of the surrogate file; see `surrogates.model.describe.metadata`.
    """

    blocks: tuple[Block, ...]
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
    signs: Array
    ensemble: Ensemble
    log_inputs: Marks
    log_outputs: Marks
    tail: Array
    metadata: Mapping[str, Any]

    @_quiet
    def __call__(self, y: npt.ArrayLike) -> Array:
        """Return c, (n_out,) or (n, n_out)."""
        y = self._read(y)
        return _like(y, self._physical(self._linear(self.seen(np.atleast_2d(y)))[1]))

    def predict(self, y: npt.ArrayLike) -> Array:
        """Predict the observables, (n_out,) or (n, n_out)."""
        return self(y)

    @_quiet
    def jacobian(self, y: npt.ArrayLike) -> Array:
        """Differentiate the prediction: dc/dy, (n_out, n_in) or (n, n_out, n_in)."""
        y = self._read(y)
        return _like(y, self._jacobians(np.atleast_2d(y)))

    @_quiet
    def jvp(self, y: npt.ArrayLike, v: npt.ArrayLike) -> Array:
        """Apply the Jacobian to directions v, of y's shape: (n_out,) or (n, n_out)."""
        y = self._read(y)
        Y, V = np.atleast_2d(y), np.atleast_2d(self._read(v, "v", like=y))
        X = self.seen(Y)
        V = V * self._input_factors(Y)
        du = np.concatenate([block.tangents(X, V[:, :, None]) for block in self.blocks], axis=1)
        return _like(y, du[:, :, 0] @ self.W.T * self._output_factors(X))

    @_quiet
    def vjp(self, y: npt.ArrayLike, w: npt.ArrayLike) -> Array:
        """Apply the transposed Jacobian to w, (n_out,) or (n, n_out): (n_in,) or (n, n_in)."""
        y = self._read(y)
        G = np.atleast_2d(self._read(w, "w", like=y))
        return _like(y, (G[:, None] @ self._jacobians(np.atleast_2d(y)))[:, 0])

    @_quiet
    def predict_std(self, y: npt.ArrayLike) -> Array:
        """Return the standard deviation of the prediction's error, (n_out,) or (n, n_out).

        `surrogates.model.surrogate.ErrorBars` says what it covers.
        """
        y = self._read(y)
        X = self.seen(np.atleast_2d(y))
        return _like(y, self._deviations(X) * self._output_factors(X))

    @_quiet
    def predict_interval(self, y: npt.ArrayLike, level: float) -> Array:
        """Return the ends between which each output lies with the probability ``level``.

        Returns:
            Lower and upper ends, (2, n_out) or (n, 2, n_out).
        """
        if not 0 < level < 1:
            raise InputError(f"expected a level between 0 and 1; got {level}")
        y = self._read(y)
        X = self.seen(np.atleast_2d(y))
        q = NormalDist().inv_cdf((1 + level) / 2)
        widths = np.array([widened(q, tail) for tail in self.tail.tolist()])
        c, half = self._linear(X)[1], widths * self._deviations(X)
        return _like(y, np.stack([self._physical(c - half), self._physical(c + half)], axis=1))

    @_quiet
    def in_domain(self, y: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Tell whether y lies in the training domain: bool, () or (n,)."""
        y = self._read(y)
        X = self.seen(np.atleast_2d(y))
        lower, upper = self.seen(self.lower), self.seen(self.upper)
        slack = 1e-9 * (upper - lower) + 1e-12 * self.log_inputs
        inside = ((lower - slack <= X) & (X <= upper + slack)).all(axis=1)
        return _like(y, inside & (np.abs(self._off_flat(X)) <= 1e-4).all(axis=1))

    def seen(self, Y: Array) -> Array:
        """Return what the features take: y, or its logarithms."""
        positive = np.where(self.log_inputs, np.where(Y > 0, Y, math.nan), 1.0)
        return np.where(self.log_inputs, np.log(positive), Y)

    def _physical(self, c: Array) -> Array:
        return np.where(self.log_outputs, np.exp(np.where(self.log_outputs, c, 0.0)), c)

    def _linear(self, X: Array) -> tuple[Array, Array]:
        """Return the features, (n, width), and what the linear layer makes of them, (n, n_out)."""
        u = np.concatenate([block.features(X) for block in self.blocks], axis=1)
        return u, u @ self.W.T + self.c_0

    def _jacobians(self, Y: Array) -> Array:
        X, eye = self.seen(Y), np.eye(Y.shape[1])
        du = np.concatenate([block.tangents(X, eye) for block in self.blocks], axis=1)
        factors = self._output_factors(X)[:, :, None] * self._input_factors(Y)[:, None]
        return np.asarray(self.W @ du * factors)

    def _input_factors(self, Y: Array) -> Array:
        return 1 / np.where(self.log_inputs, np.where(Y > 0, Y, math.nan), 1.0)

    def _output_factors(self, X: Array) -> Array:
        """Return the derivatives of c by what the linear layer gives."""
        if not self.log_outputs.any():
            return np.ones((1, len(self.c_0)))
        return np.where(self.log_outputs, self._physical(self._linear(X)[1]), 1.0)

    def _deviations(self, X: Array) -> Array:
        """Return the standard deviation of what the linear layer gives, (n, n_out)."""
        u, c = self._linear(X)
        z = u @ self.leverage.T + self.constant
        lower, upper = self.seen(self.lower), self.seen(self.upper)
        beyond = np.maximum(0.0, np.maximum(lower - X, X - upper)) / self.unit
        squares = [(x * x).sum(axis=1) for x in (beyond, self._off_flat(X))]
        share = np.maximum(1e-12, self.floor + (z * z) @ self.signs + sum(squares))
        if not self.ensemble.spread:
            return np.asarray(np.sqrt(share)[:, None] * self.sigma)
        variance = share[:, None] * self.sigma**2 + self.ensemble.variance(u, c)
        return np.asarray(np.sqrt(variance))

    def _off_flat(self, Y: Array) -> Array:
        return np.asarray(((Y - self.centre) / self.unit) @ self.normals.T)

    def _read(self, x: npt.ArrayLike, name: str = "y", *, like: Array | None = None) -> Array:
        """Check x, one sample or a batch, one for each of ``like``'s."""
        names = self.metadata["c_names" if name == "w" else "y_names"]
        array, size = given.real(x, names, name), len(names)
        lead = array.shape[:-1] if like is None else like.shape[:-1]
        if not (array.shape == (*lead, size) and len(lead) < 2 and 0 not in lead):
            raise InputError(
                f"expected real numbers {name} of shape ({size},) or (n, {size}), n at least 1 and "
                f"that of y; got {array.dtype} of shape {array.shape}"
            )
        return array


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

    def predict_interval(self, y: npt.ArrayLike, level: float) -> Array:
        """Refuse: a classifier has no error bars."""
        return self.predict_std(y)


def constants(surrogate: LoadedSurrogate) -> Reference:
    """Take the constants out of a surrogate file.

    Args:
        surrogate: From `surrogates.load`.

    Raises:
        InputError: If its features are not a network in the form of `surrogates.model.fused`.
    """
    module: Any = surrogate.module
    has_bars = surrogate.metadata["schema_version"] > 1
    names = {name: {"c_0": "c"}.get(name, name) for name in _SHAPES}
    arrays: dict[str, Any] = {name: _array(getattr(module, of)) for name, of in names.items()}
    optional = ("signs", "members", "logs", "tail")
    signs, members, logs, tail = (getattr(module, name, None) for name in optional)
    parts = {**_plain(arrays), "floor": float(module.floor) if has_bars else math.nan}
    if signs is not None:
        parts["signs"] = _array(signs)
    if members is not None:
        parts["ensemble"] = Ensemble(
            **{name: _array(getattr(members, name)) for name in ("W", "biases", "weights")},
            widths=np.array(members.widths, np.int64),
            spread=float(members.spread),
        )
    if tail is not None:
        parts["tail"] = _array(tail)
    if logs is not None:
        parts.update(log_inputs=_array(logs.inputs), log_outputs=_array(logs.outputs))
    return _kind(surrogate.metadata)(
        blocks=tuple(_blocks(module.features, surrogate.path)),
        metadata=surrogate.metadata,
        **{**arrays, **parts},
    )


def _blocks(form: Any, path: str) -> Iterator[Block]:
    """Take apart the features of a surrogate: those of `model.fused` or `model.forms`."""
    kind = str(form.original_name)
    if kind == "Blocks":
        for part in form.parts.children():
            yield from _blocks(part, path)
    elif kind in ("Radial", "Anova"):
        block = Radial if kind == "Radial" else Anova
        arrays = {name: _array(getattr(form, name)) for name in block.SHAPES}
        yield block(kernel=form.kernel, **arrays)
    elif kind == "Polynomial":
        yield Polynomial(**{name: _array(getattr(form, name)) for name in Polynomial.SHAPES})
    elif getattr(form, "phi", None) in PHI:
        yield _network(form)
    else:
        raise InputError(
            f"{path} cannot be exported: expected a network of this package; its "
            "features are another module, or were written by an older version (train it again)"
        )


def _network(net: Any) -> Network:
    steps = list(net.steps.children())
    shape = (len(steps), -1, net.width, net.width)
    A = np.reshape([step.P.numpy() for step in steps], shape)
    # The coupling of a stage with the one before it is l A.
    couplings = [coupling.M.numpy() for step in steps for coupling in step.couplings.children()]
    later, M = A[:, 1:], np.reshape(couplings, shape)
    squares, products = ((later * x).sum(axis=(0, 2, 3)) for x in (later, M))
    lengths = products / np.where(squares > 0, squares, 1.0)
    return Network(
        phi=net.phi,
        K_in=_array(net.K_in),
        b_in=_array(net.b_in),
        A=A,
        b=np.reshape([step.p.numpy() for step in steps], shape[:-1]),
        lengths=np.concatenate([[0.0], lengths]),
        weights=_array(steps[0].w[0, :: net.width]),
        carry=steps[0].carry,
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
    version, arrays = _arrays(reference)
    text = json.dumps(reference.metadata, allow_nan=False)
    buffer = io.BytesIO()  # a full disk would make zipfile complain once more
    np.savez(buffer, format=FORMAT, schema_version=version, metadata=text, **arrays)
    with atomic(path) as beside:
        beside.write_bytes(buffer.getvalue())


def load(path: str | os.PathLike[str]) -> Reference:
    """Read an .npz file that `save` wrote.

    Raises:
        InputError: If it is missing, truncated, damaged, of another program, or of a newer version
            of this one.
    """
    what = ".npz file"
    with reading(path, what), open(path, "rb") as stream:
        with zipfile.ZipFile(stream) as archive:
            members(path, archive, 0)
        stream.seek(0)
        with np.load(stream, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    if str(found.get("format")) != FORMAT:
        raise InputError(f"{path} is an {what} but not a surrogate of this package")
    with reading(path, what):
        version = int(found["schema_version"])
        if version < 1:
            raise InputError(f"{path} is damaged: it has the schema version {version}")
        if version > SCHEMA_VERSION:
            raise InputError(
                f"{path} has schema version {version}, this package reads up to {SCHEMA_VERSION}; "
                "update varpro-surrogates"
            )
        return _read(_Reader(found, path), version)


def _read(reader: _Reader, version: int) -> Reference:
    """Read a file's arrays."""
    path, found = reader.path, reader.found
    arrays = reader.read(_SHAPES)
    parts = _plain(arrays)
    if version == 1:
        blocks = [reader.block("network", "")]
    else:
        kinds = [str(kind) for kind in np.ravel(found.get("blocks", []))]
        blocks = [reader.block(kind, f"block{i}_") for i, kind in enumerate(kinds)]
        parts.update(reader.read({**_MORE_SHAPES, **(_TAIL_SHAPES if version > 2 else {})}))
        of_ensemble = {name: parts.pop(key) for name, key in _ENSEMBLE.items()}
        parts["ensemble"] = Ensemble(**of_ensemble)
    width, widths = arrays["W"].shape[1], parts["ensemble"].widths
    if not width == sum(block.width for block in blocks) == widths.sum() or (widths < 1).any():
        raise InputError(f"{path} is damaged: its blocks or members have not {width} features")
    ranges = {
        "lower": (arrays["lower"] <= arrays["upper"]).all(),
        "unit": (arrays["unit"] > 0).all(),
        "sigma": (arrays["sigma"] >= 0).all(),
        "signs": (np.abs(parts["signs"]) == 1).all(),
        "tail": ((parts["tail"] >= 0) & (parts["tail"] < LIMIT)).all(),
        "spread": parts["ensemble"].spread >= 0,
    }
    for name, fits in ranges.items():
        if not fits:
            raise InputError(f"{path} is damaged: {name} is out of its range")
    about = metadata.parsed(str(found["metadata"]), path, "an .npz file")
    for key, size in {"y_names": len(arrays["lower"]), "c_names": len(arrays["c_0"])}.items():
        if len(about[key]) != size:
            raise InputError(f"{path} is damaged: it has {len(about[key])} {key} for {size}")
    return _kind(about)(blocks=tuple(blocks), metadata=about, **arrays, **parts)


class _Reader:
    """The arrays of a file, whose shapes and types are checked as they are read."""

    def __init__(self, found: Mapping[str, npt.NDArray[Any]], path: str | os.PathLike[str]) -> None:
        self.found, self.path = found, path
        self.sizes: dict[str, int] = {}

    def read(self, shapes: Mapping[str, str], prefix: str = "") -> dict[str, Any]:
        """Read arrays; a letter of their shapes is one size, in a block's own for v, j, i and p."""
        arrays = {}
        for name, letters in shapes.items():
            array = self.found.get(prefix + name, np.array(""))
            keys = [prefix + letter if letter in "vjip" else letter for letter in letters]
            shaped = len(keys) == array.ndim and all(
                self.sizes.setdefault(key, n) == n for key, n in zip(keys, array.shape, strict=True)
            )
            if not shaped or array.dtype != _TYPES.get(name, np.float64):
                raise InputError(
                    f"{self.path} is damaged: {prefix}{name} is {array.dtype} of shape "
                    f"{array.shape}"
                )
            if name != "floor" and not np.isfinite(array).all():  # NaN without error bars
                raise InputError(f"{self.path} is damaged: {prefix}{name} is not finite")
            arrays[name] = array[()]
        return arrays

    def block(self, kind: str, prefix: str) -> Block:
        """Read a block."""
        if kind not in BLOCKS:
            raise InputError(f"{self.path} is damaged: it has a block of the kind {kind[:40]!r}")
        cls = BLOCKS[kind]
        parts = self.read(cls.SHAPES, prefix)
        if cls.TEXT:
            text = str(self.found.get(prefix + cls.TEXT, ""))
            if text not in (PHI if cls.TEXT == "phi" else KAPPA):
                raise InputError(f"{self.path} is damaged: {prefix}{cls.TEXT} is {text[:40]!r}")
            parts[cls.TEXT] = text
        for name in {"first", "second"} & parts.keys():
            if not ((0 <= parts[name]) & (parts[name] < self.sizes["n"])).all():
                raise InputError(f"{self.path} is damaged: {prefix}{name} is no index of an input")
        return cls(**parts)


def _arrays(reference: Reference) -> tuple[int, dict[str, Any]]:
    """Return the schema version that a file needs, and its arrays."""
    r, arrays = reference, {name: getattr(reference, name) for name in _SHAPES}
    n_rows, width = r.leverage.shape
    suffices = len(r.blocks) == len(r.ensemble.widths) == 1 and n_rows == width + 1
    tailed = bool((r.tail > 0).any())
    suffices = suffices and bool((r.signs > 0).all()) and r.blocks[0].KIND == "network"
    if suffices and not (r.log_inputs.any() or r.log_outputs.any() or tailed):
        return 1, {**arrays, **_block_arrays(r.blocks[0], "")}
    for name in ("signs", "log_inputs", "log_outputs"):
        arrays[name] = getattr(r, name)
    arrays.update({key: getattr(r.ensemble, name) for name, key in _ENSEMBLE.items()})
    for i, block in enumerate(r.blocks):
        arrays.update(_block_arrays(block, f"block{i}_"))
    arrays["blocks"] = [block.KIND for block in r.blocks]
    return (3, {**arrays, "tail": r.tail}) if tailed else (2, arrays)


def _block_arrays(block: Block, prefix: str) -> dict[str, Any]:
    names = [*block.SHAPES, *([block.TEXT] if block.TEXT else [])]
    return {prefix + name: getattr(block, name) for name in names}


def _plain(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a surrogate without signs, members, logarithms and tails has in their place."""
    n_out, width = arrays["W"].shape
    return {
        "signs": np.ones(len(arrays["leverage"])),
        "ensemble": Ensemble(
            W=arrays["W"],
            biases=arrays["c_0"][None],
            weights=np.ones((1, n_out)),
            widths=np.array([width], np.int64),
            spread=0.0,
        ),
        "log_inputs": np.zeros(len(arrays["lower"]), bool),
        "log_outputs": np.zeros(n_out, bool),
        "tail": np.zeros(n_out),
    }


def _kind(about: Mapping[str, Any]) -> type[Reference]:
    return ClassifierReference if metadata.task_of(about) == "classification" else Reference


def _like(y: Array, rows: _Rows) -> _Rows:
    """Return rows, or the only one where y is one sample."""
    first: _Rows = rows[0]
    return rows if y.ndim == 2 else first


def _array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    return np.array(tensor.numpy())
