"""Open folders that only one user may write.

Other users may share the parent folder, and may rename, replace or link its entries at any moment.
Operations through the descriptor of an open folder take place in that folder, whatever has its name
by now. Its owner and permissions are checked through the descriptor too.
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
"""Shell pattern of temporary names; only a killed process leaves such files behind."""

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Folder:
    """An open folder; methods take the names of its files without the folder's path.

    Attributes:
        path: The path that it had when it was opened, for messages.
        file: Its descriptor.
    """

    def __init__(self, path: Path, file: int) -> None:
        """Wrap an open folder without checks.

        Args:
            path: Its path.
            file: Its descriptor, which this object closes.
        """
        self.path = path
        self.file = file
        self._close = weakref.finalize(self, os.close, file)

    @classmethod
    def around(cls, path: Path) -> Folder:
        """Open the folder of a file; others may be allowed to write in it."""
        return cls(path.parent, os.open(path.parent, _OPEN))

    @classmethod
    def made(cls, path: Path) -> Folder:
        """Open a folder of this user, or make one that is closed to all others.

        Raises:
            InputError: If it is a link or not a folder, belongs to another user, or others could
                have written its contents.
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
        """Close it to all others: earlier versions made folders that others can read."""
        if stat.S_IMODE(os.fstat(self.file).st_mode) & 0o077:
            os.fchmod(self.file, 0o700)

    @contextlib.contextmanager
    def private(self, name: str) -> Iterator[Folder]:
        """Make a temporary folder in this one that is closed to all others.

        On a file system without permissions it is as open as everything else there.

        Raises:
            OSError: If it cannot be made.
            InputError: If another user replaces it meanwhile.
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
        """Open a folder of any user for reading.

        Raises:
            InputError: If it is a link or not a folder, this user may not read it, or others than
                its owner could have written its contents.
        """
        folder = cls._opened(path)
        folder._check(os.fstat(folder.file))
        return folder

    @classmethod
    def again(cls, path: Path, number: int) -> Folder:
        """Open a folder that another process of this run has open.

        Args:
            path: Its path.
            number: The other process's `number` of it.

        Raises:
            InputError: As for `there`, and if it is not the same folder.
        """
        folder = cls.there(path) if path.exists() else None
        if folder is None or folder.number != number:
            raise InputError(
                f"{path} is not the folder that rank 0 has: it was replaced meanwhile, or is on a "
                "disk of one host alone; give an --out that all processes see"
            )
        return folder

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the path and number: another process opens the folder itself."""
        return Folder.again, (self.path, self.number)

    def inner(self, name: str) -> Folder:
        """Open a folder in this one without checks; errors are those of `there`."""
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
        """Return the owner that new files get here, and whether others may write them.

        The owner is another user where NFS maps root to nobody, or where a mount has one user for
        all files. Others may write on a file system without permissions. If the folder itself
        looks as expected, no file is made to find out.
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
        """Refuse contents that others than the folder's owner have made, or could have written."""
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
        """Its inode number: the same on every host, even if the folder is renamed."""
        return os.fstat(self.file).st_ino

    @property
    def place(self) -> Path:
        """A path that leads to this folder even if it is renamed.

        It is for libraries that take only paths. On systems without ``/proc`` it is `path`.
        """
        place = Path(f"/proc/self/fd/{self.file}")
        return place if place.is_dir() else self.path

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open a file and return its descriptor; a new file is closed to all others.

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
        """Open a file for reading."""
        return os.fdopen(self.open(name), "rb")

    @contextlib.contextmanager
    def replacing(self, name: str, *, sync: bool = True) -> Iterator[int]:
        """Yield the descriptor of a new file that replaces a file once the block has succeeded.

        This is for a folder that is closed to all others. `surrogates.files.atomic` replaces a file
        in any folder, by the same steps in a private folder.

        Args:
            name: The name of the file.
            sync: Whether to flush the new file to disk first, so that a crash leaves one of the two
                files whole.

        Raises:
            OSError: If the disk is full or fails; its text names the file.
        """
        beside = f".{name}-{_token()}.tmp"
        with named(self.path / name):
            with self.moved(beside, name):
                file = self.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL)
                try:
                    yield file
                    if sync:
                        os.fsync(file)
                finally:
                    os.close(file)
            if sync:
                self.sync()

    @contextlib.contextmanager
    def moved(self, beside: str, name: str, within: Folder | None = None) -> Iterator[None]:
        """Rename a file that the block writes once it has succeeded; remove it if it has not.

        Args:
            beside: Its name in this folder.
            name: The name that it gets; a file with that name is replaced.
            within: The folder that it is moved to; this one if None.
        """
        try:
            yield
            self.rename(beside, name, within)
        finally:
            with contextlib.suppress(OSError):
                self.remove(beside)

    def names(self, *patterns: str) -> list[str]:
        """List the files whose names match one of the shell patterns, sorted."""
        there = sorted(os.listdir(self.file))
        return [name for name in there if any(fnmatch.fnmatchcase(name, p) for p in patterns)]

    def stat(self, name: str) -> os.stat_result | None:
        """Return the status of a file, or of a link itself; None if there is none."""
        try:
            return os.stat(name, dir_fd=self.file, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def rename(self, name: str, new: str, within: Folder | None = None) -> None:
        """Rename a file, or move it to another folder; a file with the new name is replaced."""
        target = self if within is None else within
        os.rename(name, new, src_dir_fd=self.file, dst_dir_fd=target.file)

    def remove(self, *names: str) -> None:
        """Remove files; ignore those that do not exist."""
        for name in names:
            with named(self.path / name), contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self.file)

    def sync(self) -> None:
        """Flush the folder's entries to disk."""
        os.fsync(self.file)

    def remove_itself(self) -> None:
        """Remove the folder if it is empty and still has its path."""
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(self.file), os.lstat(self.path)):
                os.rmdir(self.path)

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        self._close()


@contextlib.contextmanager
def named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let an error of the disk say which file cannot be written."""
    try:
        yield
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error


def _token() -> str:
    return secrets.token_hex(_TOKEN_BYTES)


def _not_ours(path: Path, owner: int) -> InputError:
    name, this = user(owner), user(os.geteuid())
    return InputError(
        f"{path} is a folder of {name}, and closed to {this}: let {name} go on with it, or give "
        "another --out"
    )


def user(number: int) -> str:
    """Return the name of a user."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _writable(about: os.stat_result) -> bool:
    """Return whether others than the owner may write."""
    return bool(about.st_mode & _OTHERS_WRITE)


def _foreign(about: os.stat_result, owner: int) -> str:
    """Return why a file may come from others than the folder's owner; empty if it cannot."""
    if stat.S_ISLNK(about.st_mode):
        return "it has a link"
    if about.st_uid != owner:
        return f"it has a file of {user(about.st_uid)}"
    if _writable(about):
        return "others may write a file in it"
    if stat.S_ISREG(about.st_mode) and about.st_nlink > 1:
        return "it has a file that is elsewhere, too"
    return ""
