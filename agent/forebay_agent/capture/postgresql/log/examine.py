"""Examine: what `check` says of the log, and what a DBA runs so that it can be read: one way with publication and slot made
by the agent, one with both made beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from forebay_agent.capture.log import LogTable
from forebay_agent.capture.postgresql import catalogue
from forebay_agent.capture.postgresql.log import publication, slot
from forebay_agent.capture.postgresql.log.fitness import PARTITIONED_VERSION, guarantee, unfit
from forebay_agent.capture.postgresql.log.layout import Layout, layout_of
from forebay_agent.capture.postgresql.log.opening import fit_tables
from forebay_agent.capture.postgresql.log.publication import Names, Publication
from forebay_agent.capture.postgresql.log.server import check_settings
from forebay_agent.capture.postgresql.session import Session
from forebay_agent.capture.postgresql.sql import identifier
from forebay_agent.capture.source import Finding, Severity, TableName
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import AgentError, LogUnfit
from forebay_agent.policy import remedy_of

_ROOM: Final = """
SELECT (SELECT count(*) FROM pg_replication_slots), current_setting('max_replication_slots')::int,
       (SELECT count(*) FROM pg_stat_replication), current_setting('max_wal_senders')::int,
       (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user),
       has_database_privilege(current_database(), 'CREATE'), current_setting('synchronous_standby_names'),
       current_setting('max_slot_wal_keep_size', true)
"""
_OWNED: Final = "SELECT pg_has_role(current_user, relowner, 'USAGE') FROM pg_class WHERE oid = %s"
_OWNED_PUBLICATION: Final = "SELECT pg_has_role(current_user, pubowner, 'USAGE') FROM pg_publication WHERE pubname = %s"
_KEPT: Final = "10GB"


def examine_log(config: SourceConfig, session: Session, tables: Sequence[LogTable]) -> list[Finding]:
    """See `LogSource.examine_log`."""
    names = publication.names_of(config)
    layouts = [layout_of(session, int(table.shape.identity)) for table in tables]
    findings = list(_server(session))
    findings += _publication(session, names, tables, layouts)
    findings += _slot(session, names)
    published = publication.publication_of(session, names.publication)
    for table, layout in zip(tables, layouts, strict=True):
        findings.append(_table(session, names, published, table, layout))
    return findings


def _server(session: Session) -> Iterator[Finding]:
    try:
        check_settings(session)
    except LogUnfit as error:
        yield _error("log", error)
    else:
        yield Finding(Severity.OK, "log", "wal_level is logical")
    slots, most_slots, senders, most_senders, may_replicate, _, synchronous, kept = session.rows(_ROOM)[0]
    role = identifier(catalogue.role(session))
    if may_replicate:
        yield Finding(Severity.OK, "replication", f"{role} may replicate")
    else:
        yield Finding(
            Severity.ERROR,
            "replication",
            f"{role} may not replicate",
            "Ask the DBA to run this.",
            f"ALTER ROLE {role} REPLICATION;",
        )
    if senders >= most_senders:
        yield Finding(
            Severity.ERROR,
            "max_wal_senders",
            f"all {most_senders} connections for replication are in use",
            "Ask the DBA to run this and to restart the server.",
            f"ALTER SYSTEM SET max_wal_senders = {most_senders + 4};",
        )
    if slots >= most_slots:
        yield Finding(
            Severity.WARNING,
            "max_replication_slots",
            f"all {most_slots} replication slots are in use: none can be made",
            "Ask the DBA to drop one that nobody uses, or to run this and restart the server.",
            f"ALTER SYSTEM SET max_replication_slots = {most_slots + 4};",
        )
    if kept == "-1" or kept is None:
        yield Finding(
            Severity.NOTE,
            "retention",
            "the server keeps its log for as long as the agent is away, until its disk is full",
            "To lose changes rather than the database, ask the DBA to run this, with a size that the disk has room for.",
            f"ALTER SYSTEM SET max_slot_wal_keep_size = '{_KEPT}'; SELECT pg_reload_conf();" if kept else "",
        )
    else:
        yield Finding(Severity.OK, "retention", f"the server keeps up to {kept} of log while the agent is away")
    if "*" in synchronous:
        yield Finding(
            Severity.WARNING,
            "synchronous_standby_names",
            "commits may wait for this agent, which the server takes for a standby",
            "Ask the DBA to name the standbys instead of *.",
        )


def _publication(
    session: Session, names: Names, tables: Sequence[LogTable], layouts: Sequence[Layout | None]
) -> Iterator[Finding]:
    published = publication.publication_of(session, names.publication)
    subject = "publication"
    if published is None:
        fit = fit_tables(session, tables)
        create = f"{publication.create_statement(names.publication, fit, session.server_version)};"
        may_create = session.rows(_ROOM)[0][5] and all(
            layout is None or session.rows(_OWNED, (layout.oid,))[0][0] for layout in layouts
        )
        if may_create:
            yield Finding(
                Severity.OK, subject, f"the agent makes publication {names.publication} at its first start", sql=create
            )
        else:
            yield Finding(
                Severity.ERROR,
                subject,
                f"there is no publication {names.publication}, and the user may not make it: that needs CREATE on the "
                "database and the tables' ownership",
                "Ask the DBA to run this.",
                create,
            )
        return
    try:
        publication.check(published)
    except LogUnfit as error:
        yield _error(subject, error)
    else:
        yield Finding(Severity.OK, subject, f"publication {names.publication} is there")


def _slot(session: Session, names: Names) -> Iterator[Finding]:
    there = slot.slot_of(session, names.slot)
    create = f"{slot.create_statement(names.slot)};"
    if there is None:
        yield Finding(
            Severity.OK,
            "slot",
            f"replication slot {names.slot} is made at the first start, after the publication; or beforehand, by a DBA",
            sql=create,
        )
        return
    try:
        slot.check(there)
    except LogUnfit as error:
        yield _error("slot", error)
        return
    if there.status == slot.LOST:
        yield Finding(
            Severity.ERROR,
            "slot",
            f"replication slot {names.slot} was invalidated: what it kept is lost",
            "Ask the DBA to run this, then take the tables anew.",
            f"{slot.drop_statement(names.slot)}; {create}",
        )
        return
    used = f", in use by pid {there.active_pid}" if there.active_pid else ""
    yield Finding(Severity.OK, "slot", f"replication slot {names.slot} is there{used}")


def _table(
    session: Session, names: Names, published: Publication | None, table: LogTable, layout: Layout | None
) -> Finding:
    subject = str(table.name)
    generated = published is None or published.generated
    problem = unfit(layout, table, session.server_version, publishes_generated=generated)
    if problem is not None:
        return _error(subject, problem)
    assert layout is not None
    if published is not None:
        captured = [column.name for column in table.shape.columns]
        member = publication.member_unfit(session, names.publication, layout.table, captured)
        if not isinstance(member, bool):
            return _error(subject, member)
        if not member and not _may_add(session, names, layout):
            return _unpublished(names, subject, layout.table)
        if layout.kind == "p" and session.server_version >= PARTITIONED_VERSION:
            try:
                publication.check_partitioned(published)
            except LogUnfit as error:
                return _error(subject, error)
    return Finding(Severity.OK, subject, guarantee(layout, table.shape))


def _may_add(session: Session, names: Names, layout: Layout) -> bool:
    owned = session.rows(_OWNED, (layout.oid,))[0][0]
    return bool(owned and session.rows(_OWNED_PUBLICATION, (names.publication,))[0][0])


def _unpublished(names: Names, subject: str, table: TableName) -> Finding:
    return Finding(
        Severity.ERROR,
        subject,
        f"not in publication {names.publication}, and the user may not add it",
        "Ask the DBA to run this.",
        f"{publication.add_statement(names.publication, table)};",
    )


def _error(subject: str, error: AgentError) -> Finding:
    return Finding(Severity.ERROR, subject, str(error), remedy_of(error), error.sql)
