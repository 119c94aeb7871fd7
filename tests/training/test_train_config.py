"""The settings of a training: their range, and the keys of older releases."""

from __future__ import annotations

import re

import pytest
import torch
from trainings import SMALL, Stopped, smooth, stop_at

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


@pytest.mark.parametrize(
    "override",
    [
        "network.width=0",
        "network.cells=0",
        "network.levels=0",
        "network.levels=99",
        "stopping.work_units=3",
        "regularisation.alpha1=-1e-10",
        "regularisation.alpha1=1e13",
        "regularisation.alpha2=nan",
        'optimizer.method="newton"',
        "optimizer.name=newton",
        "optimizer.learning_rate=-1",
        "optimizer.learning_rate=1e13",
        "optimizer.learning_rate=nan",
        "optimizer.krylov_rank=0",
        "optimizer.krylov_tolerance=1.0",
        "network.final_time=0",
        "network.gamma=-1",
        "network.cells=5000",
        "inputs.scale=0",
        "inputs.scale=inf",
        "stopping.patience=-1",
        "stopping.tolerance=-1",
        "seed=-1",
        "threads=0",
        "threads=2000",
        "precision=half",
        "device=tpu",
    ],
)
def test_settings_out_of_range(override):
    with pytest.raises(InputError, match=override.partition("=")[0]) as caught:
        config.read(TrainConfig, None, [override])
    assert "\n" not in str(caught.value)


def test_settings_survive_toml():
    settings = config.read(TrainConfig, None, ["regularisation.alpha1=1e-7", "network.width=12"])
    assert (settings.regularisation.alpha1, settings.network.width) == (1e-7, 12)
    assert config.from_toml(TrainConfig, config.to_toml(settings)) == settings


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("network.kind=resent", "unknown network.kind 'resent'; did you mean 'resnet'?"),
        ("network.activation=gelu", "unknown network.activation 'gelu'; "),
    ],
)
def test_unknown_networks_and_activations(override, message):
    with pytest.raises(InputError) as error:
        config.read(TrainConfig, overrides=[override])
    assert str(error.value).startswith(message)


def test_an_mlp_has_one_level():
    with pytest.raises(InputError, match="levels must be 1 for an mlp.*; got 2"):
        TrainConfig(network=Network(kind="mlp", levels=2))
