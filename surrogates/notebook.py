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
        header: Names of the columns; none if empty, and the first column then names the rows.
        rows: Texts.
    """
    lines = [f"<caption>{html.escape(title)}</caption>"]
    if header:
        cells = "".join(f"<th>{html.escape(text)}</th>" for text in header)
        lines.append(f"<thead><tr>{cells}</tr></thead>")
    for first, *others in rows:
        tag = "td" if header else "th"
        cells = "".join(f"<td>{html.escape(text)}</td>" for text in others)
        lines.append(f"<tr><{tag}>{html.escape(first)}</{tag}>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def number(value: float) -> str:
    """Return a number as tables show it, with up to six digits."""
    return f"{value:.6g}"
