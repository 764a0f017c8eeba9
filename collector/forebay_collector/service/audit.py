"""Audit, as people read it: who did what to what, when and why; whether that still stands as it was written."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, TextIO

from forebay_collector.ledger import AuditRecord, Ledger
from forebay_collector.ledger import audit as entries
from forebay_collector.ledger.verdict import AuditVerdict
from forebay_collector.service.actor import Actor, Permission

__all__ = ["AuditVerdict", "actions", "export", "listing", "verify"]

_PAGE: Final = 1_000
_COLUMNS: Final = ("id", "at", "who", "action", "subject", "department", "why", "detail", "previous", "digest")


def listing(
    ledger: Ledger,
    actor: Actor,
    *,
    subject: str = "",
    action: str = "",
    who: str = "",
    department: str = "",
    since: int = 0,
    until: int | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[AuditRecord]:
    """Newest first. since, until: [microseconds, microseconds); before: entries with a smaller id, for the next page.

    An auditor of some departments sees what was done to these. Raises NotPermitted.
    """
    actor.require(Permission.AUDIT)
    scope = actor.departments
    if department:
        scope = frozenset({department}) if scope is None else scope & {department}
    return ledger.audit.listing(
        subject=subject,
        action=action,
        who=who,
        departments=scope,
        since=since,
        until=until,
        before=before,
        limit=limit,
    )


def actions(ledger: Ledger, actor: Actor) -> list[str]:
    """The actions that occur, to choose from. Raises NotPermitted."""
    actor.require(Permission.AUDIT)
    return ledger.audit.actions(actor.departments)


def verify(ledger: Ledger, noted: tuple[int, bytes] | None = None) -> AuditVerdict:
    """Whether the chain of all entries holds, and where it breaks first. It tells nothing of what the entries say.

    noted: number and digest of the head as it was noted elsewhere.
    """
    return ledger.audit.verify(noted)


def export(
    ledger: Ledger,
    actor: Actor,
    out: TextIO,
    form: Literal["csv", "jsonl"],
    *,
    since: int = 0,
    until: int | None = None,
    subject: str = "",
    action: str = "",
    who: str = "",
    department: str = "",
) -> int:
    """Writes the entries that are so, newest first, with their digests; -> how many. The export is an entry itself.

    Raises NotPermitted.
    """
    actor.require(Permission.AUDIT)
    chosen = {"subject": subject, "action": action, "who": who, "department": department}
    detail = {"via": actor.via, "form": form, "since": since, "until": until}
    detail |= {name: value for name, value in chosen.items() if value}
    with ledger.database.write() as connection:
        entries.record(
            connection, ledger.database.clock(), actor.name, "audit export", "audit", detail=detail, department=""
        )
    count = 0
    writer = csv.writer(out, lineterminator="\n")
    if form == "csv":
        writer.writerow(_COLUMNS)
    for record in _all(ledger, actor, since, until, chosen):
        row = _row(record)
        if form == "csv":
            writer.writerow([_cell(value) for value in row.values()])
        else:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
        count += 1
    return count


def _all(
    ledger: Ledger, actor: Actor, since: int, until: int | None, chosen: Mapping[str, str]
) -> Iterator[AuditRecord]:
    before: int | None = None
    while page := listing(ledger, actor, since=since, until=until, before=before, limit=_PAGE, **chosen):
        yield from page
        before = page[-1].id


def _row(record: AuditRecord) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in _COLUMNS}
    return values | {"detail": dict(record.detail), "previous": record.previous.hex(), "digest": record.digest.hex()}


def _cell(value: object) -> object:
    """A cell of a table: text that a spreadsheet would take for a formula is made text by an apostrophe."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
    return f"'{text}" if isinstance(text, str) and text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
