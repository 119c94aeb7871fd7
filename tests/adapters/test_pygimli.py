"""pyGIMLi inverts data by a surrogate and its Jacobian."""

import numpy as np
import pygimli as pg
import pytest

from surrogates import InputError
from surrogates.adapters import pygimli as adapter


def test_response_and_jacobian_are_those_of_the_surrogate(surrogate, draws):
    operator = adapter.modelling(surrogate)
    for y in draws:
        np.testing.assert_array_equal(
            np.array(operator.response(pg.Vector(y))), surrogate.predict(y)
        )
        operator.createJacobian(pg.Vector(y))
        found = np.array([np.array(row) for row in operator.jacobian()])
        np.testing.assert_array_equal(found, surrogate.jacobian(y))


def test_the_transformation_keeps_each_parameter_in_its_bounds(surrogate):
    lower, upper = surrogate.bounds
    trans = adapter.modelling(surrogate).modelTrans
    for far in (-1e3, 0.0, 1e3):
        y = np.array(trans.invTrans(pg.Vector(2, far)))
        assert ((y > lower) & (y < upper)).all()
        assert far or y == pytest.approx((lower + upper) / 2)


def test_an_inversion_finds_the_truth(program, surrogate, standard_errors, without_torch):
    names = program("pygimli")
    found, truth = np.array(names["found"]), np.array([2.0, 0.3])
    lower, upper = surrogate.bounds
    errors = standard_errors(truth, names["noise"])
    np.testing.assert_array_less(np.abs(found - truth), 4 * errors)
    assert (4 * errors < 0.05 * (upper - lower)).all()
    assert names["inversion"].chi2() < 3  # of 3 data, 2 of which the parameters fit
    without_torch("pygimli", "pygimli")


def test_weights_that_sum_to_one_are_refused_with_what_to_do(weights):
    with pytest.raises(InputError, match="not independent, .*SLSQP"):
        adapter.modelling(weights)
