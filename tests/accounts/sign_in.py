"""Logging in at an identity provider, as a browser and the console do it together."""

from __future__ import annotations

import time

import pytest

from forebay_collector.errors import OidcRefused
from forebay_collector.ledger import Ledger
from forebay_collector.service import oidc
from forebay_collector.service.actor import Actor
from forebay_collector.service.provider import Provider
from forebay_collector.settings import AccountSettings
from tests.accounts.identity_provider import browse
from tests.accounts.people import HERE


class Seconds:
    """A clock that runs, and that a test moves on."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


def sign_in(ledger: Ledger, provider: Provider, rules: AccountSettings | None = None) -> Actor:
    begun = oidc.begin(ledger, provider)
    back = browse(begun.url)
    return come_back(ledger, provider, begun.browser, back, rules)


def come_back(
    ledger: Ledger, provider: Provider, browser: str, back: dict[str, str], rules: AccountSettings | None = None
) -> Actor:
    state, code = back["state"], back["code"]
    rules = rules or AccountSettings()
    return oidc.finish(ledger, provider, browser=browser, state=state, code=code, peer=HERE, rules=rules)


def refused(ledger: Ledger, provider: Provider) -> str:
    """Why nobody came in; nothing is left of the attempt but the audit's entry."""
    with pytest.raises(OidcRefused) as error:
        sign_in(ledger, provider)
    entry = ledger.audit.listing(limit=1)[0]
    assert (entry.action, entry.detail["method"], entry.detail["code"]) == ("log-in refused", "oidc", "FB-OIDC")
    return str(error.value)
