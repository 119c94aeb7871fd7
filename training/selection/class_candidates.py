"""Candidates for classes besides networks: logistic regressions and radial functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from surrogates.data import Dataset
from surrogates.model.kinds import KERNELS

from .. import pool
from ..history import Record
from ..inner import logistic
from ..inner.losses import CrossEntropy
from ..member import Member
from . import kernel
from .effort import Asked
from .entropy import calibrated
from .folds import Fold, Rows
from .kernel import CENTRES, Form
from .likelihood import search
from .plain import Plain, path

_ALPHAS = tuple(10 ** (-1 - k / 2) for k in range(13))
_SCALES = (0.25, 0.5, 1.0, 2.0)  # inverse lengths of inputs, times sqrt(n_in)
_SOLVES = 100  # products with all features for an alpha2, about
_RATE = 8e9  # operations a second of one core, about
_TRIAL = 2  # folds on which scales are compared, from `_SOME` samples on
_SOME = 200


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A candidate with its calibrated logits of the held-out samples, (n_held, n_classes)."""

    name: str
    logits: Tensor
    temperature: float
    cross_entropy: float
    error: float
    members: Callable[[], Sequence[Member]]
    history: tuple[Record, ...] = ()

    @classmethod
    def of(
        cls,
        name: str,
        logits: Tensor,
        C: Tensor,
        members: Callable[[], Sequence[Member]],
        history: tuple[Record, ...] = (),
    ) -> Candidate:
        """Calibrate the logits and measure them.

        Args:
            name: The candidate in words.
            logits: Logits of the held-out samples, (n_held, n_classes).
            C: Their classes, (n_held, n_classes).
            members: Makes the candidate's members.
            history: History of its network; empty if it has none.
        """
        t, cross_entropy = calibrated(logits, C)
        return cls(
            name=name,
            logits=logits / t,
            temperature=t,
            cross_entropy=cross_entropy,
            error=float(CrossEntropy().errors(logits, C).mean()),
            members=members,
            history=history,
        )


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The samples of a choice.

    Attributes:
        dataset: All samples.
        folds: Divisions, by rows of the dataset.
        final: Rows for the last fit, in canonical order.
        held: Rows that a fold holds out.
        X: Standardised inputs of all rows of the dataset, (n, n_in).
        C: Classes of all rows, (n, n_classes).
        y_shift: Subtracted from the inputs, (n_in,), units of y.
        y_scale: Divides them, (n_in,), units of y.
    """

    dataset: Dataset
    folds: tuple[Fold, ...]
    final: Rows
    held: Rows
    X: Tensor
    C: Tensor
    y_shift: Tensor
    y_scale: Tensor

    @property
    def trial(self) -> tuple[Fold, ...]:
        """The folds on which scales are compared."""
        return self.folds if len(self.final) < _SOME else self.folds[:_TRIAL]

    def gathered(self, pieces: Sequence[Tensor]) -> Tensor:
        """Put the held-out logits of the first folds in the order of their rows."""
        order = np.argsort(np.concatenate([fold.held for fold in self.folds[: len(pieces)]]))
        return torch.cat(list(pieces), dim=-2)[..., torch.from_numpy(order), :]

    def seen(self, rows: Rows) -> Rows:
        """Put rows in the canonical order."""
        return self.final[np.isin(self.final, rows)]


def _tasks(frame: Frame, plains: Sequence[Plain], alphas: Sequence[float]) -> list[pool.Task]:
    """Make the tasks of one `Plain` for each fold."""
    tasks = []
    for fold, plain in zip(frame.folds, plains, strict=False):  # maybe only the first folds
        seen = frame.seen(fold.train)
        arguments = {
            "X": frame.X[seen],
            "C": frame.C[seen],
            "X_held": frame.X[fold.held],
            "C_held": frame.C[fold.held],
            "plain": plain,
            "alphas": alphas,
        }
        tasks.append(pool.Task(function=path, arguments=arguments))
    return tasks


@dataclass(frozen=True, kw_only=True)
class _Path:
    """The best alpha2 of some features.

    Attributes:
        plain: The features of the last fit.
        alpha2: The best value.
        logits: Held-out logits, (n_held, n_classes).
        cross_entropy: Their cross-entropy.
    """

    plain: Plain
    alpha2: float
    logits: Tensor
    cross_entropy: float


def _paths(
    frame: Frame, asked: Asked, tried: Sequence[tuple[Plain, Sequence[Plain]]], note: str
) -> list[_Path]:
    """Find the best alpha2 of each set of features, given with the features of each fold."""
    # A given alpha2 holds here only if the given kind is rbf; else it is meant for networks.
    fixed = {
        "network.kind",
        "regularisation.alpha2",
    } <= asked.given and asked.settings.network.kind == "rbf"
    alphas = (max(asked.settings.regularisation.alpha2, 1e-12),) if fixed else _ALPHAS
    tasks = [task for _, plains in tried for task in _tasks(frame, plains, alphas)]
    results: dict[int, Tensor] = {}
    for number, result in asked.each(tasks):
        results[number] = result
        asked.on_progress(len(results), len(tasks), f", {note}")
    n_folds = len(tried[0][1])
    C = frame.C[np.sort(np.concatenate([fold.held for fold in frame.folds[:n_folds]]))]
    paths = []
    for i, (plain, _) in enumerate(tried):
        pieces = [results[i * n_folds + k] for k in range(n_folds)]
        logits = frame.gathered(pieces)
        entropies = [calibrated(one, C)[1] for one in logits]
        best = int(np.argmin(entropies))
        paths.append(
            _Path(
                plain=plain,
                alpha2=alphas[best],
                logits=logits[best],
                cross_entropy=entropies[best],
            )
        )
    return paths


def _candidate(frame: Frame, name: str, found: _Path) -> Candidate:
    def members() -> Sequence[Member]:
        X, C = frame.X[frame.final], frame.C[frame.final]
        basis = found.plain.basis(X)
        W = logistic.minimise(CrossEntropy(), basis(X), C, found.alpha2)
        return [
            Member(
                features=basis.features,
                y_shift=frame.y_shift,
                y_scale=frame.y_scale,
                W=basis.weights(W),
            )
        ]

    C = frame.C[frame.held]
    return Candidate.of(f"{name}, alpha2 {found.alpha2:.0e}", found.logits, C, members)


def linear(frame: Frame, asked: Asked) -> Iterator[Candidate]:
    """Return the logistic regression on the inputs."""
    plain = Plain(kernel="linear", scales=torch.ones_like(frame.y_shift))
    (found,) = _paths(frame, asked, [(plain, [plain] * len(frame.folds))], "linear")
    yield _candidate(frame, "linear", found)


def kernels(frame: Frame, asked: Asked, budget: float) -> Iterator[Candidate]:
    """Return the best radial functions of one scale, and the best of one for each input."""
    one = asked.settings.network.kernel
    kernels = KERNELS if one is None else (one,)
    X = frame.X[frame.final]
    varies = (X != 0).any(dim=0)
    few = _affordable(frame, budget / 2 / (len(kernels) * len(_SCALES) + 2), len(frame.trial))
    most = _affordable(frame, budget / 2 / 2, len(frame.folds))

    def common(name: str, scale: float, n_centres: int) -> Plain:
        scales = torch.where(varies, scale / math.sqrt(max(int(varies.sum()), 1)), 0.0).to(X)
        return Plain(kernel=name, scales=scales, n_centres=n_centres)

    def compared(grid: Sequence[tuple[str, float]]) -> list[tuple[float, str, float]]:
        tried = [(common(*one, few), [common(*one, few)] * len(frame.trial)) for one in grid]
        paths = _paths(frame, asked, tried, "radial functions")
        return [(path.cross_entropy, *one) for path, one in zip(paths, grid, strict=True)]

    scores = compared([(name, scale) for scale in _SCALES for name in kernels])
    _, name, scale = min(scores)
    scores += compared([(name, scale * factor) for factor in (math.sqrt(0.5), math.sqrt(2))])
    _, name, scale = min(scores)
    plain = common(name, scale, most)
    (found,) = _paths(frame, asked, [(plain, [plain] * len(frame.folds))], "radial functions")
    yield _candidate(frame, f"rbf {name}", found)
    if 2 <= int(varies.sum()) <= kernel.EACH:
        found = _scaled(frame, asked, kernels, few, most)
        yield _candidate(frame, f"rbf {found.plain.kernel} of own scales", found)


def _affordable(frame: Frame, seconds: float, n_folds: int) -> int:
    """Return the number of centres with which a path of alpha2 takes that time."""
    n = len(frame.final)
    most = min(n, CENTRES)
    each = n * frame.C.shape[1] * 4 * _SOLVES * len(_ALPHAS) * n_folds / _RATE
    return max(min(most, int(seconds / each)), min(most, 100))


def _scaled(frame: Frame, asked: Asked, kernels: Sequence[str], few: int, most: int) -> _Path:
    """Find a scale for each input, again without each fold; return the better kernel's path."""

    def tasks(rows: Sequence[Rows], name: str, start: kernel.Fit | None) -> list[pool.Task]:
        shared = {
            "form": Form(kernel=name, degree=0),
            "start": start,
            "steps": 100 if start is None else 40,
            "anew": start is None,
        }
        return [
            pool.Task(function=search, arguments={"X": frame.X[r], "C": frame.C[r], **shared})
            for r in rows
        ]

    fits = asked.run([task for name in kernels for task in tasks([frame.final], name, None)])
    seen = [frame.seen(fold.train) for fold in frame.folds]

    def plain(fit: kernel.Fit, n_centres: int) -> Plain:
        return Plain(kernel=fit.form.kernel, scales=fit.scales, n_centres=n_centres)

    def anew(fit: kernel.Fit, rows: Sequence[Rows]) -> list[kernel.Fit]:
        # With one fold, the first search has seen no held-out sample.
        name = fit.form.kernel
        return [fit] if len(frame.folds) == 1 else asked.run(tasks(rows, name, fit))

    trial = len(frame.trial)
    found = [anew(fit, seen[:trial]) for fit in fits]
    tried = [
        (plain(fit, few), [plain(one, few) for one in ones])
        for fit, ones in zip(fits, found, strict=True)
    ]
    paths = _paths(frame, asked, tried, "radial functions of own scales")
    best = min(range(len(paths)), key=lambda i: paths[i].cross_entropy)
    fit, ones = fits[best], found[best]
    if len(ones) < len(seen):
        ones = ones + anew(fit, seen[trial:])
    elif few == most:
        return paths[best]
    last = (plain(fit, most), [plain(one, most) for one in ones])
    return _paths(frame, asked, [last], "radial functions of own scales")[0]
