"""The settings of a training as callers give them, and which of them are fixed.

A choice by held-out errors keeps the settings that were given, and chooses the others. A
`TrainConfig` cannot tell which of its values were given: here, those that differ from its defaults.
A mapping can: ``{"network": {"width": 8}}`` fixes the width, although 8 is the default.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from surrogates import config as configuration
from surrogates.config import check, override

from .config import DEFAULTS, TrainConfig

Config = TrainConfig | Mapping[str, Any] | str | os.PathLike[str]
"""Settings, a mapping of keys to values (tables nested, or keys with dots), or a TOML file."""

SEED, DEVICE, OPTIMIZER = "seed", "device", "optimizer.name"
"""Keys of settings that have options of their own."""


def settings_of(
    config: Config | None, task: str, overrides: Iterable[str] = ()
) -> tuple[TrainConfig, frozenset[str]]:
    """Return the settings of a training, and the keys of those that were given.

    Args:
        config: What the caller gives; the task's defaults if None.
        task: Of the dataset, whose defaults hold for the rest.
        overrides: ``key=value`` texts that come after these.

    Raises:
        InputError: If a key is unknown or a value out of range.
    """
    path: str | os.PathLike[str] | None = None
    texts: list[str] = []
    if isinstance(config, TrainConfig):
        texts = [override(key, value) for key, value in _changed(config).items()]
    elif isinstance(config, Mapping):
        texts = [override(key, value) for key, value in configuration.flat(config).items()]
    elif config is not None:
        check(
            isinstance(config, str | os.PathLike),
            "config must be a TrainConfig, a mapping of settings, or the name of a TOML file; got "
            f"{config!r:.60}",
        )
        path = config
    texts += overrides
    settings = configuration.read(TrainConfig, path, texts, DEFAULTS[task])
    return settings, frozenset(configuration.keys(path, texts))


def _changed(config: TrainConfig) -> dict[str, Any]:
    """Return the values that differ from the defaults, by their keys."""
    given, defaults = (
        configuration.entries(configuration.to_toml(one)) for one in (config, TrainConfig())
    )
    return {key: value for key, value in given.items() if value != defaults.get(key)}
