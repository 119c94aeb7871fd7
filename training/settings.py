"""The caller's settings of a training, and the keys that are fixed.

A choice by held-out errors keeps the given settings, and chooses the others. A mapping or a file
gives the settings of its keys; the others have the defaults of the dataset's task. A `TrainConfig`
holds all settings; it gives those that differ from the task's defaults.
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
"""Keys of settings that have their own options."""


def settings_of(
    config: Config | None, task: str, overrides: Iterable[str] = ()
) -> tuple[TrainConfig, frozenset[str]]:
    """Return the settings of a training, and the keys of the given settings.

    Args:
        config: The caller's settings; the task's defaults if None.
        task: The dataset's task, whose defaults hold for the rest.
        overrides: ``key=value`` texts, which replace these.

    Raises:
        InputError: If a key is unknown or a value out of range.
    """
    path: str | os.PathLike[str] | None = None
    texts: list[str] = []
    defaults = DEFAULTS[task]
    changed: set[str] = set()
    if isinstance(config, TrainConfig):
        changed, defaults = _changed(config, defaults), config
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
    settings = configuration.read(TrainConfig, path, texts, defaults)
    return settings, frozenset(changed | configuration.keys(path, texts))


def _changed(config: TrainConfig, defaults: TrainConfig) -> set[str]:
    """Return the keys of the values that differ from the defaults."""
    ours, theirs = (configuration.entries(configuration.to_toml(one)) for one in (config, defaults))
    return {key for key, value in ours.items() if value != theirs.get(key)}
