"""A surrogate in memory, called with arrays: what `surrogates.fit`, `train` and `load` return.

It checks what callers give and names the results; an engine computes them, see
`surrogates.model.engines`. Importing this module imports numpy, and not torch.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np
import numpy.typing as npt

from surrogates.errors import InputError, check
from surrogates.files import atomic
from surrogates.types import Array

from .calling import TrainingDomain
from .covariance import Correlation
from .frames import framed
from .metadata import task_of
from .uncertain import Uncertain

if TYPE_CHECKING:
    import torch

    from surrogates.data import Dataset, Info
    from surrogates.plots.pictures import Plots

    from .likelihood import Likelihood
    from .summaries import Assessment, Evaluation
    from .surrogate import Surrogate


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class LoadedSurrogate(Uncertain):
    """A surrogate in memory, called with arrays.

    Each method takes one sample y, (n_in,), a batch, (n, n_in), or samples with any leading
    dimensions, (..., n_in), of real numbers in the units of the metadata. It returns float64 with
    the same leading dimensions. Directions v and cotangents w have the leading dimensions of y, or
    ones that broadcast with them. Numbers with names, as those of a data frame, are matched by the
    names (`surrogates.given`); where y is a data frame or series of pandas and the result has a
    number for each name, it is one too. All methods raise an `InputError` for a wrong size, a
    number that is not finite, or names that are not those of the metadata; and, with
    ``refuse_outside``, for y outside the training domain.

    It does not change, and can be pickled, copied, and called by several threads and by forked
    children.

    Attributes:
        METHODS: Names of the methods that its module must have.
        OUTPUTS: The word for its outputs, in messages.
        engine: Computes the results.
        metadata: Names, units, bounds, training and errors; see
            `surrogates.model.describe.metadata`.
        path: Its file, for messages.
        refuse_outside: Whether to refuse y outside the training domain. `in_domain` only tells.
        history: One record (`surrogates.training.history.Record`) for each iteration of its
            training; empty where it was read from a file, or no network was trained.
        warnings: Warnings of its training, a line each; empty where it was read from a file.
        dataset: The dataset that it was trained on; None where it was read from a file.
    """

    METHODS: ClassVar[tuple[str, ...]] = (
        "forward",
        "jacobian",
        "jvp",
        "vjp",
        "predict_std",
        "in_domain",
    )
    history: Sequence[Any] = field(default=(), repr=False)
    warnings: tuple[str, ...] = field(default=(), repr=False)
    dataset: Dataset | None = field(default=None, repr=False)

    @property
    def domain(self) -> TrainingDomain:
        """The training domain: the box of `bounds`, and the flat in which the parameters lie."""
        box = self.engine.box
        return TrainingDomain(
            lower=box.lower.copy(),
            upper=box.upper.copy(),
            normals=box.normals / box.unit,
            centre=box.centre.copy(),
            contains=self.in_domain,
        )

    @property
    def n_members(self) -> int:
        """Number of surrogates whose weighted mean is the prediction; 1 for a single one."""
        return self.engine.n_members

    @property
    def module(self) -> torch.jit.ScriptModule:
        """Its TorchScript module, for tensors in and out, with gradients.

        The methods are those of `surrogates.model.surrogate.Surrogate`.

        Raises:
            InputError: If another engine evaluates the surrogate.
        """
        found: torch.jit.ScriptModule | None = getattr(self.engine, "module", None)
        if found is None:
            why = f"its engine is {self.engine.NAME}; load the .pt file"
            if hasattr(self.engine, "whole"):
                why = "these are some of a surrogate's outputs; take the module of all"
            raise InputError(f"{self.path} has no TorchScript module: {why}")
        return found

    @property
    def members(self) -> Mapping[str, bytes]:
        """The content of its .pt file, by the names of the archive's members; else none."""
        return getattr(self.engine, "members", {})

    @functools.cached_property
    def errors(self) -> Mapping[str, Evaluation | Any]:
        """Errors on held-out samples, by the part's name: ``errors["test"].relative.mean``.

        An `Evaluation` for each part, or an `Assessment` if this is a classifier. Of a surrogate
        that was chosen by held-out errors, those of ``validation`` are of the folds: each sample
        was predicted by a surrogate that was not trained on it.
        """
        from .recorded import recorded

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
        from .held_out import evaluated

        self.check_matches(dataset.info)
        return evaluated(self, dataset, split)

    def select(self, outputs: str | int | slice | Sequence[str | int]) -> LoadedSurrogate:
        """Return a surrogate of some outputs: ``select("u(s1, 1.5)")``, ``select([3, 0])``.

        Args:
            outputs: A name or an index, or several in the order that is wanted, a slice, or a mark
                for each output, True or False.

        Raises:
            InputError: If there is no such output, or this is a classifier.
        """
        from .selecting import selected

        return selected(self, outputs)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write its file, of the ending .pt, whole or not at all; `surrogates.load` reads it.

        Raises:
            InputError: If the ending is another, the surrogate was not read from such a file, or
                the file cannot be written.
        """
        check(Path(path).suffix == ".pt", f"a surrogate's file ends in .pt; got {str(path)!r}")
        check(
            bool(self.members),
            f"{self.path} as it is here has no TorchScript module to write as .pt: write an .npz "
            "file, by surrogates.export.npz.save",
        )
        from . import torchscript

        with atomic(path) as beside:
            beside.write_bytes(torchscript.pack(self.members))

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: neither the dataset, nor what is computed anew."""
        kept = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**kept, "history": tuple(self.history), "dataset": None}

    def __repr__(self) -> str:
        """Return one line with its outputs, inputs and errors."""
        from .recorded import described

        return described(self)

    def _repr_html_(self) -> str:
        """Return a table of sizes, errors and domain, for notebooks."""
        from .recorded import described_in_html

        return described_in_html(self)

    def __call__(self, y: npt.ArrayLike) -> Array:
        """Return the prediction, or the logits of a classifier: (..., n_out)."""
        return framed(y, self._call("forward", self._parameters(y)), self.c_names)

    def predict(self, y: npt.ArrayLike, *, out: Array | None = None) -> Array:
        """Predict the observables, (..., n_out), units of the metadata.

        Args:
            y: Parameters, (..., n_in).
            out: An array of that shape, float64, that the result is written to and which is
                returned; a new one if None.
        """
        if out is not None:
            return self._call("forward", self._parameters(y), out=out)
        return framed(y, self._call("forward", self._parameters(y)), self.c_names)

    def jacobian(self, y: npt.ArrayLike, *, out: Array | None = None) -> Array:
        """Differentiate the prediction: dc/dy, (..., n_out, n_in).

        Args:
            y: Parameters, (..., n_in).
            out: As for `predict`.
        """
        return self._call("jacobian", self._parameters(y), out=out)

    def jvp(self, y: npt.ArrayLike, v: npt.ArrayLike) -> Array:
        """Apply the Jacobian to directions v, (..., n_in): (..., n_out)."""
        V = self._array("v", v, self.y_names)
        return framed(y, self._call("jvp", *self._together(self._parameters(y), v=V)), self.c_names)

    def vjp(self, y: npt.ArrayLike, w: npt.ArrayLike) -> Array:
        """Apply the transposed Jacobian to w, (..., n_out): (..., n_in)."""
        G = self._array("w", w, self.c_names)
        return framed(y, self._call("vjp", *self._together(self._parameters(y), w=G)), self.y_names)

    def hvp(self, y: npt.ArrayLike, w: npt.ArrayLike, v: npt.ArrayLike) -> Array:
        """Apply the Hessian of w^T c to v: `vjp` differentiated along v, (..., n_in).

        Args:
            y: Parameters, (..., n_in).
            w: Weights of the outputs, (..., n_out).
            v: Directions, (..., n_in).

        Raises:
            InputError: If its file has no second derivatives, as one of an older version.
        """
        known = hasattr(self.engine, "hvp")
        check(known, f"{self.path} has no second derivatives; train it again with this version")
        G, V = self._array("w", w, self.c_names), self._array("v", v, self.y_names)
        rows = self._together(self._parameters(y), w=G, v=V)
        return framed(y, self._call("hvp", *rows), self.y_names)

    def in_domain(self, y: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Return whether y lies in the training domain: bool, (...).

        It is false for NaN and infinity: samplers ask this of points to which they have diverged.
        """
        Y = self._array("y", y, self.y_names, finite=False)
        there = np.isfinite(Y).all(axis=-1)
        if there.all():
            return self._call("in_domain", Y)
        known = np.where(there[..., None], Y, self.engine.box.lower)
        found: npt.NDArray[np.bool_] = there & self._call("in_domain", known)
        return found

    def eager(self) -> Surrogate:
        """Return an ordinary module of the scripted one, for torch.func and torch.export.

        Raises:
            InputError: If its features are a module of the user's own, or of schema version 1.
        """
        from .eager import eager

        return cast("Surrogate", eager(self.module, self.path))

    def check_matches(self, info: Info) -> None:
        """Refuse a dataset whose task, sizes or names are not the surrogate's.

        Raises:
            InputError: If the tasks, or the numbers, names or order of parameters, observables or
                classes differ. Names that an import has made, y0, y1, ..., fit any.
        """
        from .matching import check_matches

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
    OUTPUTS: ClassVar[str] = "classes"

    @functools.cached_property
    def errors(self) -> Mapping[str, Assessment]:
        """Assessments on held-out samples, by the part's name: ``errors["test"].accuracy``."""
        from .recorded import recorded

        return recorded(self.metadata)

    def evaluate(self, dataset: Dataset, split: str = "test") -> Assessment:
        """Assess it on a part of a dataset; see `LoadedSurrogate.evaluate`."""
        return cast("Assessment", super().evaluate(dataset, split))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of logits and probabilities."""
        return tuple(self.metadata["c_names"])

    @property
    def temperature(self) -> float:
        """The number that has divided the logits to calibrate them."""
        own = getattr(self.engine, "module", None)
        return float(self.metadata["training"]["temperature"] if own is None else own.temperature)

    def logits(self, y: npt.ArrayLike) -> Array:
        """Return the calibrated logits, (..., n_out)."""
        return self(y)

    def probabilities(self, y: npt.ArrayLike) -> Array:
        """Return the probability of each class, (..., n_out)."""
        return framed(y, self._call("probabilities", self._parameters(y)), self.c_names)

    def predict(self, y: npt.ArrayLike, *, out: Array | None = None) -> npt.NDArray[Any]:
        """Return the most probable class: its index in ``class_names``, int64 (...).

        ``np.array(s.class_names)[s.predict(Y)]`` are the names of many.
        """
        return self._call("predict", self._parameters(y), out=out)

    def predict_std(self, y: npt.ArrayLike) -> Array:
        """Refuse: a classifier has no error bars."""
        raise InputError(f"{self.path} is a classifier: it has probabilities, and no error bars")

    def predict_interval(self, y: npt.ArrayLike, level: float) -> Array:
        """Refuse: a classifier has no error bars."""
        return self.predict_std(y)

    def likelihood(
        self,
        data: Any,
        noise: Any,
        *,
        surrogate_errors: bool = True,
        at: npt.ArrayLike | None = None,
    ) -> Likelihood:
        """Refuse: a classifier has no error bars; the likelihood of a class is its probability."""
        raise InputError(
            f"{self.path} is a classifier: the likelihood of a class is its probability, see "
            "probabilities(y)"
        )

    def _correlation(self) -> Correlation:
        raise InputError(f"{self.path} is a classifier: it has probabilities, and no error bars")
