"""The files besides a problem's own that its samples depend on, and the SHA-256 of each.

There are three kinds, and each has a name in the dataset:

- modules, and code that the problem reads and runs, in or below the folder of the problem's file or
  a folder that the file adds to ``sys.path``; their names are paths from there;
- data of the problem, `Problem.data_files`; their names are paths from there too;
- files that a setting names, `Problem.file_settings`; their name is the setting's key. The content
  counts, not the path.

Installed packages are not included: a dataset keeps the versions of those that matter.

A module is run from the content that was hashed, not from Python's cache of compiled modules: that
identifies a source by its size and the second of its last change, and returns old code after a
quick edit of one digit. A module that is imported only during solves is found before, in the text
of the problem's file or of a module that it imports. If its content has changed by then, the import
and the sample fail. An import by a name that the text does not contain is a warning.
An audit hook of Python sees all files that are opened in those folders (by ``exec``, `runpy`,
`importlib`, `ctypes` and others). Undeclared data that are read there become a note of the dataset,
except files that have changed since the process began, such as scratch files.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import os
import sys
import sysconfig
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from surrogates.config import check, entries, to_toml
from surrogates.errors import InputError

if TYPE_CHECKING:
    from surrogates.data import Info

    from .problem import Problem

_LOG = logging.getLogger(__name__)
_PACKAGE = __name__.partition(".")[0]
_INSTALLED = tuple(
    str(Path(sysconfig.get_path(name)).resolve()) + os.sep
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        InputError: If there is no such file, or it cannot be read.
    """
    check(path.is_file(), f"there is no file {str(path)!r}")
    found = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while content := file.read(1 << 20):
                found.update(content)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    return found.hexdigest()


class Neighbours(importlib.abc.MetaPathFinder):
    """Imports the modules of some folders from their sources, and keeps the digest of each.

    Attributes:
        loaded: SHA-256 of the content that was run, by the file.
        read: Other files that were read in the folders, each with the problem's file that did.
        expected: Digests that the files must have during a run; None otherwise.
    """

    def __init__(self) -> None:
        """Start with no folder."""
        self.loaded: dict[Path, str] = {}
        self.read: dict[Path, Path] = {}
        self.expected: dict[Path, str] | None = None
        self._folders: set[Path] = set()
        self._problems: set[Path] = set()
        self._current = Path()  # of the problem that was loaded last
        self._owners: dict[Path, Path] = {}
        self._path: frozenset[str] = frozenset()  # where modules were looked for before
        self._looks, self._begun = False, 0.0

    def watch(self, problem: Path) -> None:
        """Watch imports from a file's folder from now on; modules imported before stay."""
        folder = problem.parent
        self._problems.add(problem)
        if not self._folders:
            self._path, self._begun = frozenset(sys.path), time.time()
            sys.addaudithook(self._audit)
        self._folders.add(folder)
        self._current = folder
        for path in _imported(folder) - self.loaded.keys():
            self._take(path, digest(path))
        if self not in sys.meta_path:
            at = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else 0
            sys.meta_path.insert(at, self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a module as Python does; load it by this class if it is in the folders."""
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None or fullname.partition(".")[0] == _PACKAGE:
            return spec
        if place := self.counted(spec.origin):
            if isinstance(spec.loader, importlib.machinery.SourceFileLoader):
                spec.loader = _Source(fullname, spec.origin)
            else:  # compiled code, or an archive
                self.keep(place, digest(place))
        return spec

    def counted(self, origin: str) -> Path | None:
        """Return the file of a module's origin if it is in the folders; else None."""
        named = Path(os.path.abspath(origin))
        added = {Path(os.path.abspath(one)) for one in sys.path if one not in self._path}
        for place in dict.fromkeys((named, Path(os.path.realpath(origin)))):
            if any(_is_below(place, folder) for folder in self._folders | added):
                inside = (one for one in (place, *place.parents) if one.is_file())
                return next(inside, None)  # the archive that holds it
        return None

    def keep(self, place: Path, found: str) -> None:
        """Keep the digest of a module that is about to be run.

        Raises:
            ImportError: If the samples of this run depend on another content.
        """
        if self.expected is not None:
            if place not in self.expected:
                _LOG.warning(
                    "%s is imported while samples are solved, by a name that is not in the text of "
                    "the problem: the dataset does not know its content; import it at the top",
                    place,
                )
            elif self.expected[place] != found:
                raise ImportError(f"{place.name} has changed since this run was begun")
        self._take(place, found)

    def _take(self, place: Path, found: str) -> None:
        self.loaded[place] = found
        self._owners.setdefault(place, self._current)

    @contextmanager
    def looking(self, looks: bool = True) -> Iterator[None]:
        """Watch, or do not watch, which files a problem's code opens in a block."""
        before, self._looks = self._looks, looks
        try:
            yield
        finally:
            self._looks = before

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Handle Python's audit events; see `sys.addaudithook`."""
        if not self._looks or event not in ("open", "ctypes.dlopen"):
            return
        name, *how = arguments
        if not isinstance(name, str | bytes | os.PathLike):  # a descriptor
            return
        if event == "open" and how[1] & os.O_DIRECTORY:  # a folder, which each solve opens
            return
        with self.looking(False):  # not at files opened here
            self._opened(os.fsdecode(name), *how)

    def _opened(self, name: str, mode: str | None = None, flags: int = 0) -> None:
        """Record a file opened for reading in the folders: code by its digest, data by name."""
        if name.endswith(".pyc") and os.path.basename(os.path.dirname(name)) == "__pycache__":
            name = importlib.util.source_from_cache(name)
        writes = set(mode or "") & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        place = None if writes else self.counted(name)
        if place is None or place in self.loaded or place in self._problems:
            return
        if place.name.endswith(tuple(importlib.machinery.all_suffixes())):
            self.keep(place, digest(place))
        elif place.stat().st_mtime < self._begun:
            self.read.setdefault(place, self._current)

    def forget_changed(self) -> bool:
        """Forget all modules if the source of one has changed; return whether one has.

        All are forgotten, as others may have imported values from it.
        """
        changed = [
            place
            for place, before in self.loaded.items()
            if not place.is_file() or before != digest(place)
        ]
        if not changed:
            return False
        for name, module in list(sys.modules.items()):
            loader = getattr(getattr(module, "__spec__", None), "loader", None)
            file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
            if isinstance(loader, _Source):
                del sys.modules[name]
                self.loaded.pop(loader.place, None)
            elif isinstance(file, str) and self.counted(file) in changed:
                del sys.modules[name]
        for place in changed:
            self.loaded.pop(place, None)
        return True

    def modules(self, place: Path) -> dict[Path, str]:
        """Return the digests of a file's modules, from its folder or those that it added."""
        folder = place.parent
        imported = {
            path
            for path in self.loaded
            if _is_below(path, folder) or self._owners.get(path) == folder
        }
        needed = (imported | _mentioned([place, *imported], folder)) - {place}
        return {path: self.loaded.get(path) or digest(path) for path in needed}


class _Source(importlib.machinery.SourceFileLoader):
    """Loads a module from its hashed source, and never from a cache."""

    @property
    def place(self) -> Path:
        return NEIGHBOURS.counted(self.path) or Path(os.path.abspath(self.path))

    def get_code(self, fullname: str) -> CodeType:
        with NEIGHBOURS.looking(False):
            content = self.get_data(self.path)
        NEIGHBOURS.keep(self.place, hashlib.sha256(content).hexdigest())
        return self.source_to_code(content, self.path)


NEIGHBOURS = Neighbours()
"""The finder of this process; imports are global to it."""


def inputs(
    problem: type[Problem], config: Any, there: Iterable[str] = (), *, here: Path = Path()
) -> dict[str, str]:
    """Return the SHA-256 of each file besides the problem's own that its samples depend on.

    Args:
        problem: The problem.
        config: Its settings.
        there: Names of such files in a dataset of the problem. Before the problem is made, its text
            may not contain the names of modules that its ``__init__`` imports.
        here: Folder of relative paths in the settings; the working folder, unless the problem may
            have changed that.

    Raises:
        InputError: If a file is missing, or the class declares files wrongly.
    """
    found = {}
    if problem.source:
        place = _place(problem)
        modules = {**NEIGHBOURS.modules(place), **problem.neighbours}
        found = {_name(path, place.parent): sha for path, sha in modules.items()}
        for name in {*of_files(there)} - found.keys():
            if (path := place.parent / name).is_file():
                found[name] = digest(path)
    return dict(sorted({**found, **files(problem, config, here=here)}.items()))


def of_files(names: Iterable[str]) -> list[str]:
    """Return the names that the problem's code or settings give; options name the others.

    A pilot set, ``--pilot``, decides which derivatives are solved for. No sample's c depends on it.
    """
    return [name for name in names if not name.startswith("--")]


def files(problem: type[Problem], config: Any, *, here: Path = Path()) -> dict[str, str]:
    """Return the SHA-256 of the problem's data and of the files that its settings name.

    Args:
        problem: The problem.
        config: Its settings.
        here: As for `inputs`.

    Raises:
        InputError: If a file is missing, or the class declares files wrongly.
    """
    for what in ("data_files", "file_settings"):
        given = getattr(problem, what)
        listed = isinstance(given, list | tuple) and all(isinstance(name, str) for name in given)
        check(listed, f"{problem.name}: {what} must be a tuple of texts; got {given!r:.60}")
    found, settings = {}, entries(to_toml(config))
    for name in problem.data_files:
        path = _place(problem).parent / name
        check(path.is_file(), f"{problem.name}: there is no file {str(path)!r} of data_files")
        found[Path(name).as_posix()] = digest(path)
    for key in problem.file_settings:
        check(
            isinstance(settings.get(key), str) and key not in found,
            f"{problem.name}: file_settings must be keys of settings that are texts; got {key!r}",
        )
        if settings[key]:
            found[key] = digest(here / settings[key])
    return found


def check_files(place: Path, source: str, info: Info) -> None:
    """Refuse to run a file if it, or a file that it depends on, differs from the dataset's.

    From now on, an imported module must be the dataset's too.

    Args:
        place: The file.
        source: SHA-256 of its content.
        info: The dataset.

    Raises:
        InputError: If the content of the file, of its data, or of a module has changed.
    """
    found = {place: (source, info.source)}
    for name in of_files(info.inputs):
        expected = info.inputs[name]
        if name not in entries(info.config):
            path = _named(place.parent, name)
            found[path] = (digest(path) if path.is_file() else "", expected)
    for path, (here, there) in found.items():
        check(
            here == there,
            f"{path} is not the file that made it: its SHA-256 is {here[:12] or 'absent'}, not "
            f"{there[:12] or 'known'}",
        )
    NEIGHBOURS.expected = {path: there for path, (_, there) in found.items()}


def expect(problem: type[Problem], known: Mapping[str, str]) -> None:
    """From now on, refuse to import a module other than those that the samples depend on.

    Args:
        problem: The problem.
        known: The digests, from `inputs`.
    """
    if problem.source:
        folder = _place(problem).parent
        NEIGHBOURS.expected = {_named(folder, name): known[name] for name in of_files(known)}


def undeclared(problem: type[Problem], config: Any, known: Iterable[str]) -> list[str]:
    """Name the data that a problem has read but not declared: no dataset knows them.

    Args:
        problem: The problem.
        config: Its settings, which may name files.
        known: Names of files, from `inputs`.
    """
    if not problem.source:
        return []
    place = _place(problem)
    settings = entries(to_toml(config)).values()
    paths = {os.path.realpath(text) for text in settings if isinstance(text, str)}
    ours = {place, *(_named(place.parent, name) for name in known)}
    return sorted(
        _name(path, place.parent)
        for path, owner in NEIGHBOURS.read.items()
        if owner == place.parent and path not in ours and os.path.realpath(path) not in paths
    )


def _named(folder: Path, name: str) -> Path:
    """Return the file that a name in a dataset denotes."""
    return Path(os.path.abspath(folder / name))


def _name(path: Path, folder: Path) -> str:
    """Return a file's name in a dataset: its path from the folder of the problem."""
    return Path(os.path.relpath(path, folder)).as_posix()


def _place(problem: type[Problem]) -> Path:
    """Return the file that defines a problem; if there is none, as in a notebook, a name here."""
    return Path(getattr(sys.modules[problem.__module__], "__file__", None) or "none").resolve()


def _is_below(path: Path, folder: Path) -> bool:
    """Return whether a module is in a folder, and not in a package that is installed there."""
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    return path.is_relative_to(folder) and not (installed or str(path).startswith(_INSTALLED))


def _imported(folder: Path) -> set[Path]:
    """Find the modules of a folder that this process has imported, except the program itself."""
    found = set()
    for name, module in list(sys.modules.items()):
        file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
        top = name.partition(".")[0]
        # `loading.load` names the modules that it makes with a hyphen.
        if isinstance(file, str) and "-" not in top and top not in _OTHERS:
            path = Path(_real(os.path.dirname(file)), os.path.basename(file))
            if _is_below(path, folder) and path.is_file():
                found.add(path)
    return found


_OTHERS = (_PACKAGE, "__main__", "__mp_main__")
_real = functools.lru_cache(maxsize=None)(os.path.realpath)


def _mentioned(files: Iterable[Path], folder: Path) -> set[Path]:
    """Find the modules of a folder that files import, directly or not, in the files' text."""
    found, left = set(), [*files]
    while left:
        file = left.pop()
        if file in found or not _is_below(file, folder):
            continue
        found.add(file)
        if file.suffix == ".py":
            for base, names in _imports(file, folder):
                left += _modules(base, names) if names[0] != _PACKAGE else []
    return found


def _imports(file: Path, folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Find a file's imports: the folder to look in, and the parts of the module's name."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own import warns
            tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):  # its own import says so
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((folder, alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = file.parents[node.level - 1] if 0 < node.level <= len(file.parents) else folder
            names = node.module.split(".") if node.module else []
            yield from ((base, [*names, alias.name]) for alias in node.names)  # or a value


def _modules(base: Path, names: Sequence[str]) -> list[Path]:
    """Find the files of a module and of the packages that it is in."""
    found = []
    for name in names:
        base = base / name
        packages = [base / f"__init__{ending}" for ending in importlib.machinery.all_suffixes()]
        modules = [base.with_name(name + ending) for ending in importlib.machinery.all_suffixes()]
        found += [path for path in (*packages, *modules) if path.is_file()]
    return found
