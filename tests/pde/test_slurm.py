"""The job scripts: what they start, hand on, try again and put back in the queue.

`srun` and `scontrol` are short programs of this file: the ranks are real, and so are the signals,
which go to the batch shell as Slurm's warning does (``--signal=B:USR1@...``).
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import places
import pytest
from waiting import SECONDS, until

from surrogates.data import Dataset, Status

pytestmark = [pytest.mark.fenicsx, pytest.mark.mpi]

SCRIPTS = places.SCRIPTS / "slurm"
NAMES = ("one_node.sh", "many_nodes.sh", "array.sh")
# Two seconds on one rank: long enough to reach in, and the core is free for the others meanwhile.
PROBLEM = """
import time
from surrogates.pde import Problem

class Slow(Problem):
    y_names, c_names = ("a", "b"), ("sum",)
    y_lower, y_upper = 0.0, 1.0

    def solve(self, y):
        time.sleep(0.05)
        return y.sum(keepdims=True)
"""
WORDS = ("slow.py:Slow", "--samples", "40")

# The options of srun start with a dash, and it hands signals on, as mpirun does. Each rank says who
# it is, and dies where the test wants a node on which nothing lives long.
SRUN = """#!/usr/bin/env bash
echo "$*" >>"$STUBS/starts"
while [[ "$1" == -* ]]; do shift; done
exec mpirun --oversubscribe -n "${RANKS:-1}" bash -c '
    echo $$ >"$STUBS/rank$OMPI_COMM_WORLD_RANK"
    if [ -e "$STUBS/deadly" ]; then kill -KILL $$; fi
    exec "$@"' rank "$@"
"""
# A job that goes back to the queue is killed: nothing of it must be at work any more.
SCONTROL = """#!/usr/bin/env bash
state="$(sed -n 's/^State:[[:space:]]*//p' "/proc/$(cat "$STUBS/rank0")/status" 2>/dev/null)"
case "$state" in "" | Z* | X*) ;; *) echo "too early: $state" >>"$STUBS/requeued" ;; esac
echo "$*" >>"$STUBS/requeued"
"""


class Cluster:
    """A folder, the stubs, and jobs in it, with Slurm or without."""

    def __init__(self, folder: Path, slurm: bool) -> None:
        self.folder = folder
        self.slurm = slurm
        self.stubs = folder / "stubs"
        self.stubs.mkdir()
        (folder / "slow.py").write_text(PROBLEM)
        for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
            (self.stubs / name).write_text(text)
            (self.stubs / name).chmod(0o755)

    def start(self, script: str, *words: str, **more: str) -> subprocess.Popen[str]:
        """Start a job as Slurm does: a copy of the script, by a name of its own choice."""
        there = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
        there["PATH"] = f"{self.stubs}:{Path(sys.executable).parent}:{there['PATH']}"
        there["STUBS"] = str(self.stubs)
        path = SCRIPTS / script
        if self.slurm:
            there |= {"SLURM_JOB_ID": "7", "SLURM_SUBMIT_DIR": str(places.ROOT)}
            path = Path(shutil.copy(path, self.folder / "slurm_script"))
        else:
            there["LAUNCH"] = str(self.stubs / "srun")  # mpirun, whose ranks say who they are
        return subprocess.Popen(
            ["bash", str(path), *words],
            cwd=self.folder,
            env={**there, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, script: str, *words: str, expect: int = 0, **more: str) -> str:
        """Run a job to its end; give what it has said on standard error."""
        return finish(self.start(script, *words, **more), expect)

    def saved(self, out: str) -> int:
        """Bytes of finished samples."""
        parts = self.folder / f"{out}.parts"
        return sum(path.stat().st_size for path in parts.glob("shard-*"))

    def said(self, name: str) -> list[str]:
        path = self.stubs / name
        return path.read_text().splitlines() if path.exists() else []

    def digest(self, out: str) -> str:
        return Dataset.read(self.folder / out).digest


def finish(job: subprocess.Popen[str], expect: int) -> str:
    out, error = job.communicate(timeout=SECONDS)
    assert job.returncode == expect, f"{out}\n{error}"
    assert "Traceback" not in error
    return error


def surrogates(folder: Path, *words: str) -> None:
    command = [sys.executable, "-m", "surrogates", *words]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=SECONDS)


@pytest.fixture(params=[True, False], ids=["slurm", "here"])
def cluster(request, tmp_path) -> Cluster:
    return Cluster(tmp_path, request.param)


@pytest.fixture
def slurm(tmp_path) -> Cluster:
    return Cluster(tmp_path, True)


@pytest.fixture
def here(tmp_path) -> Cluster:
    return Cluster(tmp_path, False)


@pytest.fixture(scope="module")
def digest(tmp_path_factory) -> str:
    """Of the dataset that one process makes."""
    folder = tmp_path_factory.mktemp("serial")
    (folder / "slow.py").write_text(PROBLEM)
    surrogates(folder, "generate", *WORDS, "--out", "slow.h5")
    return Dataset.read(folder / "slow.h5").digest


@pytest.mark.parametrize("name", NAMES)
def test_the_header_asks_for_what_the_script_relies_on(name):
    lines = (SCRIPTS / name).read_text().splitlines()
    header = [line.split()[1] for line in lines if line.startswith("#SBATCH ")]
    assert len([option for option in header if option.startswith("--signal=B:USR1@")]) == 1
    assert {"--requeue", "--open-mode=append"} <= set(header)
    # sbatch takes options up to the first command.
    first = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    assert not any(line.startswith("#SBATCH") for line in lines[first:])


def test_a_job_outlives_a_rank_and_one_that_is_warned_goes_on_when_it_runs_again(slurm, digest):
    words = (*WORDS, "--out", "slow.h5")
    job = slurm.start("many_nodes.sh", *words, RANKS="2")
    until(lambda: slurm.saved("slow.h5") > 0, job)
    os.kill(int((slurm.stubs / "rank1").read_text()), signal.SIGKILL)
    until(lambda: len(slurm.said("starts")) == 2, job)
    before = slurm.saved("slow.h5")
    until(lambda: slurm.saved("slow.h5") > before, job)
    job.send_signal(signal.SIGUSR1)
    assert "starting it again" in finish(job, 75)
    assert len(slurm.said("starts")) == 2
    assert slurm.said("requeued") == ["requeue Incomplete 7"]
    assert not (slurm.folder / "slow.h5").exists()
    slurm.run("many_nodes.sh", *words, RANKS="2")
    assert slurm.digest("slow.h5") == digest
    assert len(slurm.said("starts")) == 3
    assert len(slurm.said("requeued")) == 1


@pytest.mark.thorough
def test_without_slurm_a_run_ended_by_ctrl_c_goes_on_when_it_runs_again(here, digest):
    words = (*WORDS, "--out", "slow.h5")
    job = here.start("one_node.sh", *words)
    until(lambda: here.saved("slow.h5") > 0, job)
    os.killpg(job.pid, signal.SIGINT)  # as a terminal does: to all that it sees
    assert "run the same command again" in finish(job, 75)
    assert not (here.folder / "slow.h5").exists()
    here.run("one_node.sh", *words)
    assert here.digest("slow.h5") == digest
    assert here.said("requeued") == []


@pytest.mark.thorough
def test_a_job_warned_before_its_first_sample_is_not_put_back(slurm):
    job = slurm.start("one_node.sh", *WORDS, "--out", "slow.h5")
    until(lambda: (slurm.stubs / "rank0").exists(), job)
    job.send_signal(signal.SIGUSR1)
    assert "before a sample was finished" in finish(job, 75)
    assert slurm.said("requeued") == []


@pytest.mark.thorough
def test_a_run_that_dies_without_getting_on_is_given_up(slurm):
    (slurm.stubs / "deadly").touch()
    error = slurm.run("one_node.sh", *WORDS, "--out", "slow.h5", expect=128 + signal.SIGKILL)
    assert "3 times in a row" in error
    assert len(slurm.said("starts")) == 3
    assert slurm.said("requeued") == []


@pytest.mark.thorough
def test_bad_input_ends_the_job(slurm):
    words = (*WORDS, "--out", "slow.h5", "--set", "bach=2")
    error = slurm.run("one_node.sh", *words, expect=2)
    assert "did you mean 'batch'" in error
    assert len(slurm.said("starts")) == 1
    assert slurm.said("requeued") == []


@pytest.mark.thorough
def test_failed_samples_end_the_job(slurm):
    settings = {"mesh.cells": "[4,4]", "solver.method": "gmres", "solver.max_iterations": 1}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    slurm.run("one_node.sh", "cdr", "--samples", "5", *words, "--out", "cdr.h5", expect=1)
    assert (Dataset.read(slurm.folder / "cdr.h5").status == Status.FAILED).all()
    assert len(slurm.said("starts")) == 1
    assert slurm.said("requeued") == []


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_the_dataset_is_asked_for(cluster, name):
    error = cluster.run(name, *WORDS, expect=2)
    assert error.startswith("error: give the dataset's name")
    assert error.count("\n") == 1
    assert cluster.said("starts") == []


def array(task: int, tasks: range) -> dict[str, str]:
    """What Slurm sets for a task of an array."""
    numbers = {"ID": task, "MIN": tasks[0], "MAX": tasks[-1], "COUNT": len(tasks)}
    names = {f"SLURM_ARRAY_TASK_{key}": str(value) for key, value in numbers.items()}
    return {**names, "SLURM_ARRAY_JOB_ID": "9"}


@pytest.mark.thorough
def test_a_task_of_an_array_is_put_back_alone_and_the_shards_merge(slurm, digest):
    words = (*WORDS, "--out", "slow.h5")
    job = slurm.start("array.sh", *words, **array(2, range(1, 3)))
    until(lambda: slurm.saved("slow.shard2.h5") > 0, job)
    job.send_signal(signal.SIGUSR1)
    finish(job, 75)
    assert slurm.said("requeued") == ["requeue Incomplete 9_2"]
    slurm.run("array.sh", *words, **array(1, range(1, 3)))
    slurm.run("array.sh", *words, SHARDS="2", **array(2, range(2, 3)))
    surrogates(slurm.folder, "merge", "slow.shard1.h5", "slow.shard2.h5", "--out", "slow.h5")
    assert slurm.digest("slow.h5") == digest


def test_an_array_without_slurm_makes_its_shards_in_turn_and_merges_them(here, digest):
    here.run("array.sh", *WORDS, "--out", "slow.h5", SHARDS="2")
    assert here.digest("slow.h5") == digest
    assert len(here.said("starts")) == 2


@pytest.mark.parametrize("tasks", [range(2), range(1, 8, 2), range(3, 4)])
def test_an_array_whose_numbers_do_not_say_the_shard_is_refused(slurm, tasks):
    words = (*WORDS, "--out", "slow.h5")
    error = slurm.run("array.sh", *words, expect=2, **array(tasks[-1], tasks))
    assert "number the tasks from 1 without gaps" in error
    assert slurm.said("starts") == []
