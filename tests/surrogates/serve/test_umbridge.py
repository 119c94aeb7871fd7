"""The UM-Bridge protocol, spoken by its own client and by hand."""

import dataclasses
import json
import sys

import numpy as np
import pytest
import torch
from extended import made, points
from served import GOOD, OUTSIDE, SENS, Y0, close, error, serve

from surrogates.model import describe
from surrogates.model import file as export
from surrogates.model.classifier import Classifier

umbridge = pytest.importorskip("umbridge")
protocol = pytest.importorskip("surrogates.serve.umbridge", reason="aiohttp is not installed")


def test_the_umbridge_client_gets_what_the_surrogates_give(server, surrogate, doubled, Y):
    assert server.line.startswith("serving toy, doubled at http://127.0.0.1:")
    names = ["toy", "toy.trust", "doubled", "doubled.trust"]
    assert umbridge.supported_models(server.url) == names
    w, v = torch.tensor(SENS, dtype=torch.float64), torch.tensor(Y0, dtype=torch.float64)
    for name, expected in (("toy", surrogate), ("doubled", doubled)):
        model = umbridge.HTTPModel(server.url, name)
        assert model.get_input_sizes() == [4] and model.get_output_sizes() == [6]
        assert model.supports_evaluate() and model.supports_gradient()
        assert model.supports_apply_jacobian() and model.supports_apply_hessian()
        for y in Y:
            at = [y.tolist()]
            close(model(at), [expected(y)])
            close(model.gradient(0, 0, at, SENS), expected.vjp(y, w))
            close(model.apply_jacobian(0, 0, at, Y0), expected.jvp(y, v))
            close(model.apply_hessian(0, 0, 0, at, SENS, Y0), expected.hvp(y, w, v))
    assert not torch.allclose(surrogate(Y), doubled(Y))


def test_derivatives_are_those_of_the_values_that_are_served(server):
    model = umbridge.HTTPModel(server.url, "toy")
    step = 1e-5
    sides = [
        model([(np.array(Y0) + sign * step * row).tolist()])[0]
        for row in np.eye(4)
        for sign in (1, -1)
    ]
    J = (np.array(sides[::2]) - np.array(sides[1::2])).T / (2 * step)
    gradient, jvp = model.gradient(0, 0, [Y0], SENS), model.apply_jacobian(0, 0, [Y0], Y0)
    np.testing.assert_allclose(gradient, SENS @ J, rtol=1e-7)
    np.testing.assert_allclose(jvp, J @ Y0, rtol=1e-7)


def test_numbers_pass_to_the_bit():
    values = np.random.default_rng(0).normal(size=1000) * np.logspace(-300, 300, 1000)
    output = [values, np.array([0.1, -0.0, 5e-324, sys.float_info.max])]
    passed = json.loads(protocol._reply({"output": output}).text)["output"]
    for sent, came in zip(output, passed, strict=True):
        assert sent.tobytes() == np.array(came).tobytes()
    y = passed[0]
    assert protocol._vector(json.loads(json.dumps(y)), 1000, "y").tobytes() == values.tobytes()


def test_trust_is_the_standard_deviation_and_the_training_domain(server, toy):
    model, loaded = umbridge.HTTPModel(server.url, "toy.trust"), export.load(toy)
    assert model.get_input_sizes() == [4] and model.get_output_sizes() == [6, 1]
    for y, inside in ((Y0, 1.0), (OUTSIDE, 0.0)):
        std, domain = model([y])
        np.testing.assert_allclose(std, loaded.predict_std(y), rtol=1e-13)
        assert domain == [inside]
    assert model.supports_evaluate() and not model.supports_gradient()
    status, reply = server.post("Gradient", {**GOOD["Gradient"], "name": "toy.trust"})
    message = "toy.trust does not support Gradient; it supports Evaluate"
    assert (status, reply) == (400, error("UnsupportedFeature", message))


def test_members_and_logarithms_are_served_in_physical_units(dataset, tmp_path):
    surrogate = made("ode gaussian quadratic", True, True, True, True, n_in=4, n_out=6)
    export.save(surrogate, describe.metadata(dataset, training={}, errors={}), tmp_path / "logs.pt")
    y = points(surrogate)[0]
    at, v = torch.from_numpy(y), torch.tensor(Y0, dtype=torch.float64)
    with serve(tmp_path / "logs.pt") as server:
        model = umbridge.HTTPModel(server.url, "logs")
        close(model([y.tolist()]), [surrogate(at)])
        w = torch.tensor(SENS, dtype=torch.float64)
        close(model.gradient(0, 0, [y.tolist()], SENS), surrogate.vjp(at, w))
        close(model.apply_jacobian(0, 0, [y.tolist()], Y0), surrogate.jvp(at, v))
        second = model.apply_hessian(0, 0, 0, [y.tolist()], SENS, Y0)
        close(second, surrogate.hvp(at, w, v))
        std, inside = umbridge.HTTPModel(server.url, "logs.trust")([y.tolist()])
        close([std], [surrogate.predict_std(at)])
        assert inside == [1.0]
        message = (
            f"{tmp_path / 'logs.pt'} takes the logarithm of b: expected values > 0; got -2 in "
            "sample 0 (from 0)"
        )
        for name in ("logs", "logs.trust"):
            body = {"name": name, "input": [[1.0, -2.0, 3.0, 4.0]]}
            assert server.post("Evaluate", body) == (400, error("InvalidInput", message))
        assert server.end() == 0 and server.errors == ""


def test_of_a_classifier_the_logits_are_served_and_trust_is_its_probabilities(
    parts, dataset, tmp_path
):
    del parts["error_bars"]
    classifier = Classifier(**parts, temperature=2.0)
    info = dataclasses.replace(dataset.info, task="classification")
    about = describe.metadata(dataclasses.replace(dataset, info=info), training={}, errors={})
    export.save(classifier, about, tmp_path / "kinds.pt")
    with serve(tmp_path / "kinds.pt") as server:
        model, trust = (umbridge.HTTPModel(server.url, name) for name in ("kinds", "kinds.trust"))
        assert model.get_output_sizes() == [6] and trust.get_output_sizes() == [6, 1]
        for y, inside in ((Y0, 1.0), (OUTSIDE, 0.0)):
            at = torch.tensor(y, dtype=torch.float64)
            close(model([y]), [classifier(at)])
            w = torch.tensor(SENS, dtype=torch.float64)
            close(model.gradient(0, 0, [y], SENS), classifier.vjp(at, w))
            v = torch.tensor(Y0, dtype=torch.float64)
            close(model.apply_hessian(0, 0, 0, [y], SENS, Y0), classifier.hvp(at, w, v))
            p, domain = trust([y])
            close([p], [classifier.probabilities(at)])
            assert domain == [inside]
        assert server.end() == 0


def test_without_shared_memory_the_client_goes_on_over_http(server, surrogate, capsys):
    model = umbridge.HTTPModel(server.url, "toy", use_shmem=True)
    assert "Using HTTP instead" in capsys.readouterr().out
    assert not model.supports_shmem()
    close(model([Y0]), [surrogate(torch.tensor(Y0))])
    for operation in ("Test", "Evaluate", "Gradient", "ApplyJacobian", "ApplyHessian"):
        status, reply = server.post(f"{operation}ShMem", {"name": "toy", "tid": "1"})
        assert (status, reply["error"]["type"]) == (400, "UnsupportedFeature")


def test_outside_the_domain_is_answered_unless_refused(server, surrogate):
    model = umbridge.HTTPModel(server.url, "toy")
    trust = umbridge.HTTPModel(server.url, "toy.trust")
    c = surrogate(torch.tensor(OUTSIDE))
    for config in ({}, {"refuse_outside": False}):
        close(model([OUTSIDE], config), [c])
    refuse = {"refuse_outside": True}
    close(model([Y0], refuse), [surrogate(torch.tensor(Y0))])
    for call in (
        lambda: model([OUTSIDE], refuse),
        lambda: model.gradient(0, 0, [OUTSIDE], SENS, refuse),
        lambda: model.apply_jacobian(0, 0, [OUTSIDE], Y0, refuse),
        lambda: trust([OUTSIDE], refuse),
    ):
        with pytest.raises(Exception, match="InvalidInput: .*outside"):
            call()
    close(model([OUTSIDE]), [c])


def test_a_config_of_null_is_an_empty_one(server):
    for endpoint, body in GOOD.items():
        expected = server.post(endpoint, body)
        assert expected[0] == 200 and server.post(endpoint, {**body, "config": None}) == expected


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("endpoint", "change", "message"),
    [
        ("Evaluate", {"name": ...}, "the request has no field 'name'"),
        ("Evaluate", {"name": ["toy"]}, "name must be a string; got an array"),
        ("Evaluate", {"input": ...}, "the request has no field 'input'"),
        ("Evaluate", {"input": 1}, "input must be an array of arrays; got 1"),
        ("Evaluate", {"input": []}, "input must hold 1 array; got 0"),
        ("Evaluate", {"input": [Y0, Y0]}, "input must hold 1 array; got 2"),
        ("Evaluate", {"input": Y0[:1]}, "input[0] must be an array of numbers; got 1.0"),
        ("Evaluate", {"input": [Y0[:3]]}, "input[0] must have 4 numbers; got 3"),
        ("Evaluate", {"input": [[*Y0, 0]]}, "input[0] must have 4 numbers; got 5"),
        ("Evaluate", {"input": [[1, 2, "3", 4]]}, 'input[0][2] must be a finite number; got "3"'),
        ("Evaluate", {"input": [[1, None, 3, 4]]}, "input[0][1] must be a finite number; got null"),
        ("Evaluate", {"input": [[True, 2, 3, 4]]}, "input[0][0] must be a finite number; got true"),
        (
            "Evaluate",
            {"input": [[[1], 2, 3, 4]]},
            "input[0][0] must be a finite number; got an arr",
        ),
        ("Evaluate", {"input": [[1, 2, 3, {}]]}, "input[0][3] must be a finite number; got an obj"),
        ("Evaluate", {"input": [[1, 2, NAN, 4]]}, "input[0][2] must be a finite number; got NaN"),
        ("Evaluate", {"input": [[1, -INFINITY, 3, 4]]}, "must be a finite number; got -Infinity"),
        ("Evaluate", {"input": [[10**400, 2, 3, 4]]}, "must be a finite number; got 10000"),
        ("Evaluate", {"config": 0}, "config must be an object; got 0"),
        ("Evaluate", {"config": []}, "config must be an object; got an array"),
        ("Evaluate", {"config": {"refuse": True}}, "key 'refuse'; did you mean 'refuse_outside'?"),
        ("Evaluate", {"config": {"level": 1}}, "key 'level'; known are refuse_outside"),
        ("Evaluate", {"config": {"refuse_outside": 1}}, "must be true or false; got 1"),
        ("InputSizes", {"config": {"level": 1}}, "key 'level'; known are refuse_outside"),
        ("OutputSizes", {"config": {"level": 1}}, "key 'level'; known are refuse_outside"),
        ("Gradient", {"outWrt": ...}, "the request has no field 'outWrt'"),
        (
            "Gradient",
            {"outWrt": 1},
            "outWrt must be 0, as there is one input and one output; got 1",
        ),
        (
            "Gradient",
            {"inWrt": -1},
            "inWrt must be 0, as there is one input and one output; got -1",
        ),
        (
            "Gradient",
            {"inWrt": False},
            "inWrt must be 0, as there is one input and one output; got f",
        ),
        ("Gradient", {"sens": ...}, "the request has no field 'sens'"),
        ("Gradient", {"sens": SENS[:4]}, "sens must have 6 numbers; got 4"),
        ("Gradient", {"sens": [*SENS[:5], NAN]}, "sens[5] must be a finite number; got NaN"),
        ("Gradient", {"input": [Y0[:3]]}, "input[0] must have 4 numbers; got 3"),
        ("ApplyJacobian", {"inWrt": 1}, "inWrt must be 0"),
        ("ApplyJacobian", {"outWrt": "0"}, "outWrt must be 0"),
        ("ApplyJacobian", {"vec": SENS}, "vec must have 4 numbers; got 6"),
        ("ApplyJacobian", {"vec": [1, 2, 3, None]}, "vec[3] must be a finite number; got null"),
        ("ApplyHessian", {"inWrt2": 1}, "inWrt2 must be 0"),
        ("ApplyHessian", {"inWrt1": ...}, "the request has no field 'inWrt1'"),
        ("ApplyHessian", {"sens": Y0}, "sens must have 6 numbers; got 4"),
    ],
)
def test_a_wrong_request_is_answered_in_one_line_and_the_server_goes_on(
    server, endpoint, change, message
):
    asked = {**GOOD[endpoint], **change}
    asked = {key: value for key, value in asked.items() if value is not ...}
    status, reply = server.post(endpoint, asked)
    assert (status, set(reply), reply["error"]["type"]) == (400, {"error"}, "InvalidInput")
    assert message in reply["error"]["message"] and "\n" not in reply["error"]["message"]
    assert server.post(endpoint, GOOD[endpoint])[0] == 200


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the request's body is not JSON: "),
        (b'{"name": "toy", "input": [[1, 2', "the request's body is not JSON: "),
        (b"\xff\xfe\xfd", "the request's body is not JSON: "),
        (b"[" * 100_000, "the request's body is not JSON: "),
        (b"null", "the request must be a JSON object; got null"),
        (b"[]", "the request must be a JSON object; got an array"),
    ],
)
@pytest.mark.parametrize("endpoint", GOOD)
def test_what_is_no_request_is_answered_too(server, endpoint, content, message):
    status, reply = server.post(endpoint, content)
    assert (status, reply["error"]["type"]) == (400, "InvalidInput")
    assert reply["error"]["message"].startswith(message)
    assert server.post(endpoint, GOOD[endpoint])[0] == 200


def test_other_errors_have_the_types_of_the_protocol(server):
    for endpoint, body in GOOD.items():
        status, reply = server.post(endpoint, {**body, "name": "tay"})
        message = "unknown model 'tay'; did you mean 'toy'?"
        assert (status, reply) == (400, error("ModelNotFound", message))
    status, reply = server.post("ApplyHessian", {**GOOD["ApplyHessian"], "name": "toy.trust"})
    message = "toy.trust does not support ApplyHessian; it supports Evaluate"
    assert (status, reply) == (400, error("UnsupportedFeature", message))
    huge = {**GOOD["Gradient"], "sens": [1.7e308] * 6}
    status, reply = server.post("Gradient", huge)
    assert (status, reply) == (
        400,
        error("InvalidOutput", "the result at this input is not finite"),
    )
    status, reply = server.post("evaluate", GOOD["Evaluate"])
    assert (status, reply) == (404, error("InvalidInput", "POST /evaluate: 404: Not Found"))
    status, reply = server.post("Evaluate", b"", method="GET")
    assert (status, reply["error"]["type"]) == (405, "InvalidInput")
    status, reply = server.post("Evaluate", b" " * (protocol.MAX_BODY + 1))
    assert status == 413 and f"size {protocol.MAX_BODY} exceeded" in reply["error"]["message"]
    assert server.post("Evaluate", GOOD["Evaluate"])[0] == 200


def test_the_client_raises_what_the_server_says(server):
    model = umbridge.HTTPModel(server.url, "toy")
    with pytest.raises(Exception, match=r"InvalidInput: input\[0\] must have 4 numbers; got 3"):
        model([Y0[:3]])
    with pytest.raises(Exception, match="InvalidInput: outWrt must be 0"):
        model.gradient(1, 0, [Y0], SENS)
    with pytest.raises(Exception, match=r"InvalidInput: vec must have 4 numbers; got 6"):
        model.apply_jacobian(0, 0, [Y0], SENS)
