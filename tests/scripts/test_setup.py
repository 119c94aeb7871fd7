"""The set-up: exact versions for all that pip installs, lower ends, and what setup.sh refuses."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import venv

import pytest

pytest.importorskip("pip", reason="its parser of requirements is what setup.sh uses")

import environment
from pip._vendor.packaging.requirements import Requirement

ROOT = environment.ROOT


def lines():
    text = (ROOT / "scripts" / "constraints.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_every_constraint_is_one_exact_version():
    assert len(lines()) > 50
    for line in lines():
        ((spec,),) = (Requirement(line).specifier,)
        assert spec.operator == "==" and "*" not in spec.version


@pytest.mark.parametrize("python", ["3.10.1", "3.11.2", "3.12.3", "3.13.5", "3.14.2"])
def test_every_requirement_has_one_version_within_its_range_on_each_python(python):
    where = {"python_version": python.rpartition(".")[0], "python_full_version": python}
    where |= {"sys_platform": "linux", "platform_machine": "x86_64"}
    found = {}
    for need in map(Requirement, lines()):
        if need.marker is None or need.marker.evaluate(where):
            ((spec,),) = (need.specifier,)
            assert found.setdefault(need.name, spec.version) == spec.version, need.name
    read = environment.project()
    project, extras = read["project"], read["project"]["optional-dependencies"]
    wanted = sum(extras.values(), read["build-system"]["requires"] + project["dependencies"])
    assert len(wanted) > 20
    for need in map(Requirement, wanted):
        if need.marker is None or need.marker.evaluate(where):
            assert need.specifier.contains(found[environment.canonical(need.name)])


def test_all_that_the_requirements_need_has_a_version_too():
    pinned, seen = environment.constraints(), set()
    if importlib.metadata.version("torch").partition("+")[0] != pinned["torch"]:
        pytest.skip("the packages here are not those of constraints.txt")
    waiting = {environment.canonical(need.name) for need in environment.requirements()}
    while waiting:
        name = waiting.pop()
        seen.add(name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if distribution.read_text("INSTALLER") == "pip\n":
            assert name in pinned
        for need in map(Requirement, distribution.requires or ()):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                waiting |= {environment.canonical(need.name)} - seen
    assert "torch" in seen


def test_lower_ends_are_those_of_the_ranges():
    ends = {need.name: environment.lower_end(need) for need in environment.requirements()}
    assert ends["torch"] == "2.2" and ends["ruff"] == environment.constraints()["ruff"]


def register(folder, name, version, installer="pip"):
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "INSTALLER").write_text(installer)


def test_only_an_environment_of_the_scripts_making_is_brought_to_exact_versions(tmp_path):
    venv.create(tmp_path / "env", with_pip=True, symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    (place,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    pinned = environment.constraints()
    for name, version in (
        ("tomli-w", "1.1"),
        ("tqdm", "4.0"),
        ("mpmath", "1.2"),
        ("emcee", pinned["emcee"] + ".0"),
        ("meshio", "999"),
        ("other", "1"),
        ("Broken", "not a version"),
    ):
        register(place, name, version)
    register(place, "h5py", "3.7.0", environment.MARK)

    def ask(*words):
        run = [str(python), str(ROOT / "scripts" / "environment.py"), *words]
        return subprocess.run(run, check=True, capture_output=True, text=True).stdout.splitlines()

    assert ask("kind") == ["environment"]
    wanted, pins = ask("wanted"), ask("pins")
    assert "tqdm>=4.64" in wanted and f"pytest=={pinned['pytest']}" in wanted
    assert not [line for line in wanted if re.match("tomli-w|mpmath|emcee|meshio|h5py|other", line)]
    assert {f"tomli-w<={pinned['tomli-w']}", "meshio<=999", "h5py==3.7.0"} <= set(pins)
    assert f"pytest=={pinned['pytest']}" in pins

    (tmp_path / "env" / environment.STAMP).write_text("of setup.sh's making")
    wanted, pins = ask("wanted"), ask("pins")
    exact = ("tomli-w", "tqdm", "mpmath", "meshio", "setuptools")
    assert {f"{name}=={pinned[name]}" for name in exact} <= set(wanted)
    assert not [line for line in wanted if re.match("emcee|h5py|other|broken|pip=", line)]
    assert "h5py==3.7.0" in pins and all("==" in line for line in pins)
    assert {"tomli-w==1", "torch==2.2"} <= set(ask("wanted", "--lowest"))


def copied(folder):
    (folder / "scripts").mkdir(parents=True)
    for name in ("setup.sh", "environment.py"):
        shutil.copy(ROOT / "scripts" / name, folder / "scripts")
    return folder / "scripts" / "setup.sh"


@pytest.mark.parametrize("name", ["a:b", 'a"b', "a$b", "a`b", "a\\b", "a\nb"])
def test_a_folder_that_no_path_or_command_stands_is_refused(tmp_path, name):
    ended = subprocess.run([copied(tmp_path / name)], capture_output=True, text=True)
    assert ended.returncode == 1 and "move the checkout" in ended.stderr
    assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["scripts"]


def test_an_unknown_word_is_one_line(tmp_path):
    ended = subprocess.run([copied(tmp_path), "--root"], capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr == "setup: '--root' is not one of: --no-root, --lowest\n"
