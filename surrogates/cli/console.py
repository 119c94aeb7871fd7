"""Messages, progress and signals of the command line."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm


def complain_once(text: str) -> None:
    """Print an error once, even if every process of mpirun or torchrun has it.

    Rank 0 prints it and ends, and the launcher then ends the other processes. A process that is
    still running after ten seconds prints its error, as rank 0 does not have it.
    """
    # Open MPI, MPICH and its relatives set the rank, so that MPI need not be started for it.
    names = ["OMPI_COMM_WORLD_RANK", "PMI_RANK"]
    if "TORCHELASTIC_RUN_ID" in os.environ:
        names.append("RANK")
    if any(os.environ.get(name, "0") != "0" for name in names):
        time.sleep(10)
    complain(text)


def duration(seconds: float) -> str:
    """Return a time in words."""
    days, rest = divmod(round(seconds), 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def print_rows(rows: Mapping[str, str]) -> None:
    """Print names and values in two columns."""
    for name, value in rows.items():
        if value:  # a name in a file may hold control characters
            line = f"{name + ':':18}{value}"
            print("".join(char if char.isprintable() else " " for char in line))


class Interruption:
    """A context in which Ctrl-C, SIGTERM or SIGUSR1 asks to stop; a second one stops at once.

    A launcher may pass on a batch system's signal that its processes have already received: a
    repetition within a second counts as one signal.

    Attributes:
        asked: Whether to stop.
        kind: The signal that asked for it.
    """

    asked: bool = False
    kind: int = 0

    def __enter__(self) -> Interruption:
        """Take the signals."""
        kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
        self._before = {kind: signal.signal(kind, self._ask) for kind in kinds}
        return self

    def __exit__(self, *error: object) -> None:
        """Restore the earlier handlers."""
        for kind, handler in self._before.items():
            signal.signal(kind, handler)

    def _ask(self, kind: int, frame: object) -> None:
        if not self.asked:
            self.asked, self.kind, self._since = True, kind, time.monotonic()
        elif kind == signal.SIGINT or time.monotonic() - self._since > 1:
            raise KeyboardInterrupt


def coverage(shares: Sequence[float]) -> str:
    """Return the shares of the errors that the error bars cover, in words."""
    from surrogates.model.summaries import LEVELS

    if not shares:
        return "none; the file is of an older version"
    pairs = zip(LEVELS, shares, strict=True)
    return ", ".join(f"{share:.1%} of errors in {level:.0%} intervals" for level, share in pairs)


def accuracy(found: Any) -> str:
    """Return the errors of a classifier in words."""
    return (
        f"{per_cent(found.accuracy)}, cross-entropy {found.cross_entropy:.3g}, "
        f"expected calibration error {per_cent(found.calibration_error)}"
    )


def per_cent(share: float) -> str:
    """Return a share in per cent."""
    return f"{100 * share:.1f} %"


class Progress:
    """A bar with rate and time left on a terminal, else one plain line every few seconds."""

    def __init__(self, unit: str) -> None:
        """Count in ``unit``."""
        self._unit = unit
        self._bar: Any = None
        self._start = self._last = time.monotonic()
        self._first: int | None = None  # done before

    def update(self, done: int, total: int, note: str = "") -> None:
        """Say that ``done`` of ``total`` are finished."""
        if self._first is None:
            self._first, self._start = done, time.monotonic()
        if sys.stderr.isatty():
            if self._bar is None:
                unit = f" {self._unit}"
                self._bar = tqdm(total=total, initial=done, unit=unit, file=sys.stderr)
            self._bar.total = total
            self._bar.set_postfix_str(note.lstrip(", "), refresh=False)
            self._bar.update(done - self._bar.n)
        elif time.monotonic() - self._last > 3 and done > self._first:
            self._last = time.monotonic()
            left = (self._last - self._start) / (done - self._first) * (total - done)
            text = f"{done} of {total} {self._unit}{note}, about {left:.0f} s left"
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()


def complain(text: str) -> None:
    """Print an error as one line."""
    print(f"error: {' '.join(text.split())}", file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Print a warning as one line."""
    print(f"warning: {' '.join(text.split())}", file=sys.stderr, flush=True)
