"""Surrogate files of other versions of torch, and of this package.

A file written here carries its reference: arguments and the results of the module that was never
scripted, in its metadata. Who reads it compares all methods with that, plain and frozen.

``stored`` holds files of older versions, which must be read for ever. What today's code writes is
exchanged live between two versions of torch: with the environment variable SURROGATE_EXCHANGE these
tests write their files into that folder and read all that lie there. scripts/test_on_debian.sh runs
them here, on Debian, and here again. When torch or the format changes what it writes, keep a copy
for ever by

    cd tests/surrogates/model && SURROGATE_EXCHANGE=stored python -m pytest test_compatibility.py
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from extended import made, points
from places import STORED
from torch import Tensor

import surrogates
from surrogates.errors import InputError
from surrogates.model import describe
from surrogates.model import file as export
from surrogates.model.classifier import Classifier
from surrogates.model.networks import MLP, AntisymmetricODE, ResNet
from surrogates.model.surrogate import Surrogate

EXCHANGE = os.environ.get("SURROGATE_EXCHANGE")
FILES = {
    f"{folder.name}/{path.stem}": path
    for folder in (STORED, Path(EXCHANGE or STORED))
    for path in sorted(folder.glob("*.pt"))
}

LEVEL = 0.95  # of intervals
KINDS = {
    "ode": lambda generator: AntisymmetricODE(4, 5, 2, generator=generator),
    "resnet": lambda generator: ResNet(4, 5, 2, activation="softplus", generator=generator),
    "mlp": lambda generator: MLP(4, 5, 2, activation="relu", generator=generator),
}


def reference(surrogate: Surrogate, Y: Tensor) -> dict[str, dict[str, list]]:
    """Call all methods: arguments and result of each."""
    generator = torch.Generator().manual_seed(2)
    V, W = (torch.randn(len(Y), n, generator=generator).double() for n in (4, 6))
    outside = torch.cat([Y[:2], Y[:1] + 3 * (surrogate.upper - surrogate.lower)])
    arguments = {"forward": [Y], "jacobian": [Y], "jvp": [Y, V], "vjp": [Y, W]}
    if isinstance(surrogate, Classifier):
        arguments.update(probabilities=[Y], predict=[Y], in_domain=[outside])
    else:
        arguments.update(predict_std=[outside], in_domain=[outside])
    calls = {
        name: {"arguments": given, "result": getattr(surrogate, name)(*given)}
        for name, given in arguments.items()
    }
    if getattr(surrogate, "tail", None) is not None:
        result = surrogate.predict_interval(outside, LEVEL)
        calls["predict_interval"] = {"arguments": [outside], "result": result}
    return calls


def check(path: Path) -> None:
    """Compare a file's methods with its reference, for a batch and for its first sample."""
    loaded = surrogates.load(path)
    calls = loaded.metadata["reference"]
    assert set(calls) >= {"forward", "jacobian", "jvp", "vjp", "in_domain"}
    if "predict_std" not in calls and "probabilities" not in calls:
        with pytest.raises(InputError, match="by an older version, without error bars"):
            loaded.predict_std(calls["forward"]["arguments"][0])
    module = torch.jit.load(str(path)).eval()
    frozen = torch.jit.freeze(module, preserved_attrs=[name for name in calls if name != "forward"])
    for name, call in calls.items():
        arguments = [torch.tensor(values, dtype=torch.float64) for values in call["arguments"]]
        level = (LEVEL,) if name == "predict_interval" else ()
        method = loaded if name == "forward" else getattr(loaded, name)
        batch, sample = np.array(call["result"]), np.array(call["result"][0])
        for found, expected in (
            (method(*arguments, *level), batch),
            (method(*(argument[0] for argument in arguments), *level), sample),
            (getattr(frozen, name)(*arguments, *level).numpy(), batch),
        ):
            assert found.dtype == expected.dtype and found.shape == expected.shape, name
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("kind", [*KINDS, "custom", "classifier", "extended", "tailed"])
def test_a_file_written_here(kind, parts, convolution, dataset, Y, tmp_path):
    network = KINDS.get("ode" if kind in ("classifier", "extended", "tailed") else kind)
    parts["features"] = network(torch.Generator().manual_seed(1)) if network else convolution
    if kind == "classifier":
        dataset = replace(dataset, info=replace(dataset.info, task="classification"))
        del parts["error_bars"]
        surrogate = Classifier(**parts, temperature=1.7)
    elif kind in ("extended", "tailed"):
        tailed = kind == "tailed"
        features = "ode gaussian matern52 quadratic"
        surrogate = made(features, True, True, True, True, tailed, n_in=4, n_out=6)
        Y = torch.from_numpy(points(surrogate))
    else:
        surrogate = Surrogate(**parts)
    about = describe.metadata(dataset, training={}, errors={})
    about["schema_version"] = {"extended": 4, "tailed": 5}.get(kind, about["schema_version"])
    about["reference"] = reference(surrogate, Y[:3])
    torch_version = ".".join(torch.__version__.split(".")[:2])
    name = f"schema{about['schema_version']}-torch{torch_version}-{kind}.pt"
    path = Path(EXCHANGE or tmp_path) / name
    export.save(surrogate, about, path)
    check(path)


@pytest.mark.parametrize("name", FILES)
def test_a_file_written_elsewhere(name):
    check(FILES[name])


@pytest.mark.parametrize(
    "name", [name for name in FILES if "schema1" not in name and "custom" not in name]
)
def test_an_eager_copy_of_a_file_written_elsewhere(name):
    loaded = surrogates.load(FILES[name])
    call = loaded.metadata["reference"]["jacobian"]
    (Y,) = (torch.tensor(values, dtype=torch.float64) for values in call["arguments"])
    found = loaded.eager().jacobian(Y[0]).numpy()
    np.testing.assert_allclose(found, call["result"][0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", [name for name in FILES if "schema1" in name])
def test_a_file_of_an_older_version_stays_with_torch_jit(name):
    with pytest.raises(InputError, match="is of an older version"):
        surrogates.load(FILES[name]).eager()
