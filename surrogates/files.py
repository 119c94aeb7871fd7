"""Files: nothing half-written is seen under its final name, and a damaged one is one clear line."""

from __future__ import annotations

import contextlib
import io
import os
import re
import secrets
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError

if TYPE_CHECKING:
    import h5py


@contextlib.contextmanager
def reading(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Make one clear line of whatever goes wrong in a block that reads a file.

    Args:
        path: The file.
        what: What it should be, such as ``dataset file``.

    Raises:
        InputError: If there is no such file, or the block raises anything: what the libraries
            raise at a truncated or foreign file has no common type.
    """
    if not Path(path).is_file():
        raise InputError(f"there is no file {str(path) or repr('')}")
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].split(". ")[0]
        raise InputError(f"{path} is not a whole {what}: {reason}") from error


def check_zip(path: str | os.PathLike[str]) -> None:
    """Check every checksum of a zip archive, as torch's files are: torch itself does not look.

    Raises:
        InputError: If a member's checksum is wrong.
        zipfile.BadZipFile: If it is no zip archive.
    """
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise InputError(f"{path} is damaged: the checksum of {damaged} is wrong")


@contextlib.contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that replaces ``path`` when the block succeeds.

    The temporary file is flushed to disk before the rename and the folder after it, so that after
    a crash ``path`` holds either what it held before or all that was written. On an exception
    the temporary file is removed and ``path`` is untouched.

    Args:
        path: Where the file shall be.

    Yields:
        A path in the same folder, with the same ending, to be written by the caller.

    Raises:
        InputError: If the folder does not exist or cannot be written.
        OSError: If the disk is full or fails; its text names ``path``.
    """
    check_writable(path)
    target = Path(path).resolve()  # the file behind a symbolic link is replaced, not the link
    beside = target.with_name(f".{target.stem}-{secrets.token_hex(4)}.tmp{target.suffix}")
    try:
        beside.touch(exist_ok=False)  # unlike tempfile's, readable to whom the umask allows
        yield beside
        sync(beside)
        os.replace(beside, target)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync(target.parent)


@contextlib.contextmanager
def atomic_hdf5(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """Give an HDF5 file, open for writing, that replaces ``path`` when the block succeeds.

    As `atomic`, with its errors. The format is that of HDF5 1.10, whose indices carry checksums: a
    flipped bit in those of older ones gives wrong numbers. HDF5 ends the process when it cannot
    write what it has cached, so that it is told of no failed write; the failure is raised here,
    once HDF5 has closed the file.
    """
    import h5py  # the rest works where it is not installed

    with atomic(path) as beside, _Uncomplaining(beside, "w+") as raw:
        with h5py.File(raw, "w", libver=("v110", "v110")) as file:
            yield file
        if raw.error is not None:
            raise raw.error


def within(file: h5py.File, name: str, hops: int = 16) -> Any:
    """Return an object of an HDF5 file by its path, None if there is none.

    An HDF5 file may name other files of whoever opens it, whose content would pass for its own: by
    external links, by virtual arrays, and by arrays that are kept as raw bytes elsewhere.

    Args:
        file: The file.
        name: The path.
        hops: Links to other places of the file that are followed.

    Raises:
        InputError: If the object is not in the file itself.
    """
    import h5py

    item: Any = file
    for part in filter(None, name.split("/")):
        link = item.get(part, getlink=True) if isinstance(item, h5py.Group) else None
        elsewhere = isinstance(link, h5py.ExternalLink)
        if isinstance(link, h5py.SoftLink):
            place = link.path if link.path.startswith("/") else f"{item.name}/{link.path}"
            item = within(file, place, hops - 1) if hops else None
        elif link is not None and not elsewhere:
            item = item[part]
            elsewhere = isinstance(item, h5py.Dataset) and bool(item.is_virtual or item.external)
        if elsewhere:
            raise InputError(
                f"{file.filename}: {name} is not in the file itself: it is a link to another file, "
                "or kept there; copy it into the file"
            )
        if link is None or item is None:
            return None
    return item


class _Uncomplaining(io.FileIO):
    """A file that keeps its first failure to itself, and writes nothing from then on."""

    error: OSError | None = None

    def write(self, content: Any) -> int:
        rest = memoryview(content).cast("B")
        size = len(rest)
        try:
            while self.error is None and len(rest):
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0


def remove_leftovers(folder: str | os.PathLike[str], name: str) -> None:
    """Remove what killed writers have left in a folder of files whose names match ``name``.

    Args:
        folder: Where.
        name: A regular expression for the whole names; `re.escape` makes one of a single name.
    """
    for path in Path(folder).iterdir():
        found = re.fullmatch(r"\.(.*)-[0-9a-f]{8}\.tmp(\.[^.]*)?", path.name)
        if found and re.fullmatch(name, found[1] + (found[2] or "")):
            path.unlink(missing_ok=True)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuse a path that could not be written at the end of a long run.

    Raises:
        InputError: If ``path`` is a folder, or its folder is missing or not writable.
    """
    target = Path(path)
    folder = (target.resolve() if target.is_symlink() else target).parent
    if target.is_dir() or not target.name:
        raise InputError(f"{str(path)!r} is a folder; give the name of a file")
    if not folder.is_dir():
        raise InputError(f"cannot write {target}: there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"cannot write {target}: no permission to write in {folder}")
    if target.exists() and not target.is_file():
        raise InputError(f"cannot write {target}: it is a device or pipe, not a file")
    if target.exists() and not os.access(target, os.W_OK):
        raise InputError(f"cannot write {target}: the file is read-only")


def sync(path: Path) -> None:
    """Flush a file or folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
