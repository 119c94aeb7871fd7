"""Metadata of strangers: whatever is forged, missing or there twice is one error line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strangers import refused

import surrogates
from surrogates import cli
from surrogates.model import torchscript


def test_a_file_saved_again_says_that_its_metadata_are_lost(members, tmp_path):
    (tmp_path / "s.pt").write_bytes(torchscript.pack(members))
    torch.jit.save(surrogates.load(tmp_path / "s.pt").module, tmp_path / "again.pt")
    refused(tmp_path / "again.pt", "saved again by torch.jit.save, which keeps no metadata.json")
    single = surrogates.load(tmp_path / "s.pt").module.float()
    about = json.dumps(surrogates.load(tmp_path / "s.pt").metadata)
    torch.jit.save(single, tmp_path / "again.pt", _extra_files={"metadata.json": about})
    refused(tmp_path / "again.pt", "is a surrogate that was made torch.float32, and loses digits")


FORGED = {
    "names": ("y_names", ["a"] * 4, "y_units = .*; expected a list of 4 texts"),
    "outputs": ("c_names", [f"c{j}" for j in range(3)], "expected a list of 3 texts"),
    "number": ("y_names", 5, "no y_names; expected a list of texts"),
    "bounds": ("y_upper", ["x"] * 5, "y_upper = .*; expected a list of 5 numbers"),
    "huge": ("y_upper", [10**400] * 5, "y_upper = .*; expected a list of 5 numbers"),
    "task": ("task", "cooking", "the task 'cooking'; expected regression or classification"),
    "other-task": ("task", "classification", "its task is classification, but it has no"),
    "version": ("schema_version", "5", 'it has the schema version "5"'),
    "reversed": ("y_lower", [99.0] * 5, "a lower bound of y0 above the upper one"),
    "large": ("more", {"x": [1e308]}, "a number that is too large"),
    "text": ("problem", "\ud800", "a text that is no Unicode"),
    "mean": ("training", {"c_mean": [1.0]}, "training.c_mean = .*; expected a list of 11 numbers"),
    "errors": ("errors", {"test": {"samples": 3, "relative": 3}}, "errors.test.relative = 3"),
    "digest": ("dataset", {}, "no dataset.digest"),
    "versions": ("versions", {"torch": 3}, "versions.torch = 3; expected a text"),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_metadata_are_one_line(name, members, tmp_path):
    key, value, message = FORGED[name]
    about = {**json.loads(members["extra/metadata.json"]), key: value}
    text = json.dumps(about).replace("1e+308", "1e+999")
    forged = {**members, "extra/metadata.json": text.encode()}
    (tmp_path / "s.pt").write_bytes(torchscript.pack(forged))
    refused(tmp_path / "s.pt", message)


def test_metadata_with_a_key_twice_are_refused(members, tmp_path):
    """Another reader could take the other value."""
    text = members["extra/metadata.json"].replace(b'"c_names":', b'"c_names": ["x"], "c_names":')
    (tmp_path / "s.pt").write_bytes(torchscript.pack({**members, "extra/metadata.json": text}))
    refused(tmp_path / "s.pt", "its metadata are no JSON .a key is there twice")


def test_metadata_of_another_size_than_the_module_are_refused(members, tmp_path):
    about = json.loads(members["extra/metadata.json"])
    for key in ("y_names", "y_units", "y_lower", "y_upper"):
        about[key] = about[key][:-1]
    forged = {**members, "extra/metadata.json": json.dumps(about).encode()}
    (tmp_path / "s.pt").write_bytes(torchscript.pack(forged))
    refused(tmp_path / "s.pt", r"lower has the shape \(4,\); got \(5,\)")


VALUES = st.sampled_from(
    [None, True, -1, 0, 10**400, 1e308, float("nan"), "x", "\x1b[2J", "\ud800", [], {}, [[]], [1]]
)


@settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_change_of_the_metadata_is_one_line_or_harmless(data, members, tmp_path):
    about = json.loads(members["extra/metadata.json"])
    numbers = dict.fromkeys(("mean", "std", "min", "max"), 0.1)
    about |= {
        "training": {"c_mean": [0.0] * 11, "settings": {"width": 3}, "samples": 3},
        "errors": {"test": {"samples": 3, "relative": numbers}},
        "dataset": {"digest": "x", "command": "y"},
        "versions": {"torch": "2"},
    }
    place = about
    while True:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(keys))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            break
        place = inner
    if data.draw(st.booleans()):
        place[key] = data.draw(VALUES)
    else:
        del place[key]
    forged = {**members, "extra/metadata.json": json.dumps(about).encode()}
    path = tmp_path / "s.pt"
    path.write_bytes(torchscript.pack(forged))
    np.save(tmp_path / "y.npy", np.full((2, 5), 2.5))
    commands = (
        ("info", path),
        ("predict", path, "--in", tmp_path / "y.npy", "--out", tmp_path / "c.csv"),
        ("export", path, "--format", "c", "--out", tmp_path / "s.c"),
    )
    statuses = (cli.main([str(word) for word in words]) for words in commands)
    refused = next(filter(None, statuses), None)
    if refused is None:
        protocol = pytest.importorskip("surrogates.serve.umbridge", reason="it needs aiohttp")
        assert len(protocol.load_models([path], refuse_outside=False)) == 2
    else:
        assert refused == 2
