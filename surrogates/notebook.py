"""Tables in HTML, by which notebooks show datasets and surrogates. All text is escaped."""

from __future__ import annotations

import html
from collections.abc import Sequence

SHOWN = 12
"""Names in a list, and rows in a table, of many."""

Rows = Sequence[Sequence[str]]


def table(title: str, header: Sequence[str], rows: Rows) -> str:
    """Return a table with a title.

    Args:
        title: Above the table.
        header: Names of the columns, with numbers between the first and the last; none if empty,
            and the first column then names the rows.
        rows: Texts.
    """
    lines = [_cell("caption", title, "left; font-weight: bold")]
    if header:
        lines.append(f"<thead>{_row(['th'] * len(header), header)}</thead>")
    for row in rows:
        tags = ["td" if header else "th"] + ["td"] * (len(row) - 1)
        lines.append(_row(tags, row, numbers=bool(header)))
    return f"<table>{''.join(lines)}</table>"


def _row(tags: Sequence[str], texts: Sequence[str], *, numbers: bool = True) -> str:
    """Return a row; notebooks would align all cells to the right."""
    inner = range(1, len(texts) - 1) if numbers else ()
    cells = (
        _cell(tag, text, "right" if i in inner else "left")
        for i, (tag, text) in enumerate(zip(tags, texts, strict=True))
    )
    return f"<tr>{''.join(cells)}</tr>"


def _cell(tag: str, text: str, style: str) -> str:
    return f'<{tag} style="text-align: {style}">{html.escape(text)}</{tag}>'


def number(value: float) -> str:
    """Return a number as tables show it, with up to six digits."""
    return f"{value:.6g}"


def per_cent(share: float) -> str:
    """Return a share in per cent, with three digits."""
    return f"{100 * share:.3g} %"
