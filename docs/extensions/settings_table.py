"""The directive ``settings``: a table of every setting of a configuration, from its docstrings.

    .. settings:: surrogates.training.fit:TrainConfig

names a frozen dataclass. Its fields, and those of dataclasses within, are the rows: the key as
``--set`` takes it, the default, and what the docstring's ``Attributes`` say of it.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

from docstrings import escaped
from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.ext.autodoc.mock import mock


def attributes(cls: type) -> dict[str, str]:
    """Return what a Google docstring says of each attribute."""
    text = inspect.getdoc(cls) or ""
    section = re.search(r"^Attributes:\n((?:[ \t]+.*\n?|\n)*)", text, flags=re.MULTILINE)
    found: dict[str, str] = {}
    name = ""
    for line in inspect.cleandoc(section[1]).split("\n") if section else ():
        if start := re.match(r"(\w+)(?: \(.*?\))?: (.*)", line):
            name = start[1]
            found[name] = start[2]
        elif name:
            found[name] += " " + line.strip()
    return found


def rows(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Yield key, default and meaning of each setting."""
    said = attributes(type(config))
    for field in dataclasses.fields(config):
        value, key = getattr(config, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            yield from rows(value, f"{key}.")
        else:
            yield key, value, re.sub(r"\bNone\b", "``auto``", said.get(field.name, ""))


def shown(value: Any) -> str:
    """Return a default as it is typed."""
    if value is None:
        return "``auto``"
    if isinstance(value, bool):
        return f"``{str(value).lower()}``"
    if isinstance(value, str):
        return f"``{value}``" if value else "none"
    if isinstance(value, tuple):
        return f"``{list(value)}``" if value else "none"
    return f"``{value:g}``" if isinstance(value, float) else f"``{value}``"


class Settings(Directive):
    """Make the table."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Import the configuration and make the table of it."""
        module, _, name = self.arguments[0].partition(":")
        with mock(self.state.document.settings.env.config.autodoc_mock_imports):
            config = getattr(importlib.import_module(module), name)()
            found = list(rows(config))
        if bare := [key for key, _, meaning in found if not meaning]:
            raise self.severe(f"{self.arguments[0]}: no docstring for {', '.join(bare)}")
        lines = [".. list-table::", "   :header-rows: 1", "   :widths: 25 15 60", ""]
        for row in [("setting", "default", "meaning")] + [
            (f"``{key}``", shown(value), escaped(meaning)) for key, value, meaning in found
        ]:
            lines += [f"   {'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(row)]
        node = nodes.Element()
        self.state.nested_parse(StringList(lines, source="settings"), self.content_offset, node)
        return node.children


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.add_directive("settings", Settings)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
