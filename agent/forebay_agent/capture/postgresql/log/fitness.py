"""Whether the log can carry a table, and what it guarantees then.

Nothing here may harm the department's application: PostgreSQL refuses an UPDATE or DELETE of a published table whose rows
it cannot identify, so a table without a replica identity is never published, and never followed.
"""

from __future__ import annotations

from typing import Final

from forebay_agent.capture.log import LogTable
from forebay_agent.capture.postgresql.log.layout import Layout, Leaf
from forebay_agent.capture.postgresql.sql import identifier, qualified
from forebay_agent.capture.source import TableShape
from forebay_agent.errors import AgentError, LogUnfit, TableMissing

PARTITIONED_VERSION: Final = 130_000
GENERATED_VERSION: Final = 180_000
_KINDS: Final = {"v": "a view", "m": "a materialised view", "f": "a foreign table"}
_PERSISTENCE: Final = {"u": "an unlogged table", "t": "a temporary table"}
_OTHER_MODE: Final = 'Capture it with mode = "trigger", "cursor" or "snapshot".'
_SINGLE_PARTITIONS: Final = (
    " A single partition that is attached, detached, dropped, emptied or rewritten is seen within a minute, and makes the table "
    "be read anew."
)
FULL: Final = "f"


def unfit(
    layout: Layout | None, table: LogTable, server_version: int, *, publishes_generated: bool
) -> AgentError | None:
    """Why the table cannot be followed; None when it can. publishes_generated: the publication sends stored generated columns."""
    name = table.name
    if layout is None:
        return TableMissing(f"there is no table {name}")
    if layout.kind not in ("r", "p"):
        kind = _KINDS.get(layout.kind, "no table")
        return LogUnfit(f"{name} is {kind}: it has no log", remedy=f"Capture the tables behind it. {_OTHER_MODE}")
    if layout.persistence != "p":
        return LogUnfit(f"{name} is {_PERSISTENCE.get(layout.persistence)}: it has no log", remedy=_OTHER_MODE)
    if layout.kind == "p" and server_version < PARTITIONED_VERSION:
        return LogUnfit(
            f"{name} is partitioned: PostgreSQL publishes such tables from version 13 on", remedy=_OTHER_MODE
        )
    return (
        hidden_unfit(layout, table)
        or _columns_unfit(layout, table, publishes_generated=publishes_generated)
        or _identity_unfit(layout, table.shape)
    )


def hidden_unfit(layout: Layout, table: LogTable) -> LogUnfit | None:
    """Why reads of the table and its log would not show the same rows."""
    name = table.name
    if layout.inherited:
        return LogUnfit(
            f"other tables inherit from {name}: reads of it show their rows, its log does not",
            remedy=f"Capture each of the tables by itself from a view `SELECT … FROM ONLY …`. {_OTHER_MODE}",
        )
    if layout.hides_rows:
        return LogUnfit(
            f"policies on {name} hide rows from this user; its log would show them",
            remedy="Ask the DBA for a policy that shows this user every row, or capture a view with another mode.",
        )
    return None


def _columns_unfit(layout: Layout, table: LogTable, *, publishes_generated: bool) -> LogUnfit | None:
    captured = {column.name for column in table.shape.columns}
    generated = [
        column.name
        for column in layout.columns
        if column.name in captured and column.generated and not (column.generated == "s" and publishes_generated)
    ]
    if not generated:
        return None
    return LogUnfit(
        f"{table.name}: generated column {', '.join(generated)} is not in the log",
        remedy=f'Exclude it (`exclude = ["{generated[0]}"]`), or capture the table with mode = "trigger".',
    )


def _identity_unfit(layout: Layout, shape: TableShape) -> LogUnfit | None:
    if layout.kind == "p" and not layout.primary:
        # what a partition identifies its rows by is its own primary key, unless somebody says otherwise
        return LogUnfit(
            f"{layout.table} has no primary key: published, UPDATEs and DELETEs of partitions that are made later would fail",
            remedy=f"Ask the DBA for a primary key. Without one: {_OTHER_MODE[0].lower()}{_OTHER_MODE[1:]}",
        )
    for leaf in layout.leaves:
        if leaf.identity == FULL:
            continue
        if not leaf.identity_columns:
            return LogUnfit(
                f"{leaf.table} has no replica identity: published, its UPDATEs and DELETEs would fail",
                remedy="Ask the DBA to run this.",
                sql=_cure(leaf, shape),
            )
        missing = [name for name in shape.key if name not in leaf.identity_columns]
        if missing or not shape.key:
            return LogUnfit(
                f"{leaf.table}: its replica identity ({', '.join(leaf.identity_columns)}) does not hold "
                + (f"key column {', '.join(missing)}" if missing else "every column, and the table has no key")
                + ": deletes could not be told",
                remedy="Ask the DBA to run this, or name the key that the replica identity has.",
                sql=_cure(leaf, shape),
            )
    return None


def _cure(leaf: Leaf, shape: TableShape) -> str:
    table = qualified(leaf.table)
    full = f"ALTER TABLE {table} REPLICA IDENTITY FULL;"
    if not shape.key:
        return full
    key = ", ".join(identifier(name) for name in shape.key)
    return f"{full} -- or, where ({key}) has a unique index of columns that are never NULL: ALTER TABLE {table} REPLICA IDENTITY USING INDEX …;"


def guarantee(layout: Layout, shape: TableShape) -> str:
    """What the table's replica identity gives, as a sentence."""
    kinds = {leaf.identity for leaf in layout.leaves}
    partitions = _SINGLE_PARTITIONS if layout.kind == "p" else ""
    if not shape.key:
        return (
            "Every change, once, in order of commit; an update is told as a delete of the old row and the new one."
            + partitions
        )
    if kinds == {FULL}:
        return (
            "Every change, once, in order of commit; deletes with the whole old row (replica identity full)."
            + partitions
        )
    name = "index" if "i" in kinds else "default"
    return (
        f"Every change, once, in order of commit; deletes with their key only (replica identity {name}); a large value that "
        "an update left alone is told as absent." + partitions
    )
