"""The one module that compiles and loads TorchScript.

TorchScript is deprecated in favour of torch.export, which has no C++ loader without a compiler, and
no several methods in one file. torch says so at each call; users of this package are not told.
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from . import torchscript


def compiled(module: torch.nn.Module) -> dict[str, bytes]:
    """Compile a module, and return the members of its archive, the same in every process."""
    buffer = io.BytesIO()
    with _no_deprecation():
        torch.jit.save(torch.jit.script(copy.deepcopy(module).cpu()), buffer)
    return torchscript.canonical(torchscript.read(buffer))


def module(members: torchscript.Members) -> torch.jit.ScriptModule:
    """Load the module in an archive, to the CPU. Its code is run: check it before."""
    read: Callable[..., torch.jit.ScriptModule] = torch.jit.load
    content = torchscript.pack(torchscript.loadable(members))
    with _no_deprecation():
        return read(io.BytesIO(content), map_location="cpu")


@contextmanager
def _no_deprecation() -> Iterator[None]:
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", "`torch.jit", category)
        yield
