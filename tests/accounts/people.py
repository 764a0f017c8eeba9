"""People for tests: a ledger with accounts, and passwords that are quick to compute."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

import pytest
from argon2 import PasswordHasher

from forebay_collector.ledger import Ledger
from forebay_collector.service import passwords, users
from forebay_collector.service.actor import Actor, Role

PASSWORD: Final = "kite-orange-lamp-38"
OTHER_PASSWORD: Final = "汽车 窗户 lantern 七十九号"
HERE: Final = "10.20.30.40"
ROOT: Final = Actor.local("root")
MINUTE_US: Final = 60_000_000


class Time:
    """A clock that a test moves; every look at it takes a microsecond."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000

    def __call__(self) -> int:
        self.now += 1
        return self.now

    def passes(self, span: timedelta) -> None:
        self.now += span // timedelta(microseconds=1)


def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """argon2id with the least work: what these tests promise does not hang on how long it takes."""
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    nobodys = hasher.hash("nobody's")
    monkeypatch.setattr(passwords, "_hasher", hasher)
    monkeypatch.setattr(passwords, "_nobodys", lambda: nobodys)


def member(
    ledger: Ledger, name: str, *roles: Role, departments: Iterable[str] | None = None, password: str = PASSWORD
) -> Actor:
    """Someone with an account and a password of their own, logged in."""
    users.create(ledger, ROOT, name, roles, departments)
    link = users.one_time_login(ledger, ROOT, name)
    actor = users.log_in_by_link(ledger, link, HERE)
    users.set_password(ledger, actor, name, password, peer=HERE)
    return users.authenticate(ledger, name, password, HERE)
