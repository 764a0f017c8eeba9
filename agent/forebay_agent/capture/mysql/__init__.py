"""MySQL and MariaDB. Read in this order: `types` (what a column is carried as), `charset` (text that is not what it is declared
to be), `sql` (identifiers, literals, ranges), `session` (the connection and its result streams), `describe` (shapes),
`values` (buffers to record batches), `horizon` (what is still open), `triggers`, `examine`, and `source`, which ties them
together. Tried against MariaDB 10.11; what differs on MySQL is marked where it does.
"""

from __future__ import annotations

from forebay_agent.capture.mysql.source import MySQLSource
from forebay_agent.config.model import SourceConfig


def open(config: SourceConfig) -> MySQLSource:  # noqa: A001 - every dialect's opener has this name
    """Opens a read-only session. Raises SourceUnreachable, SourceDenied, PrivilegeMissing, ConfigurationError."""
    return MySQLSource(config)
