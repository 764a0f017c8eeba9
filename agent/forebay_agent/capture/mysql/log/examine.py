"""Examine: what `check` says of the log, with the statements that a DBA would run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from forebay_agent.capture.log import LogTable
from forebay_agent.capture.mysql import describe, sql
from forebay_agent.capture.mysql.log.definition import Definition, definition_of
from forebay_agent.capture.mysql.log.server import LogServer
from forebay_agent.capture.mysql.types import ColumnType
from forebay_agent.capture.source import Finding, Severity
from forebay_agent.errors import AgentError

_SHORT_SECONDS: Final = 3 * 86_400
_REPLICATES: Final = {"ALL PRIVILEGES", "REPLICATION SLAVE", "REPLICATION REPLICA"}
_MONITORS: Final = {"ALL PRIVILEGES", "BINLOG MONITOR", "REPLICATION CLIENT", "SUPER"}
_TEMPORAL: Final = {"datetime", "timestamp", "time"}
_OTHER_MODES: Final = "Capture the table in mode trigger or cursor."


def examine_log(server: LogServer, tables: Sequence[LogTable]) -> list[Finding]:
    """See `LogSource.examine_log`."""
    server.anew()
    found = [*_settings(server), *_privileges(server), *_retention(server)]
    for table in tables:
        try:
            found += _table(server, table, definition_of(server.session, table.name))
        except AgentError as error:
            found.append(Finding(Severity.ERROR, str(table.name), str(error), error.remedy))
    return found


def _settings(server: LogServer) -> Iterator[Finding]:
    if server.setting("log_bin").upper() != "ON":
        yield Finding(
            Severity.ERROR,
            "log_bin",
            "the server writes no binary log",
            "Ask the DBA to put `log_bin` and `binlog_format = ROW` into the server's configuration and to restart it.",
        )
        return
    for name, wanted in (("binlog_format", "ROW"), ("binlog_row_image", "FULL"), ("binlog_row_value_options", "")):
        value = server.setting(name)
        if value.upper() == wanted or (not value and name != "binlog_format"):
            if value:
                yield Finding(Severity.OK, name, f"{name} is {value}")
            continue
        yield Finding(
            Severity.ERROR,
            name,
            f"{name} is {value}: the log does not hold whole rows",
            "Ask the DBA to run this, to set it in the server's configuration too, and to end connections that were open before.",
            f"SET GLOBAL {name} = '{wanted}';",
        )
    metadata = server.setting("binlog_row_metadata")
    if metadata.upper() == "FULL":
        yield Finding(Severity.OK, "binlog_row_metadata", "the log names its columns")
    else:
        yield Finding(
            Severity.WARNING,
            "binlog_row_metadata",
            "the log does not name its columns: after an ALTER that is followed by another one before it was read, a table "
            "has to be taken anew",
            "Ask the DBA to run this, and to set it in the server's configuration too."
            if metadata
            else "Only MariaDB from 10.5 and MySQL from 8.0 on can do so.",
            "SET GLOBAL binlog_row_metadata = 'FULL';" if metadata else "",
        )
    yield from _gtids(server)


def _gtids(server: LogServer) -> Iterator[Finding]:
    if not server.mariadb and not server.by_gtid:
        yield Finding(
            Severity.ERROR,
            "gtid_mode",
            "GTIDs are off: MySQL does not tell which part of its log a snapshot holds",
            "Ask the DBA to switch them on, step by step as the manual of MySQL says.",
            "SET GLOBAL enforce_gtid_consistency = ON; SET GLOBAL gtid_mode = OFF_PERMISSIVE; "
            "SET GLOBAL gtid_mode = ON_PERMISSIVE; SET GLOBAL gtid_mode = ON;",
        )


def _privileges(server: LogServer) -> Iterator[Finding]:
    rows = server.session.rows("SHOW GRANTS", doing="asking for privileges")
    granted: set[str] = set()
    for row in rows:
        words, everywhere, _ = str(row[0]).upper().removeprefix("GRANT ").partition(" ON *.*")
        granted.update(words.split(", ") if everywhere else ())
    if granted & _REPLICATES and granted & _MONITORS:
        yield Finding(Severity.OK, "log privileges", f"{server.session.user} may read the log")
        return
    yield Finding(
        Severity.ERROR,
        "log privileges",
        f"{server.session.user} may not read the log",
        "Ask the DBA to run this.",
        server.grants(),
    )


def _retention(server: LogServer) -> Iterator[Finding]:
    seconds = float(server.setting("binlog_expire_logs_seconds") or 0)
    seconds = seconds or float(server.setting("expire_logs_days") or 0) * 86_400
    if 0 < seconds < _SHORT_SECONDS:
        yield Finding(
            Severity.WARNING,
            "retention",
            f"the server keeps its log for {seconds / 3600:g} hours: what is not captured within that is lost",
            "Ask the DBA to keep it for longer.",
            f"SET GLOBAL binlog_expire_logs_seconds = {7 * 86_400};"
            if server.setting("binlog_expire_logs_seconds")
            else "SET GLOBAL expire_logs_days = 7;",
        )
    else:
        kept = f"for {seconds / 3600:g} hours" if seconds else "until someone purges it"
        yield Finding(Severity.OK, "retention", f"the server keeps its log {kept}")


def _table(server: LogServer, table: LogTable, definition: Definition) -> Iterator[Finding]:
    if definition.versioned:
        yield Finding(
            Severity.ERROR,
            str(table.name),
            "it is system-versioned: the log holds its old versions as rows of their own",
            _OTHER_MODES,
        )
    for column in definition.columns:
        if not table.wants(column.name):
            continue
        kind = ColumnType.parse(column.origin)
        if kind.base in _TEMPORAL and kind.arguments and server.mariadb and "mariadb-5.3" in column.origin:
            yield Finding(
                Severity.ERROR,
                column.name,
                f"{column.origin} is stored in a form whose length the log does not tell",
                "Ask the DBA to run this, or exclude the column.",
                f"ALTER TABLE {sql.qualified(describe.located(server.session, table.name))} FORCE;",
            )
    yield from _cascades(server, table)


def _cascades(server: LogServer, table: LogTable) -> Iterator[Finding]:
    located = describe.located(server.session, table.name)
    rows = server.session.rows(
        "SELECT CONSTRAINT_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = %s "
        "AND TABLE_NAME = %s AND (DELETE_RULE IN ('CASCADE', 'SET NULL') OR UPDATE_RULE IN ('CASCADE', 'SET NULL'))",
        located.schema,
        located.name,
    )
    for (constraint,) in rows:
        yield Finding(
            Severity.WARNING,
            str(constraint),
            f"rows of {table.name} that this foreign key changes by itself (CASCADE, SET NULL) are not in the log",
            "Verify the stream regularly, or let the application make these changes itself.",
        )
