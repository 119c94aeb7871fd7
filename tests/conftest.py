from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def fuser(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let TorchScript compile kernels in the tests marked so alone.

    Torch with LLVM in it, as Debian's is, compiles one for each new script and kind of input, in
    this process. A thousand tests on, in processes of gigabytes, its code ended one in a crash and
    kept another busy for ever, where no signal interrupts it.
    """
    before = torch._C._jit_can_fuse_on_cpu()
    torch._C._jit_override_can_fuse_on_cpu(
        bool(request.node.get_closest_marker("fuser")) and before
    )
    yield
    torch._C._jit_override_can_fuse_on_cpu(before)
