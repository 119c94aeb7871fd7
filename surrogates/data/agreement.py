"""Agreement between the labels of a hyperspectral scene and its spectra."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

Labels = npt.NDArray[np.int64]
_BANDS, _PIXELS = 32, 20_000  # the most that `agreement` uses
_CLEARLY, _FAR, _ABOVE, _SHIFTS = 1.25, 0.1, 3.0, 24  # see `doubt`
_EVENLY = np.array((0.7548776662, 0.5698402910))  # steps of an evenly spread sequence in a square


def agreement(cube: Array, truth: Labels, *, shapes: bool = False) -> float:
    """Return the share of the spectra's variance that the classes of the pixels explain.

    All bands have the same weight. Wrong labels explain little: in Indian Pines, transposed labels
    explain 20 %, the right ones 66 %.

    Args:
        cube: The spectra, (n_rows, n_columns, n_bands).
        truth: The classes, (n_rows, n_columns); 0 is background.
        shapes: Whether to divide each spectrum by its norm, which light and slopes change.
    """
    chosen = np.unique(np.linspace(0, cube.shape[2] - 1, _BANDS).round().astype(int))
    rows, columns = np.nonzero(truth > 0)
    some = slice(None, None, -(-len(rows) // _PIXELS))
    rows, columns = rows[some], columns[some]
    X, k = cube[rows, columns][:, chosen], truth[rows, columns]
    if shapes:
        length = np.linalg.norm(X, axis=1, keepdims=True)
        X = X / np.where(length > 0, length, 1.0)
    X = X - X.mean(axis=0)
    size = np.sqrt((X * X).mean(axis=0))
    X /= np.where(size > 0, size, 1.0)
    counts = np.bincount(k)
    sums = np.array([np.bincount(k, band) for band in X.T])
    total = float((X * X).sum())
    return float((sums * sums / np.maximum(counts, 1)).sum()) / total if total else 1.0


def doubt(cube: Array, truth: Labels) -> str:
    """Return a warning if the labels fit the spectra clearly better in another way, else nothing.

    The other ways are mirrored, turned and transposed labels. The fit is the `agreement`. Another
    way fits clearly better if its agreement exceeds 1.25 times that of the labels as they are, and
    either the excess is more than 0.1, or the agreement lies above the mean of chance by more than
    three times the range of chance. The second rule is for noisy scenes, where even the right
    labels explain only a few per cent. Chance is measured with labels that are shifted cyclically:
    these keep their patches and lose their places (Lotwick and Silverman 1982, "Methods for
    analysing spatial processes of several types of points").

    The test is made with the spectra and with their shapes: in uneven light the shapes tell more,
    and on dark and bright ground the spectra. One of them must show a better way, and neither the
    contrary. Labels that equal their own transpose cannot be tested for transposition.
    """
    others = {
        "upside down": truth[::-1],
        "mirrored": truth[:, ::-1],
        "turned by 180 degrees": truth[::-1, ::-1],
    }
    if truth.shape[0] == truth.shape[1]:
        others |= {
            "transposed": truth.T,
            "turned by 90 degrees": np.rot90(truth),
            "turned by 270 degrees": np.rot90(truth, 3),
            "transposed and turned by 180 degrees": truth[::-1, ::-1].T,
        }
    views = [_Agreements.of(cube, truth, others, shapes) for shapes in (False, True)]
    doubting = [view for view in views if view.clearly(view.best, view.found)]
    if not doubting or any(view.clearly(view.found, view.best) for view in views):
        return ""
    view = max(doubting, key=lambda one: one.above_chance(one.best))
    how = max(view.others, key=lambda way: view.others[way])
    return (
        f"the labels do not seem to be those of the scene: {how}, the classes would account for "
        f"{100 * view.best:.0f} % of the spectra, and as they are for {100 * view.found:.0f} %"
    )


@dataclass(frozen=True)
class _Agreements:
    """Agreements of labels with the spectra: as they are, in other ways, and shifted."""

    found: float
    others: dict[str, float]
    shifted: list[float]

    @classmethod
    def of(
        cls,
        cube: Array,
        truth: Labels,
        others: Mapping[str, Labels],
        shapes: bool,
    ) -> _Agreements:
        def fit(labels: Labels) -> float:
            return agreement(cube, labels, shapes=shapes)

        return cls(
            fit(truth),
            {how: fit(labels) for how, labels in others.items()},
            [fit(labels) for labels in _shifted(truth)],
        )

    @property
    def best(self) -> float:
        """The agreement in the best of the other ways."""
        return max(self.others.values())

    def clearly(self, share: float, other: float) -> bool:
        """Return whether an agreement is clearly better than another; see `doubt`."""
        beyond = share - _CLEARLY * other
        return beyond > 0 and (beyond > _FAR or self.above_chance(share) > _ABOVE)

    def above_chance(self, share: float) -> float:
        """Return the distance of an agreement above the mean of chance, over the range of chance.

        The range is the distance of the largest chance agreement above the mean, but at least the
        mean itself: for few, disordered labels all chance agreements are nearly the same.
        """
        mean = float(np.mean(self.shifted))
        return (share - mean) / max(max(self.shifted) - mean, mean, 1e-12)


def _shifted(truth: Labels) -> Iterator[Labels]:
    """Yield labels shifted by a quarter to three quarters of the scene each way, evenly spread."""
    for i in range(_SHIFTS):
        share = 0.25 + 0.5 * (((i + 0.5) * _EVENLY) % 1)
        yield np.roll(truth, (share * truth.shape).astype(int), (0, 1))
