"""Listings: aligned columns for people (a Chinese character takes two), JSON for programs.

Every listing is a list of flat dicts with the same keys; `--json` prints it as it is, the table shows it as text.
"""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TextIO

Row = Mapping[str, Any]

_SIZES: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def width(text: str) -> int:
    """Columns of a terminal that the text takes."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def print_json(value: object, out: TextIO) -> None:
    json.dump(value, out, ensure_ascii=False, indent=2, default=str)
    out.write("\n")


def print_table(
    rows: Sequence[Row],
    columns: Sequence[str],
    out: TextIO,
    *,
    right: frozenset[str] = frozenset(),
    heads: Sequence[str] | None = None,
) -> None:
    """Prints the named columns under their names, or under `heads` (none when empty); `right`: aligned to the right."""
    lines = [[shown(row[name]) for name in columns] for row in rows]
    if heads is None:
        heads = [name.replace("_", " ").upper() for name in columns]
    if heads:
        lines.insert(0, [shown(head) for head in heads])
    widths = [max(width(line[place]) for line in lines) for place in range(len(columns))]
    for line in lines:
        cells = (
            " " * (widths[place] - width(text)) + text
            if columns[place] in right
            else text + " " * (widths[place] - width(text))
            for place, text in enumerate(line)
        )
        out.write("  ".join(cells).rstrip() + "\n")


def print_csv(rows: Sequence[Sequence[object]], out: TextIO) -> None:
    csv.writer(out, lineterminator="\n").writerows(rows)


def shown(value: object) -> str:
    """A value as a cell: one line, control characters made visible."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def size(count: int) -> str:
    """Bytes as people read them: `12.3 MiB`."""
    amount = float(count)
    for unit in _SIZES:
        if amount < 1024 or unit == _SIZES[-1]:
            return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError("the last unit always returns")


def moment(at_us: int | None) -> str | None:
    """Microseconds since 1970 as ISO 8601 in UTC; None for 0, None, or what is beyond the calendar."""
    if not at_us:
        return None
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)).isoformat(timespec="milliseconds")
    except OverflowError:
        return None


def span(seconds: float | None) -> str | None:
    """A duration as people read it: `3.2 s`, `4 min`, `5.1 h`, `2.0 d`."""
    if seconds is None:
        return None
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3_600:.1f} h"
    return f"{seconds / 86_400:.1f} d"
