"""The training entry: a dataset and a configuration become features and linear weights."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import io
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.utils import parameters_to_vector

from surrogates import config as configuration
from surrogates.config import check, check_seed, unknown
from surrogates.data import Dataset
from surrogates.data.split import check_classes
from surrogates.errors import InputError
from surrogates.files import atomic, check_own, check_writable, check_zip, reading
from surrogates.model.forms import KERNELS
from surrogates.model.networks import ACTIVATIONS, MLP, AntisymmetricODE, FeatureExtractor, ResNet

from .data import Data, Mix
from .features import Features
from .history import Record
from .inner.losses import CrossEntropy, LeastSquares, Loss
from .outer.baselines import LBFGS, STOCHASTIC, JointGaussNewton
from .outer.dense import Structure, flops
from .outer.gauss_newton import GaussNewton
from .outer.kronecker import Kronecker
from .outer.multilevel import Best, Method, Multilevel, Reason, State
from .processes import Alone
from .scaling import WAYS, groups_of, weights_of
from .selection import beside

if TYPE_CHECKING:
    from .selection.regression import Member

OPTIMIZERS = ("gnvpro", "gn", "lbfgs", "adam", "sgd")
ANOVA = "anova_"
KERNEL_NAMES = (*KERNELS, *(ANOVA + name for name in KERNELS))
"""Of radial basis functions, and of products over the inputs."""

_log = logging.getLogger(__name__)

_CHECKPOINT_VERSION = 6

_MAY_GROW = ("work_units", "patience", "threads")  # settings that a resumed training may change
_INNER = 10_000  # a Hessian of 0.8 GB
_DENSE_FLOPS = 1e12  # of an iteration, about a minute on a core
_KRYLOV_FLOPS = 100  # of a vector, sample and parameter: the dense method's in the same time
_CHECKPOINT_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train.

    The defaults are meant for any observables; `DEFAULTS` has those for classes. They were chosen
    on convection-diffusion-reaction data (published and our own, two reaction laws), DC
    resistivity, and synthetic functions of 3 to 200 inputs, with and without noise, and with few
    samples. On these, errors hardly change with ``alpha1`` from 1e-8 to 1e-5: what keeps noisy data
    from being fitted too well is that the best weights on validation are kept. Larger values help
    some data and cost others their last digit.

    Attributes:
        optimizer: ``gnvpro``, or another to compare it with (see `baselines`): ``gn``, ``lbfgs``,
            ``adam`` or ``sgd``.
        learning_rate: Step size of ``adam`` and ``sgd``; 0 for the default, 0.01.
        method: Of ``gnvpro``, how a step is modelled. ``dense`` has the exact Gauss-Newton matrix,
            ``krylov`` has it on Krylov spaces, as in the paper. ``kronecker`` is L-BFGS that starts
            from the matrix in Kronecker products (see `kronecker`). ``auto`` is ``dense`` for least
            squares, unless an iteration costs too much, and else ``kronecker``.
        network: ``ode``, ``resnet`` or ``mlp``: `AntisymmetricODE`, `ResNet` or `MLP`; or ``rbf``,
            radial basis functions (see `kernel`), which `selection` fits and `fit` does not.
        kernel: Of ``rbf``: ``gaussian`` or ``matern52``, of distances; ``anova_gaussian`` or
            ``anova_matern52``, products over the inputs (`surrogates.model.radial.AnovaBasis`); or
            ``auto``, by held-out errors.
        trend: Degree of its polynomial trend, 0 to 2; -1 by held-out errors.
        activation: ``tanh``, ``softplus``, ``sigmoid`` or ``relu``.
        width: Number of the network's features.
        linear: Whether the inputs are further features, c = [F(y), y, 1] W^T (see `beside`).
        cells: Runge-Kutta cells, or layers, of the first level; each level doubles them.
        levels: Number of levels; 1 for ``mlp``, which cannot be refined.
        final_time: Final time of ``ode`` and ``resnet``.
        gamma: Damping of ``ode``.
        work_units: Work units of each level. An iteration costs ``width`` + 5 with the dense
            method, 2 + 2 ``krylov_rank`` on Krylov spaces, and 2 with Kronecker products, every
            tenth time 4.
        alpha1: Weight of ||theta - theta_ref||^2 / 2 on the first level; each level halves it. The
            reference is zero, or the weights that a training starts from.
        alpha2: Weight of ||W - W_ref||^2 / 2, for targets scaled to a mean square of one.
        penalty: What ``alpha1`` weighs: ``tikhonov``, or ``smooth``, where it is ||theta||^2 of the
            first layer alone, and for the other weights of ``ode`` and ``resnet`` their change in
            time (see `penalty.Penalty`).
        krylov_rank: Largest number of Krylov vectors of an iteration.
        krylov_tolerance: Relative residual at which Lanczos stops.
        scale: Standard deviation of the scaled inputs; see `fit`.
        whitening: Power of the principal components' variances that is taken out of the inputs, 0
            to 1 (see `data.Mix`; for the networks that ``network`` names).
        smoothing: Weight of the differences of neighbouring inputs' first weights, likewise.
        noise: Power of the inputs' noise that they are divided by, likewise, 0 to 1.
        outputs: Which observables share a scale (see `scaling`): ``unit``, those of one known
            unit; ``column``, none: each is scaled by its own spread; or ``common``, all.
        weights: What scaled observables are multiplied by, as ``name=2``; 1 for the others.
        patience: A level ends after as many iterations in which the best validation score (of
            regressions the mean norm of the scaled residual, of classes the error) has not fallen
            by 2 %; 0 for the default: 10 with the dense method, 50 with Kronecker products, else
            200.
        tolerance: A level ends when the gradient's norm falls below this times its first value.
        seed: Of the starting weights.
        threads: Threads that torch uses while training. More than one pays for tens of thousands
            of samples, and is slower by far for hundreds, or where other programs run as well.
        precision: ``double``, or ``single`` for the features and their derivatives; the linear
            weights and the steps are solved for in double precision all the same.
        device: ``cpu``, or ``cuda`` for a GPU.

    Raises:
        InputError: If a value is out of range.
    """

    optimizer: str = "gnvpro"
    learning_rate: float = 0.0
    method: str = "auto"
    network: str = "ode"
    kernel: str = "auto"
    trend: int = -1
    activation: str = "tanh"
    width: int = 8
    linear: bool = False
    cells: int = 2
    levels: int = 1
    final_time: float = 2.0
    gamma: float = 1e-4
    work_units: int = 1200
    alpha1: float = 1e-6
    alpha2: float = 1e-10
    penalty: str = "tikhonov"
    krylov_rank: int = 20
    krylov_tolerance: float = 1e-2
    scale: float = 0.1
    whitening: float = 0.0
    smoothing: float = 0.0
    noise: float = 0.0
    outputs: str = "unit"
    weights: tuple[str, ...] = ()
    patience: int = 0
    tolerance: float = 1e-8
    seed: int = 0
    threads: int = 1
    precision: str = "double"
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Check every range."""
        for name, known in {
            "optimizer": OPTIMIZERS,
            "method": ("auto", "dense", "krylov", "kronecker"),
            "network": ("ode", "resnet", "mlp", "rbf"),
            "kernel": ("auto", *KERNEL_NAMES),
            "activation": ACTIVATIONS,
            "penalty": ("tikhonov", "smooth"),
            "outputs": WAYS,
            "precision": ("double", "single"),
            "device": ("cpu", "cuda"),
        }.items():
            value = getattr(self, name)
            check(value in known, unknown(f"{name} {value!r}", value, known))
        for name in ("width", "cells", "levels", "krylov_rank", "threads"):
            value = getattr(self, name)
            check(value >= 1, f"{name} must be at least 1; got {value}")
        check(-1 <= self.trend <= 2, f"trend must be 0, 1, 2, or -1 for any; got {self.trend}")
        check(self.patience >= 0, f"patience must be at least 0; got {self.patience}")
        check(self.threads <= 1024, f"threads must be at most 1024; got {self.threads}")
        check(
            self.network != "mlp" or self.levels == 1,
            f"levels must be 1 for the network mlp, which cannot be refined; got {self.levels}",
        )
        check(
            self.network != "mlp" or self.penalty == "tikhonov",
            "penalty must be tikhonov for the network mlp, whose weights depend on no time",
        )
        check(
            self.levels <= 12 and self.cells * 2 ** (self.levels - 1) <= 4096,
            "cells and levels must leave the last level at most 4096 cells; "
            f"got {self.cells} cells and {self.levels} levels",
        )
        check(
            self.network != "rbf" or not self.linear,
            "linear is for networks: for the linear part of rbf, take trend=1",
        )
        least = 2 if self.optimizer in STOCHASTIC else 4
        if self.optimizer == "gnvpro" and self.method == "kronecker":
            least = Kronecker().least(self.width)
        elif self.optimizer == "gnvpro" and self.method != "krylov":
            least = GaussNewton(dense=True).least(self.width)
        check(
            self.work_units >= least,
            f"work_units must be at least {least}, for an iteration; got {self.work_units}",
        )
        for name in ("final_time", "scale"):
            value = getattr(self, name)
            check(0 < value <= 1e12, f"{name} must be positive and at most 1e12; got {value}")
        for name in ("whitening", "noise"):
            value = getattr(self, name)
            check(0 <= value <= 1, f"{name} must be 0 to 1; got {value}")
        for name in ("learning_rate", "gamma", "alpha1", "alpha2", "smoothing"):
            value = getattr(self, name)
            check(0 <= value <= 1e12, f"{name} must be 0 to 1e12; got {value}")
        for name in ("krylov_tolerance", "tolerance"):
            value = getattr(self, name)
            check(0 <= value < 1, f"{name} must be at least 0 and less than 1; got {value}")
        check_seed(self.seed)


DEFAULTS = {
    "regression": TrainConfig(),
    "classification": TrainConfig(alpha1=1e-3, alpha2=1e-3),
}
"""Settings for each task of a dataset. Classes want more regularisation, and that of the source:
where the features separate the training samples, a cross-entropy is least for W without limit. It
was chosen on Indian Pines, digits, and four small sets."""


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """A trained surrogate: c = [features((y - y_shift) / y_scale), 1] W^T, in physical units.

    For classes these are the outputs whose softmax is trained (see `losses.CrossEntropy`).

    Attributes:
        features: The network with the best weights on the validation samples; a module of the
            caller's is of its own class, and has only that class's methods.
        W: Its linear weights, (n_out, width + 1) float64, units of c.
        y_shift: Mean of the training inputs, (n_in,) float64, units of y.
        y_scale: What divides the centred inputs, (n_in,) float64, units of y.
        history: One record per iteration.
        reason: Why training stopped.
        patience: Of the training.
        watched: What told the best weights, in words.
        kept: Whether the checkpoint holds the training's end.
    """

    features: FeatureExtractor
    W: Tensor
    y_shift: Tensor
    y_scale: Tensor
    history: tuple[Record, ...]
    reason: Reason
    patience: int = 0
    watched: str = "loss"
    kept: bool = False

    @property
    def said(self) -> str:
        """The reason in words."""
        return self.reason.value.format(patience=self.patience, watched=self.watched)

    def predict(self, Y: Tensor) -> Tensor:
        """Map inputs (N, n_in), float64 in physical units, to outputs (N, n_out)."""
        with torch.no_grad():
            F = self.features.forward((Y - self.y_shift) / self.y_scale)
            return F @ self.W[:, :-1].T + self.W[:, -1]


def fit(
    dataset: Dataset,
    config: TrainConfig,
    *,
    network: nn.Module | None = None,
    start: Member | None = None,
    loss: Loss | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    on_iteration: Callable[[Record], None] | None = None,
    stop: Callable[[], bool] | None = None,
    over: Alone | None = None,
) -> FitResult:
    """Train a surrogate on a dataset's training samples, and keep the best on validation.

    Inputs are centred, and divided so that each has the standard deviation ``config.scale`` while
    the first weights have sqrt(2 / n_in): the features start nearly linear, and the trust region
    weighs a change of the first layer by its effect on the features. Both matter more than any
    other setting. An input that does not vary is only centred.

    For one seed, on one device with one version of torch, the result is the same bit for bit,
    whether or not training was interrupted.

    A network of the caller's may be any module, here of convolutions along y. For a surrogate file
    it needs the methods of `FeatureExtractor` as well.

    >>> n_in, width = dataset.Y.shape[1], 8
    >>> layers = torch.nn.Sequential(
    ...     torch.nn.Unflatten(1, (1, n_in)),
    ...     torch.nn.Conv1d(1, 3, kernel_size=3, padding=1),
    ...     torch.nn.Tanh(),
    ...     torch.nn.Flatten(),
    ...     torch.nn.Linear(3 * n_in, width),
    ...     torch.nn.Tanh(),
    ... ).double()
    >>> result = fit(dataset, TrainConfig(width=width), network=layers)

    Args:
        dataset: Needs training and validation samples.
        config: Settings.
        network: A float64 module that maps scaled inputs (N, n_in) to features (N, width), each
            sample by itself, in place of the one that ``config`` describes, of whose settings only
            ``width`` and ``levels`` count then. It is copied; all its parameters are trained, from
            the values that they have. More than one level needs a method ``refined``.
        start: What a training starts from, in place of a network that is described or the caller's:
            its weights are the first ones, theta_ref and W_ref, and its inputs are scaled as they
            were. ``config`` must describe its network.
        loss: What to minimise the mean of (see `losses`), with the targets as they are; None for
            that of the dataset's task, least squares of scaled targets or cross-entropy.
        checkpoint: A file that is written every second, and when training ends or is interrupted.
            Where it cannot be, training goes on, and it is tried again.
        resume: Go on from ``checkpoint``; it must exist, and be of this dataset and ``config``, and
            of ``network`` and ``loss``: of these the class, and the parameters' names and shapes,
            are checked; of ``start`` all numbers.
        on_iteration: Called after each iteration.
        stop: Asked after each iteration whether to end there.
        over: The processes that the samples are divided over; None for this one alone. Each must
            be given the same dataset, configuration and network.

    Raises:
        InputError: If the dataset has no training or validation samples, or values that are not
            finite or too large to be squared; if ``network`` is not as above, or overflows; if the
            checkpoint cannot be written, or read, or is of another run.
    """
    over = Alone(config.device) if over is None else over
    check(
        config.device == "cpu" or torch.cuda.is_available(),
        "there is no CUDA device here; use device=cpu",
    )
    check(
        network is not None or config.network != "rbf",
        "the network rbf has no weights to train: `selection.choose` fits it",
    )
    check(not resume or checkpoint is not None, "to resume, name the checkpoint to resume from")
    check(
        over.size == 1 or config.optimizer not in STOCHASTIC,
        f"the optimizer {config.optimizer} works in one process; got {over.size}",
    )
    n_in = dataset.Y.shape[1]
    for name in ("train", "validation"):
        n = dataset.size(name)
        check(
            n >= over.size, f"{over.size} processes need at least as many {name} samples; got {n}"
        )
    if loss is None:
        loss = _loss(dataset)
    data = Data.of(
        _share(dataset, "train", over),
        _share(dataset, "validation", over),
        scale=config.scale,
        mix=mix_of(config),
        ordered=network is None and start is None and mix_of(config) is None,
        inputs=None if start is None else (start.y_shift, start.y_scale),
        groups=groups_of(config.outputs, dataset.info.c_units),
        weights=weights_of(config.weights, dataset.info.c_names),
        dtype=torch.float64 if config.precision == "double" else torch.float32,
        loss=loss,
        over=over,
    )
    network = _first(network, start, config, n_in, data)
    n_linear = data.train.Y.shape[1] if config.linear else 0
    unknowns = data.train.C.shape[1] * (config.width + n_linear + 1)
    check(
        not loss.iterative or unknowns <= _INNER,
        f"W has {unknowns} entries, more than the {_INNER} of which a Hessian is formed; "
        "take a smaller width",
    )
    outer, warm_up = _methods(config, network, data)
    method = Multilevel(
        levels=config.levels,
        work_units=config.work_units,
        alpha1=config.alpha1,
        alpha2=config.alpha2,
        tolerance=config.tolerance,
        patience=config.patience or _patience(outer),
        method=outer,
        warm_up=warm_up,
        smooth=config.penalty == "smooth",
        W_ref=None if start is None else data.seen(start.W),
    )
    store: _Checkpoint | None = None
    if checkpoint is not None and over.rank == 0:
        store = _Checkpoint(Path(checkpoint).absolute(), dataset, config, network, loss, start)
    state = over.on_root(lambda: store.opened(resume) if store is not None else None)
    if state is not None:
        state = state.to(over.device)

    def after(state: State) -> None:
        if store is not None:
            store.update(state)
        if on_iteration is not None:
            on_iteration(state.records[-1])

    try:
        with _threads(config.threads):
            end = method.run(network, data, state=state, after=after, stop=stop)
    finally:
        kept = store is not None and store.flush()
    best, reason = end.best, end.reason
    if reason is None or end.level + 1 < config.levels:
        reason = Reason.INTERRUPTED
    if best is None:
        raise RuntimeError("training ended without an iteration")
    features, W = _whole(method.network(network, best.level, best.theta), best.W.cpu(), data)
    return FitResult(
        features=features,
        W=W,
        y_shift=data.y_shift.cpu(),
        y_scale=data.y_scale.cpu(),
        history=end.records,
        reason=reason,
        patience=method.patience,
        watched=loss.watched,
        kept=kept,
    )


def _whole(network: nn.Module, W: Tensor, data: Data) -> tuple[FeatureExtractor, Tensor]:
    """Return features of all inputs, and their linear weights, of a network that training sees."""
    linear = isinstance(network, beside.WithInputs)
    inner: Any = network.network if linear else network
    if data.mixing is not None:
        inner = inner.mixed(data.mixing.cpu())
        W = beside.mixed(W, data.mixing.cpu()) if linear else W
    inner = beside.joined(inner) if linear else inner
    return cast(FeatureExtractor, inner.requires_grad_(False)), W


def is_finished(path: str | os.PathLike[str]) -> bool:
    """Tell whether a checkpoint is of a training that has come to its end.

    Raises:
        InputError: If it is damaged or no checkpoint.
    """
    content = _content(Path(path))
    levels = configuration.from_toml(TrainConfig, content["config"]).levels
    return content["reason"] is not None and content["level"] + 1 == levels


def _content(path: Path) -> dict[str, Any]:
    with reading(path, "checkpoint"), open(path, "rb") as file:
        check_own(path, file)
        check_zip(path, file)
        file.seek(0)
        content = torch.load(file, map_location="cpu", weights_only=True)
        if not isinstance(content, dict) or content.get("version") != _CHECKPOINT_VERSION:
            raise InputError(f"{path} is not a checkpoint of this version of the package")
    return content


def _loss(dataset: Dataset) -> Loss:
    """Give the loss of the dataset's task."""
    if dataset.info.task == "classification":
        check_classes(dataset.info.c_names, dataset.part("train")[1])
        return CrossEntropy()
    return LeastSquares()


def mix_of(config: TrainConfig) -> Mix | None:
    """Say how a configuration mixes the inputs."""
    mix = Mix(whitening=config.whitening, smoothing=config.smoothing, noise=config.noise)
    return None if mix == Mix() else mix


def settings_of(network: object) -> dict[str, Any]:
    """Return the settings that describe features; none where they are of no network."""
    network, linear = beside.parted(network)
    if not isinstance(network, AntisymmetricODE | ResNet | MLP):
        return {}
    sizes = {"width": network.width, "activation": network.activation, "linear": linear}
    if isinstance(network, MLP):
        return {"network": "mlp", "cells": network.n_layers, **sizes}
    sizes["final_time"] = network.final_time
    if isinstance(network, ResNet):
        return {"network": "resnet", "cells": network.n_layers, **sizes}
    return {"network": "ode", "cells": network.n_cells, "gamma": network.gamma, **sizes}


def described(config: TrainConfig, n_in: int) -> nn.Module:
    """Build the network of a configuration, without a linear part."""
    sizes = (n_in, config.width, config.cells)
    generator = torch.Generator().manual_seed(config.seed)
    activation = config.activation
    if config.network == "mlp":
        return MLP(*sizes, activation=activation, generator=generator)
    if config.network == "resnet":
        return ResNet(*sizes, config.final_time, activation=activation, generator=generator)
    return AntisymmetricODE(
        *sizes, config.final_time, config.gamma, activation=activation, generator=generator
    )


def _first(
    network: nn.Module | None, start: Member | None, config: TrainConfig, n_in: int, data: Data
) -> nn.Module:
    """Return the network with the first weights."""
    if start is not None:
        return _started(start, config, n_in)
    if network is not None:
        return _checked(network, config, n_in)
    network = described(config, n_in if data.mixing is None else len(data.mixing))
    return beside.WithInputs(network) if config.linear else network


def _started(start: Member, config: TrainConfig, n_in: int) -> nn.Module:
    """Return the network that a training starts from."""
    check(
        mix_of(config) is None,
        "whitening, smoothing and noise are for a network that starts anew: one that starts from "
        "weights keeps their inputs",
    )
    check(
        start.features.n_in == n_in,
        f"the network to start from takes {start.features.n_in} inputs; the dataset has {n_in}",
    )
    for name, value in settings_of(start.features).items():
        asked = getattr(config, name)
        check(asked == value, f"the network to start from has {name} {value}; got {asked}")
    features, linear = beside.parted(start.features)
    network = cast(nn.Module, features)
    return beside.WithInputs(network) if linear else network


def _digest(start: Member) -> str:
    """Return a checksum of the numbers that a training starts from."""
    theta = parameters_to_vector(cast(nn.Module, start.features).parameters()).detach()
    numbers = torch.cat([theta, start.W.reshape(-1), start.y_shift, start.y_scale])
    return hashlib.sha256(numbers.numpy().tobytes()).hexdigest()


def _sizes(network: nn.Module) -> str:
    """Name a network's class, and its parameters and their shapes."""
    sizes = (f"{name} {tuple(p.shape)}" for name, p in network.named_parameters())
    return f"{type(network).__name__} with {', '.join(sizes)}"


def _checked(network: nn.Module, config: TrainConfig, n_in: int) -> nn.Module:
    """Copy a network of the caller's, after a trial."""
    check(
        mix_of(config) is None and config.penalty == "tikhonov" and not config.linear,
        "whitening, smoothing, noise, linear and penalty=smooth are for the networks that a "
        "configuration names, not for one of your own",
    )
    network = copy.deepcopy(network)
    dtypes = {parameter.dtype for parameter in network.parameters()}
    check(
        dtypes == {torch.float64},
        "the network must have parameters, all float64 (network.double()); "
        f"it has {', '.join(sorted(str(dtype) for dtype in dtypes)) or 'none'}",
    )
    for module in network.modules():
        check(
            not (module.training and isinstance(module, _BatchNorm | _DropoutNd)),
            f"the network has a {type(module).__name__} in training mode, where the features of a "
            "sample depend on the other samples or on chance; call network.eval() first",
        )
    check(
        config.levels == 1 or hasattr(network, "refined"),
        f"levels must be 1 for a network without a method refined; got {config.levels}",
    )
    rows = torch.linspace(-config.scale, config.scale, 2 * n_in, dtype=torch.float64)
    try:
        with torch.no_grad():
            F = network(rows.view(2, n_in))
            alone = network(rows.view(2, n_in)[:1])
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise InputError(f"the network must take inputs (N, {n_in}): {error}") from error
    expected = (2, config.width)
    check(
        isinstance(F, Tensor) and F.shape == expected and F.dtype == torch.float64,
        f"the network must map inputs (2, {n_in}) to float64 features {expected}, with the width "
        f"of the configuration; got {(*F.shape,) if isinstance(F, Tensor) else type(F).__name__}",
    )
    check(bool(torch.isfinite(F).all()), "the network's features are not finite")
    check(
        torch.allclose(F[:1], alone, rtol=1e-8, atol=1e-12),
        "the network's features of a sample depend on the other samples or on chance",
    )
    return network


def _methods(config: TrainConfig, network: nn.Module, data: Data) -> tuple[Method, Method]:
    """Give the outer method, and that of the first iterations."""
    limits: dict[str, Any] = {"rank": config.krylov_rank, "tolerance": config.krylov_tolerance}
    method: Method
    if config.optimizer == "gnvpro":
        chosen = _model(config, network, data) if config.method == "auto" else config.method
        if chosen == "dense":
            return GaussNewton(dense=True), LBFGS()
        method = Kronecker() if chosen == "kronecker" else GaussNewton(**limits)
    elif config.optimizer == "gn":
        method = JointGaussNewton(**limits)
    elif config.optimizer == "lbfgs":
        method = LBFGS()
    else:
        default = STOCHASTIC[config.optimizer]
        rate = config.learning_rate or default.learning_rate
        method = dataclasses.replace(default, learning_rate=rate, seed=config.seed)
    return method, method


def _patience(method: Method) -> int:
    """Return the default patience, in iterations."""
    if isinstance(method, Kronecker):
        return 50
    return 10 if isinstance(method, GaussNewton) and method.dense else 200


def _model(config: TrainConfig, network: nn.Module, data: Data) -> str:
    """Choose the model of a step: dense for least squares, unless it costs too much."""
    if data.train.loss.iterative:
        return "kronecker"
    theta = parameters_to_vector(network.parameters()).detach()
    n_samples, n_out = data.train.C.shape
    structure = Structure(Features(network, data.train.Y[:1].cpu()))
    finest = 2 ** (config.levels - 1)
    size = len(structure.coordinates(theta)) * finest
    others = structure.others * finest
    krylov: float = _KRYLOV_FLOPS * config.krylov_rank * size * n_samples
    cost = flops(size, others, n_samples, config.width, n_out)
    # A dense iteration gains far more than one of a Krylov space.
    return "dense" if cost <= max(_DENSE_FLOPS, 3.0 * krylov) else "kronecker"


def _share(dataset: Dataset, name: str, over: Alone) -> tuple[Tensor, Tensor]:
    """Copy this process's samples of a part: every so many, so that any order is shared alike."""
    Y, C = dataset.part(name, over.share())
    return torch.from_numpy(Y), torch.from_numpy(C)


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """Let torch use n threads; the number is the process's, and is put back."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Checkpoint:
    """The file that a run can be resumed from.

    It holds the whole history, so that to write it each iteration would cost more than training.
    """

    def __init__(
        self,
        path: Path,
        dataset: Dataset,
        config: TrainConfig,
        network: nn.Module,
        loss: Loss,
        start: Member | None = None,
    ) -> None:
        self._path = path
        self._digest = dataset.digest
        self._config = configuration.to_toml(config)
        self._work_units = config.work_units
        self._network = _sizes(network)
        self._loss = type(loss).__name__
        self._start = "" if start is None else _digest(start)
        self._state: State | None = None
        self._failed = False
        self._due = time.monotonic() + _CHECKPOINT_SECONDS

    def update(self, state: State) -> None:
        """Take a newer state, and write it if the last one written is old."""
        self._state = state
        if time.monotonic() >= self._due:
            self.flush()

    def flush(self) -> bool:
        """Write the newest state, whole or not at all, unless it has been written.

        A disk that is full, or fails, is warned of once: a training is worth more than a checkpoint
        of it. What was written before is kept.

        Returns:
            Whether the file holds the newest state.
        """
        if self._state is None:
            return True
        try:
            self._write(self._state)
        except (OSError, InputError) as error:
            if not self._failed:
                _log.warning("%s; the training goes on, and tries it again", error)
            self._failed = True
        else:
            self._state = None
        self._due = time.monotonic() + _CHECKPOINT_SECONDS
        return self._state is None

    def _write(self, state: State) -> None:
        content = {
            "version": _CHECKPOINT_VERSION,
            "digest": self._digest,
            "config": self._config,
            "network": self._network,
            "loss": self._loss,
            "from": self._start,
            **{f.name: getattr(state, f.name) for f in dataclasses.fields(state)},
            "reason": state.reason.name if state.reason else None,
            "best": dataclasses.asdict(state.best) if state.best else None,
            "records": [dataclasses.asdict(record) for record in state.records],
        }
        buffer = io.BytesIO()  # torch reports a full disk in words of its own
        torch.save(content, buffer)
        with atomic(self._path) as beside:
            beside.write_bytes(buffer.getvalue())

    def opened(self, resume: bool) -> State | None:
        """Check that it can be written, and read the state to resume from."""
        check_writable(self._path)
        return self.read() if resume else None

    def read(self) -> State:
        """Read the state of the same run.

        Raises:
            InputError: If there is none, or it is damaged, or of another run, or another user's.
        """
        if not self._path.is_file():
            raise InputError(f"there is no checkpoint {self._path} to resume from")
        content = _content(self._path)
        if content["digest"] != self._digest:
            raise InputError(
                f"{self._path} is of another dataset: its digest is {content['digest'][:12]} "
                f"there and {self._digest[:12]} here"
            )
        before = configuration.from_toml(TrainConfig, content["config"])  # with newer settings too
        differences = configuration.differences(configuration.to_toml(before), self._config)
        differences = [text for text in differences if text.split()[0] not in _MAY_GROW]
        if differences:
            raise InputError(f"{self._path} is of another configuration: {differences[0]}")
        if content["network"] != self._network:
            raise InputError(
                f"{self._path} is of another network: {content['network']} there, "
                f"{self._network} here"
            )
        if content["loss"] != self._loss:
            raise InputError(
                f"{self._path} is of another loss: {content['loss']} there, {self._loss} here"
            )
        there, here = (text[:12] or "drawn" for text in (content.get("from", ""), self._start))
        if there != here:
            raise InputError(
                f"{self._path} started from other weights: {there} there and {here} here"
            )
        values = {f.name: content[f.name] for f in dataclasses.fields(State)}
        values["reason"] = Reason[values["reason"]] if values["reason"] else None
        if values["reason"] is Reason.WORK_UNITS and before.work_units < self._work_units:
            values["reason"] = None
        values["best"] = Best(**values["best"]) if values["best"] else None
        values["records"] = tuple(Record(**record) for record in values["records"])
        return State(**values)
