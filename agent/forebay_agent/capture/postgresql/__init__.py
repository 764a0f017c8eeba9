"""PostgreSQL from version 10 on. Read in this order: `carrying` (what each type is carried as), `sql` (identifiers, literals,
ranges), `connecting` and `session` (the connection, its settings, COPY), `charset` (text whose declaration lies),
`catalogue` (shapes), `horizon` (what is still open), `triggers`, `examine`, and `source`, which ties them together.
"""

from __future__ import annotations

from forebay_agent.capture.postgresql.source import PostgreSQLSource
from forebay_agent.config.model import SourceConfig


def open(config: SourceConfig) -> PostgreSQLSource:  # noqa: A001 - every dialect's opener has this name
    """Opens a read-only session. Raises SourceUnreachable, SourceDenied, SourceError, ConfigurationError."""
    return PostgreSQLSource(config)
