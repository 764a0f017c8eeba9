"""The replication slot: the server's memory of how far the agent came, and what keeps the log until then.

A slot that is not where it was left has lost changes: dropped (it is gone), recreated, moved ahead or used by someone
else (its confirmed LSN lies beyond our log checkpoint), or invalidated (`wal_status` lost). A server that was set back to
an earlier state has it as it was then.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from forebay_agent.capture.postgresql.log.checkpoint import LogCheckpoint, lsn_of, lsn_text
from forebay_agent.capture.postgresql.session import Session
from forebay_agent.capture.postgresql.sql import quoted
from forebay_agent.errors import LogGap, LogUnfit, PrivilegeMissing, SourceError

PLUGIN: Final = "pgoutput"
LOST: Final = "lost"
_STATUS_VERSION: Final = 130_000
_TAKE_ANEW: Final = "Take the tables anew: `forebay-agent snapshot STREAM --reason …`."
_IN_USE_SECONDS: Final = 3.0
_ROOM: Final = "SELECT (SELECT count(*) FROM pg_replication_slots), current_setting('max_replication_slots')::int"

_SLOT: Final = """
SELECT s.plugin::text, s.slot_type, s.database::text, s.active_pid, s.confirmed_flush_lsn::text,
       s.restart_lsn::text, {status}, {safe}, current_database()::text
FROM pg_replication_slots s WHERE s.slot_name = %s
"""
_WHO: Final = """
SELECT concat_ws(' ', 'pid', pid, 'user', usename, application_name, host(client_addr)) FROM pg_stat_activity WHERE pid = %s
"""


@dataclass(frozen=True, slots=True)
class Slot:
    """status: `reserved`, `extended`, `unreserved`, `lost`; empty before version 13. safe_bytes: of log that may still be
    written before it is lost; None: as much as needed. confirmed: 0 while it is being made."""

    name: str
    plugin: str
    kind: str
    database: str
    active_pid: int | None
    confirmed: int
    restart: int
    status: str
    safe_bytes: int | None
    current_database: str


def slot_of(session: Session, name: str) -> Slot | None:
    known = session.server_version >= _STATUS_VERSION
    query = _SLOT.format(status="s.wal_status" if known else "''", safe="s.safe_wal_size" if known else "NULL::bigint")
    found = session.rows(query, (name,))
    if not found:
        return None
    plugin, kind, database, pid, confirmed, restart, status, safe, current = found[0]
    return Slot(
        name,
        plugin or "",
        kind,
        database or "",
        pid,
        lsn_of(confirmed) if confirmed else 0,
        lsn_of(restart) if restart else 0,
        status or "",
        safe,
        current,
    )


def create_statement(name: str) -> str:
    return f"SELECT pg_create_logical_replication_slot({quoted(name)}, '{PLUGIN}')"


def drop_statement(name: str) -> str:
    return f"SELECT pg_drop_replication_slot({quoted(name)})"


def create(session: Session, name: str) -> int:
    """Waits for every transaction that is open now, up to `statement_timeout`. -> the LSN from which on it tells all.

    Raises PrivilegeMissing, LogUnfit (no room for another slot), StatementTimeout.
    """
    ((used, most),) = session.rows(_ROOM)
    if used >= most:
        raise LogUnfit(
            f"the server has {most} replication slots, all in use (max_replication_slots)",
            remedy="Ask the DBA to drop a slot that nobody uses, or to run this and restart the server.",
            sql=f"ALTER SYSTEM SET max_replication_slots = {most + 4};",
        )
    try:
        ((lsn,),) = session.rows(
            f"SELECT lsn::text FROM pg_create_logical_replication_slot({quoted(name)}, '{PLUGIN}')"
        )
    except PrivilegeMissing as error:
        raise PrivilegeMissing(
            str(error), sql=f"{create_statement(name)};", remedy="Ask the DBA to run this, in this database."
        ) from None
    return lsn_of(lsn)


def check(slot: Slot) -> None:
    """Raises LogUnfit when it is not a slot for this."""
    if slot.kind != "logical" or slot.plugin != PLUGIN:
        raise LogUnfit(
            f"replication slot {slot.name} is a {slot.kind} one of plugin {slot.plugin or 'none'}, not of {PLUGIN}",
            remedy="Name another slot with `slot` in the source's file.",
        )
    if slot.database != slot.current_database:
        raise LogUnfit(
            f"replication slot {slot.name} belongs to database {slot.database}",
            remedy="Slots are the whole server's: name another one with `slot` in the source's file.",
        )


def check_continues(slot: Slot | None, checkpoint: LogCheckpoint, end: int) -> None:
    """Whether the slot still holds what comes after the checkpoint. end: the log's. Raises LogGap."""
    if end < checkpoint.lsn:
        raise LogGap(
            f"the server's log ends at {lsn_text(end)} and was captured up to {lsn_text(checkpoint.lsn)}: the server was set "
            "back to an earlier state",
            remedy=_TAKE_ANEW,
        )
    if slot is None:
        raise gap(f"replication slot {checkpoint.slot} was dropped", checkpoint.lsn, end)
    if slot.status == LOST:
        raise gap(
            f"replication slot {slot.name} was invalidated, because it kept more log than max_slot_wal_keep_size",
            checkpoint.lsn,
            end,
            remedy=f"{_TAKE_ANEW} Ask the DBA to raise max_slot_wal_keep_size.",
        )
    check_not_moved(slot, checkpoint.lsn)


def check_not_moved(slot: Slot | None, lsn: int) -> None:
    """While our own connection holds it, nobody else can move it any more. Raises LogGap."""
    if slot is not None and slot.confirmed > lsn:
        raise gap(
            f"replication slot {slot.name} was moved ahead, made anew or used by someone else", lsn, slot.confirmed
        )


def gap(what: str, start: int, end: int, *, remedy: str = "") -> LogGap:
    """What stood in the log between two places was not captured and is gone."""
    return LogGap(f"{what}: there is a gap from {lsn_text(start)} to {lsn_text(end)}", remedy=remedy or _TAKE_ANEW)


def wait_until_free(session: Session, name: str) -> None:
    """The server may take a moment to see that our own last connection is gone. Raises SourceError with who uses it."""
    deadline = time.monotonic() + _IN_USE_SECONDS
    while (slot := slot_of(session, name)) is not None and slot.active_pid is not None:
        if time.monotonic() > deadline:
            found = session.rows(_WHO, (slot.active_pid,))
            who = found[0][0] if found else f"pid {slot.active_pid}"
            raise SourceError(
                f"replication slot {name} is in use by {who}", remedy="See that only one agent uses the slot."
            )
        time.sleep(0.05)
