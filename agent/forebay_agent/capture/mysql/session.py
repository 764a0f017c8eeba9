"""Session: one connection with the database, its settings, and result sets streamed into the kernel.

The driver authenticates and speaks; rows of a stream bypass it: after the column definitions the kernel is fed from the
socket. A stream that is given up in the middle costs the connection; the next statement makes a new one.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import pymysql
from pymysql.constants import COMMAND, CR

from forebay_agent.capture.mysql import faults
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import SourceError, ValueUnrepresentable
from forebay_agent.kernel.mysql_text import TextRows

if TYPE_CHECKING:
    from forebay_agent.kernel.mysql_text import Kind

BATCH_BYTES: Final = 4 << 20
BATCH_ROWS: Final = 50_000
ROW_BYTES: Final = 256 << 20
_RECEIVE_BYTES: Final = 1 << 20
_DEFAULT_PORT: Final = 3306
_UNKNOWN_VARIABLE: Final = 1193
# a reader that waits for room in the outbox may leave a result unread for so long
_UNREAD_SECONDS: Final = 3600
_GRACE_SECONDS: Final = 10


class Session:
    """writes: a session that installs triggers and purges; all others cannot write.

    mariadb: whether the server is a MariaDB. version: as the server says it. user: `name@host` as the server granted it.
    """

    def __init__(self, config: SourceConfig, *, writes: bool = False) -> None:
        """Connects. Raises SourceUnreachable, SourceDenied, PrivilegeMissing, TableMissing (no such database)."""
        self._config = config
        self._writes = writes
        self._connection: pymysql.Connection[Any] | None = None
        self.where = where(config)
        self.mariadb = False
        self.version = ""
        self.user = ""
        self.database = config.database
        self._connected()

    def rows(self, statement: str, *arguments: object, doing: str = "") -> list[tuple[Any, ...]]:
        """Runs a statement with a small answer; values of `arguments` are bound to its `%s`."""
        connection = self._connected()
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement, arguments or None)
                return list(cursor.fetchall())
        except (pymysql.MySQLError, OSError) as error:
            self._after(error)
            raise faults.translate(error, self._doing(doing)) from error

    def run(self, statement: str, doing: str = "") -> int:
        """Runs a statement of a session that writes; -> rows affected."""
        connection = self._connected()
        try:
            with connection.cursor() as cursor:
                return int(cursor.execute(statement))
        except (pymysql.MySQLError, OSError) as error:
            self._after(error)
            raise faults.translate(error, self._doing(doing)) from error

    def stream(self, statement: str, kinds: Sequence[Kind], doing: str = "") -> Iterator[TextRows]:
        """Runs a SELECT whose columns are of these kinds. Yields the kernel whenever it holds a batch, for the caller to
        take; bounded by BATCH_ROWS and BATCH_BYTES."""
        connection = self._connected()
        clean = False
        try:
            rows = self._begin(connection, statement, kinds)
            yield from _received(connection, rows)
            clean = True
            if rows.error is not None:
                pymysql.err.raise_mysql_exception(rows.error)
        except (pymysql.MySQLError, OSError) as error:
            raise faults.translate(error, self._doing(doing)) from error
        except OverflowError as error:
            raise ValueUnrepresentable(
                f"{self._doing(doing)}: {error}", remedy="Leave the large column out with `exclude`."
            ) from error
        except ValueError as error:
            raise SourceError(f"{self._doing(doing)}: {error}") from error
        finally:
            if not clean:
                self._drop()

    def close(self) -> None:
        """Ends the session; never raises."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.open:
            connection.close()

    def _begin(self, connection: Any, statement: str, kinds: Sequence[Kind]) -> TextRows:
        """Sends the statement and reads what comes before the rows."""
        connection._execute_command(COMMAND.COM_QUERY, statement)
        count = connection._read_packet().read_length_encoded_integer()
        if count != len(kinds):
            raise ValueError(f"the server answered with {count} columns instead of {len(kinds)}")
        for _ in range(count + 1):  # the definitions and the EOF packet after them
            connection._read_packet()
        return TextRows(kinds, connection._next_seq_id, BATCH_ROWS, BATCH_BYTES, ROW_BYTES)

    def _connected(self) -> pymysql.Connection[Any]:
        if self._connection is None:
            connection = connect(self._config)
            try:
                self._settle(connection)
                self._be_patient(connection)
            except (pymysql.MySQLError, OSError) as error:
                connection._force_close()  # type: ignore[attr-defined]
                raise faults.translate(error, f"preparing the session at {self.where}") from error
            self._connection = connection
        return self._connection

    def _settle(self, connection: pymysql.Connection[Any]) -> None:
        """Every setting that an answer could depend on is set here, whatever the server's defaults are."""
        seconds = self._config.statement_timeout.total_seconds()
        with connection.cursor() as cursor:
            cursor.execute("SELECT VERSION(), CURRENT_USER(), DATABASE()")
            answer = cursor.fetchone()
            assert answer is not None
            self.version, self.user = answer[0], answer[1]
            self.database = answer[2] or ""
            self.mariadb = "mariadb" in self.version.lower()
            cursor.execute(
                "SET SESSION sql_mode = '', SESSION time_zone = '+00:00', SESSION sql_select_limit = DEFAULT, "
                "SESSION net_write_timeout = %s, SESSION wait_timeout = 86400",
                (_UNREAD_SECONDS,),
            )
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            if not self._writes:
                cursor.execute("SET SESSION TRANSACTION READ ONLY")
            try:
                if self.mariadb:
                    cursor.execute("SET SESSION max_statement_time = %s", (seconds,))
                else:
                    cursor.execute("SET SESSION max_execution_time = %s", (int(seconds * 1000),))
            except pymysql.MySQLError as error:
                if faults.number_of(error) != _UNKNOWN_VARIABLE:  # servers before MySQL 5.7.8 and MariaDB 10.1
                    raise

    def _be_patient(self, connection: Any) -> None:
        """Until here the connect timeout held; from here on the server's own statement timeout comes first."""
        connection._read_timeout = self._config.statement_timeout.total_seconds() + _GRACE_SECONDS
        connection._write_timeout = connection._read_timeout

    def _doing(self, doing: str) -> str:
        return f"{doing or 'asking'} at {self.where}"

    def _after(self, error: BaseException) -> None:
        """A connection that failed is of no more use; one that only refused a statement is."""
        if isinstance(error, OSError) or self._connection is None or not self._connection.open:
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection._force_close()  # type: ignore[attr-defined]


def where(config: SourceConfig) -> str:
    """The server's address, for messages."""
    return config.socket or f"{config.host}:{config.port or _DEFAULT_PORT}"


def connect(config: SourceConfig) -> pymysql.Connection[Any]:
    """An authenticated connection, as the server's defaults have it. Raises SourceUnreachable, SourceDenied,
    PrivilegeMissing, TableMissing (no such database)."""
    seconds = max(1, config.connect_timeout.total_seconds())
    password = config.password.reveal() if config.password is not None else ""
    settings: dict[str, Any] = {
        "user": config.user,
        "password": password.encode(),
        "database": config.database or None,
        "charset": "utf8mb4",
        "autocommit": True,
        "connect_timeout": seconds,
        "read_timeout": seconds,
        "write_timeout": seconds,
        "program_name": "forebay-agent",
        "local_infile": False,
    }
    if config.socket:
        settings |= {"ssl_disabled": True}
    else:
        settings |= {"host": config.host, "port": config.port or _DEFAULT_PORT, **_tls(config)}
    try:
        return _opened_by_file(config.socket, settings) if config.socket else pymysql.connect(**settings)
    except (pymysql.MySQLError, OSError) as error:
        raise faults.translate(error, f"connecting to {where(config)} as {config.user}") from error


def _opened_by_file(path: str, settings: dict[str, Any]) -> pymysql.Connection[Any]:
    """Over a Unix socket of our own, since the driver leaves the one that it is refused on open."""
    file = socket.socket(socket.AF_UNIX)
    try:
        file.settimeout(settings["connect_timeout"])
        file.connect(path)
        connection: Any = pymysql.connect(**settings, defer_connect=True)
        connection._secure = True  # nobody listens in on it
        connection.connect(file)
    except BaseException:
        file.close()
        raise
    return cast("pymysql.Connection[Any]", connection)


def _received(connection: Any, rows: TextRows) -> Iterator[TextRows]:
    """Feeds the kernel until the result set ends; yields it for each batch, and for the last rows."""
    reader, incoming = connection._rfile, connection._sock
    buffer = bytearray(_RECEIVE_BYTES)
    read_ahead = reader.peek()
    reader.read(len(read_ahead))
    buffer[: len(read_ahead)] = read_ahead
    start, end = 0, len(read_ahead)
    while True:
        start = rows.feed(buffer, start, end)
        if rows.ended or rows.full:
            if rows.rows:
                yield rows
            if rows.ended:
                break
            continue
        if start:
            buffer[: end - start] = buffer[start:end]
            start, end = 0, end - start
        if end == len(buffer):  # one row that is longer than the buffer
            buffer.extend(bytes(len(buffer)))
        with memoryview(buffer) as room:
            count = incoming.recv_into(room[end:])
        if not count:
            raise pymysql.OperationalError(CR.CR_SERVER_LOST, "the server closed the connection within a result")
        end += count
    if start != end:
        raise ValueError(f"{end - start} bytes follow the end of the result")


def _tls(config: SourceConfig) -> dict[str, Any]:
    if config.tls == "off":
        return {"ssl_disabled": True}
    if config.tls == "preferred":
        return {}
    context = ssl.create_default_context(cafile=config.tls_ca)
    # authorities made by the servers themselves are not strictly as RFC 5280 wants them
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if config.tls == "required":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return {"ssl": context}
