r"""The choice of a surrogate: its kind, size and regularisation by held-out errors.

Candidates are members of one family, features with a linear layer on them:

    ridge       the inputs, and their products (`ridge`)
    rbf         radial basis functions at the samples, with a polynomial trend, or products over the
                inputs (`kernel`); if there are few outputs, also with scales for each output; of
                values alone, and with derivatives (`enhanced`)
    networks    by GNvpro (`fit`), of several kinds, widths and weights alpha1; the best also with a
                larger alpha2 and with a linear part (`contest`)

and, if training starts from another surrogate, the candidates of `start`.

Each candidate is judged on samples that it has not seen. Ridge and rbf have residuals of left-out
samples in closed form. If rbf comes near the best, its residuals are multiplied by the factor by
which errors grow when the scales are found again without each fold. Networks are trained on folds,
and the held-out samples stop them: first for a share of the work on one or two folds, then the best
on all (successive halving; Jamieson and Talwalkar 2016, "Non-stochastic best arm identification and
hyperparameter optimization"). With more than `FOLDED` samples the dataset's own validation part is
the only fold.

Errors are mean squares in the units of training. The prediction is a mean of the members, with
weights >= 0 of sum one that minimise its held-out error, if this error is a twentieth below the
best member's; otherwise it is the best member. Outputs that are unlike have weights of their own
(`stacking`). A network that was trained on folds is the mean of the networks of its folds.

All that is drawn or decided depends only on the samples and the seed, not on wall-clock time or the
number of processes. Costs are estimated from sizes (`contest`).
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
from ..slopes import Used
from .contest import Contest
from .effort import Asked, Terms
from .enhanced import enhanced
from .folds import Rows
from .frame import Candidate, Frame, framed
from .kernel import Kriging
from .regression_candidates import kernels, ridges
from .squares import Squares
from .stacking import chosen, weighted

_FAR = 6.0  # times the least error: a member with independent errors has the least weight there


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A candidate and its held-out error.

    Attributes:
        name: The candidate in words.
        error: Root mean square of the held-out residuals over the outputs' spreads.
        samples: Number of held-out samples.
        weight: Its weight in the prediction; the mean over the outputs if they have their own.
    """

    name: str
    error: float
    samples: int
    weight: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The chosen surrogate.

    Attributes:
        members: Members, whose weighted mean predicts.
        tried: All candidates, in the order of their errors.
        rows: Samples that were held out, indices into the dataset.
        residual: Prediction less c there, (n_rows, n_out), units of c.
        variance: Kriging's variance of the residual, up to a factor for each output, (n_rows,);
            None if no kernel is a member.
        kriging: The kernel that is a member; None if none is.
        history: History of the network with the largest weight, or else of the best one tried.
        train: Rows of the samples that the members have seen.
        interrupted: Whether it is the best of what was tried until it was told to stop.
        used: The derivatives that the member with the largest weight of those has used that were
            trained with derivatives; their samples are those of all folds. None if none was.
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
    used: Used | None = None


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
        candidates = _grown([*candidates, *kernels(frame, asked), *enhanced(frame, asked)])
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
    """Multiply the residuals of candidates within ``near`` times the least error by their factors.

    It may be the least error of any output, which can have weights of its own. The factors of other
    candidates would not matter.
    """
    candidates = sorted(candidates, key=lambda candidate: candidate.score)
    while any(candidate.growth is not None for candidate in candidates):
        scores = torch.stack([candidate.scores for candidate in candidates])
        of_any = (scores <= near**2 * scores.amin(dim=0)).any(dim=1).tolist()
        within = [
            c.growth is not None and (by_output or c.score <= near**2 * candidates[0].score)
            for c, by_output in zip(candidates, of_any, strict=True)
        ]
        if not any(within):
            break
        k = within.index(True)
        candidates[k] = candidates[k].grown()
        candidates.sort(key=lambda candidate: candidate.score)
    return candidates


def networks(
    frame: Frame, asked: Asked, best: float, starts: Sequence[Member] = ()
) -> list[Candidate]:
    """Return the networks that won the contest, each the mean over its folds."""
    assert frame.data.scaling is not None
    directions = 0.0
    if asked.settings.derivatives.weight != 0 and frame.dataset.info.task == "regression":
        directions = _derivatives(frame) / len(frame.rows)
    contest = Contest(
        dataset=frame.dataset,
        folds=frame.folds,
        judge=Squares(
            scale=frame.data.scaling.scale,
            n_seen=min(int(frame.C.shape[1] * (1 + directions)), frame.dataset.C.shape[1]),
            directions=directions,
        ),
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
                    weight=share,
                )
                for result, share in zip(results, _shares(results), strict=True)
            ]

        history = winner.results[0].history
        candidates.append(
            Candidate(
                name=winner.name,
                residual=residual,
                members=members,
                history=history,
                used=winner.results[0].used,
            )
        )
    return candidates


def _shares(results: Sequence[FitResult]) -> list[float]:
    """Return the weights of the networks of the folds, of sum one.

    Networks of values alone are alike, and weigh the same. Derivatives bring most networks far
    nearer to the solution, and those in a poor minimum not at all. Their error would be that of
    the mean, and so each weighs by the inverse square of its score, in which the derivatives of its
    held-out samples count too.
    """
    if any(result.used is None for result in results):
        return [1 / len(results)] * len(results)
    scores = np.array([min(one.validation_score for one in result.history) for result in results])
    weights = np.maximum(scores / scores.max(), 1e-6) ** -2.0
    shares: list[float] = (weights / weights.sum()).tolist()
    return shares


def _combined(frame: Frame, candidates: list[Candidate]) -> Selection:
    """Find the candidates' weights, and order them by error."""
    check(bool(candidates), "no candidate could be fitted; take other settings")
    rows = chosen([candidate.residual for candidate in candidates])
    weights = rows.mean(axis=1)
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
    shares = torch.from_numpy(rows[weights > 0])
    krigings = [candidate for candidate, _ in kept if candidate.kriging is not None]
    members = [
        dataclasses.replace(
            member,
            weight=member.weight * weight,
            weights=member.weight * share if len(share) > 1 else None,
            group=group,
            kriging=bool(krigings) and candidate is krigings[0],
        )
        for group, ((candidate, weight), share) in enumerate(zip(kept, shares, strict=True))
        for member in candidate.members()
    ]
    trained = [c for c, _ in sorted(kept, key=lambda pair: -pair[1]) if c.history]
    trained += [candidate for candidate in candidates if candidate.history]
    assert frame.data.scaling is not None
    residual = weighted([candidate.residual for candidate, _ in kept], shares)
    along = [c.used for c, _ in sorted(kept, key=lambda pair: -pair[1]) if c.used is not None]
    return Selection(
        members=tuple(members),
        tried=tried,
        rows=frame.held,
        residual=residual * frame.data.scaling.scale,
        variance=krigings[0].variance if krigings else None,
        kriging=krigings[0].kriging if krigings else None,
        history=trained[0].history if trained else (),
        train=frame.rows,
        used=_of_all(frame, along[0]) if along else None,
    )


def _of_all(frame: Frame, used: Used) -> Used:
    """Count the samples with derivatives among all rows, of which a fold's network sees a part."""
    found = frame.dataset.derivatives(frame.rows)
    assert found is not None
    samples = int(found.there.any(axis=1).sum())
    return dataclasses.replace(used, samples=samples)


def _derivatives(frame: Frame) -> int:
    """Count the directions with derivatives of all samples."""
    found = frame.dataset.derivatives(frame.rows)
    return 0 if found is None else int(found.there.sum())
