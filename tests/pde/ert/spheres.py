"""The potential of a point electrode near a sphere whose conductivity depends on the radius."""

import numpy as np
from scipy.special import eval_legendre


def sphere(conductivity, radii, background, places, pairs, terms=200):
    """Change [V/A] of the potential that a sphere brings in a whole space.

    In each shell, u = (A r^n + B r^(-n-1)) P_n; the admittance y = s r u' / u is continuous.

    Args:
        conductivity: Of each shell from the centre outwards [S/m], (k,).
        radii: Outer radius of each shell [m], (k,).
        background: Conductivity outside [S/m].
        places: Electrodes outside, from the sphere's centre [m], (n_e, 3).
        pairs: Pairs of them, (n_p, 2).
        terms: Number of Legendre polynomials.
    """
    distance = np.linalg.norm(places, axis=1)
    i, j = np.asarray(pairs).T
    cosine = (places[i] * places[j]).sum(axis=1) / distance[i] / distance[j]
    n = np.arange(1, terms + 1)
    y = n * conductivity[0]
    for s, inner, outer in zip(conductivity[1:], radii[:-1], radii[1:], strict=True):
        b = (n * s - y) / (y + (n + 1) * s) * (inner / outer) ** (2.0 * n + 1)
        y = s * (n - (n + 1) * b) / (1 + b)
    b = (n * background - y) / (y + (n + 1) * background)
    a = radii[-1]
    factors = (a * a / (distance[i] * distance[j]))[:, None] ** (n + 1) / a * b
    return (factors * eval_legendre(n, cosine[:, None])).sum(axis=1) / (4 * np.pi * background)
