"""Makes the seeded corpus of the binlog target anew from what a real MariaDB sends: `python -m tests.fuzz.corpus_binlog`."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tests.fuzz.driver import CORPUS
from tests.reference.binlog import FORMAT, MARIADB_GTID, TABLE_MAP, Event, table_map
from tests.reference.binlog_server import dumped, events_of, new_file
from tests.servers.mariadb import MariaDB

HEARTBEAT: Final = b"\x1b\x0d\x00binlog.000007"
HEARTBEAT_V2: Final = b"\x29\x14\x00\x01\x0dbinlog.000007\x02\x03\xfd\x00\x00\x01"
NO_TABLE: Final = b"\x1e\x0c\x00\xff\xff\xff\x00\x00\x00\x01\x00\x02\x00\x01\xff"
BEGIN: Final = b"\x02\x14\x00" + bytes(8) + b"\x01\x00\x00\x00\x00d\x00BEGIN"
COMMIT: Final = b"\x02\x15\x00" + bytes(8) + b"\x01\x00\x00\x00\x00d\x00COMMIT"

MOMENTS: Final = (
    "('2024-02-29', '-838:59:59', '00:00:00.5', '-00:00:00.0001', '100:00:00.000001', '9999-12-31 23:59:59', "
    "'2024-02-29 12:34:56.789', '2038-01-19 03:14:07.999999', '0000-00-00')"
)
TEXT_COLUMNS: Final = (
    "a CHAR(10), b VARCHAR(40), c VARCHAR(400), d TEXT, e BINARY(16), f VARBINARY(9), g LONGBLOB, h CHAR(200), "
    "i VARCHAR(90) COMPRESSED, j UUID, k INET6, l INET4, m GEOMETRY, n JSON"
)
TEXTS: Final = (
    "('中 ', '𠮷', REPEAT('x', 300), 'text', X'0102', X'00', X'FFFE', REPEAT('y', 20), REPEAT('z', 80), "
    "'123e4567-e89b-12d3-a456-426655440000', '2001:db8::ff00:0', '10.0.0.1', POINT(1, 2), '[1]')"
)
TABLES: Final = {
    "numbers": (
        "a TINYINT, b SMALLINT UNSIGNED, c MEDIUMINT, d INT, e BIGINT UNSIGNED, f YEAR, g BIT(13), h BIT(64), i FLOAT, j DOUBLE",
        "(-1, 65535, -8388608, 2147483647, 18446744073709551615, 2024, b'1010101010101', 18446744073709551615, 0.1, -1e300)",
    ),
    "decimals": (
        "a DECIMAL(18,2), b DECIMAL(38,10), c DECIMAL(65,30), d DECIMAL(9,9), e DECIMAL(1,0)",
        "(-1234567890123456.78, 1234567890123456789012345678.0123456789, -12345678901234567890123456789012345.5, 0.123456789, -9)",
    ),
    "moments": (
        "a DATE, b TIME, c TIME(1), d TIME(4), e TIME(6), f DATETIME, g DATETIME(3), h TIMESTAMP(6) NULL, i TIMESTAMP(2) NULL",
        MOMENTS,
    ),
    "texts": (TEXT_COLUMNS, TEXTS),
    "labels": (
        "a ENUM('x','y','z'), b SET('p','q','r'), c SET('a','b','c','d','e','f','g','h','i')",
        "('y', 'p,r', 'a,i')",
    ),
    "key_first": ("a INT PRIMARY KEY, b VARCHAR(20)", "(7, 'old')"),
    "skipped": ("a VARCHAR(300)", "(REPEAT('s', 200))"),
}
NUMBERED: Final = ("numbers", "decimals", "key_first", "labels")


def recorded(events: Iterable[Event | bytes], options: int) -> bytes:
    return bytes([options]) + b"".join(
        event if isinstance(event, bytes) else bytes([event.kind]) + len(event.body).to_bytes(2, "little") + event.body
        for event in events
        if isinstance(event, bytes) or (event.kind != FORMAT and len(event.body) < 4096)
    )


def as_mysql(event: Event) -> Event | bytes:
    """The same transaction as MySQL 8 writes it: its GTID event, row events of version 2 with extra data."""
    if event.kind == MARIADB_GTID:
        moment = (1_700_000_000_123_456).to_bytes(7, "little")
        body = b"\1" + bytes(range(16)) + event.body[:8] + b"\2" + bytes(16) + moment + b"\xfc\x10\x01" + bytes(4)
        return b"\x21" + len(body).to_bytes(2, "little") + body
    if event.kind in (23, 24, 25):
        body = event.body[:8] + b"\x05\x00\x00\x01\x02" + event.body[8:]
        return bytes([event.kind + 7]) + len(body).to_bytes(2, "little") + body
    return event


def make(server: MariaDB, folder: Path) -> None:
    server.execute("CREATE DATABASE d")
    first = new_file(server)
    for name, (columns, values) in TABLES.items():
        key = columns.split()[0]
        empty = ["8" if name == "key_first" else "NULL"] + ["NULL"] * columns.count(", ")
        with contextlib.closing(server.connect("d")) as connection, connection.cursor() as cursor:
            for statement in (
                "SET sql_mode = '', time_zone = '+00:00'",
                f"CREATE TABLE {name} ({columns})",
                f"INSERT INTO {name} VALUES {values}, ({', '.join(empty)}), {values.replace('(7,', '(9,')}",
                f"UPDATE {name} SET {key} = {key} LIMIT 1",
                f"UPDATE {name} SET {key} = {'5' if name in NUMBERED else 'NULL'} LIMIT 1",
                f"DELETE FROM {name} LIMIT 2",
            ):
                cursor.execute(statement)
    stream = dumped(server, first)
    events = [event for event in events_of(stream) if event.kind not in (160, 161, 163)]
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(TABLES):
        own = of_table(events, name)
        (folder / f"{name}").write_bytes(recorded(own, 8 * number))
        (folder / f"{name}-mysql").write_bytes(recorded(map(as_mysql, own), 8 * number + 40))
    some = of_table(events, "key_first")
    mixed = [event for pair in zip(some, of_table(events, "skipped"), strict=False) for event in pair]
    (folder / "mixed").write_bytes(recorded([*some[:3], *of_table(events, "skipped")[1:], *some, *mixed[:20]], 16))
    (folder / "others").write_bytes(
        recorded([HEARTBEAT, *some[:2], NO_TABLE, *some[2:], HEARTBEAT_V2, BEGIN, *some[1:3], COMMIT], 16)
    )
    (folder / "stream").write_bytes(b"\x05" + stream)
    (folder / "stream-verified").write_bytes(b"\x01" + stream[: len(stream) // 3])


def of_table(events: list[Event], name: str) -> list[Event]:
    """The transactions in which the table's rows changed."""
    found: list[Event] = []
    transaction: list[Event] = []
    for event in events:
        if event.kind == MARIADB_GTID:
            transaction = []
        transaction.append(event)
        maps = [table_map(each.body).table for each in transaction if each.kind == TABLE_MAP]
        if event.kind == 16 and name in maps:
            found += transaction
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch, MariaDB.start(Path(scratch)) as running:
        make(running, CORPUS / "binlog")
