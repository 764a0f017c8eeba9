"""A source before it is configured: opened with a password that stands in no file yet, its tables listed and looked at."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from forebay_agent.capture.log import offers_log
from forebay_agent.capture.plan import describe
from forebay_agent.capture.source import Severity, Source
from forebay_agent.capture.sources import open_source
from forebay_agent.check.checked import Checked
from forebay_agent.check.databases import check_source
from forebay_agent.config.model import MODES, SourceConfig, TableConfig
from forebay_agent.config.secret import Secret
from forebay_agent.errors import AgentError, TableMisconfigured
from forebay_agent.log.stream import LOG, log_table_of


@contextmanager
def with_password(source: SourceConfig, password: str) -> Iterator[SourceConfig]:
    """The source with its password in a file of root's that is gone afterwards."""
    if not password:
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="forebay-setup-") as folder:
        file = Path(folder, "password")
        file.touch(mode=0o600)
        file.write_text(password, "utf-8")
        yield replace(source, password=Secret(file=file))


@contextmanager
def opened(source: SourceConfig, password: str) -> Iterator[Source]:
    """A session with it. Raises as `open_source`."""
    with with_password(source, password) as complete:
        session = open_source(complete)
        try:
            yield session
        finally:
            session.close()


def listed(source: SourceConfig, password: str) -> list[str]:
    """The tables that could be shared, as a table's entry names them."""
    with opened(source, password) as session:
        return [str(table) for table in session.tables()]


def entry_of(text: str) -> TableConfig:
    """`NAME`, `NAME:MODE`, `NAME:cursor:COLUMN`. mode: empty where none is given. Raises TableMisconfigured."""
    name, _, rest = text.partition(":")
    mode, _, column = rest.partition(":")
    if not name or (mode and mode not in MODES) or bool(column) != (mode == "cursor"):
        raise TableMisconfigured(
            f"{text!r} names no table", remedy=f"Write NAME, NAME:MODE ({', '.join(MODES)}) or NAME:cursor:COLUMN."
        )
    return TableConfig(name, mode=mode, cursor=column)


def with_modes(source: SourceConfig, password: str, entries: list[TableConfig]) -> SourceConfig:
    """The source with these tables. One without a mode is captured from the log where the database offers that and nothing is
    in the way of it, else by snapshots alone."""
    with opened(source, password) as session:
        decided = [entry if entry.mode else replace(entry, mode=_mode(session, entry)) for entry in entries]
    return replace(source, tables=tuple(decided))


def check(source: SourceConfig, password: str) -> list[Checked]:
    """What `forebay-agent check` would say of it."""
    with with_password(source, password) as complete:
        return list(check_source(complete))


def _mode(session: Source, entry: TableConfig) -> str:
    if not offers_log(session):
        return "snapshot"
    shape = describe(session, replace(entry, mode=LOG))
    try:
        found = session.examine_log([log_table_of(shape, replace(entry, mode=LOG))])
    except AgentError:
        return "snapshot"
    return "snapshot" if any(finding.severity is Severity.ERROR for finding in found) else LOG
