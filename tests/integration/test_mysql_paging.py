"""Ranges on MariaDB: whatever the key's type, pages read one by one are the table, each row once, and by index."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from forebay_agent.capture import marks
from forebay_agent.capture.source import RowRange, Source, TableName, TableShape
from tests.contract.sources.mysql import MySQLHarness

T = TableName("", "t")


def pages(source: Source, shape: TableShape, order: tuple[str, ...], limit: int) -> Iterator[list[tuple[object, ...]]]:
    after = None
    for _ in range(1000):
        page = []
        for batch in source.read(shape, RowRange(order, after=after, limit=limit)):
            page += list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
            after = marks.to_texts(batch, order, -1)
        if page:
            yield page
        if len(page) < limit:
            return
    raise AssertionError("the pages never end")


def explained(harness: MySQLHarness, statement: str) -> tuple[str, str, str]:
    """-> access type, index, extra."""
    row = harness.rows(f"EXPLAIN {statement}")[0]
    return str(row[3]), str(row[5]), str(row[9])


KEYS = {
    "int": ("int", ["-5", "0", "7", "2147483647"]),
    "bigint unsigned": ("bigint unsigned", ["0", "9223372036854775808", "18446744073709551615"]),
    "decimal(65,20)": ("decimal(65,20)", ["-1.5", "0", "1e-20", "99999999999999999999999999999999999999999999.5"]),
    "float": ("float", ["0.1", "0.2", "-3.5e10", "16777217"]),
    "double": ("double", ["0.1", "1e-300", "-1e300", "3"]),
    "bit(64)": ("bit(64)", ["0", "18446744073709551615", "9223372036854775808"]),
    "year": ("year", ["1999", "2155", "0"]),
    "date": ("date", ["'1000-01-01'", "'2024-02-29'", "'9999-12-31'"]),
    "datetime(6)": ("datetime(6)", ["'2024-01-01 00:00:00.000001'", "'2024-01-01 00:00:00.000002'", "'1000-01-01'"]),
    "timestamp(3)": ("timestamp(3)", ["'2024-01-01 00:00:00.001'", "'2024-01-01'", "'2038-01-19 03:14:07'"]),
    "time": ("time(6)", ["'-838:59:59'", "'-00:00:01'", "'00:00:00.5'", "'99:00:00'", "'100:00:00'", "'838:59:59'"]),
    "text, case-blind": ("varchar(20)", ["'a'", "'B'", "'c'", "'中'", "'𠮷'", "'a\\\\b'", "'a''b'", "'Ö'", "''"]),
    "text, by bytes": ("varchar(20) COLLATE utf8mb4_bin", ["'a'", "'A'", "'B'", "'中'", "'\\n'", "'%s'"]),
    "gbk": ("varchar(20) CHARACTER SET gbk", ["'中'", "'一'", "'丁'", "'a'", "''"]),
    "latin1": ("varchar(20) CHARACTER SET latin1", ["'é'", "'z'", "'A'"]),
    "char": ("char(5)", ["'b'", "'a'", "''"]),
    "enum": ("enum('z', 'a', '中', 'b''c')", ["'z'", "'a'", "'中'", "'b''c'"]),
    "set": ("set('z', 'a', 'm')", ["'z'", "'a'", "'m'", "'z,m'", "'a,m'", "''"]),
    "binary": ("varbinary(5)", ["X''", "X'00'", "X'FF'", "X'2700'", "X'5C'"]),
    "uuid": (
        "uuid",
        [
            "'00000000-0000-0000-0000-00000000000f'",
            "'f0000000-0000-1000-8000-000000000000'",
            "'10000000-0000-4000-8000-000000000001'",
        ],
    ),
    "inet6": ("inet6", ["'::1'", "'fe80::1'", "'::ffff:1.2.3.4'"]),
    "inet4": ("inet4", ["'9.0.0.1'", "'10.0.0.1'", "'255.0.0.0'"]),
}


@pytest.mark.parametrize("as_text", [False, True], ids=["exact", "as text"])
@pytest.mark.parametrize("name", KEYS)
def test_pages_by_any_key_are_the_table_each_row_once(mysql_harness: MySQLHarness, name: str, as_text: bool) -> None:
    definition, values = KEYS[name]
    mysql_harness.execute(
        f"CREATE TABLE t (k {definition} NOT NULL, n int NOT NULL, PRIMARY KEY (k, n))",
        "INSERT INTO t VALUES " + ", ".join(f"({value}, {n})" for value in values for n in (1, 2, 3)),
    )
    source = mysql_harness.open()
    shape = source.shape(T, frozenset({"k"}) if as_text else frozenset())
    whole = [row for page in pages(source, shape, ("k", "n"), 1000) for row in page]
    assert len(whole) == len(values) * 3
    for limit in (1, 2, 5):
        assert [row for page in pages(source, shape, ("k", "n"), limit) for row in page] == whole


@pytest.mark.parametrize("charset", ["gbk", "gb18030"])
def test_pages_by_a_latin1_key_that_holds_gbk_are_the_table(mysql_harness: MySQLHarness, charset: str) -> None:
    names = ["中", "一", "丁", "贵港", "a", "", "\ufe10", "镕"]
    literals = [f"_latin1 X'{'A6D9' if name == chr(0xFE10) else name.encode('gb18030').hex()}'" for name in names]
    mysql_harness.execute(
        "CREATE TABLE t (k varchar(20) PRIMARY KEY) CHARACTER SET latin1 COLLATE latin1_bin",
        *(f"INSERT INTO t VALUES ({literal})" for literal in literals),
    )
    source = mysql_harness.open(charset=charset)
    shape = source.shape(T)
    read = [key for page in pages(source, shape, ("k",), 1) for (key,) in page]
    assert sorted(map(str, read)) == sorted(names)
    assert explained(mysql_harness, source.query(shape, RowRange(("k",), after=("一",), limit=10)))[:2] == (
        "range",
        "PRIMARY",
    )


def test_zero_dates_as_text_page_and_stay_as_they_are(mysql_harness: MySQLHarness) -> None:
    dates = ["0000-00-00", "2024-00-00", "2024-00-10", "2024-01-01"]
    mysql_harness.execute(
        "CREATE TABLE t (k date PRIMARY KEY)", *(f"INSERT INTO t VALUES ('{date}')" for date in dates)
    )
    source = mysql_harness.open()
    shape = source.shape(T, frozenset({"k"}))
    assert [row for page in pages(source, shape, ("k",), 1) for row in page] == [(date,) for date in dates]
    window = RowRange(("k",), at_least="0000-00-00", overlap=timedelta(days=1))
    assert sum(batch.num_rows for batch in source.read(shape, window)) == 4


def test_a_window_has_its_bounds_its_overlap_and_no_nulls(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY, at timestamp(6) NULL, n int, d date, INDEX (at), INDEX (n), INDEX (d))",
        *(f"INSERT INTO t VALUES ({n}, '2024-03-01 00:00:{n:02}.5', {n}, '2024-03-{n + 1:02}')" for n in range(1, 20)),
        "INSERT INTO t VALUES (99, NULL, NULL, NULL)",
    )
    source = mysql_harness.open()
    shape = source.shape(T)

    def ids(rows: RowRange) -> list[int]:
        return [key for batch in source.read(shape, rows) for key in batch.column("id").to_pylist()]

    by_time = RowRange(
        ("at", "id"),
        at_least="2024-03-01 00:00:10.500000",
        overlap=timedelta(seconds=3),
        through="2024-03-01 00:00:12.500000",
    )
    assert ids(by_time) == [7, 8, 9, 10, 11, 12]
    assert ids(RowRange(("at", "id"), after=("2024-03-01 00:00:10.500000", "10"))) == list(range(11, 20))
    assert ids(RowRange(("at", "id"), after=("2024-03-01 00:00:10.500000", "9"), limit=2)) == [10, 11]
    assert ids(RowRange(("n", "id"), at_least="10", overlap=2, through="11")) == [8, 9, 10, 11]
    assert ids(RowRange(("d", "id"), at_least="2024-03-11", overlap=timedelta(days=1), through="2024-03-12")) == [
        9,
        10,
        11,
    ]
    assert ids(RowRange(("n", "id"))) == [99, *range(1, 20)]


def test_ranges_are_read_by_their_index_in_order_without_sorting(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute(
        "CREATE TABLE t (a varchar(20), b int, c bigint unsigned, at datetime(6), d date, filler char(200) DEFAULT '', "
        "PRIMARY KEY (a, b, c), INDEX at (at), INDEX d (d))",
        "INSERT INTO t (a, b, c, at, d) SELECT CONCAT('k', seq % 50), seq % 7, seq, '2024-01-01' + INTERVAL seq MINUTE, "
        "'2024-01-01' + INTERVAL seq MINUTE FROM seq_1_to_20000",
        "ANALYZE TABLE t",
    )
    source = mysql_harness.open()
    shape = source.shape(T)
    by_key = source.query(shape, RowRange(("a", "b", "c"), after=("k31", "3", "500"), limit=5000))
    by_time = source.query(
        shape,
        RowRange(
            ("at", "a", "b", "c"),
            at_least="2024-01-14 00:00:00.000000",
            overlap=timedelta(minutes=5),
            through="2024-01-14 01:00:00.000000",
            limit=5000,
        ),
    )
    resumed = source.query(
        shape,
        RowRange(
            ("at", "a", "b", "c"),
            after=("2024-01-14 00:30:00.000000", "k1", "2", "3"),
            through="2024-01-14 01:00:00.000000",
            limit=5000,
        ),
    )
    by_date = source.query(shape, RowRange(("d", "a", "b", "c"), at_least="2024-01-14", through="2024-01-14"))
    for statement, index in ((by_key, "PRIMARY"), (by_time, "at"), (resumed, "at"), (by_date, "d")):
        access, used, extra = explained(mysql_harness, statement)
        assert (access, used) == ("range", index), statement
        assert "filesort" not in extra, statement


def test_the_statement_shown_is_the_statement_sent(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute("CREATE TABLE t (id varchar(20) PRIMARY KEY)", "INSERT INTO t VALUES ('a''b\\\\'), ('z')")
    source = mysql_harness.open()
    shape = source.shape(T)
    rows = RowRange(("id",), after=("a'b\\",), limit=10)
    shown = source.query(shape, rows)
    assert mysql_harness.rows(shown) == [("z",)]
    mysql_harness.execute("SET GLOBAL general_log = 1", "SET GLOBAL log_output = 'TABLE'")
    try:
        assert [batch.to_pylist() for batch in source.read(shape, rows)] == [[{"id": "z"}]]
        assert mysql_harness.rows("SELECT 1 FROM mysql.general_log WHERE argument = '" + shown.replace("'", "''") + "'")
    finally:
        mysql_harness.execute("SET GLOBAL general_log = 0", "TRUNCATE mysql.general_log")
