"""Several dataset files become one: `merge` joins shards, `append` joins finished datasets.

`merge` makes one set of the files that hold its parts, such as the shards of an array job.
`append` joins sets that share their columns and nothing else: an old study, a new one, and imported
measurements.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from surrogates.config import check
from surrogates.errors import InputError
from surrogates.files import reading
from surrogates.provenance import Provenance

from .dataset import Dataset
from .derivatives import ARRAYS, in_words, shapes
from .description import Info, Status
from .format import read_info, write
from .ranges import sentence
from .stored import opened

_Path = str | os.PathLike[str]
_Order = npt.NDArray[np.int64]
# Settings that say which y are solved for. The others decide what c is at a y.
_DESIGN_KEYS = ("design", "sampling.design")
_Makers = npt.NDArray[np.uint16]  # for each maker of a file its index among those of all files


# Shards


def merge(paths: Sequence[_Path], out: _Path, *, whole: bool = True) -> Info:
    """Join files that together hold each sample of a dataset once.

    One window of one file is in memory. Nothing is written unless all files fit together.

    Args:
        paths: Shards, in any order.
        out: The dataset file to write.
        whole: Whether the files must make up the whole set; otherwise any run of samples will do.

    Returns:
        The description of the new file.

    Raises:
        InputError: If the files are of different sets, overlap, leave a sample out, or hold
            different arrays (tangents in some of them only).
    """
    files = sorted(((*read_info(path), path) for path in paths), key=lambda file: file[0].first)
    check(bool(files), "nothing to merge; name at least one dataset file")
    head = files[0][0]
    start = 0 if whole else head.first
    stop = _check_complete(files, start, head.total if whole else None)
    makers = []
    for info, _, _ in files:
        notes = tuple(dict.fromkeys((*head.notes, *info.notes)))
        head = dataclasses.replace(head, notes=notes)
        indices = []
        for maker in info.makers:
            head, index = head.with_maker(maker)
            indices.append(index)
        makers.append(np.array(indices, np.uint16))
    windows = (
        dataclasses.replace(window, made_by=made_by)
        for (_, _, path), known in zip(files, makers, strict=True)
        for window, made_by in _windows(path, known)
    )
    write(out, head, stop - start, windows)
    return head


def _check_complete(files: Sequence[tuple[Info, int, _Path]], start: int, total: int | None) -> int:
    """Return the sample after the last one of files that hold each sample from ``start`` on once.

    Args:
        files: Descriptions, numbers of samples and paths, sorted by their first samples.
        start: The first sample.
        total: The number of samples of the whole set, if the files must reach its end.
    """
    head, _, first_path = files[0]
    reached = start
    absent: list[range] = []
    for info, n, path in files:
        if differences := head.differences(info):
            raise InputError(f"{path} is of another set than {first_path}: {differences[0]}")
        if info.first < reached:
            twice = sentence([range(info.first, min(reached, info.first + n))], "there twice")
            raise InputError(f"{twice}; {path} starts at {info.first}")
        absent.append(range(reached, info.first))
        reached = info.first + n
    if total is not None:
        absent.append(range(reached, total))
    if any(absent):
        raise InputError(sentence([rows for rows in absent if rows], "missing"))
    return reached


def _windows(path: _Path, makers: _Makers) -> Iterator[tuple[Dataset, _Makers]]:
    """Yield the windows of a file, each with its samples' makers among those of all files."""
    with opened(path) as stored:
        for window in stored.windows():
            with reading(path, "dataset file"):  # an index beyond the makers is damage
                made_by = makers[window.made_by]
            yield window, made_by


# Finished datasets


@dataclass(frozen=True)
class Joined:
    """The result of `append`.

    Attributes:
        info: The description of the new set.
        repeated: Pairs of samples, by their numbers in the new set: a done sample, and the earlier
            one that has the same y and c.
    """

    info: Info
    repeated: tuple[tuple[int, int], ...]


def append(paths: Sequence[_Path], out: _Path) -> Joined:
    """Join finished datasets one after the other, with any splits.

    Samples keep their part, status and maker. Columns come in the order of the first set; the
    columns of the others are matched by name. Bounds are the widest. Derivatives are kept; samples
    of sets without any have NaN there, and whole tangents beside directions become directions along
    each y. The configuration and the problem's file are kept if all sets share them, but for the
    sampling design. A note says for each set how many samples it has, and of which design or points
    they are. One window of one file is in memory, and a hash of each sample.

    Args:
        paths: The datasets.
        out: The file to write.

    Raises:
        InputError: If a file is not a finished set, or has other parameters, observables, classes,
            units or coordinates, another task, the configuration of another problem, or
            derivatives of functionals that others do not have.
    """
    check(len(paths) > 1, f"nothing to join: name at least two datasets; got {len(paths)}")
    infos = [read_info(path) for path in paths]
    orders = []
    for (info, n), path in zip(infos, paths, strict=True):
        check(
            n == info.total,
            f"{path} has {n} of {info.total} samples: a shard; merge it with the others first",
        )
        orders.append(_orders(infos[0][0], info, f"{path} and {paths[0]}"))
    _check_problems([info for info, _ in infos], paths)
    makers, indices = _makers([info for info, _ in infos])
    joined = _joined([info for info, _ in infos], orders, makers)
    joined = _differentiated(joined, [info for info, _ in infos], orders, paths)
    seen: dict[bytes, int] = {}
    repeated: list[tuple[int, int]] = []

    def windows() -> Iterator[Dataset]:
        start = 0
        for path, order, index in zip(paths, orders, indices, strict=True):
            for window, made_by in _windows(path, index):
                piece = _permuted(window, *order, joined)
                repeated.extend(_seen_before(piece, start, seen))
                start += len(piece.Y)
                yield dataclasses.replace(piece, info=joined, made_by=made_by)

    write(out, joined, joined.total, windows())
    return Joined(joined, tuple(repeated))


def _orders(head: Info, info: Info, which: str) -> tuple[_Order, _Order]:
    """Return where another set has the columns of Y and of C of the first; refuse other columns."""
    check(head.task == info.task, f"{which}: {info.task} and {head.task} cannot be joined")
    found = []
    for letter, what in (
        ("y", "parameters"),
        ("c", "classes" if info.task == "classification" else "observables"),
    ):
        (ours, our_units), (names, units) = (
            (getattr(one, f"{letter}_names"), getattr(one, f"{letter}_units"))
            for one in (head, info)
        )
        if sorted(ours) != sorted(names):
            other = sorted(set(ours) ^ set(names)) or [f"{len(names)} and {len(ours)}"]
            raise InputError(f"{which} have not the same {what}: {', '.join(other[:5])}")
        if ours != names:
            twice = [name for name in ours if ours.count(name) > 1]
            check(not twice, f"{which} have several {what} named {twice[0] if twice else ''!r}")
        order = np.array([i if ours == names else names.index(ours[i]) for i in range(len(ours))])
        for name, unit, i in zip(ours, our_units, order.tolist(), strict=True):
            check(
                unit == units[i],
                f"{which} have other units: {name} is in {units[i]!r} and {unit!r}",
            )
        found.append(order)
    for name in head.coordinates.keys() & info.coordinates.keys():
        here, there = info.coordinates[name][found[1]], head.coordinates[name]
        check(np.array_equal(here, there), f"{which} have other coordinates {name}")
    return found[0], found[1]


def _check_problems(infos: Sequence[Info], paths: Sequence[_Path]) -> None:
    """Refuse sets that were solved for with different settings."""
    solved = [(info, path) for info, path in zip(infos, paths, strict=True) if info.config]
    for info, path in solved[1:]:
        head, first = solved[0]
        found = info.other_problem(head, _DESIGN_KEYS)
        if info.problem != head.problem:
            found.insert(0, f"problem is {info.problem!r} and {head.problem!r}")
        check(not found, f"{path} and {first} are of different problems: {'; '.join(found[:1])}")


def _makers(infos: Sequence[Info]) -> tuple[list[Provenance], list[_Makers]]:
    """Return all makers, each once, and for each set the indices of its makers among them."""
    makers: list[Provenance] = []
    indices = []
    for info in infos:
        makers += [maker for maker in info.makers if maker not in makers]
        indices.append(np.array([makers.index(maker) for maker in info.makers], np.uint16))
    return makers, indices


def _joined(
    infos: Sequence[Info], orders: Sequence[tuple[_Order, _Order]], makers: list[Provenance]
) -> Info:
    """Return the description of the new set."""
    head = infos[0]
    solved = [info for info in infos if info.config]
    common = len(solved) == len(infos)  # of one problem: `_check_problems` has refused others
    plain = " of " not in head.split  # that of an extended set is of its samples alone
    lower = [info.y_lower[y] for info, (y, _) in zip(infos, orders, strict=True)]
    upper = [info.y_upper[y] for info, (y, _) in zip(infos, orders, strict=True)]
    coordinates = {
        name: values[c]
        for info, (_, c) in zip(infos, orders, strict=True)
        for name, values in info.coordinates.items()
    }
    return dataclasses.replace(
        head,
        problem=(solved or infos)[0].problem,
        config=head.config if common else "",
        source=head.source if common else "",
        inputs={k: v for k, v in head.inputs.items() if k != "--points"} if common else {},
        design="joined",
        split=head.split if len({info.split for info in infos}) == 1 and plain else "joined",
        total=sum(info.total for info in infos),
        first=0,
        y_lower=np.min(lower, axis=0),
        y_upper=np.max(upper, axis=0),
        coordinates=coordinates,
        mesh=head.mesh if len({info.mesh for info in infos}) == 1 else "",
        missing="mask" if any(info.missing for info in infos) else "",
        later_makers=tuple(makers[1:]),
        notes=tuple(dict.fromkeys(note for info in infos for note in _noted(info))),
        **makers[0],
    )


def _noted(info: Info) -> tuple[str, ...]:
    """Return the notes of a set, after one that says where its samples come from."""
    if info.design == "joined":  # its notes say so
        return info.notes
    origin = f"{info.design or 'unknown'}, seed {info.seed}"
    if "--points" in info.inputs:
        origin = f"given points, SHA-256 {info.inputs['--points'][:12]}"
    elif not info.config:
        origin = f"{info.problem}, {info.design or 'of another program'}"
    return (f"joined: {info.total} samples of {origin}", *info.notes)


def _differentiated(
    joined: Info,
    infos: Sequence[Info],
    orders: Sequence[tuple[_Order, _Order]],
    paths: Sequence[_Path],
) -> Info:
    """Return the description of the new set with the kind of its derivatives."""
    found = [
        (_reordered(info, c), path)
        for info, (_, c), path in zip(infos, orders, paths, strict=True)
        if in_words(info)
    ]
    kinds: dict[str, Any] = {"tangents": False, "directions": 0}
    kinds |= {"functionals": np.empty((0, 0)), "c_scale": np.empty(0)}
    if any(info.adjoints for info, _ in found):
        head, first = found[0]
        for info, path in found:
            check(
                info.same_functionals(head),
                f"{path} and {first} cannot be joined: they have {in_words(info)} and "
                f"{in_words(head)}{', others' * (in_words(info) == in_words(head))}",
            )
        kinds |= {"functionals": head.functionals, "c_scale": head.c_scale}
    elif found and all(info.tangents for info, _ in found):
        kinds["tangents"] = True
    elif found:
        n_y = len(joined.y_names)
        kinds["directions"] = max(n_y if info.tangents else info.directions for info, _ in found)
    return dataclasses.replace(joined, **kinds)


def _reordered(info: Info, c: _Order) -> Info:
    """Return a description whose functionals are of the outputs in another order."""
    if not info.adjoints:
        return info
    W, scale = info.functionals[:, c], info.c_scale[c]
    return dataclasses.replace(info, functionals=W, c_scale=scale)


def _permuted(window: Dataset, y: _Order, c: _Order, joined: Info) -> Dataset:
    """Return a window with its columns in the order of the first set, for the new set."""
    n = len(window.Y)
    arrays: dict[str, Any] = {name: None for name in ARRAYS}
    arrays |= {name: np.full((n, *shape), np.nan) for name, shape in shapes(joined).items()}
    if window.dW_dY is not None:
        arrays["dW_dY"] = window.dW_dY[:, :, y]
    elif joined.directions and (found := window.derivatives()) is not None:
        r = found.V.shape[1]
        arrays["directions"][:, :r] = found.V[:, :, y]
        arrays["dC_dV"][:, :, :r] = found.T[:, c]
    elif window.dC_dY is not None:
        arrays["dC_dY"] = window.dC_dY[:, c][:, :, y]
    return dataclasses.replace(
        window,
        Y=np.ascontiguousarray(window.Y[:, y]),
        C=np.ascontiguousarray(window.C[:, c]),
        **arrays,
    )


def _seen_before(piece: Dataset, start: int, seen: dict[bytes, int]) -> Iterator[tuple[int, int]]:
    """Yield the done samples whose y and c an earlier sample has, each with that one."""
    rows = np.hstack([piece.Y, piece.C]) + 0.0  # 0 and -0 are one
    rows[np.isnan(rows)] = np.nan
    for i in np.flatnonzero(piece.status == Status.DONE).tolist():
        key = hashlib.blake2b(rows[i].tobytes(), digest_size=16).digest()
        if (before := seen.setdefault(key, start + i)) != start + i:
            yield start + i, before
