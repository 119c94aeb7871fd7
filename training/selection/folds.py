"""Which samples are held out of which training, whatever their order in the file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from surrogates.config import check
from surrogates.data import Dataset, Split, Status
from surrogates.types import Array

from ..data import canonical
from ..scaling import moments

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One division of the samples.

    Attributes:
        train: Rows that are trained on.
        held: Rows that are held out, none of the others.
    """

    train: Rows
    held: Rows


def available(dataset: Dataset) -> tuple[Rows, Rows]:
    """Return the rows of training and validation samples, and those that can be held out.

    These are of validation, with inputs that no training sample has.

    Raises:
        InputError: If there are fewer than three.
    """
    done = dataset.status == Status.DONE
    used = np.flatnonzero(done & np.isin(dataset.split, (Split.TRAIN, Split.VALIDATION)))
    check(
        len(used) >= 3,
        f"training needs at least 3 samples for training and validation; got {len(used)}",
    )
    train, held = (
        np.flatnonzero(done & (dataset.split == part)) for part in (Split.TRAIN, Split.VALIDATION)
    )
    return used, fresh(dataset.Y, train, held)


def ordered(X: Tensor, C: Tensor) -> Rows:
    """Return samples in an order that depends neither on that of samples, inputs or outputs.

    They are sorted along a direction that every input has a share in, so that neighbours in the
    order are near each other, and every so manieth of them are spread like all.

    Args:
        X: Inputs, (n, n_in).
        C: Scaled targets, (n, n_seen); they decide between equal inputs.
    """
    shift, spread, size = moments(X)
    varies = spread > 1e-12 * size
    standard = (X - shift) / torch.where(varies, spread, 1.0)
    mixed = standard @ canonical(standard, varies, C).T
    shares = torch.arange(1, mixed.shape[1] + 1, dtype=X.dtype).rsqrt()
    keys = torch.stack([C.square().sum(dim=1), mixed @ shares]).numpy()
    order: Rows = np.lexsort(keys)
    return order


def repeated(Y: Array) -> Rows | None:
    """Number samples by their inputs, equal inputs alike, (n,); None where none are equal.

    None too where fewer than three are different: then no sample tells more of another.

    Args:
        Y: Inputs, (n, n_in).
    """
    different, first, number = np.unique(Y, axis=0, return_index=True, return_inverse=True)
    if len(different) == len(Y) or len(different) < 3:
        return None
    order = np.argsort(np.argsort(first))  # by first appearance, as neighbours are
    same: Rows = order[number.reshape(-1)].astype(np.int64)
    return same


def fresh(Y: Array, seen: Rows, held: Rows) -> Rows:
    """Return those of the held-out rows whose inputs no other row has, of those that are seen.

    Args:
        Y: Inputs of all samples, (n, n_in).
        seen: Rows that are trained on.
        held: Rows that are not.
    """
    inputs = {row.tobytes() for row in Y[seen] + 0.0}  # -0 is 0
    return held[[row.tobytes() not in inputs for row in Y[held] + 0.0]] if len(held) else held


def divided(order: Rows, n_folds: int, seed: int, same: Rows | None = None) -> tuple[Fold, ...]:
    """Divide samples into folds: of every ``n_folds`` neighbours each is in another one.

    Args:
        order: The samples, as `ordered` returns them.
        n_folds: At least 2; fewer where there are not as many samples, or numbers of them.
        seed: Which of the neighbours is in which fold.
        same: Samples of one number, as `repeated` returns them, are in one fold; in that order.
    """
    same = np.arange(len(order)) if same is None else same
    generator = np.random.default_rng(seed)
    n = int(same.max()) + 1
    n_folds = min(n_folds, n)
    blocks = -(-n // n_folds)
    number = np.concatenate([generator.permutation(n_folds) for _ in range(blocks)])[same]
    return tuple(
        Fold(train=np.sort(order[number != fold]), held=np.sort(order[number == fold]))
        for fold in range(n_folds)
    )


def stratified(
    order: Rows, C: Array, n_folds: int, seed: int, same: Rows | None = None
) -> tuple[Fold, ...]:
    """Divide samples of classes into folds so that each holds its share of every class.

    Neighbours of one class are in different folds. A sample without which a fold would have no
    training sample of a class is held out by no fold: there is nothing to learn that class from.

    Args:
        order: The samples, as `ordered` returns them.
        C: Probabilities of the classes of all samples, (n, n_classes).
        n_folds: At least 2.
        seed: Which of the neighbours is in which fold.
        same: Samples of one number, as `repeated` returns them, are in one fold; in that order.

    Returns:
        At most ``n_folds``; none where no sample can be held out.
    """
    same = np.arange(len(order)) if same is None else same
    _, leader = np.unique(same, return_index=True)  # of each number its first sample
    labels = C[order[leader]].argmax(axis=1)
    first = {int(label): i for i, label in reversed(list(enumerate(labels)))}
    by_class = np.argsort([first[int(label)] for label in labels], kind="stable")
    names = np.random.default_rng(seed).permutation(n_folds)
    number_of = np.empty(len(leader), np.int64)
    number_of[by_class] = names[np.arange(len(leader)) % n_folds]
    number = number_of[same]
    folds = []
    for fold in range(n_folds):
        held, kept = order[number == fold], order[number != fold]
        absent = C[kept].sum(axis=0) <= 0
        held = held[(C[held][:, absent] <= 0).all(axis=1)]
        if len(held) and len(held) < len(order):
            folds.append(Fold(train=np.sort(np.setdiff1d(order, held)), held=np.sort(held)))
    return tuple(folds)
