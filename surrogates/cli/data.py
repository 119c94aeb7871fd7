"""Commands that make datasets of files: import, merge, append."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from surrogates import config
from surrogates.data import TASKS, Dataset, Info, is_dataset, merge, opened, read_info
from surrogates.errors import InputError
from surrogates.files import check_writable

from .info import size
from .options import Commands, Parser, add_split


def add_import(commands: Commands) -> None:
    """Add import."""
    text = "make a dataset of tables, arrays, or a hyperspectral scene"
    sub = commands.add("import", import_files, text)
    sub.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="a table (.csv, .tsv, .txt, .dat, also .gz), .npz, .mat or .h5; two files, such as "
        "Y.npy C.npy; or indian_pines, the scene that the package tensorly has",
    )
    sub.add_argument("--out", required=True, metavar="F.h5")
    sub.add_argument(
        "--task",
        choices=TASKS,
        default=None,
        help="default regression; C of a classification holds labels from 0, or one-hot rows",
    )
    _add_of_arrays(sub)
    _add_of_a_scene(sub)
    sub.add_argument(
        "--seed", type=int, default=0, metavar="S", help="seed of the split; default 0"
    )
    add_split(sub)


def _add_of_arrays(sub: Parser) -> None:
    """Add the options of tables and arrays."""
    sub.add_argument(
        "--inputs",
        metavar="A,B|N",
        help="columns or arrays that are parameters: names, or the first N; default: y..., or Y",
    )
    sub.add_argument(
        "--outputs",
        metavar="C,D|N",
        help="columns or arrays that are observables: names, or the last N; default: the rest, "
        "c..., or C",
    )
    sub.add_argument(
        "--missing",
        choices=("fail", "mask"),
        default="fail",
        help="whether a NaN in c means that the sample failed (default), or that it is masked",
    )
    sub.add_argument(
        "--exclude", default="", metavar="ROWS", help="samples to leave out, such as 3,77,100-120"
    )
    sub.add_argument(
        "--samples",
        choices=("auto", "rows", "columns"),
        default="auto",
        help="where the arrays hold one sample; default: as Y and C agree",
    )


def _add_of_a_scene(sub: Parser) -> None:
    """Add the options of a hyperspectral scene."""
    sub.add_argument(
        "--ground-truth",
        metavar="GT.mat",
        help="class of each pixel; FILE is a scene then, rows x columns x bands",
    )
    sub.add_argument(
        "--order",
        choices=("auto", "rows", "columns"),
        default="auto",
        help="order of a scene's dimensions in an HDF5 file that MATLAB did not write: rows, as in "
        "the file, or columns, reversed",
    )
    sub.add_argument(
        "--background",
        default="",
        metavar="N,M",
        help="labels of a scene's pixels without a class; default 0",
    )


def add_merge(commands: Commands) -> None:
    """Add merge."""
    sub = commands.add("merge", merge_shards, "make one dataset of its shards")
    sub.add_argument("files", nargs="+", metavar="SHARD")
    sub.add_argument("--out", required=True, metavar="F.h5")


def add_append(commands: Commands) -> None:
    """Add append."""
    text = "join finished datasets of the same parameters and outputs"
    sub = commands.add("append", append_sets, text)
    sub.add_argument("files", nargs="+", metavar="F.h5")
    sub.add_argument("--out", required=True, metavar="F.h5")


def import_files(options: argparse.Namespace) -> int:
    """Make a dataset of files from other programs."""
    check_writable(options.out)
    notes: list[str] = []
    read = _read_scene if _is_scene(options) else _read_arrays
    dataset = read(options, notes.append)
    _refuse_another(Path(options.out), dataset.info, dataset.digest)
    dataset.write(options.out)
    with opened(options.out) as stored:
        print(f"{options.out}: {size(stored)}")
    for note in notes:
        print(note, file=sys.stderr)
    return 0


_OF_A_SCENE: Mapping[str, Any] = {"order": "auto", "background": ""}
"""Options of a scene alone, and their defaults."""

_OF_ARRAYS: Mapping[str, Any] = {
    "samples": "auto",
    "inputs": None,
    "outputs": None,
    "missing": "fail",
    "exclude": "",
}
"""Options of tables and arrays alone, and their defaults."""


def _is_scene(options: argparse.Namespace) -> bool:
    """Return whether the files are a hyperspectral scene; refuse options of the other kind."""
    from surrogates.data.hyperspectral import INDIAN_PINES

    files, truth = options.files, options.ground_truth
    config.check(len(files) < 3, f"import takes one file or two, Y and C; got {len(files)}")
    for name, default in _OF_A_SCENE.items():
        unused = getattr(options, name) == default
        config.check(unused or truth is not None, f"--{name} is for a scene, with --ground-truth")
    pines = files[0] == INDIAN_PINES
    if not pines and truth is None:
        return False
    config.check(options.task != "regression", "a scene is of --task classification")
    config.check(not pines or truth is None, "indian_pines comes with its ground truth")
    config.check(len(files) == 1, "a scene is one file, and --ground-truth another")
    for name, default in _OF_ARRAYS.items():
        unused = getattr(options, name) == default
        config.check(unused, f"--{name} is not for a scene: it has pixels")
    return True


def _read_scene(options: argparse.Namespace, note: Callable[[str], None]) -> Dataset:
    """Read the labelled pixels of a scene; ``note`` takes notes to the user."""
    from surrogates.data import hyperspectral

    truth = options.ground_truth
    if truth is None:
        scene = hyperspectral.indian_pines()
    else:
        given = {name: getattr(options, name) for name in _OF_A_SCENE}
        scene = hyperspectral.read_scene(options.files[0], truth, note=note, **given)
    return scene.dataset(split=options.split, seed=options.seed)


def _read_arrays(options: argparse.Namespace, note: Callable[[str], None]) -> Dataset:
    """Read a table, or arrays; ``note`` takes notes to the user."""
    from surrogates.data import import_file

    return import_file(
        *options.files,
        task=options.task or "regression",
        split=options.split,
        seed=options.seed,
        note=note,
        **{name: getattr(options, name) for name in _OF_ARRAYS},
    )


def _refuse_another(out: Path, info: Info, digest: str | None = None) -> None:
    """Refuse to overwrite a different dataset.

    Args:
        out: The file.
        info: Describes the dataset that is to be written.
        digest: Digest of its numbers; None if they are not known yet.
    """
    if not out.exists():
        return
    with opened(out) as there:
        same = digest is None or there.digest == digest
        there.info.check_same(info, out, () if same else ["its numbers differ"])


def check_out(out: str | Path, *inputs: str) -> None:
    """Refuse an output that cannot be written, is a dataset, or is one of the inputs."""
    check_writable(out)
    if is_dataset(out):
        raise InputError(f"{out} is a dataset; it is left as it is, give another --out")
    for path in inputs:
        if Path(out).exists() and Path(path).exists() and os.path.samefile(path, out):
            raise InputError(f"{out} is an input as well; it is left as it is, give another --out")


def merge_shards(options: argparse.Namespace) -> int:
    """Make one dataset of shards."""
    check_writable(options.out)
    info = read_info(options.files[0])[0]
    _refuse_another(Path(options.out), info)
    # Imported sets have no configuration that could distinguish them.
    if not info.config and Path(options.out).exists():
        raise InputError(f"{options.out} exists; it is left as it is, give another --out")
    merge(options.files, options.out)
    print(f"{options.out}: {info.total} samples from {len(options.files)} files")
    return 0


def append_sets(options: argparse.Namespace) -> int:
    """Join datasets of the same parameters and observables."""
    from surrogates.data import append

    check_writable(options.out)
    if Path(options.out).exists():
        raise InputError(f"{options.out} exists; it is left as it is, give another --out")
    joined = append(options.files, options.out)
    print(f"{options.out}: {joined.info.total} samples from {len(options.files)} files")
    if joined.repeated:
        sample, before = joined.repeated[0]
        print(
            f"samples that repeat the y and c of an earlier one: {len(joined.repeated)}, all kept; "
            f"the first is {sample}, which repeats {before}",
            file=sys.stderr,
        )
    return 0
