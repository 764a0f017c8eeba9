"""Alerts, notifications and maintenance windows on either database of the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError

from forebay_collector.errors import LedgerUnavailable, NotKnown, NotPermitted, NotPossible
from forebay_collector.ledger import Ledger, alerts, notifications
from forebay_collector.ledger.agents import put_certificate
from forebay_collector.ledger.alerts import AlertRecord, Condition
from forebay_collector.service import alerts as service
from forebay_collector.service.actor import Actor, Role
from tests.servers.postgresql import PostgreSQL

SECOND = 1_000_000
MINUTE = timedelta(minutes=1)
ROOT = Actor.local("root")
SEER = Actor("seer", frozenset({Role.VIEWER}))
MZ = Actor("mz", frozenset({Role.OPERATOR}), frozenset({"民政局"}), "console")
SJ = Actor("sj", frozenset({Role.OPERATOR}), frozenset({"市监局"}), "console")


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_040 * SECOND

    def __call__(self) -> int:
        self.now += 1_000
        return self.now

    def passes(self, time: timedelta) -> None:
        self.now += time // timedelta(microseconds=1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    where: Path | str = tmp_path / "ledger.db"
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        name = f"alerts_{tmp_path.name.lower().replace('-', '_')}"[:60]
        server.create_database(name)
        url = make_url("postgresql+psycopg://").set(
            username=server.user, password=server.password, host=server.host, port=server.port, database=name
        )
        where = url.render_as_string(hide_password=False)
    opened = Ledger.open(where, clock)
    with opened.database.write() as connection:
        put_certificate(connection, "scjg-01", "市监局", "1", 2**62, 1, hostname="h", version="0")
        put_certificate(connection, "mzj-01", "民政局", "2", 2**62, 1, hostname="h", version="0")
    yield opened
    opened.close()


def silent(agent: str = "scjg-01", department: str = "市监局") -> Condition:
    return Condition(
        "agent_silent", agent, department, agent, "critical", "FB-AGENT-SILENT", {"since": 1_699_999_000 * SECOND}
    )


def opened(ledger: Ledger, *found: Condition) -> list[AlertRecord]:
    with ledger.database.write() as connection:
        alerts.put(connection, found, ledger.database.clock())
        return alerts.open_now(connection)


def closed(ledger: Ledger, number: int) -> None:
    with ledger.database.write() as connection:
        alerts.close(connection, [number], ledger.database.clock())


def test_of_one_thing_that_is_the_matter_there_is_one_open_alert(ledger: Ledger) -> None:
    (first,) = opened(ledger, silent())
    with pytest.raises((LedgerUnavailable, IntegrityError)):
        opened(ledger, silent())
    closed(ledger, first.id)
    (second,) = opened(ledger, silent())
    assert second.id > first.id
    assert [one.id for one in service.history(ledger, ROOT)] == [second.id, first.id]
    assert [one.id for one in service.history(ledger, ROOT, closed=True)] == [first.id]
    assert [one.id for one in service.history(ledger, ROOT, before=second.id)] == [first.id]


def test_an_alert_is_acknowledged_once_with_a_reason_that_the_audit_keeps(ledger: Ledger) -> None:
    (made,) = opened(ledger, silent())
    assert service.count(ledger, ROOT) == (1, 0)
    with pytest.raises(NotPossible):
        service.acknowledge(ledger, SJ, made.id, " ")
    with pytest.raises(NotPermitted):
        service.acknowledge(ledger, SEER, made.id, "x")
    view = service.acknowledge(ledger, SJ, made.id, "the street is dug up")
    assert (view.acknowledged_by, view.acknowledged_why) == ("sj", "the street is dug up")
    assert service.count(ledger, ROOT) == (0, 0)
    with pytest.raises(NotPossible, match="acknowledged by sj"):
        service.acknowledge(ledger, ROOT, made.id, "me too")
    (entry,) = ledger.audit.listing(action=service.ACKNOWLEDGED)
    assert (entry.who, entry.subject, entry.department, entry.detail["via"]) == ("sj", "scjg-01", "市监局", "console")
    closed(ledger, made.id)
    with pytest.raises(NotPossible, match="is over"):
        service.acknowledge(ledger, ROOT, made.id, "late")


def test_of_other_departments_alerts_nobody_hears_and_what_is_nobodys_is_for_those_who_see_all(ledger: Ledger) -> None:
    nobodys = Condition("unknown_certificate_used", "9f", "", "", "critical", "FB-IDENTITY-UNKNOWN", {"peer": "::1"})
    made = opened(ledger, silent(), silent("mzj-01", "民政局"), nobodys)
    assert [one.subject for one in service.open_alerts(ledger, MZ)] == ["mzj-01"]
    assert [one.subject for one in service.history(ledger, MZ)] == ["mzj-01"]
    assert len(service.open_alerts(ledger, ROOT)) == 3
    assert service.count(ledger, MZ) == (1, 0)
    for other in (made[0].id, made[2].id, 2**70):
        with pytest.raises(NotKnown):
            service.acknowledge(ledger, MZ, other, "x")
    with pytest.raises(NotPermitted):
        service.open_alerts(ledger, MZ, department="市监局")


def test_a_window_is_of_all_of_a_department_or_of_an_agent_and_ends_by_itself_or_by_hand(
    ledger: Ledger, clock: Clock
) -> None:
    opened(ledger, silent(), silent("mzj-01", "民政局"))

    def silenced() -> set[str]:
        return {one.subject for one in service.open_alerts(ledger, ROOT) if one.silenced}

    window = service.open_window(ledger, SJ, "department", "市监局", lasts=10 * MINUTE, why="new switch")
    assert window.state is service.WindowState.OPEN
    assert silenced() == {"scjg-01"}
    later = service.open_window(
        ledger, MZ, "agent", "mzj-01", lasts=MINUTE, why="new disk", from_at=clock() + 3_600 * SECOND
    )
    assert later.state is service.WindowState.PLANNED
    assert silenced() == {"scjg-01"}
    assert [one.id for one in service.windows(ledger, MZ)] == [later.id]
    clock.passes(11 * MINUTE)
    assert silenced() == set()
    assert [one.state for one in service.windows(ledger, SJ, past=True)] == [service.WindowState.OVER]
    every = service.open_window(ledger, ROOT, "all", lasts=MINUTE, why="the centre moves")
    assert silenced() == {"scjg-01", "mzj-01"}
    with pytest.raises(NotPermitted):
        service.close_window(ledger, MZ, every.id, "not mine")
    assert service.close_window(ledger, ROOT, every.id, "moved").state is service.WindowState.OVER
    assert silenced() == set()
    with pytest.raises(NotPossible, match="is over"):
        service.close_window(ledger, ROOT, every.id, "again")
    deeds = [(entry.action, entry.department) for entry in ledger.audit.listing()]
    assert deeds[:2] == [(service.CLOSED, ""), (service.OPENED, "")]


@pytest.mark.parametrize(
    ("actor", "scope", "name", "error"),
    [
        (MZ, "all", "", NotPermitted),
        (SEER, "department", "市监局", NotPermitted),
        (MZ, "department", "市监局", NotKnown),
        (MZ, "agent", "scjg-01", NotKnown),
        (ROOT, "agent", "nobody", NotKnown),
        (ROOT, "department", "", NotKnown),
        (ROOT, "all", "scjg-01", NotPossible),
        (ROOT, "street", "x", NotPossible),
    ],
)
def test_a_window_is_refused_to_whoever_does_not_operate_what_it_hides(
    ledger: Ledger, actor: Actor, scope: str, name: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        service.open_window(ledger, actor, scope, name, lasts=MINUTE, why="x")
    assert ledger.maintenance.listing(past=True) == []


def test_a_window_has_an_end_and_a_reason(ledger: Ledger, clock: Clock) -> None:
    for lasts, why, begins in (
        (MINUTE, " ", None),
        (timedelta(0), "x", None),
        (timedelta(days=91), "x", None),
        (MINUTE, "x", 5),
    ):
        with pytest.raises(NotPossible):
            service.open_window(ledger, ROOT, "all", lasts=lasts, why=why, from_at=begins)


def test_one_process_watches_and_another_takes_over_when_it_says_nothing_more(ledger: Ledger, clock: Clock) -> None:
    lasts = timedelta(seconds=30)
    assert ledger.alerts.lease("a", lasts)
    assert not ledger.alerts.lease("b", lasts)
    clock.passes(timedelta(seconds=20))
    assert ledger.alerts.lease("a", lasts)
    clock.passes(timedelta(seconds=20))
    assert not ledger.alerts.lease("b", lasts)
    clock.passes(timedelta(seconds=20))
    assert ledger.alerts.lease("b", lasts)
    assert not ledger.alerts.lease("a", lasts)
    ledger.alerts.release("b")
    assert ledger.alerts.lease("a", lasts)


def test_a_channels_messages_go_in_order_and_one_whose_process_was_lost_goes_again(
    ledger: Ledger, clock: Clock
) -> None:
    (made,) = opened(ledger, silent())
    with ledger.database.write() as connection:
        at = ledger.database.clock()
        first = notifications.put(connection, "webhook", notifications.OPENED, "agent_silent", [made.id], at)
        second = notifications.put(connection, "webhook", notifications.RESOLVED, "agent_silent", [made.id], at)
        other = notifications.put(connection, "mail", notifications.OPENED, "agent_silent", [made.id], at)
    taken = ledger.notifications.take("webhook")
    assert taken is not None
    assert (taken[0].id, taken[0].attempts, [one.id for one in taken[1]]) == (first, 1, [made.id])
    again = ledger.notifications.take("webhook")
    assert again is not None
    assert (again[0].id, again[0].attempts) == (first, 2)
    ledger.notifications.end(first, notifications.WAITING, "HTTP 503", due_at=clock() + 10 * SECOND)
    assert ledger.notifications.take("webhook") is None
    clock.passes(timedelta(seconds=11))
    assert ledger.notifications.take("webhook") is not None
    ledger.notifications.end(first, notifications.SENT, "HTTP 200")
    after = ledger.notifications.take("webhook")
    assert after is not None
    assert after[0].id == second
    told = ledger.notifications.channel("webhook")
    assert (told.waiting, told.last and told.last.outcome) == (1, "HTTP 200")
    assert ledger.notifications.drop(["webhook"], "no such channel any more") == 1
    assert [one.state for one in ledger.notifications.listing(channel="mail")] == [notifications.FAILED]
    assert ledger.notifications.listing(alert_id=made.id)[0].id == other


def test_what_is_over_for_long_leaves_the_ledger_and_what_is_open_stays(ledger: Ledger, clock: Clock) -> None:
    first, second = opened(ledger, silent(), silent("mzj-01", "民政局"))
    closed(ledger, first.id)
    service.open_window(ledger, ROOT, "all", lasts=MINUTE, why="x")
    with ledger.database.write() as connection:
        sent = notifications.put(
            connection, "webhook", notifications.OPENED, "agent_silent", [first.id, second.id], clock()
        )
    ledger.notifications.end(sent, notifications.SENT, "HTTP 200")
    clock.passes(timedelta(days=400))
    before = clock.now - 365 * 86_400 * SECOND
    assert (ledger.notifications.expire(before), ledger.alerts.expire(before), ledger.maintenance.expire(before)) == (
        1,
        1,
        1,
    )
    assert [one.id for one in ledger.alerts.listing()] == [second.id]
