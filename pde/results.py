"""Results of solves: `Solution`, `Batch`, and the checks of both before they become data.

A user's class may return anything. Each check returns its finding in one line, empty if all is
right, and the caller decides whether the sample fails or the run ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from surrogates.data import SOLVER
from surrogates.errors import InputError
from surrogates.given import numbers
from surrogates.provenance import readable
from surrogates.types import Array

from .derivatives import KINDS


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The result of `Problem.solve_batch`; rank 0 of the communicator must have it whole.

    Attributes:
        C: Observables, (n, n_c) real numbers; NaN for a failed solve.
        failure: Why each solve failed, n texts, empty if it did not; no texts if none failed.
        solver: Iterations, largest relative residual and seconds, (n,) of dtype `SOLVER`. Without
            it, there are no iterations and the residual is unknown.
        dC_dY: Tangents dc/dy, (n, n_c, n_y), if asked for; NaN for a failed solve.
        dC_dV: The same in the directions V that were asked for, (n, n_c, r): dc_i/dy @ V[i, k].
        dW_dY: The same of the functionals W that were asked for, (n, r, n_y): W[k] @ dc_i/dy.
    """

    C: Array
    failure: list[str] = field(default_factory=list)
    solver: npt.NDArray[np.void] = field(default_factory=lambda: np.empty(0, SOLVER))
    dC_dY: Array | None = None
    dC_dV: Array | None = None
    dW_dY: Array | None = None

    def __post_init__(self) -> None:
        """Fill in omitted fields."""
        if not len(self.failure):
            object.__setattr__(self, "failure", [""] * len(self.C))
        if not len(self.solver):
            object.__setattr__(self, "solver", unrated(len(self.C)))


@dataclass(frozen=True)
class Solution:
    """The result of `Problem.solve`: c, and the linear solves' residual and iterations.

    Attributes:
        c: Observables, (n_c,).
        residual: Largest relative residual of the linear solves; NaN if unknown.
        iterations: Iterations of all linear solves together.
    """

    c: npt.ArrayLike
    residual: float = field(default=np.nan, kw_only=True)
    iterations: int = field(default=0, kw_only=True)


def copy_checked(given: Any, into: Batch, about: Mapping[str, Any]) -> str:
    """Check the result of `Problem.solve_batch`, and copy it into a batch.

    Args:
        given: The result.
        into: The batch, of as many samples; its arrays of derivatives are the expected ones.
        about: The problem's description, with ``y_names`` and ``c_names``.

    Returns:
        The fault of the batch as a whole; empty if there is none. Faults of single samples become
        their ``failure``.
    """
    n = len(into.C)
    if not isinstance(given, Batch):
        return cleaned(f"solve_batch must give a surrogates.pde.Batch; got {shown(given)}")
    C, mistake = observables(given.C, about["c_names"], into.C.shape, "solve_batch", "C")
    found = {}
    for name, array in derivatives(into).items():
        if not mistake:
            names = about["y_names"] if name.endswith("dY") else ()
            values = getattr(given, name)
            found[name], mistake = observables(values, names, array.shape, "solve_batch", name)
    solver, failure = np.asanyarray(given.solver), given.failure
    if not mistake and isinstance(solver, np.ma.MaskedArray):
        mistake = "solve_batch must give solver without a mask"
    listed = isinstance(failure, Sequence | np.ndarray) and not isinstance(failure, str)
    if not mistake and (not listed or len(failure) != n or len(texts(failure)) != n):
        mistake = f"solve_batch must give failure as a list of {n} texts; got {shown(failure)}"
    if not mistake and (solver.dtype != SOLVER or solver.shape != (n,)):
        mistake = f"solve_batch must give solver of shape {(n,)} and dtype SOLVER; got "
        mistake += f"{solver.shape}, {solver.dtype}"
    if mistake:
        return cleaned(mistake)
    with np.errstate(over="ignore"):  # to infinity, which is checked below
        into.C[:] = C
        for name, array in derivatives(into).items():
            array[:] = found[name]
    into.solver[:] = solver
    into.failure[:] = [text and (cleaned(text) or "failed") for text in failure]
    for name, values in {"c": C, **found}.items():
        if isinstance(values, np.ma.MaskedArray):
            for i, one in enumerate(values):
                into.failure[i] = into.failure[i] or unusable(one, name)
    return ""


def fail_unusable(batch: Batch) -> None:
    """Fail the samples of a batch with invalid numbers: not finite, or below 0."""
    suspect = ~np.isfinite(batch.C).all(axis=1)
    suspect |= (batch.solver["residual"] < 0) | (batch.solver["iterations"] < 0)
    seconds = batch.solver["seconds"]
    suspect |= ~((seconds >= 0) & (seconds < np.inf))
    names = derivatives(batch)
    for array in names.values():
        suspect |= ~np.isfinite(array).all(axis=(1, 2))
    for i in np.flatnonzero(suspect):
        record = {name: batch.solver[i][name] for name in ("residual", "iterations")}
        batch.failure[i] = (
            batch.failure[i]
            or keep_rating(Solution((), **record), batch.solver[i])
            or unusable(batch.C[i], "c")
            or f"{''.join(names)} is not finite"
        )


def derivatives(batch: Batch) -> dict[str, Array]:
    """Return the derivatives that a batch has, by the names of `Batch`."""
    found = {name: getattr(batch, name) for name in KINDS}
    return {name: array for name, array in found.items() if array is not None}


def unrated(n: int) -> npt.NDArray[np.void]:
    """Return empty records of n solves."""
    solver = np.zeros(n, SOLVER)
    solver["residual"] = np.nan
    return solver


def observables(
    given: Any, names: Sequence[str], shape: tuple[int, ...], method: str, name: str
) -> tuple[Any, str]:
    """Read real numbers of a shape.

    Args:
        given: The numbers, in any form for `surrogates.given`; a mask is kept.
        names: Names of the entries of the last axis.
        shape: The shape that they must have.
        method: The method that returned them, for the message.
        name: Name of the array, for the message.

    Returns:
        The numbers, with their mask, and their fault; empty if there is none.
    """
    what = f"{method} must give {name}"
    try:
        values = _detached(given)
        if isinstance(values, list | tuple):
            values = [_detached(value) for value in values]
            if any(isinstance(value, np.ma.MaskedArray) for value in values):
                values = np.ma.stack(values)
        if not isinstance(values, np.ma.MaskedArray):
            values = numbers(values, names, name)
    except Exception as error:  # rows of different lengths, or another library's array
        reason = str(error) if isinstance(error, InputError) else one_line(error)
        return None, f"{what} as real numbers; got {shown(given)} ({reason})"
    if values.dtype.kind not in "iuf":
        return None, f"{what} as real numbers; got {shown(given)}"
    if values.shape != shape:
        as_names = f", as {name.lower()}_names" if name in ("c", "C") else ""
        return None, f"{what} of shape {shape}{as_names}; got {values.shape}"
    return values, ""


def _detached(value: Any) -> Any:
    """Return a torch tensor without its graph, for numpy; any other value unchanged."""
    return value.detach().cpu() if hasattr(value, "detach") else value


def unusable(values: Any, name: str) -> str:
    """Return why the numbers of one sample are invalid; empty if they are valid."""
    if isinstance(values, np.ma.MaskedArray) and np.any(values.mask):
        return f"{name} has masked values"
    return "" if np.isfinite(np.asarray(values)).all() else f"{name} is not finite"


def keep_rating(solution: Solution, into: Any) -> str:
    """Copy residual and iterations of a solution; return their fault, empty if there is none.

    Args:
        solution: The solution.
        into: The sample's record, of dtype `SOLVER`.
    """
    residual, iterations = _scalar(solution.residual), _scalar(solution.iterations)
    if not isinstance(residual, float | int) or residual < 0:
        return f"residual must be a number of at least 0, or NaN; got {shown(solution.residual)}"
    whole = isinstance(iterations, float | int) and iterations % 1 == 0
    if not whole or not 0 <= iterations < 2**63:
        return f"iterations must be a whole number, >= 0; got {shown(solution.iterations)}"
    if not 0 <= into["seconds"] < np.inf:
        return f"seconds must be a number of at least 0; got {into['seconds']}"
    into["residual"], into["iterations"] = residual, iterations
    return ""


def _scalar(value: Any) -> Any:
    """Return the number in a scalar of numpy or torch; a mask or anything else unchanged."""
    masked = isinstance(value, np.ma.MaskedArray)
    return value.item() if getattr(value, "shape", None) == () and not masked else value


def shown(value: Any) -> str:
    """Return a value as text of at most 60 characters; its class if that fails."""
    try:
        return f"{value!r:.60}"
    except Exception:  # of a class of theirs
        return f"a {type(value).__name__}"


def cleaned(text: str) -> str:
    """Make a text one line that files can hold."""
    return readable(" ".join(text.replace("\0", " ").split()))


def one_line(error: BaseException) -> str:
    """Return an error's text in one line: its first line, and the last, with PETSc's reason."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # of a class of theirs
        lines = []
    return cleaned(": ".join([type(error).__name__, *lines[:1], *lines[1:][-1:]]))


def texts(given: Any) -> tuple[str, ...]:
    """Return the texts of a sequence of texts; nothing for anything else."""
    sequence = isinstance(given, Iterable) and all(isinstance(text, str) for text in given)
    return tuple(str(text) for text in given) if sequence else ()
