"""The network with the first weights: the configuration's, the caller's, or a surrogate's."""

from __future__ import annotations

import copy
from operator import attrgetter
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from surrogates.config import check
from surrogates.errors import InputError
from surrogates.model.networks import MLP, AntisymmetricODE, ResNet

from . import beside
from .config import Network, TrainConfig
from .data import Data
from .member import Member


def settings_of(features: object) -> dict[str, Any]:
    """Return the settings that describe a network's features, by their keys; else none."""
    network, linear = beside.parted(features)
    if not isinstance(network, AntisymmetricODE | ResNet | MLP):
        return {}
    own: dict[str, Any] = {
        "width": network.width,
        "activation": network.activation,
        "linear": linear,
    }
    if isinstance(network, MLP):
        own |= {"kind": "mlp", "cells": network.n_layers}
    elif isinstance(network, ResNet):
        own |= {"kind": "resnet", "cells": network.n_layers, "final_time": network.final_time}
    else:
        own |= {"kind": "ode", "cells": network.n_cells, "final_time": network.final_time}
        own["gamma"] = network.gamma
    return {f"network.{name}": value for name, value in own.items()}


def described(network: Network, n_in: int, seed: int = 0) -> nn.Module:
    """Build the network that settings describe, without a linear part."""
    sizes = (n_in, network.width, network.cells)
    generator = torch.Generator().manual_seed(seed)
    activation = network.activation
    if network.kind == "mlp":
        return MLP(*sizes, activation=activation, generator=generator)
    if network.kind == "resnet":
        return ResNet(*sizes, network.final_time, activation=activation, generator=generator)
    return AntisymmetricODE(
        *sizes, network.final_time, network.gamma, activation=activation, generator=generator
    )


def network(
    own: nn.Module | None, start: Member | None, config: TrainConfig, n_in: int, data: Data
) -> nn.Module:
    """Return the network that a training begins with.

    Args:
        own: The caller's network, or None.
        start: Features to start from, or None; they come before ``own``.
        config: Describes the network if there is neither.
        n_in: Number of inputs of the dataset.
        data: The scaled samples.

    Raises:
        InputError: If the caller's network, or the one to start from, does not fit.
    """
    if start is not None:
        return _started(start, config, n_in)
    if own is not None:
        return _checked(own, config, n_in)
    n_seen = n_in if data.mixing is None else len(data.mixing)
    drawn = described(config.network, n_seen, config.seed)
    return beside.WithInputs(drawn) if config.network.linear else drawn


def _started(start: Member, config: TrainConfig, n_in: int) -> nn.Module:
    """Return the network that a training starts from."""
    check(
        config.mix is None,
        "inputs.whitening, inputs.noise and regularisation.smoothing are for a new network: one "
        "that starts from weights keeps their inputs",
    )
    check(
        start.features.n_in == n_in,
        f"the network to start from takes {start.features.n_in} inputs; the dataset has {n_in}",
    )
    for key, value in settings_of(start.features).items():
        asked = attrgetter(key)(config)
        check(asked == value, f"the network to start from has {key} {value}; got {asked}")
    features, linear = beside.parted(start.features)
    network = cast(nn.Module, features)
    return beside.WithInputs(network) if linear else network


def _checked(network: nn.Module, config: TrainConfig, n_in: int) -> nn.Module:
    """Check the caller's network by a trial, and copy it."""
    check(
        config.mix is None
        and config.regularisation.penalty == "tikhonov"
        and not config.network.linear,
        "inputs.whitening, inputs.noise, regularisation.smoothing, regularisation.penalty=smooth "
        "and network.linear are for the networks that a configuration names, not for one of your "
        "own",
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
        config.network.levels == 1 or hasattr(network, "refined"),
        "network.levels must be 1 for a network without a method refined; "
        f"got {config.network.levels}",
    )
    _try(network, config.network.width, config.inputs.scale, n_in)
    return network


def _try(network: nn.Module, width: int, scale: float, n_in: int) -> None:
    """Refuse a network that does not map each of two samples by itself to ``width`` features."""
    rows = torch.linspace(-scale, scale, 2 * n_in, dtype=torch.float64)
    try:
        with torch.no_grad():
            F = network(rows.view(2, n_in))
            alone = network(rows.view(2, n_in)[:1])
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise InputError(f"the network must take inputs (N, {n_in}): {error}") from error
    expected = (2, width)
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
