"""A scripted surrogate made an ordinary module again, for torch.func and torch.export."""

from __future__ import annotations

import torch

from surrogates.errors import InputError

from . import centred, forms, fused, layers
from .classifier import Classifier
from .covariance import CORRELATION
from .surrogate import Surrogate

OPTIONAL = ("logs", "members", "signs", "tail")
"""Parts of a surrogate that may be None, which the first versions of its file cannot have."""

# Not `forms.Unfused`, whose features are a module of the user's.
_EAGER: dict[str, type[torch.nn.Module]] = {
    kind.__name__: kind
    for kind in (
        *(Surrogate, Classifier, fused.Fused, fused._Step, fused._Coupling),
        *(centred.Radial, centred.Anova, forms.Polynomial, forms.Blocks),
        *(layers.Logarithms, layers.Ensemble, layers.Sizes),
        torch.nn.ModuleList,
    )
}


def eager(scripted: torch.nn.Module, path: str) -> torch.nn.Module:
    """Return an ordinary module with the tensors of a scripted one.

    Args:
        scripted: The module of a surrogate file.
        path: Path of the file, for messages.

    Raises:
        InputError: If its class is not one of this package's.
    """
    name = str(scripted.original_name)
    if name not in _EAGER:
        raise InputError(
            f"{path} has a network of the user's own, or is of an older version ({name}): only "
            "torch.jit can run it"
        )
    kind = _EAGER[name]
    module: torch.nn.Module = kind.__new__(kind)
    torch.nn.Module.__init__(module)
    for name in getattr(kind, "__constants__", ()):
        setattr(module, name, getattr(scripted, name))
    for name, buffer in scripted.named_buffers(recurse=False):
        module.register_buffer(name, buffer)
    for name, child in scripted.named_children():
        module.add_module(name, eager(child, path))
    if isinstance(module, Surrogate):
        for name in (*OPTIONAL, *CORRELATION, "sizes"):
            if not hasattr(module, name):
                setattr(module, name, None)
    if isinstance(module, fused.Fused):
        module.assemble()  # for files of any version
    return module.eval()
