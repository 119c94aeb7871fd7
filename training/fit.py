"""The training of one network: a dataset and a configuration become features and W.

Inputs are centred, and divided so that each has the standard deviation ``inputs.scale``, while the
first weights have sqrt(2 / n_in): the features start nearly linear, and the trust region weighs a
change of the first layer by its effect on the features. Both matter more than any other setting. An
input that does not vary is only centred.

The caller's network may be any module, here of convolutions along y. For a surrogate file it also
needs the methods of `FeatureExtractor`.

>>> n_in, width = dataset.Y.shape[1], 8
>>> layers = torch.nn.Sequential(
...     torch.nn.Unflatten(1, (1, n_in)),
...     torch.nn.Conv1d(1, 3, kernel_size=3, padding=1),
...     torch.nn.Tanh(),
...     torch.nn.Flatten(),
...     torch.nn.Linear(3 * n_in, width),
...     torch.nn.Tanh(),
... ).double()
>>> result = fit(dataset, TrainConfig(network=Network(width=width)), network=layers)
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from surrogates.config import check
from surrogates.data import Dataset
from surrogates.data.split import check_classes
from surrogates.model.networks import FeatureExtractor

from . import beside, initial, methods
from .checkpoint import Checkpoint
from .communicator import Communicator
from .config import Derivatives, TrainConfig
from .data import Data
from .history import Record
from .inner.losses import CrossEntropy, LeastSquares, Loss
from .member import Member
from .outer.baselines import STOCHASTIC
from .outer.multilevel import Multilevel, Reason, State
from .scaling import groups_of, weights_of
from .slopes import Given, Used, given
from .unseen import jacobians, with_unseen

_INNER = 10_000  # largest number of entries of W; their Hessian has 0.8 GB


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """A trained surrogate: c = [features((y - y_shift) / y_scale), 1] W^T, in physical units.

    For classes these are the outputs whose softmax is trained (see `losses.CrossEntropy`).

    Attributes:
        features: The network with the best weights on the validation samples; the caller's module
            keeps its own class and methods.
        W: Its linear weights, (n_out, width + 1) float64, units of c.
        y_shift: Mean of the training inputs, (n_in,) float64, units of y.
        y_scale: Divides the centred inputs, (n_in,) float64, units of y.
        history: One record per iteration.
        reason: Why training stopped.
        patience: Patience of the training.
        watched: The score that selected the best weights, in words.
        kept: Whether the checkpoint holds the training's end.
        used: The derivatives that were trained on; None for values alone.
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
    used: Used | None = None

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
    comm: Communicator | None = None,
) -> FitResult:
    """Train a surrogate on a dataset's training samples, and keep the best weights on validation.

    Of adjoints, a training on values alone comes first, which is not interrupted (see `unseen`).

    For one seed, on one device with one version of torch, the result is the same bit for bit,
    whether or not training was interrupted.

    Args:
        dataset: Needs training and validation samples.
        config: Settings.
        network: A float64 module that maps scaled inputs (N, n_in) to features (N, width), each
            sample by itself. It replaces the network that ``config`` describes, of which only
            ``width`` and ``levels`` then count. It is copied; all its parameters are trained, from
            their values. More than one level needs a method ``refined``.
        start: Trained features to start from. Their weights are the first weights, theta_ref and
            W_ref, and the inputs are scaled as theirs. ``config`` must describe their network.
        loss: Loss whose mean is minimised (see `losses`), with unscaled targets; None for that of
            the dataset's task, least squares of scaled targets or cross-entropy.
        checkpoint: A file that is written every second, and when training ends or is interrupted.
            If it cannot be written, training continues, and tries again later.
        resume: Continue from ``checkpoint``. It must exist, and be of the same dataset, ``config``,
            ``network``, ``loss`` and ``start``. Of the network and the loss, the class and the
            parameters' names and shapes are checked; of ``start``, all numbers.
        on_iteration: Called after each iteration.
        stop: Called after each iteration; returns whether to end there.
        comm: The processes that the samples are divided over; None for this process alone. Each
            must get the same dataset, configuration and network.

    Raises:
        InputError: If the dataset has no training or validation samples, or values that are not
            finite or too large to be squared; if ``network`` is not as above, or overflows; if the
            checkpoint cannot be written, or read, or is of another run.
    """
    check(not resume or checkpoint is not None, "to resume, name the checkpoint to resume from")
    if dataset.info.adjoints and config.derivatives.weight != 0:
        values = dataclasses.replace(config, derivatives=Derivatives(weight=0.0))
        bare = fit(dataset, values, network=network, start=start, loss=loss, comm=comm)
        dataset = with_unseen(dataset, dataset, None, jacobians(bare, dataset.Y))
    run = _Run.of(dataset, config, network, start, loss, comm)
    if checkpoint is not None:
        run.keep(Path(checkpoint).absolute(), dataset, start)
    return run.finished(resume, on_iteration, stop)


@dataclass(kw_only=True)
class _Run:
    """One training.

    Attributes:
        config: Settings.
        network: The network with the first weights.
        data: The scaled samples.
        method: The multilevel method.
        checkpoint: The checkpoint, on process 0; None for none.
    """

    config: TrainConfig
    network: nn.Module
    data: Data
    method: Multilevel
    checkpoint: Checkpoint | None = None

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        config: TrainConfig,
        network: nn.Module | None,
        start: Member | None,
        loss: Loss | None,
        comm: Communicator | None,
    ) -> _Run:
        """Check the arguments of `fit`, and make the run."""
        comm = Communicator(config.device) if comm is None else comm
        _check(dataset, config, network, comm)
        loss = _loss(dataset) if loss is None else loss
        data = Data.of(
            _share(dataset, "train", comm),
            _share(dataset, "validation", comm),
            scale=config.inputs.scale,
            mix=config.mix,
            ordered=network is None and start is None and config.mix is None,
            inputs=None if start is None else (start.y_shift, start.y_scale),
            groups=groups_of(config.outputs.scaling, dataset.info.c_units),
            weights=weights_of(config.outputs.weights, dataset.info.c_names),
            dtype=torch.float64 if config.precision == "double" else torch.float32,
            loss=loss,
            slopes=_slopes(dataset, "train", config, comm),
            held_slopes=_slopes(dataset, "validation", config, comm),
            weight=config.derivatives.weight,
            comm=comm,
        )
        network = initial.network(network, start, config, dataset.Y.shape[1], data)
        n_linear = data.train.Y.shape[1] if config.network.linear else 0
        unknowns = data.train.C.shape[1] * (config.network.width + n_linear + 1)
        check(
            not loss.iterative or unknowns <= _INNER,
            f"W has {unknowns} entries, more than the {_INNER} of which a Hessian is formed; "
            "take a smaller network.width",
        )
        outer, warm_up = methods.methods(config, network, data)
        method = Multilevel(
            levels=config.network.levels,
            work_units=config.stopping.work_units,
            alpha1=config.regularisation.alpha1,
            alpha2=config.regularisation.alpha2,
            tolerance=config.stopping.tolerance,
            patience=config.stopping.patience or methods.patience(outer),
            method=outer,
            warm_up=warm_up,
            smooth=config.regularisation.penalty == "smooth",
            W_ref=None if start is None else data.seen(start.W),
        )
        return cls(config=config, network=network, data=data, method=method)

    def keep(self, path: Path, dataset: Dataset, start: Member | None) -> None:
        """Keep the training in a checkpoint."""
        if self.data.train.comm.rank == 0:
            loss = self.data.train.loss
            self.checkpoint = Checkpoint(path, dataset, self.config, self.network, loss, start)

    def finished(
        self,
        resume: bool,
        on_iteration: Callable[[Record], None] | None,
        stop: Callable[[], bool] | None,
    ) -> FitResult:
        """Train to the end, or until ``stop`` returns True."""
        comm = self.data.train.comm
        state = comm.on_root(lambda: self._opened(resume))
        if state is not None:
            state = state.to(comm.device)
        after = functools.partial(self._after, on_iteration)
        try:
            with _threads(self.config.threads):
                end = self.method.run(self.network, self.data, state=state, after=after, stop=stop)
        finally:
            kept = self.checkpoint is not None and self.checkpoint.flush()
        return self._result(end, kept)

    def _opened(self, resume: bool) -> State | None:
        return None if self.checkpoint is None else self.checkpoint.opened(resume)

    def _after(self, on_iteration: Callable[[Record], None] | None, state: State) -> None:
        if self.checkpoint is not None:
            self.checkpoint.update(state)
        if on_iteration is not None:
            on_iteration(state.records[-1])

    def _result(self, end: State, kept: bool) -> FitResult:
        best, reason, data = end.best, end.reason, self.data
        if reason is None or end.level + 1 < self.method.levels:
            reason = Reason.INTERRUPTED
        if best is None:
            raise RuntimeError("training ended without an iteration")
        network = self.method.network(self.network, best.level, best.theta)
        features, W = _whole(network, best.W.cpu(), data)
        return FitResult(
            features=features,
            W=W,
            y_shift=data.y_shift.cpu(),
            y_scale=data.y_scale.cpu(),
            history=end.records,
            reason=reason,
            patience=self.method.patience,
            watched=data.train.loss.watched,
            kept=kept,
            used=data.used,
        )


def _check(
    dataset: Dataset, config: TrainConfig, network: nn.Module | None, comm: Communicator
) -> None:
    """Refuse settings that cannot be trained here, or by these processes."""
    check(
        config.device == "cpu" or torch.cuda.is_available(),
        "there is no CUDA device here; use device=cpu",
    )
    check(
        network is not None or config.network.kind != "rbf",
        "the network rbf has no weights to train: `selection.choose` fits it",
    )
    check(
        comm.size == 1 or config.optimizer.name not in STOCHASTIC,
        f"the optimizer {config.optimizer.name} works in one process; got {comm.size}",
    )
    for name in ("train", "validation"):
        n = dataset.size(name)
        check(
            n >= comm.size, f"{comm.size} processes need at least as many {name} samples; got {n}"
        )


def _whole(network: nn.Module, W: Tensor, data: Data) -> tuple[FeatureExtractor, Tensor]:
    """Return features of all inputs, unmixed, and their linear weights from a trained network."""
    linear = isinstance(network, beside.WithInputs)
    inner: Any = network.network if linear else network
    if data.mixing is not None:
        inner = inner.mixed(data.mixing.cpu())
        W = beside.mixed(W, data.mixing.cpu()) if linear else W
    inner = beside.joined(inner) if linear else inner
    return cast(FeatureExtractor, inner.requires_grad_(False)), W


def _loss(dataset: Dataset) -> Loss:
    """Return the loss of the dataset's task."""
    if dataset.info.task == "classification":
        check_classes(dataset.info.c_names, dataset.part("train")[1])
        return CrossEntropy()
    return LeastSquares()


def _share(dataset: Dataset, name: str, comm: Communicator) -> tuple[Tensor, Tensor]:
    """Copy every k-th sample of a part for one of k processes: this shares any order evenly."""
    Y, C = dataset.part(name, comm.share())
    return torch.from_numpy(Y), torch.from_numpy(C)


def _slopes(dataset: Dataset, name: str, config: TrainConfig, comm: Communicator) -> Given | None:
    """Return the derivatives of this process's samples of a part; None for values alone."""
    if config.derivatives.weight == 0:
        return None
    found = given(dataset, dataset.rows_of(name)[comm.share()])
    check(
        found is None or dataset.info.task == "regression",
        "derivatives are for regression, and classes have none; set derivatives.weight=0",
    )
    return found


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """Let torch use n threads in this process, and restore their number at the end."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
