from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys

import pytest

from surrogates.errors import InputError
from surrogates.files import atomic, check_writable, reading, remove_leftovers


def test_a_file_appears_whole_and_alone(tmp_path):
    path = tmp_path / "new.txt"
    with atomic(path) as beside:
        beside.write_text("half")
        assert not path.exists()
        assert beside.suffix == ".txt"
        beside.write_text("whole")
    assert path.read_text() == "whole"
    assert os.listdir(tmp_path) == ["new.txt"]


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, fault):
    path = tmp_path / "old.txt"
    path.write_text("before")
    with pytest.raises(fault), atomic(path) as beside:
        beside.write_text("half")
        raise fault
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["old.txt"]


def test_a_failure_before_the_first_file_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic(tmp_path / "new.txt") as beside:
        beside.write_text(str(1 / 0))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_mode_is_that_of_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        with atomic(tmp_path / "new.txt") as beside:
            beside.touch()
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new.txt").stat().st_mode) == mode


def test_a_name_in_the_working_folder_needs_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with atomic("plain") as beside:
        beside.write_text("whole")
    assert os.listdir(tmp_path) == ["plain"]


def test_the_file_behind_a_link_is_replaced_and_not_the_link(tmp_path):
    (tmp_path / "real").write_text("before")
    (tmp_path / "link").symlink_to("real")
    with atomic(tmp_path / "link") as beside:
        beside.write_text("whole")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "whole"
    (tmp_path / "lost").symlink_to(tmp_path / "absent" / "real")
    with pytest.raises(InputError, match="there is no folder .*absent"):
        check_writable(tmp_path / "lost")


def test_a_path_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    for path, message in (
        (tmp_path, "is a folder; give the name of a file"),
        (tmp_path / "absent" / "a.h5", f"there is no folder {tmp_path / 'absent'}"),
        (tmp_path / "file" / "a.h5", f"there is no folder {tmp_path / 'file'}"),
    ):
        for refuse in (check_writable, lambda p: atomic(p).__enter__()):
            with pytest.raises(InputError) as caught:
                refuse(path)
            assert message in str(caught.value) and "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("protect", ["folder", "file"])
def test_missing_permission_is_refused(tmp_path, monkeypatch, protect):
    path = tmp_path / "a.h5"
    path.touch()
    protected = {"folder": tmp_path, "file": path}[protect]
    # The tests may run as root, who may write anywhere: let the system say no.
    monkeypatch.setattr(os, "access", lambda asked, mode: asked != protected)
    message = {"folder": "no permission to write in", "file": "the file is read-only"}[protect]
    with pytest.raises(InputError, match=message):
        check_writable(path)


def test_reading_makes_one_line_of_any_fault(tmp_path):
    path = tmp_path / "a.h5"
    for missing in (path, tmp_path):
        with pytest.raises(InputError, match="there is no file"), reading(missing, "dataset file"):
            raise AssertionError("the block must not run")
    path.touch()
    for fault, reason in (
        (OSError("cannot open. The reason is long\nand has\nmany lines"), "cannot open"),
        (KeyError("Y"), "'Y'"),
        (EOFError(), "EOFError"),
    ):
        with pytest.raises(InputError) as caught, reading(path, "dataset file"):
            raise fault
        assert str(caught.value) == f"{path} is not a whole dataset file: {reason}"
        assert caught.value.__cause__ is fault


@pytest.mark.parametrize(
    ("error", "right"),
    [
        (
            BlockingIOError(11, "Unable to open file (unable to lock file, errno = 11)"),
            "{} is open for writing in another program; close it there",
        ),
        (
            OSError("Unable to synchronously open file (unable to lock file, errno = 37)"),
            "cannot lock {}: where its file system has no locks, set HDF5_USE_FILE_LOCKING=FALSE",
        ),
        (
            OSError(
                "Unable to synchronously open file (file is already open for write (may use "
                "<h5clear file> to clear file consistency flags))"
            ),
            "{0} is open for writing in another program, or one that crashed has left it so: close "
            "it there, or h5clear -s {0}",
        ),
        (PermissionError(13, "Permission denied"), "cannot read {}: permission denied"),
    ],
)
def test_reading_says_why_hdf5_does_not_open_a_file(tmp_path, error, right):
    path = tmp_path / "a.h5"
    path.touch()
    with pytest.raises(InputError) as caught, reading(path, "dataset file"):
        raise error
    assert str(caught.value) == right.format(path)


def test_reading_lets_clear_errors_and_interrupts_through(tmp_path):
    path = tmp_path / "a.h5"
    path.touch()
    for fault in (InputError("clear already"), KeyboardInterrupt()):
        with pytest.raises(type(fault)) as caught, reading(path, "dataset file"):
            raise fault
        assert caught.value is fault


KILLED = """
import os, signal, sys
from surrogates.files import atomic
with atomic(sys.argv[1]) as beside:
    beside.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path):
    for name in ("a.h5", "b.h5"):
        words = [sys.executable, "-c", KILLED, str(tmp_path / name)]
        assert subprocess.run(words, timeout=60).returncode == -signal.SIGKILL
    left = {path.name for path in tmp_path.iterdir()}
    assert len(left) == 2
    others = {"a.h5", "a-0123456789abcdef.tmp", ".a.h5-0123456789abcdef.tmp"}
    for name in others:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "a.h5")
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept == others | {name for name in left if name.startswith(".b.h5-")}
