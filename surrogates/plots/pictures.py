"""A surrogate's figures: shown in a notebook, or written to a file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surrogates.config import check
from surrogates.data import Dataset
from surrogates.types import Array

from . import classification, history, regression

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate


@dataclass(frozen=True)
class Picture:
    """A figure that a notebook shows.

    Attributes:
        draw: Draws it to a file, whose ending (.png, .pdf, .svg) is the format.
    """

    draw: Callable[[str | os.PathLike[str]], None]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, as .png, .pdf or .svg."""
        self.draw(path)

    def _repr_png_(self) -> bytes:
        """Return the figure for a notebook."""
        with tempfile.TemporaryDirectory(prefix="surrogates-") as folder:
            path = Path(folder) / "figure.png"
            self.draw(path)
            return path.read_bytes()


@dataclass(frozen=True)
class Plots:
    """The figures of a surrogate.

    Samples are those of ``dataset``, by default of the dataset that the surrogate was trained on in
    this process. ``split`` is their part: ``test`` by default, or ``validation`` where there are no
    test samples.

    Attributes:
        surrogate: Whose they are.
    """

    surrogate: LoadedSurrogate

    def parity(self, dataset: Dataset | None = None, *, split: str = "") -> Picture:
        """Draw predicted against true observables.

        Raises:
            InputError: If the surrogate is a classifier, or there are no such samples.
        """
        self._check_task("regression", "confusion or reliability")
        _, Y, C = self._samples(dataset, split)
        prediction = self.surrogate.predict(Y)
        return Picture(lambda path: regression.parity(prediction, C, path))

    def observations(self, dataset: Dataset | None = None, *, split: str = "") -> Picture:
        """Draw predicted and true observables of a few samples.

        Raises:
            InputError: If the surrogate is a classifier, or there are no such samples.
        """
        self._check_task("regression", "confusion or reliability")
        samples, Y, C = self._samples(dataset, split)
        prediction, mean = self.surrogate.predict(Y), self.surrogate.training_mean
        return Picture(
            lambda path: regression.observations(prediction, C, samples.info, path, mean=mean)
        )

    def confusion(self, dataset: Dataset | None = None, *, split: str = "") -> Picture:
        """Draw true against predicted classes.

        Raises:
            InputError: If the surrogate is none of classes, or there are no such samples.
        """
        found = self._assessed(dataset, split)
        names = self.surrogate.metadata["c_names"]
        return Picture(lambda path: classification.confusion(found.confusion, names, path))

    def reliability(self, dataset: Dataset | None = None, *, split: str = "") -> Picture:
        """Draw accuracy against the probability of a class.

        Raises:
            InputError: If the surrogate is none of classes, or there are no such samples.
        """
        found = self._assessed(dataset, split)
        return Picture(lambda path: classification.reliability(found, path))

    def history(self) -> Picture:
        """Draw loss and error of the training against work units.

        Raises:
            InputError: If the history is not known: the surrogate was read from a file, or no
                network was trained.
        """
        records = self.surrogate.history
        check(
            len(records) > 0,
            "there is no history: the surrogate was read from a file, or no network was trained",
        )
        runs = {self.surrogate.metadata["problem"]: records}
        return Picture(lambda path: history.history(runs, path, task=self.surrogate.task))

    def _check_task(self, task: str, others: str) -> None:
        own = self.surrogate.task
        check(own == task, f"{self.surrogate.path} is for {own}: draw it by plot.{others}")

    def _assessed(self, dataset: Dataset | None, split: str) -> Any:
        self._check_task("classification", "parity or observations")
        samples, part = self._part(dataset, split)
        return self.surrogate.evaluate(samples, part)

    def _samples(self, dataset: Dataset | None, split: str) -> tuple[Dataset, Array, Array]:
        samples, part = self._part(dataset, split)
        return samples, *samples.part(part)

    def _part(self, dataset: Dataset | None, split: str) -> tuple[Dataset, str]:
        samples = self.surrogate.dataset if dataset is None else dataset
        if samples is None:
            path = self.surrogate.path
            check(False, f"{path} has no samples of its own: give a dataset, as in plot.parity(d)")
        assert samples is not None
        self.surrogate.check_matches(samples.info)
        return samples, split or ("test" if samples.has("test") else "validation")
