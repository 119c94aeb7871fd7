"""The ONNX model, evaluated by onnxruntime, against torch."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from every_kind import KINDS, case, check_columns, of_torch
from extended import both

from surrogates.errors import InputError
from surrogates.export import onnx as export

onnx = pytest.importorskip("onnx", reason="there is no onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="there is no onnxruntime")


def session(path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def outputs(found: onnxruntime.InferenceSession, Y: np.ndarray) -> dict[str, np.ndarray]:
    names = [output.name for output in found.get_outputs()]
    return dict(zip(names, found.run(None, {"y": Y}), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_onnxruntime_computes_what_torch_does(kind, tmp_path):
    _, loaded, Y = case(kind)
    export.save(loaded, tmp_path / "s.onnx")
    onnx.checker.check_model(str(tmp_path / "s.onnx"), full_check=True)
    found, right = session(tmp_path / "s.onnx"), of_torch(kind)
    many, one = outputs(found, Y), outputs(found, Y[:1])
    wanted = {export.OUTPUTS[name]: right[name] for name in right if name in export.OUTPUTS}
    assert many.keys() == wanted.keys()
    for name, values in wanted.items():
        check_columns(many[name], values, name)
        assert one[name].shape == (1, *values.shape[1:])
        scale = np.abs(values).max() + 1e-300
        assert np.abs(one[name].astype(float) - values[:1]).max() <= 1e-12 * scale, name


def test_nan_and_huge_numbers_go_through(tmp_path):
    for kind in ("mlp_relu_9_7_6_2", "resnet_softplus_20_16_8_2", "ode_tanh_9_5_7_2", "classes"):
        _, loaded, Y = case(kind)
        Y = Y[:3].copy()
        Y[0, 1], Y[1] = np.nan, 1e200
        export.save(loaded, tmp_path / "s.onnx")
        found = outputs(session(tmp_path / "s.onnx"), Y)
        assert found["in_domain"][:2].tolist() == [False, False]
        for name in found.keys() - {"in_domain", "class"}:
            assert np.isnan(found[name][0]).all(), (kind, name)
            assert np.isfinite(found[name][2]).all(), (kind, name)
        with np.errstate(over="ignore", invalid="ignore"):
            right = np.asarray(loaded.engine.forward(Y[1:]))
        np.testing.assert_allclose(found["c"][1:], right, rtol=1e-12)
        if kind == "classes":
            assert found["class"][0] == -1


def test_a_model_may_have_one_output(tmp_path):
    _, loaded, Y = case("everything")
    right = of_torch("everything")
    for method in ("forward", "jacobian", "predict_std", "in_domain"):
        export.save(loaded, tmp_path / "s.onnx", method=method)
        ((name, values),) = outputs(session(tmp_path / "s.onnx"), Y).items()
        assert name == export.OUTPUTS[method]
        check_columns(values, right[method], method)


def test_its_properties_are_the_metadata(tmp_path):
    _, loaded, _ = case("names")
    export.save(loaded, tmp_path / "s.onnx")
    found = session(tmp_path / "s.onnx").get_modelmeta()
    assert found.producer_name == "varpro-surrogates"
    texts = {key: json.loads(text) for key, text in found.custom_metadata_map.items()}
    assert texts["c_names"] == list(loaded.c_names) and texts["y_units"] == list(loaded.y_units)
    np.testing.assert_array_equal(texts["bounds"], loaded.bounds)
    assert texts["errors"] == loaded.metadata["errors"] and texts["metadata"] == loaded.metadata
    _, flat, _ = case("ode_softplus_8_11_17_3")
    export.save(flat, tmp_path / "flat.onnx")
    domain = json.loads(
        session(tmp_path / "flat.onnx").get_modelmeta().custom_metadata_map["domain"]
    )
    assert len(flat.domain.normals) == 1
    np.testing.assert_allclose(domain["normals"], flat.domain.normals, rtol=1e-15)
    np.testing.assert_array_equal(domain["centre"], flat.domain.centre)


def test_what_cannot_be_written_is_refused_in_one_line(tmp_path, monkeypatch):
    loaded = both("linear")[1]
    with pytest.raises(InputError, match="expected the name of an .onnx file"):
        export.save(loaded, tmp_path / "s.pt2")
    with pytest.raises(InputError, match="unknown method; did you mean 'predict_std'"):
        export.save(loaded, tmp_path / "s.onnx", method="predict_sdt")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"needs onnx: pip install 'varpro-surrogates\[onnx\]'"):
        export.save(loaded, tmp_path / "s.onnx")
    assert not list(tmp_path.iterdir())
