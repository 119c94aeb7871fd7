"""C source of members, signs, logarithms, tails and joined features."""

from __future__ import annotations

import ctypes
import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from compiled import C99, Library, build, needs_cc
from every_kind import check_columns
from exports import METHODS, arguments, check_close, expected, in_numpy, saved
from extended import (
    N_IN,
    N_OUT,
    SURROGATES,
    both,
    draw,
    every_surrogate,
    joined,
    low_rank,
    made,
    points,
)

from surrogates.errors import InputError
from surrogates.export import c as c_source
from surrogates.export import npz
from surrogates.export.constants import constants
from surrogates.model.classifier import Classifier
from surrogates.model.parts import Domain
from surrogates.model.radial import RadialBasis
from surrogates.model.surrogate import Surrogate


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """All of `SURROGATES` in one library."""
    folder = tmp_path_factory.mktemp("libraries")
    for name in SURROGATES:
        c_source.save(both(name)[1], folder / f"{name}.c")
    sources = [f"{name}.c" for name in SURROGATES]
    build("cc", *C99, "-shared", "-fPIC", "-O2", *sources, "-o", "all.so", "-lm", cwd=folder)
    library = ctypes.CDLL(str(folder / "all.so"))
    return {name: Library(library, name, N_IN, N_OUT) for name in SURROGATES}


def interval(library: Library, y: np.ndarray, q: float) -> np.ndarray:
    ends = np.full((2, N_OUT), 123.0)
    pointers = [x.ctypes.data_as(ctypes.c_void_p) for x in (y, *ends)]
    library.function("predict_interval")(pointers[0], ctypes.c_double(q), *pointers[1:])
    return ends


@needs_cc
@every_surrogate
def test_c_is_the_surrogate(name, libraries):
    surrogate, _ = both(name)
    Y = points(surrogate)
    for method in METHODS:
        more = arguments(surrogate, method, len(Y))
        found = libraries[name](method, Y, *more)
        check_close(found, expected(surrogate, method, Y, *more), method)
    found = np.array([interval(libraries[name], y, NormalDist().inv_cdf(0.95)) for y in Y])
    check_close(found, surrogate.predict_interval(torch.from_numpy(Y), 0.9).numpy(), "interval")


@needs_cc
@every_surrogate
def test_c_has_the_covariance_of_errors(name, libraries):
    surrogate, loaded = both(name)
    Y, columns = points(surrogate), constants(loaded).n_cov
    assert columns == 3 + (2 if surrogate.members is not None else 0)
    c, factor, diagonal = libraries[name].predict_cov(Y, columns)
    right = surrogate.predict_cov(torch.from_numpy(Y))
    check_close(c, surrogate(torch.from_numpy(Y)).numpy(), "c")
    check_columns(factor, right[0].numpy(), "factor")
    check_columns(diagonal, right[1].numpy(), "diagonal")
    Y[0, 0], Y[1, 4] = (-1.0 if SURROGATES[name][3] else math.nan), math.nan
    assert all(np.isnan(found[:2]).all() for found in libraries[name].predict_cov(Y, columns))


def test_the_header_has_the_size_of_the_covariance_and_its_spread(tmp_path):
    surrogate, loaded = both("everything")
    c_source.save(loaded, tmp_path / "net.c")
    header = (tmp_path / "net.h").read_text()
    cov = loaded.predict_cov(points(surrogate)[0])
    assert f"#define net_N_COV {cov.factor.shape[-1]}\n" in header
    assert f"standard deviation {cov.chi2_std:.6g}:" in header and "to first order" in header
    without = made(*SURROGATES["gaussian"], correlated=False)
    c_source.save(saved(without, tmp_path / "s.pt"), tmp_path / "net.c")
    assert not any("COV" in (tmp_path / name).read_text().upper() for name in ("net.h", "net.c"))


@needs_cc
def test_c_has_a_covariance_of_a_diagonal_alone(tmp_path):
    surrogate = made(*SURROGATES["gaussian"])
    surrogate.loadings = surrogate.loadings[:, :0].clone()
    loaded = saved(surrogate, tmp_path / "s.pt")
    c_source.save(loaded, tmp_path / "net.c")
    build("cc", *C99, "-O2", "-shared", "-fPIC", "net.c", "-o", "net.so", "-lm", cwd=tmp_path)
    library = Library(ctypes.CDLL(str(tmp_path / "net.so")), "net", N_IN, N_OUT)
    Y = points(surrogate)
    c, factor, diagonal = library.predict_cov(Y, 0)
    assert factor.shape == (len(Y), N_OUT, 0)
    check_columns(diagonal, surrogate.predict_cov(torch.from_numpy(Y))[1].numpy(), "diagonal")
    check_close(c, surrogate(torch.from_numpy(Y)).numpy(), "c")


@needs_cc
def test_c_takes_weights_of_low_rank_as_two_factors(tmp_path):
    surrogate, loaded = low_rank()
    c_source.save(loaded, tmp_path / "s.c")
    build("cc", *C99, "-shared", "-fPIC", "-O2", "s.c", "-o", "low.so", "-lm", cwd=tmp_path)
    library = Library(ctypes.CDLL(str(tmp_path / "low.so")), "s", 3, 60)
    Y = points(surrogate)
    for method in METHODS:
        given = (Y, *arguments(surrogate, method, len(Y)))
        check_columns(library(method, *given), expected(surrogate, method, *given), method)
    assert "outer inner" in (tmp_path / "s.c").read_text()
    assert np.isnan(library("jacobian", np.array([[1.0, math.nan, 2.0]]))).all()


@needs_cc
@every_surrogate
def test_c_gives_nan_and_zero_where_torch_does(name, libraries):
    surrogate, _ = both(name)
    Y = points(surrogate)[:4]
    Y[0, 0], Y[1, 4] = (-1.0 if SURROGATES[name][3] else math.nan), math.nan
    Y[2], Y[3] = 1e100, 1e-100
    for method in METHODS:
        more = arguments(surrogate, method, 4)
        found = libraries[name](method, Y, *more)
        check_close(found, expected(surrogate, method, Y, *more), method)
        assert method == "in_domain" or np.isnan(found[:2]).all()
    assert np.isnan(interval(libraries[name], Y[0], 2.0)).all()


@needs_cc
@pytest.mark.parametrize(
    "flags",
    [pytest.param("-O3 -march=native", marks=pytest.mark.thorough), "-O0 -fsanitize=undefined"],
)
def test_compilers_have_nothing_to_say(flags, tmp_path):
    for name in SURROGATES:
        c_source.save(both(name)[1], tmp_path / f"{name}.c")
    sources = [f"{name}.c" for name in SURROGATES]
    build("cc", *C99, *flags.split(), "-c", *sources, cwd=tmp_path)


def test_the_header_speaks_of_logarithms_in_physical_units(tmp_path):
    surrogate, loaded = both("everything")
    c_source.save(loaded, tmp_path / "net.c")
    header = (tmp_path / "net.h").read_text()
    assert "These inputs must be positive, else all results are NaN:\n * 0, 1, 2\n" in header
    assert "ends, are predicted by their logarithms:\n * 0, 2, 4, 6, 8, 10" in header
    least, largest = float(surrogate.lower[1]), float(surrogate.upper[1])
    assert f'1  "y1"  [m]  {least!r} to {largest!r}' in header


@needs_cc
def test_large_weights_that_cancel_lose_no_more_than_rounding(tmp_path):
    """Those of an interpolation: outputs of size 1 of terms of size 1e5 and more."""
    X = draw(40, 2)
    basis = RadialBasis(X, torch.tensor([0.3, 0.3]), "gaussian")
    targets = torch.stack([X[:, 0].sin(), X.prod(dim=1)], dim=1)
    K = basis(X) + 1e-11 * torch.eye(40)
    W = torch.cat([torch.linalg.solve(K, targets), torch.zeros(1, 2)]).T
    surrogate = Surrogate(basis, W, np.zeros(2), np.ones(2), Domain.of(X.numpy()), None)
    assert float(W.abs().max()) > 1e4
    loaded = saved(surrogate, tmp_path / "s.pt")
    c_source.save(loaded, tmp_path / "net.c")
    build("cc", *C99, "-O2", "-shared", "-fPIC", "net.c", "-o", "net.so", "-lm", cwd=tmp_path)
    library = Library(ctypes.CDLL(str(tmp_path / "net.so")), "net", 2, 2)
    Y = draw(30, 2, seed=2)
    terms = (basis(Y) @ W[:, :-1].abs().T).numpy()
    right = (basis(Y) @ W[:, :-1].T).numpy()
    found = {
        "batch": surrogate(Y).numpy(),
        "single": torch.stack([surrogate(y) for y in Y]).numpy(),
        "numpy": in_numpy(loaded).predict(Y.numpy()),
        "c": library("predict", Y.numpy()),
    }
    for name, values in found.items():
        assert (np.abs(values - right) <= 1e-12 * terms).all(), name


@needs_cc
def test_a_classifier_of_joined_features(tmp_path):
    features = joined("ode gaussian quadratic", 3)
    domain = Domain.of(np.random.default_rng(0).random((50, 3)))
    W = draw(4, features.width + 1)
    classifier = Classifier(features, W, np.zeros(3), np.ones(3), domain, temperature=1.5)
    loaded = saved(classifier, tmp_path / "s.pt", schema_version=3, task="classification")
    assert loaded.metadata["schema_version"] == 4
    c_source.save(loaded, tmp_path / "net.c")
    build("cc", *C99, "-O2", "-shared", "-fPIC", "net.c", "-o", "net.so", "-lm", cwd=tmp_path)
    library = Library(ctypes.CDLL(str(tmp_path / "net.so")), "net", 3, 4)
    library.shapes["probabilities"] = (4,)
    Y = draw(6, 3).numpy()
    right = classifier.probabilities(torch.from_numpy(Y)).numpy()
    npz.save(loaded, tmp_path / "s.npz")
    for found in (loaded, npz.load(tmp_path / "s.npz")):
        check_close(found.probabilities(Y), right, "probabilities")
        with pytest.raises(InputError, match="has probabilities, and no error bars"):
            found.predict_interval(Y, 0.9)
    check_close(library("probabilities", Y), right, "probabilities")
    check_close(loaded.eager().probabilities(torch.from_numpy(Y)).numpy(), right, "eager")
    assert not hasattr(library.library, "net_predict_interval")
    with pytest.raises(NotImplementedError, match="in place of error bars"):
        classifier.predict_interval(torch.from_numpy(Y), 0.9)


@needs_cc
@pytest.mark.parametrize("n_in", [1, 13])
def test_other_sizes(n_in, tmp_path):
    """One input and one output; more inputs than outputs, so that gradients are pulled back."""
    surrogate = made("ode matern52 quadratic", True, True, True, True, n_in=n_in, n_out=1)
    loaded = saved(surrogate, tmp_path / "s.pt")
    c_source.save(loaded, tmp_path / "net.c")
    build("cc", *C99, "-O2", "-shared", "-fPIC", "net.c", "-o", "net.so", "-lm", cwd=tmp_path)
    library = Library(ctypes.CDLL(str(tmp_path / "net.so")), "net", n_in, 1)
    Y = 1.5 + np.random.default_rng(0).random((5, n_in))
    for method in METHODS:
        more = arguments(surrogate, method, len(Y))
        right = expected(surrogate, method, Y, *more)
        check_close(library(method, Y, *more), right, method)
        check_close(getattr(loaded, method)(Y, *more), right, method)
        check_close(np.asarray(getattr(in_numpy(loaded), method)(Y, *more)), right, method)
