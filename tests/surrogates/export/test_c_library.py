"""The compiled engine's library: its cache, processes at once, and machines that lack something."""

from __future__ import annotations

import logging
import os
import pickle
import re
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import extended
import numpy as np
import pytest
from compiled import needs_cc

from surrogates.errors import InputError
from surrogates.export.c import library
from surrogates.export.c.compiled import Compiled
from surrogates.export.c.library import available
from surrogates.export.constants import constants
from surrogates.export.reference import Reference

pytestmark = needs_cc
IN_CACHE = "varpro-surrogates/compiled"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty folder for the library of this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache" / IN_CACHE


def given(name: str = "linear") -> tuple[Reference, np.ndarray]:
    surrogate, loaded = extended.both(name)
    return constants(loaded), extended.points(surrogate)


def check_right(reference: Reference, Y: np.ndarray) -> None:
    np.testing.assert_allclose(Compiled(reference).forward(Y), reference.forward(Y), rtol=1e-10)


def test_is_compiled_once(cache, monkeypatch):
    reference, Y = given("network")
    check_right(reference, Y)
    before = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert [re.fullmatch(r"[0-9a-f]{32}\.so", path.name) is not None for path in before] == [True]
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700

    def refused(*_, **__):
        raise AssertionError("it compiles again")

    monkeypatch.setattr(subprocess, "run", refused)
    check_right(reference, Y)
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == before


def test_surrogates_that_differ_in_their_covariance_alone_have_a_library_each(cache):
    reference, Y = given("gaussian")
    known = reference.correlation
    changes = [{}, {"unique": 2 * known.unique}, {"sizes": np.zeros((2, 0, 0))}]
    for change in changes:
        one = replace(reference, correlation=replace(known, **change))
        for found, right in zip(Compiled(one).predict_cov(Y), one.predict_cov(Y), strict=True):
            np.testing.assert_allclose(found, right, rtol=1e-10)
    assert len(list(cache.iterdir())) == len(changes)


def test_a_library_that_is_there_needs_no_compiler(cache, monkeypatch, tmp_path):
    """Nodes of a cluster often have none."""
    reference, Y = given()
    check_right(reference, Y)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not available()
    check_right(reference, Y)


def test_another_kind_of_processor_has_a_library_of_its_own(cache, monkeypatch, tmp_path):
    """Machines that share a home folder may differ, and -march=native is for one of them."""
    reference, Y = given()
    check_right(reference, Y)
    text = Path(library._CPUINFO).read_text()
    changes = {"clock": (r"cpu MHz\s*:.*", "cpu MHz : 1.0"), "kind": (r"\bsse2\b|\bfp\b", "other")}
    for what, (pattern, instead) in changes.items():
        changed = re.sub(pattern, instead, text)
        (tmp_path / what).write_text(changed)
        monkeypatch.setattr(library, "_CPUINFO", str(tmp_path / what))
        library._processor.cache_clear()
        check_right(reference, Y)
        assert len(list(cache.iterdir())) == 1 + (what == "kind" and changed != text)
    library._processor.cache_clear()
    assert changed != text


def test_without_the_kernels_account_the_compiler_is_asked(monkeypatch, tmp_path):
    monkeypatch.setattr(library, "_CPUINFO", str(tmp_path / "none"))
    library._processor.cache_clear()
    assert "#define __GNUC__" in library._processor()
    library._processor.cache_clear()


SCRIPT = """
import pickle, sys
from surrogates.export.c.compiled import Compiled
reference, Y = pickle.load(open(sys.argv[1], "rb"))
print(float(Compiled(reference).forward(Y).sum()).hex())
assert "torch" not in sys.modules
"""


def started(folder: Path, **settings) -> subprocess.Popen:
    """A process that compiles what lies in a folder, and prints a sum."""
    command = [sys.executable, "-c", SCRIPT, str(folder / "given")]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, **settings)


def put(folder: Path) -> str:
    """Write what `started` reads, and return what it prints."""
    reference, Y = given()
    (folder / "given").write_bytes(pickle.dumps((reference, Y)))
    return f"{float(Compiled(reference).forward(Y).sum()).hex()}\n"


def test_processes_that_compile_at_once_do_not_harm_each_other(cache, tmp_path):
    right = put(tmp_path)
    for path in cache.iterdir():
        path.unlink()
    runs = [started(tmp_path) for _ in range(3)]
    assert {run.communicate(timeout=200)[0] for run in runs} == {right}
    assert [path.suffix for path in cache.iterdir()] == [".so"]


def test_a_cache_that_others_may_write_is_not_trusted(cache):
    reference, Y = given()
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    with pytest.raises(InputError, match="may have been written by others, and is not run"):
        Compiled(reference)
    cache.chmod(0o700)
    check_right(reference, Y)
    (found,) = cache.iterdir()
    moved = found.rename(cache.parent / "moved.so")
    found.symlink_to(moved)
    with pytest.raises(InputError, match="may have been written by others") as caught:
        Compiled(reference)
    assert len(str(caught.value).splitlines()) == 1


def test_without_a_compiler_there_is_one_clear_line(cache, monkeypatch, tmp_path):
    reference, _ = given()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert not available()
    with pytest.raises(InputError, match="there is no C compiler 'cc': install one"):
        Compiled(reference)
    fake = Path(tmp_path, "cc")
    for text, message in (
        ("#!/bin/sh\necho 'no memory' >&2; exit 3\n", "cannot compile the surrogate: no memory"),
        ("#!/bin/sh\nexit 3\n", "cannot compile the surrogate: status 3"),
        ("#!/nowhere/sh\n", "does not run: No such file or directory"),
    ):
        fake.write_text(text)
        fake.chmod(0o755)
        with pytest.raises(InputError, match=message) as caught:
            Compiled(reference)
        assert len(str(caught.value).splitlines()) == 1
    assert list(cache.iterdir()) == []


def test_a_compiler_that_does_not_end_is_stopped(cache, monkeypatch, tmp_path):
    fake = Path(tmp_path, "slow")
    fake.write_text("#!/bin/sh\nexec sleep 100\n")
    fake.chmod(0o755)
    monkeypatch.setenv("CC", str(fake))
    monkeypatch.setattr(library, "_SECONDS", 0.5)
    with pytest.raises(InputError, match=r"slow does not end: it was stopped after 0.5 s"):
        Compiled(given()[0])


def test_a_damaged_library_is_one_clear_line(cache):
    reference, _ = given()
    cache.mkdir(mode=0o700, parents=True)
    (cache / f"{library._digest(reference)}.so").write_bytes(b"no program")
    with pytest.raises(InputError, match="cannot load the compiled surrogate .*remove it"):
        Compiled(reference)


@pytest.mark.parametrize("home", ["/proc/none", "relative/folder"])
def test_without_a_folder_to_write_each_process_compiles_its_own(home, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    with caplog.at_level(logging.WARNING):
        check_right(*given())
    assert "cannot be kept" in caplog.text and "set XDG_CACHE_HOME" in caplog.text
    assert not Path("relative").exists()


@pytest.fixture
def other_user() -> Iterator[tuple[Path, dict]]:
    """A folder and the settings of a process that folders' modes bind, as they do not bind root."""
    nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        there = subprocess.run([sys.executable, "-c", "import surrogates"], cwd="/", **nobody)
        if there.returncode != 0:
            pytest.skip("no other user may run this Python")
        yield folder, nobody


def test_a_cache_that_is_read_only_is_done_without(other_user):
    folder, settings = other_user
    right = put(folder)
    home, scratch = folder / "home", folder / "scratch"
    cache = home / IN_CACHE
    cache.mkdir(parents=True)
    scratch.mkdir()
    for path in (cache, scratch):
        os.chown(path, settings.get("user", -1), settings.get("group", -1))
    cache.chmod(0o500)
    around = {**os.environ, "XDG_CACHE_HOME": str(home), "TMPDIR": str(scratch)}
    said, errors = started(folder, env=around, cwd="/", **settings).communicate(timeout=200)
    assert said == right, errors
    assert "Permission denied" in errors and "is compiled by each process" in errors
    assert not list(cache.iterdir()) and not list(scratch.iterdir())


def test_a_full_disk_is_done_without(tmp_path):
    """A file system that holds the sources, or not even these, and no library."""
    if shutil.which("mount") is None:
        pytest.skip("there is no mount")
    right, home = put(tmp_path), tmp_path / "home"
    home.mkdir()
    for size in ("8k", "60k"):
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(home)], capture_output=True
        )
        if mounted.returncode != 0:
            pytest.skip("a small file system cannot be mounted here")
        try:
            run = started(tmp_path, env={**os.environ, "XDG_CACHE_HOME": str(home)})
            said, errors = run.communicate(timeout=200)
        finally:
            subprocess.run(["umount", str(home)], check=True)
        assert said == right, errors
        assert "No space left on device" in errors and "cannot be kept" in errors


def test_where_no_file_may_be_written_there_is_one_clear_line(cache):
    reference, _ = given()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    try:
        with pytest.raises(
            InputError, match="cannot write the compiled surrogate: .*too large"
        ) as e:
            Compiled(reference)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(str(e.value).splitlines()) == 1
    assert list(cache.iterdir()) == []
