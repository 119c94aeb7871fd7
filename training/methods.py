"""The outer method of a training: the given one, or one chosen by the training's sizes."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import nn
from torch.nn.utils import parameters_to_vector

from .config import TrainConfig
from .data import Data
from .features import Features
from .outer.baselines import STOCHASTIC, JointGaussNewton
from .outer.dense import Structure, flops
from .outer.gauss_newton import GaussNewton
from .outer.kronecker import Kronecker
from .outer.lbfgs import LBFGS
from .outer.multilevel import Method

_DENSE_FLOPS = 1e12  # of an iteration, about a minute on a core
_KRYLOV_FLOPS = 100  # per vector, sample and parameter; counted at the dense method's speed


def methods(config: TrainConfig, network: nn.Module, data: Data) -> tuple[Method, Method]:
    """Return the outer method, and the method of the first iterations.

    Args:
        config: The settings.
        network: The network of the first level.
        data: The scaled samples.
    """
    asked = config.optimizer
    limits: dict[str, Any] = {"rank": asked.krylov_rank, "tolerance": asked.krylov_tolerance}
    method: Method
    if asked.name == "gnvpro":
        chosen = asked.method or _model(config, network, data)
        if chosen == "dense":
            return GaussNewton(dense=True), LBFGS()
        method = Kronecker() if chosen == "kronecker" else GaussNewton(**limits)
    elif asked.name == "gn":
        method = JointGaussNewton(**limits)
    elif asked.name == "lbfgs":
        method = LBFGS()
    else:
        default = STOCHASTIC[asked.name]
        rate = asked.learning_rate or default.learning_rate
        method = dataclasses.replace(default, learning_rate=rate, seed=config.seed)
    return method, method


def patience(method: Method) -> int:
    """Return the default patience of a method, in iterations."""
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
    finest = 2 ** (config.network.levels - 1)
    size = len(structure.coordinates(theta)) * finest
    others = structure.others * finest
    along = data.train.directions
    r = 0.0 if along is None else along.n_rows / n_samples
    krylov: float = _KRYLOV_FLOPS * config.optimizer.krylov_rank * size * n_samples * (1 + r)
    cost = flops(size, others, n_samples, config.network.width, n_out, r)
    # A dense iteration gains far more than one of a Krylov space.
    return "dense" if cost <= max(_DENSE_FLOPS, 3.0 * krylov) else "kronecker"
