"""Calls of a problem's class: make it, get its notes, solve for samples.

The class may be a user's. An error of its ``__init__`` or ``notes`` becomes one line; an error of a
solve becomes the failure of its sample. `solved` passes copies of the parameters, restores the
process's state, and checks the results, so that only valid numbers become data.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from surrogates.config import check
from surrogates.errors import InputError
from surrogates.pipes import take_no_sigpipe
from surrogates.types import Array

from .derivatives import Way
from .ensemble.limits import TimeLimitError
from .inputs import NEIGHBOURS
from .results import (
    Batch,
    Solution,
    cleaned,
    copy_checked,
    derivatives,
    fail_unusable,
    keep_rating,
    observables,
    one_line,
    unrated,
    unusable,
)
from .surroundings import surroundings_kept

if TYPE_CHECKING:
    from mpi4py import MPI

    from .problem import Problem


@functools.lru_cache(maxsize=1)
def described(describe: Callable[[Any], dict[str, Any]], config: Any) -> dict[str, Any]:
    """Describe a problem, and keep the description: small batches need it often."""
    return describe(config)


def made(problem: type[Problem], config: Any, comm: MPI.Comm) -> Problem:
    """Make a problem; collective.

    Raises:
        InputError: If a user's class raises an error; the message has it in one line.
    """
    with _explaining(problem), NEIGHBOURS.looking(bool(problem.source)):
        return problem(config, comm)


def noted(problem: type[Problem], config: Any) -> tuple[str, ...]:
    """Return a problem's notes, each as one line.

    Raises:
        InputError: If they are no texts, or a user's class raises an error.
    """
    with _explaining(problem):
        given = problem.notes(config)
    check(
        isinstance(given, tuple | list) and all(isinstance(text, str) for text in given),
        f"{problem.name}: notes must return a tuple of texts; got {given!r:.60}",
    )
    return tuple(" ".join(text.split()) for text in given)


def drawn(problem: type[Problem], config: Any, total: int, seed: int) -> Array | None:
    """Draw all samples by a class's own `Problem.parameters`; None if it has the base class's.

    Returns:
        Y, (total, n_y) float64.

    Raises:
        InputError: If they are other than that, or a user's class raises an error.
    """
    if not problem.has_own_parameters():
        return None
    n_y = len(described(problem.describe, config)["y_names"])
    with _explaining(problem):
        Y = np.asarray(problem.parameters(config, total=total, seed=seed, start=0, stop=total))
    check(
        Y.shape == (total, n_y) and Y.dtype.kind in "fiu" and bool(np.isfinite(Y).all()),
        f"{problem.name}: parameters must return finite numbers of shape ({total}, {n_y}) for "
        f"start 0 and stop {total}; got {Y.dtype} of shape {Y.shape}",
    )
    return np.array(Y, dtype=np.float64)


@contextlib.contextmanager
def _explaining(problem: type[Problem]) -> Iterator[None]:
    """Turn an error of a user's class into an `InputError` of one line."""
    try:
        yield
    except Exception as error:
        if not problem.source or isinstance(error, InputError | MemoryError):
            raise
        place = Path(str(sys.modules[problem.__module__].__file__))
        raise InputError(f"{problem.name}{explained(error, place)}") from error
    finally:
        take_no_sigpipe()


def explained(error: BaseException, place: Path) -> str:
    """Return an error's line in a file, and its text."""
    stack = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in stack if frame.filename == str(place)]
    text = one_line(error)
    if isinstance(error, SyntaxError) and error.filename == str(place):
        lines, text = [error.lineno], f"{type(error).__name__}: {error.msg}"
    return f"{f', line {lines[-1]}' if lines else ''}: {text}"


def solved(
    problem: Problem,
    Y: Array,
    *,
    size: int = 0,
    tangents: bool | Array = False,
    adjoints: Array | None = None,
    begins: Callable[[int], None] = lambda first: None,
) -> Batch:
    """Solve for samples by `Problem.solve_batch`, and check its results; collective.

    Args:
        problem: The problem.
        Y: Parameters, (n, n_y); the problem gets copies.
        size: Samples of a batch; 0 for one batch of all.
        tangents: Whether to solve for dc/dy as well; or directions V, (n, r, n_y), in units of y,
            to solve for dc/dy in these.
        adjoints: Functionals W of c, (r, n_c), in 1 over units of c, to solve for W dc/dy; None for
            none.
        begins: Called before each batch with the row of its first sample.

    Returns:
        The samples, complete on rank 0 of the problem's communicator; ``failure`` is complete on
        every process. C and the derivatives are NaN for failed samples. The arrays are copies: the
        problem may use its own again. A kind of derivative that the problem does not solve for is
        computed from one that it does (`derivatives`).

    Raises:
        InputError: On every process, if `Problem.solve` does not return n_c real numbers, or the
            problem has no derivatives.
    """
    comm, n = comm_of(problem), len(Y)
    about = described(problem.describe, problem.config)
    n_c = len(about["c_names"])
    way = Way.of(type(problem), tangents, adjoints, (n, n_c, Y.shape[1]))
    batch = _empty(n, n_c, way.wanted, way.shape)
    for start in range(0, n, size or n):
        rows = slice(start, min(start + (size or n), n))
        begins(start)
        piece = _empty(rows.stop - start, n_c, way.solved, way.shape_solved)
        reason = _solve_into(piece, problem, Y[rows].copy(), way.keywords(rows), about)
        if reason:
            piece.failure[:] = [reason] * (rows.stop - start)
        if comm.rank == 0:
            fail_unusable(piece)
        batch.C[rows], batch.solver[rows], batch.failure[rows] = (
            piece.C,
            piece.solver,
            piece.failure,
        )
        for derivative in derivatives(piece).values():
            getattr(batch, way.wanted)[rows] = way.result(derivative, rows)
    _settle(batch, comm)
    return batch


def _empty(n: int, n_c: int, name: str, shape: tuple[int, ...]) -> Batch:
    """Return a batch of n samples without numbers, with one array of derivatives or none."""
    return Batch(
        C=np.full((n, n_c), np.nan),
        failure=[""] * n,
        solver=unrated(n),
        **({name: np.full((n, *shape), np.nan)} if name else {}),
    )


def _solve_into(
    piece: Batch, problem: Problem, Y: Array, keywords: dict[str, Any], about: dict[str, Any]
) -> str:
    """Solve for one batch; return the fault of all its samples, empty if there is none."""
    own, given = problem.has_own_batches(), None
    try:
        with surroundings_kept() if own else contextlib.nullcontext():  # else around `solve`
            with NEIGHBOURS.looking(bool(problem.source)):
                given = problem.solve_batch(Y, **keywords)
    except BaseException as error:
        if not own or not is_failure(error):
            raise
        return one_line(error)
    if problem.comm.rank > 0:
        return ""
    try:
        return copy_checked(given, piece, about)
    except Exception as error:  # from a user's object in a conversion to numpy or text
        if isinstance(error, MemoryError):
            raise
        return one_line(error)


def one_by_one(problem: Problem, Y: Array) -> Batch:
    """Solve for samples by `Problem.solve`, one after another; collective.

    Raises:
        InputError: On every process, if that does not return n_c real numbers.
    """
    comm = comm_of(problem)
    names = described(problem.describe, problem.config)["c_names"]
    C = np.full((len(Y), len(names)), np.nan)
    solver = unrated(len(Y))
    failure = []
    for i, y in enumerate(Y):
        start = time.perf_counter()
        mistake, reason, solution = "", "", Solution(())
        try:
            with surroundings_kept():
                given = problem.solve(y.copy())
            solution = given if isinstance(given, Solution) else Solution(given)
        except BaseException as error:
            if not is_failure(error):
                raise
            reason = one_line(error)
        else:
            if comm.rank == 0:
                c, mistake = observables(solution.c, names, C.shape[1:], "solve", "c")
                reason = "" if mistake else keep_rating(solution, solver[i]) or unusable(c, "c")
        # Maybe only one process has failed.
        if comm.size > 1:
            reports = comm.allgather((reason, mistake))
            reason, mistake = (max(texts, key=bool) for texts in zip(*reports, strict=True))
        failure.append(reason)
        if not reason:
            check(not mistake, cleaned(f"{problem.name}: {mistake}"))
            if comm.rank == 0:
                C[i] = c
        solver["seconds"][i] = time.perf_counter() - start
    return Batch(C=C, failure=failure, solver=solver)


def comm_of(problem: Problem) -> MPI.Comm:
    """Return the communicator of a problem; raise `InputError` if its class has not set it."""
    check(
        hasattr(problem, "comm"),
        f"{problem.name}: __init__ must call super().__init__(config, comm)",
    )
    return problem.comm


def is_failure(error: BaseException) -> bool:
    """Return whether a solve's exception fails only its sample."""
    return not isinstance(error, KeyboardInterrupt | MemoryError | TimeLimitError)


def _settle(batch: Batch, comm: MPI.Comm) -> None:
    """Fail the samples that have failed on any process, and remove their numbers."""
    if comm.size > 1:
        reports = comm.allgather(batch.failure)
        batch.failure[:] = [max(texts, key=bool) for texts in zip(*reports, strict=True)]
    if any(batch.failure):
        bad = [bool(text) for text in batch.failure]
        batch.C[bad] = np.nan
        for derivative in derivatives(batch).values():
            derivative[bad] = np.nan
