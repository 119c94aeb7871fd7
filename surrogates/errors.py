"""The exception for a user's mistakes, and helpers for its messages."""

from __future__ import annotations

from collections.abc import Sequence


class InputError(ValueError):
    """Bad input: the message is one line that says what was wrong and what would be right.

    The command line prints it after ``error:`` and exits with status 2; no traceback is shown.
    """


def check(condition: bool, message: str) -> None:
    """Raise `InputError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise InputError(message)


def listed(texts: Sequence[str], most: int = 20) -> str:
    """Return a list of texts in words; a list longer than ``most`` ends with "and 3 more"."""
    more = len(texts) - most
    return (", ".join(texts[:most]) or "nothing") + (f" and {more} more" if more > 0 else "")
