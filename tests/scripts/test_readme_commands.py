"""The script that runs what README and docs print: what it finds, runs, leaves out and reports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import readme_commands as runner
from places import ROOT

PAGE = """# A page

```python
x = 1
```

1. An item with a block:

   ```bash
   echo "in an item"
   ```

% run: time: takes long
```bash
sleep 1000
```

```toml
# settings.toml
width = 16
```

```text
shown only
```
"""


def run(page: str, folder: Path, without: tuple[str, ...] = ("time",), timeout: float = 60) -> int:
    return runner.run_page(list(runner.blocks("page", page)), folder, without, timeout)


def test_blocks_are_found_with_their_reasons():
    found = list(runner.blocks("page", PAGE))
    assert [block.language for block in found] == ["python", "bash", "bash", "toml"]
    assert [block.kind for block in found] == ["", "", "time", ""]
    assert found[1].text == 'echo "in an item"\n'
    assert found[2].reason == "takes long"
    assert found[3].file == "settings.toml"
    html = PAGE.replace("% run: time: takes long", "<!-- run: time: takes long -->")
    assert list(runner.blocks("page", html)) == found


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("% run: tme: typing\n```bash\ntrue\n```\n", "'tme' is not one of mpi"),
        ("% run: time: nothing follows\n\ntext\n", "does not stand right before a block"),
    ],
)
def test_a_comment_that_means_nothing_is_refused(page, message):
    with pytest.raises(ValueError, match=message):
        list(runner.blocks("page", page))


def test_every_page_can_be_read_and_every_reason_is_known():
    pages = runner.pages()
    assert pages[0] == "README"
    assert {"docs/start", "docs/train", "docs/call", "docs/gallery/inversion"} <= set(pages)
    count = sum(len(list(runner.blocks(p, (ROOT / f"{p}.md").read_text()))) for p in pages)
    assert count > 40


def test_a_page_runs_as_it_is_printed(tmp_path, capsys):
    more = PAGE + '\n```python\nassert x == 1\nopen("made", "w").write("by a later cell")\n```\n'
    assert run(more, tmp_path) == 0
    assert (tmp_path / "settings.toml").read_text() == "# settings.toml\nwidth = 16\n"
    assert (tmp_path / "made").read_text() == "by a later cell"
    assert "in an item" in (tmp_path / "commands.log").read_text()
    assert "left out (time: takes long)" in capsys.readouterr().out


@pytest.mark.parametrize("block", ["```python\n1 / 0\n```\n", "```bash\nfalse\ntrue\n```\n"])
def test_a_block_that_fails_is_counted_and_the_others_run(block, tmp_path, capsys):
    assert run(f"{block}\n```bash\ntouch after\n```\n", tmp_path) == 1
    assert (tmp_path / "after").exists()
    assert "FAILED" in capsys.readouterr().out


@pytest.mark.parametrize(
    "block",
    ["```python\nimport time; time.sleep(1000)\n```\n", "```bash\nsleep 1000 & sleep 1000\n```\n"],
)
def test_a_block_that_takes_too_long_fails(block, tmp_path, capsys):
    assert run(block, tmp_path, timeout=0.2) == 1
    assert "FAILED (124)" in capsys.readouterr().out


def test_an_unknown_page_is_one_line_and_ends_with_2(tmp_path):
    script = str(ROOT / "scripts" / "readme_commands.py")
    done = subprocess.run(
        [sys.executable, script, str(tmp_path), "--page", "docs/trian"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "no such page: docs/trian" in done.stderr


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= 8192


def test_pages_that_make_the_files_of_a_page_run_first(tmp_path):
    found = runner.with_makers(["docs/adapters"], tmp_path, ["time"])
    assert list(found) == ["docs/start", "docs/call", "docs/adapters"]
    assert found["docs/adapters"] == ""
    assert found["docs/call"] == "docs/adapters uses oscillator.npz"
    assert found["docs/start"].startswith("docs/call uses oscillator.")
    (tmp_path / "oscillator.npz").touch()
    assert list(runner.with_makers(["docs/adapters"], tmp_path, ["time"])) == ["docs/adapters"]
    assert runner.with_makers(["docs/start"], tmp_path, ["time"]) == {"docs/start": ""}


def test_every_page_together_lacks_nothing(tmp_path):
    known = runner.pages()
    assert runner.with_makers(known, tmp_path, []) == dict.fromkeys(known, "")
