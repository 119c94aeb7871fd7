"""Folds: the samples held out of each training, independent of their order in the file."""

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
        held: Rows that are held out.
    """

    train: Rows
    held: Rows


def available(dataset: Dataset) -> tuple[Rows, Rows]:
    """Return the rows of training and validation samples, and the rows that can be held out.

    Validation samples whose inputs are no training sample's can be held out.

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
    """Return samples in an order that is independent of the order of samples, inputs and outputs.

    They are sorted along a direction with a share of every input: neighbours in the order are near
    each other, and every k-th samples are distributed like all.

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
    """Number samples by their inputs, (n,): equal inputs have one number; None if none are equal.

    Also return None for fewer than three different inputs: too few to hold any out.

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
    """Return the held-out rows whose inputs no training row has.

    Args:
        Y: Inputs of all samples, (n, n_in).
        seen: Training rows.
        held: Held-out rows.
    """
    inputs = {row.tobytes() for row in Y[seen] + 0.0}  # -0 is 0
    return held[[row.tobytes() not in inputs for row in Y[held] + 0.0]] if len(held) else held


def divided(order: Rows, n_folds: int, seed: int, same: Rows | None = None) -> tuple[Fold, ...]:
    """Divide samples into folds: ``n_folds`` neighbours are in different folds.

    Args:
        order: The samples, as `ordered` returns them.
        n_folds: At least 2; fewer if there are fewer samples, or fewer numbers in ``same``.
        seed: Decides which neighbour is in which fold.
        same: Number of each sample of ``order``, from `repeated`; one number is in one fold.
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

    Neighbours of one class are in different folds. No fold holds out a sample that is the only
    training sample of a class.

    Args:
        order: The samples, as `ordered` returns them.
        C: Probabilities of the classes of all samples, (n, n_classes).
        n_folds: At least 2.
        seed: Decides which neighbour is in which fold.
        same: Number of each sample of ``order``, from `repeated`; one number is in one fold.

    Returns:
        At most ``n_folds``; none if no sample can be held out.
    """
    same = np.arange(len(order)) if same is None else same
    _, leader = np.unique(same, return_index=True)  # the first sample of each number
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
