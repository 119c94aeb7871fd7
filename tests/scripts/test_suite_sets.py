"""The sets of the suite: known values, moments and invariants; what a draw keeps apart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.integrate import solve_bvp, solve_ivp

from surrogates.errors import InputError

pytest.importorskip("sklearn", reason="the suite compares with scikit-learn")

import suite_sets as suite

FUNCTIONS = {
    name: entry
    for name, entry in {**suite.SETS, **suite.HELD_OUT}.items()
    if isinstance(entry, suite.Function)
}
NO_FILES = suite.Files()


def moments(name, n=40_000):
    function = FUNCTIONS[name]
    values = function(function.sample(n, 3))
    return values.mean(), values.var()


def test_held_out_sets_are_others_and_every_set_is_cited():
    assert not set(suite.SETS) & set(suite.HELD_OUT)
    assert len(suite.SETS) >= 12 and len(suite.HELD_OUT) >= 6
    assert all(len(entry.citation) > 20 for entry in {**suite.SETS, **suite.HELD_OUT}.values())


@pytest.mark.parametrize("name", sorted(FUNCTIONS.keys() - {"robertson"}))
def test_functions_are_finite_and_vary_in_every_output(name):
    function = FUNCTIONS[name]
    values = function(function.sample(200, 0))
    assert np.isfinite(values).all()
    assert (values.std(axis=0) > 0).all()


def test_moments_are_the_known_ones():
    mean, variance = moments("ishigami")
    assert mean == pytest.approx(3.5, abs=0.05)
    assert variance == pytest.approx(13.8446, rel=0.02)
    a = np.array([0, 1, 4.5, 9, 99, 99, 99, 99])
    mean, variance = moments("g_function")
    assert mean == pytest.approx(1, abs=0.01)
    assert variance == pytest.approx(np.prod(1 + 1 / (3 * (1 + a) ** 2)) - 1, rel=0.02)
    assert moments("zhou")[0] == pytest.approx(1, abs=0.02)  # two densities, halved


def test_heat_rod_solves_its_boundary_value_problem():
    T_0, k, b, q, h, T_out = y = FUNCTIONS["heat_rod"].sample(1, 0)[0]

    def rates(x, u):
        return np.stack([u[1] / (k * (1 + b * u[0])), np.full_like(x, -q)])

    def ends(left, right):
        return np.array([left[0] - T_0, right[1] + h * (right[0] - T_out)])

    start = np.stack([np.full(50, T_0), np.zeros(50)])
    found = solve_bvp(rates, ends, np.linspace(0, 1, 50), start, tol=1e-8)
    expected = found.sol(np.arange(1, 21) / 20)[0]
    np.testing.assert_allclose(suite.heat_rod(y[None])[0], expected, rtol=1e-7)


def test_burgers_is_the_solution_of_cole_and_hopf():
    """u = -2 nu (log phi)_x, where phi solves the heat equation."""
    viscosity, n = 0.2, 1024
    x = 2 * np.pi * np.arange(n) / n
    wave = np.arange(n // 2 + 1)
    start = np.exp((np.cos(x) - 1 - 0.2 * (1 - np.cos(2 * x))) / (2 * viscosity))
    decay = np.exp(-viscosity * wave**2 * 1.5)
    phi = np.fft.rfft(start) * decay
    expected = -2 * viscosity * np.fft.irfft(1j * wave * phi) / np.fft.irfft(phi)
    found = suite.burgers(np.array([[0, 1, 0.4, 0, viscosity]]))[0]
    np.testing.assert_allclose(found, expected[:: n // 64], atol=2e-4)


def test_lorenz63_is_what_another_solver_finds():
    y = FUNCTIONS["lorenz63"].sample(1, 0)[0]
    sigma, rho, beta = y[:3]

    def rates(t, u):
        return [sigma * (u[1] - u[0]), u[0] * (rho - u[2]) - u[1], u[0] * u[1] - beta * u[2]]

    found = solve_ivp(rates, (0, 1), y[3:], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(suite.lorenz63(y[None])[0], found.y[:, -1], atol=1e-3)


def test_wing_weight_of_the_published_baseline():
    """Gramacy (2020), Surrogates, section 1.1.2: without paint, inputs as shares of the box."""
    box = FUNCTIONS["wing_weight"]
    lower, upper = np.array(box.lower), np.array(box.upper)
    shares = np.array([0.48, 0.4, 0.38, 0.5, 0.62, 0.344, 0.4, 0.37, 0.38, 0])
    cessna = lower + shares * (upper - lower)
    cessna[-1] = 0
    assert suite.wing_weight(cessna[None])[0] == pytest.approx(233.9084, abs=1e-4)


def test_borehole_at_the_corners_of_its_published_range():
    box = np.array([FUNCTIONS["borehole"].lower, FUNCTIONS["borehole"].upper])
    least, most = [0, 1, 0, 0, 0, 1, 1, 0], [1, 0, 1, 1, 1, 0, 0, 1]
    corners = np.stack([box[ends, np.arange(8)] for ends in (least, most)])
    assert suite.borehole(corners) == pytest.approx([7.8198, 309.5755], rel=1e-4)


def test_robertson_agrees_with_the_published_solution():
    """Of the example of CVODE: t, y1, y2."""
    published = np.array([[0.4, 9.8517e-01, 3.3864e-05], [40, 7.1583e-01, 9.1850e-06]])
    found = suite._robertson(np.array([0, 0, 0, 1.0]), published[:, 0])
    assert found.reshape(2, 2).T == pytest.approx(published[:, 1:], rel=1e-3)


def test_lotka_volterra_keeps_its_invariant():
    Y = FUNCTIONS["lotka_volterra"].sample(50, 1)
    a, b, c, d = Y.T[:, :, None]
    prey, predators = np.split(suite.lotka_volterra(Y), 2, axis=1)
    invariant = d * prey - c * np.log(prey) + b * predators - a * np.log(predators)
    assert np.abs(invariant - (b + d)).max() < 1e-8


def test_lorenz96_agrees_with_another_integrator():
    state = FUNCTIONS["lorenz96"].sample(3, 2)[0]

    def rates(_, u):
        return (np.roll(u, -1) - np.roll(u, 2)) * np.roll(u, 1) - u + 8

    reference = solve_ivp(rates, (0, 0.2), state, rtol=1e-10, atol=1e-10).y[:, -1]
    assert np.abs(suite.lorenz96(state[None])[0] - reference).max() < 1e-3


def test_morris_is_the_sum_of_its_terms():
    y = FUNCTIONS["morris"].sample(5, 4)
    assert suite.morris(y) == pytest.approx([plain_morris(row) for row in y])


def plain_morris(y):
    """Sum the terms one at a time; inputs counted from 1, as Morris does."""
    w = {i: 2 * (y[i - 1] - 0.5) for i in range(1, 21)}
    w |= {i: 2 * (1.1 * y[i - 1] / (y[i - 1] + 0.1) - 0.5) for i in (3, 5, 7)}
    total = sum((20 if i <= 10 else (-1) ** i) * w[i] for i in w)
    for i, j in itertools.combinations(w, 2):
        total += (-15 if j <= 6 else (-1) ** (i + j)) * w[i] * w[j]
    total += sum(-10 * w[i] * w[j] * w[k] for i, j, k in itertools.combinations(range(1, 6), 3))
    return total + 5 * w[1] * w[2] * w[3] * w[4]


def test_environmental_has_one_spill_before_the_second():
    Y = np.array([[10, 0.07, 1.5, 30.15], [10, 0.07, 0.5, 30.29]])
    values = suite.environmental(Y).reshape(2, 5, 20)
    assert np.array_equal(values[0, :, :10], values[1, :, :10])  # t <= 30
    assert (values[0, :, 10:] != values[1, :, 10:]).any(axis=0).all()
    assert values[0, 1, 0] == pytest.approx(10 / np.sqrt(0.21) * np.exp(-1 / 0.84))


def test_a_design_has_one_point_in_each_of_n_intervals_of_each_input():
    Y = FUNCTIONS["friedman1"].sample(50, 7)
    assert np.array_equal(np.sort((50 * Y).astype(int), axis=0).T, np.tile(np.arange(50), (10, 1)))


def test_test_points_are_the_same_for_any_number_of_training_points():
    small, large = (suite.draw("friedman1_noise", n, 5, NO_FILES) for n in (30, 60))
    assert np.array_equal(small.Y_test, large.Y_test)
    assert np.array_equal(small.C_test, large.C_test)
    other = suite.draw("friedman1_noise", 30, 6, NO_FILES)
    assert not np.array_equal(small.Y_test, other.Y_test)
    assert not np.isin(small.Y_train, small.Y_test).any()


def test_noise_is_in_observations_and_not_in_the_truth():
    draw = suite.draw("friedman1_noise", 400, 1, NO_FILES)
    assert np.array_equal(draw.truth[:, 0], suite.friedman1(draw.Y_test))
    for noise in (draw.C_test[:, 0], draw.C_train[:, 0]):
        inputs = draw.Y_test if len(noise) == len(draw.Y_test) else draw.Y_train
        assert np.std(noise - suite.friedman1(inputs)) == pytest.approx(1, abs=0.12)
    plain = suite.draw("friedman1", 400, 1, NO_FILES)
    assert np.array_equal(plain.C_test, plain.truth)


def test_rows_of_a_data_set_are_for_training_or_for_test():
    draw = suite.draw("diabetes", 1000, 2, NO_FILES)
    assert (len(draw.Y_train), len(draw.Y_test)) == (353, 89)
    rows = np.concatenate([draw.Y_train, draw.Y_test])
    assert len(np.unique(rows, axis=0)) == 442


def test_given_test_rows_are_never_for_training(tmp_path):
    path = tmp_path / "darcy.npz"
    numbers = np.arange(60, dtype=np.float32).reshape(60, 1, 1)
    np.savez(
        path, Y_train=numbers[:50], C_train=numbers[:50], Y_test=numbers[50:], C_test=numbers[50:]
    )
    for n, tests in ((20, 40), (1000, 10)):
        draw = suite.draw("darcy", n, 3, suite.Files(darcy=path))
        assert draw.Y_train.max() < 50 <= draw.Y_test[:10].min()
        assert len(draw.Y_test) == tests
        assert not np.isin(draw.Y_train, draw.Y_test).any()


def test_sets_of_files_that_are_not_given_are_left_out():
    assert suite.draw("published_cdr", 100, 0, NO_FILES) is None
    assert suite.draw("darcy", 100, 0, NO_FILES) is None
    with pytest.raises(InputError, match="unknown set 'ishigamy'.*ishigami"):
        suite.draw("ishigamy", 100, 0, NO_FILES)


@pytest.mark.fenicsx
def test_data_of_this_project_are_generated_once(tmp_path):
    pytest.importorskip("dolfinx", reason="the samples are solved for by DOLFINx")
    files = suite.Files(cache=tmp_path / "new")
    read = suite._generated("cdr", 12)
    Y, C, last = read(files)
    assert (Y.shape, C.shape, last) == ((12, 55), (12, 72), 0)
    (made,) = (tmp_path / "new").glob("*.h5")
    before = made.stat().st_mtime_ns
    assert np.array_equal(read(files)[1], C)
    assert made.stat().st_mtime_ns == before
