"""Snapshots over a real SQLite file: resumable at every piece, bounded, and honest about what they cannot do."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from forebay_agent.capture import table as capture_table
from forebay_agent.capture.captured import Checkpoint
from forebay_agent.config.model import TableConfig
from forebay_agent.errors import KeyMissing, SourceReplaced, TableChanged, TableReplaced
from forebay_wire.columns import CHANGE_FIELDS
from forebay_wire.schema import TableSchema
from tests.contract.harness import SourceHarness
from tests.integration.capturing import Capturing

NUMBERS = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {}) SELECT n, 'row ' || n FROM s"
SNAPSHOT = TableConfig("t", mode="snapshot")


@pytest.fixture
def filled(sqlite_harness: SourceHarness) -> SourceHarness:
    sqlite_harness.execute(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)", f"INSERT INTO t {NUMBERS.format(1000)}"
    )
    return sqlite_harness


def test_a_snapshot_is_every_row_once_in_bounded_pieces_and_then_nothing(filled: SourceHarness) -> None:
    capturing = Capturing(filled, SNAPSHOT, batch_rows=300)
    rows = capturing.poll()
    assert [row["id"] for row in rows] == list(range(1, 1001))
    assert set(capturing.ops) == {"r"}
    assert [piece.rows.num_rows for piece in capturing.pieces] == [300, 300, 300, 100]
    assert [piece.last_of_snapshot for piece in capturing.pieces] == [False, False, False, True]
    assert {piece.snapshot for piece in capturing.pieces} == {1}
    assert capturing.checkpoint.rows == 1000
    assert capturing.poll() == []


@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_a_snapshot_left_after_any_piece_goes_on_there_in_another_process(filled: SourceHarness, pieces: int) -> None:
    capturing = Capturing(filled, SNAPSHOT, batch_rows=100)
    seen = []
    for _ in range(30):
        seen += [row["id"] for row in capturing.poll(pieces=pieces)]
        capturing.restart()
    assert seen == list(range(1, 1001))
    assert capturing.checkpoint.phase == "done"
    assert [piece.last_of_snapshot for piece in capturing.pieces].count(True) == 1


def test_a_statement_ends_after_its_chunk_and_the_next_goes_on(
    filled: SourceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture_table, "CHUNK_ROWS", 250)
    rows = Capturing(filled, SNAPSHOT, batch_rows=300).poll()
    assert [row["id"] for row in rows] == list(range(1, 1001))


def test_a_statement_is_given_up_while_its_reader_is_held_up(
    filled: SourceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture_table, "PATIENCE_SECONDS", -1.0)
    monkeypatch.setattr(capture_table, "CHUNK_ROWS", 400)
    rows = Capturing(filled, SNAPSHOT, batch_rows=300).poll()
    assert [row["id"] for row in rows] == list(range(1, 1001))


def test_the_snapshot_of_an_empty_table_is_one_empty_last_piece(sqlite_harness: SourceHarness) -> None:
    sqlite_harness.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)")
    capturing = Capturing(sqlite_harness, SNAPSHOT)
    assert capturing.poll() == []
    (piece,) = capturing.pieces
    assert piece.last_of_snapshot
    assert piece.rows.schema.names == ["id", "name", *(field.name for field in CHANGE_FIELDS)]


def test_a_table_of_exactly_one_piece_ends_with_it(filled: SourceHarness) -> None:
    capturing = Capturing(filled, SNAPSHOT, batch_rows=1000)
    capturing.poll()
    assert [(piece.rows.num_rows, piece.last_of_snapshot) for piece in capturing.pieces] == [(1000, True)]


def test_a_piece_carries_the_schema_that_the_wire_describes_tables_by(filled: SourceHarness) -> None:
    capturing = Capturing(filled, SNAPSHOT)
    capturing.poll()
    schema = capturing.pieces[0].rows.schema
    described = TableSchema.of([schema.field(place) for place in range(2)], capturing.shape.key)
    assert described.arrow.equals(schema)
    assert schema.field("name").metadata[b"forebay.origin"] == b"TEXT"
    capturing.pieces[0].rows.validate(full=True)


def test_wide_rows_make_small_pieces(sqlite_harness: SourceHarness) -> None:
    sqlite_harness.execute(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, filling BLOB)",
        f"INSERT INTO t SELECT n, randomblob(100000) FROM ({NUMBERS.format(600)})",
    )
    capturing = Capturing(sqlite_harness, SNAPSHOT)
    assert len(capturing.poll()) == 600
    assert max(piece.rows.nbytes for piece in capturing.pieces) <= capture_table.PIECE_BYTES


def test_a_copy_without_a_key_begins_again_under_a_new_number(sqlite_harness: SourceHarness) -> None:
    sqlite_harness.execute("CREATE TABLE t (id INTEGER, name TEXT)", f"INSERT INTO t {NUMBERS.format(1000)}")
    capturing = Capturing(sqlite_harness, SNAPSHOT, batch_rows=300)
    capturing.poll(pieces=2)
    capturing.restart()
    capturing.poll()
    assert [piece.snapshot for piece in capturing.pieces] == [1, 1, 2, 2, 2, 2]
    assert sum(piece.rows.num_rows for piece in capturing.pieces if piece.snapshot == 2) == 1000
    assert "no key" in capturing.capture.guarantee


def test_another_snapshot_has_the_next_number(filled: SourceHarness) -> None:
    capturing = Capturing(filled, SNAPSHOT)
    capturing.poll()
    capturing.checkpoint = capturing.checkpoint.advanced(phase="start")
    assert len(capturing.poll()) == 1000
    assert [piece.snapshot for piece in capturing.pieces] == [1, 2]


def test_a_null_in_the_key_is_refused_and_not_skipped(sqlite_harness: SourceHarness) -> None:
    sqlite_harness.execute(
        "CREATE TABLE t (code TEXT PRIMARY KEY, name TEXT)", "INSERT INTO t VALUES (NULL, 'x'), ('a', 'y')"
    )
    with pytest.raises(KeyMissing, match="code"):
        Capturing(sqlite_harness, SNAPSHOT).poll()


def test_another_file_under_the_same_name_is_not_taken_for_the_same_table(filled: SourceHarness) -> None:
    capturing = Capturing(filled, SNAPSHOT, batch_rows=300)
    capturing.poll(pieces=1)
    path = filled.config().path
    assert path is not None
    copy = Path(f"{path}.copy")
    shutil.copy(path, copy)
    copy.rename(path)
    with pytest.raises(SourceReplaced, match="server"):
        capturing.poll()
    capturing.restart()
    with pytest.raises(SourceReplaced, match="server"):
        capturing.poll()


def test_a_table_that_was_created_again_is_refused_where_the_database_tells(filled: SourceHarness) -> None:
    capturing = Capturing(filled, SNAPSHOT, batch_rows=300)
    capturing.poll(pieces=1)
    capturing.shape = replace(capturing.shape, identity="4712")
    capturing.checkpoint = capturing.checkpoint.advanced(table="4711")
    capturing.capture._table.shape = capturing.shape  # type: ignore[attr-defined]
    capturing.capture._table.describe = lambda: capturing.shape  # type: ignore[attr-defined]
    with pytest.raises(TableReplaced, match="created again"):
        capturing.poll()


def test_added_columns_appear_in_the_pieces_that_follow(filled: SourceHarness) -> None:
    capturing = Capturing(filled, SNAPSHOT, batch_rows=300)
    capturing.poll(pieces=1)
    filled.execute("ALTER TABLE t ADD COLUMN score REAL", "UPDATE t SET score = id / 2.0")
    capturing.poll()
    assert "score" not in capturing.pieces[0].rows.schema.names
    assert capturing.pieces[1].rows.column("score").type == pa.float64()
    assert capturing.rows[(1000,)]["score"] == 500.0


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE t DROP COLUMN name",
        "ALTER TABLE t RENAME COLUMN name TO title",
    ],
)
def test_columns_that_are_gone_hold_the_stream(filled: SourceHarness, statement: str) -> None:
    capturing = Capturing(filled, SNAPSHOT, batch_rows=300)
    capturing.poll(pieces=1)
    filled.execute(statement)
    with pytest.raises(TableChanged, match="name"):
        capturing.poll()


def test_a_retyped_column_or_another_key_holds_the_stream(filled: SourceHarness) -> None:
    for definition, told in (
        ("id INTEGER PRIMARY KEY, name BLOB", "name"),
        ("id INTEGER, name TEXT PRIMARY KEY", "key"),
    ):
        filled.execute(
            "DROP TABLE t", "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)", "INSERT INTO t VALUES (1, 'x')"
        )
        capturing = Capturing(filled, SNAPSHOT)
        filled.execute("DROP TABLE t", f"CREATE TABLE t ({definition})")
        with pytest.raises(TableChanged, match=told):
            capturing.poll()


def test_a_checkpoint_of_another_plan_starts_anew(filled: SourceHarness) -> None:
    capturing = Capturing(filled, TableConfig("t", mode="snapshot", key=("name",)), batch_rows=300)
    capturing.poll(pieces=2)
    again = Capturing(filled, SNAPSHOT, batch_rows=300)
    again.checkpoint = capturing.checkpoint
    assert len(again.poll()) == 1000
    assert again.pieces[0].snapshot == 2


def test_a_checkpoint_goes_through_text_unchanged() -> None:
    checkpoint = Checkpoint("snapshot", "s", "t", "p", 3, ("桂平", "1"), "1", "2", 7)
    assert Checkpoint.from_json(checkpoint.to_json()) == checkpoint
