"""The compiled engine: its numbers, its cache, threads, forks, pickles."""

from __future__ import annotations

import copy
import functools
import math
import os
import pickle
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import extended
import numpy as np
import plain
import pytest
import torch
from compiled import needs_cc
from every_kind import check_columns
from exports import METHODS, arguments, check_close, expected, saved

import surrogates
from surrogates.errors import InputError
from surrogates.export import npz
from surrogates.export.c import engine
from surrogates.export.c.compiled import Compiled
from surrogates.export.c.low_rank import factored
from surrogates.export.constants import constants
from surrogates.model.classifier import Classifier
from surrogates.model.parts import Domain

pytestmark = needs_cc
# Of every activation, kind of network and number of steps; with linear parts, members, logarithms.
CASES = {str(network): network for network in (*plain.NETWORKS[:3], *plain.NETWORKS[7::4])}
CASES.update({name: name for name in ("everything", "linear", "beside", "network", "anova")})
CASES.update({name: name for name in ("gaussian", "matern52", "quadratic")})
CASES.update({name: name for name in ("kernels", "low rank")})


@functools.cache
def kernels():
    """Functions about centres, and polynomials."""
    surrogate = extended.made(
        "gaussian quadratic matern52 linear", False, False, True, True, n_in=3, n_out=60
    )
    with tempfile.TemporaryDirectory() as folder:
        return surrogate, saved(surrogate, Path(folder, "s.pt"), schema_version=2)


KERNELS = {"kernels": kernels, "low rank": extended.low_rank}


def both(name):
    case = CASES[name]
    of = extended if isinstance(case, str) else plain
    if case in KERNELS:
        surrogate, loaded = KERNELS[case]()
    else:
        surrogate, loaded = of.both(case) if of is extended else of.both(*case)
    return surrogate, constants(loaded), of.points(surrogate)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    yield folder / "varpro-surrogates" / "compiled"
    os.environ.pop("XDG_CACHE_HOME")
    if before is not None:
        os.environ["XDG_CACHE_HOME"] = before


def called(found: Compiled, method: str, *given: np.ndarray) -> np.ndarray:
    return getattr(found, "forward" if method == "predict" else method)(*given)


@pytest.mark.parametrize("name", CASES)
def test_is_the_surrogate_for_one_sample_and_for_batches(name):
    surrogate, reference, Y = both(name)
    found = Compiled(reference)
    for method in METHODS:
        more = arguments(surrogate, method, len(Y))
        right = expected(surrogate, method, Y, *more)
        check_close(called(found, method, Y, *more), right, method)
        rows = [called(found, method, *row) for row in zip(Y, *more, strict=True)]
        assert rows[0].shape == right.shape[1:]
        check_close(np.array(rows), right, method)
    right = surrogate.predict_interval(torch.from_numpy(Y), 0.9).numpy()
    check_close(found.predict_interval(Y, 0.9), right, "interval")
    if surrogate.loadings is None:
        return
    right = [part.numpy() for part in surrogate.predict_cov(torch.from_numpy(Y))]
    for part, batch, one in zip(right, found.predict_cov(Y), found.predict_cov(Y[3]), strict=True):
        check_columns(batch, part, "covariance")
        check_columns(one, batch[3], "covariance of one sample")


@pytest.mark.parametrize("name", CASES)
def test_nan_gives_nan_and_huge_numbers_what_torch_gives(name):
    surrogate, reference, Y = both(name)
    found, Y = Compiled(reference), np.tile(Y[:4], (4, 1))
    Y[0, 0], Y[1, -1], Y[2] = math.nan, math.nan, 1e100
    for method in METHODS:
        more = arguments(surrogate, method, len(Y))
        right = expected(surrogate, method, Y, *more)
        result = called(found, method, Y, *more)
        check_close(result[2:], right[2:], method)
        assert method == "in_domain" or np.isnan(result[:2]).all()
        assert method != "in_domain" or not result[:2].any()
    assert [found.finite(y) for y in Y[:4]] == [False, False, True, True]


def test_weights_of_low_rank_are_factored_to_rounding_and_others_not():
    U, V = extended.draw(60, 4, seed=1).numpy(), extended.draw(4, 50, seed=2).numpy()
    W = U * np.logspace(-150, 150, 60)[:, None] @ V
    W[7] = 0.0
    outer, inner = factored(W)
    assert outer.shape == (60, 4) and inner.shape == (4, 50)
    error = np.linalg.norm(outer @ inner - W, axis=1)
    assert (error <= 3e-15 * np.linalg.norm(W, axis=1)).all()
    full = extended.draw(60, 50, seed=3).numpy()
    assert factored(full) is None and factored(U @ V + 1e-13 * full) is None
    assert factored(np.zeros((3, 4))) is None
    surrogate, reference, Y = both("low rank")  # whose outputs' sizes differ by 10^16
    found = Compiled(reference)
    for method in ("predict", "jacobian"):
        check_columns(called(found, method, Y), expected(surrogate, method, Y), method)
    texts = engine.sources(both("low rank")[1])["engine.c"], engine.sources(both("kernels")[1])
    assert "RANK = 8," in texts[0] and "RANK = 0," in texts[1]["engine.c"]


def test_any_number_of_threads_gives_the_same_bits_in_the_callers_array():
    surrogate, reference, Y = both(next(iter(CASES)))
    found, Y = Compiled(reference), np.tile(Y, (50, 1))
    assert len(Y) > 8 * 128
    found.threads = 1
    alone, jacobians = found.forward(Y), found.jacobian(Y)
    for threads in (2, 3, 100):
        found.threads = threads
        out, J = np.empty_like(alone), np.empty_like(jacobians)
        assert found.forward(Y, out) is out and found.jacobian(Y, J) is J
        assert out.tobytes() == alone.tobytes() and J.tobytes() == jacobians.tobytes()
    with ThreadPoolExecutor(8) as pool:
        for result in pool.map(lambda _: found.forward(Y), range(16)):
            assert result.tobytes() == alone.tobytes()


def test_copies_and_pickles_are_the_same_engine():
    _, reference, Y = both("beside")
    found = Compiled(reference)
    for other in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert other.forward(Y).tobytes() == found.forward(Y).tobytes()
        assert other.jacobian(Y[0]).tobytes() == found.jacobian(Y[0]).tobytes()


def test_a_fork_of_a_process_with_threads_can_call_it():
    _, reference, Y = both("beside")
    found, Y = Compiled(reference), np.tile(Y, (100, 1))
    found.threads = 2
    right = found.forward(Y)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(found.forward(Y), right) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_arrays_of_other_sizes_and_order_are_refused():
    _, reference, Y = both("beside")
    found = Compiled(reference)
    for y in (Y[0][:-1].copy(), Y[0].astype(np.float32), Y[:, :-1].copy()):
        with pytest.raises(ValueError, match="expects contiguous float64"):
            found.forward(y)
    with pytest.raises(ValueError, match="contiguous"):
        found.forward(Y.T)
    with pytest.raises(ValueError, match="expects contiguous float64"):
        found.vjp(Y, Y)
    with pytest.raises((ValueError, BufferError), match="read-only"):
        out = np.empty(reference.c_0.shape)
        out.flags.writeable = False
        found.forward(Y[0], out)


def test_a_classifier_has_probabilities_and_classes(tmp_path):
    features = extended.joined("ode linear", 3)
    domain = Domain.of(np.random.default_rng(0).random((50, 3)))
    W = extended.draw(4, features.width + 1)
    classifier = Classifier(features, W, np.zeros(3), np.ones(3), domain, temperature=1.5)
    loaded = saved(classifier, tmp_path / "s.pt", schema_version=3, task="classification")
    found, Y = Compiled(constants(loaded)), extended.draw(20, 3)
    right = classifier.probabilities(Y).numpy()
    check_close(found.probabilities(Y.numpy()), right, "probabilities")
    check_close(found.forward(Y.numpy()), classifier(Y).numpy(), "logits")
    y = Y.numpy().copy()
    y[3, 1] = math.nan
    assert found.predict(y).tolist() == classifier.predict(torch.from_numpy(y)).tolist()
    assert found.predict(y)[3] == -1 and found.predict(y[0]).dtype == np.int64
    with pytest.raises(InputError, match="predict_std is not a method of this kind"):
        found.predict_std(y)


def test_linear_parts_are_joined_without_loss():
    _, reference, Y = both("beside")
    lean = engine.joined_linear(reference)
    assert sum(block.KIND == "polynomial" for block in reference.blocks) == 2
    assert sum(block.KIND == "polynomial" for block in lean.blocks) == 1
    check_close(lean.forward(Y), reference.forward(Y), "joined")


def test_a_file_of_either_kind_has_this_engine(tmp_path):
    surrogate, loaded = extended.both("beside")
    Y = extended.points(surrogate)
    loaded.save(tmp_path / "s.pt")
    npz.save(loaded, tmp_path / "s.npz")
    right = {method: expected(surrogate, method, Y) for method in ("predict", "jacobian")}
    for name in ("s.pt", "s.npz"):
        found = surrogates.load(tmp_path / name, engine="c")
        assert found.engine.NAME == "c"
        for method, value in right.items():
            check_close(getattr(found, method)(Y), value, method)
        w = np.ones(found.n_out)
        check_close(found.hvp(Y[:, None], w, Y[0])[:, 0], loaded.hvp(Y, w, Y[0]), "hvp")
        some = found.select([3, 1])
        check_close(some.predict(Y), right["predict"][:, [3, 1]], "select")
        again = pickle.loads(pickle.dumps(found))
        assert again.predict(Y[0]).tobytes() == found.predict(Y[0]).tobytes()
        with pytest.raises(InputError, match="expected finite numbers in y"):
            found.predict(Y[0] * math.nan)
