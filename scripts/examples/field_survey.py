r"""Invert a field survey of DC resistivity, and check the intervals on truths of the same survey.

    python scripts/examples/field_survey.py gallery3d.dat [--config model.toml] [--samples 2000]

The prior is the model of the configuration, with its bounds: `surrogates settings ert` prints all
settings, and the page on models of the ground says what they mean. Then:

1. `surrogates generate ert` solves for samples of the prior, into F.h5; a second run goes on there.
2. A surrogate of log10 of the apparent resistivities is trained, F.pt.
3. Gauss-Newton fits (`scipy.optimize.least_squares`) from the best of many draws of the prior.
   Chi-squared over the number of data says whether the model explains them. It is printed, and so
   are the data that are farthest off; where it is far above 1, the noise is multiplied by its root,
   as the field does, so that intervals are not too narrow, and that is printed too.
4. The posterior, by an ensemble of walkers (emcee) with the surrogate alone. Steps are by
   differential evolution, or from the fit's normal distribution (`Normal`).
5. Delayed acceptance (see `delayed_acceptance`) corrects it by solves of the PDE.
6. For truths drawn from the prior, with noise of the same model, steps 3 and 4 again: a 90 %
   interval must hold 90 % of the truths (Cook, Gelman and Rubin 2006).

Doubtful data are named first, and outliers are left out, as `surrogates survey` finds them.

**Noise.** The standard deviation of a datum is that of the file's column err, or, without one, of
the settings noise.absolute, noise.relative and noise.current.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from delayed_acceptance import Chains, Estimate, delayed_acceptance
from program import Parser, ended, missing, say
from scipy.optimize import least_squares
from scipy.stats import binom, chi2

import surrogates
from surrogates import config
from surrogates.config import check
from surrogates.plots import style
from surrogates.survey.describing import describe
from surrogates.types import Array

try:
    import emcee
    from mpi4py import MPI

    from surrogates.pde.ert import ERT, ERTConfig, Observable, case_of, standard_deviations
except ImportError as error:
    missing(error)

WALKERS, LEVEL, STARTS, CHAINS = 32, 0.9, 6, 8
DEFAULTS = ERTConfig(observable=Observable(kind="log10-apparent-resistivity"))


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """The fit and the posterior of one vector of data.

    Attributes:
        fit: The best fit, (n_y,).
        chi2: Chi-squared of it over the number of data, by the noise that was given.
        factor: What the noise was multiplied by.
        chain: Samples of the posterior, (steps, walkers, n_y).
        seconds: Seconds of the fit, and of the ensemble.
    """

    fit: Array
    chi2: float
    factor: float
    chain: Array
    seconds: tuple[float, float]

    @property
    def samples(self) -> Array:
        """Samples of the posterior, (n, n_y)."""
        return self.chain.reshape(-1, self.chain.shape[-1])


class Normal:
    """The normal distribution with the best fit's covariance, for proposals.

    A step x' = m + (1 - b^2)^(1/2) (x - m) + b z, with z of the distribution around 0, leaves the
    distribution as it is, in any number of dimensions (Neal 1998; Cotter, Roberts, Stuart and White
    2013): the posterior's ratio to it decides whether the step is accepted.
    """

    def __init__(self, mean: Array, factor: Array) -> None:
        """Take the mean, (n,), and a factor of the covariance, (n, n)."""
        self.mean, self.factor = mean, factor
        self._inverse = np.linalg.inv(factor)

    def draw(self, n: int, rng: Any) -> Array:
        """Draw n points."""
        return self.mean + rng.standard_normal((n, len(self.mean))) @ self.factor.T

    def log_density(self, Y: Array) -> Array:
        """Return the log density of Y (n, n_y), up to a constant."""
        return np.asarray(-0.5 * (((Y - self.mean) @ self._inverse.T) ** 2).sum(axis=1))

    def move(self, Y: Array, rng: Any) -> tuple[Array, Array]:
        """Propose a step from each of Y, (n, n_y); return it and its ratio of densities."""
        b = rng.uniform(0.1, 1.0, (len(Y), 1))
        z = rng.standard_normal(Y.shape) @ self.factor.T
        new = self.mean + np.sqrt(1 - b**2) * (Y - self.mean) + b * z
        return new, self.log_density(Y) - self.log_density(new)


class FieldSurvey:
    """The inverse problem of a survey.

    Attributes:
        case: The survey, the ground and the model.
        model: The model, whose prior is that of y.
        surrogate: The map from the model's parameters to the data.
        data: The data, of the observable's kind, (n_d,); NaN where the file has none.
        noise: Their standard deviations, (n_d,).
    """

    def __init__(self, options: argparse.Namespace) -> None:
        """Read the survey, solve for the samples, and train."""
        overrides = [*options.set, f"survey.file={options.survey}"]
        self.config = config.read(ERTConfig, options.config, overrides, DEFAULTS)
        self.case = case_of(self.config)
        self.data, self.noise = self._measured()
        start = time.perf_counter()
        dataset = surrogates.generate(
            "ert",
            samples=options.samples,
            out=f"{options.name}.h5",
            config=self.config,
            seed=options.seed,
            processes=options.processes,
            progress=True,
        )
        say(f"samples: {time.perf_counter() - start:.0f} s")
        start = time.perf_counter()
        surrogates.train(dataset, out=f"{options.name}.pt", progress=True)
        say(f"training: {time.perf_counter() - start:.0f} s")
        self.surrogate = surrogates.load(f"{options.name}.pt", engine="c")
        self.model = self.case.model
        self.lower, self.upper = self.model.y_lower, self.model.y_upper

    def _measured(self) -> tuple[Array, Array]:
        """Return data and noise of the file, in units of the observable."""
        values, kind, k = self.case.survey.values, self.config.observable.kind, self.case.factors
        # The file's resistances count: its geometric factors may be those of flat ground.
        check(
            "r" in values or "rhoa" in values,
            f"{self.case.survey.name} has neither resistances nor apparent resistivities",
        )
        R = values["r"] if "r" in values else values["rhoa"] / values.get("k", k)
        with np.errstate(invalid="ignore", divide="ignore"):
            d = {"resistance": R, "apparent-resistivity": k * R}.get(kind, np.log10(k * R))
        found = describe(self.case.survey, self.config.survey.top)
        for question in found.questions:
            say(f"warning: {self.case.survey.name}: {question}")
        d = np.where(np.isfinite(d) & found.usable(), d, np.nan)
        sd = standard_deviations(self.case, d)
        if "err" in values and bool((values["err"] > 0).all()):
            size = 1 / math.log(10) if kind.startswith("log10") else np.abs(d)
            sd = values["err"] * size
        return d, sd

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draw from the prior: (n, n_y)."""
        return self.model.of_prior(rng.uniform(self.lower, self.upper, (n, len(self.lower))))

    def fit(self, d: Array, noise: Array, rng: np.random.Generator) -> Array:
        """Return the best of several fits to the data, (n_y,)."""
        some = np.isfinite(d)
        Y = self.draw(4000, rng)
        misfit = (((self.surrogate.predict(Y) - d) / noise)[:, some] ** 2).sum(axis=1)
        # The normal prior of a field's coefficients is more residuals.
        normal = self.model.normal
        rows = np.eye(len(normal))[normal]
        fits = [
            least_squares(
                lambda y: np.append(((self.surrogate.predict(y) - d) / noise)[some], y[normal]),
                start,
                lambda y: np.vstack([(self.surrogate.jacobian(y) / noise[:, None])[some], rows]),
                bounds=(self.lower, self.upper),
                x_scale=self.upper - self.lower,
            )
            for start in Y[np.argsort(misfit)[:STARTS]]
        ]
        return np.asarray(min(fits, key=lambda fit: fit.cost).x)

    def on_box(self, log_likelihood: Any) -> Any:
        """Return the posterior's log density, up to a constant, of Y (n, n_y) to (n,)."""

        def density(Y: Array) -> Array:
            inside = ((self.lower <= Y) & (self.upper >= Y)).all(axis=1)
            log_p = np.full(len(Y), -np.inf)
            if inside.any():
                log_p[inside] = log_likelihood(Y[inside]) + self.model.log_prior(Y[inside])
            return log_p

        return density

    def posterior(self, d: Array, steps: int, rng: np.random.Generator) -> Posterior:
        """Fit data d, (n_d,), and sample the posterior."""
        start = time.perf_counter()
        fit = self.fit(d, self.noise, rng)
        some = np.isfinite(d)
        reduced = float((((self.surrogate.predict(fit) - d) / self.noise)[some] ** 2).mean())
        # Beyond what chance does to the fit of so many data.
        excess = reduced > chi2.ppf(0.999, int(some.sum())) / some.sum()
        factor = math.sqrt(reduced) if excess else 1.0
        middle = time.perf_counter()
        likelihood = self.surrogate.likelihood(d, factor * self.noise)
        covariance = np.linalg.inv(
            likelihood.hessian(fit)
            + np.diag(np.where(self.model.normal, 1, 12 / (self.upper - self.lower) ** 2))
        )
        normal = Normal(fit, np.linalg.cholesky(covariance))
        walkers = max(WALKERS, 2 * len(fit) + 2)
        margin = 1e-3 * (self.upper - self.lower)
        first = normal.draw(walkers, rng).clip(self.lower + margin, self.upper - margin)
        sampler = emcee.EnsembleSampler(
            walkers,
            len(fit),
            self.on_box(likelihood),
            vectorize=True,
            moves=[(emcee.moves.DEMove(), 0.4), (emcee.moves.MHMove(normal.move), 0.6)],
        )
        sampler.random_state = np.random.RandomState(rng.integers(2**32)).get_state()
        sampler.run_mcmc(first, steps)
        return Posterior(
            fit=fit,
            chi2=reduced,
            factor=factor,
            chain=sampler.get_chain(discard=steps // 3),
            seconds=(middle - start, time.perf_counter() - middle),
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Invert, check and draw; return the exit status."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("survey", metavar="SURVEY", help="file of the survey, with data")
    parser.add_argument("--config", metavar="F.toml", help="settings of ert, with the model")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="override one setting"
    )
    numbers = {
        "samples": (2000, "samples of the prior to solve for"),
        "processes": (1, "processes that solve for them, by mpirun"),
        "truths": (20, "truths of the check of the intervals"),
        "steps": (400, "steps of the ensemble, the first third left out"),
        "solves": (80, "solves of the PDE by delayed acceptance; 0 for none"),
        "seed": (1, "seed of samples, truths, noise and ensembles"),
    }
    for name, (default, text) in numbers.items():
        parser.add_argument(
            f"--{name}", type=int, default=default, help=f"{text}; default {default}"
        )
    parser.add_argument("--name", default="field_survey", help="of the files; the default says it")

    def run() -> None:
        options = parser.parse_args(arguments)
        check(options.steps >= 100, f"--steps must be at least 100; got {options.steps}")
        out = f"{options.name}.png"
        with style.saved_figure(out, (style.WIDTH, 7.0), "") as figure:
            study(options, figure)
        print(f"\nfigure: {out}")

    return ended(run)


def study(options: argparse.Namespace, figure: Any) -> None:
    """Print the tables and draw the figure."""
    field = FieldSurvey(options)
    rng = np.random.default_rng(options.seed)
    found = field.posterior(field.data, options.steps, rng)
    report(field, found)
    if options.solves:
        correct(field, found, options.solves, rng)
    if options.truths:
        coverage(field, options.truths, options.steps, rng)
    draw(figure, field, found)


def report(field: FieldSurvey, found: Posterior) -> None:
    """Print the fit, the misfit and the posterior."""
    some = np.isfinite(field.data)
    n = int(some.sum())
    limit = chi2.ppf(0.999, n) / n
    print(
        f"{n} data; chi-squared of the best fit over their number: {found.chi2:.2f}"
        f" (noise alone: below {limit:.2f})"
    )
    if found.factor > 1:
        z = np.abs(field.surrogate.predict(found.fit) - field.data) / field.noise
        worst = np.argsort(np.where(some, z, 0))[::-1][:5]
        print(
            "the model does NOT explain the data within the noise: the noise is multiplied by "
            f"{found.factor:.2f}; the farthest data are "
            + ", ".join(f"{i + 1} ({z[i]:.1f} standard deviations)" for i in worst)
        )
    print(f"fit {found.seconds[0]:.1f} s, ensemble {found.seconds[1]:.1f} s")
    print(f"{'parameter':36}{'best fit':>10}{'median':>10}{'90 % interval':>22}")
    low, middle, high = np.quantile(found.samples, [0.05, 0.5, 0.95], axis=0)
    for k, (name, unit) in enumerate(zip(field.model.y_names, field.model.y_units, strict=True)):
        print(
            f"{f'{name} [{unit}]':36}{found.fit[k]:10.4g}{middle[k]:10.4g}"
            f"{low[k]:12.4g} to {high[k]:.4g}"
        )


def correct(field: FieldSurvey, found: Posterior, solves: int, rng: np.random.Generator) -> None:
    """Run delayed acceptance from the posterior's samples, and print what the PDE changes."""
    problem = ERT(field.config, MPI.COMM_SELF)
    some, noise = np.isfinite(field.data), found.factor * field.noise
    count = 0

    def log_p(y: Array) -> float:
        nonlocal count
        count += 1
        batch = problem.solve_batch(y[None])
        check(not batch.failure[0], f"a solve failed: {batch.failure[0]}")
        return float(-0.5 * (((batch.C[0] - field.data) / noise)[some] ** 2).sum())

    start = time.perf_counter()
    samples = found.samples
    factor = np.linalg.cholesky(
        2.38**2 / samples.shape[1] * np.cov(samples.T) + 1e-12 * np.diag(samples.var(axis=0))
    )
    chains: Chains = delayed_acceptance(
        field.on_box(field.surrogate.likelihood(field.data, noise)),
        field.on_box(lambda Y: np.array([log_p(y) for y in Y])),
        rng.choice(samples, CHAINS, replace=False),
        factor,
        subchain=50,
        steps=max(2, solves // CHAINS),
        rng=rng,
        on_step=lambda done: say(f"delayed acceptance: {done * CHAINS} solves"),
    )
    exact = Estimate.of_chains(chains.samples)
    shift = (samples.mean(axis=0) - exact.mean) / samples.std(axis=0)
    print(
        f"delayed acceptance: {count} solves in {time.perf_counter() - start:.0f} s, "
        f"{chains.accepted:.2f} of the proposals accepted; the surrogate's means are off by "
        + ", ".join(f"{x:+.2f}" for x in shift)
        + " posterior standard deviations"
    )


def coverage(field: FieldSurvey, n: int, steps: int, rng: np.random.Generator) -> None:
    """Invert data of truths of the prior, made by the PDE, and count those in their intervals."""
    problem = ERT(field.config, MPI.COMM_SELF)
    truths = field.draw(n, rng)
    inside = np.zeros(truths.shape, dtype=bool)
    for i, truth in enumerate(truths):
        batch = problem.solve_batch(truth[None])
        check(not batch.failure[0], f"a solve failed: {batch.failure[0]}")
        d = batch.C[0] + field.noise * rng.standard_normal(batch.C.shape[1])
        ends = np.quantile(
            field.posterior(d, steps, rng).samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0
        )
        inside[i] = (ends[0] <= truth) & (truth <= ends[1])
        say(f"truth {i + 1} of {n}: {inside[i].sum()} of {len(truth)} parameters in their interval")
    low, high = (int(k) for k in binom(n, LEVEL).interval(0.95))
    print(
        f"90 % intervals that hold the truth, of {n} truths (chance: {low} to {high}): "
        + ", ".join(str(int(k)) for k in inside.sum(axis=0))
    )


def draw(figure: Any, field: FieldSurvey, found: Posterior) -> None:
    """Draw two sections of the posterior with its deviation, and the data against the fit."""
    places = field.case.electrodes
    low, high = places.min(axis=0), places.max(axis=0)
    middle, depth = (low + high) / 2, 0.4 * float(np.hypot(*(high - low)[:2]))
    samples = found.samples[:: max(1, len(found.samples) // 200)]
    axes = [0, 1] if high[1] > low[1] else [0]
    rows = figure.subplots(len(axes) + 1, 2, squeeze=False)
    for row, along in zip(rows, axes, strict=False):
        x = np.linspace(low[along], high[along], 121)
        x3 = np.linspace(middle[2] - depth, high[2], 81)
        points = np.empty((len(x3), len(x), 3))
        points[..., 1 - along] = middle[1 - along]
        points[..., along], points[..., 2] = np.meshgrid(x, x3)
        values = np.array([-np.log10(field.model.at(y, points)) for y in samples])
        for panel, z, name in (
            (row[0], np.median(values, axis=0), "log10 resistivity, median"),
            (row[1], values.std(axis=0), "standard deviation"),
        ):
            style.draw_map(panel, x, x3, z, style.colors_for(z), name, "[log10(ohm m)]")
            panel.set(xlabel=f"$x_{along + 1}$ [m]", ylabel="$x_3$ [m]")
    d, fitted = field.data, field.surrogate.predict(found.fit)
    left, right = rows[-1]
    left.errorbar(fitted, d, field.noise, fmt=".", color=style.BLUE, markersize=3, linewidth=0.5)
    ends = [np.nanmin(d), np.nanmax(d)]
    left.plot(ends, ends, color=style.GREY)
    left.set(xlabel="best fit", ylabel="data")
    z = (d - fitted) / field.noise
    right.hist(z[np.isfinite(z)], 40, color=style.BLUE)
    right.set(xlabel="misfit [standard deviations]", ylabel="data")


if __name__ == "__main__":
    sys.exit(main())
