"""Surrogate files of strangers: what they may hold, and that nothing of theirs runs.

The files here are made of one that this package wrote, by editing its members: most of them write
a file, `MARK`, when torch loads or calls them.
"""

from __future__ import annotations

import ast
import io
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from exports import saved
from extended import SURROGATES, made
from strangers import MARK, Shell, refused

import surrogates
from surrogates import cli
from surrogates.errors import InputError
from surrogates.model import file as export
from surrogates.model import torchscript, torchscript_check, torchscript_code
from surrogates.model.surrogate import Surrogate

CODE = "code/__torch__/surrogates/model/surrogate.py"
FORWARD = "    y: Tensor) -> Tensor:\n"
Members = dict[str, bytes]


def in_forward(*lines: str) -> Callable[[Members], None]:
    """Return an edit that puts statements first into ``forward``."""

    def edit(members: Members) -> None:
        text = members[CODE].decode()
        assert FORWARD in text
        added = "".join(f"    {line}\n" for line in lines)
        members[CODE] = text.replace(FORWARD, FORWARD + added, 1).encode()

    return edit


def replaced(name: str, old: bytes, new: bytes) -> Callable[[Members], None]:
    def edit(members: Members) -> None:
        assert old in members[name]
        members[name] = members[name].replace(old, new, 1)

    return edit


def added(name: str, content: bytes) -> Callable[[Members], None]:
    return lambda members: members.update({name: members.get(name, b"") + content})


EDITS: dict[str, tuple[Callable[[Members], None], str]] = {
    "operator": (in_forward(f'_z = torch.save(y, "{MARK}")'), "calls torch.save"),
    "namespace": (in_forward(f'_z = ops.aten.save(y, "{MARK}")'), "calls ops.aten.save"),
    "method": (in_forward(f'_z = (y).save("{MARK}")'), "calls .save"),
    "alias": (in_forward("_x = torch.save", f'_z = _x(y, "{MARK}")'), "calls torch.save"),
    "bound": (in_forward("_x = (y).save", f'_z = _x("{MARK}")'), "calls .save"),
    "getattr": (in_forward(f'_z = getattr(y, "save")("{MARK}")'), "calls getattr other than"),
    "get": (in_forward("_x = getattr", f'_z = _x(y, "save")("{MARK}")'), "uses getattr by itself"),
    "map": (in_forward(f'_z = torch.from_file("{MARK}", True, 1)'), "calls torch.from_file"),
    "print": (in_forward("print(y)"), r"uses the name \['print'\]"),
    "root": (
        lambda members: (
            [
                replaced(CODE, b"  def forward(", b"  prim : int\n  Print : int\n  def forward(")(
                    members
                ),
                in_forward("_x = ops", "_z = _x.prim.Print(y)")(members),
            ]
            and None
        ),
        "uses ops by itself",
    ),
    "fork": (in_forward("_z = fork(y)"), r"uses the name \['fork'\]"),
    "custom": (in_forward("_z = ops.profiler.enter(y)"), "calls ops.profiler.enter"),
    "primitive": (in_forward('ops.prim.Print("x")'), "calls ops.prim.Print"),
    "class": (in_forward("_z = __torch__.torch.classes.a.B(y)"), "calls __torch__.torch.classes"),
    "hidden": (in_forward("torch = y", "_z = torch.abs()"), "uses torch by itself"),
    "shadow": (in_forward("range = y"), "gives .'range'. another meaning"),
    "cast": (
        in_forward("_z = unchecked_cast(__torch__.surrogates.model.surrogate.Surrogate, y)"),
        "calls unchecked_cast other than",
    ),
    "named-as": (
        lambda members: (
            [
                added(CODE, b"class X(Module):\n  def save(self) -> int:\n    return 1\n")(members),
                in_forward(f'_z = (y).save("{MARK}")')(members),
            ]
            and None
        ),
        "calls .save",
    ),
    "default": (
        replaced(CODE, FORWARD.encode(), b'    y: Tensor=torch.save(1, "x")) -> Tensor:\n'),
        "defaults of .* that are no constants",
    ),
    "setstate": (
        replaced(
            CODE,
            b"  def forward(",
            b"  def __setstate__(self, x: int) -> NoneType:\n    return None\n  def forward(",
        ),
        "has the method __setstate__, which runs by itself",
    ),
    "constant": (
        replaced(CODE, b"  def forward(", b"  x : Final[int] = torch.save(1)\n  def forward("),
        "x, which is no constant",
    ),
    "base": (replaced(CODE, b"(Module):", b"(Enum):"), "of an unknown kind"),
    "comment": (in_forward("# harmless"), "has '#' in its code"),
    "backslash": (in_forward('_z = "\\x23"'), "in its code"),
    "letters": (in_forward('_z = "\N{GREEK SMALL LETTER ALPHA}"'), "is not ASCII"),
    "statement": (in_forward("import os"), "has Import in"),
    "while": (in_forward("while True:", "  y = torch.neg(y)"), "has While in forward"),
    "top": (added(CODE, b"torch.save(1, 'x')\n"), "has more than classes and functions"),
    "deep": (in_forward(f"_z = {'torch.neg(' * 120}y{')' * 120}"), "too deeply nested"),
    "nested": (in_forward(f"_z = {'(' * 5000}y{')' * 5000}"), "is no code"),
    "other": (added("code/other.txt", b"x"), "is not the name of code"),
    "pickle": (lambda members: members.update({"data.pkl": pickle.dumps(Shell(), 2)}), "names"),
    "constants": (
        lambda members: members.update({"constants.pkl": pickle.dumps((Shell(),), 2)}),
        "'constants.pkl' names",
    ),
    "torchbind": (
        replaced(
            "data.pkl", b"c__torch__.surrogates.model.surrogate\n", b"c__torch__.torch.classes.a\n"
        ),
        "no class in the file",
    ),
    "short": (lambda members: members.update({"data/0": members["data/0"][8:]}), "another size"),
    "junk": (lambda members: members.update({"data.pkl": b"\x80\x02\x00"}), "is no pickle"),
    "endless": (lambda members: members.update({"data.pkl": b"\x80\x02" + b")\x85" * 9}), "pickle"),
    "deep-data": (
        lambda members: members.update({"data.pkl": b"\x80\x02)" + b"\x85" * 10**5 + b"."}),
        "is nested too deeply",
    ),
    "attributes": (replaced("data.pkl", b"upper", b"apper"), "has other attributes than"),
    "order": (lambda members: members.update({"byteorder": b"big"}), "'byteorder' is not little"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_file_that_holds_more_than_a_surrogate_is_refused(name, members, here):
    edit, message = EDITS[name]
    edited = dict(members)
    edit(edited)
    (here / "s.pt").write_bytes(torchscript.pack(edited))
    refused(here / "s.pt", f"s.pt is not loaded, .*{message}.*give --trust")
    assert not (here / MARK).exists()


def test_the_same_file_does_write_in_torch_itself(members, here, capsys):
    """What is refused is a danger: torch alone runs it, and so does --trust."""
    edited = dict(members)
    EDITS["operator"][0](edited)
    (here / "s.pt").write_bytes(torchscript.pack(edited))
    y = np.ones((1, 5))
    torch.jit.load(here / "s.pt")(torch.from_numpy(y))
    assert (here / MARK).exists()
    (here / MARK).unlink()
    np.save(here / "y.npy", y)
    words = ["predict", "s.pt", "--in", "y.npy", "--out", "c.npy"]
    assert cli.main(words) == 2 and cli.main(["info", "s.pt"]) == 0
    out, error = capsys.readouterr()
    assert "calls torch.save" in error and error.count("\n") == 1
    assert "NOT KNOWN TO BE HARMLESS" in out and "torch.save" in out
    assert sorted(os.listdir(here)) == ["s.pt", "y.npy"]
    assert cli.main([*words, "--trust"]) == 0
    assert (here / MARK).exists() and np.load(here / "c.npy").shape == (1, 11)


class Restored(torch.nn.Module):
    """A module that writes a file as it is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("lower", torch.zeros(3))

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        return y

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, bool]:
        return (self.lower, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
        torch.save(state[0], "written")
        self.lower = state[0]
        self.training = state[1]


def test_a_module_that_runs_code_while_it_is_loaded_is_refused(members, here, capsys):
    content = {"metadata.json": members["extra/metadata.json"].decode()}
    torch.jit.save(torch.jit.script(Restored()), here / "s.pt", _extra_files=content)
    torch.jit.load(here / "s.pt")
    assert (here / MARK).exists()
    (here / MARK).unlink()
    assert cli.main(["info", "s.pt"]) == 0
    assert "NOT KNOWN TO BE HARMLESS" in capsys.readouterr().out
    refused(here / "s.pt", "has the method __getstate__, which runs by itself")


def test_what_is_checked_is_what_is_loaded(members, here, monkeypatch):
    """Also where somebody replaces the file between both."""
    edited = dict(members)
    EDITS["operator"][0](edited)
    (here / "s.pt").write_bytes(torchscript.pack(members))
    check = torchscript_check.check

    def and_replace(inside: Members) -> None:
        check(inside)
        (here / "s.pt").write_bytes(torchscript.pack(edited))

    monkeypatch.setattr(torchscript_check, "check", and_replace)
    assert surrogates.load("s.pt").predict(np.ones(5)).shape == (11,)
    assert not (here / MARK).exists()
    refused(here / "s.pt", "calls torch.save")


def test_what_zip_readers_disagree_about_is_refused(members, here):
    with pytest.warns(UserWarning):
        with zipfile.ZipFile(here / "twice.pt", "w") as archive:
            for name, content in [*members.items(), (CODE, b"")]:
                archive.writestr(f"archive/{name}", content)
    refused(here / "twice.pt", "two of its members are")
    with zipfile.ZipFile(here / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"archive/{name}", content)
        archive.writestr("archive/code/__torch__/x.py", b" " * 10**8)
    refused(here / "bomb.pt", "compressed members unpack to 10.* bytes")


def shared(members: Members, n: int, size: int) -> bytes:
    """Return an archive with ``n`` more members, of which each holds all that follow it."""
    parts, inner = [], bytes(size)
    for i in range(n):
        name = b"archive/extra/%d" % i
        numbers = (zlib.crc32(inner), len(inner), len(inner), len(name))
        head = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 33, *numbers, 0) + name
        parts.append((name, numbers, len(head)))
        inner = head + inner
    places, place = [], 0
    for name, numbers, length in reversed(parts):
        fields = (20, 20, 0, 0, 0, 33, *numbers, 0, 0, 0, 0, 0, place)
        places.append(struct.pack("<4s6H3I5H2I", b"PK\1\2", *fields) + name)
        place += length
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"archive/{name}", content)
    plain, start = buffer.getvalue(), archive.start_dir
    count, length = struct.unpack("<H", plain[-12:-10])[0] + n, len(plain) - 22 - start
    # The others begin after those that share their bytes.
    directory = bytearray(plain[start : start + length])
    with zipfile.ZipFile(io.BytesIO(plain)) as archive:
        at = 0
        for one in archive.infolist():
            struct.pack_into("<I", directory, at + 42, one.header_offset + len(inner))
            at += 46 + len(one.filename) + len(one.extra)
    directory += b"".join(places)
    end = (b"PK\5\6", 0, 0, count, count, len(directory), len(inner) + start, 0)
    return inner + plain[:start] + bytes(directory) + struct.pack("<4s4H2IH", *end)


def test_members_that_share_their_bytes_are_refused(members, here):
    """A file of 1 MB could unpack to 50 GB, though nothing in it is compressed."""
    (here / "shared.pt").write_bytes(shared(members, 50, 10**6))
    with zipfile.ZipFile(here / "shared.pt") as archive:
        assert sum(one.file_size for one in archive.infolist()) > 50 * 10**6
    refused(here / "shared.pt", "refused: some of its members share their bytes")


def test_code_that_was_checked_is_not_parsed_again(members, here, monkeypatch):
    (here / "s.pt").write_bytes(torchscript.pack(members))
    surrogates.load("s.pt")
    parsed: list[object] = []
    parse = ast.parse

    def counted(*given: object, **more: object) -> ast.AST:
        parsed.append(given)
        return parse(*given, **more)

    monkeypatch.setattr(torchscript_code.ast, "parse", counted)
    shifted = {**members, "data/3": members["data/3"][::-1]}
    (here / "s.pt").write_bytes(torchscript.pack(members))
    surrogates.load("s.pt")
    assert parsed == []
    edited = dict(members)
    EDITS["operator"][0](edited)
    (here / "edited.pt").write_bytes(torchscript.pack(edited))
    for _ in range(2):
        refused(here / "edited.pt", "calls torch.save")
    assert len(parsed) >= 2
    shorter = {**members, "data/0": shifted["data/0"][8:]}  # the code is known, its data are not
    (here / "short.pt").write_bytes(torchscript.pack(shorter))
    refused(here / "short.pt", "another size")


def as_forward(line: str) -> Callable[[Members], None]:
    """Return an edit that makes one line of ``forward``."""

    def edit(members: Members) -> None:
        text = members[CODE].decode()
        start = text.index(FORWARD) + len(FORWARD)
        end = text.index("  def ", start)
        members[CODE] = f"{text[:start]}    {line}\n{text[end:]}".encode()

    return edit


HUGE = "torch.zeros([100000000, 10000000], dtype=None, layout=None, device=None, pin_memory=None)"
WRONG = {
    "shape": ("return torch.zeros([3])", "damaged: forward must give float64 of shape"),
    "type": ("return torch.to(self.c, 3)", "damaged: forward must give float64 of shape"),
    "number": ("return torch.sum(y)", "s.pt (is damaged|fails in forward)"),
    "product": ("return torch.mv(self.W, y)", "fails in forward: RuntimeError: "),
    "memory": (f"return {HUGE}", "fails in forward: RuntimeError: .*allocate"),
    "raised": ('ops.prim.RaiseException("no", "builtins.SystemExit")', "fails in forward: .*no"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_network_that_does_not_give_what_its_metadata_say_is_one_line(name, members, here):
    line, message = WRONG[name]
    edited = dict(members)
    as_forward(line)(edited)
    if name == "raised":
        as_forward(f"{line}\n    return y")(edited)
    (here / "s.pt").write_bytes(torchscript.pack(edited))
    surrogate = surrogates.load("s.pt")
    for y in (np.full(5, 2.5), np.full((3, 5), 2.5)):
        with pytest.raises(InputError, match=message) as caught:
            surrogate(y)
        assert len(str(caught.value).splitlines()) == 1


def test_a_module_of_other_methods_or_with_numbers_that_are_not_finite_is_refused(members, here):
    head = b"  def jacobian(self: __torch__.surrogates.model.surrogate.Surrogate,\n    y: Tensor"
    edits = {
        "it has no jvp": replaced(CODE, b"  def jvp(", b"  def jvq("),
        "its jacobian takes or gives something else": replaced(CODE, head, head + b", z: int"),
    }
    for name, content in members.items():
        if name.startswith("data/") and len(content) >= 5 * 8:
            nan = np.full(len(content) // 8, np.nan).tobytes()
            edits[f"has numbers that are not finite{'()' * len(edits)}"] = (
                lambda inside, name=name, nan=nan: inside.update({name: nan})
            )
    assert len(edits) > 5
    for message, edit in edits.items():
        edited = dict(members)
        edit(edited)
        (here / "s.pt").write_bytes(torchscript.pack(edited))
        refused(here / "s.pt", f"s.pt is damaged: .*{message}")


def test_a_tensor_beyond_its_data_is_refused(members, here):
    """torch would read the memory that follows it."""
    (n,) = {len(members[name]) // 8 for name in ("data/1",)}
    size, end = bytes([ord("K"), n]), members["data.pkl"].index(b"X\x01\x00\x00\x001q")
    before = members["data.pkl"].index(size, end)
    assert before - end < 40
    at = members["data.pkl"].index(size, before + 2)
    edited = {
        **members,
        "data.pkl": members["data.pkl"][:at] + b"K\xff" + members["data.pkl"][at + 2 :],
    }
    (here / "s.pt").write_bytes(torchscript.pack(edited))
    refused(here / "s.pt", "a tensor that does not lie within its data")


@pytest.mark.parametrize("name", SURROGATES)
def test_what_this_package_writes_is_known(name, tmp_path):
    loaded = saved(made(*SURROGATES[name]), tmp_path / "s.pt")
    about, refusal = export.read_metadata(tmp_path / "s.pt")
    assert refusal == "" and about["y_names"] == list(loaded.metadata["y_names"])


def test_a_network_of_the_users_own_is_known_if_its_operators_are(parts, convolution, tmp_path):
    surrogate = Surrogate(**{**parts, "features": convolution})
    assert saved(surrogate, tmp_path / "own.pt").n_in == 4


def test_what_is_not_known_can_be_trusted(members, tmp_path):
    edited = dict(members)
    in_forward("_z = torch.stft(y, 1)")(edited)
    (tmp_path / "s.pt").write_bytes(torchscript.pack(edited))
    refused(tmp_path / "s.pt", "calls torch.stft")
    assert surrogates.load(tmp_path / "s.pt", trust=True).n_in == 5
