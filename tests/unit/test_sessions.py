"""Sessions and API tokens: they end when they should, give no more than their account has, and only a hash is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event

from forebay_collector.errors import NotKnown, NotPermitted, NotPossible
from forebay_collector.ledger import Ledger
from forebay_collector.ledger import sessions as kept
from forebay_collector.service import sessions, tokens, users
from forebay_collector.service.actor import Actor, Role
from forebay_collector.settings import AccountSettings
from tests.accounts.people import ROOT, Time, member, quick_passwords

RULES = AccountSettings()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick_passwords(monkeypatch)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def ledger(tmp_path: Path, time: Time) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path / "ledger.db", time)
    yield opened
    opened.close()


@pytest.fixture
def zhang(ledger: Ledger) -> Actor:
    return member(ledger, "zhang", Role.OPERATOR, Role.APPROVER, departments=["市监局", "民政局"])


def test_a_session_is_whose_it_is_until_log_out(ledger: Ledger, zhang: Actor) -> None:
    token = sessions.open_session(ledger, zhang)
    assert sessions.actor_of_session(ledger, token) == zhang
    sessions.close_session(ledger, token)
    assert sessions.actor_of_session(ledger, token) is None
    assert ledger.audit.listing(limit=1)[0].action == "log-out"
    head = ledger.audit.verify().head
    sessions.close_session(ledger, token)
    sessions.close_session(ledger, "")
    assert ledger.audit.verify().head == head


@pytest.mark.parametrize("token", ["", "x", "\ud800", "x" * 100_000])
def test_no_other_text_is_a_session(ledger: Ledger, zhang: Actor, token: str) -> None:
    sessions.open_session(ledger, zhang)
    assert sessions.session_of(ledger, token) is None


def test_a_token_has_256_bits_and_none_is_like_another(ledger: Ledger, zhang: Actor) -> None:
    made = {sessions.open_session(ledger, zhang) for _ in range(kept.MOST)}
    assert len(made) == kept.MOST
    assert {len(token) for token in made} == {43}


def test_an_idle_session_ends_and_a_used_one_goes_on_until_it_is_too_old(
    ledger: Ledger, zhang: Actor, time: Time
) -> None:
    idle, used = sessions.open_session(ledger, zhang), sessions.open_session(ledger, zhang)
    opened = time.now
    while time.now < opened + (RULES.session - RULES.idle) // timedelta(microseconds=1):
        time.passes(RULES.idle - timedelta(seconds=61))
        assert sessions.actor_of_session(ledger, used) == zhang
    assert sessions.actor_of_session(ledger, idle) is None
    assert len(sessions.listing(ledger, zhang, "zhang")) == 1
    time.now = opened + RULES.session // timedelta(microseconds=1) - 20
    assert sessions.actor_of_session(ledger, used) == zhang
    time.passes(timedelta(microseconds=20))
    assert sessions.actor_of_session(ledger, used) is None
    assert sessions.listing(ledger, zhang, "zhang") == []


def test_a_session_that_was_used_a_moment_ago_is_only_read(ledger: Ledger, zhang: Actor, time: Time) -> None:
    token = sessions.open_session(ledger, zhang)
    statements: list[str] = []
    event.listen(
        ledger.database.engine, "before_cursor_execute", lambda _c, _cur, statement, *_: statements.append(statement)
    )
    for _ in range(5):
        assert sessions.actor_of_session(ledger, token) is not None
    assert [statement for statement in statements if not statement.startswith(("SELECT", "BEGIN"))] == []
    assert "BEGIN IMMEDIATE" not in statements
    time.passes(timedelta(seconds=61))
    sessions.actor_of_session(ledger, token)
    assert len([statement for statement in statements if statement.startswith("UPDATE")]) == 1


def test_a_short_idle_time_still_sees_use(ledger: Ledger, zhang: Actor, time: Time) -> None:
    token = sessions.open_session(ledger, zhang, rules=replace(RULES, idle=timedelta(seconds=40)))
    for _ in range(10):
        time.passes(timedelta(seconds=25))
        assert sessions.actor_of_session(ledger, token) is not None
    time.passes(timedelta(seconds=40))
    assert sessions.actor_of_session(ledger, token) is None


def test_logging_in_ends_the_session_that_the_browser_had(ledger: Ledger, zhang: Actor) -> None:
    li = member(ledger, "li", Role.VIEWER)
    planted = sessions.open_session(ledger, li)
    after = sessions.open_session(ledger, zhang, replaces=planted)
    assert after != planted
    assert sessions.session_of(ledger, planted) is None
    assert sessions.actor_of_session(ledger, after) == zhang


def test_too_many_sessions_end_the_oldest(ledger: Ledger, zhang: Actor) -> None:
    made = [sessions.open_session(ledger, zhang) for _ in range(kept.MOST + 3)]
    alive = [sessions.session_of(ledger, token) is not None for token in made]
    assert alive == [False] * 3 + [True] * kept.MOST


def test_sessions_that_ended_are_not_kept(ledger: Ledger, zhang: Actor, time: Time) -> None:
    for _ in range(5):
        sessions.open_session(ledger, zhang)
        time.passes(RULES.idle)
    with ledger.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM session").scalar_one() == 1


def test_ones_own_sessions_can_be_ended_and_only_ones_own(ledger: Ledger, zhang: Actor) -> None:
    li = member(ledger, "li", Role.VIEWER)
    held = [sessions.open_session(ledger, actor) for actor in (zhang, zhang, li)]
    with pytest.raises(NotKnown):
        sessions.close_sessions(ledger, zhang, "li")
    with pytest.raises(NotPermitted):
        sessions.close_sessions(ledger, li, "zhang")
    assert sessions.close_sessions(ledger, zhang, "zhang") == 2
    assert [sessions.session_of(ledger, token) is None for token in held] == [True, True, False]


def test_a_forms_token_fits_its_session_and_no_other(ledger: Ledger, zhang: Actor) -> None:
    one, other = sessions.open_session(ledger, zhang), sessions.open_session(ledger, zhang)
    form = sessions.form_token(one)
    assert sessions.form_token_fits(one, form)
    assert one not in form
    for given in (sessions.form_token(other), "", form[:-1], form + "0", "\ud800", "é"):
        assert not sessions.form_token_fits(one, given)


def test_an_api_token_is_its_accounts_with_no_more_than_was_asked(ledger: Ledger, zhang: Actor) -> None:
    made = tokens.make_token(ledger, zhang, "nightly report", roles=["operator"], departments=["市监局"])
    assert made.text.startswith("fba1_")
    assert len(made.text) == 48
    actor = tokens.actor_of_token(ledger, made.text)
    assert actor == Actor("zhang", frozenset({Role.OPERATOR}), frozenset({"市监局"}), "api")
    whole = tokens.make_token(ledger, zhang, "all", roles=list(zhang.roles))
    assert tokens.actor_of_token(ledger, whole.text) == replace(zhang, via="api")
    entry = ledger.audit.listing(action="API token")[-1]
    assert (entry.who, entry.subject, entry.detail["label"]) == ("zhang", "zhang", "nightly report")


@pytest.mark.parametrize("token", ["", "fba1_", "fba1_x", "fbl1_x", "\ud800", "fba1_\ud800", "x" * 100_000])
def test_no_other_text_is_an_api_token(ledger: Ledger, zhang: Actor, token: str) -> None:
    made = tokens.make_token(ledger, zhang, "x", roles=["operator"]).text
    assert tokens.actor_of_token(ledger, token) is None
    assert tokens.actor_of_token(ledger, made.removeprefix("fba1_")) is None
    assert tokens.actor_of_token(ledger, made.swapcase()) is None


def test_an_api_token_gives_away_nothing_that_its_account_has_not(ledger: Ledger, zhang: Actor) -> None:
    with pytest.raises(NotPermitted):
        tokens.make_token(ledger, zhang, "x", roles=["operator", "administrator"])
    with pytest.raises(NotPermitted):
        tokens.make_token(ledger, zhang, "x", roles=["operator"], departments=["公安局"])
    small = tokens.make_token(ledger, zhang, "small", roles=["operator"], departments=["市监局"]).text
    program = tokens.actor_of_token(ledger, small)
    assert program is not None
    with pytest.raises(NotPermitted):
        tokens.make_token(ledger, program, "x", roles=["approver"], departments=["市监局"])
    with pytest.raises(NotPermitted):
        tokens.make_token(ledger, program, "x", roles=["operator"])
    with pytest.raises(NotPermitted):
        tokens.make_token(ledger, program, "x", roles=["operator"], departments=["民政局"])
    tokens.make_token(ledger, program, "x", roles=["operator"], departments=["市监局"])


def test_what_an_account_loses_its_tokens_lose_and_it_may_come_to_nothing(ledger: Ledger, zhang: Actor) -> None:
    made = tokens.make_token(ledger, zhang, "x", roles=["approver"], departments=["民政局"]).text
    users.set_roles(ledger, ROOT, "zhang", [Role.OPERATOR], ["市监局"])
    assert tokens.actor_of_token(ledger, made) == Actor("zhang", frozenset(), frozenset(), "api")
    users.set_roles(ledger, ROOT, "zhang", [Role.APPROVER, Role.OPERATOR])
    assert tokens.actor_of_token(ledger, made) == Actor(
        "zhang", frozenset({Role.APPROVER}), frozenset({"民政局"}), "api"
    )


@pytest.mark.parametrize(
    ("label", "roles", "life"),
    [
        ("", ["operator"], timedelta(days=1)),
        ("x" * 201, ["operator"], timedelta(days=1)),
        ("a\nb", ["operator"], timedelta(days=1)),
        ("\ud800", ["operator"], timedelta(days=1)),
        ("x", [], timedelta(days=1)),
        ("x", ["boss"], timedelta(days=1)),
        ("x", ["operator"], timedelta(0)),
        ("x", ["operator"], timedelta(days=367)),
    ],
)
def test_an_api_token_that_cannot_be_is_refused(
    ledger: Ledger, zhang: Actor, label: str, roles: list[str], life: timedelta
) -> None:
    with pytest.raises(NotPossible):
        tokens.make_token(ledger, zhang, label, roles=roles, life=life)
    assert tokens.listing(ledger, zhang, "zhang") == []


def test_an_api_token_ends_at_its_time_or_when_it_is_revoked(ledger: Ledger, zhang: Actor, time: Time) -> None:
    short = tokens.make_token(ledger, zhang, "short", roles=["operator"], life=timedelta(hours=1))
    long = tokens.make_token(ledger, zhang, "long", roles=["operator"])
    time.passes(timedelta(hours=1))
    assert tokens.actor_of_token(ledger, short.text) is None
    assert tokens.actor_of_token(ledger, long.text) is not None
    li = member(ledger, "li", Role.VIEWER)
    with pytest.raises(NotPermitted):
        tokens.revoke_token(ledger, li, long.id)
    with pytest.raises(NotKnown):
        tokens.revoke_token(ledger, zhang, 99)
    tokens.revoke_token(ledger, zhang, long.id, "leaked")
    assert tokens.actor_of_token(ledger, long.text) is None
    head = ledger.audit.verify().head
    tokens.revoke_token(ledger, zhang, long.id, "again")
    assert ledger.audit.verify().head == head
    assert ledger.audit.listing(action="API token revoked")[0].why == "leaked"


def test_when_a_token_was_last_used_is_known_to_the_minute(ledger: Ledger, zhang: Actor, time: Time) -> None:
    made = tokens.make_token(ledger, zhang, "x", roles=["operator"])

    def last_used() -> int:
        return tokens.listing(ledger, zhang, "zhang")[0].last_used_at

    assert last_used() == 0
    tokens.actor_of_token(ledger, made.text)
    first = last_used()
    assert 0 < first <= time.now
    time.passes(timedelta(seconds=30))
    tokens.actor_of_token(ledger, made.text)
    assert last_used() == first
    time.passes(timedelta(seconds=31))
    tokens.actor_of_token(ledger, made.text)
    assert last_used() > first


def test_a_token_of_somebody_else_is_made_on_the_command_line_only(ledger: Ledger, zhang: Actor) -> None:
    admin = member(ledger, "admin1", Role.ADMINISTRATOR)
    with pytest.raises(NotPermitted, match="command line"):
        tokens.make_token(ledger, admin, "x", roles=["operator"], account="zhang")
    made = tokens.make_token(ledger, ROOT, "x", roles=["operator"], account="zhang")
    actor = tokens.actor_of_token(ledger, made.text)
    assert actor is not None
    assert actor.name == "zhang"
    with pytest.raises(NotPermitted):
        tokens.make_token(ledger, ROOT, "x", roles=["administrator"], account="zhang")
    assert [token.account for token in tokens.listing(ledger, admin)] == ["zhang"]
