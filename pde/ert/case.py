"""A survey with its ground: what the settings of `ert` name, read and checked together.

All coordinates are relative to the elevation `Ground.top`: x3 = 0 is the surface of flat ground,
and the mean elevation of the electrodes at the surface on topography.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

from surrogates.config import check
from surrogates.errors import listed
from surrogates.files import atomic
from surrogates.survey import Ground, Survey, made, read
from surrogates.survey.depth import data_places, median_depths
from surrogates.survey.ground import CANCELLATION, half_space_potentials
from surrogates.types import Array

from .. import meshes
from . import models, region
from .config import ERTConfig
from .direct import Direct
from .grid import flat_grid
from .layers import Layers, pair_potentials


@dataclass(frozen=True, eq=False)
class Case:
    """The survey, the ground and the model of a configuration.

    Attributes:
        config: The configuration.
        survey: The survey.
        ground: Its surface.
    """

    config: ERTConfig
    survey: Survey
    ground: Ground

    @cached_property
    def electrodes(self) -> Array:
        """Places of the electrodes [m], (n_e, 3), x3 = 0 at the ground's top."""
        return self.survey.electrodes - [0.0, 0.0, self.ground.top]

    @property
    def flat(self) -> bool:
        """Whether the surface is the plane x3 = 0, without a mesh of the user's."""
        return self.ground.flat and not self.config.mesh.file

    @cached_property
    def level(self) -> bool:
        """Whether the surface is the plane x3 = 0, also that of a mesh of the user's."""
        mesh = self._mesh
        if mesh is None:
            return self.ground.flat
        x3 = mesh.points[np.unique(mesh.top), 2] - self.ground.top
        extent = float(np.ptp(mesh.points, axis=0).max())
        return self.ground.flat and bool((np.abs(x3) <= 1e-9 * extent).all())

    @cached_property
    def depths(self) -> Array:
        """Median depths of investigation of the data [m], (n_d,)."""
        return median_depths(self.survey, self.ground)

    @cached_property
    def places(self) -> Array:
        """Where pseudosections draw the data [m], (n_d, 3), x3 = 0 at the ground's top."""
        depths = np.where(np.isfinite(self.depths), self.depths, 0.0)
        return data_places(self.survey, self.ground, depths) - [0.0, 0.0, self.ground.top]

    @cached_property
    def model(self) -> models.Model:
        """The model of the conductivity.

        Raises:
            InputError: If its settings do not fit each other, the survey or the mesh.
        """
        places = self.electrodes
        deepest = max(float(np.nanmax(self.depths)), -float(places[:, 2].min()))
        lower = np.array([*places[:, :2].min(axis=0), -deepest])
        upper = np.array([*places[:, :2].max(axis=0), max(0.0, float(places[:, 2].max()))])
        regions = self.config.regions.names if self._mesh is not None else None
        model = models.make(self.config, lower, upper, regions)
        if self.flat:
            model.check_flat()
        return model

    @cached_property
    def method(self) -> str:
        """The way that the settings choose: ``layers``, ``box`` or ``direct``.

        Raises:
            InputError: If it does not fit the survey and the model.
        """
        wanted, name = self.config.solver.method, self.survey.name
        fitting = {
            "layers": self.flat and self.model.layered,
            "box": self.flat and self._is_apart,
            "direct": self.flat or self._mesh is not None,
        }
        check(
            fitting["direct"],
            f"{name} has topography, and needs a mesh of its ground: surrogates survey {name} "
            "--mesh ground.msh makes one, and mesh.file=ground.msh names it",
        )
        if wanted == "auto":
            return next(method for method, fits in fitting.items() if fits)
        needs = {
            "layers": "flat ground without a mesh, and model.kind half-space or layers",
            "box": "flat ground without a mesh, and model.kind body or body-in-layers with no "
            "electrode where the body can be",
        }
        check(fitting[wanted], f"solver.method={wanted} needs {needs.get(wanted)}")
        return wanted

    @property
    def _is_apart(self) -> bool:
        """Whether the ground changes only in a bounded region, which reaches no electrode."""
        bounded = self.model.reach is not None and not self.model.layered
        return bounded and region.apart(self.model, self.electrodes)

    @cached_property
    def cells(self) -> meshes.Cells:
        """The mesh of the way ``direct``, x3 = 0 at the ground's top."""
        mesh = self._mesh
        if mesh is None:
            return flat_grid(self.electrodes, self.config.grid).cells()
        return meshes.Cells(mesh.kind, mesh.points - [0.0, 0.0, self.ground.top], mesh.vertices)

    @cached_property
    def tags(self) -> npt.NDArray[np.int64] | None:
        """Number of each cell's region in ``regions.names``, (n_cells,); None without regions."""
        if self.config.model.kind != "regions" or self._mesh is None:
            return None
        return self._mesh.regions(self.config.regions.names)

    @property
    def _mesh(self) -> meshes.FileMesh | None:
        file = self.config.mesh.file
        return meshes.read(file, curved=True) if file else None

    @cached_property
    def factors(self) -> Array:
        """Geometric factors k [m], (n_d,): those of a homogeneous ground with this surface.

        A datum whose potentials cancel has none: 0 stands for it among resistances.

        Raises:
            InputError: If there is such a datum, and apparent resistivities are observed.
        """
        T = half_space_potentials(self.survey, self.ground) if self.level else self.homogeneous
        R, size = self.survey.combine(T), self.survey.sizes(T)
        defined = np.abs(R) * CANCELLATION > size
        wrong = [str(i + 1) for i in np.flatnonzero(~defined)]
        check(
            not wrong or self.config.observable.kind == "resistance",
            f"{self.survey.name}: the geometric factors of data {listed(wrong, 5)} are undefined, "
            "as m and n have the same potential in homogeneous ground; leave these data out "
            "(surrogates survey --clean --out), or take observable.kind=resistance",
        )
        return np.where(defined, 1 / np.where(defined, R, 1.0), 0.0)

    @cached_property
    def homogeneous(self) -> Array:
        """Potentials T of the pairs in homogeneous ground of 1 ohm m with this surface, (n_p,).

        On topography they are solved for once, and kept in the user's cache: all processes of a
        run, and later runs, need them for the geometric factors. The first process solves, and the
        others wait for it: they do not all call this together.
        """
        if self.level:
            unit = Layers(resistivity=np.ones(1), thickness=np.empty(0))
            return pair_potentials(unit, self.electrodes, self.survey.pairs)
        return self._under_top[0]

    @cached_property
    def _under_top(self) -> tuple[Array, str]:
        """Potentials of homogeneous ground under topography, and what is known of their error."""
        path = self._kept()
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with _alone(path.with_suffix(".lock")):
                if not path.is_file():  # another process may have written it by now
                    solver = self.solver(MPI.COMM_SELF, None)
                    with atomic(path) as new, new.open("wb") as file:
                        np.savez(file, T=solver.homogeneous, note="; ".join(solver.notes))
        with np.load(path, allow_pickle=False) as kept:
            return np.asarray(kept["T"]), str(kept["note"])

    def _kept(self) -> Path:
        """Return the file that keeps `homogeneous`; its name is a digest of all it depends on."""
        code = "".join(Path(__file__).with_name(f"{m}.py").read_text() for m in _HOMOGENEOUS)
        arrays = (self.cells.points, self.cells.vertices, self.electrodes, self.survey.pairs)
        parts = [repr(self.config.direct).encode(), code.encode()]
        parts += [np.ascontiguousarray(array).tobytes() for array in arrays]
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        digest = hashlib.sha256(b"".join(parts)).hexdigest()
        return Path(home) / "varpro-surrogates" / "topography" / f"{digest[:32]}.npz"

    def solver(self, comm: MPI.Comm, homogeneous: Array | None) -> Direct:
        """Make the solver on the mesh; collective."""
        return Direct(
            self.cells,
            self.electrodes,
            self.survey.pairs,
            self.config.direct,
            comm,
            homogeneous=homogeneous,
            below=self.ground.buried,
        )

    def check(self) -> None:
        """Raise `InputError` if survey, model, mesh and settings do not fit each other."""
        if self.method == "direct":
            self.tags  # noqa: B018 - every cell is in a region
        self.factors  # noqa: B018 - every datum has one

    def notes(self) -> tuple[str, ...]:
        """Return what users should know, one line each."""
        mended = self._mesh.mended if self._mesh is not None else ()
        cells = region.notes(self.model, self.config.box) if self.method == "box" else ()
        known = () if self.method != "direct" or self.level else (self._under_top[1],)
        return (*mended, *self.model.notes, *cells, *known)


_HOMOGENEOUS = ("direct", "factor", "primary", "stiffness", "surface")
"""Modules that compute `Case.homogeneous` on topography."""


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock of a file; go on without it where the file system has none."""
    with path.open("wb") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def case_of(config: ERTConfig) -> Case:
    """Read the survey of a configuration, and find its ground; again if a file has changed.

    Raises:
        InputError: If the file cannot be read, or the array cannot be made.
    """
    return _case(config, _state(config.survey.file), _state(config.mesh.file))


def _state(path: str) -> tuple[int, ...]:
    """Return what changes with a file; nothing if there is none."""
    if not os.path.isfile(path):
        return ()
    about = os.stat(path)
    return about.st_ino, about.st_size, about.st_mtime_ns


@functools.lru_cache(maxsize=2)
def _case(config: ERTConfig, _survey: tuple[int, ...], _mesh: tuple[int, ...]) -> Case:
    settings = config.survey
    if settings.file:
        survey = read(settings.file)
    else:
        survey = made(
            settings.array,
            electrodes=settings.electrodes,
            spacing=settings.spacing,
            lines=settings.lines,
            line_spacing=settings.line_spacing,
            levels=settings.levels,
        )
    return Case(config, survey, survey.ground(settings.top))
