from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogates import config
from surrogates.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Mesh:
    cells: tuple[int, int] = (32, 32)
    order: int = 1

    def __post_init__(self) -> None:
        config.check(self.order >= 1, f"mesh.order must be at least 1; got {self.order}")


@dataclass(frozen=True, kw_only=True)
class Problem:
    diffusivity: float = 0.01
    name: str = "cdr"
    steady: bool = False
    times: tuple[float, ...] = (0.5, 1.0)
    sources: tuple[tuple[float, float], ...] = ()
    mesh: Mesh = field(default_factory=Mesh)


finite = st.floats(allow_nan=False, allow_infinity=False)
problems = st.builds(
    Problem,
    diffusivity=finite,
    name=st.text(),
    steady=st.booleans(),
    times=st.lists(finite, max_size=4).map(tuple),
    sources=st.lists(st.tuples(finite, finite), max_size=3).map(tuple),
    mesh=st.builds(Mesh, cells=st.tuples(*2 * [st.integers(-(2**63), 2**63 - 1)])),
)


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
