"""What the server says of its log: whether it can be read, where it ends, who it is."""

from __future__ import annotations

import time
from typing import Final

from forebay_agent.capture.postgresql.connecting import place
from forebay_agent.capture.postgresql.log.checkpoint import LogCheckpoint, lsn_of
from forebay_agent.capture.postgresql.log.stream import Identity
from forebay_agent.capture.postgresql.session import Session
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import LogUnfit, SourceReplaced

_SETTINGS: Final = "SELECT current_setting('wal_level'), pg_is_in_recovery()"
_ENDS: Final = "SELECT pg_current_wal_insert_lsn()::text, pg_current_wal_flush_lsn()::text"
_SIZES: Final = """
SELECT pg_size_bytes(current_setting('wal_segment_size')), setting::bigint FROM pg_settings WHERE name = 'wal_block_size'
"""
_DATABASE: Final = "SELECT oid::bigint FROM pg_database WHERE datname = current_database()"
_SEGMENT_HEADER: Final = 40  # of a segment's first page
_PAGE_HEADER: Final = 24
_PATIENCE_SECONDS: Final = 0.01


def check_settings(session: Session) -> None:
    """Raises LogUnfit when the log does not hold changes."""
    level, in_recovery = session.rows(_SETTINGS)[0]
    if in_recovery:
        raise LogUnfit(
            "this server is a standby: its log is read from its primary", remedy="Point the source at the primary."
        )
    if level != "logical":
        raise LogUnfit(
            f"wal_level is {level}: the log does not hold what changed",
            remedy="Ask the DBA to run this and to restart the server: it takes effect only then.",
            sql="ALTER SYSTEM SET wal_level = 'logical';",
        )


def database_oid(session: Session) -> int:
    oid: int = session.rows(_DATABASE)[0][0]
    return oid


def check_identity(config: SourceConfig, checkpoint: LogCheckpoint, identity: Identity, database: int) -> None:
    """Raises SourceReplaced when the checkpoint is of another server, or of this one before a failover."""
    if (checkpoint.system, checkpoint.database) != (identity.system, database):
        raise SourceReplaced(
            f"{place(config)}: captured was server {checkpoint.system}, database {checkpoint.database}; this is server "
            f"{identity.system}, database {database}"
        )
    if checkpoint.timeline != identity.timeline:
        raise SourceReplaced(
            f"{place(config)}: captured was timeline {checkpoint.timeline}; the server is on timeline {identity.timeline}: a "
            "standby took over, or a backup was restored"
        )


class LogEnd:
    """Where the log ends, as far as a commit may lie that others can see by now.

    The server sends what is flushed. What stays unflushed while nobody commits is of open transactions, or is a commit
    without synchronous_commit, which is flushed soon. So that the server gets as far as the end that was told, a transaction
    that does nothing is committed behind it: its commit is flushed soon, and all that lies before with it.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._segment = self._page = 0

    def written(self) -> int:
        """The end of what was written, to the byte: no place in the log lies behind it."""
        return lsn_of(self._session.rows(_ENDS)[0][0])

    def insert(self) -> int:
        """The end of what was written; it may be that nothing of it is flushed."""
        return self._ends()[0]

    def now(self) -> int:
        """At or after every commit that a read which has ended by now could see; the server gets there by itself."""
        inserted, flushed = self._ends()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while flushed < inserted:
            if time.monotonic() > deadline:
                function = "pg_current_xact_id" if self._session.server_version >= 130_000 else "txid_current"
                self._session.rows(f"SELECT {function}()::text")
                break
            time.sleep(0.002)
            _, flushed = self._ends()
        return inserted

    def _ends(self) -> tuple[int, int]:
        if not self._page:
            ((self._segment, self._page),) = self._session.rows(_SIZES)
        inserted, flushed = (lsn_of(text) for text in self._session.rows(_ENDS)[0])
        # right behind a page's header nothing was written to the page yet, and no record ends there
        if inserted % self._segment == _SEGMENT_HEADER:
            return inserted - _SEGMENT_HEADER, flushed
        if inserted % self._page == _PAGE_HEADER:
            return inserted - _PAGE_HEADER, flushed
        return inserted, flushed
