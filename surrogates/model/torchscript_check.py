r"""Whether a TorchScript archive is harmless, found before torch reads it.

A TorchScript file is code. torch compiles it when it reads the file, evaluates the defaults of its
functions, calls every ``__setstate__`` in it, and believes the sizes of its tensors; among the
operators that this code may call are some that write files. So `check` reads an archive before
torch does, and runs nothing of it. It accepts what a surrogate is made of:

    code        classes and functions whose every operator is one of `OPERATORS`: functions of
                tensors and numbers, which reach no file, no process and no network. Nothing runs
                while the file is read: no ``__setstate__``, and constants alone as defaults.
    pickles     objects of these classes, whose attributes have the declared types, and tensors
                that lie within their data. They are interpreted opcode by opcode; no name in them
                is looked up.

torch is then given the bytes of `surrogates.model.torchscript.pack`, made of the members that were
checked. Neither another content of the file a moment later, nor a member that zip readers disagree
about, can come between. No code has a ``while`` loop. What an accepted archive may still do, once
it is called, is to compute wrong numbers, for ever, of a size that does not fit into memory, or
with arguments by which an operator of torch ends the process.

The text of the code is parsed by Python in place of torch. Both see the same names in it as what
their grammars treat differently is refused: comments, backslashes, other than ASCII, and triple
quotes.
"""

from __future__ import annotations

import ast
import functools
import math
import pickletools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from surrogates.errors import InputError

from .torchscript import CODE, DATA, Members, loadable, module_of

OPERATORS = frozenset(
    # Python's, of numbers, texts and lists
    "__and__ __contains__ __derive_index __getitem__ __is__ __isnot__ __not__ __or__ "
    "__range_length __xor__ _set_item append ceil copy dict extend find floor "
    "floordiv format gamma gcd get index insert items join keys len list lower mathremainder pop "
    "remainder replace reverse split startswith str strip upper values "
    # shapes and types of tensors
    "alias atleast_1d atleast_2d broadcast_tensors broadcast_to cat chunk column_stack concat "
    "contiguous detach diag diag_embed diagonal dim expand expand_as flatten flip "
    "hstack index_select is_complex is_contiguous is_floating_point lift_fresh masked_select "
    "movedim moveaxis narrow new_full new_ones new_zeros numel permute repeat "
    "repeat_interleave reshape reshape_as roll select size slice split split_with_sizes squeeze "
    "stack stride swapaxes t tensor tensor_split tile to transpose tril triu type_as "
    "unbind unflatten unfold unsafe_chunk unsafe_split unsafe_split_with_sizes unsqueeze view "
    "view_as vstack "
    # made from nothing
    "arange eye full full_like linspace logspace ones ones_like scalar_tensor zeros zeros_like "
    # by entries
    "abs acos acosh add addcdiv addcmul asin asinh atan atan2 atanh clamp clamp_max clamp_min "
    "clip clone copysign cos cosh deg2rad digamma div divide dropout elu eq erf erfc erfinv exp "
    "exp2 expm1 fill fix fmod frac ge gelu greater greater_equal gt hardsigmoid hardswish "
    "hardtanh heaviside hypot isclose isfinite isinf isnan ldexp le leaky_relu lerp less "
    "less_equal lgamma log log10 log1p log2 log_sigmoid log_softmax logaddexp logical_and "
    "logical_not logical_or logical_xor logit logsumexp lt masked_fill maximum minimum mish mul "
    "multiply mvlgamma nan_to_num ne neg negative not_equal polygamma positive pow prelu "
    "rad2deg reciprocal relu relu6 rrelu rsqrt rsub selu sgn sigmoid sign signbit silu sin sinc "
    "sinh softmax softplus softshrink sqrt square sub subtract tan tanh "
    "threshold true_divide trunc where xlogy "
    # over entries, and of matrices
    "addbmm addmm addmv addr all amax amin aminmax any argmax argmin argsort baddbmm batch_norm "
    "bernoulli bilinear bmm cdist chain_matmul cholesky_solve conv1d conv2d conv3d "
    "conv_transpose1d conv_transpose2d cosine_similarity count_nonzero cross cummax cummin cumprod "
    "cumsum det diff dot einsum equal frobenius_norm gather ger group_norm index_add index_copy "
    "index_fill index_put inner instance_norm inverse kron layer_norm linalg_cholesky linalg_cross "
    "linalg_det linalg_inv linalg_matrix_norm linalg_norm linalg_solve linalg_solve_triangular "
    "linalg_vector_norm linear logcumsumexp masked_scatter matmul matrix_exp max mean median min "
    "mm movedim mv norm numpy_T outer pairwise_distance pdist prod rms_norm scatter "
    "scatter_add sort std std_mean sum take_along_dim tensordot topk trace triangular_solve "
    "var var_mean vdot "
    # pooling, padding and interpolation
    "adaptive_avg_pool1d adaptive_avg_pool2d avg_pool1d avg_pool2d constant_pad_nd max_pool1d "
    "max_pool2d pad reflection_pad1d replication_pad1d upsample_bilinear2d upsample_linear1d "
    "upsample_nearest1d upsample_nearest2d "
    # the same in place
    "abs_ add_ addcdiv_ addcmul_ addmm_ addmv_ baddbmm_ bitwise_and_ clamp_ clamp_max_ clamp_min_ "
    "copy_ cos_ div_ elu_ erf_ exp_ expm1_ fill_ index_add_ index_copy_ index_fill_ index_put_ "
    "leaky_relu_ log_ masked_fill_ mul_ neg_ pow_ reciprocal_ relu_ relu6_ rsqrt_ scatter_ "
    "scatter_add_ sigmoid_ silu_ sin_ sqrt_ square_ sub_ tanh_ zero_ "
    # of integers and truths
    "bitwise_and bitwise_not bitwise_or bitwise_xor".split()
)
"""Operators that a surrogate may call: functions of their arguments alone, which may change these.

The list is read, not made from torch's: a new operator is unknown until someone has looked at it.
"""

_PRIMITIVES = frozenset(
    "RaiseException abs data device dtype is_cuda layout max min requires_grad tolist "
    "unchecked_unwrap_optional NumToTensor".split()
)
_BUILTINS = frozenset(
    "annotate uninitialized range int float bool str nan inf List Tuple Dict Optional Tensor "
    "NoneType Device".split()
)
_SPECIAL = frozenset(("getattr", "unchecked_cast"))  # see `_Code._is_special`
_ROOTS = frozenset(("torch", "ops", "CONSTANTS", "__torch__"))
_PLAIN = ("Tensor", "bool", "float", "int", "str")  # what unchecked_cast may claim: these have tags
_LISTED = ("__parameters__", "__buffers__", "__annotations__")
_PARTS: dict[type[ast.AST], tuple[str, ...]] = {  # of the statements and expressions in use
    ast.Return: ("value",),
    ast.Assign: ("targets", "value"),
    ast.AnnAssign: ("target", "annotation", "value"),
    ast.For: ("target", "iter", "body", "orelse"),
    ast.If: ("test", "body", "orelse"),
    ast.Expr: ("value",),
    ast.Pass: (),
    ast.Call: ("func", "args", "keywords"),
    ast.keyword: ("value",),
    ast.Attribute: (),
    ast.Subscript: ("value", "slice"),
    ast.Name: (),
    ast.Constant: (),
    ast.List: ("elts",),
    ast.Tuple: ("elts",),
    ast.Dict: ("keys", "values"),
    ast.UnaryOp: ("op", "operand"),
    ast.USub: (),
}
_DEPTH = 100  # of nested expressions and objects


def check(members: Members) -> None:
    """Refuse what is more than a surrogate needs.

    Raises:
        InputError: With what was found, and in which member.
    """
    inside = loadable(members)
    _refuse(inside.get("byteorder", b"little") != b"little", "byteorder", "is not little")
    _refuse(not re.fullmatch(rb"\d{1,3}\n?", inside.get("version", b"")), "version", "is no number")
    _refuse("data.pkl" not in inside, "data.pkl", "is missing")
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
    """Check code, pickles and sizes of data, once where the same are checked again.

    The values of the data do not count. lru_cache compares all bytes of the rest, and keeps no
    refusal.
    """
    attributes = _attributes_of(code)
    for name, content in pickles:
        _Pickle(name, dict(sizes), attributes).run(content)


@functools.lru_cache(maxsize=16)
def _attributes_of(code: tuple[tuple[str, bytes], ...]) -> Mapping[str, Mapping[str, str]]:
    """Check code, and return the declared type of each attribute of each class."""
    for name, _ in code:
        _refuse(not CODE.fullmatch(name), name, "is not the name of code")
    texts = {name: _text(name, content) for name, content in code}
    known = _Code.of(texts)
    for name in texts:
        known.check(name)
    return known.attributes


@functools.lru_cache(maxsize=1024)
def _is_operator(name: str) -> bool:
    """Tell whether the version of torch that is to load a file has an operator of a name."""
    import torch

    return hasattr(torch.ops.aten, name)


def _refuse(wrong: bool, member: str, reason: str) -> None:
    if wrong:
        raise InputError(f"{member[:80]!r} {reason}")


def _text(name: str, content: bytes) -> str:
    """Return code as text whose names Python and torch agree about."""
    _refuse(not content.isascii(), name, "is not ASCII")
    text = content.decode("ascii")
    for mark in ("#", "\\", '"""', "'''", "\r", "\t", "\f", "\v", "\0"):
        _refuse(mark in text, name, f"has {mark!r} in its code")
    return text


@dataclass(frozen=True)
class _Code:
    """The code of an archive.

    Attributes:
        trees: The parsed texts, by member.
        items: Qualified names of all classes and functions.
        attributes: Of each class, the declared type of each attribute.
        names: What may follow a dot: `OPERATORS`, and names of methods and attributes that are no
            operator of torch.
    """

    trees: Mapping[str, ast.Module]
    items: frozenset[str]
    attributes: Mapping[str, Mapping[str, str]]
    names: frozenset[str]

    @classmethod
    def of(cls, texts: Mapping[str, str]) -> _Code:
        """Parse the texts."""
        trees = {}
        for name, text in texts.items():
            try:
                trees[name] = ast.parse(text)
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                raise InputError(f"{name[:80]!r} is no code: {error}") from error
        items: set[str] = set()
        names: set[str] = set()
        attributes: dict[str, dict[str, str]] = {}
        for name, tree in trees.items():
            for item in tree.body:
                _refuse(
                    not isinstance(item, ast.ClassDef | ast.FunctionDef),
                    name,
                    "has more than classes and functions",
                )
                assert isinstance(item, ast.ClassDef | ast.FunctionDef)
                whole = f"{module_of(name)}.{item.name}"
                _refuse(whole in items, name, f"has {item.name} twice")
                items.add(whole)
                if isinstance(item, ast.ClassDef):
                    attributes[whole] = dict(_attributes(name, item))
                    methods = [one.name for one in item.body if isinstance(one, ast.FunctionDef)]
                    constants = [one.target for one in item.body if isinstance(one, ast.AnnAssign)]
                    names.update(methods, attributes[whole], map(ast.unparse, constants))
        own = {name for name in names - OPERATORS if not _is_operator(name)}
        return cls(trees, frozenset(items), attributes, OPERATORS | own)

    def check(self, member: str) -> None:
        """Refuse statements, names and operators that are not known."""
        for item in self.trees[member].body:
            if isinstance(item, ast.FunctionDef):
                self._function(member, item)
            elif isinstance(item, ast.ClassDef):
                self._class(member, item)

    def _class(self, member: str, node: ast.ClassDef) -> None:
        bases = [base.id if isinstance(base, ast.Name) else "" for base in node.bases]
        plain = set(bases) <= {"Module"} and not node.decorator_list and not node.keywords
        _refuse(not plain, member, f"has the class {node.name} of an unknown kind")
        for one in node.body:
            if isinstance(one, ast.FunctionDef):
                self._function(member, one)
            else:
                known = isinstance(one, ast.AnnAssign | ast.Assign | ast.Pass)
                _refuse(not known, member, f"has a {type(one).__name__} in the class {node.name}")

    def _function(self, member: str, node: ast.FunctionDef) -> None:
        special = node.name in ("__setstate__", "__getstate__", "__del__")
        _refuse(special, member, f"has the method {node.name}, which runs by itself")
        given = node.args
        defaults = [*given.defaults, *(one for one in given.kw_defaults if one)]
        plain = all(map(_is_constant, defaults)) and not node.decorator_list
        _refuse(not plain, member, f"has defaults of {node.name} that are no constants")
        plain = given.vararg is None and given.kwarg is None
        _refuse(not plain, member, f"has a number of arguments of {node.name} that is not fixed")
        local = {one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)}
        loaded: set[str] = set()
        waiting: list[tuple[ast.AST, int]] = [(one, 1) for one in node.body]
        while waiting:
            one, depth = waiting.pop()
            parts = _PARTS.get(type(one))
            if parts is None or depth > _DEPTH:
                what = type(one).__name__ if parts is None else "too deeply nested text"
                raise InputError(f"{member[:80]!r} has {what} in {node.name}")
            if isinstance(one, ast.Name):
                alone = one.id in _ROOTS or one.id in _SPECIAL
                _refuse(alone, member, f"uses {one.id} by itself in {node.name}")
                (local if isinstance(one.ctx, ast.Store) else loaded).add(one.id)
            elif isinstance(one, ast.Constant):
                known = one.value is None or type(one.value) in (bool, int, float, str)
                _refuse(not known, member, f"has a {type(one.value).__name__} in {node.name}")
            elif isinstance(one, ast.Attribute):
                waiting += [(inner, depth + 1) for inner in self._attribute(member, one)]
            elif isinstance(one, ast.Call) and self._is_special(member, one):
                parts = ("args",)
            for part in parts:
                inner = getattr(one, part)
                for entry in inner if isinstance(inner, list) else (inner,):
                    if entry is not None:
                        waiting.append((entry, depth + 1))
        hidden = sorted(local & (_ROOTS | _SPECIAL | _BUILTINS))
        _refuse(bool(hidden), member, f"gives {hidden[:1]} another meaning in {node.name}")
        unknown = sorted(loaded - local - _BUILTINS)
        _refuse(bool(unknown), member, f"uses the name {unknown[:1]} in {node.name}")

    def _attribute(self, member: str, node: ast.Attribute) -> tuple[ast.expr, ...]:
        """Check names after dots; return what is left to check of what stands before them."""
        words, inner = [node.attr], node.value
        while isinstance(inner, ast.Attribute):
            words, inner = [inner.attr, *words], inner.value
        _refuse(len(words) > _DEPTH, member, f"has {len(words)} names after a dot each")
        root = inner.id if isinstance(inner, ast.Name) else ""
        whole = ".".join([root, *words])
        if root == "torch":
            _refuse(len(words) > 1 or words[0] not in OPERATORS, member, f"calls {whole}")
        elif root == "ops":
            allowed = {"aten": OPERATORS, "prim": _PRIMITIVES}.get(words[0], frozenset())
            _refuse(len(words) != 2 or words[1] not in allowed, member, f"calls {whole}")
        elif root == "__torch__":
            _refuse(whole not in self.items, member, f"calls {whole}, which is not in the file")
        elif root == "CONSTANTS":
            known = len(words) == 1 and re.fullmatch(r"c\d+", words[0])
            _refuse(not known, member, f"has the constant {whole}")
        else:
            wrong = [word for word in words if word not in self.names]
            _refuse(bool(wrong), member, f"calls .{wrong[0] if wrong else ''}")
            return (inner,)
        return ()

    def _is_special(self, member: str, node: ast.Call) -> bool:
        """Tell whether a call is of one of `_SPECIAL`, and check it."""
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in _SPECIAL:
            return False
        first, last = (node.args[0], node.args[-1]) if len(node.args) == 2 else (None, None)
        if name == "getattr":  # entries of a ModuleList; other names follow a dot
            entry = last.value if isinstance(last, ast.Constant) else None
            known = isinstance(entry, str) and re.fullmatch("[0-9]+", entry) is not None
        else:
            known = isinstance(first, ast.Name) and first.id in _PLAIN
        _refuse(not known or bool(node.keywords), member, f"calls {name} other than torch does")
        return True


def _attributes(member: str, item: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Return the attributes of a class's objects, and their types."""
    for one in item.body:
        if isinstance(one, ast.AnnAssign):
            name = one.target.id if isinstance(one.target, ast.Name) else ""
            wrong = not name or name.startswith("__")
            _refuse(wrong, member, f"has an attribute of {item.name} with no plain name")
            if one.value is None:
                yield name, _named(one.annotation)
            else:
                plain = _is_constant(one.value)
                _refuse(not plain, member, f"has {item.name}.{name}, which is no constant")
        elif isinstance(one, ast.Assign):
            place = one.targets[0]
            listed = isinstance(place, ast.Name) and place.id in _LISTED
            if listed and len(one.targets) == 1 and _is_constant(one.value):
                continue
            key = None  # of __annotations__["0"], as entries of a ModuleList are declared
            if isinstance(place, ast.Subscript) and isinstance(place.slice, ast.Constant):
                key = place.slice.value if ast.unparse(place.value) == "__annotations__" else None
            known = isinstance(key, str) and len(one.targets) == 1 and key[:2] != "__"
            _refuse(not known, member, f"sets {ast.unparse(place)[:40]} in the class {item.name}")
            yield str(key), _named(one.value)


def _named(kind: ast.expr) -> str:
    """Return the text of a type."""
    return kind.id if isinstance(kind, ast.Name) else ast.unparse(kind)


def _is_constant(node: ast.expr) -> bool:
    """Tell whether an expression is a constant, or a list of such."""
    if isinstance(node, ast.List | ast.Tuple):
        return all(
            isinstance(one, ast.Constant | ast.UnaryOp) and _is_constant(one) for one in node.elts
        )
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant)
    return isinstance(node, ast.Constant)


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
    """A dictionary, list or object, which may be changed until something holds it."""

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


class _Pickle:
    """An interpreter of the pickles in an archive, which makes nothing but descriptions."""

    def __init__(
        self,
        member: str,
        sizes: Mapping[str, int],
        classes: Mapping[str, Mapping[str, str]],
    ) -> None:
        self.member, self.sizes, self.classes = member, sizes, classes
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, pickle: bytes) -> None:
        """Interpret a pickle.

        Raises:
            InputError: If it holds what `check` does not accept.
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
        _refuse(wrong, self.member, reason)

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
        """Keep the last value; of an object torch would keep its class until it is built."""
        value = self.stack[-1]
        unbuilt = isinstance(value, _Mutable) and value.kind in self.classes and not value.content
        self._refuse(value is _MARK or unbuilt, "keeps what is no value yet")
        self._refuse(place > len(self.memo), "keeps a value far from the others")
        self.memo[place] = value

    def _marked(self) -> list[Any]:
        content: list[Any] = []
        while (value := self.stack.pop()) is not _MARK:
            content.append(value)
        return content[::-1]

    def _depth(self, content: list[Any]) -> int:
        """Return the depth of what holds these values, and hold them."""
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
        self._refuse(not fits, f"fills what is no new {kind}")
        target.depth = max(target.depth, self._depth(content))
        self._refuse(target.held, f"has a {kind} in itself")
        target.content += content

    def _build(self, state: Any) -> None:
        """Set the attributes of an object, which must be of the declared types."""
        target = self.stack[-1]
        fits = isinstance(target, _Mutable) and target.kind in self.classes and not target.held
        self._refuse(not fits or target.content != [], "builds what is no new object")
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
    """Tell whether a value in a pickle is of a type in the code."""
    if found := re.fullmatch(r"Optional\[(.*)\]", kind):
        return value is None or _fits(value, found[1])
    if value is None:
        return kind == "NoneType"
    if isinstance(value, _Mutable):
        return value.kind == kind
    known = {"Tensor": _Tensor, "bool": bool, "int": int, "float": float, "str": str}
    return type(value) is known.get(kind)
