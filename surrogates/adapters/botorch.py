"""BoTorch: a surrogate as a model, whose posterior has the mean and deviation of its predictions.

Errors of several outputs, and of several points that are judged together, count as independent:
`predict_std` does not say how they are correlated.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from surrogates.errors import check
from surrogates.model.engines.selected import Selected
from surrogates.types import Array

from . import _torch, common
from ._domain import coordinates

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate


def model(
    surrogate: LoadedSurrogate,
    *,
    unit: npt.ArrayLike = 1.0,
    cube: bool = False,
    deterministic: bool = False,
) -> Any:
    """Return a model of BoTorch with n_out outputs, for its acquisition functions.

    Args:
        surrogate: The surrogate. With standard deviations it must be one of a .pt file, as torch
            differentiates them.
        unit: What the outputs are divided by, one number or (n_out,). BoTorch takes standard
            deviations below 1e-5 for 1e-5, so its outputs should be of the size of one.
        cube: Take points of the unit cube, which `from_cube` maps to y. BoTorch's optimiser does
            not scale, and stops early where the ranges of the parameters differ much in size. If
            they satisfy linear relations, all points of the cube do too, which has as many
            dimensions less.
        deterministic: Leave the standard deviations out; any engine will do then.

    Raises:
        InputError: If standard deviations are wanted of another engine, or a unit is not above
            zero.
    """
    model, fixed = _classes()
    units = np.asarray(unit, np.float64)
    check(
        units.shape in ((), (surrogate.n_out,)) and bool((units > 0).all()),
        f"expected one unit > 0, or {surrogate.n_out}; got {unit!r}",
    )
    units = np.broadcast_to(units, (surrogate.n_out,)).copy()
    if deterministic:
        return fixed(surrogate, units, cube)
    check(
        surrogate.engine.NAME == "torch" and surrogate.task == "regression",
        f"BoTorch differentiates the standard deviations by torch: load the .pt file of "
        f"{surrogate.path}, or take deterministic=True",
    )
    return model(surrogate, units, cube)


def bounds(surrogate: LoadedSurrogate, *, cube: bool = False) -> Any:
    """Return the ends of the points, (2, n_in), as ``optimize_acqf`` takes them.

    Args:
        surrogate: The surrogate.
        cube: Those of the unit cube, in place of the training bounds.

    Raises:
        InputError: If the training parameters satisfy linear relations, without ``cube``.
    """
    if cube:
        n = surrogate.n_in - len(surrogate.domain.normals)
        ends = np.repeat([[0.0], [1.0]], n, axis=1)
    else:
        ends = np.stack(common.box(surrogate, "take cube=True"))
    return common.needed("torch").tensor(ends)


def from_cube(surrogate: LoadedSurrogate, X: Any) -> Any:
    """Return parameters y, (..., n_in), of the training domain at points X of the unit cube."""
    if len(surrogate.domain.normals):
        return _torch.from_cube(coordinates(surrogate), X)[0]
    lower, upper = map(common.needed("torch").tensor, surrogate.bounds)
    return lower.to(X.device) + X * (upper - lower).to(X.device)


class _Known:
    """What models with and without standard deviations know of their surrogate."""

    def __init__(self, surrogate: LoadedSurrogate, units: Array, cube: bool) -> None:
        super().__init__()
        self.surrogate, self.units, self.cube = surrogate, units, cube
        self.map = _torch.module(surrogate)

    def scaled(self, c: Any) -> Any:
        """Return outputs in the model's units."""
        return c / common.needed("torch").tensor(self.units, device=c.device)

    def physical(self, X: Any) -> Any:
        """Return parameters."""
        return from_cube(self.surrogate, X) if self.cube else X

    def forward(self, X: Any) -> Any:
        return self.scaled(self.map(self.physical(X)))

    def deviation(self, X: Any) -> Any:
        """Return the standard deviations, (..., n_out), as the TorchScript module computes them."""
        y = self.physical(X)
        rows = y.to("cpu", common.needed("torch").float64).reshape(-1, self.surrogate.n_in)
        engine: Any = self.surrogate.engine
        if isinstance(engine, Selected):
            std = engine.whole.module.predict_std(rows)[:, engine.rows]
        else:
            std = engine.module.predict_std(rows)
        return self.scaled(std.reshape(*X.shape[:-1], self.surrogate.n_out).to(X.device))

    @property
    def num_outputs(self) -> int:
        return self.surrogate.n_out

    @property
    def batch_shape(self) -> Any:
        return common.needed("torch").Size()

    def subset_output(self, idcs: list[int]) -> Any:
        return type(self)(self.surrogate.select(idcs), self.units[idcs], self.cube)


@functools.cache
def _classes() -> tuple[Any, Any]:
    """Return the classes of models with and without standard deviations."""
    torch = common.needed("torch")
    posteriors = common.needed("botorch.posteriors")
    distributions = common.needed("gpytorch.distributions", "botorch")
    operators = common.needed("linear_operator.operators", "botorch")
    base: Any = common.needed("botorch.models.model").Model
    fixed_base: Any = common.needed("botorch.models.deterministic").DeterministicModel

    class Fixed(_Known, fixed_base):
        """Predictions alone."""

    class Model(_Known, base):
        """Predictions with independent normal errors."""

        def posterior(
            self,
            X: Any,
            output_indices: list[int] | None = None,
            observation_noise: Any = False,
            posterior_transform: Any = None,
        ) -> Any:
            check(observation_noise is False, "a surrogate has no observation noise")
            if output_indices is not None:
                chosen = self.subset_output(output_indices)
                return chosen.posterior(X, posterior_transform=posterior_transform)
            mean, std = self(X), self.deviation(X)
            if self.num_outputs == 1:
                covariance = operators.DenseLinearOperator(torch.diag_embed(std[..., 0] ** 2))
                normal = distributions.MultivariateNormal(mean[..., 0], covariance)
            else:
                # A block for each output. Slices of a DiagLinearOperator, by which BoTorch takes
                # outputs out of a posterior, are wrong (linear_operator 0.6).
                blocks = operators.DenseLinearOperator(torch.diag_embed(std.mT**2))
                covariance = operators.BlockInterleavedLinearOperator(blocks, block_dim=-3)
                normal = distributions.MultitaskMultivariateNormal(mean, covariance)
            found = posteriors.GPyTorchPosterior(normal)
            return found if posterior_transform is None else posterior_transform(found)

    return Model, Fixed
