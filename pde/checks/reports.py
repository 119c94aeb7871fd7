"""The report of the checks of a problem, and its text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .taylor import Taylor

STATES = ("ok", "none", "note", "wrong")
"""Of a finding: right, not known, right but for a limit that users should know, wrong."""

_ROWS = 12  # of the table of remainders


@dataclass(frozen=True)
class Finding:
    """The finding of one check.

    Attributes:
        name: Name of the check.
        state: One of `STATES`.
        text: What was found, one line.
    """

    name: str
    state: str
    text: str


@dataclass(frozen=True, kw_only=True, repr=False)
class Report:
    """The findings of all checks of a problem; as a text, a table and a line of verdict.

    Attributes:
        problem: The problem's name.
        samples: Number of parameters at which it was checked.
        sizes: Numbers of parameters and of observables.
        mesh: The problem's line on its mesh.
        findings: What the checks found.
        table: The lines of a table of Taylor remainders; none without derivatives.
    """

    problem: str
    samples: int
    sizes: tuple[int, int]
    mesh: str
    findings: tuple[Finding, ...]
    table: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return all(finding.state != "wrong" for finding in self.findings)

    @property
    def verdict(self) -> str:
        """All findings in one line."""
        wrong, noted = (
            ", ".join(one.name for one in self.findings if one.state == state)
            for state in ("wrong", "note")
        )
        if wrong:
            return f"wrong: {wrong}"
        return f"nothing is wrong; see the notes on {noted}" if noted else "all is well"

    def __getitem__(self, name: str) -> Finding:
        """Return the finding of a check."""
        return next(one for one in self.findings if one.name == name)

    def __repr__(self) -> str:
        """Return the report as lines, as a notebook shows it."""
        n_y, n_c = self.sizes
        counts = {"parameter": n_y, "observable": n_c, "sample": self.samples}
        words = [f"{n} {word}" + "s" * (n != 1) for word, n in counts.items()]
        lines = [f"{self.problem}: {', '.join(words)}"]
        lines += [f"mesh: {self.mesh}"] * bool(self.mesh)
        rows = [(one.name, "-" if one.state == "none" else one.state) for one in self.findings]
        widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
        lines += [
            f"  {name:{widths[0]}}  {state:{widths[1]}}  {one.text}"
            for (name, state), one in zip(rows, self.findings, strict=True)
        ]
        lines += self.table
        return "\n".join([*lines, f"verdict: {self.verdict}"])


def taylor_table(tests: Sequence[Taylor]) -> tuple[str, ...]:
    """Return the table of the remainders on the line with the largest error; empty if none."""
    if not tests:
        return ()
    test = max(tests, key=lambda test: (bool(test.wrong.any()), test.certain))
    rows = list(zip(test.steps, test.remainders, strict=True))
    orders = ["", *("" if np.isnan(order) else f"{order:.2f}" for order in test.orders)]
    noise = 30 * test.noise
    shown = [i for i in range(len(rows)) if i < _ROWS]
    which = f" (the worst of {len(tests)} lines)" if len(tests) > 1 else ""
    return (
        f"Taylor test{which}: |c(y + h d) - c(y) - h dc/dy d|, relative to the change of c",
        "           h  remainder  order",
        *(
            f"  {rows[i][0]:10.3g}  {rows[i][1]:9.2e}  "
            + (f"{orders[i]:>5}" if rows[i][1] > noise else "noise" if rows[i][1] else "    0")
            for i in shown
        ),
    )


def percent(share: float) -> str:
    """Return a share in per cent, in two digits."""
    return f"{100 * share:.2g} %" if share < 10 else f"a factor of {share:.2g}"
