"""A loaded surrogate: its methods, its domain, and what fits it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import surrogates
from surrogates.errors import InputError
from surrogates.export import npz
from surrogates.model import file as export
from surrogates.model.engines.scripted import Scripted
from surrogates.model.surrogate import Surrogate


def test_round_trip(surrogate, dataset, saved, Y):
    loaded = surrogates.load(saved)
    assert (loaded.n_in, loaded.n_out) == (4, 6)
    loaded.check_matches(dataset.info)
    w = torch.linspace(-1, 1, 6, dtype=torch.float64).repeat(len(Y), 1)
    for rows in (slice(None), slice(0, 1), 0):
        y = Y[rows].numpy()
        pairs = {
            "predict": (loaded.predict(y), surrogate(Y)),
            "predict_std": (loaded.predict_std(y), surrogate.predict_std(Y)),
            "jacobian": (loaded.jacobian(y.tolist()), surrogate.jacobian(Y)),
            "jvp": (loaded.jvp(y, y), surrogate.jvp(Y, Y)),
            "vjp": (loaded.vjp(y, w[rows].numpy()), surrogate.vjp(Y, w)),
        }
        for name, (found, right) in pairs.items():
            assert isinstance(found, np.ndarray) and found.dtype == np.float64
            right = right[rows].numpy()
            assert found.shape == right.shape, name
            np.testing.assert_allclose(found, right, rtol=1e-12, atol=1e-13, err_msg=name)
    assert loaded.in_domain(Y.numpy()).all() and loaded.in_domain(Y[0].numpy()).shape == ()
    assert not loaded.in_domain(Y.numpy() + 100).any()


def test_a_large_batch_is_done_in_pieces(saved, Y, monkeypatch):
    loaded = surrogates.load(saved)
    whole = loaded.jvp(Y.numpy(), Y.numpy())
    monkeypatch.setattr(Scripted, "BATCH", 3)
    np.testing.assert_allclose(loaded.jvp(Y.numpy(), Y.numpy()), whole, rtol=1e-13)


def test_gradients_of_torch_go_through_the_file(saved, Y):
    """As a MAP estimate or HMC need: of a scalar of c, also where its terms are nonlinear."""
    module = surrogates.load(saved).module

    def scalar(y):
        return module(y).sin().sum()

    for y in (Y[0], Y):
        for _ in range(3):  # torch compiles anew after the first calls
            y = y.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(scalar(y), y)
            with torch.no_grad():
                expected = module.vjp(y, module(y).cos())
            torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)
        assert torch.autograd.gradcheck(scalar, y)


def test_an_eager_copy_is_for_torch_func(surrogate, saved, Y):
    eager = surrogates.load(saved).eager()
    for method in ("forward", "jacobian", "predict_std", "in_domain"):
        assert torch.equal(getattr(eager, method)(Y), getattr(surrogate, method)(Y))
    jacobian = torch.func.jacrev(eager)(Y[0])
    torch.testing.assert_close(jacobian, surrogate.jacobian(Y[0]), rtol=1e-12, atol=1e-12)


def test_outside_the_domain_is_evaluated_unless_the_user_refuses(saved, Y):
    y = Y.numpy().copy()
    y[3, 1] = 1e3
    free, strict = surrogates.load(saved), surrogates.load(saved, refuse_outside=True)
    assert np.isfinite(free.predict(y)).all()
    assert (
        free.in_domain(y).tolist()
        == strict.in_domain(y).tolist()
        == [True] * 3 + [False] + [True] * 3
    )
    np.testing.assert_array_equal(strict.predict(y[:3]), free.predict(y[:3]))
    message = (
        r"outside the training domain of .*toy.pt in 1 of 7 samples, first in sample 3 "
        r"\(from 0\): b is 1000, in training it was -10 to 30"
    )
    for method in ("predict", "predict_std", "jacobian"):
        with pytest.raises(InputError, match=message):
            getattr(strict, method)(y)
    with pytest.raises(InputError, match="in 1 of 1 samples, first in sample 0"):
        strict.vjp(y[3], np.ones(6))


def test_off_the_flat_of_the_training_parameters_is_outside_too(parts, saved, Y, tmp_path):
    normals = np.full((1, 4), 0.5)
    parts["domain"] = dataclasses.replace(parts["domain"], normals=normals)
    export.save(Surrogate(**parts), export.load(saved).metadata, tmp_path / "flat.pt")
    strict = surrogates.load(tmp_path / "flat.pt", refuse_outside=True)
    with pytest.raises(InputError, match=r"0 \(from 0\): it does not satisfy the linear relations"):
        strict.predict(Y[0].numpy())
    assert strict.predict(parts["domain"].centre).shape == (6,)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (
            np.ones((2, 3)),
            r"takes 4 parameters .* expected y of shape \(4,\), \(n, 4\) or .*got \(2, 3\)",
        ),
        (np.ones(5), r"expected y of shape .*; got \(5,\)"),
        (1.0, r"expected y of shape .*; got \(\)"),
        ([], r"expected y of shape .*; got \(0,\)"),
        ([1, 2, np.nan, 4], "expected finite numbers in y; got NaN or infinity"),
        ([1, 2, np.inf, 4], "expected finite numbers in y; got NaN or infinity"),
        (["1", "2", "3", "4"], "expected real numbers in y, of dtype float64; got <U1"),
        (np.ones(4, dtype=complex), "expected real numbers in y, of dtype float64; got complex"),
    ],
)
def test_bad_parameters_are_one_clear_line(saved, y, message):
    loaded = surrogates.load(saved)
    methods = (
        "predict",
        "predict_std",
        "jacobian",
        *(() if "finite" in message else ("in_domain",)),
    )
    for method in methods:
        with pytest.raises(InputError, match=message) as caught:
            getattr(loaded, method)(y)
        assert len(str(caught.value).splitlines()) == 1


def test_directions_that_do_not_fit_are_one_clear_line(saved, Y):
    loaded, y = surrogates.load(saved), Y.numpy()
    with pytest.raises(InputError, match=r"expected w of shape \(6,\), \(n, 6\) .*got \(7, 4\)"):
        loaded.vjp(y, y)
    with pytest.raises(InputError, match=r"expected v for each y, \(7, 4\), or of .*got \(3, 4\)"):
        loaded.jvp(y, y[:3])
    with pytest.raises(InputError, match="expected finite numbers in v"):
        loaded.jvp(y, np.nan * y)


NAMES = ("a", "b", "γ", "d")


def framed(array, names):
    """A data frame of columns in another order than ``names``."""
    frame = pytest.importorskip("pandas").DataFrame(array, columns=list(names))
    return frame[sorted(names, reverse=True)]


@pytest.mark.parametrize("one", [False, True])
@pytest.mark.parametrize("numpy_alone", [False, True])
def test_columns_of_a_data_frame_are_matched_by_their_names(saved, Y, tmp_path, numpy_alone, one):
    loaded, y = surrogates.load(saved), Y.numpy()
    if numpy_alone:
        npz.save(loaded, tmp_path / "a.npz")
        loaded = npz.load(tmp_path / "a.npz")
    w = np.linspace(-1, 1, 6) * np.ones((len(y), 1))
    frame, v, cotangent = framed(y, NAMES), framed(y, NAMES), framed(w, loaded.metadata["c_names"])
    if one:
        y, w, frame, v, cotangent = y[0], w[0], frame.iloc[0], v.iloc[0], cotangent.iloc[0]
    for method in ("__call__", "predict", "predict_std", "jacobian", "in_domain"):
        call = getattr(loaded, method)
        np.testing.assert_array_equal(call(frame), call(y))
    np.testing.assert_array_equal(loaded.jvp(frame, v), loaded.jvp(y, y))
    np.testing.assert_array_equal(loaded.vjp(frame, cotangent), loaded.vjp(y, w))
    np.testing.assert_array_equal(
        loaded.predict_interval(frame, 0.9), loaded.predict_interval(y, 0.9)
    )
    wrong = frame.rename({"d": "e"} if one else None, **({} if one else {"columns": {"d": "e"}}))
    for method in ("predict", "predict_std", "jacobian", "in_domain"):
        with pytest.raises(InputError, match="y lacks 'd', has the unknown 'e'; expected are a"):
            getattr(loaded, method)(wrong)
    with pytest.raises(InputError, match="w lacks "):
        loaded.vjp(frame, frame)


def test_masked_arrays_are_refused_by_every_method(saved, Y):
    loaded, y = surrogates.load(saved), Y.numpy()
    masked = np.ma.masked_less(y, y[1, 0])
    for method in ("predict", "predict_std", "jacobian", "in_domain"):
        for values in (masked, masked[0], list(masked)):
            with pytest.raises(InputError, match=r"^y(, row 0)? is a masked array; leave its"):
                getattr(loaded, method)(values)
    for method, what in (("jvp", "v"), ("vjp", "w")):
        with pytest.raises(InputError, match=f"{what} is a masked array"):
            getattr(loaded, method)(y, masked)


def test_a_dataset_of_other_names_or_another_order_is_refused(saved, dataset):
    loaded, (a, b, *others) = export.load(saved), dataset.info.y_names
    for key, names, message in (
        ("y_names", (b, a, *others), "has the parameter 'a' where the dataset .toy. has 'b'"),
        ("c_names", dataset.info.c_names[::-1], r"has the observable 'u\(s0, 0.5\)' where"),
    ):
        with pytest.raises(InputError, match=message):
            loaded.check_matches(dataclasses.replace(dataset.info, **{key: names}))
    unnamed = {"y_names": ("y0", "y1", "y2", "y3"), "c_names": tuple(f"c{k}" for k in range(6))}
    loaded.check_matches(dataclasses.replace(dataset.info, **unnamed))


def test_sizes_that_disagree_are_one_clear_line(saved, dataset):
    loaded = export.load(saved)
    other = dataclasses.replace(dataset.info, problem="dcr", y_names=("a", "b", "c"))
    message = r"4 parameters and gives 6 observables; the dataset \(dcr\) has 3 and 6"
    with pytest.raises(InputError, match=message):
        loaded.check_matches(other)
