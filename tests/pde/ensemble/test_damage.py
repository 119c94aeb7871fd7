"""Full disks, folders that cannot be changed, and flipped bits: named, repaired, never read."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest
from faulty import CRASHED, N, same, undisturbed, y
from runs import saved
from waiting import until

from surrogates.data import read_info
from surrogates.folders import Folder
from surrogates.pde.ensemble.journal import Journal

pytestmark = [pytest.mark.fenicsx, pytest.mark.mpi]

# Disks


def or_skip(*words: str) -> None:
    """Do what not every machine or user may, or skip the test."""
    if shutil.which(words[0]) is None:
        pytest.skip(f"there is no {words[0]} here")
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    if done.returncode:
        pytest.skip(f"{words[0]} is not for us here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A disk of 200 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    or_skip("mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True, timeout=20)


def remount(folder: Path, options: str) -> None:
    words = ["mount", "-o", f"remount,{options}", str(folder)]
    subprocess.run(words, check=True, timeout=20)


@pytest.mark.thorough
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_full_disk_is_one_line_and_the_run_goes_on_once_there_is_room(
    site, disk, tmp_path, ranks
):
    site.move(disk)
    run = site.run(ranks, samples=2500, expect=1)
    lines = [line for line in run.stderr.splitlines() if line.startswith("error:")]
    full = [line for line in lines if f"cannot write {site.out}" in line]
    assert full and all("No space left on device" in line for line in full)
    assert lines == full or ranks > 1  # where another rank may see that one has died
    assert not site.out.exists()
    assert site.saved() > 50_000
    remount(disk, "size=20m")
    assert "2500 solved now" not in site.run(ranks, samples=2500).stdout
    same(site.dataset(), undisturbed(site, tmp_path / "whole", samples=2500))


@pytest.mark.thorough
def test_a_disk_with_room_for_the_shards_alone_keeps_them(site, disk, tmp_path):
    site.move(disk)
    run = site.run(1, samples=1200, expect=1)
    assert run.stderr.startswith(f"error: cannot write {site.out}: No space left on device")
    assert run.stderr.count("\n") == 1
    assert not site.out.exists()
    remount(disk, "size=20m")
    assert "0 solved now" in site.run(1, samples=1200).stdout
    same(site.dataset(), undisturbed(site, tmp_path / "whole", samples=1200))


@pytest.mark.thorough
def test_a_disk_that_is_read_only_is_one_line(site, disk, whole):
    site.move(disk)
    site.stopped()
    remount(disk, "ro")
    before = site.saved()
    error = site.run(1, expect=2).stderr
    assert error.startswith(f"error: cannot write {site.out}: no permission to write in {disk}")
    assert error.count("\n") == 1
    assert site.saved() == before
    remount(disk, "rw")
    site.run()
    same(site.dataset(), whole)


@pytest.mark.thorough
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_folder_that_cannot_be_changed_any_more_is_one_line(site, whole, ranks):
    run = site.start(ranks, PACE="0.1")
    until(lambda: site.saved() > 0, run.process)
    or_skip("chattr", "+i", str(site.parts))
    try:
        error = run.end(1)
        assert not site.out.exists()
    finally:
        subprocess.run(["chattr", "-i", str(site.parts)], check=True, timeout=20)
    lines = [line for line in error.splitlines() if line.startswith("error:")]
    assert lines and all(f"cannot write {site.parts}" in line for line in lines)
    assert all("Operation not permitted" in line for line in lines)
    assert ranks > 1 or len(lines) == 1
    kept = saved(site.out)
    assert kept > 0
    assert f"{N - kept} solved now" in site.run(ranks).stdout
    same(site.dataset(), whole)


# Flipped bits


def flip(path: Path, offset: int) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 4]))


def test_a_flipped_bit_in_a_shard_is_named_and_repaired(site, whole):
    site.stopped()
    journal = Journal(Folder.there(site.parts), read_info(site.parts / "description.h5")[0])
    (path,) = journal.sealed()
    block = list(journal.blocks(path))[1]
    flip(path, block.offset + 22 + block.size - 3)
    last = block.start + block.count - 1
    for name in (site.out, site.parts):
        said = site.command("verify", str(name), expect=1)
        assert f"{path}: damaged: samples {block.start} to {last}" in said
    error = site.run(1, expect=1).stderr
    assert f"samples {block.start} to {last} are lost" in error and "--repair" in error
    assert error.count("\n") == 1
    assert not site.out.exists()
    assert f"{block.count} solved now" in site.run(1, "--repair").stdout
    same(site.dataset(), whole)


def test_a_flipped_bit_in_the_dataset_is_named_and_repaired(site):
    site.run(samples=2500)
    before = site.dataset()
    with h5py.File(site.out) as file:
        offset = file["C"].id.get_chunk_info(1).byte_offset
    flip(site.out, offset + 1000)
    said = site.command("verify", str(site.out), expect=1)
    assert "samples 1024 to 2047 are damaged: the checksum of /C is wrong" in said
    assert "1024 solved now" in site.run(1, "--repair", samples=2500).stdout
    same(site.dataset(), before)
    said = site.command("verify", str(site.out), "--recompute", "0")
    assert "nothing wrong found; not checked: whether samples can be solved again" in said


def test_a_flipped_bit_in_the_description_is_one_line(site):
    site.stopped()
    path = site.parts / "description.h5"
    with h5py.File(path) as file:
        text = file.attrs["config"]
    flip(path, path.read_bytes().index(text) + 3)
    error = site.run(1, expect=2).stderr
    assert f"{path} is not a whole dataset file" in error
    assert error.count("\n") == 1


@pytest.mark.thorough
def test_shards_of_another_set_are_no_part_of_this_one(site, whole):
    site.stopped("--seed", "5")
    foreign = [
        (path.name, path.read_bytes())
        for path in Journal(Folder.there(site.parts), whole.info).sealed()
    ]
    shutil.rmtree(site.parts)
    site.stopped()
    for name, content in foreign:
        (site.parts / name).write_bytes(content)
    assert f"{foreign[0][0]}: damaged" in site.command("verify", str(site.out), expect=1)
    site.run()
    same(site.dataset(), whole)


def test_failed_samples_are_tried_again_when_asked_for_and_alone(site, whole):
    site.run(1, FAULT="raise", AT=y(3, 17), expect=1)
    assert "0 solved now" in site.run(1, expect=1).stdout
    assert "2 solved now" in site.run(1, "--retry-failed").stdout
    same(site.dataset(), whole)


def test_what_ended_a_process_is_tried_again_when_asked_for(site, whole):
    how = {"FAULT": "crash", "AT": y(0)}
    site.run(1, **how, expect=1)
    assert site.dataset().failure[0] == CRASHED
    error = site.run(1, "--retry-failed", **how, expect=1).stderr
    assert error.count("warning: sample 0: the solver crashed") == 2
    assert "1 solved now" in site.run(1, "--retry-failed").stdout
    same(site.dataset(), whole)
