"""Configurations: TOML text to frozen dataclasses and back, every key and value checked.

A configuration is a frozen dataclass; its nested dataclasses are TOML tables. Its fields are
``bool``, ``int``, ``float``, ``str``, tuples of these (of any fixed or open length), or tuples of
tuples. A field may also be None, where the program chooses the value: its type is ``T | None``, and
TOML text has "auto" for None. Ranges are checked by the dataclass itself, in ``__post_init__``,
with `check`.

A setting is named by its dotted key, ``table.name``. A dataclass whose keys were renamed lists them
in a class attribute ``MOVED``, new keys by the old ones; an old key is refused with its new name.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
import os
import re
import sys
import textwrap
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import tomli_w

from .errors import InputError
from .errors import check as check

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")

AUTO = "auto"
"""None in TOML text: the program chooses the value."""


def check_seed(seed: int) -> None:
    """Raise `InputError` unless every random generator in use here takes ``seed``."""
    check(0 <= seed < 2**63, f"the seed must be at least 0 and below 2^63; got {seed}")


def read(
    cls: type[T],
    path: str | os.PathLike[str] | None = None,
    overrides: Iterable[str] = (),
    defaults: T | None = None,
) -> T:
    """Build a configuration from a TOML file and ``key=value`` overrides.

    Args:
        cls: The configuration's dataclass.
        path: A TOML file; None for the defaults.
        overrides: ``section.key=value`` texts; the value is written as in TOML, and a text that is
            not valid TOML is taken as a string.
        defaults: Values of keys that are not given; the dataclass's defaults if None.

    Raises:
        InputError: If the file cannot be read, a key is unknown (the nearest known key is named),
            a value has the wrong type, is not finite, or is out of range.
    """
    table = _table(path)
    for override in overrides:
        _override(table, override)
    return from_table(cls, table if defaults is None else _merged(_plain(defaults), table))


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return a table with the entries of another one over it, table by table."""
    nested = {
        key: _merged(below[key], value)
        for key, value in above.items()
        if isinstance(value, dict) and isinstance(below.get(key), dict)
    }
    return {**below, **above, **nested}


def keys(path: str | os.PathLike[str] | None = None, overrides: Iterable[str] = ()) -> set[str]:
    """Return the dotted keys that a TOML file and overrides set; arguments are as for `read`."""
    table = _table(path)
    for override in overrides:
        _override(table, override)
    return set(flat(table))


def replaced(config: T, changes: Mapping[str, Any]) -> T:
    """Return a configuration with other values, given by their dotted keys.

    >>> replaced(config, {"mesh.order": 2, "name": "finer"})
    """
    own: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for key, value in changes.items():
        first, _, rest = key.partition(".")
        if rest:
            nested.setdefault(first, {})[rest] = value
        else:
            own[first] = value
    for name, inner in nested.items():
        own[name] = replaced(own.get(name, getattr(config, name)), inner)
    return dataclasses.replace(config, **own)  # type: ignore[type-var]


def _table(path: str | os.PathLike[str] | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the configuration {path}: {error}") from error
    except (ValueError, RecursionError) as error:  # deeply nested, or a number of many digits
        raise InputError(f"{path} is not valid TOML: {error}") from error


def from_toml(cls: type[T], text: str) -> T:
    """Build a configuration from TOML text, as stored in the files that this package writes."""
    return from_table(cls, table(text))


def table(text: str) -> dict[str, Any]:
    """Return the nested tables of TOML text, as stored in the files that this package writes."""
    return tomllib.loads(text)


def to_toml(config: Any) -> str:
    """Write a configuration as TOML text, which `from_toml` reads."""
    return tomli_w.dumps(_plain(config))


def from_table(cls: type[T], table: Mapping[str, Any], where: str = "") -> T:
    """Build a configuration from nested mappings; ``where`` is the prefix used in messages."""
    hints = typing.get_type_hints(cls)
    known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    moved: Mapping[str, str] = getattr(cls, "MOVED", {})
    values = {}
    for key, value in table.items():
        if key in moved and not isinstance(value, Mapping):
            raise InputError(f"{where}{key} is now {where}{moved[key]}")
        if key not in known:
            raise InputError(_unknown_key(known, hints, key, where))
        values[key] = _convert(hints[key], value, where + key)
    return cls(**values)


def _unknown_key(known: Sequence[str], hints: Mapping[str, Any], key: str, where: str) -> str:
    """Say that a key is unknown, with the nearest key, here or in a table."""
    tables = {
        field.name: f"{where}{name}.{field.name}"
        for name in known
        if dataclasses.is_dataclass(hints[name])
        for field in dataclasses.fields(hints[name])
    }
    what = f"configuration key {where + key!r}"
    near = difflib.get_close_matches(key, [*known, *tables], n=1, cutoff=0.6)
    if near and near[0] not in known:
        return f"unknown {what}; did you mean {tables[near[0]]!r}?"
    return unknown(what, where + key, [where + k for k in known])


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Say that a name is unknown, with the nearest known name or all of them."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"
    return f"unknown {what}; {hint}"


def override(key: str, value: Any) -> str:
    """Return the override, as `read` takes it, that sets a key to a value of Python.

    None stands for ``auto``: the program chooses the value.

    Raises:
        InputError: If TOML has no such values.
    """
    plain = value.item() if getattr(value, "shape", None) == () else value  # a scalar of numpy
    try:
        text = tomli_w.dumps({"value": _plain(plain)})
    except TypeError as error:
        raise InputError(
            f"{key} must be a number, a text, or a list of these; got {value!r:.60}"
        ) from error
    return f"{key}={text.partition('=')[2].strip()}"


def overridden(overrides: Iterable[str]) -> dict[str, Any]:
    """Return the values of ``key=value`` texts by their dotted keys; the inverse of `override`.

    Raises:
        InputError: If a text is not of that form.
    """
    found: dict[str, Any] = {}
    for text in overrides:
        _override(found, text)
    return flat(found)


def entries(text: str) -> dict[str, Any]:
    """Return the values of a configuration (TOML text) by their dotted keys."""
    return flat(table(text))


def differences(stored: str, asked: str, but: Collection[str] = ()) -> list[str]:
    """List the keys in which two configurations (TOML texts) differ, as readable lines.

    Args:
        stored: One configuration.
        asked: The other.
        but: Keys that do not count.
    """
    old, new = entries(stored), entries(asked)
    return [
        f"{key} is {old.get(key, 'absent')} there and {new.get(key, 'absent')} here"
        for key in [*old, *(k for k in new if k not in old)]
        if key not in but and old.get(key) != new.get(key)
    ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting of a configuration.

    Attributes:
        key: Its dotted key, such as ``mesh.cells``.
        value: Its value; None where the program chooses it.
        text: Its meaning in one sentence; empty where the class's docstring does not name it.
    """

    key: str
    value: Any
    text: str

    @property
    def shown(self) -> str:
        """The value as TOML text, or ``auto`` for None."""
        return "auto" if self.value is None else _inline(self.value)


def described(config: Any, where: str = "") -> list[Setting]:
    """List the settings of a configuration, including those of its tables.

    The texts are the first sentences in the section "Attributes:" of the dataclass's docstring, or
    of the dataclasses that it derives from.

    Args:
        config: The configuration; its values are listed.
        where: The prefix of every key.
    """
    texts, found = _texts(type(config)), list[Setting]()
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            found += described(value, f"{where}{field.name}.")
        else:
            text = texts.get(field.name, "")
            found.append(Setting(key=where + field.name, value=value, text=text))
    return found


def template(config: Any) -> str:
    """Write a configuration as TOML text to start from, with a comment above each setting.

    `read` makes the same configuration of it. A setting that the program chooses is a comment.
    """
    return "\n".join(_template(config, ())).lstrip("\n") + "\n"


def _template(config: Any, where: tuple[str, ...]) -> list[str]:
    """Return the lines of a table; ``where`` has the names of the tables around it and its own."""
    texts, lines, tables = _texts(type(config)), list[str](), list[str]()
    for field in dataclasses.fields(config):
        value, text = getattr(config, field.name), texts.get(field.name, "")
        if dataclasses.is_dataclass(value):
            name = ".".join(map(_key, (*where, field.name)))
            tables += ["", *_comment(text or _summary(type(value))), f"[{name}]"]
            tables += _template(value, (*where, field.name))
        else:
            key = _key(field.name)
            entry = f'# {key} = "auto"' if value is None else f"{key} = {_inline(value)}"
            lines += [*_comment(text), entry]
    return lines + tables


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, 96, initial_indent="# ", subsequent_indent="# ")


def _key(name: str) -> str:
    """Write a key as TOML: in quotes where a letter of it is not ASCII's."""
    return tomli_w.dumps({name: 0}).rpartition(" = ")[0]


def _inline(value: Any) -> str:
    """Write a value as TOML on one line."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_inline, value))}]"
    return tomli_w.dumps({"x": value}).removeprefix("x = ").rstrip("\n")


def _texts(cls: type) -> dict[str, str]:
    """Return the first sentence that docstrings have for each field of a dataclass."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        inside, section = False, list[str]()
        for line in inspect.cleandoc(vars(base).get("__doc__") or "").splitlines():
            if line and not line.startswith(" "):
                inside = line == "Attributes:"
            elif inside:
                section.append(line)
        for entry in re.split(r"^(?= {4}\w)", "\n".join(section), flags=re.MULTILINE):
            if match := re.match(r" {4}(\w+)(?: \(.*?\))?:\s+(.+)", entry, re.DOTALL):
                found[match[1]] = _first_sentence(match[2])
    return found


def _summary(cls: type) -> str:
    """Return the first sentence of a class's docstring, "" for a text that dataclasses make."""
    text = inspect.cleandoc(cls.__doc__ or "")
    return "" if text.startswith(f"{cls.__name__}(") else _first_sentence(text)


def _first_sentence(text: str) -> str:
    """Return the first sentence of a docstring, without marks of code, with "auto" for None."""
    words = " ".join(text.split("\n\n")[0].split())
    sentence = re.split(r"(?<=\.) (?=[A-Z`])", words)[0].replace("`", "")
    return re.sub(r"\bNone\b", "auto", sentence)


def _override(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise InputError(f"cannot read the override {override!r}; write key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()
    *sections, last = key.strip().split(".")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise InputError(f"{key.strip()!r} is not a key: {section!r} holds a value")
    table[last] = value


def _convert(kind: Any, value: Any, key: str) -> Any:
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise InputError(f"{key} is a table of settings; got {value!r}")
        return from_table(typing.cast(type, kind), value, where=f"{key}.")
    if typing.get_origin(kind) is tuple:
        return _convert_tuple(kind, value, key)
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return _convert_optional(kind, value, key)
    if kind is float and type(value) is int:
        value = float(value) if abs(value) < 2**1023 else math.inf
    if type(value) is not kind:
        raise InputError(f"{key} must be of type {kind.__name__}; got {value!r}")
    if kind is float and not math.isfinite(value):
        raise InputError(f"{key} must be finite; got {value}")
    return value


def _convert_optional(kind: Any, value: Any, key: str) -> Any:
    inner = [one for one in typing.get_args(kind) if one is not type(None)]
    if len(inner) != 1:
        raise TypeError(f"{key}: a configuration field has one type, or one type or None")
    return None if value is None or value == AUTO else _convert(inner[0], value, key)


def _convert_tuple(kind: Any, value: Any, key: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise InputError(f"{key} must be a list; got {value!r}")
    inner = typing.get_args(kind)
    if len(inner) == 2 and inner[1] is Ellipsis:
        inner = (inner[0],) * len(value)
    if len(inner) != len(value):
        raise InputError(f"{key} must have {len(inner)} entries; got {len(value)}")
    return tuple(
        _convert(k, v, f"{key}[{i}]") for i, (k, v) in enumerate(zip(inner, value, strict=True))
    )


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return AUTO if value is None else value


def flat(table: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Return the values of nested tables by their dotted keys; ``where`` is put before each."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        inside = isinstance(value, Mapping)
        found.update(flat(value, f"{where}{key}.") if inside else {where + key: value})
    return found
