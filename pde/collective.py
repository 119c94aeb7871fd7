"""Collective failure: an error of one process for which others wait is raised on all."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar, cast

from mpi4py import MPI

from surrogates.collective import Outcome
from surrogates.errors import InputError

T = TypeVar("T")


def on_root(comm: MPI.Comm, action: Callable[[], T]) -> T:
    """Do something on rank 0; return its result on all, or raise its `InputError` on all."""
    outcome: Outcome[T] | None = None
    with abort_on_error(comm):
        if comm.rank == 0:
            outcome = Outcome.of(action)
        outcome = cast("Outcome[T]", comm.bcast(outcome))
    return outcome.agreed()


def on_each(comm: MPI.Comm, action: Callable[[], T]) -> T:
    """Do something on every process; an `InputError` of one is raised on all."""
    with abort_on_error(comm):
        outcome = Outcome.of(action)
        errors = comm.allgather(outcome.error)
    return outcome.agreed(errors)


@contextlib.contextmanager
def abort_on_error(comm: MPI.Comm) -> Iterator[None]:
    """End all processes if one fails, as the others would wait for it forever."""
    try:
        yield
    except BaseException as error:
        if comm.size > 1:
            text = (str(error).splitlines() or [""])[0]
            if isinstance(error, InputError):
                complain(text)
                comm.Abort(2)
            complain(
                f"rank {comm.rank} failed, all stop: {type(error).__name__}: {text}; run the same "
                "command again to go on"
            )
            comm.Abort(1)
        raise


def complain(text: str) -> None:
    """Print an error as one line, of this process."""
    print(f"error: {text}", file=sys.stderr, flush=True)
