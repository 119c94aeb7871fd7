"""The example in C, a Markov chain on a surrogate, against a quadrature."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from compiled import C99, build, needs_cc
from exports import in_numpy, saved
from places import EXAMPLES

from surrogates.export import c as c_source
from surrogates.model.loaded import LoadedSurrogate
from surrogates.model.networks import AntisymmetricODE
from surrogates.model.parts import Domain, ErrorBars
from surrogates.model.surrogate import Surrogate

METROPOLIS = EXAMPLES / "metropolis.c"

ROW = re.compile(r"^([cy]\[\d+\]) (.*)$", re.MULTILINE)
PRIOR = re.compile(r"in the prior each y has mean \S+ and std (\S+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def metropolis(tmp_path_factory):
    """The chain for a surrogate "cdr" of three weights, built, and that surrogate in numpy."""
    folder = tmp_path_factory.mktemp("metropolis")
    generator = torch.Generator().manual_seed(5)
    Y = np.random.default_rng(4).random((200, 3))
    Y /= Y.sum(axis=1, keepdims=True)
    W = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    surrogate = Surrogate(
        AntisymmetricODE(3, 4, 1, scale=0.4, generator=generator),
        W,
        Y.mean(axis=0),
        Y.std(axis=0),
        Domain.of(Y),
        ErrorBars(  # which vary by a factor of three, and count beside the noise
            leverage=torch.randn(5, 5, generator=generator, dtype=torch.float64),
            floor=0.1,
            sigma=torch.full((5,), 0.1),
        ),
    )
    loaded = saved(surrogate, folder / "cdr.pt")
    c_source.save(loaded, folder / "cdr.c")
    build("cc", *C99, "-O2", "-I.", METROPOLIS, "cdr.c", "-lm", "-o", "chain", cwd=folder)
    return folder / "chain", in_numpy(loaded)


def chain(program: Path, *words: object) -> tuple[int, str]:
    run = subprocess.run([program, *map(str, words)], capture_output=True, text=True, timeout=100)
    assert run.returncode < 2 and not run.stderr, run.stderr
    return run.returncode, run.stdout


def posterior(found: LoadedSurrogate, d: np.ndarray, noise: float) -> tuple[np.ndarray, ...]:
    """Mean and standard deviation of c and y, by quadrature over the simplex.

    The density of y = x / sum(x), x uniform in the cube, is that of all s with s y in the cube,
    integrated over s: s^2 ds up to 1 / max(y).
    """
    n = 400
    a, b = np.meshgrid(*[(np.arange(n) + 0.5) / n] * 2)
    Y = np.stack([a, (1 - a) * b, (1 - a) * (1 - b)], axis=2).reshape(-1, 3)
    C, std = found.predict(Y), found.predict_std(Y)
    variance = noise**2 + std**2
    logarithm = -0.5 * ((d - C) ** 2 / variance + np.log(variance)).sum(axis=1)
    p = np.exp(logarithm - logarithm.max()) * Y.max(axis=1) ** -3.0 * (1 - Y[:, 0])
    quantities = np.concatenate([C, Y], axis=1)
    mean = p @ quantities / p.sum()
    return mean, np.sqrt(p @ (quantities - mean) ** 2 / p.sum())


@needs_cc
@pytest.mark.parametrize("share", [0.05, 0.3, 1e3])
def test_the_chain_has_the_posterior_of_a_quadrature(metropolis, share):
    program, found = metropolis
    status, text = chain(program, 7, share, 100000)
    assert status == 0, text
    rows = {name: [float(x) for x in rest.split()] for name, rest in ROW.findall(text)}
    order = [f"c[{j}]" for j in range(5)] + [f"y[{i}]" for i in range(3)]
    d = np.array([rows[name][1] for name in order[:5]])
    noise = float(re.match(r"noise (\S+),", text)[1])
    means, stds = posterior(found, d, noise)
    for name, mean, std in zip(order, means, stds, strict=True):
        its_mean, its_std, ess, r_hat = rows[name][-4:]
        assert ess > 1000 and r_hat < 1.01, name
        assert abs(its_mean - mean) < 4 * std / ess**0.5, name
        assert abs(its_std / std - 1) < 4 * ess**-0.5, name
    if share == 1e3:  # nothing but the prior
        assert stds[-3:] == pytest.approx(float(PRIOR.search(text)[1]), rel=0.02)


@needs_cc
def test_true_values_are_as_far_from_the_means_as_the_deviations_say(metropolis):
    """Truth and data are draws of the model that the chain takes them for."""
    z = []
    for seed in range(32):
        status, text = chain(metropolis[0], seed, 0.3, 10000)
        assert status == 0, text
        rows = [
            [float(x) for x in rest.split()] for name, rest in ROW.findall(text) if name[0] == "c"
        ]
        z.append([(truth - mean) / std for truth, _, mean, std, *_ in rows])
    assert np.mean(np.square(z)) == pytest.approx(1, abs=0.5)
    assert np.mean(z) == pytest.approx(0, abs=0.4)


DRIVER = """
#define main chain_main
#include "metropolis.c"
#undef main

int main(void)
{
    static double x[DRAWS];
    Random random = {{1, 2, 3, 4}};
    for (int i = 0; i < 4; ++i)
        printf("%llu\\n", (unsigned long long)next(&random));
    double sum = 0.0, squares = 0.0;
    for (int i = 0; i < 100000; ++i) {
        const double a = normal(&random);
        sum += a, squares += a * a;
    }
    printf("%g %g\\n", sum / 100000, squares / 100000);
    for (int kind = 0; kind < 3; ++kind) { /* independent, autoregressive, and chains apart */
        const double r = kind == 0 ? 0.0 : 0.8;
        for (int i = 0; i < DRAWS; ++i)
            x[i] = i % KEPT ? r * x[i - 1] + sqrt(1.0 - r * r) * normal(&random) : normal(&random);
        for (int i = 0; i < DRAWS; ++i)
            x[i] += kind == 2 ? i / KEPT : 0;
        const Summary s = summarise(x);
        printf("%g %g %g %g\\n", s.mean, s.std, s.r_hat, s.ess);
    }
    return 0;
}
"""


@needs_cc
def test_generator_and_checks_of_the_chain(metropolis, tmp_path):
    folder = metropolis[0].parent
    (tmp_path / "driver.c").write_text(DRIVER)
    paths = [f"-I{path}" for path in (folder, METROPOLIS.parent)]
    build("cc", *C99, "-O2", *paths, "driver.c", folder / "cdr.c", "-lm", "-o", "d", cwd=tmp_path)
    run = subprocess.run([tmp_path / "d"], capture_output=True, text=True, timeout=60, check=True)
    lines = run.stdout.splitlines()
    # The published generator's first numbers from the state 1, 2, 3, 4.
    assert lines[:4] == ["11520", "0", "1509978240", "1215971899390074240"]
    mean, square = map(float, lines[4].split())
    assert abs(mean) < 4 * 0.0032 and abs(square - 1) < 4 * 0.0045
    independent, correlated, apart = ([float(x) for x in line.split()] for line in lines[5:])
    for (mean, std, r_hat, ess), right in ((independent, 8000), (correlated, 8000 * 0.2 / 1.8)):
        assert ess == pytest.approx(right, rel=0.15)
        assert abs(mean) < 4 * right**-0.5 and abs(std - 1) < 3 * right**-0.5 and r_hat < 1.02
    assert apart[2] > 1.2 and apart[3] < 40  # means of 0, 1, 2 and 3


@needs_cc
@pytest.mark.parametrize("words", [["x"], ["1", "0"], ["1", "0.1", "3999"], ["1"] * 4], ids=str)
def test_bad_arguments_of_the_chain_are_one_line(metropolis, words):
    run = subprocess.run([metropolis[0], *words], capture_output=True, text=True, timeout=60)
    assert run.returncode == 2 and not run.stdout
    assert run.stderr == "error: expected [SEED [NOISE > 0 [STEPS >= 4000]]]\n"
