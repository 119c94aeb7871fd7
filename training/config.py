"""The settings of a training, their ranges, and those of files that older releases wrote.

Importing it imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from surrogates.config import check, check_seed, from_table, unknown
from surrogates.model.kinds import ACTIVATIONS, KERNELS

from .known import METHODS, OPTIMIZERS, WAYS, least

if TYPE_CHECKING:
    from .data import Mix

NETWORKS = ("ode", "resnet", "mlp", "rbf")
ANOVA = "anova_"
KERNEL_NAMES = (*KERNELS, *(ANOVA + name for name in KERNELS))
"""Kernels: radial basis functions, and products over the inputs."""


def _check_known(key: str, value: str, known: tuple[str, ...]) -> None:
    check(value in known, unknown(f"{key} {value!r}", value, known))


def _check_count(key: str, value: int) -> None:
    check(value >= 1, f"{key} must be at least 1; got {value}")


def _check_positive(key: str, value: float) -> None:
    check(0 < value <= 1e12, f"{key} must be positive and at most 1e12; got {value}")


def _check_weight(key: str, value: float) -> None:
    check(0 <= value <= 1e12, f"{key} must be 0 to 1e12; got {value}")


def _check_power(key: str, value: float) -> None:
    check(0 <= value <= 1, f"{key} must be 0 to 1; got {value}")


def _check_tolerance(key: str, value: float) -> None:
    check(0 <= value < 1, f"{key} must be at least 0 and less than 1; got {value}")


@dataclass(frozen=True, kw_only=True)
class Network:
    """The features.

    Attributes:
        kind: ``ode``, ``resnet``, ``mlp`` or ``rbf``. The first three are the networks
            `AntisymmetricODE`, `ResNet` and `MLP`. ``rbf`` are radial basis functions
            (`selection.kernel`), which have no weights to train: `selection` fits them.
        activation: Activation: ``tanh``, ``softplus``, ``sigmoid`` or ``relu``.
        width: Number of the network's features.
        linear: Whether the inputs are features too. Then c = [F(y), y, 1] W^T (see
            `selection.beside`).
        cells: Runge-Kutta cells, or layers, of the first level. Each level doubles them.
        levels: Number of levels. It is 1 for ``mlp``, which cannot be refined.
        final_time: Final time of ``ode`` and ``resnet``.
        gamma: Damping of ``ode``.
        kernel: Kernel of ``rbf``. ``gaussian`` and ``matern52`` are functions of the distance;
            ``anova_gaussian`` and ``anova_matern52`` are products over the inputs
            (`surrogates.model.radial.AnovaBasis`). None takes the one of least held-out error.
        trend: Degree of the polynomial trend of ``rbf``, 0 to 2. None takes the degree of least
            held-out error.
    """

    kind: str = "ode"
    activation: str = "tanh"
    width: int = 8
    linear: bool = False
    cells: int = 2
    levels: int = 1
    final_time: float = 2.0
    gamma: float = 1e-4
    kernel: str | None = None
    trend: int | None = None

    def __post_init__(self) -> None:
        """Check every range."""
        _check_known("network.kind", self.kind, NETWORKS)
        _check_known("network.activation", self.activation, ACTIVATIONS)
        if self.kernel is not None:
            _check_known("network.kernel", self.kernel, KERNEL_NAMES)
        for name in ("width", "cells", "levels"):
            _check_count(f"network.{name}", getattr(self, name))
        _check_positive("network.final_time", self.final_time)
        _check_weight("network.gamma", self.gamma)
        check(
            self.trend is None or 0 <= self.trend <= 2,
            f"network.trend must be 0, 1 or 2, or auto; got {self.trend}",
        )
        check(
            self.kind != "mlp" or self.levels == 1,
            f"network.levels must be 1 for an mlp, which cannot be refined; got {self.levels}",
        )
        check(
            self.levels <= 12 and self.cells * 2 ** (self.levels - 1) <= 4096,
            "network.cells and network.levels must leave the last level at most 4096 cells; "
            f"got {self.cells} cells and {self.levels} levels",
        )
        check(
            self.kind != "rbf" or not self.linear,
            "network.linear is for networks: for the linear part of rbf, take network.trend=1",
        )


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """The method that finds the weights.

    Attributes:
        name: ``gnvpro``, ``gn``, ``lbfgs``, ``adam`` or ``sgd``. The last four are for comparison
            (see `outer.baselines`).
        method: How ``gnvpro`` models a step. ``dense`` uses the exact Gauss-Newton matrix,
            ``krylov`` projects it to Krylov spaces, as in the paper. ``kronecker`` is L-BFGS that
            starts from the matrix in Kronecker products (see `outer.kronecker`). None is ``dense``
            for least squares, unless an iteration costs too much, and else ``kronecker``.
        learning_rate: Step size of ``adam`` and ``sgd``. None is 0.01.
        krylov_rank: Largest number of Krylov vectors of an iteration.
        krylov_tolerance: Relative residual at which Lanczos stops.
    """

    name: str = "gnvpro"
    method: str | None = None
    learning_rate: float | None = None
    krylov_rank: int = 20
    krylov_tolerance: float = 1e-2

    def __post_init__(self) -> None:
        """Check every range."""
        _check_known("optimizer.name", self.name, OPTIMIZERS)
        if self.method is not None:
            _check_known("optimizer.method", self.method, METHODS)
        if self.learning_rate is not None:
            _check_positive("optimizer.learning_rate", self.learning_rate)
        _check_count("optimizer.krylov_rank", self.krylov_rank)
        _check_tolerance("optimizer.krylov_tolerance", self.krylov_tolerance)

    def least(self, width: int) -> int:
        """Return the work units of the cheapest iteration of a network of this width."""
        return least(self.name, self.method, width)


@dataclass(frozen=True, kw_only=True)
class Regularisation:
    """The weights of the penalties.

    Attributes:
        alpha1: Weight of ||theta - theta_ref||^2 / 2. Each level halves it. The reference is zero,
            or the weights that a training starts from.
        alpha2: Weight of ||W - W_ref||^2 / 2. The targets are scaled to a mean square of one.
        penalty: Penalty on theta: ``tikhonov`` or ``smooth``. For ``smooth`` it is ||theta||^2 of
            the first layer, and for the other weights of ``ode`` and ``resnet`` their change in
            time (see `outer.penalty.Penalty`).
        smoothing: Weight of the differences of neighbouring inputs' weights. These are weights of
            the first layer (see `data.Mix`).
    """

    alpha1: float = 1e-6
    alpha2: float = 1e-10
    penalty: str = "tikhonov"
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Check every range."""
        _check_known("regularisation.penalty", self.penalty, ("tikhonov", "smooth"))
        for name in ("alpha1", "alpha2", "smoothing"):
            _check_weight(f"regularisation.{name}", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The scaling of the inputs.

    Attributes:
        scale: Standard deviation of the scaled inputs. `fit.fit` says why it matters.
        whitening: Power of the principal components' variances that scales them, from 0 for not at
            all to 1 for equal variances (see `data.Mix`).
        noise: Power of the inputs' noise that divides them, 0 to 1. See `data.Mix`.
    """

    scale: float = 0.1
    whitening: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        """Check every range."""
        _check_positive("inputs.scale", self.scale)
        _check_power("inputs.whitening", self.whitening)
        _check_power("inputs.noise", self.noise)


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """The scaling of the observables.

    Attributes:
        scaling: Which observables share a scale: ``unit``, ``column`` or ``common``. With ``unit``,
            those of one known unit do; with ``column``, none; with ``common``, all (see
            `scaling`).
        weights: Factors of scaled observables, as ``name=2``. The others have 1.
    """

    scaling: str = "unit"
    weights: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check every range."""
        _check_known("outputs.scaling", self.scaling, WAYS)


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """The end of a level.

    Attributes:
        work_units: Work units of each level. An iteration costs ``network.width`` + 5 with the
            dense method, 2 + 2 ``optimizer.krylov_rank`` on Krylov spaces, and 2 with Kronecker
            products, every tenth time 4.
        patience: Iterations without progress on validation that end a level. Progress is a fall of
            the best score by 2 %; the score is the mean norm of the scaled residual, or the error
            of classes. None is 10 with the dense method, 50 with Kronecker products, and else 200.
        tolerance: Fall of the gradient's norm, relative to its first value, that ends a level.
    """

    work_units: int = 1200
    patience: int | None = None
    tolerance: float = 1e-8

    def __post_init__(self) -> None:
        """Check every range."""
        check(
            self.work_units >= 2,
            f"stopping.work_units must be at least 2, for an iteration; got {self.work_units}",
        )
        if self.patience is not None:
            _check_count("stopping.patience", self.patience)
        _check_tolerance("stopping.tolerance", self.tolerance)


@dataclass(frozen=True, kw_only=True)
class Derivatives:
    """The use of the dataset's derivatives dc/dy.

    Attributes:
        weight: Weight omega of the derivatives' squared errors beside those of the values, both in
            standardised units (see `slopes`). 0 uses values alone. None chooses it from the data.
    """

    weight: float | None = None

    def __post_init__(self) -> None:
        """Check the range."""
        if self.weight is not None:
            _check_weight("derivatives.weight", self.weight)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train.

    The defaults are meant for any observables; `DEFAULTS` has those for classes. They were chosen
    on convection-diffusion-reaction data (published and our own, two reaction laws), DC
    resistivity, and synthetic functions of 3 to 200 inputs, with and without noise, and with few
    samples. On these, errors hardly change with ``alpha1`` from 1e-8 to 1e-5. Noisy data are not
    fitted too well, because the weights that are best on validation are kept. Larger values help
    some data and cost others their last digit.

    A field that is None is chosen from the data or by the method; in TOML it is ``"auto"``.

    Attributes:
        network: The features.
        optimizer: The method that finds the weights.
        regularisation: The weights of the penalties.
        inputs: The scaling of the inputs.
        outputs: The scaling of the observables.
        stopping: The end of a level.
        derivatives: The use of the dataset's derivatives.
        seed: Seed of the starting weights.
        threads: Threads that torch uses while training. More than one pays for tens of thousands
            of samples, and is far slower for hundreds, or if other programs run too.
        precision: Precision of the features: ``double`` or ``single``. The linear weights and the
            steps are always solved for in double precision.
        device: Device: ``cpu``, or ``cuda`` for a GPU.

    Raises:
        InputError: If a value is out of range.
    """

    MOVED: ClassVar[Mapping[str, str]] = {
        "optimizer": "optimizer.name",
        "learning_rate": "optimizer.learning_rate",
        "method": "optimizer.method",
        "network": "network.kind",
        "kernel": "network.kernel",
        "trend": "network.trend",
        "activation": "network.activation",
        "width": "network.width",
        "linear": "network.linear",
        "cells": "network.cells",
        "levels": "network.levels",
        "final_time": "network.final_time",
        "gamma": "network.gamma",
        "work_units": "stopping.work_units",
        "alpha1": "regularisation.alpha1",
        "alpha2": "regularisation.alpha2",
        "penalty": "regularisation.penalty",
        "krylov_rank": "optimizer.krylov_rank",
        "krylov_tolerance": "optimizer.krylov_tolerance",
        "scale": "inputs.scale",
        "whitening": "inputs.whitening",
        "smoothing": "regularisation.smoothing",
        "noise": "inputs.noise",
        "outputs": "outputs.scaling",
        "weights": "outputs.weights",
        "patience": "stopping.patience",
        "tolerance": "stopping.tolerance",
    }
    """Today's keys by the keys of releases without tables."""

    network: Network = Network()
    optimizer: Optimizer = Optimizer()
    regularisation: Regularisation = Regularisation()
    inputs: Inputs = Inputs()
    outputs: Outputs = Outputs()
    stopping: Stopping = Stopping()
    derivatives: Derivatives = Derivatives()
    seed: int = 0
    threads: int = 1
    precision: str = "double"
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Check every range, and settings that exclude each other."""
        _check_known("precision", self.precision, ("double", "single"))
        _check_known("device", self.device, ("cpu", "cuda"))
        _check_count("threads", self.threads)
        check(self.threads <= 1024, f"threads must be at most 1024; got {self.threads}")
        check(
            self.network.kind != "mlp" or self.regularisation.penalty == "tikhonov",
            "regularisation.penalty must be tikhonov for an mlp, whose weights depend on no time",
        )
        least = self.optimizer.least(self.network.width)
        check(
            self.stopping.work_units >= least,
            f"stopping.work_units must be at least {least}, for an iteration; "
            f"got {self.stopping.work_units}",
        )
        check_seed(self.seed)

    @property
    def mix(self) -> Mix | None:
        """How the inputs are mixed; None where they are not."""
        from .data import Mix  # which imports torch: settings alone need none

        mix = Mix(
            whitening=self.inputs.whitening,
            smoothing=self.regularisation.smoothing,
            noise=self.inputs.noise,
        )
        return None if mix == Mix() else mix


DEFAULTS = {
    "regression": TrainConfig(),
    "classification": TrainConfig(regularisation=Regularisation(alpha1=1e-3, alpha2=1e-3)),
}
"""Default settings for each task of a dataset. Classes need more regularisation, and the paper's
penalty: if the features separate the training samples, the cross-entropy falls as W grows without
limit. These weights were chosen on Indian Pines, digits, and four small sets."""

_CHOSEN = {"learning_rate": 0, "trend": -1, "patience": 0}
"""The values that meant "chosen" in releases without tables."""


def stored(table: Mapping[str, Any]) -> TrainConfig:
    """Return the configuration in a file, also of a release without tables.

    Args:
        table: Settings as a checkpoint or the metadata of a surrogate file has them.

    Raises:
        InputError: If a key is not known, or a value is out of range.
    """
    if any(isinstance(value, Mapping) for value in table.values()):
        return from_table(TrainConfig, table)
    nested: dict[str, Any] = {}
    for key, value in table.items():
        name, _, inner = TrainConfig.MOVED.get(key, key).partition(".")
        if not inner:
            nested[name] = value
        else:
            chosen = key in _CHOSEN and value == _CHOSEN[key]
            nested.setdefault(name, {})[inner] = None if chosen else value
    return from_table(TrainConfig, nested)
