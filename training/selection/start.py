r"""Candidates of a selection that start from another surrogate: more data, or another fidelity.

With c_old(y) the old surrogate, F its features and W_old its linear weights, the candidates, beside
those that do not use it, are the best of each of

    c_old        unchanged;  a + b c_old, for each output;  or F with W, by ridge regression towards
                 W_old: the objective at theta_old, with alpha2 chosen by left-out errors
    + rbf        b c_old(y) + delta(y), delta by kernel regression, as in co-kriging (Kennedy and
                 O'Hagan 2000, "Predicting the output from a complex computer code when fast
                 approximations are available")
    old network  networks that start at theta_old, with theta_ref = theta_old and W_ref = W_old,
                 from a contest over alpha1 and alpha2

Targets and c_old are scaled as in training, with all outputs: few samples span only a part of the
outputs' space, and c_old is not projected onto it.

On samples that the old surrogate was trained on, its errors are training errors, and all of these
candidates would look too good. A surrogate's file identifies these samples by checksums. A
candidate's residuals there are enlarged to the mean square on the n new samples, plus its
deviation, sqrt(2/n): only new samples decide, and error bars are no smaller than on these. With
fewer than `NEW` new held-out samples this is too uncertain: there are no candidates from the old
surrogate, and training warns of it. Nested designs of two fidelities have samples of a known y with
another c. These are new here, but c_old has less error against its own fidelity there than
elsewhere: their residuals are enlarged by the old surrogate's own held-out error.

With the coarse samples themselves (``--coarse``), the corrections of nested designs are fitted to
exact differences, c - c_coarse at the same y, in place of c - c_old: they hold no error of c_old,
which is often larger than the difference of the fidelities. The correction is then applied to
c_old, and its residuals are enlarged as above. One more correction is then tried, of all outputs by
all, c = c_old + a + B c_old, B by ridge regression: discretisation errors of outputs go together.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import torch
from torch import Tensor

from surrogates.config import replaced
from surrogates.data import Dataset
from surrogates.model.radial import Joined

from ..data import Part
from ..features import CHUNK
from ..initial import settings_of
from ..member import Member
from ..scaling import Scaling
from ..weights import Mask, Start
from . import kernel
from .effort import Asked
from .folds import Rows
from .frame import Candidate, Frame
from .kernel import CENTRES
from .regression import networks
from .regression_candidates import MANY, kernels
from .ridge import shrunk

NEW = 8
"""Least number of new samples to judge the old surrogate by, if it has seen other samples."""

_WIDE = 2048  # most outputs of a correction of all by all
_FITTED = 5  # least number of samples to fit b
_NEGLIGIBLE = 1e-12  # times a sum of squares; a smaller one is rounding


def candidates(
    start: Start, dataset: Dataset, frame: Frame, asked: Asked, best: float
) -> list[Candidate]:
    """Return the candidates that start from a surrogate.

    Args:
        start: The surrogate.
        dataset: The samples as the file has them, for their checksums.
        frame: The same, divided and scaled.
        asked: The arguments of the selection.
        best: Least mean square of the other candidates.
    """
    known, shared = (torch.from_numpy(mask[frame.held]) for mask in start.overlap(dataset))
    if too_few(known.numpy()):
        return []
    old = _Old.of(start, frame)
    found: list[list[Candidate]] = []
    if start.coarse is not None:
        old, paired = old.exact(start, dataset)
        shared = shared | paired
    if "network.kind" not in asked.given:
        found.append([old.itself(), old.affine(), old.shrunk()])
        if start.coarse is not None and frame.dataset.C.shape[1] <= _WIDE:
            found[0].append(old.linear())
    if "network.kind" not in asked.given or asked.settings.network.kind == "rbf":
        found.append(old.corrected(asked))
    starts = start.networks()
    if asked.settings.network.kind != "rbf" and starts:
        own = settings_of(starts[0].features)
        if all(attrgetter(key)(asked.settings) == own[key] for key in asked.given & own.keys()):
            settings = replaced(asked.settings, own)
            asked = dataclasses.replace(asked, settings=settings, given=asked.given | own.keys())
            found += [[one] for one in networks(frame, asked, best, starts)]
    error = start.error / old.scaling.scale

    def honest(candidate: Candidate) -> Candidate:
        residual = enlarged(candidate.residual, known, shared, error)
        return dataclasses.replace(candidate, residual=residual)

    return [min(map(honest, group), key=lambda one: one.score) for group in found if group]


def too_few(known: Mask) -> bool:
    """Return whether there are too few new samples to judge the old surrogate."""
    return bool(known.any()) and int((~known).sum()) < NEW


def enlarged(residual: Tensor, known: Tensor, shared: Tensor, error: Tensor) -> Tensor:
    """Enlarge residuals to those of samples that the old surrogate has not seen.

    Args:
        residual: Scaled residuals on held-out samples, (n, n_out).
        known: Whether the old surrogate was trained on each, (n,).
        shared: Whether it was trained on its y with another c, (n,).
        error: Its own held-out error, scaled, (n_out,).
    """
    residual = residual.clone()

    def size(rows: Tensor) -> float:
        return float(residual[rows].square().mean().clamp(min=1e-300))

    if bool(shared.any()):
        more = float(error.square().nanmean().nan_to_num())
        residual[shared] *= math.sqrt(1 + more / size(shared))
    if bool(known.any()):
        expected = size(~known) * (1 + math.sqrt(2 / int((~known).sum())))
        residual[known] *= math.sqrt(max(1.0, expected / size(known)))
    return residual


@dataclass(frozen=True, kw_only=True)
class _Old:
    """The old surrogate on a frame.

    Attributes:
        member: The surrogate, as one member.
        frame: The samples.
        scaling: Scaling of all outputs, without a basis.
        T: Scaled targets of the frame's rows, (n, n_out).
        G: Scaled predictions there.
        T_held: Scaled targets of the one fold's held-out samples, unless the frame is closed.
        G_held: Scaled predictions there.
    """

    member: Member
    frame: Frame
    scaling: Scaling
    T: Tensor
    G: Tensor
    T_held: Tensor
    G_held: Tensor

    @classmethod
    def of(cls, start: Start, frame: Frame) -> _Old:
        """Predict the samples."""
        assert frame.data.scaling is not None
        scaling = dataclasses.replace(frame.data.scaling, basis=None)
        member = start.whole()

        def both(rows: Rows) -> tuple[Tensor, Tensor]:
            Y, C = (torch.from_numpy(X[rows]) for X in (frame.dataset.Y, frame.dataset.C))
            pieces = [member.predict(piece) for piece in torch.split(Y, CHUNK)]
            return scaling.apply(C)[0], scaling.apply(torch.cat(pieces))[0]

        T, G = both(frame.rows)
        T_held, G_held = (T, G) if frame.closed else both(frame.held)
        return cls(
            member=member, frame=frame, scaling=scaling, T=T, G=G, T_held=T_held, G_held=G_held
        )

    def exact(self, start: Start, dataset: Dataset) -> tuple[_Old, Tensor]:
        """Return the same with coarse solves in place of predictions, and where it has them.

        Args:
            start: The surrogate, with coarse samples.
            dataset: The samples as the file has them.

        Returns:
            The same, and a mask of the held-out samples with a coarse solve, (n_held,).
        """
        assert start.coarse is not None
        pairs, C = start.pairs(dataset), start.coarse.C
        logs = getattr(start.surrogate.module, "logs", None)
        if logs is not None:
            marks = np.asarray(logs.outputs, dtype=bool)
            with np.errstate(invalid="ignore", divide="ignore"):  # noise about zero
                C = np.where(marks, np.log(C), C)

        def solved(rows: Rows, G: Tensor) -> tuple[Tensor, Tensor]:
            values = self.scaling.apply(torch.from_numpy(C[pairs[rows]]))[0]
            there = torch.from_numpy(pairs[rows] >= 0) & values.isfinite().all(dim=1)
            return torch.where(there[:, None], values, G), there

        G, paired = solved(self.frame.rows, self.G)
        G_held = G
        if not self.frame.closed:
            G_held, paired = solved(self.frame.held, self.G_held)
        return dataclasses.replace(self, G=G, G_held=G_held), paired

    def itself(self) -> Candidate:
        """Return the unchanged old surrogate."""
        residual = self.G_held - self.T_held
        return Candidate(name="old", residual=residual, members=lambda: [self.member])

    def affine(self) -> Candidate:
        """Return a + b c_old, by least squares for each output."""
        g, t = self.G - self.G.mean(dim=0), self.T - self.T.mean(dim=0)
        size = g.square().sum(dim=0)
        b = self._quotient((g * t).sum(dim=0), size, size + self.G.square().sum(dim=0))
        a = self.T.mean(dim=0) - b * self.G.mean(dim=0)
        residual = a + b * self.G_held - self.T_held
        if self.frame.closed:
            leverage = 1 / len(g) + g.square() / size.clamp(min=1e-300)
            residual = residual / (1 - leverage).clamp(min=1e-5)
        return Candidate(
            name="old, affine",
            residual=residual,
            members=lambda: [self._scaled_by(b, a)],
        )

    def shrunk(self) -> Candidate:
        """Return the old features with W by ridge regression towards W_old."""
        some = slice(None, None, 1 if self.frame.closed else -(-len(self.T) // MANY))
        F = self._features(self.frame.rows[some])
        weights, residual = shrunk(F, (self.T - self.G)[some], self.frame.same)
        if not self.frame.closed:
            pieces = self.frame.held, self.G_held, self.T_held
            residual = torch.cat(
                [
                    G + self._features(rows.numpy()) @ weights[:, :-1].T + weights[:, -1] - T
                    for rows, G, T in zip(
                        *(torch.split(torch.as_tensor(X), CHUNK) for X in pieces), strict=True
                    )
                ]
            )
        W = self.member.W + self.scaling.scale[:, None] * weights
        return Candidate(
            name="old features",
            residual=residual,
            members=lambda: [dataclasses.replace(self.member, W=W)],
        )

    def linear(self) -> Candidate:
        """Return c_old + a + B c_old of all outputs, by ridge regression."""
        some = slice(None, None, 1 if self.frame.closed else -(-len(self.T) // MANY))
        weights, residual = shrunk(self.G[some], (self.T - self.G)[some], self.frame.same)
        B, a = weights[:, :-1], weights[:, -1]
        if not self.frame.closed:
            residual = self.G_held + self.G_held @ B.T + a - self.T_held
        W = self.member.W / self.scaling.scale[:, None]
        W[:, -1] -= self.scaling.shift / self.scaling.scale
        W = W + B @ W
        W[:, -1] += a
        W *= self.scaling.scale[:, None]
        W[:, -1] += self.scaling.shift
        return Candidate(
            name="old, linear",
            residual=residual,
            members=lambda: [dataclasses.replace(self.member, W=W)],
        )

    def corrected(self, asked: Asked) -> list[Candidate]:
        """Return b c_old plus kernel regressions of the rest."""
        b = self._slopes()
        E, E_held = self.T - b * self.G, self.T_held - b * self.G_held
        size = E.square().sum(dim=0)
        kept = size > _NEGLIGIBLE * size.max()
        if not bool(kept.any()):
            return []
        basis = torch.eye(len(kept), dtype=E.dtype)[:, kept]
        shift = torch.zeros_like(self.scaling.shift)
        scaling = dataclasses.replace(self.scaling, shift=shift, basis=basis)
        data = self.frame.data
        train = Part(Y=data.train.Y, C=E @ basis, scaling=scaling, whole=E)
        held = data.validation  # not used if the frame is closed
        if not self.frame.closed:
            held = Part(Y=held.Y, C=E_held @ basis, scaling=scaling, whole=E_held)
        residuals = dataclasses.replace(data, train=train, validation=held, scaling=scaling)
        frame = dataclasses.replace(self.frame, data=residuals)
        found = kernels(frame, asked, apart=False)
        return [self._joined(one.grown(), frame, b) for one in found]

    def _slopes(self) -> Tensor:
        """Return b by least squares beside a trend, linear if samples are enough, (n_out,)."""
        X = self.frame.X
        n, n_in = X.shape
        trend = X.new_ones((n, 1))
        if n >= 2 * (n_in + 2):
            trend = torch.cat([X, trend], dim=1)
        Q, _ = torch.linalg.qr(trend)
        g, t = (V - Q @ (Q.T @ V) for V in (self.G, self.T))
        return self._quotient((g * t).sum(dim=0), g.square().sum(dim=0), self.G.square().sum(dim=0))

    def _joined(self, candidate: Candidate, frame: Frame, b: Tensor) -> Candidate:
        """Return b c_old and a kernel regression as one candidate, b fitted beside the kernel.

        For given scales, b comes from generalised least squares, and left-out residuals are in
        closed form: a trend g = c_old of one output takes P g (P g)^T / (g^T P g) off P (see
        `kernel`). Both come from the left-out residuals of T and G. The factor by which residuals
        grow when the scales are found again is the candidate's.
        """
        kriging, residual, X = candidate.kriging, candidate.residual, self.frame.X
        assert kriging is not None and frame.data.scaling is not None
        both = None
        if self.frame.closed and self.frame.same is None and len(X) <= CENTRES:
            both = kernel.solve(X, torch.cat([self.T, self.G], dim=1), kriging.fit)
        if both is not None:
            grown = float(residual.norm() / kriging.left_out.norm().clamp(min=1e-300))
            diagonal = 1 / both.variance[:, None]
            PT, PG = (-both.left_out * diagonal).tensor_split(2, dim=1)
            size = (self.G * PG).sum(dim=0)
            g = self.G - self.G.mean(dim=0)
            b = self._quotient(
                (self.G * PT).sum(dim=0), size, g.square().sum(dim=0) * diagonal.min()
            )
            fitted = self._quotient(size, size, g.square().sum(dim=0) * diagonal.min(), 0.0)
            left = diagonal - fitted * PG.square() / size.clamp(min=1e-300)
            residual = -grown * (PT - b * PG) / torch.maximum(left, 1e-5 * diagonal)
            basis = frame.data.scaling.basis
            assert basis is not None
            kriging = kernel.solve(X, (self.T - b * self.G) @ basis, kriging.fit) or kriging

        def members() -> Sequence[Member]:
            (delta,) = candidate.members()
            old = self._scaled_by(b, torch.zeros_like(b))
            W = frame.data.physical(kriging.weights)
            parts, zeros = (delta, old), torch.zeros_like(old.y_shift)
            return [
                Member(
                    features=Joined(
                        [part.features for part in parts],
                        torch.stack([part.y_shift for part in parts]),
                        torch.stack([part.y_scale for part in parts]),
                    ),
                    y_shift=zeros,
                    y_scale=zeros + 1,
                    W=torch.cat([W[:, :-1], old.W[:, :-1], W[:, -1:] + old.W[:, -1:]], dim=1),
                )
            ]

        return dataclasses.replace(
            candidate,
            name=f"old + {candidate.name}",
            residual=residual,
            members=members,
            kriging=kriging,
        )

    def _quotient(self, over: Tensor, size: Tensor, unit: Tensor, other: float = 1.0) -> Tensor:
        """Divide by a size, (n_out,); a constant if the size is rounding or samples are too few."""
        determined = (size > _NEGLIGIBLE * unit) & (unit > 1e-300) & (len(self.T) >= _FITTED)
        return torch.where(determined, over / size.clamp(min=1e-300), other)

    def _scaled_by(self, b: Tensor, a: Tensor) -> Member:
        """Return a + b c_old, a and b for scaled outputs, as a member."""
        W = b[:, None] * self.member.W
        W[:, -1] += self.scaling.shift * (1 - b) + self.scaling.scale * a
        return dataclasses.replace(self.member, W=W)

    def _features(self, rows: Rows) -> Tensor:
        Y = torch.from_numpy(self.frame.dataset.Y[rows])
        with torch.no_grad():
            return self.member.features.forward((Y - self.member.y_shift) / self.member.y_scale)
