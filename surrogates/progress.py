"""Progress bars of the library, for notebooks, terminals and callers' own functions."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

Told = Callable[[int, int, str], object]
"""A function of the number done, the total, and a note."""


class TqdmBar:
    """A bar of tqdm: a widget in a notebook, else a line on the standard error."""

    def __init__(self, unit: str) -> None:
        """Count in ``unit``; nothing is shown before the first `update`."""
        self._unit = unit
        self._bar: Any = None

    def update(self, done: int, total: int, note: str = "") -> None:
        """Show that ``done`` of ``total`` are finished."""
        if self._bar is None:
            from tqdm import TqdmWarning

            with warnings.catch_warnings():  # a notebook without ipywidgets has a line of text
                warnings.simplefilter("ignore", TqdmWarning)
                from tqdm.auto import tqdm
            unit = f" {self._unit}"
            self._bar = tqdm(total=total, initial=done, unit=unit, dynamic_ncols=True)
        self._bar.total = total
        self._bar.set_postfix_str(note.lstrip(", "), refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """End the bar, as a whole one unless an exception ends it: trainings may end early."""
        if self._bar is None:
            return
        if sys.exc_info()[0] is None and self._bar.n:
            done, start = self._bar.n, self._bar.start_t
            self._bar.reset(total=done)  # of a widget, too
            self._bar.start_t = start
            self._bar.update(done)
            self._bar.refresh()
        self._bar.close()


class CallerBar:
    """A caller's function instead of a bar."""

    def __init__(self, tell: Told) -> None:
        """Take the function."""
        self._tell = tell

    def update(self, done: int, total: int, note: str = "") -> None:
        """Call the function."""
        self._tell(done, total, note.lstrip(", "))

    def close(self) -> None:
        """Do nothing."""


def bar_of(progress: bool | Told) -> Callable[[str], TqdmBar | CallerBar] | None:
    """Return the maker of the caller's bar.

    Args:
        progress: True for a bar of tqdm, False for none, or a function to call instead.

    Returns:
        A function that makes the bar for a unit; None for no bar.
    """
    if callable(progress):
        tell = progress
        return lambda unit: CallerBar(tell)
    return TqdmBar if progress else None
