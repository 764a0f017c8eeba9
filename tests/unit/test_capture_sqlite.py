"""What is SQLite's own: files, locks, collations, and columns without a type."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from forebay_agent import errors
from forebay_agent.capture.source import RowRange, Severity, TableName
from forebay_agent.capture.sqlite.layout import Affinity
from forebay_agent.capture.sqlite.source import SQLiteSource
from forebay_agent.capture.sqlite.statements import bound, literal
from forebay_agent.config.model import TableConfig
from tests.contract.dialects import pages, rows_of
from tests.contract.sources.sqlite import SQLiteHarness
from tests.integration.capturing import Capturing

TABLE = TableName("", "t")
BY_ID = RowRange(("id",))


def fill(harness: SQLiteHarness, rows: int) -> None:
    harness.execute(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)",
        f"WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {rows}) "
        "INSERT INTO t SELECT n, 'row ' || n FROM s",
    )


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"this is not a database, whatever its name says" * 100, errors.SourceError), (None, errors.SourceUnreachable)],
)
def test_a_file_that_is_no_database_is_told_from_one_that_is_not_there(
    sqlite_harness: SQLiteHarness, tmp_path: Path, content: bytes | None, kind: type[errors.AgentError]
) -> None:
    path = tmp_path / "other.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(errors.AgentError) as caught:
        sqlite_harness.open(path=path)
    assert type(caught.value) is kind
    assert str(path) in str(caught.value)
    assert not path.exists() or path.read_bytes() == content


def test_a_folder_is_no_database(sqlite_harness: SQLiteHarness, tmp_path: Path) -> None:
    with pytest.raises(errors.SourceUnreachable):
        sqlite_harness.open(path=tmp_path)


@pytest.mark.parametrize("order", [("id",), ("name", "id")], ids=["by key", "sorted"])
def test_writers_in_rollback_mode_wait_for_no_read_that_an_index_orders(
    sqlite_harness: SQLiteHarness, order: tuple[str, ...]
) -> None:
    sqlite_harness.execute("PRAGMA journal_mode = DELETE")
    fill(sqlite_harness, 40_000)
    source = sqlite_harness.open()
    reading = source.read(source.shape(TABLE), RowRange(order))
    next(reading)
    with contextlib.closing(sqlite3.connect(sqlite_harness.path, timeout=0, isolation_level=None)) as writer:
        if order == ("id",):
            writer.execute("INSERT INTO t VALUES (1000000, 'meanwhile')")
            assert sum(batch.num_rows for batch in reading) > 20_000
        else:  # the test itself would see a lock
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                writer.execute("INSERT INTO t VALUES (1000000, 'meanwhile')")


def test_a_locked_database_is_an_error_to_try_again_and_not_a_missing_table(
    sqlite_harness: SQLiteHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forebay_agent.capture.sqlite.session.BUSY_MILLISECONDS", 100)
    sqlite_harness.execute("PRAGMA journal_mode = DELETE")
    fill(sqlite_harness, 10)
    source = sqlite_harness.open()
    with contextlib.closing(sqlite3.connect(sqlite_harness.path, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(errors.SourceError, match="SQLITE_BUSY"):
            source.shape(TABLE)
        writer.execute("ROLLBACK")
    assert len(rows_of(source, source.shape(TABLE), BY_ID)) == 10


def test_a_purge_that_finds_the_file_locked_is_left_to_the_next_poll(
    sqlite_harness: SQLiteHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forebay_agent.capture.sqlite.session.BUSY_MILLISECONDS", 100)
    fill(sqlite_harness, 3)
    capturing = Capturing(sqlite_harness, TableConfig("t", mode="trigger", install=True))
    capturing.poll()
    sqlite_harness.execute("INSERT INTO t VALUES (7, 'x')")
    capturing.poll()
    with contextlib.closing(sqlite3.connect(sqlite_harness.path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        capturing.poll()
        writer.execute("ROLLBACK")
    assert sqlite_harness.rows("SELECT count(*) FROM forebay_changes_t") == [(1,)]
    capturing.poll()
    assert sqlite_harness.rows("SELECT count(*) FROM forebay_changes_t") == [(0,)]


def test_an_idle_capture_never_writes_to_the_file(sqlite_harness: SQLiteHarness) -> None:
    fill(sqlite_harness, 3)
    capturing = Capturing(sqlite_harness, TableConfig("t", mode="trigger", install=True))
    for _ in range(3):
        capturing.poll()
    with contextlib.closing(sqlite3.connect(sqlite_harness.path)) as watcher:
        before = watcher.execute("PRAGMA data_version").fetchone()
        for _ in range(5):
            capturing.poll()
        assert watcher.execute("PRAGMA data_version").fetchone() == before


def test_a_key_under_another_collation_is_paged_without_loss(sqlite_harness: SQLiteHarness) -> None:
    sqlite_harness.execute(
        "CREATE TABLE t (code TEXT COLLATE NOCASE, n INTEGER, PRIMARY KEY (code, n))",
        "CREATE TABLE u (code TEXT COLLATE NOCASE NOT NULL, n INTEGER)",
        "CREATE UNIQUE INDEX by_bytes ON u (code COLLATE BINARY)",
        *(
            f"INSERT INTO t VALUES ('{code}', {n})"
            for code in ("a", "b", "B", "c")
            for n in range(3)
            if (code, n) != ("B", n)
        ),
        *(f"INSERT INTO u VALUES ('{code}', 1)" for code in ("a", "A", "b", "B", "ab", "AB", "aB")),
    )
    source = sqlite_harness.open()
    for name, rows in (("t", 9), ("u", 7)):
        shape = source.shape(TableName("", name))
        for size in (1, 2, 100):
            assert sum(page.num_rows for page in pages(source, shape, shape.key, size)) == rows
    assert source.shape(TableName("", "u")).key == ("code",)


def test_a_key_without_a_type_is_paged_by_its_text(sqlite_harness: SQLiteHarness) -> None:
    sqlite_harness.execute(
        "CREATE TABLE t (code PRIMARY KEY, n INTEGER)",
        *(f"INSERT INTO t VALUES ({code}, 1)" for code in ("10", "9", "-1", "'a'", "'A'", "'中'", "''", "'12x'")),
    )
    source = sqlite_harness.open()
    shape = source.shape(TABLE)
    for size in (1, 3, 100):
        codes = [code for page in pages(source, shape, ("code",), size) for code in page.column("code").to_pylist()]
        assert sorted(codes) == sorted(["10", "9", "-1", "a", "A", "中", "", "12x"])
    sqlite_harness.execute("INSERT INTO t VALUES (1e22, 1)")
    with pytest.raises(errors.ValueUnrepresentable, match="code"):
        rows_of(source, shape, RowRange(("code",)))


def test_dates_and_numbers_in_one_column_keep_their_order(sqlite_harness: SQLiteHarness) -> None:
    sqlite_harness.execute(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, at TIMESTAMP)",
        "INSERT INTO t VALUES (1, 1767139200), (2, 1767139200.5), (3, '2026-01-01'), (4, '2026-01-01 00:00:00'), (5, 99)",
    )
    source = sqlite_harness.open()
    shape = source.shape(TABLE)
    for size in (1, 2):
        seen = [n for page in pages(source, shape, ("at", "id"), size) for n in page.column("id").to_pylist()]
        assert seen == [5, 1, 2, 3, 4]
    assert source.horizon(shape, "at").highest == "2026-01-01 00:00:00"
    numbers = RowRange(("at", "id"), at_least="1767139200", overlap=60, through="1767139201")
    assert [row[0] for row in rows_of(source, shape, numbers)] == [1, 2]


def test_seconds_since_1970_take_an_overlap_too(sqlite_harness: SQLiteHarness) -> None:
    sqlite_harness.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, at TIMESTAMP)", "INSERT INTO t VALUES (1, 1000)")
    capturing = Capturing(sqlite_harness, TableConfig("t", mode="cursor", cursor="at", overlap=60))
    capturing.poll()
    sqlite_harness.execute("INSERT INTO t VALUES (2, 950), (3, 900)")
    assert {row["id"] for row in capturing.poll()} == {1, 2}


def test_a_table_without_rowid_is_read_like_any_other(sqlite_harness: SQLiteHarness) -> None:
    sqlite_harness.execute(
        "CREATE TABLE t (a TEXT, b INTEGER, PRIMARY KEY (b, a)) WITHOUT ROWID",
        "INSERT INTO t VALUES ('x', 2), ('y', 1)",
    )
    source = sqlite_harness.open()
    shape = source.shape(TABLE)
    assert shape.key == ("b", "a")
    assert rows_of(source, shape, RowRange(shape.key)) == [("y", 1), ("x", 2)]
    assert all(finding.severity in (Severity.OK, Severity.NOTE) for finding in source.examine(shape, None))


def test_check_says_what_replace_hides_from_triggers(sqlite_harness: SQLiteHarness) -> None:
    sqlite_harness.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, uscc TEXT UNIQUE)")
    source = sqlite_harness.open()
    findings = source.examine(source.shape(TABLE), None)
    assert any("REPLACE" in finding.message and "recursive_triggers" in finding.remedy for finding in findings)


def test_the_indexes_that_check_proposes_can_be_made_and_satisfy_it(sqlite_harness: SQLiteHarness) -> None:
    sqlite_harness.execute('CREATE TABLE t (id INTEGER PRIMARY KEY, "更新 时间" DATETIME)')
    source = sqlite_harness.open()
    (finding,) = (f for f in source.examine(source.shape(TABLE), "更新 时间") if f.severity is Severity.WARNING)
    sqlite_harness.execute(finding.sql)
    assert all(f.severity is not Severity.WARNING for f in source.examine(source.shape(TABLE), "更新 时间"))


def test_a_statement_timeout_does_not_count_the_time_between_pieces(sqlite_harness: SQLiteHarness) -> None:
    import time

    fill(sqlite_harness, 40_000)
    source = sqlite_harness.open(statement_timeout=timedelta(seconds=0.5))
    count = 0
    for batch in source.read(source.shape(TABLE), RowRange(())):
        count += batch.num_rows
        time.sleep(0.3)
    assert count == 40_000


def test_a_session_survives_being_closed_twice_and_left_in_the_middle(sqlite_harness: SQLiteHarness) -> None:
    fill(sqlite_harness, 40_000)
    source = SQLiteSource(sqlite_harness.config())
    reading = source.read(source.shape(TABLE), RowRange(("name",)))
    next(reading)
    reading.close()  # type: ignore[attr-defined]
    source.close()
    source.close()


@pytest.mark.parametrize(
    ("declared", "affinity"),
    [
        ("INT", "INTEGER"),
        ("CHARINT", "INTEGER"),
        ("FLOATING POINT", "INTEGER"),
        ("VARCHAR(9)", "TEXT"),
        ("STRING", "NUMERIC"),
        ("tinytext", "TEXT"),
        ("LONGBLOB", "BLOB"),
        ("double", "REAL"),
        ("DECIMAL(5,2)", "NUMERIC"),
        ("", ""),
    ],
)
def test_affinities_follow_sqlites_own_rules(sqlite_harness: SQLiteHarness, declared: str, affinity: str) -> None:
    assert Affinity.of(declared).value == affinity
    sqlite_harness.execute(f"CREATE TABLE t (v {declared})", "INSERT INTO t VALUES ('12')")
    stored = {"INTEGER": "integer", "NUMERIC": "integer", "REAL": "real"}.get(affinity, "text")
    assert sqlite_harness.rows("SELECT typeof(v) FROM t") == [(stored,)]


@pytest.mark.parametrize(
    "value", [0, -(2**63), 2**63 - 1, 0.1, 1e308, float("inf"), "it's", "NUL\0", "中", b"", b"\xff\0"]
)
def test_a_literal_is_the_value(sqlite_harness: SQLiteHarness, value: int | float | str | bytes) -> None:
    with contextlib.closing(sqlite3.connect(sqlite_harness.path)) as connection:
        same = connection.execute(f"SELECT {literal(value)} IS ?, typeof({literal(value)}) = typeof(?)", (value, value))
        assert same.fetchone() == (1, 1)


def test_text_of_a_numeric_column_is_bound_as_it_is_stored() -> None:
    assert bound("12", Affinity.NUMERIC) == 12
    assert isinstance(bound("12.5", Affinity.NUMERIC), float)
    assert isinstance(bound("9223372036854775808", Affinity.NUMERIC), float)
    assert bound("2026-01-31", Affinity.NUMERIC) == "2026-01-31"
    assert bound("１２", Affinity.NUMERIC) == "１２"
    assert bound("1_000", Affinity.NUMERIC) == "1_000"
    assert bound("00ff", Affinity.BLOB) == b"\x00\xff"
