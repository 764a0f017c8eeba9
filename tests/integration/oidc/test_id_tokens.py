"""Nothing but a right ID token is believed."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from typing import Any

import pytest

from forebay_collector.ledger import Ledger
from forebay_collector.service.provider import Provider
from tests.accounts.identity_provider import CLIENT, IdentityProvider, Json, Key, b64
from tests.accounts.sign_in import Seconds, refused, sign_in


def without(name: str) -> Any:
    return lambda claims: {key: value for key, value in claims.items() if key != name}


@dataclass(frozen=True)
class Later:
    """A time, told when the test runs."""

    seconds: int


@pytest.mark.parametrize(
    "lie",
    [
        {"nonce": "of another log-in"},
        {"nonce": ""},
        {"aud": "another-client"},
        {"aud": [CLIENT, "another"], "azp": "another"},
        {"aud": [CLIENT, "another"]},
        {"aud": []},
        {"azp": "another"},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"exp": Later(-120)},
        {"exp": "soon"},
        {"iat": Later(86_400)},
        {"nbf": Later(86_400)},
        {"sub": ""},
        {"sub": 5},
        {"at_hash": "of another token"},
        *({name: "(missing)"} for name in ("iss", "aud", "exp", "iat", "nonce", "sub")),
    ],
    ids=str,
)
def test_an_id_token_with_a_wrong_claim_is_not_believed(
    ledger: Ledger, provider: Provider, idp: IdentityProvider, lie: Json
) -> None:
    missing = [name for name, value in lie.items() if value == "(missing)"]
    told = {
        name: int(time.time()) + value.seconds if isinstance(value, Later) else value for name, value in lie.items()
    }
    idp.tell_claims = without(missing[0]) if missing else (lambda claims: claims | told)
    refused(ledger, provider)
    assert ledger.accounts.listing() == []


def part(of_token: Json) -> str:
    return b64(json.dumps(of_token).encode())


def hs256(idp: IdentityProvider, claims: Json) -> str:
    """Signed with the public key as if it were a shared secret."""
    content = f"{part({'alg': 'HS256', 'kid': 'k1'})}.{part(claims)}"
    public = json.dumps(idp.key.public()).encode()
    return f"{content}.{b64(hmac.new(public, content.encode(), hashlib.sha256).digest())}"


FORGERIES: dict[str, Any] = {
    "another key under the same id": lambda idp, claims: Key("k1", "forged").signed(claims),
    "another key of an unknown id": lambda idp, claims: Key("k9").signed(claims),
    "no algorithm": lambda idp, claims: f"{part({'alg': 'none'})}.{part(claims)}.",
    "a shared secret": hs256,
    "another algorithm": lambda idp, claims: idp.key.signed(claims, {"alg": "RS512"}),
    "a key in its header": lambda idp, claims: (lambda key: key.signed(claims, {"jwk": key.public()}))(
        Key("k1", "forged")
    ),
    "a changed claim": lambda idp, claims: (
        lambda parts: f"{parts[0]}.{part(claims | {'groups': ['admins']})}.{parts[2]}"
    )(idp.key.signed(claims).split(".")),
    "half a token": lambda idp, claims: idp.key.signed(claims)[:-20],
    "no token": lambda idp, claims: "",
    "no text": lambda idp, claims: 5,
    "no claims": lambda idp, claims: idp.key.signed(["x"]),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_id_token_is_not_believed(
    ledger: Ledger, provider: Provider, idp: IdentityProvider, forgery: str
) -> None:
    idp.tell_token = lambda claims: FORGERIES[forgery](idp, claims)
    refused(ledger, provider)
    assert ledger.accounts.listing() == []


def test_a_new_key_of_the_provider_is_fetched_and_an_unknown_one_asked_for_no_more_than_that(
    ledger: Ledger, provider: Provider, idp: IdentityProvider, clock: Seconds
) -> None:
    sign_in(ledger, provider)
    idp.key = Key("k2")
    idp.published.append(idp.key.public())
    clock.ahead += 31
    assert sign_in(ledger, provider).name == "zhang"
    assert idp.asked.count("/keys") == 2
    idp.tell_token = lambda claims: Key("k3").signed(claims)
    for _ in range(5):
        refused(ledger, provider)
    assert idp.asked.count("/keys") == 2, "unknown keys do not make the console ask again and again"
    assert idp.asked.count("/.well-known/openid-configuration") == 1


def test_keys_of_other_kinds_beside_the_right_one_do_not_matter(
    ledger: Ledger, provider: Provider, idp: IdentityProvider
) -> None:
    strange: list[Any] = [
        {"kty": "oct", "kid": "s", "k": "c2VjcmV0"},
        {"kty": "??"},
        "x",
        {"kty": "RSA", "kid": "b", "n": "!"},
    ]
    idp.published = [*strange, {**Key("e").public(), "use": "enc"}, *idp.published]
    assert sign_in(ledger, provider).name == "zhang"
