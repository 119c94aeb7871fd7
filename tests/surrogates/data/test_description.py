"""What a dataset is: when two are of one set, and who made which sample."""

from __future__ import annotations

import dataclasses

import pytest
from samples import made, maker

from surrogates.errors import InputError

# Who made what


def test_makers_are_known_by_versions_and_revision():
    info = made(3).info
    same = {**maker("2"), "command": "another", "created": "later"}
    assert info.with_maker(same) == (info, 1)
    first = {**same, "versions": info.versions, "revision": info.revision}
    assert info.with_maker(first) == (info, 0)
    for other in ({**same, "revision": "r3"}, {**same, "versions": {"numpy": "3"}}):
        more, index = info.with_maker(other)
        assert index == 2 and more.makers == (*info.makers, other)
        assert more.differences(info) == []


def test_another_file_of_the_problem_is_another_set():
    info = made(3).info
    other = dataclasses.replace(info, source="12ab")
    assert other.differences(other) == []
    name = "the file of the problem"
    assert info.differences(other) == [f"{name} has no SHA-256 there and 12ab here"]
    assert other.differences(info) == [f"{name} has SHA-256 12ab there and none here"]


def test_a_file_of_another_set_is_refused_and_an_edited_file_named():
    info = dataclasses.replace(made(3).info, problem="own.py:P", source="ab" * 32)
    info.check_same(info, "a.h5")
    with pytest.raises(InputError, match="^a.h5 is another dataset: seed is .*; it is left as it"):
        info.check_same(dataclasses.replace(info, seed=7), "a.h5")
    with pytest.raises(InputError, match=r"restore own.py \(an edit .*\), or give another --out$"):
        info.check_same(dataclasses.replace(info, source="12"), "a.h5")
    with pytest.raises(InputError, match="another dataset: its numbers are others; it is left"):
        info.check_same(info, "a.h5", ["its numbers are others"])
