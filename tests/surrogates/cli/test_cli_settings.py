"""The command settings, and the settings in the help of other commands."""

import subprocess
import sys
from pathlib import Path

import pytest
from commands import refused, run

from surrogates import config
from surrogates.training.config import DEFAULTS, TrainConfig

OSCILLATOR = '''
from dataclasses import dataclass
from surrogates.pde import Problem, Settings

print("This line is not TOML.")

@dataclass(frozen=True, kw_only=True)
class Times(Settings):
    """When it is observed.

    Attributes:
        times: Times of the observations [s].
    """

    times: tuple[float, ...] = (1.0, 2.0)

class Oscillator(Problem):
    Config = Times
    y_names, y_units = ("stiffness",), "N/m"
    y_lower, y_upper = (1.0,), (4.0,)
    c_names, c_units = ("x1", "x2"), "m"

    def solve(self, y):
        return [y[0] * t for t in self.config.times]
'''


def printed(capsys, *words: object) -> str:
    capsys.readouterr()
    assert run(*words) == 0
    return capsys.readouterr().out


@pytest.fixture
def oscillator(tmp_path) -> str:
    (tmp_path / "oscillator.py").write_text(OSCILLATOR)
    return f"{tmp_path / 'oscillator.py'}:Oscillator"


@pytest.mark.parametrize("words", [(), ("--task", "regression"), ("--task", "classification")])
def test_the_settings_of_training_are_a_file_of_its_defaults(words, tmp_path, capsys):
    (tmp_path / "train.toml").write_text(printed(capsys, "settings", "train", *words))
    expected = DEFAULTS[words[-1] if words else "regression"]
    assert config.read(TrainConfig, tmp_path / "train.toml") == expected


@pytest.mark.fenicsx
@pytest.mark.parametrize("name", ["cdr", "dcr"])
def test_the_settings_of_a_problem_are_a_file_of_its_defaults(name, tmp_path, capsys):
    from surrogates.pde.loading import load

    (tmp_path / "a.toml").write_text(printed(capsys, "settings", name))
    cls = load(name).Config
    assert config.read(cls, tmp_path / "a.toml") == cls()


def test_the_settings_of_a_user_s_problem_are_described_by_its_docstrings(
    oscillator, tmp_path, capsys
):
    from surrogates.pde.loading import load

    (tmp_path / "a.toml").write_text(text := printed(capsys, "settings", oscillator))
    assert "\n# Times of the observations [s].\ntimes = [1.0, 2.0]\n" in text
    assert "batch = 1" in text
    cls = load(oscillator).Config
    assert config.read(cls, tmp_path / "a.toml", ["times=[3]"]) == cls(times=(3.0,))


def test_every_setting_of_training_has_a_line(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    every_setting_has_a_line(printed(capsys, "train", "--help"), TrainConfig())


@pytest.mark.fenicsx
@pytest.mark.parametrize("name", ["cdr", "dcr"])
@pytest.mark.parametrize("command", [("generate",), ("solve",), ("plot", "model")])
def test_every_setting_of_a_problem_has_a_line(name, command, capsys, monkeypatch):
    from surrogates.pde.loading import load

    monkeypatch.setenv("COLUMNS", "1000")
    every_setting_has_a_line(printed(capsys, *command, name, "--help"), load(name).Config())


def every_setting_has_a_line(text: str, defaults: object) -> None:
    lines = [
        line.split(maxsplit=1) for line in text.partition("--set KEY=VALUE or")[2].splitlines()
    ]
    said = dict(line for line in lines[1:])
    settings = config.described(defaults)
    assert list(said) == [one.key for one in settings]
    for one in settings:
        assert said[one.key].startswith(one.shown[:17]), one.key
        assert one.text and said[one.key].endswith(one.text[-20:]), one.key


EVERY_HELP = """
import contextlib, io, sys
from surrogates.cli import main
from surrogates.cli.completion import _parsers
from surrogates.cli.parser import parser

asked = [("settings", "train"), ("settings", "train", "--task", "classification")]
asked += [(*one.prog.split()[1:], "--help") for one in _parsers(parser())]
for words in asked:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main(words)
    assert said.getvalue(), words
    assert not {"torch", "dolfinx"} & sys.modules.keys(), words
print(len(asked))
"""


def test_no_help_and_no_settings_of_training_import_torch():
    done = subprocess.run(
        [sys.executable, "-c", EVERY_HELP], capture_output=True, text=True, timeout=120, check=True
    )
    assert int(done.stdout) > 20


def test_lines_are_no_wider_than_the_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, printed(capsys, "train", "--help").splitlines())) == 80


def test_the_help_says_how_the_settings_of_a_problem_are_seen(oscillator, capsys):
    assert "surrogates settings cdr" in printed(capsys, "generate", "--help")
    text = printed(capsys, "generate", oscillator, "--samples", "3", "--help")
    assert "  times   [1.0, 2.0]  Times of the observations [s]." in text.splitlines()
    text = printed(capsys, "generate", "none.py:Oscillator", "--help")
    assert text.startswith("usage: ") and "its settings cannot be listed: " in text


def test_mistakes_are_one_clear_line(capsys):
    assert "did you mean 'train'? or FILE.py:CLASS" in refused(capsys, "settings", "trian")
    words = ("settings", "cdr", "--task", "classification")
    assert "--task is for the settings of train" in refused(capsys, *words)
    assert "none.py" in refused(capsys, "settings", str(Path("none.py")) + ":Darcy")
