"""One replication connection: the driver authenticates, the server is told what we understand, and from then on its packets
are received into one buffer that the kernel's scanner eats from.

Sources: "Replication Protocol" (COM_REGISTER_SLAVE, COM_BINLOG_DUMP, COM_BINLOG_DUMP_GTID) in the MySQL client/server
protocol; "Replication Protocol" in MariaDB's knowledge base (@mariadb_slave_capability).
"""

from __future__ import annotations

import contextlib
import hashlib
import select
import socket
import ssl
import struct
import time
from typing import TYPE_CHECKING, Any, Final

import pymysql
from pymysql.constants import COMMAND

from forebay_agent.capture.mysql import faults
from forebay_agent.capture.mysql.log.checkpoint import Place
from forebay_agent.capture.mysql.session import connect, where
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import AgentError, PrivilegeMissing, SourceUnreachable

if TYPE_CHECKING:
    from forebay_agent.kernel.binlog import LogScanner

HEARTBEAT_SECONDS: Final = 5
"""the server says so often that nothing new stands in its log"""

_SILENT_SECONDS: Final = 30.0
_UNREAD_SECONDS: Final = 3600  # a reader that waits for room in the outbox may leave the log unread for so long
_BUFFER_BYTES: Final = 1 << 20
_FIRST_SERVER_ID: Final = 0x8000_0000
_UNDERSTANDS_GTIDS: Final = 4  # MARIA_SLAVE_CAPABILITY_GTID
_DUMP_GTID: Final = 0x1E
_TO_THE_END: Final = 0x01  # BINLOG_DUMP_NON_BLOCK: an EOF packet at the end of the log
_BY_GTID: Final = 0x04  # BINLOG_THROUGH_GTID
_REFUSED: Final = {1045, 1227}


def server_id(config: SourceConfig, purpose: str = "") -> int:
    """The id under which a source is registered as a replica: as configured, or the same after every start, in the upper half
    of all ids, where people put none. A server ends the connection of an older replica with the same id."""
    if config.server_id and not purpose:
        return config.server_id
    words = f"{socket.gethostname()}\0{config.file}\0{config.name}\0{purpose}"
    return _FIRST_SERVER_ID | int.from_bytes(hashlib.sha256(words.encode()).digest()[:4], "little")


class LogConnection:
    """`start` once, then `receive` and let the scanner eat."""

    def __init__(self, config: SourceConfig, *, mariadb: bool, purpose: str = "") -> None:
        """Connects. Raises SourceUnreachable, SourceDenied, PrivilegeMissing."""
        self.where = where(config)
        self._id = server_id(config, purpose)
        self._mariadb = mariadb
        self._after = ""
        self._buffer = bytearray(_BUFFER_BYTES)
        self._start = self._end = 0
        self._heard = time.monotonic()
        self._connection: Any = connect(config)

    def start(self, place: Place, executed: bytes | None = None, *, to_the_end: bool = False) -> None:
        """Asks for the log from a place on; MySQL: for all transactions that are not in the set `executed`
        (`Executed.encoded`), where there is one. to_the_end: the stream ends where the log ends now.

        Raises PrivilegeMissing with the GRANT, SourceUnreachable, SourceError.
        """
        connection = self._connection
        try:
            self._prepare(connection)
            if not to_the_end:
                me = b"forebay-agent"
                register = struct.pack("<IB", self._id, len(me)) + me + b"\0\0" + struct.pack("<HII", 0, 0, 0)
                connection._execute_command(COMMAND.COM_REGISTER_SLAVE, register)
                connection._read_packet()
            flags = _TO_THE_END if to_the_end else 0
            if executed is None:
                file, offset = (b"", 4) if self._after else (place.file.encode(), place.offset)
                dump = struct.pack("<IHI", offset, flags, self._id) + file
                connection._execute_command(COMMAND.COM_BINLOG_DUMP, dump)
            else:
                dump = struct.pack("<HII", flags | _BY_GTID, self._id, 0) + struct.pack("<QI", 4, len(executed))
                connection._execute_command(_DUMP_GTID, dump + executed)
            connection._sock.setblocking(False)
        except (pymysql.MySQLError, OSError) as error:
            raise self.translated(error) from error
        self._heard = time.monotonic()

    def go_on_after(self, gtid: str) -> None:
        """MariaDB: `start` begins after these GTIDs, wherever that is. (An offset beyond 4 GiB has no other name.)"""
        self._after = gtid

    def feed(self, scanner: LogScanner) -> None:
        """Lets the scanner eat what has been received. Raises as `LogScanner.feed`."""
        self._start = scanner.feed(self._buffer, self._start, self._end)

    def receive(self, wanted: int, until: float) -> bool:
        """Receives more; whether anything came before `until` on the monotonic clock. wanted: what the scanner needs.

        Raises SourceUnreachable when the server is gone or silent.
        """
        self._make_room(wanted)
        while True:
            try:
                with memoryview(self._buffer) as room:
                    count = self._connection._sock.recv_into(room[self._end :])
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                pass
            except OSError as error:
                raise self.translated(error) from error
            else:
                if not count:
                    raise SourceUnreachable(f"reading the log at {self.where}: the server closed the connection")
                self._end += count
                self._heard = time.monotonic()
                return True
            now = time.monotonic()
            if now - self._heard > _SILENT_SECONDS:
                raise SourceUnreachable(
                    f"reading the log at {self.where}: nothing was heard for {_SILENT_SECONDS:.0f} s, not even that "
                    "there is nothing new"
                )
            if now >= until:
                return False
            self.wait(until - now)

    def wait(self, seconds: float) -> bool:
        """Until something comes, for so long, or a second, at most; whether there is anything to receive, or too long nothing
        was. What is received and not fed yet is not looked at."""
        poll = select.poll()
        poll.register(self._connection._sock, select.POLLIN | select.POLLERR | select.POLLHUP)
        came = poll.poll(max(1, min(seconds, 1.0) * 1000))
        return bool(came) or time.monotonic() - self._heard > _SILENT_SECONDS

    def translated(self, error: BaseException) -> AgentError:
        """The driver's or the server's error as a kind of the agent's."""
        doing = f"reading the log at {self.where}"
        if faults.number_of(error) in _REFUSED:
            user = self._connection.user
            account = user.decode() if isinstance(user, bytes) else str(user)
            return PrivilegeMissing(f"{doing}: {account} may not read it: {error.args[1]}")
        return faults.translate(error, doing)

    def refused(self, packet: bytes) -> AgentError:
        """The ERR packet with which the server ended the log."""
        try:
            pymysql.err.raise_mysql_exception(packet)
        except pymysql.MySQLError as error:
            return self.translated(error)

    def close(self) -> None:
        """Ends the connection; never raises."""
        with contextlib.suppress(OSError, pymysql.MySQLError):
            self._connection._force_close()
        self._buffer = bytearray()

    def _prepare(self, connection: Any) -> None:
        period = HEARTBEAT_SECONDS * 1_000_000_000
        settings = [
            "@master_binlog_checksum = @@global.binlog_checksum, @source_binlog_checksum = @@global.binlog_checksum",
            f"@master_heartbeat_period = {period}, @source_heartbeat_period = {period}",
            f"SESSION net_write_timeout = {_UNREAD_SECONDS}",
        ]
        if self._mariadb:
            settings.append(f"@mariadb_slave_capability = {_UNDERSTANDS_GTIDS}")
        if self._after:
            settings.append("@slave_gtid_strict_mode = 0, @slave_gtid_ignore_duplicates = 0, @slave_connect_state = %s")
        with connection.cursor() as cursor:
            for setting in settings:
                cursor.execute(f"SET {setting}", (self._after,) if "%s" in setting else None)

    def _make_room(self, wanted: int) -> None:
        """What was not eaten moves to the buffer's beginning, which is as long as the scanner wants it."""
        held = self._end - self._start
        need = max(_BUFFER_BYTES, wanted)
        if len(self._buffer) < need or (len(self._buffer) > 4 * _BUFFER_BYTES and need <= _BUFFER_BYTES >= held):
            buffer = bytearray(need)
            buffer[:held] = self._buffer[self._start : self._end]
            self._buffer = buffer
        elif self._start:
            self._buffer[:held] = self._buffer[self._start : self._end]
        self._start, self._end = 0, held
        if held == len(self._buffer):
            self._buffer.extend(bytes(len(self._buffer)))
