"""MariaDB's types, through a sealed batch and out again, against what MariaDB itself says that it holds."""

from __future__ import annotations

import pytest

from forebay_agent.capture.source import RowRange, Severity, TableName
from forebay_agent.errors import ValueUnrepresentable
from forebay_collector.platform.contract import Platform
from tests.contract.sources.mysql import MySQLHarness
from tests.fidelity.digesting import assert_one_digest
from tests.fidelity.mariadb_types import CARRIED_AS_TEXT, CASES, TEXT_BY_CHOICE, ZERO_DATES, Case
from tests.fidelity.sealing import through_sealed_batches

BY_ID = RowRange(("id",))


def told_by_the_database(harness: MySQLHarness, oracle: str) -> list[object]:
    if oracle != "double":
        return [told for (told,) in harness.rows(f"SELECT {oracle.format(c='`v`')} FROM t ORDER BY id")]
    # a binary number's exact value: the database confirms the very number, and its neighbours' absence
    told: list[object] = []
    for number, text in harness.rows("SELECT v * 1e0, CAST(v * 1e0 AS CHAR) FROM t ORDER BY id"):
        told.append(None if number is None else float(str(text)).hex())
    return told


@pytest.mark.parametrize("case", [*CASES, *ZERO_DATES, *TEXT_BY_CHOICE], ids=lambda case: case.name)
def test_a_value_comes_out_as_the_database_holds_it(mysql_harness: MySQLHarness, lake: Platform, case: Case) -> None:
    mysql_harness.execute(
        f"CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, v {case.definition}) {case.table}",
        *(f"INSERT INTO t (v) VALUES ({value})" for value in (*case.values, "NULL")),
    )
    with_text = frozenset({"v"}) if case.as_text else frozenset[str]()
    # a session whose server lives in another time zone must not matter
    mysql_harness.server.execute("SET GLOBAL time_zone = '+08:00'")
    try:
        source = mysql_harness.open()
        shape = source.shape(TableName("", "t"), with_text)
        came = through_sealed_batches(source, shape, BY_ID).column("v")
        told = told_by_the_database(mysql_harness, case.oracle)
        assert_one_digest(lake, source, shape, BY_ID)
    finally:
        mysql_harness.server.execute("SET GLOBAL time_zone = 'SYSTEM'")
    column = shape.column("v")
    assert (column.arrow, column.carried) == (case.arrow, case.carried)
    assert came.type == case.arrow
    assert len(told) == len(case.values) + 1
    values = came.to_pylist()
    assert [None if value is None else case.told(value) for value in values] == [
        None if text is None else str(text) for text in told
    ]
    assert values[-1] is None
    assert None not in values[:-1]
    if case.oracle == "double":
        assert_confirmed(mysql_harness, values[:-1])


def assert_confirmed(harness: MySQLHarness, values: list[float]) -> None:
    """The database finds exactly these numbers in the rows."""
    for number, value in enumerate(values, start=1):
        text = repr(float(value))
        literal = text if "e" in text else f"{text}e0"
        assert harness.rows(f"SELECT v = {literal} FROM t WHERE id = {number}") == [(1,)], literal


def test_quoted_chinese_identifiers_generated_and_invisible_columns_are_read_like_others(
    mysql_harness: MySQLHarness,
) -> None:
    mysql_harness.execute(
        'CREATE TABLE `企业``信息` (`统一 社会``信用.代码` varchar(18) PRIMARY KEY, `注册"资本` decimal(18,2), '
        '`万元` decimal(18,6) AS (`注册"资本` / 10000) VIRTUAL, `双` int AS (2) PERSISTENT, '
        "`select` int INVISIBLE DEFAULT 5, `空 ` int)".replace("`空 `", "`空 格`"),
        "INSERT INTO `企业``信息` (`统一 社会``信用.代码`, `注册\"资本`) VALUES ('91450800MA5K000150', 123456.78)",
    )
    source = mysql_harness.open()
    shape = source.shape(TableName("", "企业`信息"))
    assert shape.key == ("统一 社会`信用.代码",)
    rows = through_sealed_batches(source, shape, RowRange(shape.key)).to_pylist()
    told = mysql_harness.rows(
        'SELECT `统一 社会``信用.代码`, `注册"资本`, `万元`, `双`, `select`, `空 格` FROM `企业``信息`'
    )
    assert [tuple(row.values()) for row in rows] == told
    assert list(rows[0]) == ["统一 社会`信用.代码", '注册"资本', "万元", "双", "select", "空 格"]


def test_gbk_bytes_in_a_latin1_table_are_the_text_they_stand_for(mysql_harness: MySQLHarness) -> None:
    names = ["桂平市覃塘区", "镕", "", "a\nb", "㐀𠮷", "\ufe10\u9fb4", None]
    literals = [
        # the 2022 edition gives U+FE10 and U+9FB4 the two-byte codes A6D9 and FE59
        "NULL"
        if name is None
        else f"_latin1 X'{name.encode('gb18030').hex()}'"
        if name != names[5]
        else "_latin1 X'A6D9FE59'"
        for name in names
    ]
    mysql_harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, v varchar(40), u varchar(40) CHARACTER SET utf8mb4, "
        "e enum('x', 'y'), w varchar(40)) CHARACTER SET latin1",
        *(f"INSERT INTO t (v, u, e, w) VALUES ({literal}, '中𠮷', 'y', NULL)" for literal in literals),
    )
    source = mysql_harness.open(charset="gbk")
    rows = through_sealed_batches(source, source.shape(TableName("", "t")), BY_ID)
    assert rows.column("v").to_pylist() == names
    assert rows.column("u").to_pylist() == ["中𠮷"] * len(names)
    assert rows.column("e").to_pylist() == ["y"] * len(names)
    assert rows.column("w").null_count == len(names)
    stored = [told for (told,) in mysql_harness.rows("SELECT HEX(v) FROM t ORDER BY id")]
    assert stored[:5] == [name.encode("gb18030").hex().upper() for name in names[:5] if name is not None]


def test_bytes_that_are_no_text_are_named_and_never_a_question_mark(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(40)) CHARACTER SET latin1",
        "INSERT INTO t VALUES (1, 'fine'), (2, _latin1 X'B9F0C6'), (3, _latin1 X'80FF')",
    )
    source = mysql_harness.open(charset="gbk")
    shape = source.shape(TableName("", "t"))
    with pytest.raises(ValueUnrepresentable, match=r"t: id = 2: column v") as raised:
        list(source.read(shape, BY_ID))
    assert "charset" in raised.value.remedy


def test_a_gbk_character_that_the_server_has_no_unicode_for_is_told_and_gb18030_reads_it(
    mysql_harness: MySQLHarness,
) -> None:
    mysql_harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(40)) CHARACTER SET gbk",
        "INSERT INTO t VALUES (1, '?'), (2, _gbk X'AAA1')",
    )
    assert mysql_harness.rows("SELECT CONVERT(v USING utf8mb4) FROM t ORDER BY id") == [("?",), ("?",)]
    source = mysql_harness.open()
    shape = source.shape(TableName("", "t"))
    with pytest.raises(ValueUnrepresentable, match=r"t: id = 2: column v"):
        list(source.read(shape, BY_ID))
    warned = [finding for finding in source.examine(shape, None) if finding.severity is Severity.WARNING]
    assert [finding.subject for finding in warned] == ["v"]
    assert "gb18030" in warned[0].remedy
    assert mysql_harness.rows(warned[0].sql.rstrip(";").replace("SELECT *", "SELECT id")) == [(2,)]
    decoding = mysql_harness.open(charset="gb18030")
    came = through_sealed_batches(decoding, decoding.shape(TableName("", "t")), BY_ID).column("v").to_pylist()
    assert came == ["?", b"\xaa\xa1".decode("gb18030")]


@pytest.mark.parametrize(
    ("definition", "value"),
    [
        ("date", "0000-00-00"),
        ("date", "2024-00-10"),
        ("datetime(6)", "2024-02-00 01:02:03"),
        ("timestamp NULL", "0000-00-00"),
    ],
)
def test_a_zero_date_names_table_key_and_column_but_not_the_value(
    mysql_harness: MySQLHarness, definition: str, value: str
) -> None:
    mysql_harness.execute(
        f"CREATE TABLE t (a varchar(9), born {definition}, b int, PRIMARY KEY (a, b))",
        f"INSERT INTO t VALUES ('x', '2024-02-29', 1), ('甲', '{value}', 7), ('甲', '{value}', 8)",
    )
    source = mysql_harness.open()
    shape = source.shape(TableName("", "t"))
    with pytest.raises(ValueUnrepresentable, match=r"t: a = 甲, b = 7: column born \(") as raised:
        list(source.read(shape, RowRange(("a", "b"))))
    assert value not in str(raised.value)
    assert "as_text" in raised.value.remedy
    warned = [finding for finding in source.examine(shape, None) if finding.severity is Severity.WARNING]
    assert [finding.subject for finding in warned] == ["born"]
    assert "as_text" in warned[0].remedy
    assert len(mysql_harness.rows(warned[0].sql.rstrip(";"))) == 2
    told = source.shape(TableName("", "t"), frozenset({"born"}))
    assert not [finding for finding in source.examine(told, None) if finding.severity is Severity.WARNING]


def test_what_is_carried_as_text_is_what_check_says(mysql_harness: MySQLHarness) -> None:
    columns = ", ".join(
        f"`{case.name}` {case.definition}" for case in CASES if not case.table and case.definition != "longblob"
    )
    mysql_harness.execute(f"CREATE TABLE everything (id int PRIMARY KEY, {columns})")
    source = mysql_harness.open()
    shape = source.shape(TableName("", "everything"))
    notes = {
        finding.subject: finding.message
        for finding in source.examine(shape, None)
        if finding.severity is Severity.NOTE and "carried as text" in finding.message
    }
    print("\ncarried as text from MariaDB:")
    for name, message in notes.items():
        print(f"  {name}: {message}")
    assert tuple(notes) == CARRIED_AS_TEXT
    assert tuple(column.name for column in shape.columns if column.carried == "text") == CARRIED_AS_TEXT
