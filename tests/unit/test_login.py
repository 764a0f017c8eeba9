"""Logging in: nobody guesses a password, nobody learns who has an account, and nobody is locked out for long."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from sqlalchemy import event

from forebay_collector.errors import LoginLocked, LoginRefused, NotPermitted, NotPossible
from forebay_collector.ledger import Ledger, attempts
from forebay_collector.service import login, passwords, users
from forebay_collector.service.actor import Actor, Permission, Role
from forebay_collector.settings import AccountSettings
from tests.accounts.people import HERE, OTHER_PASSWORD, PASSWORD, ROOT, Time, member, quick_passwords

RULES = AccountSettings()
ELSEWHERE = "10.99.0.1"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick_passwords(monkeypatch)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def ledger(tmp_path: Path, time: Time) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path / "ledger.db", time)
    member(opened, "zhang", Role.OPERATOR, departments=["市监局"])
    yield opened
    opened.close()


def refused(ledger: Ledger, name: str, password: str = "wrong", peer: str = HERE) -> LoginRefused | LoginLocked:
    with pytest.raises((LoginRefused, LoginLocked)) as error:
        users.authenticate(ledger, name, password, peer)
    assert isinstance(error.value, LoginRefused | LoginLocked)
    return error.value


def test_the_right_password_lets_in_with_roles_and_departments(ledger: Ledger) -> None:
    actor = users.authenticate(ledger, "zhang", PASSWORD, HERE)
    assert actor == Actor("zhang", frozenset({Role.OPERATOR}), frozenset({"市监局"}), "console")
    entry = ledger.audit.listing(limit=1)[0]
    assert (entry.who, entry.action, entry.subject) == ("zhang", "log-in", "zhang")
    assert entry.detail == {"method": "password", "peer": HERE, "via": "console"}
    account = ledger.accounts.get("zhang")
    assert account is not None
    assert account.last_login_at == entry.at


@pytest.mark.parametrize("name", ["Zhang", " ZHANG ", "ｚｈａｎｇ"])
def test_a_name_is_the_same_however_it_is_typed(ledger: Ledger, name: str) -> None:
    assert users.authenticate(ledger, name, PASSWORD, HERE).name == "zhang"


def test_a_password_is_the_same_however_the_keyboard_composes_it(ledger: Ledger) -> None:
    member(ledger, "wei", Role.VIEWER, password="caf\u00e9-lantern-window")
    assert users.authenticate(ledger, "wei", "cafe\u0301-lantern-window", HERE).name == "wei"


@pytest.mark.parametrize(
    "password",
    ["", PASSWORD + "x", PASSWORD[:-1], PASSWORD.upper(), "\0", "\ud800", "x" * 100_000, PASSWORD + "\0", "字" * 300],
)
def test_any_other_password_is_refused(ledger: Ledger, password: str) -> None:
    error = refused(ledger, "zhang", password)
    assert (type(error), str(error)) == (LoginRefused, "Name or password is wrong.")


def test_a_longer_password_that_begins_with_the_right_one_is_refused(ledger: Ledger) -> None:
    longest = "kite orange " * 21 + "lamp"
    assert len(longest) == passwords.MOST
    member(ledger, "long", Role.VIEWER, password=longest)
    refused(ledger, "long", longest + "x")


def test_whoever_asks_learns_nothing_about_who_has_an_account(
    ledger: Ledger, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same answer, same statements in the same order, one computation of the same cost: nothing else takes time."""
    member(ledger, "disabled", Role.VIEWER)
    users.disable(ledger, ROOT, "disabled", "left")
    users.create(ledger, ROOT, "new", [Role.VIEWER])
    statements: list[str] = []
    verified: list[str] = []
    real = PasswordHasher.verify

    def verify(self: PasswordHasher, kept: Any, password: Any) -> Any:
        verified.append(kept.split("$")[3])  # the parameters, on which the time hangs
        return real(self, kept, password)

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    monkeypatch.setattr(PasswordHasher, "verify", verify)
    event.listen(ledger.database.engine, "before_cursor_execute", note)
    seen = []
    cases = [
        ("zhang", "wrong"),
        ("nobody", "wrong"),
        ("disabled", PASSWORD),
        ("new", "wrong"),
        ("not a name!", "wrong"),
    ]
    cases += [("", ""), ("\ud800", "x"), ("x" * 5_000, "x")]
    for number, (name, password) in enumerate(cases):
        statements.clear()
        verified.clear()
        error = refused(ledger, name, password, f"10.1.1.{number}")
        seen.append((type(error), str(error), error.code, tuple(verified), tuple(statements)))
    assert len(verified) == 1
    assert statements
    assert [one == seen[0] for one in seen] == [True] * len(cases)
    # … and when the account is locked
    answers = []
    for name in ("zhang", "nobody"):
        for number in range(RULES.attempts):
            error = refused(ledger, name, "wrong", f"10.2.2.{number}")
        statements.clear()
        verified.clear()
        error = refused(ledger, name, "wrong", "10.3.3.3")
        assert isinstance(error, LoginLocked)
        answers.append((type(error), error.code, round(error.wait_s), tuple(verified), tuple(statements)))
    assert answers[0] == answers[1]


def test_a_name_that_is_nobodys_is_not_written_down(ledger: Ledger) -> None:
    refused(ledger, "MyPassword-typed-here")
    entry = ledger.audit.listing(limit=1)[0]
    assert (entry.who, entry.subject, entry.action) == ("(unknown)", "(unknown)", "log-in refused")
    assert "typed" not in repr(entry).lower()
    refused(ledger, "zhang")
    assert ledger.audit.listing(limit=1)[0].who == "zhang"


def test_too_many_failures_lock_the_account_from_everywhere_twice_as_long_each_time(ledger: Ledger, time: Time) -> None:
    for number in range(RULES.attempts):
        assert type(refused(ledger, "zhang", peer=f"10.1.1.{number}")) is LoginRefused
    waits = []
    for number in range(8):
        error = refused(ledger, "zhang", PASSWORD, peer=f"10.2.2.{number}")
        assert isinstance(error, LoginLocked)
        waits.append(round(error.wait_s))
        time.passes(timedelta(seconds=error.wait_s + 0.001))
        refused(ledger, "zhang", peer=f"10.3.3.{number}")
    assert waits == [30, 60, 120, 240, 480, 900, 900, 900]
    locked = ledger.audit.listing(action="log-in locked")
    assert len(locked) == 9
    assert locked[-1].detail["wait_s"] == 30


def test_an_attempt_while_it_is_locked_costs_nothing_and_prolongs_nothing(
    ledger: Ledger, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(RULES.attempts):
        refused(ledger, "zhang")
    entries = len(ledger.audit.listing(limit=1_000))
    monkeypatch.setattr(passwords, "matches", lambda *_: pytest.fail("a password was computed"))
    monkeypatch.setattr(ledger.database, "write", lambda: pytest.fail("others who write were held up"))
    for _ in range(50):
        time.passes(timedelta(milliseconds=100))
        assert isinstance(refused(ledger, "zhang"), LoginLocked)
    assert len(ledger.audit.listing(limit=1_000)) == entries
    monkeypatch.undo()
    time.passes(timedelta(seconds=26))
    assert users.authenticate(ledger, "zhang", PASSWORD, HERE).name == "zhang"


def test_success_forgives_the_account_and_time_forgets(ledger: Ledger, time: Time) -> None:
    for _ in range(3):
        for _ in range(RULES.attempts - 1):
            refused(ledger, "zhang")
        users.authenticate(ledger, "zhang", PASSWORD, HERE)
    for _ in range(RULES.attempts - 1):
        refused(ledger, "zhang")
    time.passes(timedelta(days=1, seconds=1))
    for _ in range(RULES.attempts):
        assert type(refused(ledger, "zhang")) is LoginRefused


def test_one_address_cannot_try_many_names(ledger: Ledger) -> None:
    answers = [type(refused(ledger, f"user{number}", peer=ELSEWHERE)) for number in range(RULES.attempts_of_peer + 3)]
    assert answers == [LoginRefused] * RULES.attempts_of_peer + [LoginLocked] * 3
    with pytest.raises(LoginLocked):
        users.authenticate(ledger, "zhang", PASSWORD, ELSEWHERE)
    assert users.authenticate(ledger, "zhang", PASSWORD, HERE).name == "zhang", "others are not kept out"


def test_an_account_of_ones_own_does_not_buy_an_address_more_attempts(ledger: Ledger) -> None:
    answers = []
    for number in range(RULES.attempts_of_peer * 2):
        try:
            users.authenticate(ledger, "zhang", PASSWORD, ELSEWHERE)
        except LoginLocked:
            break
        answers.append(type(refused(ledger, f"user{number}", peer=ELSEWHERE)))
    assert answers == [LoginRefused] * RULES.attempts_of_peer


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("2001:db8:1:2::5", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::5", "2001:db8:1:3::5", False),
        ("unix", "unix", True),
        ("\ud800", "x" * 10_000, False),
    ],
)
def test_addresses_of_one_customer_count_together(one: str, other: str, same: bool) -> None:
    assert (login.peer_subject(one) == login.peer_subject(other)) == same
    assert max(len(login.peer_subject(one)), len(login.peer_subject(other))) < 60


def test_attempts_at_the_same_time_get_no_more_tries_than_one_after_the_other(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.db")
    outcomes: list[str] = []
    start = threading.Barrier(24)

    def attempt(number: int) -> None:
        start.wait(20)
        outcomes.append(type(refused(ledger, "somebody", peer=f"10.0.1.{number}")).__name__)

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(outcomes) == ["LoginLocked"] * (24 - RULES.attempts) + ["LoginRefused"] * RULES.attempts
    ledger.close()


def test_what_is_remembered_of_failures_is_bounded(ledger: Ledger, time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MOST", 50)
    for number in range(120):
        refused(ledger, f"user{number}", peer=f"10.{number}.0.1")
    with ledger.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM login_attempt").scalar_one() <= 51
    assert attempts.Limit(5, 30, 900, 1).wait(10**6) == 900


def test_an_older_hash_is_made_anew_at_the_next_log_in(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ledger.accounts.get("zhang")
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=2, memory_cost=8, parallelism=1))
    users.authenticate(ledger, "zhang", PASSWORD, HERE)
    after = ledger.accounts.get("zhang")
    assert before is not None
    assert after is not None
    assert "t=1" in before.password_hash
    assert "t=2" in after.password_hash
    users.authenticate(ledger, "zhang", PASSWORD, HERE)


def test_passwords_are_kept_as_argon2id_with_the_recommended_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    kept = passwords.hashed(PASSWORD)
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert passwords.matches(kept, PASSWORD)
    assert not passwords.matches(kept, OTHER_PASSWORD)
    assert not passwords.matches("", "nobody's")
    assert not passwords.outdated(kept)


def test_a_one_time_link_logs_in_once_within_its_time(ledger: Ledger, time: Time) -> None:
    users.create(ledger, ROOT, "li", [Role.AUDITOR])
    link = users.one_time_login(ledger, ROOT, "li")
    actor = users.log_in_by_link(ledger, link, HERE)
    assert actor == Actor("li", frozenset({Role.AUDITOR}), None, "console")
    with pytest.raises(LoginRefused, match="used"):
        users.log_in_by_link(ledger, link, HERE)
    late = users.one_time_login(ledger, ROOT, "li")
    time.passes(RULES.link)
    with pytest.raises(LoginRefused):
        users.log_in_by_link(ledger, late, HERE)
    short = users.one_time_login(ledger, ROOT, "li", life=timedelta(seconds=1))
    time.passes(timedelta(seconds=1))
    with pytest.raises(LoginRefused):
        users.log_in_by_link(ledger, short, HERE)
    assert [entry.action for entry in ledger.audit.listing(limit=6)][:2] == ["log-in refused", "one-time link"]
    assert ledger.audit.listing(action="log-in")[0].detail["method"] == "link"


@pytest.mark.parametrize("token", ["", "fbl1_", "fbl1_x", "\ud800", "x" * 100_000])
def test_no_other_text_is_a_link(ledger: Ledger, token: str) -> None:
    with pytest.raises(LoginRefused):
        users.log_in_by_link(ledger, token, HERE)


def test_a_link_is_spent_once_whoever_comes_at_the_same_time(ledger: Ledger) -> None:
    link = users.one_time_login(ledger, ROOT, "zhang")
    outcomes: list[bool] = []

    def use(number: int) -> None:
        try:
            users.log_in_by_link(ledger, link, f"10.0.2.{number}")
            outcomes.append(True)
        except LoginRefused:
            outcomes.append(False)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == [False] * 7 + [True]


def test_a_link_helps_someone_whose_account_is_locked(ledger: Ledger) -> None:
    for number in range(RULES.attempts + 1):
        refused(ledger, "zhang", peer=f"10.4.4.{number}")
    users.log_in_by_link(ledger, users.one_time_login(ledger, ROOT, "zhang"), HERE)
    assert users.authenticate(ledger, "zhang", PASSWORD, HERE).name == "zhang"


def test_whoever_administers_accounts_does_not_become_somebody_else_by_a_link(ledger: Ledger) -> None:
    admin = member(ledger, "admin1", Role.ADMINISTRATOR)
    with pytest.raises(NotPermitted, match="command line"):
        users.one_time_login(ledger, admin, "zhang")
    with pytest.raises(NotPermitted):
        users.one_time_login(ledger, users.authenticate(ledger, "zhang", PASSWORD, HERE), "zhang")
    users.create(ledger, admin, "fresh", [Role.VIEWER])
    assert users.log_in_by_link(ledger, users.one_time_login(ledger, admin, "fresh"), HERE).name == "fresh"


def test_a_disabled_account_has_no_way_in(ledger: Ledger) -> None:
    link = users.one_time_login(ledger, ROOT, "zhang")
    users.disable(ledger, ROOT, "zhang", "left")
    with pytest.raises(LoginRefused):
        users.log_in_by_link(ledger, link, HERE)
    refused(ledger, "zhang", PASSWORD)
    with pytest.raises(NotPossible):
        users.one_time_login(ledger, ROOT, "zhang")
    users.enable(ledger, ROOT, "zhang", "is back")
    assert users.authenticate(ledger, "zhang", PASSWORD, HERE).may(Permission.OPERATE, "市监局")
