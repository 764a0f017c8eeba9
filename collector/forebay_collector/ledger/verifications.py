"""Verifications: comparisons of a source and the platform, asked for, under way, and what they found.

    waiting -> running -> equal, different    what was found is in `result`
                       -> failed              code and reason say why

Whoever asks and whoever compares may be different processes. One that is running is touched every few seconds; one that
is not any more lost its process, and `give_up` says so.
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
from forebay_wire.stream import StreamName

OWN = "cli"
"""via: whoever asked carries it out"""

_OPEN = ("waiting", "running")
_COLUMNS = [column for column in tables.verification.c if column.name != "stream_id"]
_OF_STREAM = [tables.stream.c.department, tables.stream.c.source, tables.stream.c.table_name]
_SELECT = select(*_COLUMNS, *_OF_STREAM).join(tables.stream, tables.stream.c.id == tables.verification.c.stream_id)


class VerificationState(StrEnum):
    """Where a verification stands."""

    WAITING = "waiting"
    RUNNING = "running"
    EQUAL = "equal"
    DIFFERENT = "different"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class VerificationRecord:
    """Times in microseconds, 0 where there is none yet. result: as `verify.report.to_json` makes it."""

    id: int
    stream: StreamName
    asked_by: str
    via: str
    why: str
    asked_at: int
    started_at: int
    touched_at: int
    ended_at: int
    state: VerificationState
    progress: str
    code: str
    reason: str
    remedy: str
    result: Mapping[str, Any]

    @property
    def open(self) -> bool:
        return self.state in _OPEN

    @property
    def counts(self) -> dict[str, int]:
        """How many keys are missing, extra and different."""
        return counts_of(self.result)


def counts_of(result: Mapping[str, Any]) -> dict[str, int]:
    """Of a result: how many keys are missing, extra and different; of one that named them all, as many as it names."""
    counts: Mapping[str, int] = result.get("counts", {})
    return {kind: counts.get(kind, len(result.get(kind, ()))) for kind in ("missing", "extra", "different")}


def ask(
    connection: Connection, stream_id: int, *, asked_by: str, via: str, why: str, at: int, taken: bool = False
) -> int:
    """Puts a verification down within the caller's transaction; -> its id. taken: whoever asks carries it out."""
    empty = dict.fromkeys(("progress", "code", "reason", "remedy"), "")
    times = {"asked_at": at, "started_at": at if taken else 0, "touched_at": at, "ended_at": 0}
    values = {"stream_id": stream_id, "asked_by": asked_by, "via": via, "why": why, "result": "{}"}
    made: int = connection.execute(
        insert(tables.verification)
        .values(**values, **empty, **times, state=VerificationState.RUNNING if taken else VerificationState.WAITING)
        .returning(tables.verification.c.id)
    ).scalar_one()
    return made


class Verifications:
    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, number: int | None = None) -> VerificationRecord | None:
        """The one that waits for longest, or the one numbered so if it waits, now running; None: none waits."""
        verification = tables.verification.c
        chosen = select(func.min(verification.id)).where(verification.state == literal_column("'waiting'"))
        if number is not None:
            chosen = chosen.where(verification.id == number)
        with self._database.read() as connection:
            if connection.execute(chosen).scalar_one() is None:
                return None
        now = self._database.clock()
        with self._database.write() as connection:
            taken: int | None = connection.execute(
                update(tables.verification)
                .where(verification.id == chosen.scalar_subquery(), verification.state == literal_column("'waiting'"))
                .values(state=VerificationState.RUNNING, started_at=now, touched_at=now)
                .returning(verification.id)
            ).scalar_one_or_none()
            return None if taken is None else _get(connection, taken)

    def touch(self, number: int, progress: str) -> None:
        """It goes on, and is so far."""
        self._change(number, touched_at=self._database.clock(), progress=progress)

    def give_up(self, before: int, code: str, reason: str) -> int:
        """Of those that run and were not touched since `before`, microseconds: has each carried out once more, and fails it
        when that was lost too, or when whoever asked carried it out; -> how many failed."""
        verification = tables.verification.c
        lost = (verification.state == literal_column("'running'")) & (verification.touched_at < before)
        with self._database.read() as connection:
            # asked for all the time: nobody waits for a turn to write when there is nothing to write
            if connection.execute(select(verification.id).where(lost).limit(1)).first() is None:
                return 0
        with self._database.write() as connection:
            connection.execute(
                update(tables.verification)
                .where(lost, verification.code == "", verification.via != OWN)
                .values(state=VerificationState.WAITING, code=code, reason=reason, started_at=0)
            )
            changed = connection.execute(
                update(tables.verification)
                .where(lost)
                .values(state=VerificationState.FAILED, code=code, reason=reason, ended_at=self._database.clock())
            )
            return changed.rowcount

    def get(self, number: int) -> VerificationRecord | None:
        with self._database.read() as connection:
            return _get(connection, number)

    def listing(
        self,
        *,
        stream: StreamName | None = None,
        departments: frozenset[str] | None = None,
        limit: int = 100,
        before: int | None = None,
    ) -> list[VerificationRecord]:
        """Newest first; `before`: only those with a smaller id."""
        of_stream = tables.stream.c
        query = _SELECT.order_by(tables.verification.c.id.desc()).limit(limit)
        if stream is not None:
            query = query.where(
                of_stream.department == stream.department,
                of_stream.source == stream.source,
                of_stream.table_name == stream.table,
            )
        if departments is not None:
            query = query.where(of_stream.department.in_(sorted(departments)))
        if before is not None:
            query = query.where(tables.verification.c.id < before)
        with self._database.read() as connection:
            return [_to_record(row) for row in connection.execute(query).mappings()]

    def newest(self) -> dict[int, VerificationRecord]:
        """By the stream's id, the newest of each stream that came to an end by itself."""
        verification = tables.verification.c
        last = (
            select(func.max(verification.id))
            .where(verification.state.in_((VerificationState.EQUAL, VerificationState.DIFFERENT)))
            .group_by(verification.stream_id)
        )
        query = _SELECT.add_columns(verification.stream_id).where(verification.id.in_(last))
        with self._database.read() as connection:
            return {row["stream_id"]: _to_record(row) for row in connection.execute(query).mappings()}

    def _change(self, number: int, **values: Any) -> None:
        with self._database.write() as connection:
            connection.execute(update(tables.verification).where(tables.verification.c.id == number).values(**values))


def end(
    connection: Connection,
    number: int,
    state: VerificationState,
    at: int,
    *,
    result: Mapping[str, Any] | None = None,
    code: str = "",
    reason: str = "",
    remedy: str = "",
) -> None:
    """It came to this, within the caller's transaction."""
    values = {"state": state, "touched_at": at, "ended_at": at, "progress": ""}
    told = {"result": json.dumps(result or {}, ensure_ascii=False), "code": code, "reason": reason, "remedy": remedy}
    connection.execute(update(tables.verification).where(tables.verification.c.id == number).values(**values, **told))


def _get(connection: Connection, number: int) -> VerificationRecord | None:
    row = connection.execute(_SELECT.where(tables.verification.c.id == number)).mappings().one_or_none()
    return None if row is None else _to_record(row)


def _to_record(row: RowMapping) -> VerificationRecord:
    plain = {column.name: row[column.name] for column in _COLUMNS}
    plain |= {"state": VerificationState(row["state"]), "result": json.loads(row["result"])}
    return VerificationRecord(stream=StreamName(row["department"], row["source"], row["table_name"]), **plain)
