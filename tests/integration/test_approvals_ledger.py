"""Approvals and certificates on either database of the ledger."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from forebay_collector.errors import IdentityRefused
from forebay_collector.ledger import Ledger, audit
from forebay_collector.ledger.agents import put_certificate
from forebay_collector.ledger.certificates import Ended
from forebay_collector.ledger.migrate import migrate
from forebay_collector.ledger.proposals import Column, Decided, ProposalRecord, State
from forebay_collector.service import approvals, identity
from forebay_collector.service.actor import Actor
from forebay_wire.stream import StreamName
from tests.receiving.batches import SCHEMA, STREAM
from tests.servers.postgresql import PostgreSQL

ADA = Actor.local("ada")
ID = Column("id", "bigint", "int64", "")
NAME = Column("name", "varchar(60)", "string", "name")


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    where: Path | str = tmp_path / "ledger.db"
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        name = f"approvals_{tmp_path.name.lower().replace('-', '_')}"[:60]
        server.create_database(name)
        url = make_url("postgresql+psycopg://").set(
            username=server.user, password=server.password, host=server.host, port=server.port, database=name
        )
        where = url.render_as_string(hide_password=False)
    opened = Ledger.open(where)
    yield opened
    opened.close()


@pytest.fixture
def other(ledger: Ledger) -> Iterator[Ledger]:
    """The same ledger as another process has it open."""
    opened = Ledger.open(ledger.database.url.render_as_string(hide_password=False))
    yield opened
    opened.close()


@pytest.fixture
def overlapping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transactions take long enough at their end for others to run into them."""
    record = audit.record

    def slowly(*arguments: Any, **more: Any) -> int:
        time.sleep(0.05)
        return record(*arguments, **more)

    monkeypatch.setattr(audit, "record", slowly)


def proposed(*columns: Column, stream: StreamName = STREAM, agent: str = "a1") -> ProposalRecord:
    said = ("cursor", "", "daily", "", "")
    return ProposalRecord(stream, agent, columns, ("id",), *said, 0, 0, 0, Decided())


def propose(ledger: Ledger, *records: ProposalRecord, automatic: bool = False) -> None:
    ledger.approvals.propose(records[0].agent, records, complete=True, automatic=automatic)


def test_one_walk_through_proposing_approving_rejecting_and_withdrawing(ledger: Ledger) -> None:
    propose(ledger, proposed(ID, NAME))
    approvals.approve(ledger, ADA, STREAM, why="agreement")
    propose(ledger, proposed(ID, replace(NAME, mask=""), Column("phone", "text", "string", "")))
    (view,) = approvals.proposals(ledger, ADA)
    assert (view.waiting, view.columns[1].approved_masks) == (("name", "phone"), ("name",))
    approvals.reject(ledger, ADA, STREAM, ["phone"], "not needed")
    approvals.approve(ledger, ADA, STREAM, ["name"])
    found = ledger.approvals.get(STREAM)
    assert found is not None
    assert set(found.may_leave) == {("id", ""), ("name", ""), ("name", "name")}
    approvals.withdraw(ledger, ADA, STREAM, why="ended")
    assert approvals.proposal(ledger, ADA, STREAM).state is State.WITHDRAWN
    propose(ledger, proposed(ID, stream=StreamName("d", "s", "a.b")), automatic=True)
    newest, changed = ledger.approvals.changed(0)
    assert (newest == max(changed.values()), len(changed)) == (True, 2)
    gone = ledger.approvals.get(STREAM)
    assert gone is not None
    assert gone.gone_at
    assert ledger.audit.verify().ok


def test_what_changes_at_once_is_never_missed_by_who_asks_what_changed(ledger: Ledger, other: Ledger) -> None:
    """Revisions appear in order: whoever asks for what is newer than the last answer gets all of it."""
    streams = [StreamName("d", "s", f"main.t{number}") for number in range(40)]
    seen: dict[StreamName, int] = {}
    done = threading.Event()

    def ask() -> None:
        since = 0
        while True:
            last = done.is_set()
            since, changed = ledger.approvals.changed(since)
            seen.update(changed)
            if last:
                return

    asking = threading.Thread(target=ask)
    asking.start()
    with ThreadPoolExecutor(6) as pool:
        for future in [
            pool.submit(propose, (ledger, other)[number % 2], proposed(ID, stream=stream, agent=f"a{number}"))
            for number, stream in enumerate(streams)
        ]:
            future.result()
        for approving in [pool.submit(approvals.approve, ledger, ADA, stream) for stream in streams]:
            approving.result()
    done.set()
    asking.join()
    assert seen == {stream: ledger.approvals.decided(stream).revision for stream in streams}
    assert len(set(seen.values())) == len(streams)


@pytest.mark.usefixtures("overlapping")
def test_processes_that_decide_at_once_leave_one_decision(ledger: Ledger, other: Ledger) -> None:
    propose(ledger, proposed(ID, NAME))
    with ThreadPoolExecutor(8) as pool:
        both = [ledger, other] * 8
        for future in [pool.submit(approvals.approve, one, ADA, STREAM, ["id", "name"]) for one in both]:
            assert future.result() == ("id", "name")
    found = ledger.approvals.get(STREAM)
    assert found is not None
    assert found.state is State.APPROVED


def test_what_was_received_before_is_approved_by_the_migration(ledger: Ledger) -> None:
    migrate(ledger.database, 3)
    ledger.schemas.put_schema(STREAM, SCHEMA.fingerprint, SCHEMA.serialized, agent="a1")
    migrate(ledger.database)
    found = ledger.approvals.get(STREAM)
    assert found is not None
    assert set(found.may_leave) == {("id", ""), ("text", "")}
    migrate(ledger.database, 3)
    migrate(ledger.database)


@pytest.mark.usefixtures("overlapping")
def test_one_certificate_is_in_force_whatever_comes_at_once(ledger: Ledger, other: Ledger) -> None:
    with ledger.database.write() as connection:
        put_certificate(connection, "a1", "d", "first", 2**62, 1, hostname="h", version="0")

    def renew(number: int) -> None:
        certificates = (ledger, other)[number % 2].certificates
        try:
            certificates.renew("a1", "first", f"new-{number}", 2**62)
            certificates.confirm("a1", f"new-{number}")
        except IdentityRefused:
            pass

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(renew, range(12)))
    agent = ledger.agents.get("a1")
    assert agent is not None
    assert agent.serial != "first"
    given = identity.certificates(ledger, ADA, "a1")
    assert [one.serial for one in given if one.ended_by is Ended.NOT] == [agent.serial]
    assert {one.ended_by for one in given if one.serial == "first"} == {Ended.RENEWAL}
    with pytest.raises(IdentityRefused):
        ledger.certificates.renew("a1", "first", "late", 2**62)
    assert not ledger.certificates.confirm("a1", agent.serial)
    identity.revoke(ledger, ADA, "a1", "stolen")
    with pytest.raises(IdentityRefused):
        ledger.certificates.renew("a1", agent.serial, "after", 2**62)
