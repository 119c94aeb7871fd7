"""Where problems are found, and what is refused there."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from problems import OSCILLATOR, run

from surrogates.errors import InputError
from surrogates.pde.loading import load

pytestmark = pytest.mark.fenicsx


def refusal(name: object) -> str:
    with pytest.raises(InputError) as caught:
        load(str(name))
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def test_a_file_s_neighbours_are_imported_and_dolfinx_is_not(write, tmp_path):
    write("SCALE = 3.0", "neighbour.py")
    path = write(
        "from neighbour import SCALE\nfrom surrogates.pde import Problem\n"
        "class Scaled(Problem):\n"
        "    y_names, y_lower, y_upper, c_names = ['a'], 0, 1, ['b']\n"
        "    def solve(self, y):\n        return SCALE * y\n"
    )
    program = (
        "import sys; from surrogates.pde.loading import load; problem = load(sys.argv[1]); "
        "print(problem.name, *{'dolfinx', 'petsc4py', 'mpi4py', 'torch'} & set(sys.modules))"
    )
    assert run(sys.executable, "-c", program, f"{path}:Scaled") == "own.py:Scaled\n"
    assert {entry.name for entry in tmp_path.iterdir()} <= {
        "own.py",
        "neighbour.py",
        "__pycache__",
    }
    assert not list(tmp_path.glob("__pycache__/own*"))


def test_settings_of_a_file_can_be_sent_to_other_processes(write):
    path = write(OSCILLATOR, "numpy.py")
    settings = load(f"{path}:Oscillator").Config(mass=2.5)
    assert sys.modules["numpy"] is np
    assert pickle.loads(pickle.dumps(settings)) == settings


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cdx", "unknown problem 'cdx'; did you mean 'cdr'? or FILE.py:CLASS"),
        ("heat", "unknown problem 'heat'; did you mean 'ert'? or FILE.py:CLASS"),
        ("advection", "unknown problem 'advection'; known are cdr, dcr, ert or FILE.py:CLASS"),
        ("heat.c:Heat", "known are cdr, dcr, ert or FILE.py:CLASS"),
        ("nowhere.py:Heat", "cannot read nowhere.py: No such file or directory"),
        ("tests/__init__.py/x.py:Heat", "cannot read"),
    ],
)
def test_an_unknown_problem_is_refused(name, message):
    assert message in refusal(name)


@pytest.mark.parametrize(
    ("text", "wanted", "message"),
    [
        ("x = 1\nraise ValueError('no y')", "A", ", line 2: ValueError: no y"),
        ("x = 1\n\nx x", "A", ", line 3: SyntaxError: "),
        ("import nonesuch", "A", ", line 1: ModuleNotFoundError: "),
        ("import json\n\njson.loads('x')", "A", ", line 3: JSONDecodeError: "),
        ("raise SystemExit('use me otherwise')", "A", ", line 1: SystemExit: use me otherwise"),
        ("from surrogates.pde import Problem", "Problem", "defines no class that derives"),
        (OSCILLATOR, "Osciladora", "unknown class 'Osciladora'; did you mean 'Oscillator'?"),
        (OSCILLATOR, "", "unknown class ''; known are Oscillator"),
        (OSCILLATOR + "\nclass Other: pass", "Other", "Other does not derive from surrogates.pde"),
        (OSCILLATOR.replace("solve", "slove"), "Oscillator", "has no method solve(self, y)"),
        (
            OSCILLATOR.replace("    @dataclass(frozen=True, kw_only=True)\n", ""),
            "Oscillator",
            "with @dataclass(frozen=True, kw_only=True) above it",
        ),
        (OSCILLATOR.replace("(Settings)", ""), "Oscillator", "that derives from surrogates.pde.Se"),
        (
            OSCILLATOR.replace("float = 1.0", "float"),
            "Oscillator",
            "each with a default: TypeError",
        ),
        (
            OSCILLATOR.replace("float = 1.0", "dict = None"),
            "Oscillator",
            "must be bool, int, float",
        ),
        (OSCILLATOR.replace("float = 1.0", "int = 1.5"), "Oscillator", "must be of type int"),
        (
            OSCILLATOR.replace("solve(self, y)", "solve_batch(self, Y)"),
            "Oscillator",
            "solve_batch must be solve_batch(self, Y, *, tangents=False): ",
        ),
        (
            OSCILLATOR.replace("c_units =", "source ="),
            "Oscillator",
            "`name`, `source` and `neighbours`",
        ),
    ],
)
def test_a_file_that_holds_no_problem_is_refused(write, text, wanted, message):
    assert message in refusal(f"{write(text)}:{wanted}")


def test_a_reader_that_has_gone_is_an_error_once_petsc_is_there(tmp_path):
    # PETSc ends its program at SIGPIPE, as in `surrogates verify cdr.h5 | head -1`.
    (tmp_path / "late.py").write_text(
        "from surrogates.pde import Problem\n"
        "class Late(Problem):\n"
        "    y_names, y_lower, y_upper, c_names = ('y',), 0.0, 1.0, ('c',)\n"
        "    def __init__(self, config, comm):\n"
        "        super().__init__(config, comm)\n"
        "        from petsc4py import PETSc\n"
        "    def solve(self, y):\n"
        "        return y\n"
    )
    program = (
        "import os\n"
        "from mpi4py import MPI\n"
        "from surrogates.pde.loading import load\n"
        "from surrogates.pde.solving import made\n"
        "def written():\n"
        "    reader, writer = os.pipe()\n"
        "    os.close(reader)\n"
        "    try: os.write(writer, b'x')\n"
        "    except BrokenPipeError: print('an error')\n"
        "late = load('late.py:Late')\n"
        "made(late, late.Config(), MPI.COMM_SELF)\n"
        "written()\n"
        "load('cdr')\n"
        "written()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, done.stdout) == (0, "an error\n" * 2), done.stderr
