"""The command completion, in real shells."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import refused


def written(folder: Path, shell: str) -> Path:
    """Write the script of a shell into a folder, under the shell's name."""
    pytest.importorskip("shtab", reason="it makes the scripts")
    with open(folder / shell, "w") as file:
        words = [sys.executable, "-m", "surrogates", "completion", shell]
        subprocess.run(words, check=True, stdout=file, timeout=120)
    return folder / shell


@pytest.fixture(scope="module")
def scripts(tmp_path_factory) -> Path:
    """A folder with the script of bash, and files to complete."""
    folder = tmp_path_factory.mktemp("scripts")
    written(folder, "bash")
    (folder / "darcy.py").touch()
    (folder / "data.h5").touch()
    return folder


BASH = """
source ./bash
complete -p surrogates
while read -r -a COMP_WORDS; do
  last=$((${#COMP_WORDS[@]} - 1))
  [[ ${COMP_WORDS[last]} == . ]] && COMP_WORDS[last]=""
  COMP_CWORD=$last
  _surrogates
  echo "${COMPREPLY[@]}"
done
"""


@pytest.mark.fenicsx
def test_bash_completes_commands_options_files_and_keys(scripts):
    # A dot stands for an empty word; readline splits words at "=".
    cases = {
        "surrogates ev": "evaluate",
        "surrogates plot p": "parity",
        "surrogates train --op": "--optimizer",
        "surrogates train --effort .": "fast default high",
        "surrogates train da": "data.h5 darcy.py",
        "surrogates train --set network.wid": "network.width=",
        "surrogates train --set width = .": "",
        "surrogates train --set width = 8 dat": "data.h5",
        "surrogates generate c": "cdr",
        "surrogates generate d": "dcr data.h5 darcy.py",
        "surrogates generate cdr --set mesh.": "mesh.cells= mesh.degree=",
        "surrogates plot model dcr --set stations.d": "stations.dipole=",
        "surrogates settings tr": "train",
        "surrogates info nothing": "",
    }
    done = subprocess.run(
        ["bash", "--norc", "-c", BASH],
        input="".join(f"{words}\n" for words in cases),
        cwd=scripts,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    first, *found = done.stdout.splitlines()
    assert first == "complete -o bashdefault -F _surrogates surrogates"
    assert {words: set(line.split()) for words, line in zip(cases, found, strict=True)} == {
        words: set(expected.split()) for words, expected in cases.items()
    }


def test_the_key_of_a_setting_completes_as_it_is_typed(scripts):
    """Press the key Tab at a prompt of bash, on a terminal."""
    terminal, inner = pty.openpty()
    command = ["bash", "--norc", "--noprofile", "-i"]
    shell = subprocess.Popen(
        command, cwd=scripts, stdin=inner, stdout=inner, stderr=inner, start_new_session=True
    )
    os.close(inner)
    try:
        os.write(terminal, b"PS1='> '; source ./bash\n")
        os.write(terminal, b"surrogates train --set precis\t8 --dev\tcpu\x01echo \n")
        seen, end = b"", time.monotonic() + 60
        while b"surrogates train --set precision=8 --device cpu\r\n" not in seen:
            assert time.monotonic() < end, seen.decode()
            if select.select([terminal], [], [], 1)[0]:
                seen += os.read(terminal, 4096)
    finally:
        shell.kill()
        shell.wait()
        os.close(terminal)


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
def test_fish_completes_commands_and_keys(tmp_path):
    script = written(tmp_path, "fish")
    for words, expected in (
        ("surrogates ev", "evaluate"),
        ("surrogates train --set network.wid", "network.width="),
    ):
        code = f"source {script}; complete -C '{words}'"
        done = subprocess.run(
            ["fish", "--no-config", "-c", code], capture_output=True, text=True, timeout=60
        )
        assert done.stdout.split("\t")[0].strip() == expected


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_zsh_reads_its_script(tmp_path):
    subprocess.run(["zsh", "-n", written(tmp_path, "zsh")], check=True, timeout=60)


def test_without_shtab_one_line_says_how_to_install_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert "pip install 'varpro-surrogates[completion]'" in refused(capsys, "completion", "bash")


def test_an_unknown_shell_is_refused(capsys):
    assert "invalid choice: 'ksh'" in refused(capsys, "completion", "ksh")
