"""Work that Ctrl-C, or a notebook's stop button, ends in good order.

No signal handler is set: the work is done by a thread, and the main thread waits for it. Python
raises `KeyboardInterrupt` in the main thread alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Work(Generic[T]):
    """Work that is asked to stop at the first interrupt, and left at the second one.

    Attributes:
        asked: Whether it is asked to stop.
    """

    def __init__(self) -> None:
        """Begin unasked."""
        self.asked = False

    def __enter__(self) -> Work[T]:
        """Return this."""
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing."""

    def done(self, action: Callable[[], T]) -> T:
        """Do the work, and return its result.

        In the main thread the work is done by another one, so that a `KeyboardInterrupt` does not
        cut it. Elsewhere none can come, and it is done at once.

        Raises:
            KeyboardInterrupt: At the second interrupt; the thread goes on to its next look at
                `asked`, and what it returns is lost.
        """
        if threading.current_thread() is not threading.main_thread():
            return action()
        found: list[T] = []
        failures: list[BaseException] = []
        ended = threading.Event()  # a join that is interrupted takes the thread for ended

        def attempt() -> None:
            try:
                found.append(action())
            except BaseException as error:
                failures.append(error)
            ended.set()

        threading.Thread(target=attempt, name="surrogates", daemon=True).start()
        try:
            ended.wait()
        except KeyboardInterrupt:
            self.asked = True
            ended.wait()
        if failures:
            raise failures[0]
        return found[0]
