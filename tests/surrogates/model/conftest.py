"""A surrogate file to edit."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from exports import saved
from extended import SURROGATES, made

from surrogates.model import torchscript


@pytest.fixture(scope="module")
def members(tmp_path_factory) -> Mapping[str, bytes]:
    """The members of a file that this package wrote."""
    path = tmp_path_factory.mktemp("trust") / "s.pt"
    saved(made(*SURROGATES["network"]), path)
    return torchscript.read(path)
