"""The workload of demo and fault harness can be judged by its rows: no two changes of one transaction look the same."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from forebay_collector.demo.database import Database
from forebay_collector.demo.departments import LOW_INCOME
from forebay_collector.demo.writer import Writer


def test_a_row_that_is_changed_twice_in_a_transaction_is_told_apart_though_it_is_masked(tmp_path: Path) -> None:
    """Few rows, so that it happens often. Of the columns that no mask hides, at least one differs."""
    department = replace(LOW_INCOME, rows=5, deletes=False)
    database = Database("sqlite", "d", tmp_path, None)
    database.create(department.create("sqlite"))
    writer = Writer(department, database, 7)
    writer.fill()
    with closing(sqlite3.connect(database.file)) as connection:
        connection.execute(
            "CREATE TABLE seen (number INTEGER PRIMARY KEY, card_no, household_size, monthly_amount, town)"
        )
        connection.execute(
            "CREATE TRIGGER seen AFTER UPDATE ON low_income BEGIN INSERT INTO seen (card_no, household_size, monthly_amount, "
            "town) VALUES (NEW.card_no, NEW.household_size, NEW.monthly_amount, NEW.town); END"
        )
    twice = 0
    with closing(database.connect()) as connection:
        for _ in range(200):
            writer.keys = writer.keys[:5] or writer._present(connection)
            writer._transaction(connection)
            seen = connection.execute("SELECT card_no, household_size, monthly_amount, town FROM seen").fetchall()
            twice += len(seen) - len({row[0] for row in seen})
            assert len(set(seen)) == len(seen)
            connection.execute("DELETE FROM seen")
            connection.commit()
    assert twice > 50
