"""Surrogate files: a TorchScript module that needs only torch, with its description inside.

``torch.jit.load(path)(y)`` predicts, in a process without this package or from C++. The extra file
``metadata.json`` in it holds what `metadata` describes. TorchScript is deprecated in favour of
torch.export, which has no C++ loader without a compiler nor several methods in one file; torch
says so at each call, and this one file that calls ``torch.jit`` keeps it from the users.

Such a file is code, and torch alone runs whatever it holds. `load` checks it first, see
`surrogates.model.torchscript_check`. The .npz file of `surrogates.export.npz` holds no code:
it is the one for exchange with strangers.
"""

from __future__ import annotations

import copy
import csv
import dataclasses
import functools
import io
import json
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, ClassVar, cast

import h5py
import numpy as np
import numpy.typing as npt
import torch

from surrogates import given
from surrogates.config import check
from surrogates.data.arrays import check_finite
from surrogates.data.dataset import Array, Dataset, Info, is_dataset, opened
from surrogates.data.tables import read_csv
from surrogates.errors import InputError
from surrogates.files import atomic, atomic_hdf5, reading, within
from surrogates.provenance import provenance

from . import forms, fused, layers, torchscript, torchscript_check
from .classifier import Assessment, Classifier
from .metadata import DESCRIBED, FORMAT, SCHEMA_VERSION, parsed, task_of
from .metrics import Evaluation
from .surrogate import Surrogate

_VERSIONS = {"regression": 2, "classification": 3}  # the first that reads what is written
_EXTENDED = 4  # the first that reads the rest, but for tails
_OPTIONAL = ("logs", "members", "signs", "tail")  # parts of a surrogate that may be None
# Not `forms.Unfused`, whose features are a module of the user's.
_EAGER: dict[str, type[torch.nn.Module]] = {
    kind.__name__: kind
    for kind in (
        *(Surrogate, Classifier, fused.Fused, fused._Step, fused._Coupling),
        *(forms.Radial, forms.Anova, forms.Polynomial, forms.Blocks),
        *(layers.Logarithms, layers.Ensemble),
        torch.nn.ModuleList,
    )
}
_METADATA = "metadata.json"
_WEIGHTS = "weights.npz"
_NOUNS = {"regression": "observable", "classification": "class"}
_TABLES = (".csv", ".npy", ".h5")
_BATCH = 8192  # samples at once, which bounds the memory beside the result
FAILURES = (RuntimeError, ValueError, TypeError, torch.jit.Error)
"""What a call of a TorchScript module raises, and numpy at its result."""


@dataclass(frozen=True, kw_only=True)
class LoadedSurrogate:
    """A surrogate file in memory, called with arrays.

    Each method takes one sample, (n_in,), or a batch, (n, n_in) with n >= 1, of real numbers in the
    units of the metadata, and gives float64 with or without the leading n alike. Numbers that bear
    names, as a data frame's, are matched by them (`surrogates.given`). All methods raise an
    `InputError` for a wrong size, for what is not a finite number, for names that are not those of
    the metadata, and, with ``refuse_outside``, for y outside the training domain.

    Attributes:
        METHODS: Of its module.
        OUTPUTS: What it gives, in a word.
        module: Its TorchScript module, for tensors in and out, with gradients; the methods are
            those of `surrogates.model.surrogate.Surrogate`.
        metadata: What it is, see `metadata`.
        path: Where it came from, for messages.
        refuse_outside: Whether to refuse y outside the training domain. `in_domain` only tells.
    """

    METHODS: ClassVar[tuple[str, ...]] = (
        "forward",
        "jacobian",
        "jvp",
        "vjp",
        "predict_std",
        "in_domain",
    )
    OUTPUTS: ClassVar = "observables"

    module: torch.jit.ScriptModule
    metadata: Mapping[str, Any]
    path: str
    refuse_outside: bool = False

    @property
    def n_in(self) -> int:
        """Number of parameters."""
        return len(self.metadata["y_names"])

    @property
    def n_out(self) -> int:
        """Number of observables."""
        return len(self.metadata["c_names"])

    @property
    def n_members(self) -> int:
        """Number of surrogates of which the prediction is the weighted mean, 1 without any."""
        members = getattr(self.module, "members", None)
        return 1 if members is None else len(members.weights)

    def __call__(self, y: npt.ArrayLike) -> Array:
        """Give what its module's ``forward`` does, (n_out,) or (n, n_out)."""
        return self._call("forward", self._parameters(y))

    def predict(self, y: npt.ArrayLike) -> Array:
        """Predict the observables, (n_out,) or (n, n_out), units of the metadata."""
        return self(y)

    def predict_std(self, y: npt.ArrayLike) -> Array:
        """Give the standard deviation of the prediction's error, (n_out,) or (n, n_out).

        `surrogates.model.parts.ErrorBars` says what it covers.
        """
        self._check_bars()
        return self._call("predict_std", self._parameters(y))

    def predict_interval(self, y: npt.ArrayLike, level: float) -> Array:
        """Return the ends between which each output lies with a probability.

        Args:
            y: Parameters, (n_in,) or (n, n_in).
            level: The probability, between 0 and 1, such as 0.95.

        Returns:
            Lower and upper ends, (2, n_out) or (n, 2, n_out), units of the metadata. For outputs
            that are predicted by their logarithms the prediction is not in the middle.
        """
        self._check_bars()
        check(0 < level < 1, f"expected a level between 0 and 1; got {level}")
        Y = self._parameters(y)
        if hasattr(self.module, "predict_interval"):
            return self._call("predict_interval", Y, level=float(level))
        c, std = self._call("forward", Y), self._call("predict_std", Y)  # of an older version
        half = NormalDist().inv_cdf((1 + level) / 2) * std
        return np.stack([c - half, c + half], axis=-2)

    def jacobian(self, y: npt.ArrayLike) -> Array:
        """Differentiate the prediction: dc/dy, (n_out, n_in) or (n, n_out, n_in)."""
        return self._call("jacobian", self._parameters(y))

    def jvp(self, y: npt.ArrayLike, v: npt.ArrayLike) -> Array:
        """Apply the Jacobian to directions v, of y's shape: (n_out,) or (n, n_out)."""
        Y = self._parameters(y)
        return self._call("jvp", Y, self._array("v", v, self.metadata["y_names"], Y))

    def vjp(self, y: npt.ArrayLike, w: npt.ArrayLike) -> Array:
        """Apply the transposed Jacobian to w, (n_out,) or (n, n_out): (n_in,) or (n, n_in)."""
        Y = self._parameters(y)
        return self._call("vjp", Y, self._array("w", w, self.metadata["c_names"], Y))

    def in_domain(self, y: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Tell whether y lies in the training domain: bool, () or (n,)."""
        return self._call("in_domain", self._array("y", y, self.metadata["y_names"]))

    def eager(self) -> Surrogate:
        """Make an ordinary module of the scripted one, for torch.func and torch.export.

        Raises:
            InputError: If its features are a module of the user's own, or of schema version 1.
        """
        return cast(Surrogate, _eager(self.module, self.path))

    def _check_bars(self) -> None:
        check(
            self.metadata["schema_version"] > 1,
            f"{self.path} was written by an older version, without error bars; train it again",
        )

    def _parameters(self, y: npt.ArrayLike) -> torch.Tensor:
        Y = self._array("y", y, self.metadata["y_names"])
        logs = getattr(self.module, "logs", None)
        if logs is not None:
            rows = Y.view(-1, self.n_in)
            wrong = torch.nonzero(logs.inputs & (rows <= 0))
            if len(wrong):
                i, j = wrong[0].tolist()
                raise InputError(
                    f"{self.path} takes the logarithm of {self.metadata['y_names'][j]}: expected "
                    f"values > 0; got {rows[i, j]:.6g} in sample {i} (from 0)"
                )
        if self.refuse_outside:
            outside = np.flatnonzero(~self._call("in_domain", Y))
            if len(outside):
                rows = Y.view(-1, self.n_in)
                raise InputError(
                    f"y is outside the training domain of {self.path} in {len(outside)} of "
                    f"{len(rows)} samples, first in sample {outside[0]} (from 0): "
                    + self._why_outside(rows[outside[0]])
                )
        return Y

    def _why_outside(self, y: torch.Tensor) -> str:
        lower, upper = self.module.lower, self.module.upper
        j = int((torch.maximum(lower - y, y - upper) / (upper - lower)).nan_to_num(0.0).argmax())
        if lower[j] <= y[j] <= upper[j]:
            of = "the logarithms of " if getattr(self.module, "logs", None) is not None else ""
            return f"it does not satisfy the linear relations of {of}the training parameters"
        bounds = f"{lower[j]:.6g} to {upper[j]:.6g}"
        return f"{self.metadata['y_names'][j]} is {y[j]:.6g}, in training it was {bounds}"

    def _array(
        self,
        name: str,
        values: npt.ArrayLike,
        names: Sequence[str],
        like: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Check values at this edge, so that messages speak of arrays."""
        array = given.real(values, names, name)
        shape, size = array.shape, len(names)
        check(
            array.ndim in (1, 2) and shape[-1] == size and shape[0] > 0,
            f"{self.path} takes {self.n_in} parameters and gives {self.n_out} {self.OUTPUTS}: "
            f"expected {name} of shape ({size},) or (n, {size}), n at least 1; got {shape}",
        )
        if like is not None and shape[:-1] != like.shape[:-1]:
            raise InputError(f"expected {name} for each y, {tuple(like.shape)}; got {shape}")
        check(
            bool(np.isfinite(array).all()),
            f"expected finite numbers in {name}; got NaN or infinity",
        )
        return torch.from_numpy(array)

    def failure(self, method: str, error: Exception) -> InputError:
        """Return what to raise where its module's method fails, in one line."""
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else type(error).__name__
        return InputError(f"{self.path} fails in {method}: {reason[:200]}")

    def _call(self, method: str, *arguments: torch.Tensor, **settings: float) -> npt.NDArray[Any]:
        call = functools.partial(getattr(self.module, method), **settings)
        one = arguments[0].dim() == 1
        result: npt.NDArray[Any]
        try:
            with torch.inference_mode():
                if one:
                    result = call(*arguments).numpy()
                else:
                    split = (torch.split(argument, _BATCH) for argument in arguments)
                    result = np.concatenate([call(*piece) for piece in zip(*split, strict=True)])
        except FAILURES as error:  # no memory, or a network that does not fit its metadata
            raise self.failure(method, error) from error
        shape, kind = self._results[method]
        shape = shape if one else (len(arguments[0]), *shape)
        if result.shape != shape or result.dtype != kind:
            raise InputError(
                f"{self.path} is damaged: {method} must give {kind} of shape {shape}; got "
                f"{result.dtype} of shape {result.shape}"
            )
        return result

    @functools.cached_property
    def _results(self) -> Mapping[str, tuple[tuple[int, ...], npt.DTypeLike]]:
        """Shape and type of what each method gives of one sample."""
        n_in, n_out = self.n_in, self.n_out
        shapes: dict[str, tuple[int, ...]] = {
            **dict.fromkeys(("forward", "jvp", "predict_std", "probabilities"), (n_out,)),
            **{"jacobian": (n_out, n_in), "vjp": (n_in,), "predict_interval": (2, n_out)},
            **{"in_domain": (), "predict": ()},
        }
        kinds = {"in_domain": np.dtype(np.bool_), "predict": np.dtype(np.int64)}
        return {
            name: (shape, kinds.get(name, np.dtype(np.float64))) for name, shape in shapes.items()
        }

    def check_matches(self, info: Info) -> None:
        """Refuse a dataset whose task, sizes or names are not the surrogate's.

        Raises:
            InputError: If the tasks, or the numbers, names or order of parameters, observables or
                classes differ. Names that an import has made, y0, y1, ..., fit any.
        """
        task = task_of(self.metadata)
        check(
            info.task == task,
            f"{self.path} is for {task}; the dataset ({info.problem}) is for {info.task}",
        )
        there = (len(info.y_names), len(info.c_names))
        if there != (self.n_in, self.n_out):
            raise InputError(
                f"{self.path} takes {self.n_in} parameters and gives {self.n_out} {self.OUTPUTS}; "
                f"the dataset ({info.problem}) has {there[0]} and {there[1]}"
            )
        for letter, what in (("y", "parameter"), ("c", _NOUNS[task])):
            ours, theirs = (
                _own(names, letter)
                for names in (self.metadata[f"{letter}_names"], getattr(info, f"{letter}_names"))
            )
            for name, other in zip(ours or (), theirs or (), strict=False):
                check(
                    name == other,
                    f"{self.path} has the {what} {name!r} where the dataset ({info.problem}) has "
                    f"{other!r}",
                )


@dataclass(frozen=True, kw_only=True)
class LoadedClassifier(LoadedSurrogate):
    """The file of a classifier in memory: a `LoadedSurrogate` whose observables are logits.

    Called, it gives the logits, and the Jacobian is theirs. They are calibrated: their softmax are
    the probabilities. `surrogates.model.classifier.Classifier` has its module's methods.
    """

    METHODS: ClassVar[tuple[str, ...]] = (
        "forward",
        "probabilities",
        "predict",
        "jacobian",
        "jvp",
        "vjp",
        "in_domain",
    )
    OUTPUTS: ClassVar = "classes"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of logits and probabilities."""
        return tuple(self.metadata["c_names"])

    @property
    def temperature(self) -> float:
        """What has divided the logits, so that they are calibrated."""
        return float(self.module.temperature)

    def logits(self, y: npt.ArrayLike) -> Array:
        """Give the calibrated logits, (n_out,) or (n, n_out)."""
        return self(y)

    def probabilities(self, y: npt.ArrayLike) -> Array:
        """Give the probability of each class, (n_out,) or (n, n_out)."""
        return self._call("probabilities", self._parameters(y))

    def predict(self, y: npt.ArrayLike) -> npt.NDArray[Any]:
        """Give the most probable class: its index in ``class_names``, int64 () or (n,)."""
        return self._call("predict", self._parameters(y))

    def predict_std(self, y: npt.ArrayLike) -> Array:
        """Refuse: a classifier has no error bars."""
        raise InputError(f"{self.path} is a classifier: it has probabilities, and no error bars")

    def predict_interval(self, y: npt.ArrayLike, level: float) -> Array:
        """Refuse: a classifier has no error bars."""
        return self.predict_std(y)


def metadata(
    dataset: Dataset, *, training: Mapping[str, Any], errors: Mapping[str, Evaluation | Assessment]
) -> dict[str, Any]:
    """Describe a surrogate for those who have only its file.

    Args:
        dataset: What it was trained on.
        training: Settings and outcome of the training: dataclasses, mappings, arrays and values.
        errors: Errors on held-out parts of the dataset, by the part's name.

    Returns:
        Values that JSON knows; a number that is not finite becomes None. ``task``, ``problem``,
        names, units, bounds and coordinates as in `Info`; ``dataset`` with its digest and
        provenance; ``training``; ``errors``; ``versions`` and ``revision``. Neither the time nor
        the command line is among them: the same training makes the same file, to the byte.
    """
    info = plain(dataset.info)
    task = info.pop("task")
    made = provenance(torch, np)
    return {
        "format": FORMAT,
        "schema_version": _VERSIONS[task],
        "task": task,
        **{key: info.pop(key) for key in DESCRIBED},
        "dataset": {"digest": dataset.digest, **info},
        "training": plain(training),
        "errors": plain(errors),
        "versions": made["versions"],
        "revision": made["revision"],
    }


def save(
    surrogate: Surrogate,
    metadata: Mapping[str, Any],
    path: str | os.PathLike[str],
    weights: bytes = b"",
) -> None:
    """Write a surrogate file, whole or not at all.

    Args:
        surrogate: The module, on any device; in the file it is on the CPU.
        metadata: Its description, from `metadata`. Its schema version is raised where the surrogate
            has what older versions of this package cannot read: features other than one network,
            members, signs, logarithms or tails.
        path: Where.
        weights: What a training can start from (see `surrogates.training.weights`), an extra file
            that no reader of the surrogate looks at; none if empty.

    Raises:
        InputError: If the path cannot be written.
    """
    if _is_extended(surrogate):
        tailed = surrogate.tail is not None
        metadata = {**metadata, "schema_version": SCHEMA_VERSION if tailed else _EXTENDED}
    text = json.dumps(plain(metadata), indent=1, allow_nan=False)
    extra = {f"extra/{_METADATA}": text.encode()}
    if weights:
        extra[f"extra/{_WEIGHTS}"] = weights
    buffer = io.BytesIO()
    with _no_deprecation():
        torch.jit.save(torch.jit.script(copy.deepcopy(surrogate).cpu()), buffer)
    members = torchscript.canonical(torchscript.read(buffer))
    with atomic(path) as beside:
        beside.write_bytes(torchscript.pack({**members, **extra}))


def _is_extended(surrogate: Surrogate) -> bool:
    rows, columns = surrogate.leverage.shape
    return (
        not isinstance(surrogate.features, fused.Fused | forms.Unfused)
        or rows != columns + 1
        or any(getattr(surrogate, name) is not None for name in _OPTIONAL)
    )


def load(
    path: str | os.PathLike[str], *, refuse_outside: bool = False, trust: bool = False
) -> LoadedSurrogate:
    """Read a surrogate file, to the CPU.

    TorchScript is code, which could write files as soon as it is read. Before that, the file is
    checked to hold nothing but functions of tensors (see `surrogates.model.torchscript_check`), as
    files of this package's own networks do. What is checked is what is loaded.

    Args:
        path: The file.
        refuse_outside: Refuse y outside the training domain, which is evaluated otherwise.
        trust: Load it without the check of its code. Only for files of people whose programs you
            would run.

    Raises:
        InputError: If it is missing, truncated, damaged, of another program, or of a newer version
            of this one; or if its code is more than functions of tensors.
    """
    members, described = _read(path)
    if not trust:
        check_code(members, path)
    read: Callable[..., torch.jit.ScriptModule] = torch.jit.load
    with reading(path, "surrogate file"), _no_deprecation():
        content = torchscript.pack(torchscript.loadable(members))
        module = read(io.BytesIO(content), map_location="cpu")
    kind = LoadedClassifier if task_of(described) == "classification" else LoadedSurrogate
    loaded = kind(
        module=module, metadata=described, path=os.fspath(path), refuse_outside=refuse_outside
    )
    _check_module(loaded)
    return loaded


def read_metadata(path: str | os.PathLike[str]) -> tuple[dict[str, Any], str]:
    """Read the metadata of a surrogate file, without loading its module.

    Returns:
        The metadata, and the reason why `load` would refuse the code; empty where it would not.

    Raises:
        InputError: As `load`, but for the code.
    """
    members, described = _read(path)
    try:
        check_code(members, path)
    except InputError as error:
        return described, str(error)
    return described, ""


def read_weights(path: str | os.PathLike[str]) -> bytes:
    """Read the weights of a surrogate file, as `save` wrote them; empty where it has none.

    Raises:
        InputError: If the file is missing or damaged.
    """
    return _read(path)[0].get(f"extra/{_WEIGHTS}", b"")


def check_code(members: torchscript.Members, path: str | os.PathLike[str]) -> None:
    """Refuse a file whose code is more than functions of tensors.

    Raises:
        InputError: With what was found, and what to do.
    """
    try:
        torchscript_check.check(members)
    except InputError as error:
        raise InputError(
            f"{path} is not loaded, as it may run other code than a surrogate's: {error}. If it is "
            "from someone whose programs you would run, give --trust (trust=True)"
        ) from error


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Read the members of a surrogate file, and its metadata."""
    with reading(path, "surrogate file"):
        members = torchscript.read(path)
        whole = {"data.pkl", "constants.pkl"} <= members.keys()  # torch.save writes no constants
        check(whole, f"{path} is not a whole surrogate file: it is not TorchScript")
        return members, parsed(members.get(f"extra/{_METADATA}", b""), path)


def _check_module(loaded: LoadedSurrogate) -> None:
    """Refuse a module that is not what its metadata say.

    Raises:
        InputError: If it lacks a method or a tensor, one has another size or type, or a number is
            not finite.
    """
    module, path, metadata = loaded.module, loaded.path, loaded.metadata
    bars = metadata["schema_version"] > 1 and not isinstance(loaded, LoadedClassifier)
    task = task_of(metadata)
    for name in loaded.METHODS:
        if name == "predict_std" and not bars:
            continue
        schema: Any = getattr(getattr(module, name, None), "schema", None)
        check(schema is not None, f"{path} is damaged: its task is {task}, but it has no {name}")
        takes = ["Tensor"] * (2 if name in ("jvp", "vjp") else 1)
        fits = [str(one.type) for one in schema.arguments[1:]] == takes
        fits = fits and [str(one.type) for one in schema.returns] == ["Tensor"]
        check(fits, f"{path} is damaged: its {name} takes or gives something else than tensors")
    n_in, n_out = (loaded.n_in,), (loaded.n_out,)
    shapes: dict[str, tuple[int, ...]] = {"lower": n_in, "upper": n_in}
    if metadata["schema_version"] > 1:
        shapes.update({"unit": n_in, "centre": n_in, "c": n_out, "sigma": n_out, "floor": ()})
    if isinstance(loaded, LoadedClassifier):
        shapes["temperature"] = ()
    for name, shape in shapes.items():
        tensor = getattr(module, name, None)
        got = tuple(tensor.shape) if isinstance(tensor, torch.Tensor) else "none"
        check(
            got == shape,
            f"{path} is damaged: by its metadata {name} has the shape {shape}; got {got}",
        )
        dtype = cast(torch.Tensor, tensor).dtype
        check(
            dtype == torch.float64,
            f"{path} is a surrogate that was made {dtype}, and loses digits: use the file that "
            "surrogates wrote, which is in torch.float64",
        )
    numbers = [
        tensor.reshape(-1)
        for name, tensor in module.state_dict().items()
        if tensor.dtype == torch.float64 and name != "floor"  # NaN without error bars
    ]
    check(
        bool(torch.cat(numbers).isfinite().all()),
        f"{path} is damaged: it has numbers that are not finite",
    )
    fits = bool((module.lower <= module.upper).all())
    check(fits, f"{path} is damaged: a lower end of its training domain is above the upper one")
    if "unit" in shapes:
        fits = bool((module.unit > 0).all() and (module.sigma >= 0).all())
        check(fits, f"{path} is damaged: its unit is not > 0, or its sigma not >= 0")


def read_table(path: str | os.PathLike[str], names: Sequence[str]) -> Array:
    """Read rows of parameters from a .csv (names in the first line or not), .npy or .h5 (/Y) file.

    Args:
        path: The file; a one-dimensional .npy or /Y is one row.
        names: Of the parameters. Those of a .csv file, of a structured array, or of a dataset may
            be in any order; the columns follow.

    Returns:
        (n_rows, n_parameters) float64, in the order of ``names``.

    Raises:
        InputError: If the file is missing, truncated, of another format or size, names other
            parameters, or holds a value that is not a finite number (row and column are said).
    """
    path = Path(path)
    ending = _table_ending(path)
    there = None
    if ending == ".csv":
        there, table = read_csv(path)
    else:
        with reading(path, f"{ending} file"):
            array = _read_npy(path) if ending == ".npy" else _read_Y(path)
        if array.dtype.names:
            array = given.real(array, names, os.fspath(path))
        table = check_finite(array[None] if array.ndim == 1 else array, os.fspath(path))
        if is_dataset(path):
            with opened(path) as stored:
                there = _own(names, "y") and _own(stored.info.y_names, "y")
    n = table.shape[1]
    expected = f"expected {len(names)}, one for each parameter"
    check(n == len(names), f"{path} has {n} columns; {expected}")
    if there is None or there == list(names):
        return table
    wrong = [name for name in names if there.count(name) != 1]
    check(not wrong, f"{path} must have one column {', '.join(wrong[:3])}; it has {there[:3]}, ...")
    return table[:, [there.index(name) for name in names]]


def write_table(
    path: str | os.PathLike[str],
    array: Array,
    names: Sequence[str],
    classes: Sequence[str] = (),
) -> None:
    """Write rows of numbers, exactly, as .csv with a line of names, .npy, or .h5 (/C).

    Args:
        path: The file; written whole or not at all.
        array: (n_rows, n_columns) float64.
        names: Of the columns.
        classes: Of the rows: the first column, ``class``, of a .csv file. The others hold numbers
            only.

    Raises:
        InputError: If the ending is unknown or the path cannot be written.
    """
    ending = _table_ending(Path(path))
    if ending == ".h5":
        with atomic_hdf5(path) as file:
            file["C"] = array
            file["C"].attrs["names"] = list(names)
        return
    with atomic(path) as beside:
        if ending == ".npy":
            np.save(beside, array)
        else:
            with open(beside, "w", newline="", encoding="utf-8") as text:
                rows: list[Sequence[Any]] = [names, *array.tolist()]
                if classes:
                    first = ("class", *classes)
                    rows = [(name, *row) for name, row in zip(first, rows, strict=True)]
                csv.writer(text, lineterminator="\n").writerows(rows)


def _table_ending(path: Path) -> str:
    ending = path.suffix.lower()
    check(ending in _TABLES, f"cannot tell the format of {path}: know {', '.join(_TABLES)}")
    return ending


def _read_npy(path: Path) -> Any:
    with open(path, "rb") as file:
        array = np.load(file, allow_pickle=False)
        check(isinstance(array, np.ndarray), f"{path} is an .npz file, not one array")
        return array


def _read_Y(path: Path) -> Any:
    with h5py.File(path, "r") as file:
        array = within(file, "Y")
        check(isinstance(array, h5py.Dataset), f"{path} has no array /Y")
        return array[()]


def _eager(scripted: torch.nn.Module, path: str) -> torch.nn.Module:
    name = str(scripted.original_name)
    if name not in _EAGER:
        raise InputError(
            f"{path} has a network of the user's own, or is of an older version ({name}): only "
            "torch.jit can run it"
        )
    kind = _EAGER[name]
    module: torch.nn.Module = kind.__new__(kind)
    torch.nn.Module.__init__(module)
    for name in getattr(kind, "__constants__", ()):
        setattr(module, name, getattr(scripted, name))
    for name, buffer in scripted.named_buffers(recurse=False):
        module.register_buffer(name, buffer)
    for name, child in scripted.named_children():
        module.add_module(name, _eager(child, path))
    if isinstance(module, Surrogate):
        for name in _OPTIONAL:
            if not hasattr(module, name):
                setattr(module, name, None)
    if isinstance(module, fused.Fused):
        module.assemble()  # whatever the version that wrote the file made of its steps
    return module.eval()


def _own(names: Sequence[str], letter: str) -> list[str] | None:
    """Return names; None if they are those that an import gives to columns without any."""
    numbered = [f"{letter}{i}" for i in range(len(names))]
    return None if list(names) == numbered else list(names)


def plain(value: Any) -> Any:
    """Make of dataclasses, arrays and mappings what JSON knows; None of what is not finite."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, np.ndarray | np.generic | torch.Tensor):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@contextmanager
def _no_deprecation() -> Iterator[None]:
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", "`torch.jit", category)
        yield
