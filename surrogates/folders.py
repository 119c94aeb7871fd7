"""A folder that one user alone may write, held open.

Others may share the folder around it, and there rename, replace or link whatever they like at any
moment. What is done by the descriptor of an open folder is done in that folder all the same, never
in what has come to have its name; and whose it is, and who may write it, was asked of the folder
itself.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import os
import pwd
import secrets
import stat
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import InputError, check

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_TOKEN_BYTES = 8
TEMPORARY = ".*-" + 2 * _TOKEN_BYTES * "[0-9a-f]" + ".tmp"
"""Pattern of the names of what is removed again, and only a killed process leaves."""

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Folder:
    """An open folder; its files are named without it.

    Attributes:
        path: The name that it had, for messages.
        file: Its descriptor.
    """

    def __init__(self, path: Path, file: int) -> None:
        """Take an open folder as it is.

        Args:
            path: Its name.
            file: Its descriptor, which is closed with this object.
        """
        self.path = path
        self.file = file
        self._close = weakref.finalize(self, os.close, file)

    @classmethod
    def around(cls, path: Path) -> Folder:
        """Open the folder that a file is in, which others may write."""
        return cls(path.parent, os.open(path.parent, _OPEN))

    @classmethod
    def made(cls, path: Path) -> Folder:
        """Open a folder of this user's own; make it, open to nobody else, if there is none.

        Raises:
            InputError: If it is a link or no folder, is another user's, or others could have
                written what is in it.
        """
        folder: Folder | None = None
        while folder is None:
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o700)
            with contextlib.suppress(FileNotFoundError):  # a run has just ended, and removed it
                folder = cls._opened(path)
        about = os.fstat(folder.file)
        maker, open_to_all = folder._made_here(about)
        if about.st_uid != maker:
            raise _not_ours(path, about.st_uid)
        check(
            not (_writable(about) and open_to_all),
            f"others may write {path}, as its file system keeps no permissions: give an --out on "
            "another one",
        )
        folder._check(about)
        return folder

    def shut(self) -> None:
        """Close it to all but its user: earlier versions made folders that others can read."""
        if stat.S_IMODE(os.fstat(self.file).st_mode) & 0o077:
            os.fchmod(self.file, 0o700)

    @contextlib.contextmanager
    def private(self, name: str) -> Iterator[Folder]:
        """Make a folder in this one for a while, which is open to nobody else.

        Where the file system keeps no permissions it is as open as all else there.

        Raises:
            OSError: If it cannot be made.
            InputError: If another takes its place meanwhile.
        """
        os.mkdir(name, 0o700, dir_fd=self.file)
        try:
            own = self.inner(name)
            about = os.fstat(own.file)
            maker, open_to_all = own._made_here(about)
            check(
                about.st_uid == maker and (not _writable(about) or open_to_all),
                f"{own.path} was replaced by another user",
            )
            yield own
        finally:
            with contextlib.suppress(OSError):
                os.rmdir(name, dir_fd=self.file)

    @classmethod
    def there(cls, path: Path) -> Folder:
        """Open a folder to read it, whoever's it is.

        Raises:
            InputError: If it is a link or no folder, this user may not read it, or others than its
                owner could have written what is in it.
        """
        folder = cls._opened(path)
        folder._check(os.fstat(folder.file))
        return folder

    @classmethod
    def again(cls, path: Path, number: int) -> Folder:
        """Open a folder that another process of this run has open.

        Raises:
            InputError: As `there`, and if it is not that folder.
        """
        folder = cls.there(path) if path.exists() else None
        if folder is None or folder.number != number:
            raise InputError(
                f"{path} is not the folder that rank 0 has: it was replaced meanwhile, or is on a "
                "disk of one host alone; give an --out that all processes see"
            )
        return folder

    def __reduce__(self) -> tuple[object, ...]:
        """Send it to another process, which opens it too."""
        return Folder.again, (self.path, self.number)

    def inner(self, name: str) -> Folder:
        """Open a folder in this one as it is; errors are those of `there`."""
        return self._opened(self.path / name, self.file)

    @classmethod
    def _opened(cls, path: Path, within: int | None = None) -> Folder:
        name = path if within is None else path.name
        try:
            return cls(path, os.open(name, _OPEN | os.O_NOFOLLOW, dir_fd=within))
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):
                raise InputError(
                    f"{path} is in the way: it is a link or a file, no folder"
                ) from error
            if error.errno != errno.EACCES:
                raise
            owner = os.stat(name, dir_fd=within, follow_symlinks=False).st_uid
            raise _not_ours(path, owner) from error

    def _made_here(self, about: os.stat_result) -> tuple[int, bool]:
        """Return whose, and whether others' to write, a file looks that this user makes here.

        It looks another user's where root is nobody, as over NFS, or where a mount has a user of
        its own, and open to all where there are no permissions. A folder that looks as it should
        is answer enough.
        """
        if about.st_uid == os.geteuid() and not _writable(about):
            return about.st_uid, False
        name = f".probe-{_token()}.tmp"
        try:
            file = self.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except OSError:
            return os.geteuid(), False
        try:
            made = os.fstat(file)
        finally:
            os.close(file)
            self.remove(name)
        return made.st_uid, _writable(made)

    def _check(self, about: os.stat_result) -> None:
        """Refuse what another than the folder's owner has put there, or could have written."""
        found = {"": "others may write it" if _writable(about) else ""}
        with os.scandir(self.file) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # a run at work has renamed it
                    found[entry.name] = _foreign(entry.stat(follow_symlinks=False), about.st_uid)
        for name, reason in found.items():
            check(
                not reason,
                f"nothing in {self.path} can be believed, as {reason}{f' ({name})' * bool(name)}: "
                "if you trust all who may write there, remove such files and chmod -R go-w "
                f"{self.path}; else remove the folder",
            )

    @property
    def number(self) -> int:
        """Its number in its file system, the same on every host, whatever its name becomes."""
        return os.fstat(self.file).st_ino

    @property
    def place(self) -> Path:
        """A path that leads to this folder whatever becomes of its name.

        It is for libraries that take nothing else. On systems without ``/proc`` it is its name.
        """
        place = Path(f"/proc/self/fd/{self.file}")
        return place if place.is_dir() else self.path

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open a file and return its descriptor; one that is made is for this user alone.

        Raises:
            OSError: As `os.open`, and if it is a link.
            InputError: If it is a device, pipe or folder.
        """
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            file = os.open(name, flags, 0o600, dir_fd=self.file)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path / name)) from error
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise InputError(f"{self.path / name} is not a file")
        return file

    def reading(self, name: str) -> BinaryIO:
        """Open a file to read it."""
        return os.fdopen(self.open(name), "rb")

    @contextlib.contextmanager
    def replacing(self, name: str) -> Iterator[int]:
        """Yield the descriptor of a new file that gets a name once the block has succeeded.

        Raises:
            OSError: If the disk is full or fails; its text names the file.
        """
        beside = f".{name}-{_token()}.tmp"
        try:
            file = self.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            try:
                yield file
                os.fsync(file)
            finally:
                os.close(file)
            self.rename(beside, name)
            self.sync()
        except OSError as error:
            raise OSError(f"cannot write {self.path / name}: {error.strerror or error}") from error
        finally:
            with contextlib.suppress(OSError):
                self.remove(beside)

    def names(self, *patterns: str) -> list[str]:
        """List the files whose names match one of some shell patterns, sorted."""
        there = sorted(os.listdir(self.file))
        return [name for name in there if any(fnmatch.fnmatchcase(name, p) for p in patterns)]

    def stat(self, name: str) -> os.stat_result | None:
        """Look at a file, or a link itself; None if there is none."""
        try:
            return os.stat(name, dir_fd=self.file, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def rename(self, name: str, new: str, within: Folder | None = None) -> None:
        """Rename a file, or move it to another folder; a file of that name is replaced."""
        target = self if within is None else within
        os.rename(name, new, src_dir_fd=self.file, dst_dir_fd=target.file)

    def remove(self, *names: str) -> None:
        """Remove files, if they are there."""
        for name in names:
            try:
                os.unlink(name, dir_fd=self.file)
            except FileNotFoundError:
                pass
            except OSError as error:
                path = self.path / name
                raise OSError(f"cannot write {path}: {error.strerror or error}") from error

    def sync(self) -> None:
        """Flush the names in it to disk."""
        os.fsync(self.file)

    def remove_itself(self) -> None:
        """Remove it if it is empty and still has its name."""
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(self.file), os.lstat(self.path)):
                os.rmdir(self.path)

    def close(self) -> None:
        """Close it; nothing happens the second time."""
        self._close()


def _token() -> str:
    return secrets.token_hex(_TOKEN_BYTES)


def _not_ours(path: Path, owner: int) -> InputError:
    name, this = user(owner), user(os.geteuid())
    return InputError(
        f"{path} is a folder of {name}, and closed to {this}: let {name} go on with it, or give "
        "another --out"
    )


def user(number: int) -> str:
    """Name a user."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _writable(about: os.stat_result) -> bool:
    """Tell whether others than the owner may write."""
    return bool(about.st_mode & _OTHERS_WRITE)


def _foreign(about: os.stat_result, owner: int) -> str:
    """Say in what way a file may be another's than the owner's; empty if it is not."""
    if stat.S_ISLNK(about.st_mode):
        return "it has a link"
    if about.st_uid != owner:
        return f"it has a file of {user(about.st_uid)}"
    if _writable(about):
        return "others may write a file in it"
    if stat.S_ISREG(about.st_mode) and about.st_nlink > 1:
        return "it has a file that is elsewhere, too"
    return ""
