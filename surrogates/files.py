"""Reading and writing of files: writes are atomic, and a damaged file raises one clear line."""

from __future__ import annotations

import contextlib
import io
import os
import re
import secrets
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .errors import InputError
from .folders import Folder, named, user

if TYPE_CHECKING:
    import h5py


Source = str | os.PathLike[str] | bytes | BinaryIO
"""What is read: the path of a file, its bytes, or a file object that is open for reading bytes."""


@contextlib.contextmanager
def opened(source: Source, what: str) -> Iterator[tuple[BinaryIO, str]]:
    """Yield a file, open at its start, and its name for messages.

    A file object is read to its end, and left open.

    Args:
        source: The file.
        what: The kind of file that is expected, such as ``surrogate file``.

    Raises:
        InputError: If there is no such file, it cannot be read, or the object gives no bytes.
    """
    if isinstance(source, str | os.PathLike):
        with reading(source, what):
            stream: BinaryIO = open(os.fspath(source), "rb")
        with stream:
            yield stream, os.fspath(source)
        return
    content: Any = source.read() if hasattr(source, "read") else source
    if not isinstance(content, bytes | bytearray | memoryview):
        got = "a file open for text" if isinstance(content, str) else type(source).__name__
        raise InputError(
            f"expected the path of a {what}, its bytes, or a file open for reading bytes; got {got}"
        )
    name = getattr(source, "name", None)
    yield io.BytesIO(content), name if isinstance(name, str) else f"the {what}"


@contextlib.contextmanager
def reading(
    path: str | os.PathLike[str], what: str, file: BinaryIO | None = None
) -> Iterator[None]:
    """Turn every exception of a block that reads a file into one clear line.

    Args:
        path: The file.
        what: The kind of file that is expected, such as ``dataset file``.
        file: The same file, if it is already open.

    Raises:
        InputError: If there is no such file, or the block raises any exception: the exceptions of
            libraries for truncated and foreign files have no common type.
    """
    if file is None and not Path(path).is_file():
        raise InputError(f"there is no file {str(path) or repr('')}")
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        check_free(path, error)
        if isinstance(error, PermissionError):
            raise InputError(f"cannot read {path}: permission denied") from error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0]
        raise InputError(f"{path} is not a whole {what}: {reason}") from error


def check_free(path: str | os.PathLike[str], error: Exception) -> None:
    """Raise a clear line if HDF5 has not opened a file because another program writes it.

    Args:
        path: The file.
        error: The exception of h5py; HDF5 1.10 to 1.14 word the reason alike.

    Raises:
        InputError: If that is the reason.
    """
    text = str(error)
    if "unable to lock file" in text:
        if isinstance(error, BlockingIOError | PermissionError):
            raise InputError(
                f"{path} is open for writing in another program; close it there"
            ) from error
        raise InputError(
            f"cannot lock {path}: where its file system has no locks, set "
            "HDF5_USE_FILE_LOCKING=FALSE"
        ) from error
    if "already open for write" in text:
        raise InputError(
            f"{path} is open for writing in another program, or one that crashed has left it so: "
            f"close it there, or h5clear -s {path}"
        ) from error


def check_own(path: str | os.PathLike[str], file: BinaryIO | None = None) -> None:
    """Refuse to continue from a file of another user, except root: it could hold anything.

    Args:
        path: The file.
        file: The same file, if it is already open.

    Raises:
        InputError: If it belongs to another user.
    """
    owner = os.stat(path if file is None else file.fileno()).st_uid
    if owner not in (0, os.geteuid()):
        raise InputError(
            f"{path} is a file of {user(owner)}, and could hold anything: make a copy of your own "
            f"if you trust {user(owner)}"
        )


def check_zip(path: str | os.PathLike[str], file: BinaryIO) -> None:
    """Check a checkpoint, which is a zip archive, before torch.load reads it.

    torch verifies no checksums. It reads a file that does not begin as a zip archive in its older
    formats, and its releases before 2.6 run the code of a TorchScript archive. In both cases the
    file could run code of its own, whatever ``weights_only`` is.

    Args:
        path: The file.
        file: The same file, open.

    Raises:
        InputError: If a member's checksum is wrong, the file is TorchScript, or as for `members`.
        zipfile.BadZipFile: If it is not a zip archive from its first byte on.
    """
    if file.read(4) != b"PK\x03\x04":
        raise zipfile.BadZipFile("File is not a zip file")
    with zipfile.ZipFile(file) as archive:
        names = [name.rpartition("/")[2].lower() for name in archive.namelist()]
        if "constants.pkl" in names:
            raise InputError(f"{path} is a TorchScript file, not a checkpoint")
        members(path, archive, 0)
        damaged = archive.testzip()
    if damaged is not None:
        raise InputError(f"{path} is damaged: the checksum of {damaged} is wrong")


def members(
    path: str | os.PathLike[str] | io.BytesIO, archive: zipfile.ZipFile, most: int
) -> list[zipfile.ZipInfo]:
    """List the members of a zip archive; refuse a small file that would fill the memory.

    Args:
        path: The file, for messages.
        archive: The same file.
        most: Most bytes that its compressed members may unpack to together.

    Raises:
        InputError: If they unpack to more, or several members share their bytes.
    """
    found = [one for one in archive.infolist() if not one.is_dir()]
    packed = sum(one.file_size for one in found if one.compress_type != zipfile.ZIP_STORED)
    if packed > most:
        raise InputError(f"{path} is refused: its compressed members unpack to {packed} bytes")
    # Members lie one after the other, before the directory of all.
    if sum(one.compress_size for one in found) > archive.start_dir:
        raise InputError(f"{path} is refused: some of its members share their bytes")
    return found


@contextlib.contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path that replaces ``path`` when the block succeeds.

    The temporary file is flushed to disk before the rename and the folder after it. After a crash,
    ``path`` therefore holds either its old content or all of the new. On an exception the temporary
    file is removed and ``path`` is untouched.

    The temporary file lies in a private folder of its own beside ``path``: other users who may
    write beside ``path`` could otherwise replace the file by a link before it is opened again.
    `Folder.replacing` replaces a file in a folder that is closed to all others, and yields the
    descriptor of the new file, where the writer takes one.

    Args:
        path: The final path.

    Yields:
        A path with the same ending, to be written by this process.

    Raises:
        InputError: If the folder does not exist or cannot be written.
        OSError: If the disk is full or fails; its text names ``path``.
    """
    check_writable(path)
    target = _behind_links(Path(path))
    token = secrets.token_hex(8)
    name, inner = f".{target.name}-{token}.tmp", token + target.suffix
    with named(path):
        around = Folder.around(target)
        with around.private(name) as own, own.moved(inner, target.name, around):
            beside = own.place / inner
            beside.touch(exist_ok=False)  # unlike tempfile's, its mode is as the umask allows
            yield beside
            sync(beside)
        around.sync()


@contextlib.contextmanager
def atomic_hdf5(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """Yield an HDF5 file, open for writing, that replaces ``path`` when the block succeeds.

    Errors are those of `atomic` and `hdf5`.
    """
    with atomic(path) as beside, open(beside, "r+b") as raw, hdf5(raw.fileno()) as file:
        yield file


@contextlib.contextmanager
def hdf5(descriptor: int) -> Iterator[h5py.File]:
    """Yield an HDF5 file on the descriptor of an empty file, open for reading and writing.

    The format is that of HDF5 1.10, whose indices have checksums: in the indices of older formats a
    flipped bit leads to wrong numbers. HDF5 ends the process if it cannot write its cache. Failed
    writes are therefore hidden from it, and raised here once it has closed the file.
    """
    import h5py  # the rest works where it is not installed

    with _Uncomplaining(descriptor, "w+", closefd=False) as raw:
        with h5py.File(raw, "w", libver=("v110", "v110")) as file:
            yield file
        if raw.error is not None:
            raise raw.error


def within(file: h5py.File, name: str, hops: int = 16) -> Any:
    """Return an object of an HDF5 file by its path, after checks; None if there is none.

    An HDF5 file may refer to other files of its reader and pass their content for its own: by
    external links, virtual arrays, and arrays stored as raw bytes elsewhere. It may name filters
    for which HDF5 runs libraries that it finds. It may declare huge arrays that it does not hold,
    which HDF5 allocates in memory.

    Args:
        file: The file.
        name: The path.
        hops: Most links within the file to follow.

    Raises:
        InputError: If the object is not in the file itself, needs a filter beyond those of HDF5 and
            h5py, or is larger than the file can hold.
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
            if isinstance(item, h5py.Dataset):
                elsewhere = bool(item.is_virtual or item.external)
                _check_array(file, name, item)
        if elsewhere:
            raise InputError(
                f"{file.filename}: {name} is not in the file itself: it is a link to another file, "
                "or kept there; copy it into the file"
            )
        if link is None or item is None:
            return None
    return item


def check_hdf5(path: str | os.PathLike[str]) -> None:
    """Check all objects of an HDF5 file as `within` does.

    Raises:
        InputError: If an object is refused, or the file is damaged.
    """
    import h5py

    with reading(path, "HDF5 file"), h5py.File(path, "r") as file:
        waiting, seen = ["/"], set()
        while waiting:
            place = waiting.pop()
            item = within(file, place)
            if isinstance(item, h5py.Group):
                address = h5py.h5o.get_info(item.id).addr
                if address not in seen:  # groups may be in each other
                    seen.add(address)
                    waiting += [f"{place}/{name}" for name in item]


_FILTERS = (1, 2, 3, 4, 5, 6, 32000)  # HDF5's own, and LZF of h5py
_EXPANSION = 1100  # largest compression ratio of gzip, the highest among these filters


def _check_array(file: h5py.File, name: str, array: h5py.Dataset) -> None:
    """Refuse an array that needs a plug-in of HDF5, or is larger than the file can hold."""
    layout = array.id.get_create_plist()
    filters = [layout.get_filter(i)[0] for i in range(layout.get_nfilters())]
    plugged = [number for number in filters if number not in _FILTERS]
    if plugged:
        raise InputError(
            f"{file.filename}: {name} takes the filter {plugged[0]}, a plug-in of HDF5, which "
            "would be code to run; unpack it with h5repack -f NONE"
        )
    size, there = array.nbytes, file.id.get_filesize()
    if size > _EXPANSION * there:
        raise InputError(
            f"{file.filename}: {name} would be of {size} bytes, which a file of {there} cannot hold"
        )


class _Uncomplaining(io.FileIO):
    """A file that hides its first failure, keeps it in `error`, and writes nothing from then on."""

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


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Remove the temporary files that killed writers of a file have left beside it.

    These are the private folders that `atomic` makes for this user, each with one file that is
    named by the folder's token. Other users can give some folder of this user such a name, but they
    cannot put such a file into it.
    """
    target = _behind_links(Path(path))
    around = Folder.around(target)
    for name in around.names(".*.tmp"):
        found = re.fullmatch(re.escape(f".{target.name}-") + r"([0-9a-f]{16})\.tmp", name)
        if found:
            with contextlib.suppress(InputError, OSError):  # others' are in nobody's way
                around.inner(name).remove(found[1] + target.suffix)
                os.rmdir(name, dir_fd=around.file)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuse a path that could not be written, before a long run rather than after it.

    Raises:
        InputError: If ``path`` is a folder, its folder is missing or not writable, or it is another
            user's file or link in a folder that both may write.
    """
    target = _behind_links(Path(path))
    folder = target.parent
    if target.is_dir() or not target.name:
        raise InputError(f"{str(path)!r} is a folder; give the name of a file")
    if not folder.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"cannot write {path}: no permission to write in {folder}")
    try:
        about = os.lstat(target)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(about.st_mode):
        raise InputError(f"cannot write {path}: it is a device or pipe, not a file")
    if not os.access(target, os.W_OK):
        raise InputError(f"cannot write {path}: the file is read-only")
    there = os.stat(folder)
    if there.st_mode & stat.S_ISVTX and os.geteuid() not in (0, about.st_uid, there.st_uid):
        raise InputError(
            f"cannot write {path}: it is a file of {user(about.st_uid)}, who alone may replace it "
            f"in {folder}"
        )


def _behind_links(path: Path) -> Path:
    """Follow a link at the end of a path: the file behind it is replaced, not the link.

    Links that another user except root has made are refused in every folder, as Linux does in
    shared folders (protected_symlinks): they could lead to any file of this user.
    """
    for _ in range(40):
        if not path.is_symlink():
            return path
        before, leads = os.lstat(path), os.readlink(path)
        if before.st_uid not in (0, os.geteuid()):
            raise InputError(
                f"cannot write {path}: it is a link that {user(before.st_uid)} has made, to "
                f"{leads}; name the file itself"
            )
        if os.path.samestat(before, os.lstat(path)):
            path = path.parent / leads
    raise InputError(f"cannot write {path}: it is a link that leads back to itself")


def sync(path: Path) -> None:
    """Flush a file or folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
