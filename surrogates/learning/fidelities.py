r"""Coarse solves beside fine ones: what each is worth, and how a budget is divided between them.

A pilot of samples that both have solved for tells the cost w of a coarse solve in fine ones, and
u = 1 - rho^2, the share of the fine solves' variance that the best a + b c_coarse of each output
leaves. A surrogate of n_c coarse samples with a correction by n_f fine ones is taken to have

    error^2 = (1 - u) n_c^-2b + u n_f^-2b

in units of the outputs' variance, as each part is learned from its own samples with an error that
falls like n^-b. At a given cost w n_c + n_f this is least for

    n_c / n_f = ((1 - u) / (u w))^(1 / (1 + 2b))

which for b = 1/2 is the ratio of multifidelity Monte Carlo (Peherstorfer, Willcox and Gunzburger
2016, "Optimal model management for multifidelity Monte Carlo estimation"). Surrogates of smooth
maps learn faster, b = 1, and take more fine solves. Samples are counted in fine solves, each coarse
one w: so a budget, a learning curve and a projection keep their meanings.

All points of fine solves are among the coarse ones: a fine solve then shows the difference of the
fidelities itself. Only fine samples measure an error, or end a run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from surrogates.config import check, to_toml
from surrogates.data import Dataset, Status, read_info
from surrogates.files import atomic
from surrogates.progress import Told
from surrogates.types import Array

from .asked import Asked
from .samples import Samples, core_seconds, done, joined

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate

PILOT = 12
"""Samples of the first design that both fidelities solve for."""
_LEAST = 4  # pairs
_SLOPE = 1.0  # b
_CLOSEST = 1e-8  # least u: rounding, and solvers' tolerances, leave no less
_WORTH = 0.9  # most cost beside fine solves alone for which coarse ones are taken


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How fine and coarse solves divide what is spent.

    Attributes:
        cost: Cost of a coarse solve in fine ones, w.
        unexplained: u, the share of variance that coarse solves do not explain.
    """

    cost: float
    unexplained: float

    @property
    def ratio(self) -> float:
        """Coarse samples for each fine one."""
        u = self.unexplained
        return float(((1 - u) / (u * self.cost)) ** (1 / (1 + 2 * _SLOPE)))

    @property
    def relative_cost(self) -> float:
        """Cost to an error over that of fine solves alone."""
        k = 1 / (1 + 2 * _SLOPE)
        u, w = self.unexplained, self.cost
        return float(((1 - u) ** k * w ** (1 - k) + u**k) ** (1 / (1 - k)))

    @property
    def worth(self) -> bool:
        """Whether coarse solves save enough to be taken."""
        return self.ratio > 1 and self.relative_cost < _WORTH

    def divided(self, spent: float, coarse: int, fine: int) -> tuple[int, int]:
        """Return how many new coarse and fine samples bring the ratio nearest to the best.

        The new fine samples are among the new coarse ones.

        Args:
            spent: The cost of the new samples, in fine solves.
            coarse: Coarse samples that are there.
            fine: Fine samples that are there.
        """
        w, r = self.cost, self.ratio
        new = (spent + w * (coarse - r * fine)) / (1 + w * r)
        new = int(min(max(new, 0.0), spent / (1 + w)))
        return max(int((spent - new) / w), new, 1), new


def compared(fine: Dataset, coarse: Dataset) -> Shares:
    """Return the shares that samples of both fidelities at the same parameters suggest.

    The correlation of an output is that of left-out samples: the variance that remains is the mean
    square of the residuals of a + b c_coarse, each fitted without its sample. Outputs count alike.

    Raises:
        InputError: If less than 4 samples have been solved by both.
    """
    rows = {y.tobytes(): i for i, y in enumerate(coarse.Y) if coarse.status[i] == Status.DONE}
    there = [i for i in np.flatnonzero(fine.status == Status.DONE) if fine.Y[i].tobytes() in rows]
    check(
        len(there) >= _LEAST,
        f"{len(there)} samples were solved by both fidelities, and their comparison takes "
        f"{_LEAST}: `surrogates check` tells why solves fail",
    )
    pairs = [rows[fine.Y[i].tobytes()] for i in there]
    T, G = fine.C[there], coarse.C[pairs]
    seconds = [
        float(np.median(data.solver["seconds"][where]))
        for data, where in ((coarse, pairs), (fine, there))
    ]
    cost = seconds[0] / seconds[1] if min(seconds) > 0 else 1.0
    return Shares(cost=max(cost, 1e-6), unexplained=_unexplained(T, G))


def _unexplained(T: Array, G: Array) -> float:
    """Return the mean over outputs of 1 - rho^2, by left-out samples."""
    t, g = T - T.mean(axis=0), G - G.mean(axis=0)
    size, whole = (g**2).sum(axis=0), (t**2).sum(axis=0)
    varies = whole > 1e-24 * len(T) * (T**2).max(axis=0)
    if not varies.any():
        return 1.0
    b = np.where(size > 0, (g * t).sum(axis=0) / np.where(size > 0, size, 1), 0.0)
    leverage = 1 / len(T) + np.where(size > 0, g**2 / np.where(size > 0, size, 1), 0.0)
    residual = (t - b * g) / np.maximum(1 - leverage, 1e-3)
    shares = (residual**2).sum(axis=0)[varies] / whole[varies]
    return float(np.clip(shares.mean(), _CLOSEST, 1.0))


class Coarse:
    """The coarse solves of a run, and the surrogates of them.

    Args:
        asked: The arguments of the run.
        config: Its problem's settings for a coarse solve.
        folder: The run's folder.
        progress: Bar of the solves.
    """

    def __init__(self, asked: Asked, config: Any, folder: Path, progress: bool | Told) -> None:
        """Solve for nothing yet."""
        own = dataclasses.replace(asked, settings={**asked.settings, **asked.coarse})
        self.samples = Samples(own, to_toml(config), folder, progress)
        self.files: list[Path] = []
        self.shares = Shares(cost=1.0, unexplained=1.0)
        self._asked, self._folder = asked, folder

    def first(self, samples: int) -> Array:
        """Solve for a random design, and return its parameters, (samples, n_y)."""
        path = self.samples.random("000-coarse", samples, self._asked.seed)
        self.files.append(path)
        return Dataset.read(path).Y

    def at(self, name: str, points: Callable[[], Array]) -> Array:
        """Solve at chosen parameters, and return them."""
        path = self.samples.at(name, points)
        self.files.append(path)
        return Dataset.read(path).Y

    @property
    def count(self) -> int:
        """The number of coarse samples."""
        return sum(read_info(path)[1] for path in self.files)

    @property
    def fine_solves(self) -> float:
        """The cost of all coarse samples, in fine ones."""
        return self.shares.cost * self.count

    def seconds(self) -> float:
        """Return the core-seconds of all coarse samples."""
        return core_seconds(self.files, self._asked.ranks_per_sample)

    def compare(self, fine: Path) -> Shares:
        """Return the shares that the pilot suggests."""
        return compared(Dataset.read(fine), joined(self.files, self._folder))

    def data(self, files: Sequence[Path]) -> Dataset:
        """Return the samples of some of the files."""
        return joined(files, self._folder)

    def surrogate(self, number: int, files: Sequence[Path], progress: Any) -> LoadedSurrogate:
        """Return the surrogate of a round's coarse samples, which is trained unless it is there."""
        import surrogates

        path = self._folder / f"{number:03d}-coarse.pt"
        if not path.exists():
            how: dict[str, Any] = {"effort": self._asked.effort, "seed": self._asked.seed}
            training = self._asked.training or None
            found = surrogates.train(self.data(files), training, progress=progress, **how)
            if found.metadata["training"].get("reason") == "interrupted":
                raise KeyboardInterrupt("interrupted while training")
            with atomic(path) as beside:
                found.save(beside)
        return surrogates.load(path)

    def suggested(
        self, number: int, trained: Sequence[Path], candidates: Array, samples: int
    ) -> Array:
        """Return the parameters that take most off the coarse surrogate's expected error.

        Args:
            number: The round of the surrogate.
            trained: The files that it was trained on; it has not seen the others.
            candidates: Parameters to choose from.
            samples: Number to choose.
        """
        from surrogates.design.designer import Designer

        surrogate = self.surrogate(number, trained, False)
        known, _, _ = done(trained)
        about: dict[str, Any] = {"measure": self._asked.measure, "candidates": candidates}
        designer = Designer(surrogate, seed=self._asked.seed, seen=known, **about)
        others = [path for path in self.files if path not in trained]
        if others:
            Y, C, _ = done(others)
            designer.ingest(Y, C)
        _, _, failed = done(self.files)
        designer.ingest(failed, np.full((len(failed), surrogate.n_out), np.nan))
        return designer.suggest(samples)

    def said(self) -> str:
        """Return in words how the fidelities compare."""
        found = self.shares
        text = (
            f"a coarse solve costs {found.cost:.3g} of a fine one, and leaves "
            f"{100 * found.unexplained:.2g} % of the variance unexplained: "
        )
        if not found.worth:
            return text + "coarse solves do not pay here, and the run goes on without"
        return text + f"{found.ratio:.3g} coarse samples for each fine one"
