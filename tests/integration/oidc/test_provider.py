"""Whatever the provider does, it is asked rightly, and its answers are an answer or a refusal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from forebay_collector.errors import ConfigurationError, OidcRefused, OidcUnreachable
from forebay_collector.ledger import Ledger
from forebay_collector.service import oidc
from forebay_collector.service.actor import Actor, Role
from forebay_collector.service.provider import Provider
from forebay_collector.settings import OidcSettings
from tests.accounts.identity_provider import IdentityProvider, Json, identity_provider
from tests.accounts.sign_in import refused, sign_in


@pytest.mark.parametrize("client", ["basic", "post", "public"])
def test_a_client_shows_who_it_is_as_the_provider_asks(
    ledger: Ledger, provider: Provider, settings: OidcSettings, idp: IdentityProvider, tmp_path: Path, client: str
) -> None:
    if client == "post":
        idp.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    if client == "public":
        idp.secret = ""
        provider = Provider(replace(settings, secret=""), tmp_path)
    assert sign_in(ledger, provider).name == "zhang"
    idp.secret = "changed"
    with pytest.raises(OidcRefused, match="401"):
        sign_in(ledger, provider)
    if client != "public":
        (tmp_path / "oidc.secret").write_text("changed")
        assert sign_in(ledger, provider).name == "zhang", "the secret is read anew"


def test_groups_may_come_with_the_user_information_of_the_same_person_only(
    ledger: Ledger, provider: Provider, idp: IdentityProvider
) -> None:
    del idp.user["groups"]
    idp.user_info = {"sub": "248289761001", "groups": ["ops"], "preferred_username": "mallory"}
    assert sign_in(ledger, provider) == Actor("zhang", frozenset({Role.OPERATOR}), None, "console")
    idp.user_info["sub"] = "somebody else"
    assert "somebody else" in refused(ledger, provider)


@pytest.mark.parametrize(
    ("path", "answer", "unreachable"),
    [
        ("/token", (500, b""), True),
        ("/token", (503, b"{}"), True),
        ("/token", (200, b"not JSON"), False),
        ("/token", (200, b"[]"), False),
        ("/token", (200, b"{}"), False),
        ("/token", (200, b'"' + b"x" * (2 << 20) + b'"'), False),
        ("/token", (302, b""), False),
        ("/keys", (404, b""), False),
        ("/keys", (200, b'{"keys": 5}'), False),
        ("/keys", (200, b'{"keys": []}'), False),
    ],
)
def test_whatever_a_provider_answers_is_an_answer_not_a_crash(
    ledger: Ledger, provider: Provider, idp: IdentityProvider, path: str, answer: tuple[int, bytes], unreachable: bool
) -> None:
    idp.tell[path] = answer
    with pytest.raises(OidcUnreachable if unreachable else OidcRefused):
        sign_in(ledger, provider)
    idp.tell.clear()
    assert sign_in(ledger, provider).name == "zhang"


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": "http://evil.example/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": None},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"jwks_uri": "https://[::1"},
    ],
    ids=str,
)
def test_a_provider_that_names_itself_or_its_places_wrongly_is_refused(
    ledger: Ledger, provider: Provider, idp: IdentityProvider, metadata: Json
) -> None:
    idp.metadata = metadata
    with pytest.raises(OidcRefused):
        oidc.begin(ledger, provider)


def test_a_provider_that_is_not_there_is_unreachable(ledger: Ledger, settings: OidcSettings, tmp_path: Path) -> None:
    with identity_provider() as gone:
        pass
    provider = Provider(replace(settings, issuer=gone.issuer), tmp_path)
    with pytest.raises(OidcUnreachable):
        oidc.begin(ledger, provider)
    provider.close()


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"issuer": ""}, "console.oidc.issuer"),
        ({"client": ""}, "console.oidc.client"),
        ({"address": ""}, "console.oidc.address"),
        ({"roles": ()}, "console.oidc.roles"),
        ({"scopes": ("profile",)}, "console.oidc.scopes"),
        ({"authorities": "missing.pem"}, "console.oidc.authorities"),
    ],
)
def test_what_makes_no_client_is_refused_at_the_start(
    settings: OidcSettings, tmp_path: Path, change: dict[str, Any], key: str
) -> None:
    with pytest.raises(ConfigurationError) as error:
        Provider(replace(settings, **change), tmp_path)
    assert error.value.key == key


def test_a_missing_secret_is_named_by_its_file(ledger: Ledger, provider: Provider, tmp_path: Path) -> None:
    (tmp_path / "oidc.secret").unlink()
    with pytest.raises(ConfigurationError, match=r"oidc\.secret"):
        sign_in(ledger, provider)
