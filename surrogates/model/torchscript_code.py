"""Check the code of a TorchScript archive: classes and functions of known operators alone.

Python parses the text in place of torch. Both see the same names in it, because everything that
their grammars treat differently is refused: comments, backslashes, triple quotes, and characters
that are not ASCII.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from surrogates.errors import InputError

from .torchscript import module_of

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
"""Operators that a surrogate may call. They depend on their arguments alone, and may change them.

Each name was looked at before it was listed: a new operator of torch is refused until then.
"""

_PRIMITIVES = frozenset(
    "RaiseException abs data device dtype is_cuda layout max min requires_grad tolist "
    "unchecked_unwrap_optional NumToTensor".split()
)
_BUILTINS = frozenset(
    "annotate uninitialized range int float bool str nan inf List Tuple Dict Optional Tensor "
    "NoneType Device".split()
)
_SPECIAL = frozenset(("getattr", "unchecked_cast"))  # see `Code._is_special`
_ROOTS = frozenset(("torch", "ops", "CONSTANTS", "__torch__"))
_PLAIN = (
    "Tensor",
    "bool",
    "float",
    "int",
    "str",
)  # types that unchecked_cast may claim: their values have tags
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
_DEPTH = 100  # of nested expressions


def refuse(wrong: bool, member: str, reason: str) -> None:
    """Raise an `InputError` that names a member of the archive, if something is wrong."""
    if wrong:
        raise InputError(f"{member[:80]!r} {reason}")


def text_of(name: str, content: bytes) -> str:
    """Return code as text, and refuse text that Python and torch could read differently."""
    refuse(not content.isascii(), name, "is not ASCII")
    text = content.decode("ascii")
    for mark in ("#", "\\", '"""', "'''", "\r", "\t", "\f", "\v", "\0"):
        refuse(mark in text, name, f"has {mark!r} in its code")
    return text


@dataclass(frozen=True)
class Code:
    """The code of an archive.

    Attributes:
        trees: The parsed texts, by member.
        items: Qualified names of all classes and functions.
        attributes: The declared type of each attribute, by class.
        names: Names that may follow a dot: `OPERATORS`, and the methods and attributes that are no
            operators of torch.
    """

    trees: Mapping[str, ast.Module]
    items: frozenset[str]
    attributes: Mapping[str, Mapping[str, str]]
    names: frozenset[str]

    @classmethod
    def of(cls, texts: Mapping[str, str]) -> Code:
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
                refuse(
                    not isinstance(item, ast.ClassDef | ast.FunctionDef),
                    name,
                    "has more than classes and functions",
                )
                assert isinstance(item, ast.ClassDef | ast.FunctionDef)
                whole = f"{module_of(name)}.{item.name}"
                refuse(whole in items, name, f"has {item.name} twice")
                items.add(whole)
                if isinstance(item, ast.ClassDef):
                    attributes[whole] = dict(_attributes(name, item))
                    methods = [one.name for one in item.body if isinstance(one, ast.FunctionDef)]
                    constants = [one.target for one in item.body if isinstance(one, ast.AnnAssign)]
                    names.update(methods, attributes[whole], map(ast.unparse, constants))
        own = {name for name in names - OPERATORS if not _is_operator(name)}
        return cls(trees, frozenset(items), attributes, OPERATORS | own)

    def check(self, member: str) -> None:
        """Refuse a member with statements, names or operators that are not known."""
        for item in self.trees[member].body:
            if isinstance(item, ast.FunctionDef):
                self._function(member, item)
            elif isinstance(item, ast.ClassDef):
                self._class(member, item)

    def _class(self, member: str, node: ast.ClassDef) -> None:
        bases = [base.id if isinstance(base, ast.Name) else "" for base in node.bases]
        plain = set(bases) <= {"Module"} and not node.decorator_list and not node.keywords
        refuse(not plain, member, f"has the class {node.name} of an unknown kind")
        for one in node.body:
            if isinstance(one, ast.FunctionDef):
                self._function(member, one)
            else:
                known = isinstance(one, ast.AnnAssign | ast.Assign | ast.Pass)
                refuse(not known, member, f"has a {type(one).__name__} in the class {node.name}")

    def _function(self, member: str, node: ast.FunctionDef) -> None:
        special = node.name in ("__setstate__", "__getstate__", "__del__")
        refuse(special, member, f"has the method {node.name}, which runs by itself")
        given = node.args
        defaults = [*given.defaults, *(one for one in given.kw_defaults if one)]
        plain = all(map(_is_constant, defaults)) and not node.decorator_list
        refuse(not plain, member, f"has defaults of {node.name} that are no constants")
        plain = given.vararg is None and given.kwarg is None
        refuse(not plain, member, f"has a number of arguments of {node.name} that is not fixed")
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
                refuse(alone, member, f"uses {one.id} by itself in {node.name}")
                (local if isinstance(one.ctx, ast.Store) else loaded).add(one.id)
            elif isinstance(one, ast.Constant):
                known = one.value is None or type(one.value) in (bool, int, float, str)
                refuse(not known, member, f"has a {type(one.value).__name__} in {node.name}")
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
        refuse(bool(hidden), member, f"gives {hidden[:1]} another meaning in {node.name}")
        unknown = sorted(loaded - local - _BUILTINS)
        refuse(bool(unknown), member, f"uses the name {unknown[:1]} in {node.name}")

    def _attribute(self, member: str, node: ast.Attribute) -> tuple[ast.expr, ...]:
        """Check names after dots; return the expressions before them that are still unchecked."""
        words, inner = [node.attr], node.value
        while isinstance(inner, ast.Attribute):
            words, inner = [inner.attr, *words], inner.value
        refuse(len(words) > _DEPTH, member, f"has {len(words)} names after a dot each")
        root = inner.id if isinstance(inner, ast.Name) else ""
        whole = ".".join([root, *words])
        if root == "torch":
            refuse(len(words) > 1 or words[0] not in OPERATORS, member, f"calls {whole}")
        elif root == "ops":
            allowed = {"aten": OPERATORS, "prim": _PRIMITIVES}.get(words[0], frozenset())
            refuse(len(words) != 2 or words[1] not in allowed, member, f"calls {whole}")
        elif root == "__torch__":
            refuse(whole not in self.items, member, f"calls {whole}, which is not in the file")
        elif root == "CONSTANTS":
            known = len(words) == 1 and re.fullmatch(r"c\d+", words[0])
            refuse(not known, member, f"has the constant {whole}")
        else:
            wrong = [word for word in words if word not in self.names]
            refuse(bool(wrong), member, f"calls .{wrong[0] if wrong else ''}")
            return (inner,)
        return ()

    def _is_special(self, member: str, node: ast.Call) -> bool:
        """Return whether a call is to one of `_SPECIAL`, and check it."""
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in _SPECIAL:
            return False
        first, last = (node.args[0], node.args[-1]) if len(node.args) == 2 else (None, None)
        if name == "getattr":  # entries of a ModuleList; other names follow a dot
            entry = last.value if isinstance(last, ast.Constant) else None
            known = isinstance(entry, str) and re.fullmatch("[0-9]+", entry) is not None
        else:
            known = isinstance(first, ast.Name) and first.id in _PLAIN
        refuse(not known or bool(node.keywords), member, f"calls {name} other than torch does")
        return True


def _attributes(member: str, item: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Return the names and types of the attributes of a class's objects."""
    for one in item.body:
        if isinstance(one, ast.AnnAssign):
            name = one.target.id if isinstance(one.target, ast.Name) else ""
            wrong = not name or name.startswith("__")
            refuse(wrong, member, f"has an attribute of {item.name} with no plain name")
            if one.value is None:
                yield name, _named(one.annotation)
            else:
                plain = _is_constant(one.value)
                refuse(not plain, member, f"has {item.name}.{name}, which is no constant")
        elif isinstance(one, ast.Assign):
            place = one.targets[0]
            listed = isinstance(place, ast.Name) and place.id in _LISTED
            if listed and len(one.targets) == 1 and _is_constant(one.value):
                continue
            key = None  # of __annotations__["0"], as entries of a ModuleList are declared
            if isinstance(place, ast.Subscript) and isinstance(place.slice, ast.Constant):
                key = place.slice.value if ast.unparse(place.value) == "__annotations__" else None
            known = isinstance(key, str) and len(one.targets) == 1 and key[:2] != "__"
            refuse(not known, member, f"sets {ast.unparse(place)[:40]} in the class {item.name}")
            yield str(key), _named(one.value)


def _named(kind: ast.expr) -> str:
    """Return the text of a type."""
    return kind.id if isinstance(kind, ast.Name) else ast.unparse(kind)


def _is_constant(node: ast.expr) -> bool:
    """Return whether an expression is a constant, or a list of constants."""
    if isinstance(node, ast.List | ast.Tuple):
        return all(
            isinstance(one, ast.Constant | ast.UnaryOp) and _is_constant(one) for one in node.elts
        )
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant)
    return isinstance(node, ast.Constant)


@functools.lru_cache(maxsize=1024)
def _is_operator(name: str) -> bool:
    """Return whether the version of torch that is to load a file has an operator of a name."""
    import torch

    return hasattr(torch.ops.aten, name)
