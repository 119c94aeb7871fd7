"""Run the commands and Python blocks of README.md and docs/ as they are printed.

    python scripts/readme_commands.py FOLDER [--quick] [--without KIND ...] [--page NAME ...]

Blocks run in FOLDER, page by page, in the order of the site's table of contents: later ones use the
files of earlier ones. If a page that is named uses a dataset or surrogate that is not in FOLDER,
the earlier page that makes it runs first. A block of `bash` is one shell script. The `python`
blocks of a page run one after the other in one process, like the cells of a notebook. A block of
any language whose first line is `# NAME.EXT` is written to that file instead. Blocks of other
languages are only shown.

A comment before a block says why it may be left out:

    <!-- run: time: ten thousand solves take six minutes -->    (or, in docs/, `% run: ...`)

    mpi       needs mpirun and FEniCSx; left out if these are not installed
    fenicsx   needs FEniCSx; left out if it is not installed
    time      takes minutes or needs files of such a block; left out with --quick, or --without time
    machine   needs another machine; never run
    adapters  needs the package that it names; scripts/adapters.py runs it
    show      is not a program, such as a method's signature; never run

The blocks' output goes to FOLDER/commands.log; one line for each block shows its time. The exit
status is 1 if one failed. Without --quick everything takes over an hour on 2 cores.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("mpi", "fenicsx", "time", "machine", "adapters", "show")
BLOCK = re.compile(
    r"^(?:(?:<!--|%) run: (?P<kind>\w+): (?P<reason>[^\n]*?)(?: -->)?\n+)?"
    r"(?P<indent> *)```(?P<language>\w+)\n(?P<text>.*?)^(?P=indent)```$",
    flags=re.MULTILINE | re.DOTALL,
)
FILE = r"[\w-]+\.(?:h5|pt|npz)"
USED = re.compile(rf"(?<![\w./-]){FILE}\b")
MADE = re.compile(rf"(?:--out[ =]|\bout=[\"']|\.save\([\"']|savez\([\"'])({FILE})")
NOTEBOOK = """
import json, sys, traceback
answers, sys.stdout, names = sys.stdout, sys.stderr, {"__name__": "__main__"}
for line in sys.stdin:
    try:
        exec(compile(json.loads(line), "the block", "exec"), names)
        failed = False
    except BaseException:
        traceback.print_exc()
        failed = True
    sys.stderr.flush()
    print(int(failed), file=answers, flush=True)
"""


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes:
        page: The page's name, such as ``docs/train``.
        language: The fence's language.
        text: The block's text.
        kind: Why it may be left out, one of `KINDS`; empty for no reason.
        reason: The comment's text on it.
    """

    page: str
    language: str
    text: str
    kind: str = ""
    reason: str = ""

    @property
    def first(self) -> str:
        """The first line."""
        return self.text.partition("\n")[0]

    @property
    def file(self) -> str:
        """The file that the block is written to; empty for none."""
        name = re.fullmatch(r"# ([\w-]+\.\w+)", self.first)
        return name[1] if name else ""


def blocks(page: str, text: str) -> Iterator[Block]:
    """Yield the blocks of a page that are run or written, in order.

    Raises:
        ValueError: If a comment names no known reason, or stands before nothing.
    """
    found = 0
    for match in BLOCK.finditer(text):
        kind = match["kind"] or ""
        if kind and kind not in KINDS:
            raise ValueError(f"{page}: '{kind}' is not one of {', '.join(KINDS)}")
        found += bool(kind)
        block = Block(
            page, match["language"], textwrap.dedent(match["text"]), kind, match["reason"] or ""
        )
        if block.file or block.language in ("bash", "python"):
            yield block
    if found != len(re.findall(r"^(?:<!--|%) run: ", text, flags=re.MULTILINE)):
        raise ValueError(f"{page}: a comment 'run: ...' does not stand right before a block")


def pages() -> list[str]:
    """List the pages, in the order of the site's table of contents, the README first."""
    return ["README", *_listed("docs/index")]


def _listed(page: str) -> Iterator[str]:
    """Yield the pages in a page's table of contents, and in these pages' own."""
    text = (ROOT / f"{page}.md").read_text()
    for tree in re.findall(r"```\{toctree\}\n(.*?)```", text, flags=re.DOTALL):
        for line in tree.splitlines():
            name = f"{page.rpartition('/')[0]}/{line}"
            if (ROOT / f"{name}.md").is_file():
                yield name
                yield from _listed(name)


def with_makers(named: Sequence[str], folder: Path, without: Sequence[str]) -> dict[str, str]:
    """Return pages to run, in the site's order, each with the reason why it runs too, or none.

    Args:
        named: Pages that are wanted.
        folder: Where they run.
        without: Kinds of blocks that are left out.
    """
    order = pages()
    chosen = dict.fromkeys(named, "")
    while lacks := _lacking(chosen, folder, without):
        page, name, maker = lacks
        chosen[maker] = f"{page} uses {name}"
    return {page: chosen[page] for page in order if page in chosen}


def _lacking(
    chosen: Iterable[str], folder: Path, without: Sequence[str]
) -> tuple[str, str, str] | None:
    """Return a page, a file that it uses, and the page that makes it and is not chosen."""
    makers: dict[str, str] = {}
    there = {path.name for path in folder.glob("*")}
    for page in pages():
        for block in blocks(page, (ROOT / f"{page}.md").read_text()):
            made = set(MADE.findall(block.text))
            if page in chosen and not left_out(block, without):
                for name in sorted(set(USED.findall(block.text)) - made - there):
                    if makers.get(name, page) not in chosen:
                        return page, name, makers[name]
                there |= made
            if not left_out(block, without):
                for name in made:
                    makers.setdefault(name, page)
    return None


class Notebook:
    """A Python process that runs the blocks of one page, in one namespace."""

    def __init__(self, folder: Path) -> None:
        """Start the process in a folder, with its output in the log."""
        with (folder / "commands.log").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", NOTEBOOK],
                cwd=folder,
                env={**os.environ, "MPLBACKEND": "Agg"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def run(self, text: str, timeout: float) -> int:
        """Run a block; return 0 if it succeeded, 124 if it took too long."""
        assert self._process.stdin is not None and self._process.stdout is not None
        previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, timeout)
        try:
            self._process.stdin.write(json.dumps(text) + "\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline() or 1)
        except KeyboardInterrupt:
            return 124
        except BrokenPipeError:
            return 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)

    def close(self) -> None:
        """End the process, and its children."""
        _kill(self._process)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):  # input that a dead process has not read
                pipe.close()


def run_script(text: str, folder: Path, timeout: float) -> int:
    """Run a shell script; return its exit status. Its processes have ended by then."""
    script = f'. "{ROOT}/scripts/mpi.sh"\n{text}'
    with (folder / "commands.log").open("a") as log:
        shell = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return shell.wait(timeout)
        except subprocess.TimeoutExpired:
            return 124
        finally:
            _kill(shell)


def _kill(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """Kill a process and its children, which are a session of their own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def left_out(block: Block, without: Sequence[str]) -> str:
    """Return why a block is left out here; empty if it is not."""
    lacking = block.kind in ("mpi", "fenicsx") and importlib.util.find_spec("dolfinx") is None
    lacking |= block.kind == "mpi" and shutil.which("mpirun") is None
    if block.kind in ("machine", "adapters", "show", *without) or lacking:
        return f"{block.kind}: {block.reason}"
    return ""


def run_page(chosen: list[Block], folder: Path, without: Sequence[str], timeout: float) -> int:
    """Run the blocks of a page, with one line for each; return the number that failed."""
    notebook = None
    failed = 0
    try:
        for block in chosen:
            with (folder / "commands.log").open("a") as log:
                print(f"\n== {block.page}\n{block.text}", file=log)
            if reason := left_out(block, without):
                said = f"left out ({reason})"
            elif block.file:
                (folder / block.file).write_text(block.text)
                said = "written"
            else:
                start = time.monotonic()
                if block.language == "python":
                    notebook = notebook or Notebook(folder)
                    status = notebook.run(block.text, timeout)
                else:
                    status = run_script(block.text, folder, timeout)
                said = f"{time.monotonic() - start:.1f} s"
                said += f", FAILED ({status})" if status else ""
                failed += status != 0
            print(f"{said:>8}  {block.page}: {block.first}", flush=True)
    finally:
        if notebook is not None:
            notebook.close()
    return failed


def main() -> int:
    """Run the blocks of the chosen pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--page", nargs="+", metavar="NAME", help="such as README or docs/train")
    parser.add_argument("--quick", action="store_true", help="leave out what takes minutes")
    parser.add_argument("--without", nargs="+", choices=KINDS, default=[], metavar="KIND")
    parser.add_argument("--list", action="store_true", help="list the blocks, and run none")
    parser.add_argument("--timeout", type=float, default=3600.0, help="of a block, in seconds")
    args = parser.parse_args()
    known = pages()
    if unknown := set(args.page or ()) - set(known):
        parser.error(f"no such page: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    args.folder.mkdir(parents=True, exist_ok=True)
    scripts = args.folder / "scripts"
    if not scripts.exists():
        scripts.symlink_to(ROOT / "scripts")
    without = [*args.without, *(["time"] if args.quick else [])]
    chosen = dict.fromkeys(args.page or known, "")
    if not args.list:
        chosen = with_makers(list(chosen), args.folder, without)
    failed = 0
    for page, reason in chosen.items():
        if reason:
            print(f"{page} first, as {reason}", flush=True)
        found = list(blocks(page, (ROOT / f"{page}.md").read_text()))
        if args.list:
            for block in found:
                why = f"  [{block.kind}: {block.reason}]" if block.kind else ""
                print(f"{page}: {block.language}: {block.first}{why}")
            continue
        failed += run_page(found, args.folder, without, args.timeout)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
