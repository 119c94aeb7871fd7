"""The surrogate file from C++, with libtorch alone: scripts/examples/cpp, built by CMake."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from places import EXAMPLES
from torch.utils import cpp_extension

from surrogates.model import file as export

EXAMPLE = EXAMPLES / "cpp"
NEEDED = {
    "there is no C++ compiler": shutil.which("c++") or shutil.which("g++"),
    "there is no CMake": shutil.which("cmake"),
    "there is neither make nor ninja": shutil.which("make") or shutil.which("ninja"),
    "this torch comes without its C++ headers": any(
        Path(folder, "torch", "script.h").exists()
        for folder in (*cpp_extension.include_paths(), "/usr/include")  # Debian's are in the latter
    ),
}
MISSING = [reason for reason, there in NEEDED.items() if not there]

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(bool(MISSING), reason=", ".join(MISSING)),
    pytest.mark.timeout(700),  # of the first test, which builds
]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the example as its CMakeLists.txt says, but unoptimised, which is quicker."""
    build = tmp_path_factory.mktemp("build")
    prefix = torch.utils.cmake_prefix_path
    maker = [] if shutil.which("make") else ["-G", "Ninja"]
    configure = ["cmake", "-S", EXAMPLE, "-B", build, *maker, f"-DCMAKE_PREFIX_PATH={prefix}"]
    for command, timeout in (
        ([*configure, "-DCMAKE_BUILD_TYPE=None"], 120),
        (["cmake", "--build", build], 500),
    ):
        run = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        if "I cannot find the CUDA" in run.stderr:  # as of pip's torch 2.2
            pytest.skip("programs with this torch need the CUDA toolkit, which is not here")
        assert run.returncode == 0, run.stdout + run.stderr
    return build / "call_surrogate"


@pytest.fixture
def saved(program, surrogate) -> Path:
    """Write the surrogate's file, once."""
    path = program.with_name("toy.pt")
    if not path.exists():
        export.save(surrogate, {}, path)
    return path


def call(program: Path, *arguments: object, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [program, *map(str, arguments)]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=100)


def numbers(run: subprocess.CompletedProcess[str]) -> np.ndarray:
    return np.loadtxt(run.stdout.splitlines(), delimiter=",", ndmin=2)


def table(Y: torch.Tensor) -> str:
    return "".join(",".join(map(repr, row)) + "\n" for row in Y.tolist())


@pytest.mark.parametrize("method", ["forward", "predict_std", "jacobian", "in_domain"])
def test_methods_agree_with_python(program, surrogate, saved, Y, method):
    Y[3, 1] += 100  # outside the domain, which is evaluated and counted
    Y[5, 0] -= 100
    arguments = () if method == "forward" else (method,)
    run = call(program, saved, *arguments, text=table(Y))
    assert run.returncode == 0, run.stderr
    warning = (
        "warning: y is outside the training domain in 2 of 7 samples, first in sample 3 (from 0)"
    )
    assert run.stderr == f"{warning}\n"
    expected = getattr(surrogate, method)(Y).double().reshape(7, -1).numpy()
    np.testing.assert_allclose(numbers(run), expected, rtol=1e-12)


def test_many_lines_are_read_and_written_in_order(program, surrogate, saved, Y):
    """In two pieces; blank lines, spaces and the line ends of Windows do no harm."""
    y = Y.repeat(714, 1) + torch.linspace(0, 1e-3, 714 * 7, dtype=torch.float64)[:, None]
    text = "\r\n" + table(y).replace(",", " , ").replace("\n", " \r\n") + "  \n"
    np.testing.assert_allclose(numbers(call(program, saved, text=text)), surrogate(y), rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,-3,0\n1,2,x,4\n", "row 2, column 3: 'x' is not a finite number"),
        ("1,2,-3,nan\n", "row 1, column 4: 'nan' is not a finite number"),
        ("1,1e999,-3,0\n", "row 1, column 2: '1e999' is not a finite number"),
        ("1,2 3,-3,0\n", "row 1, column 2: '2 3' is not a finite number"),
        ("1, ,-3,0\n", "row 1, column 2: ' ' is not a finite number"),
        ("1,2,-3,\n", "row 1, column 4: '' is not a finite number"),
        ("1,2,-3,0\n\n1,2,-3\n", "row 3: expected 4 columns; got 3"),
        ("1,2,-3,0,5\n", "row 1: expected 4 columns; got 5"),
        ("\n\n", "standard input holds no numbers"),
    ],
)
def test_bad_input_is_one_clear_line(program, saved, text, message):
    run = call(program, saved, text=text)
    assert (run.returncode, run.stdout, run.stderr) == (2, "", f"error: {message}\n")


def test_bad_files_and_arguments_are_one_clear_line(program, saved, tmp_path, monkeypatch):
    whole = saved.read_bytes()
    (tmp_path / "text").write_text("y0,y1\n1,2\n")
    (tmp_path / "truncated").write_bytes(whole[: len(whole) // 2])
    torch.jit.save(torch.jit.script(torch.nn.Linear(4, 6)), tmp_path / "linear")
    errors = {
        ("missing",): "there is no file missing",
        ("linear",): "linear is a TorchScript file but not a surrogate",
        (saved, "gradient"): "Method 'gradient' is not defined",
        (saved, "jvp"): "jvp() is missing value for argument 'v'",
        (): "expected a surrogate file and a method",
    }
    for name in ("text", "truncated"):
        errors[name,] = f"{name} is not a whole surrogate file: "
    monkeypatch.chdir(tmp_path)
    for arguments, message in errors.items():
        run = call(program, *arguments, text="1,2,-3,0\n")
        assert (run.returncode, run.stdout) == (2, ""), arguments
        assert run.stderr.startswith(f"error: {message}"), run.stderr
        assert run.stderr.count("\n") == 1 and len(run.stderr) < 200, run.stderr


def test_a_full_disk_is_one_clear_line(program, saved, Y):
    with open("/dev/full", "w") as full:
        run = subprocess.run(
            [program, saved],
            input=table(Y),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=100,
        )
    assert (run.returncode, run.stderr) == (2, "error: cannot write to standard output\n")


def test_times_are_printed(program, saved, Y):
    run = call(program, saved, "--time", text=table(Y))
    assert run.returncode == 0, run.stderr
    _, *lines = run.stdout.splitlines()
    names = [line[:28].strip() for line in lines]
    assert names == ["forward", "forward, batch of 4096", "jacobian", "vjp", "predict_std"]
    for line in lines:
        median, least = map(float, line[28:].split())
        assert 0 < least <= median
