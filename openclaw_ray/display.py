"""Words and figures as people read them: escaped, aligned, in text and in HTML.

Whatever comes from tasks (names, errors, results) passes through `escape` before a terminal sees it, and through
`html_text` before a notebook does. Must not know where its values come from; imports nothing that takes time.
"""

from __future__ import annotations

import html
import math
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

#: Rows of a table in a notebook; the rest is one line "… n more".
ROWS_MAX = 20
#: A cell of a table: the start of a value, never a page.
CELL_MAX = 60

#: Change how the text around them is read or drawn: direction marks and embeddings, zero-width and invisible letters.
_INVISIBLE = frozenset({
    *range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070), 0x061C, 0x180E, 0xFEFF, 0x00AD,
    *range(0xFFF9, 0xFFFC), *range(0xE0000, 0xE0080),
})  # fmt: skip
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\x1b": "\\x1b"}
_WIDE = frozenset("WF")

_DAY, _HOUR, _MINUTE = 86_400, 3_600, 60


def escape(text: object, limit: int | None = None) -> str:
    """One line that is safe on any terminal: control characters, escape sequences and direction marks become visible.

    Args:
        text: Anything; other than text is taken as `str` gives it.
        limit: Longest result in letters; a longer one ends in an ellipsis. None: as long as it is.
    """
    line = str(text)
    if limit is not None:
        line = line[: limit + 1]  # nothing beyond it will be seen: do not walk through a megabyte
    if not (line.isascii() and line.isprintable()):
        line = "".join(map(_visible, line))
    if limit is not None and len(line) > limit:
        line = line[: max(limit - 1, 0)] + "…"
    return line


def _visible(letter: str) -> str:
    if letter in _SHORT:
        return _SHORT[letter]
    code = ord(letter)
    if code in _INVISIBLE or unicodedata.category(letter) in {"Cc", "Cs", "Cf", "Zl", "Zp", "Co"}:
        return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
    return letter


def html_text(text: object, limit: int | None = None) -> str:
    """Text for HTML, also inside quotes: markup and what `escape` shows are both made harmless."""
    return html.escape(escape(text, limit), quote=True)


def width(text: str) -> int:
    """Columns of a terminal that a line takes: Chinese letters and emoji take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in _WIDE else 1
        for letter in text
    )


def fit(text: str, columns: int) -> str:
    """A line cut to a number of columns, with an ellipsis where something was cut."""
    if width(text) <= columns:
        return text
    taken, used = [], 1
    for letter in text:
        used += width(letter)
        if used > columns:
            break
        taken.append(letter)
    return "".join(taken) + "…"


def duration(seconds: float | None) -> str:
    """A length of time in at most two units: ``42 ms``, ``9.4s``, ``2m 05s``, ``3d 4h``; ``-`` for none."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    if seconds < 0:
        return "-" + duration(-seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE:02d}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE:02d}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR}h"


def seconds_until(moment: str) -> float:
    """Seconds from now, by this machine's clock, until an ISO time; 0 when it has passed."""
    return max(0.0, (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds())


def seconds_since(moment: str) -> float:
    """Seconds, by this machine's clock, since an ISO time; 0 when it is to come."""
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())


def ago(seconds: float | None) -> str:
    """How long ago something was: ``just now``, ``42s ago``; ``never`` for none."""
    if seconds is None:
        return "never"
    return "just now" if seconds < 1 else f"{duration(seconds)} ago"


def bytes_(count: float | None) -> str:
    """An amount of data: ``512 B``, ``11.2 GiB``; ``-`` for none."""
    if count is None:
        return "-"
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def number(count: float) -> str:
    """A count with thousands set apart."""
    return f"{count:,}"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, cell_max: int = CELL_MAX) -> str:
    """Rows under their headings as plain text, one line each, aligned by columns of a terminal.

    Numbers stand to the right; every cell is escaped and cut at `cell_max` columns.
    """
    raw = [list(row) for row in rows]
    cells = [[fit(_cell(value), cell_max) for value in row] for row in raw]
    right = [bool(raw) and all(isinstance(row[i], int | float) for row in raw) for i in range(len(columns))]
    widths = [max([width(name), *(width(row[i]) for row in cells)]) for i, name in enumerate(columns)]
    lines = [_line([name.upper() for name in columns], widths, right)]
    lines += [_line(row, widths, right) for row in cells]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = [
        " " * (widths[i] - width(cell)) + cell if right[i] else cell + " " * (widths[i] - width(cell))
        for i, cell in enumerate(cells)
    ]
    return "  ".join(padded).rstrip()


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, list | tuple):
        return escape(", ".join(map(str, value)), CELL_MAX * 2)
    return escape(value, CELL_MAX * 2)


#: Colours of the notebook where it has some (light and dark follow from it), readable ones elsewhere; no script.
_STYLE = {
    "box": "border:1px solid var(--jp-border-color2, #bbb);border-radius:4px;padding:6px 10px;margin:2px 0;"
    "color:var(--jp-content-font-color1, inherit);font-family:var(--jp-ui-font-family, sans-serif);font-size:13px;",
    "table": "border-collapse:collapse;font-size:13px;color:var(--jp-content-font-color1, inherit);",
    "th": "text-align:left;padding:2px 10px 2px 0;border-bottom:1px solid var(--jp-border-color2, #bbb);",
    "td": "text-align:left;padding:2px 10px 2px 0;white-space:nowrap;",
    "note": "color:var(--jp-content-font-color2, #777);",
    "pre": "white-space:pre-wrap;margin:4px 0 0 0;font-size:12px;",
}


def html_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, total: int | None = None) -> str:
    """At most `ROWS_MAX` rows as an HTML table, and how many more there are.

    Args:
        columns: Headings.
        rows: Cells; all are escaped.
        total: How many rows there are in all, when `rows` is only their beginning.
    """
    head = "".join(f'<th style="{_STYLE["th"]}">{html_text(name)}</th>' for name in columns)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_STYLE["td"]}">{html.escape(_cell(v))}</td>' for v in row) + "</tr>"
        for row in rows[:ROWS_MAX]
    )
    more = (len(rows) if total is None else total) - min(len(rows), ROWS_MAX)
    note = f'<div style="{_STYLE["note"]}">… {more:,} more</div>' if more > 0 else ""
    return f'<table style="{_STYLE["table"]}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}'


def html_card(title: str, facts: Sequence[tuple[str, object]] = (), *, body: str = "", text: str = "") -> str:
    """A box with a title, named facts, and a body.

    Args:
        title: Its first line; escaped, as the facts are.
        facts: Name and value.
        body: HTML that was made by the functions here.
        text: Text of several lines, shown as it is (a traceback); escaped line by line.
    """
    rows = "".join(
        f'<span style="{_STYLE["note"]}">{html_text(name)}</span> {html_text(value, 400)}&emsp;'
        for name, value in facts
    )
    shown = "\n".join(html_text(line) for line in text.splitlines())
    pre = f'<pre style="{_STYLE["pre"]}">{shown}</pre>' if shown else ""
    return f'<div style="{_STYLE["box"]}"><b>{html_text(title)}</b><div>{rows}</div>{body}{pre}</div>'


def html_bar(done: float, total: float | None, text: str) -> str:
    """A progress bar and what it says; without a total only the words."""
    share = 0.0 if not total else max(0.0, min(1.0, done / total))
    bar = "height:8px;border-radius:4px;"
    return (
        f'<div style="{_STYLE["box"]}"><div style="background:var(--jp-layout-color3, #ddd);{bar}">'
        f'<div style="width:{share * 100:.1f}%;background:var(--jp-brand-color1, #3a7bd5);{bar}">'
        f"</div></div>{html_text(text)}</div>"
    )


def bundle(text: str, html_form: str) -> dict[str, Any]:
    """What a notebook is given: both forms, made of one snapshot."""
    return {"text/plain": text, "text/html": html_form}
