"""What would be captured of each configured table: columns, masks, guarantee, and the exact SQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from forebay_agent.capture.log import offers_log
from forebay_agent.capture.plan import describe
from forebay_agent.capture.source import CHANGE_ID, OPEN_TRANSACTIONS, RowRange, Source, TableName, TableShape
from forebay_agent.capture.sources import open_source
from forebay_agent.capture.trigger import offers_triggers
from forebay_agent.check.databases import guarantee
from forebay_agent.config.model import AgentConfig, SourceConfig, TableConfig
from forebay_agent.config.offer import Offer, parts_of
from forebay_agent.errors import AgentError
from forebay_agent.log.stream import LOG, log_table_of
from forebay_agent.policy import remedy_of
from forebay_agent.transform import Transform
from forebay_wire import schema

NOT_ENROLLED: Final = "DEPARTMENT"
"""stands for the department's name until the appliance has its certificate"""

_ABOUT_PRIVILEGES: Final = ("privileges", OPEN_TRANSACTIONS)


@dataclass(frozen=True, slots=True)
class PlannedColumn:
    """One column that is shared. `type`: what it is carried as. `mask`: empty when it is not masked."""

    name: str
    origin: str
    type: str
    carried: str
    mask: str


@dataclass(frozen=True, slots=True)
class TablePlan:
    """One table. sql: what reads it. install: what creates change table and triggers (trigger mode).

    privileges: what the database's user may do and what it lacks, with the SQL that grants it. offered: settings of the
    table and its source that the centre offered, as paths and values.
    error: why it cannot be captured; then all but stream and mode is empty.
    """

    stream: str
    mode: str
    guarantee: str = ""
    key: tuple[str, ...] = ()
    columns: tuple[PlannedColumn, ...] = ()
    excluded: tuple[str, ...] = ()
    sql: tuple[str, ...] = ()
    install: tuple[str, ...] = ()
    privileges: tuple[str, ...] = ()
    priority: int = 5
    paused: bool = False
    offered: tuple[str, ...] = ()
    error: AgentError | None = None

    def as_row(self) -> dict[str, Any]:
        """For JSON; an error as code, reason and remedy."""
        row = {name: value for name, value in asdict(self).items() if name != "error"}
        if self.error is not None:
            row |= {"code": self.error.code, "reason": str(self.error), "remedy": remedy_of(self.error)}
        return row


def plans(config: AgentConfig, department: str, only: str = "", offer: Offer | None = None) -> Iterator[TablePlan]:
    """The plan of every table of every source, or of one source. offer: what the centre's part of `config` is."""
    for source in config.sources:
        if only in ("", source.name):
            tables = {f"{department or NOT_ENROLLED}/{source.name}/{table.name}": table for table in source.tables}
            for plan in _of_source(source, department or NOT_ENROLLED):
                table = tables[plan.stream]
                yield replace(
                    plan,
                    priority=table.priority,
                    paused=source.paused or table.paused,
                    offered=_offered(offer, source, table),
                )


def _offered(offer: Offer | None, source: SourceConfig, table: TableConfig) -> tuple[str, ...]:
    told = []
    for path, value in offer.settings.items() if offer is not None else ():
        parts = parts_of(path)
        if parts[:2] == ("source", source.name) and (parts[2] != "table" or parts[3] == table.name):
            told.append(f"{path} = {json.dumps(value, ensure_ascii=False)}")
    return tuple(told)


def _of_source(config: SourceConfig, department: str) -> Iterator[TablePlan]:
    streams = {table.name: f"{department}/{config.name}/{table.name}" for table in config.tables}
    try:
        source = open_source(config)
    except AgentError as error:
        for table in config.tables:
            yield TablePlan(streams[table.name], table.mode, error=error)
        return
    try:
        for table in config.tables:
            try:
                yield plan_of(source, table, streams[table.name])
            except AgentError as error:
                yield TablePlan(streams[table.name], table.mode, error=error)
    finally:
        source.close()


def plan_of(source: Source, table: TableConfig, stream: str) -> TablePlan:
    """Raises kinds of `forebay_agent.errors` when the table cannot be captured as configured."""
    shape = describe(source, table)
    shared = {column.name for column in shape.columns}
    return TablePlan(
        stream=stream,
        mode=table.mode,
        guarantee=guarantee(source, shape, table),
        key=shape.key,
        columns=tuple(_planned_columns(shape, table)),
        excluded=tuple(
            column.name for column in source.shape(TableName.parse(table.name)).columns if column.name not in shared
        ),
        sql=tuple(_statements(source, shape, table)),
        install=source.change_table(shape).install if table.mode == "trigger" and offers_triggers(source) else (),
        privileges=tuple(
            f"{finding.message}{': ' + finding.sql if finding.sql else ''}"
            for finding in source.examine(shape, table.cursor if table.mode == "cursor" else None)
            if finding.subject in _ABOUT_PRIVILEGES
        )
        + tuple(_about_log(source, shape, table)),
    )


def _about_log(source: Source, shape: TableShape, table: TableConfig) -> Iterator[str]:
    """What reading the log needs, with the SQL for a DBA."""
    if table.mode == LOG and offers_log(source):
        for finding in source.examine_log([log_table_of(shape, table)]):
            yield f"{finding.message}{': ' + finding.sql if finding.sql else ''}"


def _planned_columns(shape: TableShape, table: TableConfig) -> Iterator[PlannedColumn]:
    leaving = Transform(shape, table).schema
    for column in shape.columns:
        field = leaving.arrow.field(column.name)
        yield PlannedColumn(
            column.name,
            column.origin,
            str(field.type),
            column.carried,
            field.metadata.get(schema.MASK, b"").decode(),
        )


def _statements(source: Source, shape: TableShape, table: TableConfig) -> Iterator[str]:
    """The snapshot's statement, and one of the mode's own with the values that hold now."""
    yield source.query(shape, RowRange(shape.key))
    if table.mode == "cursor":
        highest = source.horizon(shape, table.cursor).highest
        if table.unique_cursor:
            yield source.query(shape, RowRange((table.cursor,), after=(highest,) if highest else None, through=highest))
            return
        order = (table.cursor, *(name for name in shape.key if name != table.cursor))
        yield source.query(shape, RowRange(order, at_least=highest, overlap=table.overlap, through=highest))
    elif table.mode == "trigger" and offers_triggers(source):
        changes = source.change_table(shape)
        if source.installed(changes):
            yield source.query(changes.shape, RowRange((CHANGE_ID,), after=("0",)))
