"""The memory of rows that re-read windows sealed already, so that they are not sent again unchanged.

A key stands here exactly with the digest of the row that was last sealed for it, or not at all; that makes it safe to
forget late. So a window that reads a remembered row again does not write it each time: an entry's window is renewed
after `RENEW` windows, and entries older than `KEEP` windows go, every `RENEW` windows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from forebay_agent.outbox.records import SeenChanges

RENEW: Final = 64
KEEP: Final = 2 * RENEW
LOOKUP_KEYS: Final = 1_000


def lookup(connection: sqlite3.Connection, stream: int, keys: Sequence[bytes]) -> dict[bytes, tuple[bytes, int]]:
    """key -> (row digest, window in which the entry was last written) of those of at most LOOKUP_KEYS keys that are
    remembered."""
    places = ",".join("?" * len(keys))
    rows = connection.execute(
        f"SELECT key, row, window_number FROM seen WHERE stream = ? AND key IN ({places})", (stream, *keys)
    )
    return {key: (row, window) for key, row, window in rows}


def next_window(window: int, changes: SeenChanges | None) -> int:
    """The number of the window that the next piece belongs to."""
    return window + 1 if changes is not None and changes.last_of_window else window


def change(connection: sqlite3.Connection, stream: int, window: int, changes: SeenChanges) -> None:
    """Within the caller's transaction. window: that of the piece."""
    if changes.forget_all:
        connection.execute("DELETE FROM seen WHERE stream = ?", (stream,))
    connection.executemany("DELETE FROM seen WHERE stream = ? AND key = ?", ((stream, key) for key in changes.forget))
    connection.executemany(
        "INSERT INTO seen (stream, key, row, window_number) VALUES (?, ?, ?, ?) ON CONFLICT (stream, key)"
        " DO UPDATE SET row = excluded.row, window_number = excluded.window_number",
        ((stream, key, row, window) for key, row in changes.remember),
    )
    if changes.last_of_window and window % RENEW == 0:
        connection.execute("DELETE FROM seen WHERE stream = ? AND window_number < ?", (stream, window - KEEP))
