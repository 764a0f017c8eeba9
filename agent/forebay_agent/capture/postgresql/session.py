"""One session with the database: the settings that make its answers exact and stable, statements, and COPY.

Whatever the text of a value depends on is set here, so that the same value gives the same text in every session. The
session is read only. Plans that sort are avoided where an index gives the order, so that a chunk costs what it returns.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Final

import psycopg
import pyarrow as pa
from psycopg import generators, pq
from psycopg.types.string import StrDumperUnknown, TextLoader

from forebay_agent.capture.postgresql import libpq
from forebay_agent.capture.postgresql.charset import Charset
from forebay_agent.capture.postgresql.connecting import connect, place
from forebay_agent.capture.postgresql.sqlstate import trouble
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import ConfigurationError, SourceError, SourceUnreachable, StatementTimeout
from forebay_agent.kernel.postgresql_copy import ENDED, FULL, LOST, CopyDecoder

UNCHECKED: Final = "SQL_ASCII"
_VALIDATED: Final = frozenset(
    {"UTF8", "EUC_CN", "EUC_JP", "EUC_KR", "EUC_TW", "EUC_JIS_2004", "MULE_INTERNAL"}
)  # what the server checks on the way in, so that it cannot lie
TEXT_SETTINGS: Final = {
    "DateStyle": "ISO,YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "3",
    "lc_monetary": "C",
    "xmloption": "content",
    "quote_all_identifiers": "off",
}
"""what the text of a value depends on"""
_SETTINGS: Final = (
    *(f"SET {name} TO '{value}'" for name, value in TEXT_SETTINGS.items()),
    "SET standard_conforming_strings TO on",
    "SET default_transaction_isolation TO 'read committed'",
    "SET enable_sort TO off",
    "SET enable_bitmapscan TO off",
    "SET max_parallel_workers_per_gather TO 0",
)
_WAIT_MS: Final = 1_000
_SILENCE_SECONDS: Final = 30.0
_CANCEL_SECONDS: Final = 5.0
_TEXT_TYPES: Final = ("text", "varchar", "bpchar", "name")


class Session:
    """charset: what text really is, where it comes undecoded; None: the server sends UTF-8.
    unchecked: the server sends text that nobody has checked to be UTF-8. client_encoding: what it sends."""

    def __init__(self, config: SourceConfig, *, writes: bool = False) -> None:
        self._config = config
        self._place = place(config)
        self._connection = connect(config)
        try:
            encoding = self._connection.info.parameter_status("server_encoding") or ""
            self.unchecked = encoding == UNCHECKED and not config.charset
            self.charset = _charset(config, encoding)
            self.client_encoding = encoding if self.charset is not None or encoding == UNCHECKED else "UTF8"
            self._prepare(writes)
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self, writes: bool) -> None:
        timeout = int(self._config.statement_timeout.total_seconds() * 1000)
        settings = [
            *_SETTINGS,
            f"SET client_encoding TO '{self.client_encoding}'",
            f"SET statement_timeout TO {timeout:d}",
            f"SET default_transaction_read_only TO {'off' if writes else 'on'}",
        ]
        if self.server_version >= 110_000:
            settings.append("SET jit TO off")
        self.run("; ".join(settings))
        if self.charset is not None or self.unchecked:
            self._adapt(self.charset or Charset("utf-8"))

    def _adapt(self, charset: Charset) -> None:
        """Parameters and results of catalogue queries in the real character set."""

        class Dumper(StrDumperUnknown):
            def dump(self, obj: str) -> bytes:
                return charset.encode(obj)

        class Loader(TextLoader):
            def load(self, data: Any) -> str:
                return charset.decode(bytes(data))

        self._connection.adapters.register_dumper(str, Dumper)
        for name in _TEXT_TYPES:
            self._connection.adapters.register_loader(name, Loader)

    @property
    def server_version(self) -> int:
        """As libpq has it: 150004 for 15.4."""
        return self._connection.info.server_version

    def rows(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows that a statement returns; parameters (`%s`) are bound by the server."""
        try:
            return self._connection.execute(self._encoded(statement), parameters or None).fetchall()
        except psycopg.Error as error:
            raise trouble(error, self._place) from None

    def run(self, statement: str) -> int:
        """Runs statements without results; returns how many rows the last one changed."""
        try:
            return self._connection.execute(self._encoded(statement)).rowcount
        except psycopg.Error as error:
            raise trouble(error, self._place) from None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """What is run within is committed together, or rolled back when an error leaves it."""
        try:
            with self._connection.transaction():
                yield
        except psycopg.Error as error:
            raise trouble(error, self._place) from None

    def copy(
        self, statement: str, schema: pa.Schema, uuids: Sequence[bool]
    ) -> Generator[tuple[pa.RecordBatch, tuple[int, int] | None]]:
        """The rows of a COPY … TO STDOUT (FORMAT BINARY) as (batch, where a value did not fit: row and column).

        Streamed; a reader that stops early cancels the statement.
        """
        decoder = CopyDecoder(schema, uuids)
        self._begin_copy(statement)
        ended = False
        try:
            while not ended:
                ended = self._fill(decoder)
                if decoder.rows:
                    unfit = decoder.unfit
                    yield decoder.take(), unfit
            decoder.finish()
        except ValueError as error:
            raise SourceError(f"{self._place}: {error}") from None
        finally:
            if not ended:
                self._abandon_copy()

    def close(self) -> None:
        with contextlib.suppress(psycopg.Error, OSError):
            self._connection.close()

    def _encoded(self, statement: str) -> bytes:
        try:
            return self.charset.encode(statement) if self.charset else statement.encode()
        except UnicodeEncodeError as error:
            raise ConfigurationError(
                f"a name or value has a character that is not in {self._config.charset}: U+{ord(error.object[error.start]):04X}",
                file=self._config.file,
                key="charset",
            ) from None

    def _begin_copy(self, statement: str) -> None:
        pgconn = self._connection.pgconn
        try:
            pgconn.send_query(self._encoded(statement))
            result = self._connection.wait(generators.execute(pgconn))[-1]
            if result.status != pq.ExecStatus.COPY_OUT:
                raise psycopg.errors.error_from_result(result)
        except psycopg.Error as error:
            raise trouble(error, self._place) from None

    def _fill(self, decoder: CopyDecoder) -> bool:
        """Reads until the decoder is full or the COPY has ended; returns whether it has."""
        pgconn = self._connection.pgconn
        limit = self._config.statement_timeout.total_seconds()
        patience = time.monotonic() + limit + _SILENCE_SECONDS
        before = decoder.rows
        while True:
            outcome = decoder.drain(libpq.copy_functions(), libpq.address(pgconn), _WAIT_MS)
            if outcome == FULL:
                return False
            if outcome == LOST:
                reason = pgconn.get_error_message("utf-8").strip().partition("\n")[0]
                raise SourceUnreachable(f"{self._place}: the connection was lost while rows came ({reason})")
            if outcome == ENDED:
                self._end_copy()
                return True
            if decoder.rows != before:
                before, patience = decoder.rows, time.monotonic() + limit + _SILENCE_SECONDS
            elif limit and time.monotonic() > patience:
                raise StatementTimeout(f"{self._place}: no answer for {limit + _SILENCE_SECONDS:g} s")

    def _end_copy(self) -> None:
        pgconn = self._connection.pgconn
        try:
            for result in self._connection.wait(generators.fetch_many(pgconn)):
                if result.status != pq.ExecStatus.COMMAND_OK:
                    raise psycopg.errors.error_from_result(result)
        except psycopg.Error as error:
            raise trouble(error, self._place) from None

    def _abandon_copy(self) -> None:
        """Cancels the COPY and reads what still comes; a connection on which that fails is closed."""
        pgconn = self._connection.pgconn
        if pgconn.transaction_status != pq.TransactionStatus.ACTIVE:
            return
        try:
            self._connection.cancel_safe(timeout=_CANCEL_SECONDS)
            while not isinstance(self._connection.wait(generators.copy_from(pgconn)), pq.PGresult):
                pass
        except psycopg.errors.QueryCanceled:
            return
        except psycopg.Error:
            self.close()


def _charset(config: SourceConfig, encoding: str) -> Charset | None:
    if not config.charset:
        return None
    if encoding in _VALIDATED:
        raise ConfigurationError(
            f"the database is {encoding}, which it checks itself: its text cannot be {config.charset}",
            file=config.file,
            key="charset",
            remedy="Remove `charset`; it is for databases that declare SQL_ASCII or a single-byte encoding.",
        )
    try:
        return Charset(config.charset)
    except LookupError:
        raise ConfigurationError(
            f"{config.charset!r} is no character set that is known",
            file=config.file,
            key="charset",
            remedy="Use gb18030, gbk, big5 or utf-8.",
        ) from None
