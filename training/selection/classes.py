r"""The choice of a classifier by held-out cross-entropies, as `selection` chooses for regressions.

What is tried are features with a linear layer on them, whose softmax is trained:

    linear      the inputs
    rbf         radial basis functions at the samples, with one scale for all inputs, chosen, or one
                for each, found by the restricted likelihood of the one-hot classes (`kernel`)
    networks    by GNvpro (`fit`), of several kinds, widths and weights alpha1, alpha2

Inputs and radial functions have no weights to train. Their logits l = sum_k a_k kappa(., x_k) + b
minimise the mean cross-entropy plus alpha2/2 (||l - b||^2 + ||b||^2) in the norm of the kernel's
space (kernel logistic regression; Zhu and Hastie 2005, "Kernel logistic regression and the import
vector machine"), with alpha2 from a path of values. In the features that an eigendecomposition
kappa(x_k, x_l) = V L V^T makes of them, kappa(x, x_k) V L^-1/2, that norm is ||W||_F, and
`logistic` solves for W.

Everything is judged on the same folds, which hold their share of each class, by the cross-entropy
per sample of held-out logits over the temperature that is best for them: that is what
`entropy.calibrated` makes of the logits in the end, and it does not reward small logits. The logits
of the classifier are a weighted mean of the members', which is one linear layer on all their
features. The weights, not negative, minimise the cross-entropy of the held-out logits. Their sum is
free: it is one over the temperature. A mean is taken only if it takes a twentieth off the best
member's cross-entropy.

A network that was trained on folds is the mean of those of its folds. Its held-out logits flatter
it, as its iteration is that of the least loss on the same samples, and they wrong it, as the mean
is better than each. On 100 and 300 samples of three classes the two about cancel; judged by
samples that chose nothing, the means look worse by a third than they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from surrogates.config import check
from surrogates.data import Dataset
from surrogates.data.split import check_classes
from surrogates.model.forms import KERNELS

from .. import pool
from ..config import TrainConfig
from ..data import Data
from ..fit import FitResult
from ..history import Record
from ..inner import logistic
from ..inner.losses import CrossEntropy
from ..member import Member
from . import kernel
from .contest import Contest
from .entropy import Entropy, calibrated, mixed
from .folds import Fold, Rows, available, ordered, repeated, stratified
from .kernel import CENTRES, Form
from .plain import Plain, path
from .regression import COSTS, FOLDED, Asked, Tried, searched

_FOLDS = 5
_ALPHAS = tuple(10 ** (-1 - k / 2) for k in range(13))
_SCALES = (0.25, 0.5, 1.0, 2.0)  # inverse lengths of inputs, times the root of their number
_PAYS = 0.95  # of the best member's cross-entropy, below which members are averaged
_SOLVES = 100  # products with all features for an alpha2, about
_RATE = 8e9  # operations a second of one core, about
_SECONDS = {"default": 60.0, "high": 600.0}  # of one core for what is no network, about
_TRIAL = 2  # folds on which scales are compared, of `_SOME` samples and more
_SOME = 200
_LONGER = 3.0  # times that, which 3000 samples and more may take


@dataclass(frozen=True, kw_only=True)
class TriedClasses(Tried):
    """A candidate, whose ``error`` is the share of held-out samples that it misclassifies.

    Attributes:
        cross_entropy: Mean over the held-out samples, at the best temperature, in nats.
    """

    cross_entropy: float


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen.

    Attributes:
        members: Whose weighted mean logits predict.
        tried: All candidates, in the order of their cross-entropies.
        rows: Samples that were held out, indices into the dataset.
        logits: Of the mean there, before calibration, (n_rows, n_classes).
        temperature: What divides logits, found from these.
        history: Of the network with the largest share, or else of the best that was tried.
        train: Rows of the samples that the members have seen.
    """

    members: tuple[Member, ...]
    tried: tuple[TriedClasses, ...]
    rows: Rows
    logits: Tensor
    temperature: float
    history: tuple[Record, ...]
    train: Rows


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A candidate with its logits of the held-out samples, calibrated, (n_held, n_classes)."""

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
    ) -> _Candidate:
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
class _Frame:
    """The samples of a choice.

    Attributes:
        dataset: All samples.
        folds: Divisions, by rows of the dataset.
        final: Rows that the last fit sees, in canonical order.
        held: Rows that a fold holds out.
        X: Standardised inputs of all rows of the dataset, (n, n_in).
        C: Classes of all rows, (n, n_classes).
        y_shift: Of the inputs, (n_in,), units of y.
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


def choose(
    dataset: Dataset,
    settings: TrainConfig,
    *,
    given: frozenset[str] = frozenset(),
    effort: str = "default",
    processes: int | None = None,
    stop: Callable[[], bool] | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Choice:
    """Choose members by held-out cross-entropies (see the module's text).

    Args:
        dataset: A classification. Its training and validation samples are used, and divided anew
            where there are few.
        settings: Of the networks; what `given` does not name is chosen.
        given: Keys of settings that are fixed.
        effort: ``default`` or ``high``.
        processes: How many; one for each core if None. The result is the same to rounding.
        stop: Asked now and then whether to end.
        on_progress: Called with the trainings done, their number, and a note.

    Raises:
        InputError: If no sample can be held out, a class has no sample, or values are not finite.
        Interrupted: If ``stop`` said so.
    """
    trend = settings.network.trend
    check(trend in (None, 0), f"radial functions of classes have no trend; got {trend}")
    frame = _framed(dataset, settings)
    with pool.Pool(pool.cores() if processes is None else processes, stop) as workers:
        asked = Asked(
            settings=settings,
            given=given,
            effort=COSTS[effort],
            each=workers.run,
            on_progress=on_progress or (lambda done, total, note: None),
        )
        budget = _SECONDS[effort] * min(max(1.0, len(frame.final) / 1000), _LONGER)
        candidates: list[_Candidate] = []
        if "network.kind" not in given:
            candidates += _linear(frame, asked)
        if "network.kind" not in given or settings.network.kind == "rbf":
            candidates += _kernels(frame, asked, budget)
        if settings.network.kind != "rbf":
            best = min((one.cross_entropy for one in candidates), default=math.inf)
            candidates += _networks(frame, asked, best)
        return _combined(frame, candidates)


def _framed(dataset: Dataset, settings: TrainConfig) -> _Frame:
    """Order, divide and scale the samples."""
    used, held = available(dataset)
    closed = len(used) <= FOLDED or not len(held)
    rows = used if closed else np.setdiff1d(used, held)
    check_classes(dataset.info.c_names, dataset.C[rows])
    arrays = [
        (torch.from_numpy(dataset.Y[some]), torch.from_numpy(dataset.C[some]))
        for some in (rows, held if len(held) else rows)
    ]
    data = Data.of(arrays[0], arrays[1], loss=CrossEntropy())
    final = rows[ordered(data.train.Y, data.train.C)]
    same = repeated(dataset.Y[final])
    if len(used) <= FOLDED:
        folds = stratified(final, dataset.C, min(_FOLDS, len(final)), settings.seed, same)
    elif len(held):
        folds = (Fold(train=np.sort(final), held=held),)
    else:
        folds = stratified(final, dataset.C, 2 * _FOLDS, settings.seed, same)[:1]
        final = final[np.isin(final, folds[0].train)] if folds else final
    check(
        bool(folds),
        "every class has a single sample: none can be held out to choose by; take --effort fast, "
        "or more samples",
    )
    X = (torch.from_numpy(dataset.Y) - data.y_shift) / data.y_scale
    return _Frame(
        dataset=dataset,
        folds=folds,
        final=final,
        held=np.sort(np.concatenate([fold.held for fold in folds])),
        X=X,
        C=torch.from_numpy(dataset.C),
        y_shift=data.y_shift,
        y_scale=data.y_scale,
    )


def _tasks(frame: _Frame, plains: Sequence[Plain], alphas: Sequence[float]) -> list[pool.Task]:
    """Make the tasks of one `Plain` for each fold."""
    tasks = []
    for fold, plain in zip(frame.folds, plains, strict=False):  # the first folds may do
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
        logits: Held-out ones, (n_held, n_classes).
        cross_entropy: Of these.
    """

    plain: Plain
    alpha2: float
    logits: Tensor
    cross_entropy: float


def _paths(
    frame: _Frame, asked: Asked, tried: Sequence[tuple[Plain, Sequence[Plain]]], note: str
) -> list[_Path]:
    """Follow the path of alpha2 for features, given with those of each fold."""
    # Else a given alpha2 is that of networks.
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


def _candidate(frame: _Frame, name: str, found: _Path) -> _Candidate:
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
    return _Candidate.of(f"{name}, alpha2 {found.alpha2:.0e}", found.logits, C, members)


def _linear(frame: _Frame, asked: Asked) -> Iterator[_Candidate]:
    """Return the logistic regression on the inputs."""
    plain = Plain(kernel="linear", scales=torch.ones_like(frame.y_shift))
    (found,) = _paths(frame, asked, [(plain, [plain] * len(frame.folds))], "linear")
    yield _candidate(frame, "linear", found)


def _kernels(frame: _Frame, asked: Asked, budget: float) -> Iterator[_Candidate]:
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


def _affordable(frame: _Frame, seconds: float, n_folds: int) -> int:
    """Return the number of centres that a path of alpha2 can have in that time."""
    n = len(frame.final)
    most = min(n, CENTRES)
    each = n * frame.C.shape[1] * 4 * _SOLVES * len(_ALPHAS) * n_folds / _RATE
    return max(min(most, int(seconds / each)), min(most, 100))


def _scaled(frame: _Frame, asked: Asked, kernels: Sequence[str], few: int, most: int) -> _Path:
    """Find a scale for each input, anew without each fold, and return the better kernel's path."""

    def tasks(rows: Sequence[Rows], name: str, start: kernel.Fit | None) -> list[pool.Task]:
        shared = {
            "form": Form(kernel=name, degree=0),
            "start": start,
            "steps": 100 if start is None else 40,
            "anew": start is None,
        }
        return [
            pool.Task(function=searched, arguments={"X": frame.X[r], "C": frame.C[r], **shared})
            for r in rows
        ]

    fits = asked.run([task for name in kernels for task in tasks([frame.final], name, None)])
    seen = [frame.seen(fold.train) for fold in frame.folds]

    def plain(fit: kernel.Fit, n_centres: int) -> Plain:
        return Plain(kernel=fit.form.kernel, scales=fit.scales, n_centres=n_centres)

    def anew(fit: kernel.Fit, rows: Sequence[Rows]) -> list[kernel.Fit]:
        # Of one fold, the first search has seen no other sample.
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


def _networks(frame: _Frame, asked: Asked, best: float) -> Iterator[_Candidate]:
    """Return the networks that won the contest, each the mean of those of its folds."""
    contest = Contest(
        dataset=frame.dataset,
        folds=frame.folds,
        judge=Entropy(n_classes=frame.C.shape[1]),
        run=asked.each,
        on_progress=asked.on_progress,
    )
    for winner in contest.winners(asked.settings, asked.given, asked.effort, best):

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

        logits = frame.gathered(winner.held)
        history = winner.results[0].history
        yield _Candidate.of(winner.name, logits, frame.C[frame.held], members, history)


def _combined(frame: _Frame, candidates: Sequence[_Candidate]) -> Choice:
    """Average the candidates where that pays, and make the members."""
    kept = [one for one in candidates if math.isfinite(one.cross_entropy)]
    check(bool(kept), "no candidate could be fitted; take other settings, or more samples")
    kept.sort(key=lambda one: one.cross_entropy)
    C = frame.C[frame.held]
    weights = mixed([one.logits for one in kept], C)
    mean = _weighted([one.logits for one in kept], weights)
    if calibrated(mean, C)[1] >= _PAYS * kept[0].cross_entropy:
        weights = np.eye(len(kept))[0]
    tried = tuple(
        TriedClasses(
            name=one.name,
            error=one.error,
            cross_entropy=one.cross_entropy,
            samples=len(frame.held),
            weight=float(weight),
        )
        for one, weight in zip(kept, weights, strict=True)
    )
    # The weights are of calibrated logits; members have theirs as they are.
    shares = np.array([w / one.temperature for one, w in zip(kept, weights, strict=True)])
    shares /= shares.sum()
    chosen = [(one, share) for one, share in zip(kept, shares.tolist(), strict=True) if share > 0]
    members = [
        Member(
            features=member.features,
            y_shift=member.y_shift,
            y_scale=member.y_scale,
            W=member.W,
            weight=member.weight * share,
            group=group,
        )
        for group, (one, share) in enumerate(chosen)
        for member in one.members()
    ]
    networks = [one for one, _ in sorted(chosen, key=lambda pair: -pair[1]) if one.history]
    networks += [one for one in kept if one.history]
    logits = _weighted([one.logits * one.temperature for one in kept], shares)
    return Choice(
        members=tuple(members),
        tried=tried,
        rows=frame.held,
        logits=logits,
        temperature=calibrated(logits, C)[0],
        history=networks[0].history if networks else (),
        train=np.sort(frame.final),
    )


def _weighted(logits: Sequence[Tensor], weights: npt.NDArray[np.float64]) -> Tensor:
    return torch.stack([float(w) * one for one, w in zip(logits, weights, strict=True)]).sum(dim=0)
