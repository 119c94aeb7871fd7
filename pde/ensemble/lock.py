"""The lock of a folder that one run at a time may write, and the run's heartbeats there.

The lock is the system's own (``flock``), which ends with the process that holds it: a killed
process never blocks another. Not every file system shares locks between hosts, so the holder also
counts its heartbeats in ``progress.json``; a run on another host waits to see whether the count
grows. Wall-clock time is not used: it may jump, and differs between hosts.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surrogates.errors import InputError
from surrogates.folders import Folder

BEAT_SECONDS = 2.0
_PATIENCE = 3.0  # seconds that a holder may take to end


class Lock:
    """The lock of a folder, held from construction to `release` or the end of the process."""

    def __init__(self, folder: Folder) -> None:
        """Take the lock.

        Raises:
            InputError: If another run has it.
            FileNotFoundError: If the run that had it has ended, and removed the folder.
        """
        self.folder = folder
        self._beat = 0
        self._about = {"host": platform.node(), "boot": _boot(), "pid": os.getpid()}
        self._file: int | None = None
        stop = time.monotonic() + _PATIENCE
        while not self._take():
            if time.monotonic() > stop:
                raise InputError(_refusal(folder))
            time.sleep(0.1)
        if beating(folder):
            self.release()
            raise InputError(_refusal(folder))

    def _take(self) -> bool:
        self._file = self.folder.open("lock", os.O_RDWR | os.O_CREAT)
        # A run that ends removes the lock: the file that we have locked may be gone.
        there = self.folder.stat("lock")
        same = there is not None and os.path.samestat(os.fstat(self._file), there)
        if same and _flock(self._file, fcntl.LOCK_EX) is not False:
            return True
        self.release()
        return False

    def beat(self, state: Mapping[str, Any], *, ended: bool = False) -> None:
        """Write the run's progress; ignore errors."""
        self._beat += 1
        record = {**self._about, **state, "beat": self._beat, "ended": ended}
        with (
            contextlib.suppress(OSError),
            self.folder.replacing("progress.json", sync=False) as new,
        ):
            os.write(new, json.dumps(record).encode())

    def release(self) -> None:
        """Let go."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def progress(folder: Folder) -> dict[str, Any]:
    """Read the progress of the last run in a folder; empty if there is none."""
    try:
        with folder.reading("progress.json") as file:
            record = json.load(file)
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def held(folder: Folder) -> bool:
    """Return whether a run is active in a folder; takes some seconds if it is another host's."""
    return _looked(folder) is False or beating(folder)


def beating(folder: Folder) -> bool:
    """Return whether a run of another host, or of any host without locks, is active."""
    before = progress(folder)
    if not before or before.get("ended"):
        return False
    if before.get("boot") == _boot() and _looked(folder) is not None:
        return False  # a holder on this host would have the lock
    stop = time.monotonic() + 3 * BEAT_SECONDS
    while time.monotonic() < stop:
        time.sleep(BEAT_SECONDS / 10)
        now = progress(folder)
        if now and now != before:
            return not now.get("ended")
    return False


def _looked(folder: Folder) -> bool | None:
    """Return whether the lock is free; None if there is no lock, or locks do not work here."""
    try:
        file = folder.open("lock")
    except OSError:
        return None
    try:
        return _flock(file, fcntl.LOCK_SH)
    finally:
        os.close(file)


def _flock(file: int, kind: int) -> bool | None:
    """Take a lock: False if another has it, None if the file system has no locks."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _refusal(folder: Folder) -> str:
    about = progress(folder)
    who = f" (process {about['pid']} on {about['host']})" if about else ""
    return f"another run{who} is writing {folder.path}; wait for its end, or give another --out"


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()
