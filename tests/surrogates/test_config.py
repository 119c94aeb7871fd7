from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

import pytest
from configured import Mesh, Problem, problems
from hypothesis import given, settings

from surrogates import config
from surrogates.errors import InputError


@settings(derandomize=True, deadline=None, max_examples=60)
@given(problems)
def test_a_configuration_comes_back_from_its_text(problem):
    stored = config.to_toml(problem)
    assert config.from_toml(Problem, stored) == problem
    assert config.differences(stored, stored) == []


def test_defaults_file_and_overrides_in_this_order(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("diffusivity = 1\ntimes = [1, 2.5]\n[mesh]\norder = 2\n")
    assert config.read(Problem) == Problem()
    made = config.read(
        Problem, path, ["mesh.order=3", "mesh.cells=[4,5]", "name=two words", " steady = true"]
    )
    assert made == Problem(
        diffusivity=1.0,
        times=(1.0, 2.5),
        mesh=Mesh(order=3, cells=(4, 5)),
        name="two words",
        steady=True,
    )
    assert isinstance(made.diffusivity, float) and isinstance(made.times[0], float)
    assert config.read(Problem, overrides=["name='7'"]).name == "7"


def test_defaults_of_a_table_hold_where_one_of_its_keys_is_given():
    defaults = Problem(name="mine", mesh=Mesh(order=3, cells=(4, 5)))
    made = config.read(Problem, None, ["mesh.cells=[6,7]"], defaults)
    assert made == Problem(name="mine", mesh=Mesh(order=3, cells=(6, 7)))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("difusivity=1", "unknown configuration key 'difusivity'; did you mean 'diffusivity'?"),
        ("mesh.ordr=1", "unknown configuration key 'mesh.ordr'; did you mean 'mesh.order'?"),
        ("mehs.order=1", "unknown configuration key 'mehs'; did you mean 'mesh'?"),
        ("qqqq=1", "known are diffusivity, name, steady, times, sources, mesh"),
        ("mesh.order=0", "mesh.order must be at least 1; got 0"),
        ("mesh.order=2.0", "mesh.order must be of type int; got 2.0"),
        ("mesh.order=true", "mesh.order must be of type int; got True"),
        ("steady=1", "steady must be of type bool; got 1"),
        ("diffusivity=true", "diffusivity must be of type float; got True"),
        ("diffusivity=much", "diffusivity must be of type float; got 'much'"),
        ("diffusivity=nan", "diffusivity must be finite; got nan"),
        ("sources=[[1, inf]]", "sources[0][1] must be finite; got inf"),
        ("name=3", "name must be of type str; got 3"),
        ("mesh=3", "mesh is a table of settings; got 3"),
        ("mesh.cells=[1]", "mesh.cells must have 2 entries; got 1"),
        ("mesh.cells=[1, 2.5]", "mesh.cells[1] must be of type int; got 2.5"),
        ("sources=[[1, 2], [3, 'a']]", "sources[1][1] must be of type float; got 'a'"),
        ("times=1.0", "times must be a list; got 1.0"),
        ("name.of=1", "name must be of type str; got {'of': 1}"),
        ("order", "cannot read the override 'order'; write key=value"),
        ("=1", "cannot read the override '=1'; write key=value"),
    ],
)
def test_mistakes_are_one_line_that_names_the_key(override, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        config.read(Problem, overrides=[override])
    assert "\n" not in str(caught.value)


def test_an_override_of_a_part_of_a_value_is_refused():
    with pytest.raises(InputError, match="'name.of' is not a key: 'name' holds a value"):
        config.read(Problem, overrides=["name=cdr", "name.of=1"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"diffusivity = ", "is not valid TOML"),
        (b"a = " + b"[" * 10**5, "is not valid TOML"),
        (b"diffusivity = " + b"9" * 10**4, "is not valid TOML"),
        (b"\xff\xfe", "cannot read the configuration"),
        (b"[mesh]\norde = 1", "did you mean 'mesh.order'?"),
        (None, "cannot read the configuration"),
    ],
)
def test_a_file_with_faults_is_one_line_that_names_it_or_the_key(tmp_path, content, message):
    path = tmp_path / "a.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        config.read(Problem, path)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="cannot read the configuration"):
        config.read(Problem, tmp_path)


def test_differences_name_each_key_with_both_values():
    old = config.to_toml(Problem(diffusivity=2.0, mesh=Mesh(order=2)))
    new = config.to_toml(Problem(diffusivity=3.0)) + "extra = 1\n"
    assert config.differences(old, new) == [
        "diffusivity is 2.0 there and 3.0 here",
        "mesh.order is 2 there and 1 here",
        "mesh.extra is absent there and 1 here",
    ]
    assert config.differences("", "a = 0\n") == ["a is absent there and 0 here"]


@dataclass(frozen=True, kw_only=True)
class Shape:
    width: int | None = None
    kind: str | None = "round"


@dataclass(frozen=True, kw_only=True)
class Renamed:
    MOVED: ClassVar[dict[str, str]] = {"size": "shape.width", "shape": "shape.kind"}

    seed: int = 0
    shape: Shape = Shape()


def test_a_value_that_the_program_chooses_is_none_here_and_auto_in_text():
    chosen = Renamed(shape=Shape(kind=None))
    assert config.table(config.to_toml(chosen))["shape"] == {"width": "auto", "kind": "auto"}
    assert config.from_toml(Renamed, config.to_toml(chosen)) == chosen
    assert config.read(Renamed, None, ["shape.kind=auto", "shape.width=3"]) == Renamed(
        shape=Shape(kind=None, width=3)
    )
    assert config.from_table(Renamed, {"shape": {"kind": None}}) == chosen
    with pytest.raises(InputError, match="shape.width must be of type int; got 'wide'"):
        config.read(Renamed, None, ["shape.width=wide"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("size=3", "size is now shape.width"),
        ("shape=square", "shape is now shape.kind"),
        ("widht=3", "unknown configuration key 'widht'; did you mean 'shape.width'?"),
        ("width=3", "unknown configuration key 'width'; did you mean 'shape.width'?"),
    ],
)
def test_a_key_that_has_moved_is_refused_with_its_place(override, message, tmp_path):
    with pytest.raises(InputError) as caught:
        config.read(Renamed, None, [override])
    assert str(caught.value) == message
    key, _, value = override.partition("=")
    (tmp_path / "old.toml").write_text(f"{key} = '{value}'\n")
    with pytest.raises(InputError) as caught:
        config.read(Renamed, tmp_path / "old.toml")
    assert str(caught.value) == message


def test_values_are_replaced_by_their_dotted_keys():
    base = Problem(mesh=Mesh(order=2))
    made = config.replaced(base, {"mesh.cells": (4, 5), "name": "mine"})
    assert made == Problem(name="mine", mesh=Mesh(order=2, cells=(4, 5)))
    assert config.replaced(base, {}) == base == Problem(mesh=Mesh(order=2))
    with pytest.raises(InputError, match="mesh.order must be at least 1; got 0"):
        config.replaced(base, {"mesh.order": 0})


def test_the_keys_that_are_set_are_dotted_wherever_they_are_written(tmp_path):
    (tmp_path / "a.toml").write_text("name = 'mine'\n[mesh]\norder = 2\n")
    found = config.keys(tmp_path / "a.toml", ["steady=true", "mesh={cells=[4, 5]}"])
    assert found == {"name", "steady", "mesh.cells"}  # the table is replaced as a whole
    assert config.keys(tmp_path / "a.toml", ["mesh.cells=[4, 5]"]) == {
        "name",
        "mesh.order",
        "mesh.cells",
    }
    assert config.keys() == set()
