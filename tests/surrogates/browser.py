"""The browser that tests of the page open it in."""

from __future__ import annotations

import os
from collections.abc import Iterator

import chromium
import pytest
from chromium import Browser


def started() -> Iterator[Browser]:
    """Start a browser for a module's tests, and end it.

    Without one they are skipped, or fail if NEED_BROWSER is set, as .ci/run does: a page that
    nobody opened is untested, and there a missing browser must not pass for success.
    """
    if chromium.PROGRAM is None:
        message = "no Chromium: apt-get install chromium"
        if os.environ.get("NEED_BROWSER"):
            pytest.fail(message)
        pytest.skip(message)
    browser = Browser(chromium.PROGRAM)
    yield browser
    browser.close()
