"""A configuration with a table, and any values of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

from surrogates import config


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
