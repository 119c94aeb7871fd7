"""Take the constants out of a surrogate file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from surrogates.errors import InputError
from surrogates.model.engines.selected import Selected

from .blocks import PHI, Anova, Block, Ensemble, Network, Polynomial, Radial
from .reference import Reference, defaults, kind_of

if TYPE_CHECKING:
    import torch

    from surrogates.model.loaded import LoadedSurrogate


def constants(surrogate: LoadedSurrogate) -> Reference:
    """Return the constants of a surrogate as arrays, with their evaluation in numpy.

    Args:
        surrogate: From `surrogates.load`. Another engine than torch has its constants: as its
            attribute ``constants``, unless it is a `Reference` itself.

    Raises:
        InputError: If its features are a module of the user's own, or were written by an older
            version.
    """
    engine: Any = surrogate.engine
    if isinstance(found := getattr(engine, "constants", engine), Reference):
        return replace(found, metadata=surrogate.metadata)
    if isinstance(engine, Selected):
        whole = constants(replace(surrogate, engine=engine.whole))
        return replace(whole.selected(engine.rows), metadata=surrogate.metadata)
    module: Any = surrogate.module
    has_bars = surrogate.metadata["schema_version"] > 1
    names = {name: {"c_0": "c"}.get(name, name) for name in Reference.SHAPES}
    arrays: dict[str, Any] = {name: _array(getattr(module, of)) for name, of in names.items()}
    optional = ("signs", "members", "logs", "tail")
    signs, members, logs, tail = (getattr(module, name, None) for name in optional)
    parts = {**defaults(arrays), "floor": float(module.floor) if has_bars else math.nan}
    if signs is not None:
        parts["signs"] = _array(signs)
    if members is not None:
        parts["ensemble"] = Ensemble(
            **{name: _array(getattr(members, name)) for name in ("W", "biases", "weights")},
            widths=np.array(members.widths, np.int64),
            spread=float(members.spread),
        )
    if tail is not None:
        parts["tail"] = _array(tail)
    if logs is not None:
        parts.update(log_inputs=_array(logs.inputs), log_outputs=_array(logs.outputs))
    return kind_of(surrogate.metadata)(
        blocks=tuple(_blocks(module.features, surrogate.path)),
        metadata=surrogate.metadata,
        correlation=engine.correlation,
        **{**arrays, **parts},
    )


def _blocks(form: Any, path: str) -> Iterator[Block]:
    """Return the blocks of features of `model.fused`, `model.centred` or `model.forms`."""
    kind = str(form.original_name)
    if kind == "Blocks":
        for part in form.parts.children():
            yield from _blocks(part, path)
    elif kind in ("Radial", "Anova"):
        block = Radial if kind == "Radial" else Anova
        arrays = {name: _array(getattr(form, name)) for name in block.SHAPES}
        yield block(kernel=form.kernel, **arrays)
    elif kind == "Polynomial":
        yield Polynomial(**{name: _array(getattr(form, name)) for name in Polynomial.SHAPES})
    elif getattr(form, "phi", None) in PHI:
        yield _network(form)
    else:
        raise InputError(
            f"{path} cannot be exported: expected a network of this package; its "
            "features are another module, or were written by an older version (train it again)"
        )


def _network(net: Any) -> Network:
    """Return the constants of a network in the form of `model.fused`."""
    steps = list(net.steps.children())
    shape = (len(steps), -1, net.width, net.width)
    A = np.reshape([step.P.numpy() for step in steps], shape)
    # A stage is coupled to the one before it by M = l A; l is the least-squares solution.
    couplings = [coupling.M.numpy() for step in steps for coupling in step.couplings.children()]
    later, M = A[:, 1:], np.reshape(couplings, shape)
    squares, products = ((later * x).sum(axis=(0, 2, 3)) for x in (later, M))
    lengths = products / np.where(squares > 0, squares, 1.0)
    return Network(
        phi=net.phi,
        K_in=_array(net.K_in),
        b_in=_array(net.b_in),
        A=A,
        b=np.reshape([step.p.numpy() for step in steps], shape[:-1]),
        lengths=np.concatenate([[0.0], lengths]),
        weights=_array(steps[0].w[0, :: net.width]),
        carry=steps[0].carry,
    )


def _array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    return np.array(tensor.numpy())
