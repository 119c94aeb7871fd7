"""Folders that others share: what they plant is refused, and what they swap changes nothing."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys

import pytest
from places import ROOT

from surrogates.errors import InputError
from surrogates.files import atomic, check_writable, remove_leftovers
from surrogates.folders import Folder

NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


def refusal(make, *arguments) -> str:
    """The line of what must be refused."""
    with pytest.raises(InputError) as caught:
        make(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_new_folder_and_its_files_are_this_user_s_alone(tmp_path):
    folder = Folder.made(tmp_path / "new")
    os.close(folder.open("file", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    with folder.replacing("other") as file:
        os.write(file, b"whole")
    modes = [stat.S_IMODE(path.lstat().st_mode) for path in (folder.path, *folder.path.iterdir())]
    assert modes == [0o700, 0o600, 0o600]
    assert folder.names("*") == ["file", "other"]
    assert (folder.path / "other").read_bytes() == b"whole"


def test_a_folder_that_others_could_only_read_is_closed_to_them(tmp_path):
    (tmp_path / "old").mkdir(mode=0o755)
    (tmp_path / "old" / "shard").touch(mode=0o644)
    Folder.there(tmp_path / "old")
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o755
    folder = Folder.made(tmp_path / "old")
    folder.shut()
    assert folder.names("*") == ["shard"]
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o775, 0o707, 0o1777])
def test_a_folder_that_others_could_write_is_refused_until_its_user_has_decided(tmp_path, mode):
    path = tmp_path / "open"
    path.mkdir()
    path.chmod(mode)
    for take in (Folder.made, Folder.there):
        assert refusal(take, path) == (
            f"nothing in {path} can be believed, as others may write it: if you trust all who may "
            f"write there, remove such files and chmod -R go-w {path}; else remove the folder"
        )
    path.chmod(mode & ~0o022)
    Folder.made(path)


@pytest.mark.parametrize("take", [Folder.made, Folder.there])
def test_a_link_or_a_file_is_no_folder(tmp_path, take):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "lost").symlink_to("absent")
    (tmp_path / "file").touch()
    for name in ("link", "lost", "file"):
        path = tmp_path / name
        assert refusal(take, path) == f"{path} is in the way: it is a link or a file, no folder"
    assert not (tmp_path / "absent").exists()


def test_files_that_another_could_have_put_into_a_folder_are_refused(tmp_path):
    path, precious = tmp_path / "parts", tmp_path / "precious"
    path.mkdir()
    precious.write_text("mine")
    planted = path / "shard-0.shard"
    for plant, reason in (
        (lambda: planted.symlink_to(precious), "it has a link (shard-0.shard)"),
        (lambda: planted.hardlink_to(precious), "it has a file that is elsewhere, too"),
        (lambda: planted.touch() or planted.chmod(0o664), "others may write a file in it"),
    ):
        plant()
        for take in (Folder.made, Folder.there):
            assert f"nothing in {path} can be believed, as {reason}" in refusal(take, path)
        planted.unlink()
    Folder.made(path)


@as_root
def test_another_user_s_folder_and_files_are_refused_and_their_user_named(tmp_path):
    path = tmp_path / "parts"
    path.mkdir(mode=0o700)
    (path / "shard").touch()
    os.chown(path / "shard", NOBODY, -1)
    line = refusal(Folder.made, path)
    assert f"nothing in {path} can be believed, as it has a file of nobody (shard)" in line
    os.chown(path, NOBODY, -1)
    assert refusal(Folder.made, path) == (
        f"{path} is a folder of nobody, and closed to root: let nobody go on with it, or give "
        "another --out"
    )
    assert Folder.there(path).names("*") == ["shard"]  # which is read alone
    os.chown(path / "shard", 0, -1)
    assert "it has a file of root" in refusal(Folder.there, path)


def test_a_folder_stays_the_same_whatever_gets_its_name(tmp_path):
    path, moved = tmp_path / "parts", tmp_path / "moved"
    folder = Folder.made(path)
    with folder.replacing("own") as file:
        os.write(file, b"own")
    path.rename(moved)
    path.mkdir()
    for name in ("own", "forged"):
        (path / name).write_bytes(b"forged")
    assert folder.names("*") == ["own"]
    with folder.reading("own") as file:
        assert file.read() == b"own"
    with folder.replacing("more") as file:
        os.write(file, b"more")
    folder.rename("more", "most")
    folder.remove("own", "forged")
    assert (folder.place / "most").read_bytes() == b"more"
    folder.remove("most")
    folder.remove_itself()  # its name is not its own any more
    assert sorted(os.listdir(path)) == ["forged", "own"]
    assert os.listdir(moved) == []


def test_no_link_is_opened_in_a_folder(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    folder = Folder.made(tmp_path / "parts")
    (folder.path / "lock").symlink_to(precious)
    for flags in (os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_TRUNC):
        with pytest.raises(OSError, match=f"{folder.path}/lock"):
            folder.open("lock", flags)
    os.mkfifo(folder.path / "pipe")
    assert "is not a file" in refusal(folder.open, "pipe")
    assert precious.read_text() == "mine"


# Files beside others'


def test_whoever_swaps_what_is_written_beside_a_file_does_not_reach_another(tmp_path):
    out, precious = tmp_path / "out.txt", tmp_path / "precious"
    precious.mkdir()
    with contextlib.suppress(OSError), atomic(out) as beside:
        (private,) = tmp_path.glob(".*")
        assert stat.S_IMODE(private.lstat().st_mode) == 0o700
        private.rename(tmp_path / "away")
        private.symlink_to(precious)
        (precious / beside.name).write_text("mine")
        beside.write_text("new")
    assert (precious / beside.name).read_text() == "mine"
    assert out.read_text() == "new"


@as_root
def test_a_link_that_another_has_made_is_not_followed(tmp_path):
    precious, link = tmp_path / "precious", tmp_path / "out.txt"
    precious.write_text("mine")
    link.symlink_to(precious)
    check_writable(link)
    os.chown(link, NOBODY, -1, follow_symlinks=False)
    line = f"cannot write {link}: it is a link that nobody has made, to {precious}; name the file"
    for refuse in (check_writable, remove_leftovers, lambda path: atomic(path).__enter__()):
        assert line in refusal(refuse, link)
    assert precious.read_text() == "mine"


def test_what_others_name_like_leftovers_is_left_and_in_nobody_s_way(tmp_path):
    name = ".a.h5-0123456789abcdef.tmp"
    (tmp_path / name).mkdir()
    (tmp_path / name / "a.h5").write_text("mine")
    (tmp_path / name.replace("0", "1")).symlink_to(name)
    (tmp_path / name.replace("0", "2")).touch()
    before = sorted(tmp_path.rglob("*"))
    remove_leftovers(tmp_path / "a.h5")
    assert sorted(tmp_path.rglob("*")) == before


NOBODY_S = """
import os, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
sys.path[:0] = [sys.argv[1]]
"""


def by_nobody(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run what another user does."""
    run = [sys.executable, "-c", NOBODY_S + code, *map(str, words)]
    return subprocess.run(run, capture_output=True, text=True, timeout=120)


@pytest.fixture
def shared(tmp_path_factory):
    """A folder that all users may write, with the sticky bit, as /tmp is."""
    path = tmp_path_factory.mktemp("shared")
    above = [one for one in path.parents if not one.stat().st_mode & stat.S_IXOTH]
    if any(one.stat().st_uid != os.geteuid() for one in above):
        pytest.skip("the temporary folder is closed to other users")
    modes = {one: stat.S_IMODE(one.stat().st_mode) for one in above}
    for one in above:
        one.chmod(0o711)
    path.chmod(0o1777)
    yield path
    for one, mode in modes.items():
        one.chmod(mode)


@as_root
def test_a_file_that_only_another_may_replace_is_refused_before_the_work(shared):
    (shared / "a.h5").touch()
    (shared / "a.h5").chmod(0o666)
    (shared / "b.h5").mkdir(mode=0o700)
    code = """
from surrogates.errors import InputError
from surrogates.files import check_writable
from surrogates.folders import Folder
from pathlib import Path
for make, name in ((check_writable, "a.h5"), (Folder.there, "b.h5"), (Folder.made, "b.h5")):
    try:
        make(Path(sys.argv[2]) / name)
    except InputError as error:
        print(error)
"""
    done = by_nobody(code, ROOT, shared)
    if "ModuleNotFoundError" in done.stderr or "PermissionError" in done.stderr:
        pytest.skip("another user cannot read this package here")
    closed = (
        f"{shared}/b.h5 is a folder of root, and closed to nobody: let root go on with it, or give "
        "another --out"
    )
    assert done.stdout.splitlines() == [
        f"cannot write {shared}/a.h5: it is a file of root, who alone may replace it in {shared}",
        *2 * [closed],
    ]
