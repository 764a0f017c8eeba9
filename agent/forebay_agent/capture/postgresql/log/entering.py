"""Entering: from which place in the log on a table's changes are complete.

A transaction that wrote to the table before the publication held it may have only some of its changes sent, or none. So
those that hold a lock of writers now are waited for, without keeping anyone waiting; what they committed is visible to
every read that comes after. What is committed from then on is complete; what was before is not handed on (`Known.since`).

Servers before the minor releases of May 2025 may go on believing that the table is not published, after such a
transaction ended behind the publication's change: taking it out and putting it in again makes them look anew.
"""

from __future__ import annotations

import time
from typing import Final

from forebay_agent.capture.log import LogTable
from forebay_agent.capture.postgresql.log import publication
from forebay_agent.capture.postgresql.log.checkpoint import Known
from forebay_agent.capture.postgresql.log.layout import Layout
from forebay_agent.capture.postgresql.log.server import LogEnd
from forebay_agent.capture.postgresql.session import Session
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import SourceError

_WRITERS: Final = """
SELECT DISTINCT l.virtualtransaction, coalesce('pid ' || l.pid, 'a prepared transaction')
FROM pg_locks l
WHERE l.locktype = 'relation' AND l.granted AND l.relation = ANY (%s::oid[])
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
"""
_PATIENCE_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.02


def enter(
    config: SourceConfig, session: Session, end: LogEnd, published: str, table: LogTable, layout: Layout
) -> Known:
    """Publishes the table where it is not yet, and finds the place. The table was found fit.

    Raises: LogUnfit (what the publication holds of it), PrivilegeMissing (with the SQL), SourceError (a writer does not end).
    """
    captured = [column.name for column in table.shape.columns]
    member = publication.member_unfit(session, published, layout.table, captured)
    if not isinstance(member, bool):
        raise member
    if not member:
        publication.run(config, publication.add_statement(published, layout.table))
    oids = [layout.oid, *(leaf.oid for leaf in layout.leaves)]
    held = publication.membership(session, published, layout.oid)
    since, waited = _settled(session, end, table, oids)
    if waited and not member:
        _put_in_again(config, published, layout)
        held = publication.membership(session, published, layout.oid)
        since, _ = _settled(session, end, table, oids)
    return layout.known(table.shape.columns, held, since)


def _settled(session: Session, end: LogEnd, table: LogTable, oids: list[int]) -> tuple[int, bool]:
    """(a place in the log after which every commit is of a transaction that wrote to the table after now, or was waited
    for; whether any was waited for)."""
    since = end.insert()
    writers = dict(session.rows(_WRITERS, (oids,)))
    waited = bool(writers)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while writers:
        now = {transaction for transaction, _ in session.rows(_WRITERS, (oids,))}
        writers = {transaction: who for transaction, who in writers.items() if transaction in now}
        if writers and time.monotonic() > deadline:
            raise SourceError(
                f"{table.name}: transactions that wrote to it before it was followed are still open: "
                f"{', '.join(sorted(writers.values()))}",
                remedy="Wait for these transactions, or ask the DBA to end them; the agent tries again by itself.",
            )
        if writers:
            time.sleep(_LOOK_SECONDS)
    return since, waited


def _put_in_again(config: SourceConfig, published: str, layout: Layout) -> None:
    """In one transaction, so that nobody sees it outside."""
    publication.run(
        config,
        publication.drop_statement(published, layout.table),
        publication.add_statement(published, layout.table),
    )
