"""The audit as people read it: auditors only, each of what their departments concerns, page by page."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from forebay_collector.errors import NotPermitted
from forebay_collector.ledger import Ledger
from forebay_collector.service import audit
from forebay_collector.service.actor import Actor, Role
from tests.accounts.people import Time

ALL = Actor("an", frozenset({Role.AUDITOR}), via="console")
OURS = Actor("bo", frozenset({Role.AUDITOR}), frozenset({"市监局"}), "console")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path / "ledger.db", Time())
    for number in range(4):
        opened.audit.add("zhang", "replay", f"市监局/a/t{number} 1/1", "why")
        opened.audit.add("li", "discard", f"民政局/a/t{number} 1/1", "why")
        opened.audit.add("root", "account", f"user{number}", "")
    yield opened
    opened.close()


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.AUDITOR])
def test_only_auditors_read_or_export_the_audit(ledger: Ledger, role: Role) -> None:
    actor = Actor("someone", frozenset({role}), via="console")
    out = io.StringIO()
    for deed in (audit.listing, audit.actions, lambda one, who: audit.export(one, who, out, "csv")):
        with pytest.raises(NotPermitted):
            deed(ledger, actor)
    assert out.getvalue() == ""
    assert ledger.audit.verify().head.entries == 12


def test_an_auditor_of_some_departments_sees_what_was_done_to_these(ledger: Ledger) -> None:
    assert len(audit.listing(ledger, ALL)) == 12
    assert {entry.department for entry in audit.listing(ledger, OURS)} == {"市监局"}
    assert len(audit.listing(ledger, OURS)) == 4
    assert audit.listing(ledger, OURS, department="民政局") == []
    assert len(audit.listing(ledger, ALL, department="民政局")) == 4
    assert audit.actions(ledger, ALL) == ["account", "discard", "replay"]
    assert audit.actions(ledger, OURS) == ["replay"]
    out = io.StringIO()
    assert audit.export(ledger, OURS, out, "jsonl") == 4
    assert {json.loads(line)["department"] for line in out.getvalue().splitlines()} == {"市监局"}


def test_pages_follow_each_other_without_gap_or_double(ledger: Ledger) -> None:
    seen: list[int] = []
    before = None
    while page := audit.listing(ledger, ALL, before=before, limit=5):
        seen += [entry.id for entry in page]
        before = page[-1].id
        ledger.audit.add("x", "meanwhile", "y")
    assert seen == list(range(12, 0, -1))


def test_filters_narrow(ledger: Ledger) -> None:
    every = audit.listing(ledger, ALL)
    middle = every[6].at
    assert [entry.id for entry in audit.listing(ledger, ALL, since=middle)] == [12, 11, 10, 9, 8, 7, 6]
    assert [entry.id for entry in audit.listing(ledger, ALL, until=middle)] == [5, 4, 3, 2, 1]
    assert {entry.who for entry in audit.listing(ledger, ALL, who="li")} == {"li"}
    assert [entry.id for entry in audit.listing(ledger, ALL, subject="user1", action="account")] == [6]


@pytest.mark.parametrize("number", [-(10**30), 10**30])
def test_whatever_is_asked_for_is_answered(ledger: Ledger, number: int) -> None:
    audit.listing(ledger, ALL, since=number, until=number, before=number)
    assert audit.listing(ledger, ALL, who="\ud800", subject="\0", action="\udfff", department="\ud800") == []


def test_an_export_reads_every_page_once_and_is_an_entry_itself(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_PAGE", 5)
    out = io.StringIO()
    assert audit.export(ledger, ALL, out, "jsonl") == 13
    ids = [json.loads(line)["id"] for line in out.getvalue().splitlines()]
    assert ids == list(range(13, 0, -1))
    entry = ledger.audit.listing(limit=1)[0]
    assert (entry.who, entry.action, entry.detail["via"]) == ("an", "audit export", "console")


def test_the_verdict_tells_whether_the_chain_holds(ledger: Ledger) -> None:
    verdict = audit.verify(ledger)
    assert (verdict.ok, verdict.entries) == (True, 12)
    assert audit.verify(ledger, (12, verdict.head.digest)).ok
    assert not audit.verify(ledger, (12, bytes(32))).ok
