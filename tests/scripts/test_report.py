"""The report on a surrogate file that is called with torch alone."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from places import SCRIPTS

import surrogates
from surrogates.data import Dataset
from surrogates.data.from_arrays import from_arrays


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write a dataset with dc/dy, the same without, and a surrogate of them."""
    folder = tmp_path_factory.mktemp("report")
    Y = np.random.default_rng(0).uniform(-1, 1, (60, 2))
    C = np.stack([np.sin(Y[:, 0] + 2 * Y[:, 1]), np.exp(Y[:, 0])], axis=1)
    by_0, by_1 = np.cos(Y[:, 0] + 2 * Y[:, 1]), 0 * Y[:, 0]
    J = np.stack([np.stack([by_0, 2 * by_0], axis=1), np.stack([C[:, 1], by_1], axis=1)], axis=1)
    from_arrays(Y, C, dC_dY=J).write(folder / "with.h5")
    from_arrays(Y, C).write(folder / "without.h5")
    trained = surrogates.train(folder / "with.h5", effort="fast")
    trained.save(folder / "s.pt")
    return folder, trained


def report(*arguments) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    command = [sys.executable, SCRIPTS / "report.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_errors_of_slopes_are_those_that_evaluate_finds(files):
    folder, trained = files
    expected = trained.evaluate(Dataset.read(folder / "with.h5")).jacobian
    (errors,) = expected.values()
    run = report(folder / "s.pt", folder / "with.h5")
    assert run.returncode == 0, run.stderr
    (row,) = [line for line in run.stdout.splitlines() if "dc/dy" in line]
    found = [float(number) for number in row.split()[1::2]]
    summary = [errors.mean, errors.std, errors.min, errors.max]
    np.testing.assert_allclose(found, 100 * np.array(summary), atol=0.0051)


def test_a_dataset_without_slopes_has_no_such_row(files):
    folder, _ = files
    run = report(folder / "s.pt", folder / "without.h5")
    assert run.returncode == 0, run.stderr
    assert "without.h5, test" in run.stdout
    assert "dc/dy" not in run.stdout


def test_a_file_that_is_no_surrogate_is_one_line(files):
    folder, _ = files
    run = report(folder / "with.h5", folder / "with.h5")
    assert run.returncode == 2
    assert run.stderr.startswith("error: ")
