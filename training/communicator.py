"""Samples divided over processes: all sums over samples pass through a communicator.

Every process holds a share of the samples and all of theta. Results from its samples are summed
over the processes, or stacked. All else is computed by every process, from the same numbers, so
that all take the same decisions. The base class `Communicator` is one process with all samples.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from surrogates.collective import Outcome

T = TypeVar("T")


class Communicator:
    """One process.

    Attributes:
        device: Device of this process's samples and computations.
        rank: Number of this process, from 0.
        size: Number of processes.
        traffic: Bytes that this process has sent.
    """

    rank: int = 0
    size: int = 1
    traffic: int = 0

    def __init__(self, device: str = "cpu") -> None:
        """Take the device."""
        self.device = torch.device(device)

    def total(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """Add up each tensor, float64 of the same shape everywhere, over the processes."""
        return parts

    def stacked(self, rows: Tensor) -> Tensor:
        """Stack the rows (n, k) of all processes; n and k are the same on each."""
        return rows

    def count(self, n: int) -> int:
        """Add up a number."""
        return n

    def share(self) -> slice:
        """Return the samples of this process among those of all."""
        return slice(self.rank, None, self.size)

    def on_root(self, action: Callable[[], T]) -> T:
        """Do something on process 0, and return its result on all."""
        return action()

    def on_each(self, action: Callable[[], T]) -> T:
        """Do something on each process; an `InputError` of one is raised on all."""
        return action()

    def __enter__(self) -> Communicator:
        """Return the communicator."""
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the other processes."""


ALONE = Communicator()


class Torchrun(Communicator):
    """The processes that ``torchrun`` has started.

    A collective that fails means that a process has ended: it raises a `ConnectionError`.
    """

    def __init__(self, device: str) -> None:
        """Join the other processes, by gloo, or by nccl between GPUs."""
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
        """Stack the rows of all processes."""
        self._counted(rows)
        all_rows = [torch.empty_like(rows) for _ in range(self.size)]
        self._guarded(lambda: dist.all_gather(all_rows, rows.contiguous()))
        return torch.cat(all_rows)

    def count(self, n: int) -> int:
        """Add up a number."""
        return int(self.total(torch.tensor([n], dtype=torch.float64, device=self.device))[0])

    def on_root(self, action: Callable[[], T]) -> T:
        """Do something on process 0; return its result on all, or raise its `InputError` on all."""
        found: list[Outcome[T] | None] = [Outcome.of(action) if self.rank == 0 else None]
        self._guarded(lambda: dist.broadcast_object_list(found, src=0, device=self.device))
        return cast("Outcome[T]", found[0]).agreed()

    def on_each(self, action: Callable[[], T]) -> T:
        """Do something on each process; an `InputError` of one is raised on all."""
        outcome = Outcome.of(action)
        errors: list[str | None] = [None] * self.size
        self._guarded(lambda: dist.all_gather_object(errors, outcome.error))
        return outcome.agreed(errors)

    def __exit__(self, *error: object) -> None:
        """Leave the other processes."""
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


def of_environment(device: str) -> Communicator:
    """Return the communicator of the processes that ``torchrun`` names in the environment."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return Torchrun(device) if several else Communicator(device)
