r"""Variable projection: the linear weights W are eliminated, and theta alone is trained.

With features F = F(Y; theta), (N, w), and Z = [F, 1],

    Phi(W, theta) = 1/(2N) ||Z W^T - C||_F^2 + alpha2/2 ||W - W_ref||_F^2 = 1/2 ||A W^T - B||_F^2
    A = [Z / sqrt(N); sqrt(alpha2) I],    B = [C / sqrt(N); sqrt(alpha2) W_ref^T]

and W(theta) minimises Phi for every theta (Golub and Pereyra 1973, "The differentiation of
pseudo-inverses and nonlinear least squares problems whose variables separate"; Newman et al.
2021, "Train Like a (Var)Pro"). The penalty alpha1/2 ||theta - theta_ref||^2 belongs to the outer
problem.

The reduced residual R(theta) = A W^T - B has the derivative, with A = U S V^T,

    dR = (I - U U^T) dA W^T - U S^-1 V^T dA^T R

which is exact for any alpha2 > 0, and for alpha2 = 0 if the rank of Z does not change. Only the
upper N rows of dA are not zero. A itself is never decomposed: it has the right singular vectors V
of Z / sqrt(N), and the singular values sqrt(s^2 + alpha2).

Residuals and their derivatives have N rows and n_out columns, and are never formed: they are `Tall`
matrices, products of thin factors, less C. The N samples may be divided over processes; all sums
over samples pass through `communicator`.

Rows of derivatives may follow those of samples, in Z as in C (see `features`): Z has more than N
rows then, and N is still the number of samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from ..communicator import ALONE, Communicator
from .solution import Inner, Pair
from .tall import Rows, Tall, tall_svd


def solve_w(
    Z: Tensor,
    C: Tensor,
    alpha2: float,
    W_ref: Tensor | None = None,
    *,
    comm: Communicator = ALONE,
) -> Tensor:
    r"""Minimise Phi over W at fixed features, by QR and then SVD of the small factor.

    W = argmin 1/(2N) ||Z W^T - C||_F^2 + alpha2/2 ||W - W_ref||_F^2
    (Newman et al. 2021, inner problem). The part of W_ref outside range(Z^T) is kept: it matters
    when n_feat + 1 > n_samples. The normal equations would square the condition number, and lose
    alpha2 = 1e-10 in rounding.

    Args:
        Z: Features with a last column of ones, (n_samples, n_feat + 1), float64.
        C: Targets, (n_samples, n_out), same dtype and device as Z.
        alpha2: Tikhonov weight, >= 0; with 0, the solution nearest to W_ref.
        W_ref: Reference weights, (n_out, n_feat + 1); zero if None.
        comm: The processes that the samples are divided over; N counts all samples.

    Returns:
        W, (n_out, n_feat + 1).

    Raises:
        ValueError: If shapes, dtypes or devices disagree, alpha2 < 0, or a value is not finite.
    """
    _check(Z, C, alpha2, W_ref)
    return LeastSquaresSolution.of(Z, C, alpha2, W_ref, comm=comm).W


def solve_path(
    Z: Tensor, C: Tensor, alphas: Sequence[float], n_samples: int | None = None
) -> list[Tensor]:
    """Solve for W as `solve_w` does, at several alpha2 from one SVD.

    Args:
        Z: Features with a last column of ones, (n_samples, n_feat + 1), float64.
        C: Targets, (n_samples, n_out).
        alphas: Values of alpha2, >= 0.
        n_samples: N, if Z has more rows, those of derivatives.

    Returns:
        W for each alpha2, (n_out, n_feat + 1).
    """
    root = math.sqrt(n_samples or len(Z))
    U, s, V = tall_svd(Z, 1 / root)
    UtC = U.T @ C / root
    tiny = max(Z.shape) * torch.finfo(s.dtype).eps * s[0]
    found = []
    for alpha2 in alphas:
        squares = s * s + alpha2
        factor = torch.where(squares.sqrt() > tiny, s / squares, 0)
        found.append((V @ (factor[:, None] * UtC)).T)
    return found


@dataclass(frozen=True, kw_only=True)
class LeastSquaresSolution(Inner):
    """The solution for least squares, with the factors of its derivative (see the module's text).

    Attributes:
        W: Linear weights, (n_out, m) with m = n_feat + 1.
        residual: R; its last m rows are sqrt(alpha2) (W - W_ref)^T.
        U: Left singular vectors of A, this process's upper rows, (n_samples, m); columns of
            vanishing values are zero.
        U_last: Their lower rows, (m, m).
        inverse: 1 / s of A, (m,); zero where s vanishes.
        V: Right singular vectors, (m, m).
        comm: The processes.
    """

    W: Tensor
    residual: Tall
    U: Tensor
    U_last: Tensor
    inverse: Tensor
    V: Tensor
    comm: Communicator = field(default=ALONE)

    @classmethod
    def of(
        cls,
        Z: Tensor,
        C: Tensor,
        alpha2: float,
        W_ref: Tensor | None = None,
        *,
        comm: Communicator = ALONE,
        n_samples: int | None = None,
    ) -> LeastSquaresSolution:
        """Solve the inner problem; arguments are those of `solve_w`, and are not checked.

        ``n_samples`` is N if Z has more rows than samples, those of derivatives.
        """
        n, m = comm.count(len(Z)) if n_samples is None else n_samples, Z.shape[1]
        root = math.sqrt(n)
        U, s, V = tall_svd(Z, 1 / root, comm)
        values = torch.sqrt(s * s + alpha2)
        tiny = max(n, m) * torch.finfo(s.dtype).eps * values[0]
        inverse = torch.where(values > tiny, 1 / values, 0)
        U *= s * inverse
        # With A = U' diag(values) V^T: W - W_ref is V diag(1 / values) U^T (C / root - Z W_ref^T /
        # root), and U^T Z / root is diag(s^2 / values) V^T.
        defect = comm.total(U.T @ C)[0] / root
        if W_ref is not None:
            defect = defect - (s * s * inverse)[:, None] * (W_ref @ V).T
        step = V @ (inverse[:, None] * defect)
        W = step.T if W_ref is None else W_ref + step.T
        residual = Tall(
            parts=((Z, W.T / root),),
            last=math.sqrt(alpha2) * step,
            n_samples=n,
            comm=comm,
            C=C,
        )
        U_last = V * (math.sqrt(alpha2) * inverse)
        return cls(W=W, residual=residual, U=U, U_last=U_last, inverse=inverse, V=V, comm=comm)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows of this process, and features."""
        return len(self.U), self.W.shape[1] - 1

    @property
    def size(self) -> int:
        """Number of entries of the residual: (n_rows + m) n_out."""
        return (self.comm.count(len(self.U)) + self.W.shape[1]) * len(self.W)

    @cached_property
    def phi(self) -> float:
        """The value of Phi: half the squared norm of the residual."""
        return 0.5 * self.residual.squared_norm()

    @property
    def gradient(self) -> Tensor:
        """The derivative of min_W Phi with respect to the features."""
        return self._pulled(self.residual @ self._W)

    def push(self, dF: Tensor) -> Tall:
        """Differentiate the residual along a change of the features."""
        D, UtD, RtD = self._products(dF)
        H = UtD @ self._W.T + self._lift @ RtD.T
        parts = ((D, self._W.T), (self.U, -H))
        return replace(self.residual, parts=parts, last=-self.U_last @ H, C=None)

    def pull(self, M: Tall) -> Tensor:
        """Apply the transpose of `push`."""
        if M.last.shape != self.residual.last.shape:
            raise ValueError(
                f"expected {tuple(self.residual.last.shape)} lower rows, got {tuple(M.last.shape)}"
            )
        E = M.transposed_times(self.U).T + self.U_last.T @ M.last
        T = M @ self._W - self.U @ (E @ self._W) - self.residual @ (E.T @ self._lift)
        return self._pulled(T)

    def gram(self, dF: Tensor) -> Tensor:
        """Apply both, to each of the derivative's two orthogonal parts.

        The outputs enter only through W^T W and R R^T.
        """
        lift = self._lift
        D, UtD, RtD = self._products(dF)
        T = (D - self.U @ UtD) @ self._WtW + self.residual @ (RtD @ (lift.T @ lift))
        return self._pulled(T)

    def change(self, other: Inner) -> Tall:
        """Return the difference of the residual at other features from this one."""
        assert isinstance(other, LeastSquaresSolution)
        return other.residual - self.residual

    def outer_terms(self, rows: Rows) -> tuple[Tensor, tuple[Pair, Pair]]:
        """Return the terms of the Gauss-Newton matrix; W = Q L reduces n_out rows to n_feat."""
        return self._factors[0], ((self.residual.rows(rows), None), (self.U[rows], None))

    def corrections(self, plus: Tensor, minus: Tensor) -> tuple[Tensor, Tensor]:
        """Return S^-1 V^T dF^T R = P M dF^T R, without P, and U^T dF L^T."""
        L, M = (first_columns(X, plus.shape[1]) for X in self._factors)
        return (M @ plus).flatten(0, 1), (L @ minus).flatten(0, 1)

    @cached_property
    def _factors(self) -> tuple[Tensor, Tensor]:
        root = math.sqrt(self.residual.n_samples)
        return tuple(torch.linalg.qr(X, mode="r").R / root for X in (self._W, self._lift))

    @property
    def _W(self) -> Tensor:
        return self.W[:, :-1]

    @cached_property
    def _WtW(self) -> Tensor:
        return self._W.T @ self._W

    @property
    def _lift(self) -> Tensor:
        """The columns of S^-1 V^T for the features; the column of ones does not change."""
        return self.inverse[:, None] * self.V.T[:, :-1]

    def _products(self, dF: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return D = dF / sqrt(N), U^T D and R^T D."""
        D = self._pulled(dF)
        (UtD,) = self.comm.total(self.U.T @ D)
        return D, UtD, self.residual.transposed_times(D)

    def _pulled(self, T: Tensor) -> Tensor:
        return T / math.sqrt(self.residual.n_samples)


def _check(Z: Tensor, C: Tensor, alpha2: float, W_ref: Tensor | None) -> None:
    if Z.ndim != 2 or C.ndim != 2 or len(Z) != len(C) or 0 in (*Z.shape, *C.shape):
        raise ValueError(
            f"expected Z (n_samples, n_feat + 1) and C (n_samples, n_out), "
            f"got {tuple(Z.shape)} and {tuple(C.shape)}"
        )
    given = [Z, C]
    if W_ref is not None:
        if W_ref.shape != (C.shape[1], Z.shape[1]):
            raise ValueError(f"expected W_ref {(C.shape[1], Z.shape[1])}, got {tuple(W_ref.shape)}")
        given.append(W_ref)
    if any(x.dtype != torch.float64 or x.device != Z.device for x in given):
        raise ValueError(
            "expected Z, C and W_ref of dtype float64 on one device, "
            f"got {[(x.dtype, x.device) for x in given]}"
        )
    if not (0 <= alpha2 < math.inf):
        raise ValueError(f"expected alpha2 >= 0, got {alpha2}")
    if not all(bool(torch.isfinite(x).all()) for x in given):
        raise ValueError("expected finite values in Z, C and W_ref")


def first_columns(L: Tensor, n: int) -> Tensor:
    """Return a matrix of n columns with the Gram matrix of L's first n, and no needless rows.

    The other columns belong to features without a derivative.

    Args:
        L: (k, n_feat), or (n_samples, k, n_feat), which keeps its rows.
        n: Number of columns, at most n_feat.
    """
    if n == L.shape[-1]:
        return L
    first = L[..., :n]
    R: Tensor = torch.linalg.qr(first, mode="r").R if L.ndim == 2 and len(L) > n else first
    return R
