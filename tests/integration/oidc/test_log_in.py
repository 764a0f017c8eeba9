"""Only the browser that began comes in, as the account of the provider's subject, with what its groups give."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from forebay_collector.errors import LoginRefused, NotPossible, OidcRefused
from forebay_collector.ledger import Ledger, oidc_requests
from forebay_collector.service import oidc, sessions, users
from forebay_collector.service.actor import Actor, Role
from forebay_collector.service.provider import Provider
from forebay_collector.settings import AccountSettings, OidcSettings
from tests.accounts.identity_provider import CLIENT, SECRET, IdentityProvider, browse
from tests.accounts.people import HERE, PASSWORD, ROOT, Time, member, quick_passwords
from tests.accounts.sign_in import come_back, refused, sign_in


def test_someone_with_a_group_comes_in_with_its_role(ledger: Ledger, provider: Provider, idp: IdentityProvider) -> None:
    actor = sign_in(ledger, provider)
    assert actor == Actor("zhang", frozenset({Role.OPERATOR}), None, "console")
    account = users.account(ledger, ROOT, "zhang")
    assert (account.kind, account.issuer, account.has_password) == ("oidc", idp.issuer, False)
    actions = [(entry.action, entry.who) for entry in reversed(ledger.audit.listing())]
    assert actions == [("account", "identity provider"), ("log-in", "zhang")]
    assert ledger.audit.listing(limit=1)[0].detail["method"] == "oidc"
    assert sessions.actor_of_session(ledger, sessions.open_session(ledger, actor)) == actor
    assert sign_in(ledger, provider) == actor
    assert len(ledger.accounts.listing()) == 1


def test_a_browser_is_sent_with_a_state_a_nonce_and_a_challenge_of_its_own(ledger: Ledger, provider: Provider) -> None:
    asked = []
    for _ in range(2):
        begun = oidc.begin(ledger, provider)
        query = {name: values[0] for name, values in parse_qs(urlsplit(begun.url).query).items()}
        assert query["redirect_uri"] == "https://console.example/login/oidc/back"
        assert (query["response_type"], query["code_challenge_method"]) == ("code", "S256")
        assert (query["scope"], query["client_id"]) == ("openid profile", CLIENT)
        assert begun.browser not in begun.url
        assert begun.browser not in repr(begun)
        asked.append(query)
    for name in ("state", "nonce", "code_challenge"):
        assert asked[0][name] != asked[1][name]
        assert len(asked[0][name]) == 43


def test_a_state_belongs_to_its_browser_and_is_good_once_and_soon(
    ledger: Ledger, provider: Provider, moment: Time
) -> None:
    mine, theirs = oidc.begin(ledger, provider), oidc.begin(ledger, provider)
    back = browse(mine.url)
    for browser in (theirs.browser, "", "\ud800", mine.browser + "x"):
        with pytest.raises(OidcRefused, match="did not begin"):
            come_back(ledger, provider, browser, back)
    for state in ("", "\ud800", "x" * 100_000):
        with pytest.raises(OidcRefused, match="did not begin"):
            oidc.finish(ledger, provider, browser=mine.browser, peer=HERE, state=state, code="x")
    assert come_back(ledger, provider, mine.browser, back).name == "zhang"
    with pytest.raises(OidcRefused, match="did not begin"):
        come_back(ledger, provider, mine.browser, back)
    late = browse(theirs.url)
    moment.now += oidc.WITHIN_US
    with pytest.raises(OidcRefused, match="took too long"):
        come_back(ledger, provider, theirs.browser, late)


def test_a_stolen_code_is_worth_nothing_in_another_log_in(ledger: Ledger, provider: Provider) -> None:
    victim, thief = oidc.begin(ledger, provider), oidc.begin(ledger, provider)
    stolen, own = browse(victim.url), browse(thief.url)
    with pytest.raises(OidcRefused, match="400"):
        oidc.finish(ledger, provider, browser=thief.browser, peer=HERE, state=own["state"], code=stolen["code"])


def test_who_cancels_at_the_provider_is_refused(ledger: Ledger, provider: Provider) -> None:
    begun = oidc.begin(ledger, provider)
    with pytest.raises(OidcRefused, match="let nobody in"):
        oidc.finish(ledger, provider, browser=begun.browser, peer=HERE, state=browse(begun.url)["state"], code="")


@pytest.mark.parametrize(
    ("groups", "roles"),
    [
        (["ops"], {Role.OPERATOR}),
        ("ops", {Role.OPERATOR}),
        (["x", "CN=安全,OU=审计", "ops"], {Role.OPERATOR, Role.AUDITOR}),
        (["x"], None),
        ([], None),
        (None, None),
        ([5, {"a": 1}, ["ops"]], None),
        ({"ops": True}, None),
        ("operator", None),
        (["CN=安全,OU=审计", "admins"], None),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)
def test_groups_give_roles_and_who_has_none_or_too_many_stays_outside(
    ledger: Ledger, provider: Provider, idp: IdentityProvider, groups: object, roles: set[Role] | None
) -> None:
    idp.user["groups"] = groups
    if roles is None:
        refused(ledger, provider)
        assert ledger.accounts.listing() == []
    else:
        assert sign_in(ledger, provider).roles == roles


def test_administration_and_audit_meet_where_a_setting_says_so(
    ledger: Ledger, provider: Provider, idp: IdentityProvider
) -> None:
    idp.user["groups"] = ["CN=安全,OU=审计", "admins"]
    both = sign_in(ledger, provider, AccountSettings(administrators_may_audit=True))
    assert both.roles == {Role.ADMINISTRATOR, Role.AUDITOR}


@pytest.mark.parametrize(
    ("groups", "departments"),
    [
        (["ops", "d1"], {"市监局"}),
        (["ops", "d1", "d2"], {"市监局", "民政局"}),
        (["ops", "city"], None),
        (["ops"], "refused"),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)
def test_groups_give_departments(
    ledger: Ledger,
    settings: OidcSettings,
    idp: IdentityProvider,
    tmp_path: Path,
    groups: list[str],
    departments: set[str] | str | None,
) -> None:
    pairs = (("d1", "市监局"), ("d2", "民政局"), ("city", "*"))
    provider = Provider(replace(settings, departments=pairs), tmp_path)
    idp.user["groups"] = groups
    if departments == "refused":
        assert "department" in refused(ledger, provider)
    else:
        assert sign_in(ledger, provider).departments == (None if departments is None else frozenset(departments))
    provider.close()


def test_roles_follow_the_groups_at_the_next_log_in(ledger: Ledger, provider: Provider, idp: IdentityProvider) -> None:
    session = sessions.open_session(ledger, sign_in(ledger, provider))
    idp.user["groups"] = ["admins"]
    assert sign_in(ledger, provider).roles == {Role.ADMINISTRATOR}
    actor = sessions.actor_of_session(ledger, session)
    assert actor is not None
    assert actor.roles == {Role.ADMINISTRATOR}, "in open sessions too"
    entry = ledger.audit.listing(action="roles")[0]
    assert (entry.who, entry.subject, entry.detail["before"]["roles"]) == ("identity provider", "zhang", ["operator"])
    with pytest.raises(NotPossible):
        users.set_roles(ledger, ROOT, "zhang", [Role.AUDITOR])
    with pytest.raises(NotPossible):
        users.set_password(ledger, ROOT, "zhang", PASSWORD)


def test_an_account_is_the_subject_not_the_name(
    ledger: Ledger, provider: Provider, idp: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick_passwords(monkeypatch)
    member(ledger, "li", Role.ADMINISTRATOR)
    sign_in(ledger, provider)
    idp.user |= {"sub": "somebody else"}
    assert "another account zhang" in refused(ledger, provider)
    idp.user |= {"preferred_username": "LI"}
    assert "another account li" in refused(ledger, provider)
    idp.user |= {"sub": "248289761001", "preferred_username": "zhang.married"}
    assert sign_in(ledger, provider).name == "zhang", "the same person under a new name"


@pytest.mark.parametrize("name", [None, "", "a b", 5, ["zhang"], "x" * 65, "<b>", "a/b"])
def test_a_name_that_cannot_be_one_is_refused(
    ledger: Ledger, provider: Provider, idp: IdentityProvider, name: object
) -> None:
    idp.user["preferred_username"] = name
    assert "holds no name" in refused(ledger, provider)


def test_a_disabled_account_stays_outside(ledger: Ledger, provider: Provider) -> None:
    sign_in(ledger, provider)
    users.disable(ledger, ROOT, "zhang", "left")
    with pytest.raises(LoginRefused):
        sign_in(ledger, provider)
    assert users.account(ledger, ROOT, "zhang").state == "disabled"


def test_log_ins_under_way_are_bounded(ledger: Ledger, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc_requests, "MOST", 10)
    for _ in range(25):
        last = oidc.begin(ledger, provider)
    with ledger.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM oidc_request").scalar_one() <= 10
    assert come_back(ledger, provider, last.browser, browse(last.url)).name == "zhang"


def test_no_code_token_or_secret_is_stored_or_told(
    ledger: Ledger, provider: Provider, idp: IdentityProvider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told, secrets = [], [SECRET]
    caplog.set_level(logging.DEBUG)
    for lie in ({}, {"nonce": "wrong"}, {"aud": "evil"}):
        begun = oidc.begin(ledger, provider)
        back = browse(begun.url)
        query = {name: values[0] for name, values in parse_qs(urlsplit(begun.url).query).items()}
        secrets += [begun.browser, back["code"], back["state"], query["nonce"]]
        idp.tell_claims = lambda claims, lie=lie: claims | lie  # type: ignore[misc]
        caplog.clear()  # what the browser logged is its own
        try:
            come_back(ledger, provider, begun.browser, back)
        except OidcRefused as error:
            told.append(repr(error) + str(error.__cause__))
        told.append(caplog.text)
    assert len(told) == 5
    assert "/realm/token" in told[0], "what was searched is the client's log"
    everything = "".join(told) + repr(ledger.audit.listing()) + repr(ledger.accounts.listing())
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("ledger.db*"))
    assert b"identity provider" in stored
    for secret in secrets:
        assert secret not in everything
        assert secret.encode() not in stored
