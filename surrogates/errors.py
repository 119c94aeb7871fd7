"""The exception for a user's mistakes."""


class InputError(ValueError):
    """Bad input: the message is one line that says what was wrong and what would be right.

    The command line prints it after ``error:`` and exits with status 2; no traceback is shown.
    """


def check(condition: bool, message: str) -> None:
    """Raise `InputError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise InputError(message)
