"""The journal of a run: the samples that it has finished, in the folder ``<out>.parts``.

At the end of the run the journal becomes one dataset file. Only its user can use the folder
(`folders.Folder`). The folder holds ``description.h5``, a dataset file without samples that
describes the set, and the journal's files. A file is a sequence of blocks, each with consecutive
samples; all numbers are little-endian:

    crc      uint32   CRC-32 of the header's fields below and of the content
    size     uint32   bytes of the content
    start    uint32   first sample
    count    uint16   samples
    failed   uint16   how many of them failed
    maker    uint16   index into the makers of the description
    check    uint16   low half of the CRC-32 of the fields above
    content           status (n,) uint8, solver (n,) `SOLVER`, Y (n, n_y), C (n, n_c), the arrays
                      of derivatives if there are any (`surrogates.data.derivatives.shapes`), and,
                      if a sample failed, the reasons, UTF-8, with a zero byte between them

Both checksums are seeded by the set's identity, so that blocks of another set fail verification.
Each writer appends to an open file of its own, ``shard-<token>.part``, and syncs it every second
or so. Once the file is large, it is sealed: renamed to ``shard-<token>.shard``, and never changed
again. A killed writer leaves an open file whose last block may be cut short; `Journal.recover`
keeps the whole blocks. A restarted run reads only the headers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import math
import os
import secrets
import struct
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from surrogates.data import SOLVER, Dataset, Info, assign_split, read_info
from surrogates.data.derivatives import shapes
from surrogates.data.format import FAILURE_BYTES, fill
from surrogates.errors import InputError
from surrogates.files import hdf5
from surrogates.folders import Folder, named

DESCRIPTION = "description.h5"
_BLOCK_BYTES = 16 << 20  # largest block, unless one batch is larger
_FILE_BYTES = 32 << 20
_SYNC_SECONDS = 1.0
_HEADER = struct.Struct("<IIIHHHH")


@dataclass(frozen=True, kw_only=True)
class Block:
    """The place of consecutive samples.

    Attributes:
        path: The file.
        offset: Byte at which its header begins.
        size: Bytes of the content.
        start: First sample.
        count: Number of samples.
        failed: How many of them failed.
        maker: Index into the makers of the set.
    """

    path: Path
    offset: int
    size: int
    start: int
    count: int
    failed: int
    maker: int


_Columns = list[tuple[str, Any, tuple[int, ...]]]


def _columns(info: Info) -> _Columns:
    """Return name, type and shape of each array of a block, for one sample."""
    n_y, n_c = len(info.y_names), len(info.c_names)
    columns: _Columns = [
        ("status", np.dtype(np.uint8), ()),
        ("solver", SOLVER, ()),
        ("Y", np.dtype("<f8"), (n_y,)),
        ("C", np.dtype("<f8"), (n_c,)),
    ]
    columns += [(name, np.dtype("<f8"), shape) for name, shape in shapes(info).items()]
    return columns


def _bytes(columns: _Columns) -> int:
    return sum(int(dtype.itemsize) * math.prod(shape) for _, dtype, shape in columns)


def largest(info: Info) -> int:
    """Return the largest number of samples of a block."""
    return min(2**16 - 1, (2**32 - 1) // (_bytes(_columns(info)) + FAILURE_BYTES))


def described(folder: Folder) -> Info:
    """Read the description of the set whose journal is in a folder.

    Raises:
        InputError: If the description is missing, or not whole.
    """
    path = folder.path / DESCRIPTION
    try:
        with folder.reading(DESCRIPTION) as file:
            return read_info(path, file)[0]
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}") from error


def describe(folder: Folder, info: Info) -> None:
    """Write the description of the set, whole or not at all."""
    with folder.replacing(DESCRIPTION) as descriptor, hdf5(descriptor) as file:
        fill(file, info, 0, [])


class Journal:
    """The samples of one set that its runs have finished.

    Attributes:
        folder: The folder with its files.
        info: The description of the set.
        most: Number of samples of a block of the preferred size.
    """

    def __init__(self, folder: Folder, info: Info) -> None:
        """Open a journal; it may be empty.

        Args:
            folder: The folder with its files.
            info: The description of the set.
        """
        self.folder = folder
        self.info = info
        identity = [info.problem, info.config, info.design, info.seed, info.total, info.source]
        if info.inputs:  # older versions have none
            identity.append(sorted(info.inputs.items()))
        if info.directions or info.adjoints:
            identity.append([info.directions, info.adjoints])
        self._seed = zlib.crc32(json.dumps(identity).encode())
        self._columns = _columns(info)
        self.most = max(1, min(2**16 - 1, _BLOCK_BYTES // _bytes(self._columns)))

    @cached_property
    def _split(self) -> npt.NDArray[np.uint8]:
        """The split of the whole set, for readers."""
        return assign_split(self.info.split, self.info.total, self.info.seed)

    def pack(self, data: Dataset) -> bytes:
        """Return the block of consecutive samples of one maker, from ``data.info.first`` on."""
        count, failed = len(data.failure), sum(map(bool, data.failure))
        content: list[Any] = [
            np.ascontiguousarray(getattr(data, name), dtype) for name, dtype, _ in self._columns
        ]
        size = sum(array.nbytes for array in content)
        if failed:
            content.append("\0".join(data.failure).encode())
            size += len(content[-1])
        fields = struct.pack("<IIHHH", size, data.info.first, count, failed, data.made_by[0])
        crc = struct.pack("<I", self._crc(fields, *content))
        check = struct.pack("<H", self._crc(crc, fields) & 0xFFFF)
        return b"".join([crc, fields, check, *content])

    def read(self, block: Block) -> Dataset | None:
        """Read a block, with ``info.first`` its first sample; None if it is damaged."""
        with self.folder.reading(block.path.name) as file:
            raw = _read(file, block.offset, _HEADER.size + block.size)
        content = memoryview(raw)[_HEADER.size :]
        if len(raw) != _HEADER.size + block.size:
            return None
        if self._crc(raw[4:18], content) != struct.unpack_from("<I", raw)[0]:
            return None
        n, reached = block.count, 0
        arrays: dict[str, Any] = {}
        for name, dtype, shape in self._columns:
            size = n * math.prod(shape)
            arrays[name] = np.frombuffer(content, dtype, size, reached).reshape(n, *shape)
            reached += size * dtype.itemsize
        reasons = bytes(content[reached:]).decode()
        return Dataset(
            info=dataclasses.replace(self.info, first=block.start),
            split=self._split[block.start : block.start + n],
            failure=reasons.split("\0") if block.failed else [""] * n,
            made_by=np.full(n, block.maker, np.uint16),
            **arrays,
        )

    def _crc(self, *parts: Any) -> int:
        crc = self._seed
        for part in parts:
            crc = zlib.crc32(part, crc)
        return crc

    def blocks(self, path: Path) -> Iterator[Block]:
        """Yield the blocks of a file, up to the first that is cut short or has a wrong header."""
        with os.fdopen(self.folder.open(path.name), "rb", buffering=0) as file:
            end = os.fstat(file.fileno()).st_size
            offset = 0
            while len(raw := _read(file, offset, _HEADER.size)) == _HEADER.size:
                _, size, start, count, failed, maker, check = _HEADER.unpack(raw)
                reached = offset + _HEADER.size + size
                if check != self._crc(raw[:18]) & 0xFFFF or reached > end:
                    return
                yield Block(
                    path=path,
                    offset=offset,
                    size=size,
                    start=start,
                    count=count,
                    failed=failed,
                    maker=maker,
                )
                offset = reached

    def files(self) -> list[Path]:
        """List all files, sealed or open."""
        return self.sealed() + self.unsealed()

    def all_blocks(self) -> list[Block]:
        """List the blocks of all files."""
        return [block for path in self.files() for block in self.blocks(path)]

    def sealed(self) -> list[Path]:
        """List the sealed files."""
        return self._files("shard-*.shard")

    def unsealed(self) -> list[Path]:
        """List the open files of active or killed writers."""
        return self._files("shard-*.part")

    def _files(self, pattern: str) -> list[Path]:
        return [self.folder.path / name for name in self.folder.names(pattern)]

    def recover(self) -> None:
        """Seal the open files of killed writers; no writer may be active."""
        for path in self.unsealed():
            end = 0
            for block in self.blocks(path):
                if self.read(block) is None:
                    break
                end = block.offset + _HEADER.size + block.size
            if end:
                file = self.folder.open(path.name, os.O_WRONLY)
                try:
                    os.ftruncate(file, end)
                    os.fsync(file)
                finally:
                    os.close(file)
                self.folder.rename(path.name, _sealed(path).name)
            else:
                self.folder.remove(path.name)
        self.folder.sync()

    def damage(self) -> Iterator[tuple[Path, str]]:
        """Read all sealed files; yield each damaged one, and the lost part in words."""
        for path in self.sealed():
            lost, end = [], 0
            for block in self.blocks(path):
                if self.read(block) is None:
                    lost.append(f"samples {block.start} to {block.start + block.count - 1}")
                end = block.offset + _HEADER.size + block.size
            if end != self._size(path):
                lost.append(f"everything after byte {end}")
            if lost:
                yield path, " and ".join(lost)

    def drop(self, *, damaged: bool, failed: bool) -> None:
        """Remove damaged blocks, or blocks with a failed sample, from the sealed files."""
        for path in self.sealed():
            blocks = list(self.blocks(path))
            kept = [
                block
                for block in blocks
                if not (failed and block.failed) and not (damaged and self.read(block) is None)
            ]
            size = sum(_HEADER.size + block.size for block in kept)
            if not kept:
                self.folder.remove(path.name)
            elif size != self._size(path) and (damaged or len(kept) < len(blocks)):
                with (
                    self.folder.replacing(path.name) as new,
                    self.folder.reading(path.name) as old,
                ):
                    for block in kept:
                        old.seek(block.offset)
                        _write(new, old.read(_HEADER.size + block.size))

    def _size(self, path: Path) -> int:
        about = self.folder.stat(path.name)
        return 0 if about is None else about.st_size

    def pieces(self) -> Iterator[Dataset]:
        """Yield all samples in their order; if a sample is there twice, the first copy.

        Raises:
            OSError: If a block is damaged.
        """
        reached = 0
        for block in sorted(self.all_blocks(), key=lambda block: block.start):
            stop = block.start + block.count
            if stop <= reached:
                continue
            data = self.read(block)
            if data is None:
                raise OSError(
                    f"{block.path} is damaged: samples {block.start} to {stop - 1} are lost; the "
                    "same command with --repair solves for them again"
                )
            yield data.rows(slice(max(0, reached - block.start), None))
            reached = stop


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    """Read some bytes: fewer at the end of the file, none if the disk fails."""
    file.seek(offset)
    try:
        return file.read(size)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""


def _write(file: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(file, rest) :]


def _sealed(path: Path) -> Path:
    """Return the name of a file after sealing."""
    return path.with_suffix(".shard")


class Writer:
    """Appends whole blocks of samples to a journal, and soon syncs them to disk."""

    def __init__(self, journal: Journal) -> None:
        """Prepare; the file is made with the first block."""
        self._journal = journal
        self._file: int | None = None
        self._path = journal.folder.path
        self._size = 0
        self._due = 0.0
        # A full file is synced while the next one is written.
        self._background = ThreadPoolExecutor(max_workers=1)
        self._sealing: Future[None] | None = None

    def append(self, data: Dataset) -> None:
        """Append consecutive samples of one maker; the first is ``data.info.first``.

        Raises:
            OSError: If the disk is full or fails; the file is left as it was before.
        """
        block = self._journal.pack(data)
        try:
            if self._file is None:
                folder = self._journal.folder
                self._path = folder.path / f"shard-{secrets.token_hex(8)}.part"
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
                self._file, self._size = folder.open(self._path.name, flags), 0
                self._due = time.monotonic() + _SYNC_SECONDS
            _write(self._file, block)
            self._size += len(block)
            if (begun := time.monotonic()) > self._due:
                os.fdatasync(self._file)
                # A shared disk may be slow: syncs take at most a twentieth of the time.
                now = time.monotonic()
                self._due = now + max(_SYNC_SECONDS, 20 * (now - begun))
        except OSError as error:
            if self._file is not None:
                with contextlib.suppress(OSError):  # the next run ignores a cut block
                    os.ftruncate(self._file, self._size)
            raise OSError(f"cannot write {self._path}: {error.strerror}") from error
        if self._size >= _FILE_BYTES:
            self._seal()

    def close(self) -> None:
        """Seal the file.

        Raises:
            OSError: If the disk fails; the next run finds what was synced before.
        """
        try:
            if self._file is not None:
                self._seal()
            self._settle()
        finally:
            self._background.shutdown()

    def _seal(self) -> None:
        file, self._file = self._file, None
        assert file is not None
        try:
            self._settle()
        finally:
            self._sealing = self._background.submit(
                _seal, self._journal.folder, file, self._path, self._size
            )

    def _settle(self) -> None:
        sealing, self._sealing = self._sealing, None
        if sealing is not None:
            sealing.result()


def _seal(folder: Folder, file: int, path: Path, size: int) -> None:
    """Seal a file: it never changes from then on."""
    with named(path):
        try:
            os.fsync(file)
        finally:
            os.close(file)
        if size:
            folder.rename(path.name, _sealed(path).name)
        else:
            folder.remove(path.name)
        folder.sync()
