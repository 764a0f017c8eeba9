"""The change table of a table, and the triggers that write it.

    forebay_changes_<table>   forebay_id INTEGER PRIMARY KEY AUTOINCREMENT (an id is never used again),
                              forebay_op, forebay_at (UTC, milliseconds), then the captured columns
    forebay_<table>_insert, _update, _delete

What no trigger sees: `INSERT OR REPLACE` (and columns declared ON CONFLICT REPLACE) deletes the rows that it conflicts
with, without firing delete triggers unless the writer sets `PRAGMA recursive_triggers`. With the same key the new image
stands for the old; a row that is replaced through another unique index is not seen to go. `examine` says so.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from forebay_agent.capture.source import (
    CHANGE_AT,
    CHANGE_ID,
    CHANGE_OP,
    ChangeTable,
    Column,
    TableName,
    TableShape,
)
from forebay_agent.capture.sqlite.layout import Affinity, Layout, quoted
from forebay_agent.capture.sqlite.session import Session
from forebay_agent.errors import PrivilegeMissing

PURGE_ROWS: Final = 5_000
"""changes deleted in one transaction: some milliseconds during which other writers wait"""

_NOW: Final = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
_OWN_COLUMNS: Final = (
    Column(CHANGE_ID, "INTEGER", pa.int64()),
    Column(CHANGE_OP, "TEXT", pa.string()),
    Column(CHANGE_AT, "TEXT", pa.string()),
)


def change_table(session: Session, shape: TableShape, layout: Layout) -> ChangeTable:
    """Composed for what is there now: a change table that lacks columns is given them."""
    name = f"forebay_changes_{shape.table.name}"
    there = {row[0] for row in session.rows("describe", "SELECT name FROM pragma_table_xinfo(?)", (name,))}
    if there:
        create = [
            f"ALTER TABLE main.{quoted(name)} ADD COLUMN {_declared(column.name, layout)}"
            for column in shape.columns
            if column.name not in there
        ]
    else:
        columns = ", ".join(_declared(column.name, layout) for column in shape.columns)
        own_columns = (
            f"{CHANGE_ID} INTEGER PRIMARY KEY AUTOINCREMENT, {CHANGE_OP} TEXT NOT NULL, {CHANGE_AT} TEXT NOT NULL"
        )
        create = [f"CREATE TABLE main.{quoted(name)} ({own_columns}, {columns})"]
    triggers = _triggers(shape, name)
    drop = [f"DROP TRIGGER IF EXISTS main.{quoted(trigger)}" for trigger in triggers]
    own = TableShape(TableName(shape.table.schema, name), (*_OWN_COLUMNS, *shape.columns), (CHANGE_ID,), "")
    return ChangeTable(
        own,
        install=(*create, *drop, *triggers.values()),
        remove=(*drop, f"DROP TABLE IF EXISTS main.{quoted(name)}"),
    )


def installed(session: Session, changes: ChangeTable) -> bool:
    """Whether `install` would change nothing: the table has the columns, the triggers are word for word ours."""
    name = changes.shape.table.name
    there = {row[0] for row in session.rows("describe", "SELECT name FROM pragma_table_xinfo(?)", (name,))}
    if not {column.name for column in changes.shape.columns} <= there:
        return False
    wanted = {statement for statement in changes.install if statement.startswith("CREATE TRIGGER")}
    found = session.rows("describe", "SELECT sql FROM main.sqlite_master WHERE type = 'trigger'")
    return wanted <= {row[0] for row in found}


def install(session: Session, changes: ChangeTable) -> None:
    """In one transaction. Raises PrivilegeMissing with the statements as sql when the file cannot be written."""
    try:
        with session.transaction("install triggers") as connection:
            for statement in changes.install:
                connection.execute(statement)
    except PrivilegeMissing as error:
        raise PrivilegeMissing(
            str(error),
            remedy="Give the agent's user write access to the file and its folder, or run the SQL yourself.",
            sql=";\n".join(changes.install) + ";",
        ) from error


def purge(session: Session, changes: ChangeTable, through: str) -> int:
    table = f"main.{quoted(changes.shape.table.name)}"
    deleted = 0
    while True:
        with session.classified("purge changes"):
            count = session.connection.execute(
                f"DELETE FROM {table} WHERE {CHANGE_ID} IN (SELECT {CHANGE_ID} FROM {table} WHERE {CHANGE_ID} <= ? "
                f"ORDER BY {CHANGE_ID} LIMIT {PURGE_ROWS})",
                (int(through),),
            ).rowcount
        deleted += count
        if count < PURGE_ROWS:
            return deleted


def _declared(name: str, layout: Layout) -> str:
    affinity: Affinity = layout.affinities[name]
    return f"{quoted(name)} {affinity.value}".rstrip()


def _triggers(shape: TableShape, changes: str) -> dict[str, str]:
    """Name -> statement, as SQLite keeps it."""
    into = f"INSERT INTO {quoted(changes)} ({CHANGE_OP}, {CHANGE_AT}, {', '.join(_images(shape, ''))})"
    old, new = ", ".join(_images(shape, "OLD.")), ", ".join(_images(shape, "NEW."))
    # IS takes NULLs; BINARY and typeof, since values that the platform tells apart are another key there
    same = " AND ".join(
        f"OLD.{quoted(name)} COLLATE BINARY IS NEW.{quoted(name)} AND typeof(OLD.{quoted(name)}) = typeof(NEW.{quoted(name)})"
        for name in shape.key
    )
    bodies = {
        "INSERT": f"{into} VALUES ('c', {_NOW}, {new});",
        "UPDATE": f"{into} SELECT 'd', {_NOW}, {old} WHERE NOT ({same}); "
        f"{into} SELECT CASE WHEN {same} THEN 'u' ELSE 'c' END, {_NOW}, {new};",
        "DELETE": f"{into} VALUES ('d', {_NOW}, {old});",
    }
    return {
        name: f"CREATE TRIGGER {quoted(name)} AFTER {event} ON {quoted(shape.table.name)} BEGIN {body} END"
        for event, body in bodies.items()
        if (name := f"forebay_{shape.table.name}_{event.lower()}")
    }


def _images(shape: TableShape, prefix: str) -> list[str]:
    return [prefix + quoted(column.name) for column in shape.columns]
