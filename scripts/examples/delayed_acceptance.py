r"""Sample the posterior of the PDE itself, with a surrogate to choose where the PDE is solved.

    python scripts/examples/delayed_acceptance.py dcr.pt [--noise 0.1] [--solves 800] [--seed 1]

A surrogate's error biases a posterior sampled with it. With few training samples or little noise
the bias shows: here the noise is a tenth of `buried_body`'s, less than a survey's, and the
surrogate may be trained on only 200 solves. Two-stage Metropolis (Christen and Fox, "Markov chain
Monte Carlo using an approximation", 2005) removes the bias. From y,

1. a subchain of k Metropolis steps of the surrogate's posterior p_s leads to y' (Liu, "Monte Carlo
   strategies in scientific computing", 2001, surrogate transition; Lykkegaard, Dodwell, Fox,
   Mingas and Scheichl, "Multilevel delayed acceptance MCMC", 2023);
2. y' is accepted with the probability min(1, p(y') p_s(y) / (p(y) p_s(y'))), with one solve of the
   PDE, and y is kept otherwise.

The subchain is reversible with respect to p_s, and hence the chain with respect to p: it samples
the PDE's posterior with any surrogate. An exact surrogate would have every y' accepted. If k is
several autocorrelation times of the first stage, y' hardly depends on y, and each solve yields
nearly an independent sample. (The steps are small: if the noise is large enough for two minima, as
often in `inversion`, a chain stays in one, and the chains start in about the right proportion.)

**Anchor.** If p_s is narrow and displaced from p, a chain stays long in the tail where p / p_s is
large, and no number of samples reveals it. The surrogate's error varies little over a posterior,
though, so that one more solve, at the surrogate's best fit y_0, removes most of it: p_s is the
posterior of c_s(y) + c(y_0) - c_s(y_0) (a simple form of the error model of Cui, Fox and
O'Sullivan, "Bayesian calibration of a large-scale geothermal reservoir model by a new adaptive
delayed acceptance Metropolis Hastings algorithm", 2011).

**Comparison.** The posteriors of the surrogate and of the anchored surrogate, by long chains;
delayed acceptance, by several chains side by side; and importance reweighting from the same solves:
the proposals y' of all subchains are samples of p_s, and are weighted by p / p_s. Each mean comes
with its Monte Carlo error. The surrogate's densities have the covariance of its errors beside that
of the noise, as in `inversion`, so that p_s is rather too wide than too narrow; p has the noise
alone. p belongs to the PDE on the training data's mesh; the data come from a finer mesh, so the
coarser mesh's error remains (the program prints the shift).

**Solves saved.** Plain Metropolis with the PDE would need one solve for each step. Its number of
steps for an independent sample, the autocorrelation time, is measured on the anchored surrogate's
posterior, which has nearly the same shape, with the same proposals: a normal distribution with
2.38^2 / 3 times the posterior's covariance by the surrogate's Jacobian (Roberts and Rosenthal,
"Optimal scaling for various Metropolis-Hastings algorithms", 2001). Such proposals favour plain
Metropolis: without a surrogate the covariance costs solves too.
"""

from __future__ import annotations

import math
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from buried_body import NAMES, PDE, BuriedBody, Density, Mixture, autocorrelation
from program import program, say

from surrogates.config import check
from surrogates.plots.style import BLUE, GREEN, GREY, RED
from surrogates.types import Array

Move = Callable[[Array, Any], tuple[Array, Any]]
CHAINS, BURN = 8, 5  # chains of delayed acceptance, and their first steps, which are left out
WALKERS, LONG = 64, 1600  # chains and steps with the surrogate alone


@dataclass(frozen=True, kw_only=True)
class Chains:
    """Results of delayed acceptance.

    Attributes:
        samples: (steps, chains, d).
        accepted: Share of the second stage's proposals that were accepted.
        proposals: y' of every step and chain, (steps, chains, d).
        log_weights: log p - log p_s there, up to a constant, (steps, chains).
    """

    samples: Array
    accepted: float
    proposals: Array
    log_weights: Array


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An estimate of a posterior's mean from samples.

    Attributes:
        mean: (d,).
        error: Its Monte Carlo error, one standard deviation, (d,).
        effective: Effective number of independent samples.
    """

    mean: Array
    error: Array
    effective: float

    @classmethod
    def of_chains(cls, chains: Array) -> Estimate:
        """Average chains, (steps, n, d)."""
        effective = chains[..., 0].size / autocorrelation(chains)
        error = chains.std(axis=(0, 1)) / math.sqrt(effective)
        return cls(mean=chains.mean(axis=(0, 1)), error=error, effective=effective)

    @classmethod
    def of_weighted(cls, samples: Array, log_weights: Array) -> Estimate:
        """Average independent samples, (n, d), by weights, (n,), known up to a factor."""
        w = np.exp(log_weights - log_weights.max())
        w /= w.sum()
        mean = w @ samples
        error = np.sqrt(w**2 @ (samples - mean) ** 2)
        return cls(mean=mean, error=error, effective=float(1 / (w**2).sum()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Sample the posteriors, compare and draw; return the exit status."""
    options = {
        "noise": (0.1, "factor of the noise's standard deviations"),
        "solves": (800, "of the PDE, by delayed acceptance"),
        "subchain": (100, "steps of the first stage for one of the second"),
        "seed": (1, "of the truth, the noise and the chains"),
        "out": ("delayed_acceptance.png", "figure"),
    }
    return program(__doc__.splitlines()[0], options, study, 3.2, arguments)


def study(options: Namespace, figure: Any) -> None:
    """Print the tables and draw the figure."""
    steps, least = options.solves // CHAINS, 2 * BURN * CHAINS
    check(options.solves >= least, f"--solves must be at least {least}; got {options.solves}")
    check(options.subchain >= 1, f"--subchain must be at least 1; got {options.subchain}")
    body = BuriedBody(options.surrogate, options.noise)
    rng = np.random.default_rng(options.seed)
    truth, d = observe(body, rng)

    def misfit(y: Array) -> float:
        return float((((body.pde(y) - d) / body.noise) ** 2).sum())

    before = body.pde.solves
    first, factor, alone, anchored = sample_surrogate(body, d, rng)
    second = body.on_box(lambda Y: np.array([-0.5 * misfit(y) for y in Y]))
    start = time.perf_counter()
    chains = delayed_acceptance(
        first,
        second,
        anchored[-1, :CHAINS],
        factor,
        subchain=options.subchain,
        steps=steps,
        rng=rng,
        on_step=time_left(steps),
    )
    seconds, solves = time.perf_counter() - start, body.pde.solves - before
    check(chains.accepted > 0, "the second stage accepted nothing: the surrogate is too far off")
    kept = chains.samples[BURN:]
    proposals, log_weights = chains.proposals.reshape(-1, 3), chains.log_weights.ravel()
    estimates = {
        "surrogate alone": Estimate.of_chains(alone),
        "anchored": Estimate.of_chains(anchored),
        "delayed acceptance": Estimate.of_chains(kept),
        "importance": Estimate.of_weighted(proposals, log_weights),
    }
    print(
        f"delayed acceptance: {solves} solves, {steps * CHAINS * options.subchain} calls of the "
        f"surrogate, {seconds:.1f} s"
    )
    effective = estimates["delayed acceptance"].effective
    costs = compare_costs(chains.accepted, effective, solves, kept, anchored)
    print_means(estimates, kept.reshape(-1, 3).std(axis=0), truth)
    draw(
        figure,
        truth,
        {
            "surrogate alone": (alone.reshape(-1, 3), None),
            "delayed acceptance": (kept.reshape(-1, 3), None),
            "importance reweighting": (proposals, np.exp(log_weights - log_weights.max())),
        },
        costs,
    )


def observe(body: BuriedBody, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw a truth, (3,), and its noisy data, (n_c,), and print how far off surrogate and mesh are.

    The data are of a finer mesh than the training data's.
    """
    say("solving for the data")
    truth = body.draw(1, rng)[0]
    exact, trained = PDE(body.finer)(truth), body.pde(truth)
    d = exact + body.noise * rng.standard_normal(len(exact))
    for name, delta in (
        ("surrogate against its PDE", body.surrogate.predict(truth) - trained),
        ("its PDE against a finer mesh", trained - exact),
    ):
        shift = ", ".join(f"{x:+.2f}" for x in body.shift(truth, delta))
        print(f"{name}: shifts depth, volume, rotation by about {shift} posterior sd")
    return truth, d


def sample_surrogate(
    body: BuriedBody, d: Array, rng: np.random.Generator
) -> tuple[Density, Array, Array, Array]:
    """Sample the surrogate's posterior, alone and anchored at its best fit.

    Args:
        body: The inverse problem.
        d: The data, (n_c,).
        rng: Random generator.

    Returns:
        The anchored density, the factor of its proposals, (3, 3), and the chains of both, alone and
        anchored, (steps, WALKERS, 3) each.
    """
    say("the surrogate's posterior, alone and anchored")
    predict, jacobian = body.surrogate.predict, body.surrogate.jacobian
    fit = body.fit(lambda y: (predict(y), jacobian(y)), d, body.starts(d, rng))
    best, mixture = fit.minima[0], Mixture(body, fit)
    factor = np.linalg.cholesky(2.38**2 / 3 * body.covariance(best))
    offset = body.pde(best) - predict(best)  # of c, as of the data that are fitted
    raw, first = (body.on_box(body.log_likelihood(data, best)) for data in (d, d - offset))
    start = time.perf_counter()
    alone, anchored = (
        metropolis(p, mixture.choose(p, WALKERS, rng), factor, LONG, rng)[0][LONG // 8 :]
        for p in (raw, first)
    )
    seconds = time.perf_counter() - start
    print(f"surrogate alone and anchored: {2 * LONG * WALKERS} calls in {seconds:.1f} s")
    return first, factor, alone, anchored


def time_left(steps: int) -> Callable[[int], None]:
    """Return a function that says, of the steps done, how long the rest will take."""
    start = time.perf_counter()

    def on_step(done: int) -> None:
        if done % 10 == 0:
            left = (time.perf_counter() - start) / done * (steps - done)
            say(f"{done * CHAINS} of {steps * CHAINS} solves, about {left:.0f} s left")

    return on_step


def compare_costs(
    accepted: float, effective: float, solves: int, kept: Array, anchored: Array
) -> dict[str, float]:
    """Print and return the solves for an independent sample, by plain Metropolis and by ours.

    Args:
        accepted: Share of the second stage's proposals that were accepted.
        effective: Number of independent samples that delayed acceptance gave.
        solves: Number of solves that it took.
        kept: Its chains, (steps, CHAINS, 3).
        anchored: Chains of the anchored surrogate's posterior, (steps, WALKERS, 3).
    """
    tau = autocorrelation(anchored)
    cost, gain = solves / effective, tau * effective / solves
    # Sokal's error of an autocorrelation time, whose sum over lags ends at five times itself.
    relative = math.sqrt(20 / effective + 2 / kept[..., 0].size)
    print(
        f"  the second stage accepts {accepted:.3f}; {effective:.0f} effective samples, one in "
        f"{cost:.2f} +- {relative * cost:.2f} solves\n"
        f"  plain Metropolis: one in {tau:.1f}, {gain:.1f} +- {relative * gain:.1f} times as many"
    )
    return {"plain\nMetropolis": tau, "delayed\nacceptance": cost}


def metropolis(
    density: Density, x: Array, factor: Array | Move, steps: int, rng: np.random.Generator
) -> tuple[Array, Array, float]:
    """Run Metropolis chains side by side.

    Args:
        density: Log density to sample.
        x: Starting points, (n, d).
        factor: Proposals are x plus this matrix, (d, d), times standard normal numbers; or a
            function that makes them, and the logarithms of their ratios of densities.
        steps: Number of steps.
        rng: Random generator.

    Returns:
        The chains, (steps, n, d), the last log density, (n,), and the share of accepted proposals.
    """
    log_p, chain, accepted = density(x), np.empty((steps, *x.shape)), 0
    for i in range(steps):
        if callable(factor):
            proposal, ratio = factor(x, rng)
        else:
            proposal, ratio = x + rng.standard_normal(x.shape) @ factor.T, 0.0
        log_q = density(proposal)
        better = np.log(rng.random(len(x))) < log_q - log_p + ratio
        x, log_p = np.where(better[:, None], proposal, x), np.where(better, log_q, log_p)
        chain[i] = x
        accepted += int(better.sum())
    return chain, log_p, accepted / (steps * len(x))


def delayed_acceptance(
    first: Density,
    second: Density,
    x: Array,
    factor: Array | Move,
    *,
    subchain: int,
    steps: int,
    rng: np.random.Generator,
    on_step: Callable[[int], None] | None = None,
) -> Chains:
    """Run two-stage Metropolis chains side by side.

    Args:
        first: Log density of the first stage, p_s.
        second: Log density to sample, p.
        x: Starting points, (n, d).
        factor: Factor of the first stage's proposals, as for `metropolis`.
        subchain: Steps of the first stage for one of the second.
        steps: Steps of the second stage.
        rng: Random generator.
        on_step: Called with the number of steps done.
    """
    log_s, log_p = first(x), second(x)
    samples, proposals = np.empty((2, steps, *x.shape))
    log_weights, accepted = np.empty((steps, len(x))), 0
    for i in range(steps):
        chain, log_s_new, _ = metropolis(first, x, factor, subchain, rng)
        proposals[i], log_p_new = chain[-1], second(chain[-1])
        log_weights[i] = log_p_new - log_s_new
        better = np.log(rng.random(len(x))) < log_weights[i] - (log_p - log_s)
        x = np.where(better[:, None], proposals[i], x)
        log_s, log_p = np.where(better, log_s_new, log_s), np.where(better, log_p_new, log_p)
        samples[i] = x
        accepted += int(better.sum())
        if on_step is not None:
            on_step(i + 1)
    return Chains(
        samples=samples,
        accepted=accepted / (steps * len(x)),
        proposals=proposals,
        log_weights=log_weights,
    )


def print_means(estimates: dict[str, Estimate], sd: Array, truth: Array) -> None:
    """Print the means, and their differences from that of delayed acceptance."""

    def row(name: str, cells: list[str], last: str = "") -> None:
        print(f"{name:26}" + "".join(f"{cell:>22}" for cell in cells) + last)

    row("\nmean +- Monte Carlo error", list(NAMES), "    ESS")
    for name, one in estimates.items():
        pairs = zip(one.mean, one.error, strict=True)
        row(name, [f"{m:.5g} +- {e:.2g}" for m, e in pairs], f"{one.effective:7.0f}")
    row("posterior sd", [f"{x:.4g}" for x in sd])
    row("truth", [f"{x:.5g}" for x in truth])
    row("\noff by, in posterior sd", [""])
    exact = estimates["delayed acceptance"]
    for name, one in estimates.items():
        if one is not exact:
            pairs = zip(
                (one.mean - exact.mean) / sd, np.hypot(one.error, exact.error) / sd, strict=True
            )
            row(name, [f"{x:+.2f} +- {e:.2f}" for x, e in pairs])


def draw(
    figure: Any,
    truth: Array,
    posteriors: dict[str, tuple[Array, Array | None]],
    costs: dict[str, float],
) -> None:
    """Draw the marginals, of samples (n, 3) with weights (n,), and the cost of a sample."""
    styles = (
        {"color": GREY, "alpha": 0.4},
        {"color": BLUE, "histtype": "step", "linewidth": 1.6},
        {"color": GREEN, "histtype": "step", "linewidth": 1, "linestyle": "--"},
    )
    ends = np.array([np.quantile(one, (0.002, 0.998), axis=0) for one, _ in posteriors.values()])
    panels = figure.subplots(1, 4, width_ratios=(1, 1, 1, 0.7))
    for k, axes in enumerate(panels[:3]):
        bins = np.linspace(ends[:, 0, k].min(), ends[:, 1, k].max(), 25)
        for (label, (samples, weights)), style in zip(posteriors.items(), styles, strict=True):
            axes.hist(samples[:, k], bins, density=True, weights=weights, label=label, **style)
        axes.axvline(truth[k], color=RED, linewidth=1.2, label="truth")
        axes.set(xlabel=NAMES[k], yticks=[])
        axes.locator_params(axis="x", nbins=4)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    bars = panels[3].bar(list(costs), list(costs.values()), color=[GREY, BLUE], width=0.6)
    panels[3].bar_label(bars, fmt="%.1f")
    panels[3].set_title("PDE solves for an\nindependent sample")


if __name__ == "__main__":
    sys.exit(main())
