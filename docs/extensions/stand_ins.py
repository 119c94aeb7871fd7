"""Let Sphinx's stand-ins for absent packages be part of a union, as in ``Array | Tensor``."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.autodoc.mock import _MockObject


def _union(self: Any, other: Any) -> Any:
    return self


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the operator that Sphinx's stand-ins lack."""
    _MockObject.__or__ = _MockObject.__ror__ = _union  # type: ignore[attr-defined]
    return {"parallel_read_safe": True, "parallel_write_safe": True}
