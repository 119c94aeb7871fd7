"""PyMC: a surrogate as an operator of PyTensor, with its gradient for NUTS.

The graph calls the surrogate for values, and its `vjp` for gradients, so each leapfrog step costs
one forward and one product with the transposed Jacobian. Where PyTensor compiles to JAX, as for
``pm.sample(nuts_sampler="numpyro")``, the surrogate's native functions of JAX take their place.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import common, jax
from ._domain import Coordinates, coordinates

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate
    from surrogates.types import Array


def function(surrogate: LoadedSurrogate) -> Any:
    """Return an operator of PyTensor, y -> c, (..., n_in) -> (..., n_out), with gradients."""
    value, _ = _operators()
    return value(surrogate)


def parameters(surrogate: LoadedSurrogate, name: str = "y") -> Any:
    """Add the parameters to the model: uniform on the training domain, with their names.

    If they satisfy linear relations, the random variable is their coordinates in a unit cube,
    ``{name}_cube``, with the density that makes them uniform on the domain, and ``name`` is
    deterministic.

    Args:
        surrogate: The surrogate.
        name: Name of the variable in the model. The coordinate of its entries is
            ``{name}_names``.

    Returns:
        The variable, (n_in,).
    """
    pymc, tensor = common.needed("pymc"), common.needed("pytensor.tensor", "pymc")
    pymc.modelcontext(None).add_coord(f"{name}_names", surrogate.y_names)
    if not len(surrogate.domain.normals):
        return pymc.Uniform(name, *surrogate.bounds, dims=f"{name}_names")
    on_flat = coordinates(surrogate)
    from_cube, _ = _of_cube()
    from_cube = from_cube(on_flat)

    def random(_: Array, rng: np.random.Generator, size: Any = None) -> Array:
        n = 1 if size is None else int(np.prod(size))
        u = on_flat.from_y(on_flat.draw(n, rng))[0]
        return u[0] if size is None else u.reshape(*np.atleast_1d(size), -1)

    u = pymc.CustomDist(
        f"{name}_cube",
        np.zeros(on_flat.n_free),
        logp=lambda u, _: from_cube(u)[1] - on_flat.log_volume,
        random=random,
        support_point=lambda *_: tensor.as_tensor_variable(on_flat.initial),
        signature="(n)->(n)",
        transform=_to_reals()(),
    )
    return pymc.Deterministic(name, from_cube(u)[0], dims=f"{name}_names")


def observables(surrogate: LoadedSurrogate, y: Any, name: str = "c") -> Any:
    """Add the predicted observables to the model, with their names.

    Args:
        surrogate: The surrogate.
        y: Parameters, (n_in,): those of `parameters`, or any expression of the model's variables.
        name: Name of the variable in the model, whose coordinate is ``{name}_names``.

    Returns:
        The deterministic variable, (n_out,).
    """
    pymc = common.needed("pymc")
    pymc.modelcontext(None).add_coord(f"{name}_names", surrogate.c_names)
    return pymc.Deterministic(name, function(surrogate)(y), dims=f"{name}_names")


def data(
    surrogate: LoadedSurrogate,
    c: Any,
    values: npt.ArrayLike,
    noise: npt.ArrayLike,
    name: str = "data",
) -> Any:
    """Add measured observables to the model, with normal errors: the noise's and the surrogate's.

    Args:
        surrogate: The surrogate.
        c: Predicted observables, (n_out,), as `observables` returns them.
        values: Data, (n_out,).
        noise: Standard deviation of the noise, one or (n_out,). `common.spread` adds the
            surrogate's errors to it.
        name: Name of the variable in the model.

    Raises:
        InputError: If data or noise do not fit the observables.
    """
    pymc = common.needed("pymc")
    found, sigma = common.observed(surrogate, values), common.spread(surrogate, noise)
    return pymc.Normal(name, mu=c, sigma=sigma, observed=found)


def likelihood(
    surrogate: LoadedSurrogate, y: Any, values: Any, noise: Any, name: str = "likelihood"
) -> Any:
    """Add the likelihood of data to the model, in place of `data`, as a potential.

    It has the covariance of the surrogate's errors, which depends on y and correlates the
    observables, and its exact gradient.

    Args:
        surrogate: The surrogate.
        y: Parameters, (n_in,).
        values: Data, as `LoadedSurrogate.likelihood` takes them: of all observables, or of some by
            their names.
        noise: Standard deviations of the noise, or its covariance.
        name: Name of the potential in the model.

    Raises:
        InputError: If data or noise do not fit the observables, or the surrogate has no covariance.
    """
    pymc = common.needed("pymc")
    density, _ = _density()(surrogate.likelihood(values, noise))(y)
    return pymc.Potential(name, density)


@functools.cache
def _to_reals() -> Any:
    """Return the class of the transform of points of the cube that samplers have: log odds."""
    base: Any = common.needed("pymc.logprob.transforms", "pymc").LogOddsTransform

    class ToReals(base):
        """Of a vector, whose log determinant is a sum."""

        ndim_supp = 1

        def log_jac_det(self, value: Any, *inputs: Any) -> Any:
            return super().log_jac_det(value, *inputs).sum(axis=-1)

    return ToReals


@functools.cache
def _of_cube() -> tuple[Any, Any]:
    """Return the classes of two operators: u -> y and the log determinant, and their gradient."""
    tensor = common.needed("pytensor.tensor", "pymc")
    gradients = common.needed("pytensor.gradient", "pymc")
    graph = common.needed("pytensor.graph", "pymc")
    base: Any = graph.Op

    class Operator(base):
        __props__ = ("coordinates",)

        def __init__(self, on_flat: Coordinates) -> None:
            self.coordinates = on_flat

    class Gradient(Operator):
        """The gradient of a sum over both results."""

        def make_node(self, *given: Any) -> Any:
            inputs = [tensor.cast(tensor.as_tensor_variable(x), "float64") for x in given]
            return graph.Apply(self, inputs, [inputs[0].type()])

        def perform(self, node: Any, inputs: Any, outputs: Any) -> None:
            outputs[0][0] = self.coordinates.vjp(*inputs)

        def infer_shape(self, fgraph: Any, node: Any, shapes: Any) -> Any:
            return [shapes[0]]

    class FromCube(Operator):
        """y and the log determinant."""

        def make_node(self, u: Any) -> Any:
            u = tensor.cast(tensor.as_tensor_variable(u), "float64")
            lead = u.type.shape[:-1]
            sizes = (*lead, len(self.coordinates.lower)), lead
            return graph.Apply(self, [u], [tensor.tensor(dtype="float64", shape=x) for x in sizes])

        def perform(self, node: Any, inputs: Any, outputs: Any) -> None:
            y, log_det = self.coordinates.to_y(inputs[0])
            outputs[0][0], outputs[1][0] = y, np.asarray(log_det)

        def infer_shape(self, fgraph: Any, node: Any, shapes: Any) -> Any:
            return [(*shapes[0][:-1], len(self.coordinates.lower)), shapes[0][:-1]]

        def grad(self, inputs: Any, given: Any) -> Any:
            results = self(*inputs)
            known = [
                tensor.zeros_like(x) if isinstance(g.type, gradients.DisconnectedType) else g
                for x, g in zip(results, given, strict=True)
            ]
            return [Gradient(self.coordinates)(inputs[0], *known)]

    def transposed(op: Any) -> Any:
        package, call = common.needed("jax"), jax.from_cube(op.coordinates)
        return lambda u, *given: package.vjp(call, u)[1](given)[0]

    _in_jax(FromCube, lambda op: jax.from_cube(op.coordinates))
    _in_jax(Gradient, transposed)
    return FromCube, Gradient


@functools.cache
def _density() -> Any:
    """Return the class of an operator, y -> log p(data | y) and its gradient."""
    tensor = common.needed("pytensor.tensor", "pymc")
    gradients = common.needed("pytensor.gradient", "pymc")
    graph = common.needed("pytensor.graph", "pymc")
    base: Any = graph.Op

    class Density(base):
        """A likelihood with its gradient, which are computed together."""

        __props__ = ("likelihood",)

        def __init__(self, likelihood: Any) -> None:
            self.likelihood = likelihood

        def make_node(self, y: Any) -> Any:
            y = tensor.cast(tensor.as_tensor_variable(y), "float64")
            lead = tensor.tensor(dtype="float64", shape=y.type.shape[:-1])
            return graph.Apply(self, [y], [lead, y.type()])

        def perform(self, node: Any, inputs: Any, outputs: Any) -> None:
            known, call = self.likelihood.surrogate, self.likelihood.value_and_gradient
            value, gradient = common.or_nan(known, call, inputs[0])
            outputs[0][0], outputs[1][0] = np.asarray(value), gradient

        def infer_shape(self, fgraph: Any, node: Any, shapes: Any) -> Any:
            return [shapes[0][:-1], shapes[0]]

        def connection_pattern(self, node: Any) -> Any:
            return [[True, False]]

        def grad(self, inputs: Any, given: Any) -> Any:
            if isinstance(given[0].type, gradients.DisconnectedType):
                return [gradients.grad_not_implemented(self, 0, inputs[0])]
            return [given[0][..., None] * self(*inputs)[1]]

    _in_jax(Density, lambda op: jax.density_and_gradient(op.likelihood))
    return Density


@functools.cache
def _operators() -> tuple[Any, Any]:
    """Return the classes of two operators: y -> c, and its product with a cotangent."""
    tensor = common.needed("pytensor.tensor", "pymc")
    graph = common.needed("pytensor.graph", "pymc")
    base: Any = graph.Op

    class Operator(base):
        """An operator of a surrogate; two of the same surrogate are equal."""

        __props__ = ("surrogate",)

        def __init__(self, surrogate: LoadedSurrogate) -> None:
            self.surrogate = surrogate

        def make_node(self, *given: Any) -> Any:
            inputs = [tensor.cast(tensor.as_tensor_variable(x), "float64") for x in given]
            sizes = (self.surrogate.n_in, self.surrogate.n_out)
            shape = (*inputs[0].type.shape[:-1], sizes[len(given) == 1])
            return graph.Apply(self, inputs, [tensor.tensor(dtype="float64", shape=shape)])

    class Transposed(Operator):
        """J(y)^T w."""

        def perform(self, node: Any, inputs: Any, outputs: Any) -> None:
            outputs[0][0] = common.or_nan(self.surrogate, self.surrogate.vjp, *inputs)

        def infer_shape(self, fgraph: Any, node: Any, shapes: Any) -> Any:
            return [shapes[0]]

    class Surrogate(Operator):
        """c(y)."""

        def perform(self, node: Any, inputs: Any, outputs: Any) -> None:
            outputs[0][0] = common.or_nan(self.surrogate, self.surrogate, inputs[0])

        def infer_shape(self, fgraph: Any, node: Any, shapes: Any) -> Any:
            return [(*shapes[0][:-1], self.surrogate.n_out)]

        def grad(self, inputs: Any, gradients: Any) -> Any:
            return [Transposed(self.surrogate)(inputs[0], gradients[0])]

    _in_jax(Surrogate, lambda op: jax.function(op.surrogate))
    _in_jax(Transposed, lambda op: jax.transposed(op.surrogate))
    return Surrogate, Transposed


def _in_jax(operator: Any, made: Callable[[Any], Any]) -> None:
    """Tell PyTensor which function of JAX an operator is, if JAX is installed."""
    if importlib.util.find_spec("jax") is not None:
        dispatch = common.needed("pytensor.link.jax.dispatch", "pymc")
        dispatch.jax_funcify.register(operator, lambda op, **_: made(op))
