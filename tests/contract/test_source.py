"""What every Source promises about describing tables and reading rows, on the database itself."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa
import pytest

from forebay_agent.capture.source import RowRange, Severity, Source, TableName, TableShape
from tests.contract.dialects import Dialect, pages, rows_of, select_in
from tests.contract.harness import SourceHarness

ALL = timedelta(0)

KEYS = {
    "composite": ("a {text}, b {integer}", [f"'{a}', {b}" for a in ("x", "y", "Y") for b in range(-3, 4)]),
    "text in mixed case and Chinese": (
        "a {text}",
        [
            f"'{a}'"
            for a in (
                "",
                "a",
                "A",
                "b",
                "B",
                "ab",
                "aB",
                "Ab",
                "z ",
                "Ä",
                "é",
                "中",
                "桂平",
                "桂",
                "贵港",
                "𠮷",
                "😀",
                "_",
                "%",
            )
        ],
    ),
    "negative": (
        "a {integer}",
        [str(n) for n in (-9223372036854775807, -1000, -11, -2, 0, 2, 11, 9223372036854775807)],
    ),
    "decimal": (
        "a {decimal}",
        [
            "-99999999999.9999",
            "-10.5",
            "-9.5",
            "-0.0001",
            "0",
            "0.0001",
            "2.5",
            "9.99",
            "10",
            "10.01",
            "99999999999.9999",
        ],
    ),
    "timestamp": (
        "a {timestamp}",
        [f"'{moment}'" for moment in ("1000-01-01 00:00:00", "1969-12-31 23:59:59", "1986-07-01 12:00:00")]
        + [f"'2026-01-31 12:00:00.{micros:06d}'" for micros in (1, 10, 100_000, 999_998, 999_999)]
        + ["'9999-12-31 23:59:59.999999'"],
    ),
    "date": (
        "a {date}",
        [f"'{day}'" for day in ("1000-01-01", "1969-12-31", "1970-01-01", "2026-02-28", "9999-12-31")],
    ),
    "binary": (
        "a {binary}",
        [f"x:{value}" for value in ("00", "0000", "0001", "27", "5c", "7f", "80", "e4b8ad", "ff", "ff00")],
    ),
}


@pytest.fixture
def events(source_harness: SourceHarness, words: Dialect) -> TableShape:
    """Ten rows: two of each minute from 12:00 to 12:04, and one without a time."""
    source_harness.execute(
        f"CREATE TABLE events (id {words.integer} PRIMARY KEY, at {words.timestamp})",
        *(f"INSERT INTO events VALUES ({n}, '2026-01-31 12:0{n // 2}:00.000000')" for n in range(10)),
        "INSERT INTO events VALUES (99, NULL)",
    )
    return source_harness.open().shape(TableName.parse("events"))


def ids(source: Source, shape: TableShape, rows: RowRange) -> list[object]:
    return [row[0] for row in rows_of(source, shape, rows)]


@pytest.mark.parametrize("key", KEYS)
def test_paging_by_key_returns_every_row_once(
    source_harness: SourceHarness, source: Source, words: Dialect, key: str
) -> None:
    columns, values = KEYS[key]
    columns = columns.format(
        text=words.text,
        integer=words.integer,
        decimal=words.decimal,
        timestamp=words.timestamp,
        date=words.date,
        binary=words.binary,
    )
    names = [column.split()[0] for column in columns.split(", ")]
    values = [words.hexadecimal.format(value[2:]) if value.startswith("x:") else value for value in values]
    source_harness.execute(
        f"CREATE TABLE t ({columns}, n {words.integer}, PRIMARY KEY ({', '.join(names)}))",
        *(f"INSERT INTO t VALUES ({value}, {n})" for n, value in enumerate(reversed(values))),
    )
    shape = source.shape(TableName.parse("t"))
    assert shape.key == tuple(names)
    for size in (1, 3, 1000):
        seen = [n for page in pages(source, shape, names, size) for n in page.column("n").to_pylist()]
        assert sorted(seen) == list(range(len(values)))


def test_after_is_strict_and_compares_row_by_row(source: Source, events: TableShape) -> None:
    order = ("at", "id")
    whole = ids(source, events, RowRange(order, through="2026-01-31 12:04:00.000000"))
    assert whole == list(range(10))
    assert ids(source, events, RowRange(order, after=("2026-01-31 12:01:00.000000", "2"))) == list(range(3, 10))
    assert ids(source, events, RowRange(order, after=("2026-01-31 12:01:00.000000", "3"))) == list(range(4, 10))
    assert ids(source, events, RowRange(("id",), after=("9",))) == [99]


def test_at_least_and_through_are_inclusive_and_hold_with_after(source: Source, events: TableShape) -> None:
    order = ("at", "id")
    bounded = RowRange(order, at_least="2026-01-31 12:01:00.000000", through="2026-01-31 12:03:00.000000")
    assert ids(source, events, bounded) == [2, 3, 4, 5, 6, 7]
    resumed = RowRange(
        order,
        after=("2026-01-31 12:02:00.000000", "4"),
        at_least="2026-01-31 12:01:00.000000",
        through="2026-01-31 12:03:00.000000",
    )
    assert ids(source, events, resumed) == [5, 6, 7]
    before = RowRange(order, after=("2026-01-31 12:00:00.000000", "0"), at_least="2026-01-31 12:01:00.000000")
    assert ids(source, events, before) == list(range(2, 10))


def test_overlap_reaches_back_from_at_least(source: Source, events: TableShape) -> None:
    rows = RowRange(("at", "id"), at_least="2026-01-31 12:03:00.000000", overlap=timedelta(seconds=60))
    assert ids(source, events, rows) == list(range(4, 10))
    shorter = RowRange(("at", "id"), at_least="2026-01-31 12:03:00.000000", overlap=timedelta(seconds=59))
    assert ids(source, events, shorter) == list(range(6, 10))
    numbers = RowRange(("id",), at_least="7", overlap=2, through="50")
    assert ids(source, events, numbers) == [5, 6, 7, 8, 9]


def test_a_limit_gives_the_first_rows_of_the_range(source: Source, events: TableShape) -> None:
    assert ids(source, events, RowRange(("id",), after=("2",), limit=3)) == [3, 4, 5]
    assert len(ids(source, events, RowRange(("id",)))) == 11


def test_null_is_in_no_bounded_range(source: Source, events: TableShape) -> None:
    for rows in (
        RowRange(("at", "id"), at_least="1900-01-01 00:00:00.000000"),
        RowRange(("at", "id"), through="9999-12-31 00:00:00.000000"),
        RowRange(("at", "id"), after=("1900-01-01 00:00:00.000000", "0")),
    ):
        assert 99 not in ids(source, events, rows)


def test_query_is_sql_that_returns_the_rows_that_read_returns(
    source_harness: SourceHarness, source: Source, events: TableShape
) -> None:
    for rows in (
        RowRange(("id",)),
        RowRange(("id",), after=("4",), limit=3),
        RowRange(
            ("at", "id"),
            after=("2026-01-31 12:02:00.000000", "4"),
            at_least="2026-01-31 12:02:00.000000",
            overlap=timedelta(seconds=90),
            through="2026-01-31 12:03:00.000000",
        ),
    ):
        asked = source_harness.rows(select_in(source.query(events, rows)))
        assert [int(str(row[0])) for row in asked] == ids(source, events, rows)


def test_query_shows_awkward_values_as_literals_that_run(
    source_harness: SourceHarness, source: Source, words: Dialect
) -> None:
    awkward = ["it''s", 'say "hi"', "100%", "%s", "back\\slash", "桂平'; DROP TABLE t; --"]
    source_harness.execute(f"CREATE TABLE t (name {words.text} PRIMARY KEY)")
    for name in awkward:
        source_harness.execute("INSERT INTO t VALUES ('" + _literal(name, source_harness.kind) + "')")
    shape = source.shape(TableName.parse("t"))
    names = [str(row[0]) for row in rows_of(source, shape, RowRange(("name",)))]
    assert len(names) == len(awkward)
    for place, name in enumerate(names):
        rows = RowRange(("name",), after=(name,))
        assert [row[0] for row in source_harness.rows(select_in(source.query(shape, rows)))] == names[place + 1 :]
        assert [row[0] for row in rows_of(source, shape, rows)] == names[place + 1 :]


def _literal(name: str, kind: str) -> str:
    escaped = name.replace("'", "''") if "''" not in name else name
    return escaped.replace("\\", "\\\\") if kind == "mysql" else escaped


def test_an_empty_table_gives_no_rows_and_no_highest_value(
    source_harness: SourceHarness, source: Source, words: Dialect
) -> None:
    source_harness.execute(f"CREATE TABLE t (id {words.integer} PRIMARY KEY)")
    shape = source.shape(TableName.parse("t"))
    assert rows_of(source, shape, RowRange(("id",))) == []
    assert source.horizon(shape, "id").highest is None


def test_the_highest_value_is_the_columns_greatest(source: Source, events: TableShape) -> None:
    assert source.horizon(events, "id").highest == "99"
    assert str(source.horizon(events, "at").highest).startswith("2026-01-31 12:04:00")


def test_columns_come_as_described(source_harness: SourceHarness, source: Source, words: Dialect) -> None:
    source_harness.execute(
        f"CREATE TABLE t (id {words.integer} PRIMARY KEY, name {words.text}, money {words.decimal}, raw {words.binary})",
        f"INSERT INTO t VALUES (1, '贵港', 12.5, {words.hexadecimal.format('00ff')}), (2, NULL, NULL, NULL)",
    )
    shape = source.shape(TableName.parse("t"))
    narrow = shape.with_columns(("raw", "id"))
    for asked in (shape, narrow):
        batches = list(source.read(asked, RowRange(("id",))))
        for batch in batches:
            assert batch.schema.names == [column.name for column in asked.columns]
            assert batch.schema.types == [column.arrow for column in asked.columns]
    assert rows_of(source, narrow, RowRange(("id",))) == [(b"\x00\xff", 1), (None, 2)]
    as_text = source.shape(TableName.parse("t"), frozenset({"id", "money"}))
    assert as_text.column("id").arrow == pa.string()
    assert as_text.column("id").carried == "text"
    assert [row[0] for row in rows_of(source, as_text, RowRange(()))] in (["1", "2"], ["2", "1"])


def test_the_tables_that_can_be_shared_are_listed_in_order_and_nothing_else(
    source_harness: SourceHarness, source: Source, words: Dialect
) -> None:
    source_harness.execute(
        f"CREATE TABLE permits (id {words.integer} PRIMARY KEY)",
        f"CREATE TABLE {words.quoted('企业')} (id {words.integer} PRIMARY KEY)",
        "CREATE VIEW licences AS SELECT id FROM permits",
    )
    listed = source.tables()
    assert [table.name for table in listed] == ["licences", "permits", "企业"]
    for table in listed:
        assert source.shape(table).columns[0].name == "id"


@pytest.mark.parametrize("name", ["select", "表 名", 'a"b', "a`b", "it's", "100%s", "{x}", "?", "MiXed"])
def test_odd_names_are_only_names(source_harness: SourceHarness, source: Source, words: Dialect, name: str) -> None:
    quoted = words.quoted(name)
    source_harness.execute(
        f"CREATE TABLE {quoted} ({quoted} {words.integer} PRIMARY KEY, at {words.timestamp})",
        f"INSERT INTO {quoted} VALUES (1, '2026-01-31 12:00:00'), (2, '2026-01-31 12:00:01')",
    )
    shape = source.shape(TableName("", name))
    assert shape.key == (name,)
    rows = RowRange((name,), after=("1",))
    assert [row[0] for row in rows_of(source, shape, rows)] == [2]
    assert [int(str(row[0])) for row in source_harness.rows(select_in(source.query(shape, rows)))] == [2]
    assert source.horizon(shape, name).highest == "2"
    assert all(finding.severity is not Severity.ERROR for finding in source.examine(shape, "at"))


def test_a_long_read_never_holds_the_whole_result(
    source_harness: SourceHarness, source: Source, words: Dialect
) -> None:
    source_harness.execute(
        f"CREATE TABLE t (id {words.integer} PRIMARY KEY, filling {words.text})",
        f"INSERT INTO t SELECT n, '{'桂' * 60}' FROM {words.numbers.format(300_000)}",
    )
    shape = source.shape(TableName.parse("t"))
    before, most, count, batches = pa.total_allocated_bytes(), 0, 0, 0
    for batch in source.read(shape, RowRange(("id",))):
        assert batch.nbytes <= 16 << 20
        count, batches = count + batch.num_rows, batches + 1
        most = max(most, pa.total_allocated_bytes() - before)
    assert count == 300_000
    assert batches > 3
    assert most < 40 << 20  # the whole is 57 MB


def test_a_read_that_is_left_leaves_the_session_usable(source: Source, events: TableShape) -> None:
    reading = source.read(events, RowRange(("id",)))
    next(reading)
    reading.close()  # type: ignore[attr-defined]
    assert len(ids(source, events, RowRange(("id",)))) == 11
    assert source.shape(events.table) == events


def test_examine_names_a_remedy_for_a_missing_index_and_key(
    source_harness: SourceHarness, source: Source, words: Dialect
) -> None:
    source_harness.execute(f"CREATE TABLE t (id {words.integer}, at {words.timestamp})")
    findings = source.examine(source.shape(TableName.parse("t")), "at")
    troubles = [finding for finding in findings if finding.severity in (Severity.WARNING, Severity.ERROR)]
    assert any("key" in finding.message for finding in troubles)
    assert any("INDEX" in finding.sql for finding in troubles)
    assert all(finding.remedy for finding in troubles)


def test_a_unique_key_without_nulls_stands_in_for_a_missing_primary_key(
    source_harness: SourceHarness, source: Source, words: Dialect
) -> None:
    source_harness.execute(
        f"CREATE TABLE t (a {words.integer} NOT NULL, b {words.integer} NOT NULL, c {words.integer}, "
        "UNIQUE (a, b), UNIQUE (c))",
        f"CREATE TABLE u (a {words.integer}, b {words.integer})",
    )
    assert source.shape(TableName.parse("t")).key == ("a", "b")
    assert source.shape(TableName.parse("u")).key == ()
