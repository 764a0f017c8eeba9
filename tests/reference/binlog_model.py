"""What the scanner of the binlog kernel must do with a series of events, in plain Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from forebay_agent.kernel.binlog_table import WireColumn
from tests.reference import binlog_values
from tests.reference.binlog import (
    ANONYMOUS,
    DELETE,
    GTID,
    MARIADB_GTID,
    QUERY,
    TABLE_MAP,
    UPDATE,
    WRITE,
    XID,
    Event,
    Reader,
    Row,
    TableMap,
    changes,
    committed_at,
    gtid_text,
    table_map,
)
from tests.reference.binlog_values import Malformed, Partial

PLAIN: Final = (*WRITE, *UPDATE, *DELETE)
OTHER_ROWS: Final = (*range(166, 172), 39)

Choose = Callable[[TableMap], Sequence[WireColumn] | None]


class Model:
    """rows: by layout (types and metadata) of the tables that `choose` follows. gtids: of the transactions that have ended."""

    def __init__(self, file: str, choose: Choose) -> None:
        self.file = file
        self.choose = choose
        self.rows: dict[bytes, list[Row]] = {}
        self.maps: dict[int, tuple[bytes, bytes, Sequence[WireColumn] | None, int]] = {}
        self.gtids: list[str] = []
        self.serial = 0
        self.open_rows = 0
        self.gtid = ""
        self.moment = 0
        self.in_transaction = False
        self.finished = 0
        self.partial: list[int] = []

    def event(self, event: Event) -> None:
        """Raises Malformed; the rows before the place are kept."""
        kind, body = event.kind, event.body
        if kind in (MARIADB_GTID, GTID, ANONYMOUS):
            self._gtid(event)
        elif kind == XID or (kind == QUERY and self.in_transaction and _statement(body) == b"COMMIT"):
            self._finish()
        elif kind == QUERY and not self.in_transaction and _statement(body) == b"BEGIN":
            self._begin("", event.timestamp * 1_000_000)
        elif kind == TABLE_MAP:
            self._table_map(body)
        elif kind in PLAIN or kind in OTHER_ROWS:
            self._rows(event)
        elif kind == 27 and len(body) > 512:
            raise Malformed("heartbeat")
        elif kind == 41:
            _heartbeat(body)

    def _gtid(self, event: Event) -> None:
        body = Reader(event.body)
        if event.kind == MARIADB_GTID:
            body.take(12)
            flags = body.number(1)
            if flags & 192:
                body.take(8 if flags & 2 else 0)
                body.take(6)
        else:
            body.take(25)
        self._begin(gtid_text(event), committed_at(event))

    def _begin(self, gtid: str, moment: int) -> None:
        if self.in_transaction and self.open_rows:
            raise Malformed("in a transaction")
        self.in_transaction = True
        self.serial += 1
        self.open_rows = 0
        self.gtid, self.moment = gtid, moment

    def _finish(self) -> None:
        if self.gtid and self.in_transaction:
            self.gtids.append(self.gtid)
        self.in_transaction = False
        self.open_rows = 0
        self.finished += 1

    def _table_map(self, body: bytes) -> None:
        if len(body) < 8:
            raise Malformed("table map")
        table_id = int.from_bytes(body[:6], "little")
        known = self.maps.get(table_id)
        if known is not None and known[0] == body:
            self.maps[table_id] = (*known[:3], self.serial)
            return
        self.maps.pop(table_id, None)
        try:
            found = table_map(body)
            columns = self.choose(found)
        except Malformed:
            return
        self.maps[table_id] = (body, layout(found), columns, self.serial)

    def _rows(self, event: Event) -> None:
        if len(event.body) < 8:
            raise Malformed("rows")
        if not self.in_transaction:
            raise Malformed("outside any transaction")
        table_id = int.from_bytes(event.body[:6], "little")
        _, name, columns, serial = self.maps.get(table_id, (b"", b"", None, 0))
        if columns is None or serial != self.serial or event.kind not in PLAIN:
            return
        place = f"{self.file}:{event.start}"
        position = f"{self.gtid}@{place}" if self.gtid else place
        rows = self.rows.setdefault(name, [])
        try:
            for op, image in changes(event.kind, event.body, columns):
                values: tuple[Any, ...] = tuple(
                    [
                        binlog_values.value(column, raw)
                        for column, raw in zip(columns, image, strict=True)
                        if column.target
                    ]
                )
                rows.append(Row(op, position, self.moment or None, values))
                self.open_rows += 1
        except Partial:
            self.partial.append(table_id)


def layout(found: TableMap) -> bytes:
    return found.types + b"".join(found.metadata)


def _statement(body: bytes) -> bytes | None:
    if len(body) < 13:
        return None
    at = 13 + int.from_bytes(body[11:13], "little") + body[8] + 1
    return body[at:] if at <= len(body) else None


def _heartbeat(body: bytes) -> None:
    reader = Reader(body)
    while reader.at < len(body):
        try:
            kind = reader.length()
        except Malformed:
            kind = -1
        if kind == 0:
            return
        reader.take(reader.length())
