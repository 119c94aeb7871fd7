r"""The choice of a classifier by held-out cross-entropies (`regression` has that of a regression).

Candidates are features with a linear layer and a softmax on them:

    linear      the inputs
    rbf         radial basis functions at the samples, with one scale for all inputs, chosen, or one
                for each, found by the restricted likelihood of the one-hot classes (`kernel`)
    networks    by GNvpro (`fit`), of several kinds, widths and weights alpha1, alpha2

Inputs and radial functions have no weights to train. Their logits l = sum_k a_k kappa(., x_k) + b
minimise the mean cross-entropy plus alpha2/2 (||l - b||^2 + ||b||^2) in the norm of the kernel's
space (kernel logistic regression; Zhu and Hastie 2005, "Kernel logistic regression and the import
vector machine"), with alpha2 from a path of values. With the eigendecomposition
kappa(x_k, x_l) = V L V^T and the features kappa(x, x_k) V L^-1/2, that norm is ||W||_F, and
`logistic` solves for W.

All candidates are judged on the same folds, each with its share of every class, by the mean
cross-entropy of the held-out logits at their best temperature. The chosen logits are calibrated in
the same way (`entropy.calibrated`), and small logits are not rewarded. The classifier's logits are
a weighted mean of its members', which is one linear layer on all their features. The weights are
not negative, and minimise the cross-entropy of the held-out logits. Their sum is free: it is one
over the temperature. A mean is taken only if its cross-entropy is a twentieth below the best
member's.

A network that was trained on folds is the mean of the networks of its folds. Its held-out logits
flatter it, as its iteration has the least loss on the same samples. They also wrong it, as the mean
is better than each network. With 100 and 300 samples of three classes the two about cancel; judged
on samples that did not choose the iteration, the means look worse by a third than they are.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from surrogates.config import check
from surrogates.data import Dataset
from surrogates.data.split import check_classes

from .. import pool
from ..config import TrainConfig
from ..data import Data
from ..fit import FitResult
from ..history import Record
from ..inner.losses import CrossEntropy
from ..member import Member
from .class_candidates import Candidate, Frame, kernels, linear
from .contest import Contest
from .effort import Asked, Terms
from .entropy import Entropy, calibrated, mixed
from .folds import Fold, Rows, available, ordered, repeated, stratified
from .frame import FOLDED
from .regression import Tried

_FOLDS = 5
_PAYS = 0.95  # members are averaged below this share of the best member's cross-entropy
_SECONDS = {"default": 60.0, "high": 600.0}  # of one core for all but networks, about
_LONGER = 3.0  # times that for 3000 samples and more


@dataclass(frozen=True, kw_only=True)
class TriedClasses(Tried):
    """A candidate, whose ``error`` is the share of held-out samples that it misclassifies.

    Attributes:
        cross_entropy: Mean over the held-out samples, at the best temperature, in nats.
    """

    cross_entropy: float


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The chosen classifier.

    Attributes:
        members: Members, whose weighted mean logits predict.
        tried: All candidates, in the order of their cross-entropies.
        rows: Samples that were held out, indices into the dataset.
        logits: Mean logits of these, before calibration, (n_rows, n_classes).
        temperature: Divides logits; it is fitted to these.
        history: History of the network with the largest weight, or else of the best one tried.
        train: Rows of the samples that the members have seen.
        interrupted: Whether it is the best of what was tried until it was told to stop.
    """

    members: tuple[Member, ...]
    tried: tuple[TriedClasses, ...]
    rows: Rows
    logits: Tensor
    temperature: float
    history: tuple[Record, ...]
    train: Rows
    interrupted: bool = False


def choose(dataset: Dataset, terms: Terms) -> Choice:
    """Choose members by held-out cross-entropies (see the module's text).

    Args:
        dataset: A classification. Its training and validation samples are used, and divided anew
            where there are few.
        terms: What is asked for.

    Raises:
        InputError: If no sample can be held out, a class has no sample, or values are not finite.
        Interrupted: If ``stop`` said so before there was a candidate; else the choice is among
            those that there are.
    """
    trend = terms.settings.network.trend
    check(trend in (None, 0), f"radial functions of classes have no trend; got {trend}")
    frame = _framed(dataset, terms.settings)
    with terms.at_work() as asked:
        budget = _SECONDS[terms.effort] * min(max(1.0, len(frame.final) / 1000), _LONGER)
        candidates, interrupted = pool.latest(_stages(frame, asked, budget))
    return dataclasses.replace(_combined(frame, candidates), interrupted=interrupted)


def _stages(frame: Frame, asked: Asked, budget: float) -> Iterator[list[Candidate]]:
    """Yield the candidates so far, each time that those of a kind are there."""
    kind, given = asked.settings.network.kind, "network.kind" in asked.given
    candidates: list[Candidate] = []
    if not given:
        candidates = list(linear(frame, asked))
        yield candidates
    if not given or kind == "rbf":
        candidates = [*candidates, *kernels(frame, asked, budget)]
        yield candidates
    if kind != "rbf":
        best = min((one.cross_entropy for one in candidates), default=math.inf)
        candidates = [*candidates, *_networks(frame, asked, best)]
        yield candidates


def _framed(dataset: Dataset, settings: TrainConfig) -> Frame:
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
    return Frame(
        dataset=dataset,
        folds=folds,
        final=final,
        held=np.sort(np.concatenate([fold.held for fold in folds])),
        X=X,
        C=torch.from_numpy(dataset.C),
        y_shift=data.y_shift,
        y_scale=data.y_scale,
    )


def _networks(frame: Frame, asked: Asked, best: float) -> Iterator[Candidate]:
    """Return the networks that won the contest, each the mean over its folds."""
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
        yield Candidate.of(winner.name, logits, frame.C[frame.held], members, history)


def _combined(frame: Frame, candidates: Sequence[Candidate]) -> Choice:
    """Average the candidates if that pays, and make the members."""
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
    # The weights are for calibrated logits; the members' logits are not calibrated.
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
