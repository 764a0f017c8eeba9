"""Accounts on either database of the ledger: one walk through all of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from forebay_collector.errors import LedgerUnavailable, LoginLocked, LoginRefused, NotPossible
from forebay_collector.ledger import Ledger, accounts, oidc_requests
from forebay_collector.service import audit, sessions, tokens, users
from forebay_collector.service.actor import Role
from tests.accounts.people import HERE, OTHER_PASSWORD, PASSWORD, ROOT, Time, member, quick_passwords
from tests.servers.postgresql import PostgreSQL


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick_passwords(monkeypatch)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path, time: Time) -> Iterator[Ledger]:
    where: Path | str = tmp_path / "ledger.db"
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        name = f"accounts_{request.node.name.partition('[')[0][-40:]}"
        server.create_database(name)
        url = make_url("postgresql+psycopg://").set(
            username=server.user, password=server.password, host=server.host, port=server.port, database=name
        )
        where = url.render_as_string(hide_password=False)
    opened = Ledger.open(where, time)
    yield opened
    opened.close()


def test_people_and_programs_come_in_and_go(ledger: Ledger, time: Time) -> None:
    zhang = member(ledger, "zhang", Role.OPERATOR, departments=["市监局"])
    session = sessions.open_session(ledger, zhang)
    time.passes(timedelta(minutes=5))
    assert sessions.actor_of_session(ledger, session) == zhang
    token = tokens.make_token(ledger, zhang, "nightly", roles=["operator"])
    program = tokens.actor_of_token(ledger, token.text)
    assert program is not None
    assert (program.name, program.departments) == ("zhang", frozenset({"市监局"}))
    assert len(sessions.listing(ledger, zhang, "zhang")) == 1
    assert [one.id for one in tokens.listing(ledger, zhang, "zhang")] == [token.id]
    users.set_roles(ledger, ROOT, "zhang", [Role.VIEWER])
    users.set_password(ledger, ROOT, "zhang", OTHER_PASSWORD)
    assert sessions.actor_of_session(ledger, session) is None
    assert tokens.actor_of_token(ledger, token.text) is None
    users.disable(ledger, ROOT, "zhang", "left")
    users.enable(ledger, ROOT, "zhang", "back")
    assert users.authenticate(ledger, "zhang", OTHER_PASSWORD, HERE).roles == frozenset()
    with pytest.raises(NotPossible):
        users.create(ledger, ROOT, "zhang", [Role.VIEWER])
    sessions.close_session(ledger, sessions.open_session(ledger, zhang))
    assert audit.verify(ledger).ok
    assert len(audit.listing(ledger, ROOT, subject="zhang")) == 12


def test_guessing_is_locked_out_also_at_the_same_time(ledger: Ledger) -> None:
    outcomes: list[str] = []

    def guess(number: int) -> None:
        try:
            users.authenticate(ledger, "zhang", "guess", f"10.0.0.{number}")
        except (LoginRefused, LoginLocked) as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(outcomes) == ["LoginLocked"] * 7 + ["LoginRefused"] * 5


def test_a_log_in_at_a_provider_comes_back_once(ledger: Ledger) -> None:
    with ledger.database.write() as connection:
        oidc_requests.add(connection, b"s" * 32, b"b" * 32, 1, 100)
        oidc_requests.add(connection, b"t" * 32, b"b" * 32, 2, 100)
    took = []
    for state, browser, at in ((b"s", b"x", 50), (b"s", b"b", 50), (b"s", b"b", 50), (b"t", b"b", 100)):
        with ledger.database.write() as connection:
            took.append(oidc_requests.take(connection, state * 32, browser * 32, at))
    assert took == [False, True, False, False]


def test_one_subject_of_a_provider_is_one_account(ledger: Ledger) -> None:
    users.create(ledger, ROOT, "li", [Role.VIEWER])
    users.create(ledger, ROOT, "wang", [Role.VIEWER], password=PASSWORD)
    with ledger.database.write() as connection:
        accounts.change(connection, "li", issuer="https://idp.example", subject="1")
    with pytest.raises(LedgerUnavailable), ledger.database.write() as connection:
        accounts.change(connection, "wang", issuer="https://idp.example", subject="1")
    with ledger.database.read() as connection:
        found = accounts.find_subject(connection, "https://idp.example", "1")
    assert found is not None
    assert found.name == "li"
