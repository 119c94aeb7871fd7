"""The inner problem's solution for the outer problem, and the reduced residual's Jacobian."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from ..communicator import Communicator
from ..features import FeatureJacobian
from .tall import Rows, Tall

Pair = tuple[Tensor, "Tensor | None"]


class Inner(ABC):
    """The minimiser W of Phi at fixed features, and the reduced residual's derivative by features.

    The squared norm of the residual is twice Phi. For a loss that is no square, only products of
    its derivative are defined, those of the Gauss-Newton matrix: a change dO of the outputs counts
    as dO^T D dO / N, with D the loss's second derivative. `ReducedJacobian` and `dense` multiply by
    the features' own derivative.

    Attributes:
        W: Linear weights, (n_out, m) with m = n_feat + 1.
        comm: The processes that the samples are divided over.
        converged: Whether W is the minimiser.
    """

    W: Tensor
    comm: Communicator
    converged: bool = True

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Rows of this process, and features."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of entries of the residual."""

    @property
    @abstractmethod
    def phi(self) -> float:
        """The value of Phi."""

    @property
    @abstractmethod
    def gradient(self) -> Tensor:
        """The derivative of min_W Phi with respect to the features, (n_rows, n_feat)."""

    @abstractmethod
    def push(self, dF: Tensor) -> Tall:
        """Differentiate the residual along a change of the features, (n_samples, n_feat)."""

    @abstractmethod
    def pull(self, M: Tall) -> Tensor:
        """Apply the transpose of `push`, (n_samples, n_feat)."""

    @abstractmethod
    def gram(self, dF: Tensor) -> Tensor:
        """Apply both, at less cost."""

    @abstractmethod
    def change(self, other: Inner) -> Tall:
        """Return the difference of the residual at other features from this one."""

    @abstractmethod
    def outer_terms(self, rows: Rows) -> tuple[Tensor, tuple[Pair, Pair]]:
        """Return the terms of the Gauss-Newton matrix in dF, for some samples of this process.

        H = sum_i (L_i dF_i)^T (L_i dF_i) + P+^T P+ - P-^T P-, with P+- = corrections(sums), and the
        two sums over all samples of p_i (N_i dF_i).

        Returns:
            L, (n_feat or fewer, n_feat) for all samples or (n, k, n_feat) for each; and the pairs
            p (n, k) and N (n, l, n_feat), None for a unit matrix.
        """

    @abstractmethod
    def corrections(self, plus: Tensor, minus: Tensor) -> tuple[Tensor, Tensor]:
        """Return P+ and P-, whose Gram matrices are added and subtracted, from the two sums.

        The sums are (k, l, n_theta), and the matrices (any, n_theta).
        """


class ReducedJacobian:
    """dR/dtheta of the reduced residual, an operator of shape (entries of R, n_theta).

    ``J @ v`` maps a vector to a `Tall` matrix, ``J.T @ M`` maps such a matrix to a vector. J is the
    derivative of the inner problem's solution times that of the features.
    """

    def __init__(self, dF: FeatureJacobian, inner: Inner) -> None:
        """Combine the derivative of the features with the inner problem's solution."""
        if inner.shape != dF.shape:
            raise ValueError(f"expected W for features {dF.shape}, got it for {inner.shape}")
        self._dF = dF
        self._inner = inner

    @property
    def shape(self) -> tuple[int, int]:
        """Entries of R, counted over the processes, and n_theta."""
        return self._inner.size, self._dF.n_theta

    @property
    def T(self) -> Transposed:
        """The transposed operator."""
        return Transposed(self)

    @property
    def gradient(self) -> Tensor:
        """The gradient of Phi_red, J^T R for least squares, (n_theta,)."""
        return self._dF.vjp(self._inner.gradient)

    def __matmul__(self, v: Tensor) -> Tall:
        """Multiply by a vector (n_theta,)."""
        return self._inner.push(self._dF.jvp(self._checked(v)))

    def rmatvec(self, M: Tall) -> Tensor:
        """Multiply the transpose by a matrix."""
        return self._dF.vjp(self._inner.pull(M))

    def gram(self, v: Tensor) -> Tensor:
        """Multiply J^T J by a vector (n_theta,), at less cost than ``J.T @ (J @ v)``."""
        return self._dF.vjp(self._inner.gram(self._dF.jvp(self._checked(v))))

    def _checked(self, v: Tensor) -> Tensor:
        if v.shape != (self._dF.n_theta,):
            raise ValueError(f"expected a vector ({self._dF.n_theta},), got {tuple(v.shape)}")
        return v


class Transposed:
    """The transpose of a `ReducedJacobian`."""

    def __init__(self, J: ReducedJacobian) -> None:
        """Keep the operator."""
        self._J = J

    @property
    def shape(self) -> tuple[int, int]:
        """The operator's shape, transposed."""
        n, m = self._J.shape
        return m, n

    @property
    def T(self) -> ReducedJacobian:
        """The operator itself."""
        return self._J

    def __matmul__(self, M: Tall) -> Tensor:
        """Multiply by a matrix."""
        return self._J.rmatvec(M)
