"""Certificates of completeness: those that were issued, the signed file of each, and issuing one now."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from forebay_collector.api.operation import Call, Noun
from forebay_collector.api.paging import Part, before_number, cut
from forebay_collector.api.values import Answer, Asked, Moment, Numbered, Page
from forebay_collector.ledger.completeness import CertificateOfDay
from forebay_collector.service import completeness as service
from forebay_collector.service.actor import Permission

NOUN = Noun("certificates", "What the tables of a department came to on a day, signed.")
_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"


class CertifiedDay(Answer):
    """One department on one day."""

    id: int
    department: str
    day: str
    complete: bool = Field(description="Whether each of its tables can be called complete.")
    tables: int
    issued_at: Moment
    issued_by: str


class CertifiedDays(Page[CertifiedDay]):
    pass


class DayWithFile(CertifiedDay):
    """One department on one day, with what was signed."""

    file: str = Field(description="The signed file, exactly: what `forebay-collector certificate verify` checks.")


class DaysAsked(Numbered):
    department: str = Field("", description="Only of this one.")
    day: str = Field("", pattern=rf"^$|{_DAY}", description="Only of this day.")


class DayWanted(Asked):
    department: str = Field(min_length=1)
    day: str = Field("", pattern=rf"^$|{_DAY}", description="The last that is over unless it is named.")


def listing(call: Call[DaysAsked, None]) -> Part[CertificateOfDay]:
    asked = call.query
    chosen = {"department": asked.department, "day": asked.day}
    found = service.listing(call.ledger, call.actor, **chosen, limit=asked.limit + 1, before=before_number(asked))
    return cut(found, asked, lambda one: str(one.id))


def certificate(call: Call[None, None]) -> dict[str, Any]:
    return _with_file(call, call.number("certificate"))


def make(call: Call[None, DayWanted]) -> dict[str, Any]:
    wanted = call.body
    return _with_file(call, service.make(call.ledger, call.works.settings, call.actor, wanted.department, wanted.day))


def _with_file(call: Call[Any, Any], number: int) -> dict[str, Any]:
    found, content = service.show(call.ledger, call.actor, number)
    told = {name: getattr(found, name) for name in CertifiedDay.model_fields}
    return {**told, "file": content.decode()}


NOUN.get("/certificates", "certificates", "The certificates, newest first", listing, CertifiedDays, query=DaysAsked)
NOUN.get("/certificates/{certificate}", "certificate", "One certificate, with its file", certificate, DayWithFile)
NOUN.post(
    "/certificates",
    "certify",
    "Issue a certificate now",
    make,
    DayWithFile,
    needs=Permission.OPERATE,
    body=DayWanted,
    status=201,
)
