"""JAX has the surrogate as native functions."""

import gc
import weakref

import jax
import numpy as np
import pytest

import surrogates
from surrogates.adapters import jax as adapter

jax.config.update("jax_enable_x64", True)


def test_values_and_derivatives_are_those_of_the_surrogate(surrogate, draws, close):
    f = adapter.functions(surrogate)
    assert (f.y_names, f.c_names) == (surrogate.y_names, surrogate.c_names)
    np.testing.assert_array_equal(f.bounds, surrogate.bounds)
    c = jax.jit(f.forward)(draws)
    assert c.dtype == np.float64
    close(c, surrogate.predict(draws))
    close(jax.vmap(jax.jacrev(f.forward))(draws), surrogate.jacobian(draws))
    close(jax.vmap(jax.jacfwd(adapter.function(surrogate)))(draws), surrogate.jacobian(draws))
    close(f.jacobian(draws.reshape(7, 1, 2)), surrogate.jacobian(draws)[:, None])
    assert np.asarray(f.in_domain(draws)).all() and not f.in_domain(draws[0] + 10)


@pytest.mark.parametrize("name", ["noisy", "oscillator"])
def test_deviations_and_second_derivatives_are_too(folder, draws, name):
    s = surrogates.load(folder / f"{name}.npz")
    f = adapter.functions(s)
    # Of exact data the deviations are the rest of large numbers that cancel: two digits are right.
    np.testing.assert_allclose(
        f.predict_std(draws), s.predict_std(draws), rtol=1e-2 if name == "oscillator" else 1e-9
    )
    w, v = np.array([1.0, -2.0, 0.5]), np.array([0.3, -0.7])
    for y in draws:
        found = jax.hessian(lambda y: f.forward(y) @ w)(y) @ v
        np.testing.assert_allclose(found, s.hvp(y, w, v), rtol=1e-8, atol=1e-8)


def test_a_gradient_is_one_program(surrogate, draws, close):
    f = adapter.function(surrogate)
    w = np.array([1.0, -2.0, 0.5])
    gradient = jax.jit(jax.grad(lambda y: f(y) @ w))
    assert "callback" not in gradient.lower(draws[0]).as_text()
    close(gradient(draws[0]), surrogate.vjp(draws[0], w))


def test_a_surrogate_is_compiled_once_and_freed(folder):
    s = surrogates.load(folder / "noisy.npz")
    assert adapter.functions(s) is adapter.functions(s)
    freed = weakref.ref(s)
    del s
    gc.collect()
    assert freed() is None


def test_the_program_runs(program, surrogate, close, without_torch):
    names = program("jax")
    close(names["J"], surrogate.jacobian(names["y"]))
    ends = [
        surrogate.jacobian(names["y"][0] + sign * 1e-4 * e)[0]
        for sign in (1, -1)
        for e in np.eye(2)
    ]
    difference = (np.array(ends[:2]) - np.array(ends[2:])) / 2e-4
    np.testing.assert_allclose(names["H"], difference, atol=1e-5)
    without_torch("jax", "jax")
