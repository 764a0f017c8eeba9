"""The three departments of the demo: their tables, their agents' configuration, what a writer does to their rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

Dialect = str
"""sqlite, mariadb or postgresql: what the demo's databases run on."""


def quote_mark(dialect: Dialect) -> str:
    """What stands around an identifier, so that PostgreSQL keeps its capitals."""
    return "`" if dialect == "mariadb" else '"'


@dataclass(frozen=True, slots=True)
class Department:
    """One department with one shared table.

    columns: name -> the column's type per dialect; the first is the key. entry: the table's lines in the source's file.
    masks: column -> kind. deletes: whether rows vanish physically. touched: the column that every change sets, if any.
    """

    name: str
    agent: str
    source: str
    table: str
    columns: Mapping[str, Mapping[Dialect, str]]
    entry: str
    masks: Mapping[str, str]
    deletes: bool
    touched: str | None
    rows: int

    @property
    def key(self) -> str:
        return next(iter(self.columns))

    def create(self, dialect: Dialect) -> list[str]:
        """The statements that make the table."""
        mark = quote_mark(dialect)
        lines = [f"{mark}{name}{mark} {types[dialect]}" for name, types in self.columns.items()]
        lines[0] += " PRIMARY KEY"
        suffix = " DEFAULT CHARSET=utf8mb4" if dialect == "mariadb" else ""
        statements = [f"CREATE TABLE {self.table} ({', '.join(lines)}){suffix}"]
        if self.touched:
            statements.append(f"CREATE INDEX {self.table}_{self.touched} ON {self.table} ({mark}{self.touched}{mark})")
        return statements


def _same(type_: str) -> Mapping[Dialect, str]:
    return {"sqlite": type_, "mariadb": type_, "postgresql": type_}


def _text(length: int) -> Mapping[Dialect, str]:
    return {"sqlite": "TEXT", "mariadb": f"VARCHAR({length})", "postgresql": f"VARCHAR({length})"}


_DATE: Final = {"sqlite": "TEXT", "mariadb": "DATE", "postgresql": "DATE"}
_MOMENT: Final = {"sqlite": "TEXT", "mariadb": "DATETIME(6)", "postgresql": "TIMESTAMP"}
_MONEY: Final = _same("DECIMAL(18,2)")
_NUMBER: Final = {"sqlite": "INTEGER", "mariadb": "BIGINT", "postgresql": "BIGINT"}

ENTERPRISES: Final = Department(
    name="市监局",
    agent="scjg-01",
    source="djk",
    table="enterprise",
    columns={
        "id": _NUMBER,
        "uscc": _text(18),
        "name": _text(120),
        "legal_person": _text(60),
        "capital": _MONEY,
        "established": _DATE,
        "status": _text(10),
        "address": _text(200),
        "updated_at": _MOMENT,
    },
    entry='mode = "cursor"\ncursor = "updated_at"\noverlap = "2s"',
    masks={"legal_person": "name"},
    deletes=False,
    touched="updated_at",
    rows=3_000,
)

LOW_INCOME: Final = Department(
    name="民政局",
    agent="mzj-01",
    source="dbk",
    table="low_income",
    columns={
        "card_no": _text(20),
        "name": _text(60),
        "citizen_id": _text(18),
        "mobile": _text(11),
        "household_size": _NUMBER,
        "monthly_amount": _MONEY,
        "town": _text(60),
    },
    entry='mode = "trigger"\ninstall = true',
    masks={"name": "name", "citizen_id": "citizen_id", "mobile": "mobile"},
    deletes=True,
    touched=None,
    rows=2_000,
)

PERMITS: Final = Department(
    name="行政审批局",
    agent="xzsp-01",
    source="sgs",
    table="permit",
    columns={
        "XK_WSH": _text(40),
        "XK_XMMC": _text(120),
        "XK_SPLB": _text(10),
        "XK_XDR": _text(120),
        "XK_XDR_SHXYM": _text(18),
        "XK_FR": _text(60),
        "XK_JDRQ": _DATE,
        "XK_XZJG": _text(60),
        "XK_ZT": _text(2),
        "SJC": _DATE,
    },
    entry='mode = "cursor"\ncursor = "SJC"',
    masks={"XK_FR": "name"},
    deletes=False,
    touched="SJC",
    rows=2_000,
)

DEPARTMENTS: Final = (ENTERPRISES, LOW_INCOME, PERMITS)
