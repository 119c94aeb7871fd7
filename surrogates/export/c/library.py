"""The library of a surrogate's engine: compiled once, and kept for the processes to come.

It lies in a folder of the user's. Its name is a digest of all that it is made of, and of the
processor and the C library that it is for, so that machines of several kinds may share the folder.
It is found without a compiler: a cluster's nodes often have none.

Where the folder cannot be written, as with a full disk or a home folder that is read-only, a
process compiles a library for itself.

The flags: ``-march=native`` for the vectors of this processor. ``-O3`` unrolls the loops over
lanes. ``-fno-math-errno`` lets roots be one instruction. Never ``-ffast-math``: it would remove
NaN.
"""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import functools
import hashlib
import logging
import os
import platform
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from surrogates import __version__
from surrogates.errors import InputError, check

from ..reference import Reference
from .engine import sources

FLAGS = (
    *("-std=gnu11", "-O3", "-march=native", "-fno-math-errno"),
    *("-shared", "-fPIC", "-pthread", "-w"),
)
_SECONDS = 600  # for the compiler
_CPUINFO = "/proc/cpuinfo"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

_log = logging.getLogger(__name__)


def library(reference: Reference) -> ctypes.PyDLL:
    """Load the library of a surrogate, compiled before or now.

    Raises:
        InputError: If there is no C compiler, it fails, or the cache cannot be trusted.
    """
    name = f"{_digest(reference)}.so"
    try:
        folder = cache_folder()
        kept = folder / name
        if kept.exists():
            _check_own(kept)
        else:
            with tempfile.TemporaryDirectory(dir=folder, prefix="building-") as beside:
                os.replace(_compiled(reference, Path(beside)), kept)
        return _loaded(kept)
    except OSError as error:
        _log.warning(
            "a compiled surrogate cannot be kept (%s), and is compiled by each process: set "
            "XDG_CACHE_HOME to a folder of your own",
            error,
        )
    try:
        with tempfile.TemporaryDirectory(prefix="surrogate-") as beside:
            return _loaded(_compiled(reference, Path(beside)))
    except OSError as error:
        raise InputError(f"cannot write the compiled surrogate: {error}") from error


def available() -> bool:
    """Return whether there is a C compiler."""
    return shutil.which(_compiler()) is not None


def cache_folder() -> Path:
    """Return the folder of compiled surrogates, which belongs to the user alone.

    It is ``varpro-surrogates/compiled`` in the environment's XDG_CACHE_HOME, or in ~/.cache.

    Raises:
        OSError: If it cannot be made.
        InputError: If it is another user's, or others may write to it: they could put their own
            programs there.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    if not os.path.isabs(home):
        raise FileNotFoundError(errno.ENOENT, "there is no home folder", home)
    folder = Path(home, "varpro-surrogates", "compiled")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_own(folder)
    return folder


def _check_own(path: Path) -> None:
    about = path.lstat()
    own = about.st_uid == os.getuid() and not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    check(
        own and not stat.S_ISLNK(about.st_mode),
        f"{path} may have been written by others, and is not run: expected that it belongs to you, "
        "is no link, and that no others may write to it; remove it, or set XDG_CACHE_HOME",
    )


def _compiler() -> str:
    return os.environ.get("CC") or "cc"


def _compiled(reference: Reference, folder: Path) -> Path:
    """Compile the library of a surrogate in an empty folder.

    Raises:
        OSError: If there is no room for it.
        InputError: If there is no C compiler, or it fails.
    """
    compiler = shutil.which(_compiler())
    if compiler is None:
        raise InputError(
            f"there is no C compiler {_compiler()!r}: install one (Debian: gcc; conda: "
            "c-compiler), or use the numpy engine"
        )
    files = sources(reference)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    names = sorted(name for name in files if name.endswith(".c"))
    run = _run([compiler, *FLAGS, *names, "-o", "engine.so", "-lm"], folder)
    for number in _NO_SPACE:
        if run.returncode and os.strerror(number) in run.stderr:
            raise OSError(number, os.strerror(number), str(folder))
    lines = run.stderr.strip().splitlines() or [f"status {run.returncode}"]
    check(run.returncode == 0, f"{compiler} cannot compile the surrogate: {lines[0][:200]}")
    return folder / "engine.so"


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a compiler in a folder, where its own files lie too."""
    around = {**os.environ, "LC_ALL": "C", "TMPDIR": str(folder)}
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=around,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{command[0]} does not end: it was stopped after {_SECONDS} s") from error
    except OSError as error:
        raise InputError(f"{command[0]} does not run: {error.strerror}") from error


def _digest(reference: Reference) -> str:
    """Return the name of a library: a digest of numbers, code, flags and processor.

    The source itself, megabytes of digits, is written only to be compiled.
    """
    words = (__version__, _compiler(), *FLAGS, *platform.libc_ver(), _processor())
    digest = hashlib.sha256(" ".join(words).encode())
    for part in (*_code(), *_numbers(reference)):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:32]


@functools.cache
def _processor() -> str:
    """Return what says which instructions this processor has.

    That is the kernel's account of it, or else the compiler's.
    """
    try:
        text = Path(_CPUINFO).read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    first = text.split("\n\n")[0]
    kinds = r"vendor_id|cpu family|model|flags|Features|CPU \w+|cpu|isa|uarch"
    found = re.findall(rf"^(?:{kinds})\s*:.*$", first, re.MULTILINE)
    compiler = shutil.which(_compiler())
    if not found and compiler is not None:
        command = [compiler, *FLAGS, "-dM", "-E", "-xc", os.devnull]
        found = [_run(command, Path(tempfile.gettempdir())).stdout]
    return "\n".join([platform.machine(), *found])


def _numbers(r: Reference) -> Iterator[bytes]:
    """Return all constants of a surrogate, each after its name, type and shape."""
    whole: list[tuple[str, Any]] = [
        ("", r),
        ("ensemble", r.ensemble),
        *([("correlation", r.correlation)] if r.correlation is not None else []),
        *((block.KIND, block) for block in r.blocks),
    ]
    for kind, part in whole:
        for about in dataclasses.fields(part):
            value = getattr(part, about.name)
            if isinstance(value, np.ndarray | float | str):
                array = np.asarray(value)
                text = f"{type(part).__name__} {kind} {about.name} {array.dtype} {array.shape}"
                yield text.encode()
                yield array.tobytes()


@functools.cache
def _code() -> tuple[bytes, ...]:
    """Return the modules and templates that make the source."""
    files = sorted(resources.files("surrogates.export.c").iterdir(), key=lambda file: file.name)
    return tuple(file.read_bytes() for file in files if file.name.endswith((".py", ".in")))


def _loaded(path: Path) -> ctypes.PyDLL:
    """Load a library, and give it the functions of Python that it calls."""
    try:
        found = ctypes.PyDLL(str(path))
    except OSError as error:
        raise InputError(
            f"cannot load the compiled surrogate {path}: {error}; remove it, or set XDG_CACHE_HOME "
            "to a folder whose programs may be run"
        ) from error
    names = ("PyObject_GetBuffer", "PyBuffer_Release", "PyEval_SaveThread", "PyEval_RestoreThread")
    functions = [ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p) for name in names]
    found.engine_bind.restype = None
    found.engine_bind(*functions)
    one = ctypes.py_object
    found.engine_forward.argtypes = found.engine_jacobian.argtypes = [one, one]
    found.engine_finite.argtypes = [one]
    found.engine_call.argtypes = [
        *(ctypes.c_int, ctypes.c_ssize_t, one, one, one, ctypes.c_double, one, ctypes.c_int)
    ]
    return found
