"""The engine of torch: a TorchScript module, called with numpy arrays.

A forked child of a process in which torch has used several threads has none of them, and its first
parallel loop waits for them forever. Each child therefore computes in one thread, from its first
call on. Processes that share the cores, as those of a pool, want that in any case.

MKL, with which torch multiplies matrices, has locks that a thread holds as it ends. Python has
joined the thread by then. A child that is forked in that moment finds a lock that nobody opens, and
waits for it forever. A fork therefore waits until the threads that have called a module are gone.
"""

from __future__ import annotations

import functools
import io
import os
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from surrogates.model import script, torchscript
from surrogates.types import Array

from ..covariance import CORRELATION, SIZES, Correlation
from . import METHODS, Box

_TASKS = "/proc/self/task"  # the threads of this process, where there is such a folder
_LONGEST = 2.0  # seconds that a fork waits
_QUIET = 0.02  # seconds: threads that torch has started for one that has ended, end after it

_forked = False  # since the last call
_here = threading.local()
_callers: dict[int, threading.Thread] = {}  # threads that have called a module, by their ids


def _before_fork() -> None:
    """Wait for the end of the threads that Python has joined, and that may hold locks of MKL."""
    ended = [key for key, thread in list(_callers.items()) if not thread.is_alive()]
    if not ended:
        return
    for key in ended:
        del _callers[key]
    last, until = time.monotonic(), time.monotonic() + _LONGEST
    before: set[str] = set()
    while os.path.isdir(_TASKS) and (now := time.monotonic()) < until:
        there = set(os.listdir(_TASKS))
        if there != before or any(str(key) in there for key in ended):
            before, last = there, now
        elif now - last > _QUIET:
            break
        time.sleep(0.001)


def _after_fork() -> None:
    global _forked
    _forked = True
    _callers.clear()


os.register_at_fork(before=_before_fork, after_in_child=_after_fork)


class Scripted:
    """The `Engine` of a TorchScript module.

    Attributes:
        module: The module, for tensors in and out, with gradients; its methods are those of
            `surrogates.model.surrogate.Surrogate`.
        members: The content of its file, by the names of the archive's members.
    """

    NAME: ClassVar[str] = "torch"
    BATCH: ClassVar[int | None] = 8192
    FAILURES: ClassVar[tuple[type[Exception], ...]] = (
        *(RuntimeError, ValueError, TypeError),
        torch.jit.Error,
    )

    forward: Callable[[Array], Array]

    def __init__(self, module: torch.jit.ScriptModule, members: torchscript.Members) -> None:
        """Bind the module's methods, as finding them takes time at each call."""
        self.module, self.members = module, members
        self._predict_cov = _of_pairs(getattr(module, "predict_cov", None))
        for name in METHODS:
            method: Any = getattr(module, name, None)
            if hasattr(method, "schema"):
                setattr(self, name, _on_arrays(method, len(method.schema.arguments) - 1))

    @functools.cached_property
    def box(self) -> Box:
        """The training domain."""
        module, n_in = self.module, len(self.module.lower)
        lower, upper = (np.array(end.numpy()) for end in (module.lower, module.upper))
        parts = {"unit": np.ones(n_in), "normals": np.empty((0, n_in)), "centre": lower}
        for name in parts:  # a file of schema version 1 has none
            if isinstance(found := getattr(module, name, None), torch.Tensor):
                parts[name] = np.array(found.numpy())
        logs = getattr(module, "logs", None)
        marks = np.zeros(n_in, bool) if logs is None else np.array(logs.inputs.numpy())
        return Box(lower=lower, upper=upper, log_inputs=marks, **parts)

    @property
    def n_members(self) -> int:
        """Number of surrogates whose weighted mean is the prediction."""
        members = getattr(self.module, "members", None)
        return 1 if members is None else len(members.weights)

    @functools.cached_property
    def log_outputs(self) -> npt.NDArray[np.bool_]:
        """Outputs that are predicted by their logarithms."""
        logs = getattr(self.module, "logs", None)
        none = np.zeros(len(self.module.W), bool)
        return none if logs is None else np.array(logs.outputs.numpy())

    @functools.cached_property
    def correlation(self) -> Correlation | None:
        """The correlation of the outputs' errors; None in files of older versions."""
        found: dict[str, Any] = {name: getattr(self.module, name, None) for name in CORRELATION}
        if any(tensor is None for tensor in found.values()):
            return None
        more: Any = getattr(self.module, "sizes", None)  # in files of this version
        if more is not None:
            found.update({name: getattr(more, name) for name in SIZES})
        return Correlation(**{name: np.array(tensor.numpy()) for name, tensor in found.items()})

    def predict_cov(self, y: Array) -> tuple[Array, Array]:
        """Return the covariance of the outputs' errors, a factor and a diagonal."""
        factor, diagonal = self._predict_cov(y)
        return factor, diagonal

    def cov_vjp(self, y: Array, by_factor: Array, by_diagonal: Array) -> Array:
        """Return the gradient by y of a weighted sum of `predict_cov`, by automatic derivatives."""
        if not hasattr(_here, "known") or _forked:
            _prepare()
        Y = torch.from_numpy(y).requires_grad_()
        with torch.enable_grad():
            factor, diagonal = self.module.predict_cov(Y)
            total = (factor * torch.from_numpy(by_factor)).sum()
            total = total + (diagonal * torch.from_numpy(by_diagonal)).sum()
            (gradient,) = torch.autograd.grad(total, Y)
        found: Array = gradient.numpy()
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the bytes of its file, as torch's module cannot be pickled."""
        return _of_bytes, (torchscript.pack(self.members),)

    def __deepcopy__(self, _: Any) -> Scripted:
        """Return the engine itself, which does not change."""
        return self


@functools.lru_cache(maxsize=4)
def _of_bytes(content: bytes) -> Scripted:
    """Return the engine of a pickled file.

    Pools send a surrogate with each piece of their work, and a module takes a second to load and
    to be optimised in its first calls: workers keep the last ones.
    """
    members = torchscript.read(io.BytesIO(content))
    return Scripted(script.module(members), members)


def _on_arrays(method: Callable[..., torch.Tensor], n: int) -> Callable[..., npt.NDArray[Any]]:
    """Return a method of n arguments for numpy arrays, and numbers as they are."""
    tensor, without_gradients = torch.from_numpy, torch.inference_mode

    def one(y: Array) -> npt.NDArray[Any]:
        if not hasattr(_here, "known") or _forked:
            _prepare()
        with without_gradients():
            result: npt.NDArray[Any] = method(tensor(y)).numpy()
        return result

    def several(*given: Any) -> npt.NDArray[Any]:
        if not hasattr(_here, "known") or _forked:
            _prepare()
        with without_gradients():
            tensors = (tensor(x) if isinstance(x, np.ndarray) else x for x in given)
            result: npt.NDArray[Any] = method(*tensors).numpy()
        return result

    return one if n == 1 else several


def _of_pairs(method: Any) -> Callable[[Array], tuple[Array, Array]]:
    """Return a method of y that returns a pair of tensors, for numpy arrays."""

    def pair(y: Array) -> tuple[Array, Array]:
        if not hasattr(_here, "known") or _forked:
            _prepare()
        with torch.inference_mode():
            first, second = method(torch.from_numpy(y))
        return first.numpy(), second.numpy()

    return pair


def _prepare() -> None:
    """Note the thread that calls; in a forked child, compute in one thread."""
    global _forked
    if _forked:
        torch.set_num_threads(1)
        _forked = False
    _here.known = True
    _callers[threading.get_native_id()] = threading.current_thread()
