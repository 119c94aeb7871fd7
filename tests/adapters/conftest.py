"""The surrogate of the adapters' tests, and the programs of docs/adapters.md.

`scripts/test.sh --adapters` runs these tests, each file in an environment of its own. They need no
torch there, unless the adapter's package does.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from readme_commands import blocks

import surrogates

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adapters.md"


# Elsewhere the packages are missing, or of another version.
collect_ignore_glob = [] if "ADAPTERS_FOLDER" in os.environ else ["test_*.py"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.adapters)


@pytest.fixture(scope="session")
def folder():
    """The folder with the surrogates, each as .pt and .npz; see scripts/adapters.py."""
    return Path(os.environ["ADAPTERS_FOLDER"])


@pytest.fixture(scope="session")
def surrogate(folder):
    """The surrogate that they call: 2 parameters, 3 observables, read without torch."""
    return surrogates.load(folder / "oscillator.npz")


@pytest.fixture(scope="session")
def layers(folder):
    """A surrogate of a survey: 5 parameters of three layers, Schlumberger data."""
    if not (folder / "layers.npz").exists():
        pytest.skip("surveys need DOLFINx, where the surrogates are trained")
    return surrogates.load(folder / "layers.npz")


@pytest.fixture(scope="session")
def noisy(folder):
    """A surrogate of data with noise, whose errors are about 0.03."""
    return surrogates.load(folder / "noisy.npz")


@pytest.fixture
def program(folder, tmp_path, monkeypatch):
    """Run the programs of an adapter as the page prints them; give the names that they leave."""

    def run(name):
        page = blocks("docs/adapters", PAGE.read_text())
        texts = [x.text for x in page if (x.kind, x.reason) == ("adapters", name)]
        assert texts
        for file in [
            x for name in ("oscillator", "layers", "hill") for x in folder.glob(f"{name}.*")
        ]:
            (tmp_path / file.name).symlink_to(file)
        monkeypatch.chdir(tmp_path)
        names = {"__name__": "__main__"}
        for text in texts:
            exec(compile(text, f"docs/adapters.md, {name}", "exec"), names)
        return names

    return run


@pytest.fixture
def close():
    """Compare numbers that agree but for rounding: terms up to 1e5 cancel in this surrogate."""

    def compare(found, right):
        np.testing.assert_allclose(found, right, rtol=1e-9, atol=1e-9)

    return compare


@pytest.fixture
def standard_errors(surrogate):
    """Standard errors of y, fitted to data with a standard deviation: of the map linear in y."""

    def of(y, deviation, model=surrogate):
        J = model.jacobian(y) / np.broadcast_to(deviation, model.n_out)[:, None]
        return np.sqrt(np.diag(np.linalg.inv(J.T @ J)))

    return of


@pytest.fixture
def grid(surrogate):
    """Mean and standard deviation of the posterior, by quadrature on the prior's box."""

    def posterior(data, noise, n=801):
        axes = [np.linspace(*ends, n) for ends in surrogate.bounds.T]
        Y = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
        phi = ((surrogate.predict(Y) - data) ** 2 / (2 * np.square(noise))).sum(axis=1)
        weight = np.exp(phi.min() - phi)
        mean = weight @ Y / weight.sum()
        return mean, np.sqrt(weight @ (Y - mean) ** 2 / weight.sum())

    return posterior


@pytest.fixture(scope="session")
def weights(folder):
    """A surrogate of three weights that sum to one, and are not below zero or above one."""
    return surrogates.load(folder / "weights.npz")


@pytest.fixture
def triangle(weights):
    """Mean and deviation of a density on the domain of the weights, by the midpoint rule.

    The density is the exponential of a function of y, (n, 3) to (n,); one everywhere if None.
    """

    def moments(log_density=None, n=1000):
        lower, upper = weights.bounds
        parts = (np.arange(n) + 0.5) / n
        axes = [lower[i] + parts * (upper[i] - lower[i]) for i in range(2)]
        Y = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
        Y = np.concatenate([Y, 1 - Y.sum(axis=1, keepdims=True)], axis=1)
        Y = Y[(Y[:, 2] >= lower[2]) & (Y[:, 2] <= upper[2])]
        p = np.ones(len(Y))
        if log_density is not None:
            log_p = log_density(Y)
            p = np.exp(log_p - log_p.max())
        mean = p @ Y / p.sum()
        return mean, np.sqrt(p @ (Y - mean) ** 2 / p.sum())

    return moments


@pytest.fixture
def alike():
    """Check that mean and deviation of samples are those wanted, but for the error of chance."""

    def compare(samples, effective, wanted):
        mean, std = wanted
        np.testing.assert_array_less(np.abs(samples.mean(axis=0) - mean), 4 * std / effective**0.5)
        np.testing.assert_allclose(samples.std(axis=0), std, rtol=4 / (2 * effective) ** 0.5)

    return compare


@pytest.fixture
def draws(surrogate):
    """Parameters in the training domain, (7, 2)."""
    lower, upper = surrogate.bounds
    return lower + np.random.default_rng(1).random((7, len(lower))) * (upper - lower)


@pytest.fixture
def without_torch(folder):
    """Check that an adapter's module and the surrogate are imported without torch and the rest."""

    def check(name, *packages):
        script = (
            f"import sys, surrogates, surrogates.adapters.{name}\n"
            f"surrogates.load({str(folder / 'oscillator.npz')!r})\n"
            f"print(*({{'torch', *{packages!r}}} & sys.modules.keys()))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
        )
        assert done.stdout.strip() == ""

    return check
