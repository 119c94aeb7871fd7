"""SALib: a surrogate's parameters as a problem, to sample, evaluate and analyse.

from surrogates.adapters import salib as adapter
problem = adapter.problem(s)                                # the dict of SALib's functions
study = adapter.specification(s).sample_sobol(1024).evaluate(s.predict).analyze_sobol()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import common

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate


def problem(surrogate: LoadedSurrogate) -> dict[str, Any]:
    """Return SALib's description: the parameters' number, names and bounds, the outputs' names.

    The parameters are independent, and uniform between the bounds of the training data. For another
    distribution set ``problem["dists"]`` and ``problem["bounds"]`` as SALib has them.

    Raises:
        InputError: If the training parameters satisfy linear relations.
    """
    lower, upper = common.box(surrogate)
    return {
        "num_vars": surrogate.n_in,
        "names": list(surrogate.y_names),
        "bounds": [[float(a), float(b)] for a, b in zip(lower, upper, strict=True)],
        "outputs": list(surrogate.c_names),
    }


def specification(surrogate: LoadedSurrogate) -> Any:
    """Return a ``SALib.ProblemSpec`` of `problem`, whose methods sample, evaluate and analyse.

    ``evaluate(surrogate.predict)`` evaluates all samples in one call.

    Raises:
        InputError: As `problem` does.
    """
    return common.needed("SALib").ProblemSpec(problem(surrogate))
