"""Kinds of alerts: a name and a code that never change, how bad each is, and how long it must be so before it is told.

The texts of each, in both languages, stand in `words/` under its name (`texts.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from forebay_collector.identity import alarms

_AT_ONCE: Final = timedelta(0)


class Severity(StrEnum):
    """critical: data wait or may be lost, or somebody may hold a key. warning: it becomes so unless somebody acts."""

    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Kind:
    """severity: unless it is worse than usual (`conditions.py`). holds: how long without a break before an alert opens."""

    name: str
    code: str
    severity: Severity
    holds: timedelta = _AT_ONCE


AGENT_SILENT: Final = Kind("agent_silent", "FB-AGENT-SILENT", Severity.CRITICAL)
POSITION_STALLED: Final = Kind("position_stalled", "FB-POSITION-STALLED", Severity.WARNING)
OUTBOX_FILLING: Final = Kind("outbox_filling", "FB-OUTBOX-FILLING", Severity.WARNING, timedelta(minutes=1))
LOG_LOSS_NEAR: Final = Kind("log_loss_near", "FB-LOG-HOURS", Severity.WARNING, timedelta(minutes=2))
CERTIFICATE_EXPIRING: Final = Kind("certificate_expiring", "FB-CERTIFICATE-ENDS", Severity.WARNING)
QUARANTINE_NOT_EMPTY: Final = Kind("quarantine_not_empty", "FB-QUARANTINE", Severity.CRITICAL)
UPDATE_OVERDUE: Final = Kind("update_overdue", "FB-UPDATE-OVERDUE", Severity.WARNING)
CLOCK_OFFSET: Final = Kind("clock_offset", "FB-CLOCK", Severity.WARNING, timedelta(minutes=2))
VERIFY_DIFFERS: Final = Kind("verify_differs", "FB-VERIFY-DIFFERS", Severity.CRITICAL)
CANARY_LATE: Final = Kind("canary_late", "FB-CANARY-LATE", Severity.CRITICAL)

NO_CALL: Final = Kind("connection_without_a_call", "FB-IDENTITY-NO-CALL", Severity.WARNING)
IDENTITY: Final = {
    alarms.REVOKED: Kind("revoked_certificate_used", "FB-IDENTITY-REVOKED", Severity.CRITICAL),
    alarms.REPLACED: Kind("replaced_certificate_used", "FB-IDENTITY-REPLACED", Severity.CRITICAL),
    alarms.UNKNOWN: Kind("unknown_certificate_used", "FB-IDENTITY-UNKNOWN", Severity.CRITICAL),
    alarms.EXPIRED: Kind("expired_certificate_used", "FB-IDENTITY-EXPIRED", Severity.WARNING),
    alarms.BOOTSTRAP: Kind("bootstrap_certificate_misused", "FB-IDENTITY-BOOTSTRAP", Severity.CRITICAL),
    alarms.WRONG_DEPARTMENT: Kind("wrong_department", "FB-IDENTITY-DEPARTMENT", Severity.CRITICAL),
    alarms.ENROL_REFUSED: Kind("enroll_refused", "FB-IDENTITY-ENROL", Severity.WARNING),
    alarms.SPENT_TWICE: Kind("token_used_twice", "FB-IDENTITY-TOKEN-TWICE", Severity.CRITICAL),
    alarms.TWO_PLACES: Kind("identity_in_two_places", "FB-IDENTITY-TWO-PLACES", Severity.CRITICAL),
    alarms.NO_CALL: NO_CALL,
}
"""By the action of the audit's entries that they come from."""

KINDS: Final = {
    kind.name: kind
    for kind in (
        AGENT_SILENT,
        POSITION_STALLED,
        OUTBOX_FILLING,
        LOG_LOSS_NEAR,
        CERTIFICATE_EXPIRING,
        QUARANTINE_NOT_EMPTY,
        UPDATE_OVERDUE,
        CLOCK_OFFSET,
        VERIFY_DIFFERS,
        CANARY_LATE,
        *IDENTITY.values(),
    )
}
