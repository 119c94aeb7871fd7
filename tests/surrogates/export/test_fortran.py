"""The Fortran module, compiled and called by a Fortran program, against torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from statistics import NormalDist

import extended
import numpy as np
import pytest
import torch
from compiled import C99, build
from every_kind import case, check_columns, of_torch
from exports import arguments, saved

from surrogates.errors import InputError
from surrogates.export.c import fortran
from surrogates.model.loaded import LoadedSurrogate

FLAGS = ("-std=f2008", "-Wall", "-Wextra", "-pedantic", "-Werror")
Q = NormalDist().inv_cdf(0.95)

# Not where CI has one: a module that nobody compiled is untested.
needs_fortran = pytest.mark.skipif(
    not os.environ.get("NEED_FORTRAN") and not (shutil.which("gfortran") and shutil.which("cc")),
    reason="there is no gfortran, or no C compiler",
)

# Reads rows of y, w and v, and writes the results of each; then lists names and bounds.
PROGRAM = """
program check
    use, intrinsic :: iso_c_binding, only: c_double
    use, intrinsic :: iso_fortran_env, only: output_unit
    use toy
    implicit none
    real(c_double) :: y(toy_n_in), w(toy_n_out), v(toy_n_in), c(toy_n_out), dc(toy_n_out)
    real(c_double) :: J(toy_n_in, toy_n_out), g(toy_n_in), h(toy_n_in), more(toy_n_out, 3)
    $declared
    integer :: i, given, found, status
    open (newunit=given, file="given", access="stream", form="unformatted", action="read")
    open (newunit=found, file="found", access="stream", form="unformatted", action="write")
    do
        read (given, iostat=status) y, w, v
        if (status /= 0) exit
        call toy_forward(y, c)
        call toy_jacobian(y, J)
        call toy_jvp(y, v, dc)
        call toy_vjp(y, w, g)
        call toy_hvp(y, w, v, h)
        $calls
        write (found) c, J, dc, g, h, more, $cov merge(1.0_c_double, 0.0_c_double, toy_in_domain(y))
    end do
    write (found) toy_lower, toy_upper
    do i = 1, toy_n_out
        write (output_unit, "(4a)") trim(toy_c_names(i)), "|", trim(toy_c_units(i)), "|"
    end do
    write (output_unit, "(a)") trim(toy_y_names(toy_n_in))
end program check
"""
BARS = """call toy_predict_std(y, more(:, 1))
        call toy_predict_interval(y, QUANTILE, more(:, 2), more(:, 3))"""
COVARIANCE = """
        call toy_predict_cov(y, c, F, diagonal)"""
CLASSES = """call toy_probabilities(y, more(:, 1))
        more(:, 2:3) = real(toy_predict(y), c_double)"""


def has_cov(loaded: LoadedSurrogate) -> bool:
    return loaded.engine.correlation is not None


def run(loaded: LoadedSurrogate, folder: Path, Y: np.ndarray) -> tuple[dict, str]:
    """Compile a program with the module of a surrogate, and run it on the rows of Y."""
    fortran.save(loaded, folder / "toy.f90")
    calls = CLASSES if loaded.task == "classification" else BARS
    columns = loaded.predict_cov(Y[0]).factor.shape[-1] if has_cov(loaded) else 0
    declared = "real(c_double) :: F(toy_n_cov, toy_n_out), diagonal(toy_n_out)" if columns else ""
    words = {"$calls": calls + (COVARIANCE if columns else ""), "QUANTILE": f"{Q!r}_c_double"}
    words.update({"$declared": declared, "$cov": "F, diagonal," if columns else ""})
    text = PROGRAM
    for word, value in words.items():
        text = text.replace(word, value)
    (folder / "check.f90").write_text(text)
    build("cc", *C99, "-O2", "-c", "toy_c.c", cwd=folder)
    build("gfortran", *FLAGS, "toy.f90", "check.f90", "toy_c.o", "-lm", "-o", "check", cwd=folder)
    w, v = arguments(loaded.module, "hvp", len(Y))
    np.concatenate([Y, w, v], axis=1).tofile(folder / "given")
    done = subprocess.run(
        ["./check"], cwd=folder, capture_output=True, text=True, timeout=100, check=True
    )
    n_in, n_out = loaded.n_in, loaded.n_out
    sizes = [n_out, n_out * n_in, n_out, n_in, n_in, n_out, n_out, n_out]
    sizes += [n_out * columns, n_out if columns else 0, 1]
    numbers = np.fromfile(folder / "found")
    rows = numbers[: -2 * n_in].reshape(len(Y), sum(sizes))
    names = ["forward", "jacobian", "jvp", "vjp", "hvp", "first", "second", "third"]
    names += ["factor", "diagonal", "in_domain"]
    found = dict(zip(names, np.split(rows, np.cumsum(sizes)[:-1], axis=1), strict=True))
    found["jacobian"] = found["jacobian"].reshape(len(Y), n_out, n_in)
    found["factor"] = found["factor"].reshape(len(Y), n_out, columns)
    found["in_domain"] = found["in_domain"][:, 0] == 1
    found["bounds"] = numbers[-2 * n_in :].reshape(2, n_in)
    return found, done.stdout


@needs_fortran
@pytest.mark.parametrize("kind", ["everything", "ode_softplus_8_11_17_3", "classes"])
def test_a_fortran_program_computes_what_torch_does(kind, tmp_path):
    surrogate, loaded, Y = case(kind)
    right = of_torch(kind)
    found, _ = run(loaded, tmp_path, Y)
    w, v = arguments(surrogate, "hvp", len(Y))
    right["jvp"] = np.asarray(surrogate.jvp(torch.from_numpy(Y), torch.from_numpy(v)))
    if kind == "classes":
        check_columns(found["first"], right.pop("probabilities"), "probabilities")
        assert (found["second"] == right.pop("predict")[:, None] + 1).all()
    else:
        check_columns(found["first"], right.pop("predict_std"), "predict_std")
        interval = loaded.predict_interval(Y, 0.9)
        check_columns(found["second"], interval[:, 0], "lower ends")
        check_columns(found["third"], interval[:, 1], "upper ends")
    if kind == "everything":
        assert has_cov(loaded)
        factor, diagonal = surrogate.predict_cov(torch.from_numpy(Y))
        right.update(factor=factor.numpy(), diagonal=diagonal.numpy())
    for method, values in right.items():
        check_columns(found[method], values, method)
    np.testing.assert_array_equal(found["bounds"], loaded.bounds)


@needs_fortran
def test_names_of_any_kind_and_number_are_there(tmp_path):
    rest = [f"u({i})" for i in range(240)]
    names = ['it\'s "quoted" & % ! //', "é" * 100, "\n\\n", *rest]
    surrogate = extended.made("linear", False, False, False, False, n_out=len(names))
    units = ["", "Ω m", *["V"] * (len(names) - 2)]
    loaded = saved(surrogate, tmp_path / "s.pt", c_names=names, c_units=units, schema_version=2)
    _, printed = run(loaded, tmp_path, extended.points(surrogate)[:1])
    lines = printed.splitlines()
    assert lines[0] == names[0] + "||" and lines[1] == names[1] + "|Ω m|"
    assert lines[2] == r"\n\\n|V|"
    assert lines[3:-1] == [f"{name}|V|" for name in rest] and lines[-1] == loaded.y_names[-1]


@pytest.mark.parametrize(
    ("name", "message"),
    [("s.f", "expected NAME.f90"), ("1s.f90", "expected NAME.f90"), ("a" * 60 + ".f90", "at most")],
)
def test_a_name_that_fortran_cannot_have_is_refused(name, message, tmp_path):
    with pytest.raises(InputError, match=message):
        fortran.save(case("linear")[1], tmp_path / name)
    assert not list(tmp_path.iterdir())
