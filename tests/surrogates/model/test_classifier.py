from __future__ import annotations

import ctypes
import dataclasses
import math
import shutil
import subprocess

import numpy as np
import pytest
import torch
from exports import alone

import surrogates
from surrogates.errors import InputError
from surrogates.export import c as c_source
from surrogates.export import npz, pt2
from surrogates.model import describe
from surrogates.model import file as export
from surrogates.model.classifier import BINS, Classifier, assess

N_IN, K = 4, 6
TEMPERATURE = 2.5


@pytest.fixture
def made(parts):
    """What a classifier is made of; the logits are of the size of 1."""
    del parts["error_bars"]
    return {**parts, "temperature": TEMPERATURE}


@pytest.fixture
def classifier(made) -> Classifier:
    return Classifier(**made)


@pytest.fixture
def classes(dataset, classifier):
    """Twenty samples of six classes, of which the first has none."""
    C = np.eye(K)[np.arange(len(dataset.Y)) % (K - 1) + 1]
    names = ("corn, no till", "grass", "hay", "oats", "ΓΌ", "wheat")
    info = dataclasses.replace(
        dataset.info, task="classification", c_names=names, c_units=("1",) * K, coordinates={}
    )
    return dataclasses.replace(dataset, info=info, C=C)


@pytest.fixture
def saved(classifier, classes, tmp_path, written_once):
    Y, C = map(torch.from_numpy, classes.part("test"))
    training = {"temperature": float(classifier.temperature)}
    errors = {"test": assess(classifier, Y, C)}
    about = describe.metadata(classes, training=training, errors=errors)
    return written_once("saved", lambda path: export.save(classifier, about, path), tmp_path)


def with_nan(Y: torch.Tensor) -> torch.Tensor:
    """Put a NaN into the second row."""
    Y = Y.clone()
    Y[1, 2] = math.nan
    return Y


def test_is_the_documented_formula(made, classifier, Y):
    F = made["features"]((Y - made["y_shift"]) / made["y_scale"]).detach()
    logits = torch.cat([F, torch.ones(len(Y), 1)], dim=1) @ made["W"].T / TEMPERATURE
    e = logits.exp()
    p = e / e.sum(dim=1, keepdim=True)
    torch.testing.assert_close(classifier(Y), logits, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(classifier.probabilities(Y), p, rtol=1e-13, atol=1e-15)
    assert classifier.predict(Y).tolist() == [max(range(K), key=row.__getitem__) for row in p]
    assert len(set(classifier.predict(Y).tolist())) > 1


def test_one_sample_and_a_batch_agree_in_shape_and_value(classifier, Y):
    shapes = {"forward": (K,), "probabilities": (K,), "predict": (), "jacobian": (K, N_IN)}
    for method, shape in shapes.items():
        call = getattr(classifier, method)
        for n in (1, 7):
            batch = call(Y[:n])
            assert batch.shape == (n, *shape) and call(Y[0]).shape == shape
            assert batch.dtype == (torch.int64 if method == "predict" else torch.float64)
            torch.testing.assert_close(batch[0], call(Y[0]), rtol=1e-13, atol=1e-13)
        assert torch.equal(call(Y[0].int()), call(Y[0].int().double()))


def test_the_jacobian_is_that_of_the_logits(classifier, convolution, made, Y):
    for model in (classifier, Classifier(**{**made, "features": convolution})):
        J = torch.func.vmap(torch.func.jacrev(model.forward))(Y)
        w = torch.linspace(-1, 1, K, dtype=torch.float64).repeat(len(Y), 1)
        torch.testing.assert_close(model.jacobian(Y), J, rtol=1e-12, atol=1e-14)
        Jv, Jtw = torch.einsum("noi,ni->no", J, Y), torch.einsum("noi,no->ni", J, w)
        torch.testing.assert_close(model.jvp(Y, Y), Jv, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(model.vjp(Y, w), Jtw, rtol=1e-12, atol=1e-13)


def test_nan_has_no_class_and_huge_logits_have_probabilities(classifier, made, Y):
    for model in (classifier, torch.jit.script(classifier)):
        p, k = model.probabilities(with_nan(Y)), model.predict(with_nan(Y))
        assert p[1].isnan().all() and k[1] == -1 == model.predict(with_nan(Y)[1])
        others = [0, 2, 3, 4, 5, 6]
        assert p[others].isfinite().all() and torch.equal(k[others], model.predict(Y)[others])
    p = Classifier(**{**made, "temperature": 1e-6}).probabilities(Y)
    assert p.isfinite().all() and p.sum(dim=1).tolist() == [1] * 7


def test_what_is_no_temperature_is_refused(made):
    for value in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="expected a temperature > 0; got"):
            Classifier(**{**made, "temperature": value})


def test_the_file_needs_only_torch_and_claims_no_error_bars(classifier, saved, Y, tmp_path):
    torch.save(with_nan(Y), tmp_path / "Y.pt")
    script = """
module = torch.jit.load(sys.argv[1])
Y = torch.load(sys.argv[2])
names = ("forward", "probabilities", "predict", "jacobian", "in_domain")
results = [getattr(module, name)(y) for name in names for y in (Y, Y[0], Y[1])]
module = torch.jit.freeze(module.eval(), preserved_attrs=["probabilities", "predict"])
results += [module(Y), module.probabilities(Y[0]), module.predict(Y)]
torch.save(results, sys.argv[3])
print(hasattr(torch.jit.load(sys.argv[1]), "predict_std"))
"""
    words = (saved, tmp_path / "Y.pt", tmp_path / "results.pt")
    assert alone(script, *words, cwd=tmp_path).strip() == "False"
    Y = with_nan(Y)
    names = ("forward", "probabilities", "predict", "jacobian", "in_domain")
    expected = [getattr(classifier, name)(y) for name in names for y in (Y, Y[0], Y[1])]
    expected += [classifier(Y), classifier.probabilities(Y[0]), classifier.predict(Y)]
    for found, value in zip(torch.load(tmp_path / "results.pt"), expected, strict=True):
        torch.testing.assert_close(found, value, rtol=1e-13, atol=1e-14, equal_nan=True)
    with pytest.raises(NotImplementedError, match="probabilities in place of error bars"):
        classifier.predict_std(Y)


def test_a_loaded_file_gives_logits_probabilities_and_classes(classifier, classes, saved, Y):
    loaded = surrogates.load(saved)
    assert loaded.class_names == classes.info.c_names and loaded.temperature == TEMPERATURE
    loaded.check_matches(classes.info)
    for rows in (slice(None), slice(0, 1), 0):
        y = Y[rows].numpy()
        for found, right in (
            (loaded(y), classifier(Y)),
            (loaded.logits(y), classifier(Y)),
            (loaded.probabilities(y), classifier.probabilities(Y)),
            (loaded.predict(y), classifier.predict(Y)),
            (loaded.jacobian(y), classifier.jacobian(Y)),
        ):
            right = right[rows].numpy()
            assert found.dtype == right.dtype and found.shape == right.shape
            np.testing.assert_allclose(found, right, rtol=1e-12, atol=1e-13)
    for refused in (
        loaded.predict_std,
        loaded.predict_cov,
        lambda y: loaded.sample(y, 3),
    ):
        with pytest.raises(
            InputError, match="toy.pt is a classifier: it has probabilities, and no"
        ):
            refused(y)
    for data in (loaded(y), [1.0], {"no class": 1.0}):  # whatever is given as data
        with pytest.raises(InputError, match="classifier: the likelihood of a class is its prob"):
            loaded.likelihood(data, 0.1)
    names = np.array(loaded.class_names)[loaded.predict(Y.numpy())]
    assert names.tolist() == [loaded.class_names[loaded.predict(one)] for one in Y.numpy()]
    with pytest.raises(InputError, match=r"takes 4 parameters and gives 6 classes: .* got \(5,\)"):
        loaded.predict(np.ones(5))
    strict = surrogates.load(saved, refuse_outside=True)
    for method in ("logits", "probabilities", "predict"):
        with pytest.raises(InputError, match="y is outside the training domain of .*toy.pt"):
            getattr(strict, method)(Y.numpy() + 100)
    for method in ("forward", "probabilities", "predict", "jacobian"):
        eager = getattr(loaded.eager(), method)
        assert torch.equal(eager(Y), getattr(classifier, method)(Y))


def test_metadata_say_what_the_classifier_is_and_older_versions_refuse_it(
    classes, dataset, saved, surrogate, tmp_path
):
    found = export.load(saved).metadata
    assert found["task"] == "classification" and "task" not in found["dataset"]
    assert tuple(found["c_names"]) == classes.info.c_names
    assert found["training"]["temperature"] == TEMPERATURE
    test = found["errors"]["test"]
    assert sum(map(sum, test["confusion"])) == test["samples"] == classes.size("test")
    assert test["class_accuracy"][0] is None and len(test["reliability"]) == BINS
    about = describe.metadata(dataset, training={}, errors={})
    assert (found["schema_version"], about["schema_version"]) == (3, 2)
    assert about["task"] == "regression"
    for one, another in ((saved, dataset.info), (tmp_path / "map.pt", classes.info)):
        export.save(surrogate, about, tmp_path / "map.pt")
        with pytest.raises(
            InputError, match=r".pt is for (\w*); the dataset \(toy\) is for (?!\1)"
        ):
            export.load(one).check_matches(another)


@pytest.mark.parametrize(
    "method",
    [
        "probabilities",
        "jacobian",
        *[pytest.param(x, marks=pytest.mark.thorough) for x in ("forward", "predict")],
    ],
)
def test_every_method_can_be_a_program(classifier, saved, Y, tmp_path, method):
    pytest.importorskip("torch", minversion="2.6", reason="torch.export cannot before")
    pt2.save(surrogates.load(saved), tmp_path / "toy.pt2", method=method)
    program = torch.export.load(tmp_path / "toy.pt2").module()
    for n in (1, 3, 7):
        found, value = program(with_nan(Y)[:n]), getattr(classifier, method)(with_nan(Y)[:n])
        torch.testing.assert_close(found, value, rtol=1e-12, atol=1e-12, equal_nan=True)


def test_a_method_that_it_has_not_is_refused(saved, tmp_path):
    loaded = surrogates.load(saved)
    with pytest.raises(InputError, match="unknown method; did you mean 'predict'"):
        pt2.save(loaded, tmp_path / "toy.pt2", method="predict_std")
    assert not (tmp_path / "toy.pt2").exists()


def test_plain_arrays_give_the_same(classifier, saved, Y, tmp_path):
    npz.save(surrogates.load(saved), tmp_path / "toy.npz")
    plain = npz.load(tmp_path / "toy.npz")
    np.testing.assert_array_equal(plain.logits(Y.numpy()), plain.engine.forward(Y.numpy()))
    for y in (with_nan(Y), Y[:1], Y[0], with_nan(Y)[1]):
        engine = plain.engine  # which takes NaN too
        for found, right in (
            (engine.forward(y.numpy()), classifier(y)),
            (engine.probabilities(y.numpy()), classifier.probabilities(y)),
            (engine.predict(y.numpy()), classifier.predict(y)),
            (engine.jacobian(y.numpy()), classifier.jacobian(y)),
            (engine.in_domain(y.numpy()), classifier.in_domain(y)),
        ):
            right = right.numpy()
            assert found.dtype == right.dtype and found.shape == right.shape
            np.testing.assert_allclose(found, right, rtol=1e-12, atol=1e-13)
    with pytest.raises(
        InputError, match="is a classifier: it has probabilities, and no error bars"
    ):
        plain.predict_std(Y.numpy())


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
@pytest.mark.parametrize("flat", [False, True])
def test_c_source_gives_the_same(made, classes, Y, tmp_path, flat):
    if flat:
        normals = np.full((1, N_IN), 0.5)
        made["domain"] = dataclasses.replace(made["domain"], normals=normals)
    classifier = Classifier(**made)
    errors = {"test": assess(classifier, Y, torch.eye(K).double()[classifier.predict(Y)])}
    about = describe.metadata(classes, training={}, errors=errors)
    export.save(classifier, about, tmp_path / "toy.pt")
    c_source.save(surrogates.load(tmp_path / "toy.pt"), tmp_path / "toy.c")
    header = (tmp_path / "toy.h").read_text()
    assert "predict_std" not in header and 'accuracy on 7 samples ("test"): 100.0%' in header
    strict = "-std=c99 -Wall -Wextra -Werror -pedantic -Wconversion -Wshadow -shared -fPIC -O2"
    command = ["cc", *strict.split(), "toy.c", "-o", "toy.so", "-lm"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stderr
    library = ctypes.CDLL(str(tmp_path / "toy.so"))
    for y in with_nan(Y):
        given = ctypes.c_void_p(y.data_ptr())
        for name in ("forward", "probabilities"):
            out = torch.full((K + 1,), 123.0, dtype=torch.float64)  # the last is beyond the end
            getattr(library, f"toy_{name}")(given, ctypes.c_void_p(out.data_ptr()))
            value = getattr(classifier, name)(y)
            torch.testing.assert_close(out[:-1], value, rtol=1e-12, atol=1e-13, equal_nan=True)
            assert out[-1] == 123
        assert library.toy_predict(given) == classifier.predict(y)
        assert library.toy_in_domain(given) == classifier.in_domain(y)


# Evaluation


@pytest.fixture
def scores():
    """Logits of 400 samples, and true probabilities that are not one-hot; class 3 is never true."""
    generator = torch.Generator().manual_seed(5)
    L = 1.5 * torch.randn(400, 5, generator=generator, dtype=torch.float64)
    C = torch.softmax(L + torch.randn(400, 5, generator=generator, dtype=torch.float64), dim=1)
    C[:, 3] = 0
    return L, C / C.sum(dim=1, keepdim=True)


def test_an_assessment_is_what_a_loop_over_the_samples_gives(scores):
    L, C = (x.numpy() for x in scores)
    found = assess(lambda Y: Y, *scores, batch=17)
    n, k = C.shape
    confusion = np.zeros((k, k))
    entropy = brier = 0.0
    bins: list[list[tuple[float, float]]] = [[] for _ in range(BINS)]
    for logits, c in zip(L, C, strict=True):
        p = np.exp(logits) / np.exp(logits).sum()
        predicted = int(np.argmax(p))
        confusion[:, predicted] += c
        entropy -= sum(c[j] * math.log(p[j]) for j in range(k)) / n
        brier += sum((p[j] - c[j]) ** 2 for j in range(k)) / n
        inside = [i for i in range(BINS) if i / BINS < p[predicted] <= (i + 1) / BINS]
        bins[inside[0]].append((p[predicted], c[predicted]))
    assert found.samples == n
    np.testing.assert_allclose(found.confusion, confusion, rtol=1e-12)
    assert found.accuracy == pytest.approx(np.trace(confusion) / n, rel=1e-12)
    assert 0.3 < found.accuracy < 0.9  # or the rest would be a poor test
    recall = [
        confusion[j, j] / confusion[j].sum() if confusion[j].any() else math.nan for j in range(k)
    ]
    np.testing.assert_allclose(found.class_accuracy, recall, rtol=1e-12)
    assert math.isnan(found.class_accuracy[3])
    assert found.cross_entropy == pytest.approx(entropy, rel=1e-12)
    assert found.brier == pytest.approx(brier, rel=1e-12)
    gap = 0.0
    for i, (bin, inside) in enumerate(zip(found.reliability, bins, strict=True)):
        assert (bin.lower, bin.upper, bin.samples) == (i / BINS, (i + 1) / BINS, len(inside))
        if not inside:
            assert math.isnan(bin.confidence) and math.isnan(bin.accuracy)
            continue
        confidence, accuracy = np.mean(inside, axis=0)
        assert bin.confidence == pytest.approx(confidence, rel=1e-12)
        assert bin.accuracy == pytest.approx(accuracy, rel=1e-12)
        gap += len(inside) / n * abs(confidence - accuracy)
    assert found.calibration_error == pytest.approx(gap, rel=1e-12)


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 3.0])
def test_the_true_probabilities_are_calibrated(sharpness):
    """They were said to be off by up to 30 %, as the largest was taken for the truth."""
    generator = torch.Generator().manual_seed(1)
    logits = sharpness * torch.randn(5000, 4, generator=generator, dtype=torch.float64)
    C = torch.softmax(logits, dim=1)
    found = assess(lambda Y: Y, logits, C)
    assert found.calibration_error < 1e-12
    assert found.accuracy == pytest.approx(float(C.max(dim=1).values.mean()), rel=1e-12)
    # Samples drawn by these probabilities say the same, but for the draw.
    drawn = torch.multinomial(C, 1, generator=generator)[:, 0]
    labels = assess(lambda Y: Y, logits, torch.eye(4, dtype=torch.float64)[drawn])
    assert labels.accuracy == pytest.approx(found.accuracy, abs=0.03)
    np.testing.assert_allclose(labels.class_accuracy, found.class_accuracy, atol=0.06)
    assert all(isinstance(count, int) for row in labels.confusion for count in row)
    assert labels.calibration_error < 0.03


def test_an_assessment_does_not_depend_on_the_order_of_the_samples(scores):
    L, C = scores
    order = torch.randperm(len(L), generator=torch.Generator().manual_seed(0))
    one, other = assess(lambda Y: Y, L, C), assess(lambda Y: Y, L[order], C[order])
    np.testing.assert_allclose(one.confusion, other.confusion, rtol=1e-12)
    assert one.cross_entropy == pytest.approx(other.cross_entropy, rel=1e-13)
    assert one.calibration_error == pytest.approx(other.calibration_error, rel=1e-12)


def test_perfect_and_uniform_predictions_are_at_the_ends():
    C = torch.eye(4, dtype=torch.float64)
    perfect = assess(lambda Y: 1e4 * Y, C, C)
    assert (perfect.accuracy, perfect.cross_entropy, perfect.brier) == (1, 0, 0)
    assert perfect.calibration_error == 0 and perfect.reliability[-1].samples == 4
    uniform = assess(lambda Y: 0 * Y, C, C)
    assert uniform.cross_entropy == pytest.approx(math.log(4)) and uniform.brier == 0.75
    bins = assess(lambda Y: 0 * Y, C[:, :2], C[:, :2]).reliability
    assert [bin.samples for bin in bins] == [0, 0, 0, 0, 4, 0, 0, 0, 0, 0]  # 0.5 ends a bin
    assert uniform.accuracy == 0.25 and uniform.calibration_error == pytest.approx(0, abs=1e-15)


def test_what_cannot_be_assessed_is_one_clear_line():
    C = torch.eye(3, dtype=torch.float64)
    for logits, Y, message in (
        (lambda Y: Y, C[:2], "expected as many Y as C, at least 1; got 2 and 3"),
        (lambda Y: Y[:, :2], C, r"expected logits of shape \(3, 3\); got \(3, 2\)"),
        (lambda Y: Y / 0, C, "expected finite logits"),
    ):
        with pytest.raises(ValueError, match=message):
            assess(logits, Y, C)
