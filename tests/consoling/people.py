"""People at a console, by httpx: they log in, read pages, and send forms as a browser would."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from types import TracebackType
from typing import Self

import httpx

from forebay_collector.ledger import Ledger, accounts
from forebay_collector.service import passwords, sessions, users
from forebay_collector.service.actor import Actor

PASSWORD = "correct horse battery staple"
ROOT = Actor.local("root")
_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')


def account(ledger: Ledger, name: str, roles: Sequence[str], departments: Sequence[str] | None = None) -> None:
    """An account whose password is `PASSWORD`. Its hash is computed once: that takes long by intention."""
    users.create(ledger, ROOT, name, roles, departments)
    with ledger.database.write() as connection:
        accounts.change(connection, name, password_hash=_hashed())


@cache
def _hashed() -> str:
    return passwords.hashed(PASSWORD)


class Person:
    """One browser. `post` takes the form's token from the page that it was last on, unless one is given."""

    def __init__(self, base: str, language: str = "en") -> None:
        self.http = httpx.Client(base_url=base, headers={"accept-language": language}, timeout=60)
        self.page = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def get(self, path: str) -> httpx.Response:
        answer = self.http.get(path)
        if answer.headers.get("content-type", "").startswith("text/html"):
            self.page = answer.text
        return answer

    @property
    def form_token(self) -> str:
        found = _TOKEN.search(self.page)
        assert found is not None, self.page[:500]
        return found[1]

    def post(self, path: str, form: dict[str, str | list[str]], *, token: str | None = None) -> httpx.Response:
        """The answer itself: a redirection is not followed."""
        return self.http.post(path, data={"form_token": self.form_token if token is None else token} | form)

    def follow(self, answer: httpx.Response) -> httpx.Response:
        """Where a redirection leads, over more of them."""
        assert answer.status_code == 303, (answer.status_code, answer.text[:800])
        while answer.status_code == 303:
            answer = self.get(answer.headers["location"])
        return answer

    def enter(self, ledger: Ledger, name: str) -> None:
        """As after a log-in, without the work that checking a password takes."""
        token = sessions.open_session(ledger, Actor(name, frozenset()))
        self.http.cookies.set("forebay_session", token, domain="127.0.0.1", path="/")
        self.get("/account")

    def log_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        self.get("/login")
        return self.follow(self.post("/login", {"name": name, "password": password}))
