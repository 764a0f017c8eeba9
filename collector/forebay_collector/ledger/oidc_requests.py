"""Log-ins at an identity provider that have begun: which browser went there with which state. Only SHA-256 is kept."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, delete, func, insert, select

from forebay_collector.ledger import account_tables as tables

MOST: Final = 10_000
"""That are under way at most; beyond them the oldest go."""


def add(connection: Connection, state_sha256: bytes, browser_sha256: bytes, at: int, expires_at: int) -> None:
    request = tables.oidc_request.c
    connection.execute(delete(tables.oidc_request).where(request.expires_at <= at))
    if connection.execute(select(func.count()).select_from(tables.oidc_request)).scalar_one() >= MOST:
        oldest = select(request.state_sha256).order_by(request.created_at).limit(MOST // 10)
        connection.execute(delete(tables.oidc_request).where(request.state_sha256.in_(oldest)))
    values = {"browser_sha256": browser_sha256, "created_at": at, "expires_at": expires_at}
    connection.execute(insert(tables.oidc_request).values(state_sha256=state_sha256, **values))


def take(connection: Connection, state_sha256: bytes, browser_sha256: bytes, at: int) -> bool:
    """Whether this browser began with this state not too long ago; it cannot come back with it a second time."""
    request = tables.oidc_request.c
    mine = (request.state_sha256 == state_sha256, request.browser_sha256 == browser_sha256, request.expires_at > at)
    return connection.execute(delete(tables.oidc_request).where(*mine)).rowcount == 1
