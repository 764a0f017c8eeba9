"""The publication: which tables' changes the server sends. Made and extended by the agent where it may, or by a DBA.

A publication that is there is used as it is, except that tables that it lacks are added. It has to publish all kinds of
changes, and partitioned tables under their own names. Creating it FOR TABLE, and adding a table, needs its owner; both
take a lock that lets rows be changed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from forebay_agent.capture.postgresql.log.checkpoint import digest
from forebay_agent.capture.postgresql.log.fitness import GENERATED_VERSION, PARTITIONED_VERSION
from forebay_agent.capture.postgresql.session import Session
from forebay_agent.capture.postgresql.sql import identifier, qualified, quoted
from forebay_agent.capture.source import TableName
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import LogUnfit, PrivilegeMissing

_LOCK_SECONDS: Final = 10
_NAME_BYTES: Final = 63
_PLAIN: Final = re.compile(r"[^a-z0-9_]")
_ALL_CHANGES: Final = "insert, update, delete, truncate"
_LISTS_VERSION: Final = 150_000

_PUBLICATION: Final = """
SELECT oid::bigint, pubinsert AND pubupdate AND pubdelete AND pubtruncate, puballtables, {root}, {generated}
FROM pg_publication WHERE pubname = %s
"""
_MEMBER: Final = """
SELECT {columns}, {filter},
       (SELECT array_agg(a.attname::text) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = schemaname AND c.relname = tablename AND a.attnum > 0 AND NOT a.attisdropped)
FROM pg_publication_tables WHERE pubname = %s AND schemaname = %s AND tablename = %s
"""

_MEMBERSHIP: Final = """
WITH RECURSIVE above AS (
    SELECT %s::oid AS oid UNION SELECT i.inhparent FROM pg_inherits i JOIN above a ON i.inhrelid = a.oid
)
SELECT concat_ws(' ', p.oid, p.xmin,
                 (SELECT string_agg(concat_ws(':', r.oid, r.xmin), ' ' ORDER BY r.oid)
                  FROM pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid IN (SELECT oid FROM above)),
                 {schemas})
FROM pg_publication p WHERE p.pubname = %s
"""
_OF_SCHEMAS: Final = """
(SELECT string_agg(concat_ws(':', s.oid, s.xmin), ' ' ORDER BY s.oid) FROM pg_publication_namespace s
 WHERE s.pnpubid = p.oid AND s.pnnspid IN (SELECT c.relnamespace FROM pg_class c JOIN above a ON c.oid = a.oid))
"""
_MEMBER_ABOVE: Final = """
WITH RECURSIVE above AS (
    SELECT i.inhparent AS oid FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid AND c.relispartition
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s
    UNION SELECT i.inhparent FROM pg_inherits i JOIN above a ON i.inhrelid = a.oid
)
SELECT EXISTS (SELECT FROM above a JOIN pg_class c ON c.oid = a.oid JOIN pg_namespace n ON n.oid = c.relnamespace
               JOIN pg_publication_tables p ON p.schemaname = n.nspname AND p.tablename = c.relname WHERE p.pubname = %s)
"""


@dataclass(frozen=True, slots=True)
class Names:
    """Of the source's slot and publication."""

    slot: str
    publication: str


@dataclass(frozen=True, slots=True)
class Publication:
    """As it is. via_root: partitioned tables under their own names."""

    name: str
    oid: int
    all_changes: bool
    all_tables: bool
    via_root: bool
    generated: bool


def names_of(config: SourceConfig) -> Names:
    """As configured, or `forebay_<source>`, told apart by a digest where the source's name has other characters."""
    plain = _PLAIN.sub("_", config.name.lower())
    made = f"forebay_{plain}"
    if plain != config.name or len(made) > _NAME_BYTES:
        digest = hashlib.blake2b(config.name.encode(), digest_size=4).hexdigest()
        made = f"{made[: _NAME_BYTES - 9]}_{digest}"
    return Names(config.slot or made, config.publication or made)


def publication_of(session: Session, name: str) -> Publication | None:
    version = session.server_version
    query = _PUBLICATION.format(
        root="pubviaroot" if version >= PARTITIONED_VERSION else "false",
        generated="pubgencols = 's'" if version >= GENERATED_VERSION else "false",
    )
    found = session.rows(query, (name,))
    return Publication(name, *found[0]) if found else None


def check(publication: Publication) -> None:
    """Raises LogUnfit when changes would be missing from it."""
    if not publication.all_changes:
        raise LogUnfit(
            f"publication {publication.name} does not publish all of: {_ALL_CHANGES}",
            remedy="Ask the DBA to run this, then take the tables anew.",
            sql=f"ALTER PUBLICATION {identifier(publication.name)} SET (publish = {quoted(_ALL_CHANGES)});",
        )


def check_partitioned(publication: Publication) -> None:
    """Raises LogUnfit when it cannot hold a partitioned table."""
    if not publication.via_root:
        raise LogUnfit(
            f"publication {publication.name} publishes partitions under their own names",
            remedy="Ask the DBA to run this, then take the tables anew.",
            sql=f"ALTER PUBLICATION {identifier(publication.name)} SET (publish_via_partition_root = true);",
        )


def create_statement(name: str, tables: Sequence[TableName], server_version: int) -> str:
    of_tables = f" FOR TABLE {', '.join(qualified(table) for table in tables)}" if tables else ""
    options = []
    if server_version >= PARTITIONED_VERSION:
        options.append("publish_via_partition_root = true")
    if server_version >= GENERATED_VERSION:
        options.append("publish_generated_columns = stored")
    return f"CREATE PUBLICATION {identifier(name)}{of_tables}" + (f" WITH ({', '.join(options)})" if options else "")


def add_statement(name: str, table: TableName) -> str:
    return f"ALTER PUBLICATION {identifier(name)} ADD TABLE {qualified(table)}"


def drop_statement(name: str, table: TableName) -> str:
    return f"ALTER PUBLICATION {identifier(name)} DROP TABLE {qualified(table)}"


def run(config: SourceConfig, *statements: str, also: Sequence[str] = ()) -> None:
    """In one transaction of a session that may write. Raises PrivilegeMissing with all of it, and `also`, as SQL."""
    writer = Session(config, writes=True)
    try:
        with writer.transaction():
            writer.run(f"SET LOCAL lock_timeout TO '{_LOCK_SECONDS}s'")
            for statement in statements:
                writer.run(statement)
    except PrivilegeMissing as error:
        raise PrivilegeMissing(
            str(error), sql=" ".join(f"{each};" for each in (*statements, *also)), remedy="Ask the DBA to run this."
        ) from None
    finally:
        writer.close()


def members(session: Session, publication: str) -> set[TableName]:
    query = "SELECT schemaname::text, tablename::text FROM pg_publication_tables WHERE pubname = %s"
    return {TableName(schema, name) for schema, name in session.rows(query, (publication,))}


def membership(session: Session, publication: str, oid: int) -> str:
    """How the publication holds the table, by itself or through what it belongs to: another text when it was taken out, put
    in again or put in otherwise, or the publication itself was altered or made anew; empty when there is none."""
    schemas = session.server_version >= _LISTS_VERSION
    query = _MEMBERSHIP.format(schemas=_OF_SCHEMAS if schemas else "NULL")
    found = session.rows(query, (oid, publication))
    return digest([str(found[0][0])]) if found else ""


def member_unfit(session: Session, publication: str, table: TableName, captured: Sequence[str]) -> LogUnfit | bool:
    """Whether the publication holds the table; or why what it holds of it is not enough."""
    lists = session.server_version >= _LISTS_VERSION
    query = _MEMBER.format(columns="attnames::text[]" if lists else "NULL", filter="rowfilter" if lists else "NULL")
    found = session.rows(query, (publication, table.schema, table.name))
    if not found:
        if session.rows(_MEMBER_ABOVE, (table.schema, table.name, publication))[0][0]:
            return LogUnfit(
                f"{table} is a partition of a table that publication {publication} holds: its changes are that one's",
                remedy="Capture the partitioned table, or this one from a source with another publication.",
            )
        return False
    ((columns, condition, there),) = found
    if condition:
        return LogUnfit(
            f"publication {publication} filters the rows of {table}",
            remedy="Ask the DBA to publish the table without WHERE; or share a view, with another mode.",
        )
    # a captured column that is gone meanwhile is not the publication's fault
    missing = [name for name in captured if columns is not None and name not in columns and name in there]
    if missing:
        return LogUnfit(
            f"publication {publication} lacks columns of {table}: {', '.join(missing)}",
            remedy="Ask the DBA to publish them as well, or exclude them.",
        )
    return True
