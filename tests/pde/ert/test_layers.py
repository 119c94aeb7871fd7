"""The potential of electrodes in layers: images, brute force, continuity, derivatives, limits."""

import numpy as np
import pytest
from scipy.special import j0

from surrogates.errors import InputError
from surrogates.pde.ert.layers import (
    Layers,
    grid_potentials,
    pair_derivatives,
    pair_potentials,
)

# Surface, both sides of interfaces, in all layers; horizontal distances from 0.3 to 30 m.
PLACES = np.array(
    [
        *((0.0, 0.0, 0.0), (0.3, 0.0, 0.0), (30.0, 4.0, 0.0)),
        *((1.0, 2.0, -0.7), (5.0, -1.0, -1.99), (5.2, -1.0, -2.01)),
        *((2.0, 2.0, -3.0), (9.0, 0.0, -4.4), (9.0, 0.5, -6.0)),
        *((0.4, 0.1, -5.1), (1.0, 2.0, -20.0)),
    ]
)
PAIRS = np.array(np.triu_indices(len(PLACES), 1)).T
THREE = ((100.0, 3.0, 700.0), (2.0, 2.5))
FOUR = ((10.0, 900.0, 4.0, 50.0), (2.0, 0.05, 2.9))


def layers(resistivity, thickness) -> Layers:
    return Layers(
        resistivity=np.array(resistivity, dtype=float), thickness=np.array(thickness, dtype=float)
    )


def half_space(rho: float, places: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The potential of an electrode and of its image."""
    a, b = places[pairs[:, 0]], places[pairs[:, 1]]
    image = b * [1, 1, -1]
    return rho / (4 * np.pi) * sum(1 / np.linalg.norm(a - x, axis=1) for x in (b, image))


def two_layers(rho1, rho2, h, r, s, z) -> float:
    """The infinite series of images, the source in the first layer at depth s, as a number."""
    k = (rho2 - rho1) / (rho2 + rho1)
    n = np.arange(int(np.log(1e-17) / np.log(abs(k))))
    if z <= h:
        paths = (2 * n * h + z - s, 2 * n * h + z + s, 2 * n[1:] * h - z - s, 2 * n[1:] * h - z + s)
        factor = rho1
    else:
        paths = (2 * n * h + z - s, 2 * n * h + z + s)
        factor = rho1 * (1 + k)
    total = 0.0
    powers = np.cumprod(np.where(n > 0, k, 1.0))
    for path in paths:
        terms = powers[len(n) - len(path) :] / np.hypot(r, path)
        total += terms.sum() - (terms[-1] / 2 if k < 0 else 0.0)
    return factor * total / (4 * np.pi)


def brute_force(ground: Layers, r: float, s: float, z: float) -> float:
    """The potential by a linear system for the waves in the layers, and Gauss points in panels.

    It shares neither the recursion nor the quadrature: the two waves in each layer satisfy
    continuity of u and of the current, and the source's own wave is 1 / R.
    """
    tops = np.concatenate([[0.0], ground.depths])
    n, (source, receiver) = len(tops), np.searchsorted(ground.depths, [s, z])
    gap = z - s if source < receiver else s - z
    if source == receiver:
        to_bottom = 2 * ground.depths[source] - z - s if source < n - 1 else np.inf
        gap = min(z + s - 2 * tops[source], to_bottom)
    ends = [0.0, 1e-12]
    while ends[-1] * gap < 40:
        ends.append(ends[-1] + min(0.3 * ends[-1], 3 / max(r, 1e-9)))
    ends = np.array(ends)
    x, w = np.polynomial.legendre.leggauss(24)
    lam = (ends[:-1, None] + np.diff(ends)[:, None] * (x + 1) / 2).ravel()
    weight = (np.diff(ends)[:, None] * w / 2).ravel()
    A, f = np.zeros((len(lam), 2 * n, 2 * n)), np.zeros((len(lam), 2 * n))
    # Unknowns of layer m: 2 m falls downwards from its top, 2 m + 1 upwards from its bottom.
    fade = np.exp(-lam[:, None] * np.append(ground.thickness, np.inf))
    sigma = 1 / ground.resistivity
    A[:, 0, 0], A[:, 0, 1] = -1, fade[:, 0]
    A[:, -1, -1] = 1  # nothing comes up from below
    if source == 0:
        f[:, 0] = -np.exp(-lam * s)
    for m in range(n - 1):
        u, q = 2 * m + 1, 2 * m + 2
        A[:, u, 2 * m], A[:, u, 2 * m + 1] = fade[:, m], 1
        A[:, u, 2 * m + 2], A[:, u, 2 * m + 3] = -1, -fade[:, m + 1]
        A[:, q, 2 * m], A[:, q, 2 * m + 1] = -sigma[m] * fade[:, m], sigma[m]
        A[:, q, 2 * m + 2], A[:, q, 2 * m + 3] = sigma[m + 1], -sigma[m + 1] * fade[:, m + 1]
        if source == m:
            f[:, u] -= np.exp(-lam * (tops[m + 1] - s))
            f[:, q] += sigma[m] * np.exp(-lam * (tops[m + 1] - s))
        if source == m + 1:
            f[:, u] += np.exp(-lam * (s - tops[m + 1]))
            f[:, q] += sigma[m + 1] * np.exp(-lam * (s - tops[m + 1]))
    waves = np.linalg.solve(A, f[..., None])[..., 0]
    g = waves[:, 2 * receiver] * np.exp(-lam * (z - tops[receiver]))
    if receiver < n - 1:
        g += waves[:, 2 * receiver + 1] * np.exp(-lam * (tops[receiver + 1] - z))
    own = 1 / np.hypot(r, z - s) if source == receiver else 0.0
    return float(
        ground.resistivity[source] / (4 * np.pi) * (own + (weight * g * j0(lam * r)).sum())
    )


@pytest.mark.parametrize("k", [0.9, -0.9, 0.9998, -0.9998])
def test_images_at_the_surface(k):
    r = np.geomspace(1e-4, 1e4, 17)
    places = np.zeros((18, 3))
    places[1:, 0] = r
    ground = layers([10.0, 10.0 * (1 + k) / (1 - k)], [1.0])
    found = pair_potentials(ground, places, np.array([(0, i) for i in range(1, 18)]))
    exact = [two_layers(*ground.resistivity, 1.0, x, 0.0, 0.0) for x in r]
    np.testing.assert_allclose(found, exact, rtol=1e-9)


@pytest.mark.parametrize("k", [0.9, -0.9])
@pytest.mark.parametrize("s", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("z", [0.0, 0.2, 0.999, 1.0, 1.001, 3.0, 100.0])
def test_images_of_buried_electrodes(k, s, z):
    ground = layers([10.0, 10.0 * (1 + k) / (1 - k)], [1.0])
    r = np.array([1e-3, 0.1, 0.7, 1.0, 20.0, 1e3])
    places = np.array([(0, 0, -s), *((0.6 * x, 0.8 * x, -z) for x in r)])
    pairs = np.array([(i, 0) for i in range(1, 7)])
    exact = [two_layers(*ground.resistivity, 1.0, x, min(s, z), max(s, z)) for x in r]
    np.testing.assert_allclose(pair_potentials(ground, places, pairs), exact, rtol=2e-10)
    if z != s:
        above = np.array([(0.0, 0.0, -s), (0.0, 0.0, -z)])
        found = pair_potentials(ground, above, np.array([(0, 1)]))
        exact = two_layers(*ground.resistivity, 1.0, 0.0, min(s, z), max(s, z))
        np.testing.assert_allclose(found, exact, rtol=2e-10)


@pytest.mark.parametrize("ground", [layers(*THREE), layers(*FOUR)], ids=["three", "four"])
def test_brute_force(ground):
    """Either electrode of a pair as the source: reciprocity as well."""
    found = pair_potentials(ground, PLACES, PAIRS)
    chosen = np.arange(0, len(PAIRS), 3)
    for which, (i, j) in zip(chosen, PAIRS[chosen], strict=True):
        r = float(np.hypot(*(PLACES[i] - PLACES[j])[:2]))
        s, z = -PLACES[i, 2], -PLACES[j, 2]
        if s + z == 0:
            continue  # the wave that the surface reflects does not decay
        assert brute_force(ground, r, s, z) == pytest.approx(found[which], rel=1e-8), (i, j)
        assert brute_force(ground, r, z, s) == pytest.approx(found[which], rel=1e-8), (i, j)


@pytest.mark.parametrize("thickness", [[], [2.0], [2.0, 0.01, 30.0]])
def test_equal_layers_are_the_half_space(thickness):
    ground = layers([40.0] * (len(thickness) + 1), thickness)
    exact = half_space(40.0, PLACES, PAIRS)
    np.testing.assert_allclose(pair_potentials(ground, PLACES, PAIRS), exact, rtol=1e-11)


def test_thin_layer():
    """A layer of vanishing conductance and resistance is not there; a shielding sheet is."""
    without = pair_potentials(layers([100.0, 10.0], [2.0]), PLACES, PAIRS)
    thin = pair_potentials(layers([100.0, 30.0, 10.0], [2.0, 1e-9]), PLACES, PAIRS)
    np.testing.assert_allclose(thin, without, rtol=1e-8)
    # A conducting sheet at depth h, of conductance S = h / rho2: below it a current of the same
    # size, for S -> infinity none: the first layer's images with k = -1.
    sheet = layers([100.0, 1e-9, 100.0], [2.0, 1e-3])
    near = np.array([(0.0, 0.0, 0.0), (3.0, 0.0, 0.0)])
    found = pair_potentials(sheet, near, np.array([(0, 1)]))
    n = np.arange(1, 200_001)
    terms = (1 - 2 * (n % 2)) / np.hypot(3.0, 4.0 * n)
    exact = 100.0 / (2 * np.pi) * (1 / 3.0 + 2 * (terms.sum() - terms[-1] / 2))
    np.testing.assert_allclose(found, exact, rtol=1e-5)


def test_continuity_at_interfaces():
    ground = layers(*THREE)
    step = 1e-3
    for source in PLACES[[0, 3, 6, 10]]:
        for depth, number in zip(ground.depths, (0, 1), strict=True):
            levels = -depth + step * np.array([2.0, 1.0, 0.0, -1e-9 / step, -1.0, -2.0])
            axes = np.array([0.5, 3.0, 40.0]), np.array([1.0]), levels
            u = grid_potentials(ground, source[None], axes)[0, :, 0]
            np.testing.assert_allclose(u[:, 3], u[:, 2], rtol=1e-7)
            above = (3 * u[:, 2] - 4 * u[:, 1] + u[:, 0]) / (2 * step)
            below = -(3 * u[:, 2] - 4 * u[:, 4] + u[:, 5]) / (2 * step)
            rho = ground.resistivity[number : number + 2]
            np.testing.assert_allclose(above / rho[0], below / rho[1], rtol=1e-4)


def test_grid_agrees_with_pairs():
    ground = layers(*FOUR)
    axes = np.linspace(-2, 9, 5), np.array([0.1, 2.0]), -np.array([0.0, 1.0, 2.0, 2.02, 4.95, 30.0])
    found = grid_potentials(ground, PLACES, axes)
    assert found.shape == (len(PLACES), 5, 2, 6)
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    pairs = np.array([(i, len(PLACES) + k) for i in range(len(PLACES)) for k in range(len(nodes))])
    exact = pair_potentials(ground, np.concatenate([PLACES, nodes]), pairs)
    np.testing.assert_allclose(found.ravel(), exact, rtol=1e-10)


def test_grid_is_infinite_at_the_electrode():
    electrodes = np.array([(0.0, 0.0, 0.0), (1.0, 0.0, -2.0)])
    axes = np.array([0.0, 1.0]), np.array([0.0]), np.array([0.0, -2.0])
    for ground in (layers(*THREE), layers([5.0], [])):
        u = grid_potentials(ground, electrodes, axes)
        assert np.isposinf(u[0, 0, 0, 0]) and np.isposinf(u[1, 1, 0, 1])
        assert np.isfinite(u).sum() == u.size - 2


@pytest.mark.parametrize("ground", [layers(*THREE), layers(*FOUR)], ids=["three", "four"])
def test_derivatives_are_of_order_two(ground):
    parameters = np.concatenate([ground.resistivity, ground.thickness])
    n = len(ground.resistivity)
    direction = parameters * np.cos(np.arange(len(parameters)) + 1) / 4
    # Depths that keep their layers within the steps.
    places = PLACES.copy()
    places[[4, 5], 2] = -1.5, -2.4 if n == 3 else -2.6
    slopes = pair_derivatives(ground, places, PAIRS)
    assert slopes.shape == (2 * n - 1, len(PAIRS))
    base = pair_potentials(ground, places, PAIRS)
    errors = []
    for k in range(3, 9):
        x = parameters + 0.5**k * direction
        moved = pair_potentials(layers(x[:n], x[n:]), places, PAIRS)
        errors.append(np.abs(moved - base - 0.5**k * (direction @ slopes)))
    orders = np.log2(np.array(errors[:-1]).sum(axis=1) / np.array(errors[1:]).sum(axis=1))
    assert (orders > 1.8).all(), orders


@pytest.mark.parametrize("ground", [layers(*THREE), layers(*FOUR)], ids=["three", "four"])
def test_derivatives_of_each_parameter(ground):
    """Each row against a central difference of high order."""
    parameters = np.concatenate([ground.resistivity, ground.thickness])
    n = len(ground.resistivity)
    places = PLACES.copy()
    places[[4, 5], 2] = -1.5, -2.4 if n == 3 else -2.6
    slopes = pair_derivatives(ground, places, PAIRS)
    weights = np.array([1, -8, 8, -1]) / 12
    for row, size in enumerate(parameters):
        total = 0.0
        for weight, steps in zip(weights, (-2, -1, 1, 2), strict=True):
            x = parameters.copy()
            x[row] += steps * 1e-3 * size
            total += weight * pair_potentials(layers(x[:n], x[n:]), places, PAIRS)
        difference = total / (1e-3 * size)
        scale = pair_potentials(ground, places, PAIRS) / size
        np.testing.assert_allclose(slopes[row] / scale, difference / scale, atol=1e-8)


def test_derivatives_scale():
    """Potentials are proportional to all resistivities, and to 1 / length."""
    for ground in (layers(*THREE), layers(*FOUR)):
        surface = np.zeros((6, 3))
        surface[:, 0] = [0, 1e-3, 0.1, 2, 40, 1e4]
        pairs = np.array(np.triu_indices(6, 1)).T
        T, n = pair_potentials(ground, surface, pairs), len(ground.resistivity)
        slopes = pair_derivatives(ground, surface, pairs)
        np.testing.assert_allclose(ground.resistivity @ slopes[:n] / T, 1, rtol=1e-9)
        step = 1e-5
        wide = pair_potentials(ground, surface * (1 + step), pairs)
        narrow = pair_potentials(ground, surface * (1 - step), pairs)
        by_places = (wide - narrow) / (2 * step)
        by_layers = ground.thickness @ slopes[n:]
        np.testing.assert_allclose((by_places + by_layers) / T, -1, rtol=1e-8)


def test_averages():
    ground = layers([100.0, 10.0], [3.0])
    arithmetic, harmonic = ground.averages(np.array([-8.0, -4.0, -2.0, 0.0]))
    np.testing.assert_allclose(arithmetic, [0.1, 0.055, 0.01], rtol=1e-14)
    np.testing.assert_allclose(harmonic, [0.1, 1 / 55, 0.01], rtol=1e-14)
    downwards = ground.averages(np.array([0.0, -2.0, -4.0, -8.0]))
    np.testing.assert_allclose(downwards[0], arithmetic[::-1], rtol=1e-14)
    np.testing.assert_allclose(downwards[1], harmonic[::-1], rtol=1e-14)
    assert ground.number(np.array([0.0, -3.0, -3.1])).tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: layers([1.0, 2.0], [1.0, 1.0]), "2 resistivities and 2 thicknesses"),
        (lambda: layers([], []), "at least one"),
        (lambda: layers([1.0, -2.0], [1.0]), r"resistivity of layer \[2\] must be .*-2"),
        (lambda: layers([1.0, 2.0], [0.0]), r"thickness of layer \[1\]"),
        (lambda: layers([1.0, np.nan], [1.0]), r"resistivity of layer \[2\]"),
        (
            lambda: pair_potentials(layers([1.0], []), np.eye(3), np.array([(0, 1)])),
            r"electrode \[3\] is at x3 = \[1.\] m",
        ),
        (
            lambda: pair_potentials(layers([1.0], []), np.zeros((2, 3)), np.array([(0, 1)])),
            r"electrodes \[\[1 2\]\] of a pair are at the same place",
        ),
        (
            lambda: grid_potentials(layers([1.0], []), np.zeros((1, 3)), (np.ones(2),) * 3),
            "no level may be above it",
        ),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(InputError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)
