"""Run commands in processes of their own, under mpirun or alone."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from waiting import SECONDS

from surrogates.data import read_info
from surrogates.folders import Folder
from surrogates.pde.ensemble.journal import Journal

SETTINGS = ("mesh.cells=[4,4]", "mesh.degree=2", "time.steps=15", "solver.batch=5")
SMALL = tuple(word for setting in SETTINGS for word in ("--set", setting))


def command(ranks: int, *words: str, program: tuple[str, ...] = ("-m", "surrogates")) -> list[str]:
    run = [sys.executable, *program, *words]
    return run if ranks == 1 else ["mpirun", "--oversubscribe", "-n", str(ranks), *run]


class Run:
    """A command at work, whose processes can be told apart.

    Attributes:
        process: The one started: mpirun, or the command itself.
        stdout: What it has said, once it has ended.
        stderr: The same.
    """

    def __init__(
        self,
        ranks: int,
        *words: str,
        more: dict[str, str] | None = None,
        program: tuple[str, ...] = ("-m", "surrogates"),
    ) -> None:
        self.process = subprocess.Popen(
            command(ranks, *words, program=program),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(more or {})},
        )
        self.stdout = self.stderr = ""

    def processes(self) -> dict[int, int]:
        """All that it consists of, with their parents: mpirun, the ranks, and what these start."""
        parents = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has just ended
                parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        found = {self.process.pid: 0}
        for one in (queue := [self.process.pid]):
            below = {pid: parent for pid, parent in parents.items() if parent == one}
            found |= below
            queue += below
        return found

    def ranks(self) -> list[int]:
        """The ranks' processes, rank 0 first: the first of this program, from the top."""
        found, below = [], set()
        for pid, parent in self.processes().items():
            if parent in below:
                below.add(pid)
                continue
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if words[0] == sys.executable.encode():
                    found.append(pid)
                    below.add(pid)
        return sorted(found)

    def solvers(self) -> list[int]:
        """The processes in which the ranks solve: their children's children's children."""
        parents, ranks = self.processes(), self.ranks()
        return [
            pid for pid, parent in parents.items() if parents.get(parents.get(parent, 0)) in ranks
        ]

    def kill(self) -> None:
        """End all of it at once."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._read()

    def end(self, expect: int | None = None) -> str:
        """Wait for its end, with that exit status if one is given; give what it has complained."""
        try:
            self._read()
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        if expect is not None:
            assert self.process.returncode == expect, f"{self.stdout}\n{self.stderr}"
            assert "Traceback" not in self.stderr
        return self.stderr

    def _read(self) -> None:
        out, errors = self.process.communicate(timeout=SECONDS)
        # Open MPI 5 at times puts a null byte before the lines of a rank that calls MPI_Abort.
        self.stdout, self.stderr = out.replace("\0", ""), errors.replace("\0", "")


def run(ranks: int, *words: str, expect: int = 0, **how) -> Run:
    done = Run(ranks, *words, **how)
    done.end(expect)
    return done


def saved(out: Path) -> int:
    """Samples that a run has finished and not yet put into the dataset."""
    folder = out.with_name(f"{out.name}.parts")
    journal = Journal(Folder.there(folder), read_info(folder / "description.h5")[0])
    return sum(block.count for block in journal.all_blocks() if journal.read(block) is not None)
