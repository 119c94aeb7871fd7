"""The sets of `benchmark_suite.py`: test functions with published definitions, and data sets.

A function of n_in inputs is drawn by Latin hypercube in its box: n training points from one seed,
1000 test points from another, which does not depend on n. A data set is shuffled by the seed; the
first n rows are for training and the rest, at most 1000, for test. At most 80 % of a data set's
rows are for training. Defaults were chosen with a view to `SETS`, and to some of `HELD_OUT`:
kernels that are products over the inputs, or have scales by output, were first tried on robot_arm,
morris, lorenz96 and land_model, and error bars on environmental and friedman3.

If a function has noise, `Draw.truth` is the function itself at the test points and `Draw.C_test`
has the noise: errors are measured against the former and intervals against the latter.

Citations name the first source. "VLSE" is S. Surjanovic and D. Bingham, "Virtual Library of
Simulation Experiments: Test Functions and Datasets" (sfu.ca/~ssurjano), whose ranges are used.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import sklearn.datasets
from scipy.integrate import solve_ivp
from scipy.stats import qmc

from surrogates.config import check, unknown
from surrogates.data import Dataset, import_file
from surrogates.types import Array

N_TEST = 1000
LARGEST_SHARE = 0.8  # of a data set's rows, for training
CDR_SAMPLES, DCR_SAMPLES = 2000, 1250  # a DCR sample takes ten times as long as one of CDR
GENERATE_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Training and test rows of one set.

    Attributes:
        Y_train: Inputs, (n, n_in).
        C_train: Outputs, (n, n_out); for a classification labels from 0, (n, 1).
        Y_test: Inputs, (n_test, n_in).
        C_test: Observed outputs, with noise, (n_test, n_out) or (n_test, 1).
        truth: Outputs without noise, same shape.
        task: ``regression`` or ``classification``.
    """

    Y_train: Array
    C_train: Array
    Y_test: Array
    C_test: Array
    truth: Array
    task: str = "regression"


@dataclass(frozen=True, kw_only=True)
class Files:
    """Paths of the files of data sets.

    Attributes:
        published: The published CDR data, F.mat; None if the user has none.
        darcy: Darcy flow on 16 x 16 cells, F.npz; None if the user has none.
        cache: Folder for data that `surrogates generate` made.
    """

    published: Path | None = None
    darcy: Path | None = None
    cache: Path = field(default_factory=lambda: Path("suite-cache"))


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function on a box.

    Attributes:
        citation: The source of its definition.
        lower: Lower ends of the inputs.
        upper: Upper ends.
        evaluate: Maps (n, n_in) to (n,) or (n, n_out).
        noise: Standard deviation of the noise, in units of the output.
        relative_noise: The same, in units of each output's standard deviation.
    """

    citation: str
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    evaluate: Callable[[Array], Array]
    noise: float = 0.0
    relative_noise: float = 0.0

    def draw(self, n: int, seed: int, files: Files) -> Draw:
        """Draw n training and 1000 test points; the test points do not depend on n."""
        train, test, noise, test_noise = np.random.SeedSequence(seed).spawn(4)
        Y_train, Y_test = self.sample(n, train), self.sample(N_TEST, test)
        C_train, truth = self(Y_train), self(Y_test)
        scale = self.noise + self.relative_noise * truth.std(axis=0)
        return Draw(
            Y_train=Y_train,
            C_train=C_train + scale * np.random.default_rng(noise).normal(size=C_train.shape),
            Y_test=Y_test,
            C_test=truth + scale * np.random.default_rng(test_noise).normal(size=truth.shape),
            truth=truth,
        )

    def sample(self, n: int, seed: np.random.SeedSequence | int) -> Array:
        """Draw n points of the box by Latin hypercube, (n, n_in)."""
        # scipy.stats.qmc.LatinHypercube has renamed its argument for the seed.
        state = np.random.default_rng(seed)
        cells = np.stack([state.permutation(n) for _ in self.lower], axis=1)
        unit = (cells + state.random(cells.shape)) / n
        return np.asarray(qmc.scale(unit, self.lower, self.upper))

    def __call__(self, Y: Array) -> Array:
        """Return the outputs, (n, n_out)."""
        return np.asarray(self.evaluate(Y), dtype=np.float64).reshape(len(Y), -1)


@dataclass(frozen=True, kw_only=True)
class Data:
    """A set of given rows.

    Attributes:
        citation: Their source.
        read: Returns Y, C and the number of last rows that are always for test; None if the
            user's file is not given.
        task: ``regression`` or ``classification``.
    """

    citation: str
    read: Callable[[Files], tuple[Array, Array, int] | None]
    task: str = "regression"

    def draw(self, n: int, seed: int, files: Files) -> Draw | None:
        """Shuffle the rows by the seed; take the first for training and others for test."""
        rows = self.read(files)
        if rows is None:
            return None
        Y, C, last = rows
        free = len(Y) - last
        order = np.random.default_rng(seed).permutation(free)
        n = min(n, free if last else int(LARGEST_SHARE * free))
        train, rest = order[:n], np.concatenate([np.arange(free, len(Y)), order[n:]])[:N_TEST]
        return Draw(
            Y_train=Y[train],
            C_train=C[train],
            Y_test=Y[rest],
            C_test=C[rest],
            truth=C[rest],
            task=self.task,
        )


def draw(name: str, n: int, seed: int, files: Files) -> Draw | None:
    """Draw training and test rows of a set.

    Args:
        name: A name of `SETS` or `HELD_OUT`.
        n: Number of training rows; the set may have fewer.
        seed: Seed of the draw.
        files: Paths of data sets.

    Returns:
        The rows; None if they are in a user's file that is not given.

    Raises:
        InputError: If there is no such set, or its file cannot be read.
    """
    known = {**SETS, **HELD_OUT}
    check(name in known, unknown(f"set {name!r}", name, known))
    return known[name].draw(n, seed, files)


def borehole(Y: Array) -> Array:
    """Return the flow of water through a borehole, m^3/yr."""
    rw, r, Tu, Hu, Tl, Hl, L, Kw = Y.T
    log = np.log(r / rw)
    return 2 * np.pi * Tu * (Hu - Hl) / (log + 2 * L * Tu / (rw**2 * Kw) + log * Tu / Tl)


def otl_circuit(Y: Array) -> Array:
    """Return the midpoint voltage of an output transformerless push-pull circuit, V."""
    Rb1, Rb2, Rf, Rc1, Rc2, beta = Y.T
    Vb1 = 12 * Rb2 / (Rb1 + Rb2)
    gain = beta * (Rc2 + 9)
    total = gain + Rf
    return (Vb1 + 0.74) * gain / total + 11.35 * Rf / total + 0.74 * Rf * gain / (total * Rc1)


def piston(Y: Array) -> Array:
    """Return the time of one cycle of a piston, s."""
    M, S, V0, k, P0, Ta, T0 = Y.T
    A = P0 * S + 19.62 * M - k * V0 / S
    V = S / (2 * k) * (np.sqrt(A**2 + 4 * k * P0 * V0 / T0 * Ta) - A)
    return 2 * np.pi * np.sqrt(M / (k + S**2 * P0 * V0 / T0 * Ta / V**2))


def ishigami(Y: Array) -> Array:
    """Return Ishigami and Homma's function with a = 7 and b = 0.1."""
    x1, x2, x3 = Y.T
    return np.sin(x1) + 7 * np.sin(x2) ** 2 + 0.1 * x3**4 * np.sin(x1)


def friedman1(Y: Array) -> Array:
    """Return Friedman's first function; the last five of ten inputs have no effect."""
    x = Y.T
    wave = 10 * np.sin(np.pi * x[0] * x[1])
    return wave + 20 * (x[2] - 0.5) ** 2 + 10 * x[3] + 5 * x[4]


def friedman2(Y: Array) -> Array:
    """Return the impedance of a circuit (Friedman's second function)."""
    x = Y.T
    return np.sqrt(x[0] ** 2 + (x[1] * x[2] - 1 / (x[1] * x[3])) ** 2)


def friedman3(Y: Array) -> Array:
    """Return the phase of a circuit (Friedman's third function)."""
    x = Y.T
    return np.arctan2(x[1] * x[2] - 1 / (x[1] * x[3]), x[0])


def g_function(a: Array) -> Callable[[Array], Array]:
    """Return Sobol's g-function with weights a."""
    return lambda Y: np.prod((np.abs(4 * Y - 2) + a) / (1 + a), axis=1)


def wing_weight(Y: Array) -> Array:
    """Return the weight of a light aircraft's wing, lb."""
    Sw, Wfw, A, sweep, q, taper, tc, Nz, Wdg, Wp = Y.T
    cos = np.cos(np.deg2rad(sweep))
    shape = (A / cos**2) ** 0.6 * q**0.006 * taper**0.04 * (100 * tc / cos) ** -0.3
    return 0.036 * Sw**0.758 * Wfw**0.0035 * shape * (Nz * Wdg) ** 0.49 + Sw * Wp


def cantilever(Y: Array) -> Array:
    """Return tip deflection (m), mass (kg) and largest stress (N/cm^2) of a cantilever beam.

    By Euler and Bernoulli: a rectangular section, forces X and Y across both sides at the tip.
    """
    L, w, t, E, rho, X, F = Y.T
    deflection = 4 * L**3 / (E * w * t) * np.hypot(F / t**2, X / w**2)
    stress = 6 * L * (F / (w * t**2) + X / (w**2 * t))
    return np.stack([deflection, rho * L * w * t, 1e-4 * stress], axis=1)


def robertson(Y: Array) -> Array:
    """Return two species of Robertson's reaction, stiff, at 20 times from 1e-2 to 1e5 s each.

    Inputs are log10 of the factors on the three rates 0.04, 3e7, 1e4, and the first species at
    time 0. The relative tolerance is 1e-9.
    """
    times = np.logspace(-2, 5, 20)
    return np.stack([_robertson(y, times) for y in Y])


def _robertson(y: Array, times: Array) -> Array:
    k1, k2, k3 = np.array([0.04, 3e7, 1e4]) * 10 ** y[:3]

    def rates(_: float, u: Array) -> list[float]:
        first, second = k1 * u[0] - k3 * u[1] * u[2], k2 * u[1] ** 2
        return [-first, first - second, second]

    solution = solve_ivp(rates, (0, times[-1]), [y[3], 0, 0], "LSODA", times, rtol=1e-9, atol=1e-14)
    check(solution.success, f"Robertson's equations were not solved: {solution.message}")
    return np.asarray(solution.y[:2].ravel())


def lotka_volterra(Y: Array) -> Array:
    """Return prey and predators at 20 times up to 10 from (1, 1), by 2000 steps of RK4.

    Inputs are the four rates.
    """
    a, b, c, d = Y.T

    def rates(u: Array) -> Array:
        return np.stack([u[0] * (a - b * u[1]), u[1] * (d * u[0] - c)])

    u, found = np.ones((2, len(Y))), []
    for _ in range(20):
        u = _rk4(rates, u, 0.005, 100)
        found.append(u)
    return np.concatenate(np.swapaxes(found, 0, 1)).T


def lorenz96(Y: Array) -> Array:
    """Return the state of Lorenz's 1996 model, F = 8, 0.2 time units (a day) after state Y."""

    def rates(u: Array) -> Array:
        return (np.roll(u, -1, 0) - np.roll(u, 2, 0)) * np.roll(u, 1, 0) - u + 8

    return _rk4(rates, Y.T, 0.005, 40).T


def _rk4(rates: Callable[[Array], Array], u: Array, step: float, steps: int) -> Array:
    for _ in range(steps):
        k1 = rates(u)
        k2 = rates(u + step / 2 * k1)
        k3 = rates(u + step / 2 * k2)
        k4 = rates(u + step * k3)
        u = u + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return u


def robot_arm(Y: Array) -> Array:
    """Return the distance from the origin to the end of an arm of four segments."""
    angles, lengths = np.cumsum(Y[:, :4], axis=1), Y[:, 4:]
    return np.hypot((lengths * np.cos(angles)).sum(axis=1), (lengths * np.sin(angles)).sum(axis=1))


def environmental(Y: Array) -> Array:
    """Return the concentration after two spills, at 5 places and 20 times, (n, 100)."""
    M, D, L, tau = Y.T[:, :, None, None]
    s = np.array([0.5, 1, 1.5, 2, 2.5])[:, None]
    t = np.arange(3, 61, 3.0)
    first = M / np.sqrt(D * t) * np.exp(-(s**2) / (4 * D * t))
    after = np.maximum(t - tau, 1e-9)
    second = M / np.sqrt(D * after) * np.exp(-((s - L) ** 2) / (4 * D * after))
    return (first + np.where(t > tau, second, 0)).reshape(len(Y), -1)


def morris(Y: Array) -> Array:
    """Return Morris's function of 20 inputs, small coefficients (-1)^i and (-1)^(i + j)."""
    w = 2 * (Y - 0.5)
    odd = [2, 4, 6]
    w[:, odd] = 2 * (1.1 * Y[:, odd] / (Y[:, odd] + 0.1) - 0.5)
    sign = (-1.0) ** np.arange(1, 21)
    first = np.where(np.arange(20) < 10, 20, sign)
    second = np.triu(np.outer(sign, sign), 1)
    second[:6, :6] = np.triu(np.full((6, 6), -15), 1)
    pairs = np.einsum("ni,ij,nj->n", w, second, w)
    return w @ first + pairs - 10 * _elementary(w[:, :5], 3) + 5 * _elementary(w[:, :4], 4)


def _elementary(w: Array, degree: int) -> Array:
    """Return the elementary symmetric polynomial of each row."""
    found = np.zeros((degree + 1, len(w)))
    found[0] = 1
    for column in w.T:
        found[1:] = found[1:] + column * found[:-1]
    return found[degree]


def dette_pepelyshev(Y: Array) -> Array:
    """Return Dette and Pepelyshev's function of 8 inputs."""
    x = Y.T
    curved = 4 * (x[0] - 2 + 8 * x[1] - 8 * x[1] ** 2) ** 2 + (3 - 4 * x[1]) ** 2
    root = 16 * np.sqrt(x[2] + 1) * (2 * x[2] - 1) ** 2
    sums = np.cumsum(x[2:], axis=0)[1:]
    return curved + root + (np.arange(4, 9)[:, None] * np.log(1 + sums)).sum(axis=0)


def zhou(Y: Array) -> Array:
    """Return two Gaussian peaks in two inputs."""
    peaks = [np.exp(-50 * ((Y - centre) ** 2).sum(axis=1)) for centre in (1 / 3, 2 / 3)]
    return 50 / (2 * np.pi) * np.add(*peaks)


def land_model(Y: Array) -> Array:
    """Return net carbon uptake in ten months by a light-use-efficiency model, gC/m^2/d.

    Uptake is light times the share that leaves absorb (Beer's law) times an efficiency, which has
    factors for cold, heat, dry air and dry soil. Respiration grows with temperature by a Q10 law
    and with the pools of living matter and soil.
    """
    efficiency, k, leaf, season, phase, cold, hot, dry, soil, q10, base, pool, warm, rain, depth = (
        Y.T[:, :, None]
    )
    months = 2 * np.pi * np.arange(1, 11) / 12
    cycle = -np.cos(months - phase)
    light, degrees = 8 + 4 * -np.cos(months), 12 + warm + 10 * -np.cos(months - 0.5)
    leaves = leaf * (1 + season * cycle)
    chill = 1 / (1 + np.exp(-(degrees - cold) / 2))
    heat = 1 / (1 + np.exp((degrees - hot) / 2))
    air = np.exp(-dry * np.exp(0.06 * degrees) / 4)
    water = 1 - np.exp(-depth * rain * (1 - 0.4 * cycle) / soil)
    uptake = efficiency * light * (1 - np.exp(-k * leaves)) * chill * heat * air * water
    return uptake - base * (leaves + pool * water) * q10 ** ((degrees - 15) / 10)


def heat_rod(Y: Array) -> Array:
    """Return 20 temperatures along a rod whose conductivity is k (1 + b T), in K.

    It is heated by q, has T_0 at one end, and is cooled at the other by h (T - T_out). Kirchhoff's
    transform T + b T^2 / 2 makes the equation linear; the other end's temperature is a root of a
    quadratic.
    """
    T_0, k, b, q, h, T_out = Y.T[:, :, None]
    start = T_0 + b * T_0**2 / 2
    rest = k / (2 * b) + k * start + q / 2 + h / b + h * T_out
    root = (-h / b + np.sqrt((h / b) ** 2 + 2 * k / b * rest)) * b / k  # 1 + b T at the end
    slope = (root**2 - 1) / (2 * b) - start + q / (2 * k)
    x = np.arange(1, 21) / 20
    return (np.sqrt(1 + 2 * b * (start + slope * x - q / (2 * k) * x**2)) - 1) / b


def flood(Y: Array) -> Array:
    """Return the height of a river above its dyke, in m, and the cost, in 10^6 EUR."""
    Q, K, Z_v, Z_m, H_d, C_b, L, B = Y.T
    above = Z_v + (Q / (B * K * np.sqrt((Z_m - Z_v) / L))) ** 0.6 - H_d - C_b
    with np.errstate(divide="ignore"):
        damage = np.where(above > 0, 1.0, 0.2 + 0.8 * (1 - np.exp(-1000 / above**4)))
    return np.stack([above, damage + np.maximum(H_d, 8) / 20], axis=1)


def burgers(Y: Array) -> Array:
    """Return the solution of Burgers' equation on 64 points of a period, 1.5 after its start."""
    mean, first, second, phase, viscosity = Y.T[:, :, None]
    x, wave = 2 * np.pi * np.arange(64) / 64, 1j * np.arange(33)

    def rates(u: Array) -> Array:
        flux = wave * np.fft.rfft(-(u**2) / 2) + viscosity * wave**2 * np.fft.rfft(u)
        return np.fft.irfft(np.where(np.arange(33) < 22, flux, 0), n=64)

    return _rk4(rates, mean + first * np.sin(x) + second * np.sin(2 * x + phase), 0.01, 150)


def lorenz63(Y: Array) -> Array:
    """Return the state of Lorenz's 1963 model at time 1, from its three numbers and a state."""
    sigma, rho, beta = Y.T[:3]

    def rates(u: Array) -> Array:
        return np.stack(
            [sigma * (u[1] - u[0]), u[0] * (rho - u[2]) - u[1], u[0] * u[1] - beta * u[2]]
        )

    return _rk4(rates, Y.T[3:], 0.01, 100).T


def _published(files: Files) -> tuple[Array, Array, int] | None:
    if files.published is None:
        return None
    dataset = import_file(files.published)
    return dataset.Y, dataset.C, 0


def _darcy(files: Files) -> tuple[Array, Array, int] | None:
    if files.darcy is None:
        return None
    with np.load(files.darcy) as arrays:
        names = ("Y_train", "Y_test", "C_train", "C_test")
        check(set(names) <= set(arrays), f"{files.darcy} must hold {', '.join(names)}")
        rows = {name: arrays[name].reshape(len(arrays[name]), -1) for name in names}
    Y, C = (np.concatenate([rows[f"{a}_train"], rows[f"{a}_test"]]).astype(float) for a in "YC")
    return Y, C, len(rows["Y_test"])


def _generated(problem: str, samples: int) -> Callable[[Files], tuple[Array, Array, int]]:
    def read(files: Files) -> tuple[Array, Array, int]:
        path = files.cache / f"{problem}-{samples}.h5"
        if not path.exists():
            files.cache.mkdir(parents=True, exist_ok=True)
            command = ["-m", "surrogates", "generate", problem, "--samples", str(samples)]
            done = subprocess.run(
                [sys.executable, *command, "--split", "1/0/0", "--out", str(path)],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                timeout=GENERATE_SECONDS,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            last = done.stderr.strip().splitlines()[-1:]
            check(done.returncode == 0, f"surrogates generate {problem} failed: {last}")
        return (*Dataset.read(path).part("train"), 0)

    return read


def _diabetes(files: Files) -> tuple[Array, Array, int]:
    Y, C = sklearn.datasets.load_diabetes(return_X_y=True, scaled=False)
    return Y, C[:, None], 0


def _digits(files: Files) -> tuple[Array, Array, int]:
    Y, C = sklearn.datasets.load_digits(return_X_y=True)
    return Y, C[:, None].astype(float), 0


def _unit(n: int) -> dict[str, tuple[float, ...]]:
    return {"lower": (0.0,) * n, "upper": (1.0,) * n}


def _box(*pairs: tuple[float, float]) -> dict[str, tuple[float, ...]]:
    return {"lower": tuple(p[0] for p in pairs), "upper": tuple(p[1] for p in pairs)}


_FRIEDMAN = "Friedman (1991), Multivariate adaptive regression splines, Annals of Statistics 19"
_CIRCUIT = _box((0, 100), (40 * np.pi, 560 * np.pi), (0, 1), (1, 11))

SETS: Mapping[str, Function | Data] = {
    "borehole": Function(
        citation="Harper and Gupta (1983), BMI/ONWI-516; Morris, Mitchell and Ylvisaker (1993), "
        "Technometrics 35; VLSE",
        evaluate=borehole,
        **_box(
            *((0.05, 0.15), (100, 50000), (63070, 115600), (990, 1110)),
            *((63.1, 116), (700, 820), (1120, 1680), (9855, 12045)),
        ),
    ),
    "otl_circuit": Function(
        citation="Ben-Ari and Steinberg (2007), Quality Engineering 19; VLSE",
        evaluate=otl_circuit,
        **_box((50, 150), (25, 70), (0.5, 3), (1.2, 2.5), (0.25, 1.2), (50, 300)),
    ),
    "piston": Function(
        citation="Kenett and Zacks (1998), Modern Industrial Statistics; VLSE",
        evaluate=piston,
        **_box(
            *((30, 60), (0.005, 0.020), (0.002, 0.010), (1000, 5000)),
            *((90000, 110000), (290, 296), (340, 360)),
        ),
    ),
    "ishigami": Function(
        citation="Ishigami and Homma (1990), ISUMA '90; VLSE, a = 7, b = 0.1",
        evaluate=ishigami,
        **_box(*[(-np.pi, np.pi)] * 3),
    ),
    "friedman1": Function(citation=_FRIEDMAN, evaluate=friedman1, **_unit(10)),
    "friedman1_noise": Function(citation=_FRIEDMAN, evaluate=friedman1, noise=1.0, **_unit(10)),
    "g_function": Function(
        citation="Sobol (1993); VLSE; a = (0, 1, 4.5, 9, 99, 99, 99, 99) by Saltelli, Chan and "
        "Scott (2000), Sensitivity Analysis",
        evaluate=g_function(np.array([0, 1, 4.5, 9, 99, 99, 99, 99])),
        **_unit(8),
    ),
    "g_function_vlse": Function(
        citation="the same with VLSE's default, a_i = (i - 2) / 2: much harder",
        evaluate=g_function((np.arange(1, 9) - 2) / 2),
        **_unit(8),
    ),
    "wing_weight": Function(
        citation="Forrester, Sobester and Keane (2008), Engineering Design via Surrogate "
        "Modelling; VLSE",
        evaluate=wing_weight,
        **_box(
            *((150, 200), (220, 300), (6, 10), (-10, 10), (16, 45)),
            *((0.5, 1), (0.08, 0.18), (2.5, 6), (1700, 2500), (0.025, 0.08)),
        ),
    ),
    "published_cdr": Data(
        citation="Newman, Ruthotto, Hart and van Bloemen Waanders (2021), Train like a (Var)Pro, "
        "SIAM J. Math. Data Sci. 3(4): the file of 800 samples",
        read=_published,
    ),
    "cdr": Data(
        citation=f"surrogates generate cdr, default settings, {CDR_SAMPLES} samples",
        read=_generated("cdr", CDR_SAMPLES),
    ),
    "dcr": Data(
        citation=f"surrogates generate dcr, default settings, {DCR_SAMPLES} samples, as they are "
        "dear: 250 for test",
        read=_generated("dcr", DCR_SAMPLES),
    ),
    "darcy": Data(
        citation="Li et al. (2021), Fourier neural operator, ICLR; 16 x 16 as distributed with "
        "neuraloperator; its 50 test samples are never for training",
        read=_darcy,
    ),
    "diabetes": Data(
        citation="Efron, Hastie, Johnstone and Tibshirani (2004), Annals of Statistics 32; "
        "scikit-learn, inputs as measured",
        read=_diabetes,
    ),
    "digits": Data(
        citation="Alpaydin and Kaynak (1998), UCI optical recognition of handwritten digits; "
        "scikit-learn",
        read=_digits,
        task="classification",
    ),
    "cantilever": Function(
        citation="Timoshenko and Gere (1972), Mechanics of Materials: outputs of sizes 1e-3, 1 and "
        "1e3",
        evaluate=cantilever,
        **_box(
            *((0.4, 0.6), (0.02, 0.04), (0.02, 0.04), (6e10, 8e10)),
            *((2000, 3500), (50, 150), (50, 150)),
        ),
    ),
    "robertson": Function(
        citation="Robertson (1966), in: Numerical Analysis, an Introduction, Academic Press",
        evaluate=robertson,
        **_box((-0.5, 0.5), (-0.5, 0.5), (-0.5, 0.5), (0.5, 1)),
    ),
    "lotka_volterra": Function(
        citation="Lotka (1925), Elements of Physical Biology; Volterra (1926)",
        evaluate=lotka_volterra,
        **_box((0.8, 1.4), (0.6, 1.2), (0.8, 1.4), (0.6, 1.2)),
    ),
}

HELD_OUT: Mapping[str, Function | Data] = {
    "robot_arm": Function(
        citation="An and Owen (2001), Quasi-regression, J. Complexity 17; VLSE",
        evaluate=robot_arm,
        **_box(*[(0, 2 * np.pi)] * 4, *[(0, 1)] * 4),
    ),
    "environmental": Function(
        citation="Bliznyuk et al. (2008), J. Computational and Graphical Statistics 17; VLSE, at "
        "20 of its 200 times",
        evaluate=environmental,
        **_box((7, 13), (0.02, 0.12), (0.01, 3), (30.01, 30.295)),
    ),
    "morris": Function(
        citation="Morris (1991), Factorial sampling plans, Technometrics 33; the small "
        "coefficients fixed, as in the R package sensitivity",
        evaluate=morris,
        **_unit(20),
    ),
    "dette_pepelyshev": Function(
        citation="Dette and Pepelyshev (2010), Generalized Latin hypercube design, Technometrics "
        "52; VLSE",
        evaluate=dette_pepelyshev,
        **_unit(8),
    ),
    "zhou": Function(
        citation="Zhou (1998), Adaptive importance sampling and integration, thesis, Stanford; "
        "VLSE, two inputs",
        evaluate=zhou,
        **_unit(2),
    ),
    "friedman2": Function(citation=_FRIEDMAN, evaluate=friedman2, **_CIRCUIT),
    "friedman3": Function(citation=_FRIEDMAN, evaluate=friedman3, **_CIRCUIT),
    "lorenz96": Function(
        citation="Lorenz (1996), Predictability: a problem partly solved, ECMWF; 10 variables",
        evaluate=lorenz96,
        **_box(*[(-5, 11)] * 10),
    ),
    "land_model": Function(
        citation="Made for this suite, in the manner of Monteith (1972), J. Applied Ecology 9; "
        "noise of 5 % of each output's standard deviation",
        evaluate=land_model,
        relative_noise=0.05,
        **_box(
            *((0.5, 1.5), (0.3, 0.7), (1, 5), (0, 0.6), (0, 1), (0, 8), (22, 32), (0.05, 0.4)),
            *((0.5, 2), (1.3, 3), (0.1, 0.4), (1, 6), (-4, 4), (0.5, 2), (0.5, 1.5)),
        ),
    ),
    "heat_rod": Function(
        citation="Carslaw and Jaeger (1959), Conduction of heat in solids, 1.6: Kirchhoff's "
        "transform; made for this suite",
        evaluate=heat_rod,
        **_box((280, 360), (0.5, 2), (1e-4, 3e-3), (0, 300), (1, 20), (260, 320)),
    ),
    "flood": Function(
        citation="Iooss and Lemaitre (2015), A review on global sensitivity analysis methods; VLSE",
        evaluate=flood,
        **_box(
            *((500, 3000), (15, 50), (49, 51), (54, 56), (7, 9), (55, 56), (4990, 5010)),
            (295, 305),
        ),
    ),
    "burgers": Function(
        citation="Burgers (1948), A mathematical model illustrating the theory of turbulence; "
        "made for this suite, pseudospectral",
        evaluate=burgers,
        **_box((-0.5, 0.5), (0.5, 1.5), (-0.5, 0.5), (0, 2 * np.pi), (0.1, 0.5)),
    ),
    "lorenz63": Function(
        citation="Lorenz (1963), Deterministic nonperiodic flow, J. Atmospheric Sciences 20; "
        "made for this suite",
        evaluate=lorenz63,
        **_box((8, 12), (24, 32), (2, 3.2), (4, 6), (4, 6), (18, 22)),
    ),
}
