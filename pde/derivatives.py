"""Derivatives of c: how a problem is asked for them, and how what it can give becomes them.

A run stores one kind of derivative:

    dC_dY   (n, n_c, n_y)   whole tangents, dc_i/dy
    dC_dV   (n, n_c, r)     dc_i/dy @ V[i, k] in r directions of each sample
    dW_dY   (n, r, n_y)     W[k] @ dc_i/dy of r functionals of c, by adjoint solves

A problem solves for the kinds that its class declares (``has_tangents``, ``has_directions``,
``has_adjoints``). The others are products of one that it has: directions and functionals contract
whole tangents, and whole tangents are directions along each y, or the functionals that are each c.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from surrogates.config import check
from surrogates.types import Array

if TYPE_CHECKING:
    from .problem import Problem

KINDS: Mapping[str, str] = {"dC_dY": "tangents", "dC_dV": "directions", "dW_dY": "adjoints"}
"""The arrays of derivatives of a batch, and what `Problem` calls their kind."""


def has(problem: type[Problem]) -> bool:
    """Return whether a problem has derivatives of any kind."""
    return any(getattr(problem, f"has_{kind}") for kind in KINDS.values())


@dataclass(frozen=True, kw_only=True)
class Way:
    """The way from the derivatives that are wanted to those that a problem solves for.

    Attributes:
        wanted: The array that is wanted, of `KINDS`; empty for none.
        solved: The array that the problem gives; empty for none.
        V: Directions, (n, r, n_y), in units of y; None for other kinds.
        W: Functionals, (r, n_c), in 1 over units of c; None for other kinds.
        shape: The array's shape for one sample: (n_c, n_y), (n_c, r) or (r, n_y).
        shape_solved: The same of the array that the problem gives.
    """

    wanted: str = ""
    solved: str = ""
    V: Array | None = None
    W: Array | None = None
    shape: tuple[int, ...] = ()
    shape_solved: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        problem: type[Problem],
        tangents: bool | Array,
        adjoints: Array | None,
        sizes: tuple[int, int, int],
    ) -> Way:
        """Choose the way.

        Args:
            problem: The problem's class.
            tangents: Whether whole tangents are wanted; or directions V, (n, r, n_y).
            adjoints: Functionals W, (r, n_c); None for none.
            sizes: n, n_c and n_y.

        Raises:
            InputError: If the problem has no derivatives, or V or W has another shape.
        """
        n, n_c, n_y = sizes
        V = None if isinstance(tangents, bool) else np.asarray(tangents, dtype=np.float64)
        W = None if adjoints is None else np.asarray(adjoints, dtype=np.float64)
        check(W is None or (V is None and not tangents), "give either tangents or adjoints")
        if W is None and V is None and not tangents:
            return cls()
        for X, name, shape in ((V, "V", (n, "r", n_y)), (W, "W", ("r", n_c))):
            fits = X is None or (X.ndim == len(shape) and X.shape[-1] == shape[-1])
            text = f"({', '.join(map(str, shape))})"
            if X is not None:
                fits = fits and X.shape[-2] > 0 and (X is W or X.shape[0] == n)
                check(fits, f"{problem.name}: {name} must be of shape {text}; got {X.shape}")
        wanted = "dW_dY" if W is not None else "dC_dY" if V is None else "dC_dV"
        r = len(W) if W is not None else 0 if V is None else V.shape[1]
        shapes = {"dC_dY": (n_c, n_y), "dC_dV": (n_c, r), "dW_dY": (r, n_y)}
        solved = next(
            (name for name in (wanted, *KINDS) if getattr(problem, f"has_{KINDS[name]}", False)),
            "",
        )
        check(bool(solved), f"{problem.name} has no tangents; leave out --tangents")
        shape_solved = shapes[solved] if solved == wanted else (n_c, n_y)
        return cls(
            wanted=wanted,
            solved=solved,
            V=V,
            W=W,
            shape=shapes[wanted],
            shape_solved=shape_solved,
        )

    def keywords(self, rows: slice) -> dict[str, Any]:
        """Return the arguments of `Problem.solve_batch` besides Y, for some samples."""
        if self.solved == "dC_dV":
            if self.wanted == "dC_dV":
                assert self.V is not None
                return {"tangents": self.V[rows].copy()}
            return {
                "tangents": np.tile(np.eye(self.shape_solved[1]), (rows.stop - rows.start, 1, 1))
            }
        if self.solved == "dW_dY":
            return {"adjoints": np.eye(self.shape_solved[0]) if self.W is None else self.W.copy()}
        return {"tangents": bool(self.solved)}

    def result(self, derivative: Array, rows: slice) -> Array:
        """Return the wanted derivatives of some samples, from those that the problem gave."""
        if self.wanted == self.solved or self.wanted == "dC_dY":
            return derivative  # along each y, or of each c: the whole
        if self.wanted == "dC_dV":
            assert self.V is not None
            return derivative @ self.V[rows].transpose(0, 2, 1)
        assert self.W is not None
        return self.W @ derivative
