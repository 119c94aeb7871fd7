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

    @torch.jit.export
    def hvp(self, y: Tensor, w: Tensor, v: Tensor) -> Tensor:
        return self.form.hvp(y, (w * self.factor).t(), v)


def second(function, Y, w, v):
    """The derivative along v of the gradient of w^T c, for each row, by torch.func."""

    def gradient(y, w):
        return torch.func.grad(lambda y: function(y[None])[0] @ w)(y)

    def one(y, w, v):
        return torch.func.jvp(lambda y: gradient(y, w), (y,), (v,))[1]

    return torch.stack([one(*row) for row in zip(Y, w, v, strict=True)]).detach()


def check_all_methods(net, form, Y, *, twice=True):
    """Compare all methods; ``twice`` where the features have second derivatives, in torch too."""
    expected = net(Y).detach()
    n, width = expected.shape
    J = torch.func.vmap(torch.func.jacrev(lambda y: net(y[None])[0]))(Y).detach()
    v, w = draw(*Y.shape, seed=2), draw(n, width, seed=3)
    H = second(net, Y, w, v) if twice else Y
    for rows in (slice(None), slice(0, 1), 0):
        pairs = {
            "forward": (form(Y[rows]), expected[rows]),
            "jacobian": (form.jacobian(Y[rows]), J[rows]),
            "jvp": (form.jvp(Y[rows], v[rows]), torch.einsum("nfi,ni->nf", J, v)[rows]),
            "vjp": (form.vjp(Y[rows], w[rows]), torch.einsum("nfi,nf->ni", J, w)[rows]),
        }
        if twice:
            pairs["hvp"] = (form.hvp(Y[rows], w[rows], v[rows]), H[rows])
        for name, (found, right) in pairs.items():
            torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-12, msg=f"{name} {rows}")
