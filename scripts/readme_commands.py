"""Run the README's commands as they are printed, to show that they do.

    python scripts/readme_commands.py FOLDER [--section "Use 1" ...] [--without "samples 10000" ...]

Each indented block of a section is one shell script, run in FOLDER, in the README's order: later
ones use the files of earlier ones. A block that begins with `# NAME.py` becomes that file. One
whose first command is not installed (sbatch) is skipped. What they print goes to
FOLDER/commands.log; a line for each block says how long it took. The exit status is 1 when one
failed. Everything takes an hour on 2 cores, most of it for the blocks with "samples 10000" and with
"delayed_acceptance".
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECTIONS = ("Use 1", "Use 2", "Use 3")


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Heading of the section and text of each indented block, in order."""
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading = section.partition("\n")[0]
        for block in re.findall(r"(?<=\n\n)((?:    .*\n|\n(?=    ))+)", section):
            yield heading, textwrap.dedent(block)


def run(block: str, folder: Path, timeout: float) -> int:
    """Exit status of a block as a shell script, whose processes have ended with it."""
    script = f'. "{ROOT}/scripts/mpi.sh"\n{block}'
    with (folder / "commands.log").open("a") as log:
        print(f"\n{block}", file=log, flush=True)
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
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()


def main() -> int:
    """Run the blocks; one line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--section", nargs="+", default=SECTIONS, help="how its heading begins")
    parser.add_argument("--without", nargs="+", default=(), help="leave out blocks with this text")
    parser.add_argument("--timeout", type=float, default=3600.0, help="of a block, in seconds")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    scripts = args.folder / "scripts"
    if not scripts.exists():
        scripts.symlink_to(ROOT / "scripts")
    chosen = [
        (heading, block)
        for heading, block in blocks((ROOT / "README.md").read_text())
        if heading.startswith(tuple(args.section)) and not any(t in block for t in args.without)
    ]
    if not chosen:
        parser.error(f"README.md has no such block in {', '.join(args.section)}")
    failed = 0
    for heading, block in chosen:
        first = block.partition("\n")[0]
        if name := re.fullmatch(r"# (\w+\.py)", first):
            (args.folder / name[1]).write_text(block)
            said = "written"
        elif shutil.which(first.split()[0]) is None:
            said = f"skipped: no {first.split()[0]} here"
        else:
            start = time.monotonic()
            status = run(block, args.folder, args.timeout)
            said = f"{time.monotonic() - start:.1f} s" + (f", FAILED ({status})" if status else "")
            failed += status != 0
        print(f"{said:>8}  {heading}: {first}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
