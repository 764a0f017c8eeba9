"""Triggers: the change table beside a captured table, and the three triggers that write it.

`_forebay_changes_<table>` holds full images with the captured columns' own types, all nullable. It is written with an empty
sql_mode, so that whatever the captured table took, zero dates included, the change table takes as it is. Rows
changed by a foreign key's cascade fire no triggers; `examine` says so where there is one.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from forebay_agent.capture.mysql import describe, sql, types
from forebay_agent.capture.mysql.session import Session
from forebay_agent.capture.mysql.types import ColumnType, column_of
from forebay_agent.capture.source import CHANGE_AT, CHANGE_ID, CHANGE_OP, ChangeTable, TableName, TableShape
from forebay_agent.errors import PrivilegeMissing, SourceError

PURGED_AT_ONCE: Final = 10_000
OWN_TRIGGERS: Final = "_forebay_"
_CHANGES: Final = "_forebay_changes_"
_NAME_CHARACTERS: Final = 64
# a table is a file, whose name has 255 bytes with its ending, and takes 5 for what is no letter, digit or underscore
_FILE_NAME_BYTES: Final = 240
_DIGEST_CHARACTERS: Final = 12
_OWN_COLUMNS: Final = (
    (CHANGE_ID, "bigint(20)"),
    (CHANGE_OP, "char(1) character set ascii"),
    (CHANGE_AT, "datetime(6)"),
)
# waiting for the table's lock keeps everybody else waiting behind us
_LOCK_WAIT_SECONDS: Final = 10
# before these, the next number after a restart was one more than the highest row left
_NUMBERS_KEPT_SINCE: Final = {True: (10, 2, 4), False: (8, 0, 0)}


@dataclass(frozen=True, slots=True)
class Trigger:
    name: TableName
    event: str
    body: str


@dataclass(frozen=True, slots=True)
class MySQLChangeTable(ChangeTable):
    """captured: the table that the triggers are on."""

    captured: TableName
    triggers: tuple[Trigger, ...]


def change_table(session: Session, shape: TableShape) -> MySQLChangeTable:
    """The change table of `shape`, and the statements that make it and its triggers fit the captured table as it is now."""
    captured = describe.located(session, shape.table)
    changes = TableName(captured.schema, _named(_CHANGES, captured.name))
    own = tuple(column_of(name, origin, as_text=False) for name, origin in _OWN_COLUMNS)
    described = TableShape(
        TableName(shape.table.schema, changes.name), (*own, *shape.columns), (CHANGE_ID,), describe.NOT_KNOWN
    )
    triggers = _triggers(captured, changes, shape)
    install = ["SET SESSION sql_mode = ''", *_table_statements(session, captured, changes, shape)]
    for trigger in triggers:
        statement = (
            f"TRIGGER {sql.qualified(trigger.name)} AFTER {trigger.event} ON {sql.qualified(captured)} "
            f"FOR EACH ROW {trigger.body}"
        )
        if session.mariadb:
            install.append(f"CREATE OR REPLACE {statement}")
        else:
            install += [f"DROP TRIGGER IF EXISTS {sql.qualified(trigger.name)}", f"CREATE {statement}"]
    remove = [f"DROP TRIGGER IF EXISTS {sql.qualified(trigger.name)}" for trigger in triggers]
    remove.append(f"DROP TABLE IF EXISTS {sql.qualified(changes)}")
    return MySQLChangeTable(described, tuple(install), tuple(remove), captured, triggers)


def installed(session: Session, table: MySQLChangeTable) -> bool:
    """Whether the change table takes the captured columns as they are now, and every trigger writes all of them. Raises
    PrivilegeMissing when triggers cannot be seen."""
    names = [column.name for column in table.shape.columns[len(_OWN_COLUMNS) :]]
    there = _definitions(session, describe.located(session, table.shape.table))
    wanted = _definitions(session, table.captured)
    if any(there.get(name) is None or there[name] != wanted.get(name) for name in names):
        return False
    rows = session.rows(
        "SELECT TRIGGER_NAME, EVENT_MANIPULATION, ACTION_STATEMENT FROM information_schema.TRIGGERS "
        "WHERE EVENT_OBJECT_SCHEMA = %s AND EVENT_OBJECT_TABLE = %s AND ACTION_TIMING = 'AFTER'",
        table.captured.schema,
        table.captured.name,
    )
    if not rows:
        _see_triggers(session, table)
    return {(trigger.name.name, trigger.event, trigger.body) for trigger in table.triggers} <= set(rows)


def install(session: Session, table: ChangeTable) -> None:
    """Runs the statements in a session that writes."""
    try:
        session.run(f"SET SESSION lock_wait_timeout = {_LOCK_WAIT_SECONDS}")
        for statement in table.install:
            session.run(statement, doing=f"installing change table {table.shape.table}")
    except PrivilegeMissing as error:
        error.sql = ";\n".join(table.install) + ";"
        error.remedy = "Let a DBA run these statements, then switch `install` off."
        raise


def purge(session: Session, table: ChangeTable, through: str) -> int:
    """Deletes changes up to `through`, PURGED_AT_ONCE in a transaction.

    They are counted first, without locks: a DELETE that stops at its LIMIT never looks at the row beyond, which an open
    transaction may have written and hold locked.
    """
    changes = sql.qualified(table.shape.table)
    last = int(through)
    if not _numbers_are_kept(session):
        highest = session.rows(f"SELECT MAX({CHANGE_ID}) FROM {changes}")[0][0]
        last = min(last, (highest or 0) - 1)
    purged = 0
    some = f"SELECT {CHANGE_ID} FROM {changes} WHERE {CHANGE_ID} <= {last} ORDER BY {CHANGE_ID} LIMIT {PURGED_AT_ONCE}"
    while True:
        count = int(session.rows(f"SELECT COUNT(*) FROM ({some}) AS passed")[0][0])
        if count:
            purged += session.run(
                f"DELETE FROM {changes} WHERE {CHANGE_ID} <= {last} ORDER BY {CHANGE_ID} LIMIT {count}",
                doing=f"purging {table.shape.table}",
            )
        if count < PURGED_AT_ONCE:
            return purged


def _numbers_are_kept(session: Session) -> bool:
    found = re.match(r"(?:5\.5\.5-)?(\d+)\.(\d+)\.(\d+)", session.version)
    return found is not None and tuple(int(part) for part in found.groups()) >= _NUMBERS_KEPT_SINCE[session.mariadb]


def _named(prefix: str, table: str) -> str:
    """A name that is too long is cut and told apart by a digest."""
    if _fits(prefix + table):
        return prefix + table
    digest = hashlib.sha256(table.encode()).hexdigest()[:_DIGEST_CHARACTERS]
    while not _fits(f"{prefix}{table}_{digest}"):
        table = table[:-1]
    return f"{prefix}{table}_{digest}"


def _fits(name: str) -> bool:
    plain = len(re.findall(r"[0-9A-Za-z_]", name))
    return len(name) <= _NAME_CHARACTERS and plain + 5 * (len(name) - plain) <= _FILE_NAME_BYTES


def _triggers(captured: TableName, changes: TableName, shape: TableShape) -> tuple[Trigger, ...]:
    names = [column.name for column in shape.columns]

    def written(op: str, image: str) -> str:
        columns = ", ".join(sql.name(name) for name in (CHANGE_OP, CHANGE_AT, *names))
        values = ", ".join(["'" + op + "'", "UTC_TIMESTAMP(6)", *(f"{image}.{sql.name(name)}" for name in names)])
        return f"INSERT INTO {sql.qualified(changes)} ({columns}) VALUES ({values})"

    update = written("u", "NEW")
    if shape.key:
        same = " AND ".join(_same(shape, name) for name in shape.key)
        update = f"BEGIN IF {same} THEN {update}; ELSE {written('d', 'OLD')}; {written('c', 'NEW')}; END IF; END"
    bodies = {"INSERT": written("c", "NEW"), "UPDATE": update, "DELETE": written("d", "OLD")}
    return tuple(
        Trigger(TableName(captured.schema, _named(f"{OWN_TRIGGERS}{event[0].lower()}_", captured.name)), event, body)
        for event, body in bodies.items()
    )


def _same(shape: TableShape, key: str) -> str:
    """Whether an update left the key as it was, byte for byte: a collation may call different keys equal."""
    old, new = f"OLD.{sql.name(key)}", f"NEW.{sql.name(key)}"
    origins = [column.origin for column in shape.columns if column.name == key]
    if not origins or ColumnType.parse(origins[0]).base in types.STRINGS:
        old, new = f"CAST({old} AS BINARY)", f"CAST({new} AS BINARY)"
    return f"{old} <=> {new}"


def _table_statements(session: Session, captured: TableName, changes: TableName, shape: TableShape) -> list[str]:
    """What makes the change table, or makes it fit."""
    definitions = _definitions(session, captured)
    wanted = {c.name: definitions[c.name] for c in shape.columns if c.name in definitions}
    there = _definitions(session, changes)
    if not there:
        own = (
            f"{sql.name(CHANGE_ID)} bigint NOT NULL AUTO_INCREMENT PRIMARY KEY",
            f"{sql.name(CHANGE_OP)} char(1) CHARACTER SET ascii NOT NULL",
            f"{sql.name(CHANGE_AT)} datetime(6) NOT NULL",
        )
        columns = [*own, *(f"{sql.name(name)} {definition} NULL" for name, definition in wanted.items())]
        return [f"CREATE TABLE IF NOT EXISTS {sql.qualified(changes)} ({', '.join(columns)}) ENGINE=InnoDB"]
    altered = [
        f"{'MODIFY' if name in there else 'ADD'} COLUMN {sql.name(name)} {definition} NULL"
        for name, definition in wanted.items()
        if there.get(name) != definition
    ]
    return [f"ALTER TABLE {sql.qualified(changes)} {', '.join(altered)}"] if altered else []


def _definitions(session: Session, table: TableName) -> dict[str, str]:
    """Each column's type with character set and collation, as CREATE TABLE takes it; nothing when there is no such table."""
    rows = session.rows(
        "SELECT COLUMN_NAME, COLUMN_TYPE, CHARACTER_SET_NAME, COLLATION_NAME FROM information_schema.COLUMNS "
        "WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s ORDER BY ORDINAL_POSITION",
        table.schema,
        table.name,
    )
    return {
        name: f"{kind} CHARACTER SET {charset} COLLATE {collation}" if charset else kind
        for name, kind, charset, collation in rows
    }


def _see_triggers(session: Session, table: MySQLChangeTable) -> None:
    """Raises PrivilegeMissing when the triggers are there but hidden from us; information_schema just leaves them out."""
    try:
        session.rows(f"SHOW CREATE TRIGGER {sql.qualified(table.triggers[0].name)}", doing="looking at triggers")
    except PrivilegeMissing as error:
        grantee = describe.grantee(session.user)
        error.sql = f"GRANT TRIGGER ON {sql.qualified(table.captured)} TO {grantee};"
        error.remedy = "Ask the DBA to run this, so that the agent sees whether its triggers are still there."
        raise
    except SourceError:  # there is none
        return
