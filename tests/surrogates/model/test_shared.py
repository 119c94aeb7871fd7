"""A loaded surrogate as other codes use it: pickled, copied, forked, threaded, sent to workers."""

from __future__ import annotations

import copy
import io
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import surrogates
from surrogates.errors import InputError
from surrogates.export import npz
from surrogates.model.engines import scripted

METHODS = ("predict", "predict_std", "jacobian", "in_domain")
ENGINES = ("torch", "numpy")


def same_but_rounding(found, right) -> None:
    """Compare results of two modules: torch compiles each anew after its first calls."""
    np.testing.assert_allclose(found, right, rtol=1e-12, atol=1e-12 * np.abs(right).max())


@pytest.fixture(
    params=[
        *ENGINES,
        pytest.param(
            "c", marks=pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
        ),
    ]
)
def loaded(saved, request):
    return surrogates.load(saved, engine=request.param)


def same(one, other, y):
    for method in METHODS:
        same_but_rounding(getattr(one, method)(y), getattr(other, method)(y))
    same_but_rounding(one.vjp(y, np.ones(one.n_out)), other.vjp(y, np.ones(one.n_out)))
    assert one.metadata == other.metadata and one.path == other.path
    assert one.refuse_outside == other.refuse_outside


def test_copies_and_pickles_are_the_same_without_the_file(loaded, saved, Y):
    saved.unlink()
    cloudpickle = pytest.importorskip("cloudpickle")
    for make in (
        lambda s: pickle.loads(pickle.dumps(s)),
        lambda s: pickle.loads(cloudpickle.dumps(s.predict)).__self__,
        lambda s: pickle.loads(pickle.dumps(s.predict)).__self__,
        copy.copy,
        copy.deepcopy,
    ):
        found = make(loaded)
        assert found is not loaded and type(found) is type(loaded)
        same(found, loaded, Y.numpy())
        same(make(loaded.select([3, 0])), loaded.select([3, 0]), Y.numpy())
        assert found.engine.NAME == loaded.engine.NAME


def test_a_strict_surrogate_stays_strict(saved, Y):
    strict = pickle.loads(pickle.dumps(surrogates.load(saved, refuse_outside=True)))
    with pytest.raises(InputError, match="outside the training domain"):
        strict.predict(Y.numpy() + 1e3)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_pools_of_processes(loaded, Y, start):
    with multiprocessing.get_context(start).Pool(2) as pool:
        found = pool.map_async(loaded.predict, list(Y.numpy())).get(timeout=100)
        jacobians = pool.map_async(loaded.jacobian, list(Y.numpy())).get(timeout=100)
    same_but_rounding(found, [loaded.predict(y) for y in Y.numpy()])
    same_but_rounding(jacobians, [loaded.jacobian(y) for y in Y.numpy()])


def test_joblib(loaded, Y):
    joblib = pytest.importorskip("joblib")
    found = joblib.Parallel(n_jobs=2, timeout=100)(
        joblib.delayed(loaded.predict)(y) for y in Y.numpy()
    )
    same_but_rounding(found, [loaded.predict(y) for y in Y.numpy()])


FORKED = """
import os, sys, time
import numpy as np, torch
import surrogates

s = surrogates.load(sys.argv[1])
torch.set_num_threads(2)
a = torch.ones(2000, 2000)
(a @ a).sum()  # in both threads
Y = np.ones((3000, s.n_in))
right = s.predict(Y), s.jacobian(Y)
child = os.fork()
if child == 0:
    found = s.predict(Y), s.jacobian(Y)
    fits = all(np.allclose(a, b, rtol=1e-13, atol=0) for a, b in zip(found, right))
    os._exit(0 if fits and s.predict(Y[0]).shape == (s.n_out,) else 3)
for _ in range(600):
    if os.waitpid(child, os.WNOHANG) != (0, 0):
        break
    time.sleep(0.1)
else:
    os.kill(child, 9)
    raise SystemExit("the child hangs")
assert torch.get_num_threads() == 2
"""


def test_a_forked_child_of_a_threaded_parent_does_not_hang(saved):
    """Its threads of OpenMP are gone: without the one-thread rule its first large batch hangs."""
    command = [sys.executable, "-W", "ignore", "-c", FORKED, str(saved)]
    run = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    assert run.returncode == 0, run.stderr


def test_a_fork_waits_for_the_end_of_threads_that_have_called(saved, Y, tmp_path, monkeypatch):
    """A thread that Python has joined still ends, and may hold a lock of MKL as it does.

    Without the wait 3 of 30 children hung that were forked after a pool of 8 threads.
    """
    s, ids = surrogates.load(saved), []

    def call():
        s.predict(Y.numpy())
        ids.append(threading.get_native_id())

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    still = tmp_path / str(ids[0])
    still.touch()
    monkeypatch.setattr(scripted, "_TASKS", str(tmp_path))
    monkeypatch.setattr(scripted, "_LONGEST", 60.0)
    threading.Timer(0.3, still.unlink).start()
    scripted._before_fork()
    assert not still.exists()
    still.touch()  # another thread of that number, which has called nothing
    scripted._before_fork()
    assert still.exists()


def test_threads_get_the_same_results(loaded):
    rng = np.random.default_rng(0)
    pieces = [rng.uniform(-1, 1, (n, loaded.n_in)) for n in (1, 5, 40, 300)] * 10
    right = [(loaded.predict(y), loaded.jacobian(y), loaded.predict(y[0])) for y in pieces]
    with ThreadPoolExecutor(8) as pool:
        jobs = [
            (pool.submit(loaded.predict, y), pool.submit(loaded.jacobian, y))
            + (pool.submit(loaded.predict, y[0]),)
            for y in pieces
        ]
        for job, expected in zip(jobs, right, strict=True):
            for one, other in zip(job, expected, strict=True):
                same_but_rounding(one.result(timeout=100), other)


def test_from_bytes_and_file_objects(saved, Y, tmp_path):
    loaded = surrogates.load(saved)
    npz.save(loaded, tmp_path / "s.npz")
    for path in (saved, tmp_path / "s.npz"):
        right = surrogates.load(path)
        assert right.path == str(path)
        content = path.read_bytes()
        with open(path, "rb") as stream:
            of_stream = surrogates.load(stream)
            assert not stream.closed and of_stream.path == str(path)
        for found in (of_stream, *map(surrogates.load, (content, io.BytesIO(content)))):
            same_but_rounding(found.predict(Y.numpy()), right.predict(Y.numpy()))
    for source, message in (
        (content[:-40], "the surrogate file is not a whole surrogate file"),
        (b"", "the surrogate file is not a whole surrogate file"),
        (io.StringIO("text"), "expected the path of .* reading bytes; got a file open for text"),
        (3, "expected the path of a surrogate file, its bytes, .*; got int"),
        (tmp_path / "none.npz", "there is no file .*none.npz"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            surrogates.load(source)
        assert len(str(caught.value).splitlines()) == 1


def test_engines(saved, tmp_path, Y):
    loaded = surrogates.load(saved)
    npz.save(loaded, tmp_path / "s.npz")
    plain = surrogates.load(tmp_path / "s.npz")
    assert (loaded.engine.NAME, plain.engine.NAME) == ENGINES
    np.testing.assert_allclose(plain.predict(Y), loaded.predict(Y), rtol=1e-12)
    with pytest.raises(InputError, match="has no TorchScript module.*load the .pt file"):
        surrogates.load(tmp_path / "s.npz", engine="torch")
    with pytest.raises(InputError, match="expected an engine of torch, numpy, c; got 'jax'"):
        surrogates.load(saved, engine="jax")
    with pytest.raises(InputError, match="has no TorchScript module: its engine is numpy"):
        plain.module  # noqa: B018
    with pytest.raises(
        InputError, match="has no TorchScript module to write as .pt: write an .npz"
    ):
        plain.save(tmp_path / "t.pt")


WITHOUT_TORCH = """
import sys
import surrogates
s = surrogates.load(sys.argv[1])
y = s.bounds.mean(axis=0)
s.predict(y), s.jacobian(y), s.predict_std([y, y]), s.in_domain(y), s.domain.contains(y)
s.errors, repr(s), s._repr_html_(), s.select(0).predict(y)
unwanted = {"torch", "h5py", "dolfinx", "pandas"} & sys.modules.keys()
assert not unwanted, unwanted
"""


def test_an_npz_file_needs_no_torch(saved, tmp_path):
    npz.save(surrogates.load(saved), tmp_path / "s.npz")
    command = [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path / "s.npz")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stderr


@pytest.mark.slow
def test_memory_stays(saved):
    """A leak of one result for each call would be 8 MB."""
    import resource

    loaded = surrogates.load(saved)
    y = loaded.bounds.mean(axis=0)

    def calls(n):
        for _ in range(n):
            loaded.jacobian(y)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = calls(3000)
    assert calls(40_000) - before < 4_000, "kilobytes"
