"""From a table's configuration to its capture: which columns are read, what is the key, which mode reads them.

What the configuration does not name is never selected, so that it never leaves the database.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pyarrow as pa

from forebay_agent.capture.captured import Capture
from forebay_agent.capture.cursor import CursorCapture
from forebay_agent.capture.snapshot import SnapshotCapture
from forebay_agent.capture.source import Source, TableName, TableShape
from forebay_agent.capture.table import CapturedTable
from forebay_agent.capture.trigger import TriggerCapture, offers_triggers
from forebay_agent.config.model import TableConfig
from forebay_agent.errors import ColumnMissing, KeyMissing, NotApproved, TableMisconfigured
from forebay_wire.columns import CHANGE_NAMES

MODES = ("snapshot", "cursor", "trigger", "log")


def describe(source: Source, table: TableConfig) -> TableShape:
    """The table as it will be captured: the configured columns in the table's own order, with the configured key.

    Raises:
        TableMissing, PrivilegeMissing: as `Source.shape`.
        ColumnMissing: a configured column is not in the table.
        KeyMissing: cursor and trigger mode need a key and there is none.
        TableMisconfigured: key or cursor column is excluded or masked, or a setting does not fit the table.
        NotApproved: key or cursor column is not approved.
    """
    full = source.shape(TableName.parse(table.name), table.as_text)
    names = tuple(column.name for column in full.columns)
    key = table.key or full.key
    asked = {
        "columns": table.columns,
        "exclude": table.exclude,
        "key": key,
        "cursor": (table.cursor,) if table.cursor else (),
        "as_text": tuple(sorted(table.as_text)),
        "masks": tuple(mask.column for mask in table.masks),
    }
    for setting, wanted in asked.items():
        missing = [name for name in wanted if name not in names]
        if missing:
            raise ColumnMissing(
                f"{table.name}: {setting} names {', '.join(missing)}, which the table does not have",
                file=table.file,
                key=f"{table.entry}.{setting}",
            )
    selected = tuple(name for name in names if is_selected(table, name))
    taken = [name for name in selected if name in CHANGE_NAMES]
    if taken:
        raise TableMisconfigured(
            f"{table.name} has a column named {taken[0]}, a name that Forebay itself uses",
            file=table.file,
            key=f"{table.entry}.exclude",
            remedy=f"Exclude {', '.join(taken)}, or share a view that names it otherwise.",
        )
    _check_mode(table, key)
    _check_leading_columns(table, key, selected)
    shape = full.with_columns(selected)
    if table.mode == "cursor":
        _check_cursor(table, shape)
    return TableShape(shape.table, shape.columns, key, shape.identity)


def is_selected(table: TableConfig, column: str) -> bool:
    """Whether a column of this name is captured: the table's entry selects it, and the centre has approved it."""
    configured = (not table.columns or column in table.columns) and column not in table.exclude
    return configured and (table.approved is None or column in table.approved)


def open_capture(
    source: Source,
    shape: TableShape,
    table: TableConfig,
    *,
    batch_rows: int = 50_000,
    monotonic: Callable[[], float] = time.monotonic,
) -> Capture:
    """The capture of one table in any mode but log (`forebay_agent.log`). `shape` is what `describe` returned; each poll describes the table anew and follows
    columns that were added.

    Raises:
        TableMisconfigured: the mode does not exist, or the database's dialect does not offer it.
    """
    captured = CapturedTable(source, shape, lambda: describe(source, table), table, batch_rows, monotonic)
    if table.mode == "snapshot":
        return SnapshotCapture(captured)
    if table.mode == "cursor":
        return CursorCapture(captured)
    if table.mode != "trigger" or not offers_triggers(source):
        raise mode_not_offered(table)
    whole = replace(table, approved=None)
    return TriggerCapture(captured, source, None if table.approved is None else lambda: describe(source, whole))


def mode_not_offered(table: TableConfig) -> TableMisconfigured:
    return TableMisconfigured(
        f"{table.name}: mode {table.mode} is not offered for this kind of database",
        file=table.file,
        key=f"{table.entry}.mode",
        remedy='Use mode = "cursor", or mode = "snapshot".',
    )


def _check_mode(table: TableConfig, key: tuple[str, ...]) -> None:
    if table.mode not in MODES:
        raise TableMisconfigured(
            f"{table.name}: there is no mode {table.mode!r}",
            file=table.file,
            key=f"{table.entry}.mode",
            remedy=f"Use one of: {', '.join(MODES)}.",
        )
    if table.mode == "cursor" and not table.cursor:
        raise TableMisconfigured(
            f"{table.name}: mode cursor needs a cursor column",
            file=table.file,
            key=f"{table.entry}.cursor",
            remedy='Name a column that grows with every change (cursor = "updated_at"), or use another mode.',
        )
    if table.mode in ("cursor", "trigger") and not key:
        raise KeyMissing(f"{table.name} has no primary key and none is configured; mode {table.mode} needs one")


def _check_leading_columns(table: TableConfig, key: tuple[str, ...], selected: tuple[str, ...]) -> None:
    """Key and cursor columns travel in positions and checkpoints: they are shared, and unmasked, or the table is not."""
    masked = {mask.column for mask in table.masks}
    leading = (*key, table.cursor) if table.mode == "cursor" else key
    for name in leading:
        if name in masked:
            raise TableMisconfigured(
                f"{table.name}: column {name} is key or cursor and cannot be masked",
                file=table.file,
                key=f"{table.entry}.masks",
                remedy="Use other columns as key and cursor, or do not mask this one.",
            )
        if table.approved is not None and name not in table.approved:
            raise NotApproved(f"{table.name}: column {name} is key or cursor and is not approved")
        if name not in selected:
            raise TableMisconfigured(
                f"{table.name}: column {name} is key or cursor and is not among the shared columns",
                file=table.file,
                key=f"{table.entry}.columns",
                remedy=f"Share {name} too, or use another column as key or cursor.",
            )


def _check_cursor(table: TableConfig, shape: TableShape) -> None:
    kind = shape.column(table.cursor).arrow
    is_text = pa.types.is_string(kind)
    is_number = is_text or pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_floating(kind)
    is_time = is_text or pa.types.is_timestamp(kind) or pa.types.is_date(kind)
    if not (is_number or is_time or pa.types.is_binary(kind)):
        raise TableMisconfigured(
            f"{table.name}: column {table.cursor} ({kind}) cannot be a cursor",
            file=table.file,
            key=f"{table.entry}.cursor",
            remedy="Use a column of numbers, dates, timestamps or text that grows with every change.",
        )
    if table.overlap and not (is_time if isinstance(table.overlap, timedelta) else is_number):
        raise TableMisconfigured(
            f"{table.name}: overlap {table.overlap} does not fit cursor column {table.cursor} ({kind})",
            file=table.file,
            key=f"{table.entry}.overlap",
            remedy="Give seconds or a duration for dates and timestamps, a whole number for numbers.",
        )
