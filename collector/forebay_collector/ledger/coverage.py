"""Coverage: how far the verification in the background is with each stream. A *round* covers a table once, part by part.

Kept after each part, so that a round goes on where it was after restarts of either side.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

from sqlalchemy import RowMapping, insert, select, update

from forebay_collector.ledger import tables
from forebay_collector.ledger.database import Database
from forebay_collector.ledger.verify_tables import coverage
from forebay_wire.stream import StreamName

_OF_STREAM = [tables.stream.c.department, tables.stream.c.source, tables.stream.c.table_name]


@dataclass(frozen=True, slots=True)
class CoverageRecord:
    """Times in microseconds, 0: not yet. round: that goes on, from `began_at` on; 0 there: it has not begun. part_after:
    through where its parts came, empty: none. Counts and digests (hexadecimal sums): of its parts. covered_at: when the
    round before ended. next_at: when the next part is due. code, reason: why the last part could not be compared."""

    stream_id: int
    stream: StreamName
    round: int = 1
    began_at: int = 0
    part_after: str = ""
    source_rows: int = 0
    source_digest: str = ""
    platform_rows: int = 0
    platform_digest: str = ""
    missing: int = 0
    extra: int = 0
    different: int = 0
    in_flight: int = 0
    looked_at: int = 0
    covered_at: int = 0
    next_at: int = 0
    code: str = ""
    reason: str = ""

    @property
    def differing(self) -> int:
        return self.missing + self.extra + self.different


class Coverage:
    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, first_after: timedelta) -> None:
        """Streams that are not known here yet are: their first round is due after so long."""
        due = self._database.clock() + first_after // timedelta(microseconds=1)
        known = select(coverage.c.stream_id)
        query = select(tables.stream.c.id, *_OF_STREAM).where(tables.stream.c.id.not_in(known))
        with self._database.read() as connection:
            new = list(connection.execute(query))
        if not new:
            return
        with self._database.write() as connection:
            for number, *name in new:
                row = CoverageRecord(number, StreamName(*name), next_at=due)
                connection.execute(insert(coverage).values(**_values(row)))

    def due(self) -> list[CoverageRecord]:
        """Those whose next part is due: rounds that have begun first, then the one that waits for longest."""
        rows = self._select(coverage.c.next_at <= self._database.clock())
        return sorted(rows, key=lambda row: (not row.began_at, row.covered_at, row.next_at, row.stream_id))

    def listing(self, departments: frozenset[str] | None = None) -> list[CoverageRecord]:
        """By name."""
        rows = self._select()
        return sorted(
            (row for row in rows if departments is None or row.stream.department in departments),
            key=lambda row: str(row.stream),
        )

    def put(self, row: CoverageRecord) -> None:
        with self._database.write() as connection:
            connection.execute(update(coverage).where(coverage.c.stream_id == row.stream_id).values(**_values(row)))

    def _select(self, *conditions: Any) -> list[CoverageRecord]:
        query = (
            select(coverage, *_OF_STREAM)
            .join(tables.stream, tables.stream.c.id == coverage.c.stream_id)
            .where(*conditions)
        )
        with self._database.read() as connection:
            return [_to_record(row) for row in connection.execute(query).mappings()]


def _values(row: CoverageRecord) -> dict[str, Any]:
    return {each.name: getattr(row, each.name) for each in fields(row) if each.name != "stream"}


def _to_record(row: RowMapping) -> CoverageRecord:
    plain = {column.name: row[column.name] for column in coverage.c}
    return CoverageRecord(stream=StreamName(row["department"], row["source"], row["table_name"]), **plain)
