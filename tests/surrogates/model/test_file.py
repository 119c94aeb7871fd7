"""The surrogate file: what is in it, that torch alone reads it, and what is refused."""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from exports import alone, saved
from extended import SURROGATES, made

import surrogates
from surrogates.errors import InputError
from surrogates.model import file as export


def test_the_file_needs_only_torch(surrogate, saved, Y, tmp_path):
    torch.save(Y, tmp_path / "Y.pt")
    script = """
extra = {"metadata.json": ""}
module = torch.jit.load(sys.argv[1], _extra_files=extra)
Y = torch.load(sys.argv[2])
w = torch.ones(len(Y), 6)
frozen = torch.jit.freeze(module.eval(), preserved_attrs=["jacobian", "predict_std"])
results = [module(Y), module(Y[0]), module.jacobian(Y), module.jvp(Y, Y), module.vjp(Y, w)]
results += [module.in_domain(Y), module(Y.float()), module.predict_std(Y)]
results += [frozen(Y), frozen.jacobian(Y[0]), frozen.predict_std(Y)]
torch.save(results, sys.argv[3])
module(Y).numpy()
import json
print(json.loads(extra["metadata.json"])["problem"])
"""
    printed = alone(script, saved, tmp_path / "Y.pt", tmp_path / "results.pt", cwd=tmp_path)
    assert printed.strip() == "toy"
    w = torch.ones(len(Y), 6)
    expected = [surrogate(Y), surrogate(Y[0]), surrogate.jacobian(Y), surrogate.jvp(Y, Y)]
    expected += [surrogate.vjp(Y, w), surrogate.in_domain(Y), surrogate(Y.float())]
    expected += [surrogate.predict_std(Y)]
    results = torch.load(tmp_path / "results.pt")
    expected += [surrogate(Y), surrogate.jacobian(Y[0]), surrogate.predict_std(Y)]  # frozen
    for found, value in zip(results, expected, strict=True):
        torch.testing.assert_close(found, value, rtol=1e-13, atol=1e-13)


def test_a_file_without_error_bars_is_of_an_older_version(surrogate, saved, Y, tmp_path):
    older = {**export.load(saved).metadata, "schema_version": 1}
    export.save(surrogate, older, tmp_path / "older.pt")
    loaded = surrogates.load(tmp_path / "older.pt")
    assert loaded.predict(Y.numpy()).shape == (7, 6)
    with pytest.raises(InputError, match="by an older version, without error bars; train it again"):
        loaded.predict_std(Y.numpy())


def test_metadata_say_what_the_surrogate_is(dataset, saved):
    found = export.load(saved).metadata
    info = dataset.info
    for name in ("problem", "y_names", "y_units", "c_names", "c_units", "y_lower", "y_upper"):
        expected = getattr(info, name)
        assert found[name] == (expected if isinstance(expected, str) else list(expected))
    assert found["coordinates"]["time"] == [0.5, 0.5, 0.5, 1, 1, 1]
    assert found["dataset"]["digest"] == dataset.digest
    for name in ("config", "design", "seed", "split", "total", "mesh", "command", "revision"):
        assert found["dataset"][name] == getattr(info, name)
    assert found["training"]["alpha"] == [1e-10, 2.0] and found["training"]["gap"] is None
    test = found["errors"]["test"]
    assert len(test["coverage"]) == 3
    assert set(test) >= {"samples", "relative", "centred", "output_rms", "output_relative"}
    assert set(test["relative"]) == {"mean", "std", "min", "max", "near_zero"}
    assert len(test["output_rms"]) == 6 and test["output_rms"][0] == pytest.approx(0.01)
    assert {"python", "torch", "numpy", "varpro-surrogates"} <= set(found["versions"])
    assert not {"created", "command", "seconds"} & found.keys()  # the same training, the same bytes
    json.dumps(found, allow_nan=False)


def test_the_same_surrogate_is_the_same_file(surrogate, saved, tmp_path):
    export.save(surrogate, export.load(saved).metadata, tmp_path / "again.pt")
    assert (tmp_path / "again.pt").read_bytes() == saved.read_bytes()


def test_deprecation_of_torchscript_is_kept_from_users(surrogate, saved, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export.save(surrogate, export.load(saved).metadata, tmp_path / "again.pt")


def test_foreign_truncated_and_missing_files_are_one_line(surrogate, saved, tmp_path):
    whole = saved.read_bytes()
    scripted = torch.jit.script(surrogate)
    files = {
        "truncated": whole[: len(whole) // 2],
        "end-missing": whole[:-10],
        "empty": b"",
        "text": b"y0,y1\n1,2\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    torch.save({"weights": torch.ones(3)}, tmp_path / "weights")
    with h5py.File(tmp_path / "hdf5", "w") as file:
        file["Y"] = np.ones(3)
    for name in (*files, "weights", "hdf5"):
        with pytest.raises(InputError, match=f"{name} is not a whole surrogate file") as caught:
            export.load(tmp_path / name)
        assert len(str(caught.value).splitlines()) == 1
    weight = surrogate.W.numpy().tobytes()[:8]
    assert whole.count(weight) == 1
    (tmp_path / "damaged").write_bytes(whole.replace(weight, np.float64(3.14).tobytes()))
    with pytest.raises(InputError, match="damaged is damaged: the checksum of .* is wrong"):
        export.load(tmp_path / "damaged")
    torch.jit.save(scripted, tmp_path / "bare")
    with pytest.raises(InputError, match="bare is a TorchScript file but not a surrogate of this"):
        export.load(tmp_path / "bare")
    torch.jit.save(scripted, tmp_path / "other", _extra_files={"metadata.json": '{"format": "x"}'})
    with pytest.raises(InputError, match="other is a TorchScript file but not a surrogate"):
        export.load(tmp_path / "other")
    with pytest.raises(InputError, match="there is no file .*missing"):
        export.load(tmp_path / "missing")


def test_metadata_with_parts_missing_are_refused(surrogate, saved, tmp_path):
    parts = dict(export.load(saved).metadata)
    del parts["c_names"], parts["training"]
    export.save(surrogate, parts, tmp_path / "partial.pt")
    with pytest.raises(InputError, match="is damaged: its metadata lack c_names, training"):
        export.load(tmp_path / "partial.pt")


def test_a_newer_schema_is_refused(surrogate, saved, tmp_path):
    newer = {**export.load(saved).metadata, "schema_version": 99}
    export.save(surrogate, newer, tmp_path / "newer.pt")
    with pytest.raises(InputError, match="schema version 99, this package reads up to 5; update"):
        export.load(tmp_path / "newer.pt")


def test_nothing_is_left_when_writing_fails(surrogate, saved, tmp_path):
    about = export.load(saved).metadata
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(InputError, match="no folder"):
        export.save(surrogate, about, tmp_path / "missing" / "toy.pt")
    with pytest.raises(InputError, match="is a folder"):
        export.save(surrogate, about, tmp_path)
    with pytest.raises(TypeError):
        export.save(surrogate, {"problem": object()}, tmp_path / "new.pt")
    assert sorted(os.listdir(tmp_path)) == before


def test_files_of_one_surrogate_are_the_same_whatever_was_compiled_before(tmp_path):
    surrogate = made(*SURROGATES["everything"])
    saved(surrogate, tmp_path / "a.pt")
    saved(made(*SURROGATES["anova"]), tmp_path / "other.pt")
    saved(made(*SURROGATES["everything"]), tmp_path / "b.pt")
    content = (tmp_path / "a.pt").read_bytes()
    assert content == (tmp_path / "b.pt").read_bytes()
    assert os.fsencode(Path(surrogates.__file__).parent) not in content
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        assert {one.date_time for one in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
