"""Whether a dataset is one that a surrogate can be used on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from surrogates.config import check
from surrogates.data import Info
from surrogates.data.rows import own_names
from surrogates.errors import InputError

from .metadata import task_of

if TYPE_CHECKING:
    from .loaded import LoadedSurrogate

_NOUNS = {"regression": "observable", "classification": "class"}


def check_matches(surrogate: LoadedSurrogate, info: Info) -> None:
    """Refuse a dataset whose task, sizes or names are not the surrogate's.

    Raises:
        InputError: As `LoadedSurrogate.check_matches`.
    """
    task = task_of(surrogate.metadata)
    check(
        info.task == task,
        f"{surrogate.path} is for {task}; the dataset ({info.problem}) is for {info.task}",
    )
    there = (len(info.y_names), len(info.c_names))
    if there != (surrogate.n_in, surrogate.n_out):
        raise InputError(
            f"{surrogate.path} takes {surrogate.n_in} parameters and gives {surrogate.n_out} "
            f"{surrogate.OUTPUTS}; the dataset ({info.problem}) has {there[0]} and {there[1]}"
        )
    for letter, what in (("y", "parameter"), ("c", _NOUNS[task])):
        ours, theirs = (
            own_names(names, letter)
            for names in (surrogate.metadata[f"{letter}_names"], getattr(info, f"{letter}_names"))
        )
        for name, other in zip(ours or (), theirs or (), strict=False):
            check(
                name == other,
                f"{surrogate.path} has the {what} {name!r} where the dataset ({info.problem}) has "
                f"{other!r}",
            )
