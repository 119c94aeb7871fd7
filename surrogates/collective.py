"""Collective decisions of processes, by MPI or by torch: an error of one is raised on all.

If one process raised while the others wait for it, they would wait forever. So each keeps the
`Outcome` of its action; the processes exchange these, and then all return or all raise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from .errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """The result of an action on one process, or the text of its `InputError`."""

    result: T | None = None
    error: str | None = None

    @classmethod
    def of(cls, action: Callable[[], T]) -> Outcome[T]:
        """Do something, and keep an `InputError`; other errors are raised."""
        try:
            return cls(result=action())
        except InputError as error:
            return cls(error=str(error))

    def agreed(self, errors: Iterable[str | None] = ()) -> T:
        """Return the result, or raise the first `InputError`, of this process or of another.

        Args:
            errors: The errors of all processes, in their order; only this one's if there are none.
        """
        for error in (*errors, self.error):
            if error is not None:
                raise InputError(error)
        return cast(T, self.result)
