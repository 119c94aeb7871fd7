"""The design of further samples: a `Designer`, and `suggest` for one batch."""

from __future__ import annotations

import os
import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import scipy.spatial

from surrogates import given
from surrogates.errors import check
from surrogates.types import Array

from . import greedy
from .candidates import DOMAINS, checked, drawn, ends
from .evidence import ratios
from .posterior import Posterior, posterior
from .sizes import MEASURES, Sizes, places

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate

CANDIDATES = 10_000
"""Number of candidates that are drawn for a batch."""

_PER_POINT = 10  # candidates of a large batch
_EVALUATED = 500  # points over which errors are averaged
_SAME = 1e-6  # in standard deviations of the inputs: points as near are one, in single precision


_THERE: weakref.WeakSet[Designer] = weakref.WeakSet()


def _after_fork() -> None:
    """Renew the locks in a forked child: a thread that it does not have may hold one."""
    for designer in list(_THERE):
        designer._renew_lock()


os.register_at_fork(after_in_child=_after_fork)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a batch is expected to bring.

    Attributes:
        before: Mean expected error of the surrogate over the domain, by its error bars and in the
            measure; points that are pending or were ingested count as taken.
        after: The same once the batch is solved for too, with features as they are.
        outside: Number of the batch's points outside the domain of the training samples.
        candidates: Number of candidates.
    """

    before: float
    after: float
    outside: int
    candidates: int


class Designer:
    """Suggests samples that take much off a surrogate's error.

    Points are chosen among candidates that are drawn as the problem draws samples (see
    `surrogates.design.candidates`), one after the other, by what they take off the expected error
    (see `surrogates.design.greedy`). Nothing but the surrogate is needed: neither its samples nor
    the problem.

        designer = Designer(surrogate, seed=0)
        Y = designer.suggest(50)
        designer.ingest(Y[:40], C)     # rows of NaN in C have failed
        Y = designer.suggest(50)       # 10 points are pending: they count as taken
        designer.surrogate = new       # after a training

    Several threads may call it. It can be pickled and copied, and goes on in forked children.

    Attributes:
        seed: Seed of the candidates: the same calls suggest the same points.
        measure: See `surrogates.design.sizes.Sizes`.
        domain: See `surrogates.design.candidates.drawn`.
        report: What the last batch is expected to bring; None before the first.
    """

    report: Report | None = None

    def __init__(
        self,
        surrogate: LoadedSurrogate,
        *,
        seed: int = 0,
        measure: str = "relative",
        domain: str = "problem",
        bounds: npt.ArrayLike | None = None,
        candidates: npt.ArrayLike | int = CANDIDATES,
        seen: npt.ArrayLike | None = None,
    ) -> None:
        """Keep the surrogate.

        Args:
            surrogate: The surrogate, of a regression.
            seed: See the attributes.
            measure: The measure of the error: ``relative``, ``spread`` or ``worst``.
            domain: ``problem`` or ``samples``.
            bounds: Lower and upper ends of the parameters, (2, n_in), in place of the problem's. If
                parameters satisfy linear relations, points within them alone are taken.
            candidates: Their number; or the candidates themselves, (n, n_in), which may lie
                anywhere.
            seen: Samples that the surrogate was trained on, (n, n_in), where they are known. They
                tell how far failures reach; and how errors depend on y, if its features fit every
                sample.

        Raises:
            InputError: If an argument is wrong, or the surrogate is a classifier or was written by
                an older version, without error bars.
        """
        check(0 <= seed < 2**63, f"the seed must be at least 0 and below 2^63; got {seed}")
        check(measure in MEASURES, f"measure {measure!r}: expected one of {', '.join(MEASURES)}")
        check(domain in DOMAINS, f"domain {domain!r}: expected one of {', '.join(DOMAINS)}")
        self.seed, self.measure, self.domain = seed, measure, domain
        self._renew_lock()
        self._seen = seen
        self.surrogate = surrogate
        self._bounds = None if bounds is None else ends(surrogate, bounds)
        self._candidates: Any = candidates
        if isinstance(candidates, int | np.integer):
            check(int(candidates) >= 1, f"expected at least one candidate; got {candidates}")
        else:
            self._candidates = checked(surrogate, candidates, "candidates")
        n_in, n_out = surrogate.n_in, surrogate.n_out
        self._pending = np.empty((0, n_in))
        self._done, self._values = np.empty((0, n_in)), np.empty((0, n_out))
        self._failed = np.empty((0, n_in))
        self._suggested = 0

    @property
    def surrogate(self) -> LoadedSurrogate:
        """The surrogate; set another one of the same inputs and outputs after a training.

        Pending and failed points stay. Those that were solved for are taken to be among the samples
        of the new one.
        """
        return self._surrogate

    @surrogate.setter
    def surrogate(self, new: LoadedSurrogate) -> None:
        check(
            new.task == "regression",
            f"{new.path} is a classifier, without error bars: samples cannot be designed by it",
        )
        with self._lock:
            old = getattr(self, "_surrogate", None)
            if old is not None:
                for what, mine, its in (
                    ("parameters", old.y_names, new.y_names),
                    ("observables", old.c_names, new.c_names),
                ):
                    check(
                        len(mine) == len(its),
                        f"expected a surrogate of {len(mine)} {what}, as the one before; "
                        f"{new.path} has {len(its)}",
                    )
                self._done, self._values = self._done[:0], self._values[:0]
            known = self._seen
            if known is None and new.dataset is not None:
                known = new.dataset.Y[np.isfinite(new.dataset.C).any(axis=1)]
            n_in = new.n_in
            self._known = np.empty((0, n_in)) if known is None else checked(new, known, "seen")
            self._posterior: Posterior = posterior(new, self._known)
            self._surrogate = new

    @property
    def pending(self) -> Array:
        """Points that were suggested and not ingested, (n, n_in)."""
        with self._lock:
            return self._pending.copy()

    @property
    def failed(self) -> Array:
        """Points whose solves have failed, (n, n_in)."""
        with self._lock:
            return self._failed.copy()

    def suggest(self, n: int) -> Array:
        """Suggest points, (n, n_in) float64, the most valuable first; they are pending then.

        Args:
            n: Their number.

        Raises:
            InputError: If n is no whole number above 0, or fewer candidates are left.
        """
        whole = isinstance(n, int | np.integer) and not isinstance(n, bool)
        check(whole and n >= 1, f"expected a number of points of at least 1; got {n!r}")
        with self._lock:
            rng = np.random.default_rng([self.seed, self._suggested])
            C = self._candidates
            if isinstance(C, int | np.integer):
                C = drawn(
                    self._surrogate, max(int(C), _PER_POINT * n), rng, self.domain, self._bounds
                )
            taken = np.concatenate([self._pending, self._failed, self._done])
            X = np.concatenate([C, taken])
            free = self._free(C, taken)
            check(
                int(free.sum()) >= n,
                f"only {int(free.sum())} candidates are left, away from points that are pending, "
                f"solved for or failed; expected at least {n}",
            )
            at = np.sort(rng.permutation(len(C))[:_EVALUATED])
            left = greedy.Left(self._posterior, X, at, len(taken) + n)
            expected = np.where(self._away(C[at]), self._expected(C[at]), 0.0)
            for row in range(len(C), len(X)):
                left.take(row)
            free = np.append(free, np.zeros(len(taken), bool))
            found = greedy.choose(left, expected, n, free, self.measure != "relative")
            Y = X[found.rows]
            self._pending = np.concatenate([self._pending, Y])
            self._suggested += n
            self.report = Report(
                before=found.before,
                after=found.after,
                outside=int((~self._surrogate.in_domain(Y)).sum()),
                candidates=len(C),
            )
            return np.array(Y)

    def ingest(self, Y: npt.ArrayLike, C: npt.ArrayLike) -> None:
        """Take the results of solves.

        They need not have been suggested. Samples take off what is uncertain about them at once.
        Where errors are larger or smaller than the error bars said, so are those that are expected
        about these samples. A new training brings more; see `surrogate`.

        Args:
            Y: Points, (n, n_in).
            C: Their observables, (n, n_out). A row of NaN alone has failed: no point is suggested
                near it, up to half the way to the next one that has not.

        Raises:
            InputError: If shapes disagree, or a number in Y is not finite.
        """
        own = self._surrogate
        Y = checked(own, np.atleast_2d(given.real(Y, own.y_names, "Y")), "Y", empty=True)
        values = np.atleast_2d(given.real(C, own.c_names, "C"))
        check(
            values.shape == (len(Y), own.n_out),
            f"expected C of shape {(len(Y), own.n_out)}, a row for each of Y; got {values.shape}",
        )
        values = np.where(np.isfinite(values), values, np.nan)
        failed = np.isnan(values).all(axis=1)
        with self._lock:
            if len(Y) and len(self._pending):
                self._pending = self._pending[self._nearest(self._pending, Y) > _SAME]
            self._failed = np.concatenate([self._failed, Y[failed]])
            self._done = np.concatenate([self._done, Y[~failed]])
            self._values = np.concatenate([self._values, values[~failed]])

    def _expected(self, E: Array) -> Array:
        """Return the expected square errors at points, (n_e,)."""
        sizes = Sizes.of(self._surrogate, self.measure, E)
        expected = sizes.expected(E)
        if len(self._done):
            logs = np.log(sizes.seen(self._done, self._values) / sizes.expected(self._done))
            scaled = self._posterior.scaled
            expected = expected * np.exp(ratios(scaled(self._done), logs, scaled(E)))
        return np.asarray(expected)

    def _free(self, C: Array, taken: Array) -> npt.NDArray[np.bool_]:
        """Return which candidates may be chosen: neither taken nor near a failure."""
        free = self._away(C)
        if len(taken):
            free &= self._nearest(C, taken) > _SAME
        return free

    def _away(self, Y: Array) -> npt.NDArray[np.bool_]:
        """Return which points are far enough from failures."""
        away = np.ones(len(Y), bool)
        others = np.concatenate([self._known, self._done, self._pending])
        if len(self._failed) and len(others):
            radius = self._nearest(self._failed, others) / 2
            own = self._surrogate
            far = scipy.spatial.distance.cdist(places(own, Y), places(own, self._failed))
            away = (far > radius).all(axis=1)
        return np.asarray(away)

    def _nearest(self, Y: Array, others: Array) -> Array:
        """Return the distances of points from the next of others, in deviations of inputs."""
        tree = scipy.spatial.cKDTree(places(self._surrogate, others))
        return np.asarray(tree.query(places(self._surrogate, Y))[0])

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: all but the lock."""
        with self._lock:
            return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state, with a lock of its own."""
        vars(self).update(state)
        self._renew_lock()

    def _renew_lock(self) -> None:
        self._lock = threading.RLock()
        _THERE.add(self)


def suggest(
    surrogate: LoadedSurrogate | str | os.PathLike[str],
    n: int,
    *,
    seed: int = 0,
    measure: str = "relative",
    domain: str = "problem",
    candidates: npt.ArrayLike | int = CANDIDATES,
) -> Array:
    """Suggest samples to solve for next, as ``surrogates suggest`` does: (n, n_in) float64.

    Args:
        surrogate: The surrogate, or its file.
        n: Number of samples.
        seed: Seed of the candidates.
        measure: As for `Designer`.
        domain: As for `Designer`.
        candidates: As for `Designer`.

    Raises:
        InputError: If an argument is wrong, or the surrogate has no error bars.
    """
    if isinstance(surrogate, str | os.PathLike):
        from surrogates.loading import load

        surrogate = load(surrogate)
    about: dict[str, Any] = {"measure": measure, "domain": domain, "candidates": candidates}
    return Designer(surrogate, seed=seed, **about).suggest(n)
