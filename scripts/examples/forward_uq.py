"""Forward uncertainty quantification of the CDR problem with a surrogate file, against the PDE.

    python scripts/examples/forward_uq.py cdr.pt [--samples N] [--solves N] [--seed 1]

The weights y of the reaction's 55 bumps are random, with the distribution that the surrogate was
trained on: y = x / sum x, the x_k independent and uniform in [0, 1]. A million surrogate calls give
means, standard deviations, quantiles and densities of the observables c. As many again give Sobol
indices of the x_k, as the y_k are not independent, by SALib (Saltelli et al., "Variance based
sensitivity analysis of model output", 2010). A thousand solves of the PDE check them. The PDE is
rebuilt from the configuration in the surrogate file, with a seed that its training did not use:

- sampling: is the surrogate's statistic that of the solves, within the error of a thousand samples?
  The observables are correlated: the largest of their differences in standard errors is compared
  with its distribution by chance, from a multiplier bootstrap (Chernozhukov, Chetverikov and Kato,
  "Gaussian approximations and multiplier bootstrap for maxima of sums of high-dimensional random
  vectors", 2013);
- bias: PDE and surrogate at the same thousand parameters differ only by the surrogate's error,
  which is resolved far better;
- indices: a regression finds first-order indices of both from the same thousand parameters.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from program import missing, program
from tqdm import tqdm

import surrogates
from surrogates import config
from surrogates.config import check
from surrogates.model.loaded import LoadedSurrogate
from surrogates.model.summaries import LEVELS
from surrogates.plots import style as plotting

try:
    from estimates import (
        DEGREE,
        Distribution,
        Estimate,
        first_order,
        mean,
        probability,
        sobol_indices,
        std,
    )

    from surrogates.pde.cdr import CDRConfig
    from surrogates.pde.sampling import draw as draw_samples
    from surrogates.types import Array
except ImportError as error:
    missing(error)

QUANTILES = (0.05, 0.5, 0.95)
CHANCE = 0.01  # a less probable difference is not due to chance
SCRAMBLINGS = 16  # of the Sobol sequence
_PIECE = 16384  # samples at once, which bounds the memory
_DOTS: dict[str, Any] = {"fmt": "o", "markersize": 2.5, "linewidth": 0.8}
_LEGEND: dict[str, Any] = {"fontsize": 7, "title_fontsize": 7, "handlelength": 1.2, "borderpad": 0}


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print and draw; return the exit status."""
    options = {
        "samples": (10**6, "surrogate calls"),
        "solves": (1000, "PDE solves"),
        "seed": (1, "of all samples; not that of the training data"),
        "out": ("uncertainty.png", "figure"),
    }
    return program(__doc__.splitlines()[0], options, study, 8.4, arguments)


def study(options: Namespace, figure: Any) -> None:
    """Print the tables and draw the figure."""
    surrogate = surrogates.load(options.surrogate)
    draw(figure, compare(surrogate, options.samples, options.solves, options.seed))


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A moment of each observable, (n_c,).

    Attributes:
        many: From ``n_many`` samples of the surrogate.
        many_error: Its standard error.
        pde: From samples of the PDE.
        twin: From the surrogate at the same parameters.
    """

    n_many: int
    many: Array
    many_error: Array
    pde: Estimate
    twin: Estimate

    @property
    def z(self) -> Array:
        """Return surrogate less PDE, in standard errors for equal distributions.

        These come from the surrogate's many samples. Errors from the PDE's few samples would be
        large together with the moment, and z would not be normal.
        """
        error = self.many_error * np.sqrt(1 + self.n_many / len(self.pde.influence))
        return np.asarray((self.many - self.pde.value) / error)

    @property
    def bias(self) -> Estimate:
        """Return surrogate less PDE at the same parameters."""
        return self.twin - self.pde


@dataclass(frozen=True, kw_only=True)
class Study:
    """The results; the observables are those of all sensors at each time, sensor fastest.

    Attributes:
        problem: The PDE's configuration.
        names: Names of the observables.
        solved: The PDE's observables, (n, n_c).
        many: The surrogate's observables.
        moments: Their means and standard deviations.
        chosen: Observables with Sobol indices, at one sensor and up to three times.
        first: First-order indices of the surrogate by SALib, (n_y, n_chosen).
        total: Total indices of the surrogate by SALib, (n_y, n_chosen).
        pde: First-order indices of the PDE by regression, (n_y, n_chosen).
        twin: First-order indices of the surrogate by regression, from the same parameters.
    """

    problem: Any
    names: Sequence[str]
    solved: Array
    many: Distribution
    moments: dict[str, Moment]
    chosen: Sequence[int]
    first: Estimate
    total: Estimate
    pde: Estimate
    twin: Estimate


def compare(surrogate: LoadedSurrogate, n_samples: int, n_solves: int, seed: int) -> Study:
    """Compare a surrogate with the PDE, and print the results.

    Args:
        surrogate: A surrogate of the CDR problem.
        n_samples: Surrogate calls for the moments, and at most as many for the indices.
        n_solves: PDE solves.
        seed: Seed of both; must differ from the training data's.

    Raises:
        InputError: If the surrogate is of another problem, a number is out of range, or a solve
            fails.
    """
    check_asked(surrogate, n_samples, n_solves, seed)
    about, n_y = surrogate.metadata, surrogate.n_in
    problem, X, C, slow = solve(about["dataset"]["config"], n_solves, seed)
    Y = parameters(problem.sampling, X)
    twin = surrogate.predict(Y)
    inside = float(surrogate.in_domain(Y).mean())
    print(
        f"{surrogate.path}: cdr, {n_y} parameters, {surrogate.n_out} observables, trained on data "
        f"of seed {about['dataset']['seed']}\n"
        f"PDE: {n_solves} solves of seed {seed}, {1e3 * slow:.3g} ms each; "
        f"{100 * inside:.0f} % of their parameters are in the training domain",
        flush=True,
    )

    def predict(X: Array) -> Array:
        return surrogate.predict(parameters(problem.sampling, X))

    many = _sample(predict, C, n_y, n_samples, seed, slow)
    moments = {
        name: Moment(n_many=many.n, many=value, many_error=error, pde=of(C), twin=of(twin))
        for name, of, (value, error) in (("mean", mean, many.mean()), ("std", std, many.std()))
    }
    shown, chosen = at_the_centre(np.array(problem.observations.sensors), surrogate.n_out)
    names = about["c_names"]
    _print_moments(moments, np.sqrt(((twin - C) ** 2).mean(axis=0)), names, shown)
    _print_comparison(moments, C, many, names)
    _print_coverage(surrogate, Y, C)
    n_base = 2 ** int(np.log2(n_samples / (SCRAMBLINGS * (n_y + 2))))
    first, total = sobol_indices(lambda X: predict(X)[:, chosen], n_y, n_base, SCRAMBLINGS, seed)
    print(
        f"\nSobol indices of the x_k: by SALib, {SCRAMBLINGS} x {n_base} x {n_y + 2} calls; by "
        f"regression, the parameters of the {n_solves} solves"
    )
    found = Study(
        problem=problem,
        names=names,
        solved=C,
        many=many,
        moments=moments,
        chosen=chosen,
        first=first,
        total=total,
        pde=first_order(X, C[:, chosen]),
        twin=first_order(X, twin[:, chosen]),
    )
    _print_indices(found, about["y_names"])
    return found


def check_asked(surrogate: LoadedSurrogate, n_samples: int, n_solves: int, seed: int) -> None:
    """Refuse what cannot be compared; the arguments are those of `compare`.

    Raises:
        InputError: If the surrogate is of another problem, or a number is out of range.
    """
    about, n_y = surrogate.metadata, surrogate.n_in
    check(
        about["problem"] == "cdr",
        f"{surrogate.path} is a surrogate of {about['problem']!r}; this study is of 'cdr'",
    )
    surrogate.predict_std(about["y_lower"])  # an older file has no error bars
    trained = about["dataset"]["seed"]
    check(seed != trained, f"the training data have the seed {seed}; give another --seed")
    least = 2 * (1 + DEGREE * n_y)
    check(least <= n_solves <= 10**6, f"--solves must be {least} to 10^6; got {n_solves}")
    least = 16 * SCRAMBLINGS * (n_y + 2)
    check(least <= n_samples <= 10**9, f"--samples must be {least} to 10^9; got {n_samples}")


def at_the_centre(sensors: Array, n_c: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return the observables of the sensor that is nearest to the mean of all.

    Args:
        sensors: Their places, (n, 2).
        n_c: Number of observables.

    Returns:
        Those at all times, and those at the first, middle and last time.
    """
    central = int(((sensors - sensors.mean(axis=0)) ** 2).sum(axis=1).argmin())
    shown = range(central, n_c, len(sensors))
    return shown, [shown[i] for i in sorted({0, len(shown) // 2, len(shown) - 1})]


def parameters(sampling: Any, X: Array) -> Array:
    """Make the parameters y of independent variables x, uniform in [0, 1]; both (n, n_y)."""
    if sampling.design == "simplex":
        return np.asarray(X / X.sum(axis=1, keepdims=True))
    return np.asarray(sampling.lower + (sampling.upper - sampling.lower) * X)


def solve(toml: str, n: int, seed: int) -> tuple[Any, Array, Array, float]:
    """Solve the PDE of a configuration for n independent samples of its distribution.

    Args:
        toml: The configuration.
        n: Number of samples.
        seed: Seed of the samples.

    Returns:
        The configuration, the independent variables X (n, n_y) of the parameters, the observables
        C (n, n_c), and the seconds of a solve.

    Raises:
        InputError: If a solve fails, or an observable does not vary.
    """
    problem = config.from_toml(CDRConfig, toml)
    if problem.sampling.design != "simplex":
        # All designs in the box have one distribution; the errors assume independent draws.
        box = dataclasses.replace(problem.sampling, design="box")
        problem = dataclasses.replace(problem, sampling=box)
    with tqdm(total=n, unit=" solves", disable=None, leave=False) as bar:
        dataset = surrogates.generate(
            "cdr",
            config=problem,
            samples=n,
            seed=seed,
            split="0/0/1",
            progress=lambda done, total, note: bar.update(done - bar.n),
        )
    reasons = [reason for reason in dataset.failure if reason]
    check(not reasons, f"{len(reasons)} of {n} solves failed: {' '.join(reasons[:1])}")
    Y, C = dataset.part("test")
    check(bool((C.std(axis=0) > 0).all()), "an observable has one value in all solves")
    unit = np.zeros(Y.shape[1]), np.ones(Y.shape[1])
    X = draw_samples("box", *unit, total=n, seed=seed, start=0, stop=n)  # Y was made from these
    assert np.allclose(parameters(problem.sampling, X), Y, rtol=1e-14)
    return problem, X, C, float(dataset.solver["seconds"].mean())


def _sample(
    predict: Callable[[Array], Array], like: Array, n_y: int, n: int, seed: int, slow: float
) -> Distribution:
    """Call a surrogate at n independent draws, print how long that takes, return its observables.

    Args:
        predict: The surrogate.
        like: Observables of the PDE, (n_solves, n_c).
        n_y: Number of parameters.
        n: Number of calls.
        seed: Of the draws.
        slow: Seconds of a solve, to compare with.
    """
    many, seconds = Distribution(like), 0.0
    rng = np.random.default_rng([seed, 1])
    with tqdm(total=n, unit=" calls", disable=None, leave=False) as bar:
        while many.n < n:
            X = rng.random((min(_PIECE, n - many.n), n_y))
            start = time.perf_counter()
            C = predict(X)
            seconds += time.perf_counter() - start
            many.add(C)
            bar.update(len(C))
    print(
        f"surrogate: {n} calls in {seconds:.3g} s; as many solves take "
        f"{slow * n / 3600:.3g} h, {slow * n / seconds:.0f} times as long",
        flush=True,
    )
    return many


def _print_moments(
    moments: dict[str, Moment], rms: Array, names: Sequence[str], shown: Sequence[int]
) -> None:
    print("\nwith standard errors; error: root mean square of the surrogate's, in std of c")
    head = [f"{name}: {who}" for name in moments for who in ("surrogate", "PDE")]
    print(f"{'':12}" + "".join(f"{text:>22}" for text in head) + f"{'error':>9}")
    for i in shown:
        cells = [
            f"{value[i]:12.4f} ± {error[i]:<7.4f}"
            for m in moments.values()
            for value, error in ((m.many, m.many_error), (m.pde.value, m.pde.error))
        ]
        share = 100 * rms[i] / moments["std"].pde.value[i]
        print(f"{names[i]:12}{''.join(cells)}{share:7.1f} %")


def _print_comparison(
    moments: dict[str, Moment], C: Array, many: Distribution, names: Sequence[str]
) -> None:
    n, n_c = C.shape
    differences = {name: (m.z, m.pde) for name, m in moments.items()}
    p = np.repeat(np.array(QUANTILES)[:, None], n_c, axis=1)
    below = mean((C[:, None] <= many.quantiles(QUANTILES)).astype(np.float64))
    z = (p - below.value) / np.sqrt(p * (1 - p) * (1 / n + 1 / many.n))
    differences["share of solves below the surrogate's 5, 50, 95 % quantiles"] = (z, below)
    print(f"\nsurrogate less PDE, the largest of {n_c} observables, in standard errors")
    for name, (z, estimate) in differences.items():
        chance = probability(z, estimate)
        verdict = "within chance" if chance >= CHANCE else "more than chance"
        print(f"  {name:62}{np.abs(z).max():6.2f}   {_p(chance):10}{verdict}")
    print(f"bias from the same {n} parameters, the largest, in standard errors of the PDE's {n}")
    for name, m in moments.items():
        ratio, resolved = m.bias.value / m.pde.error, m.bias.error / m.pde.error
        i = int(np.abs(ratio).argmax())
        print(
            f"  {name + ', ' + names[i]:20}{ratio[i]:6.2f} ± {resolved[i]:.2f}   "
            f"{_p(probability(m.bias.value / m.bias.error, m.bias)):10}"
            f"as large as the sampling error of {_about(n / ratio[i] ** 2)} solves"
        )
    m = moments["mean"]
    worth = n * (m.pde.error**2 / (m.bias.error**2 + m.many_error**2))
    low, high = int(worth.argmin()), int(worth.argmax())
    print(
        f"means less their bias are as exact as those of {_about(worth[low])} ({names[low]}) to "
        f"{_about(worth[high])} ({names[high]}) solves alone"
    )


def _print_coverage(surrogate: LoadedSurrogate, Y: Array, C: Array) -> None:
    """Print the share of solves (Y, C) in the surrogate's intervals."""
    shares = np.empty((len(Y), len(LEVELS)))
    for k, level in enumerate(LEVELS):
        low, high = np.moveaxis(surrogate.predict_interval(Y, level), 1, 0)
        shares[:, k] = ((low <= C) & (C <= high)).mean(axis=1)
    inside = mean(shares)
    pairs = zip(inside.value, inside.error, strict=True)
    cells = ", ".join(f"{100 * share:.1f} ± {100 * error:.1f}" for share, error in pairs)
    levels = ", ".join(f"{100 * level:g}" for level in LEVELS)
    print(f"error bars: {cells} % of the surrogate's errors are in their {levels} % intervals")


def _print_indices(found: Study, y_names: Sequence[str]) -> None:
    """Print a column for each of the chosen observables."""
    rows: dict[str, list[str]] = {"": [found.names[i] for i in found.chosen]}

    def add(name: str, text: str) -> None:
        rows.setdefault(name, []).append(text)

    kinds = {
        "S1, SALib, surrogate": found.first,
        "S1, regression, surrogate": found.twin,
        "S1, regression, PDE": found.pde,
        "ST, SALib, surrogate": found.total,
    }
    for j in range(len(found.chosen)):
        columns = {name: estimate.column(j) for name, estimate in kinds.items()}
        salib, twin, pde, _ = columns.values()
        k = int(pde.value.argmax())
        for name, estimate in columns.items():
            add(f"sum of {name}", _pm(estimate.sum().value, estimate.sum().error))
        add("the largest S1 of the PDE", y_names[k].replace("y", "x"))
        for name, estimate in columns.items():
            add(f"its {name}", _pm(estimate.value[k], estimate.error[k]))
        z = (salib.value - twin.value) / np.hypot(salib.error, twin.error)
        add("SALib less regression, rms z", f"{np.sqrt((z**2).mean()):.2f}")
        bias = twin - pde
        chance = probability(bias.value / bias.error, bias)
        k = int(np.abs(bias.value).argmax())
        add("surrogate less PDE, the largest", _pm(bias.value[k], bias.error[k]))
        add("  all of them by chance", _p(chance))
        add("  verdict", "within chance" if chance >= CHANCE else "bias")
    for name, cells in rows.items():
        print(f"{name:34}" + "".join(f"{cell:>20}" for cell in cells))


def _pm(value: Any, error: Any) -> str:
    return f"{float(value):.4f} ± {float(error):.4f}"


def _p(value: float) -> str:
    return f"p = {value:.3f}" if value >= 0.001 else "p < 0.001"


def _about(number: float) -> str:
    return f"{int(float(f'{number:.2g}')):,}".replace(",", " ")


# The figure


def draw(figure: Any, found: Study) -> None:
    """Draw densities, moments over time and Sobol indices into an empty matplotlib figure."""
    panels = figure.subplots(3, 3)
    _draw_densities(panels[0], found)
    _draw_moments(panels[1], found)
    _draw_maps(panels[2, :2], found)
    _draw_first_order(panels[2, 2], found)


def _draw_densities(panels: Any, found: Study) -> None:
    n, merged = len(found.solved), 8
    names = [plotting.plain(name) for name in found.names]
    for axes, i in zip(panels, found.chosen, strict=False):
        edges, counts = found.many.edges[::merged, i], found.many.counts[:, i]
        density = counts.reshape(-1, merged).sum(axis=1) / (found.many.n * np.diff(edges))
        label = f"{_about(found.many.n)} surrogate calls"
        axes.stairs(density, edges, fill=True, color=plotting.SKY, label=label)
        wide = edges[::2]
        heights = np.histogram(found.solved[:, i], wide)[0]
        seen, unit = heights > 0, 1 / (n * np.diff(wide))
        axes.errorbar(
            ((wide[:-1] + wide[1:]) / 2)[seen],
            (unit * heights)[seen],
            (unit * np.sqrt(heights * (1 - heights / n)))[seen],
            color="black",
            label=f"{_about(n)} PDE solves",
            **_DOTS,
        )
        inside = np.flatnonzero(density > 1e-3 * density.max())
        axes.set(xlim=(edges[inside[0]], edges[inside[-1] + 1]), xlabel=f"c = {names[i]}")
        axes.set_ylim(0, 1.4 * axes.get_ylim()[1])
    for axes in panels[len(found.chosen) :]:
        axes.set_visible(False)
    panels[0].set_ylabel("density")
    panels[0].legend(loc="upper right", title="bars: one standard error", **_LEGEND)


def _draw_moments(panels: Any, found: Study) -> None:
    times = np.array(found.problem.observations.times)
    places = found.problem.observations.sensors
    step = float(np.diff(times, prepend=0).min())
    together, *apart = panels
    for axes, (name, m), dashes in zip(apart, found.moments.items(), ("-", "--"), strict=True):
        for j, place in enumerate(places):
            own, color = slice(j, None, len(places)), plotting.CYCLE[j % len(plotting.CYCLE)]
            label = f"({place[0]:g}, {place[1]:g})" if name == "mean" else None
            together.plot(times, m.many[own], dashes, color=color, linewidth=1, label=label)
            unit = 100 / m.many[own]
            axes.errorbar(
                times + 0.1 * step * (j - (len(places) - 1) / 2),
                unit * (m.many - m.pde.value)[own],
                unit * m.pde.error[own],
                color=color,
                **_DOTS,
            )
            axes.plot(times, unit * m.bias.value[own], color=color, linewidth=1)
        axes.axhline(0, color=plotting.GREY, linewidth=0.6)
        axes.set(xlabel="time", ylabel=f"{name}: surrogate - PDE [%]")
        limit = np.abs(axes.get_ylim()).max()
        axes.set_ylim(-limit, 2 * limit)
    handles = [
        plotting.legend_key(plotting.GREY, "", marker="o", markersize=2.5),
        plotting.legend_key(plotting.GREY, "-", linewidth=1),
    ]
    names = ["all samples", "same parameters: bias"]
    apart[0].legend(handles, names, loc="upper right", **_LEGEND)
    together.set_yscale("log")
    together.set(xlabel="time", ylabel="mean (solid), std (dashed)")
    handles, names = together.get_legend_handles_labels()
    apart[1].legend(handles, names, loc="upper right", title="sensor", ncols=2, **_LEGEND)


def _draw_maps(panels: Any, found: Study) -> None:
    """Draw the total indices of the first and the last of the chosen observables."""
    m1, m2 = found.problem.bumps.lattice
    ends = (0, len(found.chosen) - 1)
    top = float(found.total.value[:, ends].max())
    for axes, j in zip(panels, ends, strict=True):
        drawn = axes.pcolormesh(
            np.linspace(0, 1, m1 + 1),
            np.linspace(0, 1, m2 + 1),
            found.total.value[:, j].reshape(m2, m1),
            cmap=plotting.COLORMAP,
            vmin=0,
            vmax=top,
            rasterized=True,
        )
        for name, places, symbol, size in (
            ("sensors", found.problem.observations.sensors, "o", 3),
            ("sources f", found.problem.sources.centres, "*", 8),
        ):
            x, y = np.reshape(places, (-1, 2)).T
            axes.plot(x, y, symbol, markersize=size, mfc="white", mec="black", mew=0.6, label=name)
        axes.grid(False)
        name = plotting.plain(found.names[found.chosen[j]])
        title = f"total indices of {name}"
        axes.set(aspect="equal", title=title, xlabel="$x_1$", ylabel="$x_2$")
        beside = axes.inset_axes((1.04, 0, 0.05, 1))
        axes.figure.colorbar(drawn, cax=beside)
        beside.grid(False)
    panels[0].legend(loc="lower left", labelcolor="white", **_LEGEND)


def _draw_first_order(axes: Any, found: Study) -> None:
    points = [
        axes.errorbar(
            found.pde.value[:, j],
            found.first.value[:, j],
            xerr=found.pde.error[:, j],
            yerr=found.first.error[:, j],
            color=plotting.CYCLE[j],
            **_DOTS,
        )
        for j in range(len(found.chosen))
    ]
    ends = (0, 1.05 * float(found.pde.value.max()))
    axes.plot(ends, ends, color=plotting.GREY, linewidth=0.8, zorder=0)
    axes.set(
        aspect="equal",
        title="first-order indices",
        xlabel="PDE, regression",
        ylabel="surrogate, SALib",
    )
    names = [plotting.plain(found.names[i]) for i in found.chosen]
    plotting.legend(axes, points, names, loc="upper left", **_LEGEND)


if __name__ == "__main__":
    sys.exit(main())
