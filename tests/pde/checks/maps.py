"""Problems that are formulas, with right and wrong derivatives."""

import numpy as np
from mpi4py import MPI

from surrogates.pde import SOLVER, Batch, Problem, Settings

CALLS = [0]


def scattered(Y, n_c):
    """Numbers of variance 1 that depend on every bit of y, (n, n_c)."""
    seeds = (np.ascontiguousarray(y).view(np.uint64) for y in Y)
    return np.array([np.random.default_rng(seed).standard_normal(n_c) for seed in seeds])


class Map(Problem):
    """c = W f(A y + b): smooth, with each kind of derivatives. Subclasses spoil something."""

    has_tangents = has_directions = has_adjoints = True
    y_names, y_lower, y_upper = ("a", "b", "c", "d"), (0.0, -1.0, 2.0, 10.0), (1.0, 1.0, 3.0, 90.0)
    c_names, c_units = tuple(f"c{j}" for j in range(6)), ("V",) * 3 + ("m",) * 3
    rng = np.random.default_rng(3)
    W = rng.standard_normal((6, 5)) * np.array([[1e-3] * 3 + [1e3] * 3]).T
    A = rng.standard_normal((5, 4)) * [1.0, 0.5, 1.0, 0.01]
    b = rng.standard_normal(5)

    def value(self, Y):
        return np.tanh(Y @ self.A.T + self.b) @ self.W.T

    def spread(self):
        lower, upper = np.array(self.y_lower), np.array(self.y_upper)
        Y = lower + (upper - lower) * np.random.default_rng(0).random((50, 4))
        return np.ptp(Map.value(self, Y), axis=0)

    def jacobian(self, Y):
        slope = 1 / np.cosh(Y @ self.A.T + self.b) ** 2
        return np.einsum("ch,nh,hk->nck", self.W, slope, self.A)

    def tangents(self, Y):
        return self.jacobian(Y)

    def solve_batch(self, Y, *, tangents=False, adjoints=None):
        solver = np.zeros(len(Y), SOLVER)
        solver["residual"], solver["seconds"] = 1e-15, 1e-3
        given = {}
        if adjoints is not None:
            given["dW_dY"] = self.adjoint(Y, adjoints)
        elif isinstance(tangents, np.ndarray):
            given["dC_dV"] = self.tangents(Y) @ tangents.transpose(0, 2, 1)
        elif tangents:
            given["dC_dY"] = self.tangents(Y)
        return Batch(C=self.value(Y), solver=solver, **given)

    def adjoint(self, Y, W):
        return W @ self.tangents(Y)


class Half(Map):
    """Tangents that are wrong by 0.5 %."""

    def tangents(self, Y):
        return 1.005 * self.jacobian(Y)


class Entry(Map):
    """One entry of 24 is wrong by 3 %."""

    def tangents(self, Y):
        J = self.jacobian(Y)
        J[:, 4, 1] *= 1.03
        return J


class Zero(Map):
    """Tangents that were forgotten."""

    def tangents(self, Y):
        return 0 * self.jacobian(Y)


class Kink(Map):
    """c has a kink within the bounds; the tangents are right on both sides."""

    def value(self, Y):
        return super().value(Y) + 0.3 * np.abs(Y[:, :1] - 0.37) * self.spread()

    def jacobian(self, Y):
        J = super().jacobian(Y)
        J[:, :, 0] += 0.3 * np.sign(Y[:, :1] - 0.37) * self.spread()
        return J


class Jump(Map):
    """c jumps by a thousandth; the tangents are right on both sides."""

    def value(self, Y):
        return super().value(Y) * (1 + 1e-3 * (Y[:, :1] > 0.37))

    def jacobian(self, Y):
        return super().jacobian(Y) * (1 + 1e-3 * (Y[:, :1, None] > 0.37))


class Noise(Map):
    """c has noise of 1e-6 of its spread, a function of y."""

    size = 1e-6

    def value(self, Y):
        return super().value(Y) + self.size * self.spread() * scattered(Y, 6)


class Loud(Noise):
    """Noise of a thousandth."""

    size = 1e-3


class Restless(Map):
    """c changes from call to call, by 1e-6."""

    def value(self, Y):
        CALLS[0] += 1
        return super().value(Y) * (1 + 1e-6 * np.sin(CALLS[0]))


class Order(Map):
    """c depends on the batch before, by 1e-5."""

    before = 0.0

    def value(self, Y):
        C = super().value(Y) * (1 + 1e-5 * self.before)
        self.before = Y[0, 0]
        return C


class Tilted(Map):
    """Adjoints that are wrong by 1e-8."""

    def adjoint(self, Y, W):
        return W @ self.jacobian(Y) * (1 + 1e-8 * np.arange(4))


class Iterative(Tilted):
    """The same, by solves with residuals of 1e-9."""

    def solve_batch(self, Y, *, tangents=False, adjoints=None):
        batch = super().solve_batch(Y, tangents=tangents, adjoints=adjoints)
        batch.solver["residual"] = 1e-9
        return batch


class Other(Map):
    """c that is another one if tangents are solved for."""

    def solve_batch(self, Y, *, tangents=False, adjoints=None):
        batch = super().solve_batch(Y, tangents=tangents, adjoints=adjoints)
        if tangents is not False:
            batch.C[:] *= 1 + 1e-7
        return batch


class Rough(Map):
    """A residual of 1e-3."""

    def solve_batch(self, Y, *, tangents=False, adjoints=None):
        batch = super().solve_batch(Y, tangents=tangents, adjoints=adjoints)
        batch.solver["residual"] = 1e-3
        return batch


class Failing(Map):
    """Solves fail where a is large."""

    def value(self, Y):
        C = super().value(Y)
        C[Y[:, 0] > 0.5] = np.nan
        return C


class Mute(Problem):
    """No derivatives, one sample at a time, and no residual."""

    y_names, y_lower, y_upper = ("a", "b"), 0.0, 2.0
    c_names = ("sum", "product")

    def solve(self, y):
        return y.sum(), y.prod()


class Linear(Map):
    """A linear map: its remainders are rounding."""

    def value(self, Y):
        return Y @ self.A.T @ self.W.T

    def jacobian(self, Y):
        return np.broadcast_to(self.W @ self.A, (len(Y), 6, 4)).copy()


def only(problem, *kinds):
    """Return a class that has some kinds of derivatives alone."""
    every = ("tangents", "directions", "adjoints")
    flags = {f"has_{kind}": kind in kinds for kind in every}
    return type(f"Only{problem.__name__}", (problem,), flags)


def made(problem, **settings):
    return problem(Settings(**{"batch": 3, **settings}), MPI.COMM_SELF)
