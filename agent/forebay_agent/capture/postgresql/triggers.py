"""Triggers: the change table beside a captured table, and the function and triggers that write it.

`_forebay_changes_<table>` holds full images with the captured columns' own types, all nullable. One function, owned by
whoever installs it, runs with its owner's rights and a fixed search path: who changes the captured table needs no right
on the change table. It writes the shared columns only.

    row trigger     AFTER INSERT, UPDATE, DELETE: `c`, `u`, `d`; a changed key is `d` of the old and `c` of the new image
    truncate        BEFORE TRUNCATE: `d` of every row there is

Where the installer owns the captured table the triggers are ENABLE ALWAYS, so that rows which a replication applies are
seen too. What they do not see: TRUNCATE, DETACH or DROP of a single partition. After a change, `lastval()` of the writer's
session names the change table's sequence (`currval` and RETURNING are as ever). Creating a trigger waits for open writers
and keeps new ones waiting, for `_LOCK_SECONDS` at most.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from forebay_agent.capture.postgresql import carrying, catalogue
from forebay_agent.capture.postgresql.session import Session
from forebay_agent.capture.postgresql.sql import identifier, qualified, quoted
from forebay_agent.capture.source import CHANGE_AT, CHANGE_ID, CHANGE_OP, ChangeTable, TableName, TableShape
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import AgentError, PrivilegeMissing, SourceError, TableMissing

PURGED_AT_ONCE: Final = 10_000
_ROW_TRIGGER: Final = "_forebay_changes"
_TRUNCATE_TRIGGER: Final = "_forebay_truncate"
_OWN_COLUMNS: Final = ((CHANGE_ID, "bigint"), (CHANGE_OP, "text"), (CHANGE_AT, "timestamp without time zone"))
_NOW: Final = "clock_timestamp() AT TIME ZONE 'UTC'"
_NAME_BYTES: Final = 63
_LOCK_SECONDS: Final = 10

_FUNCTION = "SELECT prosrc, prosecdef FROM pg_proc WHERE oid = to_regprocedure(%s)::oid"
_TRIGGERS = """
SELECT tgname::text FROM pg_trigger
WHERE tgrelid = %s AND tgenabled IN ('O', 'A') AND tgfoid = to_regprocedure(%s)::oid
"""


@dataclass(frozen=True, slots=True)
class PostgreSQLChangeTable(ChangeTable):
    """captured: the table that the triggers are on. function: its signature. body: what it does."""

    captured: TableName
    function: str
    body: str


class Triggers:
    """session reads. Writing is done in a session of its own, opened when it is first needed."""

    def __init__(self, config: SourceConfig, session: Session) -> None:
        self._config = config
        self._session = session
        self._writer: Session | None = None

    def change_table(self, shape: TableShape) -> PostgreSQLChangeTable:
        relation = catalogue.find(self._session, shape.table)
        if relation is None:
            raise TableMissing(f"there is no table {shape.table}")
        if relation.kind not in ("r", "p"):
            raise SourceError(
                f"{shape.table} is not a table: mode trigger needs one", remedy="Capture the tables behind the view."
            )
        captured = relation.table
        changes = TableName(captured.schema, _named("_forebay_changes_", captured.name))
        own = tuple(carrying.describe(name, origin, as_text=False) for name, origin in _OWN_COLUMNS)
        described = TableShape(
            TableName(shape.table.schema, changes.name), (*own, *shape.columns), (CHANGE_ID,), shape.identity
        )
        function = f"{qualified(TableName(captured.schema, _named('_forebay_capture_', captured.name)))}()"
        body = _body(captured, changes, shape)
        role = identifier(catalogue.role(self._session))
        create_function = (
            f"CREATE OR REPLACE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
            f"SET search_path = pg_catalog, pg_temp AS {_dollar_quoted(body)}"
        )
        install = (
            *self._table_statements(changes, shape),
            create_function,
            f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC",
            _create_triggers(captured, function),
            f"GRANT SELECT, DELETE ON {qualified(changes)} TO {role}",
        )
        remove = (
            f"DROP TRIGGER IF EXISTS {_ROW_TRIGGER} ON {qualified(captured)}",
            f"DROP TRIGGER IF EXISTS {_TRUNCATE_TRIGGER} ON {qualified(captured)}",
            f"DROP FUNCTION IF EXISTS {function}",
            f"DROP TABLE IF EXISTS {qualified(changes)}",
        )
        return PostgreSQLChangeTable(described, install, remove, captured, function, body)

    def installed(self, change_table: ChangeTable) -> bool:
        assert isinstance(change_table, PostgreSQLChangeTable)
        captured = catalogue.find(self._session, change_table.captured)
        changes = catalogue.find(self._session, change_table.shape.table)
        if captured is None or changes is None:
            return False
        there = catalogue.columns(self._session, changes.oid)
        if any(there.get(column.name) != column.origin for column in change_table.shape.columns):
            return False
        if self._session.rows(_FUNCTION, (change_table.function,)) != [(change_table.body, True)]:
            return False
        found = {name for (name,) in self._session.rows(_TRIGGERS, (captured.oid, change_table.function))}
        return {_ROW_TRIGGER, _TRUNCATE_TRIGGER} <= found

    def install(self, change_table: ChangeTable) -> None:
        """All statements in one transaction."""
        writer = self._opened()
        try:
            with writer.transaction():
                writer.run(f"SET LOCAL lock_timeout TO '{_LOCK_SECONDS}s'")
                for statement in change_table.install:
                    writer.run(statement)
        except PrivilegeMissing as error:
            raise PrivilegeMissing(
                str(error),
                sql=";\n".join(change_table.install) + ";",
                remedy="Let a DBA run these statements, then switch `install` off.",
            ) from None
        except AgentError:
            self.close()
            raise

    def purge(self, change_table: ChangeTable, through: str) -> int:
        changes = qualified(change_table.shape.table)
        purged = 0
        try:
            while True:
                count = self._opened().run(
                    f"DELETE FROM {changes} WHERE {CHANGE_ID} IN (SELECT {CHANGE_ID} FROM {changes} "
                    f"WHERE {CHANGE_ID} <= {int(through)} ORDER BY {CHANGE_ID} LIMIT {PURGED_AT_ONCE})"
                )
                purged += count
                if count < PURGED_AT_ONCE:
                    return purged
        except PrivilegeMissing as error:
            role = identifier(catalogue.role(self._session))
            raise PrivilegeMissing(str(error), sql=f"GRANT SELECT, DELETE ON {changes} TO {role};") from None
        except AgentError:
            self.close()
            raise

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _opened(self) -> Session:
        if self._writer is None:
            self._writer = Session(self._config, writes=True)
        return self._writer

    def _table_statements(self, changes: TableName, shape: TableShape) -> list[str]:
        """What makes the change table, or makes it fit."""
        relation = catalogue.find(self._session, changes)
        if relation is None:
            own = (
                f"{CHANGE_ID} bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
                f"{CHANGE_OP} text NOT NULL",
                f"{CHANGE_AT} timestamp without time zone NOT NULL",
            )
            columns = ", ".join((*own, *(f"{identifier(c.name)} {c.origin}" for c in shape.columns)))
            return [f"CREATE TABLE IF NOT EXISTS {qualified(changes)} ({columns})"]
        there = catalogue.columns(self._session, relation.oid)
        altered = []
        for column in shape.columns:
            name = identifier(column.name)
            if column.name not in there:
                altered.append(f"ADD COLUMN IF NOT EXISTS {name} {column.origin}")
            elif there[column.name] != column.origin:
                altered.append(f"ALTER COLUMN {name} TYPE {column.origin} USING {name}::text::{column.origin}")
        return [f"ALTER TABLE {qualified(changes)} {', '.join(altered)}"] if altered else []


def _named(prefix: str, table: str) -> str:
    """Names have at most 63 bytes: a long one is cut and told apart by a digest."""
    name = prefix + table
    if len(name.encode()) <= _NAME_BYTES:
        return name
    digest = hashlib.sha256(table.encode()).hexdigest()[:12]
    kept = name.encode()[: _NAME_BYTES - 1 - len(digest)].decode("utf-8", "ignore")
    return f"{kept}_{digest}"


def _dollar_quoted(body: str) -> str:
    """As people like to read functions; with a tag that no column name can end."""
    tag, number = "$forebay$", 0
    while tag in body:
        tag, number = f"$forebay{number}$", number + 1
    return f"{tag}{body}{tag}"


def _body(captured: TableName, changes: TableName, shape: TableShape) -> str:
    names = [identifier(column.name) for column in shape.columns]
    into = f"INSERT INTO {qualified(changes)} ({', '.join((CHANGE_OP, CHANGE_AT, *names))})"

    def written(op: str, image: str) -> str:
        return f"{into} VALUES ('{op}', {_NOW}, {', '.join(f'{image}.{name}' for name in names)});"

    moved = " OR ".join(_differs(shape, name) for name in shape.key) or "false"
    return f"""
BEGIN
  IF TG_OP = 'INSERT' THEN
    {written("c", "NEW")}
  ELSIF TG_OP = 'DELETE' THEN
    {written("d", "OLD")}
  ELSIF TG_OP = 'TRUNCATE' THEN
    {into} SELECT 'd', {_NOW}, {", ".join(f"t.{name}" for name in names)} FROM {qualified(captured)} AS t;
  ELSIF {moved} THEN
    {written("d", "OLD")}
    {written("c", "NEW")}
  ELSE
    {written("u", "NEW")}
  END IF;
  RETURN NULL;
END
"""


def _differs(shape: TableShape, key: str) -> str:
    """Whether an update moved the key: text by its bytes, since a collation may call different keys equal."""
    suffix = '::text COLLATE "C"' if pa.types.is_string(shape.column(key).arrow) else ""
    return f"OLD.{identifier(key)}{suffix} IS DISTINCT FROM NEW.{identifier(key)}{suffix}"


def _create_triggers(captured: TableName, function: str) -> str:
    """Creates what is missing, and switches on what was switched off."""
    table = qualified(captured)
    relation = f"{quoted(table)}::regclass"

    def created(trigger: str, when: str) -> str:
        return (
            f"IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = {relation} AND tgname = {quoted(trigger)}) THEN "
            f"CREATE TRIGGER {trigger} {when} EXECUTE PROCEDURE {function}; END IF;"
        )

    rows = created(_ROW_TRIGGER, f"AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW")
    truncate = created(_TRUNCATE_TRIGGER, f"BEFORE TRUNCATE ON {table} FOR EACH STATEMENT")
    always = " ".join(
        f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger};" for trigger in (_ROW_TRIGGER, _TRUNCATE_TRIGGER)
    )
    owner = f"pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = {relation}), 'MEMBER')"
    block = f" BEGIN {rows} {truncate} IF {owner} THEN {always} END IF; END "
    return f"DO {quoted(block)}"
