"""pyGIMLi inverts data by a surrogate and its Jacobian."""

import numpy as np
import pygimli as pg
import pytest

from surrogates import InputError
from surrogates.adapters import pygimli as adapter
from surrogates.survey import Survey, made, read


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


def test_a_container_has_electrodes_and_data_in_their_order(layers, tmp_path):
    rng = np.random.default_rng(0)
    y = layers.bounds.mean(axis=0)
    c, noise = layers.predict(y), rng.uniform(0.005, 0.02, layers.n_out)
    container = adapter.data(layers, c, noise)
    np.testing.assert_allclose(np.array(container["rhoa"]), 10**c)
    np.testing.assert_allclose(np.array(container["r"]) * np.array(container["k"]), 10**c)
    np.testing.assert_allclose(np.array(container["err"]), np.log(10) * noise)
    # pyGIMLi's own factors, of the same electrodes in the same order.
    factors = np.array(pg.core.geometricFactors(container))
    np.testing.assert_allclose(factors, layers.c_coordinates["k"], rtol=1e-9)
    container.save(str(tmp_path / "s.dat"), "a b m n k rhoa err")
    again = read(tmp_path / "s.dat")
    for i, name in enumerate("abmn"):
        np.testing.assert_allclose(again.data[:, i] + 1, layers.c_coordinates[name])
    np.testing.assert_allclose(again.values["rhoa"], 10**c, rtol=1e-4)


def test_a_file_is_the_container_of_pygimli(tmp_path):
    survey = made("pole-dipole", electrodes=9, spacing=0.0005, lines=2)  # half a millimetre
    values = {"rhoa": np.linspace(90, 110, len(survey.data)), "err": np.full(len(survey.data), 0.1)}
    survey = Survey(electrodes=survey.electrodes, data=survey.data, values=values)
    container = adapter.data(survey)
    assert container.sensorCount() == 18 and container.size() == len(survey.data)
    numbers = np.stack([np.array(container[name]) for name in "abmn"], axis=1)
    np.testing.assert_array_equal(numbers, survey.data)
    np.testing.assert_allclose(np.array(container.sensors()), survey.electrodes)
    np.testing.assert_allclose(np.array(container["rhoa"]), values["rhoa"])
    with pytest.raises(InputError, match="has its own data"):
        adapter.data(survey, values["rhoa"])


def test_pygimli_draws_the_data(layers, tmp_path):
    import matplotlib

    matplotlib.use("Agg")
    from pygimli.physics import ert

    container = adapter.data(layers, layers.predict(layers.bounds.mean(axis=0)), 0.01)
    axes, _ = ert.showData(container, vals="rhoa")
    axes.figure.savefig(tmp_path / "rhoa.png")
    assert (tmp_path / "rhoa.png").stat().st_size > 10_000


def test_an_inversion_of_a_survey_finds_the_truth(layers, standard_errors):
    lower, upper = layers.bounds
    rng, noise = np.random.default_rng(3), 0.005
    for truth in lower + rng.uniform(0.2, 0.8, (3, layers.n_in)) * (upper - lower):
        c = layers.predict(truth) + noise * rng.normal(size=layers.n_out)
        inversion = pg.frameworks.MarquardtInversion(fop=adapter.modelling(layers))
        found = inversion.run(c, absoluteError=noise, lam=10.0, stopAtChi1=False)
        errors = standard_errors(truth, noise, layers)
        np.testing.assert_array_less(np.abs(np.array(found) - truth), 4 * errors)
        assert (4 * errors < 0.5 * (upper - lower)).all()
        assert inversion.chi2() == pytest.approx(1, abs=4 * (2 / layers.n_out) ** 0.5)


@pytest.mark.parametrize(
    ("c", "noise", "line"),
    [
        (None, 0.1, "give the data c"),
        (np.ones(3), None, "expected 121 finite data"),
        (np.ones(121), 0.0, "standard deviation of the noise > 0"),
    ],
)
def test_data_that_do_not_fit_are_refused(layers, c, noise, line):
    with pytest.raises(InputError, match=line):
        adapter.data(layers, c, noise)


def test_other_surrogates_have_no_survey(surrogate):
    with pytest.raises(InputError, match="oscillator.npz has no survey"):
        adapter.data(surrogate)
