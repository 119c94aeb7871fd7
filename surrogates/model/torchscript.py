"""TorchScript archives as bytes: read, written, and made the same in every process.

A TorchScript file is a zip archive of code, pickles and data. One folder in it holds all members;
their names here leave it out. `surrogates.model.torchscript_check` checks that their code is
harmless.
"""

from __future__ import annotations

import ast
import io
import os
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from surrogates import files
from surrogates.config import check
from surrogates.errors import InputError

CODE = re.compile(r"code/(__torch__(?:/[A-Za-z_]\w*)*)\.py", re.ASCII)
"""Names of members with code."""

DATA = re.compile(r"(?:data|constants)/\d+", re.ASCII)
"""Names of members with the data of tensors."""

_TEXTS = 2**26  # bytes of all compressed members; torch compresses code alone
_ALIGNMENT = 64  # of tensors, as torch has it
_OTHERS = ("data.pkl", "constants.pkl", "version", "byteorder")
_QUALIFIED = re.compile(r"__torch__(?:\.[A-Za-z_]\w*)+", re.ASCII)
_CONSTANTS = re.compile(r"(?:^  \w+ : Final\[.*\n)+", re.MULTILINE)
_MANGLED = re.compile(r"\.___torch_mangle_\d+")

Members = Mapping[str, bytes]
"""Contents of an archive's members, by their names without the common folder."""


def read(file: str | os.PathLike[str] | BinaryIO, path: str | None = None) -> dict[str, bytes]:
    """Read all members of an archive, and verify every checksum: torch itself does not.

    Args:
        file: The archive, or its path.
        path: Its name in messages, if it is open.

    Raises:
        InputError: If a checksum is wrong, two members have one name, or compressed members are
            larger than any code is.
        zipfile.BadZipFile: If it is no zip archive.
    """
    path = os.fspath(file) if isinstance(file, str | os.PathLike) else path or "the archive"
    inside: dict[str, bytes] = {}
    seen: set[str] = set()
    with zipfile.ZipFile(file) as archive:
        for one in files.members(path, archive, _TEXTS):
            try:
                content = archive.read(one)
            except zipfile.BadZipFile as error:
                raise InputError(
                    f"{path} is damaged: the checksum of {one.filename!r} is wrong"
                ) from error
            name = one.filename.partition("/")[2]
            check(
                name.lower() not in seen,  # torch ignores the case of names
                f"{path} is refused: two of its members are {name[:80]!r}",
            )
            seen.add(name.lower())
            inside[name] = content
    return inside


def pack(members: Members) -> bytes:
    """Write members as an archive that torch reads. Equal members make equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            one = zipfile.ZipInfo(f"archive/{name}")  # with the date 1980, not now
            one.create_system, one.external_attr = 3, 0o644 << 16
            unaligned = (buffer.tell() + 30 + len(one.filename) + 4) % _ALIGNMENT
            padding = -unaligned % _ALIGNMENT
            one.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
            archive.writestr(one, content)
    return buffer.getvalue()


def loadable(members: Members) -> dict[str, bytes]:
    """Return the members that torch needs for a module, without extra files and sources."""
    return {
        name: content
        for name, content in members.items()
        if name in _OTHERS or DATA.fullmatch(name) or name.startswith("code/")
        if not name.endswith(".debug_pkl")
    }


def canonical(members: Members) -> dict[str, bytes]:
    """Return the members in a form that does not depend on the process that compiled them.

    torch numbers classes of the same name over the life of a process, writes the constants of a
    class in the order of a set, and adds the paths and texts of sources, for the lines in its
    errors. Here the numbers begin at 0 in each file, constants are sorted, and sources are left
    out.
    """
    kept = loadable(members)
    sources = {name: kept.pop(name).decode() for name in list(kept) if CODE.fullmatch(name)}
    items = {
        f"{module_of(name)}.{item.name}": text
        for name, source in sources.items()
        for item, text in _items(source)
    }
    renamed = _renamed(items, kept["data.pkl"])
    texts: dict[str, str] = {}
    for old, new in renamed.items():
        file = f"code/{new.rpartition('.')[0].replace('.', '/')}.py"
        text = _QUALIFIED.sub(lambda found: renamed.get(found[0], found[0]), items[old])
        texts[file] = texts.get(file, "") + text
    pickles = {name: _with_globals(kept[name], renamed) for name in kept if name.endswith(".pkl")}
    return {**kept, **pickles, **{name: text.encode() for name, text in texts.items()}}


def module_of(name: str) -> str:
    """Return the dotted name of a member with code."""
    return name.removeprefix("code/").removesuffix(".py").replace("/", ".")


def _items(source: str) -> Iterator[tuple[ast.ClassDef | ast.FunctionDef, str]]:
    """Return the classes and functions of a text, and the lines of each."""
    lines = source.splitlines(keepends=True)
    for item in ast.parse(source).body:
        if isinstance(item, ast.ClassDef | ast.FunctionDef):
            text = "".join(lines[item.lineno - 1 : item.end_lineno])
            yield item, _CONSTANTS.sub(_sorted, text)


def _sorted(lines: re.Match[str]) -> str:
    return "".join(sorted(lines[0].splitlines(keepends=True)))


def _renamed(items: Mapping[str, str], pickle: bytes) -> dict[str, str]:
    """Return new names of the classes and functions in use, numbered in the order of their use."""
    found = [match[0].replace(" ", ".") for match in _globals(pickle)]
    renamed: dict[str, str] = {}
    waiting = [name for name in found if name in items][:1]
    while waiting:
        name = waiting.pop(0)
        if name in renamed:
            continue
        prefix, _, last = _MANGLED.sub("", name).rpartition(".")
        new, k = f"{prefix}.{last}", 0
        while new in renamed.values():
            new, k = f"{prefix}.___torch_mangle_{k}.{last}", k + 1
        renamed[name] = new
        waiting += [other for other in _QUALIFIED.findall(items[name]) if other in items]
    return renamed


def _globals(pickle: bytes) -> Iterator[tuple[str, int]]:
    """Return the names in a pickle, and the position of each."""
    for opcode, argument, position in pickletools.genops(pickle):
        if opcode.name == "GLOBAL" and isinstance(argument, str) and position is not None:
            yield argument, position


def _with_globals(pickle: bytes, renamed: Mapping[str, str]) -> bytes:
    pieces, done = [], 0
    for name, position in _globals(pickle):
        new = renamed.get(name.replace(" ", "."), name.replace(" ", ".")).rpartition(".")
        pieces += [pickle[done:position], f"c{new[0]}\n{new[2]}\n".encode()]
        done = position + len(name) + 2  # opcode and two ends of lines, one of them the blank
    return b"".join([*pieces, pickle[done:]])
