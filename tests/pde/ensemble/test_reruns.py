"""Runs that come again: locks, clocks, other versions, and what verify and info say."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
from faulty import N, same, y
from waiting import SECONDS, until

from surrogates.data import Dataset, Status, read_info, write
from surrogates.folders import Folder
from surrogates.pde.ensemble.lock import progress

pytestmark = [pytest.mark.fenicsx, pytest.mark.mpi]

# Locks


def test_a_second_run_is_refused_and_the_first_one_goes_on(site, whole):
    first = site.start(1, PACE="1.5")  # so that it goes on for long after the other two
    until(lambda: site.saved() > 0, first.process)
    error = site.run(1, expect=2).stderr
    assert re.match(rf"error: another run \(process \d+ on .*\) is writing {site.parts}", error)
    assert error.count("\n") == 1
    assert re.search(r"run: +running", site.command("info", str(site.out)))
    before = site.saved()
    until(lambda: site.saved() > before, first.process)
    first.process.send_signal(signal.SIGUSR1)
    first.end(75)
    site.run()
    same(site.dataset(), whole)


def test_the_lock_of_a_dead_process_is_not_in_the_way(site, whole):
    run = site.start(1, PACE="0.5")
    until(lambda: site.saved() > 0 and (site.parts / "progress.json").exists(), run.process)
    run.kill()
    assert (site.parts / "lock").exists()
    assert not json.loads((site.parts / "progress.json").read_text())["ended"]
    assert re.search(r"run: +not running", site.command("info", str(site.out)))
    site.run()
    same(site.dataset(), whole)


@pytest.mark.thorough
def test_a_run_of_another_host_is_in_the_way_as_long_as_it_shows_signs_of_life(site, whole):
    site.stopped()
    path = site.parts / "progress.json"
    state = {**json.loads(path.read_text()), "boot": "another", "host": "far", "ended": False}
    path.write_text(json.dumps(state))
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(1.0):
            state["beat"] += 1
            beside = path.with_suffix(".other")
            beside.write_text(json.dumps(state))
            beside.replace(path)

    far = threading.Thread(target=beat)
    far.start()
    try:
        error = site.run(1, expect=2).stderr
    finally:
        ended.set()
        far.join()
    assert re.match(r"error: another run \(process \d+ on far\) is writing", error)
    assert error.count("\n") == 1
    site.run()  # and no longer
    same(site.dataset(), whole)


# The calendar and other versions

CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>

static long jump(void) {  /* three days forth and back, at each call */
    static unsigned calls;
    return __sync_fetch_and_add(&calls, 1) % 2 ? 259200 : -259200;
}
int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(id, t);
    if (id == CLOCK_REALTIME) t->tv_sec += jump();
    return status;
}
int gettimeofday(struct timeval *t, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    t->tv_sec = now.tv_sec;
    t->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *t) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t) *t = now.tv_sec;
    return now.tv_sec;
}
"""


@pytest.fixture(scope="module")
def jumping(tmp_path_factory) -> dict[str, str]:
    """What makes the clock of a process jump."""
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(CLOCK)
    words = ["cc", "-shared", "-fPIC", "-o", "clock.so", "clock.c", "-ldl"]
    subprocess.run(words, cwd=folder, check=True, timeout=60)
    jumps = {"LD_PRELOAD": str(folder / "clock.so")}
    probe = "import time; a, b = time.time(), time.time(); assert abs(a - b) > 86400"
    subprocess.run([sys.executable, "-c", probe], env={**os.environ, **jumps}, check=True)
    return jumps


@pytest.mark.thorough
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_clock_that_jumps_and_times_of_files_change_nothing(site, whole, jumping, ranks):
    run = site.start(ranks, FAULT="sleep", AT=y(N - 1), **jumping)
    until(lambda: site.saved() > 0 and (site.parts / "progress.json").exists(), run.process)
    assert "another run" in site.run(1, expect=2, **jumping).stderr
    run.kill()
    state = json.loads((site.parts / "progress.json").read_text())
    assert 0 <= state["seconds"] < SECONDS
    for k, path in enumerate(sorted(site.parts.iterdir())):
        os.utime(path, (k % 2 * 4e9, k % 2 * 4e9))
    out = site.run(ranks, PACE="0.1", **jumping).stdout
    (seconds,) = re.findall(r"in ([0-9.]+) s", out)
    assert 0 < float(seconds) < SECONDS
    dataset = site.dataset()
    same(dataset, whole)
    assert (dataset.solver["seconds"] > 0).all() and (dataset.solver["seconds"] < SECONDS).all()


def test_other_versions_are_refused_or_recorded_with_each_sample(site, whole):
    site.stopped()
    path = site.parts / "description.h5"
    info = read_info(path)[0]
    write(path, dataclasses.replace(info, versions={**info.versions, "numpy": "0.9"}), 0, [])
    error = site.run(1, expect=2).stderr
    assert f"numpy is 0.9 there and {np.__version__} here" in error
    assert "--allow-version-change" in error and error.count("\n") == 1
    (done,) = re.findall(r"(\d+) done", site.command("info", str(site.out)))
    site.run(1, "--allow-version-change")
    dataset = site.dataset()
    same(dataset, whole)
    assert [maker["versions"]["numpy"] for maker in dataset.info.makers] == ["0.9", np.__version__]
    assert dataset.made_by.tolist() == [0] * int(done) + [1] * (N - int(done))
    # And stays so when a part is solved for again.
    with h5py.File(site.out, "r+") as file:
        file["status"][3] = Status.FAILED
    site.run(1, "--retry-failed")
    again = site.dataset()
    same(again, whole)
    expected = dataset.made_by.copy()
    expected[3] = 1
    assert again.made_by.tolist() == expected.tolist()


def test_a_sample_that_does_not_end_holds_up_nobody(site, whole):
    run = site.start(2, FAULT="sleep", AT=y(0))
    until(site.parts.exists, run.process)
    until(lambda: progress(Folder.there(site.parts)).get("done") == N - 1, run.process)
    run.kill()
    assert "1 solved now" in site.run(2).stdout
    same(site.dataset(), whole)


# Trust


def test_verify_solves_again_and_finds_a_number_that_no_solve_has_given(site):
    site.run()
    words = ("verify", str(site.out), "--problem", *site.problem)
    assert "c differs by 0.0e+00 at most" in site.command(*words)
    dataset = Dataset.read(site.out)
    dataset.C[17, 3] += 1e-3  # with checksums that are right
    dataset.write(site.out)
    said = site.command(*words, "--recompute", str(N), expect=1)
    (fault,) = [line for line in said.splitlines() if "not reproduced" in line]
    assert "sample 17 is not reproduced" in fault
    assert site.command(*words, "--recompute", str(N), "--tolerance", "1e-2").endswith("is well\n")
    dataset.C[17, 3] -= 1e-3
    dataset.Y[5, 1] = dataset.Y[4, 1]
    dataset.write(site.out)
    assert "sample 5 is not reproduced" in site.command(*words, "--recompute", str(N), expect=1)


def test_verify_does_not_solve_by_another_file_than_the_dataset_s(site):
    site.run()
    problem = Path(site.problem[0].removesuffix(":Toy"))
    problem.write_text(problem.read_text() + "# another one\n")
    said = site.command("verify", str(site.out), "--problem", *site.problem, expect=1)
    assert "nothing wrong found; not checked: whether samples can be solved again" in said
    assert "is not the file that made it" in said


def test_info_says_how_far_a_run_is(site):
    site.stopped()
    said = site.command("info", str(site.out))
    done, missing = map(int, re.findall(r"(\d+) done, 0 of them failed, (\d+) missing", said)[0])
    assert 0 < done < N
    assert done + missing == N
    assert re.search(r"rate: +[\d.]+ a second\n", said)  # of a run that has ended: no time left
    run = site.start(1, FAULT="sleep", AT=y(N - 1))  # it has not ended before it is asked about
    until(lambda: progress(Folder.there(site.parts)).get("done", 0) > done, run.process)
    said = site.command("info", str(site.parts))
    assert re.search(r"rate: +[\d.]+ a second, about \d+ s left\n", said)
