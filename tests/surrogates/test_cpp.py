"""The surrogate file from C++, with libtorch alone."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils import cpp_extension

from surrogates import export

SOURCE = Path(__file__).parents[2] / "scripts" / "call_surrogate.cpp"
HEADERS = [path for path in cpp_extension.include_paths() if Path(path, "torch/script.h").exists()]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
@pytest.mark.skipif(not HEADERS, reason="this torch comes without its C++ headers")
def test_values_and_jacobian_from_cpp(surrogate, Y, tmp_path):
    export.save(surrogate, {}, tmp_path / "s.pt")
    libraries = cpp_extension.library_paths()
    flags = [f"-I{path}" for path in cpp_extension.include_paths()]
    links = [f"-L{path}" for path in libraries] + [f"-Wl,-rpath,{path}" for path in libraries]
    program = tmp_path / "call_surrogate"
    subprocess.run(
        ["g++", "-std=c++20", *flags, str(SOURCE), *links, "-ltorch", "-ltorch_cpu", "-lc10"]
        + ["-o", str(program)],
        check=True,
        timeout=280,
    )
    text = "\n".join(",".join(map(repr, row)) for row in Y.tolist())
    run = subprocess.run(
        [str(program), str(tmp_path / "s.pt")],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    *rows, norm = run.stdout.split()
    c = np.array([[float(cell) for cell in row.split(",")] for row in rows])
    assert np.allclose(c, surrogate(Y).numpy(), rtol=1e-13)
    assert np.isclose(float(norm), float(torch.linalg.norm(surrogate.jacobian(Y[0]))), rtol=1e-12)
