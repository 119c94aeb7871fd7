"""Decide whether a run continues the samples of earlier runs.

A run finds the finished dataset, the journal of a killed run, useless remains, or nothing. Rank 0
decides.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from surrogates.config import check
from surrogates.data import Info, Status, Stored, opened, read_info
from surrogates.data.ranges import runs
from surrogates.folders import TEMPORARY, Folder
from surrogates.provenance import Provenance

from ..prescribed import OPTION
from .extension import check_run
from .journal import DESCRIPTION, Journal, Writer, describe, described

# The files of a run in its folder, in the order in which they are removed. A folder without a
# description holds the remains of a kill.
LEFT = (
    DESCRIPTION,
    "shard-*.shard",
    "mark-*.txt",
    "progress.json",
    "lock",
    TEMPORARY,
)


def share(samples: int, size: int, shard: tuple[int, int]) -> range:
    """Return the samples of a shard: whole batches, for any number of processes."""
    check(1 <= shard[0] <= shard[1], f"a shard is i/n with 1 <= i <= n; got {shard}")
    n = -(-samples // size)
    first, stop = ((shard[0] - 1) * n // shard[1], shard[0] * n // shard[1])
    check(first < stop, f"shard {shard[0]}/{shard[1]} is empty: there are fewer batches")
    return range(first * size, min(stop * size, samples))


def check_same_set(path: Path, info: Info, samples: range) -> None:
    """Refuse a dataset file of another set, or of other samples of this set."""
    there, n = read_info(path)
    further = []
    if (there.first, n) != (samples.start, len(samples)):
        further = [
            f"samples are {there.first} to {there.first + n - 1} there and "
            f"{samples.start} to {samples.stop - 1} here"
        ]
    if there.total < info.total:  # a longer set may be asked for: what else is different?
        grown = info.split.startswith((f"{there.split} of ", f"{there.split} + "))
        split = there.split if grown else info.split
        alike = dataclasses.replace(info, total=there.total, split=split)
        info = alike if there.differences(alike) else info
    there.check_same(info, path, further)


def inputs_of(out: Path, folder: Path) -> list[str]:
    """Return the names of the files that the samples of an earlier run depend on."""
    names = [*read_info(out)[0].inputs] if out.is_file() else []
    with contextlib.suppress(FileNotFoundError):
        there = Folder.there(folder)
        if there.stat(DESCRIPTION) is not None:
            names += described(there).inputs
    return names


def continued(
    folder: Folder, out: Path, info: Info, allow_version_change: bool
) -> tuple[Info, int]:
    """Add this run to the makers of the existing samples.

    Returns:
        The description of the set, which is ``info`` itself if there are none, and the index of
        this run among its makers.

    Raises:
        InputError: If the samples are of another set, or of other versions of the libraries.
    """
    has_description = folder.stat(DESCRIPTION) is not None
    if not out.exists() and not Journal(folder, info).files():
        # There are no samples: start again, for example with a corrected problem file.
        if has_description and described(folder).differences(info):
            folder.remove(*folder.names("mark-*.txt"))
        folder.remove(DESCRIPTION)
        return info, 0
    if has_description:
        check_run(folder, info)
        there = described(folder)
        there.check_same(info, folder.path / DESCRIPTION)
    else:
        check(
            out.exists(),
            f"{folder.path} is in the way: its {DESCRIPTION} is missing; remove it",
        )
        # Perhaps of fewer samples, which this run adds to.
        there = dataclasses.replace(read_info(out)[0], total=info.total, split=info.split)
    this = Provenance(
        versions=info.versions, command=info.command, created=info.created, revision=info.revision
    )
    added, index = dataclasses.replace(there, first=0).with_maker(this)
    check(
        allow_version_change or index < len(there.makers),
        f"{folder.path} was begun with other versions: {_version_changes(there.makers[-1], this)}; "
        "go on with those, or with --allow-version-change",
    )
    describe(folder, added)
    return added, index


def _version_changes(before: Provenance, now: Provenance) -> str:
    """Name the versions that differ between two makers of samples."""
    old, new = (
        {**maker["versions"], "revision": maker["revision"] or "unknown"} for maker in (before, now)
    )
    return ", ".join(
        f"{name} is {old.get(name, 'absent')} there and {new.get(name, 'absent')} here"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    )


def is_complete(folder: Folder, info: Info, samples: range) -> bool:
    """Return whether a killed run left all samples; remove its files if it has no description.

    Raises:
        InputError: If it is a run for another number of samples.
    """
    if folder.stat(DESCRIPTION) is None:
        remove(folder)
        return False
    check_run(folder, info)
    return bool(covered(Journal(folder, described(folder)), samples)[0].all())


def to_keep(stored: Stored, repair: bool, retry_failed: bool) -> npt.NDArray[np.bool_]:
    """Mark the samples of a finished dataset that need not be solved for again, (n,)."""
    if repair:
        return stored.readable_rows()
    return stored.status != Status.FAILED if retry_failed else np.ones(len(stored), dtype=bool)


def copy_kept(
    out: Path, journal: Journal, samples: range, size: int, repair: bool, retry_failed: bool
) -> None:
    """Copy the kept batches of a finished dataset, which may be shorter, back into the journal."""
    writer = Writer(journal)
    with opened(out) as stored:
        n = len(stored)
        kept = to_keep(stored, repair, retry_failed)
        kept = np.repeat(np.logical_and.reduceat(kept, np.arange(0, n, size)), size)[:n]
        kept &= ~covered(journal, samples)[0][:n]
        for run in runs(kept):
            for start in range(run.start, run.stop, journal.most):
                data = stored.rows(start, min(start + journal.most, run.stop))
                for maker in np.unique(data.made_by):
                    for same in runs(data.made_by == maker):
                        writer.append(data.rows(slice(same.start, same.stop)))
    writer.close()


def settle(folder: Folder, info: Info, made: Sequence[tuple[str, Mapping[str, str]]]) -> Info:
    """Complete the description of the set once the problem is made; write or compare it.

    Args:
        folder: The folder of the journal.
        info: The description of the set, as far as it is known.
        made: The mesh, and the files that the samples depend on (`inputs`), of each process.

    Returns:
        The whole description.
    """
    mesh, needed = made[0]
    for rank, (its_mesh, its) in enumerate(made):
        wrong = sorted({name for name, _ in needed.items() ^ its.items()})
        check(not wrong, f"{wrong[:1]} is another file on process {rank} than on process 0")
        check(mesh == its_mesh, f"the mesh is {mesh} on process 0 and {its_mesh} on {rank}")
    given = {name: sha for name, sha in info.inputs.items() if name == OPTION}
    found = dataclasses.replace(info, inputs={**given, **needed}, mesh=mesh)
    if folder.stat(DESCRIPTION) is not None:
        described(folder).check_same(found, folder.path / DESCRIPTION)
    else:
        changed = info.changed(found)
        check(not changed, f"{', '.join(changed)} has changed since the run was begun")
        describe(folder, found)
    return found


def covered(journal: Journal, samples: range) -> tuple[npt.NDArray[np.bool_], int]:
    """Mark the samples in the journal, (n,), and count those that failed.

    Raises:
        InputError: If there are samples of another shard.
    """
    there, failed = np.zeros(len(samples), dtype=bool), 0
    for block in journal.all_blocks():
        check(
            samples.start <= block.start and block.start + block.count <= samples.stop,
            f"{journal.folder.path} has samples of another --shard of the set, such as "
            f"{block.start}; give another --out",
        )
        begin = block.start - samples.start
        there[begin : begin + block.count] = True
        failed += block.failed
    return there, failed


def first_reason(journal: Journal) -> str:
    """Return why the first failed sample failed; empty if none did."""
    for block in sorted(journal.all_blocks(), key=lambda block: block.start):
        if block.failed and (data := journal.read(block)) is not None:
            return next(filter(None, data.failure))
    return ""


def remove(folder: Folder) -> None:
    """Remove the files of a run from its folder, and the folder if it then is empty."""
    for pattern in LEFT:
        folder.remove(*folder.names(pattern))
    folder.remove_itself()
