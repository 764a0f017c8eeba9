"""Repairs: keys that differ, read anew at the source and sent again; asked for, under way, and what became of them.

waiting -> running -> planned              a dry run: what would be repaired
                   -> repaired, left_over  whether the keys were equal afterwards
                   -> failed               code and reason say why
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, RowMapping, func, insert, literal_column, select, update

from forebay_collector.ledger import tables
from forebay_collector.ledger.database import Database
from forebay_collector.ledger.verifications import OWN
from forebay_collector.ledger.verify_tables import repair
from forebay_wire.stream import StreamName

_OPEN = ("waiting", "running")
_COLUMNS = [column for column in repair.c if column.name != "stream_id"]
_OF_STREAM = [tables.stream.c.department, tables.stream.c.source, tables.stream.c.table_name]
_SELECT = select(*_COLUMNS, *_OF_STREAM).join(tables.stream, tables.stream.c.id == repair.c.stream_id)


class RepairState(StrEnum):
    """Where a repair stands."""

    WAITING = "waiting"
    RUNNING = "running"
    PLANNED = "planned"
    REPAIRED = "repaired"
    LEFT_OVER = "left_over"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RepairRecord:
    """Times in microseconds, 0 where there is none yet. missing, extra, different: keys that were to be repaired. sent,
    deleted: rows that the agent sent, as they are or as gone. left_over: keys that differ still. keys: the first of them."""

    id: int
    stream: StreamName
    asked_by: str
    via: str
    why: str
    asked_at: int
    touched_at: int
    ended_at: int
    progress: str
    state: RepairState
    dry_run: bool
    missing: int
    extra: int
    different: int
    sent: int
    deleted: int
    left_over: int
    keys: Mapping[str, Any]
    code: str
    reason: str
    remedy: str

    @property
    def open(self) -> bool:
        return self.state in _OPEN


def ask(
    connection: Connection,
    stream_id: int,
    *,
    asked_by: str,
    via: str,
    why: str,
    dry_run: bool,
    at: int,
    taken: bool = False,
) -> int:
    """Puts a repair down within the caller's transaction; -> its id. taken: whoever asks carries it out."""
    empty = dict.fromkeys(("progress", "code", "reason", "remedy"), "")
    none = dict.fromkeys(("missing", "extra", "different", "sent", "deleted", "left_over", "ended_at"), 0)
    values = {"stream_id": stream_id, "asked_by": asked_by, "via": via, "why": why, "keys": "{}"}
    times = {"asked_at": at, "touched_at": at}
    made: int = connection.execute(
        insert(repair)
        .values(**values, **empty, **none, **times, state=_state(taken=taken), dry_run=int(dry_run))
        .returning(repair.c.id)
    ).scalar_one()
    return made


def _state(*, taken: bool) -> RepairState:
    return RepairState.RUNNING if taken else RepairState.WAITING


def end(connection: Connection, number: int, state: RepairState, at: int, **told: Any) -> None:
    """It came to this, within the caller's transaction. told: further columns."""
    trouble = dict.fromkeys(("code", "reason", "remedy"), "")
    values = {"state": state, "touched_at": at, "ended_at": at, "progress": "", **trouble, **told}
    if "keys" in values:
        values["keys"] = json.dumps(values["keys"], ensure_ascii=False)
    connection.execute(update(repair).where(repair.c.id == number).values(**values))


class Repairs:
    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, number: int | None = None) -> RepairRecord | None:
        """The one that waits for longest, or the one numbered so if it waits, now running; None: none waits."""
        chosen = select(func.min(repair.c.id)).where(repair.c.state == literal_column("'waiting'"))
        if number is not None:
            chosen = chosen.where(repair.c.id == number)
        with self._database.read() as connection:
            if connection.execute(chosen).scalar_one() is None:
                return None
        with self._database.write() as connection:
            taken: int | None = connection.execute(
                update(repair)
                .where(repair.c.id == chosen.scalar_subquery(), repair.c.state == literal_column("'waiting'"))
                .values(state=RepairState.RUNNING, touched_at=self._database.clock())
                .returning(repair.c.id)
            ).scalar_one_or_none()
            return None if taken is None else _get(connection, taken)

    def touch(self, number: int, progress: str) -> None:
        """It goes on, and is so far."""
        with self._database.write() as connection:
            connection.execute(
                update(repair).where(repair.c.id == number).values(touched_at=self._database.clock(), progress=progress)
            )

    def give_up(self, before: int, code: str, reason: str) -> int:
        """As `Verifications.give_up`."""
        lost = (repair.c.state == literal_column("'running'")) & (repair.c.touched_at < before)
        with self._database.read() as connection:
            if connection.execute(select(repair.c.id).where(lost).limit(1)).first() is None:
                return 0
        with self._database.write() as connection:
            connection.execute(
                update(repair)
                .where(lost, repair.c.code == "", repair.c.via != OWN)
                .values(state=RepairState.WAITING, code=code, reason=reason)
            )
            return connection.execute(
                update(repair)
                .where(lost)
                .values(state=RepairState.FAILED, code=code, reason=reason, ended_at=self._database.clock())
            ).rowcount

    def get(self, number: int) -> RepairRecord | None:
        with self._database.read() as connection:
            return _get(connection, number)

    def listing(
        self,
        *,
        stream: StreamName | None = None,
        departments: frozenset[str] | None = None,
        limit: int = 100,
        before: int | None = None,
    ) -> list[RepairRecord]:
        """Newest first; `before`: only those with a smaller id."""
        of_stream = tables.stream.c
        query = _SELECT.order_by(repair.c.id.desc()).limit(limit)
        if stream is not None:
            query = query.where(
                of_stream.department == stream.department,
                of_stream.source == stream.source,
                of_stream.table_name == stream.table,
            )
        if before is not None:
            query = query.where(repair.c.id < before)
        if departments is not None:
            query = query.where(of_stream.department.in_(sorted(departments)))
        with self._database.read() as connection:
            return [_to_record(row) for row in connection.execute(query).mappings()]


def _get(connection: Connection, number: int) -> RepairRecord | None:
    row = connection.execute(_SELECT.where(repair.c.id == number)).mappings().one_or_none()
    return None if row is None else _to_record(row)


def _to_record(row: RowMapping) -> RepairRecord:
    plain = {column.name: row[column.name] for column in _COLUMNS}
    plain |= {"state": RepairState(row["state"]), "keys": json.loads(row["keys"]), "dry_run": bool(row["dry_run"])}
    return RepairRecord(stream=StreamName(row["department"], row["source"], row["table_name"]), **plain)
