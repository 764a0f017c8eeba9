"""How far a department's tables were captured when something struck: what was committed later may lack in a history, where
the remedy is a snapshot; what was committed before may not."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from forebay_wire.seal import parse_header
from tests.faults.clock import CLOCK
from tests.faults.fleet import COLLECTOR, Fleet
from tests.faults.intent import Table

_NEAR_S: Final = 1.0
"""servers stamp a transaction a moment before others can see it, MariaDB's log in whole seconds"""


def captured_until(fleet: Fleet, place: str, *, outbox: bool) -> dict[Table, float]:
    """Table -> the moment (of the harness's clock) of the newest commit that the ledger holds, or with `outbox` the agent's
    outbox; before everything where neither holds one. Raises OSError or sqlite3.Error where one cannot be read now."""
    department = fleet.departments[place]
    newest = dict.fromkeys(map(department.stream, department.tables), 0)
    with fleet.looking:
        if outbox:
            with fleet.members[place].disk.reading, reading(fleet.state(place) / "outbox.db") as connection:
                query = (
                    "SELECT s.department || '/' || s.source || '/' || s.name, b.header"
                    " FROM batch b JOIN stream s ON s.id = b.stream"
                )
                for stream, header in connection.execute(query):
                    newest[stream] = max(newest.get(stream, 0), parse_header(header).last_committed_at_us)
        with fleet.members[COLLECTOR].disk.reading, reading(fleet.data / "ledger.db") as connection:
            query = (
                "SELECT s.department || '/' || s.source || '/' || s.table_name, max(b.last_committed_at)"
                " FROM batch b JOIN stream s ON s.id = b.stream_id WHERE s.department = ? GROUP BY 1"
            )
            for stream, at in connection.execute(query, (department.name,)):
                newest[stream] = max(newest.get(stream, 0), at)
    now, wall = CLOCK.now, time.time()
    return {table: now - (wall - newest[department.stream(table)] / 1_000_000) - _NEAR_S for table in department.tables}


@contextlib.contextmanager
def reading(file: Path) -> Iterator[sqlite3.Connection]:
    """As of one moment. Raises FileNotFoundError where there is none."""
    if not file.exists():
        raise FileNotFoundError(file)
    with contextlib.closing(
        sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5, isolation_level=None)
    ) as connection:
        connection.execute("BEGIN")
        yield connection
