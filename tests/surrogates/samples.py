"""Samples of a small set, as a dataset in memory: whole, cut into shards, damaged in a file."""

from __future__ import annotations

import dataclasses

import numpy as np

from surrogates.data import SOLVER, Dataset, Info, Status, assign_split

DERIVATIVES = ("dC_dY", "directions", "dC_dV", "dW_dY")
ARRAYS = ("Y", "C", "status", "split", "solver", "made_by")


def made(n, n_y=2, n_c=3, seed=0, tangents=False):
    """Random samples of two makers, every fifth failed; iterations are the sample's number."""
    rng = np.random.default_rng([seed, n])
    status = np.where(np.arange(n) % 5 == 4, Status.FAILED, Status.DONE).astype(np.uint8)
    C = rng.standard_normal((n, n_c))
    C[status == Status.FAILED] = np.nan
    solver = np.zeros(n, SOLVER)
    solver["iterations"] = np.arange(n)
    solver["residual"] = 1e-10
    info = Info(
        problem="toy",
        config="[mesh]\nn = 3\n",
        seed=seed,
        split="0.5/0.25/0.25",
        total=n,
        tangents=tangents,
        y_names=tuple(f"y{i}" for i in range(n_y)),
        y_units=("1",) * n_y,
        y_lower=np.zeros(n_y),
        y_upper=np.ones(n_y),
        c_names=tuple(f"c{i}" for i in range(n_c)),
        c_units=("V",) * n_c,
        later_makers=(maker("2"),),
    )
    return Dataset(
        info=info,
        Y=rng.random((n, n_y)),
        C=C,
        status=status,
        split=assign_split(info.split, n, seed),
        failure=["" if s == Status.DONE else f"sample {i}: ü" for i, s in enumerate(status)],
        solver=solver,
        dC_dY=rng.standard_normal((n, n_c, n_y)) if tangents else None,
        made_by=(np.arange(n) % 3 == 0).astype(np.uint16),
    )


def with_derivatives(whole, kind, r=2):
    """Return samples with derivatives; all kinds are of the same random tangents."""
    rng = np.random.default_rng(3)
    n, n_y, n_c = len(whole.Y), len(whole.info.y_names), len(whole.info.c_names)
    J = rng.standard_normal((n, n_c, n_y))
    V, W = rng.standard_normal((n, r, n_y)), np.random.default_rng(4).standard_normal((r, n_c))
    info = {
        "tangents": {"tangents": True},
        "directions": {"directions": r},
        "adjoints": {"functionals": W, "c_scale": np.arange(1.0, n_c + 1)},
    }[kind]
    arrays = {
        "tangents": {"dC_dY": J},
        "directions": {"directions": V, "dC_dV": J @ V.transpose(0, 2, 1)},
        "adjoints": {"dW_dY": W @ J},
    }[kind]
    return dataclasses.replace(whole, info=dataclasses.replace(whole.info, **info), **arrays)


def maker(version, command="surrogates generate toy"):
    return {
        "versions": {"numpy": version},
        "command": command,
        "created": f"2026-01-0{version}T00:00:00+00:00",
        "revision": f"r{version}",
    }


def made_classes(n, seed=0):
    """As `made`, but a classification with rows of probabilities, one-hot but for the first."""
    whole = made(n, seed=seed)
    C = np.eye(3)[np.random.default_rng(seed).integers(3, size=n)]
    C[0] = [0.2, 0.3, 0.5]
    C[whole.status == Status.FAILED] = np.nan
    names = {"c_names": ("corn", "oats", "hay"), "c_units": ("1",) * 3}
    info = dataclasses.replace(whole.info, task="classification", **names)
    return dataclasses.replace(whole, info=info, C=C)


def cut(whole, start, stop):
    """Return the samples from start to stop as a shard."""
    rows = slice(start, stop)
    return dataclasses.replace(
        whole,
        info=dataclasses.replace(whole.info, first=start),
        **{name: getattr(whole, name)[rows] for name in (*ARRAYS, "failure")},
        **{
            name: array[rows] for name in DERIVATIVES if (array := getattr(whole, name)) is not None
        },
    )


def assert_same(a, b):
    for field in dataclasses.fields(Info):
        one, other = getattr(a.info, field.name), getattr(b.info, field.name)
        if field.name == "coordinates":
            assert one.keys() == other.keys()
            for name in one:
                np.testing.assert_array_equal(one[name], other[name])
        else:
            np.testing.assert_array_equal(one, other, err_msg=field.name)
    for name in ARRAYS:
        one, other = getattr(a, name), getattr(b, name)
        assert one.dtype == other.dtype and one.shape == other.shape
        assert one.tobytes() == other.tobytes(), name
    assert list(a.failure) == list(b.failure)
    assert (a.dC_dY is None) == (b.dC_dY is None)
    np.testing.assert_array_equal(a.dC_dY, b.dC_dY)
    assert a.digest == b.digest


def sound(n):
    """Samples of which nothing is wrong."""
    status = np.full(n, Status.DONE, np.uint8)
    return dataclasses.replace(made(n), status=status, C=np.ones((n, 3)), failure=[""] * n)


def flip(path, out, *places):
    """Write a copy with one bit changed at each place."""
    content = bytearray(path.read_bytes())
    for place in places:
        content[place] ^= 1 << (place % 8)
    out.write_bytes(content)
