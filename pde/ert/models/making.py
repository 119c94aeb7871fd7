"""Models from settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from surrogates.config import check
from surrogates.types import Array

from .base import Model
from .body import BodyModel
from .field import FieldModel
from .interface import InterfaceModel
from .layered import LayeredModel, layer_quantities
from .regions import RegionsModel
from .settings import BodySettings, Bounds, FieldSettings, GroundConfig, LayersSettings


def make(
    config: GroundConfig, lower: Array, upper: Array, regions: Sequence[str] | None = None
) -> Model:
    """Make the model of a configuration.

    Args:
        config: The configuration.
        lower: Lower corner of the survey's box [m]: the least x1 and x2 of its electrodes, and
            minus the depth of investigation, or of the deepest electrode if that is more; (3,).
        upper: Upper corner [m]: the largest x1 and x2, and 0, or the highest electrode's x3 on
            topography; (3,).
        regions: Names of the regions that tags number, for the kind ``regions``: with
            `FileMesh.regions`, those of the settings. None without a mesh of the user's.

    Returns:
        The model.

    Raises:
        InputError: If settings do not fit each other or the mesh.
    """
    model = _make(config, lower, upper, regions)
    key = {"half-space": "model.background", "field": "field.mean"}.get(config.model.kind, "")
    check(
        len(model.y_names) > 0,
        "every quantity of the model is fixed; give one of them bounds that differ, such as "
        f"{key or config.model.kind.split('-')[0] + '.resistivity'}=[10, 1000]",
    )
    model.notes = (*model.notes, *_unused(config))
    return model


def _make(config: GroundConfig, lower: Array, upper: Array, regions: Sequence[str] | None) -> Model:
    kind, background = config.model.kind, config.model.background
    depth = float(-lower[2])
    if kind == "half-space":
        return LayeredModel(layer_quantities([background], []), 1)
    if kind == "body":
        return BodyModel(_body(config.body, lower, upper, depth), (background,), ())
    if kind in ("layers", "body-in-layers"):
        resistivity, thickness = config.layers.resistivity, _thickness(config.layers, depth)
        if kind == "layers":
            return LayeredModel(layer_quantities(resistivity, thickness), len(resistivity))
        return BodyModel(_body(config.body, lower, upper, depth), resistivity, thickness)
    if kind == "interface":
        position = config.interface.position or _middle_half(lower[0], upper[0])
        return InterfaceModel(replace(config.interface, position=position))
    if kind == "regions":
        check(regions is not None, "model.kind=regions needs mesh.file, a mesh with named regions")
        return RegionsModel(config.regions, regions or ())
    return FieldModel(_field(config.field, lower, upper, depth), lower, upper)


def _unused(config: GroundConfig) -> tuple[str, ...]:
    """Say which settings differ from the defaults, and are not of the model's kind."""
    kind, default = config.model.kind, GroundConfig()
    names = {"half-space": (), "body-in-layers": ("body", "layers")}.get(kind, (kind,))
    changed = [
        name
        for name in ("body", "layers", "interface", "regions", "field")
        if name not in names and getattr(config, name) != getattr(default, name)
    ]
    background = config.model.background != default.model.background
    if background and kind not in ("half-space", "body"):
        changed.append("model.background")
    return tuple(f"{name} is set, but model.kind={kind} does not use it" for name in changed)


def _body(settings: BodySettings, lower: Array, upper: Array, depth: float) -> BodySettings:
    """Return settings with the program's choices in place of None."""
    auto = {
        "x1": _middle_half(lower[0], upper[0]),
        "x2": _middle_half(lower[1], upper[1]),
        "depth": (0.35 * depth, 0.6 * depth),
        "a1": (0.15 * depth, 0.5 * depth),
        "a2": (0.15 * depth, 0.5 * depth),
        "a3": (0.15 * depth, 0.28 * depth),
    }
    missing = {key: value for key, value in auto.items() if getattr(settings, key) is None}
    settings = replace(settings, **missing)  # type: ignore[arg-type]
    if settings.blend is None:
        smallest = min(bounds[0] for bounds in (settings.a1, settings.a2, settings.a3) if bounds)
        settings = replace(settings, blend=0.5 * smallest)
    return settings


def _thickness(settings: LayersSettings, depth: float) -> tuple[Bounds, ...]:
    n = len(settings.resistivity) - 1
    if settings.thickness is None:
        return ((0.2 * depth / n, 0.8 * depth / n),) * n if n else ()
    return settings.thickness


def _field(settings: FieldSettings, lower: Array, upper: Array, depth: float) -> FieldSettings:
    if settings.length is not None:
        return settings
    extent = np.array([*(upper - lower)[:2] / 4, depth / 3])
    extent = np.where(extent > 0, extent, extent.max())  # along a line of electrodes, not used
    return replace(settings, length=(float(extent[0]), float(extent[1]), float(extent[2])))


def _middle_half(low: float, high: float) -> Bounds:
    quarter = (high - low) / 4
    return float(low + quarter), float(high - quarter)
