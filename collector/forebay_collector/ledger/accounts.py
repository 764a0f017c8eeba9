"""Accounts: the people who may come in, what for, and how they prove it. Names are lower-case where they have case."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, update

from forebay_collector.ledger import account_tables as tables
from forebay_collector.ledger.database import Database


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """issuer, subject: who it is at an OIDC provider, empty for a local account. departments: None for all of them.

    password_hash: argon2's text, empty while there is no password. must_change: the password was somebody else's choice.
    """

    name: str
    issuer: str
    subject: str
    password_hash: str = field(repr=False)
    must_change: bool
    roles: frozenset[str]
    departments: frozenset[str] | None
    created_at: int
    created_by: str
    password_at: int
    last_login_at: int
    disabled_at: int


class Accounts:
    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> AccountRecord | None:
        with self._database.read() as connection:
            return find(connection, name)

    def listing(self) -> list[AccountRecord]:
        """By name."""
        with self._database.read() as connection:
            rows = connection.execute(select(tables.account).order_by(tables.account.c.name)).mappings()
            return [_to_record(row) for row in rows]


def find(connection: Connection, name: str) -> AccountRecord | None:
    row = connection.execute(select(tables.account).where(tables.account.c.name == name)).mappings().one_or_none()
    return None if row is None else _to_record(row)


def find_subject(connection: Connection, issuer: str, subject: str) -> AccountRecord | None:
    account = tables.account.c
    query = select(tables.account).where(account.issuer == issuer, account.subject == subject)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _to_record(row)


def add(connection: Connection, record: AccountRecord) -> None:
    """The name is free, as `find` said in this transaction."""
    values: dict[str, Any] = {name: getattr(record, name) for name in tables.account.c.keys()}  # noqa: SIM118
    connection.execute(insert(tables.account).values(**_stored(values)))


def change(connection: Connection, name: str, **values: Any) -> None:
    connection.execute(update(tables.account).where(tables.account.c.name == name).values(**_stored(values)))


def scope_text(departments: frozenset[str] | None) -> str:
    """Departments as the ledger stores them."""
    return json.dumps(None if departments is None else sorted(departments), ensure_ascii=False)


def scope_of(text: str) -> frozenset[str] | None:
    names = json.loads(text)
    return None if names is None else frozenset(names)


def roles_text(roles: frozenset[str]) -> str:
    return json.dumps(sorted(str(role) for role in roles))


def _stored(values: dict[str, Any]) -> dict[str, Any]:
    if "roles" in values:
        values["roles"] = roles_text(values["roles"])
    if "departments" in values:
        values["departments"] = scope_text(values["departments"])
    if "must_change" in values:
        values["must_change"] = int(values["must_change"])
    return values


def _to_record(row: RowMapping) -> AccountRecord:
    read = {"roles": frozenset(json.loads(row["roles"])), "departments": scope_of(row["departments"])}
    return AccountRecord(**{**row, **read, "must_change": bool(row["must_change"])})
