"""umbridge's own classes: a model in this process, and a client of `surrogates serve`."""

import contextlib
import subprocess
import sys

import pytest
import umbridge

import surrogates
from surrogates import InputError
from surrogates.adapters import umbridge as adapter

SERVE = """
import sys
from surrogates.serve import serving
tell = lambda url, names: print(url, flush=True)
serving.serve(sys.argv[1:], port=0, on_listening=tell)
"""


@contextlib.contextmanager
def served(path):
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, path], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def test_the_model_is_the_surrogate(surrogate, draws, close, program):
    model = program("umbridge")["model"]
    assert isinstance(model, umbridge.Model) and model.name == "oscillator"
    assert model.get_input_sizes() == [2] and model.get_output_sizes() == [3]
    compare(model, surrogate, draws, close)


def test_the_client_of_a_server_gets_the_same(surrogate, folder, draws, close):
    model = adapter.model(surrogate)
    with served(str(folder / "oscillator.npz")) as url:
        client = umbridge.HTTPModel(url, model.name)
        for what in ("evaluate", "gradient", "apply_jacobian", "apply_hessian"):
            assert getattr(client, f"supports_{what}")() and getattr(model, f"supports_{what}")()
        compare(client, surrogate, draws, close)
        assert client.get_input_sizes() == [2] and client.get_output_sizes() == [3]


def test_of_a_classifier_it_gives_the_logits(folder, draws, close):
    classifier = surrogates.load(folder / "sides.npz")
    model = adapter.model(classifier)
    for y in draws:
        close(model([y.tolist()])[0], classifier.logits(y))


def compare(model, surrogate, draws, close):
    w, v = [1.0, -2.0, 0.5], [0.3, -0.7]
    for y in draws:
        at = [y.tolist()]
        close(model(at), [surrogate.predict(y)])
        close(model.gradient(0, 0, at, w), w @ surrogate.jacobian(y))
        close(model.apply_jacobian(0, 0, at, v), surrogate.jacobian(y) @ v)
        close(model.apply_hessian(0, 0, 0, at, w, v), surrogate.hvp(y, w, v))


def test_what_it_does_not_have_is_refused(surrogate):
    model = adapter.model(surrogate, "other")
    assert model.name == "other"
    with pytest.raises(InputError, match=r"expected one input vector, \[y\]; got 2"):
        model([[2.0, 0.3], [2.0, 0.3]])
    with pytest.raises(InputError, match="expected the index 0 of the only vector; got 1, 0"):
        model.gradient(1, 0, [[2.0, 0.3]], [1.0, 0.0, 0.0])
