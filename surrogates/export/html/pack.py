r"""The constants of a surrogate as bytes for a page, and what the page has to know of them.

The formulas are those of `surrogates.export.npz`; ``numbers.js`` and ``model.js`` evaluate them.
Two parts are large, and have shorter forms that are the same function:

- Error bars: ||leverage u + constant||^2 of the rows of one sign is ||R [u, 1]||^2 with the
  triangular factor R of [leverage, constant] = Q R, half the numbers.
- The linear layer of a weighted mean follows from the members' own layers.

A page that is still too large is packed once more, `reduced`:

- With kriging, the rows of negative sign are sqrt(s) L^-1, K = kappa(centres) + nugget I = L L^T.
  The page computes L from the centres, in the time of one Cholesky factorisation. It takes f =
  L^-1 k in place of the kernel's features k, and is given W K in place of W, whose terms cancel:
  W k = (W K L^-T) f. The weights of w = K^-1 k are about 1, so that W K needs few digits; and the
  result depends on L L^T alone, not on the last digits of L, which no two programs share.
- W of low rank r is outer inner, (n_out, r) and (r, width): many outputs of few parameters vary
  in few directions.
- The shared errors S L of `surrogates.model.covariance` lie in the span of W: they are a product
  with W, or its outer factor. If the page is too large even so, it takes the errors of outputs as
  independent.
- A row of numbers that matter less gets fewer bits: whole numbers times a scale. The bits suffice
  for `TOLERANCE` in c, relative to each output's spread, or for the rounding of the surrogate file
  itself if that is larger: with kriging, terms of W u cancel. `Packed.error` is measured, at other
  points than those that chose the bits.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from surrogates.model.tails import MIDDLE
from surrogates.types import Array

from ..blocks import Anova, Block, Indices, Radial
from ..constants import constants as constants_of
from ..reference import Reference

__all__ = ["ALPHABET", "Packed", "constants_of", "packed", "text"]

TOLERANCE = 1e-12
"""Difference in c that a reduced page aims at, over each output's spread."""

ALPHABET = "".join(chr(i) for i in range(33, 127) if chr(i) not in '"<\\')
"""Characters of `text`."""

_BITS = 50  # of a whole number; a float64 has 53 and takes 64
_SAMPLES = 256  # points of the domain at which bytes are chosen, and as many that check them
# What shared errors may lose in the span of W, in an output's independent deviations. A loss of
# 0.004 moved a fit without noise by 3e-4 of its standard errors, and one with noise hardly at all.
_SPANNED = 0.02
_SMALL = ("lower", "upper", "unit", "normals", "centre", "c_0", "sigma", "tail")


@dataclass(kw_only=True)
class Packed:
    """Bytes, and their description.

    Attributes:
        form: What ``Model`` in ``model.js`` takes: blocks, quadratic forms, logarithms.
        listing: For each array its shape, whether it is a triangle, and whether its rows have
            sizes of their own.
        content: The arrays one after the other, little-endian.
        error: Largest difference of c from the surrogate's, over the outputs' spread; 0 if the
            numbers are the same.
    """

    form: dict[str, Any]
    listing: dict[str, dict[str, Any]] = field(default_factory=dict)
    content: bytearray = field(default_factory=bytearray)
    error: float = 0.0

    def add(
        self, name: str, array: Array, *, tolerance: Array | None = None, triangle: bool = False
    ) -> Array:
        """Append an array, and return it as the page reads it.

        Args:
            name: Its name.
            array: Of any shape; (m, n) for the others.
            tolerance: Error that each row may have in its entries, (m,); None for none.
            triangle: Whether only the entries from the diagonal on are kept.
        """
        array = np.asarray(array, np.float64)
        self.listing[name] = {"shape": array.shape, "triangle": triangle}
        if tolerance is None and not triangle:
            self.content += array.astype("<f8").tobytes()
            return array
        self.listing[name]["graded"] = tolerance is not None
        read = np.zeros_like(array)
        for i, row in enumerate(array):
            start = i if triangle else 0
            read[i, start:] = self._row(row[start:], None if tolerance is None else tolerance[i])
        return read

    def _row(self, row: Array, tolerance: float | None) -> Array:
        """Append a row: its number of bits, its scale, and its whole numbers from the first bit on.

        They are stored without sign, 2^(bits - 1) above their values, and the last byte is filled
        with zeros. 64 bits stand for the float64 themselves.
        """
        if tolerance is None:
            self.content += row.astype("<f8").tobytes()
            return row
        largest = float(np.abs(row).max(initial=0.0))
        bits = 2 + max(0, math.ceil(math.log2(max(largest / tolerance, 1.0))))
        if bits > _BITS:
            self.content += struct.pack("<dB", 1.0, 64)
            self.content += row.astype("<f8").tobytes()
            return row
        scale = largest / (2 ** (bits - 1) - 1) or 1.0
        whole = np.rint(row / scale)
        stored = (whole + 2 ** (bits - 1)).astype(">u8")[:, None].view(np.uint8)
        kept = np.unpackbits(stored, axis=1)[:, 64 - bits :]
        self.content += struct.pack("<dB", scale, bits)
        self.content += np.packbits(kept.ravel()).tobytes()
        return np.asarray(whole * scale)


def text(content: bytes) -> str:
    """Return bytes as text of a script element: two of 91 characters for 13 bits.

    This is an eighth shorter than base64: 1.23 characters a byte. A quote, < and a backslash are
    not among the characters, so that no text ends the element.
    """
    bits = np.unpackbits(np.frombuffer(content, np.uint8))
    groups = np.pad(bits, (0, -len(bits) % 13)).reshape(-1, 13)
    numbers = np.packbits(np.pad(groups, ((0, 0), (3, 0))), axis=1).view(">u2")[:, 0]
    alphabet = np.frombuffer(ALPHABET.encode(), np.uint8)
    pairs = np.stack(np.divmod(numbers, 91), axis=1)
    return bytes(alphabet[pairs]).decode()


def packed(reference: Reference, *, reduced: bool = False) -> Packed:
    """Pack the constants of a surrogate.

    Args:
        reference: Its constants, from `constants_of`.
        reduced: Whether to use the shorter forms of the module's text.
    """
    r = reference
    task = str(r.metadata.get("task", "regression"))
    result = Packed(
        form={
            "task": task,
            "blocks": [_about(block) for block in r.blocks],
            "floor": float(r.floor) if math.isfinite(r.floor) else None,
            "middle": MIDDLE,
            "forms": [],
            "log_inputs": np.flatnonzero(r.log_inputs).tolist(),
            "log_outputs": np.flatnonzero(r.log_outputs).tolist(),
        }
    )
    for name in _SMALL:
        result.add(name, getattr(r, name))
    for i, block in enumerate(r.blocks):
        for name in block.SHAPES:
            result.add(f"block{i}_{name}", getattr(block, name))
    layers = _Layers.of(r)
    if reduced and (kernel := layers.kriging()):
        result.form["kernel"], layers = kernel, layers.whitened(kernel)
    last = _add_linear(result, layers, reduced)
    if task == "regression" and result.form["floor"] is not None:
        for sign in (1, -1):
            _add_form(result, layers, sign, reduced)
        if r.correlation is not None:
            _add_correlation(result, r, last if reduced else None)
    return result


def _about(block: Any) -> dict[str, Any]:
    text = {block.TEXT: getattr(block, block.TEXT)} if block.TEXT else {}
    return {"kind": block.KIND, **text}


@dataclass(frozen=True, kw_only=True)
class _Layers:
    """What acts on the features u: the linear layer, and the rows of the error bars.

    Attributes:
        reference: The surrogate.
        W: (n_out, width).
        rows: [leverage, constant] of each sign, (k, width + 1).
        choosing: Features at random points of the domain, (n, width), which choose bits.
        checking: Others, which check them.
    """

    reference: Reference
    W: Array
    rows: dict[int, Array]
    choosing: Array
    checking: Array

    @classmethod
    def of(cls, r: Reference) -> _Layers:
        """Take them out of a surrogate."""
        rows = np.concatenate([r.leverage, r.constant[:, None]], axis=1)
        return cls(
            reference=r,
            W=r.W,
            rows={sign: rows[r.signs == sign] for sign in (1, -1)},
            choosing=_features(r, 0),
            checking=_features(r, 1),
        )

    def kriging(self) -> dict[str, float] | None:
        """Return s and the nugget if the negative rows are sqrt(s) L^-1 of the first block."""
        block, rows = self.reference.blocks[0], self.rows[-1]
        n = block.width
        if not isinstance(block, Radial | Anova) or self.reference.ensemble.spread > 0 or n < 2:
            return None
        inverse, rest = rows[:, :n], rows[:, n:]
        if len(rows) != n or rest.any() or np.triu(inverse, 1).any() or not np.diag(inverse).all():
            return None
        factor = solve_triangular(inverse, np.eye(n), lower=True)  # L / sqrt(s)
        gram, kappa = factor @ factor.T, _kernel(block)
        off = ~np.eye(n, dtype=bool)
        s = float((kappa[off] ** 2).sum() / (kappa[off] * gram[off]).sum())
        nugget = float(np.median(np.diag(gram)) * s - 1)
        wrong = np.abs(s * gram - kappa - nugget * np.eye(n)).max()
        if nugget < 0 or wrong > 1e-10:
            return None
        return {"s": s, "nugget": nugget, "width": n}

    def whitened(self, kernel: Mapping[str, float]) -> _Layers:
        """Return the layers that act on K^-1 k in place of the first block's features k."""
        block = self.reference.blocks[0]
        n = block.width
        K = _kernel(block) + kernel["nugget"] * np.eye(n)
        factor = cho_factor(K, lower=True)

        def onto(M: Array) -> Array:
            # W K cancels where W does: in the longest numbers that numpy has.
            first = M[:, :n].astype(np.longdouble) @ K.astype(np.longdouble)
            return np.concatenate([first.astype(np.float64), M[:, n:]], axis=1)

        def seen(U: Array) -> Array:
            return np.concatenate([cho_solve(factor, U[:, :n].T).T, U[:, n:]], axis=1)

        return _Layers(
            reference=self.reference,
            W=onto(self.W),
            rows={1: onto(self.rows[1]), -1: self.rows[-1][:0]},
            choosing=seen(self.choosing),
            checking=seen(self.checking),
        )


def _kernel(block: Block) -> Array:
    """Return the kernel's values at its own centres, (width, width)."""
    assert isinstance(block, Radial | Anova)
    return block.features(block.centres / block.factor + block.shift)


def _features(r: Reference, seed: int) -> Array:
    """Return the features at random points of the domain, (n, width)."""
    rng = np.random.default_rng(seed)
    lower, upper = r.seen(r.lower), r.seen(r.upper)
    X = rng.uniform(lower, upper, (_SAMPLES, len(lower)))
    off = ((X - r.centre) / r.unit) @ r.normals.T
    X = np.clip(X - (off @ r.normals) * r.unit, lower, upper)
    return np.concatenate([block.features(X) for block in r.blocks], axis=1)


def _add_linear(result: Packed, layers: _Layers, reduced: bool) -> Array:
    """Add the linear layer: from the members, or as W; each whole or as two factors.

    Returns:
        The last matrix that the page multiplies by, as it reads it, (n_out, r): W or its outer
        factor, in units of c.
    """
    r, e = layers.reference, layers.reference.ensemble
    features = _features(r, 1)
    spread = (features @ r.W.T).std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    if e.spread > 0:
        result.form.update(members=True, widths=e.widths.tolist(), spread=float(e.spread))
        result.add("member_biases", e.biases)
        result.add("member_weights", e.weights)
        W = e.W
        if reduced:
            choosing, own = (_apart(U, e.widths) for U in (layers.choosing, features))
            parts = (e.W, choosing, own), (e.W, own)
            inner, outer = _add_factors(result, "member_", *parts, spread)
            W = outer @ inner
        else:
            result.add("member_W", W)
        weights = np.repeat(e.weights, e.widths, axis=0).T
        if np.abs(weights * e.W - r.W).max() <= 1e-14 * np.abs(r.W).max():
            return np.asarray(weights * W)
    if reduced:
        short = (layers.W, layers.choosing, layers.checking)
        return _add_factors(result, "", short, (r.W, features), spread)[1]
    return result.add("W", r.W)


def _apart(U: Array, widths: Indices) -> Array:
    """Return the features of each member by itself, the others' 0, (n_members n, width)."""
    of = np.repeat(np.arange(len(widths)), widths)
    return np.concatenate([np.where(of == m, U, 0.0) for m in range(len(widths))])


def _add_factors(
    result: Packed,
    prefix: str,
    short: tuple[Array, Array, Array],
    whole: tuple[Array, Array],
    spread: Array,
) -> tuple[Array, Array]:
    """Add W as outer and inner, over the outputs' spread.

    Args:
        result: Takes the arrays.
        prefix: Of their names.
        short: W in the features of the page, and these features at points that choose the bits and
            at others that check them.
        whole: W and features of the surrogate itself, at the points that check.
        spread: Of the outputs, (n_out,).

    Returns:
        The inner factor, (r, width), and the outer one, (n_out, r), in units of c.
    """
    (W, choosing, checking), (W_right, features) = short, whole
    right_values = features @ (W_right / spread[:, None]).T
    terms = np.sqrt((features**2 @ (W_right / spread[:, None]).T ** 2).max())
    tolerance = max(TOLERANCE, float(np.finfo(float).eps * terms))
    outer, s, right = np.linalg.svd(W / spread[:, None], full_matrices=False)
    inner, rank = s[:, None] * right, len(s)
    along = choosing @ inner.T
    left_out = np.zeros((len(along), len(outer)))
    while rank > 1:
        left_out += along[:, rank - 1 : rank] * outer[:, rank - 1]
        if np.abs(left_out).max() > tolerance:
            break
        rank -= 1
    inner, outer, along = inner[:rank], outer[:, :rank], along[:, :rank]
    # They share the tolerance, and their errors add up like independent ones.
    share = tolerance / math.sqrt(2 * rank)
    size = np.sqrt((choosing**2).sum(axis=1).max())
    by_row = share / size / np.abs(outer).max(axis=0)
    inner = result.add(f"{prefix}inner", inner, tolerance=by_row)
    outer = result.add(f"{prefix}outer", outer.T, tolerance=share / np.abs(along).max(axis=0)).T
    result.add(f"{prefix}spread", spread)
    difference = float(np.abs(checking @ inner.T @ outer.T - right_values).max())
    result.error = max(result.error, difference)
    return inner, np.asarray(outer * spread[:, None])


def _add_form(result: Packed, layers: _Layers, sign: int, reduced: bool) -> None:
    """Add the quadratic form of the rows of one sign."""
    rows = layers.rows[sign]
    if not rows.any():
        return
    if len(rows) >= rows.shape[1]:
        rows = np.asarray(np.linalg.qr(rows, mode="r"))
    forms: list[dict[str, Any]] = result.form["forms"]
    name, (m, n) = f"form{len(forms)}", rows.shape
    triangle, tolerance = m == n, None
    if reduced:
        U = np.concatenate([layers.choosing, np.ones((len(layers.choosing), 1))], axis=1)
        z = np.sqrt(((U @ rows.T) ** 2).sum(axis=1)).max()
        size = np.sqrt((U**2).sum(axis=1)).max() * math.sqrt(m)
        # Its sum is about 1. Deviations are a small part of the spread: 1e-10 of them suffices.
        tolerance = np.full(m, 1e-10 / (2 * z * size))
    result.add(name, rows, tolerance=tolerance, triangle=triangle)
    kind = "triangle" if triangle else "rows"
    forms.append({"sign": sign, "kind": kind, "rows": m, "columns": n})


def _add_correlation(result: Packed, r: Reference, last: Array | None) -> None:
    """Add the covariance of errors: S L and the independent part.

    Args:
        result: Takes the arrays.
        r: The surrogate, which has a correlation.
        last: Of a reduced page the last factor of W, (n_out, r). S L lies in its span, as errors
            share the directions of predictions: then their product is stored, (r, k).
    """
    assert r.correlation is not None
    known, L = r.correlation, r.correlation.loadings
    result.add("unique", known.unique)
    result.form["along"] = float(known.along)
    if known.sizes.any():
        result.add("ends", known.ends)
        products = known.sizes[:, 1:, 1:].any()
        for i, M in enumerate(known.sizes):  # entries above the diagonal count for those below
            twice = np.triu(M) + np.triu(M, 1)
            result.add(f"size{i}", twice if products else twice[:1], triangle=bool(products))
    if last is None or not L.size:
        result.add("loadings", L)
        return
    sizes = np.maximum(np.sqrt((L**2).sum(axis=1)), 1e-300)
    if (r.sigma > 0).all():
        basis = last / r.sigma[:, None]
        shared = np.linalg.lstsq(basis, L, rcond=None)[0]
        own = np.sqrt(known.unique)
        if (np.abs(L - basis @ shared).max(axis=1) <= _SPANNED * own).all():
            result.add("shared", shared)
            return
    result.add("loadings", L, tolerance=1e-12 * sizes)
