r"""Check that a TorchScript archive is harmless, before torch reads it.

A TorchScript file is code. When torch reads a file, it compiles the code, evaluates the defaults of
its functions, calls every ``__setstate__`` in it, and trusts the sizes of its tensors. Some of the
operators that the code may call write files. Therefore `check` reads an archive before torch does,
and runs nothing of it. It accepts the parts of a surrogate, and nothing else:

    code        classes and functions that call only operators of
                `surrogates.model.torchscript_code.OPERATORS`. These are functions of tensors and
                numbers; they reach no file, no process and no network. Nothing runs while the file
                is read: there is no ``__setstate__``, and defaults are constants.
    pickles     objects of these classes, whose attributes have the declared types, and tensors
                that lie within their data. `surrogates.model.torchscript_pickle` interprets them
                opcode by opcode, and looks up no name in them.

torch then reads the bytes of `surrogates.model.torchscript.pack`, which are made of the members
that were checked. So it does not matter if the file changes meanwhile, or if zip readers disagree
about a member. No code has a ``while`` loop. When an accepted archive is called, it can still
compute wrong numbers, run for ever, ask for more memory than there is, or call an operator of torch
with arguments that end the process.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from .torchscript import CODE, DATA, Members, loadable
from .torchscript_code import Code, refuse, text_of
from .torchscript_pickle import Pickle


def check(members: Members) -> None:
    """Refuse an archive that holds more than a surrogate needs.

    Raises:
        InputError: It says what was found, and in which member.
    """
    inside = loadable(members)
    refuse(inside.get("byteorder", b"little") != b"little", "byteorder", "is not little")
    refuse(not re.fullmatch(rb"\d{1,3}\n?", inside.get("version", b"")), "version", "is no number")
    refuse("data.pkl" not in inside, "data.pkl", "is missing")
    code = tuple((name, inside[name]) for name in inside if name.startswith("code/"))
    pickles = tuple(
        (name, inside[name]) for name in ("constants.pkl", "data.pkl") if name in inside
    )
    sizes = tuple((name, len(inside[name])) for name in inside if DATA.fullmatch(name))
    _check(code, pickles, sizes)


@functools.lru_cache(maxsize=16)
def _check(
    code: tuple[tuple[str, bytes], ...],
    pickles: tuple[tuple[str, bytes], ...],
    sizes: tuple[tuple[str, int], ...],
) -> None:
    """Check code, pickles and sizes of data; what was accepted before is not checked again.

    The values of the data do not matter. lru_cache compares all bytes of the rest, and does not
    keep refusals.
    """
    attributes = _attributes_of(code)
    for name, content in pickles:
        Pickle(name, dict(sizes), attributes).run(content)


@functools.lru_cache(maxsize=16)
def _attributes_of(code: tuple[tuple[str, bytes], ...]) -> Mapping[str, Mapping[str, str]]:
    """Check code, and return the declared type of each attribute of each class."""
    for name, _ in code:
        refuse(not CODE.fullmatch(name), name, "is not the name of code")
    texts = {name: text_of(name, content) for name, content in code}
    known = Code.of(texts)
    for name in texts:
        known.check(name)
    return known.attributes
