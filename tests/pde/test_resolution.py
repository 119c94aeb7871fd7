"""Settings against the mesh: refusals with the number that would do, and estimates of the error."""

import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from mpi4py import MPI

from surrogates import config
from surrogates.data import merge, read_info
from surrogates.errors import InputError
from surrogates.pde import resolution
from surrogates.pde.cdr.problem import CDR
from surrogates.pde.dcr.problem import DCR
from surrogates.pde.problem import Problem, Settings
from surrogates.pde.solving import noted

pytestmark = pytest.mark.fenicsx

COARSE = ("mesh.cells=[12,12,15]", "mesh.layers=6", "stations.number=[5,5]")
FEW = ("time.steps=15", "observations.times=[0.5,1.0,1.5]")


def settings(problem: type[Problem], *overrides: str):
    return config.read(problem.Config, None, overrides)


def observables(problem: type[Problem], *overrides: str, n: int = 6) -> np.ndarray:
    """c of samples that no estimate has seen."""
    one = settings(problem, *overrides)
    Y = problem.parameters(one, total=n, seed=7, start=0, stop=n)
    batch = problem(one, MPI.COMM_SELF).solve_batch(Y)
    assert batch.failure == [""] * n
    return batch.C


def true_error(problem: type[Problem], overrides: tuple[str, ...], finer: tuple[str, ...]) -> float:
    """The error of c relative to its spread, in per cent."""
    C, reference = observables(problem, *overrides), observables(problem, *overrides, *finer)
    n = len(C)
    spread = ((reference - reference.mean(axis=0)) ** 2).sum() / (n - 1)
    return 100 * float(np.sqrt(((C - reference) ** 2).sum() / n / spread))


def noted_error(problem: type[Problem], *overrides: str) -> float:
    """The error that the note tells, in per cent of the spread."""
    (note,) = problem.notes(settings(problem, *overrides))
    found = re.search(r"is about ([0-9.]+) % of its spread", note)
    assert found, note
    return float(found.group(1))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            "sources.width=0.01",
            "needs mesh.cells of at least [50, 50] at mesh.degree=4; got [8, 8]",
        ),
        ("sources.width=1e-4", "needs mesh.cells of at least [5000, 5000]"),
        ("sources.width=0.02 mesh.cells=[40,2]", "needs mesh.cells of at least [40, 25]"),
        ("sources.width=0.04 mesh.degree=1", "needs mesh.cells of at least [100, 100]"),
        (
            "bumps.lattice=[100,100]",
            "bumps.lattice=[100, 100] needs mesh.cells of at least [56, 56]",
        ),
        ("bumps.lattice=[1,100]", "bumps.lattice=[1, 100] needs mesh.cells of at least [8, 56]"),
        ("solver.rtol=0.9", "solver.rtol must be positive and at most 1e-06; got 0.9"),
    ],
)
def test_a_length_that_the_nodes_do_not_see_is_refused_with_what_would_do(overrides, words):
    with pytest.raises(InputError) as caught:
        settings(CDR, *overrides.split())
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lengths_of_what_is_switched_off_are_not_checked():
    settings(CDR, "sources.width=1e-4", "sources.strength=0.0")
    settings(CDR, "sources.width=1e-4", "sources.centres=[]")
    settings(CDR, "bumps.lattice=[100,100]", "reaction.rate=0.0")
    settings(CDR, "bumps.lattice=[1,1]", "mesh.cells=[1,1]", "sources.strength=0.0")


def test_the_cells_that_a_refusal_names_leave_a_small_error():
    coarse = ("mesh.degree=2", *FEW)
    with pytest.raises(InputError, match=r"mesh.cells of at least \[13, 13\]"):
        settings(CDR, "mesh.cells=[2,2]", *coarse)
    named = settings(CDR, "mesh.cells=[13,13]", *coarse)
    cells = resolution.Refinement(
        order=3, factor=1.5, settings=lambda k: (f"mesh.cells=[{round(13 * k)},{round(13 * k)}]",)
    )
    assert resolution.estimate(CDR, named, [cells]).error < 1.5 * resolution.SMALL


@pytest.mark.parametrize("problem", [CDR, DCR])
def test_the_defaults_have_no_note(problem):
    assert problem.notes(problem.Config()) == ()


@pytest.mark.parametrize(
    ("overrides", "finer"),
    [
        (
            "mesh.cells=[4,4] mesh.degree=2 reaction.rate=3.0",
            "mesh.cells=[12,12] mesh.degree=4 time.steps=60",
        ),
        ("sources.width=0.04 mesh.cells=[5,5]", "mesh.cells=[15,15] time.steps=60"),
        pytest.param(
            "reaction.law=ignition time.steps=30", "time.steps=240", marks=pytest.mark.thorough
        ),
        pytest.param(
            "sampling.design=box sampling.lower=0.017 mesh.cells=[4,4] mesh.degree=3",
            "mesh.degree=6 time.steps=60",
            marks=pytest.mark.thorough,
        ),
    ],
)
def test_the_error_of_cdr_is_estimated_within_a_factor_of_three(overrides, finer):
    overrides = (*FEW, *overrides.split())
    true = true_error(CDR, overrides, tuple(finer.split()))
    assert true > 1
    assert true / 3 < noted_error(CDR, *overrides) < 3 * true


def test_forty_by_forty_bumps_are_told_to_be_off():
    # By two meshes that are finer than the estimate's, and other samples: 12 %.
    assert 4 < noted_error(CDR, "bumps.lattice=[40,40]", *FEW) < 36


def test_an_error_that_counts_because_c_hardly_varies_is_told():
    # The default's mesh and steps. By three times the cells and four times the steps: 23 %.
    assert 7 < noted_error(CDR, "reaction.saturation=0.001") < 70


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        *(
            pytest.param(overrides, marks=pytest.mark.thorough)
            for overrides in (("body.blend=1",), ("conductivity.body=100",))
        ),
    ],
)
def test_the_error_of_dcr_is_estimated_within_a_factor_of_three(overrides):
    overrides = (*COARSE, "stations.spacing=[25,25]", *overrides)
    finer = ("mesh.cells=[27,27,33]", "mesh.above=6", "mesh.layers=15")
    true = true_error(DCR, overrides, finer)
    assert true > 1
    assert true / 3 < noted_error(DCR, *overrides) < 3 * true


@pytest.mark.thorough
def test_layers_that_start_too_thick_are_refused_with_the_number_that_would_do():
    large = ("domain.size=[1e6,1e6,1e6]",)
    for act in (DCR.check, DCR.notes, lambda one: DCR(one, MPI.COMM_SELF)):
        with pytest.raises(
            InputError, match="needs more layers, mesh.layers=[0-9]+ would do, or a"
        ) as caught:
            act(settings(DCR, *large))
    found = re.search(r"mesh.layers=([0-9]+) would", str(caught.value))
    assert found
    DCR.check(settings(DCR, *large, f"mesh.layers={found.group(1)}"))


def test_a_box_too_small_for_its_layers_is_refused():
    # The correction for the box's bottom is part of c, though not of what bodies change.
    with pytest.raises(InputError, match="too coarse: .* [0-9]{3} % of its spread"):
        DCR.notes(settings(DCR, *COARSE, "domain.size=[1000,1000,50]"))


def test_an_error_of_the_spread_s_size_is_refused():
    nearly_one = ("sampling.design=box", "sampling.lower=0.01818", "sampling.upper=0.01819")
    coarse = ("mesh.cells=[4,4]", "mesh.degree=2", *FEW)
    with pytest.raises(InputError, match=r"too coarse: .* of its spread .* would make it 1 %"):
        CDR.notes(settings(CDR, *nearly_one, *coarse))


def test_what_cannot_be_estimated_is_said():
    fast = settings(CDR, "reaction.rate=-100.0", *FEW)
    assert CDR.notes(fast)[0].startswith("the discretisation error of c could not be estimated: ")
    large = settings(CDR, "mesh.cells=[2000,2000]", "reaction.law=ignition")
    assert re.search(r"has not been estimated.*mesh.cells=\[3000, 3000\]", CDR.notes(large)[0])
    assert "is for checks" in DCR.notes(settings(DCR, "solver.formulation=total"))[0]


def test_a_tolerance_of_petsc_s_options_is_refused_like_a_setting():
    code = (
        "from mpi4py import MPI\n"
        "from surrogates import config\n"
        "from surrogates.pde.dcr.problem import DCR\n"
        f"one = config.read(DCR.Config, None, {[*COARSE, 'solver.method=multigrid']})\n"
        "DCR(one, MPI.COMM_SELF)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PETSC_OPTIONS": "-dcr_ksp_rtol 0.9"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "InputError: PETSc's options dcr_ksp_rtol" in run.stderr
    with pytest.raises(InputError, match="at most 1e-06; got 0.9"):
        settings(DCR, "solver.rtol=0.9")


def test_small_dipoles_and_stations_near_an_electrode_have_the_half_space_s_potential():
    def background(dipole: float, first: float) -> float:
        one = ("stations.number=[1,1]", f"stations.first=[{first!r},0,0]")
        problem = DCR(
            settings(DCR, *COARSE[:2], *one, f"stations.dipole={dipole!r}"), MPI.COMM_SELF
        )
        return float(problem._levels[0].c0[0])

    def exact(dipole: float, first: float) -> float:
        ends = first + dipole / 2, first - dipole / 2
        u = [1 / abs(x + 75) - 1 / abs(x - 75) for x in ends]
        return (u[0] - u[1]) / (2 * np.pi * 0.01)

    assert background(1e-8, 0.0) == pytest.approx(exact(1e-4, 0.0) * 1e-4, rel=0.03)
    assert background(2.0, -75 + 1 + 4e-4) == pytest.approx(exact(2.0, -75 + 1 + 4e-4), rel=1e-3)


# Notes of any problem

NOTED = """
from surrogates.pde import Problem

class Own(Problem):
    y_names, y_lower, y_upper = ("a",), 0, 1
    c_names = ("b",)

    @classmethod
    def notes(cls, config):
        return ("the mesh was
 mended", "c is 3 % off")

    def solve(self, y):
        return y
""".replace("was\n", "was\\n")
WARNINGS = "warning: the mesh was mended\nwarning: c is 3 % off\n"


def surrogates(*words: str, ranks: int = 1, cwd: Path) -> subprocess.CompletedProcess[str]:
    launcher = ("mpirun", "-n", str(ranks), "--oversubscribe") if ranks > 1 else ()
    return subprocess.run(
        [*launcher, sys.executable, "-m", "surrogates", *words],
        cwd=cwd,
        env={**os.environ},  # without what MPI has set for this process
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.mpi
def test_notes_are_printed_once_stored_shown_and_merged(tmp_path):
    (tmp_path / "own.py").write_text(NOTED)
    for part in (1, 2):
        words = ("generate", "own.py:Own", "--samples", "8", "--shard", f"{part}/2")
        run = surrogates(*words, "--out", f"{part}.h5", ranks=2, cwd=tmp_path)
        assert run.returncode == 0, run.stderr
        assert run.stderr.count(WARNINGS) == run.stderr.count("warning: ") / 2 == 1
    merge([tmp_path / "2.h5", tmp_path / "1.h5"], tmp_path / "all.h5")
    for name in ("1.h5", "all.h5"):
        assert read_info(tmp_path / name)[0].notes == ("the mesh was mended", "c is 3 % off")
        shown = surrogates("info", name, cwd=tmp_path).stdout
        assert shown.count("the mesh was mended") == shown.count("c is 3 % off") == 1


@pytest.mark.thorough
def test_notes_of_different_shards_are_all_kept(tmp_path):
    (tmp_path / "own.py").write_text(NOTED)
    for part in (1, 2):
        words = ("generate", "own.py:Own", "--samples", "4", "--shard", f"{part}/2")
        assert surrogates(*words, "--out", f"{part}.h5", cwd=tmp_path).returncode == 0
    with h5py.File(tmp_path / "2.h5", "r+") as file:
        text = file.attrs["notes"]
        assert b"c is 3 % off" in text
        file.attrs["notes"] = np.bytes_(text.replace(b"3 %", b"4 %"))
    info = merge([tmp_path / "1.h5", tmp_path / "2.h5"], tmp_path / "all.h5")
    assert info.notes == ("the mesh was mended", "c is 3 % off", "c is 4 % off")


@pytest.mark.parametrize("given", ["a text", (1, 2), None])
def test_notes_that_are_no_texts_are_refused(given):
    class Wrong(Problem):
        @classmethod
        def notes(cls, config):
            return given

    with pytest.raises(InputError, match="^Wrong: notes must return a tuple of texts; got "):
        noted(Wrong, Settings())


def test_generate_and_solve_warn_and_refuse(tmp_path):
    coarse = [word for s in ("mesh.cells=[4,4]", "mesh.degree=2", *FEW) for word in ("--set", s)]
    wrong = ("--set", "sources.width=0.01")
    for words in (("generate", "cdr", "--samples", "2"), ("solve", "cdr")):
        out = f"{words[0]}.{'h5' if words[0] == 'generate' else 'vtu'}"
        run = surrogates(*words, "--out", out, *coarse, *wrong, cwd=tmp_path)
        assert run.returncode == 2
        assert run.stderr.startswith("error: sources.width=0.01 needs mesh.cells of at least [100,")
        assert list(tmp_path.iterdir()) == []
    for words in (("generate", "cdr", "--samples", "2"), ("solve", "cdr")):
        out = f"{words[0]}.{'h5' if words[0] == 'generate' else 'vtu'}"
        run = surrogates(*words, "--out", out, *coarse, cwd=tmp_path)
        assert run.returncode == 0
        assert run.stderr.count("warning: the discretisation error of c is about ") == 1
    (note,) = read_info(tmp_path / "generate.h5")[0].notes
    assert note.startswith("the discretisation error of c is about ")
