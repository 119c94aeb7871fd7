"""Derivatives along lines: what a problem claims, and Taylor tests of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

from ..problem import Problem
from .reports import percent
from .taylor import TOLERANCE, Taylor, tested
from .trial import AGREEMENT, Trial, difference, inverse

CONDITION = 100.0
"""Errors that derivatives may have over the relative residuals of the solves."""

_LOCATED = 64  # parameters at most among which a wrong derivative is located


def fault(problem: Problem, asked: Mapping[str, Any], seed: int) -> str:
    """Test the derivatives of a problem at one random y, along one line; collective.

    Args:
        problem: The problem.
        asked: The derivatives, as for `solving.solved`: ``adjoints``, W (r, n_c); or ``tangents``,
            True, or any array for those in directions.
        seed: Seed of y and the line.

    Returns:
        Why they are wrong, in one line; empty if they are right, or c does not show it.
    """
    trial = Trial(problem, 3, seed)
    for i in range(len(trial.Y)):  # a solve may fail
        lines = Lines(trial, np.array([i]), asked)
        if lines.reason:
            continue
        if lines.tests:
            return lines.fault()
    return ""


class Lines:
    """Lines from samples, the slopes of c along them by the problem's derivatives, and their tests.

    Attributes:
        asked: The derivatives that were asked for.
        name: ``tangents`` or ``adjoints``.
        reason: What is wrong with the solves; else empty.
        cost: Time of a solve with derivatives over that of one without.
        tests: The Taylor tests by the index of the sample; none where solves on the line failed.
    """

    def __init__(
        self,
        trial: Trial,
        rows: npt.NDArray[np.int_],
        asked: Mapping[str, Any],
        scale: Array | None = None,
    ) -> None:
        """Solve and test.

        Args:
            trial: The samples.
            rows: Indices of those from which lines begin.
            asked: The derivatives, as for `fault`.
            scale: Least scale of the slope of each c, (n_c,); zero if None.
        """
        self._trial, self.asked, self._rows = trial, asked, rows
        self._W = asked.get("adjoints")
        self.name = "tangents" if self._W is None else "adjoints"
        self._J: Array | None = None
        self._slopes = np.empty(0)
        self.tests: dict[int, Taylor] = {}
        start = time.perf_counter()
        c = trial.values(trial.Y[rows])
        plain = time.perf_counter() - start
        self._tolerance = TOLERANCE
        self.reason = self._solved(c)
        self.cost = (time.perf_counter() - start - plain) / plain
        if self.reason:
            return
        for k, i in enumerate(rows.tolist()):
            test = self._tested(i, c[k], self._slopes[k], scale)
            if test is not None:
                self.tests[i] = test

    def _solved(self, c: Array) -> str:
        """Solve for the slopes; return what is wrong."""
        trial, rows = self._trial, self._rows
        Y, D = trial.Y[rows], trial.D[rows]
        batch = trial.solve(Y, **{**self.asked, **self._along(rows)})
        failed = [text for text in batch.failure if text]
        if failed:
            return f"the solve with them failed: {failed[0]}"
        residual = float(np.nan_to_num(batch.solver["residual"]).max(initial=0.0))
        self._tolerance += CONDITION * residual
        apart = difference(batch.C, c)
        if apart > AGREEMENT:
            return f"c differs by {apart:.1e} when they are solved for as well"
        if batch.dC_dY is not None:
            self._J = batch.dC_dY
            self._slopes = np.einsum("nck,nk->nc", batch.dC_dY, D)
        elif batch.dC_dV is not None:
            self._slopes = batch.dC_dV[:, :, 0]
        elif batch.dW_dY is not None:
            self._slopes = np.einsum("nrk,nk->nr", batch.dW_dY, D)
        return ""

    def _along(self, rows: npt.NDArray[np.int_]) -> dict[str, Any]:
        """Return the directions of the lines, if derivatives in directions are asked for."""
        given = self.asked.get("tangents", True)
        return {} if isinstance(given, bool) else {"tangents": self._trial.D[rows][:, None]}

    def _tested(self, i: int, c: Array, slope: Array, scale: Array | None) -> Taylor | None:
        trial, W = self._trial, self._W
        y, d = trial.Y[i], trial.D[i]

        def curve(h: Array) -> Array:
            C = trial.values(y + h[:, None] * d)
            return C if W is None else np.asarray(C @ W.T)

        if W is not None:
            c, scale = W @ c, None
        return tested(curve, c, slope, scale, tolerance=self._tolerance)

    def fault(self) -> str:
        """Return which slope is the most wrong, in one line; empty if none is."""
        wrong = {i: test for i, test in self.tests.items() if test.wrong.any()}
        if not wrong:
            return ""
        i = max(wrong, key=lambda i: float(np.where(wrong[i].wrong, wrong[i].error, 0).max()))
        test, slope = wrong[i], self._slopes[self._rows.tolist().index(i)]
        j, count = test.worst, int(test.wrong[:-1].sum())
        orders = test.orders[test.clear]
        order = f"; the Taylor remainder's order falls to {orders[-1]:.2f}" if len(orders) else ""
        if not count:
            size = percent(float(test.error[-1]))
            return f"the derivatives of c are wrong by {size} along a line, as a whole{order}"
        claimed, found = slope[j], test.slopes[j]
        size = percent(float(abs(claimed - found) / max(abs(claimed), abs(found))))
        names = self._trial.about["c_names"]
        what = f"of {names[j]}" if self._W is None else f"of functional {j} of c"
        others = f", and of {count - 1} more," if count > 1 else ""
        return (
            f"the derivative {what}{others} is wrong by {size}: it is {claimed:.6g} along a line, "
            f"where differences of c give {found:.6g}{order}"
        )

    def located(self, scale: Array) -> str:
        """Return the entry of dc/dy that is the most wrong, by differences along each y.

        Args:
            scale: Scale of each c, (n_c,).
        """
        trial, n_y = self._trial, self._trial.Y.shape[1]
        wrong = [i for i, test in self.tests.items() if test.wrong.any()]
        if self._J is None or n_y > _LOCATED or not wrong:
            return ""
        i = wrong[0]
        y, J = trial.Y[i], self._J[self._rows.tolist().index(i)]
        # Into the bounds, with four steps for an extrapolation.
        side = np.where(y > trial.lower + trial.range / 2, -1.0, 1.0) * trial.range
        h = 2.0 ** -np.arange(7, 11)
        Y = np.vstack([y, (y + h[:, None, None] * np.diag(side)).reshape(-1, n_y)])
        C = trial.values(Y)
        D = (C[1:].reshape(len(h), n_y, -1) - C[0]) / h[:, None, None]
        for m in range(1, len(h)):
            D = D[1:] + (D[1:] - D[:-1]) / (2**m - 1)
        error = np.abs(D[0].T - J * side) * inverse(scale)[:, None]
        if not np.isfinite(error).all():
            return ""
        j, k = np.unravel_index(error.argmax(), error.shape)
        c, by = trial.about["c_names"][j], trial.about["y_names"][k]
        found = D[0][k, j] / side[k]
        return f"; the worst entry is that of {c} by {by}: {J[j, k]:.6g} for {found:.6g}"
