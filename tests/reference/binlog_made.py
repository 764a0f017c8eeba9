"""Events made by hand: of a server 1, each with its end position, in a file that begins at 4."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from tests.reference.binlog import made

BIGINT = (8, b"")
VARCHAR = (15, b"\xff\x00")
LONGBLOB = (252, b"\x04")
SERVER = UUID("3e11fa47-71ca-11e1-9e33-c80aa9429562")


class Log:
    """A log that grows event by event; `raw` holds them all."""

    def __init__(self, position: int = 4) -> None:
        self.position = position
        self.raw: list[bytes] = []
        self.timestamp = 1_700_000_000

    def add(self, kind: int, body: bytes, *, flags: int = 0) -> int:
        """-> where the event begins."""
        start = self.position
        self.position += 23 + len(body)
        self.raw.append(made(kind, body, end=self.position & 0xFFFFFFFF, timestamp=self.timestamp, flags=flags))
        return start

    def artificial(self, kind: int, body: bytes) -> None:
        self.raw.append(made(kind, body, timestamp=0, flags=0x20))

    def gtid(self, number: int, domain: int = 0, flags: int = 0, more: bytes = bytes(6)) -> int:
        """MariaDB's."""
        return self.add(162, number.to_bytes(8, "little") + domain.to_bytes(4, "little") + bytes([flags]) + more)

    def mysql_gtid(self, number: int, *, moment: int = 0, kind: int = 33, server: UUID = SERVER) -> int:
        body = b"\x00" + server.bytes + number.to_bytes(8, "little") + b"\x02" + bytes(16)
        return self.add(kind, body + moment.to_bytes(7, "little"))

    def query(self, statement: bytes) -> int:
        return self.add(2, bytes(8) + b"\x01\x00\x00\x03\x00abcd\x00" + statement)

    def xid(self) -> int:
        return self.add(16, bytes(8))

    def table_map(self, table_id: int, table: str, columns: Sequence[tuple[int, bytes]]) -> int:
        return self.add(19, table_map_body(table_id, table, columns))

    def rows(self, kind: int, table_id: int, width: int, images: bytes, *, flags: int = 1, extra: bytes = b"") -> int:
        return self.add(kind, rows_body(kind, table_id, width, images, flags=flags, extra=extra))


def table_map_body(table_id: int, table: str, columns: Sequence[tuple[int, bytes]]) -> bytes:
    metadata = b"".join(part for _, part in columns)
    names = b"\x01d\x00" + bytes([len(table)]) + table.encode() + b"\x00"
    types = bytes([len(columns)]) + bytes(kind for kind, _ in columns)
    return (
        table_id.to_bytes(6, "little") + b"\x01\x00" + names + types + bytes([len(metadata)]) + metadata
        + bytes((len(columns) + 7) // 8)
    )  # fmt: skip


def rows_body(kind: int, table_id: int, width: int, images: bytes, *, flags: int = 1, extra: bytes = b"") -> bytes:
    body = table_id.to_bytes(6, "little") + flags.to_bytes(2, "little")
    if kind >= 30:
        body += (len(extra) + 2).to_bytes(2, "little") + extra
    return body + bytes([width]) + b"\xff" * ((width + 7) // 8) * (2 if kind in (24, 31) else 1) + images


def image(*values: bytes | None) -> bytes:
    """A row image of values as they are laid out."""
    nulls = sum(1 << number for number, value in enumerate(values) if value is None)
    return nulls.to_bytes((len(values) + 7) // 8, "little") + b"".join(value or b"" for value in values)


def number(value: int) -> bytes:
    """A BIGINT."""
    return value.to_bytes(8, "little", signed=True)


def text(value: str) -> bytes:
    """A VARCHAR(255)."""
    return bytes([len(value.encode())]) + value.encode()


def blob(value: bytes) -> bytes:
    """A LONGBLOB."""
    return len(value).to_bytes(4, "little") + value
