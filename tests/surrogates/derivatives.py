"""Features by their fused form, and their derivatives against automatic differentiation."""

from __future__ import annotations

import torch
from extended import draw
from torch import Tensor, nn

from surrogates.model import fused


class Features(nn.Module):
    """The network's own features by its fused form: what a surrogate does with it."""

    def __init__(self, form: fused.Fused) -> None:
        super().__init__()
        eye = torch.eye(form.width, form.width + 1, dtype=torch.float64)
        W = form.folded(eye)
        self.form = form
        self.register_buffer("factor", W[:, :-1].diagonal().clone())
        self.register_buffer("offset", W[:, -1].clone())

    def forward(self, y: Tensor) -> Tensor:
        return self.form.forward(y).t() * self.factor + self.offset

    @torch.jit.export
    def jacobian(self, y: Tensor) -> Tensor:
        return self.form.jacobian(y) * self.factor.unsqueeze(1)

    @torch.jit.export
    def jvp(self, y: Tensor, v: Tensor) -> Tensor:
        return self.form.jvp(y, v).t() * self.factor

    @torch.jit.export
    def vjp(self, y: Tensor, w: Tensor) -> Tensor:
        return self.form.vjp(y, (w * self.factor).t())


def check_all_methods(net, form, Y):
    expected = net(Y).detach()
    n, width = expected.shape
    J = torch.func.vmap(torch.func.jacrev(lambda y: net(y[None])[0]))(Y).detach()
    v, w = draw(*Y.shape, seed=2), draw(n, width, seed=3)
    for rows in (slice(None), slice(0, 1), 0):
        pairs = {
            "forward": (form(Y[rows]), expected[rows]),
            "jacobian": (form.jacobian(Y[rows]), J[rows]),
            "jvp": (form.jvp(Y[rows], v[rows]), torch.einsum("nfi,ni->nf", J, v)[rows]),
            "vjp": (form.vjp(Y[rows], w[rows]), torch.einsum("nfi,nf->ni", J, w)[rows]),
        }
        for name, (found, right) in pairs.items():
            torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-12, msg=f"{name} {rows}")
