"""Streams: their marks, and what holds them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, insert, or_, select, tuple_

from forebay_collector.errors import NotKnown
from forebay_collector.ledger import tables
from forebay_collector.ledger.database import Database
from forebay_collector.ledger.records import Hold, StreamRecord
from forebay_wire.digest import GENESIS
from forebay_wire.stream import StreamName

_NEW = {
    "epoch": 0,
    "durable_seq": 0,
    "durable_chain": GENESIS,
    "loaded_epoch": 0,
    "loaded_seq": 0,
    "held_code": "",
    "held_reason": "",
    "held_at": 0,
    "held_epoch": 0,
    "held_seq": 0,
}
_AT_ONCE = 300
NO_HOLD = {name: value for name, value in _NEW.items() if name.startswith("held_")}


def named(query: Select[Any], name: StreamName) -> Select[Any]:
    stream = tables.stream.c
    return query.where(
        stream.department == name.department, stream.source == name.source, stream.table_name == name.table
    )


def find(connection: Connection, name: StreamName) -> StreamRecord | None:
    row = connection.execute(named(select(tables.stream), name)).mappings().one_or_none()
    return None if row is None else to_record(row)


def need(connection: Connection, name: StreamName) -> StreamRecord:
    """As `find`; raises NotKnown."""
    found = find(connection, name)
    if found is None:
        raise NotKnown(f"stream {name} is not in the ledger")
    return found


def need_id(connection: Connection, name: StreamName, agent: str) -> int:
    """The stream's id; it is made, at epoch 0, when the ledger does not know it yet."""
    found: int | None = connection.execute(named(select(tables.stream.c.id), name)).scalar_one_or_none()
    if found is not None:
        return found
    values = {"department": name.department, "source": name.source, "table_name": name.table, "agent": agent}
    made: int = connection.execute(
        insert(tables.stream).values(**values, **_NEW).returning(tables.stream.c.id)
    ).scalar_one()
    return made


def need_ids(connection: Connection, agents: Mapping[StreamName, str]) -> dict[StreamName, int]:
    """As `need_id`, of many: stream -> the agent whose it is when it is new."""
    found = _ids(connection, agents)
    new = [
        {"department": name.department, "source": name.source, "table_name": name.table, "agent": agent, **_NEW}
        for name, agent in agents.items()
        if name not in found
    ]
    if new:
        connection.execute(insert(tables.stream), new)
        found = _ids(connection, agents)
    return found


def _ids(connection: Connection, names: Iterable[StreamName]) -> dict[StreamName, int]:
    stream = tables.stream.c
    wanted = [(name.department, name.source, name.table) for name in names]
    found: dict[StreamName, int] = {}
    for first in range(0, len(wanted), _AT_ONCE):
        query = select(stream.department, stream.source, stream.table_name, stream.id)
        some = tuple_(stream.department, stream.source, stream.table_name).in_(wanted[first : first + _AT_ONCE])
        found |= {_name(*row[:3]): row[3] for row in connection.execute(query.where(some))}
    return found


# a name is checked once, not with every listing of thousands
_name = lru_cache(65_536)(StreamName)


def to_record(row: RowMapping) -> StreamRecord:
    hold = None
    if row["held_at"]:
        hold = Hold(row["held_code"], row["held_reason"], row["held_at"], row["held_epoch"], row["held_seq"])
    return StreamRecord(
        row["id"],
        _name(row["department"], row["source"], row["table_name"]),
        row["agent"],
        row["epoch"],
        row["durable_seq"],
        row["durable_chain"],
        row["loaded_epoch"],
        row["loaded_seq"],
        hold,
    )


class Streams:
    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: StreamName) -> StreamRecord | None:
        with self._database.read() as connection:
            return find(connection, name)

    def marks(self, names: Iterable[StreamName]) -> dict[StreamName, StreamRecord]:
        """The records of those that the ledger knows."""
        with self._database.read() as connection:
            found = (find(connection, name) for name in names)
            return {record.name: record for record in found if record is not None}

    def listing(
        self,
        *,
        agent: str = "",
        agents: Collection[str] | None = None,
        department: str = "",
        held: bool | None = None,
    ) -> list[StreamRecord]:
        """By name. agents: only theirs. held: only those that are held, or that are not."""
        stream = tables.stream.c
        query = select(tables.stream).order_by(stream.department, stream.source, stream.table_name)
        if agent:
            query = query.where(stream.agent == agent)
        if agents is not None:
            query = query.where(stream.agent.in_(agents))
        if department:
            query = query.where(stream.department == department)
        if held is not None:
            query = query.where(stream.held_at > 0 if held else stream.held_at == 0)
        with self._database.read() as connection:
            return [to_record(row) for row in connection.execute(query).mappings().all()]

    def loaded_marks(self) -> dict[StreamName, tuple[int, int]]:
        """(epoch, seq) up to which each stream is loaded."""
        stream = tables.stream.c
        query = select(
            stream.department, stream.source, stream.table_name, stream.loaded_epoch, stream.loaded_seq
        ).where(stream.loaded_epoch > 0)
        with self._database.read() as connection:
            return {_name(*row[:3]): (row[3], row[4]) for row in connection.execute(query)}

    def waiting(self) -> list[StreamName]:
        """Streams with durable batches beyond their loaded mark that nothing holds, in order of name."""
        stream = tables.stream.c
        query = (
            select(stream.department, stream.source, stream.table_name)
            .where(stream.held_at == 0, stream.epoch > 0)
            .where(tuple_(stream.epoch, stream.durable_seq) > tuple_(stream.loaded_epoch, stream.loaded_seq))
            .order_by(stream.department, stream.source, stream.table_name)
        )
        with self._database.read() as connection:
            return [_name(*row) for row in connection.execute(query)]


def advance_loaded(connection: Connection, stream_id: int, epoch: int, seq: int) -> bool:
    """Moves the loaded mark forward to (epoch, seq), never backwards and never beyond what is durable."""
    stream = tables.stream.c
    changed = connection.execute(
        tables.stream.update()
        .where(stream.id == stream_id)
        .where(or_(stream.loaded_epoch < epoch, (stream.loaded_epoch == epoch) & (stream.loaded_seq < seq)))
        .where(or_(stream.epoch > epoch, (stream.epoch == epoch) & (stream.durable_seq >= seq)))
        .values(loaded_epoch=epoch, loaded_seq=seq)
    )
    return changed.rowcount == 1
