"""PostgreSQL's types, through a sealed batch and out again, against what PostgreSQL itself says that it holds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from forebay_agent.capture.source import RowRange, Severity, TableName
from forebay_agent.errors import ValueUnrepresentable
from forebay_collector.platform.contract import Platform
from tests.contract.sources.postgresql import PostgreSQLHarness
from tests.fidelity.digesting import assert_one_digest
from tests.fidelity.postgresql_types import AS_TEXT, BY_CHOICE, EXACT, INTERNAL, Case
from tests.fidelity.sealing import through_sealed_batches
from tests.servers.postgresql import PostgreSQL

BY_ID = RowRange(("id",))
TABLE = TableName("public", "t")
# what any session but ours would see by default in this database
HOSTILE = {
    "datestyle": "German",
    "timezone": "Asia/Shanghai",
    "intervalstyle": "sql_standard",
    "extra_float_digits": "-5",
    "bytea_output": "escape",
    "client_encoding": "GBK",
    "standard_conforming_strings": "off",
    "default_transaction_isolation": "serializable",
}
TELLING = "-c datestyle=ISO -c timezone=UTC -c intervalstyle=postgres -c extra_float_digits=3 -c bytea_output=hex"


@pytest.fixture(scope="module")
def harness(postgresql: PostgreSQL) -> Iterator[PostgreSQLHarness]:
    """One database for the whole matrix, whose sessions begin with settings that would change what text looks like."""
    made = PostgreSQLHarness(postgresql)
    settings = (f"ALTER DATABASE {made.database} SET {name} TO '{value}'" for name, value in HOSTILE.items())
    made.execute(*settings)
    # the types that cases need, for every test that may come first
    ask(made, *dict.fromkeys(statement for case in (*EXACT, *AS_TEXT, *BY_CHOICE) for statement in case.made))
    yield made
    made.close()


def ask(harness: PostgreSQLHarness, *statements: str) -> list[tuple[object, ...]]:
    options = TELLING + " -c standard_conforming_strings=on"
    rows: list[tuple[object, ...]] = []
    with harness.server.connect(dbname=harness.database, options=options, client_encoding="UTF8") as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
            rows = cursor.fetchall() if cursor.description else []
    return rows


@pytest.mark.parametrize("case", [*EXACT, *AS_TEXT, *BY_CHOICE], ids=lambda case: case.name)
def test_a_value_comes_out_as_the_database_holds_it(harness: PostgreSQLHarness, lake: Platform, case: Case) -> None:
    ask(
        harness,
        "DROP TABLE IF EXISTS t",
        f"CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v {case.definition})",
        *(f"INSERT INTO t (v) VALUES ({value})" for value in case.values),
        *(["INSERT INTO t (v) VALUES (NULL)"] if "GENERATED" not in case.definition else []),
    )
    source = harness.open()
    shape = source.shape(TABLE, frozenset({"v"}) if case.as_text else frozenset())
    came = through_sealed_batches(source, shape, BY_ID).column("v")
    column = shape.column("v")
    assert (column.arrow, column.carried) == (case.arrow, case.carried)
    assert came.type == case.arrow
    told = [text for (text,) in ask(harness, f"SELECT {case.oracle.format(c='v')} FROM t ORDER BY id")]
    ours = [None if value is None else case.told(value) for value in came.to_pylist()]
    assert ours == told
    assert None not in ours[: len(case.values)]
    assert ours[len(case.values) :] in ([None], [])
    assert_one_digest(lake, source, shape, BY_ID)
    source.close()


def test_every_type_that_the_server_has_is_in_the_matrix(harness: PostgreSQLHarness) -> None:
    ask(harness, "DROP TABLE IF EXISTS t")
    columns = ", ".join(
        f"c{number} {case.definition}" for number, case in enumerate((*EXACT, *AS_TEXT)) if "GEN" not in case.definition
    )
    ask(harness, f"CREATE TABLE everything ({columns})")
    there = ask(
        harness,
        "SELECT typname::text FROM pg_type WHERE typtype IN ('b', 'r', 'm') AND typcategory <> 'A' "
        "AND typnamespace = 'pg_catalog'::regnamespace",
    )
    tried = ask(
        harness,
        "SELECT t.typname::text FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid "
        "WHERE a.attrelid = 'everything'::regclass AND a.attnum > 0",
    )
    untried = {name for (name,) in there} - {name for (name,) in tried} - INTERNAL
    assert untried <= {"int8multirange", "nummultirange", "tsmultirange", "tstzmultirange", "datemultirange"}


def test_what_is_carried_as_text_is_what_check_says(harness: PostgreSQLHarness) -> None:
    cases = [case for case in (*EXACT, *AS_TEXT) if "GENERATED" not in case.definition]
    columns = ", ".join(f'"{case.name.replace(chr(34), "")}" {case.definition}' for case in cases)
    ask(harness, "DROP TABLE IF EXISTS t", f"CREATE TABLE t (id int PRIMARY KEY, {columns})")
    source = harness.open()
    shape = source.shape(TABLE)
    notes = {
        finding.subject: finding.message
        for finding in source.examine(shape, None)
        if finding.severity is Severity.NOTE and "carried as text" in finding.message
    }
    print("\ncarried as text from PostgreSQL:")
    for name, message in notes.items():
        print(f"  {name}: {message}")
    assert list(notes) == [case.name.replace('"', "") for case in AS_TEXT]
    assert list(notes) == [column.name for column in shape.columns if column.carried == "text"]
    source.close()


def test_quoted_chinese_identifiers_are_read_like_others(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(
        'CREATE SCHEMA "港北 区"',
        'CREATE TABLE "港北 区"."企业""信息" ("统一 社会""信用.代码" varchar(18) PRIMARY KEY, "注册\'资本" numeric(18,2), '
        '"万元" numeric(18,6) GENERATED ALWAYS AS ("注册\'资本" / 10000) STORED, "select" int, "100%" mood_of_it)'.replace(
            " mood_of_it", " text"
        ),
        'INSERT INTO "港北 区"."企业""信息" VALUES (\'91450800MA5K000150\', 123456.78, DEFAULT, 5, \'𠮷😀\')',
    )
    source = postgresql_harness.open()
    shape = source.shape(TableName("港北 区", '企业"信息'))
    assert shape.key == ('统一 社会"信用.代码',)
    rows = through_sealed_batches(source, shape, RowRange(shape.key, after=("",))).to_pylist()
    assert [tuple(row.values()) for row in rows] == postgresql_harness.rows('SELECT * FROM "港北 区"."企业""信息"')
    assert list(rows[0]) == ['统一 社会"信用.代码', "注册'资本", "万元", "select", "100%"]


UNFIT = {
    "date infinity": ("date", "infinity"),
    "date -infinity": ("date", "-infinity"),
    "date BC": ("date", "0001-12-31 BC"),
    "date 10000": ("date", "10000-01-01"),
    "timestamp infinity": ("timestamp", "infinity"),
    "timestamp BC": ("timestamp", "0001-12-31 23:59:59.999999 BC"),
    "timestamptz 10000": ("timestamptz", "10000-01-01 00:00:00+00"),
    "numeric NaN": ("numeric(10,2)", "NaN"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_value_that_does_not_fit_names_table_key_and_column_but_not_the_value(
    harness: PostgreSQLHarness, case: str
) -> None:
    definition, value = UNFIT[case]
    ask(
        harness,
        "DROP TABLE IF EXISTS t",
        f"CREATE TABLE t (a varchar(9), born {definition}, b int, PRIMARY KEY (a, b))",
        f"INSERT INTO t VALUES ('x', NULL, 1), ('甲', '{value}', 7), ('甲', '{value}', 8)",
    )
    source = harness.open()
    shape = source.shape(TABLE)
    with pytest.raises(ValueUnrepresentable, match=r"public\.t: a = 甲, b = 7: column born \(") as raised:
        list(source.read(shape, RowRange(("a", "b"))))
    assert value not in str(raised.value)
    assert 'add "born" to `as_text`' in raised.value.remedy
    warned = [finding for finding in source.examine(shape, None) if finding.severity is Severity.WARNING]
    assert [finding.subject for finding in warned] == ["born"]
    assert "as_text" in warned[0].remedy
    assert len(ask(harness, warned[0].sql.replace("SELECT *", "SELECT a"))) == 2
    told = source.shape(TABLE, frozenset({"born"}))
    assert through_sealed_batches(source, told, RowRange(("a", "b"))).column("born").to_pylist() == [None, value, value]
    assert not [finding for finding in source.examine(told, None) if finding.severity is Severity.WARNING]
    source.close()


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_gbk_bytes_in_a_database_that_declares_another_charset_are_the_text_they_stand_for(
    postgresql: PostgreSQL, encoding: str
) -> None:
    names = ["桂平市覃塘区", "镕", "", "a\nb", "㐀𠮷", "︐龴", None]
    # the 2022 edition gives U+FE10 and U+9FB4 the two-byte codes A6D9 and FE59
    codes = [None if name is None else name.encode("gb18030").hex() for name in names]
    codes[5] = "a6d9fe59"
    made = PostgreSQLHarness(postgresql, encoding=encoding, locale="C")
    try:
        with postgresql.connect(dbname=made.database, client_encoding=encoding) as connection:
            table, column = (name.encode("gb18030") for name in ("企业", "名称"))
            connection.execute(
                b'CREATE TABLE "%s" (id int, "%s" text, u uuid, n numeric, PRIMARY KEY (id))' % (table, column)
            )
            for number, code in enumerate(codes):
                value = b"NULL" if code is None else b"'" + bytes.fromhex(code) + b"'"
                insert = b"INSERT INTO \"%s\" VALUES (%d, %s, '00000000-0000-0000-0000-000000000001', 1.10)"
                connection.execute(insert % (table, number, value))
        source = made.open(charset="gbk")
        shape = source.shape(TableName("public", "企业"))
        rows = through_sealed_batches(source, shape, BY_ID)
        assert rows.column("名称").to_pylist() == names
        assert set(rows.column("u").to_pylist()) == {"00000000-0000-0000-0000-000000000001"}
        assert set(rows.column("n").to_pylist()) == {"1.10"}
        for name in filter(None, names):
            before = RowRange(("名称",), through=name)
            assert name in through_sealed_batches(source, shape, before).column("名称").to_pylist()
    finally:
        made.close()


def test_bytes_that_are_no_text_are_named_and_never_a_question_mark(postgresql: PostgreSQL) -> None:
    made = PostgreSQLHarness(postgresql, encoding="SQL_ASCII", locale="C")
    try:
        with postgresql.connect(dbname=made.database, client_encoding="SQL_ASCII") as connection:
            connection.execute(b"CREATE TABLE t (id int PRIMARY KEY, v text)")
            connection.execute(b"INSERT INTO t VALUES (1, 'fine'), (2, '\xb9\xf0\xc6'), (3, '\x80\xff')")
        for charset in ("gbk", ""):
            source = made.open(charset=charset)
            shape = source.shape(TABLE)
            with pytest.raises(ValueUnrepresentable, match=r"public\.t: id = 2: column v") as raised:
                list(source.read(shape, BY_ID))
            assert "charset" in raised.value.remedy
            warned = {f.subject for f in source.examine(shape, None) if f.severity is Severity.WARNING}
            assert warned == (set() if charset else {"charset"})
    finally:
        made.close()
