"""Listings: aligned columns for people (a Chinese character takes two), JSON for programs.

A listing is a list of flat dicts with the same keys; `--json` prints it as it is, the table shows it as text.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TextIO

from forebay_agent.cli.problems import visible

Row = Mapping[str, Any]

_SIZES: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def print_json(value: object, out: TextIO) -> None:
    json.dump(value, out, ensure_ascii=False, indent=2, default=str)
    out.write("\n")


def table(rows: Sequence[Row], columns: Sequence[str]) -> Iterator[str]:
    """The named columns under their names, numbers to the right, line by line."""
    numeric = {name for name in columns if rows and all(isinstance(row[name], int | float | None) for row in rows)}
    texts = [[shown(row[name]) for name in columns] for row in rows]
    heads = [name.replace("_", " ").upper() for name in columns]
    widths = [max(width(line[place]) for line in [heads, *texts]) for place in range(len(columns))]
    for line in [heads, *texts]:
        cells = [_padded(text, widths[place], right=columns[place] in numeric) for place, text in enumerate(line)]
        yield "  ".join(cells).rstrip()


def width(text: str) -> int:
    """Columns of a terminal that the text takes."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def shown(value: object) -> str:
    """A value as a cell."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return visible(str(value))


def size(count: int) -> str:
    """Bytes as people read them: `12.3 MiB`."""
    amount = float(count)
    for unit in _SIZES:
        if amount < 1024 or unit == _SIZES[-1]:
            return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError("the last unit always returns")


def moment(at_us: int) -> str:
    """Microseconds since 1970 as ISO 8601 in UTC; empty for 0."""
    if not at_us:
        return ""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)).isoformat(timespec="seconds")


def span(seconds: float) -> str:
    """A duration as people read it: `3.2 s`, `4 min`, `5.1 h`, `2.0 d`."""
    for most, per, unit in ((120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h")):
        if seconds < most:
            return f"{seconds / per:.{0 if unit == 'min' else 1}f} {unit}"
    return f"{seconds / 86_400:.1f} d"


def _padded(text: str, columns: int, *, right: bool) -> str:
    space = " " * (columns - width(text))
    return space + text if right else text + space
