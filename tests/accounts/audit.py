"""Altering an audit as somebody would who can write the ledger's file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Connection, text

from forebay_collector.ledger import Ledger, chain, tables
from forebay_collector.ledger.verdict import AuditVerdict, judge

ENTRIES: Final = 7
COLUMNS: Final = tuple(column.name for column in tables.audit.columns)
Alteration = Callable[[Connection], object]


class Clock:
    """Microseconds; a millisecond passes with every look at it."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000

    def __call__(self) -> int:
        self.now += 1_000
        return self.now


def fill(ledger: Ledger, count: int = ENTRIES) -> None:
    for number in range(count):
        ledger.audit.add("张三", "replay", f"市监局/企业库/main.t{number} 1/{number}", "改正", {"rows": number})


def dump(connection: Connection) -> list[Any]:
    """The audit as it is stored, types and all."""
    types = ", ".join(f"typeof({name}), CAST({name} AS BLOB)" for name in COLUMNS)
    entries = connection.execute(text(f"SELECT {types} FROM audit ORDER BY id")).all()
    return [*entries, *connection.execute(text("SELECT * FROM audit_head")).all()]


def altered(ledger: Ledger, alter: Alteration, noted: tuple[int, bytes] | None = None) -> AuditVerdict:
    """The verdict over an altered audit, which is then as it was."""
    with ledger.database.write() as connection:
        before = dump(connection)
        alter(connection)
        verdict = judge(connection, noted)
        changed = dump(connection) != before
        connection.rollback()
    assert changed, "nothing was altered"
    assert ledger.audit.verify().ok
    return verdict


def run(sql: str, **values: object) -> Alteration:
    return lambda connection: connection.execute(text(sql), values)


def put(number: int, column: str, value: object) -> Alteration:
    return run(f"UPDATE audit SET {column} = :value WHERE id = :number", value=value, number=number)


def rewrite(number: int, **values: object) -> Alteration:
    """Alters an entry and computes its digest anew, as somebody would who knows how."""

    def do(connection: Connection) -> None:
        row = connection.execute(text("SELECT * FROM audit WHERE id = :id"), {"id": number}).mappings().one()
        entry = {**row, **values}
        changed = {**values, "digest": chain.digest_of(entry, entry["previous"])}
        connection.execute(tables.audit.update().where(tables.audit.c.id == number).values(**changed))

    return do


def rechain(connection: Connection) -> None:
    """Computes the whole chain anew, head and all."""
    connection.execute(text("DELETE FROM audit_head"))
    chain.found(connection)
