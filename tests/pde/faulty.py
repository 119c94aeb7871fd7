"""A cheap problem of a user's, whose solves fail as the environment says, at the samples it names.

The dataset is the same with and without the fault.
"""

import contextlib
import signal
from pathlib import Path

import numpy as np
from runs import Run
from waiting import until

from surrogates.data import Dataset, Status
from surrogates.pde.sampling import draw

N = 40
TOY = """
import ctypes, os, signal, sys, time
from dataclasses import dataclass
import numpy as np
from surrogates.pde import Problem, Settings, Solution

WHAT, AT = os.environ.get("FAULT"), [float(x) for x in os.environ.get("AT", "").split()]
PACE = float(os.environ.get("PACE", "0"))  # seconds of a solve

def swallow():
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass

def linger():  # with a child that keeps all pipes open
    if os.fork():
        os._exit(7)
    time.sleep(600)

def limitless():  # and takes every signal that could end it
    for kind in (signal.SIGALRM, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
        signal.signal(kind, signal.SIG_IGN)
    swallow()

def change():  # what all later samples, and the run itself, would have to do with
    os.umask(0o777)
    os.environ.clear()
    os.closerange(0, 3)
    for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(kind, signal.SIG_DFL)
    os.chdir("/")

def interrupt():
    raise KeyboardInterrupt

def leave():
    raise GeneratorExit

def fail():
    raise ArithmeticError("no root")

def sleep():
    open(os.environ.get("ASLEEP", os.devnull), "a").close()
    time.sleep(600)

FAULTS = {
    "copy": lambda: ctypes.CDLL(None).fork() and 0,  # both processes go on
    "shut": lambda: os.closerange(3, 4096),  # MPI's files, and the socket for the answer
    "orphan": lambda: (os.kill(os.getppid(), signal.SIGKILL), time.sleep(600)),
    "greedy": lambda: np.zeros(10**15),
    "interrupt": interrupt,
    "leave": leave,
    "change": change,
    "raise": fail,
    "nan": lambda: np.nan,
    "sleep": sleep,
    "wait": lambda: time.sleep(3),
    "swallow": swallow,
    "hang": lambda: ctypes.PyDLL(None).pause(),  # with the interpreter's lock held
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "abort": os.abort,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda: sys.exit(0),
    "end": lambda: os._exit(0),
    "linger": linger,
    "limitless": limitless,
}

class Toy(Problem):
    y_names, y_lower, y_upper = ("a", "b"), 0.0, 1.0
    c_names = [f"c{i}" for i in range(7)]

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        failing: float = 0.0

    def solve(self, y):
        time.sleep(PACE)
        if y[1] < self.config.failing:
            raise ArithmeticError(f"b is {y[1]:.17g}")
        more = 0.0
        if y[0] in AT and self.comm.rank == int(os.environ.get("ON", "0")):
            more = FAULTS[WHAT]() or 0.0
        self.comm.Barrier()
        c = np.sin(np.arange(7) * y[0] + y[1]) + more
        return Solution(c, residual=1e-9 * y[0], iterations=int(100 * y[1]))
"""


class Site:
    """A problem, and a folder where its dataset is made."""

    def __init__(self, folder: Path) -> None:
        (folder / "toy.py").write_text(TOY)
        self.problem: tuple[str, ...] = (f"{folder / 'toy.py'}:Toy",)
        self.runs: list[Run] = []
        self.move(folder)

    def move(self, folder: Path) -> None:
        """Make the dataset in another folder."""
        self.out = folder / "toy.h5"
        self.parts = folder / "toy.h5.parts"

    def start(self, ranks: int = 1, *words: str, samples: int = N, **more: str) -> Run:
        base = ("generate", *self.problem, "--out", str(self.out), "--samples", str(samples))
        self.runs.append(Run(ranks, *base, *words, more=more))
        return self.runs[-1]

    def run(self, ranks: int = 1, *words: str, expect: int = 0, **how) -> Run:
        run = self.start(ranks, *words, **how)
        run.end(expect)
        return run

    def command(self, *words: str, expect: int = 0) -> str:
        """Another command on the dataset, or what there is of it; what it has said."""
        self.runs.append(Run(1, *words))
        self.runs[-1].end(expect)
        return self.runs[-1].stdout + self.runs[-1].stderr

    def saved(self) -> int:
        """Bytes of finished samples."""
        size = 0
        for path in self.parts.glob("shard-*"):
            with contextlib.suppress(FileNotFoundError):  # it was renamed meanwhile
                size += path.stat().st_size
        return size

    def stopped(self, *words: str, samples: int = N) -> None:
        """Begin the dataset, and leave it unfinished."""
        run = self.start(1, *words, samples=samples, PACE="0.1")
        until(lambda: self.saved() > 1000, run.process)
        run.process.send_signal(signal.SIGUSR1)
        run.end(75)

    def dataset(self) -> Dataset:
        assert not self.parts.exists()
        assert {path.name for path in self.out.parent.glob("*toy*")} <= {"toy.py", "toy.h5"}
        return Dataset.read(self.out)


def y(*numbers: int, samples: int = N) -> str:
    """The first parameter of some samples, as the problem is told where to fail."""
    Y = draw("box", np.zeros(2), np.ones(2), total=samples, seed=0, start=0, stop=samples)
    return " ".join(repr(float(Y[k, 0])) for k in numbers)


def same(a: Dataset, b: Dataset) -> None:
    """All but the times are equal, bit for bit."""
    assert a.digest == b.digest
    assert a.failure == b.failure
    for name in ("residual", "iterations"):
        assert a.solver[name].tobytes() == b.solver[name].tobytes()


def failed(site: Site, whole: Dataset, numbers: list[int], reason: str) -> None:
    """These samples failed for this reason, and the others are what they should be."""
    dataset = site.dataset()
    bad = np.isin(np.arange(len(dataset.Y)), numbers)
    assert [dataset.failure[k] for k in numbers] == [reason] * len(numbers)
    assert ((dataset.status == Status.FAILED) == bad).all()
    assert np.isnan(dataset.C[bad]).all()
    assert np.array_equal(dataset.C[~bad], whole.C[~bad])


def undisturbed(site: Site, folder: Path, *words: str, samples: int) -> Dataset:
    """The same dataset, made by one process without any fault."""
    folder.mkdir()
    other = Site(folder)
    other.problem = site.problem
    other.run(1, *words, samples=samples, expect=None)
    return other.dataset()


CRASHED = "the solver crashed: Segmentation fault"
