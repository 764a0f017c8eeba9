"""What `check` says of a SQLite table."""

from __future__ import annotations

from forebay_agent.capture.source import Finding, Severity, TableShape
from forebay_agent.capture.sqlite.layout import Affinity, Layout, quoted
from forebay_agent.capture.sqlite.session import Session
from forebay_agent.capture.sqlite.statements import takes_every_class

SAMPLE_ROWS = 10_000
_CLASSES = {
    Affinity.INTEGER: "('integer', 'null')",
    Affinity.REAL: "('real', 'integer', 'null')",
    Affinity.TEXT: "('text', 'null')",
    Affinity.BLOB: "('blob', 'null')",
    Affinity.NUMERIC: "('text', 'integer', 'real', 'null')",
    Affinity.NONE: "('text', 'integer', 'real', 'null')",
}


def findings(session: Session, shape: TableShape, layout: Layout, cursor: str | None) -> list[Finding]:
    found = [_rows(session, shape, layout), _key(shape, layout), _identity(session)]
    found += [
        Finding(
            Severity.NOTE,
            column.name,
            f"column {column.name} ({column.origin or 'no type'}) is carried as text: SQLite keeps it as text or number",
        )
        for column in shape.columns
        if column.carried == "text"
    ]
    found += _unfit(session, shape, layout)
    if cursor is not None:
        found.append(_cursor_index(session, shape, cursor))
    found += _replacing(session, shape)
    return found


def _rows(session: Session, shape: TableShape, layout: Layout) -> Finding:
    """max(rowid) costs one step; counting would read the whole table."""
    if layout.is_view:
        return Finding(Severity.NOTE, "rows", f"{shape.table} is a view: its rows are not estimated")
    without_rowid = session.rows(
        "estimate rows", "SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?", (shape.table.name,)
    )
    if without_rowid and without_rowid[0][0]:
        return Finding(Severity.NOTE, "rows", f"{shape.table} has no rowid: its rows are not estimated")
    highest = session.rows("estimate rows", f"SELECT max(rowid) FROM main.{quoted(shape.table.name)}")[0][0]
    return Finding(Severity.OK, "rows", f"{shape.table} has at most about {highest or 0} rows")


def _key(shape: TableShape, layout: Layout) -> Finding:
    if not shape.key:
        return Finding(
            Severity.WARNING,
            "key",
            f"{shape.table} has no primary key and no unique key without NULLs",
            remedy="Name unique columns with `key = [...]`; without a key only mode snapshot is possible.",
        )
    sloppy = [name for name in shape.key if layout.affinities[name] is Affinity.NONE]
    if sloppy:
        return Finding(
            Severity.WARNING,
            "key",
            f"key column {', '.join(sloppy)} has no type: the table is sorted for every piece that is read",
            remedy="Give the column a type.",
        )
    return Finding(Severity.OK, "key", f"key: {', '.join(shape.key)}")


def _identity(session: Session) -> Finding:
    blocks = (
        "" if session.journal == "wal" else f"; journal mode is {session.journal}, so each short read delays writers"
    )
    return Finding(
        Severity.NOTE,
        "identity",
        f"SQLite does not tell a table that was dropped and created again; mode trigger notices it{blocks}",
    )


def _unfit(session: Session, shape: TableShape, layout: Layout) -> list[Finding]:
    """Values that will be refused, among the first rows."""
    columns = [column for column in shape.columns if not takes_every_class(column, layout)]
    if not columns:
        return []
    sums = ", ".join(
        f"total(typeof({quoted(column.name)}) NOT IN {_CLASSES[layout.affinities[column.name]]})" for column in columns
    )
    selected = ", ".join(quoted(column.name) for column in columns)
    counts = session.rows(
        "look for values that do not fit",
        f"SELECT {sums} FROM (SELECT {selected} FROM main.{quoted(shape.table.name)} LIMIT {SAMPLE_ROWS})",
    )[0]
    return [
        Finding(
            Severity.ERROR,
            column.name,
            f"column {column.name} ({column.origin or 'no type'}) holds values of another kind in {int(count)} of the first "
            f"{SAMPLE_ROWS} rows",
            remedy=f'Carry it as text (as_text = ["{column.name}"]), or correct the values.',
            sql=f"SELECT * FROM {quoted(shape.table.name)} WHERE typeof({quoted(column.name)}) NOT IN "
            f"{_CLASSES[layout.affinities[column.name]]}",
        )
        for column, count in zip(columns, counts, strict=True)
        if count
    ]


def _cursor_index(session: Session, shape: TableShape, cursor: str) -> Finding:
    leading = session.rows(
        "look for an index",
        "SELECT i.name FROM pragma_index_list(?) AS i, pragma_index_info(i.name) AS c WHERE c.seqno = 0 AND c.name = ?",
        (shape.table.name, cursor),
    )
    if leading or shape.key[:1] == (cursor,):
        return Finding(Severity.OK, "cursor", f"cursor column {cursor} has an index")
    columns = ", ".join(quoted(name) for name in dict.fromkeys((cursor, *shape.key)))
    return Finding(
        Severity.WARNING,
        "cursor",
        f"cursor column {cursor} has no index: each poll reads the whole table",
        remedy="Ask the owner of the database to create one.",
        sql=f"CREATE INDEX {quoted(f'forebay_{shape.table.name}_{cursor}')} ON {quoted(shape.table.name)} ({columns})",
    )


def _replacing(session: Session, shape: TableShape) -> list[Finding]:
    others = [
        index
        for (index,) in session.rows(
            "look for unique indexes",
            'SELECT name FROM pragma_index_list(?) WHERE "unique"',
            (shape.table.name,),
        )
        if tuple(
            row[0] for row in session.rows("look", "SELECT name FROM pragma_index_info(?) ORDER BY seqno", (index,))
        )
        != shape.key
    ]
    if not others:
        return []
    return [
        Finding(
            Severity.NOTE,
            "replace",
            f"a row that INSERT OR REPLACE removes through unique index {', '.join(others)} is not seen by triggers",
            remedy="Let writers use INSERT … ON CONFLICT DO UPDATE, or set PRAGMA recursive_triggers = ON in their sessions.",
        )
    ]
