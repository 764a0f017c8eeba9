"""Accounts: who may change whose, what nobody may be at once, and which passwords are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forebay_collector.errors import LoginLocked, LoginRefused, NotKnown, NotPermitted, NotPossible, PasswordRefused
from forebay_collector.ledger import Ledger
from forebay_collector.service import passwords, sessions, tokens, users
from forebay_collector.service.actor import Actor, Permission, Role
from forebay_collector.settings import AccountSettings
from tests.accounts.people import HERE, OTHER_PASSWORD, PASSWORD, ROOT, Time, member, quick_passwords

Deed = Callable[[Ledger, Actor, str], object]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick_passwords(monkeypatch)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path / "ledger.db", Time())
    yield opened
    opened.close()


def test_an_account_is_made_and_what_it_may_is_in_the_audit(ledger: Ledger) -> None:
    made = users.create(ledger, ROOT, "Zhang.San", ["operator", Role.APPROVER], ["市监局", "民政局"])
    assert (made.name, made.state, made.kind) == ("zhang.san", "new", "local")
    assert made.roles == {Role.OPERATOR, Role.APPROVER}
    assert made.departments == frozenset({"市监局", "民政局"})
    assert not made.has_password
    entry = ledger.audit.listing(limit=1)[0]
    assert (entry.who, entry.action, entry.subject) == ("root", "account", "zhang.san")
    assert entry.detail == {"via": "cli", "roles": ["approver", "operator"], "departments": ["市监局", "民政局"]}
    assert users.account(ledger, ROOT, "ZHANG.san") == made
    assert users.listing(ledger, ROOT) == [made]


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a/b", "-a", "a-", "x" * 65, "a\nb", "a\0b", "\ud800", "<script>", "a:b", "张 三"]
)
def test_a_name_that_cannot_be_one_is_refused(ledger: Ledger, name: str) -> None:
    with pytest.raises(NotPossible):
        users.create(ledger, ROOT, name, [Role.VIEWER])
    assert ledger.accounts.listing() == []


@pytest.mark.parametrize("name", ["a", "张三", "z.san@city.example", "x" * 64, "o_neill-2"])
def test_a_name_may_be_as_people_have_them(ledger: Ledger, name: str) -> None:
    assert users.create(ledger, ROOT, name, [Role.VIEWER]).name == name


def test_a_name_belongs_to_one_account(ledger: Ledger) -> None:
    users.create(ledger, ROOT, "zhang", [Role.VIEWER])
    with pytest.raises(NotPossible, match="there is an account"):
        users.create(ledger, ROOT, "ZHANG", [Role.ADMINISTRATOR])
    assert users.account(ledger, ROOT, "zhang").roles == {Role.VIEWER}


@pytest.mark.parametrize("roles", [[], ["boss"], ["administrator", "auditor"], list(Role)])
def test_roles_that_do_not_exist_or_must_not_meet_are_refused(ledger: Ledger, roles: list[str]) -> None:
    with pytest.raises(NotPossible):
        users.create(ledger, ROOT, "zhang", roles)
    users.create(ledger, ROOT, "li", [Role.VIEWER])
    with pytest.raises(NotPossible):
        users.set_roles(ledger, ROOT, "li", roles)
    assert [account.name for account in ledger.accounts.listing()] == ["li"]


def test_administration_and_audit_meet_where_a_setting_says_so(ledger: Ledger) -> None:
    rules = AccountSettings(administrators_may_audit=True)
    both = users.create(ledger, ROOT, "small-office", [Role.ADMINISTRATOR, Role.AUDITOR], rules=rules)
    assert both.roles == {Role.ADMINISTRATOR, Role.AUDITOR}


@pytest.mark.parametrize("departments", [[], [""], ["a/b"], ["x" * 65], ["a\nb"]])
def test_departments_that_cannot_be_are_refused(ledger: Ledger, departments: list[str]) -> None:
    with pytest.raises(NotPossible):
        users.create(ledger, ROOT, "zhang", [Role.VIEWER], departments)


DEEDS: dict[str, Deed] = {
    "create": lambda ledger, actor, name: users.create(ledger, actor, "new", [Role.VIEWER], ["市监局"]),
    "set_roles": lambda ledger, actor, name: users.set_roles(ledger, actor, name, [Role.VIEWER], ["市监局"]),
    "set_password": lambda ledger, actor, name: users.set_password(ledger, actor, name, OTHER_PASSWORD),
    "disable": lambda ledger, actor, name: users.disable(ledger, actor, name, "why"),
    "enable": lambda ledger, actor, name: users.enable(ledger, actor, name, "why"),
    "link": lambda ledger, actor, name: users.one_time_login(ledger, actor, name),
    "listing": lambda ledger, actor, name: users.listing(ledger, actor),
    "account": lambda ledger, actor, name: users.account(ledger, actor, name),
    "log out": lambda ledger, actor, name: sessions.close_sessions(ledger, actor, name),
    "sessions": lambda ledger, actor, name: sessions.listing(ledger, actor, name),
    "tokens": lambda ledger, actor, name: tokens.listing(ledger, actor, name),
}


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("role", [role for role in Role if role is not Role.ADMINISTRATOR])
def test_only_administrators_administer(ledger: Ledger, deed: str, role: Role) -> None:
    users.create(ledger, ROOT, "target", [Role.VIEWER], ["市监局"])
    before = ledger.audit.verify().head
    with pytest.raises(NotPermitted):
        DEEDS[deed](ledger, Actor("someone", frozenset({role}), via="console"), "target")
    assert ledger.audit.verify().head == before
    DEEDS[deed](ledger, Actor("someone", frozenset({Role.ADMINISTRATOR}), via="console"), "target")


@pytest.mark.parametrize("deed", [deed for deed in DEEDS if deed not in ("create", "listing")])
def test_accounts_of_other_departments_do_not_exist_for_an_administrator(ledger: Ledger, deed: str) -> None:
    users.create(ledger, ROOT, "target", [Role.VIEWER], ["市监局", "民政局"])
    admin = Actor("admin1", frozenset({Role.ADMINISTRATOR}), frozenset({"市监局"}), "console")
    with pytest.raises(NotKnown) as theirs:
        DEEDS[deed](ledger, admin, "target")
    assert users.listing(ledger, admin) == []
    with pytest.raises(NotKnown) as nobodys:
        users.account(ledger, admin, "nobody")
    assert str(theirs.value).replace("target", "nobody") == str(nobodys.value)


@pytest.mark.parametrize("departments", [None, ["民政局"], ["市监局", "民政局"]])
def test_an_administrator_gives_away_no_more_departments_than_its_own(
    ledger: Ledger, departments: list[str] | None
) -> None:
    admin = Actor("admin1", frozenset({Role.ADMINISTRATOR}), frozenset({"市监局"}), "console")
    with pytest.raises(NotPermitted):
        users.create(ledger, admin, "new", [Role.VIEWER], departments)
    users.create(ledger, admin, "mine", [Role.VIEWER], ["市监局"])
    with pytest.raises(NotPermitted):
        users.set_roles(ledger, admin, "mine", [Role.VIEWER], departments)
    assert users.account(ledger, ROOT, "mine").departments == frozenset({"市监局"})


@pytest.mark.parametrize("name", ["nobody", "", "a b", "\ud800", "x" * 5_000, "\0"])
@pytest.mark.parametrize("deed", [deed for deed in DEEDS if deed not in ("create", "listing", "tokens")])
def test_an_account_that_is_not_there_is_not_known(ledger: Ledger, deed: str, name: str) -> None:
    with pytest.raises(NotKnown):
        DEEDS[deed](ledger, ROOT, name)
    assert ledger.audit.listing() == []


def test_nobody_changes_what_they_themselves_may(ledger: Ledger) -> None:
    admin = member(ledger, "admin1", Role.ADMINISTRATOR)
    with pytest.raises(NotPermitted, match="themselves"):
        users.set_roles(ledger, admin, "Admin1", [Role.ADMINISTRATOR, Role.OPERATOR])
    with pytest.raises(NotPermitted):
        users.disable(ledger, admin, "admin1", "why")
    users.disable(ledger, member(ledger, "admin2", Role.ADMINISTRATOR), "admin1", "why")
    with pytest.raises(NotPermitted):
        users.enable(ledger, admin, "admin1", "why")


def test_changed_roles_act_at_once_in_open_sessions_and_tokens(ledger: Ledger) -> None:
    zhang = member(ledger, "zhang", Role.OPERATOR)
    session = sessions.open_session(ledger, zhang)
    token = tokens.make_token(ledger, zhang, "nightly", roles=[Role.OPERATOR]).text
    users.set_roles(ledger, ROOT, "zhang", [Role.VIEWER], ["市监局"], why="moved")
    for actor in (sessions.actor_of_session(ledger, session), tokens.actor_of_token(ledger, token)):
        assert actor is not None
        assert not actor.may(Permission.OPERATE, "市监局")
        assert not actor.sees("民政局")
    entry = ledger.audit.listing(action="roles")[0]
    assert entry.why == "moved"
    assert entry.detail["before"] == {"roles": ["operator"], "departments": None}


def test_ones_own_password_takes_the_old_one_and_ends_every_session(ledger: Ledger) -> None:
    zhang = member(ledger, "zhang", Role.OPERATOR)
    held = [sessions.open_session(ledger, zhang) for _ in range(2)]
    link = users.one_time_login(ledger, ROOT, "zhang")
    token = tokens.make_token(ledger, zhang, "nightly", roles=[Role.OPERATOR]).text
    with pytest.raises(LoginRefused):
        users.set_password(ledger, zhang, "zhang", OTHER_PASSWORD, old="wrong", peer=HERE)
    with pytest.raises(LoginRefused):
        users.set_password(ledger, zhang, "zhang", OTHER_PASSWORD, peer=HERE)
    assert sessions.actor_of_session(ledger, held[0]) == zhang
    users.set_password(ledger, zhang, "zhang", OTHER_PASSWORD, old=PASSWORD, peer=HERE)
    assert [sessions.actor_of_session(ledger, one) for one in held] == [None, None]
    with pytest.raises(LoginRefused):
        users.log_in_by_link(ledger, link, HERE)
    assert tokens.actor_of_token(ledger, token) is not None, "programs go on"
    assert users.authenticate(ledger, "zhang", OTHER_PASSWORD, HERE) == zhang
    entry = ledger.audit.listing(action="password")[0]
    assert (entry.who, entry.subject, entry.detail) == ("zhang", "zhang", {"via": "console", "sessions": 2})


def test_the_old_password_cannot_be_guessed_in_an_open_session(ledger: Ledger) -> None:
    zhang = member(ledger, "zhang", Role.OPERATOR)
    for _ in range(AccountSettings().attempts):
        with pytest.raises(LoginRefused):
            users.set_password(ledger, zhang, "zhang", OTHER_PASSWORD, old="guess", peer=HERE)
    with pytest.raises(LoginLocked):
        users.set_password(ledger, zhang, "zhang", OTHER_PASSWORD, old=PASSWORD, peer=HERE)


def test_anothers_password_must_be_changed_before_anything_else(ledger: Ledger) -> None:
    zhang = member(ledger, "zhang", Role.OPERATOR)
    session = sessions.open_session(ledger, zhang)
    token = tokens.make_token(ledger, zhang, "nightly", roles=[Role.OPERATOR]).text
    admin = member(ledger, "admin1", Role.ADMINISTRATOR)
    users.set_password(ledger, admin, "zhang", OTHER_PASSWORD)
    assert sessions.session_of(ledger, session) is None
    assert tokens.actor_of_token(ledger, token) is None
    first = users.authenticate(ledger, "zhang", OTHER_PASSWORD, HERE)
    assert first.roles == frozenset()
    assert not any(first.may(permission) for permission in Permission)
    opened = sessions.session_of(ledger, sessions.open_session(ledger, first))
    assert opened is not None
    assert opened.must_change_password
    with pytest.raises(NotPossible):
        tokens.make_token(ledger, first, "x", roles=[Role.OPERATOR])
    with pytest.raises(NotPossible, match="old password"):
        users.set_password(ledger, first, "zhang", OTHER_PASSWORD, old=OTHER_PASSWORD, peer=HERE)
    users.set_password(ledger, first, "zhang", PASSWORD, old=OTHER_PASSWORD, peer=HERE)
    assert users.authenticate(ledger, "zhang", PASSWORD, HERE).roles == {Role.OPERATOR}


def test_an_account_made_with_a_password_must_change_it(ledger: Ledger) -> None:
    made = users.create(ledger, ROOT, "zhang", [Role.OPERATOR], password=PASSWORD)
    assert made.must_change_password
    assert users.authenticate(ledger, "zhang", PASSWORD, HERE).roles == frozenset()


def test_disabling_ends_sessions_links_and_tokens(ledger: Ledger) -> None:
    zhang = member(ledger, "zhang", Role.OPERATOR)
    session = sessions.open_session(ledger, zhang)
    token = tokens.make_token(ledger, zhang, "nightly", roles=[Role.OPERATOR]).text
    users.disable(ledger, ROOT, "zhang", "has left")
    assert sessions.session_of(ledger, session) is None
    assert tokens.actor_of_token(ledger, token) is None
    late = sessions.open_session(ledger, zhang)
    assert sessions.session_of(ledger, late) is None, "who logged in just before does not stay"
    assert users.account(ledger, ROOT, "zhang").state == "disabled"
    users.enable(ledger, ROOT, "zhang", "is back")
    assert sessions.session_of(ledger, session) is None, "what ended does not come back"
    assert tokens.actor_of_token(ledger, token) is None
    entry = ledger.audit.listing(action="account disabled")[0]
    assert (entry.why, entry.detail) == ("has left", {"via": "cli", "sessions": 1, "tokens": 1})


@pytest.mark.parametrize(
    "password",
    [
        "",
        "short",
        "elevenchars",
        "x" * 257,
        "字" * 257,
        "aaaaaaaaaaaaaaaa",
        "abababababab",
        "lanternlantern",
        "lantern-Lantern-Lan",
        "zhangsan-2026",
        "20261128ZhangSan",
        "password1234",
        "Password2026!!",
        "1234passwd5678",
        "qwertyuiop[]12",
        "changeme-2026-",
        "passwordpassword",
        "PASSWORD-password",
        "forebay2026!!!!",
        "abcdefghijklm",
        "1234567890123",
        "9876543210987",
        "woaini1314520!",
    ],
)
def test_a_password_that_is_easy_to_guess_is_refused_and_never_repeated(ledger: Ledger, password: str) -> None:
    with pytest.raises(PasswordRefused) as refused:
        passwords.check(password, "zhang.san")
    assert not password or password not in str(refused.value)
    users.create(ledger, ROOT, "zhang.san", [Role.VIEWER])
    with pytest.raises(PasswordRefused):
        users.set_password(ledger, ROOT, "zhang.san", password)
    if password:
        with pytest.raises(PasswordRefused):
            users.create(ledger, ROOT, "other", [Role.VIEWER], password=password if "hang" not in password else "x")
    assert not users.account(ledger, ROOT, "zhang.san").has_password


@pytest.mark.parametrize(
    "password",
    [
        PASSWORD,
        OTHER_PASSWORD,
        "correct horse battery staple",
        "前池让水流平稳地进入水库里",
        "zhang.san likes 4 quiet mornings",
    ],
)
def test_a_long_password_of_ones_own_is_taken(password: str) -> None:
    passwords.check(password, "zhang.san")
