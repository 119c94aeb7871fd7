"""The command ``surrogates``.

`parser` knows all commands; the module of a group has their options and runs them. A command reads
its options, calls the library and prints.

A user's mistake is one line after ``error:`` and exit status 2. Exit status 1 says that the work
was done but the result is faulty: samples failed, or a file has problems. A command imports
DOLFINx, MPI or torch only when it runs.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from surrogates.errors import InputError
from surrogates.pipes import open_standard_files

from .console import complain, complain_once
from .parser import parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: The words after ``surrogates``; those of the process if None.

    Returns:
        The exit status: 0, 1 if the result is not all right, 2 for bad input.
    """
    open_standard_files()
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)  # compilers log each of their calls as information
    logging.basicConfig(format="%(levelname)s: %(message)s", handlers=[handler])
    try:
        options = parser().parse_args(arguments)
        options.called = arguments is not None
        status = int(options.run(options))
        sys.stdout.flush()
        return status
    except InputError as error:
        complain_once(str(error))
        return 2
    except BrokenPipeError:  # the program that read the output has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # such as a full disk; no file is left half written
        complain(str(error))
        return 1
    except MemoryError as error:
        complain(f"not enough memory: {error}")
        return 1
    except KeyboardInterrupt:
        complain("interrupted; what was finished is kept (train goes on with --resume)")
        return 130
