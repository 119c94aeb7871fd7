"""Folds: each sample is held out once, whatever the order and the signs in the file."""

import dataclasses

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from draws import dataset, normal
from hypothesis import given, settings

from surrogates.training.data import canonical
from surrogates.training.scaling import moments
from surrogates.training.selection.folds import available, divided, ordered, repeated, stratified

derandomised = settings(derandomize=True, deadline=None, max_examples=25)
seeds = st.integers(0, 10**6)


def samples(n, n_in, n_out, seed):
    """Inputs, and scaled targets that are not symmetric in any of them."""
    X = normal(n, n_in, seed=seed)
    C = X @ normal(n_in, n_out, seed=seed + 1) + 0.3 * X[:, :1] ** 2
    C = C + torch.sin(X.sum(dim=1, keepdim=True)) + 0.1 * normal(n, n_out, seed=seed + 2)
    return X, (C - C.mean(dim=0)) / C.std(dim=0, correction=0)


def standardised(X):
    shift, spread, _ = moments(X)
    return (X - shift) / spread


@pytest.mark.parametrize("n", [3, 4, 5, 11, 60, 61, 64])
@pytest.mark.parametrize("n_folds", [2, 3, 5])
@pytest.mark.parametrize("seed", [0, 7])
def test_each_sample_is_held_out_once_and_folds_are_of_a_size(n, n_folds, seed):
    if n_folds > n:
        n_folds = n
    rows = 1000 + np.random.default_rng(n).permutation(n)
    folds = divided(rows, n_folds, seed)
    assert len(folds) == n_folds
    assert sorted(np.concatenate([fold.held for fold in folds])) == sorted(rows)
    for fold in folds:
        assert sorted([*fold.train, *fold.held]) == sorted(rows)
    sizes = [len(fold.held) for fold in folds]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1


def test_samples_with_the_inputs_of_a_training_sample_cannot_be_held_out():
    Y = np.array([[1.0, 2], [3, 0.0], [1, 2], [5, 6], [3, -0.0], [7, 8]])
    data = dataset(Y, Y, "0.5/0.5/0")
    data = dataclasses.replace(data, split=np.array([0, 0, 1, 1, 1, 255], np.uint8))
    used, held = available(data)
    assert used.tolist() == [0, 1, 2, 3, 4] and held.tolist() == [3]


def test_samples_of_equal_inputs_have_one_number():
    Y = np.array([[1.0, 2], [3, 4], [1, 2], [0.0, 5], [-0.0, 5], [1, 2.5]])
    assert repeated(Y).tolist() == [0, 1, 0, 2, 2, 3]
    assert repeated(Y[[0, 1, 3, 5]]) is None
    assert repeated(Y[[0, 1, 2]]) is None  # of two different inputs


@pytest.mark.parametrize("seed", range(5))
def test_samples_of_one_number_are_in_one_fold(seed):
    same = np.array([0, 1, 1, 2, 3, 3, 3, 4, 5, 6, 7, 7])
    labels = np.array([0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0])
    order = np.random.default_rng(seed).permutation(12)
    C = np.empty((12, 2))
    C[order] = one_hot(labels)
    for folds in (divided(order, 3, seed, same), stratified(order, C, 3, seed, same)):
        assert len(folds) == 3
        assert sorted(np.concatenate([fold.held for fold in folds])) == list(range(12))
        for fold in folds:
            assert sorted([*fold.train, *fold.held]) == list(range(12))
            held = np.isin(order, fold.held)
            assert not set(same[held]) & set(same[~held])
    assert len(divided(order, 10, seed, same)) == 8


def test_of_neighbours_each_is_in_another_fold():
    folds = divided(np.arange(50), 5, seed=3)
    for fold in folds:
        assert np.array_equal(fold.held // 5, np.arange(10))


def test_the_seed_decides_and_nothing_else():
    first, again, other = (divided(np.arange(30), 3, seed) for seed in (1, 1, 2))
    same = [np.array_equal(a.held, b.held) for a, b in zip(first, again, strict=True)]
    assert all(same)
    assert not all(np.array_equal(a.held, b.held) for a, b in zip(first, other, strict=True))


def test_the_order_is_along_a_direction_that_spreads_the_samples():
    X, C = samples(200, 3, 2, seed=0)
    order = ordered(X, C)
    assert sorted(order) == list(range(200))
    # Every fifth of the order is spread like all; a fifth in a row is not.
    every = torch.stack([X[order[k::5].copy()].mean(dim=0) for k in range(5)])
    rows = torch.stack([X[order[40 * k : 40 * (k + 1)].copy()].mean(dim=0) for k in range(5)])
    assert float(every.norm()) < 0.5 * float(rows.norm())


@derandomised
@given(seed=seeds, n=st.integers(8, 40), n_in=st.integers(1, 5), n_out=st.integers(1, 4))
def test_the_order_is_that_of_the_samples_alone(seed, n, n_in, n_out):
    X, C = samples(n, n_in, n_out, seed)
    rng = np.random.default_rng(seed)
    rows, inputs, outputs = (rng.permutation(k) for k in (n, n_in, n_out))
    slopes = rng.choice([-1.0, 1.0], n_in) * 10.0 ** rng.uniform(-3, 3, n_in)
    offsets = rng.normal(size=n_in) * np.abs(slopes)
    mapped = (X * torch.from_numpy(slopes) + torch.from_numpy(offsets))[rows][:, inputs]
    expected = ordered(X, C)
    found = rows[ordered(mapped, C[rows][:, outputs])]
    assert np.array_equal(found, expected)
    for one, same in zip(divided(found, 3, seed), divided(expected, 3, seed), strict=True):
        assert np.array_equal(one.held, same.held)
        assert np.array_equal(one.train, same.train)


@derandomised
@given(seed=seeds, n_in=st.integers(1, 6), n_out=st.integers(1, 3))
def test_canonical_inputs_are_the_same_under_permutations_and_signs(seed, n_in, n_out):
    X, C = samples(30, n_in, n_out, seed)
    X = standardised(X)
    varies = torch.ones(n_in, dtype=torch.bool)
    rng = np.random.default_rng(seed)
    rows, inputs, outputs = (rng.permutation(k) for k in (30, n_in, n_out))
    signs = torch.from_numpy(rng.choice([-1.0, 1.0], n_in))
    expected = X @ canonical(X, varies, C).T
    mapped = (X * signs)[rows][:, inputs]
    mixing = canonical(mapped, varies, C[rows][:, outputs])
    assert torch.equal(mapped @ mixing.T, expected[rows])


def test_canonical_inputs_are_a_signed_permutation_of_those_that_vary():
    X, C = samples(30, 5, 2, seed=0)
    X = standardised(X)
    X[:, 2] = 0
    varies = torch.arange(5) != 2
    mixing = canonical(X, varies, C)
    assert mixing.shape == (4, 5)
    assert bool((mixing.abs().sum(dim=1) == 1).all())
    assert mixing.abs().sum(dim=0).tolist() == [1, 1, 0, 1, 1]


def test_one_input_is_left_where_none_varies():
    mixing = canonical(
        torch.zeros(5, 3).double(), torch.zeros(3, dtype=torch.bool), normal(5, 1, seed=0)
    )
    assert mixing.shape == (1, 3)
    assert float(mixing.abs().sum()) == 1


def test_inputs_that_say_more_come_first():
    X, _ = samples(200, 3, 1, seed=0)
    X = standardised(X)
    C = X @ torch.tensor([[0.1], [3.0], [0.7]]).double()
    mixing = canonical(X, torch.ones(3, dtype=torch.bool), C)
    assert mixing.abs().argmax(dim=1).tolist() == [1, 2, 0]


def test_samples_of_equal_inputs_are_ordered_by_their_targets():
    X = torch.zeros(6, 2).double()
    C = torch.tensor([[3.0], [1.0], [-2.0], [5.0], [0.0], [4.0]]).double()
    order = ordered(X, C)
    assert C[order.copy(), 0].abs().tolist() == [0, 1, 2, 3, 4, 5]


def one_hot(labels):
    return np.eye(max(labels) + 1)[labels]


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("n_folds", [2, 5])
def test_each_fold_has_its_share_of_every_class(n_folds, seed):
    labels = np.repeat([0, 1, 2], [50, 23, 4])
    order = np.random.default_rng(seed).permutation(77)
    folds = stratified(order, one_hot(labels), n_folds, seed)
    assert len(folds) == n_folds
    assert sorted(np.concatenate([fold.held for fold in folds])) == list(range(77))
    for fold in folds:
        assert sorted([*fold.train, *fold.held]) == list(range(77))
        for k, count in enumerate((50, 23, 4)):
            assert abs((labels[fold.held] == k).sum() - count / n_folds) < 1
        assert set(labels[fold.train]) == {0, 1, 2}


def test_the_only_sample_of_a_class_is_held_out_by_no_fold():
    labels = np.array([0, 0, 0, 1, 1, 2, 0, 3])
    folds = stratified(np.arange(8), one_hot(labels), 5, 0)
    assert sorted(np.concatenate([fold.held for fold in folds])) == [0, 1, 2, 3, 4, 6]
    assert all({5, 7} <= set(fold.train) for fold in folds)
    assert stratified(np.arange(4), np.eye(4), 4, 0) == ()


def test_a_class_that_is_only_a_small_probability_is_kept_too():
    C = np.array([[1.0, 0, 0]] * 4 + [[0, 1, 0]] * 4)
    C[2], C[6] = [0.8, 0, 0.2], [0, 0.7, 0.3]
    for seed in range(10):
        for fold in stratified(np.arange(8), C, 2, seed):
            assert (C[fold.train].sum(axis=0) > 0).all()


def test_folds_of_classes_do_not_depend_on_the_order_of_samples_and_classes():
    X, _ = samples(40, 3, 2, seed=0)
    C = one_hot(np.random.default_rng(0).integers(3, size=40))
    sizes = torch.from_numpy(C)
    folds = stratified(ordered(X, sizes), C, 5, 0)
    mixed = np.random.default_rng(1).permutation(40)
    other = C[mixed][:, [2, 0, 1]]
    found = stratified(ordered(X[mixed], torch.from_numpy(other)), other, 5, 0)
    for a, b in zip(folds, found, strict=True):
        assert sorted(mixed[b.held]) == a.held.tolist()
