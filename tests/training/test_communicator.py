"""Samples divided over the processes of torchrun: the same result, one message, nothing lost."""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import shares
import torch
import torch.distributed
from draws import classes, dataset, labelled, normal
from trainings import smooth
from waiting import until

from surrogates import config
from surrogates.training.communicator import Communicator
from surrogates.training.config import Network, Optimizer, TrainConfig
from surrogates.training.fit import fit


def torchrun_starts():
    """Whether this torch's torchrun does: Debian's has no libuv, and its torchrun asks for it."""
    if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
        return False
    try:
        torch.distributed.TCPStore("127.0.0.1", 0, is_master=True)
    except RuntimeError:
        return False
    return True


pytestmark = pytest.mark.mpi
needs_torchrun = pytest.mark.skipif(not torchrun_starts(), reason="torchrun does not start here")

RUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def torchrun(*words, **more):
    return subprocess.run([*RUN, *words], capture_output=True, text=True, timeout=120, **more)


def overlapping(n=203, n_in=5, n_classes=3):
    """Classes that overlap, and an odd number of training samples."""
    k = classes(n, n_classes, seed=0)
    Y = normal(n, n_in, seed=1) + k @ normal(n_classes, n_in, seed=2)
    return labelled(Y.numpy(), k.numpy())


def with_derivatives():
    """Values of smooth functions, and derivatives of two thirds of the samples."""
    data = smooth(n=103, n_in=5, n_out=4)
    rng = np.random.default_rng(0)  # as in `smooth`
    rng.uniform(10, 30, (103, 5))
    A, B = rng.normal(size=(5, 2)), rng.normal(size=(2, 4))
    dC_dY = 50 * np.einsum("nl,jl,lk->nkj", np.cos(data.Y / 20 @ A), A, B)
    dC_dY[::3] = np.nan
    dC_dY[1, :, 2] = np.nan
    return dataclasses.replace(
        data, dC_dY=dC_dY, info=dataclasses.replace(data.info, tangents=True)
    )


def along_directions_of_one():
    """Two directions of one training sample, one of them missing: the other process has none."""
    data = with_derivatives()
    V = np.random.default_rng(3).normal(size=(len(data.Y), 2, 5))
    T = data.dC_dY @ V.transpose(0, 2, 1)
    first = next(i for i in data.rows_of("train") if np.isfinite(T[i]).all())
    T[np.arange(len(T)) != first] = np.nan
    T[first, :, 1] = np.nan
    info = dataclasses.replace(data.info, tangents=False, directions=2)
    return dataclasses.replace(data, info=info, dC_dY=None, directions=V, dC_dV=T)


@needs_torchrun
@pytest.mark.parametrize(
    ("data", "fall"),
    [
        (smooth(n=203, n_in=5, n_out=7), 0.6),
        (with_derivatives(), 0.6),
        (along_directions_of_one(), 0.6),
        pytest.param(overlapping(), 0.9, marks=pytest.mark.thorough),
    ],
)
def test_two_processes_find_what_one_finds(tmp_path, data, fall):
    data.write(tmp_path / "data.h5")
    every = shares.SETTINGS[shares.task_of(data)]
    run = torchrun(shares.__file__, tmp_path / "data.h5", tmp_path / "found.pt")
    assert run.returncode == 0, run.stderr
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    for name, settings in every.items():
        one, two = shares.trained(data, settings, Communicator()), found["found"][name]
        assert len(one["phi"]) == len(two["phi"]) == shares.ITERATIONS
        assert float(one["phi"][-1]) < fall * float(one["phi"][0])
        for key, value in one.items():
            gap = float((value - two[key]).norm() / value.norm())
            assert gap < 1e-8, (name, key, gap)
    # Both have the same theta to the bit, and sent little: no message is as long as the samples.
    assert torch.equal(found["thetas"][0], found["thetas"][1])
    assert 0 < found["traffic"] / (len(every) * shares.ITERATIONS) < 8 * data.C.size * 10


class Halves(Communicator):
    """Says that it is one of two processes, and is alone."""

    size = 2


def test_what_two_processes_cannot_do_is_refused():
    with pytest.raises(Exception, match="the optimizer adam works in one process; got 2"):
        fit(smooth(), TrainConfig(optimizer=Optimizer(name="adam")), comm=Halves())
    few = smooth(n=12)
    few.split[:] = 1
    few.split[3] = 0
    few.split[-1] = 2
    with pytest.raises(Exception, match="2 processes need at least as many train samples; got 1"):
        fit(few, TrainConfig(network=Network(width=2)), comm=Halves())


@needs_torchrun
def test_a_mistake_is_one_line_of_one_process(tmp_path):
    smooth().write(tmp_path / "data.h5")
    train = ("-m", "surrogates", "train", str(tmp_path / "data.h5"))
    for words, message in (
        (("--out", "none/x.pt"), "error: cannot write none/x.pt: there is no folder"),
        (("--bad",), "error: "),
    ):
        run = torchrun(*train, *words, cwd=tmp_path)
        lines = [line for line in run.stderr.splitlines() if line.startswith("error:")]
        assert run.returncode != 0 and len(lines) == 1 and lines[0].startswith(message)
        assert words[-1] in lines[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.h5"]


@needs_torchrun
@pytest.mark.parametrize("rank", [0, pytest.param(1, marks=pytest.mark.thorough)])
def test_a_lost_process_ends_the_run_with_a_checkpoint(tmp_path, rank):
    data = smooth()
    noise = np.random.default_rng(1).normal(size=data.C.shape)
    data = dataset(data.Y, data.C + 100 * noise)
    data.write(tmp_path / "data.h5")
    words = [
        "optimizer.method=krylov",
        "network.width=6",
        "stopping.patience=100000",
        "stopping.work_units=1000000",
        "stopping.tolerance=0",
    ]
    settings = [word for override in words for word in ("--set", override)]
    train = ["-m", "surrogates", "train", "data.h5", *settings]
    checkpoint = tmp_path / "data.checkpoint"
    with subprocess.Popen(
        [*RUN, *train], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as process:
        until(checkpoint.exists)
        os.kill(worker(process.pid, rank), signal.SIGKILL)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode != 0
    lines = [line for line in stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert f"process {1 - rank} of 2 has lost another" in lines[0]
    assert "go on with --resume, from data.checkpoint" in lines[0]
    before = len(torch.load(checkpoint, weights_only=True)["records"])
    found = fit(
        data,
        config.read(TrainConfig, overrides=words),
        checkpoint=checkpoint,
        resume=True,
        stop=lambda: True,
    )
    assert len(found.history) == before + 1 > 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.checkpoint", "data.h5"]


def worker(parent, rank):
    """Find the process of a rank among the children of torchrun."""
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
            return int(child)
    raise AssertionError(f"torchrun has no child of rank {rank}")
