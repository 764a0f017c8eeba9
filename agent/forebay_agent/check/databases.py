"""Sources and their tables, as `check` looks at them: reach, clock, encryption, and table by table what capture needs."""

from __future__ import annotations

import contextlib
import ipaddress
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from forebay_agent.capture.log import offers_log
from forebay_agent.capture.plan import describe, mode_not_offered, open_capture
from forebay_agent.capture.source import (
    CHANGE_ID,
    OPEN_TRANSACTIONS,
    Finding,
    Severity,
    Source,
    TableShape,
    TriggerSource,
)
from forebay_agent.capture.sources import open_source
from forebay_agent.capture.trigger import offers_triggers
from forebay_agent.check.canaries import check_canary
from forebay_agent.check.checked import Checked
from forebay_agent.config.model import SourceConfig, TableConfig
from forebay_agent.errors import (
    AgentError,
    KeyMissing,
    PrivilegeMissing,
    SourceDenied,
    SourceUnreachable,
    TableMissing,
    TriggerMissing,
)
from forebay_agent.log.stream import LOG, guarantee_of, log_table_of
from forebay_agent.transform import Transform

SKEW_SECONDS: Final = 5.0
"""a database's clock that differs by more than this is worth a word"""

_SOURCE_KEYS: Final[dict[type[AgentError], str]] = {
    SourceUnreachable: "host",
    SourceDenied: "password",
    PrivilegeMissing: "database",
}
_TABLE_KEYS: Final[dict[type[AgentError], str]] = {
    TableMissing: ".name",
    KeyMissing: ".key",
    TriggerMissing: ".install",
}


def check_source(config: SourceConfig, *, now: Callable[[], float] = time.time) -> Iterator[Checked]:
    """Everything about one source. Never raises kinds of `forebay_agent.errors`: they become what was found."""
    yield from _encryption(config)
    try:
        source = open_source(config)
    except AgentError as error:
        yield Checked.of_error(config.name, "connection", error, file=config.file, key=_key_at_fault(config, error))
        return
    try:
        try:
            yield Checked.fine(config.name, "connection", f"connected to {where(config)}; server {source.identity()}")
            yield _clock(config, source, now)
        except AgentError as error:
            yield Checked.of_error(config.name, "connection", error, file=config.file)
            return
        for table in config.tables:
            yield from check_table(config, source, table)
        yield from _log(config, source)
        yield from check_canary(config, source)
    finally:
        source.close()


def check_table(config: SourceConfig, source: Source, table: TableConfig) -> Iterator[Checked]:
    """What one table's capture needs."""
    place = f"{config.name}/{table.name}"
    try:
        shape = describe(source, table)
        masks = {mask.column: mask.kind for mask in table.masks}
        Transform(shape, table)
        yield Checked.fine(place, "mode", f"{table.mode}: {guarantee(source, shape, table)}")
        if not shape.key:
            yield _no_key(place, table)
        for finding in source.examine(shape, table.cursor if table.mode == "cursor" else None):
            if shape.key or finding.subject != "key":  # what no key means depends on the mode
                yield Checked.of_finding(place, finding, file=table.file, key=table.entry)
        if masks:
            yield Checked.fine(place, "masks", ", ".join(f"{column} as {kind}" for column, kind in masks.items()))
        if table.mode == "trigger" and offers_triggers(source):
            yield from _triggers(place, source, shape, table)
    except AgentError as error:
        key = table.entry + _TABLE_KEYS.get(type(error), "")
        yield Checked.of_error(place, "table", error, file=table.file, key=key)


def guarantee(source: Source, shape: TableShape, table: TableConfig) -> str:
    """What the table's mode can and cannot see. Raises TableMisconfigured when the database does not offer the mode."""
    if table.mode == LOG:
        if not offers_log(source):
            raise mode_not_offered(table)
        return guarantee_of(shape, table)
    return open_capture(source, shape, table).guarantee


def _log(config: SourceConfig, source: Source) -> Iterator[Checked]:
    """The log as a whole, for the tables that are captured from it. A table's own trouble was told already."""
    tables = []
    for table in config.tables:
        if table.mode == LOG and offers_log(source):
            with contextlib.suppress(AgentError):
                tables.append(log_table_of(describe(source, table), table))
    if not tables or not offers_log(source):
        return
    try:
        for finding in source.examine_log(tables):
            yield Checked.of_finding(config.name, finding, file=config.file, key="")
    except AgentError as error:
        yield Checked.of_error(config.name, "log", error, file=config.file)


def where(config: SourceConfig) -> str:
    """The source's place in words: a file, a socket, or host and port."""
    if config.kind == "sqlite":
        return f"file {config.path}"
    if config.socket:
        return f"{config.kind} at {config.socket}"
    return f"{config.kind} at {config.host}{f':{config.port}' if config.port else ''}"


def _no_key(place: str, table: TableConfig) -> Checked:
    return Checked(
        place,
        Severity.WARNING,
        "key",
        "there is none: only the history of changes is kept, and an interrupted copy begins again",
        "Add a primary key, or name unique columns with `key = [...]` in the table's entry.",
        file=table.file,
        key=f"{table.entry}.key",
    )


def _key_at_fault(config: SourceConfig, error: AgentError) -> str:
    """The setting that is most likely wrong; none where the dialect has a better remedy than its kind's own."""
    if config.kind == "sqlite":
        return "path"
    if isinstance(error, SourceUnreachable) and error.remedy:
        return ""
    return _SOURCE_KEYS.get(type(error), "")


def _triggers(place: str, source: TriggerSource, shape: TableShape, table: TableConfig) -> Iterator[Checked]:
    """Whether the triggers are there, and whether the change table can be read as the capture reads it: by its growing id."""
    changes = source.change_table(shape)
    if source.installed(changes):
        yield Checked.fine(place, "triggers", "change table and triggers are installed")
        for finding in source.examine(changes.shape, CHANGE_ID):
            if finding.subject == OPEN_TRANSACTIONS and finding.severity is Severity.WARNING:
                finding = _needed(finding)
            if finding.severity in (Severity.WARNING, Severity.ERROR):
                yield Checked.of_finding(place, finding, file=table.file, key=table.entry)
    elif table.install:
        yield Checked(place, Severity.NOTE, "triggers", "change table and triggers are missing; `run` installs them")
    else:
        missing = TriggerMissing("change table and triggers are not installed", sql=";\n".join(changes.install) + ";")
        yield Checked.of_error(place, "triggers", missing, file=table.file, key=f"{table.entry}.install")


def _needed(finding: Finding) -> Finding:
    """A cursor gets along without with an overlap; triggers' changes have none."""
    return replace(
        finding,
        severity=Severity.ERROR,
        message="open transactions cannot be seen, and mode trigger needs to: a change that commits late would be passed over",
        remedy="Ask the DBA to run this." if finding.sql else "Read from the primary, or capture in another mode.",
    )


def _clock(config: SourceConfig, source: Source, now: Callable[[], float]) -> Checked:
    before = now()
    theirs = source.clock_us() / 1e6
    skew = theirs - (before + now()) / 2
    if abs(skew) <= SKEW_SECONDS:
        return Checked.fine(config.name, "clock", f"differs from this appliance's by {abs(skew):.1f} s")
    return Checked(
        config.name,
        Severity.WARNING,
        "clock",
        f"the database's clock is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this appliance's: "
        "times of changes and delays are shown wrong by as much",
        "Synchronise both with the same time server (chrony, ntpd).",
    )


def _encryption(config: SourceConfig) -> Iterator[Checked]:
    if (
        config.kind == "sqlite"
        or config.socket
        or config.tls in ("required", "verify")
        or _is_this_machine(config.host)
    ):
        return
    reason = (
        'rows and password travel unencrypted (tls = "off")'
        if config.tls == "off"
        else 'rows may travel unencrypted: tls = "preferred" takes what the server offers and checks no certificate'
    )
    yield Checked(
        config.name,
        Severity.WARNING,
        "encryption",
        reason,
        'Set `tls = "verify"` and `tls_ca`, or `tls = "required"` where the server has no certificate of a known CA.',
        file=config.file,
        key="tls",
    )


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
