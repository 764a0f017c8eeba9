"""What waits for people: the numbers beside the entries of the menu."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from forebay_collector.console.visit import Visit
from forebay_collector.service import alerts, approvals, fleet, quarantine, verification
from forebay_collector.service.fleet import Colour

_EVERY_S: Final = 3.0
_COUNTED_FOR_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """red: agents; critical, warnings: alerts that nobody acknowledged; held: streams in quarantine; proposals: streams with
    something to decide; verifying: comparisons."""

    red: int = 0
    critical: int = 0
    warnings: int = 0
    held: int = 0
    proposals: int = 0
    verifying: int = 0


def waiting(visit: Visit) -> Waiting:
    if not visit.actor.roles:
        return Waiting()
    return visit.recent("waiting", lambda: _read(visit), seconds=_EVERY_S)


def _read(visit: Visit) -> Waiting:
    ledger, actor = visit.ledger, visit.actor
    critical, warnings = alerts.count(ledger, actor)
    return Waiting(
        critical=critical,
        warnings=warnings,
        red=fleet.counts(visit.agents())[Colour.RED],
        held=quarantine.count(ledger, actor),
        proposals=_proposals(visit),
        verifying=sum(run.open for run in verification.runs(ledger, actor, limit=50)),
    )


def _proposals(visit: Visit) -> int:
    """Counted anew when something was proposed or decided: there are thousands."""
    ledger, actor = visit.ledger, visit.actor
    return visit.recent(
        "proposals that wait",
        lambda: len(approvals.proposals(ledger, actor)),
        seconds=_COUNTED_FOR_S,
        more=ledger.approvals.revision(),
    )
