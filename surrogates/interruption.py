"""Work that Ctrl-C, or a notebook's stop button, ends in order.

No signal handler is set: a thread does the work, and the main thread waits for it. Python raises
`KeyboardInterrupt` only in the main thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Work(Generic[T]):
    """Work that is asked to stop at the first interrupt, and abandoned at the second.

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

        From the main thread, the work is done in another one, so that a `KeyboardInterrupt` does
        not cut it. In other threads none can come, and the work is done directly.

        Raises:
            KeyboardInterrupt: At the second interrupt; the thread continues until it next reads
                `asked`, and its result is lost.
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
