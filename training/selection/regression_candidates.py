"""Candidates besides networks: ridge regressions, and radial basis functions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from surrogates.config import check
from surrogates.model.networks import FeatureExtractor
from surrogates.model.radial import Joined, Monomials

from .. import pool
from ..config import ANOVA, KERNEL_NAMES, TrainConfig
from ..member import Member
from . import kernel
from .effort import Asked
from .folds import divided
from .frame import Candidate, Frame
from .kernel import Fit, Form, Kriging
from .likelihood import search
from .ridge import Ridge, ridge

_GROWN = 10  # folds on which a kernel's scales are found again
_GROWN_OUTPUTS = 3  # outputs with their own scales for which this is measured
_APART, _APART_ANOVA = 12, 4  # largest number of outputs that may have their own scales
_APART_FEATURES = 10_000  # largest number of features of all these outputs
_PER_SCALE = 5  # samples that a scale or a share needs
MANY = 5000  # largest number of samples that determine a kernel's weights


def ridges(frame: Frame) -> Iterator[Candidate]:
    """Yield the linear ridge regression and, for few inputs, the quadratic one."""
    n, n_in = frame.X.shape
    for degree, name in ((1, "linear ridge"), (2, "quadratic ridge")):
        size = Form(kernel="gaussian", degree=degree).size(n_in)
        if degree == 2 and size > max(500, n / 2):
            continue
        found = ridge(frame.X, frame.C, degree, frame.same)
        seen = found.left_out if frame.closed else found.predict(frame.data.validation.Y)
        features = Monomials(n_in, kernel.pairs(n_in, degree))

        def members(found: Ridge = found, features: Monomials = features) -> Sequence[Member]:
            return [frame.member(features, found.weights)]

        yield Candidate(name=name, residual=frame.residual(seen), members=members)


def _forms(n_in: int, settings: TrainConfig) -> Iterator[Form]:
    """Return the kernels and trends to try, a radial kernel first.

    Products over the inputs contain a trend of degree 1.
    """
    asked, trend = settings.network.kernel, settings.network.trend
    for kind in KERNEL_NAMES if asked is None else (asked,):
        anova = kind.startswith(ANOVA)
        if anova and asked is None and not 1 < n_in <= kernel.FACTORS:
            continue
        check(
            not anova or n_in <= kernel.FACTORS,
            f"network.kernel {kind!r} takes at most {kernel.FACTORS} inputs; got {n_in}: "
            "take 'gaussian' or 'matern52'",
        )
        degrees = (0,) if anova else (0, 1, 2)
        for degree in degrees if trend is None else (trend,):
            yield Form(kernel=kind.removeprefix(ANOVA), degree=degree, anova=anova)


def kernels(frame: Frame, asked: Asked, apart: bool = True) -> list[Candidate]:
    """Return the best kernels; if ``apart``, also with scales by output."""
    n, n_in = frame.X.shape
    forms = [form for form in _forms(n_in, asked.settings) if form.size(n_in) <= max(1, n / 2)]
    check(
        bool(forms), f"{n} samples are too few for a trend of degree {asked.settings.network.trend}"
    )

    def tasks(forms: Sequence[Form], start: Fit | None) -> list[pool.Task]:
        shared = {"X": frame.X, "C": frame.C, "start": start, "steps": 150}
        return [pool.Task(function=search, arguments={**shared, "form": f}) for f in forms]

    first = asked.run(tasks(forms[:1], None))
    fits = first + asked.run(tasks(forms[1:], first[0]))
    some = slice(None, None, 1 if frame.closed else -(-n // MANY))
    X, C, same = frame.X[some], frame.C[some], frame.same
    solved = [kernel.solve(X, C, found, same) for found in fits]
    found = []
    for kriging in solved:
        if kriging is not None:
            seen = kriging.left_out if frame.closed else kriging.predict(frame.data.validation.Y)
            found.append((float(frame.residual(seen).square().mean()), kriging, seen))
    found.sort(key=lambda entry: entry[0])
    # Different kernels complement each other: take the best of each kind if there are two kinds.
    others = [entry for entry in found if entry[1].fit.form.anova != found[0][1].fit.form.anova]
    kept = [*found[:1], *(others or found[1:])[:1]]
    candidates = [_kriged(frame, asked, kriging, seen) for _, kriging, seen in kept]
    affordable = [one for _, one, _ in found if apart and _may_differ(frame, one.fit.form)]
    return candidates + [_apart(frame, asked, shared) for shared in affordable[:1]]


def _named(form: Form) -> str:
    trend = ("", ", linear trend", ", quadratic trend")[form.degree]
    return f"rbf {'anova ' * form.anova}{form.kernel}{trend}"


def _kriged(frame: Frame, asked: Asked, kriging: Kriging, seen: Tensor) -> Candidate:
    form = kriging.fit.form

    def growth() -> float:
        return _growth(frame, asked, [kriging.fit], [frame.C])

    def members() -> Sequence[Member]:
        features = _side_by_side([kriging.fit.basis(kriging.centres)], form)
        return [frame.member(features, kriging.weights)]

    return Candidate(
        name=_named(form),
        residual=frame.residual(seen),
        members=members,
        kriging=kriging,
        variance=kriging.variance if frame.closed else None,
        growth=growth if frame.closed else None,
    )


def _side_by_side(bases: Sequence[FeatureExtractor], form: Form) -> FeatureExtractor:
    """Return bases and the trend of a form as features."""
    n_in = bases[0].n_in
    parts = [*bases]
    if form.degree:
        parts.append(Monomials(n_in, kernel.pairs(n_in, form.degree)))
    zeros = torch.zeros((len(parts), n_in), dtype=torch.float64)
    return parts[0] if len(parts) == 1 else Joined(parts, zeros, zeros + 1)


def _may_differ(frame: Frame, form: Form) -> bool:
    """Return whether each output may have its own scales: for few outputs and samples."""
    n, n_out = len(frame.X), frame.dataset.C.shape[1]
    most = _APART_ANOVA if form.anova else _APART
    return frame.closed and 2 <= n_out <= most and (n_out + 1) * n <= _APART_FEATURES


def _apart(frame: Frame, asked: Asked, shared: Kriging) -> Candidate:
    """Return kernels with scales for each output; their search starts at the common scales.

    The error bars have the shape of the common kernel, whose features are included with zero
    weights.
    """
    X, form, same = frame.X, shared.fit.form, frame.same
    train = frame.data.train
    C = train.C if train.whole is None else train.whole
    columns = [C[:, j : j + 1] for j in range(C.shape[1])]
    begin = {"X": X, "form": form, "start": shared.fit, "steps": 100, "anew": False}
    tasks = [pool.Task(function=search, arguments={"C": c, **begin}) for c in columns]
    fits, krigings = asked.run(tasks), []
    for j, c in enumerate(columns):
        own = kernel.solve(X, c, fits[j], same) or kernel.solve(X, c, shared.fit, same)
        assert own is not None  # the common kernel was solved
        krigings.append(own)
    some = range(0, len(columns), -(-len(columns) // _GROWN_OUTPUTS))

    def growth() -> float:
        return _growth(frame, asked, [fits[j] for j in some], [columns[j] for j in some])

    def members() -> Sequence[Member]:
        bases = [one.fit.basis(X) for one in (shared, *krigings)]
        n, size = len(X), form.size(X.shape[1])
        W = C.new_zeros((len(columns), len(bases) * n + size))
        for j, own in enumerate(krigings):
            W[j, (j + 1) * n : (j + 2) * n] = own.weights[0, :n]
            W[j, -size:] = own.weights[0, n:]
        assert frame.data.scaling is not None
        scaling = dataclasses.replace(frame.data.scaling, basis=None)
        member = frame.member(_side_by_side(bases, form), torch.zeros_like(shared.weights))
        return [dataclasses.replace(member, W=scaling.physical(W))]

    return Candidate(
        name=f"{_named(form)}, scales by output",
        residual=torch.cat([one.left_out for one in krigings], dim=1),
        members=members,
        kriging=shared,
        variance=shared.variance,
        growth=growth,
    )


def _growth(frame: Frame, asked: Asked, fits: Sequence[Fit], targets: Sequence[Tensor]) -> float:
    """Return the factor, 1 to 3, by which errors grow when the scales are found without a fold."""
    n, form = len(frame.rows), fits[0].form
    folds = divided(np.arange(n), _GROWN, frame.settings.seed, frame.same)
    fewest = min(len(fold.train) for fold in folds)
    if n > kernel.CENTRES or form.size(frame.X.shape[1]) >= fewest:
        return 1.0
    # A search that starts at the scales of all samples may stay there: with few samples for each
    # scale, it starts anew.
    few = n < _PER_SCALE * frame.X.shape[1] * (2 if form.anova else 1)
    tasks = [
        pool.Task(
            function=search,
            arguments={
                **{"X": frame.X[fold.train], "C": C[fold.train], "form": form},
                **({"start": None, "steps": 100} if few else {"start": fit, "steps": 40}),
                "anew": few,
            },
        )
        for fit, C in zip(fits, targets, strict=True)
        for fold in folds
    ]
    number = torch.zeros(n, dtype=torch.int64)
    for i, fold in enumerate(folds):
        number[fold.held] = i
    refitted = iter(asked.run(tasks))
    before = after = 0.0
    for fit, C in zip(fits, targets, strict=True):
        kept = kernel.blocks_left_out(frame.X, C, fit, number)
        if kept is None:
            return 1.0
        before += float(kept.square().sum())
        for fold in folds:
            kriging = kernel.solve(frame.X[fold.train], C[fold.train], next(refitted))
            if kriging is None:
                return 1.0
            anew = kriging.predict(frame.X[fold.held]) - C[fold.held]
            after += float(anew.square().sum())
    return min(max(1.0, math.sqrt(after / max(before, 1e-300))), 3.0)
