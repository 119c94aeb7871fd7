"""Programs of torch.export."""

from __future__ import annotations

import pytest
import torch
from exports import alone
from extended import both, given_to, points

import surrogates
from surrogates.errors import InputError
from surrogates.export import pt2
from surrogates.model import file as export
from surrogates.model.surrogate import Surrogate


def test_a_program_of_torch_export_needs_only_torch_and_has_gradients(saved, Y, tmp_path):
    pytest.importorskip("torch", minversion="2.6", reason="torch.export cannot before")
    pt2.save(surrogates.load(saved), tmp_path / "toy.pt2")
    torch.save(Y, tmp_path / "Y.pt")
    script = """
extra = {"metadata.json": ""}
module = torch.export.load(sys.argv[1], extra_files=extra).module()
Y = torch.load(sys.argv[2]).requires_grad_()
c = module(Y)
(gradient,) = torch.autograd.grad(c.sin().sum(), Y)
jacobian = torch.func.jacrev(lambda y: module(y[None])[0])(Y[0].detach())
torch.save([c.detach(), gradient, jacobian], sys.argv[3])
import json
print(json.loads(extra["metadata.json"])["problem"])
"""
    words = (tmp_path / "toy.pt2", tmp_path / "Y.pt", tmp_path / "results.pt")
    assert alone(script, *words, cwd=tmp_path).strip() == "toy"
    module = surrogates.load(saved).module
    c = module(Y)
    expected = [c, module.vjp(Y, c.cos()), module.jacobian(Y[0])]
    for found, value in zip(torch.load(tmp_path / "results.pt"), expected, strict=True):
        torch.testing.assert_close(found, value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "method",
    [
        "vjp",
        "predict_std",
        *[pytest.param(x, marks=pytest.mark.thorough) for x in ("jacobian", "jvp", "in_domain")],
    ],
)
def test_every_method_can_be_a_program(saved, Y, tmp_path, method):
    pytest.importorskip("torch", minversion="2.6", reason="torch.export cannot before")
    loaded = surrogates.load(saved)
    pt2.save(loaded, tmp_path / "toy.pt2", method=method)
    program = torch.export.load(tmp_path / "toy.pt2").module()
    w = torch.linspace(-1, 1, 6, dtype=torch.float64).repeat(len(Y), 1)
    arguments = {"jvp": (Y, Y + 1), "vjp": (Y, w)}.get(method, (Y,))
    for n in (1, 3, len(Y)):
        rows = [argument[:n] for argument in arguments]
        found, value = program(*rows), getattr(loaded.module, method)(*rows)
        torch.testing.assert_close(found, value, rtol=1e-12, atol=1e-12)


def test_a_network_of_the_users_own_stays_in_its_file(parts, convolution, saved, tmp_path):
    described = export.load(saved).metadata
    export.save(Surrogate(**{**parts, "features": convolution}), described, tmp_path / "own.pt")
    own = surrogates.load(tmp_path / "own.pt")
    with pytest.raises(InputError, match="own.pt has a network of the user's own, or is of"):
        pt2.save(own, tmp_path / "own.pt2")
    assert not (tmp_path / "own.pt2").exists()


def test_a_program_takes_a_torch_that_can_export_it(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(InputError, match=r"takes torch 2\.6 or later; this is 2\.5\.1"):
        pt2.save(surrogates.load(saved), tmp_path / "toy.pt2")
    assert not (tmp_path / "toy.pt2").exists()


@pytest.mark.parametrize(
    "method",
    [
        "forward",
        *(
            pytest.param(x, marks=pytest.mark.thorough)
            for x in ("jacobian", "jvp", "vjp", "predict_std")
        ),
    ],
)
def test_methods_can_be_programs_of_torch_export(method, tmp_path):
    pytest.importorskip("torch", minversion="2.6", reason="torch.export cannot before")
    surrogate, loaded = both("everything")
    pt2.save(loaded, tmp_path / "s.pt2", method=method)
    program = torch.export.load(tmp_path / "s.pt2").module()
    tensors = given_to(surrogate, method, points(surrogate))
    for n in (1, 3, len(tensors[0])):
        rows = [x[:n] for x in tensors]
        found, right = program(*rows), getattr(surrogate, method)(*rows)
        torch.testing.assert_close(found, right, rtol=1e-11, atol=1e-12)
