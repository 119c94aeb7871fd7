"""Find a problem by its name, and run a user's file.

A user's file is run like a script, once for each content of it and of the modules beside it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from surrogates import config as configuration
from surrogates.config import check, unknown
from surrogates.errors import InputError
from surrogates.pipes import take_no_sigpipe

from .inputs import NEIGHBOURS, check_files
from .problem import BUILT_IN, Problem, Settings
from .results import one_line
from .solving import explained

if TYPE_CHECKING:
    from surrogates.data import Info


def load(name: str, info: Info | None = None) -> type[Problem]:
    """Find a problem.

    Args:
        name: One of `BUILT_IN`, or ``FILE.py:CLASS``. The file is run like a script: its folder is
            the first in which its imports are looked for.
        info: A dataset; the file is run only if it has made it.

    Raises:
        InputError: If there is no problem of that name, the file fails, the class cannot be used,
            or it has not made the dataset.
        ImportError: If a built-in problem's libraries are missing.
    """
    NEIGHBOURS.expected = None
    try:
        return _found(name, info)
    finally:
        take_no_sigpipe()


def _found(name: str, info: Info | None) -> type[Problem]:
    file, _, wanted = name.rpartition(":") if ":" in name else (name, "", "")
    if info is not None:
        full = f"{Path(file).name}:{wanted}" if wanted else name
        check(full == info.problem, f"its problem is {info.problem}, not {full}")
    if name in BUILT_IN:
        module = importlib.import_module(f"{__package__}.{name}")
        return cast(type[Problem], getattr(module, name.upper()))
    known = unknown(f"problem {name!r}", name, BUILT_IN)
    check(file.endswith(".py"), f"{known} or FILE.py:CLASS")
    path = Path(file)
    module, source = _run(path, info)
    own: dict[str, Any] = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__
    }
    problems = [key for key, value in own.items() if issubclass(value, Problem)]
    if wanted not in own:
        check(bool(problems), f"{path} defines no class that derives from surrogates.pde.Problem")
        raise InputError(f"{path}: {unknown(f'class {wanted!r}', wanted, problems)}")
    found, full = own[wanted], f"{path.name}:{wanted}"
    check(wanted in problems, f"{full} does not derive from surrogates.pde.Problem")
    check(
        found.solve is not Problem.solve or found.solve_batch is not Problem.solve_batch,
        f"{full} has no method solve(self, y)",
    )
    check(
        found.name in (wanted, full)
        and vars(found).get("source", source) == source
        and ("neighbours" not in vars(found) or "source" in vars(found)),
        f"{full}: the attributes `name`, `source` and `neighbours` are reserved; rename your own",
    )
    _check_batches(full, found)
    _check_settings(full, found.Config)
    if "source" not in vars(found):
        found.neighbours = NEIGHBOURS.modules(path.resolve())
    found.name, found.source = full, source
    return cast(type[Problem], found)


def _run(path: Path, info: Info | None) -> tuple[ModuleType, str]:
    """Run a file as a module, once for each content of it and of the modules from its folder.

    Returns:
        The module, and the SHA-256 of the file's content.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    source, place = hashlib.sha256(content).hexdigest(), path.resolve()
    # No import can have this name. It is the same on every process, as pickled settings need it.
    name = f"{path.stem}-{hashlib.sha256(f'{place} {source}'.encode()).hexdigest()[:16]}"
    name = name.replace(".", "-")
    NEIGHBOURS.watch(place)
    changed = NEIGHBOURS.forget_changed()
    if info is not None:
        check_files(place, source, info)
    if name in sys.modules and not changed:
        return sys.modules[name], source
    spec = importlib.util.spec_from_file_location(name, place)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    if str(place.parent) not in sys.path:
        sys.path.insert(0, str(place.parent))
    sys.modules[name] = module
    try:
        # Run the content that was hashed: the spec's loader might use a cache.
        with NEIGHBOURS.looking():
            exec(compile(content, place, "exec"), vars(module))
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise InputError(f"{path}{explained(error, place)}") from error
    return module, source


def _check_batches(name: str, problem: type[Problem]) -> None:
    """Check that a problem's solve_batch takes the arguments of its calls."""
    keywords: dict[str, Any] = {"tangents": False}
    if problem.has_adjoints:
        keywords["adjoints"] = None
    try:
        inspect.signature(problem.solve_batch).bind(None, None, **keywords)
    except TypeError as error:
        taken = ", ".join(f"{key}={value}" for key, value in keywords.items())
        raise InputError(
            f"{name}: solve_batch must be solve_batch(self, Y, *, {taken}): {error}"
        ) from error


def _check_settings(name: str, settings: Any) -> None:
    """Check that users can give a class's settings, and files can keep them."""
    check(
        isinstance(settings, type)
        and issubclass(settings, Settings)
        and "__dataclass_fields__" in vars(settings),
        f"{name}: Config must be a dataclass that derives from surrogates.pde.Settings, "
        "with @dataclass(frozen=True, kw_only=True) above it",
    )
    try:
        defaults = settings()
        same = configuration.from_toml(settings, configuration.to_toml(defaults)) == defaults
        check(same, "a default changes as it is written to a file and read")
    except Exception as error:  # a user's annotations and defaults may raise anything
        text = str(error) if isinstance(error, InputError) else one_line(error)
        raise InputError(
            f"{name}: the fields of Config must be bool, int, float, str or tuples of these, "
            f"each with a default: {text}"
        ) from error
