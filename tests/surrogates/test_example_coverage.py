"""The example that counts how often posteriors hold the truth."""

from __future__ import annotations

import re

import numpy as np
import posterior_coverage as example
import pytest

from surrogates.data.from_arrays import from_arrays


def test_the_ensemble_samples_the_density_in_its_box():
    C = np.array([[0.04, 0.015], [0.015, 0.01]])
    inverse, centre = np.linalg.inv(C), np.array([0.5, 0.3])
    box = np.array([[0.0, 0.0], [1.0, 0.3]])  # half of the second coordinate's distribution

    def density(Y):
        return -np.einsum("ni,ij,nj->n", Y - centre, inverse, Y - centre) / 2

    rng = np.random.default_rng(0)
    draws, values = example.sampled(density, rng.uniform(*box, (64, 2)), box, 1500, rng)
    assert ((box[0] <= draws) & (draws <= box[1])).all()
    np.testing.assert_allclose(values, density(draws), rtol=1e-9, atol=1e-9)
    rng = np.random.default_rng(1)
    right = rng.multivariate_normal(centre, C, 400_000)
    right = right[((box[0] <= right) & (right <= box[1])).all(axis=1)]
    np.testing.assert_allclose(draws.mean(axis=0), right.mean(axis=0), atol=0.015)
    np.testing.assert_allclose(draws.std(axis=0), right.std(axis=0), rtol=0.1)


def counts(said: str) -> list[int]:
    return [int(n) for n in re.findall(r"regions of 90%: (\d+) of 12", said)]


def test_counts_with_and_without_the_surrogates_errors(tmp_path, capsys):
    """A function that 30 samples do not determine; noise far below the surrogate's error."""
    rng = np.random.default_rng(0)
    Y, x = rng.uniform(-1, 1, (50, 3)), np.linspace(0, 1, 12)
    C = np.sin(3 * Y[:, :1] + 4 * x) + np.exp(Y[:, 1:2] * x) + np.cos(3 * x * Y[:, 2:3] + Y[:, :1])
    parts = ["train"] * 24 + ["validation"] * 6 + ["test"] * 20
    from_arrays(Y, C, split=parts).write(tmp_path / "f.h5")
    words = [str(tmp_path / "f.h5"), "--kind", "rbf", "--steps", "150", "--truths", "12"]
    assert example.main([*words, "--noise", "0.1"]) == 0
    with_errors, without = counts(capsys.readouterr().out)
    assert with_errors >= 9 and without <= 3


@pytest.mark.parametrize("words", [["nowhere.h5"], ["nowhere.h5", "--truths", "3"]])
def test_a_wrong_file_is_one_line(words, capsys):
    assert example.main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "nowhere.h5" in said and said.count("\n") == 1
