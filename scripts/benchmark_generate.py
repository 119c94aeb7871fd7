"""Measure `surrogates generate`: its overhead, its files, and the gain of two processes.

    python scripts/benchmark_generate.py scheduler [--ranks 64]
    python scripts/benchmark_generate.py storage [--samples 1000000] [--folder FOLDER]
    python scripts/benchmark_generate.py efficiency [--cdr 3000] [--dcr 300] [--repeats 5]

All figures are measured on the commands that users run, in a temporary folder inside ``--folder``.

scheduler: the time of a sample beyond its share of the solves, for a problem that costs nothing
(`synthetic.py`), with one rank and with more ranks than cores.

storage: a million samples of 882 outputs of the same problem are generated, stopped near the end,
continued, verified and described. It prints the time, the rate beside the disk's own, memory, the
bytes beyond the samples' numbers, and the bytes that a continued run reads again. Files are read
from the disk, not from memory. A sample takes 15 KB of disk.

efficiency: samples a second of one process, of two under mpirun with twice the samples, and of two
independent ones, in turn. The last is the machine's limit.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from surrogates.config import check
from surrogates.errors import InputError

ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
STOPPED = 75  # exit status of a stopped run
SYNTHETIC = "synthetic.py:Synthetic"
N_IN, N_OUT = 3, 882
SAMPLE_BYTES = 8 * (N_IN + N_OUT) + 24  # Y, C, and three numbers on the solve
CASES = (  # samples of a batch, seconds that one sleeps, samples alone and on many ranks
    (40, 0.0, 100_000, 100_000),
    (1, 0.001, 5_000, 50_000),
    (1, 0.25, 40, 2_560),
)
DISK_BYTES = 2 << 30
LIMIT = 7200.0


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A command that has ended.

    Attributes:
        output: Its output.
        seconds: Wall time.
        peak: Largest resident set of one of its processes, bytes.
        read: Bytes that its processes have read from files, whether from the disk or from memory.
    """

    output: str
    seconds: float
    peak: int
    read: int

    @property
    def solving(self) -> tuple[int, float]:
        """Return the samples solved and seconds taken, as `surrogates generate` prints them."""
        solved, seconds = self.numbers(r"(\d+) solved now on \d+ process.* in ([\d.]+) s")
        return int(solved), seconds

    def numbers(self, pattern: str) -> list[float]:
        """Return the numbers in its output that match the groups of a pattern."""
        found = re.search(pattern, self.output)
        if found is None:
            raise InputError(f"expected {pattern!r}; got {self.output.strip()}")
        return [float(number) for number in found.groups()]


def main() -> int:
    """Print the requested sections."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sections = {"scheduler": scheduler, "storage": storage, "efficiency": efficiency}
    parser.add_argument("sections", nargs="+", choices=sections)
    parser.add_argument("--ranks", type=int, default=64, metavar="R", help="default 64")
    parser.add_argument("--samples", type=int, default=1_000_000, metavar="N", help="of storage")
    parser.add_argument("--cdr", type=int, default=3000, metavar="N", help="of efficiency")
    parser.add_argument("--dcr", type=int, default=300, metavar="N", help="of efficiency")
    parser.add_argument("--repeats", type=int, default=5, metavar="K", help="default 5")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    try:
        check(options.ranks >= 2, f"ranks must be at least 2; got {options.ranks}")
        check(options.repeats >= 1, f"repeats must be at least 1; got {options.repeats}")
        check(
            options.samples >= 50_000,
            f"samples must be at least 50000, to stop before the end; got {options.samples}",
        )
        for name in options.sections:
            print(name, flush=True)
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                shutil.copy(Path(__file__).with_name("synthetic.py"), folder)
                sections[name](Path(folder), options)
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(
    folder: Path, *words: str, ranks: int = 1, stop: Callable[[], bool] | None = None
) -> Finished:
    """Run a command of `surrogates` to its end.

    Args:
        folder: The working folder.
        words: The command.
        ranks: Number of processes; more than one run under mpirun.
        stop: Called repeatedly; once it returns true, the command is asked to stop, by SIGUSR1.

    Raises:
        InputError: If it fails, or does not stop when it is asked to.
    """
    command = [sys.executable, "-m", "surrogates", *words]
    if ranks > 1:
        command = ["mpirun", "-n", str(ranks), *command]
    expected, start = 0, time.perf_counter()
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(
            command, cwd=folder, env=ENVIRONMENT, stdout=printed, stderr=subprocess.STDOUT
        )
        kind = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while os.waitid(os.P_PID, process.pid, kind) is None:
            if time.perf_counter() - start > LIMIT:
                process.kill()
            if stop is not None and stop():
                process.send_signal(signal.SIGUSR1)
                expected, stop = STOPPED, None
            time.sleep(0.01)
        seconds = time.perf_counter() - start
        # Read before the wait: the counts include children, and vanish afterwards.
        counts = Path(f"/proc/{process.pid}/io").read_text()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        output = printed.read()
    if process.returncode != expected:
        raise InputError(
            f"{' '.join(words)}: exit status {process.returncode} and not {expected}: {output}"
        )
    return Finished(
        output=output,
        seconds=seconds,
        peak=usage.ru_maxrss * 1024,
        read=int(counts.split("rchar: ")[1].split()[0]),
    )


def scheduler(folder: Path, options: argparse.Namespace) -> None:
    """Print the time of a sample beyond its share of the solves."""
    print("  ranks  batch  asleep, ms  samples  solving, s  ideal, s  overhead, ms a sample")
    for batch, delay, alone, many in CASES:
        for ranks, samples in ((1, alone), (options.ranks, many)):
            words = ["generate", SYNTHETIC, "--samples", str(samples), "--out", "a.h5"]
            words += ["--set", f"batch={batch}", "--set", f"delay={delay}"]
            _, seconds = run(folder, *words, ranks=ranks).solving
            (folder / "a.h5").unlink()
            ideal = samples * delay / ranks
            print(
                f"  {ranks:5}{batch:7}{1e3 * delay:12g}{samples:9}{seconds:12.1f}{ideal:10.1f}"
                f"{1e3 * (seconds - ideal) / samples:23.3f}",
                flush=True,
            )


def storage(folder: Path, options: argparse.Namespace) -> None:
    """Print time, rates, memory and bytes of a large set, for each command on it."""
    n, out, parts = options.samples, folder / "a.h5", folder / "a.h5.parts"
    size = n * SAMPLE_BYTES
    needed, free = 2.1 * size + DISK_BYTES, shutil.disk_usage(folder).free
    check(free >= needed, f"{free / 1e9:.1f} GB are free; {needed / 1e9:.1f} GB are needed")
    writing, reading = disk_rates(folder / "disk")
    print(f"  the disk: {writing:.0f} MB/s written and synced, {reading:.0f} MB/s read")
    words = ("generate", SYNTHETIC, "--samples", str(n), "--out", "a.h5")
    begun = run(folder, *words, stop=lambda: written(parts) > 0.9 * size)
    show("generate, stopped by SIGUSR1", begun, written(parts))
    done = int(begun.numbers(r"stopped with (\d+) of")[0])
    extra = sum(path.stat().st_size for path in parts.iterdir()) - done * SAMPLE_BYTES
    print(f"    {done} samples done; beside their numbers {extra / done:.2f} MB a million")
    looking = looked(folder, parts, words)
    print(f"    {looking:.1f} s until samples are handed out")
    forget(parts)
    rest = run(folder, *words)
    show("the same to the end", rest, 0)
    solved, seconds = rest.solving
    assembling = rest.seconds - looking - seconds
    print(
        f"    {solved} samples solved in {seconds:.1f} s, the file assembled in "
        f"{assembling:.1f} s, {size / assembling / 1e6:.0f} MB/s"
    )
    extra = out.stat().st_size - size
    print(f"    beside Y, C and solver the file has {extra / n:.2f} MB a million samples")
    for step, command, moved in (
        ("generate, when it is finished", words, 0),
        ("verify", ("verify", "a.h5"), size),
        ("info", ("info", "a.h5"), size),
    ):
        forget(folder)
        show(step, run(folder, *command), moved)


def show(step: str, done: Finished, moved: float) -> None:
    """Print time, rate, memory and bytes of a command that has moved so many bytes; 0 for none."""
    rate = f"{moved / done.seconds / 1e6:8.0f} MB/s" if moved else 13 * " "
    print(
        f"  {step:42}{done.seconds:8.1f} s{rate}{done.peak / 2**20:8.0f} MiB"
        f"{done.read / 1e6:9.0f} MB read",
        flush=True,
    )


def written(parts: Path) -> int:
    """Return the bytes of the samples that a run has written so far."""
    held = 0
    for path in parts.glob("shard-*"):
        with contextlib.suppress(FileNotFoundError):  # renamed since
            held += path.stat().st_size
    return held


def looked(folder: Path, parts: Path, words: Sequence[str]) -> float:
    """Continue a run, stop it at once, and return the seconds until it hands out samples."""
    before = (parts / "progress.json").stat().st_mtime_ns
    opened: list[float] = []

    def ready() -> bool:
        """Tell whether samples are handed out, by the first sign of life of a run."""
        if (parts / "progress.json").stat().st_mtime_ns != before:
            opened.append(time.perf_counter())
        return bool(opened)

    forget(parts)
    start = time.perf_counter()
    again = run(folder, *words, stop=ready)
    show("the same, stopped at once", again, 0)
    return opened[0] - start


def disk_rates(path: Path) -> tuple[float, float]:
    """Return the rates in MB/s of writing and syncing a file, and of reading it."""
    piece = os.urandom(8 << 20)
    start = time.perf_counter()
    with open(path, "wb") as file:
        for _ in range(DISK_BYTES // len(piece)):
            file.write(piece)
        os.fsync(file.fileno())
    writing = time.perf_counter() - start
    forget(path.parent)
    start = time.perf_counter()
    with open(path, "rb", buffering=0) as file:
        while file.read(len(piece)):
            pass
    reading = time.perf_counter() - start
    path.unlink()
    return DISK_BYTES / writing / 1e6, DISK_BYTES / reading / 1e6


def forget(folder: Path) -> None:
    """Drop the system's copies of a folder's files in memory."""
    for path in filter(Path.is_file, folder.iterdir()):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def efficiency(folder: Path, options: argparse.Namespace) -> None:
    """Print samples a second of one process and of two, and the limit of the machine."""

    def rate(problem: str, samples: int, ranks: int, seed: int) -> float:
        out = folder / f"{seed}.h5"
        words = ("generate", problem, "--samples", str(samples * ranks), "--seed", str(seed))
        solved, seconds = run(folder, *words, "--out", out.name, ranks=ranks).solving
        out.unlink()
        return solved / seconds

    for problem in ("cdr", "dcr"):
        samples = getattr(options, problem)
        found: dict[str, list[float]] = {"one": [], "two": [], "apart": []}
        rate(problem, 1, 1, 0)  # compiles the forms
        for _ in range(options.repeats):
            found["one"].append(rate(problem, samples, 1, 0))
            found["two"].append(rate(problem, samples, 2, 0))
            with ThreadPoolExecutor(2) as pool:
                both = [pool.submit(rate, problem, samples, 1, seed) for seed in (0, 1)]
                found["apart"].append(sum(future.result() for future in both))
        one, two, apart = (statistics.median(values) for values in found.values())
        print(
            f"  {problem}: {one:.4g} samples a second on one process, {two:.4g} on two, "
            f"{apart:.4g} on two apart (medians of {options.repeats})\n"
            f"    parallel efficiency {50 * two / one:.1f} %, where two apart have "
            f"{50 * apart / one:.1f} %"
        )
        for name, values in found.items():
            print(f"    {name:6}" + "".join(f"{value:9.4g}" for value in values), flush=True)


if __name__ == "__main__":
    sys.exit(main())
