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

import numpy as np
import torch
from torch import Tensor

from surrogates.config import check
from surrogates.data import Dataset

from .. import pool
from ..fit import FitResult
from ..history import Record
from ..member import Member
from .contest import Contest
from .effort import Asked, Terms
from .folds import Rows
from .frame import Candidate, Frame, framed
from .kernel import Kriging
from .regression_candidates import kernels, ridges
from .squares import Squares
from .stacking import stacked, weighted

_FAR = 6.0  # times the least error, where a member of independent errors has that weight
_PAYS = 0.95  # of the best member's error, below which members are averaged


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
        interrupted: Whether it is the best of what was tried until it was told to stop.
    """

    members: tuple[Member, ...]
    tried: tuple[Tried, ...]
    rows: Rows
    residual: Tensor
    variance: Tensor | None
    kriging: Kriging | None
    history: tuple[Record, ...]
    train: Rows
    interrupted: bool = False


def choose(
    dataset: Dataset,
    terms: Terms,
    *,
    more: Callable[[Frame, Asked, float], Sequence[Candidate]] | None = None,
) -> Selection:
    """Choose members by held-out errors (see the module's text).

    Args:
        dataset: A regression. Its training and validation samples are used, and divided anew where
            there are few.
        terms: What is asked for.
        more: Returns further candidates, such as `start.candidates`, from the samples as they are
            divided and scaled, what was asked for, and the least mean square of the others.

    Raises:
        InputError: If there are fewer than three samples, or values are not finite or too large.
        Interrupted: If ``stop`` said so before there was a candidate; else the choice is among
            those that there are.
    """
    frame = framed(dataset, terms.settings)
    with terms.at_work() as asked:
        candidates, interrupted = pool.latest(_stages(frame, asked, more))
    if interrupted:  # without those whose residuals still lack a factor
        whole = [candidate for candidate in candidates if candidate.growth is None]
        candidates = sorted(whole, key=lambda candidate: candidate.score)
    return dataclasses.replace(_combined(frame, candidates), interrupted=interrupted)


def _stages(
    frame: Frame,
    asked: Asked,
    more: Callable[[Frame, Asked, float], Sequence[Candidate]] | None,
) -> Iterator[list[Candidate]]:
    """Yield the candidates so far, each time that those of a kind are there."""
    kind, given = asked.settings.network.kind, "network.kind" in asked.given
    candidates: list[Candidate] = []
    if not given:
        candidates = list(ridges(frame))
        yield candidates
    if not given or kind == "rbf":
        candidates = _grown([*candidates, *kernels(frame, asked)])
        yield candidates
    if kind != "rbf":
        best = min((candidate.score for candidate in candidates), default=math.inf)
        candidates = [*candidates, *networks(frame, asked, best)]
        yield candidates
    if more is not None:
        best = min((candidate.score for candidate in candidates), default=math.inf)
        candidates = [*candidates, *more(frame, asked, best)]
        yield candidates
    yield _grown(candidates, _FAR)


def _grown(candidates: list[Candidate], near: float = 1.0) -> list[Candidate]:
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


def networks(
    frame: Frame, asked: Asked, best: float, starts: Sequence[Member] = ()
) -> list[Candidate]:
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
            Candidate(name=winner.name, residual=residual, members=members, history=history)
        )
    return candidates


def _combined(frame: Frame, candidates: list[Candidate]) -> Selection:
    """Weigh the candidates, the best first."""
    check(bool(candidates), "no candidate could be fitted; take other settings")
    weights = stacked([candidate.residual for candidate in candidates])
    mean = weighted([candidate.residual for candidate in candidates], weights)
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
    trained = [c for c, _ in sorted(kept, key=lambda pair: -pair[1]) if c.history]
    trained += [candidate for candidate in candidates if candidate.history]
    assert frame.data.scaling is not None
    residual = weighted([candidate.residual for candidate, _ in kept], [w for _, w in kept])
    return Selection(
        members=tuple(members),
        tried=tried,
        rows=frame.held,
        residual=residual * frame.data.scaling.scale,
        variance=krigings[0].variance if krigings else None,
        kriging=krigings[0].kriging if krigings else None,
        history=trained[0].history if trained else (),
        train=frame.rows,
    )
