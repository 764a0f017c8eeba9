"""Opening the log: settings, server, publication, slot, and then the reader, at a checkpoint or at the log's end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from forebay_agent.capture.log import LogTable
from forebay_agent.capture.postgresql.canary import wants_messages
from forebay_agent.capture.postgresql.log import publication, server, slot
from forebay_agent.capture.postgresql.log.checkpoint import LogCheckpoint
from forebay_agent.capture.postgresql.log.fitness import unfit
from forebay_agent.capture.postgresql.log.layout import layout_of
from forebay_agent.capture.postgresql.log.publication import Names, Publication
from forebay_agent.capture.postgresql.log.reader import PostgreSQLLogReader
from forebay_agent.capture.postgresql.log.server import LogEnd
from forebay_agent.capture.postgresql.log.stream import Stream
from forebay_agent.capture.postgresql.log.streamed import Spilled
from forebay_agent.capture.postgresql.log.visibility import open_xids
from forebay_agent.capture.postgresql.session import Session
from forebay_agent.capture.source import TableName
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import LogUnfit, SourceError

_PATIENCE_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.02
_WHO: Final = """
SELECT 'pid ' || pid FROM pg_stat_activity WHERE backend_xid::text = ANY (%s)
UNION ALL SELECT 'prepared transaction ' || gid FROM pg_prepared_xacts WHERE transaction::text = ANY (%s)
"""


def open_reader(
    config: SourceConfig,
    session: Session,
    tables: Sequence[LogTable],
    checkpoint: str | None,
    spill: Callable[[], Spilled],
) -> PostgreSQLLogReader:
    """See `LogSource.open_log`."""
    server.check_settings(session)
    saved = _saved(checkpoint)
    names = publication.names_of(config)
    stream = Stream(config, session.client_encoding)
    reader = None
    try:
        identity, database = stream.identify(), server.database_oid(session)
        if saved is None:
            published, lsn = _first(config, session, names, tables)
        else:
            server.check_identity(config, saved, identity, database)
            published, lsn = _again(session, names, saved), saved.lsn
        publication.check(published)
        slot.wait_until_free(session, names.slot)
        known = saved.tables if saved is not None else {}
        start = LogCheckpoint(identity.system, database, identity.timeline, names.slot, published.oid, lsn, known)
        reader = PostgreSQLLogReader(config, lambda: Session(config), stream, published, start, spill)
        reader.follow(tables)
        reader.opened()
        messages = wants_messages(config.canary, stream.server_version)
        stream.start(names.slot, names.publication, lsn, messages=messages)
        # who used the slot meanwhile may have moved it: the server then passes over that without a word
        slot.check_not_moved(slot.slot_of(session, names.slot), lsn)
    except BaseException:
        if reader is not None:
            reader.close()
        stream.close()
        raise
    return reader


def fit_tables(session: Session, tables: Sequence[LogTable]) -> list[TableName]:
    """Those that can be published, by the names that they really have."""
    found = []
    for table in tables:
        layout = layout_of(session, int(table.shape.identity))
        # of generated columns the publication is asked later; publishing the table does no harm
        if layout is not None and unfit(layout, table, session.server_version, publishes_generated=True) is None:
            found.append(layout.table)
    return found


def _saved(checkpoint: str | None) -> LogCheckpoint | None:
    if checkpoint is None:
        return None
    try:
        return LogCheckpoint.from_json(checkpoint)
    except ValueError:
        raise LogUnfit(
            "the log checkpoint is not one of PostgreSQL's: the source was another kind of database before",
            remedy="Give the source another name, or take the tables anew: `forebay-agent snapshot STREAM --reason …`.",
        ) from None


def _first(config: SourceConfig, session: Session, names: Names, tables: Sequence[LogTable]) -> tuple[Publication, int]:
    """Publication and slot, made where they are missing, and the log's end. The publication first: the server looks for it
    where it is in the log."""
    published = publication.publication_of(session, names.publication)
    there = slot.slot_of(session, names.slot)
    if published is None:
        statement = publication.create_statement(names.publication, fit_tables(session, tables), session.server_version)
        also = () if there is not None else (slot.create_statement(names.slot),)
        publication.run(config, statement, also=also)
        published = publication.publication_of(session, names.publication)
        assert published is not None
    if there is not None:
        slot.check(there)
        if there.status != slot.LOST:
            _wait_for_older(session, names)
            return published, max(LogEnd(session).now(), there.confirmed)
        if config.slot:
            raise LogUnfit(
                f"replication slot {there.name} was invalidated by the server: it is of no more use",
                remedy="Ask the DBA to run this.",
                sql=f"{slot.drop_statement(there.name)}; {slot.create_statement(there.name)};",
            )
        session.rows(slot.drop_statement(there.name))
    return published, slot.create(session, names.slot)


def _again(session: Session, names: Names, saved: LogCheckpoint) -> Publication:
    """Raises LogGap when the slot, or the publication, is not as it was left."""
    there = slot.slot_of(session, names.slot)
    end = LogEnd(session).written()
    slot.check_continues(there, saved, end)
    assert there is not None
    slot.check(there)
    published = publication.publication_of(session, names.publication)
    if published is None:
        raise slot.gap(f"publication {names.publication} was dropped", saved.lsn, end)
    if published.oid != saved.publication:
        raise slot.gap(f"publication {names.publication} is another one than it was", saved.lsn, end)
    return published


def _wait_for_older(session: Session, names: Names) -> None:
    """Until the transactions that are open now have ended: what they wrote may stand before the publication was made, and
    there the server would look for it in vain. (Making a slot waits for them too.) Raises SourceError."""
    older = open_xids(session)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while older:
        if time.monotonic() > deadline:
            found = session.rows(_WHO, ([str(xid) for xid in older],) * 2)
            raise SourceError(
                f"transactions that may be older than publication {names.publication} are still open: "
                f"{', '.join(who for (who,) in found)}",
                remedy="Wait for these transactions, or ask the DBA to end them; the agent tries again by itself.",
            )
        time.sleep(_LOOK_SECONDS)
        older &= open_xids(session)
