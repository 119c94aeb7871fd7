"""How samples are divided into training, validation and test: by counts, fractions, classes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from surrogates.data import PARTS, Split, assign_split
from surrogates.data.split import check_classes, continued, extended, rows_of_classes
from surrogates.errors import InputError


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    counts=st.tuples(*3 * [st.integers(0, 30)]),
    spare=st.integers(0, 5),
    seed=st.integers(0, 2**63 - 1),
)
def test_a_split_by_counts_is_exact_and_the_same_for_a_seed(counts, spare, seed):
    n = sum(counts) + spare
    assume(sum(counts) != 1)  # which reads as fractions
    split = assign_split("/".join(map(str, counts)), n, seed)
    assert split.dtype == np.uint8 and split.shape == (n,)
    assert [int((split == Split[part.upper()]).sum()) for part in PARTS] == list(counts)
    assert int((split == Split.UNUSED).sum()) == spare
    np.testing.assert_array_equal(split, assign_split("/".join(map(str, counts)), n, seed))


def test_a_split_by_fractions_uses_every_sample_at_random():
    split = assign_split("0.5/0.25/0.25", 801, 0)
    assert [int((split == part).sum()) for part in range(3)] == [400, 201, 200]
    for n in range(1, 30):
        for fractions, part in (("0.5/0.5/0", 2), ("0.5/0/0.5", 1), ("0/0.3/0.7", 0)):
            assert not (assign_split(fractions, n, 0) == part).any()
    assert 150 < int((split[:400] == Split.TRAIN).sum()) < 250
    assert not np.array_equal(split, assign_split("0.5/0.25/0.25", 801, 1))


@pytest.mark.parametrize("seed", range(3))
def test_a_small_set_is_split_sensibly(seed):
    counts = {}
    for n in range(3, 21):
        split = assign_split("0.8/0.1/0.1", n, seed)
        counts[n] = [int((split == part).sum()) for part in range(3)]
        assert sum(counts[n]) == n and counts[n][0] >= 2
    assert [counts[n] for n in (3, 4, 5, 6, 8, 10, 20)] == [
        *([2, 1, 0], [3, 1, 0], [4, 0, 1], [5, 0, 1], [6, 1, 1], [8, 1, 1], [16, 2, 2]),
    ]
    for fractions in ("0.1/0.1/0.8", "0.3/0/0.7", "0.01/0.98/0.01", "0.01/0/0.99"):
        for n in range(1, 21):
            split = assign_split(fractions, n, seed)
            train, validation = (int((split == part).sum()) for part in range(2))
            assert train >= 1 and train + validation >= min(n, 3)
    for n in range(1, 21):
        assert not (assign_split("0/0.5/0.5", n, seed) == Split.TRAIN).any()


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("400/200/200", "the split 400/200/200 needs 800 samples; there are 10"),
        ("5/3/3", "the split 5/3/3 needs 11 samples; there are 10"),
        ("4/4", "cannot read the split '4/4'; write 400/200/200 or 0.8/0.1/0.1"),
        ("a/b/c", "cannot read the split"),
        ("-1/1/1", "cannot read the split"),
        ("nan/0.5/0.5", "cannot read the split"),
        ("inf/1/1", "cannot read the split"),
        ("", "cannot read the split"),
        ("0.8/0.1/0.2", "neither counts nor fractions that add up to 1"),
    ],
)
def test_a_split_that_cannot_be_made_is_refused(split, message):
    with pytest.raises(InputError, match=message):
        assign_split(split, 10, 0)


def of_sizes(sizes):
    """Return shuffled labels of classes with so many samples each, and the classes' rows."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    return labels, rows_of_classes("abcde"[: len(sizes)], np.eye(len(sizes))[labels])


SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=5)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(sizes=SIZES, more=st.integers(0, 12))
def test_a_balanced_split_that_holds_back_a_whole_class_is_refused(sizes, more):
    labels, classes = of_sizes(sizes)
    held = min(sizes) + more
    with pytest.raises(InputError, match=f"needs {held + 1} samples of each class; '[a-e]' has"):
        assign_split(f"balanced:20/{held}/0.2", len(labels), 0, classes)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    sizes=SIZES,
    most=st.integers(1, 40),
    held=st.integers(0, 12),
    share=st.sampled_from([0.0, 0.2, 0.5, 0.99]),
    seed=st.integers(0, 2**63 - 1),
)
def test_a_balanced_split_takes_as_many_of_each_class_as_it_says(sizes, most, held, share, seed):
    assume(min(sizes) > held)
    labels, classes = of_sizes(sizes)
    text, n = f"balanced:{most}/{held}/{share}", len(labels)
    split = assign_split(text, n, seed, classes)
    assert split.dtype == np.uint8 and split.shape == (n,)
    for k, m in enumerate(sizes):
        train, validation, test = np.bincount(split[labels == k], minlength=3)
        pool = min(most, m - held)
        assert train + test == pool and validation == m - pool >= held
        assert train >= 1 and (
            abs(test - share * pool) <= 0.5 or (train == 1 and test < share * pool)
        )
    np.testing.assert_array_equal(split, assign_split(text, n, seed, classes))


def test_a_balanced_split_is_random_and_by_default_as_in_the_paper():
    labels = np.repeat([0, 1, 2], [1000, 20, 300])
    classes = rows_of_classes("abc", np.eye(3)[labels])
    split = assign_split("balanced", 1320, 0, classes)
    counts = [np.bincount(split[labels == k], minlength=3).tolist() for k in range(3)]
    assert counts == [[200, 750, 50], [8, 10, 2], [200, 50, 50]]
    np.testing.assert_array_equal(split, assign_split("balanced:250/10/0.2", 1320, 0, classes))
    assert 70 < int((split[:500] == Split.TRAIN).sum()) < 130
    assert not np.array_equal(split, assign_split("balanced", 1320, 1, classes))


@pytest.mark.parametrize(
    "numbers", ["250", "250/10", "0/10/0.2", "2.5/10/0.2", "250/1.5/0.2", "250/10/1", "a/b/c"]
)
def test_a_balanced_split_that_cannot_be_made_is_refused(numbers):
    classes = rows_of_classes("ab", np.eye(2)[np.arange(100) % 2])
    message = f"cannot read the split 'balanced:{numbers}'; write balanced:250/10/0.2"
    with pytest.raises(InputError, match=message):
        assign_split(f"balanced:{numbers}", 100, 0, classes)
    with pytest.raises(InputError, match="is for a classification; write 0.8/0.1/0.1"):
        assign_split(f"balanced:{numbers}", 100, 0)


def test_training_samples_that_no_classifier_can_learn_from_are_refused():
    check_classes("ab", np.array([[0.9, 0.1], [1, 0]]))
    for C, message in (
        ([[1.0], [1.0]], "there is a single class; a classifier needs two"),
        ([[1.0, 0.0, 0.0]], "there are no training samples of 'b', 'c'; give another split"),
    ):
        with pytest.raises(InputError, match=message):
            check_classes("abc"[: len(C[0])], np.array(C))


# Extended sets


def parts_of(split: str, n: int, seed: int = 4) -> np.ndarray:
    return assign_split(split, n, seed)


def counts_of(assigned: np.ndarray) -> list[int]:
    return np.bincount(assigned, minlength=256)[[*range(3), Split.UNUSED]].tolist()


@pytest.mark.parametrize(
    ("split", "asked", "text", "counts"),
    [
        ("0.8/0.1/0.1", None, "0.8/0.1/0.1 of 800 + 0.8/0.1/0.1 of 400", [960, 120, 120, 0]),
        ("0.8/0.1/0.1", "1/0/0", "0.8/0.1/0.1 of 800 + 1.0/0.0/0.0 of 400", [1040, 80, 80, 0]),
        ("1/0/0", None, "1/0/0 of 800 + 1.0/0.0/0.0 of 400", [1200, 0, 0, 0]),
        ("400/200/200", None, "400/200/200 of 800 + 200/100/100 of 400", [600, 300, 300, 0]),
        ("400/200/100", None, "400/200/100 of 800 + 200/100/50 of 400", [600, 300, 150, 150]),
        ("400/200/200", "800/200/200", "400/200/200 of 800 + 400/0/0 of 400", [800, 200, 200, 0]),
        ("400/200/200", "400/200/200", "400/200/200 of 800 + 0/0/0 of 400", [400, 200, 200, 400]),
        ("400/200/200", "401/200/200", "400/200/200 of 800 + 1/0/0 of 400", [401, 200, 200, 399]),
        ("0.8/ 0.1/0.1", "700/90/90", "0.8/0.1/0.1 of 800 + 60/10/10 of 400", [700, 90, 90, 320]),
    ],
)
def test_an_extended_set_keeps_its_parts_and_divides_the_new_samples(split, asked, text, counts):
    found = extended(split, 800, 1200, asked, 4)
    assert found == text
    before, after = parts_of(split, 800), parts_of(found, 1200)
    assert np.array_equal(after[:800], before) and counts_of(after) == counts
    # The same command has nothing to do, and another one is seen.
    assert continued(found, 1200, asked, 4) == continued(found, 1200, None, 4) == found
    assert continued(found, 1200, found, 4) == found
    assert continued(found, 1200, "0.5/0.4/0.1", 4) == "0.5/0.4/0.1"


def test_a_set_is_extended_again_and_again():
    text, n = "0.8/0.1/0.1", 100
    parts = parts_of(text, n)
    for total in (150, 151, 152, 400):
        text = extended(text, n, total, None, 4)
        grown = parts_of(text, total)
        assert np.array_equal(grown[:n], parts)
        assert continued(text, total, "0.8/0.1/0.1", 4) == text
        parts, n = grown, total
    assert text.count(" + ") == 4
    share = counts_of(parts)
    assert abs(share[0] - 320) <= 2 and share[3] == 0


def test_steps_do_not_repeat_each_other():
    text = extended("0.5/0.25/0.25", 200, 400, None, 4)
    parts = parts_of(text, 400)
    assert (parts[:200] != parts[200:]).mean() > 0.3


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("300/300/300", "a sample keeps its part: the split 300/300/300 has fewer than the 400/"),
        ("900/200/200", "needs 500 new samples; there are 400"),
        ("0.8/0.1/0.1 of 700 + 1/0/0 of 500", "must begin with 400/200/200 of 800; got 0.8"),
    ],
)
def test_a_split_that_does_not_fit_the_samples_there_is_refused(asked, message):
    with pytest.raises(InputError, match=message):
        extended("400/200/200", 800, 1200, asked, 4)


@pytest.mark.parametrize(
    ("asked", "message"),
    [("0.8/x", "cannot read the split"), ("0.5/0.2/0.1", "neither counts nor fractions")],
)
def test_a_text_that_is_no_split_is_refused_for_new_samples(asked, message):
    with pytest.raises(InputError, match=message):
        parts_of(extended("400/200/200", 800, 1200, asked, 4), 1200)


def test_steps_must_have_the_number_of_samples():
    with pytest.raises(InputError, match=r"the split .* is of 1200 samples; there are 1100"):
        parts_of("0.8/0.1/0.1 of 800 + 0.8/0.1/0.1 of 400", 1100)
