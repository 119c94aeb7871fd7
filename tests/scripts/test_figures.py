"""The script that remakes figures and what programs print: its commands are those of the pages."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "scripts"))
import figures
import readme_commands

ROOT = Path(__file__).parents[2]
GALLERY = [page for page in readme_commands.pages() if page.startswith("docs/gallery/")]
FIGURE = r"\.\./figures/(\w+)\.(?:png|txt)"


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Run commands in a folder of their own; return the function that makes one of a command."""
    monkeypatch.setattr(figures, "FOLDER", tmp_path)
    monkeypatch.setattr(figures, "DOCS", tmp_path / "docs")
    (tmp_path / "docs").mkdir()

    def make(**result):
        monkeypatch.setitem(figures.RESULTS, "one", figures.Result(**result))
        monkeypatch.setitem(figures.SHARED, "data", "echo shared >> data")
        figures.remake("one")
        return {path.name: path.read_text() for path in (tmp_path / "docs").iterdir()}

    return make


def test_figures_and_what_is_printed_are_kept(made):
    both = {"command": "cat data > one.png\necho said\necho not >&2", "uses": "data"}
    assert made(**both) == {"one.png": "shared\n"}
    assert made(**both, printed=True) == {"one.png": "shared\n", "one.txt": "said\n"}


def test_a_command_that_fails_changes_nothing(made, tmp_path):
    made(command="echo first", figure=False, printed=True)
    with pytest.raises(subprocess.CalledProcessError):
        made(command="echo second\nfalse\necho third", figure=False, printed=True)
    assert (tmp_path / "docs" / "one.txt").read_text() == "first\n"


def test_every_figure_is_made_by_a_command_and_shown_by_a_page():
    made = {file for name, result in figures.RESULTS.items() for file in result.files(name)}
    assert made == {path.name for path in figures.DOCS.iterdir()}
    pages = [(ROOT / f"{page}.md").read_text() for page in readme_commands.pages()]
    shown = set(re.findall(r"figures/(\w+\.(?:png|txt))\b", "\n".join(pages)))
    assert shown == made


@pytest.mark.parametrize("page", [page for page in GALLERY if page != "docs/gallery/index"])
def test_a_page_of_the_gallery_shows_what_its_own_commands_make(page):
    text = (ROOT / f"{page}.md").read_text()
    (name,) = set(re.findall(FIGURE, text))
    result = figures.RESULTS[name]
    (block,) = readme_commands.blocks(page, text)
    assert set(result.command.splitlines()) <= set(block.text.splitlines())
    needed = "\n".join(figures.SHARED[file] for file in result.uses.split())
    others = "\n".join((ROOT / f"{one}.md").read_text() for one in readme_commands.pages())
    assert set(needed.splitlines()) <= set(others.splitlines())
