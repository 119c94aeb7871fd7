"""The one exception for a user's mistake."""


class InputError(ValueError):
    """Bad input: the message is one line that says what was wrong and what would be right.

    The command line prints it after ``error:`` and exits with status 2; no traceback is shown.
    """
