"""The folder ``<out>.learn``: what a run has decided and made, for the run that goes on.

Each file in it is whole or absent, and each is made from others and from one decision: the number
of samples of a batch, and the level of the look at it. A decision is written before its batch is
solved for. A run that goes on reads the decisions in their order, and makes what is missing; so a
kill at any moment changes no number of the result.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from surrogates.config import check
from surrogates.errors import InputError
from surrogates.folders import Folder

SETTINGS, DECISIONS, CLOCK = "settings.json", "decisions.json", "clock.json"


class State:
    """The state of a run, whose lock this object holds until `close`.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Open or make the folder.

        Args:
            path: The folder.
            settings: What all numbers depend on; a run with others is refused.

        Raises:
            InputError: If another run is at work, or the folder is of other settings.
        """
        from surrogates.pde.ensemble.lock import Lock

        path.mkdir(exist_ok=True)
        self.path, self._folder = path, Folder.made(path / "state")
        try:
            self._lock = Lock(self._folder)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        self._begun = time.monotonic()
        try:
            self._before = float(self._read(CLOCK, 0.0))
            there = self._read(SETTINGS, None)
            if there is None:
                self._write(SETTINGS, dict(settings))
            else:
                _check_same(path, there, settings)
            self._decisions: list[dict[str, Any]] = self._read(DECISIONS, [])
        except BaseException:
            self._lock.release()
            raise
        self._next = 0

    @property
    def replaying(self) -> bool:
        """Whether decisions of earlier runs are left to follow."""
        return self._next < len(self._decisions)

    def decided(self, kinds: str, decide: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Return the next decision: that of an earlier run, or a new one, which is written.

        Args:
            kinds: Kinds that may come here, separated by spaces.
            decide: Makes it, with its ``kind``; called only if there is none.
        """
        if not self.replaying:
            self._decisions.append(dict(decide()))
            self._write(DECISIONS, self._decisions)
        found = self._decisions[self._next]
        check(
            found.get("kind") in kinds.split(),
            f"{self.path / DECISIONS} is damaged: its decision {self._next} is none of: {kinds}",
        )
        self._next += 1
        return found

    def hours(self) -> float:
        """Return the hours of this and earlier runs, and write them for later ones."""
        seconds = self._before + time.monotonic() - self._begun
        self._write(CLOCK, seconds)
        return seconds / 3600

    def close(self) -> None:
        """Let go of the lock."""
        with contextlib.suppress(OSError):
            self.hours()
        self._lock.release()

    def _read(self, name: str, absent: Any) -> Any:
        if self._folder.stat(name) is None:
            return absent
        try:
            with self._folder.reading(name) as file:
                return json.load(file)
        except ValueError:
            raise InputError(
                f"{self._folder.path / name} is damaged; remove {self.path} to begin again"
            ) from None

    def _write(self, name: str, content: Any) -> None:
        with self._folder.replacing(name) as new:
            os.write(new, json.dumps(content, indent=1).encode())


def _check_same(path: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Refuse to go on with other settings."""
    for name in sorted({*there, *here}):
        old, new = there.get(name), here.get(name)
        if old != new:
            was = f": {name} is {str(old)[:60]!r} there and {str(new)[:60]!r} here"
            if name == "config":
                from surrogates.config import differences

                was = f": {'; '.join(differences(old or '', new or '')[:1])}"
            raise InputError(
                f"{path} is of a run with other settings{was}; go on with those, give another "
                "--out, or remove the folder"
            )
