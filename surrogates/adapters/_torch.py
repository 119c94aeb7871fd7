"""A surrogate as a function of torch with gradients, for packages that stand on torch.

Values and derivatives are the surrogate's own, so any engine will do, and y may have any leading
dimensions. TorchScript's forward, which `LoadedSurrogate.module` has, takes samples or batches.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import common

if TYPE_CHECKING:
    from surrogates.adapters._domain import Coordinates
    from surrogates.model.loaded import LoadedSurrogate


def module(surrogate: LoadedSurrogate) -> Any:
    """Return a `torch.nn.Module` without parameters, y -> c, (..., n_in) -> (..., n_out).

    torch can differentiate it twice, by `jvp`, `vjp` and `hvp`, forwards and backwards, and map it
    by ``torch.func.vmap``. c is float64, on the device of y.
    """
    return _class()(surrogate)


def density(likelihood: Any, y: Any) -> Any:
    """Return log p(data | y), (...), of a `Likelihood`, with its gradient."""
    return _density().apply(y, likelihood)


def from_cube(coordinates: Coordinates, u: Any) -> tuple[Any, Any]:
    """Return parameters y, (..., n_in), and log determinants, (...), of u, (..., n_free).

    See `._domain.Coordinates.to_y`. They have gradients.
    """
    found: tuple[Any, Any] = _from_cube().apply(u, coordinates)
    return found


@functools.cache
def _from_cube() -> Any:
    """Return the class of a function: u -> y and the log determinant."""
    torch = common.needed("torch")
    function: Any = torch.autograd.Function

    class FromCube(function):
        """Coordinates in the cube to parameters."""

        @staticmethod
        def forward(ctx: Any, u: Any, coordinates: Coordinates) -> Any:
            ctx.at, ctx.coordinates = u.detach().to("cpu", torch.float64).numpy(), coordinates
            y, log_det = coordinates.to_y(ctx.at)
            return torch.tensor(y, device=u.device), torch.tensor(log_det, device=u.device)

        @staticmethod
        def backward(ctx: Any, *given: Any) -> Any:
            by_y, by_log_det = (g.detach().to("cpu").numpy() for g in given)
            gradient = ctx.coordinates.vjp(ctx.at, by_y, by_log_det)
            return torch.tensor(gradient, device=given[0].device), None

    return FromCube


@functools.cache
def _density() -> Any:
    """Return the class of a function: y -> log p(data | y)."""
    torch = common.needed("torch")
    function: Any = torch.autograd.Function

    class Density(function):
        """A likelihood, whose gradient is computed with it."""

        @staticmethod
        def forward(ctx: Any, y: Any, likelihood: Any) -> Any:
            at = y.detach().to("cpu", torch.float64).numpy()
            value, gradient = common.or_nan(likelihood.surrogate, likelihood.value_and_gradient, at)
            ctx.save_for_backward(torch.tensor(gradient, device=y.device).to(y.dtype))
            return torch.tensor(value, device=y.device)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (gradient,) = ctx.saved_tensors
            return g[..., None] * gradient, None

    return Density


@functools.cache
def _class() -> Any:
    """Return the class of the module."""
    torch = common.needed("torch")
    function: Any = torch.autograd.Function
    base: Any = torch.nn.Module

    class Call(function):
        """A method of a surrogate with its derivatives, which are calls of other methods."""

        @staticmethod
        def forward(surrogate: LoadedSurrogate, method: str, *given: Any) -> Any:
            arrays = [x.detach().numpy() for x in given]
            return torch.from_numpy(common.or_nan(surrogate, getattr(surrogate, method), *arrays))

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.surrogate, ctx.method, *given = inputs
            ctx.save_for_backward(*given)
            ctx.save_for_forward(*given)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            y, *other = ctx.saved_tensors
            call = functools.partial(Call.apply, ctx.surrogate)
            if ctx.method == "__call__":
                return None, None, call("vjp", y, g)
            if ctx.method == "vjp":
                return None, None, call("hvp", y, *other, g), call("jvp", y, g)
            if ctx.method == "jvp":
                return None, None, call("hvp", y, g, *other), call("vjp", y, g)
            raise NotImplementedError("a surrogate has no third derivatives")

        @staticmethod
        def jvp(ctx: Any, _surrogate: Any, _method: Any, *tangents: Any) -> Any:
            y, *other = ctx.saved_tensors
            call = functools.partial(Call.apply, ctx.surrogate)
            if ctx.method == "__call__":
                return call("jvp", y, tangents[0])
            if ctx.method == "vjp":
                along, across = tangents
                parts = [] if along is None else [call("hvp", y, *other, along)]
                parts += [] if across is None else [call("vjp", y, across)]
                return sum(parts)
            raise NotImplementedError("differentiate backwards first, and forwards then")

        @staticmethod
        def vmap(info: Any, dims: Any, surrogate: LoadedSurrogate, method: str, *given: Any) -> Any:
            return Call.apply(surrogate, method, *_aligned(given, dims[2:])), 0

    class Module(base):
        """The map y -> c of a surrogate."""

        def __init__(self, surrogate: LoadedSurrogate) -> None:
            super().__init__()
            self.surrogate = surrogate

        def forward(self, y: Any) -> Any:
            return Call.apply(self.surrogate, "__call__", y.to("cpu", torch.float64)).to(y.device)

    return Module


def _aligned(given: Sequence[Any], dims: Sequence[int | None]) -> list[Any]:
    """Return tensors with the mapped dimension in front, and as many dimensions between.

    They broadcast from the last dimension on, so a tensor with fewer dimensions than another gets
    ones behind the mapped dimension.
    """
    most = max(x.dim() - (dim is not None) for x, dim in zip(given, dims, strict=True))
    found = []
    for x, dim in zip(given, dims, strict=True):
        if dim is not None:
            x = x.movedim(dim, 0)
            x = x.reshape(x.shape[0], *[1] * (most + 1 - x.dim()), *x.shape[1:])
        found.append(x)
    return found
