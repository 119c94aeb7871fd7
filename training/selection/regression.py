r"""The choice of a surrogate: its kind, size and regularisation by held-out errors.

What is tried are the members of one family, features with a linear layer on them:

    ridge       the inputs, and their products (`ridge`)
    rbf         radial basis functions at the samples, with a polynomial trend, or products over the
                inputs (`kernel`); of a few outputs also with scales of its own for each
    networks    by GNvpro (`fit`), of several kinds, widths and weights alpha1; the best also with a
                larger alpha2 and with a linear part (`contest`)

and, where training starts from another surrogate, what `start` makes of that.

Each says what it makes of samples that it has not seen. For ridge and rbf these are the residuals
of left-out samples in closed form, for rbf, where it comes near the best, times the factor by which
errors grow where the scales are found anew without each fold. Networks are trained on folds, the
held-out samples stopping them: first for a share of the work on one or two folds, then the best of
them on all (successive halving; Jamieson and Talwalkar 2016, "Non-stochastic best arm
identification and hyperparameter optimization"). Of more than `FOLDED` samples the dataset's own
validation part is the only fold.

Errors are mean squares in the units of training. The prediction is the mean of the members with the
weights, not negative and of sum one, that make the least of its held-out error (Breiman 1996,
"Stacked regressions"), if that takes a twentieth off the best member's error; and that one member
else. A network that was trained on folds is their mean.

Everything that is drawn or decided depends on the samples and the seed alone: on no clock, and not
on the number of processes. What it costs is estimated from sizes (`contest`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import nnls
from torch import Tensor

from surrogates.config import check
from surrogates.data import Dataset
from surrogates.model.networks import FeatureExtractor
from surrogates.model.radial import Joined, Monomials

from .. import pool
from ..config import ANOVA, KERNEL_NAMES, TrainConfig
from ..data import Data
from ..fit import FitResult
from ..history import Record
from ..member import Member
from ..scaling import groups_of, weights_of
from . import kernel
from .contest import Contest, Squares
from .folds import Fold, Rows, available, divided, ordered, repeated
from .kernel import Fit, Form, Kriging
from .ridge import Ridge, ridge

EFFORTS = ("fast", "default", "high")
FOLDED = 2000
"""Largest number of samples that are divided into folds."""

_FOLDS = 5
_GROWN = 10  # folds that a kernel's scales are found anew on
_GROWN_OUTPUTS = 3  # outputs of scales of their own that this is measured on
_APART, _APART_ANOVA = 12, 4  # outputs, up to which each may have scales of its own
_APART_FEATURES = 10_000  # that these may come to
_PER_SCALE = 5  # samples, fewer than which are few to find a scale or a share
_MANY = 5000  # samples that determine a kernel's weights, at most
_PAYS = 0.95  # of the best member's error, below which members are averaged
_LEFT_OUT = 0.03  # weight below which a member is left out
_FAR = 6.0  # times the least error, where a member of independent errors has that weight
_HOPELESS = 100.0  # times the least error, beyond which a weight is below that


@dataclass(frozen=True, kw_only=True)
class Effort:
    """What a selection may cost.

    Attributes:
        seconds: Of one core, about, for networks.
        candidates: Largest number of networks tried.
        finalists: Largest number of them trained on all folds.
    """

    seconds: float
    candidates: int
    finalists: int


COSTS = {
    "default": Effort(seconds=70.0, candidates=6, finalists=2),
    "high": Effort(seconds=700.0, candidates=10, finalists=4),
}
"""What the networks of each effort may cost."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A candidate and its held-out error.

    Attributes:
        name: What it is.
        error: Root mean square of the held-out residuals over the outputs' spreads.
        samples: How many samples that is of.
        weight: Its share of the prediction.
    """

    name: str
    error: float
    samples: int
    weight: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What was chosen.

    Attributes:
        members: Whose weighted mean predicts.
        tried: All candidates, in the order of their errors.
        rows: Samples that were held out, indices into the dataset.
        residual: Of the prediction there, prediction less c, (n_rows, n_out), units of c.
        variance: The variance of that, up to a factor of each output, by kriging, (n_rows,); None
            where no kernel is a member.
        kriging: The kernel that is a member, None if none is.
        history: Of the network with the largest share, or else of the best that was tried.
        train: Rows of the samples that the members have seen.
    """

    members: tuple[Member, ...]
    tried: tuple[Tried, ...]
    rows: Rows
    residual: Tensor
    variance: Tensor | None
    kriging: Kriging | None
    history: tuple[Record, ...]
    train: Rows


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A candidate with its residuals on the held-out samples, scaled, (n_held, n_out).

    Those of a kernel's scales that all samples have led to are too small; ``growth`` measures by
    what factor, once it is asked.
    """

    name: str
    residual: Tensor
    members: Callable[[], Sequence[Member]]
    kriging: Kriging | None = None
    variance: Tensor | None = None
    history: tuple[Record, ...] = ()
    growth: Callable[[], float] | None = None

    @property
    def score(self) -> float:
        return float(self.residual.square().mean())

    def grown(self) -> _Candidate:
        """Return the candidate with residuals that need no factor."""
        if self.growth is None:
            return self
        return dataclasses.replace(self, residual=self.growth() * self.residual, growth=None)


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """The samples of a selection, in canonical order, standardised and scaled.

    Attributes:
        dataset: All samples.
        settings: Of the training.
        rows: Of the dataset, in the order of the arrays here.
        folds: Divisions, by rows of the dataset.
        same: Samples of one number are held out together, (n_rows,); each alone if None.
        closed: Whether ridge and rbf are judged by left-out residuals, and see all rows.
        data: Standardised inputs and scaled targets of ``rows``, in ``train``; the held-out samples
            of the one fold in ``validation`` where not ``closed``.
    """

    dataset: Dataset
    settings: TrainConfig
    rows: Rows
    folds: tuple[Fold, ...]
    same: Rows | None
    closed: bool
    data: Data

    @property
    def X(self) -> Tensor:
        return self.data.train.Y

    @property
    def C(self) -> Tensor:
        return self.data.train.C

    @property
    def held(self) -> Rows:
        return self.rows if self.closed else self.folds[0].held

    def scaled(self, residual: Tensor) -> Tensor:
        """Turn residuals in units of c into those of training."""
        assert self.data.scaling is not None
        return residual / self.data.scaling.scale

    def residual(self, seen: Tensor) -> Tensor:
        """Turn left-out residuals, or predictions of held-out samples, into scaled residuals."""
        assert self.data.scaling is not None
        outputs = self.data.scaling.seen_to_all(seen)
        if self.closed:
            return outputs
        held = self.data.validation
        return outputs - (held.C if held.whole is None else held.whole)

    def member(self, features: FeatureExtractor, weights: Tensor) -> Member:
        """Make a member of weights for standardised inputs and scaled targets."""
        return Member(
            features=features,
            y_shift=self.data.y_shift,
            y_scale=self.data.y_scale,
            W=self.data.physical(weights),
        )


def choose(
    dataset: Dataset,
    settings: TrainConfig,
    *,
    given: frozenset[str] = frozenset(),
    effort: str = "default",
    processes: int | None = None,
    stop: Callable[[], bool] | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
    more: Callable[[_Frame, Asked, float], Sequence[_Candidate]] | None = None,
) -> Selection:
    """Choose members by held-out errors (see the module's text).

    Args:
        dataset: A regression. Its training and validation samples are used, and divided anew where
            there are few.
        settings: Of the networks; what `given` does not name is chosen.
        given: Keys of settings that are fixed.
        effort: ``default`` or ``high``.
        processes: How many; one for each core if None. The result is the same to rounding.
        stop: Asked now and then whether to end.
        on_progress: Called with the trainings done, their number, and a note.
        more: Returns further candidates, such as `start.candidates`, from the samples as they are
            divided and scaled, what was asked for, and the least mean square of the others.

    Raises:
        InputError: If there are fewer than three samples, or values are not finite or too large.
        Interrupted: If ``stop`` said so.
    """
    frame = _framed(dataset, settings)
    with pool.Pool(pool.cores() if processes is None else processes, stop) as workers:
        asked = Asked(
            settings=settings,
            given=given,
            effort=COSTS[effort],
            each=workers.run,
            on_progress=on_progress or (lambda done, total, note: None),
        )
        candidates: list[_Candidate] = []
        if "network.kind" not in given:
            candidates += _ridges(frame)
        if "network.kind" not in given or settings.network.kind == "rbf":
            candidates += _kernels(frame, asked)
        candidates = _grown(candidates)
        if settings.network.kind != "rbf":
            best = min((candidate.score for candidate in candidates), default=math.inf)
            candidates += _networks(frame, asked, best)
        if more is not None:
            best = min((candidate.score for candidate in candidates), default=math.inf)
            candidates += more(frame, asked, best)
        return _combined(frame, _grown(candidates, _FAR))


def _grown(candidates: list[_Candidate], near: float = 1.0) -> list[_Candidate]:
    """Let candidates within ``near`` times the least error have residuals that need no factor.

    To measure that of another would be work for nothing.
    """
    candidates = sorted(candidates, key=lambda candidate: candidate.score)
    while True:
        within = [
            c.growth is not None and c.score <= near**2 * candidates[0].score for c in candidates
        ]
        if not any(within):
            return candidates
        k = within.index(True)
        candidates[k] = candidates[k].grown()
        candidates.sort(key=lambda candidate: candidate.score)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What `choose` was asked for (see its arguments), and what runs tasks."""

    settings: TrainConfig
    given: frozenset[str]
    effort: Effort
    each: Callable[[Sequence[pool.Task]], Iterator[tuple[int, Any]]]
    on_progress: Callable[[int, int, str], None]

    def run(self, tasks: Sequence[pool.Task]) -> list[Any]:
        """Run tasks and return their results in order."""
        return [result for _, result in sorted(self.each(tasks), key=lambda pair: pair[0])]


def _framed(dataset: Dataset, settings: TrainConfig) -> _Frame:
    """Order, divide and scale the samples."""
    used, held = available(dataset)
    closed = len(used) <= FOLDED
    rows = used if closed else np.setdiff1d(used, held)

    def scaled(rows: Rows, held: Rows) -> Data:
        arrays = [tuple(map(torch.from_numpy, (dataset.Y[r], dataset.C[r]))) for r in (rows, held)]
        return Data.of(
            (arrays[0][0], arrays[0][1]),
            (arrays[1][0], arrays[1][1]),
            groups=groups_of(settings.outputs.scaling, dataset.info.c_units),
            weights=weights_of(settings.outputs.weights, dataset.info.c_names),
        )

    first = scaled(rows, rows[:1])
    rows = rows[ordered(first.train.Y, first.train.C)]
    same = repeated(dataset.Y[rows])
    if closed:
        folds = divided(rows, _FOLDS, settings.seed, same)
    elif len(held):
        folds = (Fold(train=np.sort(rows), held=held),)
    else:  # no sample is for validation
        folds = divided(rows, 2 * _FOLDS, settings.seed, same)[:1]
        held = folds[0].held
        rows = rows[~np.isin(rows, held)]
    data = scaled(rows, rows[:1] if closed else held)
    return _Frame(
        dataset=dataset,
        settings=settings,
        rows=rows,
        folds=folds,
        same=same if closed else None,
        closed=closed,
        data=data,
    )


def _ridges(frame: _Frame) -> Iterator[_Candidate]:
    """Give the linear and, of few inputs, the quadratic ridge regression."""
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

        yield _Candidate(name=name, residual=frame.residual(seen), members=members)


def searched(
    X: Tensor, C: Tensor, form: Form, start: Fit | None, steps: int, anew: bool = True
) -> Fit:
    """Find the scales of a form: a task."""
    return kernel.search(X, C, form, start, steps, anew)


def _forms(n_in: int, settings: TrainConfig) -> Iterator[Form]:
    """Return the kernels and trends to try, one that is radial first.

    Products over the inputs have a trend of degree 1 in them.
    """
    asked, trend = settings.network.kernel, settings.network.trend
    for kind in KERNEL_NAMES if asked is None else (asked,):
        anova = kind.startswith(ANOVA)
        if anova and asked is None and not 1 < n_in <= kernel.FACTORS:
            continue
        check(
            not anova or n_in <= kernel.FACTORS,
            f"kernel {kind!r} takes at most {kernel.FACTORS} inputs; got {n_in}: take 'gaussian' "
            "or 'matern52'",
        )
        degrees = (0,) if anova else (0, 1, 2)
        for degree in degrees if trend is None else (trend,):
            yield Form(kernel=kind.removeprefix(ANOVA), degree=degree, anova=anova)


def _kernels(frame: _Frame, asked: Asked, apart: bool = True) -> list[_Candidate]:
    """Return the best kernels, with honest errors; ``apart``, with scales by output too."""
    n, n_in = frame.X.shape
    forms = [form for form in _forms(n_in, asked.settings) if form.size(n_in) <= max(1, n / 2)]
    check(
        bool(forms), f"{n} samples are too few for a trend of degree {asked.settings.network.trend}"
    )

    def tasks(forms: Sequence[Form], start: Fit | None) -> list[pool.Task]:
        shared = {"X": frame.X, "C": frame.C, "start": start, "steps": 150}
        return [pool.Task(function=searched, arguments={**shared, "form": f}) for f in forms]

    first = asked.run(tasks(forms[:1], None))
    fits = first + asked.run(tasks(forms[1:], first[0]))
    some = slice(None, None, 1 if frame.closed else -(-n // _MANY))
    X, C, same = frame.X[some], frame.C[some], frame.same
    solved = [kernel.solve(X, C, found, same) for found in fits]
    found = []
    for kriging in solved:
        if kriging is not None:
            seen = kriging.left_out if frame.closed else kriging.predict(frame.data.validation.Y)
            found.append((float(frame.residual(seen).square().mean()), kriging, seen))
    found.sort(key=lambda entry: entry[0])
    # Two that differ most complement each other most: the best of each kind, where there are two.
    others = [entry for entry in found if entry[1].fit.form.anova != found[0][1].fit.form.anova]
    kept = [*found[:1], *(others or found[1:])[:1]]
    candidates = [_kriged(frame, asked, kriging, seen) for _, kriging, seen in kept]
    affordable = [one for _, one, _ in found if apart and _may_differ(frame, one.fit.form)]
    return candidates + [_apart(frame, asked, shared) for shared in affordable[:1]]


def _named(form: Form) -> str:
    trend = ("", ", linear trend", ", quadratic trend")[form.degree]
    return f"rbf {'anova ' * form.anova}{form.kernel}{trend}"


def _kriged(frame: _Frame, asked: Asked, kriging: Kriging, seen: Tensor) -> _Candidate:
    form = kriging.fit.form

    def growth() -> float:
        return _growth(frame, asked, [kriging.fit], [frame.C])

    def members() -> Sequence[Member]:
        features = _side_by_side([kriging.fit.basis(kriging.centres)], form)
        return [frame.member(features, kriging.weights)]

    return _Candidate(
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


def _may_differ(frame: _Frame, form: Form) -> bool:
    """Tell whether each output may have scales of its own: of a few outputs and samples."""
    n, n_out = len(frame.X), frame.dataset.C.shape[1]
    most = _APART_ANOVA if form.anova else _APART
    return frame.closed and 2 <= n_out <= most and (n_out + 1) * n <= _APART_FEATURES


def _apart(frame: _Frame, asked: Asked, shared: Kriging) -> _Candidate:
    """Return kernels with scales of their own for each output, which begin at those of all.

    The shape of the error bars is that of the kernel of all outputs, whose features are there with
    weights of zero.
    """
    X, form, same = frame.X, shared.fit.form, frame.same
    train = frame.data.train
    C = train.C if train.whole is None else train.whole
    columns = [C[:, j : j + 1] for j in range(C.shape[1])]
    begin = {"X": X, "form": form, "start": shared.fit, "steps": 100, "anew": False}
    tasks = [pool.Task(function=searched, arguments={"C": c, **begin}) for c in columns]
    fits, krigings = asked.run(tasks), []
    for j, c in enumerate(columns):
        own = kernel.solve(X, c, fits[j], same) or kernel.solve(X, c, shared.fit, same)
        assert own is not None  # that of all outputs was solved
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

    return _Candidate(
        name=f"{_named(form)}, scales by output",
        residual=torch.cat([one.left_out for one in krigings], dim=1),
        members=members,
        kriging=shared,
        variance=shared.variance,
        growth=growth,
    )


def _growth(frame: _Frame, asked: Asked, fits: Sequence[Fit], targets: Sequence[Tensor]) -> float:
    """Return how errors on folds grow where the scales are found without the fold, 1 to 3."""
    n, form = len(frame.rows), fits[0].form
    folds = divided(np.arange(n), _GROWN, frame.settings.seed, frame.same)
    fewest = min(len(fold.train) for fold in folds)
    if n > kernel.CENTRES or form.size(frame.X.shape[1]) >= fewest:
        return 1.0
    # A search that begins where all samples have led may stay there: it does not where samples are
    # few for what is sought.
    few = n < _PER_SCALE * frame.X.shape[1] * (2 if form.anova else 1)
    tasks = [
        pool.Task(
            function=searched,
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


def _networks(
    frame: _Frame, asked: Asked, best: float, starts: Sequence[Member] = ()
) -> list[_Candidate]:
    """Return the networks that won the contest, each the mean of those of its folds."""
    assert frame.data.scaling is not None
    contest = Contest(
        dataset=frame.dataset,
        folds=frame.folds,
        judge=Squares(scale=frame.data.scaling.scale, n_seen=frame.C.shape[1]),
        run=asked.each,
        on_progress=asked.on_progress,
        starts=tuple(starts),
    )
    found = contest.winners(asked.settings, asked.given, asked.effort, best)
    place = {row: i for i, row in enumerate(frame.held.tolist())}
    candidates = []
    for winner in found:
        residual = torch.empty((len(frame.held), frame.dataset.C.shape[1]), dtype=torch.float64)
        for fold, part in zip(frame.folds, winner.held, strict=True):
            residual[[place[row] for row in fold.held.tolist()]] = part

        def members(results: Sequence[FitResult] = winner.results) -> Sequence[Member]:
            return [
                Member(
                    features=result.features,
                    y_shift=result.y_shift,
                    y_scale=result.y_scale,
                    W=result.W,
                    weight=1 / len(results),
                )
                for result in results
            ]

        history = winner.results[0].history
        candidates.append(
            _Candidate(name=winner.name, residual=residual, members=members, history=history)
        )
    return candidates


def _combined(frame: _Frame, candidates: list[_Candidate]) -> Selection:
    """Weigh the candidates, the best first."""
    check(bool(candidates), "no candidate could be fitted; take other settings")
    weights = stacked([candidate.residual for candidate in candidates])
    mean = _weighted([candidate.residual for candidate in candidates], weights)
    if float(mean.square().mean()) >= _PAYS**2 * candidates[0].score:
        weights = np.eye(len(candidates))[0]
    tried = tuple(
        Tried(
            name=candidate.name,
            error=math.sqrt(candidate.score),
            samples=len(frame.held),
            weight=float(weight),
        )
        for candidate, weight in zip(candidates, weights, strict=True)
    )
    kept = [(c, w) for c, w in zip(candidates, weights.tolist(), strict=True) if w > 0]
    krigings = [candidate for candidate, _ in kept if candidate.kriging is not None]
    members = [
        dataclasses.replace(
            member,
            weight=member.weight * weight,
            group=group,
            kriging=bool(krigings) and candidate is krigings[0],
        )
        for group, (candidate, weight) in enumerate(kept)
        for member in candidate.members()
    ]
    networks = [c for c, _ in sorted(kept, key=lambda pair: -pair[1]) if c.history]
    networks += [candidate for candidate in candidates if candidate.history]
    assert frame.data.scaling is not None
    residual = _weighted([candidate.residual for candidate, _ in kept], [w for _, w in kept])
    return Selection(
        members=tuple(members),
        tried=tried,
        rows=frame.held,
        residual=residual * frame.data.scaling.scale,
        variance=krigings[0].variance if krigings else None,
        kriging=krigings[0].kriging if krigings else None,
        history=networks[0].history if networks else (),
        train=frame.rows,
    )


def stacked(residuals: Sequence[Tensor]) -> npt.NDArray[np.float64]:
    """Return the weights, >= 0 and of sum one, of the mean with the least held-out residual.

    Small weights are dropped: they cost a member and gain nothing.

    Args:
        residuals: Of the candidates on the same samples, (n, n_out) each.
    """
    flat = torch.stack([residual.reshape(-1) for residual in residuals])
    gram = (flat @ flat.T).numpy()
    # A far larger error would be left out below, and hides the others' digits.
    kept = np.flatnonzero(gram.diagonal() <= _HOPELESS**2 * gram.diagonal().min())
    size = math.sqrt(float(gram.diagonal()[kept].sum())) or 1.0
    while True:
        # Least squares with non-negative weights; a heavy row holds their sum.
        root = np.linalg.cholesky(gram[np.ix_(kept, kept)] / size**2 + 1e-14 * np.eye(len(kept))).T
        system = np.vstack([root, np.full(len(kept), 1e4)])
        found = nnls(system, np.append(np.zeros(len(kept)), 1e4))[0]
        found /= found.sum()
        if (found >= _LEFT_OUT).all():
            weights = np.zeros(len(residuals))
            weights[kept] = found
            return weights
        kept = kept[found >= _LEFT_OUT]


def _weighted(residuals: Sequence[Tensor], weights: Sequence[float] | npt.NDArray[Any]) -> Tensor:
    total = torch.zeros_like(residuals[0])
    for residual, weight in zip(residuals, weights, strict=True):
        total += float(weight) * residual
    return total
