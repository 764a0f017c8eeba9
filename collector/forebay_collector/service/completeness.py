"""Certificates of completeness, as people ask for them. The collector issues one of each department daily by itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from forebay_collector.completeness import document
from forebay_collector.completeness.days import Day
from forebay_collector.completeness.issue import issue
from forebay_collector.errors import NotKnown, NotPossible
from forebay_collector.ledger import Ledger
from forebay_collector.ledger.completeness import CertificateOfDay
from forebay_collector.service.actor import Actor, Permission
from forebay_collector.settings import Settings


def make(ledger: Ledger, settings: Settings, actor: Actor, department: str, day: str = "") -> int:
    """Issues one now, of the last day that is over unless another is named; -> its id.

    Raises NotPermitted, NotKnown (nothing of the department was received by then), NotPossible (the day is none, or has not
    begun); as `completeness.issue.issue`.
    """
    actor.require(Permission.OPERATE, department)
    if department not in departments(ledger, actor):
        raise NotKnown(f"nothing was received of department {department}")
    zone, now = settings.certificates.zone, ledger.database.clock()
    try:
        chosen = Day.of(day, zone) if day else Day.at(now, zone).before()
    except ValueError:
        raise NotPossible(f"{day!r} is no day", remedy="Write it as YYYY-MM-DD.") from None
    if chosen.from_us > now:
        raise NotPossible(f"{chosen.name} has not begun", remedy="Name a day that has.")
    identity = settings.data.identity
    made = issue(ledger, identity, department, chosen, settings.verify.cover, by=actor.name, via=actor.via)
    if made is None:
        raise NotKnown(f"nothing of department {department} was received by the end of {chosen.name}")
    return made


def departments(ledger: Ledger, actor: Actor) -> list[str]:
    """Those of which something was received and that the actor sees."""
    actor.require(Permission.SEE)
    return sorted({one.name.department for one in ledger.streams.listing() if actor.sees(one.name.department)})


def listing(
    ledger: Ledger, actor: Actor, *, department: str = "", day: str = "", limit: int = 100, before: int | None = None
) -> list[CertificateOfDay]:
    """Newest first; `before`: only those with a smaller id. Raises NotPermitted."""
    actor.require(Permission.SEE, department)
    return ledger.completeness.listing(
        department=department, departments=actor.departments, day=day, limit=limit, before=before
    )


def show(ledger: Ledger, actor: Actor, number: int) -> tuple[CertificateOfDay, bytes]:
    """The certificate and its file. Raises NotKnown, also where it is another department's."""
    found = ledger.completeness.get(number)
    if found is None or not actor.sees(found[0].department):
        raise NotKnown(f"certificate {number} is not in the ledger")
    return found


def digest(content: bytes) -> str:
    """SHA-256 of a file, hexadecimal."""
    return document.digest(content)


def statement_of(content: bytes) -> Mapping[str, Any]:
    """What a file from the ledger says; its signature is not looked at."""
    said: Mapping[str, Any] = json.loads(content)["certificate"]
    return said
