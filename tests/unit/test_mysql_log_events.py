"""What only MySQL writes into its log, made by hand: GTIDs, payloads, XA, partial JSON; and malformed events."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, cast
from uuid import UUID

import pytest
import zstandard

from forebay_agent.capture.log import EventKind, LogRows, LogTable, TableEvent
from forebay_agent.capture.mysql.log import payload
from forebay_agent.capture.mysql.log.charsets import Charsets
from forebay_agent.capture.mysql.log.checkpoint import Place
from forebay_agent.capture.mysql.log.definition import DefinedColumn, Definition
from forebay_agent.capture.mysql.log.events import Events
from forebay_agent.capture.mysql.log.followed import Reading
from forebay_agent.capture.mysql.log.names import Names
from forebay_agent.capture.mysql.log.prepared import Prepared
from forebay_agent.capture.mysql.log.tables import Part, Tables
from forebay_agent.capture.mysql.types import column_of
from forebay_agent.capture.source import TableName, TableShape
from forebay_agent.errors import LogGap, LogUnfit
from forebay_agent.kernel import binlog
from tests.reference import binlog_made as made
from tests.reference.binlog import packets
from tests.reference.binlog_made import BIGINT, SERVER, VARCHAR, Log, image, number, text

TABLE = TableName("d", "t")
ROWS, UPDATES, PARTIAL, PAYLOAD, XA_PREPARE, INCIDENT, TAGGED = 30, 31, 39, 40, 38, 26, 42


class _Memory:
    def __init__(self) -> None:
        self.kept: list[bytes] = []

    def append(self, record: bytes) -> None:
        self.kept.append(record)

    def records(self) -> Iterator[bytes]:
        return iter(self.kept)

    def close(self) -> None:
        self.kept = []


class _Catalogue:
    """A database that always says the same of `d.t`."""

    columns: tuple[DefinedColumn, ...] = (
        DefinedColumn("id", "bigint", nullable=False, has_default=False, generated=False),
        DefinedColumn("v", "varchar(85)", nullable=True, has_default=False, generated=False),
    )

    def definition(self, table: TableName) -> tuple[Definition, Place]:
        return Definition(table, self.columns, 0, versioned=False, transactional=True), Place("log.000001", 4)

    def holds(self, table: TableName, until: Place) -> bool:
        return True

    def key(self, table: TableName) -> tuple[str, ...]:
        return ("id",)


class _Utf8:
    """Character sets of a server that knows UTF-8 only."""

    def longest(self, name: str) -> int:
        return 3

    def name_of(self, collation: int) -> str:
        return "utf8mb3"

    def named(self, name: str) -> Any:
        from forebay_agent.capture.mysql.log.charsets import _Unicode

        return _Unicode("")


class ReadLog:
    """A log's events through scanner, events and tables, as the reader does it."""

    def __init__(self, *, mariadb: bool = False) -> None:
        charsets = cast("Charsets", _Utf8())
        names = Names("d", lower=False)
        self.scanner = binlog.LogScanner()
        self.scanner.set_file("log.000001", 4)
        self.tables = Tables(self.scanner, _Catalogue(), Reading(charsets, "", mariadb), names, lambda: "here")
        self.prepared = Prepared(_Memory)
        self.events = Events(
            self.scanner,
            self.tables,
            self.prepared,
            charsets,
            names,
            lambda: Place(*self.scanner.finished_at),
            mariadb=mariadb,
            passing=None,
        )
        shape = TableShape(
            TABLE, tuple(column_of(c.name, c.origin, as_text=False) for c in _Catalogue.columns), ("id",), ""
        )
        self.tables.follow([LogTable(TABLE, shape)])

    def read(self, log: Log) -> list[tuple[Any, ...]]:
        parts: list[Part] = []
        buffer = bytearray(packets(log.raw))
        at = 0
        while True:
            if self.events.working:
                stop, found = self.events.work()
            else:
                at = self.scanner.feed(buffer, at, len(buffer))
                stop = self.scanner.stop
                found = self.events.judged(stop, self.scanner.event_type, self.scanner.event)
            parts += found
            if stop == binlog.FULL:
                parts += self.tables.take()
            if stop == binlog.MORE and not self.events.working and at == len(buffer):
                break
        self.parts = [*parts, *self.tables.take()]
        return [
            row
            for part in self.parts
            for row in (
                [(part.kind,)]
                if isinstance(part, TableEvent)
                else [(each["_op"], each["id"], each["v"]) for each in part.rows.to_pylist()]
            )
        ]


def rows(log: Log, *ids: int, table_id: int = 7) -> None:
    log.table_map(table_id, "t", [BIGINT, VARCHAR])
    images = b"".join(image(number(each), text(f"v{each}")) for each in ids)
    log.rows(ROWS, table_id, 2, images)


def transaction(log: Log, gtid: int, *ids: int) -> None:
    log.mysql_gtid(gtid)
    log.query(b"BEGIN")
    rows(log, *ids)
    log.xid()


def inner(log: Log) -> bytes:
    """The events as they stand in a payload: without checksums."""
    return b"".join(raw[:9] + (len(raw) - 4).to_bytes(4, "little") + raw[13:-4] for raw in log.raw)


def packed(events: bytes, *, compression: int = 0, size: int | None = None) -> bytes:
    data = zstandard.ZstdCompressor().compress(events) if compression == 0 else events
    said = len(events) if size is None else size
    kind_of = bytes([compression]) if compression < 251 else b"\xfc" + compression.to_bytes(2, "little")
    fields = [(2, kind_of), (3, b"\xfd" + said.to_bytes(3, "little")), (1, b"\xfd" + len(data).to_bytes(3, "little"))]
    return b"".join(bytes([kind, len(value)]) + value for kind, value in fields) + b"\0" + data


def test_transactions_and_their_gtids_are_read() -> None:
    log = Log()
    transaction(log, 5, 1, 2)
    transaction(log, 6, 3)
    reading = ReadLog()
    assert reading.read(log) == [("c", 1, "v1"), ("c", 2, "v2"), ("c", 3, "v3")]
    assert reading.scanner.take_gtids() == [f"{SERVER}:5-6"]


@pytest.mark.parametrize("compression", [0, 255])
def test_a_compressed_payload_is_the_transaction_that_it_holds(compression: int) -> None:
    events = Log()
    events.query(b"BEGIN")
    rows(events, *range(3_000))
    events.xid()
    log = Log()
    log.mysql_gtid(5)
    log.add(PAYLOAD, packed(inner(events), compression=compression))
    transaction(log, 6, 5000)
    reading = ReadLog()
    reading.scanner.limits(100, 1 << 20, 500, 1 << 20)
    found = reading.read(log)
    assert found == [("c", each, f"v{each}") for each in (*range(3_000), 5000)]
    assert reading.scanner.finished == 2
    assert len([part for part in reading.parts if isinstance(part, LogRows)]) > 5


def test_a_malformed_payload_is_refused() -> None:
    events = Log()
    events.query(b"BEGIN")
    good = packed(inner(events))
    for bad in (
        good[:-3],
        good[:4],
        packed(inner(events), size=3),
        packed(inner(events), size=1000),
        packed(inner(events) + b"\x01" * 7),
        packed(b"\0" * 40),
        good.replace(b"\x02\x01\x00", b"\x02\x01\x09"),
        b"",
    ):
        with pytest.raises(ValueError):
            list(payload.events(bad))


def test_a_payload_is_inflated_piece_by_piece() -> None:
    """A small payload of very many bytes is never there all at once."""
    event = made.Log()
    event.add(29, b"x" * (8 << 20))
    raw = inner(event) * 12
    sizes = [len(body) for _, body in payload.events(packed_large(raw))]
    assert sizes == [8 << 20] * 12


def packed_large(events: bytes) -> bytes:
    data = zstandard.ZstdCompressor().compress(events)
    return b"\x02\x01\x00\x00" + data


def test_an_xa_transaction_of_mysql_takes_effect_with_its_commit() -> None:
    log = Log()
    log.mysql_gtid(5)
    log.query(b"XA START X'61',X'',1")
    rows(log, 1)
    log.query(b"XA END X'61',X'',1")
    log.add(XA_PREPARE, b"\0" + (1).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes(4) + b"a")
    transaction(log, 6, 2)
    log.mysql_gtid(7)
    log.query(b"XA COMMIT X'61',X'',1")
    transaction(log, 8, 3)
    reading = ReadLog()
    assert reading.read(log) == [("c", 2, "v2"), ("c", 1, "v1"), ("c", 3, "v3")]
    assert reading.scanner.take_gtids() == [f"{SERVER}:5-8"]
    assert reading.prepared.oldest is None


def test_a_definition_stands_alone_and_one_with_rows_goes_on() -> None:
    log = Log()
    log.mysql_gtid(5)
    log.query(b"CREATE TABLE other (id int)")
    log.mysql_gtid(6)
    log.query(b"BEGIN")
    log.query(b"CREATE TABLE `another` (`id` bigint) START TRANSACTION")
    rows(log, 1)
    log.xid()
    log.mysql_gtid(7)
    log.query(b"TRUNCATE TABLE t")
    reading = ReadLog()
    assert reading.read(log) == [("c", 1, "v1"), (EventKind.TRUNCATED,)]
    assert reading.scanner.take_gtids() == [f"{SERVER}:5-7"]


def test_a_log_without_gtids_is_read() -> None:
    log = Log()
    log.query(b"BEGIN")
    rows(log, 1)
    log.query(b"COMMIT")
    log.query(b"TRUNCATE TABLE t")
    log.query(b"BEGIN")
    rows(log, 2)
    log.xid()
    reading = ReadLog()
    assert reading.read(log) == [("c", 1, "v1"), (EventKind.TRUNCATED,), ("c", 2, "v2")]
    assert reading.scanner.finished == 3


def test_partial_json_loses_the_table_with_the_cure() -> None:
    log = Log()
    log.mysql_gtid(5)
    log.query(b"BEGIN")
    rows(log, 1)
    log.add(PARTIAL, made.rows_body(UPDATES, 7, 2, image(number(1), text("a")) + image(number(1), text("b"))))
    log.xid()
    transaction(log, 6, 2)
    reading = ReadLog()
    assert reading.read(log) == [("c", 1, "v1"), (EventKind.LOST,)]
    (event,) = (part for part in reading.parts if isinstance(part, TableEvent))
    assert isinstance(event.error, LogUnfit)
    assert event.error.sql == "SET GLOBAL binlog_row_value_options = '';"


def test_an_incident_loses_everything() -> None:
    log = Log()
    log.mysql_gtid(5)
    log.add(INCIDENT, b"\x01\x00\x04lost")
    reading = ReadLog()
    assert reading.read(log) == [(EventKind.LOST,)]
    assert isinstance(cast("TableEvent", reading.parts[0]).error, LogGap)


def test_a_transaction_of_which_the_server_lost_the_end_leaves_nothing() -> None:
    log = Log()
    log.mysql_gtid(5)
    log.query(b"BEGIN")
    rows(log, 1)
    log.add(15, b"\x04\x00" + bytes(50) + bytes(4) + b"\x13" + bytes(40) + b"\x01", flags=0)
    transaction(log, 6, 2)
    reading = ReadLog()
    assert reading.read(log) == [("c", 2, "v2")]
    assert reading.scanner.take_gtids() == [f"{SERVER}:6"]


def test_rows_of_mariadb_s_compressed_events_are_inflated() -> None:
    log = Log()
    log.gtid(5, more=bytes(6))
    log.table_map(7, "t", [BIGINT, VARCHAR])
    images = b"".join(image(number(each), text("x" * 50)) for each in range(100))
    body = made.rows_body(ROWS, 7, 2, b"")
    log.add(169, body + b"\x82" + len(images).to_bytes(2, "big") + zlib.compress(images))
    log.xid()
    assert len(ReadLog(mariadb=True).read(log)) == 100


@pytest.mark.parametrize(
    "tail",
    [
        b"\x82\xff\xff" + zlib.compress(b"x"),
        b"\x84\xff\xff\xff\xff" + zlib.compress(b"x"),
        b"\x02\x00\x01x",
        b"\x82\x00",
        b"",
        b"\x81\x05nozlib",
    ],
)
def test_malformed_compressed_rows_are_refused(tail: bytes) -> None:
    log = Log()
    log.gtid(5)
    log.table_map(7, "t", [BIGINT, VARCHAR])
    log.add(169, made.rows_body(ROWS, 7, 2, b"") + tail)
    with pytest.raises(ValueError):
        ReadLog(mariadb=True).read(log)


@pytest.mark.parametrize("kind", [TAGGED, 20, 130])
def test_events_that_are_not_known_are_refused_unless_they_say_that_they_may_be_passed_over(kind: int) -> None:
    log = Log()
    log.add(kind, b"anything at all")
    with pytest.raises(ValueError, match="unknown type"):
        ReadLog().read(log)
    harmless = Log()
    harmless.add(kind, b"anything at all", flags=0x80)
    transaction(harmless, 5, 1)
    assert ReadLog().read(harmless) == [("c", 1, "v1")]


@pytest.mark.parametrize("server", [UUID(int=1), SERVER])
def test_rows_of_a_table_that_the_transaction_does_not_name_are_refused(server: UUID) -> None:
    log = Log()
    log.mysql_gtid(5, server=server)
    log.query(b"BEGIN")
    log.rows(ROWS, 99, 2, image(number(1), text("a")))
    with pytest.raises(ValueError, match="table id 99"):
        ReadLog().read(log)
