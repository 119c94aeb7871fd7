r"""A surrogate as an .npz file of plain arrays, for numpy alone.

`save` writes the .npz file of a surrogate and `load` reads it. A TorchScript file is code; this
file holds numbers and texts, which nobody runs. Use it for exchange with people whom you do not
know.

This module and those that it imports need numpy and nothing else but Python's own library. A
program without them needs only ``numpy.load`` and the formulas below. For y, (n_in,), in the units
of the metadata, the prediction c, (n_out,), is

    u = phi(K_in y + b_in)
    for each step j = 0, ..., n_steps - 1:
        k_0 = phi(A[j, 0] u + b[j, 0])
        k_i = phi(A[j, i] (u + l_i k_(i-1)) + b[j, i]),    i = 1, ..., n_stages - 1
        u = carry u + sum_i w_i k_i
    c = W u + c_0

where the file names phi, which is applied by entries:

    sigmoid     1 / (1 + exp(-x))
    softplus    log(1 + exp(x))
    relu        max(0, x)

tanh is written as sigmoid: tanh(x) = 2 sigmoid(2 x) - 1, and A, b, w and W absorb the factors. K_in
and b_in absorb the scaling of y.

If the metadata's ``task`` is classification, c are calibrated logits: the probability of class k is
exp(c_k) / sum_j exp(c_j). If it is regression, the standard deviation of the error of c is

    std = sigma sqrt(max(1e-12, floor + ||leverage u + constant||^2 + ||beyond||^2 + ||off||^2))
    beyond = max(0, lower - y, y - upper) / unit,    off = normals (y - centre) / unit

and y is in the training domain if lower - s <= y <= upper + s, s = 1e-9 (upper - lower), and
|off| <= 1e-4, in all entries. `surrogates.model.parts` explains these formulas. The arrays are
float64 unless another type is named:

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

Version 2 is written if version 1 does not suffice. Its u are the features of several blocks, one
after the other; width is their total number. ``blocks`` names the kinds of the blocks. The arrays
of block B, from 0, are ``blockB_NAME``:

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

Version 2 also has logarithms. For the inputs that ``log_inputs`` marks, the natural logarithm takes
the place of y, lower and upper in all formulas above; it is NaN for y <= 0. For the outputs that
``log_outputs`` marks, c is the exponential of W u + c_0. Lower and upper are stored in units of y;
unit, normals, centre and sigma are stored for the logarithms. For marked inputs, s above is larger
by 1e-12. The square of the deviation is then

    sigma^2 max(1e-12, floor + signs . (leverage u + constant)^2 + ||beyond||^2 + ||off||^2)
    + spread sum_m member_weights_m (c_m - W u - c_0)^2
    c_m = member_W[:, its columns] u[its columns] + member_biases_m

times c^2 for marked outputs, to first order; the ends of their intervals are exp(log c -/+ q std)
with the std of the logarithm. The columns of the members lie side by side. Further arrays:

    schema_version               2, integer ()
    blocks                       texts (n_blocks,)
    leverage, constant, signs    (k, width), (k,), (k,) of +1 and -1; any k
    member_W                     (n_out, width): the members' own layers, unweighted
    member_biases                (n_members, n_out)
    member_weights               (n_members, n_out), of sum 1
    member_widths                integers (n_members,), of sum width
    spread                       (), >= 0
    log_inputs, log_outputs      bool (n_in,), (n_out,)

Version 3 is version 2 with one more array, for errors that have heavier tails than a normal
distribution. The ends of an interval are then

    c -/+ q exp(tail (q^2 - 1.5802399386074917) / 2) std

with q the normal quantile of (1 + level) / 2; for marked outputs this is about the logarithm. In
the other versions tail is 0, and the ends are c -/+ q std. `surrogates.model.tails` explains the
number.

    tail                         (n_out,), >= 0

A file of any version may have the covariance of the outputs' errors at one y. With v the maximum
above, B of the columns sqrt(spread member_weights_m) (c_m - W u - c_0), and f of c for the outputs
that ``log_outputs`` marks and of 1 for others, it is

    diag(f) [v diag(sigma) (h loadings loadings^T + h' diag(unique)) diag(sigma) + B B^T] diag(f)

`surrogates.model.covariance` explains it, the sizes h and h', and the numbers for the likelihood.

    loadings, unique, scatter    (n_out, k), (n_out,), (2,)
    sizes, ends, along           (2, n_in + 1, n_in + 1) or (2, 0, 0), (2, 2), (); or none of them
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from surrogates.errors import InputError
from surrogates.files import Source, atomic, members, opened, reading
from surrogates.model import metadata
from surrogates.model.covariance import Correlation, arrays_of
from surrogates.model.loaded import LoadedClassifier, LoadedSurrogate
from surrogates.model.tails import LIMIT

from .blocks import BLOCKS, KAPPA, PHI, Block, Ensemble
from .constants import constants
from .reference import Reference, defaults, kind_of

FORMAT = "varpro-surrogates-npz"
SCHEMA_VERSION = 3

# Shapes of the arrays of version 2 beside those of `Reference`; m is the number of members.
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
_TAIL_SHAPES = {"tail": "o"}  # version 3 beside these
_CORRELATION_SHAPES = {"loadings": "ol", "unique": "o", "scatter": "2"}  # any version, or none
_SIZES_SHAPES = {"sizes": "2hh", "ends": "22", "along": ""}  # beside them, or none
_ENSEMBLE = {  # field of `Ensemble`: name in the file
    "W": "member_W",
    "biases": "member_biases",
    "weights": "member_weights",
    "widths": "member_widths",
    "spread": "spread",
}
_TYPES: dict[str, type] = {  # of arrays that are not float64
    **dict.fromkeys(("member_widths", "first", "second"), np.int64),
    **dict.fromkeys(("log_inputs", "log_outputs"), np.bool_),
}


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
    version, arrays = named(reference)
    text = json.dumps(reference.metadata, allow_nan=False)
    buffer = io.BytesIO()  # on a full disk, zipfile would complain a second time
    np.savez(buffer, format=FORMAT, schema_version=version, metadata=text, **arrays)
    with atomic(path) as beside:
        beside.write_bytes(buffer.getvalue())


def load(path: Source, *, refuse_outside: bool = False) -> LoadedSurrogate:
    """Read an .npz file that `save` wrote, as `surrogates.load` does.

    Args:
        path: The file, its bytes, or a file object that is open for reading bytes.
        refuse_outside: Refuse y outside the training domain, which is evaluated otherwise.

    Raises:
        InputError: If it is missing, truncated, damaged, of another program, or of a newer version
            of this one.
    """
    with opened(path, ".npz file") as (stream, name):
        reference = read(stream, name)
    kind = LoadedClassifier if reference.task == "classification" else LoadedSurrogate
    return kind(
        engine=reference, metadata=reference.metadata, path=name, refuse_outside=refuse_outside
    )


def read(stream: BinaryIO, path: str) -> Reference:
    """Read the arrays of an .npz file.

    Args:
        stream: The file, open.
        path: Its name, for messages.

    Raises:
        InputError: As `load`.
    """
    what = ".npz file"
    with reading(path, what, stream):
        with zipfile.ZipFile(stream) as archive:
            members(path, archive, 0)
        stream.seek(0)
        with np.load(stream, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    if str(found.get("format")) != FORMAT:
        raise InputError(f"{path} is an {what} but not a surrogate of this package")
    with reading(path, what, stream):
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
    """Make a reference of a file's arrays."""
    path, found = reader.path, reader.found
    arrays = reader.read(Reference.SHAPES)
    parts = defaults(arrays)
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
    if "loadings" in found:
        parts["correlation"] = _correlation(reader, len(arrays["lower"]), len(arrays["c_0"]))
    about = metadata.parsed(str(found["metadata"]), path, "an .npz file")
    for key, size in {"y_names": len(arrays["lower"]), "c_names": len(arrays["c_0"])}.items():
        if len(about[key]) != size:
            raise InputError(f"{path} is damaged: it has {len(about[key])} {key} for {size}")
    return kind_of(about)(blocks=tuple(blocks), metadata=about, **arrays, **parts)


def _correlation(reader: _Reader, n_in: int, n_out: int) -> Correlation:
    """Read the correlation of the outputs' errors."""
    more = _SIZES_SHAPES if "sizes" in reader.found else {}
    arrays = reader.read({**_CORRELATION_SHAPES, **more})
    correlation = Correlation(**{name: np.asarray(array) for name, array in arrays.items()})
    if fault := correlation.fault(n_in, n_out):
        raise InputError(f"{reader.path} is damaged: it has {fault}")
    return correlation


class _Reader:
    """The arrays of a file. Reading one checks its shape and type."""

    def __init__(self, found: Mapping[str, npt.NDArray[Any]], path: str | os.PathLike[str]) -> None:
        self.found, self.path = found, path
        self.sizes: dict[str, int] = {}

    def read(self, shapes: Mapping[str, str], prefix: str = "") -> dict[str, Any]:
        """Read arrays of these shapes, one letter for each size.

        A letter stands for one size in the whole file; v, j, i and p for one in each block.
        """
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
            if name != "floor" and not np.isfinite(array).all():  # which is NaN without error bars
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


def named(reference: Reference, *, least: int = 1) -> tuple[int, dict[str, Any]]:
    """Return the schema version that a file needs, and its arrays by their names there.

    Args:
        reference: The constants of a surrogate.
        least: The least version, for readers of one form alone: 1 or 2.
    """
    r, arrays = reference, {name: getattr(reference, name) for name in Reference.SHAPES}
    arrays.update(arrays_of(r.correlation))
    n_rows, width = r.leverage.shape
    suffices = len(r.blocks) == len(r.ensemble.widths) == 1 and n_rows == width + 1
    tailed = bool((r.tail > 0).any())
    suffices = suffices and bool((r.signs > 0).all()) and r.blocks[0].KIND == "network"
    suffices = suffices and least == 1
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
