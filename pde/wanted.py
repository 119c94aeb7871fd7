"""Which derivatives a run stores besides c, from the user's options.

Random directions are orthonormal in units of the parameters' ranges, and uniformly distributed:
sample i has the columns Q of the QR factorisation of a matrix of normal numbers, from the stream of
``Philox(key=seed + 2^64, counter=[0, 0, 0, i])``, of which the design draws none. Sample i then
depends on the seed and i alone, as its y does, and r directions are the first of more. For an
orthonormal V of r directions, n_y / r ||dc/dx V^T||^2 is an unbiased estimate of ||dc/dx||^2.

Directions of a subspace, and functionals, come from a pilot set (`surrogates.data.pilot`). The
digest of its file is among the set's inputs, as the samples depend on it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from surrogates.config import check
from surrogates.data import Info
from surrogates.data.pilot import active_directions, functionals, ranges_of
from surrogates.types import Array

from .derivatives import has
from .inputs import digest
from .problem import Problem

_STREAM = 1 << 64  # above all seeds


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The derivatives that a run stores, the same on every process.

    Attributes:
        whole: Whether to solve for all of dc/dy.
        directions: Number r of directions of each sample in which to solve for it; 0 for none.
        basis: The directions of all samples, (r, n_y), in units of y; None for random ones.
        functionals: Functionals W, (r, n_c), whose derivatives to solve for; (0, 0) for none.
        c_scale: Scales of the outputs that W is orthonormal in, (n_c,); (0,) for none.
        pilot: Description of the pilot set; None without one.
        inputs: SHA-256 of the pilot set's file, by the option that names it.
    """

    whole: bool = False
    directions: int = 0
    basis: Array | None = None
    functionals: Array = field(default_factory=lambda: np.empty((0, 0)))
    c_scale: Array = field(default_factory=lambda: np.empty(0))
    pilot: Info | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        tangents: bool | int = False,
        subspace: str | os.PathLike[str] | None = None,
        adjoints: int = 0,
        pilot: str | os.PathLike[str] | None = None,
    ) -> Wanted:
        """Read the options, and the pilot set that they name.

        Args:
            tangents: Whether to solve for all of dc/dy; or in how many directions of each sample.
            subspace: Pilot set with derivatives, whose active subspace has the directions.
            adjoints: Number of functionals of c whose derivatives to solve for; 0 for none.
            pilot: Pilot set whose outputs show the functionals.

        Raises:
            InputError: If the options do not fit each other, or a file is no pilot set.
        """
        words = isinstance(tangents, bool | np.bool_)
        whole, r = words and bool(tangents), 0 if words else int(tangents)
        for name, number in (("tangents", tangents), ("adjoints", adjoints)):
            check(int(number) == number, f"--{name} must be a whole number; got {number}")
        check(words or r > 0, f"--tangents must be at least 1; got {r}")
        check(adjoints >= 0, f"--adjoints must be at least 1; got {adjoints}")
        check(not (tangents and adjoints), "give either --tangents or --adjoints")
        check(subspace is None or r > 0, "--subspace needs a number of directions: --tangents R")
        check(not adjoints or pilot is not None, "--adjoints needs a pilot set: --pilot F.h5")
        check(adjoints > 0 or pilot is None, "--pilot is for --adjoints; a subspace for --tangents")
        if subspace is not None:
            V, about = active_directions(subspace, r)
            inputs = {"--subspace": digest(Path(subspace))}
            return cls(directions=r, basis=V, pilot=about, inputs=inputs)
        if pilot is not None:
            W, scale, about = functionals(pilot, adjoints)
            inputs = {"--pilot": digest(Path(pilot))}
            return cls(functionals=W, c_scale=scale, pilot=about, inputs=inputs)
        return cls(whole=whole, directions=r)

    def check(self, problem: type[Problem], about: Mapping[str, object]) -> None:
        """Refuse derivatives that a problem does not have, or a pilot set of another problem.

        Args:
            problem: The problem.
            about: Its description, `Problem.describe`.

        Raises:
            InputError: If they do not fit.
        """
        adjoints = len(self.functionals) > 0
        if not (self.whole or self.directions or adjoints):
            return
        option = "--adjoints" if adjoints else "--tangents"
        check(has(problem), f"{problem.name} has no tangents; leave out {option}")
        y_names = about["y_names"]
        assert isinstance(y_names, tuple)
        check(
            self.directions <= len(y_names),
            f"{problem.name} has {len(y_names)} parameters: --tangents can be {len(y_names)} at "
            f"most; got {self.directions}",
        )
        if self.pilot is not None:
            names = ("y_names", "y_units") if self.basis is not None else ("c_names", "c_units")
            for name in names:
                check(
                    getattr(self.pilot, name) == about[name],
                    f"the pilot set is of another problem: its {name} are not those of "
                    f"{problem.name}",
                )

    def draw(self, info: Info, start: int, stop: int) -> Array | None:
        """Return the directions of consecutive samples, (n, r, n_y), in units of y.

        Args:
            info: The description of the set.
            start: First sample.
            stop: Sample after the last.

        Returns:
            The directions, the same for any division into parts; None if there are none.
        """
        if not self.directions:
            return None
        if self.basis is not None:
            return np.tile(self.basis, (stop - start, 1, 1))
        n_y = len(info.y_names)
        philox = np.random.Philox(key=info.seed + _STREAM)
        generator, state = np.random.Generator(philox), philox.state
        V = np.empty((stop - start, self.directions, n_y))
        for i, one in enumerate(V, start):
            state["state"]["counter"][3] = i
            philox.state = state
            Q, R = np.linalg.qr(generator.standard_normal((self.directions, n_y)).T)
            one[:] = (Q * np.sign(np.diag(R))).T  # with these signs Q is uniformly distributed
        return V * ranges_of(info)
