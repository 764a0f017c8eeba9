"""The replication connection: START_REPLICATION, status updates, and messages into the kernel's scanner.

What the server sends in COPY BOTH mode is drained by the kernel through libpq's own functions. What is sent back are
standby status updates: 'r', LSNs written, flushed and applied, our clock, whether a reply is asked for. The flushed one
lets the server forget what lies before it, so it is only ever what was acknowledged.
"""

from __future__ import annotations

import contextlib
import select
import struct
import time
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import generators, pq

from forebay_agent.capture.postgresql import libpq
from forebay_agent.capture.postgresql.connecting import connect, place
from forebay_agent.capture.postgresql.log.checkpoint import lsn_text
from forebay_agent.capture.postgresql.session import TEXT_SETTINGS
from forebay_agent.capture.postgresql.sql import identifier, quoted
from forebay_agent.capture.postgresql.sqlstate import trouble
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import (
    AgentError,
    LogGap,
    LogUnfit,
    LogUnreadable,
    PrivilegeMissing,
    SourceError,
    SourceUnreachable,
)
from forebay_agent.kernel.pgoutput import ENDED, LOST, REPLY, LogScanner

STREAMING_VERSION: Final = 140_000
_STATUS_SECONDS: Final = 10.0
_ACKNOWLEDGED_SECONDS: Final = 0.5
_ASKED_SECONDS: Final = 0.05
_POSTGRESQL_EPOCH_SECONDS: Final = 946_684_800
_NO_SLOT = "42704"
_SLOT_IN_USE = "55006"
_SLOT_USELESS = ("55000", "58P01")


@dataclass(frozen=True, slots=True)
class Identity:
    """As IDENTIFY_SYSTEM tells it."""

    system: str
    timeline: int


class Stream:
    """One connection in replication mode; `start` begins the stream, after that it is read with `drain`."""

    def __init__(self, config: SourceConfig, client_encoding: str) -> None:
        self._place = place(config)
        self._user = config.user
        options = " ".join(f"-c {name}={value}" for name, value in TEXT_SETTINGS.items())
        try:
            self._connection: psycopg.Connection[tuple[Any, ...]] = connect(
                config, replication="database", options=options, client_encoding=client_encoding
            )
        except PrivilegeMissing as error:
            raise PrivilegeMissing(str(error), sql=f"ALTER ROLE {identifier(config.user)} REPLICATION;") from None
        self._acknowledged = self._handed_on = 0
        self._told = 0
        self._said_at = self._asked_at = 0.0

    @property
    def server_version(self) -> int:
        return self._connection.info.server_version

    def identify(self) -> Identity:
        """Before `start` only."""
        try:
            system, timeline, *_ = self._connection.execute("IDENTIFY_SYSTEM").fetchall()[0]
        except psycopg.Error as error:
            raise trouble(error, self._place) from None
        return Identity(str(system), int(timeline))

    def start(self, slot: str, publication: str, lsn: int, *, messages: bool = False) -> None:
        """messages: those that were written to the log are sent too (MESSAGES_VERSION). Raises SourceError (the slot is in use), LogGap, LogUnfit, SourceUnreachable."""
        version = self.server_version
        options = {"proto_version": "1", "publication_names": identifier(publication)}
        if version >= STREAMING_VERSION:
            options |= {"proto_version": "2", "streaming": "on"}
        if messages:
            options["messages"] = "true"
        written = ", ".join(f"{name} {quoted(value)}" for name, value in options.items())
        command = f"START_REPLICATION SLOT {identifier(slot)} LOGICAL {lsn_text(lsn)} ({written})"
        pgconn = self._connection.pgconn
        try:
            pgconn.send_query(command.encode())
            result = self._connection.wait(generators.execute(pgconn))[-1]
        except psycopg.Error as error:
            raise trouble(error, self._place) from None
        if result.status != pq.ExecStatus.COPY_BOTH:
            raise self._refusal(result)
        self._acknowledged = self._handed_on = lsn
        self._send(reply=False)

    def drain(self, scanner: LogScanner, until: float) -> int:
        """What the scanner stopped for (never REPLY), at latest at `until` on the monotonic clock.

        Raises: LogUnreadable, LogGap, LogUnfit, SourceUnreachable, SourceError.
        """
        pgconn = self._connection.pgconn
        while True:
            self.keep_alive()
            left = min(until - time.monotonic(), _STATUS_SECONDS)
            try:
                stop = scanner.drain(libpq.copy_functions(), libpq.address(pgconn), max(0, round(left * 1000)))
            except ValueError as error:
                raise unreadable(self._place, error) from None
            if stop == REPLY:
                self._send(reply=False)
                continue
            if stop == LOST:
                reason = pgconn.get_error_message("utf-8").strip().partition("\n")[0]
                raise SourceUnreachable(f"{self._place}: the replication connection was lost ({reason})")
            if stop == ENDED:
                raise self._ended()
            return stop

    def handed_on(self, lsn: int) -> None:
        """What was received up to here was handed on."""
        self._handed_on = max(self._handed_on, lsn)

    def acknowledge(self, lsn: int) -> None:
        self._acknowledged = max(self._acknowledged, lsn)
        self._handed_on = max(self._handed_on, lsn)
        self.keep_alive()

    def keep_alive(self) -> None:
        """A status update where one is due."""
        silence = time.monotonic() - self._said_at
        due = _ACKNOWLEDGED_SECONDS if self._acknowledged > self._told else _STATUS_SECONDS
        if silence >= due:
            self._send(reply=False)

    def ask(self) -> None:
        """Asks the server how far it came; its keepalive answers. Not more often than is of use."""
        if time.monotonic() - self._asked_at >= _ASKED_SECONDS:
            self._asked_at = time.monotonic()
            self._send(reply=True)

    def wait(self, milliseconds: int) -> None:
        """Until something comes, for so long at most."""
        waiting = select.poll()
        waiting.register(self._connection.pgconn.socket, select.POLLIN)
        waiting.poll(milliseconds)

    def close(self) -> None:
        """What was acknowledged last is told first, where that is possible at once."""
        with contextlib.suppress(AgentError, psycopg.Error, OSError):
            if self._acknowledged > self._told:
                self._send(reply=False)
        with contextlib.suppress(psycopg.Error, OSError):
            self._connection.close()

    def _send(self, *, reply: bool) -> None:
        now = int((time.time() - _POSTGRESQL_EPOCH_SECONDS) * 1_000_000)
        flushed = self._acknowledged
        update = struct.pack("!cQQQqB", b"r", self._handed_on, flushed, flushed, now, reply)
        pgconn = self._connection.pgconn
        try:
            pgconn.put_copy_data(update)  # 33 bytes, which libpq keeps where the socket is full
            pgconn.flush()
        except psycopg.Error as error:
            raise SourceUnreachable(f"{self._place}: the replication connection was lost ({error})") from None
        self._said_at, self._told = time.monotonic(), flushed

    def _ended(self) -> AgentError:
        """Why the server ended the stream."""
        pgconn = self._connection.pgconn
        try:
            results = self._connection.wait(generators.fetch_many(pgconn))
        except psycopg.Error as error:
            return trouble(error, self._place)
        for result in results:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                return self._refusal(result)
        return SourceUnreachable(f"{self._place}: the server ended the replication stream")

    def _refusal(self, result: pq.abc.PGresult) -> AgentError:
        error = psycopg.errors.error_from_result(result)
        state = error.sqlstate or ""
        text = f"{self._place}: {(error.diag.message_primary or '').strip()} (SQLSTATE {state})"
        if state == _NO_SLOT:
            return LogGap(text)
        if state in _SLOT_USELESS:
            return LogGap(text, remedy=_TAKE_ANEW)
        if state == _SLOT_IN_USE:
            return SourceError(text, remedy="See that only one agent uses the slot.")
        if state == "0A000":
            return LogUnfit(text)
        return trouble(error, self._place)


_TAKE_ANEW: Final = "Drop the slot, then take the tables anew: `forebay-agent snapshot STREAM --reason …`."


def unreadable(where: str, error: ValueError) -> LogUnreadable:
    return LogUnreadable(f"{where}: {error}")
