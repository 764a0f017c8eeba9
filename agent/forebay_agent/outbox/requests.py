"""What people ask of a running agent through its outbox: to take a range of a table's keys anew.

Asked by another process (`forebay-agent snapshot`), taken up by the thread that captures the stream, and forgotten once
the stream's checkpoint says so.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from forebay_wire.key_range import KeyRange
from forebay_wire.stream import StreamName


@dataclass(frozen=True, slots=True)
class RangeRequest:
    """One request; `who` and `why` for the audit."""

    id: int
    name: StreamName
    key_range: KeyRange
    who: str
    why: str


def add(connection: sqlite3.Connection, stream: int, key_range: KeyRange, *, at_us: int, who: str, why: str) -> None:
    connection.execute(
        "INSERT INTO request (stream, at_us, who, why, at_least, through) VALUES (?, ?, ?, ?, ?, ?)",
        (stream, at_us, who, why, key_range.at_least, key_range.through),
    )


def waiting(connection: sqlite3.Connection, department: str, source: str) -> list[RangeRequest]:
    """Of one source, oldest first."""
    rows = connection.execute(
        "SELECT request.id, name, at_least, through, who, why FROM request JOIN stream ON stream.id = request.stream"
        " WHERE done = 0 AND department = ? AND source = ? ORDER BY request.id",
        (department, source),
    )
    return [
        RangeRequest(number, StreamName(department, source, name), KeyRange(at_least, through), who, why)
        for number, name, at_least, through, who, why in rows
    ]


def finish(connection: sqlite3.Connection, number: int) -> None:
    """It was taken up; it stays for the audit."""
    connection.execute("UPDATE request SET done = 1 WHERE id = ?", (number,))
