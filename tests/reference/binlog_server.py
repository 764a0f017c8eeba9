"""What a real server sends to a replica."""

from __future__ import annotations

import contextlib
import struct
from typing import Any, Final

from tests.reference.binlog import Event, event_of
from tests.servers.mariadb import MariaDB

_DUMP: Final = 0x12
_UNTIL_THE_END: Final = 1
_GTID_CAPABLE: Final = 4


def new_file(server: MariaDB) -> str:
    """Ends the current log file; -> the name of the next one."""
    server.execute("FLUSH BINARY LOGS")
    return str(server.execute("SHOW MASTER STATUS")[0][0])


def dumped(server: MariaDB, file: str, position: int = 4, *, checksum: str = "@@global.binlog_checksum") -> bytes:
    """The packets from this place on to the log's end, with the EOF or ERR packet that ends them."""
    with contextlib.closing(server.connect()) as connection:
        with connection.cursor() as cursor:
            cursor.execute(f"SET @master_binlog_checksum = {checksum}, @mariadb_slave_capability = {_GTID_CAPABLE}")
        command = struct.pack("<IHI", position, _UNTIL_THE_END, 4711) + file.encode()
        inner: Any = connection
        inner._execute_command(_DUMP, command)
        source = inner._rfile
        received = bytearray()
        while True:
            header = source.read(4)
            payload = source.read(int.from_bytes(header[:3], "little"))
            received += header + payload
            if payload[0] == 0xFF or (payload[0] == 0xFE and len(payload) < 9):
                return bytes(received)


def events_of(packets: bytes) -> list[Event]:
    """The events in packets of less than 16 MiB."""
    found: list[Event] = []
    at = 0
    while at < len(packets):
        size = int.from_bytes(packets[at : at + 3], "little")
        payload = packets[at + 4 : at + 4 + size]
        if payload[:1] == b"\0":
            found.append(event_of(payload[1:], checksum=True))
        at += 4 + size
    return found
