"""Wait for what another thread or process does: no test sleeps for a fixed time."""

import time
from collections.abc import Callable
from typing import Any, Protocol

SECONDS = 240


class Process(Protocol):
    """A process that is to go on, as `subprocess.Popen` has them."""

    def poll(self) -> int | None: ...

    def communicate(self) -> Any: ...


def until(condition: Callable[[], bool], process: Process | None = None) -> None:
    """Wait until a condition holds; fail at the deadline, or when the process has ended before."""
    stop = time.monotonic() + SECONDS
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < stop, f"not so within {SECONDS} s"
        time.sleep(0.01)
