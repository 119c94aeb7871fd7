"""Write the two files of a C export, under names that clash with no others."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from surrogates.errors import InputError
from surrogates.files import atomic

from ..constants import constants
from ..reference import Reference
from .source import texts

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate

# Headers of C up to C23, and those that C libraries include in them. A file of the same name would
# hide them from a program that is built with -I. (a surrogate "math" would write math.h).
_STANDARD = frozenset(
    "alloca assert complex ctype endian errno features fenv float inttypes iso646 limits locale "
    "malloc math memory pthread sched setjmp signal stdalign stdarg stdatomic stdbit stdbool "
    "stdckdint stddef stdint stdio stdlib stdnoreturn string strings tgmath threads time uchar "
    "unistd wchar wctype".split()
)

# Where a source defines names of its own: constants, tables, functions and macros of the file.
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_ENUM = re.compile(r"^enum \{ (.*?) \};", re.MULTILINE)
_OWN = (
    re.compile(r"^static const \w+ (\w+)", re.MULTILINE),
    re.compile(r"^static \w+ (\w+)\(", re.MULTILINE),
    re.compile(r"^#define (\w+)", re.MULTILINE),
)

_PUBLIC_TOO = {"N_IN": "INPUTS", "N_OUT": "OUTPUTS", "N_COV": "COLUMNS"}


def save(surrogate: LoadedSurrogate, path: str | os.PathLike[str]) -> None:
    """Write a surrogate as NAME.c, and NAME.h beside it: both, whole, or neither.

    Args:
        surrogate: From `surrogates.load`.
        path: NAME.c. The functions are NAME_forward and so on, the sizes NAME_N_IN and NAME_N_OUT.
            They keep the case of the file's name: cdr and CDR are two surrogates.

    Raises:
        InputError: If NAME cannot begin a name in C, or would hide a header of C; if the
            surrogate's features have no such form (see `surrogates.export.constants.constants`);
            or if a file cannot be written.
    """
    path = Path(path)
    written(sources(name_of(path, ".c"), constants(surrogate)), path)


def name_of(path: Path, suffix: str) -> str:
    """Return NAME of a file NAME.c, or of another suffix that goes with it.

    Raises:
        InputError: If it cannot begin a name in C, or would hide a header of C.
    """
    name = path.stem
    if path.suffix != suffix or not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name):
        raise InputError(
            f"cannot write {path}: expected NAME{suffix}, where NAME is a letter, then letters, "
            "digits and _, as its functions are NAME_forward and so on"
        )
    if name.lower() in _STANDARD:  # some file systems do not distinguish Math.h from math.h
        raise InputError(f"cannot write {path}: {name}.h would hide the header of C; rename it")
    return name


def sources(name: str, r: Reference) -> dict[str, str]:
    """Return the two files of a surrogate, by their suffixes."""
    source, header = texts(name, r)
    return {".h": header, ".c": _with_own_names(source, name)}


def written(files: Mapping[str, str], path: Path) -> None:
    """Write files beside a path, its suffix replaced by these: all, whole, or none.

    Raises:
        InputError: If one cannot be written.
    """
    with contextlib.ExitStack() as stack:
        for suffix, text in files.items():
            beside = stack.enter_context(atomic(path.with_name(path.stem + suffix)))
            beside.write_text(text, encoding="utf-8")


def _with_own_names(source: str, name: str) -> str:
    """Put NAME_own_ before all names that a source keeps to itself.

    C programs without a build system include several sources in one. Then no two surrogates,
    whatever their names, have such a name in common: a surrogate called NAME_own has none of these
    names either, as its public names end differently.
    """
    code = _COMMENT.sub("", source)
    own = {found for pattern in _OWN for found in pattern.findall(code)}
    own.update(word.split()[0] for text in _ENUM.findall(code) for word in text.split(","))
    names = "|".join(sorted(own, key=len, reverse=True))
    words = re.compile(rf'{_COMMENT.pattern}|"[^"\n]*"|\b({names})\b', re.DOTALL)

    def own_name(found: re.Match[str]) -> str:
        word = _PUBLIC_TOO.get(found[1], found[1])
        return f"{name}_own_{word}" if word else found[0]

    return words.sub(own_name, source)
