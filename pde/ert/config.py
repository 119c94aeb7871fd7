"""The settings of a DC resistivity survey: the survey, what is observed, the mesh, the solver.

Lengths in m, resistivities in ohm m, currents in A. The tables of the model are those of `models`;
the tables ``grid``, ``direct`` and ``box`` are defined where they are used.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from surrogates.config import check, unknown

from ..sampling import DESIGNS
from .box import BoxSettings
from .direct import DirectSettings
from .grid import GridSettings
from .models import GroundConfig

KINDS = ("apparent-resistivity", "log10-apparent-resistivity", "resistance")
METHODS = ("auto", "layers", "box", "direct")


@dataclass(frozen=True, kw_only=True)
class SurveySettings:
    """A survey's file, or an array along lines that are made.

    Attributes:
        file: File of the survey; empty for an array that is made.
        array: Array that is made without a file, such as ``dipole-dipole`` or ``wenner``.
        electrodes: Electrodes of each line of it.
        spacing: Distance of neighbouring electrodes on a line [m].
        lines: Number of lines, along x1.
        line_spacing: Distance of neighbouring lines [m]; None: that of the electrodes.
        levels: Largest separation of it, in spacings; None: all that fit the line, and at most 8
            for dipole-dipole.
        top: Elevation [m] of flat ground; None: the electrodes tell it, and the ground.
    """

    file: str = ""
    array: str = "dipole-dipole"
    electrodes: int = 24
    spacing: float = 1.0
    lines: int = 1
    line_spacing: float | None = None
    levels: int | None = None
    top: float | None = None


@dataclass(frozen=True, kw_only=True)
class Observable:
    """What is observed of each datum.

    Attributes:
        kind: ``apparent-resistivity`` [ohm m], ``log10-apparent-resistivity``, or ``resistance``,
            the transfer resistance [ohm].
    """

    kind: str = "apparent-resistivity"

    def __post_init__(self) -> None:
        """Check the choice."""
        check(self.kind in KINDS, unknown(f"observable.kind {self.kind!r}", self.kind, KINDS))


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Standard deviation of a measured voltage u: absolute + relative |u|. Samples have no noise.

    Attributes:
        absolute: Part that does not depend on the voltage [V].
        relative: Part that grows with the voltage, over the voltage.
        current: Current of the measurements [A], by which voltages become resistances.
    """

    absolute: float = 1e-4
    relative: float = 0.03
    current: float = 0.1

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(
            self.absolute >= 0 and self.relative >= 0 and self.absolute + self.relative > 0,
            "noise.absolute and noise.relative must be at least 0, and not both 0; got "
            f"{self.absolute:g} and {self.relative:g}",
        )
        check(self.current > 0, f"noise.current must be positive; got {self.current:g}")


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Sampling design of the parameters.

    Attributes:
        design: Sampling design: ``box``, ``latin-hypercube``, ``sobol`` or
            ``nested-latin-hypercube``.
    """

    design: str = "box"

    def __post_init__(self) -> None:
        """Check the choice."""
        designs = [design for design in DESIGNS if design != "simplex"]
        check(
            self.design in designs,
            unknown(f"sampling.design {self.design!r}", self.design, designs),
        )


@dataclass(frozen=True, kw_only=True)
class Solver:
    """How the potentials are found.

    ``layers`` is the exact solution for horizontal layers without a body. ``box`` is for a body
    below flat ground: it solves only in the box that the body can reach. ``direct`` factorises the
    whole mesh, for any model and topography. ``auto`` takes the first of them that fits.

    Attributes:
        method: ``layers``, ``box``, ``direct`` or ``auto``.
        batch: Samples that are solved and saved together.
    """

    method: str = "auto"
    batch: int = 5

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(
            self.method in METHODS, unknown(f"solver.method {self.method!r}", self.method, METHODS)
        )
        check(self.batch >= 1, f"solver.batch must be at least 1; got {self.batch}")


@dataclass(frozen=True, kw_only=True)
class MeshFile:
    """A mesh of the ground from a file, for topography and for regions.

    Attributes:
        file: A mesh file that meshio reads, in the survey's coordinates; empty for none.
    """

    file: str = ""


@dataclass(frozen=True, kw_only=True)
class ERTConfig(GroundConfig):
    """The problem's whole configuration; each field is a TOML table."""

    survey: SurveySettings = field(default_factory=SurveySettings)
    observable: Observable = field(default_factory=Observable)
    mesh: MeshFile = field(default_factory=MeshFile)
    grid: GridSettings = field(default_factory=GridSettings)
    direct: DirectSettings = field(default_factory=DirectSettings)
    box: BoxSettings = field(default_factory=BoxSettings)
    solver: Solver = field(default_factory=Solver)
    sampling: Sampling = field(default_factory=Sampling)
    noise: Noise = field(default_factory=Noise)
