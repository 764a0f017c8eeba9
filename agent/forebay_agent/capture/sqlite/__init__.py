"""The SQLite dialect: the database is a file that this process reads.

Read `source.py` first; `session` opens and classifies, `layout` describes tables, `statements` composes SQL, `values`
makes columns of rows, `changes` writes triggers, `examine` looks at a table for `check`.
"""

from __future__ import annotations

from forebay_agent.capture.sqlite.source import SQLiteSource
from forebay_agent.config.model import SourceConfig


def open(config: SourceConfig) -> SQLiteSource:  # noqa: A001 - the name every dialect opens by
    """Raises SourceUnreachable, SourceDenied, SourceError."""
    return SQLiteSource(config)
