"""Descriptions of settings, and templates of configuration files, from docstrings and defaults."""

from __future__ import annotations

from dataclasses import dataclass, field

from configured import Mesh, Problem, problems
from hypothesis import given, settings

from surrogates import config


@dataclass(frozen=True, kw_only=True)
class Table:
    """How it is solved. By which method, the user says.

    Attributes:
        rtol: Relative tolerance, ``1e-3`` at most (see `check`). Smaller ones cost more.

            A second paragraph.
        κ (float): A setting whose docstring
            has a line break and a type.
        limit: Largest number, None for no limit.
    """

    rtol: float = 1e-6
    κ: float = 2.5
    limit: int | None = None


@dataclass(frozen=True, kw_only=True)
class Base:
    """A configuration.

    Attributes:
        seed: Of the design, and of the split.

    Raises:
        name: This section is no list of settings.
    """

    seed: int = 0
    name: str = 'two\nlines, "quoted"'


@dataclass(frozen=True, kw_only=True)
class Derived(Base):
    """One with a table.

    Attributes:
        solver: How it is solved, said here.
        pairs: Pairs of numbers.
    """

    solver: Table = field(default_factory=Table)
    plain: Mesh = field(default_factory=Mesh)
    pairs: tuple[tuple[int, str], ...] = ((1, "a"), (2, "b"))


def test_settings_are_described_by_the_first_sentences_of_docstrings():
    found = {one.key: (one.shown, one.text) for one in config.described(Derived())}
    assert found == {
        "seed": ("0", "Of the design, and of the split."),
        "name": ('"two\\nlines, \\"quoted\\""', ""),
        "solver.rtol": ("1e-06", "Relative tolerance, 1e-3 at most (see check)."),
        "solver.κ": ("2.5", "A setting whose docstring has a line break and a type."),
        "solver.limit": ("auto", "Largest number, auto for no limit."),
        "plain.cells": ("[32, 32]", ""),
        "plain.order": ("1", ""),
        "pairs": ('[[1, "a"], [2, "b"]]', "Pairs of numbers."),
    }


def test_a_template_has_a_comment_above_each_setting_and_those_that_are_chosen_are_comments():
    text = config.template(Derived(pairs=()))
    assert text.splitlines() == [
        "# Of the design, and of the split.",
        "seed = 0",
        'name = "two\\nlines, \\"quoted\\""',
        "# Pairs of numbers.",
        "pairs = []",
        "",
        "# How it is solved, said here.",
        "[solver]",
        "# Relative tolerance, 1e-3 at most (see check).",
        "rtol = 1e-06",
        "# A setting whose docstring has a line break and a type.",
        '"κ" = 2.5',
        "# Largest number, auto for no limit.",
        '# limit = "auto"',
        "",
        "[plain]",
        "cells = [32, 32]",
        "order = 1",
    ]
    assert config.template(Table()).startswith("# Relative tolerance")


@settings(derandomize=True, deadline=None, max_examples=60)
@given(problems)
def test_a_configuration_comes_back_from_its_template(problem):
    assert config.from_toml(Problem, config.template(problem)) == problem
