"""Issuing: a department's statement of a day, judged, numbered, signed and kept."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from forebay_collector.completeness import judgement
from forebay_collector.completeness.days import Day
from forebay_collector.completeness.document import sign
from forebay_collector.completeness.signer import signer_of
from forebay_collector.completeness.statement import tables_of
from forebay_collector.ledger import Ledger, chain


def issue(
    ledger: Ledger, identity: Path, department: str, day: Day, cover: timedelta, *, by: str, via: str = ""
) -> int | None:
    """-> the certificate's id; None: nothing of the department was received by the day's end.

    identity: the folder of the authority. cover: how often each table is compared in the background.

    Raises LedgerUnavailable, LedgerDamaged, DataFolderUnusable.
    """
    signer = signer_of(identity)
    now_us = ledger.database.clock()
    found = tables_of(ledger, department, day)
    if not found:
        return None
    judged = [{**table, "reasons": [str(one) for one in judgement.reasons(table, now_us, cover)]} for table in found]
    totals = judgement.totals(judged)
    with ledger.database.read() as connection:
        head = str(chain.head(connection))
    said = {
        "department": department,
        "day": {"name": day.name, "zone": day.zone, "from_us": day.from_us, "until_us": day.until_us},
        "issued_at_us": now_us,
        "issued_by": by,
        "audit_head": head,
        "totals": totals,
        "tables": judged,
    }

    def signed(number: int, previous: str) -> bytes:
        return sign({**said, "number": number, "previous_sha256": previous}, signer.key, signer.certificate)

    return ledger.completeness.put(department, day.name, totals, signed, by=by, via=via)
