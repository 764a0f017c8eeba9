"""A program that uses the API over HTTP, with a token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from forebay_collector.api.problems import MEDIA, ROOT
from forebay_collector.ledger import Ledger
from forebay_collector.service import tokens, users
from forebay_collector.service.actor import Actor
from forebay_collector.settings import AccountSettings
from forebay_wire.stream import StreamName

CLI = Actor.local("root")
BOTH = AccountSettings(administrators_may_audit=True)


def token_of(
    ledger: Ledger,
    name: str,
    roles: Sequence[str],
    departments: Iterable[str] | None = None,
    life: timedelta = timedelta(days=1),
) -> str:
    """A token of an account that has been made for it."""
    users.create(ledger, CLI, name, roles, departments, rules=BOTH)
    return tokens.make_token(ledger, CLI, f"token of {name}", roles=roles, life=life, account=name).text


def at(stream: StreamName) -> str:
    """A stream's place in an address."""
    return "/".join(quote(part, safe="") for part in (stream.department, stream.source, stream.table))


class Program:
    """Paths are those of the API. With an empty token it sends none."""

    def __init__(self, base: str, token: str = "", **more: Any) -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.Client(base_url=base + ROOT, headers=headers, timeout=60, **more)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def get(self, path: str, **query: str | int) -> Any:
        """What a path answers, which must be fine."""
        return self._fine(self.http.get(path, params=query))

    def post(self, path: str, body: object = None) -> Any:
        """What a deed answers, which must be done."""
        return self._fine(self.http.post(path, json=body) if body is not None else self.http.post(path))

    def refused(self, status: int, code: str, path: str, body: object = None, **query: str) -> dict[str, Any]:
        """The problem that a path answers, or a deed where there is a body."""
        answer = self.http.get(path, params=query) if body is None else self.http.post(path, json=body)
        return refusal(answer, status, code)

    @staticmethod
    def _fine(answer: httpx.Response) -> Any:
        assert answer.is_success, (answer.request.url, answer.status_code, answer.text[:2_000])
        return answer.json() if answer.content else None


def refusal(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem in an answer, which must be this one."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, MEDIA), answer.text[:2_000]
    problem: dict[str, Any] = answer.json()
    assert (problem["code"], problem["status"]) == (code, status), problem
    assert problem["title"], problem
    assert problem["remedy"], problem
    return problem
