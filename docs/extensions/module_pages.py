"""Write one page for each module of the package, and a list of them for each room.

The pages are in no table of contents but for those of `DOORS`: the sidebar of each page would list
them all, and take most of the time that the site is built in.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from sphinx.application import Sphinx

PACKAGE = Path(__file__).resolve().parents[2] / "surrogates"
DOORS = ("surrogates", "surrogates.pde", "surrogates.training")
"""Packages whose pages show what ``__all__`` lists; others leave it to the defining module."""


def modules(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    """Yield the modules below a package by name, links between rooms followed."""
    yield name, folder / "__init__.py"
    for path in sorted(folder.iterdir()):
        if path.is_dir() and (path / "__init__.py").exists():
            yield from modules(path, f"{name}.{path.name}")
        elif path.suffix == ".py" and not path.stem.startswith("__"):
            yield f"{name}.{path.stem}", path


def page(name: str) -> str:
    """Return the page of a module."""
    title = f"{name}\n{'=' * len(name)}\n\n"
    if name in DOORS:
        return f"{title}.. automodule:: {name}\n   :imported-members:\n"
    back = "One of :doc:`all modules <modules>`.\n\n"
    return f":orphan:\n\n{title}{back}.. automodule:: {name}\n   :ignore-module-all:\n"


def table(rows: list[tuple[str, Path]]) -> str:
    """Return a list of modules with the first line of their docstrings."""
    lines = [".. list-table::", "   :widths: 35 65", ""]
    for name, path in rows:
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        lines += [f"   * - :doc:`{name} <{name}>`", f"     - {_first(text)}"]
    return "\n".join(lines)


def _first(text: str) -> str:
    """Return the first line of a docstring, without markup."""
    line = text.partition("\n")[0].replace("``", "").replace("`", "")
    return "".join(f"\\{c}" if c in "\\|*_" else c for c in line)


def write(app: Sphinx) -> None:
    """Write the pages, where they are not there as they should be."""
    rooms: dict[str, list[tuple[str, Path]]] = {}
    folder = Path(app.srcdir) / "api"
    wanted: dict[str, str] = {}
    for name, path in modules(PACKAGE, "surrogates"):
        room = ".".join(name.split(".")[:2]) if path.parent != PACKAGE else "surrogates"
        rooms.setdefault(room, []).append((name, path))
        wanted[f"{name}.rst"] = page(name)
    body = ["All modules", "===========", ""]
    for room, rows in sorted(rooms.items()):
        body += [room, "-" * len(room), "", table(rows), ""]
    wanted["modules.rst"] = "\n".join(body) + "\n"
    for old in folder.glob("*.rst"):
        if old.name not in wanted:
            old.unlink()
    for name, text in wanted.items():
        file = folder / name
        if not file.exists() or file.read_text() != text:
            file.write_text(text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
