"""The lines of a survey file: text in UTF-8, UTF-16 or Latin-1, comments, numbers."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from surrogates.errors import InputError
from surrogates.files import reading


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a file.

    Attributes:
        file: The file's name, for messages.
        number: Its number from 1.
        text: Its text without the comment.
        comment: Its comment without the mark; None if there is none.
    """

    file: str
    number: int
    text: str
    comment: str | None = None

    @property
    def words(self) -> list[str]:
        """The words of the text."""
        return self.text.split()

    def refuse(self, why: str) -> NoReturn:
        """Raise `InputError` about this line."""
        raise InputError(f"{self.file}, line {self.number}: {why}")

    def check(self, condition: bool, why: str) -> None:
        """Raise `InputError` about this line unless ``condition`` holds."""
        if not condition:
            self.refuse(why)

    def numbers(self, words: Sequence[str] | None = None) -> list[float]:
        """Return the words as finite numbers."""
        return [self.number_of(word) for word in (self.words if words is None else words)]

    def number_of(self, word: str, what: str = "a number", *, finite: bool = True) -> float:
        """Return a word as a number, refused if it must be finite and is not."""
        try:
            value = float(re.sub("[dD]", "e", word))  # Fortran writes exponents with D
        except ValueError:
            hint = "; write a decimal point" if re.fullmatch(r"[-+]?\d*,\d+", word) else ""
            self.refuse(f"expected {what}; got {word[:30]!r}{hint}")
        self.check(math.isfinite(value) or not finite, f"expected {what}; got {word!r}")
        return value

    def whole(self, what: str, word: str | None = None) -> int:
        """Return a word, or the line's only one, as a whole number."""
        words = self.words if word is None else [word]
        self.check(len(words) == 1, f"expected {what}; got {self.text.strip()[:40]!r}")
        value = self.number_of(words[0], what)
        self.check(value == int(value), f"expected {what}; got {words[0]!r}")
        return int(value)


def text_of(path: str | os.PathLike[str]) -> str:
    """Return the text of a file; what is not UTF-8 or UTF-16 is read as Latin-1.

    The end that DOS marks, Ctrl-Z, ends the text.

    Raises:
        InputError: If there is no such file, it cannot be read, or it is not text.
    """
    with reading(path, "survey file"):
        content = Path(path).read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", errors="replace")
    if b"\0" in content:
        raise InputError(f"{path} is not a survey file: it holds bytes that are no text")
    try:
        return content.split(b"\x1a")[0].decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.split(b"\x1a")[0].decode("latin-1")


def lines_of(path: str | os.PathLike[str], mark: str = "#") -> list[Line]:
    """Return the lines of a file that are not blank; comments start with ``mark``."""
    found = []
    # str.splitlines would divide lines at characters of Windows' code pages, such as \x85.
    for i, line in enumerate(re.split("\r\n|\r|\n", text_of(path)), start=1):
        text, there, comment = line.partition(mark)
        if text.strip() or there:
            kept = comment if there else None
            found.append(Line(file=str(path), number=i, text=text, comment=kept))
    return found
