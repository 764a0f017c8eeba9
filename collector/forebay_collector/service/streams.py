"""Streams as people see them: how far each is, how late, why it is held; how that went over time; what its rows look like.

What the collector knows (marks, holds, what waits to be loaded) and what the stream's agent last said of it are put
together here, for the command line, the console and the API alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import pyarrow as pa
from sqlalchemy import Integer, case, cast, func, select

from forebay_collector.errors import NotKnown, NotPossible
from forebay_collector.ledger import Ledger, StreamRecord, audit, tables
from forebay_collector.load.backlog import Backlog, backlogs
from forebay_collector.platform.contract import Platform
from forebay_collector.service.actor import Actor, Permission
from forebay_collector.service.stream_standing import Colour, stream_view
from forebay_wire.canary import is_canary_stream
from forebay_wire.columns import CHANGE_NAMES
from forebay_wire.schema import CARRIED, MASK, ORIGIN, TableSchema
from forebay_wire.stream import StreamName

SAMPLE_ROWS: Final = 20
_OWN: Final = (*CHANGE_NAMES, "_epoch", "_seq", "_row")


@dataclass(frozen=True, slots=True)
class StreamView:
    """One stream. Times in microseconds since 1970, 0 where there is none; marks are (epoch, seq).

    colour, state: as `stream_standing` says; grey and idle when the agent has said nothing of it. lag_s: age of the oldest change that is received and not loaded.
    quiet_s: since the newest change received; None: none was. at_agent: what the agent last said, named as in forebay.v1.
    """

    name: StreamName
    agent: str
    colour: Colour
    state: str
    code: str
    reason: str
    remedy: str
    held_at: int
    durable: tuple[int, int]
    loaded: tuple[int, int]
    behind: int  # batches durable and not loaded
    rows_behind: int
    lag_s: float
    quiet_s: float | None
    at_agent: Mapping[str, Any]

    @property
    def mode(self) -> str:
        return str(self.at_agent.get("mode", ""))

    @property
    def guarantee(self) -> str:
        return str(self.at_agent.get("guarantee", ""))

    @property
    def position(self) -> str:
        return str(self.at_agent.get("position", ""))

    @property
    def held(self) -> bool:
        """Here or at the agent."""
        return self.colour is Colour.RED


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a schema. origin: its type at the source; type: in Arrow; mask: its kind, empty when not masked."""

    name: str
    origin: str
    type: str
    mask: str
    carried: str
    key: bool


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """A schema that batches of the stream came with, and how its columns differ from the one before."""

    fingerprint: str
    received_at: int
    columns: tuple[Column, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Interval:
    """What was received of a stream in a stretch of time that begins at `at`. lag_s: the longest, from change to loaded."""

    at: int
    rows: int
    batches: int
    lag_s: float


@dataclass(frozen=True, slots=True)
class Sample:
    """Some rows of the platform's mirror, values as texts; None is NULL."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]


def streams(
    ledger: Ledger, actor: Actor, *, agent: str = "", department: str = "", held: bool | None = None
) -> list[StreamView]:
    """By name; of the sources' canaries only those that are held. `held`: only those that are held by a batch here, or
    that are not."""
    actor.require(Permission.SEE, department)
    now = ledger.database.clock()
    records = [
        record
        for record in ledger.streams.listing(agent=agent, department=department, held=held)
        if actor.sees(record.name.department) and not (is_canary_stream(record.name) and record.hold is None)
    ]
    said = _said(ledger, {record.agent for record in records})
    behind = backlogs(ledger)
    return [_view(record, said.get(str(record.name), {}), behind.get(record.id, Backlog()), now) for record in records]


def stream(ledger: Ledger, actor: Actor, name: StreamName) -> StreamView:
    """Raises NotKnown, also where it is another department's; NotPermitted."""
    record = need(ledger, actor, name)
    said = _said(ledger, {record.agent})
    backlog = backlogs(ledger, record.id).get(record.id, Backlog())
    return _view(record, said.get(str(name), {}), backlog, ledger.database.clock())


def need(ledger: Ledger, actor: Actor, name: StreamName, permission: Permission = Permission.SEE) -> StreamRecord:
    """The stream's record. Raises NotKnown, also where the actor does not see its department; NotPermitted."""
    record = ledger.streams.get(name) if actor.sees(name.department) else None
    if record is None:
        raise NotKnown(f"stream {name} is not in the ledger")
    actor.require(permission, name.department)
    return record


def history(ledger: Ledger, actor: Actor, name: StreamName, *, since_us: int, intervals: int = 60) -> list[Interval]:
    """Received rows and lag over time, in at most so many stretches of equal length, empty ones included. Raises NotKnown."""
    record = need(ledger, actor, name)
    now = ledger.database.clock()
    length = max(1_000_000, -(-(now - since_us + 1) // intervals))
    batch = tables.batch.c
    changed = case((batch.last_committed_at > 0, batch.last_committed_at), else_=batch.captured_at)
    place = cast((batch.received_at - since_us) / length, Integer)
    query = (
        select(
            place.label("place"),
            func.sum(batch.row_count),
            func.count(),
            func.max(case((batch.loaded_at > 0, batch.loaded_at - changed), else_=0)),
        )
        .where(batch.stream_id == record.id, batch.received_at >= since_us)
        .group_by(place)
    )
    with ledger.database.read() as connection:
        found = {row[0]: row for row in connection.execute(query)}
    return [
        Interval(since_us + place * length, int(row[1]), int(row[2]), max(0.0, row[3] / 1e6))
        if (row := found.get(place))
        else Interval(since_us + place * length, 0, 0, 0.0)
        for place in range((now - since_us) // length + 1)
    ]


def schemas(ledger: Ledger, actor: Actor, name: StreamName) -> list[SchemaVersion]:
    """Every schema of the stream, newest first. Raises NotKnown."""
    need(ledger, actor, name)
    versions: list[SchemaVersion] = []
    before: dict[str, Column] = {}
    for fingerprint, content, received_at in ledger.schemas.history(name):
        table = TableSchema.parse(content, fingerprint)
        columns = {field.name: _column(field, table.key) for field in table.columns}
        versions.append(
            SchemaVersion(
                fingerprint.hex(),
                received_at,
                tuple(columns.values()),
                tuple(name for name in columns if name not in before) if before else (),
                tuple(name for name in before if name not in columns),
                tuple(name for name in columns if name in before and before[name] != columns[name]),
            )
        )
        before = columns
    return versions[::-1]


def sample(ledger: Ledger, open_platform: Callable[[], Platform], actor: Actor, name: StreamName) -> Sample:
    """A few rows as the platform shows them, masked as they came; who looked is audited.

    Raises NotKnown; NotPossible when the platform shows nothing of it; PlatformError.
    """
    need(ledger, actor, name)
    platform = open_platform()
    table = next((table for table in platform.tables() if table.stream == name and table.kind == "mirror"), None)
    table = table or next((table for table in platform.tables() if table.stream == name), None)
    if table is None:
        raise NotPossible(
            f"stream {name}: the platform shows nothing of it yet", remedy="Wait until its first snapshot is loaded."
        )
    with ledger.database.write() as connection:
        audit.record(connection, ledger.database.clock(), actor.name, "sample", str(name), detail={"via": actor.via})
    quoted = table.name.replace('"', '""')
    answer = platform.sql(f'SELECT * FROM "{quoted}" LIMIT {SAMPLE_ROWS}').read_all()
    shown = [column for column in answer.column_names if column not in _OWN]
    values = [[_text(value) for value in answer.column(column)] for column in shown]
    return Sample(tuple(shown), tuple(zip(*values, strict=True)))


def _said(ledger: Ledger, agents: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """What the agents last said of their streams, by the stream's name."""
    told = ledger.agents.streams(set(agents))
    return {str(state.get("stream")): state for states in told.values() for state in states}


def _view(record: StreamRecord, said: Mapping[str, Any], backlog: Backlog, now: int) -> StreamView:
    hold = record.hold
    stands = stream_view(str(record.name), said, record, {record.id: backlog}, now)
    if not said and hold is None:
        # its agent tells of it no more, or has never told: that is no trouble of the stream's own
        idle = "loading" if backlog.batches else "idle"
        stands = replace(stands, colour=Colour.GREY, state=idle, code="", reason="", remedy="")
    return StreamView(
        name=record.name,
        agent=record.agent,
        colour=stands.colour,
        state=stands.state,
        code=stands.code,
        reason=stands.reason,
        remedy=stands.remedy,
        held_at=hold.at if hold else 0,
        durable=record.durable,
        loaded=record.loaded,
        behind=backlog.batches,
        rows_behind=backlog.rows,
        lag_s=stands.lag_s,
        quiet_s=max(0.0, (now - backlog.newest_us) / 1e6) if backlog.newest_us else None,
        at_agent=said,
    )


def _column(field: pa.Field, key: tuple[str, ...]) -> Column:
    told = field.metadata or {}
    origin, mask, carried = (told.get(part, b"").decode() for part in (ORIGIN, MASK, CARRIED))
    return Column(field.name, origin, str(field.type), mask, carried, field.name in key)


def _text(value: pa.Scalar) -> str | None:
    plain = value.as_py()
    if plain is None:
        return None
    return f"{len(plain)} bytes" if isinstance(plain, bytes) else str(plain)[:200]
