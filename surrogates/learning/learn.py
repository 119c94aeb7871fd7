"""`surrogates.learn`: from a PDE to a surrogate of a stated error."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from surrogates.progress import Told

from .asked import Asked, Budget
from .loop import Watch, learned
from .policy import Look, Projection

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate
    from surrogates.pde import Problem

PathLike = str | os.PathLike[str]


def learn(
    problem: str | type[Problem] | Problem,
    *,
    target: float,
    out: PathLike,
    budget: int | str | Budget | None = None,
    measure: Literal["relative", "spread", "worst"] = "relative",
    config: Any = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    first: int | None = None,
    effort: Literal["fast", "default", "high"] = "default",
    training: Mapping[str, Any] | None = None,
    tangents: bool | int = False,
    unchecked: bool = False,
    coarse: Mapping[str, Any] | None = None,
    processes: int = 1,
    ranks_per_sample: int = 1,
    launcher: str = "",
    time_limit: float = 3600.0,
    progress: bool | Told = False,
    on_look: Callable[[Look, Projection], object] | None = None,
) -> LoadedSurrogate:
    """Solve and train until the error is below a target, as ``surrogates learn`` does.

    The same call goes on after a kill; so does one with another target or budget. Its state is in
    the folder ``OUT.pt.learn``, and beside ``out`` it leaves OUT.h5, all samples, and OUT.html, a
    report.

    Args:
        problem: ``cdr``, ``dcr``, ``FILE.py:CLASS``; or a notebook's class or object.
        target: The error to reach, such as 0.01 for 1 %.
        out: The surrogate's file, NAME.pt.
        budget: Most solves, 2000, or most time, ``"2h"``, or both, ``"2000,2h"``; None for no
            limit.
        measure: The error: mean ``relative`` error; root mean square error over the outputs'
            ``spread``; or that of the ``worst`` output.
        config: Settings of the problem: a TOML file, or a ``Config``.
        settings: Single settings by their keys, over ``config``.
        seed: Seed of the samples and of the training.
        first: Samples of the first design; by default five for each parameter, 20 to 100.
        effort: Of each training, as for `surrogates.train`.
        training: Settings of each training by their keys, such as ``{"network.width": 16}``.
        tangents: Whether to solve for dc/dy, or in how many random directions a sample.
        unchecked: Whether to use derivatives of a user's problem without a Taylor test.
        coarse: Settings that make a cheap solve, such as ``{"time.steps": 30}``: samples of it are
            taken too, as far as they pay (see `surrogates.learning.fidelities`).
        processes: Processes of the solves; more than one are started by mpirun.
        ranks_per_sample: Processes that share a mesh.
        launcher: Words that start processes in place of mpirun, such as ``srun``.
        time_limit: Seconds before a sample fails.
        progress: Whether to show bars; or a function that is called with done, total and a note.
        on_look: Called after each estimate of the error, with a `policy.Look` and the solves that
            the target seems to need, a `policy.Projection`.

    Returns:
        The surrogate. Its ``metadata["learned"]`` says the error, its interval, the target, and
        whether it is met.

    Raises:
        InputError: If an argument does not fit, or another run is at work.
        KeyboardInterrupt: If interrupted; all that is finished is kept.
    """
    import surrogates

    asked = Asked(
        problem=problem,
        target=target,
        out=Path(out),
        budget=Budget.read(budget),
        measure=measure,
        config=config,
        settings=dict(settings or {}),
        seed=seed,
        first=first,
        effort=effort,
        training=dict(training or {}),
        tangents=tangents,
        unchecked=unchecked,
        coarse=dict(coarse or {}),
        processes=processes,
        ranks_per_sample=ranks_per_sample,
        launcher=launcher,
        time_limit=time_limit,
    )
    more: dict[str, Any] = {} if on_look is None else {"on_look": on_look}
    learned(asked, Watch(solving=progress, training=progress, **more))
    return surrogates.load(asked.out)
