r"""The kernel of the potential between two depths of horizontal layers, and its images.

A current of 1 A at the depth s in layer i gives at the depth z >= s in layer j, at the horizontal
distance r,

    u = rho_i / (4 pi) \int_0^\infty g(l) J0(l r) dl
    g = exp(-l (z - s)) (1 + U_i exp(-2 l (s - t_i))) (1 + D_j exp(-2 l (b_j - z))) C
    C = 1 / (1 - U_i D_i E_i)  prod_{m=i}^{j-1} (1 + r_m) / (1 + r_m D_{m+1} E_{m+1})

with t and b the top and bottom of a layer, h its thickness, E = exp(-2 l h), and reflections at an
interface, r_m = (rho_{m+1} - rho_m) / (rho_{m+1} + rho_m), from all that lies below a layer, D, and
above it, U; the surface reflects all:

    D_m = (r_m + D_{m+1} E_{m+1}) / (1 + r_m D_{m+1} E_{m+1}),           D of the last layer 0
    U_m = (-r_{m-1} + U_{m-1} E_{m-1}) / (1 - r_{m-1} U_{m-1} E_{m-1}),  U_0 = 1

Exponentials only decay, and no difference of large numbers is taken. u is symmetric, so that the
upper place is the source. For large l, U, D and C tend to constants: that part of g has the
potential of four images. What remains decays as exp(-l d), d = z - s + 2 min h over the layers
i - 1 to j + 1. For electrodes at the surface the recursion is that of Koefoed, "Geosounding
Principles 1: Resistivity Sounding Measurements", 1979.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from surrogates.types import Array

from .jets import Jet, Numbers


class Kernel:
    """The kernel of a pair of layers."""

    def __init__(self, resistivity: Jet, thickness: Jet, upper: int, lower: int) -> None:
        """Take the layers.

        Args:
            resistivity: Resistivities [ohm m], (n, 1, 1).
            thickness: Thicknesses [m], (n - 1, 1, 1).
            upper: Number of the layer of the source.
            lower: Number of the layer of the receiver, at least ``upper``.
        """
        self._rho, self._h = resistivity, thickness
        self._i, self._j = upper, lower
        n = len(resistivity.value)
        self._n = n
        self._jump = [
            (resistivity[m + 1] - resistivity[m]) / (resistivity[m + 1] + resistivity[m])
            for m in range(n - 1)
        ]
        self._zero = resistivity[0] * 0.0
        near = thickness.value[max(upper - 1, 0) : lower + 2]
        self.gap = 2 * near.min(initial=np.inf)

    @property
    def source(self) -> Jet:
        """The resistivity of the source's layer [ohm m], (1, 1)."""
        return self._rho[self._i]

    def _top(self, layer: int) -> Jet:
        """Return the depth of a layer's top, (1, 1)."""
        found = self._zero
        for m in range(layer):
            found = found + self._h[m]
        return found

    def images(self, s: Array, z: Array) -> list[tuple[Jet, Jet]]:
        """Return the images of the source.

        Args:
            s: Depths of the upper places [m], (n, 1).
            z: Depths of the lower places, (n, 1).

        Returns:
            The weight (1, 1) of each image and its distance along x3 [m], (n, 1).
        """
        through = self._zero + 1.0
        for m in range(self._i, self._j):
            through = through * (self._jump[m] + 1.0)
        above = -self._jump[self._i - 1] if self._i else self._zero + 1.0
        direct = self._zero + (z - s)
        up = 2.0 * (s - self._top(self._i))
        found = [(through, direct), (through * above, direct + up)]
        if self._j < self._n - 1:
            down = 2.0 * (self._top(self._j + 1) - z)
            below = self._jump[self._j]
            found += [(weight * below, path + down) for weight, path in found]
        return found

    def remainder(self, s: Array, z: Array) -> Callable[[Numbers], Numbers]:
        """Return g without its images, and its derivatives, as a function of l.

        g is a sum over the paths q of the images: g = sum A(l) exp(-l q). Depths enter by q alone,
        and the derivatives of q by the layers are the same for all depths.

        Args:
            s: Depths of the upper places [m], (n, 1).
            z: Depths of the lower places, (n, 1).

        Returns:
            From l (n_l,) to g and its p derivatives, (1 + p, n, n_l).
        """
        images = self.images(s, z)

        def kernel(lam: Numbers) -> Numbers:
            found: Numbers = np.zeros((1, 1, 1))
            for amplitude, (weight, path) in zip(self._amplitudes(lam[None]), images, strict=True):
                rest = amplitude - weight
                slope = rest.slope - lam * path.slope[:, :1] * rest.value
                both = np.concatenate([rest.value[None], slope])
                found = found + both * np.exp(-lam * path.value)
            return found

        return kernel

    def _amplitudes(self, lam: Numbers) -> list[Jet]:
        """Return the factor of g of each image's path at l (1, n_l), (1, n_l)."""
        i, j = self._i, self._j
        fades = [(self._h[m] * (-2 * lam)).exp() for m in range(self._n - 1)]
        above, below = self._reflections(fades, self._zero * lam)
        found = self._zero * lam + 1.0
        if i < self._n - 1:
            found = found / (1.0 - above * below[i] * fades[i])
        for m in range(i, j):
            found = found * (self._jump[m] + 1.0)
            if m + 1 < self._n - 1:
                found = found / (self._jump[m] * below[m + 1] * fades[m + 1] + 1.0)
        waves = [found, found * above]
        return waves + ([wave * below[j] for wave in waves] if j < self._n - 1 else [])

    def _reflections(self, fades: list[Jet], zero: Jet) -> tuple[Jet, dict[int, Jet]]:
        """Return U of the source's layer, and D of this layer and all below."""
        above = zero + 1.0
        for m in range(self._i):
            back = above * fades[m]
            above = (back - self._jump[m]) / (1.0 - self._jump[m] * back)
        below = {self._n - 1: zero}
        for m in reversed(range(self._i, self._n - 1)):
            back = below[m + 1] * fades[m + 1] if m + 1 < self._n - 1 else zero
            below[m] = (self._jump[m] + back) / (self._jump[m] * back + 1.0)
        return above, below
