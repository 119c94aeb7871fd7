"""The journal: of files that are cut, flipped, foreign or full, a block is whole or it is none."""

from __future__ import annotations

import dataclasses
import errno
import os

import numpy as np
import pytest

from surrogates.data import SOLVER, Dataset, Info, Status, assign_split
from surrogates.folders import Folder
from surrogates.pde.ensemble import journal as module
from surrogates.pde.ensemble.journal import Journal, Writer

TOTAL = 40
INFO = Info(
    problem="toy",
    config="[mesh]\nn = 3\n",
    design="box",
    seed=3,
    split="0.5/0.25/0.25",
    total=TOTAL,
    y_names=("a", "b"),
    y_units=("1", "1"),
    y_lower=np.zeros(2),
    y_upper=np.ones(2),
    c_names=("u", "v", "w"),
    c_units=("V", "V", "V"),
)


def samples(start: int, stop: int, *, maker: int = 0, failing: int = 0, info: Info = INFO):
    """Samples of a set; of all numbers k, the k-th sample's failed if ``failing`` divides it."""
    numbers = np.arange(start, stop)
    rng = np.random.default_rng(numbers)
    n, n_y, n_c = len(numbers), len(info.y_names), len(info.c_names)
    bad = numbers % failing == 0 if failing else np.zeros(n, dtype=bool)
    C = rng.standard_normal((n, n_c))
    C[bad] = np.nan
    solver = np.zeros(n, SOLVER)
    solver["iterations"], solver["residual"], solver["seconds"] = numbers, 1e-9, 0.25
    return Dataset(
        info=dataclasses.replace(info, first=start),
        Y=rng.uniform(size=(n, n_y)),
        C=C,
        status=np.where(bad, Status.FAILED, Status.DONE).astype(np.uint8),
        split=assign_split(info.split, info.total, info.seed)[start:stop],
        failure=[f"diverged: ü {k}" if b else "" for k, b in zip(numbers, bad, strict=True)],
        solver=solver,
        dC_dY=rng.standard_normal((n, n_c, n_y)) if info.tangents else None,
        made_by=np.full(n, maker, np.uint16),
    )


def equal(a: Dataset, b: Dataset) -> bool:
    """Whether two pieces are alike, bit for bit."""
    names = ["Y", "C", "status", "split", "solver", "made_by"]
    names += ["dC_dY"] if a.dC_dY is not None or b.dC_dY is not None else []
    arrays = [(getattr(a, name), getattr(b, name)) for name in names]
    return (
        a.info.first == b.info.first
        and a.failure == b.failure
        and all(x.dtype == y.dtype and x.shape == y.shape for x, y in arrays)
        and all(x.tobytes() == y.tobytes() for x, y in arrays)
    )


@pytest.fixture
def journal(tmp_path) -> Journal:
    return Journal(Folder.made(tmp_path), INFO)


def written(journal: Journal, name: str, *pieces: Dataset) -> list[bytes]:
    """Write a file of blocks; give them one by one."""
    blocks = [journal.pack(piece) for piece in pieces]
    (journal.folder.path / name).write_bytes(b"".join(blocks))
    return blocks


def whole(journal: Journal) -> list[Dataset]:
    """All samples in sealed files whose blocks are whole."""
    blocks = [block for path in journal.sealed() for block in journal.blocks(path)]
    return [data for block in blocks if (data := journal.read(block)) is not None]


@pytest.mark.parametrize("tangents", [False, True])
@pytest.mark.parametrize("failing", [0, 1, 3])
def test_what_a_journal_has_is_read_again_bit_for_bit(tmp_path, tangents, failing):
    info = dataclasses.replace(INFO, tangents=tangents)
    journal = Journal(Folder.made(tmp_path), info)
    pieces = [
        samples(start, stop, maker=start % 3, failing=failing, info=info)
        for start, stop in [(7, 12), (0, 1), (12, 40)]
    ]
    writer = Writer(journal)
    for piece in pieces:
        writer.append(piece)
    assert journal.sealed() == [] and len(journal.unsealed()) == 1
    writer.close()
    assert len(journal.sealed()) == 1 and journal.unsealed() == []
    assert all(map(equal, whole(journal), pieces))
    blocks = list(journal.blocks(journal.sealed()[0]))
    assert [(b.start, b.count) for b in blocks] == [(7, 5), (0, 1), (12, 28)]
    assert [b.failed for b in blocks] == [(p.status == Status.FAILED).sum() for p in pieces]
    assert [b.maker for b in blocks] == [1, 0, 0]
    assert list(journal.damage()) == []


def test_a_writer_starts_a_new_file_when_one_is_large(journal, monkeypatch):
    size = len(journal.pack(samples(0, 4)))
    monkeypatch.setattr(module, "_FILE_BYTES", 2 * size)
    writer = Writer(journal)
    for start in range(0, 20, 4):
        writer.append(samples(start, start + 4))
    writer._settle()  # a listing may miss a file that is renamed meanwhile
    assert journal.sealed() and len(journal.files()) == 3
    writer.close()
    writer.close()
    assert journal.unsealed() == []
    assert sorted(path.stat().st_size for path in journal.sealed()) == [size, 2 * size, 2 * size]
    assert sorted(piece.info.first for piece in whole(journal)) == [0, 4, 8, 12, 16]


def test_a_writer_without_samples_leaves_no_file(journal):
    Writer(journal).close()
    assert list(journal.folder.path.iterdir()) == []


def test_a_file_cut_at_any_byte_of_its_last_block_keeps_all_before(journal):
    pieces = [samples(0, 3), samples(3, 5, failing=4), samples(5, 6)]
    blocks = written(journal, "shard-a.part", *pieces)
    content = b"".join(blocks)
    for cut in range(len(blocks[2]) + 1):
        (journal.folder.path / "shard-a.part").write_bytes(content[: len(content) - cut])
        journal.recover()
        kept = pieces if cut == 0 else pieces[:2]
        found = whole(journal)
        assert len(found) == len(kept) and all(map(equal, found, kept))
        (shard,) = journal.sealed()
        assert journal.unsealed() == [] and list(journal.damage()) == []
        shard.unlink()


def test_a_file_cut_within_its_first_block_is_removed(journal):
    (block,) = written(journal, "shard-a.part", samples(0, 2))
    for size in (0, 1, 21, 22, len(block) - 1):
        (journal.folder.path / "shard-a.part").write_bytes(block[:size])
        journal.recover()
        assert list(journal.folder.path.iterdir()) == []


def test_any_flipped_bit_of_a_sealed_file_is_noticed(journal):
    pieces = [samples(0, 1), samples(1, 3, failing=2)]
    content = b"".join(written(journal, "shard-a.shard", *pieces))
    path = journal.folder.path / "shard-a.shard"
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        found = whole(journal)
        assert len(found) < 2, bit
        assert all(any(equal(data, piece) for piece in pieces) for data in found), bit
        ((named, lost),) = journal.damage()
        assert named == path, bit
        assert "samples" in lost or "after byte" in lost


def test_a_flipped_bit_costs_its_block_alone_where_the_header_is_whole(journal):
    blocks = written(journal, "shard-a.shard", samples(0, 5), samples(5, 9), samples(9, 12))
    path = journal.folder.path / "shard-a.shard"
    content = bytearray(path.read_bytes())
    content[len(blocks[0]) + 22] ^= 1
    path.write_bytes(content)
    assert list(journal.damage()) == [(path, "samples 5 to 8")]
    assert [piece.info.first for piece in whole(journal)] == [0, 9]
    with pytest.raises(OSError, match=r"samples 5 to 8 are lost; .* --repair"):
        list(journal.pieces())
    journal.drop(damaged=True, failed=False)
    assert list(journal.damage()) == []
    assert [piece.info.first for piece in whole(journal)] == [0, 9]
    assert path.read_bytes() == blocks[0] + blocks[2]


def test_any_flipped_bit_of_an_open_file_costs_what_comes_from_there_on(journal):
    pieces = [samples(0, 1), samples(1, 2), samples(2, 3)]
    blocks = written(journal, "shard-a.part", *pieces)
    content, first = b"".join(blocks), len(blocks[0])
    for bit in range(8 * first, 8 * (first + len(blocks[1])), 5):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        (journal.folder.path / "shard-a.part").write_bytes(flipped)
        journal.recover()
        found = whole(journal)
        assert len(found) == 1 and equal(found[0], pieces[0])
        journal.sealed()[0].unlink()


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 4},
        {"problem": "tox"},
        {"config": "[mesh]\nn = 4\n"},
        {"design": "simplex"},
        {"total": TOTAL + 1},
        {"source": "1"},
        {"inputs": {"helper.py": "1"}},
    ],
)
def test_a_block_of_another_set_is_none_of_this_one(journal, other):
    foreign = Journal(journal.folder, dataclasses.replace(INFO, **other))
    content = b"".join(written(foreign, "shard-a.shard", samples(0, 2), samples(2, 4)))
    assert len(whole(foreign)) == 2
    assert whole(journal) == []
    assert list(journal.damage()) == [
        (journal.folder.path / "shard-a.shard", "everything after byte 0")
    ]
    # Not even in the midst of one of this set, at a place where a header is looked for.
    own = journal.pack(samples(4, 6))
    (journal.folder.path / "shard-a.shard").write_bytes(own + content)
    assert [piece.info.first for piece in whole(journal)] == [4]


def test_drop_takes_failed_samples_out_and_leaves_the_rest_as_it_is(journal):
    blocks = written(journal, "shard-a.shard", samples(1, 3), samples(3, 6, failing=4))
    written(journal, "shard-b.shard", samples(8, 9, failing=8))
    untouched = written(journal, "shard-c.shard", samples(9, 12))
    before = (journal.folder.path / "shard-c.shard").stat()
    journal.drop(damaged=False, failed=True)
    assert [path.name for path in journal.sealed()] == ["shard-a.shard", "shard-c.shard"]
    assert (journal.folder.path / "shard-a.shard").read_bytes() == blocks[0]
    assert (journal.folder.path / "shard-c.shard").read_bytes() == b"".join(untouched)
    after = (journal.folder.path / "shard-c.shard").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_pieces_come_in_order_and_each_sample_once(journal):
    written(journal, "shard-a.shard", samples(12, 20), samples(4, 10))
    written(journal, "shard-b.shard", samples(0, 6), samples(10, 13), samples(14, 17))
    pieces = list(journal.pieces())
    rows = np.concatenate([piece.solver["iterations"] for piece in pieces])
    assert rows.tolist() == list(range(20))
    expected = samples(0, 6).C.tolist() + samples(4, 10).C[2:].tolist()
    assert np.concatenate([piece.C for piece in pieces])[:10].tolist() == expected
    for piece in pieces:
        assert {len(piece.Y), len(piece.C), len(piece.status), len(piece.split)} == {
            len(piece.failure)
        }


def test_pieces_read_a_damaged_block_only_if_no_other_has_its_samples(journal):
    written(journal, "shard-a.shard", samples(0, 5))
    written(journal, "shard-b.shard", samples(1, 3))
    path = journal.folder.path / "shard-b.shard"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert sum(len(piece.Y) for piece in journal.pieces()) == 5


def test_a_block_whose_file_was_cut_is_damaged(journal):
    written(journal, "shard-a.shard", samples(0, 2))
    path = journal.folder.path / "shard-a.shard"
    (block,) = journal.blocks(path)
    for size in (0, 3, 22, path.stat().st_size - 1):
        os.truncate(path, size)
        assert journal.read(block) is None
        written(journal, "shard-a.shard", samples(0, 2))


class Full:
    """A disk with room for some bytes more: `os.write` as it is when it fills up."""

    def __init__(self, room: int, number: int = errno.ENOSPC) -> None:
        self.room, self.number = room, number
        self._write = os.write

    def write(self, file: int, content) -> int:
        size = min(len(content), self.room)
        if not size:
            raise OSError(self.number, os.strerror(self.number))
        self.room -= size
        return self._write(file, content[:size])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fills_up_at_any_byte_leaves_whole_blocks(journal, monkeypatch, number):
    pieces = [samples(0, 2), samples(2, 3)]
    size = [len(journal.pack(piece)) for piece in pieces]
    for room in range(size[0], sum(size), 7):
        writer = Writer(journal)
        disk = Full(room, number)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", disk.write)
            writer.append(pieces[0])
            with pytest.raises(OSError, match=f"^cannot write .*part: {os.strerror(number)}$"):
                writer.append(pieces[1])
        (path,) = journal.unsealed()
        assert path.stat().st_size == size[0]
        writer.append(pieces[1])  # once there is room
        writer.close()
        assert all(map(equal, whole(journal), pieces))
        journal.sealed()[0].unlink()


def test_a_disk_full_from_the_first_byte_on_leaves_no_file(journal, monkeypatch):
    writer = Writer(journal)
    monkeypatch.setattr(os, "write", Full(0).write)
    with pytest.raises(OSError, match="cannot write"):
        writer.append(samples(0, 2))
    writer.close()
    assert list(journal.folder.path.iterdir()) == []


def test_a_disk_that_fails_at_the_end_is_an_error_that_names_the_file(journal, monkeypatch):
    writer = Writer(journal)
    writer.append(samples(0, 2))

    def fail(file: int) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="^cannot write .*part: Read-only file system$"):
            writer.close()
    journal.recover()
    assert [piece.info.first for piece in whole(journal)] == [0]


def test_what_is_appended_is_synced_and_before_the_rename(journal, monkeypatch):
    calls = []
    sync, rename = os.fsync, os.rename

    def fsync(file: int) -> None:
        calls.append(os.path.basename(os.readlink(f"/proc/self/fd/{file}")))
        sync(file)

    def renamed(path, target, **where):
        calls.append("rename")
        rename(path, target, **where)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", renamed)
    writer = Writer(journal)
    writer.append(samples(0, 2))
    (path,) = journal.unsealed()
    writer.close()
    assert calls == [path.name, "rename", journal.folder.path.name]


def test_the_journal_is_synced_once_a_second(journal, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    writer = Writer(journal)
    for second in (0.0, 0.5, 0.9, 1.1, 1.5, 2.0, 2.2):
        now[0] = 100.0 + second
        writer.append(samples(0, 1))
    writer.close()
    assert len(synced) == 2


def test_a_disk_that_cannot_be_read_is_damage(journal, monkeypatch):
    written(journal, "shard-a.shard", samples(0, 2), samples(2, 4), samples(4, 6))
    path = journal.folder.path / "shard-a.shard"
    second = list(journal.blocks(path))[1]
    read = module._read

    def failing(bad: range):
        def fail(file, offset, size):
            if offset < bad.stop and bad.start < offset + size:
                file = Unreadable()
            return read(file, offset, size)

        return fail

    content = range(second.offset + 30, second.offset + 40)
    for bad, lost in (
        (content, "samples 2 to 3"),
        (range(second.offset, second.offset + 1), f"everything after byte {second.offset}"),
    ):
        monkeypatch.setattr(module, "_read", failing(bad))
        assert list(journal.damage()) == [(path, lost)]


class Unreadable:
    def seek(self, offset: int) -> None:
        pass

    def read(self, size: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
