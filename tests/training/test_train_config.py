"""The settings of a training: the keys of older releases, and what they stored."""

from __future__ import annotations

import re

import pytest
import torch
from test_fit import SMALL, Stopped, smooth, stop_at

from surrogates import config
from surrogates.config import replaced
from surrogates.errors import InputError
from surrogates.training.checkpoint import is_finished
from surrogates.training.config import DEFAULTS, Network, TrainConfig, stored
from surrogates.training.fit import fit

FLAT = """
optimizer = "gnvpro"
learning_rate = 0.0
method = "krylov"
network = "ode"
kernel = "auto"
trend = -1
activation = "tanh"
width = 3
linear = false
cells = 1
levels = 2
final_time = 2.0
gamma = 0.0001
work_units = 120
alpha1 = 1e-06
alpha2 = 1e-10
penalty = "tikhonov"
krylov_rank = 8
krylov_tolerance = 0.01
scale = 0.1
whitening = 0.0
smoothing = 0.0
noise = 0.0
outputs = "unit"
weights = []
patience = 0
tolerance = 1e-08
seed = 0
threads = 1
precision = "double"
device = "cpu"
"""
"""What a checkpoint of a release without tables holds for `SMALL`."""


def test_settings_of_a_release_without_tables_are_read():
    assert stored(config.table(FLAT)) == SMALL
    assert stored({}) == DEFAULTS["regression"]
    chosen = {"trend": 0, "patience": 7, "learning_rate": 0.5, "kernel": "matern52"}
    made = stored({**chosen, "weights": ["c0=2"], "network": "rbf", "optimizer": "adam"})
    assert made.network == Network(kind="rbf", trend=0, kernel="matern52")
    assert (made.stopping.patience, made.outputs.weights) == (7, ("c0=2",))
    assert (made.optimizer.name, made.optimizer.learning_rate) == ("adam", 0.5)


@pytest.mark.parametrize("settings", [*DEFAULTS.values(), SMALL])
def test_settings_of_today_are_read(settings):
    assert stored(config.table(config.to_toml(settings))) == settings


def test_a_setting_of_a_later_release_is_refused():
    for table in ({"depth": 3, "width": 4}, {"network": {"depth": 3}}):
        with pytest.raises(InputError, match="unknown configuration key '(network.)?depth'"):
            stored(table)


@pytest.mark.parametrize(("old", "new"), TrainConfig.MOVED.items())
def test_a_key_without_its_table_is_refused_with_the_new_key(old, new):
    settings = config.entries(config.to_toml(TrainConfig()))
    assert new in settings
    with pytest.raises(InputError, match=f"^{old} is now {re.escape(new)}$"):
        config.read(TrainConfig, None, [f"{old}=1"])


def test_a_checkpoint_of_a_release_without_tables_is_resumed(tmp_path):
    data, path = smooth(), tmp_path / "run.checkpoint"
    whole = fit(data, SMALL)
    with pytest.raises(Stopped):
        fit(data, SMALL, checkpoint=path, on_iteration=stop_at(5))
    torch.save({**torch.load(path, weights_only=True), "config": FLAT}, path)
    assert not is_finished(path)
    resumed = fit(data, SMALL, checkpoint=path, resume=True)
    assert torch.equal(resumed.W, whole.W) and len(resumed.history) == len(whole.history)
    assert is_finished(path)
    torch.save({**torch.load(path, weights_only=True), "config": FLAT}, path)
    with pytest.raises(InputError, match="configuration: network.width is 3 there and 4 here"):
        fit(data, replaced(SMALL, {"network.width": 4}), checkpoint=path, resume=True)
