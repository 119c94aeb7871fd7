"""The trust region: an exact solution of the small subproblem, and the rule for the radius."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.linalg.blas import dtrsv
from scipy.linalg.lapack import dpotrf
from torch import Tensor


def solve_subproblem(H: Tensor, g: Tensor, radius: float) -> Tensor:
    """Minimise g^T s + 1/2 s^T H s over ||s|| <= radius, exactly.

    More and Sorensen (1983, "Computing a trust region step"): s = -(H + shift I)^-1 g with the
    least shift >= 0 that makes H + shift I positive semidefinite and ||s|| <= radius. The shift
    is found by Newton's method for 1 / ||s|| = 1 / radius, kept inside a bracket, on the
    eigenvalues of H. In the hard case, g orthogonal to the eigenvectors of the least eigenvalue,
    such an eigenvector fills s up to the boundary.

    Args:
        H: Symmetric, (n, n), perhaps indefinite.
        g: Gradient, (n,).
        radius: > 0; may be infinite if H is positive definite.

    Returns:
        s, (n,).

    Raises:
        ValueError: If the radius is not positive, or the minimum is not attained.
    """
    if not radius > 0:
        raise ValueError(f"expected a radius > 0, got {radius}")
    values, vectors = torch.linalg.eigh(H)
    s = _solve_diagonal(values, vectors.T @ g, radius)
    product: Tensor = vectors @ s
    return product


def _solve_diagonal(values: Tensor, c: Tensor, radius: float) -> Tensor:
    """Solve the subproblem for a diagonal H, its values ascending, and the gradient c."""
    spread = float(values.abs().max())
    least = float(values[0])
    floor = max(0.0, -least)
    if least > 1e-15 * spread:
        s = torch.div(-c, values)
        if float(torch.linalg.vector_norm(s)) <= radius:
            return s
    if math.isinf(radius):
        raise ValueError("expected a finite radius, since H is not positive definite")
    # At the least shift the components of the least eigenvalue count only if g has none there.
    shifted = values + floor
    regular = shifted > 1e-12 * spread
    s = torch.where(regular, -c / torch.where(regular, shifted, 1.0), 0.0)
    inside = radius**2 - float(s.square().sum())
    negligible = float(c[~regular].abs().sum()) <= 1e-14 * float(torch.linalg.vector_norm(c))
    if inside >= 0 and negligible:
        if least < 0:
            s[0] = math.sqrt(inside)
        return s
    return torch.div(-c, shifted + _shift(shifted, c, radius))


def _shift(shifted: Tensor, c: Tensor, radius: float) -> float:
    """Solve ||c / (shifted + mu)|| = radius for mu > 0, with shifted >= 0.

    mu, not the whole shift, is iterated on: near the least eigenvalue it may be far smaller than
    the rounding of the shift.
    """
    low, high = 0.0, float(torch.linalg.vector_norm(c)) / radius
    mu = high
    for _ in range(100):
        s = c / (shifted + mu)
        norm = float(torch.linalg.vector_norm(s))
        if abs(norm - radius) <= 1e-12 * radius:
            break
        low, high = (mu, high) if norm > radius else (low, mu)
        slope = float((s * s / (shifted + mu)).sum())
        mu += (norm / radius - 1) * norm * norm / slope
        if not low < mu < high:
            mu = (low + high) / 2
        if not low < mu < high:
            break
    return mu


class Multiplier(NamedTuple):
    """A trust region's Lagrange multiplier, and how the step's length depends on it.

    Attributes:
        shift: The multiplier, of H + shift I.
        length: Length of its step.
        exponent: Near this shift, the length is proportional to shift ** -exponent; from 0.1 to 1.
    """

    shift: float = 0.0
    length: float = 1.0
    exponent: float = 1.0

    def at(self, radius: float) -> float:
        """Guess the shift of a step of another length."""
        return float(self.shift * min(self.length / radius, 1e30) ** (1 / self.exponent))


def solve_by_cholesky(
    H: Tensor, g: Tensor, radius: float, guess: Multiplier
) -> tuple[Tensor, Multiplier, Tensor] | None:
    """Minimise g^T s + 1/2 s^T H s over ||s|| <= radius, to a fifth of the radius.

    Unlike for `solve_subproblem`, H is positive semidefinite, and too large for an eigenvalue
    decomposition each time: every trial shift costs a Cholesky factorisation. The eigenvalues of a
    Gauss-Newton matrix are spread over many powers of ten, so that the length falls as a small
    power of the shift. The logarithm of the length is therefore linear in that of the shift here;
    More (1978, "The Levenberg-Marquardt algorithm: implementation and theory") interpolates the
    inverse of the length. With the last step's multiplier, and a tolerance about as wide as More's,
    one or two factorisations suffice.

    Args:
        H: (n, n).
        g: Gradient, (n,), not zero.
        radius: > 0.
        guess: The last multiplier, for this H or one near it.

    Returns:
        s (n,), of at most 1.1 radius, its multiplier, and the Cholesky factor of H + shift I, with
        a shift as small as rounding if s is inside. None if H is not finite.
    """
    if not bool(torch.isfinite(H).all()):
        return None
    best = None
    least = 1e-15 * float(H.diagonal().sum())
    low, high = 0.0, max(float(torch.linalg.vector_norm(g)) / radius, least)
    shift = min(max(guess.at(radius), least), high)
    for _ in range(60):
        shifted = H.clone()
        shifted.diagonal().add_(shift)
        factor = cholesky(shifted)
        if factor is None:
            low, shift = shift, min(10 * shift, high)
            high = max(high, 10 * low)
            continue
        s = -solve_factored(factor, g)
        norm = float(torch.linalg.vector_norm(s))
        half = torch.linalg.solve_triangular(factor, s[:, None], upper=False)
        exponent = shift * float(half.square().sum()) / norm**2
        found = Multiplier(shift, norm, min(max(exponent, 0.1), 1.0))
        best = s, found, factor
        if 0.8 * radius <= norm <= 1.1 * radius or (norm < radius and shift <= least):
            break
        low, high = (low, shift) if norm < radius else (shift, high)
        shift = max(found.at(radius), least)
        if not low < shift < high:
            shift = math.sqrt(low * high) if low > 0 else least
    return best


def cholesky(M: Tensor) -> Tensor | None:
    """Return the lower Cholesky factor, perhaps in M's place; None if M is not positive definite.

    Scipy's LAPACK takes half the time of torch's on some processors.
    """
    if M.device.type != "cpu":
        factor, failed = torch.linalg.cholesky_ex(M)
        return None if failed else factor
    lower, failed = dpotrf(M.numpy().T, lower=1, overwrite_a=1)
    return None if failed else torch.from_numpy(lower)


def solve_factored(factor: Tensor, b: Tensor) -> Tensor:
    """Solve L L^T x = b for one right-hand side of any shape.

    LAPACK's solver, which torch calls, takes four times as long for a single right-hand side.

    Args:
        factor: L, as `cholesky` returns it, (n, n) float64.
        b: n entries.

    Returns:
        x, in the shape of b.
    """
    if factor.device.type != "cpu":
        return torch.cholesky_solve(b.reshape(-1, 1), factor).view(b.shape)
    L = factor.numpy()
    x = dtrsv(L, b.reshape(-1).numpy(), lower=1)
    return torch.from_numpy(dtrsv(L, x, lower=1, trans=1, overwrite_x=1)).view(b.shape)


@dataclass(frozen=True, kw_only=True)
class RadiusRule:
    """The rule that accepts steps and changes the radius.

    Attributes:
        accept: A step is accepted if actual over predicted decrease exceeds this.
        shrink_below: The radius shrinks below this ratio, hence also on rejection.
        grow_above: The radius grows above this ratio, if the step reached the boundary, or nearly.
        shrink: Factor of the step's length that becomes the radius.
        grow: Factor of the radius.
    """

    accept: float = 1e-4
    shrink_below: float = 0.1
    grow_above: float = 0.75
    shrink: float = 0.25
    grow: float = 2.0

    def next_radius(self, radius: float, length: float, ratio: float) -> float:
        """Return the radius for the next step, from this step's length and ratio."""
        if not (ratio >= self.shrink_below and ratio > self.accept):
            return self.shrink * min(length, radius)
        if ratio > self.grow_above and length >= 0.79 * radius:
            return self.grow * radius
        return radius
