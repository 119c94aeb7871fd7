"""Batches of samples: where they lie, what they bring, and what became of earlier ones."""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import threading
import warnings

import numpy as np
import pytest

import surrogates
from surrogates.errors import InputError

LOWER, UPPER = np.array([0.0, 10.0, -1.0]), np.array([1.0, 20.0, 1.0])


def function(Y):
    u = (Y - LOWER) / (UPPER - LOWER)
    return np.stack([1 + np.exp(-8 * ((1 - u) ** 2).sum(axis=1)), 2 + u[:, 0] * u[:, 1]], axis=1)


def fitted(n, seed=0):
    Y = LOWER + (UPPER - LOWER) * np.random.default_rng(seed).random((n, 3))
    config = {"network.kind": "rbf", "network.kernel": "gaussian", "network.trend": 0}
    return surrogates.fit(Y, function(Y), bounds=(LOWER, UPPER), config=config, processes=1)


@pytest.fixture(scope="module")
def surrogate():
    return fitted(40)


def designer(surrogate, **settings):
    return surrogates.Designer(surrogate, **{"candidates": 800, **settings})


def test_the_same_call_suggests_the_same_points_within_the_bounds(surrogate):
    one, other = (designer(surrogate, seed=4) for _ in range(2))
    Y = one.suggest(12)
    assert Y.shape == (12, 3) and Y.dtype == np.float64
    np.testing.assert_array_equal(Y, other.suggest(12))
    assert not np.array_equal(one.suggest(12), Y)
    assert not np.array_equal(designer(surrogate, seed=5).suggest(12), Y)
    assert ((Y >= LOWER) & (Y <= UPPER)).all()
    assert one.report.after < one.report.before
    inside = designer(surrogate, domain="samples").suggest(40)
    assert surrogate.in_domain(inside).all()


def test_pending_points_count_as_taken(surrogate):
    one = designer(surrogate)
    first, second = one.suggest(10), one.suggest(10)
    apart = np.linalg.norm((first[:, None] - second) / (UPPER - LOWER), axis=2)
    assert apart.min() > 0.02 and len(one.pending) == 20
    # Both batches together bring about what one batch of both sizes does, at other candidates.
    whole = designer(surrogate)
    whole.suggest(20)
    assert one.report.after == pytest.approx(whole.report.after, rel=0.3)
    one.ingest(first, function(first))
    np.testing.assert_array_equal(one.pending, second)
    one.ingest(np.empty((0, 3)), np.empty((0, 2)))
    one.ingest(second[0], function(second[:1])[0])  # one sample without its axis
    np.testing.assert_array_equal(one.pending, second[1:])


def test_no_point_is_suggested_near_a_failure(surrogate):
    one = designer(surrogate)
    Y = one.suggest(10)
    C = function(Y)
    C[3] = np.nan
    one.ingest(Y, C)
    np.testing.assert_array_equal(one.failed, Y[3:4])
    width = UPPER - LOWER
    known = np.concatenate([surrogate.dataset.Y, np.delete(Y, 3, axis=0)])
    reach = np.linalg.norm((known - Y[3]) / width, axis=1).min() / 2
    later = one.suggest(200)
    assert np.linalg.norm((later - Y[3]) / width, axis=1).min() > 0.95 * reach > 0


def test_larger_errors_than_expected_draw_points(surrogate):
    """Where solved samples are off by far more than the error bars say, the next ones lie."""
    shares = []
    for factor in (0.0, 30.0):
        one = designer(surrogate)
        Y = one.suggest(30)
        there = Y[:, 0] < 0.35
        off = factor * surrogate.predict_std(Y) * there[:, None]
        one.ingest(Y, surrogate.predict(Y) + off)
        shares.append((one.suggest(30)[:, 0] < 0.35).mean())
    assert shares[1] > shares[0] + 0.1


def test_a_new_surrogate_keeps_what_is_pending_and_failed(surrogate):
    one = designer(surrogate)
    Y = one.suggest(6)
    C = function(Y[:4])
    C[0] = np.nan
    one.ingest(Y[:4], C)
    one.surrogate = fitted(60, seed=1)
    np.testing.assert_array_equal(one.pending, Y[4:])
    np.testing.assert_array_equal(one.failed, Y[:1])
    assert one.suggest(3).shape == (3, 3)


def test_it_is_pickled_and_called_by_threads(surrogate):
    one = designer(surrogate)
    one.suggest(3)
    other = pickle.loads(pickle.dumps(one))
    np.testing.assert_array_equal(one.suggest(3), other.suggest(3))
    found: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: found.append(one.suggest(2))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(np.unique(np.concatenate(found), axis=0)) == 8 and len(one.pending) == 14


def test_a_forked_child_goes_on_while_a_thread_of_its_parent_suggests(surrogate):
    one = designer(surrogate)
    held, end = threading.Event(), threading.Event()

    def hold():
        with one._lock:  # as a call of suggest holds it
            held.set()
            end.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(0 if one.suggest(3).shape == (3, 3) else 1)
    status = os.waitpid(child, 0)[1]
    end.set()
    thread.join(60)
    assert status == 0
    assert one.suggest(2).shape == (2, 3)


def test_given_candidates_are_taken_each_once(surrogate):
    pool = np.random.default_rng(2).random((30, 3)) * (UPPER - LOWER) + LOWER
    one = designer(surrogate, candidates=pool)
    Y = np.concatenate([one.suggest(20), one.suggest(10)])
    assert {row.tobytes() for row in Y} == {row.tobytes() for row in pool}
    with pytest.raises(InputError, match="only 0 candidates are left"):
        one.suggest(1)


def test_bad_input_is_one_line(surrogate):
    with pytest.raises(InputError, match="expected a number of points of at least 1; got 0"):
        designer(surrogate).suggest(0)
    with pytest.raises(InputError, match="measure 'relativ'"):
        designer(surrogate, measure="relativ")
    with pytest.raises(InputError, match="expected C of shape"):
        designer(surrogate).ingest(LOWER[None], np.zeros((1, 3)))
    with pytest.raises(InputError, match="expected finite Y"):
        designer(surrogate).ingest(np.full((1, 3), np.nan), np.zeros((1, 2)))
    with pytest.raises(InputError, match="expected a surrogate of 3 parameters"):
        designer(surrogate).surrogate = surrogates.fit(
            np.random.default_rng(0).random((20, 2)),
            np.random.default_rng(1).random((20, 2)),
            config={"network.kind": "rbf"},
            processes=1,
        )


def test_candidates_of_samples_in_the_middle_of_wide_bounds(surrogate):
    """Bounds that the samples do not fill are no domain."""
    wide = {**surrogate.metadata, "y_lower": [-10.0, 0.0, -9.0]}
    Y = designer(dataclasses.replace(surrogate, metadata=wide)).suggest(50)
    assert surrogate.in_domain(Y).all()
