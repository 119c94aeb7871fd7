r"""Find a buried body from its potential differences, and check the intervals over many truths.

    python scripts/examples/inversion.py dcr.pt [--truths 20] [--steps 2000] [--seed 1]

For each of many bodies drawn from the prior, data are made by the PDE on a finer mesh, with noise
(`buried_body` has both, and the prior). Then, with the surrogate alone:

1. Gauss-Newton (`scipy.optimize.least_squares`) with its Jacobian, from eight starts: often there
   are two minima, with different volumes and rotations, that fit nearly as well;
2. the posterior of y by an ensemble of walkers (emcee), evaluated in batches. Half of the moves
   are by differential evolution (ter Braak, "A Markov chain Monte Carlo version of the genetic
   algorithm differential evolution", 2006), and half to points around any of the minima, so that
   walkers change between them.

If data, noise and likelihood are consistent, a 90 % interval holds the truth for 90 % of the truths
drawn from the prior, for any PDE and data (Cook, Gelman and Rubin, "Validation of software for
Bayesian models using posterior quantiles", 2006), and the truth's rank in the posterior is uniform.
The program checks this for each parameter.

**Errors of the model.** The likelihood has the covariance of the noise and of the surrogate's
errors (`buried_body`); the program prints by how much the latter widens the posterior. The
discretisation error of the training data is not in it, as the surrogate cannot know it. The shifts
by this error and by the surrogate's, in posterior standard deviations, are measured at the truths
and printed: the coverage is reliable if they are well below one, as at this noise.

**Rotation** is an angle, and walkers must be able to pass its ends: the ensemble has four
coordinates (depth, volume, r cos a, r sin a). The angle a turns once while the rotation crosses its
box. The radius r has no meaning; a density exp(-(r - 1)^2 / 0.02), equal for all angles, keeps it
near 1. Quantiles of the rotation are taken within half its turn of the circular mean.

**Against the PDE.** The same fit of the first truth, from the same starts, runs with the PDE on the
training data's mesh and its tangents, with four solves for each point. The ensemble's time with the
PDE is its number of evaluations times the seconds of a solve. The data's finer mesh takes 4 GB of
memory for some seconds, more than all the rest.
"""

from __future__ import annotations

import math
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from buried_body import NAMES, PDE, BuriedBody, Mixture, autocorrelation
from program import missing, program, say
from scipy.stats import binom

from surrogates.config import check
from surrogates.plots.style import BLUE, GREEN, GREY, RED
from surrogates.types import Array

try:
    import emcee
except ImportError as error:
    missing(error)

WALKERS, RING, LEVEL = 32, 0.1, 0.9


@dataclass(frozen=True, kw_only=True)
class Inversion:
    """The results for one truth; rotations are within half a turn of the samples' mean.

    Attributes:
        truth: (3,).
        fit: The best fit, (3,).
        samples: Samples of the posterior, (n, 3).
        starts: Starts of the fits, (8, 3).
        evaluations: Evaluations of c and dc/dy in the fits.
        seconds: Seconds of the fit, and of the ensemble.
        tau: The longest autocorrelation time of the coordinates, in steps.
    """

    truth: Array
    fit: Array
    samples: Array
    starts: Array
    evaluations: int
    seconds: tuple[float, float]
    tau: float

    @property
    def effective(self) -> float:
        """Effective number of independent samples."""
        return len(self.samples) / self.tau

    @property
    def interval(self) -> Array:
        """Ends of the central interval of `LEVEL`, (2, 3)."""
        return np.quantile(self.samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)

    @property
    def rank(self) -> Array:
        """Share of the samples below the truth, (3,)."""
        return (self.samples < self.truth).mean(axis=0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Invert, count and draw; return the exit status."""
    options = {
        "truths": (20, "bodies"),
        "steps": (2000, "of the ensemble, for each of them"),
        "seed": (1, "of truths, noise and ensembles"),
        "out": ("inversion.png", "figure"),
    }
    return program(__doc__.splitlines()[0], options, study, 8.2, arguments)


def study(options: Namespace, figure: Any) -> None:
    """Print the tables and draw the figure."""
    n, steps = options.truths, options.steps
    check(n >= 1, f"--truths must be at least 1; got {n}")
    check(steps >= 100, f"--steps must be at least 100; got {steps}")
    body = BuriedBody(options.surrogate)
    rng = np.random.default_rng(options.seed)
    truths = body.draw(n, rng)

    say("solving for the data")
    exact, trained = (np.array([pde(y) for y in truths]) for pde in (PDE(body.finer), body.pde))
    per_solve = body.pde.seconds / body.pde.solves
    data = exact + body.noise * rng.standard_normal(exact.shape)
    report_errors(body, truths, exact, trained)

    print("      " + "".join(f"{name:>24}" for name in NAMES) + "    ESS    tau")
    print("      " + f"{'truth, 90 % interval':>24}" * 3)
    inversions = []
    for i, (truth, d) in enumerate(zip(truths, data, strict=True)):
        inversions.append(invert(body, truth, d, steps, rng))
        report_one(i, inversions[-1])
        say(f"{i + 1} of {n} truths")
    report(body, inversions)
    report_times(body, data[0], inversions, per_solve, steps)
    draw(figure, body, data[0], exact.mean(axis=0), inversions)


def invert(
    body: BuriedBody, truth: Array, d: Array, steps: int, rng: np.random.Generator
) -> Inversion:
    """Fit y to the data d, (n_c,), and sample its posterior by ``steps`` of an ensemble.

    The first quarter of the steps is left out. The truth, (3,), is used only for its rotation's
    shift.
    """
    surrogate = body.surrogate
    start = time.perf_counter()
    starts = body.starts(d, rng)
    fit = body.fit(lambda y: (surrogate.predict(y), surrogate.jacobian(y)), d, starts)
    middle = time.perf_counter()
    posterior, mixture = body.on_box(body.log_likelihood(d, fit.minima[0])), Mixture(body, fit)

    def anywhere(X: Array, random: np.random.RandomState) -> tuple[Array, Array]:
        """Propose points of the mixture with the same r; return them and the densities' ratio."""
        Y, new = parameters(body, X), mixture.draw(len(X), random)
        ratio = mixture.log_density(Y) - mixture.log_density(new)
        return coordinates(body, new, np.hypot(X[:, 2], X[:, 3])), ratio

    sampler = emcee.EnsembleSampler(
        WALKERS,
        4,
        lambda X: posterior(parameters(body, X)) + log_ring(X),
        vectorize=True,
        moves=[(emcee.moves.DEMove(), 0.5), (emcee.moves.MHMove(anywhere), 0.5)],
    )
    sampler.random_state = np.random.RandomState(rng.integers(2**32)).get_state()
    first = mixture.choose(posterior, WALKERS, rng)
    sampler.run_mcmc(coordinates(body, first, rng.normal(1, RING, WALKERS)), steps)
    chain = sampler.get_chain(discard=steps // 4)
    seconds = (middle - start, time.perf_counter() - middle)
    Y = parameters(body, chain.reshape(-1, 4))
    without_r = coordinates(body, Y, np.ones(len(Y))).reshape(chain.shape)
    angles = 2 * np.pi * (Y[:, 2] - body.lower[2]) / body.turn
    mean = np.angle(np.exp(1j * angles).mean()) / (2 * np.pi)
    centre = body.wrap(body.lower + body.turn * mean)  # only its rotation is used
    return Inversion(
        truth=body.near_to(centre, truth),
        fit=body.near_to(centre, fit.minima[0]),
        samples=body.near_to(centre, Y),
        starts=starts,
        evaluations=fit.evaluations,
        seconds=seconds,
        tau=autocorrelation(without_r),
    )


def log_ring(X: Array) -> Array:
    """Evaluate the density that keeps r near 1: X (n, 4) to (n,)."""
    return -0.5 * ((np.hypot(X[:, 2], X[:, 3]) - 1) / RING) ** 2


def parameters(body: BuriedBody, X: Array) -> Array:
    """Turn the ensemble's coordinates, (n, 4), into y, (n, 3)."""
    part = np.arctan2(X[:, 3], X[:, 2]) / (2 * np.pi) % 1
    return np.column_stack([X[:, :2], body.lower[2] + body.turn * part])


def coordinates(body: BuriedBody, Y: Array, r: Array) -> Array:
    """Turn y, (n, 3), and r, (n,), into the ensemble's coordinates, (n, 4)."""
    angle = 2 * np.pi * (Y[:, 2] - body.lower[2]) / body.turn
    return np.column_stack([Y[:, :2], r * np.cos(angle), r * np.sin(angle)])


def covered(ranks: Array) -> Array:
    """Count the truths inside their central intervals: ranks (n, k) to (k,)."""
    return (np.abs(ranks - 0.5) <= LEVEL / 2).sum(axis=0)


def expected(n: int) -> tuple[float, float, int, int]:
    """Return mean and deviation of the count for n truths, and its central 90 % interval."""
    count = binom(n, LEVEL)
    return count.mean(), count.std(), *(int(k) for k in count.interval(0.9))


def report_errors(body: BuriedBody, truths: Array, exact: Array, trained: Array) -> None:
    """Print sizes of the noise and of the errors of surrogate and mesh."""
    mean = np.array(body.surrogate.metadata["training"]["c_mean"])
    predicted = body.surrogate.predict(truths)
    centred = np.linalg.norm(exact - mean, axis=1)
    ratios = [
        np.diag(body.covariance(y, surrogate_errors=True)) / np.diag(body.covariance(y))
        for y in truths
    ]
    wider = np.sqrt(ratios).mean() - 1
    ratio = np.linalg.norm(body.noise) / centred
    print(
        f"noise: {1e6 * body.noise.min():.0f} to {1e6 * body.noise.max():.0f} microvolt, "
        f"{np.median(ratio):.2f} times centred c (median; {ratio.min():.2f} to {ratio.max():.2f})\n"
        f"the surrogate's errors widen the posterior by {100 * wider:.2f} % (mean)"
    )
    print("error of c:             of centred c, mean   shift of y [posterior sd], mean, max")
    for name, delta in (
        ("surrogate - its PDE", predicted - trained),
        ("its PDE - finer mesh", trained - exact),
        ("together", predicted - exact),
    ):
        relative = 100 * (np.linalg.norm(delta, axis=1) / centred).mean()
        shift = np.abs([body.shift(y, one) for y, one in zip(truths, delta, strict=True)])
        print(f"  {name:20}{relative:20.2f} %{shift.mean():25.3f}{shift.max():7.3f}")


def report_one(i: int, inversion: Inversion) -> None:
    """Print a line of the table; a star marks an interval without its truth."""
    cells = []
    for truth, low, high, digits in zip(
        inversion.truth, *inversion.interval, (2, 0, 2), strict=True
    ):
        star = " " if low <= truth <= high else "*"
        ends = f"{low:.{digits}f} to {high:.{digits}f}"
        cells.append(f"{truth:8.{digits}f}{star}{ends:>15}")
    print(f"{i + 1:6}" + "".join(cells) + f"{inversion.effective:7.0f}{inversion.tau:7.0f}")


def report(body: BuriedBody, inversions: list[Inversion]) -> None:
    """Print coverage, bias and widths over the truths, and whether the chains are long enough."""
    n = len(inversions)
    counts = covered(np.array([one.rank for one in inversions]))
    mean, std, low, high = expected(n)
    widths = np.array([np.diff(one.interval, axis=0)[0] for one in inversions])
    z = np.array(
        [(one.samples.mean(axis=0) - one.truth) / one.samples.std(axis=0) for one in inversions]
    )
    print(
        f"\ncoverage of {100 * LEVEL:.0f} % intervals over {n} truths; to be expected: {mean:.1f} "
        f"+- {std:.1f}, and {low} to {high} in 90 % of such runs"
    )
    print(f"{'':16}  covered   mean error [sd]   rms error [sd]   interval's width / the box's")
    for name, count, k in zip(NAMES, counts, range(3), strict=True):
        share = widths[:, k] / (body.upper - body.lower)[k]
        print(
            f"{name:16}{count:5} / {n:<3}{z[:, k].mean():10.2f} +- {1 / math.sqrt(n):.2f}"
            f"{np.sqrt((z[:, k] ** 2).mean()):17.2f}"
            f"{np.median(share):14.3f} (median; {share.min():.3f} to {share.max():.3f})"
        )
    steps = len(inversions[0].samples) / WALKERS
    taus = [one.tau for one in inversions]
    effective = [one.effective for one in inversions]
    print(
        f"autocorrelation time: {np.median(taus):.0f} steps (median), at most {max(taus):.0f}, "
        f"{steps / max(taus):.0f} times in each chain (50 or more is enough); "
        f"effective samples: {min(effective):.0f} or more"
    )


def report_times(
    body: BuriedBody,
    d: Array,
    inversions: list[Inversion],
    per_solve: float,
    steps: int,
) -> None:
    """Fit the first truth with the PDE, and compare the seconds."""
    say("the first truth again, with the PDE")
    start = time.perf_counter()
    first = inversions[0]
    fit = body.fit(body.pde.with_tangents, d, first.starts)
    seconds, y = time.perf_counter() - start, fit.minima[0]
    difference = body.near_to(y, first.fit) - y
    distance = np.abs(difference) / np.sqrt(np.diag(body.covariance(y)))
    evaluations = WALKERS * (steps + 1)
    print(
        f"fit of the first truth: {first.evaluations} points, {first.seconds[0]:.2f} s; by the "
        f"PDE: {fit.evaluations} points, {seconds:.1f} s, {seconds / first.seconds[0]:.0f} times "
        f"as long; the two differ by {distance.max():.2f} posterior sd"
    )
    ensemble = float(np.mean([one.seconds[1] for one in inversions]))
    print(
        f"ensemble: {evaluations} evaluations, {ensemble:.1f} s a truth; the same by the PDE: "
        f"{evaluations} solves of {per_solve:.3f} s, {evaluations * per_solve / 3600:.1f} hours, "
        f"{evaluations * per_solve / ensemble:.0f} times as long"
    )


def draw(figure: Any, body: BuriedBody, d: Array, mean: Array, inversions: list[Inversion]) -> None:
    """Draw data and posterior of the first truth, and the intervals and ranks of all."""
    first = inversions[0]
    top, bottom = figure.subfigures(2, 1)
    draw_maps(top, body, d, body.surrogate.predict(body.wrap(first.fit)), mean)
    left, right = bottom.subfigures(1, 2)
    draw_posterior(left, first)
    right.suptitle("all truths: 90 % intervals (red without the truth), ranks", fontsize=9)
    panels = right.subplots(2, 2).ravel()
    for k, axes in enumerate(panels[:3]):
        draw_intervals(axes, inversions, k, body)
    draw_ranks(panels[3], np.array([one.rank for one in inversions]))


def draw_maps(part: Any, body: BuriedBody, d: Array, predicted: Array, mean: Array) -> None:
    """Draw data and fit minus a mean, and residuals, in both directions."""
    stations = body.config.stations
    n1, n2 = stations.number
    x1, x2 = stations.centres[:n1, 0], stations.centres[::n1, 1]
    part.suptitle("truth 1: data and fit, minus the mean of the truths, and residual", fontsize=9)
    panels = part.subplots(2, 3, sharex=True, sharey=True)
    columns = 1e3 * (d - mean), 1e3 * (predicted - mean), (d - predicted) / body.noise
    for i, line in enumerate(panels):
        data, fit, residual = (values.reshape(2, n2, n1)[i] for values in columns)
        limit = np.abs(fit).max()
        for axes, values, bound, title in (
            (line[0], data, limit, f"data along $x_{i + 1}$ [mV]"),
            (line[1], fit, limit, f"fit along $x_{i + 1}$ [mV]"),
            (line[2], residual, 3, r"residual / $\sigma$"),
        ):
            colors = {"cmap": "RdBu_r", "vmin": -bound, "vmax": bound}
            cells = axes.pcolormesh(x1, x2, values, rasterized=True, **colors)
            axes.set(aspect="equal", title=title)
            axes.grid(False)
            if axes is not line[0]:  # data and fit share colours
                part.colorbar(cells, ax=axes, fraction=0.046)
        line[0].set_ylabel("$x_2$ [m]")
    for axes in panels[1]:
        axes.set_xlabel("$x_1$ [m]")


def draw_posterior(part: Any, one: Inversion) -> None:
    """Draw the marginals of one and of two parameters, with the truth."""
    part.suptitle("truth 1: posterior (blue), truth (red), fit (green)", fontsize=9)
    panels = part.subplots(3, 3, sharex="col")
    for i in range(3):
        for j in range(3):
            axes = panels[i, j]
            if j > i:
                axes.set_visible(False)
                continue
            if i == j:
                axes.hist(one.samples[:, i], 40, color=BLUE, alpha=0.6, density=True)
                axes.set_yticks([])
                for value, color in ((one.truth[i], RED), (one.fit[i], GREEN)):
                    axes.axvline(value, color=color, linewidth=1.2)
            else:
                axes.hexbin(
                    one.samples[:, j], one.samples[:, i], gridsize=30, cmap="Blues", mincnt=1
                )
                for value, color in ((one.truth, RED), (one.fit, GREEN)):
                    axes.plot(value[j], value[i], "o", color=color, markersize=4)
            if i == 2:
                axes.set_xlabel(NAMES[j])
            if j == 0 and i > 0:
                axes.set_ylabel(NAMES[i])
            elif j > 0 and i != j:
                axes.set_yticklabels([])


def draw_intervals(axes: Any, inversions: list[Inversion], k: int, body: BuriedBody) -> None:
    """Draw the intervals of parameter k against its truth."""
    for one in inversions:
        low, high = one.interval[:, k]
        hit = abs(one.rank[k] - 0.5) <= LEVEL / 2
        axes.plot([one.truth[k]] * 2, [low, high], color=BLUE if hit else RED, linewidth=1.6)
        axes.plot(one.truth[k], np.median(one.samples[:, k]), "o", color=BLUE if hit else RED, ms=3)
    ends = (body.lower[k], body.upper[k])
    axes.plot(ends, ends, color=GREY, linewidth=0.8)
    hits = covered(np.array([[one.rank[k]] for one in inversions]))[0]
    axes.set(
        xlabel=f"true {NAMES[k]}",
        title=f"{hits} of {len(inversions)} hold the truth",
    )


def draw_ranks(axes: Any, ranks: Array) -> None:
    """Draw the ranks' distribution functions, and a band for uniform ones."""
    n = len(ranks)
    line = np.linspace(0, 1, 201)
    axes.fill_between(
        line, *(np.array(binom(n, line).interval(0.9)) / n), color="#dddddd", linewidth=0
    )
    for k, color in enumerate((BLUE, RED, GREEN)):
        axes.step(
            np.concatenate([[0], np.sort(ranks[:, k]), [1]]),
            np.concatenate([[0], np.arange(1, n + 1), [n]]) / n,
            where="post",
            color=color,
            label=NAMES[k].split()[0],
        )
    axes.set(
        xlabel="rank of the truth",
        ylabel="share of the truths",
        title="in the band if uniform",
    )
    axes.legend(loc="upper left", fontsize=7, handlelength=1)


if __name__ == "__main__":
    sys.exit(main())
