"""A method of a surrogate as a program of torch.export: a .pt2 file.

``torch.export.load(path).module()`` returns a module that takes batches, (n, n_in) with n >= 1 in
double precision. Gradients go through it. ``metadata.json`` is inside, as in a surrogate file.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import torch

from surrogates.config import check, unknown
from surrogates.files import atomic
from surrogates.model.loaded import LoadedSurrogate
from surrogates.model.surrogate import Surrogate

_OLDEST = (2, 6)  # earlier releases cannot trace checks of arguments, such as is_complex


def save(
    surrogate: LoadedSurrogate, path: str | os.PathLike[str], *, method: str = "forward"
) -> None:
    """Write one method of a surrogate as a .pt2 file, whole or not at all.

    Args:
        surrogate: From `surrogates.load`.
        path: The file, NAME.pt2.
        method: One of the surrogate's ``METHODS``.

    Raises:
        InputError: If there is no such method, the surrogate cannot be made eager (see
            `LoadedSurrogate.eager`), torch is older than 2.6, or the path is no .pt2 or cannot be
            written.
    """
    known = surrogate.METHODS
    check(method in known, unknown("method", method, known))
    check(Path(path).suffix == ".pt2", f"cannot write {path}: expected the name of a .pt2 file")
    Y = torch.stack([surrogate.module.lower, surrogate.module.upper])
    more = {"jvp": surrogate.n_in, "vjp": surrogate.n_out}  # never Y again: it would be one input
    arguments = (Y, Y.new_zeros(2, more[method])) if method in more else (Y,)
    module = _Method(surrogate.eager(), method)
    release = tuple(int(part) for part in torch.__version__.split(".")[:2])
    check(release >= _OLDEST, f"a .pt2 file takes torch 2.6 or later; this is {torch.__version__}")
    n = torch.export.Dim("n", min=1)
    program = torch.export.export(
        module,
        arguments,
        dynamic_shapes=(tuple({0: n} for _ in arguments),),
    )
    buffer = io.BytesIO()
    extra = {"metadata.json": json.dumps(surrogate.metadata, indent=1)}
    torch.export.save(program, buffer, extra_files=extra)
    with atomic(path) as beside:
        beside.write_bytes(buffer.getvalue())


class _Method(torch.nn.Module):
    """A module whose ``forward`` is one method of a surrogate."""

    def __init__(self, surrogate: Surrogate, method: str) -> None:
        super().__init__()
        self.surrogate, self.method = surrogate, method

    def forward(self, *arguments: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = getattr(self.surrogate, self.method)(*arguments)
        return result
