"""Training as a whole: what it finds, that it can be repeated, and what it refuses."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.io
import torch
from draws import dataset
from places import PUBLISHED
from trainings import (
    DENSE,
    OTHERS,
    SMALL,
    TAME,
    Stopped,
    best_of,
    mean_error,
    part,
    same,
    smooth,
    weights,
)

from surrogates.config import replaced
from surrogates.data import Status
from surrogates.errors import InputError
from surrogates.model.metrics import relative_errors
from surrogates.model.networks import AntisymmetricODE, with_ones
from surrogates.training.config import (
    Inputs,
    Network,
    Optimizer,
    Regularisation,
    Stopping,
    TrainConfig,
)
from surrogates.training.data import Data
from surrogates.training.fit import fit
from surrogates.training.outer.multilevel import Reason


def planted(n=150, n_in=3, width=3, n_out=6, seed=0):
    """Exact data of a network with one cell."""
    generator = torch.Generator().manual_seed(seed)
    net = AntisymmetricODE(n_in, width, 1, generator=generator)
    Y = torch.randn((n, n_in), generator=generator, dtype=torch.float64)
    W = torch.randn((n_out, width + 1), generator=generator, dtype=torch.float64)
    W[:, -1] += 5
    return dataset(Y.numpy(), (with_ones(net(Y)) @ W.T).detach().numpy())


# What is found


@pytest.mark.parametrize("method", ["dense", "krylov"])
def test_a_planted_network_is_recovered_from_exact_data(method):
    data = planted()
    # No regularisation to speak of, and a Krylov space of all directions: Gauss-Newton itself.
    settings = TrainConfig(
        optimizer=Optimizer(method=method, krylov_rank=48, krylov_tolerance=1e-8),
        network=Network(final_time=1.0, width=3, cells=1, levels=1),
        stopping=Stopping(work_units=3000),
        inputs=Inputs(scale=1.0),
        regularisation=Regularisation(alpha1=0.0, alpha2=1e-20),
    )
    result = fit(data, settings)
    assert mean_error(data, result) < 1e-9
    assert result.history[-1].phi < 1e-16
    assert result.reason is Reason.TOLERANCE


@pytest.mark.parametrize("settings", [SMALL, DENSE])
def test_the_result_is_the_best_on_validation_in_physical_units(settings):
    data = smooth()
    result = fit(data, replaced(settings, {"stopping.work_units": 300, "seed": 1}))
    best = best_of(result)
    Y, C = part(data, "validation")
    F = result.features((Y - result.y_shift) / result.y_scale)
    residual = with_ones(F) @ result.W.T - C
    error = float(relative_errors(with_ones(F) @ result.W.T, C).mean())
    assert error == pytest.approx(best.validation_error, rel=1e-10)
    # All outputs are in volts, and share a scale: the root mean square of their spreads.
    spreads = part(data, "train")[1].std(dim=0, correction=0)
    loss = float(residual.square().sum(dim=1).mean() / spreads.square().mean()) / 2
    assert loss == pytest.approx(best.validation_loss, rel=1e-8)
    errors = residual.square().mean(dim=0).sqrt() / spreads
    assert best.validation_median == pytest.approx(float(errors.median()), rel=1e-8)
    assert best.validation_worst == pytest.approx(float(errors.max()), rel=1e-8)
    assert torch.equal(result.predict(Y), F @ result.W[:, :-1].T + result.W[:, -1])
    assert result.W.dtype == torch.float64 and result.W.shape == (5, 4)
    assert best.validation_error < 0.2 * result.history[0].validation_error


def test_a_validation_sample_of_zeros_does_not_hide_the_best():
    # Its relative error is infinite, and so is the mean: the loss has to decide.
    data = smooth()
    data.C[np.flatnonzero(data.split == 1)[0]] = 0
    result = fit(data, SMALL)
    scores = [record.validation_score for record in result.history]
    assert all(math.isinf(record.validation_error) for record in result.history)
    Y, C = part(data, "validation")
    spread = part(data, "train")[1].var(dim=0, correction=0).mean().sqrt()  # of one unit
    norm = float(((result.predict(Y) - C) / spread).norm(dim=1).mean())
    assert norm == pytest.approx(min(scores), rel=1e-10)
    assert min(scores) < scores[0]


def test_the_order_of_samples_does_not_matter():
    data = smooth()
    order = np.random.default_rng(5).permutation(len(data.Y))
    permuted = dataclasses.replace(
        data, Y=data.Y[order], C=data.C[order], split=data.split[order], status=data.status[order]
    )
    a, b = fit(data, TAME), fit(permuted, TAME)
    Y, _ = part(data, "test")
    assert float(relative_errors(a.predict(Y), b.predict(Y)).max()) < 1e-9


def test_units_of_the_data_do_not_matter():
    data = smooth()
    scaled = dataclasses.replace(data, Y=data.Y * 1e-6, C=data.C * 1e9)
    a, b = fit(data, TAME), fit(scaled, TAME)
    Y, _ = part(data, "test")
    assert float(relative_errors(a.predict(Y) * 1e9, b.predict(Y * 1e-6)).max()) < 1e-9


def test_inputs_that_do_not_vary_and_constant_outputs():
    data = smooth()
    Y = np.concatenate([data.Y, np.full((len(data.Y), 1), 7.0)], axis=1)
    result = fit(dataclasses.replace(data, Y=Y), SMALL)
    assert result.y_scale[-1] == 1 / SMALL.inputs.scale
    assert torch.isfinite(weights(result)).all()
    constant = dataclasses.replace(data, C=np.full_like(data.C, 3.0))
    assert mean_error(constant, fit(constant, SMALL)) < 1e-12


def test_outputs_that_depend_on_each_other_are_trained_on_as_fewer():
    data = smooth()
    mixed = dataset(data.Y, data.C @ np.random.default_rng(3).normal(size=(5, 40)))
    samples = Data.of(part(mixed, "train"), part(mixed, "validation"))
    _, C = part(mixed, "train")
    seen = samples.train.C
    assert seen.shape[1] == torch.linalg.matrix_rank(C - C.mean(dim=0)) == 2
    scaling = samples.scaling
    assert torch.allclose(scaling.seen_to_all(seen) * scaling.scale + scaling.shift, C, rtol=1e-10)
    result = fit(mixed, DENSE)
    assert result.W.shape == (40, 4)
    assert mean_error(mixed, result) < 0.02


def test_errors_are_those_of_outputs_that_training_does_not_see():
    # Fewer samples than outputs: validation samples leave the span of the training samples.
    data = smooth(n=40, n_out=90)
    noise = np.random.default_rng(3).normal(size=data.C.shape)
    data = dataclasses.replace(data, C=data.C + 300 * noise)
    assert Data.of(part(data, "train"), part(data, "validation")).train.C.shape[1] < 24
    result = fit(data, DENSE)
    Y, C = part(data, "validation")
    error = float(relative_errors(result.predict(Y), C).mean())
    assert error > 0.05
    assert best_of(result).validation_error == pytest.approx(error, rel=1e-10)


@pytest.mark.parametrize(
    "settings", [SMALL, DENSE, *OTHERS.values()], ids=["krylov", "dense", *OTHERS]
)
def test_single_precision_trains_nearly_as_well(settings):
    data, errors = smooth(), []
    for seed in range(3):  # rounding decides between minima: the best of three is compared
        double = fit(data, replaced(settings, {"seed": seed}))
        single = fit(data, replaced(settings, {"seed": seed, "precision": "single"}))
        assert not torch.equal(weights(single), weights(double))
        assert {p.dtype for p in single.features.parameters()} == {torch.float64}
        errors.append((mean_error(data, single), mean_error(data, double)))
    best_single, best_double = map(min, zip(*errors, strict=True))
    assert best_single < 2 * best_double + 3e-3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(
    "settings", [SMALL, DENSE, *OTHERS.values()], ids=["krylov", "dense", *OTHERS]
)
def test_a_gpu_finds_what_a_cpu_finds(settings, tmp_path):
    data, few = smooth(), replaced(settings, {"network.levels": 1, "stopping.work_units": 60})
    on_gpu = replaced(few, {"device": "cuda"})
    checkpoint = tmp_path / "run.ckpt"
    results = [fit(data, few), fit(data, on_gpu, checkpoint=checkpoint)]
    assert float((weights(results[0]) - weights(results[1])).norm()) < 1e-6
    assert same(results[1], fit(data, on_gpu, checkpoint=checkpoint, resume=True))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="there is no CUDA device here; use device=cpu"):
        fit(smooth(), replaced(SMALL, {"device": "cuda"}))


def test_failed_samples_are_left_out():
    data = smooth()
    status, C = data.status.copy(), data.C.copy()
    status[::10], C[::10] = Status.FAILED, np.nan
    result = fit(dataclasses.replace(data, status=status, C=C), SMALL)
    assert torch.isfinite(weights(result)).all()


# Repeated and resumed


def test_a_seed_gives_one_result_and_leaves_the_global_generator_alone():
    data = smooth()
    before = torch.get_rng_state()
    a, b = fit(data, SMALL), fit(data, SMALL)
    assert same(a, b)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(weights(a), weights(fit(data, replaced(SMALL, {"seed": 1}))))


def test_the_number_of_threads_is_put_back_even_after_an_error():
    before = torch.get_num_threads()
    other = before + 1

    def stop(record):
        assert torch.get_num_threads() == other
        raise Stopped

    with pytest.raises(Stopped):
        fit(smooth(), replaced(SMALL, {"threads": other}), on_iteration=stop)
    assert torch.get_num_threads() == before


# Refused


@pytest.mark.parametrize(("name", "what"), [("Y", "inputs"), ("C", "observables")])
def test_numbers_whose_squares_overflow_are_trained_on_and_those_beyond_double_refused(name, what):
    data = smooth()
    Y, C = part(data, "test")
    expected = relative_errors(fit(data, TAME).predict(Y), C)
    for factor in (2.0**560, 2.0**-560):
        scaled = dataclasses.replace(data, **{name: factor * getattr(data, name)})
        Y, C = part(scaled, "test")
        errors = relative_errors(fit(scaled, TAME).predict(Y), C)
        torch.testing.assert_close(errors, expected, rtol=1e-6, atol=1e-12)
    values = 1.7e308 * np.sign(getattr(data, name) - np.median(getattr(data, name)))
    with pytest.raises(InputError, match=f"training {what} are too large"):
        fit(dataclasses.replace(data, **{name: values}), SMALL)


def test_bad_datasets():
    data = smooth()
    for name, split in (("train", 0), ("validation", 1)):
        missing = np.where(data.split == split, 255, data.split).astype(np.uint8)
        with pytest.raises(InputError, match=f"no {name} samples"):
            fit(dataclasses.replace(data, split=missing), SMALL)
        row = int(np.flatnonzero(data.split == split)[0])
        for kind, what in (("Y", "inputs"), ("C", "observables")):
            values = getattr(data, kind).copy()
            values[row, 0] = np.nan
            name = "training" if name == "train" else name
            with pytest.raises(InputError, match=f"{name} {what} .* not finite, in 1 sample"):
                fit(dataclasses.replace(data, **{kind: values}), SMALL)


# The published data


@pytest.mark.thorough
@pytest.mark.skipif(not PUBLISHED.is_file(), reason="the published data is not beside the checkout")
@pytest.mark.parametrize("seed", [0, 1])
def test_published_setting_beats_the_published_code(seed):
    raw = scipy.io.loadmat(PUBLISHED)
    data = dataset(raw["Y"].T.copy(), raw["C"].T.copy(), "400/200/200", seed)
    settings = TrainConfig(
        optimizer=Optimizer(method="krylov"),
        network=Network(levels=3, final_time=1.0),
        stopping=Stopping(work_units=200),
    )
    result = fit(data, replaced(settings, {"seed": seed}))
    # The published code: 0.82 to 1.31 % over ten seeds. Ours, at the defaults: 0.13 to 0.28 % over
    # six, as the weights of the least mean square are not those of the least relative error.
    assert mean_error(data, result) < 0.007
    assert result.history[-1].work_units <= 600
    assert mean_error(data, fit(data, TrainConfig(seed=seed))) < 0.0035
