"""Tasks for the tests of `surrogates.training.pool`, in a module that a worker can import."""

import os
import time
from pathlib import Path

from surrogates.errors import InputError


def squared(x):
    return x * x


def number_of_threads():
    import torch

    return torch.get_num_threads()


def refused(message):
    raise InputError(message)


def ended(status):
    os._exit(status)


def printed(text):
    print(text)
    return len(text)


def slept(seconds, started):
    """Write this process's number into a file, then sleep."""
    Path(started).write_text(str(os.getpid()))
    time.sleep(seconds)
