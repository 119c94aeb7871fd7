"""Check the pickles of a TorchScript archive: objects of its classes, tensors within their data."""

from __future__ import annotations

import math
import pickletools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surrogates.errors import InputError

from .torchscript_code import refuse

_DEPTH = 100  # of nested values


@dataclass(frozen=True)
class _Global:
    """A name in a pickle."""

    name: str


@dataclass(frozen=True)
class _Storage:
    """The data of a tensor."""

    n: int


@dataclass(frozen=True)
class _Tensor:
    """A tensor that lies within its data."""


@dataclass
class _Mutable:
    """A dictionary, list or object. It may be changed until another value holds it."""

    kind: str
    content: list[Any] = field(default_factory=list)
    depth: int = 1
    held: bool = False


_MARK = object()
_STORAGES = {  # bytes of an entry
    f"torch {kind}Storage": size
    for size, kinds in {
        16: "ComplexDouble",
        8: "Double Long ComplexFloat",
        4: "Float Int",
        2: "Half BFloat16 Short",
        1: "Char Byte Bool",
    }.items()
    for kind in kinds.split()
}
_LISTS = {
    f"torch.jit._pickle build_{name}list": kind
    for name, kind in (("int", int), ("double", float), ("bool", bool), ("tensor", _Tensor))
}
_REBUILD, _ORDERED = "torch._utils _rebuild_tensor_v2", "collections OrderedDict"


class Pickle:
    """An interpreter of a pickle in an archive. It makes descriptions of values, not values."""

    def __init__(
        self,
        member: str,
        sizes: Mapping[str, int],
        classes: Mapping[str, Mapping[str, str]],
    ) -> None:
        """Prepare to run a pickle.

        Args:
            member: Its name in the archive.
            sizes: Bytes of each member with data.
            classes: The declared types of the attributes, by class.
        """
        self.member, self.sizes, self.classes = member, sizes, classes
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, pickle: bytes) -> None:
        """Interpret a pickle.

        Raises:
            InputError: If it holds anything that a surrogate does not need.
        """
        try:
            for opcode, argument, _ in pickletools.genops(pickle):
                self._step(opcode.name, argument)
            if len(self.stack) != 1:
                raise ValueError("it leaves no single value")
        except InputError:
            raise
        except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{self.member!r} is no pickle of torch: {error}") from error

    def _step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in ("BINPUT", "LONG_BINPUT"):
            self._remember(argument)
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "GLOBAL":
            stack.append(self._global(argument))
        elif name in ("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "BINFLOAT"):
            stack.append(argument)
        elif name in ("NONE", "NEWTRUE", "NEWFALSE"):
            stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append(_Mutable({"EMPTY_LIST": "list", "EMPTY_DICT": "dict"}[name]))
        elif name == "EMPTY_TUPLE":
            stack.append(())
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            n = int(name[-1])
            self._tuple([self._pop() for _ in range(n)][::-1])
        elif name == "TUPLE":
            self._tuple(self._marked())
        elif name in ("APPEND", "APPENDS"):
            self._fill("list", [self._pop()] if name == "APPEND" else self._marked())
        elif name in ("SETITEM", "SETITEMS"):
            content = [self._pop(), self._pop()][::-1] if name == "SETITEM" else self._marked()
            self._fill("dict", content)
        elif name == "NEWOBJ":
            arguments, kind = self._pop(), self._pop()
            self._refuse(arguments != () or kind.name not in self.classes, "makes an object")
            stack.append(_Mutable(kind.name))
        elif name == "BUILD":
            self._build(self._pop())
        elif name == "REDUCE":
            arguments, function = self._pop(), self._pop()
            stack.append(self._reduced(function.name, arguments))
        elif name == "BINPERSID":
            stack.append(self._storage(*self._pop()))
        else:
            self._refuse(name not in ("PROTO", "STOP"), f"has the opcode {name}")

    def _refuse(self, wrong: bool, reason: str) -> None:
        refuse(wrong, self.member, reason)

    def _global(self, name: str) -> _Global:
        dotted = name.replace(" ", ".")
        known = name in (_REBUILD, _ORDERED, *_LISTS, *_STORAGES)
        if name.startswith("__torch__"):
            self._refuse(dotted not in self.classes, f"names {dotted[:80]}, no class in the file")
            return _Global(dotted)
        self._refuse(not known, f"names {name[:80]!r}")
        return _Global(name)

    def _pop(self) -> Any:
        value = self.stack.pop()
        self._refuse(value is _MARK, "has a mark where torch expects a value")
        return value

    def _remember(self, place: int) -> None:
        """Keep the last value for later use.

        An object must be built: until then, torch would keep its class in its place.
        """
        value = self.stack[-1]
        unbuilt = isinstance(value, _Mutable) and value.kind in self.classes and not value.content
        self._refuse(value is _MARK or unbuilt, "keeps an unfinished value")
        self._refuse(place > len(self.memo), "keeps a value in a place out of turn")
        self.memo[place] = value

    def _marked(self) -> list[Any]:
        content: list[Any] = []
        while (value := self.stack.pop()) is not _MARK:
            content.append(value)
        return content[::-1]

    def _depth(self, content: list[Any]) -> int:
        """Return the nesting depth of a value that holds these, and mark them as held."""
        depth = 1
        for value in content:
            if isinstance(value, _Mutable):
                value.held = True
                depth = max(depth, value.depth + 1)
            elif isinstance(value, tuple):
                depth = max(depth, self._depth(list(value)) + 1)
        self._refuse(depth > _DEPTH, "is nested too deeply")
        return depth

    def _tuple(self, content: list[Any]) -> None:
        self._depth(content)
        self.stack.append(tuple(content))

    def _fill(self, kind: str, content: list[Any]) -> None:
        target = self.stack[-1]
        fits = isinstance(target, _Mutable) and target.kind == kind and not target.held
        self._refuse(not fits, f"fills a value that is not a new {kind}")
        target.depth = max(target.depth, self._depth(content))
        self._refuse(target.held, f"has a {kind} in itself")
        target.content += content

    def _build(self, state: Any) -> None:
        """Set the attributes of an object, and check that they have the declared types."""
        target = self.stack[-1]
        fits = isinstance(target, _Mutable) and target.kind in self.classes and not target.held
        self._refuse(not fits or target.content != [], "builds a value that is not a new object")
        names, values = state.content[::2], state.content[1::2]
        declared = self.classes[target.kind]
        self._refuse(sorted(names) != sorted(declared), f"has other attributes than {target.kind}")
        for name, value in zip(names, values, strict=True):
            kind = declared[name]
            self._refuse(
                not _fits(value, kind), f"has {target.kind}.{name} of another type than {kind}"
            )
        target.depth = max(target.depth, self._depth([state]))
        target.content = [state]

    def _reduced(self, function: str, arguments: tuple[Any, ...]) -> Any:
        if function == _ORDERED:
            self._refuse(arguments != (), "has an OrderedDict with content")
            return _Mutable("ordered")
        if function in _LISTS:
            (given,) = arguments
            kind, known = _LISTS[function], isinstance(given, _Mutable) and given.kind == "list"
            self._refuse(
                not known or any(type(one) is not kind for one in given.content),
                f"has another list than {function}",
            )
            return _Mutable(f"List[{'Tensor' if kind is _Tensor else kind.__name__}]", held=True)
        self._refuse(function != _REBUILD, f"calls {function!r}")
        storage, offset, size, stride, gradient, hooks = arguments
        n = math.prod(size)
        whole = [offset, *size, *stride]
        fits = isinstance(storage, _Storage) and len(size) == len(stride)
        fits = fits and all(type(one) is int and one >= 0 for one in whole)
        last = offset + sum((a - 1) * b for a, b in zip(size, stride, strict=True)) if n else -1
        self._refuse(
            not fits or n > storage.n or last >= storage.n or type(gradient) is not bool,
            "has a tensor that does not lie within its data",
        )
        self._refuse(
            not isinstance(hooks, _Mutable) or hooks.content != [], "has a tensor with hooks"
        )
        return _Tensor()

    def _storage(self, word: str, kind: _Global, key: str, device: str, n: int) -> _Storage:
        size = _STORAGES[kind.name]
        there = self.sizes.get(f"{self.member.removesuffix('.pkl')}/{key}")
        fits = word == "storage" and device == "cpu" and type(n) is int
        self._refuse(
            not fits or n * size != there,
            f"has data {str(key)[:40]} of another size",
        )
        return _Storage(n)


def _fits(value: Any, kind: str) -> bool:
    """Return whether a value in a pickle has a type that the code declares."""
    if found := re.fullmatch(r"Optional\[(.*)\]", kind):
        return value is None or _fits(value, found[1])
    if value is None:
        return kind == "NoneType"
    if isinstance(value, _Mutable):
        return value.kind == kind
    known = {"Tensor": _Tensor, "bool": bool, "int": int, "float": float, "str": str}
    return type(value) is known.get(kind)
