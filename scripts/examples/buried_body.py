r"""Shared code of the examples on the buried body: data, noise, prior, a fit by Gauss-Newton.

y = (depth, volume, rotation) of a conductive body is sought from the potential differences at the
surface (`surrogates.pde.dcr.problem`), with a surrogate instead of the PDE.

**Data.** d = c + e, where c always comes from the PDE, on a mesh with twice as many cells in each
direction as that of the surrogate's training data. So the errors of the surrogate and of the
coarser mesh matter, as in the field.

**Noise.** e_j is normal and independent, with the standard deviation

    sigma_j^2 = (relative E_j)^2 + floor^2,    relative = 0.5 %, floor = 20 microvolt at 1 A

E_j is the size of the whole potential difference at the station without a body, both directions
together: if the electrodes of a 5 m receiver dipole are placed to 2 or 3 cm, its length and
direction are wrong by 0.5 %, and a wrong direction mixes the large component into the small one. A
noise proportional to each datum would vanish with the datum. The floor is the voltmeter's noise and
the ground's own potentials. A body changes c by one to three per cent, and the differences between
bodies are about as large as this noise: only hundreds of data together determine depth, volume and
rotation.

**The surrogate's errors.** Beside the noise, c has errors of the surrogate, whose covariance at y
is `surrogate.predict_cov(y)`. They are strongly correlated: an error of the features affects all
outputs. The likelihood has the covariance of both. It is taken at one y, the best fit: over a
posterior it varies little, and `surrogate.likelihood`, which has it at each y, takes a hundred
times as long for 882 outputs.

**Prior.** Uniform in the training box. Rotation is an angle: a body turned by pi is the same, so
that the box must span half a turn, and its two ends are equal.

**Errors of the model.** An error delta of c that is not in the likelihood shifts the mean of the
posterior, to first order by

    (J^T Sigma^-1 J + P)^-1 J^T Sigma^-1 delta,    J = dc/dy

with the noise's covariance Sigma and the prior's inverse covariance P (`BuriedBody.shift`, in
posterior standard deviations). It is at most ||Sigma^-1/2 delta||, and far less unless delta
resembles the effect of a parameter.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from program import missing
from scipy.optimize import least_squares
from scipy.special import logsumexp

import surrogates
from surrogates.config import check, from_toml
from surrogates.model.loaded import LoadedSurrogate
from surrogates.types import Array

try:
    from mpi4py import MPI

    from surrogates.pde.dcr.problem import DCR
    from surrogates.pde.dcr.survey import DCRConfig
except ImportError as error:
    missing(error)

Density = Callable[[Array], Array]  # log density, up to a constant, of (n, k): (n,)

RELATIVE, FLOOR = 0.005, 2e-5  # of the noise; the floor in V for 1 A
NAMES = ("depth [m]", "volume [m³]", "rotation [rad]")


class PDE:
    """The PDE on one process, y (3,) to c; counts solves and seconds.

    Attributes:
        background: c without a body, (n_c,).
        solves: Number of solves so far.
        seconds: Their time together.
    """

    def __init__(self, config: DCRConfig) -> None:
        """Make the meshes, and solve for the background."""
        DCR.compile(config)
        self._problem = DCR(config, MPI.COMM_SELF)
        self.background = self._problem.background
        self.solves, self.seconds = 0, 0.0

    def __call__(self, y: Array) -> Array:
        """Solve for c, (n_c,)."""
        return self._solve(y, tangents=False).C[0]

    def with_tangents(self, y: Array) -> tuple[Array, Array]:
        """Solve for c, (n_c,), and dc/dy, (n_c, 3)."""
        batch = self._solve(y, tangents=True)
        return batch.C[0], batch.dC_dY[0]

    def _solve(self, y: Array, tangents: bool) -> Any:
        start = time.perf_counter()
        batch = self._problem.solve_batch(y[None], tangents=tangents)
        self.solves += 1
        self.seconds += time.perf_counter() - start
        check(not batch.failure[0], f"a solve failed: {batch.failure[0]}")
        return batch


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The minima of fits from several starts.

    Attributes:
        minima: The fits' ends, the best first, (k, 3).
        costs: Half the sums of squares of (c - d) / sigma there, (k,).
        evaluations: Points at which c and dc/dy were evaluated, together.
    """

    minima: Array
    costs: Array
    evaluations: int


class BuriedBody:
    """The inverse problem of a surrogate file.

    Attributes:
        surrogate: The surrogate.
        config: Configuration of the PDE that it was trained on.
        pde: That PDE.
        lower: Lower corner of the box, (3,), units of y.
        upper: Upper corner of the box, (3,), units of y.
        noise: Standard deviations sigma of the data's noise, (n_c,) [V].
    """

    def __init__(self, path: str, noise: float = 1.0) -> None:
        """Read a surrogate.

        Args:
            path: Its file.
            noise: Factor on the standard deviations in the module's text.

        Raises:
            InputError: If the file is not a surrogate of DC resistivity on the built-in mesh over
                half a turn, or the factor is not positive.
        """
        self.surrogate: LoadedSurrogate = surrogates.load(path, engine="c")
        about = self.surrogate.metadata
        check(
            about["problem"] == "dcr",
            f"{path} is a surrogate of {about['problem']!r}; this example needs one of 'dcr', DC "
            "resistivity",
        )
        check(0 < noise < math.inf, f"the noise must be positive; got {noise:g}")
        self.config = from_toml(DCRConfig, about["dataset"]["config"])
        self.lower, self.upper = np.array(about["y_lower"]), np.array(about["y_upper"])
        check(not self.config.mesh.file, "this example refines the built-in mesh, not a file's")
        check(
            abs(self.turn - np.pi) < 1e-6,
            f"this example needs rotations over pi; those of {path} range over {self.turn:g}",
        )
        self.pde = PDE(self.config)
        size = np.hypot(*self.pde.background.reshape(2, -1))
        floor = FLOOR * abs(self.config.source.current)
        self.noise = noise * np.hypot(RELATIVE * np.tile(size, 2), floor)

    @property
    def finer(self) -> DCRConfig:
        """The configuration with twice the cells in each direction."""
        old = self.config.mesh
        cells = tuple(2 * n for n in old.cells)
        mesh = dataclasses.replace(old, cells=cells, above=2 * old.above, layers=2 * old.layers)
        return dataclasses.replace(self.config, mesh=mesh)

    @property
    def turn(self) -> float:
        """The rotation's period, half a turn of the body [rad]."""
        return float(self.upper[2] - self.lower[2])

    def near_to(self, y: Array, Y: Array) -> Array:
        """Shift rotations of Y, (..., 3), to within half a period of that of y, (3,)."""
        start = y[2] - self.turn / 2
        rotation = start + (Y[..., 2] - start) % self.turn
        return np.concatenate([Y[..., :2], rotation[..., None]], axis=-1)

    def wrap(self, Y: Array) -> Array:
        """Shift rotations of Y, (..., 3), into the box."""
        return self.near_to((self.lower + self.upper) / 2, Y)

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draw from the prior: (n, 3)."""
        return rng.uniform(self.lower, self.upper, (n, 3))

    def on_box(self, log_likelihood: Density) -> Density:
        """Return the posterior's log density, up to a constant, of any Y, (n, 3), to (n,).

        Args:
            log_likelihood: Log likelihood of Y in the box, (n, 3) with n >= 1.
        """

        def density(Y: Array) -> Array:
            Y = self.wrap(Y)
            inside = ((self.lower <= Y) & (self.upper >= Y)).all(axis=1)
            log_p = np.full(len(Y), -np.inf)
            if inside.any():
                log_p[inside] = log_likelihood(Y[inside])
            return log_p

        return density

    def log_likelihood(self, d: Array, at: Array) -> Density:
        """Return the log likelihood of data d, (n_c,), up to a constant, of Y (n, 3) to (n,).

        Args:
            d: The data.
            at: Where the covariance of the surrogate's errors is taken, (3,).
        """
        covariance = self.surrogate.predict_cov(at) + self.noise**2
        return lambda Y: -0.5 * covariance.chi2(d - self.surrogate.predict(Y))

    def starts(self, d: Array, rng: np.random.Generator) -> Array:
        """Choose the starts of fits to the data d, (n_c,): (8, 3).

        A body across the profile resembles a smaller one along it, so that a fit may end in a local
        minimum. From 4000 draws of the prior, each start is the draw of the best fit among those
        with a rotation in its eighth of the box.
        """
        Y = self.draw(4000, rng)
        misfit = (((self.surrogate.predict(Y) - d) / self.noise) ** 2).sum(axis=1)
        eighth = (8 * (Y[:, 2] - self.lower[2]) / self.turn).astype(int)
        return np.array([Y[eighth == k][misfit[eighth == k].argmin()] for k in range(8)])

    def fit(self, evaluate: Callable[[Array], tuple[Array, Array]], d: Array, starts: Array) -> Fit:
        """Fit y to data by Gauss-Newton in a trust region.

        Args:
            evaluate: y (3,) to c (n_c,) and dc/dy (n_c, 3).
            d: Data, (n_c,).
            starts: (k, 3).
        """
        evaluations, last = 0, (np.full(3, np.nan), np.empty(0), np.empty(0))

        def at(y: Array) -> tuple[Array, Array]:
            nonlocal evaluations, last
            if not np.array_equal(y, last[0]):
                evaluations, last = evaluations + 1, (y.copy(), *evaluate(y))
            return last[1:]

        fits = [
            least_squares(
                lambda y: (at(y)[0] - d) / self.noise,
                start,
                lambda y: at(y)[1] / self.noise[:, None],
                bounds=(self.lower, self.upper),
                x_scale=self.upper - self.lower,
                ftol=1e-6,  # of some hundreds; a tenth of a posterior deviation is 0.005
            )
            for start in starts
        ]
        fits.sort(key=lambda fit: fit.cost)
        return Fit(
            minima=np.array([fit.x for fit in fits]),
            costs=np.array([fit.cost for fit in fits]),
            evaluations=evaluations,
        )

    def covariance(self, y: Array, *, surrogate_errors: bool = False) -> Array:
        """Approximate the posterior's covariance around y, (3,): (3, 3).

        c is linearised, and the box replaced by a normal distribution with its deviations.

        Args:
            y: The point.
            surrogate_errors: Whether the surrogate's errors count beside the noise.
        """
        J = self.surrogate.jacobian(y)
        if surrogate_errors:
            covariance = self.surrogate.predict_cov(y) + self.noise**2
            precision = covariance.solve(J.T) @ J
        else:
            precision = (J / self.noise[:, None] ** 2).T @ J
        return np.linalg.inv(precision + np.diag(12 / (self.upper - self.lower) ** 2))

    def shift(self, y: Array, delta: Array) -> Array:
        """Estimate the shift of y, (3,), by an error delta of c, (n_c,): (3,), in posterior sd."""
        covariance = self.covariance(y)
        shift = covariance @ self.surrogate.vjp(y, delta / self.noise**2)
        return shift / np.sqrt(np.diag(covariance))


class Mixture:
    """Normal distributions around the minima of a fit, instead of a posterior.

    Each has the covariance `BuriedBody.covariance`, and a share proportional to exp(-cost).
    Rotations are periodic.
    """

    def __init__(self, body: BuriedBody, fit: Fit) -> None:
        """Take the minima."""
        self._body, self._centres = body, fit.minima
        self._log_shares = -fit.costs - logsumexp(-fit.costs)
        self._factors = np.linalg.cholesky([body.covariance(y) for y in fit.minima])

    def draw(self, n: int, rng: Any) -> Array:
        """Draw n points, (n, 3), by a numpy generator, new or old."""
        which = rng.choice(len(self._centres), n, p=np.exp(self._log_shares))
        z = rng.standard_normal((n, 3))
        return self._body.wrap(
            self._centres[which] + np.einsum("nij,nj->ni", self._factors[which], z)
        )

    def log_density(self, Y: Array) -> Array:
        """Evaluate the density, up to a factor, of Y in the box, (n, 3), to (n,)."""
        turns = np.array([[0, 0, k * self._body.turn] for k in (-1, 0, 1)])
        steps = Y[:, None, None] + turns - self._centres[:, None]  # (n, k, 3 turns, 3)
        z = np.einsum("kij,nktj->nkti", np.linalg.inv(self._factors), steps)
        size = np.log(np.linalg.det(self._factors))
        parts = self._log_shares[:, None] - size[:, None] - 0.5 * (z**2).sum(axis=-1)
        return logsumexp(parts, axis=(1, 2))

    def choose(self, posterior: Density, n: int, rng: np.random.Generator) -> Array:
        """Draw n points to start chains from, nearly distributed as a posterior, (n, 3).

        From 2000 points, n are chosen with probabilities proportional to the posterior over their
        density.
        """
        Y = self.draw(2000, rng)
        log_w = posterior(Y) - self.log_density(Y)
        w = np.exp(log_w - log_w.max())
        return rng.choice(Y, n, replace=False, p=w / w.sum())


def autocorrelation(chains: Array) -> float:
    """Return the longest integrated autocorrelation time of chains (steps, n, d), in steps.

    All chains share one mean, so that chains which stay apart count as correlated, and the sum over
    lags ends at five times the time (Sokal, "Monte Carlo methods in statistical mechanics", 1997).
    """
    steps = len(chains)
    spectrum = np.fft.rfft(chains - chains.mean(axis=(0, 1)), 2 * steps, axis=0)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, axis=0)[:steps].sum(axis=1)
    tau = 2 * np.cumsum(covariance / covariance[0], axis=0) - 1
    enough = np.arange(steps)[:, None] >= 5 * tau
    last = np.where(enough.any(axis=0), enough.argmax(axis=0), steps - 1)
    return float(np.take_along_axis(tau, last[None], axis=0).max())
