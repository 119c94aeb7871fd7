"""Build C source, and call its functions through ctypes."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow")
C99 = ("-std=c99", *STRICT)

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
needs_cxx = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")


def build(command: str, *words: object, cwd: Path) -> None:
    run = subprocess.run(
        [command, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=200
    )
    assert run.returncode == 0, run.stderr


class Library:
    """The C functions of one surrogate as methods that take rows or a row of y."""

    def __init__(self, library: ctypes.CDLL, name: str, n_in: int, n_out: int) -> None:
        self.library, self.name = library, name
        self.shapes = {
            "predict": (n_out,),
            "jacobian": (n_out, n_in),
            "jvp": (n_out,),
            "vjp": (n_in,),
            "hvp": (n_in,),
            "predict_std": (n_out,),
        }

    def __call__(self, method: str, *given: np.ndarray) -> np.ndarray:
        function = self.function(method)
        rows = [self.row(method, function, *row) for row in zip(*given, strict=True)]
        return np.array(rows)

    def function(self, method: str) -> Callable[..., int]:
        return getattr(self.library, f"{self.name}_{'forward' if method == 'predict' else method}")

    def row(self, method: str, function: Callable[..., int], *given: np.ndarray) -> np.ndarray:
        pointers = [x.ctypes.data_as(ctypes.c_void_p) for x in given]
        if method == "in_domain":
            return np.bool_(function(*pointers))
        out = np.full(np.prod(self.shapes[method]) + 1, 123.0)  # the last is beyond the end
        function(*pointers, out.ctypes.data_as(ctypes.c_void_p))
        assert out[-1] == 123.0, method
        return out[:-1].reshape(self.shapes[method])

    def predict_cov(self, Y: np.ndarray, n_cov: int) -> tuple[np.ndarray, ...]:
        """Prediction, factor and diagonal for rows of y."""
        n_out, found = self.shapes["predict"][0], []
        for y in Y:
            row = [np.full(size + 1, 123.0) for size in (n_out, n_out * n_cov, n_out)]
            pointers = [x.ctypes.data_as(ctypes.c_void_p) for x in (y, *row)]
            self.function("predict_cov")(*pointers)
            assert all(x[-1] == 123.0 for x in row)
            found.append([row[0][:-1], row[1][:-1].reshape(n_out, n_cov), row[2][:-1]])
        return tuple(map(np.array, zip(*found, strict=True)))
