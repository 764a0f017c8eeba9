"""PostgreSQL's log: every change once and in order, whatever a transaction looks like and wherever reading is cut."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from forebay_agent.capture.log import EventKind, LogRows, TableEvent
from tests.contract.sources.postgresql import PostgreSQLHarness
from tests.integration.log_of_postgresql import Log, events, told
from tests.servers.postgresql import PostgreSQL

T = "CREATE TABLE t (id int PRIMARY KEY, v text)"
LARGE = "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 500) n)"  # TOASTed: 16 kB that do not compress


@pytest.fixture(scope="module")
def streaming_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    """A server that sends what passes 64 kB before it is committed."""
    folder = tmp_path_factory.mktemp("streaming")
    with PostgreSQL.start(folder, options=["logical_decoding_work_mem=64kB"]) as server:
        yield server


@pytest.fixture
def streaming(streaming_server: PostgreSQL) -> Iterator[PostgreSQLHarness]:
    harness = PostgreSQLHarness(streaming_server)
    yield harness
    harness.close()


def inserted(numbers: range, text: str = "x") -> str:
    return f"INSERT INTO t SELECT n, repeat('{text}', 100) FROM generate_series({numbers.start}, {numbers.stop - 1}) n"


def test_changes_come_once_in_order_with_commit_position_and_time(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(T)
    with Log(postgresql_harness) as log:
        before = time.time_ns() // 1000
        postgresql_harness.execute(
            "INSERT INTO t VALUES (1, 'a'), (2, 'b')", "UPDATE t SET v = 'c' WHERE id = 1", "DELETE FROM t WHERE id = 2"
        )
        parts = log.parts()
        assert told(parts) == [("c", 1, "a"), ("c", 2, "b"), ("u", 1, "c"), ("d", 2, None)]
        rows = [row for part in parts if isinstance(part, LogRows) for row in part.rows.to_pylist()]
        assert len({row["_position"] for row in rows}) == 3
        times = [int(row["_committed_at"].timestamp() * 1_000_000) for row in rows]
        assert before <= times[0] <= times[-1] <= time.time_ns() // 1000
        assert max(piece.committed_at_us for piece in log.pieces) == times[-1]
        assert log.changes() == []


def test_a_changed_key_is_a_delete_and_an_insert(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(
        "CREATE TABLE t (a int, b text, v int, PRIMARY KEY (a, b))", "INSERT INTO t VALUES (1, 'x', 7)"
    )
    with Log(postgresql_harness) as log:
        postgresql_harness.execute("UPDATE t SET b = 'y'", "UPDATE t SET a = a, v = 8", "UPDATE t SET b = 'x', a = 2")
        assert log.changes() == [
            ("d", 1, "x", None),
            ("c", 1, "y", 7),
            ("u", 1, "y", 8),
            ("d", 1, "y", None),
            ("c", 2, "x", 8),
        ]


def test_rolled_back_work_never_comes(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(T)
    with Log(postgresql_harness) as log:
        other = postgresql_harness.session()
        other.execute("INSERT INTO t VALUES (1, 'a')")
        other.rollback()
        other.execute("INSERT INTO t VALUES (2, 'b')")
        other.execute("SAVEPOINT s")
        other.execute("INSERT INTO t VALUES (3, 'c')")
        other.execute("ROLLBACK TO s")
        other.execute("INSERT INTO t VALUES (4, 'd')")
        assert log.changes() == []
        other.commit()
        other.close()
        assert log.changes("id") == [("c", 2), ("c", 4)]


def test_a_prepared_transaction_comes_when_it_is_committed(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(T)
    with Log(postgresql_harness) as log:
        for number, end in ((1, "ROLLBACK"), (2, "COMMIT")):
            other = postgresql_harness.session()
            other.execute(f"INSERT INTO t VALUES ({number}, 'a')")
            other.execute(f"PREPARE TRANSACTION 'p{number}'")
            other.close()
            assert log.changes() == []
            postgresql_harness.execute(f"{end} PREPARED 'p{number}'")
        assert log.changes("id") == [("c", 2)]


def test_unchanged_large_values_are_absent_and_never_null(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text, n int)", f"INSERT INTO t VALUES (1, {LARGE}, 1)"
    )
    with Log(postgresql_harness) as log:
        postgresql_harness.execute("UPDATE t SET n = 2", "UPDATE t SET v = NULL")
        assert log.changes("id", "v", "n", "_absent") == [("u", 1, None, 2, ["v"]), ("u", 1, None, 2, None)]


def test_a_moved_row_whose_large_value_is_not_in_the_log_is_not_guessed(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute("CREATE TABLE t (id int PRIMARY KEY, v text)", f"INSERT INTO t VALUES (1, {LARGE})")
    with Log(postgresql_harness) as log:
        postgresql_harness.execute("INSERT INTO t VALUES (5, 'five')", "UPDATE t SET id = 2 WHERE id = 1")
        parts = log.parts()
        (lost,) = events(parts, EventKind.LOST)
        assert told(parts)[0] == ("c", 5, "five")
        assert lost.error is not None
        assert lost.error.code == "FB-LOG-UNFIT"
        assert "id = 2" in str(lost.error)
        assert "REPLICA IDENTITY FULL" in lost.error.remedy
        postgresql_harness.execute("INSERT INTO t VALUES (6, 'six')")
        assert log.changes() == []


def test_replica_identity_full_gives_the_whole_old_row(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text, n int)",
        "ALTER TABLE t REPLICA IDENTITY FULL",
        f"INSERT INTO t VALUES (1, {LARGE}, 1)",
    )
    ((large,),) = postgresql_harness.rows("SELECT v FROM t")
    with Log(postgresql_harness) as log:
        postgresql_harness.execute("UPDATE t SET n = 2", "UPDATE t SET id = 3", "DELETE FROM t")
        assert log.changes("id", "n", "_absent", "v") == [
            ("u", 1, 2, None, large),
            ("d", 1, 2, None, large),
            ("c", 3, 2, None, large),
            ("d", 3, 2, None, large),
        ]


def test_a_table_without_key_comes_by_its_whole_rows(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute("CREATE TABLE t (a int, b text)", "ALTER TABLE t REPLICA IDENTITY FULL")
    with Log(postgresql_harness) as log:
        postgresql_harness.execute("INSERT INTO t VALUES (1, NULL), (1, NULL)", "UPDATE t SET b = 'x'", "DELETE FROM t")
        assert log.changes() == [
            ("c", 1, None),
            ("c", 1, None),
            ("d", 1, None),
            ("c", 1, "x"),
            ("d", 1, None),
            ("c", 1, "x"),
            ("d", 1, "x"),
            ("d", 1, "x"),
        ]


def test_truncate_empties_every_followed_table_that_it_names(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(
        T,
        "CREATE TABLE child (id int PRIMARY KEY, t int REFERENCES t)",
        "INSERT INTO t VALUES (1, 'a')",
        "INSERT INTO child VALUES (1, 1)",
    )
    with Log(postgresql_harness, ("t", "child")) as log:
        other = postgresql_harness.session()
        other.execute("INSERT INTO t VALUES (2, 'b')")
        other.execute("TRUNCATE t CASCADE")
        other.execute("INSERT INTO t VALUES (3, 'c')")
        other.commit()
        other.close()
        parts = log.parts()
        assert [each for each in told(parts) if each[1] != "child"] == [
            ("c", 2, "b"),
            (EventKind.TRUNCATED, "t"),
            ("c", 3, "c"),
        ]
        assert {event.table.name for event in events(parts, EventKind.TRUNCATED)} == {"t", "child"}


def test_partitions_come_as_their_table_and_a_moved_row_once(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(
        "CREATE TABLE t (id int, at date, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)",
        "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
        "CREATE TABLE t_2 (at date NOT NULL, v text, id int NOT NULL)",  # other order of columns
        "ALTER TABLE t ATTACH PARTITION t_2 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
    )
    with Log(postgresql_harness) as log:
        postgresql_harness.execute(
            "INSERT INTO t VALUES (1, '2024-05-01', 'a'), (2, '2025-05-01', 'b')",
            "UPDATE t SET v = 'c'",
            "UPDATE t SET at = '2025-06-01' WHERE id = 1",
            "CREATE TABLE t_3 PARTITION OF t FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
            "INSERT INTO t VALUES (3, '2026-05-01', 'd')",
            "DELETE FROM t WHERE id = 2",
            "TRUNCATE t",
        )
        assert log.changes("id", "v") == [
            ("c", 1, "a"),
            ("c", 2, "b"),
            ("u", 1, "c"),
            ("u", 2, "c"),
            ("d", 1, None),
            ("c", 1, "c"),
            ("c", 3, "d"),
            ("d", 2, None),
            (EventKind.TRUNCATED, "t"),
        ]


def test_what_is_not_captured_is_not_handed_on(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY, secret text, v text)", "CREATE TABLE u (id int PRIMARY KEY)"
    )
    with Log(postgresql_harness) as log:
        log.follow(excluded=("secret",))
        postgresql_harness.execute("INSERT INTO t VALUES (1, 'geheim', 'a')", "INSERT INTO u VALUES (1)")
        parts = log.parts()
        assert told(parts) == [("c", 1, "a")]
        assert all("secret" not in part.rows.schema.names for part in parts if isinstance(part, LogRows))


def test_every_checkpoint_continues_where_it_stands(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(T, "CREATE TABLE u (id int PRIMARY KEY)")
    with Log(postgresql_harness, ("t", "u"), rows_at_once=8, keep=False) as log:
        expected: list[tuple[object, ...]] = []
        for number in range(40):
            rows = range(number * 20, number * 20 + (number * 7) % 19)
            postgresql_harness.execute(inserted(rows), f"INSERT INTO u VALUES ({number})")
            if number % 3 == 0:
                expected += log.changes("id")
        expected += log.changes("id")
        pieces = list(log.pieces)
        ends = [number for number, piece in enumerate(pieces) if not piece.open]
        assert len(ends) > 8
        assert told([part for piece in pieces for part in piece.parts], "id") == expected
        for end in ends:
            before = told([part for piece in pieces[: end + 1] for part in piece.parts], "id")
            log.again(pieces[end].checkpoint)
            assert sorted(before + log.changes("id")) == sorted(expected)


def test_a_transaction_larger_than_a_piece_is_open_until_its_end(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(T)
    with Log(postgresql_harness, rows_at_once=100) as log:
        start = log.checkpoint
        postgresql_harness.execute(inserted(range(1000)))
        assert [number for _, number in log.changes("id")] == list(range(1000))
        with_rows = [piece for piece in log.pieces if piece.parts]
        assert len(with_rows) >= 8
        opened = [piece for piece in log.pieces if piece.open]
        assert opened
        assert {piece.checkpoint for piece in opened} <= {start, opened[0].checkpoint}
        assert not log.pieces[-1].open


def test_streamed_transactions_come_at_their_commit_and_once(streaming: PostgreSQLHarness) -> None:
    streaming.execute(T)
    with Log(streaming, rows_at_once=200) as log:
        one, other, third = streaming.session(), streaming.session(), streaming.session()
        for number in range(4):
            one.execute(inserted(range(number * 1000, number * 1000 + 1000)))
            other.execute(inserted(range(10_000 + number * 1000, 11_000 + number * 1000)))
            third.execute(inserted(range(20_000 + number * 1000, 21_000 + number * 1000)))
            assert log.changes() == []
        streaming.execute("INSERT INTO t VALUES (-1, 'x')")
        other.commit()
        third.rollback()
        streaming.execute("INSERT INTO t VALUES (-2, 'x')")
        one.commit()
        numbers = [number for _, number in log.changes("id")]
        assert numbers == [-1, *range(10_000, 14_000), -2, *range(4000)]
        assert {("c",)} == {(op,) for piece in log.pieces for op, *_ in told(list(piece.parts))}
        for session in (one, other, third):
            session.close()


def test_rolled_back_savepoints_of_streamed_transactions_never_come(streaming: PostgreSQLHarness) -> None:
    streaming.execute(T)
    with Log(streaming) as log:
        one, other = streaming.session(), streaming.session()
        expected: list[int] = []
        for number in range(12):
            one.execute("SAVEPOINT s")
            one.execute(inserted(range(number * 1000, number * 1000 + 700)))
            other.execute(inserted(range(100_000 + number * 1000, 100_000 + number * 1000 + 700)))
            assert log.changes() == []
            if number % 3:
                one.execute("ROLLBACK TO s")
            else:
                expected += range(number * 1000, number * 1000 + 700)
                if number % 2:
                    one.execute("RELEASE s")
        one.commit()
        other.rollback()
        assert [number for _, number in log.changes("id")] == expected
        one.close()
        other.close()


def test_a_streamed_transaction_is_told_whole_after_a_restart(streaming: PostgreSQLHarness) -> None:
    streaming.execute(T)
    with Log(streaming, rows_at_once=500) as log:
        one = streaming.session()
        one.execute(inserted(range(3000)))
        assert log.changes() == []
        streaming.execute("INSERT INTO t VALUES (-1, 'x')")
        assert log.changes("id") == [("c", -1)]
        log.again()
        one.execute(inserted(range(3000, 6000)))
        one.commit()
        while not (piece := log.read()) or not piece.open:
            pass
        log.again()  # in the middle of handing it on
        assert [number for _, number in log.changes("id")] == list(range(6000))
        one.close()


def test_what_streamed_transactions_hold_in_memory_is_bounded(
    streaming: PostgreSQLHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    spilled: list[int] = []

    class Recording:
        def __init__(self) -> None:
            self.kept: list[bytes] = []

        def append(self, record: bytes) -> None:
            spilled.append(len(record))
            self.kept.append(record)

        def records(self) -> Iterator[bytes]:
            return iter(self.kept)

        def close(self) -> None:
            self.kept = []

    monkeypatch.setattr("forebay_agent.capture.postgresql.log.source._spill", Recording)
    monkeypatch.setattr("forebay_agent.capture.postgresql.log.streamed.MOST_IN_MEMORY", 100_000)
    streaming.execute(T)
    with Log(streaming) as log:
        one = streaming.session()
        one.execute(inserted(range(20_000)))
        assert log.changes() == []
        one.commit()
        assert [number for _, number in log.changes("id")] == list(range(20_000))
        assert sum(spilled) > 1_500_000
        one.close()


def test_schema_changes_within_streamed_transactions_are_told_in_order(streaming: PostgreSQLHarness) -> None:
    streaming.execute(T)
    with Log(streaming) as log:
        one = streaming.session()
        one.execute(inserted(range(2000)))
        one.execute("ALTER TABLE t ADD COLUMN n int")
        one.execute("INSERT INTO t SELECT n, 'y', n FROM generate_series(2000, 3999) n")
        assert log.changes() == []
        one.commit()
        one.close()
        parts = log.parts()
        assert [part.kind for part in parts if isinstance(part, TableEvent)] == [EventKind.GREW]
        assert [each[1] for each in told(parts, "id")] == [*range(2000), "t", *range(2000, 4000)]
        streaming.execute("INSERT INTO t VALUES (-1, 'z', 5)")
        assert log.changes() == [("c", -1, "z", 5)]
