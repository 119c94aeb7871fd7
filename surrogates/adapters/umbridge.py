"""UM-Bridge: a surrogate as a model of the package umbridge, in the same process.

Codes that take an ``umbridge.Model`` take it in place of the client of a server, without a server
and its milliseconds. ``surrogates serve`` offers the same model to clients in other languages and
processes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from surrogates.errors import check

from . import common

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate


def model(surrogate: LoadedSurrogate, name: str = "") -> Any:
    """Return an ``umbridge.Model`` with one input vector, y, and one output vector, c.

    It supports Evaluate, Gradient, ApplyJacobian and, unless its file is of an older version,
    ApplyHessian.

    Args:
        surrogate: The surrogate.
        name: Name of the model; by default that of its file without the ending, as a server's.
    """
    return _class()(surrogate, name or Path(surrogate.path).stem)


@functools.cache
def _class() -> Any:
    base: Any = common.needed("umbridge").Model

    class Model(base):
        """A surrogate's map with its derivatives. Vectors are lists of numbers."""

        def __init__(self, surrogate: LoadedSurrogate, name: str) -> None:
            super().__init__(name)
            self.surrogate = surrogate

        def get_input_sizes(self, config: Any = None) -> list[int]:
            return [self.surrogate.n_in]

        def get_output_sizes(self, config: Any = None) -> list[int]:
            return [self.surrogate.n_out]

        def supports_evaluate(self) -> bool:
            return True

        def supports_gradient(self) -> bool:
            return True

        def supports_apply_jacobian(self) -> bool:
            return True

        def supports_apply_hessian(self) -> bool:
            return hasattr(self.surrogate.engine, "hvp")

        def __call__(self, parameters: Any, config: Any = None) -> list[list[float]]:
            return [_listed(self.surrogate(_only(parameters)))]

        def gradient(
            self, out_wrt: int, in_wrt: int, parameters: Any, sens: Any, config: Any = None
        ) -> list[float]:
            _check_first(out_wrt, in_wrt)
            return _listed(self.surrogate.vjp(_only(parameters), sens))

        def apply_jacobian(
            self, out_wrt: int, in_wrt: int, parameters: Any, vec: Any, config: Any = None
        ) -> list[float]:
            _check_first(out_wrt, in_wrt)
            return _listed(self.surrogate.jvp(_only(parameters), vec))

        def apply_hessian(
            self,
            out_wrt: int,
            in_wrt1: int,
            in_wrt2: int,
            parameters: Any,
            sens: Any,
            vec: Any,
            config: Any = None,
        ) -> list[float]:
            _check_first(out_wrt, in_wrt1, in_wrt2)
            return _listed(self.surrogate.hvp(_only(parameters), sens, vec))

    return Model


def _only(parameters: Sequence[Any]) -> Any:
    check(len(parameters) == 1, f"expected one input vector, [y]; got {len(parameters)}")
    return parameters[0]


def _check_first(*indices: int) -> None:
    check(
        not any(indices),
        f"expected the index 0 of the only vector; got {', '.join(map(str, indices))}",
    )


def _listed(values: Any) -> list[float]:
    found: list[float] = np.asarray(values).tolist()
    return found
