"""The binlog kernel over what a real MariaDB sends: every type comes out as the database itself tells it, and as the reference
decoder reads it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from forebay_agent.kernel import binlog, binlog_table
from forebay_agent.kernel.binlog_table import WireColumn
from tests.reference import binlog as reference
from tests.reference.binlog import Event, TableMap
from tests.reference.binlog_cases import CASES, Case, Want
from tests.reference.binlog_followed import Followed
from tests.reference.binlog_server import dumped, events_of, new_file
from tests.reference.binlog_values import UNFIT
from tests.servers.mariadb import MariaDB

DATABASE = "binlog_kernel"


def execute(server: MariaDB, *statements: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(server.connect(DATABASE)) as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00'")
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall())


@pytest.fixture(scope="module")
def log(mariadb: MariaDB) -> Iterator[tuple[str, bytes, list[Event]]]:
    """(file, packets, events) of all cases: rows inserted, changed and deleted."""
    mariadb.execute(f"DROP DATABASE IF EXISTS {DATABASE}", f"CREATE DATABASE {DATABASE}")
    file = new_file(mariadb)
    for number, case in enumerate(CASES):
        values = ", ".join(f"({row}, {value})" for row, value in enumerate((*case.values, "NULL")))
        execute(
            mariadb,
            *case.setup,
            f"CREATE TABLE t{number} (id INT PRIMARY KEY, c {case.definition}) {case.table}",
            f"INSERT INTO t{number} VALUES {values}",
            f"UPDATE t{number} SET id = id + 1000",
            f"UPDATE t{number} SET c = NULL WHERE id % 2",
            f"INSERT INTO t{number} SELECT id + 1000, c FROM t{number}",
            f"DELETE FROM t{number} WHERE id < 2000",
            "SET GLOBAL mysql56_temporal_format = ON",
        )
    packets = dumped(mariadb, file)
    yield file, packets, events_of(packets)
    mariadb.execute(f"DROP DATABASE {DATABASE}")


@pytest.fixture(scope="module")
def maps(log: tuple[str, bytes, list[Event]]) -> dict[str, TableMap]:
    found = (reference.table_map(event.body) for event in log[2] if event.kind == reference.TABLE_MAP)
    return {table.table: table for table in found}


def columns_of(table: TableMap, want: Want) -> list[WireColumn]:
    return [
        WireColumn(table.types[0], table.metadata[0], binlog_table.INT32, key=True),
        WireColumn(table.types[1], table.metadata[1], want.target, **want.options),
    ]


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case.definition[:40] for case in CASES])
def test_every_value_is_what_the_database_tells(
    mariadb: MariaDB, log: tuple[str, bytes, list[Event]], maps: dict[str, TableMap], number: int
) -> None:
    case: Case = CASES[number]
    file, packets, events = log
    name = (DATABASE, f"t{number}")
    for want in case.wants:
        tables = {name: columns_of(maps[f"t{number}"], want)}
        followed = Followed(tables, file)
        followed.feed(packets, 1 << 20)
        assert followed.stops[binlog.ENDED] == 1
        assert followed.rows == reference.decoded(events, file, tables)
        assert not followed.unfit
        held: dict[int, Any] = {}
        for row in followed.rows[name]:
            if row.op == "d":
                del held[row.values[0]]
            else:
                held[row.values[0]] = row.values[1]
        told = execute(mariadb, f"SELECT id, {want.oracle()} FROM t{number} ORDER BY id")
        assert [(key, want.said(None if text is None else str(text))) for key, text in told] == [
            (key, want.told(value)) for key, value in sorted(held.items())
        ]
        assert len(told) == len(case.values) + 1


def test_what_a_target_cannot_hold_is_told_and_null(
    mariadb: MariaDB, log: tuple[str, bytes, list[Event]], maps: dict[str, TableMap]
) -> None:
    """Zero dates, days that do not exist, and numbers too large."""
    file, packets, events = log
    found = 0
    for number, case in enumerate(CASES):
        narrow = {
            "date": binlog_table.DATE,
            "datetime": binlog_table.TIMESTAMP,
            "timestamp": binlog_table.TIMESTAMP,
            "bigint": binlog_table.INT32,
            "int": binlog_table.BOOL,
            "bit": binlog_table.BOOL,
        }.get(case.definition.replace("(", " ").split()[0])
        if narrow is None:
            continue
        name = (DATABASE, f"t{number}")
        tables = {name: columns_of(maps[f"t{number}"], Want(narrow))}
        followed = Followed(tables, file)
        followed.feed(packets)
        expected = reference.decoded(events, file, tables)[name]
        unfit = [
            row
            for row, (change, _) in enumerate(zip(expected, followed.rows[name], strict=True))
            if UNFIT in change.values
        ]
        assert [(row.op, *row.values[:1], None if row.values[1] == UNFIT else row.values[1]) for row in expected] == [
            (row.op, *row.values) for row in followed.rows[name]
        ]
        assert followed.unfit == [(name, row, 1) for row in unfit[:1]]
        found += bool(unfit)
    assert found > 20
