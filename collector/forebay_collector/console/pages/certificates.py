"""Certificates of completeness: those that were issued, one as a page to print, and its file."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from starlette.responses import Response

from forebay_collector.console.answers import Done, Page
from forebay_collector.console.visit import Visit
from forebay_collector.errors import NotPossible
from forebay_collector.service import completeness as service

HERE: Final = "/certificates"
PER_PAGE: Final = 50


def listing(visit: Visit) -> Page:
    before = visit.number("before", 0, 0, 1 << 62)
    department, day = visit.asked("department"), visit.asked("day")
    found = service.listing(
        visit.ledger, visit.actor, department=department, day=day, limit=PER_PAGE + 1, before=before or None
    )
    every = service.departments(visit.ledger, visit.actor)
    return Page(
        "certificates.html",
        {
            "certificates": found[:PER_PAGE],
            "cursor": found[PER_PAGE - 1].id if len(found) > PER_PAGE else 0,
            "departments": every,
            "operable": [name for name in every if visit.may("operate", name)],
            "department": department,
            "day": day,
            "here": list(visit.query.multi_items()),
        },
        live=not before,
    )


def certificate(visit: Visit) -> Page:
    found, content = service.show(visit.ledger, visit.actor, int(visit.named("number")))
    values = {"one": found, "said": service.statement_of(content), "digest": service.digest(content)}
    return Page("certificate.html", values, live=False)


def file(visit: Visit) -> Response:
    """Byte for byte as it was signed."""
    found, content = service.show(visit.ledger, visit.actor, int(visit.named("number")))
    name = quote(f"{found.department}-{found.day}.json", safe="")
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{name}"}
    return Response(content, media_type="application/json", headers=headers)


def make(visit: Visit) -> Done:
    department = visit.said("department")
    if not department:
        raise NotPossible("no department is named", remedy="Choose one.")
    number = service.make(visit.ledger, visit.console.settings, visit.actor, department, visit.said("day"))
    return visit.done(f"{HERE}/{number}", "certificates.made")
