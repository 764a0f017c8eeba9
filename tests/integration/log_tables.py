"""Tables as the log follows them."""

from __future__ import annotations

from forebay_agent.capture.log import LogTable
from forebay_agent.capture.source import Source, TableName, TableShape


def log_table(
    source: Source,
    name: TableName,
    *,
    columns: tuple[str, ...] = (),
    excluded: tuple[str, ...] = (),
    as_text: tuple[str, ...] = (),
    key: tuple[str, ...] = (),
) -> LogTable:
    full = source.shape(name, frozenset(as_text))
    wanted = tuple(c.name for c in full.columns if (not columns or c.name in columns) and c.name not in excluded)
    shape = TableShape(name, full.with_columns(wanted).columns, key or full.key, full.identity)
    return LogTable(name, shape, columns, excluded, frozenset(as_text))
