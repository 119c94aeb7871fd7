"""Commands on a disk that is full."""

import contextlib
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from commands import QUICK, names, run, trained

import surrogates
from surrogates.data import Dataset


def on_a_full_disk(
    folder: Path, *words: str, limit: int = 3000, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a process on a full disk, whose limit it inherits."""
    with full_disk(limit):
        return subprocess.run(
            [sys.executable, "-m", "surrogates", *words],
            cwd=folder,
            env={**os.environ, **more},
            capture_output=True,
            text=True,
            timeout=240,
        )


@contextlib.contextmanager
def full_disk(limit: int = 3000) -> Iterator[None]:
    """Let no file have more bytes: the system refuses them, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    "words",
    [
        ("import", "map.npz", "--out", "new.h5", "--split", "60/30/30"),
        ("merge", "map.h5", "--out", "new.h5"),
        ("predict", "map.pt", "--in", "map.h5", "--out", "new.csv"),
        ("predict", "map.pt", "--in", "map.h5", "--out", "new.npy"),
        ("predict", "map.pt", "--in", "map.h5", "--out", "new.h5"),
        ("export", "map.pt", "--format", "c", "--out", "new.c"),
        ("export", "map.pt", "--format", "npz", "--out", "new.npz"),
        ("export", "map.pt", "--format", "pt2", "--out", "new.pt2"),
        ("plot", "parity", "map.pt", "map.h5", "--out", "new.png"),
    ],
    ids=lambda words: f"{words[0]} {words[-1] if words[0] in ('predict', 'export') else ''}",
)
def test_a_disk_that_is_full_is_one_clear_line_and_leaves_nothing_half_written(
    folder, monkeypatch, capsys, words
):
    if "new.pt2" in words:
        pytest.importorskip("torch", minversion="2.6", reason="torch.export cannot before")
    before = names(folder)
    monkeypatch.chdir(folder)
    with full_disk():
        status = run(*words)
    error = capsys.readouterr().err
    assert status == 1, error
    assert error.startswith("error: cannot write new.")
    assert error.count("\n") == 1
    assert names(folder) == before


@pytest.mark.thorough
def test_a_training_whose_surrogate_has_no_room_is_in_its_checkpoint(folder, apart, tmp_path):
    words = ("train", str(folder / "map.h5"), "--out", "new.pt", *QUICK)
    room = (folder / "map.checkpoint").stat().st_size + 4000
    assert room < (folder / "map.pt").stat().st_size
    done = on_a_full_disk(tmp_path, *words, limit=room)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "error: cannot write new.pt: File too large; the training is in new.checkpoint: make room, "
        "and --resume writes it"
    )
    assert names(tmp_path) == ["new.checkpoint"]
    trained(folder, tmp_path / "new.pt", "--resume")
    Y = Dataset.read(folder / "map.h5").Y
    found, expected = (surrogates.load(path).predict(Y) for path in (tmp_path / "new.pt", apart))
    assert np.array_equal(found, expected)


@pytest.mark.thorough
def test_a_training_that_finds_no_room_at_all_says_so_and_leaves_nothing(folder, tmp_path):
    (tmp_path / "temporary").mkdir()
    words = ("train", str(folder / "map.h5"), "--out", "new.pt", *QUICK)
    done = on_a_full_disk(tmp_path, *words, TMPDIR=str(tmp_path / "temporary"))
    assert done.returncode == 1
    warned = [line for line in done.stderr.splitlines() if "new.checkpoint" in line]
    assert warned == [
        f"WARNING: cannot write {tmp_path / 'new.checkpoint'}: File too large; the training goes "
        "on, and tries it again"
    ]
    assert done.stderr.splitlines()[-1] == "error: cannot write new.pt: File too large"
    assert names(tmp_path) == ["temporary"]
    assert names(tmp_path / "temporary") == []


@pytest.mark.thorough
def test_a_surrogate_without_room_is_kept_in_a_temporary_folder(folder, apart, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(disk)]
    able = os.geteuid() == 0 and shutil.which("mount")
    if not able or subprocess.run(mount, capture_output=True, timeout=20).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        words = ("train", str(folder / "map.h5"), "--out", str(disk / "new.pt"), *QUICK)
        done = on_a_full_disk(tmp_path, *words, limit=10**9, TMPDIR=str(tmp_path))
        assert names(disk) == []
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True, timeout=20)
    assert done.returncode == 1
    (kept,) = tmp_path.glob("surrogates-*/new.pt")
    assert done.stderr.splitlines()[-1] == (
        f"error: cannot write {disk / 'new.pt'}: No space left on device; the surrogate is in "
        f"{kept}: move it"
    )
    assert kept.parent.stat().st_mode & 0o077 == 0
    Y = Dataset.read(folder / "map.h5").Y
    expected = surrogates.load(apart).predict(Y)
    assert np.array_equal(surrogates.load(kept).predict(Y), expected)
