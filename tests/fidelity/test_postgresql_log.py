"""PostgreSQL's types as its log tells them: the same values as a snapshot reads, for the same rows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from forebay_agent.capture.source import RowRange
from forebay_wire.canonical import canonical_rows
from tests.contract.sources.postgresql import PostgreSQLHarness
from tests.fidelity.from_log import from_log
from tests.fidelity.postgresql_types import AS_TEXT, BY_CHOICE, EXACT, Case
from tests.fidelity.sealing import through_sealed_batches
from tests.fidelity.test_postgresql import HOSTILE, TABLE, ask
from tests.servers.postgresql import PostgreSQL

BY_ID = RowRange(("id",))
CASES = [case for case in (*EXACT, *AS_TEXT, *BY_CHOICE) if "GENERATED" not in case.definition]


@pytest.fixture(scope="module")
def harness(postgresql: PostgreSQL) -> Iterator[PostgreSQLHarness]:
    """One database for the whole matrix, whose sessions begin with settings that would change what text looks like."""
    made = PostgreSQLHarness(postgresql)
    made.execute(*(f"ALTER DATABASE {made.database} SET {name} TO '{value}'" for name, value in HOSTILE.items()))
    ask(made, *dict.fromkeys(statement for case in CASES for statement in case.made))
    yield made
    made.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_log_tells_the_values_that_a_snapshot_reads(harness: PostgreSQLHarness, case: Case) -> None:
    ask(
        harness,
        "DROP TABLE IF EXISTS t",
        f"CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v {case.definition})",
        "ALTER TABLE t REPLICA IDENTITY FULL",
    )
    as_text = frozenset({"v"}) if case.as_text else frozenset[str]()
    source = harness.open()
    try:
        shape = source.shape(TABLE, as_text)
        inserts = [f"INSERT INTO t (v) VALUES ({value})" for value in (*case.values, "NULL")]
        came, events = from_log(source, shape, lambda: ask(harness, *inserts), as_text=as_text)
        read = through_sealed_batches(source, shape, BY_ID)
        changed, more = from_log(
            source,
            shape,
            lambda: (
                ask(
                    harness,
                    f"UPDATE t SET v = v WHERE id <= {len(case.values)}",
                    f"DELETE FROM t WHERE id <= {len(case.values)}",
                )
                and None
            ),
            as_text=as_text,
        )
    finally:
        source.close()
    assert (events, more) == ([], [])
    assert came.column("_op").to_pylist() == ["c"] * (len(case.values) + 1)
    told = came.select(["id", "v"])
    assert told.schema == read.schema
    assert told.column("v").null_count == 1
    assert canonical_rows([c.combine_chunks() for c in told.columns]).equals(
        canonical_rows([c.combine_chunks() for c in read.columns])
    )
    rows = changed.to_pylist()
    wanted = [repr(row) for row in read.to_pylist() if row["v"] is not None]
    for op in ("u", "d"):
        assert sorted(repr({"id": row["id"], "v": row["v"]}) for row in rows if row["_op"] == op) == sorted(wanted)
