"""A surrogate in memory, called with arrays: what `surrogates.fit`, `train` and `load` return."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np
import numpy.typing as npt
import torch

from surrogates import given
from surrogates.config import check
from surrogates.data import Dataset, Info
from surrogates.errors import InputError
from surrogates.files import atomic
from surrogates.types import Array

from . import script, torchscript
from .classifier import Assessment
from .eager import eager
from .held_out import held_out_errors
from .matching import check_matches
from .metadata import parsed, task_of
from .metrics import Evaluation
from .recorded import described, described_in_html, recorded
from .surrogate import Surrogate

if TYPE_CHECKING:
    from surrogates.plots.pictures import Plots

METADATA = "metadata.json"
_BATCH = 8192  # samples at once, which bounds the memory beside the result
FAILURES = (RuntimeError, ValueError, TypeError, torch.jit.Error)
"""Exceptions of a call of a TorchScript module, and of numpy on its result."""


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class LoadedSurrogate:
    """A surrogate in memory, called with arrays.

    Each method takes one sample, (n_in,), or a batch, (n, n_in) with n >= 1, of real numbers in the
    units of the metadata. It returns float64, with the leading n for a batch. Numbers with names,
    as those of a data frame, are matched by the names (`surrogates.given`). All methods raise an
    `InputError` for a wrong size, a number that is not finite, or names that are not those of the
    metadata; and, with ``refuse_outside``, for y outside the training domain.

    Attributes:
        METHODS: Names of the methods of its module.
        OUTPUTS: The word for its outputs, in messages.
        module: Its TorchScript module, for tensors in and out, with gradients; the methods are
            those of `surrogates.model.surrogate.Surrogate`.
        metadata: Names, units, bounds, training and errors; see
            `surrogates.model.describe.metadata`.
        path: Its file, for messages.
        refuse_outside: Whether to refuse y outside the training domain. `in_domain` only tells.
        history: One record (`surrogates.training.history.Record`) for each iteration of its
            training; empty where it was read from a file, or no network was trained.
        warnings: Warnings of its training, a line each; empty where it was read from a file.
        dataset: The dataset that it was trained on; None where it was read from a file.
        members: The content of its file, by the names of the archive's members.
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
    history: Sequence[Any] = field(default=(), repr=False)
    warnings: tuple[str, ...] = field(default=(), repr=False)
    dataset: Dataset | None = field(default=None, repr=False)
    members: torchscript.Members = field(default_factory=dict, repr=False)

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
        """Number of surrogates whose weighted mean is the prediction; 1 for a single one."""
        members = getattr(self.module, "members", None)
        return 1 if members is None else len(members.weights)

    @functools.cached_property
    def errors(self) -> Mapping[str, Evaluation | Any]:
        """Errors on held-out samples, by the part's name: ``errors["test"].relative.mean``.

        An `Evaluation` for each part, or an `Assessment` if this is a classifier. Of a surrogate
        that was chosen by held-out errors, those of ``validation`` are of the folds: each sample
        was predicted by a surrogate that was not trained on it.
        """
        return recorded(self.metadata)

    @property
    def plot(self) -> Plots:
        """Its figures, such as ``plot.parity()``; see `surrogates.plots.pictures.Plots`."""
        from surrogates.plots.pictures import Plots

        return Plots(self)

    @property
    def task(self) -> Literal["regression", "classification"]:
        """What it is for."""
        return "classification" if task_of(self.metadata) == "classification" else "regression"

    @property
    def training_mean(self) -> Array:
        """Mean of the observables over the training samples, (n_out,).

        Raises:
            InputError: If its file does not say it, as one of an older version.
        """
        mean = self.metadata["training"].get("c_mean")
        check(
            mean is not None and None not in mean,
            f"{self.path} does not say the mean of c in training (training.c_mean)",
        )
        return np.array(mean)

    def evaluate(self, dataset: Dataset, split: str = "test") -> Evaluation | Any:
        """Measure the errors on a part of a dataset, as `errors` has them.

        Args:
            dataset: A dataset of the same parameters and observables or classes.
            split: The part: ``train``, ``validation`` or ``test``.

        Raises:
            InputError: If the dataset does not fit (see `check_matches`), or the part has no
                samples.
        """
        self.check_matches(dataset.info)
        first = dataset.part(split)[0][:1]  # whose predictions are checked
        self(first)
        if hasattr(self.module, "predict_std"):
            self.predict_std(first)
        mean, spread = None, self.metadata["training"].get("c_std")
        if self.task == "regression":
            mean = self.training_mean
        if spread is not None and None in spread:
            spread = None
        try:
            return held_out_errors(self.module, dataset, split, mean, spread)
        except FAILURES as error:
            raise self.failure("forward", error) from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write its file, of the ending .pt, whole or not at all; `surrogates.load` reads it.

        Raises:
            InputError: If the ending is another, or the file cannot be written.
        """
        check(Path(path).suffix == ".pt", f"a surrogate's file ends in .pt; got {str(path)!r}")
        with atomic(path) as beside:
            beside.write_bytes(torchscript.pack(self.members))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the bytes of its file, as torch's module cannot be pickled; not the dataset."""
        about = self.path, self.refuse_outside, tuple(self.history), self.warnings
        return self._unpickled, (torchscript.pack(self.members), *about)

    @classmethod
    def _unpickled(
        cls, content: bytes, path: str, refuse: bool, history: Sequence[Any], warnings: Any
    ) -> LoadedSurrogate:
        members = torchscript.read(io.BytesIO(content))
        return cls(
            module=script.module(members),
            metadata=parsed(members[f"extra/{METADATA}"], path),
            path=path,
            refuse_outside=refuse,
            members=members,
            history=history,
            warnings=warnings,
        )

    def __repr__(self) -> str:
        """Return one line with its outputs, inputs and errors."""
        return described(self)

    def _repr_html_(self) -> str:
        """Return a table of sizes, errors and domain, for notebooks."""
        return described_in_html(self)

    def __call__(self, y: npt.ArrayLike) -> Array:
        """Return the result of its module's ``forward``, (n_out,) or (n, n_out)."""
        return self._call("forward", self._parameters(y))

    def predict(self, y: npt.ArrayLike) -> Array:
        """Predict the observables, (n_out,) or (n, n_out), units of the metadata."""
        return self(y)

    def predict_std(self, y: npt.ArrayLike) -> Array:
        """Return the standard deviation of the prediction's error, (n_out,) or (n, n_out).

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

    def hvp(self, y: npt.ArrayLike, w: npt.ArrayLike, v: npt.ArrayLike) -> Array:
        """Apply the Hessian of w^T c to v: `vjp` differentiated along v, of y's shape."""
        known = hasattr(self.module, "hvp")  # not in files of older versions
        check(known, f"{self.path} has no second derivatives; train it again with this version")
        Y, names = self._parameters(y), (("w", w, "c_names"), ("v", v, "y_names"))
        return self._call("hvp", Y, *(self._array(n, x, self.metadata[k], Y) for n, x, k in names))

    def in_domain(self, y: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Return whether y lies in the training domain: bool, () or (n,)."""
        return self._call("in_domain", self._array("y", y, self.metadata["y_names"]))

    def eager(self) -> Surrogate:
        """Return an ordinary module of the scripted one, for torch.func and torch.export.

        Raises:
            InputError: If its features are a module of the user's own, or of schema version 1.
        """
        return cast(Surrogate, eager(self.module, self.path))

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
        """Return the caller's numbers as a tensor, checked; messages speak of arrays."""
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
        """Return the error to raise where a method of its module fails, in one line."""
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
        """Shape and type of the result of each method for one sample."""
        n_in, n_out = self.n_in, self.n_out
        shapes: dict[str, tuple[int, ...]] = {
            **dict.fromkeys(("forward", "jvp", "predict_std", "probabilities"), (n_out,)),
            **{
                "jacobian": (n_out, n_in),
                "vjp": (n_in,),
                "hvp": (n_in,),
                "predict_interval": (2, n_out),
            },
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
        check_matches(self, info)


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class LoadedClassifier(LoadedSurrogate):
    """A classifier in memory: a `LoadedSurrogate` whose outputs are logits.

    A call returns the logits, and the Jacobian is that of the logits. They are calibrated: their
    softmax is the probabilities. `surrogates.model.classifier.Classifier` has its module's methods.
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

    @functools.cached_property
    def errors(self) -> Mapping[str, Assessment]:
        """Assessments on held-out samples, by the part's name: ``errors["test"].accuracy``."""
        return recorded(self.metadata)

    def evaluate(self, dataset: Dataset, split: str = "test") -> Assessment:
        """Assess it on a part of a dataset; see `LoadedSurrogate.evaluate`."""
        return cast(Assessment, super().evaluate(dataset, split))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of logits and probabilities."""
        return tuple(self.metadata["c_names"])

    @property
    def temperature(self) -> float:
        """The number that has divided the logits to calibrate them."""
        return float(self.module.temperature)

    def logits(self, y: npt.ArrayLike) -> Array:
        """Return the calibrated logits, (n_out,) or (n, n_out)."""
        return self(y)

    def probabilities(self, y: npt.ArrayLike) -> Array:
        """Return the probability of each class, (n_out,) or (n, n_out)."""
        return self._call("probabilities", self._parameters(y))

    def predict(self, y: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return the most probable class: its index in ``class_names``, int64 () or (n,)."""
        return self._call("predict", self._parameters(y))

    def predict_std(self, y: npt.ArrayLike) -> Array:
        """Refuse: a classifier has no error bars."""
        raise InputError(f"{self.path} is a classifier: it has probabilities, and no error bars")

    def predict_interval(self, y: npt.ArrayLike, level: float) -> Array:
        """Refuse: a classifier has no error bars."""
        return self.predict_std(y)
