"""Kills and signals: a run that ends in any way goes on, and no number changes."""

import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from faulty import N, Site, same, undisturbed, y
from runs import SMALL, Run, saved
from waiting import until

from surrogates.data import Status

pytestmark = [pytest.mark.fenicsx, pytest.mark.mpi]

# Kills


def kill_at_random(site: Site, kills: int, *words: str, samples: int, **how: str) -> int:
    """Kill runs of two ranks at random moments; return how many there were before all was done.

    The moments are random on purpose: whatever a run is at, a kill changes no number.
    """
    rng = np.random.default_rng(0)
    for killed in range(kills):
        run, before = site.start(2, *words, samples=samples, **how), site.saved()
        if killed % 4:  # else at any moment, also before the first sample
            until(lambda b=before: site.saved() != b or site.out.exists(), run.process)
        time.sleep(rng.uniform(0, 0.4))
        if killed % 3 == 1 and run.ranks():  # a rank alone; the launcher ends the others
            os.kill(rng.choice(run.ranks()), signal.SIGKILL)
            run.end()
        run.kill()
        if site.out.exists():
            return killed
    return kills


@pytest.mark.thorough
def test_twenty_kills_at_random_moments_change_no_number(site, tmp_path):
    words = ("--set", "failing=0.02", "--set", "batch=3")
    assert kill_at_random(site, 20, *words, samples=1500, PACE="0.01") > 15
    site.run(2, *words, samples=1500, expect=1)
    dataset = site.dataset()
    assert (dataset.status == Status.FAILED).sum() > 10
    same(dataset, undisturbed(site, tmp_path / "whole", *words, samples=1500))


@pytest.mark.thorough
def test_kills_of_solves_of_a_pde_change_no_number(site, tmp_path):
    site.problem = ("cdr", *SMALL, "--set", "time.steps=150")
    assert kill_at_random(site, 5, samples=150) == 5
    site.run(2, samples=150)
    same(site.dataset(), undisturbed(site, tmp_path / "whole", samples=150))


def test_a_rank_that_is_killed_ends_the_run_and_loses_samples_in_flight_alone(site, whole):
    run = site.start(2, FAULT="sleep", AT=y(21))
    until(lambda: site.saved() > 0, run.process)
    solvers = run.solvers()
    os.kill(run.ranks()[1], signal.SIGKILL)
    run.end()
    assert run.process.returncode not in (0, 1, 2, 75)
    assert len(solvers) == 2
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in solvers))
    assert f"{N} solved now" not in site.run(2).stdout
    same(site.dataset(), whole)


@pytest.mark.thorough
def test_a_launcher_that_is_killed_takes_its_ranks_along(site, whole):
    run = site.start(2, PACE="0.1")
    until(lambda: site.saved() > 0, run.process)
    ranks = run.ranks()
    assert len(ranks) == 2
    run.process.kill()
    run.end(-signal.SIGKILL)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in ranks))
    site.run(2)
    same(site.dataset(), whole)


# Ends a process at the n-th step that changes the folder, or half way through a write.
STEPS = """
import os, signal, sys
from surrogates import cli

left, keeper = int(os.environ["STEPS"]), os.getpid()

def step():
    global left
    left -= os.getpid() == keeper  # and not the processes that solve
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def look(event, about):
    if event in {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate"}:
        if "toy.h5" in str(about[0]) or event == "os.truncate" or about[-1] >= 0:
            step()  # in the folder around it, or in an open one

def halves(file, content):
    half = whole(file, content[: len(content) // 2])
    step()
    return half + whole(file, content[half:])

whole, os.write = os.write, halves
sys.addaudithook(look)
raise SystemExit(cli.main())
"""


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_a_kill_at_any_step_that_changes_the_folder_changes_no_number(site, tmp_path):
    script = tmp_path / "steps.py"
    script.write_text(STEPS)
    base = ("generate", *site.problem, "--out", str(site.out), "--samples", "3")
    whole = undisturbed(site, tmp_path / "whole", samples=3)

    def killed(step: int) -> bool:
        run = Run(1, *base, program=(str(script),), more={"STEPS": str(step)})
        run.end()
        assert run.process.returncode in (0, -signal.SIGKILL), run.stderr
        return run.process.returncode != 0

    step = 1
    while killed(step):
        killed(1 + step % 4)  # and the next one as well
        site.run(samples=3)
        same(site.dataset(), whole)
        site.out.unlink()
        step += 1
    assert step > 12


# Signals


@pytest.mark.parametrize(
    ("kind", "ranks", "rank"),
    [
        (signal.SIGTERM, 1, 0),
        (signal.SIGUSR1, 2, 1),
        *(
            pytest.param(*case, marks=pytest.mark.thorough)
            for case in ((signal.SIGUSR1, 1, 0), (signal.SIGINT, 1, 0), (signal.SIGTERM, 2, 0))
        ),
    ],
)
def test_a_signal_to_a_rank_ends_the_run_with_everything_saved(site, whole, kind, ranks, rank):
    run = site.start(ranks, PACE="0.1")
    until(lambda: site.saved() > 0, run.process)
    os.kill(run.ranks()[rank], kind)
    error = run.end()
    assert run.process.returncode == (130 if kind == signal.SIGINT else 75)
    assert "all saved; run the same command again to go on" in error
    (done,) = re.findall(r"stopped with (\d+) of 40", error)
    assert not site.out.exists()
    assert {path.suffix for path in site.parts.glob("shard-*")} == {".shard"}
    assert not list(site.parts.glob("mark-*"))
    assert f"{N - int(done)} solved now" in site.run(ranks).stdout
    same(site.dataset(), whole)


@pytest.mark.thorough
def test_mpirun_hands_sigusr1_on(site):
    run = site.start(2, PACE="0.1")
    until(lambda: site.saved() > 0, run.process)
    run.process.send_signal(signal.SIGUSR1)
    run.end(75)
    assert {path.suffix for path in site.parts.glob("shard-*")} == {".shard"}


@pytest.mark.parametrize(
    "kind", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.thorough)]
)
def test_mpirun_that_is_ended_ends_the_ranks_which_save_what_they_have(site, whole, kind):
    run = site.start(2, PACE="0.1")
    until(lambda: site.saved() > 0, run.process)
    run.process.send_signal(kind)
    run.end()
    assert run.process.returncode not in (0, 2)  # its own, whatever the ranks' are
    assert f"{N - saved(site.out)} solved now" in site.run(2).stdout
    same(site.dataset(), whole)


def has_taken(pid: int, kind: signal.Signals) -> bool:
    """Tell whether a process waits again, with no signal of a kind left to take."""
    text = Path(f"/proc/{pid}/status").read_text()
    status = dict(line.split(":\t", 1) for line in text.splitlines())
    pending = int(status["SigPnd"], 16) | int(status["ShdPnd"], 16)
    return status["State"].startswith("S") and not pending >> (kind - 1) & 1


def test_a_second_ctrl_c_ends_a_run_at_once(site):
    asleep = site.out.with_name("asleep")
    run = site.start(1, FAULT="sleep", AT=y(21), ASLEEP=str(asleep))
    until(lambda: asleep.exists() and site.saved() > 0, run.process)
    run.process.send_signal(signal.SIGINT)
    until(lambda: has_taken(run.process.pid, signal.SIGINT), run.process)
    run.process.send_signal(signal.SIGINT)
    run.end(130)
    assert site.saved() > 0
