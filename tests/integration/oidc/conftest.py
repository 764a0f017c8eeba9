"""A provider, a client of it, and a ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from forebay_collector.ledger import Ledger
from forebay_collector.service.provider import Provider
from forebay_collector.settings import OidcSettings
from tests.accounts.identity_provider import CLIENT, SECRET, IdentityProvider, identity_provider
from tests.accounts.people import Time
from tests.accounts.sign_in import Seconds

ROLES = (("ops", "operator"), ("CN=安全,OU=审计", "auditor"), ("admins", "administrator"))


@pytest.fixture
def idp() -> Iterator[IdentityProvider]:
    with identity_provider() as running:
        yield running


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
def settings(idp: IdentityProvider, tmp_path: Path) -> OidcSettings:
    (tmp_path / "oidc.secret").write_text(SECRET + "\n")
    return OidcSettings(idp.issuer, CLIENT, "oidc.secret", "https://console.example/", roles=ROLES)


@pytest.fixture
def provider(settings: OidcSettings, tmp_path: Path, clock: Seconds) -> Iterator[Provider]:
    opened = Provider(settings, tmp_path, clock)
    yield opened
    opened.close()


@pytest.fixture
def moment() -> Time:
    return Time()


@pytest.fixture
def ledger(tmp_path: Path, moment: Time) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path / "ledger.db", moment)
    yield opened
    opened.close()
