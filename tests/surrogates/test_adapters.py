"""The adapters as a whole: each is tested, documented, and says which package it lacks.

Their tests with the real packages are in tests/adapters.
"""

import ast
import subprocess
import sys
from types import SimpleNamespace

import adapters
import numpy as np
import pytest
from places import ROOT, TESTS
from readme_commands import blocks

from surrogates import InputError
from surrogates.adapters import common

SHARED = ("__init__", "common")
FOLDER = ROOT / "surrogates" / "adapters"
NAMES = sorted(
    path.stem for path in FOLDER.glob("*.py") if path.stem not in SHARED and path.stem[0] != "_"
)
TESTED = sorted([*NAMES, *(name for one in adapters.environments() for name in one.tests)])


def test_each_adapter_has_an_environment_a_test_and_a_program():
    listed = [name for one in adapters.environments() for name in one.adapters]
    assert sorted(listed) == NAMES
    page = blocks("docs/adapters", (ROOT / "docs" / "adapters.md").read_text())
    assert sorted({block.reason for block in page if block.kind == "adapters"}) == TESTED
    assert TESTED == sorted(
        path.stem.removeprefix("test_") for path in (TESTS / "adapters").glob("test_*.py")
    )


def test_every_package_has_one_version():
    for one in adapters.environments():
        for package in one.packages + one.alone:
            assert package.count("==") == 1, package


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_imports_its_package_when_it_is_called(name):
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    at_top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {
        alias.name for node in at_top if isinstance(node, ast.Import) for alias in node.names
    }
    modules |= {
        str(node.module).partition(".")[0]
        for node in at_top
        if isinstance(node, ast.ImportFrom) and not node.level
    }
    tops = {module.partition(".")[0] for module in modules}
    assert tops <= {"numpy", "surrogates", *sys.stdlib_module_names}


def test_a_package_that_is_missing_is_named_in_one_line():
    with pytest.raises(InputError, match=r"^this adapter needs wanted: pip install wanted \(.*\)$"):
        common.needed("no_such_module.inner", "wanted")
    with pytest.raises(InputError, match=r"pip install no_such_module "):
        common.needed("no_such_module.inner")


def surrogate(normals=(), errors=None, n_out=3):
    return SimpleNamespace(
        path="a.npz",
        domain=SimpleNamespace(normals=np.array(normals).reshape(-1, 2)),
        bounds=np.array([[0.0, 1.0], [2.0, 3.0]]),
        metadata={"errors": errors or {}},
        n_out=n_out,
        c_names=("a", "b", "c"),
    )


def test_a_box_is_refused_where_the_parameters_satisfy_relations():
    lower, upper = common.box(surrogate(), "do this")
    assert lower.tolist() == [0.0, 1.0] and upper.tolist() == [2.0, 3.0]
    with pytest.raises(InputError, match="a.npz satisfy 1 linear relation, so .*: do this$"):
        common.box(surrogate(normals=[[1.0, 1.0]]), "do this")


def test_the_spread_is_of_noise_and_held_out_errors():
    errors = {"validation": {"output_rms": [9.0] * 3}, "test": {"output_rms": [3.0, 0.0, 4.0]}}
    one = surrogate(errors=errors)
    np.testing.assert_allclose(common.spread(one, 4.0), [5.0, 4.0, 32**0.5], rtol=1e-15)
    np.testing.assert_allclose(common.spread(one, [4.0, 1.0, 3.0]), [5.0, 1.0, 5.0], rtol=1e-15)
    assert common.spread(surrogate(), 4.0).tolist() == [4.0] * 3
    for wrong in (0.0, [1.0, 1.0], [1.0, -1.0, 1.0], np.nan):
        with pytest.raises(InputError, match="expected one standard deviation of the noise > 0"):
            common.spread(one, wrong)


def test_data_are_matched_and_checked():
    named = {"b": 2.0, "a": 1.0, "c": 3.0}
    assert common.observed(surrogate(), named).tolist() == [1.0, 2.0, 3.0]
    for wrong in ([1.0, 2.0], [1.0, 2.0, np.nan], [[1.0, 2.0, 3.0]]):
        with pytest.raises(InputError, match="expected 3 finite data"):
            common.observed(surrogate(), wrong)


def test_results_are_nan_where_a_surrogate_has_none():
    known = SimpleNamespace(engine=SimpleNamespace(box=SimpleNamespace(log_inputs=LOGS)))
    Y = np.array([[[1.0, 1.0], [np.nan, 1.0]], [[-1.0, 2.0], [3.0, -2.0]]])
    found = common.or_nan(known, refusing, Y)
    np.testing.assert_array_equal(found, [[1.0, np.nan], [np.nan, -6.0]])
    value, rows = common.or_nan(known, lambda y, w: (refusing(y), w * y), Y, np.array([2.0, 3.0]))
    np.testing.assert_array_equal(value, found)
    np.testing.assert_array_equal(rows[1, 1], [6.0, -6.0])
    assert np.isnan(rows[1, 0]).all() and rows.shape == Y.shape
    assert common.or_nan(known, refusing, Y[0, 0]) == 1.0
    assert np.isnan(common.or_nan(known, refusing, Y[0, 1])).all()


def test_other_refusals_are_passed_on():
    known = SimpleNamespace(engine=SimpleNamespace(box=SimpleNamespace(log_inputs=LOGS)))

    def outside(y):
        raise InputError("outside")

    with pytest.raises(InputError, match="^outside$"):
        common.or_nan(known, outside, np.array([[1.0, 1.0]]))
    with pytest.raises(InputError, match="^outside$"):
        common.or_nan(known, outside, np.array([[1.0, 1.0], [np.nan, 1.0]]))


LOGS = np.array([True, False])


def refusing(y):
    """The product of y, where the first is above zero, as it takes its logarithm."""
    if not (np.isfinite(y).all() and (y[..., 0] > 0).all()):
        raise InputError("refused")
    return y.prod(axis=-1)


def test_an_unknown_adapter_is_refused_with_the_known_ones():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "adapters.py", "nothing"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2 and f"there are {', '.join(TESTED)}" in done.stderr
