"""Run the command ``surrogates generate`` under mpirun, and follow it from this process."""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import surrogates
from surrogates.errors import InputError
from surrogates.progress import Told, bar_of

_LAUNCHERS = ("mpirun", "mpiexec")
_PROGRESS = re.compile(r"(\d+) of (\d+) samples(.*), about \d+ s left")
_SAMPLES_FAILED = 1  # exit status of a run that is whole but for failed samples

_log = logging.getLogger(__name__)


def launch(words: Sequence[str], processes: int, progress: bool | Told, launcher: str = "") -> None:
    """Run the command in one process or several, and wait for its end.

    Args:
        words: The command line after ``surrogates``.
        processes: Number of processes.
        progress: As for `surrogates.generate`.
        launcher: Words before ``-n PROCESSES``, such as ``srun --exact``; mpirun if empty, and none
            for one process.

    Raises:
        InputError: If there is no mpirun, or the command fails; the message has its reason.
        KeyboardInterrupt: At an interrupt, once the samples at work are finished and saved.
    """
    started = _started(processes, launcher)
    command = [*started, sys.executable, "-m", "surrogates", *words]
    here = str(Path(surrogates.__file__).resolve().parents[1])
    path = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    # Python's copy of the environment lacks the variables that MPI in this process has added.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # only this process gets a notebook's interrupt, and passes it on
    )
    try:
        said = _followed(process, progress)
    except KeyboardInterrupt:
        process.send_signal(signal.SIGUSR1)  # which Open MPI passes on, unlike the others
        process.wait()
        raise
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        assert process.stderr is not None
        process.stderr.close()
    status = process.returncode
    if status != 0 and not (status == _SAMPLES_FAILED and " samples failed " in said):
        raise InputError(said or f"{command[0]} ended with status {status}")


def _started(processes: int, launcher: str) -> list[str]:
    """Return the words that start processes; errors are those of `launch`."""
    given = shlex.split(launcher)
    if not given and processes == 1:
        return []
    found = next(filter(None, map(shutil.which, given[:1] or _LAUNCHERS)), None)
    if found is None:
        raise InputError(
            f"there is no {given[0] if given else ' or '.join(_LAUNCHERS)} to start {processes} "
            "processes: install MPI's launcher, or leave processes out to solve in this process"
        )
    return [found, *given[1:], "-n", str(processes)]


def _followed(process: subprocess.Popen[str], progress: bool | Told) -> str:
    """Show the progress and log the warnings of a command; return its error, or its last line."""
    bars = bar_of(progress)
    bar = None if bars is None else bars("samples")
    error = last = ""
    assert process.stderr is not None
    try:
        for line in process.stderr:
            text = line.strip()
            if found := _PROGRESS.fullmatch(text):
                if bar is not None:
                    bar.update(int(found[1]), int(found[2]), found[3])
            elif text.startswith("warning: "):
                _log.warning(text.removeprefix("warning: "))
            elif text.startswith("error: "):
                error = error or text.removeprefix("error: ")
            elif text.strip("-"):
                last = text
        process.wait()
    finally:
        if bar is not None:
            bar.close()
    return error or last
