"""Surrogates of joined features, members, signs, logarithms and tails, for tests of exports."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from exports import arguments, saved

from surrogates.model.covariance import Correlation
from surrogates.model.loaded import LoadedSurrogate
from surrogates.model.networks import MLP, AntisymmetricODE, ResNet
from surrogates.model.parts import Domain, ErrorBars, Logs, Members
from surrogates.model.radial import AnovaBasis, Joined, Monomials, RadialBasis
from surrogates.model.surrogate import Surrogate

N_IN, N_OUT = 5, 11
# Parts of the features, whether there are members, signs, log inputs, log outputs, tails.
SURROGATES = {
    "everything": ("ode gaussian matern52 quadratic linear mlp", True, True, True, True, True),
    "members": ("ode resnet mlp", True, False, False, False),
    "gaussian": ("gaussian", False, True, False, False),
    "matern52": ("matern52", False, False, True, False),
    "anova": ("anova_matern52 ode anova_gaussian", True, True, True, False),
    "quadratic": ("quadratic", False, False, False, True),
    "linear": ("linear", False, True, True, False),
    "beside": ("linear_ode linear_mlp", True, False, True, True),
    "network": ("ode", False, False, True, True),
    "tailed": ("ode", False, False, False, False, True),
}
every_surrogate = pytest.mark.parametrize("name", SURROGATES)


def draw(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def part(kind: str, n_in: int, seed: int) -> torch.nn.Module:
    """A part of the features, its weights or centres drawn."""
    if kind.startswith("linear_"):  # a network and its inputs, as a training with linear has them
        network, inputs = part(kind.removeprefix("linear_"), n_in, seed), part("linear", n_in, seed)
        return Joined([network, inputs], torch.zeros(2, n_in), torch.ones(2, n_in))
    if kind in ("gaussian", "matern52"):
        scales = 0.2 + 0.5 * draw(n_in, seed=seed + 1).abs()
        return RadialBasis(draw(9, n_in, seed=seed), scales, kind)
    if kind in ("anova_gaussian", "anova_matern52"):
        scales, shares = draw(2, n_in, seed=seed + 1).abs()
        kernel = kind.removeprefix("anova_")
        return AnovaBasis(draw(9, n_in, seed=seed), scales, shares / (1 + shares), kernel)
    if kind in ("linear", "quadratic"):
        pairs = [[0, 0], [0, n_in - 1], [n_in - 1, n_in - 1]] if kind == "quadratic" else []
        return Monomials(n_in, torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2))
    net = {
        "ode": lambda: AntisymmetricODE(n_in, 4, 2),
        "resnet": lambda: ResNet(n_in, 9, 2, activation="softplus"),
        "mlp": lambda: MLP(n_in, 3, 1, activation="relu"),
    }[kind]()
    for i, parameter in enumerate(net.parameters()):
        parameter.data = 0.7 * draw(*parameter.shape, seed=seed + i)
    return net


def joined(kinds: str, n_in: int = N_IN) -> torch.nn.Module:
    """The features of parts, or the only part."""
    parts = [part(kind, n_in, seed=10 * i) for i, kind in enumerate(kinds.split())]
    if len(parts) == 1:
        return parts[0]
    n = len(parts)
    return Joined(parts, 0.3 * draw(n, n_in, seed=5), 0.7 + draw(n, n_in, seed=6).abs())


def made(
    kinds: str,
    members: bool,
    signs: bool,
    log_inputs: bool,
    log_outputs: bool,
    tailed: bool = False,
    *,
    n_in: int = N_IN,
    n_out: int = N_OUT,
    correlated: bool = True,
) -> Surrogate:
    """A surrogate of positive parameters, whose domain is a box, or a flat of their logarithms."""
    features = joined(kinds, n_in)
    n_feat = features.width
    Y = 1.5 + 2 * np.random.default_rng(1).random((400, n_in))
    if log_inputs and n_in > 2:
        Y[:, 2] = Y[:, 0] * Y[:, 1]
    marks = [np.zeros(n, bool) for n in (n_in, n_out)]
    marks[0][:3], marks[1][::2] = log_inputs, log_outputs
    X = np.where(marks[0], np.log(Y), Y)
    leverage = draw(n_feat + 1 + signs, n_feat + 1, seed=7) / n_feat
    sizes = draw(2, n_in + 1, n_in + 1, seed=13).numpy()
    bars = ErrorBars(
        leverage=leverage,
        floor=30.0,
        sigma=0.01 + 0.1 * draw(n_out, seed=8).abs(),
        signs=(-1.0) ** torch.arange(len(leverage)).double() if signs else None,
        spread=0.7 if members else 0.0,
        tail=0.04 * torch.arange(n_out).double() if tailed else 0.0,
        correlation=Correlation(
            loadings=0.4 * draw(n_out, 3, seed=11).numpy(),
            unique=0.1 + draw(n_out, seed=12).abs().numpy(),
            scatter=np.array([0.5, 1.0]),
            sizes=0.1 * (sizes + sizes.transpose(0, 2, 1)),
            ends=np.array([[-0.5, -0.3], [0.4, 0.6]]),
            along=np.array(1.5),
        )
        if correlated
        else None,
    )
    widths = [n_feat // 3, n_feat - n_feat // 3]
    weights = draw(2, n_out, seed=9).abs()
    return Surrogate(
        features,
        draw(n_out, n_feat + 1, seed=3) / 3,
        X.mean(axis=0),
        X.std(axis=0),
        Domain.of(X),
        bars,
        members=Members(widths=widths, weights=weights / weights.sum(0), biases=draw(2, n_out))
        if members
        else None,
        logs=Logs(inputs=marks[0], outputs=marks[1]) if log_inputs or log_outputs else None,
    )


@functools.cache
def both(name: str) -> tuple[Surrogate, LoadedSurrogate]:
    """One of `SURROGATES`, and what comes of it in a file."""
    surrogate = made(*SURROGATES[name])
    with tempfile.TemporaryDirectory() as folder:
        return surrogate, saved(surrogate, Path(folder, "s.pt"), schema_version=2)


@functools.cache
def low_rank() -> tuple[Surrogate, LoadedSurrogate]:
    """Many outputs that vary in few directions, of sizes 10^16 apart; and its file."""
    kinds = "matern52 gaussian matern52 quadratic"
    surrogate = made(kinds, False, False, True, False, n_in=3, n_out=60)
    W = draw(60, 4, seed=1) @ draw(4, surrogate.W.shape[1], seed=2)
    surrogate.W = W * torch.logspace(-8, 8, 60, dtype=torch.float64)[:, None]
    with tempfile.TemporaryDirectory() as folder:
        return surrogate, saved(surrogate, Path(folder, "s.pt"), schema_version=2)


def points(surrogate: Surrogate) -> np.ndarray:
    """Positive points in the domain and around it, (18, n_in)."""
    rng = np.random.default_rng(2)
    lower, upper = surrogate.lower.numpy(), surrogate.upper.numpy()
    Y = rng.uniform(lower, upper, (9, len(lower)))
    if len(surrogate.normals):
        Y[:4, 2] = Y[:4, 0] * Y[:4, 1]
        Y[:4] = np.clip(Y[:4], lower, upper)
    return np.concatenate([Y, Y * rng.uniform(0.3, 2, Y.shape)])


def given_to(surrogate: Surrogate, method: str, Y: np.ndarray) -> list[torch.Tensor]:
    """Y, and what a method takes besides, as tensors."""
    return [torch.from_numpy(x) for x in (Y, *arguments(surrogate, method, len(Y)))]
