"""Which room imports which: the direction of imports, read from the source, also in functions.

The base rooms of `surrogates` stand alone. `surrogates.pde` and `surrogates.training` stand on
them, and not on each other. Imports that only type checkers see make no circle, but obey the
direction.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from places import ROOT

# What no module of a room may import, at its top or anywhere.
FORBIDDEN: dict[str, tuple[str, ...]] = {
    "surrogates.pde": ("torch", "surrogates.training", "surrogates.model", "surrogates.export"),
    "surrogates.training": ("surrogates.pde", "dolfinx", "petsc4py", "mpi4py", "ufl"),
    "surrogates.data": (
        *("surrogates.model", "surrogates.export", "surrogates.plots", "surrogates.serve"),
        *("surrogates.pde", "surrogates.training", "torch", "dolfinx", "mpi4py", "petsc4py"),
    ),
    "surrogates.survey": (
        *("surrogates.model", "surrogates.export", "surrogates.plots", "surrogates.serve"),
        *("surrogates.pde", "surrogates.training", "torch", "dolfinx", "mpi4py", "petsc4py"),
    ),
    "surrogates.model": (
        *("surrogates.export", "surrogates.plots", "surrogates.serve"),
        *("surrogates.pde", "surrogates.training", "dolfinx", "mpi4py", "petsc4py"),
    ),
    "surrogates.export": ("surrogates.plots", "surrogates.serve", "surrogates.pde"),
    "surrogates.adapters": (
        *("surrogates.plots", "surrogates.serve", "surrogates.pde", "surrogates.training"),
        "torch",
    ),
    "surrogates.design": (
        *("surrogates.plots", "surrogates.serve", "surrogates.pde", "surrogates.training"),
        *("torch", "dolfinx", "mpi4py", "petsc4py"),
    ),
    "surrogates.plots": ("surrogates.serve", "surrogates.pde", "surrogates.training"),
    "surrogates.serve": ("surrogates.plots", "surrogates.pde", "surrogates.training"),
}
# The room that stands above all others, but for the command line.
FORBIDDEN = {name: (*others, "surrogates.learning") for name, others in FORBIDDEN.items()}
# Imports within functions that go upwards all the same: the module, what it imports, and why.
ALLOWED = {
    (
        "surrogates.model.loaded",
        "surrogates.plots.pictures",
    ): "a surrogate draws itself",
}


@dataclass(frozen=True)
class Import:
    """One import, whether it runs with the module, and whether only type checkers see it."""

    module: str
    target: str
    at_top: bool
    for_types: bool
    line: int


def sources() -> dict[str, Path]:
    """All modules of the package by name."""
    found = {}
    for folder, package in (
        ("surrogates", ""),
        ("pde", "surrogates."),
        ("training", "surrogates."),
    ):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if parts[:2] in (("surrogates", "pde"), ("surrogates", "training")):
                continue  # the links
            found[package + ".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = sources()


def room(name: str) -> str:
    """The room of a module: of `surrogates.pde.cdr.problem` that is `surrogates.pde`."""
    return ".".join(name.split(".")[:2])


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imports(name: str, path: Path) -> Iterator[Import]:
    """Go through the imports of a module: of the modules that are there, else of the names."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]

    def targets(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            source = ".".join(filter(None, [base, node.module]))
            for alias in node.names:
                full = f"{source}.{alias.name}"
                yield full if full in MODULES else source

    def walk(node: ast.AST, at_top: bool, for_types: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            line = getattr(child, "lineno", 0)
            yield from (Import(name, t, at_top, for_types, line) for t in targets(child))
            within = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from walk(child, at_top and not within, for_types or is_for_types(child))

    yield from walk(ast.parse(path.read_text()), True, False)


EVERY = [one for name, path in MODULES.items() for one in imports(name, path)]


def is_within(target: str, forbidden: str) -> bool:
    return target == forbidden or target.startswith(f"{forbidden}.")


def wrong(one: Import) -> bool:
    if (one.module, one.target) in ALLOWED and (one.for_types or not one.at_top):
        return False
    return any(is_within(one.target, other) for other in FORBIDDEN.get(room(one.module), ()))


def test_the_package_is_read():
    names = {"surrogates.pde.cdr.problem", "surrogates.training.fit", "surrogates.data"}
    assert names <= MODULES.keys() and len(EVERY) > 1000
    assert any(one.target == "torch" for one in EVERY)
    assert any(one.target == "surrogates.pde.problem" and not one.at_top for one in EVERY) or any(
        one.target == "surrogates.pde.loading" and not one.at_top for one in EVERY
    )


def test_no_room_imports_one_above_it():
    found = [f"{one.module}, line {one.line}: {one.target}" for one in EVERY if wrong(one)]
    assert not found


def test_an_import_in_the_wrong_direction_is_seen():
    for module, target in (
        ("surrogates.pde.cdr.problem", "torch.nn"),
        ("surrogates.training.fit", "surrogates.pde.problem"),
        ("surrogates.data.dataset", "surrogates.model"),
        ("surrogates.training.fit", "surrogates.learning"),
    ):
        for at_top in (True, False):
            assert wrong(Import(module, target, at_top, False, 1))
    assert not wrong(
        Import("surrogates.pde.cdr.problem", "surrogates.data.dataset", True, False, 1)
    )


def test_every_exception_is_needed():
    there = {(one.module, one.target) for one in EVERY}
    assert ALLOWED.keys() <= there and all(ALLOWED.values())


def test_only_the_program_imports_the_command_line():
    found = [
        f"{one.module}, line {one.line}"
        for one in EVERY
        if is_within(one.target, "surrogates.cli") and room(one.module) != "surrogates.cli"
    ]
    assert {text.partition(",")[0] for text in found} == {"surrogates.__main__"}


def test_nothing_imports_the_folders_by_other_names():
    names = ("pde", "training")  # `pde` is another package's name
    assert not [one for one in EVERY if one.target.partition(".")[0] in names]


def circle(edges: dict[str, set[str]]) -> list[str]:
    """A circle of a graph, empty if it has none."""
    state: dict[str, int] = {}
    trail: list[str] = []

    def visit(node: str) -> list[str]:
        state[node] = 1
        trail.append(node)
        for other in sorted(edges.get(node, ())):
            if state.get(other) == 1:
                return [*trail[trail.index(other) :], other]
            if other not in state and (found := visit(other)):
                return found
        trail.pop()
        state[node] = 2
        return []

    for node in sorted(edges):
        if node not in state and (found := visit(node)):
            return found
    return []


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def edges(*, within_rooms: bool) -> dict[str, set[str]]:
    """Which module imports which: in each room wherever the import is, else at the modules' top."""
    found: dict[str, set[str]] = {name: set() for name in MODULES}
    for one in EVERY:
        counts = room(one.module) == room(one.target) if within_rooms else one.at_top
        if one.target in MODULES and counts and not one.for_types and one.target != one.module:
            found[one.module].add(one.target)
    return found


@pytest.mark.parametrize("within_rooms", [False, True], ids=["at the top", "in each room"])
def test_no_modules_import_each_other_in_a_circle(within_rooms):
    assert circle(edges(within_rooms=within_rooms)) == []
