"""Forward uncertainty quantification: its statistics against known answers, and all of it once."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from surrogates import cli, config
from surrogates.data import Dataset
from surrogates.errors import InputError
from surrogates.model import describe
from surrogates.model import file as export

pytest.importorskip("dolfinx", reason="the example solves a PDE, which needs DOLFINx")
pytest.importorskip("SALib", reason="the example needs SALib")

import estimates
import forward_uq as uq

SMALL = (
    *("mesh.cells=[4,4]", "mesh.degree=2", "time.steps=30", "reaction.rate=3"),
    *("observations.times=[0.5,1.0,1.5]", "observations.sensors=[[0.56,0.48],[0.64,0.52]]"),
)
QUICK = ("network.width=4", "stopping.work_units=150")
SAMPLES, SOLVES = 20_000, 300


def ishigami(X):
    """The function of Ishigami and Homma (1990), a = 7, b = 0.1, and one linear in X."""
    x = np.pi * (2 * X - 1)
    wave = np.sin(x[:, 0]) * (1 + 0.1 * x[:, 2] ** 4) + 7 * np.sin(x[:, 1]) ** 2
    return np.stack([wave, X @ [1, 2, 3]], axis=1)


# By Sobol and Levitan (1999), and of a sum of independent parts.
FIRST = np.array([[0.3139, 1 / 14], [0.4424, 4 / 14], [0, 9 / 14]])
TOTAL = np.array([[0.5576, 1 / 14], [0.4424, 4 / 14], [0.2437, 9 / 14]])


def interacting(X):
    """Return sums and a product of two variables among six, and their first-order indices."""
    a = np.array([1, 0.8, 0.6, 0.4, 0.2, 0])
    variances = a**2 / 12
    variances[0] += 0.5**2 * (1 / 80 - 1 / 144)
    u = X - 0.5
    c = 7 + u @ a + 0.5 * u[:, 0] ** 2 + u[:, 1] * u[:, 2]
    return c[:, None], (variances / (variances.sum() + 1 / 144))[:, None]


def rms(z):
    return np.sqrt((np.asarray(z) ** 2).mean(axis=0))


def test_stated_errors_are_those_of_repeated_samples():
    rng = np.random.default_rng(0)
    z = {"mean": [], "std": [], "paired": []}
    for _ in range(400):
        C = rng.gamma(4, size=(300, 3))
        other = C + 0.1 * rng.normal(0.2, 1, C.shape)
        for name, estimate, truth in (
            ("mean", estimates.mean(C), 4),
            ("std", estimates.std(C), 2),
            ("paired", estimates.mean(other) - estimates.mean(C), 0.02),
        ):
            z[name].append((estimate.value - truth) / estimate.error)
    for name, values in z.items():
        # 400 draws know a standard deviation to 3.5 %.
        assert np.all(np.abs(rms(values) - 1) < 0.12), name
    assert np.allclose((estimates.mean(other) - estimates.mean(C)).error, 0.1 / 300**0.5, rtol=0.2)


def test_a_regression_gives_first_order_indices_and_their_errors():
    rng = np.random.default_rng(1)
    z, sums, errors, of_no_effect = [], [], [], []
    for _ in range(300):
        X = rng.random((400, 6))
        C, truth = interacting(X)
        estimate = estimates.first_order(X, C)
        z.append(((estimate.value - truth) / estimate.error)[:4])
        total = estimate.sum()
        sums.append((total.value - truth.sum()) / total.error)
        errors.append(estimate.error)
        of_no_effect.append(estimate.value[5])
    assert np.all(np.abs(rms(z) - 1) < 0.15), rms(z)
    assert abs(rms(sums)[0] - 1) < 0.2
    assert np.abs(np.mean(z, axis=0)).max() < 0.25  # no bias to speak of
    assert np.max(errors) < 0.02  # with the variance of the samples for V: 0.03
    assert abs(np.mean(of_no_effect)) < 4 * np.std(of_no_effect) / 300**0.5


def test_a_regression_of_higher_degree_follows_curved_effects():
    X = np.random.default_rng(2).random((20_000, 3))
    estimate = estimates.first_order(X, ishigami(X), degree=10)
    assert np.all(np.abs(estimate.value - FIRST) < 4 * estimate.error + 1e-4)
    assert estimate.error.max() < 0.01


def test_salib_gives_the_indices_and_scramblings_their_errors():
    z = {"first": [], "total": []}
    for seed in range(8):
        first, total = estimates.sobol_indices(ishigami, 3, 256, 16, seed)
        z["first"].append((first.value - FIRST) / first.error)
        z["total"].append((total.value - TOTAL) / total.error)
        assert max(first.error.max(), total.error.max()) < 0.03
    for name, values in z.items():
        # Student's t with 15 degrees of freedom, 48 values that go together.
        assert 0.7 < rms(np.ravel(values)) < 1.6, name


def test_the_points_are_those_of_salibs_sampler():
    from SALib.sample import sobol

    calls = []
    estimates.sobol_indices(lambda X: calls.append(X) or ishigami(X), 3, 16, 1, seed=5)
    rows = np.stack(calls, axis=1).reshape(-1, 3)
    problem = {"num_vars": 3, "names": ["a", "b", "c"], "bounds": [[0, 1]] * 3}
    seed = np.random.default_rng([5, 2, 0])
    assert np.array_equal(rows, sobol.sample(problem, 16, calc_second_order=False, seed=seed))


def test_one_difference_has_the_probability_of_the_normal_distribution():
    C = np.random.default_rng(3).normal(size=(500, 1))
    for z, p in ((0.5, 0.617), (1.96, 0.05), (2.576, 0.01)):
        assert estimates.probability(np.array([z, 0.1]), estimates.mean(C)) == pytest.approx(
            p, abs=0.012
        )


def test_correlation_is_seen_in_the_probability_of_the_largest_difference():
    rng = np.random.default_rng(4)
    one = rng.normal(size=(500, 1))
    same, apart = np.repeat(one, 50, axis=1), rng.normal(size=(500, 50))
    z = np.array([2.5])
    assert estimates.probability(z, estimates.mean(same)) == pytest.approx(0.0124, abs=0.006)
    assert estimates.probability(z, estimates.mean(apart)) == pytest.approx(
        1 - 0.98758**50, abs=0.04
    )


def test_chance_alone_seldom_looks_like_more():
    rng = np.random.default_rng(5)
    mixing = rng.normal(size=(4, 30))
    p = []
    for _ in range(300):
        estimate = estimates.mean(np.exp(0.3 * rng.normal(size=(300, 4))) @ mixing)
        truth = np.exp(0.045) * mixing.sum(axis=0)
        p.append(
            estimates.probability((estimate.value - truth) / estimate.error, estimate, draws=400)
        )
    assert np.mean(np.array(p) < 0.1) == pytest.approx(0.1, abs=0.06)
    assert np.mean(p) == pytest.approx(0.5, abs=0.06)


def test_samples_added_in_pieces_have_the_moments_of_all():
    rng = np.random.default_rng(6)
    C = np.stack([1e6 + rng.gamma(4, size=10_000), rng.normal(size=10_000)], axis=1)
    many = estimates.Distribution(C[:100])
    for piece in np.array_split(C, 7):
        many.add(piece)
    for (value, error), of in ((many.mean(), estimates.mean), (many.std(), estimates.std)):
        estimate = of(C)
        assert np.allclose(value - C.mean(axis=0), estimate.value - C.mean(axis=0), atol=1e-3)
        assert np.allclose(value, estimate.value, rtol=1e-3)
        assert np.allclose(error, estimate.error, rtol=1e-3)
    shares = (0.05, 0.5, 0.95)
    expected = np.quantile(C - C.mean(axis=0), shares, axis=0)
    assert np.allclose(many.quantiles(shares) - C.mean(axis=0), expected, atol=0.01)
    assert many.n == many.counts[:, 0].sum() == 10_000
    far = C.copy()
    far[0] = 1e9
    many.add(far)
    assert many.counts[-1].tolist() == [1, 1]


# The program


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a small CDR dataset of seed 0 and a surrogate of it."""
    folder = tmp_path_factory.mktemp("uq")
    data = str(folder / "cdr.h5")
    generate(data, "--samples", "300", "--split", "200/100/0")
    settings = (f"--set={setting}" for setting in QUICK)
    assert cli.main(["train", data, "--effort", "fast", *settings]) == 0
    return folder


def generate(out, *words):
    settings = (f"--set={setting}" for setting in SMALL)
    assert cli.main(["generate", "cdr", "--out", str(out), *words, *settings]) == 0


@pytest.fixture(scope="module")
def loaded(folder):
    return export.load(folder / "cdr.pt")


@pytest.mark.fenicsx
def test_the_whole_study(folder, loaded, capsys, monkeypatch):
    kept = []
    draw = uq.draw
    monkeypatch.setattr(uq, "SCRAMBLINGS", 4)
    monkeypatch.setattr(uq, "draw", lambda figure, found: kept.append(found) or draw(figure, found))
    out = folder / "uq.png"
    words = ["--samples", str(SAMPLES), "--solves", str(SOLVES), "--out", str(out)]
    assert uq.main([str(folder / "cdr.pt"), *words]) == 0
    text = capsys.readouterr().out
    assert out.read_bytes().startswith(b"\x89PNG")
    assert f"PDE: {SOLVES} solves of seed 1," in text and "times as long" in text
    assert "within chance" in row(text, "mean")
    (found,) = kept
    generate(folder / "other.h5", "--samples", str(SOLVES), "--seed", "1")
    dataset = Dataset.read(folder / "other.h5")
    assert np.allclose(found.solved, dataset.C, rtol=1e-10)
    bias = (loaded.predict(dataset.Y) - dataset.C).mean(axis=0)
    assert np.allclose(found.moments["mean"].bias.value, bias, rtol=1e-6, atol=1e-12)
    assert np.all(found.moments["mean"].bias.error < 0.3 * found.moments["mean"].pde.error)
    assert found.many.n == SAMPLES
    x = np.random.default_rng(0).random((SAMPLES, 55))
    c = loaded.predict(x / x.sum(axis=1, keepdims=True))
    mean, error = found.many.mean()
    assert np.all(np.abs(c.mean(axis=0) - mean) < 5 * 2**0.5 * error)
    for S, other in ((found.pde, found.first), (found.twin, found.first)):
        assert np.all(np.abs(S.value - other.value) < 5 * np.hypot(S.error, other.error) + 0.01)
    paired = (found.twin - found.pde).error[:, -1]
    assert np.mean(paired / found.pde.error[:, -1]) < 0.7
    assert np.all(np.abs(found.pde.sum().value - 0.98) < 0.02)  # the sources hardly interact

    # A surrogate that is wrong by half a standard deviation is found out.
    shift = 0.5 * found.solved.std(axis=0)
    wrong = estimates.Distribution(found.solved)
    wrong.add(c + shift)
    twin = estimates.mean(loaded.predict(dataset.Y) + shift)
    value, error = wrong.mean()
    moment = uq.Moment(
        n_many=wrong.n, many=value, many_error=error, pde=estimates.mean(found.solved), twin=twin
    )
    uq._print_comparison({"mean": moment}, found.solved, wrong, found.names)
    text = capsys.readouterr().out
    assert "p < 0.001" in row(text, "mean") and "more than chance" in row(text, "mean")


def row(text, name):
    (line,) = (line for line in text.splitlines() if line.startswith(f"  {name}  "))
    return line


@pytest.mark.fenicsx
def test_solves_are_of_the_configuration_and_independent():
    from mpi4py import MPI

    from surrogates.pde.cdr import CDR, CDRConfig
    from surrogates.pde.sampling import draw

    box = ("sampling.design=sobol", "sampling.lower=0.01", "sampling.upper=0.03")
    asked = config.read(CDRConfig, None, [*SMALL, *box])
    problem, X, C, seconds = uq.solve(config.to_toml(asked), 12, seed=4)
    bounds = np.full(55, 0.01), np.full(55, 0.03)
    Y = draw("box", *bounds, total=12, seed=4, start=0, stop=12)
    assert np.allclose(uq.parameters(problem.sampling, X), Y, rtol=1e-14)
    assert np.allclose(C, CDR(asked, MPI.COMM_SELF).solve_batch(Y).C, rtol=1e-10)
    assert 0 < seconds < 1


@pytest.mark.fenicsx
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("reaction.rate=1e3", "12 of 12 solves failed: the time step is too long"),
        ("sources.strength=0.0", "an observable has one value in all solves"),
    ],
)
def test_solves_that_are_no_use_end_the_study(setting, message):
    from surrogates.pde.cdr import CDRConfig

    text = config.to_toml(config.read(CDRConfig, None, [*SMALL, setting]))
    with pytest.raises(InputError, match=message):
        uq.solve(text, 12, seed=4)


@pytest.fixture
def file(surrogate, dataset, tmp_path):
    """Write the surrogate of a made-up problem, which pretends to be another where asked to."""

    def write(problem):
        changed = dataclasses.replace(
            dataset, info=dataclasses.replace(dataset.info, problem=problem)
        )
        about = describe.metadata(changed, training={}, errors={})
        export.save(surrogate, about, tmp_path / f"{problem}.pt")
        return str(tmp_path / f"{problem}.pt")

    return write


def test_bad_input_is_one_line(file, tmp_path, capsys):
    toy, cdr, out = file("toy"), file("cdr"), ["--out", str(tmp_path / "uq.png")]
    for words, message in (
        ([toy, *out], "is a surrogate of 'toy'; this study is of 'cdr'"),
        ([str(tmp_path / "no.pt"), *out], "there is no file"),
        ([cdr, "--seed", "3", *out], "the training data have the seed 3"),
        ([cdr, "--seed", "-1", *out], "at least 0"),
        ([cdr, "--solves", "9", *out], "--solves must be 18 to 10^6; got 9"),
        ([cdr, "--samples", "100", *out], "--samples must be 1536 to 10^9; got 100"),
        ([cdr, "--samples", "many", *out], "--samples: "),
        ([cdr, "--out", str(tmp_path / "uq.doc")], "the known endings are"),
        ([cdr, "--out", str(tmp_path / "no" / "uq.png")], "there is no folder"),
        ([], "required: F.pt"),
    ):
        assert uq.main(words) == 2, words
        captured = capsys.readouterr()
        assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
        assert message in captured.err and captured.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cdr.pt", "toy.pt"]


def test_what_is_missing_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "SALib.analyze", None)
    for name in ("estimates", "forward_uq"):
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit, match="2"):
        importlib.import_module("forward_uq")
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "pip install 'varpro-surrogates[examples]'" in error
