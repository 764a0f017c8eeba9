"""SQLite's storage classes under every kind of declared type, through a sealed batch and out again.

SQLite itself is the oracle: it says a value's class and bytes (`typeof`, `hex`), and confirms a number by finding it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pytest

from forebay_agent.capture.source import RowRange, Severity, TableName
from forebay_agent.errors import ValueUnrepresentable
from forebay_collector.platform.contract import Platform
from tests.contract.sources.sqlite import SQLiteHarness
from tests.fidelity.digesting import assert_one_digest
from tests.fidelity.sealing import through_sealed_batches

BY_ID: Final = RowRange(("id",))
TABLE: Final = TableName("", "t")
ALL_BYTES: Final = bytes(range(256))
RARE: Final = "𠮷㐀𬱖😀e\u0301中"
INTEGERS: Final = (0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1)
REALS: Final = (0.1, 0.1 + 0.2, -1.5, 1e308, 5e-324, 1e22, 123456789.12345679, float("inf"), float("-inf"), 1 / 3)
TEXTS: Final = ("", "a", RARE, "NUL\0inside", " spaces ", "O'Hara", 'quote"', "x" * 100_000)
DATES: Final = (
    "2026-01-31",
    "2026-01-31 23:59:59.123456",
    "2026-01-31T23:59:59Z",
    "0000-00-00",
    "9999-12-31",
    "昨天",
    "",
)


@dataclass(frozen=True, slots=True)
class Case:
    """Values of one declared type, and what it must be carried as."""

    declared: str
    arrow: pa.DataType
    carried: str
    values: tuple[Any, ...]


CASES: Final = (
    *(
        Case(name, pa.int64(), "exact", INTEGERS)
        for name in ("INTEGER", "INT", "BIGINT", "TINYINT(1)", "UNSIGNED BIG INT")
    ),
    *(Case(name, pa.float64(), "exact", REALS) for name in ("REAL", "DOUBLE PRECISION", "FLOAT")),
    *(Case(name, pa.string(), "exact", TEXTS) for name in ("TEXT", "VARCHAR(20)", "NCHAR(5)", "CLOB")),
    Case("BLOB", pa.binary(), "exact", (b"", ALL_BYTES, b"\xff\xfe", RARE.encode())),
    Case("DECIMAL(18,4)", pa.string(), "text", (*INTEGERS, *REALS, "12,50", "1e999x")),
    Case("NUMERIC", pa.string(), "text", (*INTEGERS, *REALS, *TEXTS)),
    Case("BOOLEAN", pa.string(), "text", (0, 1, "true", "否")),
    Case("DATE", pa.string(), "text", DATES),
    Case("DATETIME", pa.string(), "text", (*DATES, 1767139200, 2461072.5)),
    Case("JSON", pa.string(), "text", ('{"a": [1, 2.50, null], "𠮷": true}', "[1e5]")),
    Case("UUID", pa.string(), "text", ("6ba7b810-9dad-11d1-80b4-00c04fd430c8",)),
    Case("", pa.string(), "text", (*INTEGERS, *REALS, *TEXTS)),
)
AS_TEXT: Final = tuple(
    Case(name, pa.string(), "text", (*INTEGERS, *REALS, *TEXTS, ALL_BYTES, b"", b"\xff"))
    for name in ("INTEGER", "REAL", "TEXT", "BLOB")
)


def fill(harness: SQLiteHarness, declared: str, values: tuple[Any, ...]) -> None:
    with contextlib.closing(sqlite3.connect(harness.path)) as connection:
        connection.execute(f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {declared})")
        connection.executemany("INSERT INTO t (v) VALUES (?)", [(value,) for value in (*values, None)])
        connection.commit()


def confirmed(harness: SQLiteHarness, came: list[Any]) -> None:
    """SQLite agrees, row by row, that this is what it holds."""
    with contextlib.closing(sqlite3.connect(harness.path)) as connection:
        stored = connection.execute("SELECT id, typeof(v), hex(v) FROM t ORDER BY id").fetchall()
        assert len(stored) == len(came)
        for (number, kind, shown), value in zip(stored, came, strict=True):
            if kind == "null":
                assert value is None
            elif kind == "integer":
                found = connection.execute("SELECT v = ? FROM t WHERE id = ?", (int(value), number)).fetchone()
                assert (str(int(value)), found) == (str(value), (1,))
            elif kind == "real":
                found = connection.execute("SELECT v = ? FROM t WHERE id = ?", (float(value), number)).fetchone()
                assert found == (1,)
                assert value in (float(value), repr(float(value)))
            elif kind == "text":
                assert value.encode().hex().upper() == shown
            else:
                assert value in (bytes.fromhex(shown), f"x'{shown.lower()}'")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.declared or "no type")
def test_a_value_comes_out_as_the_database_holds_it(sqlite_harness: SQLiteHarness, lake: Platform, case: Case) -> None:
    fill(sqlite_harness, case.declared, case.values)
    source = sqlite_harness.open()
    shape = source.shape(TABLE)
    column = shape.column("v")
    assert (column.origin, column.arrow, column.carried) == (case.declared, case.arrow, case.carried)
    came = through_sealed_batches(source, shape, BY_ID).column("v").to_pylist()
    confirmed(sqlite_harness, came)
    assert None not in came[:-1]
    assert_one_digest(lake, source, shape, BY_ID)


@pytest.mark.parametrize("case", AS_TEXT, ids=lambda case: case.declared)
def test_as_text_carries_values_of_every_class(sqlite_harness: SQLiteHarness, lake: Platform, case: Case) -> None:
    fill(sqlite_harness, case.declared, case.values)
    with contextlib.closing(sqlite3.connect(sqlite_harness.path)) as connection:
        connection.execute("INSERT INTO t (v) VALUES (CAST(x'b9f3b8db' AS TEXT))")  # GBK bytes, not UTF-8
        connection.commit()
    source = sqlite_harness.open()
    shape = source.shape(TABLE, frozenset({"v"}))
    assert (shape.column("v").arrow, shape.column("v").carried) == (case.arrow, case.carried)
    came = through_sealed_batches(source, shape, BY_ID).column("v").to_pylist()
    assert came.pop() == "x'b9f3b8db'"
    assert_one_digest(lake, source, shape, BY_ID)
    sqlite_harness.execute("DELETE FROM t WHERE id = (SELECT max(id) FROM t)")
    confirmed(sqlite_harness, came)


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ("INTEGER", "'secret'"),
        ("INTEGER", "1.5"),
        ("INTEGER", "9223372036854775808"),
        ("INTEGER", "x'00'"),
        ("REAL", "'secret'"),
        ("TEXT", "x'736563726574'"),
        ("BLOB", "'secret'"),
        ("BLOB", "7"),
        ("DECIMAL(18,2)", "x'736563726574'"),
        ("DATE", "x'736563726574'"),
        ("", "x'736563726574'"),
        ("TEXT", "CAST(x'b9f3b8db' AS TEXT)"),
        ("DATE", "CAST(x'ff' AS TEXT)"),
    ],
)
def test_a_value_of_another_kind_is_refused_by_name_and_never_shown(
    sqlite_harness: SQLiteHarness, declared: str, value: str
) -> None:
    sqlite_harness.execute(
        f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {declared})",
        *(f"INSERT INTO t VALUES ({number}, NULL)" for number in range(1, 700)),
        f"INSERT INTO t VALUES (4711, {value})",
    )
    source = sqlite_harness.open()
    with pytest.raises(ValueUnrepresentable) as caught:
        list(source.read(source.shape(TABLE), BY_ID))
    message = str(caught.value)
    assert "column v" in message
    assert "id=4711" in message
    assert message.startswith("t ")
    assert "secret" not in message
    if "AS TEXT" not in value:
        findings = source.examine(source.shape(TABLE), None)
        assert any(finding.severity is Severity.ERROR and finding.subject == "v" for finding in findings)


def test_text_in_another_charset_is_read_by_the_configured_one(sqlite_harness: SQLiteHarness) -> None:
    sqlite_harness.execute(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)",
        f"INSERT INTO t VALUES (1, CAST(x'{'贵港市'.encode('gb18030').hex()}' AS TEXT)), (2, 'plain')",
    )
    source = sqlite_harness.open(charset="gb18030")
    came = through_sealed_batches(source, source.shape(TABLE), BY_ID).column("v").to_pylist()
    assert came == ["贵港市", "plain"]


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
@pytest.mark.parametrize("as_text", [False, True])
def test_a_file_in_utf16_is_read_as_text_all_the_same(
    sqlite_harness: SQLiteHarness, encoding: str, as_text: bool
) -> None:
    sqlite_harness.path.unlink()
    with contextlib.closing(sqlite3.connect(sqlite_harness.path)) as connection:
        connection.execute(f"PRAGMA encoding = '{encoding}'")
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
        connection.execute("INSERT INTO t VALUES (1, ?)", (RARE,))
        connection.commit()
    source = sqlite_harness.open()
    shape = source.shape(TABLE, frozenset({"v"} if as_text else ()))
    assert through_sealed_batches(source, shape, BY_ID).column("v").to_pylist() == [RARE]


def test_generated_columns_and_views_are_read_and_hidden_ones_are_not(sqlite_harness: SQLiteHarness) -> None:
    sqlite_harness.execute(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, twice INTEGER AS (a * 2) STORED, thrice INTEGER AS (a * 3))",
        "INSERT INTO t (id, a) VALUES (1, 7)",
        "CREATE VIEW v AS SELECT id, a, a / 2.0 AS half FROM t",
    )
    source = sqlite_harness.open()
    table = source.shape(TABLE)
    assert through_sealed_batches(source, table, BY_ID).to_pylist() == [{"id": 1, "a": 7, "twice": 14, "thrice": 21}]
    view = source.shape(TableName("", "v"))
    assert view.key == ()
    assert through_sealed_batches(source, view, BY_ID).to_pylist() == [{"id": 1, "a": 7, "half": "3.5"}]


def test_check_says_which_columns_are_carried_as_text(
    sqlite_harness: SQLiteHarness, capsys: pytest.CaptureFixture[str]
) -> None:
    declared = {case.declared or "no type": case.declared for case in CASES}
    columns = ", ".join(f'"{name}" {kind}' for name, kind in declared.items())
    sqlite_harness.execute(f"CREATE TABLE t (id INTEGER PRIMARY KEY, {columns})")
    source = sqlite_harness.open()
    findings = source.examine(source.shape(TABLE), None)
    told = {finding.subject for finding in findings if "carried as text" in finding.message}
    assert told == {case.declared or "no type" for case in CASES if case.carried == "text"}
    with capsys.disabled():
        print("\nSQLite types carried as text:", ", ".join(sorted(told)))
