"""The files besides a problem's own that samples depend on: which they are, and what they hold."""

import _ctypes
import dataclasses
import hashlib
import importlib
import logging
import os
import py_compile
import re
import shutil
import signal
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI
from runs import Run, run
from waiting import until

from surrogates import cli, config
from surrogates.data import Dataset, opened, read_info
from surrogates.errors import InputError
from surrogates.pde.ensemble.recompute import recompute
from surrogates.pde.inputs import NEIGHBOURS, expect, inputs, undeclared
from surrogates.pde.loading import load
from surrogates.pde.problem import Problem
from surrogates.pde.solving import solved

pytestmark = pytest.mark.fenicsx

OWN = """
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from helper import K
from surrogates.pde import Problem, Settings

class Own(Problem):
    y_names, y_lower, y_upper, c_names = ("a",), 0.0, 1.0, ("b",)
    data_files = ("data/table.txt",)
    file_settings = ("path",)

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        path: str = ""

    def __init__(self, config, comm):
        super().__init__(config, comm)
        import importlib
        self.more = importlib.import_module("on" + "ce").MORE
        self.scale = float((Path(__file__).parent / "data/table.txt").read_text())
        if config.path:
            self.scale *= float(Path(config.path).read_text())

    def solve(self, y):
        import time
        import late
        time.sleep(0.02)
        return [late.A * K * self.scale * self.more * y[0]]
"""
PLAIN = """
from surrogates.pde import Problem

class Own(Problem):
    y_names, y_lower, y_upper, c_names = ("a",), 0.0, 1.0, ("b",)

    def solve(self, y):
        return y
"""
FILES = {
    "own.py": OWN,
    "helper.py": "from package.deep import D\nK = 1.0 * D\n",
    "late.py": "A = 1.0\n",
    "once.py": "MORE = 1.0\n",
    "data/table.txt": "1.0",
    "package/__init__.py": "",
    "package/deep.py": "from . import deeper\nfrom .deeper import E\nD = E\n",
    "package/deeper.py": "E = 1.0\n",
    "package/unused.py": "raise ImportError\n",
    "unused.py": "raise ImportError\n",
}
TEXT = {name for name in FILES if name not in ("own.py", "once.py") and "unused" not in name}


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of a problem; what it imports is forgotten after the test."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = {*sys.modules}
    yield tmp_path
    NEIGHBOURS.expected = None
    for name in {*sys.modules} - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(tmp_path)):
            del sys.modules[name]
            NEIGHBOURS.loaded.pop(Path(file), None)
    importlib.invalidate_caches()


def own(folder: Path, **settings) -> tuple[type[Problem], object]:
    problem = load(f"{folder / 'own.py'}:Own")
    return problem, problem.Config(**settings)


def value(problem: type[Problem], config: object) -> float:
    return float(solved(problem(config, MPI.COMM_SELF), np.ones((1, 1))).C[0, 0])


# What counts


def test_modules_data_and_files_of_settings_count_by_what_they_hold(folder):
    problem, settings = own(folder)
    assert inputs(problem, settings) == {name: sha(folder / name) for name in sorted(TEXT)}
    given = folder / "given.txt"
    given.write_text("2.0")
    named = dataclasses.replace(settings, path=str(given))
    assert inputs(problem, named)["path"] == sha(given)
    relative = dataclasses.replace(settings, path="given.txt")
    assert inputs(problem, relative, here=folder) == inputs(problem, named)
    # What only __init__ knows is there once it has run, or was there before.
    assert "once.py" in inputs(problem, settings, ["once.py", "nowhere.py"])
    assert "nowhere.py" not in inputs(problem, settings, ["nowhere.py"])
    assert value(problem, named) == 2.0
    assert inputs(problem, settings).keys() == {*TEXT, "once.py"}


def test_the_mesh_file_of_dcr_counts(tmp_path):
    path, problem = tmp_path / "box.msh", load("dcr")
    path.write_text("any")
    assert inputs(problem, config.read(problem.Config, None, [f"mesh.file={path}"])) == {
        "mesh.file": sha(path)
    }
    assert inputs(problem, problem.Config()) == {}


def test_installed_packages_do_not_count(folder):
    (folder / "lib/site-packages").mkdir(parents=True)
    (folder / "lib/site-packages/installed_here.py").write_text("X = 1")
    sys.path.append(str(folder / "lib/site-packages"))
    text = FILES["late.py"] + "import installed_here, json, numpy\n"
    (folder / "late.py").write_text(text)
    problem, settings = own(folder)
    importlib.import_module("late")
    assert inputs(problem, settings).keys() == TEXT


SPEC = """
import importlib.util, pathlib
spec = importlib.util.spec_from_file_location("other", pathlib.Path(__file__).parent / "late.py")
other = importlib.util.module_from_spec(spec)
spec.loader.exec_module(other)
"""
ELSEWHERE = "import sys\nsys.path.append(__file__ + '/../../elsewhere')\nimport common\n"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (SPEC, "late.py"),
        (
            "from pathlib import Path\nexec((Path(__file__).parent / 'late.py').read_text())",
            "late.py",
        ),
        ("import runpy\nrunpy.run_path(__file__ + '/../late.py')", "late.py"),
        ("import ctypes\nctypes.CDLL(__file__.replace('run.py', 'code.so'))", "code.so"),
        ("import linked", "linked.py"),
        ("import folder.inside", "folder/inside.py"),
        ("import sys\nsys.path.append(__file__ + '/../z.zip')\nimport zipped", "z.zip"),
        (ELSEWHERE, "../elsewhere/common.py"),
    ],
)
def test_code_counts_whatever_runs_it(folder, text, name):
    for place in ("elsewhere", "elsewhere/folder", "problem"):
        (folder / place).mkdir()
    for file in ("elsewhere/common.py", "elsewhere/folder/inside.py", "problem/late.py"):
        (folder / file).write_text("A = 1.0\n")
    here = folder / "problem"
    (here / "linked.py").symlink_to("../elsewhere/common.py")
    (here / "folder").symlink_to("../elsewhere/folder")
    with zipfile.ZipFile(here / "z.zip", "w") as archive:
        archive.writestr("zipped.py", "A = 1.0\n")
    if name == "code.so":
        shutil.copy(_ctypes.__file__, here / name)
    # __file__ is the file itself: ".." behind it leaves it, as ".." behind a folder would.
    (here / "run.py").write_text(text.replace("__file__ + '/..", "__file__[:-7] + '"))
    (here / "own.py").write_text("import run\n" + PLAIN)
    problem = load(f"{here / 'own.py'}:Own")
    found = inputs(problem, problem.Config())
    assert found.keys() == {"run.py", name}
    assert found[name] == sha(here / name)
    (here / name).write_bytes((here / name).read_bytes() + b"\n")
    problem = load(f"{here / 'own.py'}:Own")  # in the same process, after an edit
    assert inputs(problem, problem.Config())[name] == sha(here / name)


def test_data_that_are_read_and_not_declared_are_named(folder):
    problem, settings = own(folder)
    text = "open(__file__.replace('helper.py', '{}')).close()\n"
    for name in ("given.txt", "other.txt", "new.txt"):
        (folder / name).write_text("1.0")
        os.utime(folder / name, (1e9, 1e9))
    (folder / "new.txt").write_text("2.0")  # since the process began
    lines = [text.format(name) for name in ("data/table.txt", "given.txt", "other.txt", "new.txt")]
    (folder / "helper.py").write_text("".join(lines) + "K = 1.0\n")
    problem, settings = own(folder, path=str(folder / "given.txt"))
    value(problem, settings)
    assert undeclared(problem, settings, inputs(problem, settings)) == ["other.txt"]


def test_a_module_imported_before_the_problem_counts(folder):
    sys.path.insert(0, str(folder))
    importlib.import_module("once")
    problem, settings = own(folder)
    assert inputs(problem, settings)["once.py"] == sha(folder / "once.py")


def test_compiled_code_of_an_older_source_is_not_run(folder):
    helper = folder / "helper.py"
    helper.write_text("K = 3.0\n")
    os.utime(helper, (1e9, 1e9))
    py_compile.compile(str(helper), invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)
    helper.write_text("K = 2.0\n")  # as large, and of the same second
    os.utime(helper, (1e9, 1e9))
    problem, settings = own(folder)
    assert value(problem, settings) == 2.0
    assert inputs(problem, settings)["helper.py"] == sha(helper)


def test_a_problem_loaded_again_is_of_the_modules_as_they_are_now(folder):
    before, settings = own(folder)
    digest = sha(folder / "package/deeper.py")
    assert own(folder)[0] is before
    (folder / "package/deeper.py").write_text("E = 5.0\n")
    after, _ = own(folder)
    assert after is not before
    assert (value(before, settings), value(after, settings)) == (1.0, 5.0)
    assert inputs(before, settings)["package/deeper.py"] == digest
    assert inputs(after, settings)["package/deeper.py"] == sha(folder / "package/deeper.py")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            '("data/table.txt",)',
            '("nowhere.txt",)',
            "there is no file '.*nowhere.txt' of data_file",
        ),
        ('("data/table.txt",)', '("data",)', "there is no file '.*data' of data_files"),
        ('("data/table.txt",)', '"table.txt"', "data_files must be a tuple of texts; got 'table"),
        (
            '("path",)',
            '("pth",)',
            "file_settings must be keys of settings that are texts; got 'pth'",
        ),
        ('("path",)', '("batch",)', "file_settings must be keys of settings that are texts"),
        ('path: str = ""', 'path: str = "absent"', "there is no file 'absent'"),
    ],
)
def test_files_that_are_declared_wrong_are_one_line(folder, before, after, message):
    (folder / "own.py").write_text(OWN.replace(before, after))
    with pytest.raises(InputError, match=message):
        inputs(*own(folder))


# While samples are solved


def test_a_module_that_changes_before_it_is_imported_is_a_failure(folder):
    problem, settings = own(folder)
    solver = problem(settings, MPI.COMM_SELF)
    expect(problem, inputs(problem, settings))
    (folder / "late.py").write_text("A = 7.0\n")
    batch = solved(solver, np.ones((1, 1)))
    assert batch.failure == ["ImportError: late.py has changed since this run was begun"]


def test_a_module_of_a_computed_name_is_a_warning(folder, caplog):
    (folder / "own.py").write_text(OWN.replace("import late", "late = __import__('la' + 'te')"))
    problem, settings = own(folder)
    solver = problem(settings, MPI.COMM_SELF)
    expect(problem, inputs(problem, settings))
    with caplog.at_level(logging.WARNING):
        assert solved(solver, np.ones((1, 1))).failure == [""]
    assert "late.py is imported while samples are solved, by a name that is not in" in caplog.text


@pytest.mark.mpi
@pytest.mark.parametrize(
    "name",
    [
        "own.py",
        "data/table.txt",
        *[
            pytest.param(name, marks=pytest.mark.thorough)
            for name in ("helper.py", "late.py", "once.py")
        ],
    ],
)
def test_a_run_does_not_go_on_with_another_file(folder, name):
    out, given = folder / "own.h5", folder / "given.txt"
    given.write_text("1.0")
    words = ("generate", f"{folder / 'own.py'}:Own", "--samples", "60", "--out", str(out))
    words += ("--set", f"path={given}")
    begun = Run(1, *words)
    until(
        lambda: sum(p.stat().st_size for p in folder.glob("own.h5.parts/shard-*")) > 500,
        begun.process,
    )
    begun.process.send_signal(signal.SIGUSR1)
    begun.end(75)
    text = (folder / name).read_text()
    (folder / name).write_text(text + " ")
    error = run(1, *words, expect=2).stderr
    assert re.search(rf"{name} has SHA-256 \w+ there and \w+ here", error)
    assert f"restore {name} (an edit of a comment counts, too), or give another --out" in error
    assert error.count("\n") == 1
    (folder / name).write_text(text)
    given.rename(folder / "moved.txt")  # what it holds counts, not where it is
    run(1, *words[:-1], f"path={folder / 'moved.txt'}")
    dataset = Dataset.read(out)
    np.testing.assert_allclose(dataset.C, dataset.Y, rtol=1e-15)
    expected = {n: sha(folder / n) for n in {*TEXT, "once.py"}}
    assert dataset.info.inputs == {**expected, "path": sha(folder / "moved.txt")}
    assert dataset.info.notes == ()


@pytest.mark.mpi
@pytest.mark.parametrize("gone", [pytest.param(False, marks=pytest.mark.thorough), True])
def test_data_that_change_during_a_run_are_noted(folder, gone):
    out = folder / "own.h5"
    words = ("generate", f"{folder / 'own.py'}:Own", "--samples", "100", "--out", str(out))
    begun = Run(1, *words)
    until(
        lambda: sum(p.stat().st_size for p in folder.glob("own.h5.parts/shard-*")) > 500,
        begun.process,
    )
    table = folder / "data/table.txt"
    if gone:
        table.unlink()
        note = f"own.py:Own: there is no file {str(table)!r} of data_files, now that samples are "
        note += "solved: it may have changed meanwhile"
    else:
        table.write_text("2.0")
        note = "data/table.txt has changed while samples were solved: they may be of both contents"
    begun.end()
    assert f"warning: {note}" in begun.stderr
    assert read_info(out)[0].notes == (note,)


# Trust


@pytest.fixture
def made(folder, capsys):
    """A dataset of the problem, with a setting that names a file."""
    (folder / "given.txt").write_text("1.0")
    words = ("generate", f"{folder / 'own.py'}:Own", "--samples", "4", "--set")
    run(1, *words, f"path={folder / 'given.txt'}", "--out", str(folder / "own.h5"))
    return folder / "own.h5"


def verify(capsys, out: Path, *words: str) -> tuple[int, str]:
    capsys.readouterr()
    status = cli.main(["verify", str(out), *words])
    return status, capsys.readouterr().out


@pytest.mark.mpi
def test_verify_runs_no_file_that_a_dataset_names(made, capsys, monkeypatch):
    folder = made.parent
    monkeypatch.chdir(folder)
    (folder / "own.py").write_text(f"open({str(folder / 'run')!r}, 'w')\n")
    for name in ("own.py:Own", str(folder / "own.py") + ":Own", f"../{folder.name}/own.py:Own"):
        dataset = Dataset.read(made)
        info = dataclasses.replace(dataset.info, problem=name)
        dataclasses.replace(dataset, info=info).write(made)
        status, said = verify(capsys, made)
        assert status == 0
        assert "nothing wrong found; not checked: whether samples can be solved again" in said
        assert "(give --problem FILE.py:CLASS, where the problem is)" in said
        assert "all is well" not in said
        assert verify(capsys, made, "--recompute", "2")[0] == 1
    assert not (folder / "run").exists()


@pytest.mark.mpi
@pytest.mark.parametrize("name", ["own.py", "helper.py", "late.py", "once.py", "data/table.txt"])
def test_verify_runs_nothing_unless_all_files_are_those_of_the_dataset(made, capsys, name):
    folder = made.parent
    problem = ("--problem", f"{folder / 'own.py'}:Own")
    status, said = verify(capsys, made, *problem)
    assert (status, said.endswith(": all is well\n")) == (0, True)
    marker = f"open({str(folder / 'run')!r}, 'w')\n"
    (folder / name).write_text(marker + FILES[name])
    status, said = verify(capsys, made, *problem)
    assert status == 1
    assert "nothing wrong found; not checked: whether samples can be solved again" in said
    assert f"{folder / name} is not the file that made it: its SHA-256 is " in said
    assert not (folder / "run").exists()


@pytest.mark.mpi
def test_verify_reads_no_file_of_a_setting_but_that_of_the_dataset(made, capsys):
    problem = ("--problem", f"{made.parent / 'own.py'}:Own")
    (made.parent / "given.txt").write_text("2.0")
    status, said = verify(capsys, made, *problem)
    assert status == 1 and "given.txt is not the file that made it: its SHA-256 is " in said
    (made.parent / "given.txt").unlink()
    status, said = verify(capsys, made, *problem)
    assert status == 1 and "there is no file" in said
    (made.parent / "given.txt").write_text("1.0")
    dataset = Dataset.read(made)
    files = {name: sha for name, sha in dataset.info.inputs.items() if name != "path"}
    info = dataclasses.replace(dataset.info, inputs=files)
    dataclasses.replace(dataset, info=info).write(made)
    status, said = verify(capsys, made, *problem)
    assert status == 1 and "given.txt is not the file that made it: " in said


@pytest.mark.mpi
def test_a_dataset_that_is_not_of_its_problem_is_one_line(made):
    problem, _ = own(made.parent)
    dataset = Dataset.read(made)
    info = dataclasses.replace(dataset.info, c_names=("b", "d"), c_units=("1", "1"))
    dataclasses.replace(dataset, info=info, C=np.ones((4, 2))).write(made)
    with opened(made) as stored, pytest.raises(InputError, match="its c_names are not those of"):
        recompute(stored, problem, 1, 0)
