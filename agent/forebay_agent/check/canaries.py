"""The canary of a source, as `check` looks at it. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator

from forebay_agent.capture.canary import ROW_AT, ROW_ID, writes_message
from forebay_agent.capture.source import Severity, Source, TableName
from forebay_agent.check.checked import Checked
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import AgentError, ColumnMissing, LogUnfit

_SUBJECT = "canary"


def check_canary(config: SourceConfig, source: Source) -> Iterator[Checked]:
    """Whether it can be made the way that is configured."""
    canary = config.canary
    if canary.kind == "off":
        yield Checked(
            config.name, Severity.NOTE, _SUBJECT, "switched off: the centre sees no sign of life of this source"
        )
        return
    try:
        if canary.table:
            columns = {column.name for column in source.shape(TableName.parse(canary.table)).columns}
            missing = sorted({ROW_ID, ROW_AT} - columns)
            if missing:
                raise ColumnMissing(f"{canary.table} has no column {', '.join(missing)}")
        elif canary.kind == "message" and not (writes_message(source) and source.messages_come_back()):
            raise LogUnfit(
                "this server's log gives no messages back (PostgreSQL does from version 14 on)",
                remedy="Set `kind` of [canary] to read, or to row with a `table`.",
            )
    except AgentError as error:
        key = "canary.table" if canary.table else "canary.kind"
        yield Checked.of_error(config.name, _SUBJECT, error, file=config.file, key=key)
        return
    written = f"a row of {canary.table} is written, which needs INSERT and UPDATE" if canary.table else canary.kind
    yield Checked.fine(config.name, _SUBJECT, f"{written}; every {canary.every.total_seconds():g} s")
