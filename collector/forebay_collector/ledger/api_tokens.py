"""API tokens: what programs come in with, for an account. Only SHA-256 is kept of a token."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, insert, select, update

from forebay_collector.ledger import account_tables as tables
from forebay_collector.ledger.accounts import roles_text, scope_of, scope_text
from forebay_collector.ledger.database import Database

USED_EVERY: Final = 60_000_000
"""That a token was used is written down at most once in so many microseconds."""


@dataclass(frozen=True, slots=True)
class ApiTokenRecord:
    """What it may at most; its account's own roles and departments narrow that. departments: None for all."""

    id: int
    account: str
    label: str
    roles: frozenset[str]
    departments: frozenset[str] | None
    created_at: int
    created_by: str
    expires_at: int
    last_used_at: int
    revoked_at: int


class ApiTokens:
    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, secret_sha256: bytes) -> ApiTokenRecord | None:
        """The token, when it may be used now; it counts as used."""
        at = self._database.clock()
        token = tables.api_token.c
        query = select(*_COLUMNS).where(token.secret_sha256 == secret_sha256, token.revoked_at == 0)
        with self._database.read() as connection:
            row = connection.execute(query.where(token.expires_at > at)).mappings().one_or_none()
        if row is None:
            return None
        if at - row["last_used_at"] >= USED_EVERY:
            with self._database.write() as connection:
                mine = token.id == row["id"]
                connection.execute(
                    update(tables.api_token).where(mine, token.last_used_at < at).values(last_used_at=at)
                )
        return _to_record(row)

    def by_secret(self, secret_sha256: bytes) -> ApiTokenRecord | None:
        """The token, also when it may not be used any more."""
        query = select(*_COLUMNS).where(tables.api_token.c.secret_sha256 == secret_sha256)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _to_record(row)

    def listing(self, account: str = "") -> list[ApiTokenRecord]:
        """Newest first; revoked and expired ones too."""
        query = select(*_COLUMNS).order_by(tables.api_token.c.id.desc())
        if account:
            query = query.where(tables.api_token.c.account == account)
        with self._database.read() as connection:
            return [_to_record(row) for row in connection.execute(query).mappings()]

    def get(self, number: int) -> ApiTokenRecord | None:
        if not 0 < number < 1 << 63:
            return None
        query = select(*_COLUMNS).where(tables.api_token.c.id == number)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _to_record(row)


def add(
    connection: Connection,
    secret_sha256: bytes,
    *,
    account: str,
    label: str,
    roles: frozenset[str],
    departments: frozenset[str] | None,
    at: int,
    who: str,
    expires_at: int,
) -> int:
    """-> its id."""
    values: dict[str, Any] = {"account": account, "label": label, "roles": roles_text(roles)}
    values |= {"departments": scope_text(departments), "created_at": at, "created_by": who, "expires_at": expires_at}
    new = insert(tables.api_token).values(secret_sha256=secret_sha256, **values, last_used_at=0, revoked_at=0)
    number: int = connection.execute(new.returning(tables.api_token.c.id)).scalar_one()
    return number


def revoke(connection: Connection, at: int, *, number: int | None = None, account: str | None = None) -> int:
    """Revokes one token, or all of an account; -> how many."""
    token = tables.api_token.c
    chosen = update(tables.api_token).where(token.revoked_at == 0)
    if number is not None:
        chosen = chosen.where(token.id == number)
    if account is not None:
        chosen = chosen.where(token.account == account)
    return connection.execute(chosen.values(revoked_at=at)).rowcount


_COLUMNS: Final = tuple(column for column in tables.api_token.c if column.name != "secret_sha256")


def _to_record(row: RowMapping) -> ApiTokenRecord:
    read = {"roles": frozenset(json.loads(row["roles"])), "departments": scope_of(row["departments"])}
    return ApiTokenRecord(**{**row, **read})
