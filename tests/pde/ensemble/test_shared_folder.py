"""Runs in folders that other users may write: nothing is lost, nothing forged is read."""

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from faulty import N, Site, same, y
from waiting import until

from surrogates.data import Dataset
from surrogates.errors import InputError
from surrogates.folders import Folder
from surrogates.pde.ensemble.journal import Journal, Writer, describe

pytestmark = [pytest.mark.fenicsx, pytest.mark.mpi]


def forge(whole: Dataset, folder: Path) -> dict[str, bytes]:
    """Fill a folder with a run's journal, of numbers that no solve has given; give its files."""
    made = Folder.made(folder)
    describe(made, whole.info)
    writer = Writer(Journal(made, whole.info))
    writer.append(dataclasses.replace(whole, C=np.full_like(whole.C, 7.0)))
    writer.close()
    return files(folder)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(site: Site, *words: str) -> str:
    """The line of a run that is refused."""
    error = site.run(1, *words, expect=2).stderr
    assert error.startswith("error: ") and error.count("\n") == 1
    assert not site.out.exists()
    return error


def test_a_folder_that_others_have_made_is_not_used(site, tmp_path, whole):
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("description.h5", "shard-0.part", "shard-1.shard", "mark-0.txt", "lock"):
        (mine / name).write_text("precious")
    site.parts.symlink_to(mine)
    assert f"{site.parts} is in the way: it is a link or a file, no folder" in refused(site)
    site.parts.unlink()
    site.parts.mkdir()
    for path in mine.iterdir():
        (site.parts / path.name).symlink_to(path)
    assert f"nothing in {site.parts} can be believed, as it has a link" in refused(site)
    shutil.rmtree(site.parts)
    shutil.copytree(mine, site.parts, ignore=lambda *_: ["lock"])
    for path in site.parts.iterdir():
        path.rename(path.with_name(f"my {path.name}"))
    assert f"{site.parts} is in the way: it is not the folder of a run" in refused(site)
    assert len(files(site.parts)) == 4
    shutil.rmtree(site.parts)
    site.parts.mkdir()
    site.parts.chmod(0o777)
    refusal = refused(site)
    assert f"nothing in {site.parts} can be believed, as others may write it" in refusal
    assert f"chmod -R go-w {site.parts}" in refusal
    if os.geteuid() == 0:
        site.parts.chmod(0o755)
        os.chown(site.parts, 65534, -1)
        assert f"{site.parts} is a folder of nobody, and closed to root" in refused(site)
    assert {path.read_text() for path in mine.iterdir()} == {"precious"}
    assert len(list(mine.iterdir())) == 5


def test_a_process_that_finds_another_folder_than_rank_0_says_so(tmp_path):
    path = tmp_path / "toy.h5.parts"
    folder = Folder.made(path)
    assert Folder.again(path, folder.number).number == folder.number
    path.rename(tmp_path / "away")
    for replace in (lambda: None, path.mkdir):
        replace()
        with pytest.raises(InputError, match=f"^{path} is not the folder that rank 0 has: "):
            Folder.again(path, folder.number)


SWAPS = """
class Swaps(Toy):
    @classmethod
    def notes(cls, config):
        os.rename(os.environ["PARTS"], os.environ["PARTS"] + ".away")
        return ()
"""


def test_a_folder_that_is_swapped_before_the_solver_opens_it_is_one_line(site):
    problem = site.out.with_name("toy.py")
    problem.write_text(problem.read_text() + SWAPS)
    site.problem = (f"{problem}:Swaps",)
    error = site.run(1, PARTS=str(site.parts), expect=2).stderr
    assert error.startswith(f"error: {site.parts} is not the folder that rank 0 has: ")
    assert error.count("\n") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
@pytest.mark.parametrize("words", [(), ("--repair",)])
def test_samples_of_another_user_s_dataset_are_not_taken(site, whole, words):
    whole.write(site.out)
    os.chown(site.out, 65534, -1)
    error = site.run(1, *words, expect=2).stderr
    assert f"{site.out} is a file of nobody, and could hold anything" in error
    assert error.count("\n") == 1 and not site.parts.exists()


@pytest.mark.thorough
@pytest.mark.parametrize("ranks", [1, 2])
def test_whoever_swaps_the_folder_of_a_run_changes_no_number(site, whole, tmp_path, ranks):
    run = site.start(ranks, FAULT="wait", AT=y(N - 1), PACE="0.05")
    until(lambda: site.saved() > 0, run.process)
    site.parts.rename(tmp_path / "away")
    before = forge(whole, site.parts)
    run.end(0)
    assert files(site.parts) == before
    same(Dataset.read(site.out), whole)
    assert files(tmp_path / "away") == {}
