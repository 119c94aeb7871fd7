"""SALib: a surrogate's parameters as a problem, to sample, evaluate and analyse.

    study = adapter.specification(s).sample_sobol(1024)
    study.evaluate(adapter.function(s)).analyze_sobol()

All samples are evaluated in one call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import common

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate
    from surrogates.types import Array


def problem(surrogate: LoadedSurrogate) -> dict[str, Any]:
    """Return SALib's description: the parameters' number, names and bounds, the outputs' names.

    The parameters are independent, and uniform between the bounds of the training data. For another
    distribution set ``problem["dists"]`` and ``problem["bounds"]`` as SALib has them.

    Raises:
        InputError: If the training parameters satisfy linear relations.
    """
    lower, upper = common.box(
        surrogate,
        "SALib varies independent factors, so give it a problem of factors of your own, and "
        "evaluate parameters that they determine",
    )
    return {
        "num_vars": surrogate.n_in,
        "names": list(surrogate.y_names),
        "bounds": [[float(a), float(b)] for a, b in zip(lower, upper, strict=True)],
        "outputs": list(surrogate.c_names),
    }


def specification(surrogate: LoadedSurrogate) -> Any:
    """Return a ``SALib.ProblemSpec`` of `problem`, whose methods sample, evaluate and analyse.

    Raises:
        InputError: As `problem` does.
    """
    return common.needed("SALib").ProblemSpec(problem(surrogate))


def function(surrogate: LoadedSurrogate) -> Function:
    """Return what SALib evaluates: samples in one call, and one output without an axis."""
    return Function(surrogate)


@dataclass(frozen=True)
class Function:
    """A surrogate with outputs as SALib takes them; it can be sent to other processes."""

    surrogate: LoadedSurrogate

    def __call__(self, samples: Array) -> Array:
        """Predict the observables of samples (n, n_in): (n, n_out), or (n,) if there is one."""
        C = self.surrogate.predict(samples)
        return C[:, 0] if self.surrogate.n_out == 1 else C
