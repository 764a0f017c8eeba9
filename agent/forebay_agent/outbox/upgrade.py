"""Older formats of the outbox's file, brought up to this version's in place, and back: all of it in one transaction."""

from __future__ import annotations

import sqlite3
from typing import Final

STEPS: Final = {
    1: (
        "ALTER TABLE stream ADD COLUMN open_epoch INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE stream ADD COLUMN open_seq INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE stream ADD COLUMN open_chain BLOB NOT NULL DEFAULT x''",
        "ALTER TABLE stream ADD COLUMN open_checkpoint TEXT NOT NULL DEFAULT ''",
        (
            "CREATE TABLE log (department TEXT NOT NULL, source TEXT NOT NULL, checkpoint TEXT NOT NULL,"
            " tables TEXT NOT NULL, PRIMARY KEY (department, source)) STRICT, WITHOUT ROWID"
        ),
        (
            "CREATE TABLE request (id INTEGER PRIMARY KEY, stream INTEGER NOT NULL REFERENCES stream, at_us INTEGER NOT NULL,"
            " who TEXT NOT NULL, why TEXT NOT NULL, at_least TEXT, through TEXT, done INTEGER NOT NULL DEFAULT 0) STRICT"
        ),
    ),
    2: (
        "ALTER TABLE stream ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE log ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE batch ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0",
        (
            "CREATE TRIGGER stream_unguarded AFTER UPDATE ON stream WHEN NEW.checksum <> 0 AND NEW.checksum = OLD.checksum"
            " BEGIN UPDATE stream SET checksum = 0 WHERE id = NEW.id; END"
        ),
        (
            "CREATE TRIGGER log_unguarded AFTER UPDATE ON log WHEN NEW.checksum <> 0 AND NEW.checksum = OLD.checksum"
            " AND NEW.checkpoint <> OLD.checkpoint"
            " BEGIN UPDATE log SET checksum = 0 WHERE department = NEW.department AND source = NEW.source; END"
        ),
    ),
}
"""format -> what makes the next one of it. A step never takes anything away that the version before it reads: a
`forebay-agent` that is still running on the file goes on."""

BACK: Final = {
    2: (
        "DROP TABLE request",
        "DROP TABLE log",
        "ALTER TABLE stream DROP COLUMN open_checkpoint",
        "ALTER TABLE stream DROP COLUMN open_chain",
        "ALTER TABLE stream DROP COLUMN open_seq",
        "ALTER TABLE stream DROP COLUMN open_epoch",
    ),
    3: (
        "DROP TRIGGER log_unguarded",
        "DROP TRIGGER stream_unguarded",
        "ALTER TABLE batch DROP COLUMN checksum",
        "ALTER TABLE log DROP COLUMN checksum",
        "ALTER TABLE stream DROP COLUMN checksum",
    ),
}
"""format -> what makes the one before it of it, for an older `forebay-agent`"""
LOST: Final = {
    2: "SELECT (SELECT count(*) FROM log) + (SELECT count(*) FROM request) + (SELECT count(*) FROM stream WHERE open_epoch)"
}
"""format -> how many rows hold what the one before it has no place for"""


def downgrade(connection: sqlite3.Connection, wanted: int) -> bool:
    """Writes the file in an older format. -> False, and nothing is changed, when that format is not known or has no place for
    what is in the file. Raises sqlite3.Error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        fits = wanted <= version
        while fits and version > wanted:
            fits = version in BACK and not (version in LOST and connection.execute(LOST[version]).fetchone()[0])
            for statement in BACK[version] if fits else ():
                connection.execute(statement)
            version -= 1
            connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT" if fits else "ROLLBACK")
        return fits
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def upgrade(connection: sqlite3.Connection, newest: int) -> None:
    """Brings the file up to format `newest`, if every step from its own format on is known. Raises sqlite3.Error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        while version < newest and version in STEPS:
            for statement in STEPS[version]:
                connection.execute(statement)
            version += 1
            connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
