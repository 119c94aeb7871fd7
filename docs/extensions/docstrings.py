"""Make reStructuredText of docstrings: formulas become literal blocks, and `names` become links.

Docstrings here are plain text in the Google style. They hold formulas such as ``||Z W^T - C||``, in
which reStructuredText would see markup, and names in single backticks, short or whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from docutils import nodes
from module_pages import DOORS
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util import logging

LOG = logging.getLogger(__name__)
SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields|Note|Notes|Example|Examples):\s*$")
CODE = re.compile(r"(``.+?``|`[^`]+`)", flags=re.DOTALL)
ITEM = re.compile(r"([-*]|\d+\.) ")


def escaped(text: str) -> str:
    """Return text in which only code in backticks is markup."""
    parts = CODE.split(text)
    for i in range(0, len(parts), 2):
        plain = re.sub(r"([\\|*`])", r"\\\1", parts[i])
        parts[i] = re.sub(r"_(?![A-Za-z0-9])", r"\\_", plain)
    return "".join(parts)


def indent_of(line: str) -> int:
    """Return the number of blanks that a line begins with."""
    return len(line) - len(line.lstrip())


def runs(paragraph: list[str]) -> Iterator[tuple[bool, list[str]]]:
    """Divide a paragraph where its indentation changes; True marks what is a formula."""
    if ITEM.match(paragraph[0]):
        yield False, paragraph
        return
    run: list[str] = []
    for line in paragraph:
        if run and (indent_of(line) > 0) != (indent_of(run[0]) > 0):
            yield indent_of(run[0]) > 0, run
            run = []
        run.append(line)
    yield indent_of(run[0]) > 0, run


def paragraphs(lines: list[str]) -> Iterator[list[str]]:
    """Divide lines at the empty ones."""
    paragraph: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            paragraph.append(line)
        elif paragraph:
            yield paragraph
            paragraph = []


def prose(lines: list[str]) -> list[str]:
    """Convert what stands before the sections of a docstring."""
    made: list[str] = []
    literal = False
    for paragraph in paragraphs(lines):
        if paragraph[0].startswith(">>>"):
            made += [*paragraph, ""]
            literal = False
            continue
        for is_formula, run in runs(paragraph):
            if not is_formula:
                made += [*escaped("\n".join(run)).split("\n"), ""]
            else:
                made += [*([] if literal else ["::", ""]), *run, ""]
            literal = is_formula
    return [re.sub(r"::$", ":", line) if line != "::" else line for line in made]


def convert(lines: list[str]) -> list[str]:
    """Convert a docstring; its sections stay as they are, for napoleon."""
    first = next((i for i, line in enumerate(lines) if SECTION.match(line)), len(lines))
    sections = "\n".join(lines[first:])
    if ">>>" not in sections:
        sections = escaped(sections)
    return prose(lines[:first]) + sections.split("\n")


def on_docstring(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Convert the docstring of any object, in place."""
    lines[:] = convert(lines)


def found_role(
    name: str, rawtext: str, text: str, lineno: int, inliner: Any, *more: Any
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """Make a link to an object of that name: `found` if there is one, `line` in any case."""
    env = inliner.document.settings.env
    code = nodes.literal(text, text, classes=["xref", "py"])
    node = pending_xref("", code, refdomain="", reftype="found", reftarget=text, refdoc=env.docname)
    node["near"] = env.ref_context.get("py:module") or ""
    node["strict"] = name == "line"
    return [node], []


def resolve(app: Sphinx, env: Any, node: Any, contnode: nodes.Node) -> nodes.Node | None:
    """Find the object that a docstring names: in its own module first, then the nearest one."""
    if node.get("reftype") != "found":
        return None
    domain, target = env.domains["py"], node["reftarget"].removesuffix("()")
    if not re.fullmatch(r"[A-Za-z_][\w.]*", target):
        return contnode
    alike = _by_last_part(domain).get(target.rpartition(".")[2], [])
    names = [name for name in alike if f".{name}".endswith(f".{target}")]
    near = node["near"]
    names = [n for n in names if n.rpartition(".")[0] not in DOORS] or names
    if node.get("strict"):
        if len(names) != 1:
            found = ", ".join(names) or "nothing"
            LOG.warning("'%s' must name one object; it names %s", target, found, location=node)
    else:
        near_ones = [n for n in names if "." in target or n.startswith(f"{near}.")]
        names = near_ones or (names if len(names) == 1 else [])
    if not names:
        return contnode
    best = min(names, key=lambda name: (-len(_common(name, near)), len(name), name))
    entry = domain.objects[best]
    uri = app.builder.get_relative_uri(node["refdoc"], entry.docname)
    return nodes.reference("", "", contnode, refuri=f"{uri}#{entry.node_id}", internal=True)


@lru_cache(maxsize=1)
def _by_last_part(domain: Any) -> dict[str, list[str]]:
    """Return the names of all objects by what follows their last dot; all pages are read by now."""
    found: dict[str, list[str]] = {}
    for name in domain.objects:
        found.setdefault(name.rpartition(".")[2], []).append(name)
    return found


def _common(a: str, b: str) -> list[str]:
    """Return the parts with which two dotted names begin alike."""
    same = []
    for one, other in zip(a.split("."), b.split("."), strict=False):
        if one != other:
            break
        same.append(one)
    return same


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.add_role("found", found_role)
    app.add_role("line", found_role)
    app.connect("autodoc-process-docstring", on_docstring, priority=400)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
