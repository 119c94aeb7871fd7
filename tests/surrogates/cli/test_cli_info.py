"""What ``surrogates info`` says of the parameters of a dataset."""

from __future__ import annotations

import dataclasses

import numpy as np

from surrogates import cli


def told(dataset, path, capsys, **changes) -> list[str]:
    info = dataclasses.replace(dataset.info, **changes)
    dataclasses.replace(dataset, info=info).write(path)
    assert cli.main(["info", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    return [line.removeprefix("y:").strip() for line in lines if line.startswith("y:")]


def test_bounds_are_those_of_each_parameter_and_equal_neighbours_are_one_line(
    tmp_path, dataset, capsys
):
    found = told(
        dataset,
        tmp_path / "a.h5",
        capsys,
        y_names=("depth", "k1", "k2", "k3"),
        y_units=("m", "1", "1", "S"),
        y_lower=np.array([-20.0, 0, 0, 0]),
        y_upper=np.array([-10.0, 1, 1, 1]),
    )
    assert found == ["depth: -20 to -10 m", "k1 to k2: 0 to 1", "k3: 0 to 1 S"]


def test_many_parameters_of_different_bounds_are_cut_short(tmp_path, dataset, capsys):
    n = 30
    info = dataclasses.replace(
        dataset.info,
        y_names=tuple(f"y{k}" for k in range(n)),
        y_units=("1",) * n,
        y_lower=np.arange(n) - 1.0,
        y_upper=np.arange(n) + 1.0,
    )
    Y = np.zeros((len(dataset.Y), n))
    found = told(dataclasses.replace(dataset, info=info, Y=Y), tmp_path / "a.h5", capsys)
    assert found[0] == "y0: -1 to 1" and found[-1] == "and 18 more parameters"
    assert len(found) == 13
