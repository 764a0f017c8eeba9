"""Events of a MySQL or MariaDB binary log, and its rows as Python values; from the servers' documentation and sources."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from forebay_agent.kernel.binlog_table import WireColumn
from tests.reference import binlog_values
from tests.reference.binlog_values import Malformed, Partial

MAGIC: Final = b"\xfebin"
FULL_PACKET: Final = 0xFFFFFF
QUERY, ROTATE, FORMAT, XID, TABLE_MAP, GTID, ANONYMOUS, MARIADB_GTID = 2, 4, 15, 16, 19, 33, 34, 162
WRITE, UPDATE, DELETE = (23, 30), (24, 31), (25, 32)


@dataclass(frozen=True, slots=True)
class Event:
    """body: without header and checksum. raw: all of it."""

    timestamp: int
    kind: int
    server: int
    start: int
    flags: int
    body: bytes
    raw: bytes


@dataclass(frozen=True, slots=True)
class TableMap:
    table_id: int
    schema: str
    table: str
    types: bytes
    metadata: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """values: of the columns that are captured, UNFIT where one cannot be held."""

    op: str
    position: str
    committed_at: int | None
    values: tuple[Any, ...]


def event_of(raw: bytes, *, checksum: bool) -> Event:
    """Raises Malformed."""
    if len(raw) < 19:
        raise Malformed("header")
    timestamp, kind, server, size, end, flags = struct.unpack_from("<IBIIIH", raw)
    if size != len(raw):
        raise Malformed("size")
    always = kind == FORMAT
    if checksum or always:
        if len(raw) < 23 or (checksum and zlib.crc32(raw[:-4]) != int.from_bytes(raw[-4:], "little")):
            raise Malformed("checksum")
        return Event(timestamp, kind, server, max(end - size, 0), flags, raw[19:-4], raw)
    return Event(timestamp, kind, server, max(end - size, 0), flags, raw[19:], raw)


def file_events(log: bytes) -> list[Event]:
    """The events of a log file. A server that still writes it has a flag set that it does not count in the checksum."""
    assert log[:4] == MAGIC
    found: list[Event] = []
    checksum = False
    at = 4
    while at < len(log):
        size = int.from_bytes(log[at + 9 : at + 13], "little")
        raw = log[at : at + size]
        if raw[4] == FORMAT:
            raw = raw[:17] + bytes([raw[17] & 0xFE]) + raw[18:]
            checksum = raw[-5] == 1
        found.append(event_of(raw, checksum=checksum))
        at += size
    return found


def packets(events: Iterable[bytes], sequence: int = 1) -> bytes:
    """Events as the server sends them."""
    sent = bytearray()
    for event in events:
        payload = b"\0" + event
        while True:
            part, payload = payload[:FULL_PACKET], payload[FULL_PACKET:]
            sent += len(part).to_bytes(3, "little") + bytes([sequence & 255]) + part
            sequence += 1
            if len(part) < FULL_PACKET:
                break
    return bytes(sent)


def made(kind: int, body: bytes, *, end: int = 0, timestamp: int = 1_700_000_000, flags: int = 0) -> bytes:
    """An event of server 1 with a checksum."""
    size = 19 + len(body) + 4
    event = struct.pack("<IBIIIH", timestamp, kind, 1, size, end, flags) + body
    return event + zlib.crc32(event).to_bytes(4, "little")


class Reader:
    """Takes a body apart."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    def take(self, size: int) -> bytes:
        if size < 0 or self.at + size > len(self.data):
            raise Malformed("cut short")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def length(self) -> int:
        first = self.number(1)
        if first < 251:
            return first
        if first not in (252, 253, 254):
            raise Malformed("length")
        return self.number({252: 2, 253: 3, 254: 8}[first])


def metadata_bytes(kind: int) -> int:
    if kind in (4, 5, 17, 18, 19, 140, 242, 245, 249, 250, 251, 252, 255):
        return 1
    return 2 if kind in (15, 16, 141, 246, 247, 248, 253, 254) else 0


def table_map(body: bytes) -> TableMap:
    reader = Reader(body)
    table_id = reader.number(6)
    reader.take(2)
    names = []
    for _ in range(2):
        names.append(reader.take(reader.number(1)).decode(errors="replace"))
        reader.take(1)
    types = reader.take(reader.length())
    block = Reader(reader.take(reader.length()))
    metadata = tuple(block.take(metadata_bytes(kind)) for kind in types)
    if block.at != len(block.data):
        raise Malformed("metadata")
    return TableMap(table_id, names[0], names[1], types, metadata)


def images(kind: int, body: bytes, columns: Sequence[WireColumn]) -> Iterator[tuple[list[bytes | None], ...]]:
    """Per row its images (UPDATE: old and new), per column the value's bytes or None."""
    reader = Reader(body)
    reader.take(8)
    if kind >= 30:
        extra = reader.number(2)
        if extra < 2:
            raise Malformed("extra data")
        reader.take(extra - 2)
    width = reader.length()
    if width != len(columns):
        raise Malformed("width")
    count = 2 if kind in UPDATE else 1
    present = [reader.number((width + 7) // 8) for _ in range(count)]
    if any(bits & ((1 << width) - 1) != (1 << width) - 1 for bits in present):
        raise Partial
    while reader.at < len(body):
        yield tuple([_image(reader, columns) for _ in range(count)])


def _image(reader: Reader, columns: Sequence[WireColumn]) -> list[bytes | None]:
    nulls = reader.number((len(columns) + 7) // 8)
    values: list[bytes | None] = []
    for number, column in enumerate(columns):
        if nulls >> number & 1:
            values.append(None)
            continue
        fixed, prefix, most = binlog_values.layout(column)
        size = fixed if not prefix else reader.number(prefix)
        if size > most:
            raise Malformed("value too long")
        values.append(reader.take(size))
    return values


def changes(kind: int, body: bytes, columns: Sequence[WireColumn]) -> Iterator[tuple[str, list[bytes | None]]]:
    """(op, image) per row that is to come out."""
    for found in images(kind, body, columns):
        if kind in WRITE:
            yield "c", found[0]
        elif kind in DELETE:
            yield "d", found[0]
        elif any(column.key and found[0][n] != found[1][n] for n, column in enumerate(columns)):
            yield "d", found[0]
            yield "c", found[1]
        else:
            yield "u", found[1]


def gtid_text(event: Event) -> str:
    if event.kind == MARIADB_GTID:
        number, domain = struct.unpack_from("<QI", event.body)
        return f"{domain}-{event.server}-{number}"
    uuid = event.body[1:17].hex()
    text = f"{uuid[:8]}-{uuid[8:12]}-{uuid[12:16]}-{uuid[16:20]}-{uuid[20:]}"
    return f"{text}:{int.from_bytes(event.body[17:25], 'little')}" if event.kind == GTID else ""


def committed_at(event: Event) -> int:
    """Microseconds, of the event that begins a transaction."""
    if event.kind in (GTID, ANONYMOUS) and len(event.body) >= 49 and event.body[25] == 2:
        moment = int.from_bytes(event.body[42:49], "little") & ~(1 << 55)
        if moment:
            return moment
    return event.timestamp * 1_000_000


def decoded(
    events: Iterable[Event], file: str, tables: Mapping[tuple[str, str], Sequence[WireColumn]]
) -> dict[tuple[str, str], list[Row]]:
    """All rows of these tables."""
    rows: dict[tuple[str, str], list[Row]] = {name: [] for name in tables}
    maps: dict[int, TableMap] = {}
    gtid, moment = "", 0
    for event in events:
        if event.kind in (GTID, ANONYMOUS, MARIADB_GTID):
            gtid, moment = gtid_text(event), committed_at(event)
        elif event.kind == TABLE_MAP:
            found = table_map(event.body)
            maps[found.table_id] = found
        elif event.kind in (*WRITE, *UPDATE, *DELETE):
            name = maps[int.from_bytes(event.body[:6], "little")]
            columns = tables.get((name.schema, name.table))
            if columns is None:
                continue
            place = f"{file}:{event.start}"
            for op, image in changes(event.kind, event.body, columns):
                values = tuple(
                    binlog_values.value(column, raw)
                    for column, raw in zip(columns, image, strict=True)
                    if column.target
                )
                rows[name.schema, name.table].append(
                    Row(op, f"{gtid}@{place}" if gtid else place, moment or None, values)
                )
    return rows
