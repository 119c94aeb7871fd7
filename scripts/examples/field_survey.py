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
4. The posterior with the surrogate alone, by an ensemble (`walkers`) that goes on until it has
   enough effective samples. The covariance of the surrogate's errors is taken at the fit: how much
   weights for that of each y would change is printed.
5. The PDE corrects it. One solve with derivatives at the fit, and one at the fit that follows, make
   the surrogate exact there (`Corrected`): over the posterior its errors are nearly linear. A
   second ensemble samples with that. Delayed acceptance (see `delayed_acceptance`) by solves of the
   PDE accepts and rejects its samples, and shows what is left of the error.
6. For truths drawn from the prior, with noise of the same model, steps 3 to 5 again without delayed
   acceptance: a 90 % interval must hold 90 % of the truths (Cook, Gelman and Rubin 2006).

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
from corrected import Corrected
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
    from mpi4py import MPI
    from walkers import Ensemble, Normal, ensemble

    from surrogates.pde.ert import ERT, ERTConfig, Observable, case_of, standard_deviations
except ImportError as error:
    missing(error)

LEVEL, STARTS, CHAINS = 0.9, 6, 8
DEFAULTS = ERTConfig(observable=Observable(kind="log10-apparent-resistivity"))


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """The fit and the posterior of one vector of data.

    Attributes:
        of: The map from y to the data: the surrogate, or a `Corrected`.
        fit: The best fit, (n_y,).
        chi2, factor: As `FieldSurvey._misfit` returns them.
        density: Log density of the posterior, of Y (n, n_y) to (n,).
        ensemble: Samples of the posterior.
        seconds: Seconds of the fit.
    """

    of: Any
    fit: Array
    chi2: float
    factor: float
    density: Any
    ensemble: Ensemble
    seconds: float

    @property
    def samples(self) -> Array:
        """Samples of the posterior, (n, n_y)."""
        return self.ensemble.samples


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
        self.steps, self.effective = options.steps, options.effective
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
        self.problem, self.solves = ERT(self.config, MPI.COMM_SELF), 0

    def solve(self, y: Array, tangents: bool = False) -> Any:
        """Return the batch of one y, (n_y,), that the PDE is solved for."""
        self.solves += 1
        batch = self.problem.solve_batch(y[None], tangents=tangents)
        check(not batch.failure[0], f"a solve failed: {batch.failure[0]}")
        return batch

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

    def starts(self, d: Array, rng: np.random.Generator) -> Array:
        """Return the draws of the prior that fit best, (STARTS, n_y)."""
        some = np.isfinite(d)
        Y = self.draw(4000, rng)
        misfit = (((self.surrogate.predict(Y) - d) / self.noise)[:, some] ** 2).sum(axis=1)
        return np.asarray(Y[np.argsort(misfit)[:STARTS]])

    def fit(self, of: Any, d: Array, starts: Array) -> Array:
        """Return the best of several fits of a map to the data, (n_y,)."""
        some = np.isfinite(d)
        # The normal prior of a field's coefficients is more residuals.
        normal = self.model.normal
        rows = np.eye(len(normal))[normal]
        fits = [
            least_squares(
                lambda y: np.append(((of.predict(y) - d) / self.noise)[some], y[normal]),
                start,
                lambda y: np.vstack([(of.jacobian(y) / self.noise[:, None])[some], rows]),
                bounds=(self.lower, self.upper),
                x_scale=self.upper - self.lower,
            )
            for start in starts
        ]
        return np.asarray(min(fits, key=lambda fit: fit.cost).x).clip(self.lower, self.upper)

    def on_box(self, log_likelihood: Any) -> Any:
        """Return the posterior's log density, up to a constant, of Y (n, n_y) to (n,)."""

        def density(Y: Array) -> Array:
            inside = ((self.lower <= Y) & (self.upper >= Y)).all(axis=1)
            log_p = np.full(len(Y), -np.inf)
            if inside.any():
                log_p[inside] = log_likelihood(Y[inside]) + self.model.log_prior(Y[inside])
            return log_p

        return density

    def posterior(self, d: Array, rng: np.random.Generator) -> Posterior:
        """Fit data d, (n_d,), and sample the posterior, with the surrogate alone."""
        start = time.perf_counter()
        fit = self.fit(self.surrogate, d, self.starts(d, rng))
        misfit = self._misfit(self.surrogate.predict(fit), d)
        seconds = time.perf_counter() - start
        likelihood = self.surrogate.likelihood(d, misfit[1] * self.noise, at=fit)
        hessian = likelihood.hessian(fit)
        return self._sampled(self.surrogate, fit, misfit, likelihood, hessian, seconds, rng)

    def corrected(self, d: Array, found: Posterior, rng: np.random.Generator) -> Posterior:
        """Correct the posterior of data d, (n_d,), by two solves of the PDE."""
        start = time.perf_counter()
        batch = self.solve(found.fit, tangents=True)
        of = Corrected(self.surrogate, found.fit, batch.C[0], batch.dC_dY[0])
        fit = self.fit(of, d, found.fit[None])
        c = self.solve(fit).C[0]
        of.move(fit, c)
        misfit = self._misfit(c, d)
        some, noise = np.isfinite(d), misfit[1] * self.noise

        def log_p(Y: Array) -> Array:
            return np.asarray(-0.5 * (((of.predict(Y) - d) / noise)[:, some] ** 2).sum(axis=1))

        J = (of.jacobian(fit) / noise[:, None])[some]
        seconds = time.perf_counter() - start
        return self._sampled(of, fit, misfit, log_p, J.T @ J, seconds, rng)

    def _misfit(self, c: Array, d: Array) -> tuple[float, float]:
        """Return chi-squared over the number of data, and what the noise is multiplied by."""
        some = np.isfinite(d)
        reduced = float((((c - d) / self.noise)[some] ** 2).mean())
        # Beyond what chance does to the fit of so many data.
        excess = reduced > chi2.ppf(0.999, int(some.sum())) / some.sum()
        return reduced, math.sqrt(reduced) if excess else 1.0

    def _sampled(
        self,
        of: Any,
        fit: Array,
        misfit: tuple[float, float],
        log_likelihood: Any,
        hessian: Array,
        seconds: float,
        rng: np.random.Generator,
    ) -> Posterior:
        """Sample the posterior from the fit's normal distribution."""
        prior = np.where(self.model.normal, 1, 12 / (self.upper - self.lower) ** 2)
        density = self.on_box(log_likelihood)
        walked = ensemble(
            density,
            Normal(fit, np.linalg.inv(hessian + np.diag(prior))),
            np.array([self.lower, self.upper]),
            rng,
            effective=self.effective,
            most=self.steps,
        )
        reduced, factor = misfit
        known = {"of": of, "fit": fit, "chi2": reduced, "factor": factor, "seconds": seconds}
        return Posterior(density=density, ensemble=walked, **known)


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
        "steps": (5000, "steps after which an ensemble ends without enough effective samples"),
        "effective": (1000, "effective samples of an ensemble"),
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
    found = field.posterior(field.data, rng)
    report(field, found, "surrogate")
    compare_covariances(field, found, rng)
    better = field.corrected(field.data, found, rng)
    report(field, better, "surrogate corrected by the PDE")
    off = (found.samples.mean(axis=0) - better.samples.mean(axis=0)) / better.samples.std(axis=0)
    print(
        f"the correction shifts means by up to {np.abs(off).max():.2f} posterior standard "
        f"deviations, {math.sqrt((off**2).mean()):.2f} in the root mean square"
    )
    if options.solves:
        accept(field, better, options.solves, rng)
    if options.truths:
        coverage(field, options.truths, rng)
    draw(figure, field, better)


def report(field: FieldSurvey, found: Posterior, name: str) -> None:
    """Print the fit, the misfit and the posterior."""
    some = np.isfinite(field.data)
    limit = chi2.ppf(0.999, n := int(some.sum())) / n
    print(
        f"\n{name}: {n} data; chi-squared of the best fit over their number: {found.chi2:.2f}"
        f" (noise alone: below {limit:.2f})"
    )
    if found.factor > 1:
        z = np.abs(found.of.predict(found.fit) - field.data) / field.noise
        worst = np.argsort(np.where(some, z, 0))[::-1][:5]
        print(
            "the model does NOT explain the data within the noise: the noise is multiplied by "
            f"{found.factor:.2f}; the farthest data are "
            + ", ".join(f"{i + 1} ({z[i]:.1f} standard deviations)" for i in worst)
        )
    print(f"fit {found.seconds:.1f} s; ensemble: {found.ensemble.said}")
    if found.ensemble.effective < field.effective:
        say(f"warning: fewer than {field.effective} effective samples; more --steps make more")
    print(f"{'parameter':36}{'best fit':>10}{'median':>10}{'90 % interval':>22}")
    low, middle, high = np.quantile(found.samples, [0.05, 0.5, 0.95], axis=0)
    for k, (name, unit) in enumerate(zip(field.model.y_names, field.model.y_units, strict=True)):
        print(
            f"{f'{name} [{unit}]':36}{found.fit[k]:10.4g}{middle[k]:10.4g}"
            f"{low[k]:12.4g} to {high[k]:.4g}"
        )


def compare_covariances(field: FieldSurvey, found: Posterior, rng: np.random.Generator) -> None:
    """Print what the covariance of errors at each y would change, by weights of samples."""
    likelihood = field.surrogate.likelihood(field.data, found.factor * field.noise)
    Y = rng.choice(found.samples, 500)
    log_weights = field.on_box(likelihood)(Y) - found.density(Y)
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    shift = np.abs(weights @ Y - Y.mean(axis=0)) / Y.std(axis=0)
    print(
        f"the covariance of the surrogate's errors is that at the fit; weights for that at each y "
        f"have an effective share of {1 / (weights**2).sum() / len(Y):.2f}, and shift means by up "
        f"to {shift.max():.2f} posterior standard deviations"
    )


def accept(field: FieldSurvey, found: Posterior, solves: int, rng: np.random.Generator) -> None:
    """Run delayed acceptance from the posterior's samples, and print what the PDE changes."""
    some, noise = np.isfinite(field.data), found.factor * field.noise
    start, before = time.perf_counter(), field.solves

    def log_p(y: Array) -> float:
        return float(-0.5 * (((field.solve(y).C[0] - field.data) / noise)[some] ** 2).sum())

    samples = found.samples
    tau = float(np.minimum(found.ensemble.tau.max(), 1000))
    chains: Chains = delayed_acceptance(
        found.density,
        field.on_box(lambda Y: np.array([log_p(y) for y in Y])),
        rng.choice(samples, CHAINS, replace=False),
        found.ensemble.normal.move,
        subchain=max(50, math.ceil(2 * tau)),
        steps=max(2, solves // CHAINS),
        rng=rng,
        on_step=lambda done: say(f"delayed acceptance: {done * CHAINS} solves"),
    )
    exact = Estimate.of_chains(chains.samples)
    shift = (samples.mean(axis=0) - exact.mean) / samples.std(axis=0)
    print(
        f"delayed acceptance: {field.solves - before} solves in {time.perf_counter() - start:.0f} "
        f"s, {chains.accepted:.2f} of the proposals accepted, {exact.effective:.0f} effective "
        f"samples; means of the corrected surrogate are off by {math.sqrt((shift**2).mean()):.2f} "
        f"posterior standard deviations in the root mean square, up to {np.abs(shift).max():.2f} "
        f"(chance: {1 / math.sqrt(exact.effective):.2f})"
    )


def coverage(field: FieldSurvey, n: int, rng: np.random.Generator) -> None:
    """Invert data of truths of the prior, made by the PDE, and count those in their intervals."""
    truths = field.draw(n, rng)
    inside = np.zeros((2, *truths.shape), dtype=bool)
    for i, truth in enumerate(truths):
        c = field.solve(truth).C[0]
        d = np.where(np.isfinite(field.data), c, np.nan)
        d = d + field.noise * rng.standard_normal(len(c))
        alone = field.posterior(d, rng)
        for k, found in enumerate((alone, field.corrected(d, alone, rng))):
            ends = np.quantile(found.samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
            inside[k, i] = (ends[0] <= truth) & (truth <= ends[1])
        say(
            f"truth {i + 1} of {n}: {inside[0, i].sum()} of {len(truth)} parameters in their "
            f"interval by the surrogate, {inside[1, i].sum()} corrected by the PDE"
        )
    low, high = (int(k) for k in binom(n, LEVEL).interval(0.95))
    for name, one in zip(("surrogate", "surrogate corrected by the PDE"), inside, strict=True):
        print(
            f"{name}: 90 % intervals that hold the truth, of {n} truths (chance: {low} to {high}): "
            + ", ".join(str(int(k)) for k in one.sum(axis=0))
            + f"; together {one.sum()} of {one.size}"
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
    d, fitted = field.data, found.of.predict(found.fit)
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
