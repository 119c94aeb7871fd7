"""The description of a dataset: everything in a dataset file but the numbers.

It is stored as attributes of the file. Texts have a fixed length, because HDF5 protects those by a
checksum. HDF5 does not protect long attributes among many others; their checksums are in one more
attribute, ``checksums``.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import os
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np

from surrogates import config
from surrogates.errors import InputError
from surrogates.provenance import Provenance
from surrogates.types import Array

_TEXTS = ("problem", "config", "design", "split", "mesh", "command", "created", "revision")
_NUMBERS = ("seed", "total", "first")
_IDENTITY = ("problem", "task", "design", "seed", "split", "total")
_LONG = 2048  # bytes; HDF5 checks attributes of up to about 4000


class Status(enum.IntEnum):
    """The state of a sample."""

    MISSING = 0
    DONE = 1
    FAILED = 2


class Split(enum.IntEnum):
    """The part of the dataset that a sample belongs to."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2
    UNUSED = 255


PARTS = ("train", "validation", "test")
TASKS = ("regression", "classification")


@dataclass(frozen=True, kw_only=True)
class Info:
    """The description of a dataset: everything in the file but the numbers.

    Attributes:
        problem: Name of the PDE problem, or of the imported file.
        task: ``regression``, or ``classification``: the rows of C are then class probabilities,
            usually one-hot, and ``c_names`` the names of the classes.
        config: The problem's whole configuration, TOML text.
        source: SHA-256 of the user's file that defines the problem; empty for a built-in problem.
        design: Name of the sampling design; ``points`` if the points were given.
        seed: Seed of the sampling design and of the split.
        split: The split as asked for, such as ``400/200/200``.
        total: Number of samples in the whole set.
        first: Index in the whole set of this file's first sample.
        tangents: Whether the file has dC_dY.
        directions: Number r of the directions of each sample in which the file has dC_dV; 0 if it
            has no such derivatives. A set has tangents, directions or adjoints, or none of them.
        functionals: Functionals W of c, (r, n_c), in 1 over units of c, of which the file has
            dW_dY; (0, 0) if it has no such derivatives.
        c_scale: Scales of the outputs, (n_c,), in units of c, in which the functionals are
            orthonormal; (0,) without functionals.
        y_names: Names of the parameters, n_y of them.
        y_units: Their units, ``1`` where they have none.
        y_lower: Lower bounds, same units.
        y_upper: Upper bounds, same units.
        c_names: Names of the observables, n_c of them.
        c_units: Their units.
        coordinates: Values of each coordinate (``time``, ``x1``, ...), n_c of them.
        mesh: Size and hash of the mesh, in one line.
        versions: Versions of the libraries that made the file.
        command: The command line that made it.
        created: The time, ISO 8601 in UTC.
        revision: git revision of the code, empty if unknown.
        later_makers: Provenance of samples that were made later, with other versions.
        missing: ``mask`` if done samples lack entries of C, which are NaN; else empty.
        inputs: SHA-256 of each further file that the samples depend on. Modules and data in the
            folder of the problem's file are named by their paths from there, files that the
            configuration names by its keys, and pilot sets by options: ``--pilot``. Of points that
            were given, ``--points``, it is the SHA-256 of the numbers.
        notes: Remarks on the samples, one line each: estimated errors, repairs of a mesh. They are
            not part of the set's identity.
    """

    problem: str
    task: str = "regression"
    config: str = ""
    source: str = ""
    design: str = ""
    seed: int = 0
    split: str = ""
    total: int
    first: int = 0
    tangents: bool = False
    directions: int = 0
    functionals: Array = field(default_factory=lambda: np.empty((0, 0)))
    c_scale: Array = field(default_factory=lambda: np.empty(0))
    y_names: tuple[str, ...]
    y_units: tuple[str, ...]
    y_lower: Array
    y_upper: Array
    c_names: tuple[str, ...]
    c_units: tuple[str, ...]
    coordinates: Mapping[str, Array] = field(default_factory=dict)
    mesh: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    created: str = ""
    revision: str = ""
    later_makers: tuple[Provenance, ...] = ()
    missing: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def differences(self, other: Info) -> list[str]:
        """List why another dataset's samples are not of the same set; empty if they are."""
        found = [
            f"{name} is {getattr(self, name)} there and {getattr(other, name)} here"
            for name in (*_IDENTITY, "tangents", "directions", "adjoints")
            if getattr(self, name) != getattr(other, name)
        ]
        if self.adjoints == other.adjoints > 0 and not self.same_functionals(other):
            found.append("the functionals of c are others there than here")
        if self.task == other.task == "classification" and self.c_names != other.c_names:
            found.append("the classes have other names there than here")
        if self.missing != other.missing:
            found.append("entries of c are masked in one of them only")
        pilots = ({k: v for k, v in one.files.items() if _is_option(k)} for one in (self, other))
        return found + _other_files(*pilots) + self.other_problem(other)

    def other_problem(self, other: Info, but: Collection[str] = ()) -> list[str]:
        """List why another dataset's samples are of another map y to c; empty if they are not.

        Files are compared by their digests, so an edited comment counts as a difference. The path
        of a file in the configuration is ignored if both descriptions have the file's digest. Pilot
        sets and points, which options name, are ignored: c at a y does not depend on them.

        Args:
            other: The other dataset.
            but: Keys of the configuration that do not count.
        """
        files = ({k: v for k, v in one.files.items() if not _is_option(k)} for one in (self, other))
        found = _other_files(*files)
        if self.mesh and other.mesh and self.mesh != other.mesh:
            found.append(f"the mesh is {self.mesh} there and {other.mesh} here")
        known = self.inputs.keys() & other.inputs.keys()
        return found + config.differences(self.config, other.config, {*known, *but})

    @property
    def adjoints(self) -> int:
        """Number r of the functionals of c of which the file has dW_dY; 0 if it has none."""
        return len(self.functionals)

    def same_functionals(self, other: Info) -> bool:
        """Return whether another dataset has the same functionals, up to rounding."""
        ours, theirs = self.functionals * self.c_scale, other.functionals * other.c_scale
        return ours.shape == theirs.shape and bool((np.abs(ours - theirs) < 1e-8).all())

    def changed(self, other: Info) -> list[str]:
        """Return the names of the files that both depend on and whose contents differ."""
        ours, theirs = self.files, other.files
        return sorted(name for name in ours.keys() & theirs if ours[name] != theirs[name])

    def check_same(
        self, other: Info, path: str | os.PathLike[str], further: Sequence[str] = ()
    ) -> None:
        """Refuse to replace or continue a file that holds this dataset by another one.

        Args:
            other: The dataset that would be written.
            path: The file.
            further: Differences that the descriptions do not show.

        Raises:
            InputError: If the two are not of the same set.
        """
        differences = self.differences(other) or further
        if differences:
            changed = [name for name in self.changed(other) if not _is_option(name)]
            # Files are compared by digests, which cannot tell a comment from a number.
            restore = f"restore {', '.join(changed)} (an edit of a comment counts, too), or "
            raise InputError(
                f"{path} is another dataset: {'; '.join(differences)}; it is left as it is, "
                f"{restore if changed else ''}give another --out"
            )

    @property
    def files(self) -> dict[str, str]:
        """The SHA-256 of every file that the samples depend on, by its name."""
        file = self.problem.rpartition(":")[0] or "the file of the problem"
        return {**({file: self.source} if self.source else {}), **self.inputs}

    @property
    def makers(self) -> tuple[Provenance, ...]:
        """Provenance of all samples; `Dataset.made_by` holds indices into it."""
        first: Provenance = {
            "versions": self.versions,
            "command": self.command,
            "created": self.created,
            "revision": self.revision,
        }
        return (first, *self.later_makers)

    def with_maker(self, maker: Provenance) -> tuple[Info, int]:
        """Return the description with a maker added, unless it is known, and the maker's index.

        Makers with the same versions and revision count as one: their samples are alike.
        """
        for index, known in enumerate(self.makers):
            if all(known[key] == maker[key] for key in ("versions", "revision")):
                return self, index
        more = dataclasses.replace(self, later_makers=(*self.later_makers, maker))
        return more, len(self.makers)


def _is_option(name: str) -> bool:
    """Return whether an input is named by an option of the command line, as a pilot set is."""
    return name.startswith("--")


def _other_files(there: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """List the files whose SHA-256 differ between two sets."""
    return [
        f"{name} has {f'SHA-256 {old[:12]}' if old else 'no SHA-256'} there and "
        f"{new[:12] or 'none'} here"
        for name in sorted({**there, **here})
        if (old := there.get(name, "")) != (new := here.get(name, ""))
    ]


def write_attributes(file: h5py.File, info: Info) -> None:
    """Write a description to a file that has the arrays /Y and /C: to attributes, /functionals."""
    for name in _NUMBERS:
        file.attrs[name] = getattr(info, name)
    for name in (*_TEXTS, "source", "task", "missing"):
        _write_text(file, name, getattr(info, name))
    _write_text(file, "versions", json.dumps(dict(info.versions), sort_keys=True))
    for name, content in (("inputs", dict(info.inputs)), ("notes", list(info.notes))):
        if content:
            _write_text(file, name, json.dumps(content))
    if info.later_makers:
        _write_text(file, "later_makers", json.dumps(info.later_makers, sort_keys=True))
    for array, letter in (("Y", "y"), ("C", "c")):
        for name in ("names", "units"):
            _write_text(file[array], name, getattr(info, f"{letter}_{name}"))
    file["Y"].attrs["lower"] = info.y_lower
    file["Y"].attrs["upper"] = info.y_upper
    for name, values in info.coordinates.items():
        file["C"].attrs[f"coordinate_{name}"] = values
    if info.adjoints:
        about = {"chunks": info.functionals.shape, "fletcher32": True}
        file.create_dataset("functionals", data=np.asarray(info.functionals, float), **about)
        file["functionals"].attrs["scale"] = info.c_scale
    _write_text(file, "checksums", json.dumps(_checksums(file)))


def _write_text(where: Any, name: str, text: str | Sequence[str]) -> None:
    """Write a text attribute of fixed length: HDF5 has no checksums for variable lengths."""
    encoded = np.char.encode(np.array(text, dtype=str), "utf-8")
    where.attrs.create(name, encoded, dtype=h5py.string_dtype("utf-8", max(1, encoded.itemsize)))


def _checksums(file: h5py.File) -> dict[str, int]:
    """Return the CRC-32 of each long attribute."""
    found = {}
    arrays = (file[name] for name in ("Y", "C", "functionals") if name in file)
    for where in (file, *arrays):
        for name, value in where.attrs.items():
            content = np.asarray(value).tobytes()
            if len(content) > _LONG:
                found[f"{where.name}@{name}"] = zlib.crc32(content)
    return found


def read_attributes(file: h5py.File) -> Info:
    """Read the description from the attributes of a file.

    Raises:
        KeyError: If an attribute is absent.
        ValueError: If an attribute does not fit the format.
    """
    found = _checksums(file)
    for name, checksum in json.loads(file.attrs.get("checksums", b"{}").decode()).items():
        if found.get(name) != checksum:
            raise ValueError(f"the checksum of its attribute {name} is wrong")
    Y, C = file["Y"].attrs, file["C"].attrs
    prefix = "coordinate_"
    plain: dict[str, Any] = {name: file.attrs[name].decode() for name in _TEXTS}
    plain.update({name: int(file.attrs[name]) for name in _NUMBERS})
    for letter, attributes in (("y", Y), ("c", C)):
        for name in ("names", "units"):
            plain[f"{letter}_{name}"] = tuple(text.decode() for text in attributes[name])
    info = Info(
        **plain,
        source=file.attrs.get("source", b"").decode(),
        task=file.attrs.get("task", b"regression").decode(),
        missing=file.attrs.get("missing", b"").decode(),
        tangents="dC_dY" in file,
        **_derivatives(file),
        versions=json.loads(file.attrs["versions"].decode()),
        inputs=json.loads(file.attrs.get("inputs", b"{}").decode()),
        notes=tuple(json.loads(file.attrs.get("notes", b"[]").decode())),
        later_makers=tuple(json.loads(file.attrs.get("later_makers", b"[]").decode())),
        y_lower=Y["lower"],
        y_upper=Y["upper"],
        coordinates={k.removeprefix(prefix): C[k] for k in sorted(C) if k.startswith(prefix)},
    )
    config.differences(info.config, "")  # raises if it is not TOML
    if info.task not in TASKS:
        raise ValueError(config.unknown(f"task {info.task!r}", info.task, TASKS))
    if info.missing not in ("", "mask"):
        raise ValueError(f"the meaning of its missing entries, {info.missing!r}, is unknown")
    _check_types(info)
    if not 0 <= info.first < info.total:
        raise ValueError(f"its first sample is {info.first} of {info.total}")
    return info


def _derivatives(file: h5py.File) -> dict[str, Any]:
    """Read which derivatives a file has, besides whole tangents.

    Raises:
        ValueError: If it has several kinds, or its arrays do not belong together.
    """
    pairs = (("directions", "dC_dV"), ("functionals", "dW_dY"))
    for pair in pairs:
        there = [name for name in pair if name in file]
        if len(there) == 1:
            raise ValueError(f"it has /{there[0]} without /{''.join({*pair} - {*there})}")
    kinds = [name for name in ("dC_dY", "dC_dV", "dW_dY") if name in file]
    if len(kinds) > 1:
        raise ValueError(f"it has both /{kinds[0]} and /{kinds[1]}")
    if "directions" in file:
        if file["directions"].ndim != 3 or not file["directions"].shape[1]:
            raise ValueError(f"/directions has the shape {file['directions'].shape}")
        return {"directions": int(file["directions"].shape[1])}
    if "functionals" in file:
        W = file["functionals"]
        return {"functionals": W[()], "c_scale": np.asarray(W.attrs["scale"])}
    return {}


def _check_types(info: Info) -> None:
    """Raise ValueError if an entry of a description has the wrong type or length."""
    n_y, n_c = len(info.y_names), len(info.c_names)
    for what, n, n_names in (("y", len(info.y_units), n_y), ("c", len(info.c_units), n_c)):
        if n != n_names:
            raise ValueError(f"there are {n} {what} units for {n_names} names")
    numbers = {"lower bounds": (info.y_lower, n_y), "upper bounds": (info.y_upper, n_y)}
    numbers |= {f"values of {name}": (x, n_c) for name, x in info.coordinates.items()}
    for what, (values, n) in numbers.items():
        if np.shape(values) != (n,) or np.asarray(values).dtype.kind not in "fiu":
            raise ValueError(f"it has no {n} numbers as {what}")
    W, scale = info.functionals, info.c_scale
    if W.size or W.shape != (0, 0):
        sized = W.ndim == 2 and len(W) > 0 and W.shape[1] == n_c and scale.shape == (n_c,)
        numbers_ = W.dtype == np.float64 and scale.dtype.kind == "f"
        if not sized or not numbers_ or not np.isfinite(W).all() or not (scale > 0).all():
            raise ValueError(f"its functionals are not numbers for {n_c} observables")
    if not (info.y_lower <= info.y_upper).all():
        raise ValueError("a lower bound of y is not below the upper one")
    maker = {"versions": dict, "command": str, "created": str, "revision": str}
    known = {
        "versions": _are_texts(info.versions),
        "inputs": _are_texts(info.inputs),
        "notes": all(isinstance(note, str) for note in info.notes),
        "later_makers": all(
            isinstance(one, dict)
            and {key: type(value) for key, value in one.items()} == maker
            and _are_texts(one["versions"])
            for one in info.later_makers
        ),
        "seed": info.seed >= 0,
    }
    for name, fits in known.items():
        if not fits:
            raise ValueError(f"{name} is not what this package writes there")


def _are_texts(table: object) -> bool:
    """Return whether an object is a dict of texts."""
    return isinstance(table, dict) and all(isinstance(value, str) for value in table.values())
