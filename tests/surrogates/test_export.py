from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import h5py
import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogates import export
from surrogates.errors import InputError
from surrogates.surrogate import evaluate

WITHOUT_THIS_PACKAGE = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "surrogates":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
try:
    import surrogates
    raise SystemExit("the package is there after all")
except ModuleNotFoundError:
    pass
import torch
"""


@pytest.fixture
def saved(surrogate, dataset, tmp_path):
    Y, C = map(torch.from_numpy, dataset.part("test"))
    errors = {"test": evaluate(surrogate, Y, C + 0.01, mean=C.mean(dim=0))}
    training = {"width": 5, "alpha": (1e-10, np.float64(2)), "gap": float("nan"), "mean": C[0]}
    path = tmp_path / "toy.pt"
    export.save(surrogate, export.metadata(dataset, training=training, errors=errors), path)
    return path


def alone(script: str, *arguments: object, cwd: Path) -> str:
    """Run a script where this package cannot be imported; give what it prints."""
    command = [sys.executable, "-I", "-W", "ignore", "-c", WITHOUT_THIS_PACKAGE + script]
    words = [str(argument) for argument in arguments]
    run = subprocess.run([*command, *words], capture_output=True, text=True, cwd=cwd, timeout=100)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_file_needs_only_torch(surrogate, saved, Y, tmp_path):
    torch.save(Y, tmp_path / "Y.pt")
    script = """
extra = {"metadata.json": ""}
module = torch.jit.load(sys.argv[1], _extra_files=extra)
Y = torch.load(sys.argv[2])
w = torch.ones(len(Y), 6)
frozen = torch.jit.freeze(module.eval(), preserved_attrs=["jacobian"])
results = [module(Y), module(Y[0]), module.jacobian(Y), module.jvp(Y, Y), module.vjp(Y, w)]
results += [module.in_domain(Y), module(Y.float()), frozen(Y), frozen.jacobian(Y[0])]
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
    results = torch.load(tmp_path / "results.pt")
    expected += [surrogate(Y), surrogate.jacobian(Y[0])]  # frozen
    for found, value in zip(results, expected, strict=True):
        torch.testing.assert_close(found, value, rtol=1e-13, atol=1e-13)


def test_round_trip(surrogate, dataset, saved, Y):
    loaded = export.load(saved)
    assert np.array_equal(loaded.predict(Y.numpy()), surrogate(Y).numpy())
    in_batches = loaded.predict(Y.numpy(), batch=3)
    np.testing.assert_allclose(in_batches, surrogate(Y).numpy(), rtol=1e-13)
    assert loaded.predict(Y.numpy()[:0]).shape == (0, 6)
    assert loaded.in_domain(Y.numpy()).all() and not loaded.in_domain(Y.numpy() + 100).any()
    assert (loaded.n_in, loaded.n_out) == (4, 6)
    loaded.check_matches(dataset.info)


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
    assert set(test) >= {"samples", "relative", "centred", "output_rms", "output_relative"}
    assert set(test["relative"]) == {"mean", "std", "min", "max"}
    assert len(test["output_rms"]) == 6 and test["output_rms"][0] == pytest.approx(0.01)
    assert {"python", "torch", "numpy", "varpro-surrogates"} <= set(found["versions"])
    assert found["created"].endswith("+00:00")
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


def test_a_newer_schema_is_refused(surrogate, saved, tmp_path):
    newer = {**export.load(saved).metadata, "schema_version": 99}
    export.save(surrogate, newer, tmp_path / "newer.pt")
    with pytest.raises(InputError, match="schema version 99, this package reads up to 1; update"):
        export.load(tmp_path / "newer.pt")


def test_sizes_that_disagree_are_one_clear_line(saved, dataset):
    loaded = export.load(saved)
    with pytest.raises(InputError, match=r"takes 4 parameters: expected \(n, 4\); got \(2, 3\)"):
        loaded.predict(np.ones((2, 3)))
    with pytest.raises(InputError, match=r"expected \(n, 4\); got \(4,\)"):
        loaded.in_domain(np.ones(4))
    other = dataclasses.replace(dataset.info, problem="dcr", y_names=("a", "b", "c"))
    message = r"4 parameters and gives 6 observables; the dataset \(dcr\) has 3 and 6"
    with pytest.raises(InputError, match=message):
        loaded.check_matches(other)


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


@settings(derandomize=True, deadline=None, max_examples=30)
@given(
    table=arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 4), st.integers(1, 4)),
        elements=st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_tables_come_back_to_the_bit(tmp_path_factory, table):
    folder = tmp_path_factory.mktemp("tables")
    names = [f"u(s{i}, 0.5)" for i in range(table.shape[1])]
    for ending in ("csv", "npy"):
        export.write_table(folder / f"t.{ending}", table, names)
        found = export.read_table(folder / f"t.{ending}", names)
        assert found.tobytes() == table.tobytes()
    export.write_table(folder / "t.h5", table, names)
    with h5py.File(folder / "t.h5", "r") as file:
        assert file["C"][:].tobytes() == table.tobytes()
        assert list(file["C"].attrs["names"]) == names


def test_tables_of_other_programs_are_read(dataset, tmp_path):
    (tmp_path / "bare.csv").write_text("1, 2e3\n\n-3,4\r\n")
    assert export.read_table(tmp_path / "bare.csv", ["a", "b"]).tolist() == [[1, 2000], [-3, 4]]
    (tmp_path / "turned.csv").write_text("b,a\n1,2\n")
    assert export.read_table(tmp_path / "turned.csv", ["a", "b"]).tolist() == [[2, 1]]
    np.save(tmp_path / "one.npy", np.array([1, 2], np.int32))
    assert export.read_table(tmp_path / "one.npy", ["a", "b"]).tolist() == [[1, 2]]
    dataset.write(tmp_path / "set.h5")
    assert np.array_equal(export.read_table(tmp_path / "set.h5", dataset.info.y_names), dataset.Y)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.txt", "1,2", "cannot tell the format of .*t.txt: know .csv, .npy, .h5"),
        ("t.csv", "a,b,c\n1,2,3\n", "has 3 columns; expected 2, one for each parameter"),
        ("t.csv", "a,c\n1,2\n", "must have one column b; it has"),
        ("t.csv", "a,a\n1,2\n", "must have one column a, b; it has"),
        ("t.csv", "a,b\n1,2\n3,nan\n", "row 3, column 2: 'nan' is not a finite number"),
        ("t.csv", "a,b\n1,2\n-inf,4\n", "row 3, column 1: '-inf' is not a finite number"),
        ("t.csv", "1,2\n1,x\n", "row 2, column 2: 'x' is not a finite number"),
        ("t.csv", "a,b\n1,2\n\n3\n", "row 4: expected 2 columns; got 1"),
        ("t.csv", "a,b\n", "holds no numbers"),
        ("t.csv", "", "holds no numbers"),
        ("t.csv", b"\xff\xfe\x00", "is not a whole .csv file"),
        ("t.npy", b"\x93NUMPY\x01\x00v\x00{'descr'", "is not a whole .npy file"),
        ("t.npy", b"PK", "is not a whole .npy file"),
        ("t.h5", b"\x89HDF\r\n\x1a\n", "is not a whole .h5 file"),
    ],
)
def test_tables_with_faults_are_one_clear_line(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as caught:
        export.read_table(path, ["a", "b"])
    assert len(str(caught.value).splitlines()) == 1


def test_arrays_with_faults_are_one_clear_line(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[1.0, 2.0], [np.inf, np.nan]]))
    with pytest.raises(InputError, match=r"is inf at row 2, column 1 \(counted from 1; 2 such"):
        export.read_table(tmp_path / "a.npy", ["a", "b"])
    np.save(tmp_path / "a.npy", np.ones((2, 2, 2)))
    with pytest.raises(InputError, match="must have 2 dimensions; got 3"):
        export.read_table(tmp_path / "a.npy", ["a", "b"])
    np.save(tmp_path / "a.npy", np.array([["x", "y"]]))
    with pytest.raises(InputError, match="not real numbers"):
        export.read_table(tmp_path / "a.npy", ["a", "b"])
    np.savez(tmp_path / "a.npz", Y=np.ones((2, 2)))
    os.replace(tmp_path / "a.npz", tmp_path / "a.npy")
    with pytest.raises(InputError, match="a.npy is an .npz file, not one array"):
        export.read_table(tmp_path / "a.npy", ["a", "b"])
    np.save(tmp_path / "a.npy", np.array([[{}]]), allow_pickle=True)
    with pytest.raises(InputError, match="is not a whole .npy file"):
        export.read_table(tmp_path / "a.npy", ["a", "b"])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["X"] = np.ones((2, 2))
    with pytest.raises(InputError, match="has no array /Y"):
        export.read_table(tmp_path / "a.h5", ["a", "b"])
    with pytest.raises(InputError, match="there is no file"):
        export.read_table(tmp_path / "missing.npy", ["a", "b"])
    for path in (tmp_path / "missing" / "c.csv", tmp_path / "c.txt"):
        with pytest.raises(InputError, match="cannot"):
            export.write_table(path, np.ones((1, 1)), ["c"])
    assert sorted(os.listdir(tmp_path)) == ["a.h5", "a.npy"]
