"""Stand-ins for packages that the site is built without, for more than Sphinx has them for.

They can be part of a union, as in ``Array | Tensor``, and they are there when a module imports what
it offers at its first use.
"""

from __future__ import annotations

import sys
from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.autodoc.mock import MockFinder, _MockObject


def _union(self: Any, other: Any) -> Any:
    return self


def _stay(app: Sphinx, config: Any) -> None:
    sys.meta_path.insert(0, MockFinder(config.autodoc_mock_imports))


def setup(app: Sphinx) -> dict[str, bool]:
    """Add what Sphinx's stand-ins lack."""
    app.connect("config-inited", _stay)
    _MockObject.__or__ = _MockObject.__ror__ = _union  # type: ignore[attr-defined]
    return {"parallel_read_safe": True, "parallel_write_safe": True}
