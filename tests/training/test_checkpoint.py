"""Checkpoints: a resumed training ends as if it had never stopped; what is refused."""

import dataclasses
import itertools
import os
import time

import numpy as np
import pytest
import torch
from trainings import DENSE, OTHERS, SMALL, Stopped, linear, same, smooth, stop_at

from surrogates.config import replaced
from surrogates.errors import InputError
from surrogates.training.checkpoint import Checkpoint
from surrogates.training.fit import fit
from surrogates.training.outer.multilevel import Reason


@pytest.mark.parametrize("each", [1000, pytest.param(7, marks=pytest.mark.thorough)])
@pytest.mark.parametrize(
    "settings", [SMALL, DENSE, *OTHERS.values()], ids=["krylov", "dense", *OTHERS]
)
def test_resumed_training_equals_uninterrupted_training_bit_for_bit(tmp_path, settings, each):
    """At the ends of levels, the iterations after them, and one of ``each`` others."""
    data, checkpoint = smooth(), tmp_path / "run.ckpt"
    whole = fit(data, settings)
    n = len(whole.history)
    assert n >= 6
    ends = [a.iteration for a, b in itertools.pairwise(whole.history) if a.level != b.level]
    for iteration in sorted({1, *ends, *(end + 1 for end in ends), *range(2, n, each), n}):
        with pytest.raises(Stopped):
            fit(data, settings, checkpoint=checkpoint, on_iteration=stop_at(iteration))
        seen = []
        resumed = fit(data, settings, checkpoint=checkpoint, resume=True, on_iteration=seen.append)
        assert same(whole, resumed)
        assert [record.iteration for record in seen] == list(range(iteration + 1, n + 1))
    # A finished run resumes to its result.
    assert same(whole, fit(data, settings, checkpoint=checkpoint, resume=True))
    assert [path.name for path in tmp_path.iterdir()] == ["run.ckpt"]


def test_training_stops_where_it_is_asked_to_even_at_the_end_of_a_level(tmp_path):
    data, checkpoint = smooth(), tmp_path / "run.ckpt"
    whole = fit(data, SMALL)
    last_of_level = sum(record.level == 0 for record in whole.history)
    for iteration in (1, last_of_level, len(whole.history)):
        asked = iter(range(1, 1000))
        stopped = fit(
            data, SMALL, checkpoint=checkpoint, stop=lambda n=iteration, i=asked: next(i) == n
        )
        assert len(stopped.history) == iteration
        finished = iteration == len(whole.history)
        assert stopped.reason is (whole.reason if finished else Reason.INTERRUPTED)
        assert same(whole, fit(data, SMALL, checkpoint=checkpoint, resume=True))


def test_a_checkpoint_is_written_when_it_is_due_and_costs_training_no_time(tmp_path, monkeypatch):
    written, clock = [], time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + 1000 * len(written))

    def slow(self, state):  # by the clock of training, a write takes 1000 s
        written.append(len(state.records))

    monkeypatch.setattr(Checkpoint, "_write", slow)
    monkeypatch.setattr("surrogates.training.checkpoint._SECONDS", 60.0)
    result = fit(smooth(), SMALL, checkpoint=tmp_path / "run.ckpt")
    assert written == [len(result.history)]
    monkeypatch.setattr("surrogates.training.checkpoint._SECONDS", 0.0)
    written.clear()
    result = fit(smooth(), SMALL, checkpoint=tmp_path / "run.ckpt")
    assert written == list(range(1, len(result.history) + 1))
    assert result.history[-1].seconds < 1000


@pytest.mark.parametrize("comes_back", [False, True])
def test_a_disk_that_fails_at_a_checkpoint_does_not_end_the_training(
    tmp_path, monkeypatch, caplog, comes_back
):
    monkeypatch.setattr("surrogates.training.checkpoint._SECONDS", 0.0)
    disk, away = tmp_path / "disk", tmp_path / "away"
    disk.mkdir()
    data, checkpoint = smooth(), disk / "run.ckpt"
    whole = fit(data, SMALL)

    def move(record) -> None:
        if record.iteration == 1:
            disk.rename(away)
        if record.iteration == 4 and comes_back:
            away.rename(disk)

    result = fit(data, SMALL, checkpoint=checkpoint, on_iteration=move)
    assert same(whole, result)
    assert result.kept == comes_back
    (warning,) = caplog.messages
    assert warning.startswith(f"cannot write {checkpoint}: there is no folder {disk}")
    assert warning.endswith("; the training goes on, and tries it again")
    if comes_back:
        assert same(whole, fit(data, SMALL, checkpoint=checkpoint, resume=True))
    else:  # the one before
        assert len(fit(data, SMALL, checkpoint=away / "run.ckpt", resume=True).history) > 4


def test_a_checkpoint_stays_where_it_was_named_though_the_working_folder_changes(
    tmp_path, monkeypatch
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    fit(smooth(), SMALL, checkpoint="run.ckpt", on_iteration=lambda record: os.chdir(elsewhere))
    assert {path.name for path in tmp_path.iterdir()} == {"elsewhere", "run.ckpt"}
    assert not list(elsewhere.iterdir())


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    data, checkpoint = smooth(), tmp_path / "run.ckpt"
    fit(data, SMALL, checkpoint=checkpoint)

    def resume(data, settings):
        fit(data, settings, checkpoint=checkpoint, resume=True)

    with pytest.raises(
        InputError, match="another configuration: network.width is 3 there and 4 here"
    ):
        resume(data, replaced(SMALL, {"network.width": 4}))
    C = data.C.copy()
    C[0, 0] += 1e-9
    with pytest.raises(InputError, match="another dataset: its digest is"):
        resume(dataclasses.replace(data, C=C), SMALL)
    content = checkpoint.read_bytes()
    for damaged in (content[:-200], b"", b"not a checkpoint"):
        checkpoint.write_bytes(damaged)
        with pytest.raises(InputError, match="not a whole checkpoint"):
            resume(data, SMALL)
    number = content.index(np.float64(fit(data, SMALL).history[-1].phi).tobytes()[::-1])
    checkpoint.write_bytes(content[:number] + b"\0" + content[number + 1 :])
    with pytest.raises(InputError, match="is damaged: the checksum of"):
        resume(data, SMALL)
    torch.save({"version": 0}, checkpoint)
    with pytest.raises(InputError, match="not a checkpoint of this version"):
        resume(data, SMALL)
    checkpoint.unlink()
    with pytest.raises(InputError, match="no checkpoint"):
        resume(data, SMALL)


def test_a_checkpoint_that_torch_would_read_as_another_format_is_refused(tmp_path):
    """Those formats may run code, in older releases whatever ``weights_only`` is."""
    checkpoint = tmp_path / "run.ckpt"
    torch.jit.save(torch.jit.script(torch.nn.Tanh()), checkpoint)
    with pytest.raises(InputError, match="is a TorchScript file, not a checkpoint"):
        fit(smooth(), SMALL, checkpoint=checkpoint, resume=True)
    checkpoint.unlink()
    fit(smooth(), SMALL, checkpoint=checkpoint)
    checkpoint.write_bytes(b"other" + checkpoint.read_bytes())  # zipfile reads this, from its end
    with pytest.raises(InputError, match="not a whole checkpoint: "):
        fit(smooth(), SMALL, checkpoint=checkpoint, resume=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_a_checkpoint_that_another_user_has_put_there_is_refused(tmp_path):
    checkpoint = tmp_path / "run.ckpt"
    fit(smooth(), SMALL, checkpoint=checkpoint)
    os.chown(checkpoint, 65534, -1)
    with pytest.raises(InputError, match="is a file of nobody, and could hold anything: make a"):
        fit(smooth(), SMALL, checkpoint=checkpoint, resume=True)
    os.chown(checkpoint, 0, -1)
    fit(smooth(), SMALL, checkpoint=checkpoint, resume=True)


def test_a_checkpoint_that_could_not_be_written_is_refused_before_training(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        fit(smooth(), SMALL, checkpoint=tmp_path / "none" / "run.ckpt")
    with pytest.raises(InputError, match="name the checkpoint"):
        fit(smooth(), SMALL, resume=True)


def test_a_resnet_is_refined_and_resumed(tmp_path):
    data, checkpoint = smooth(), tmp_path / "run.ckpt"
    settings = replaced(
        SMALL, {"network.kind": "resnet", "network.cells": 4, "stopping.work_units": 300, "seed": 1}
    )
    whole = fit(data, settings)
    assert {record.level for record in whole.history} == {0, 1}
    last = [record for record in whole.history if record.level == 0][-1]
    first = next(record for record in whole.history if record.level == 1)
    assert max(first.phi, last.phi) < 0.2 * whole.history[0].phi
    with pytest.raises(Stopped):
        fit(data, settings, checkpoint=checkpoint, on_iteration=stop_at(first.iteration))
    assert same(whole, fit(data, settings, checkpoint=checkpoint, resume=True))


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    settings, checkpoint = replaced(SMALL, {"network.levels": 1}), tmp_path / "run.ckpt"
    fit(smooth(), settings, network=linear(), checkpoint=checkpoint)
    there = r"another network: Sequential with 0.weight \(3, 3\), 0.bias \(3,\) there, "
    with pytest.raises(InputError, match=there + r"AntisymmetricODE with K_in \(3, 3\), "):
        fit(smooth(), settings, checkpoint=checkpoint, resume=True)
