from __future__ import annotations

import dataclasses
import json
import os
import warnings

import h5py
import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from exports import alone
from hypothesis import given, settings
from hypothesis import strategies as st

import surrogates
from surrogates.data.rows import read_table, write_table
from surrogates.errors import InputError
from surrogates.export import npz, pt2
from surrogates.model import describe
from surrogates.model import file as export
from surrogates.model import loaded as loaded_module
from surrogates.model.metrics import evaluate
from surrogates.model.surrogate import Surrogate


@pytest.fixture
def saved(surrogate, dataset, tmp_path, written_once):
    Y, C = map(torch.from_numpy, dataset.part("test"))
    std = surrogate.predict_std
    errors = {"test": evaluate(surrogate, Y, C + 0.01, mean=C.mean(dim=0), predict_std=std)}
    training = {"width": 5, "alpha": (1e-10, np.float64(2)), "gap": float("nan"), "mean": C[0]}
    about = describe.metadata(dataset, training=training, errors=errors)
    return written_once("saved", lambda path: export.save(surrogate, about, path), tmp_path)


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


def test_round_trip(surrogate, dataset, saved, Y):
    loaded = surrogates.load(saved)
    assert (loaded.n_in, loaded.n_out) == (4, 6)
    loaded.check_matches(dataset.info)
    w = torch.linspace(-1, 1, 6, dtype=torch.float64).repeat(len(Y), 1)
    for rows in (slice(None), slice(0, 1), 0):
        y = Y[rows].numpy()
        pairs = {
            "predict": (loaded.predict(y), surrogate(Y)),
            "predict_std": (loaded.predict_std(y), surrogate.predict_std(Y)),
            "jacobian": (loaded.jacobian(y.tolist()), surrogate.jacobian(Y)),
            "jvp": (loaded.jvp(y, y), surrogate.jvp(Y, Y)),
            "vjp": (loaded.vjp(y, w[rows].numpy()), surrogate.vjp(Y, w)),
        }
        for name, (found, right) in pairs.items():
            assert isinstance(found, np.ndarray) and found.dtype == np.float64
            right = right[rows].numpy()
            assert found.shape == right.shape, name
            np.testing.assert_allclose(found, right, rtol=1e-12, atol=1e-13, err_msg=name)
    assert loaded.in_domain(Y.numpy()).all() and loaded.in_domain(Y[0].numpy()).shape == ()
    assert not loaded.in_domain(Y.numpy() + 100).any()


def test_a_large_batch_is_done_in_pieces(saved, Y, monkeypatch):
    loaded = surrogates.load(saved)
    whole = loaded.jvp(Y.numpy(), Y.numpy())
    monkeypatch.setattr(loaded_module, "_BATCH", 3)
    np.testing.assert_allclose(loaded.jvp(Y.numpy(), Y.numpy()), whole, rtol=1e-13)


def test_gradients_of_torch_go_through_the_file(saved, Y):
    """As a MAP estimate or HMC need: of a scalar of c, also where its terms are nonlinear."""
    module = surrogates.load(saved).module

    def scalar(y):
        return module(y).sin().sum()

    for y in (Y[0], Y):
        for _ in range(3):  # torch compiles anew after the first calls
            y = y.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(scalar(y), y)
            with torch.no_grad():
                expected = module.vjp(y, module(y).cos())
            torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)
        assert torch.autograd.gradcheck(scalar, y)


def test_an_eager_copy_is_for_torch_func(surrogate, saved, Y):
    eager = surrogates.load(saved).eager()
    for method in ("forward", "jacobian", "predict_std", "in_domain"):
        assert torch.equal(getattr(eager, method)(Y), getattr(surrogate, method)(Y))
    jacobian = torch.func.jacrev(eager)(Y[0])
    torch.testing.assert_close(jacobian, surrogate.jacobian(Y[0]), rtol=1e-12, atol=1e-12)


def test_a_program_of_torch_export_needs_only_torch_and_has_gradients(saved, Y, tmp_path):
    pytest.importorskip("torch", minversion="2.6", reason="torch.export cannot before")
    pt2.save(surrogates.load(saved), tmp_path / "toy.pt2")
    torch.save(Y, tmp_path / "Y.pt")
    script = """
extra = {"metadata.json": ""}
module = torch.export.load(sys.argv[1], extra_files=extra).module()
Y = torch.load(sys.argv[2]).requires_grad_()
c = module(Y)
(gradient,) = torch.autograd.grad(c.sin().sum(), Y)
jacobian = torch.func.jacrev(lambda y: module(y[None])[0])(Y[0].detach())
torch.save([c.detach(), gradient, jacobian], sys.argv[3])
import json
print(json.loads(extra["metadata.json"])["problem"])
"""
    words = (tmp_path / "toy.pt2", tmp_path / "Y.pt", tmp_path / "results.pt")
    assert alone(script, *words, cwd=tmp_path).strip() == "toy"
    module = surrogates.load(saved).module
    c = module(Y)
    expected = [c, module.vjp(Y, c.cos()), module.jacobian(Y[0])]
    for found, value in zip(torch.load(tmp_path / "results.pt"), expected, strict=True):
        torch.testing.assert_close(found, value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "method",
    [
        "vjp",
        "predict_std",
        *[pytest.param(x, marks=pytest.mark.thorough) for x in ("jacobian", "jvp", "in_domain")],
    ],
)
def test_every_method_can_be_a_program(saved, Y, tmp_path, method):
    pytest.importorskip("torch", minversion="2.6", reason="torch.export cannot before")
    loaded = surrogates.load(saved)
    pt2.save(loaded, tmp_path / "toy.pt2", method=method)
    program = torch.export.load(tmp_path / "toy.pt2").module()
    w = torch.linspace(-1, 1, 6, dtype=torch.float64).repeat(len(Y), 1)
    arguments = {"jvp": (Y, Y + 1), "vjp": (Y, w)}.get(method, (Y,))
    for n in (1, 3, len(Y)):
        rows = [argument[:n] for argument in arguments]
        found, value = program(*rows), getattr(loaded.module, method)(*rows)
        torch.testing.assert_close(found, value, rtol=1e-12, atol=1e-12)


def test_a_network_of_the_users_own_stays_in_its_file(parts, convolution, saved, tmp_path):
    described = export.load(saved).metadata
    export.save(Surrogate(**{**parts, "features": convolution}), described, tmp_path / "own.pt")
    own = surrogates.load(tmp_path / "own.pt")
    with pytest.raises(InputError, match="own.pt has a network of the user's own, or is of"):
        pt2.save(own, tmp_path / "own.pt2")
    assert not (tmp_path / "own.pt2").exists()


def test_a_program_takes_a_torch_that_can_export_it(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(InputError, match=r"takes torch 2\.6 or later; this is 2\.5\.1"):
        pt2.save(surrogates.load(saved), tmp_path / "toy.pt2")
    assert not (tmp_path / "toy.pt2").exists()


def test_outside_the_domain_is_evaluated_unless_the_user_refuses(saved, Y):
    y = Y.numpy().copy()
    y[3, 1] = 1e3
    free, strict = surrogates.load(saved), surrogates.load(saved, refuse_outside=True)
    assert np.isfinite(free.predict(y)).all()
    assert (
        free.in_domain(y).tolist()
        == strict.in_domain(y).tolist()
        == [True] * 3 + [False] + [True] * 3
    )
    np.testing.assert_array_equal(strict.predict(y[:3]), free.predict(y[:3]))
    message = (
        r"outside the training domain of .*toy.pt in 1 of 7 samples, first in sample 3 "
        r"\(from 0\): b is 1000, in training it was -10 to 30"
    )
    for method in ("predict", "predict_std", "jacobian"):
        with pytest.raises(InputError, match=message):
            getattr(strict, method)(y)
    with pytest.raises(InputError, match="in 1 of 1 samples, first in sample 0"):
        strict.vjp(y[3], np.ones(6))


def test_off_the_flat_of_the_training_parameters_is_outside_too(parts, saved, Y, tmp_path):
    normals = np.full((1, 4), 0.5)
    parts["domain"] = dataclasses.replace(parts["domain"], normals=normals)
    export.save(Surrogate(**parts), export.load(saved).metadata, tmp_path / "flat.pt")
    strict = surrogates.load(tmp_path / "flat.pt", refuse_outside=True)
    with pytest.raises(InputError, match=r"0 \(from 0\): it does not satisfy the linear relations"):
        strict.predict(Y[0].numpy())
    assert strict.predict(parts["domain"].centre).shape == (6,)


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


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (
            np.ones((2, 3)),
            r"takes 4 parameters .* expected y of shape \(4,\) or \(n, 4\), n at .*3\)",
        ),
        (np.ones(5), r"expected y of shape .*; got \(5,\)"),
        (1.0, r"expected y of shape .*; got \(\)"),
        (np.ones((0, 4)), r"n at least 1; got \(0, 4\)"),
        ([1, 2, np.nan, 4], "expected finite numbers in y; got NaN or infinity"),
        ([1, 2, np.inf, 4], "expected finite numbers in y; got NaN or infinity"),
        (["1", "2", "3", "4"], "expected real numbers in y, of dtype float64; got <U1"),
        (np.ones(4, dtype=complex), "expected real numbers in y, of dtype float64; got complex"),
    ],
)
def test_bad_parameters_are_one_clear_line(saved, y, message):
    loaded = surrogates.load(saved)
    for method in ("predict", "predict_std", "jacobian", "in_domain"):
        with pytest.raises(InputError, match=message) as caught:
            getattr(loaded, method)(y)
        assert len(str(caught.value).splitlines()) == 1


def test_directions_that_do_not_fit_are_one_clear_line(saved, Y):
    loaded, y = surrogates.load(saved), Y.numpy()
    with pytest.raises(InputError, match=r"expected w of shape \(6,\) or \(n, 6\).*got \(7, 4\)"):
        loaded.vjp(y, y)
    with pytest.raises(InputError, match=r"expected v for each y, \(7, 4\); got \(4,\)"):
        loaded.jvp(y, y[0])
    with pytest.raises(InputError, match="expected finite numbers in v"):
        loaded.jvp(y, np.nan * y)


NAMES = ("a", "b", "γ", "d")


def framed(array, names):
    """A data frame of columns in another order than ``names``."""
    frame = pytest.importorskip("pandas").DataFrame(array, columns=list(names))
    return frame[sorted(names, reverse=True)]


@pytest.mark.parametrize("one", [False, True])
@pytest.mark.parametrize("numpy_alone", [False, True])
def test_columns_of_a_data_frame_are_matched_by_their_names(saved, Y, tmp_path, numpy_alone, one):
    loaded, y = surrogates.load(saved), Y.numpy()
    if numpy_alone:
        npz.save(loaded, tmp_path / "a.npz")
        loaded = npz.load(tmp_path / "a.npz")
    w = np.linspace(-1, 1, 6) * np.ones((len(y), 1))
    frame, v, cotangent = framed(y, NAMES), framed(y, NAMES), framed(w, loaded.metadata["c_names"])
    if one:
        y, w, frame, v, cotangent = y[0], w[0], frame.iloc[0], v.iloc[0], cotangent.iloc[0]
    for method in ("__call__", "predict", "predict_std", "jacobian", "in_domain"):
        call = getattr(loaded, method)
        np.testing.assert_array_equal(call(frame), call(y))
    np.testing.assert_array_equal(loaded.jvp(frame, v), loaded.jvp(y, y))
    np.testing.assert_array_equal(loaded.vjp(frame, cotangent), loaded.vjp(y, w))
    np.testing.assert_array_equal(
        loaded.predict_interval(frame, 0.9), loaded.predict_interval(y, 0.9)
    )
    wrong = frame.rename({"d": "e"} if one else None, **({} if one else {"columns": {"d": "e"}}))
    for method in ("predict", "predict_std", "jacobian", "in_domain"):
        with pytest.raises(InputError, match="y lacks 'd', has the unknown 'e'; expected are a"):
            getattr(loaded, method)(wrong)
    with pytest.raises(InputError, match="w lacks "):
        loaded.vjp(frame, frame)


def test_masked_arrays_are_refused_by_every_method(saved, Y):
    loaded, y = surrogates.load(saved), Y.numpy()
    masked = np.ma.masked_less(y, y[1, 0])
    for method in ("predict", "predict_std", "jacobian", "in_domain"):
        for values in (masked, masked[0], list(masked)):
            with pytest.raises(InputError, match=r"^y(, row 0)? is a masked array; leave its"):
                getattr(loaded, method)(values)
    for method, what in (("jvp", "v"), ("vjp", "w")):
        with pytest.raises(InputError, match=f"{what} is a masked array"):
            getattr(loaded, method)(y, masked)


def test_a_dataset_of_other_names_or_another_order_is_refused(saved, dataset):
    loaded, (a, b, *others) = export.load(saved), dataset.info.y_names
    for key, names, message in (
        ("y_names", (b, a, *others), "has the parameter 'a' where the dataset .toy. has 'b'"),
        ("c_names", dataset.info.c_names[::-1], r"has the observable 'u\(s0, 0.5\)' where"),
    ):
        with pytest.raises(InputError, match=message):
            loaded.check_matches(dataclasses.replace(dataset.info, **{key: names}))
    unnamed = {"y_names": ("y0", "y1", "y2", "y3"), "c_names": tuple(f"c{k}" for k in range(6))}
    loaded.check_matches(dataclasses.replace(dataset.info, **unnamed))


def test_sizes_that_disagree_are_one_clear_line(saved, dataset):
    loaded = export.load(saved)
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
        write_table(folder / f"t.{ending}", table, names)
        found = read_table(folder / f"t.{ending}", names)
        assert found.tobytes() == table.tobytes()
    write_table(folder / "t.h5", table, names)
    with h5py.File(folder / "t.h5", "r") as file:
        assert file["C"][:].tobytes() == table.tobytes()
        assert list(file["C"].attrs["names"]) == names


def test_tables_of_other_programs_are_read(dataset, tmp_path):
    (tmp_path / "bare.csv").write_text("1, 2e3\n\n-3,4\r\n")
    assert read_table(tmp_path / "bare.csv", ["a", "b"]).tolist() == [[1, 2000], [-3, 4]]
    (tmp_path / "turned.csv").write_text("b,a\n1,2\n")
    assert read_table(tmp_path / "turned.csv", ["a", "b"]).tolist() == [[2, 1]]
    np.save(tmp_path / "one.npy", np.array([1, 2], np.int32))
    assert read_table(tmp_path / "one.npy", ["a", "b"]).tolist() == [[1, 2]]
    dataset.write(tmp_path / "set.h5")
    names = list(dataset.info.y_names)
    for others, Y in ((names, dataset.Y), (names[::-1], dataset.Y[:, ::-1])):
        assert np.array_equal(read_table(tmp_path / "set.h5", others), Y)
    assert np.array_equal(read_table(tmp_path / "set.h5", ["y0", "y1", "y2", "y3"]), dataset.Y)
    with pytest.raises(InputError, match="must have one column e; it has"):
        read_table(tmp_path / "set.h5", [*names[:3], "e"])
    np.save(tmp_path / "named.npy", np.array([(1, 2), (3, 4)], [("b", "f4"), ("a", "i2")]))
    assert read_table(tmp_path / "named.npy", ["a", "b"]).tolist() == [[2, 1], [4, 3]]
    with pytest.raises(InputError, match="named.npy lacks 'c', has the unknown 'b'"):
        read_table(tmp_path / "named.npy", ["a", "c"])
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["Y"] = h5py.ExternalLink(str(tmp_path / "set.h5"), "Y")
    with pytest.raises(InputError, match="link.h5: Y is not in the file itself"):
        read_table(tmp_path / "link.h5", dataset.info.y_names)


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
        read_table(path, ["a", "b"])
    assert len(str(caught.value).splitlines()) == 1


def test_arrays_with_faults_are_one_clear_line(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[1.0, 2.0], [np.inf, np.nan]]))
    with pytest.raises(InputError, match=r"is inf at row 2, column 1 \(counted from 1; 2 such"):
        read_table(tmp_path / "a.npy", ["a", "b"])
    np.save(tmp_path / "a.npy", np.ones((2, 2, 2)))
    with pytest.raises(InputError, match="must have 2 dimensions; got 3"):
        read_table(tmp_path / "a.npy", ["a", "b"])
    np.save(tmp_path / "a.npy", np.array([["x", "y"]]))
    with pytest.raises(InputError, match="not real numbers"):
        read_table(tmp_path / "a.npy", ["a", "b"])
    np.savez(tmp_path / "a.npz", Y=np.ones((2, 2)))
    os.replace(tmp_path / "a.npz", tmp_path / "a.npy")
    with pytest.raises(InputError, match="a.npy is an .npz file, not one array"):
        read_table(tmp_path / "a.npy", ["a", "b"])
    np.save(tmp_path / "a.npy", np.array([[{}]]), allow_pickle=True)
    with pytest.raises(InputError, match="is not a whole .npy file"):
        read_table(tmp_path / "a.npy", ["a", "b"])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["X"] = np.ones((2, 2))
    with pytest.raises(InputError, match="has no array /Y"):
        read_table(tmp_path / "a.h5", ["a", "b"])
    with pytest.raises(InputError, match="there is no file"):
        read_table(tmp_path / "missing.npy", ["a", "b"])
    for path in (tmp_path / "missing" / "c.csv", tmp_path / "c.txt"):
        with pytest.raises(InputError, match="cannot"):
            write_table(path, np.ones((1, 1)), ["c"])
    assert sorted(os.listdir(tmp_path)) == ["a.h5", "a.npy"]
