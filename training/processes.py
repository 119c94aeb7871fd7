"""Samples divided over processes: what training adds up passes through here, and nothing else does.

Every process holds a share of the samples and all of theta. What it computes from its samples is
summed over the processes, or stacked; the rest each of them does alike, with the same numbers, so
that all take the same decisions. `Alone` is one process with all samples.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from surrogates.errors import InputError

T = TypeVar("T")


class Alone:
    """One process.

    Attributes:
        device: Where this process's samples are, and all that is computed from them.
        rank: Number of this process, from 0.
        size: Number of processes.
        traffic: Bytes that this process has given to sums and stacks.
    """

    rank: int = 0
    size: int = 1
    traffic: int = 0

    def __init__(self, device: str = "cpu") -> None:
        """Take the device."""
        self.device = torch.device(device)

    def total(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """Add up each tensor, float64, over the processes, on all of which it has one shape."""
        return parts

    def stacked(self, rows: Tensor) -> Tensor:
        """Put one below the other the (n, k) of each process, n and k the same on all."""
        return rows

    def count(self, n: int) -> int:
        """Add up a number."""
        return n

    def share(self) -> slice:
        """Return the samples of this process among those of all."""
        return slice(self.rank, None, self.size)

    def on_root(self, action: Callable[[], T]) -> T:
        """Do something on process 0, and give all its result, or its `InputError`."""
        return action()

    def on_each(self, action: Callable[[], T]) -> T:
        """Do something on each process; an `InputError` of one is one of all."""
        return action()

    def __enter__(self) -> Alone:
        """Begin."""
        return self

    def __exit__(self, *error: object) -> None:
        """Part from the others."""


ALONE = Alone()


class Torchrun(Alone):
    """The processes that ``torchrun`` has started.

    Each collective that fails means that a process is gone, and raises a `ConnectionError`.
    """

    def __init__(self, device: str) -> None:
        """Meet the other processes, by gloo, or nccl between GPUs."""
        super().__init__(device)
        if self.device.type == "cuda":
            self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(self.device)
        dist.init_process_group("gloo" if self.device.type == "cpu" else "nccl")
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def total(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """Add up tensors on all processes, in one message."""
        flat = torch.cat([part.reshape(-1) for part in parts])
        self._counted(flat)
        self._guarded(lambda: dist.all_reduce(flat))
        pieces = torch.split_with_sizes(flat, [part.numel() for part in parts])
        return tuple(piece.view(part.shape) for piece, part in zip(pieces, parts, strict=True))

    def stacked(self, rows: Tensor) -> Tensor:
        """Put one below the other the rows of each process."""
        self._counted(rows)
        all_rows = [torch.empty_like(rows) for _ in range(self.size)]
        self._guarded(lambda: dist.all_gather(all_rows, rows.contiguous()))
        return torch.cat(all_rows)

    def count(self, n: int) -> int:
        """Add up a number."""
        return int(self.total(torch.tensor([n], dtype=torch.float64, device=self.device))[0])

    def on_root(self, action: Callable[[], T]) -> T:
        """Do something on process 0, and give all its result, or its `InputError`."""
        found: list[Any] = [None, None]
        if self.rank == 0:
            try:
                found[0] = action()
            except InputError as error:
                found[1] = str(error)
        self._guarded(lambda: dist.broadcast_object_list(found, src=0, device=self.device))
        if found[1] is not None:
            raise InputError(found[1])
        return cast(T, found[0])

    def on_each(self, action: Callable[[], T]) -> T:
        """Do something on each process; an `InputError` of one is one of all."""
        result, error = None, None
        try:
            result = action()
        except InputError as caught:
            error = str(caught)
        errors: list[str | None] = [None] * self.size
        self._guarded(lambda: dist.all_gather_object(errors, error))
        for found in errors:
            if found is not None:
                raise InputError(found)
        return cast(T, result)

    def __exit__(self, *error: object) -> None:
        """Part from the others."""
        dist.destroy_process_group()

    def _counted(self, sent: Tensor) -> None:
        self.traffic += sent.numel() * sent.element_size()

    def _guarded(self, collective: Callable[[], object]) -> None:
        try:
            collective()
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise ConnectionError(
                f"process {self.rank} of {self.size} has lost another: {reason}"
            ) from error


def of_environment(device: str) -> Alone:
    """Give the processes that this one belongs to, as ``torchrun`` tells in the environment."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return Torchrun(device) if several else Alone(device)
