"""What every Source promises about the server behind it: who it is, what time it has, and what is said when it does not answer."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest

from forebay_agent import errors
from forebay_agent.capture.source import RowRange, Source, TableName
from forebay_agent.config.secret import Secret
from tests.contract.dialects import Dialect, rows_of
from tests.contract.harness import SourceHarness
from tests.servers.ports import closed_port


def test_a_missing_table_is_called_missing(source: Source) -> None:
    with pytest.raises(errors.TableMissing):
        source.shape(TableName.parse("no_such_table"))
    with pytest.raises(errors.TableMissing):
        source.shape(TableName.parse("no_such_schema.no_such_table"))


def test_an_unreachable_database_is_called_unreachable(source_harness: SourceHarness, tmp_path: Path) -> None:
    where: dict[str, object] = (
        {"path": tmp_path / "none.db"} if source_harness.kind == "sqlite" else {"port": closed_port()}
    )
    with pytest.raises(errors.SourceUnreachable):
        source_harness.open(**where)


@pytest.mark.parametrize("dialect", ["mysql", "postgresql"])
def test_a_wrong_password_is_denied_and_not_repeated(
    request: pytest.FixtureRequest, dialect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness: SourceHarness = request.getfixturevalue(f"{dialect}_harness")
    monkeypatch.setenv("FOREBAY_TEST_PASSWORD", "quite-wrong-4711")
    with pytest.raises(errors.SourceDenied) as caught:
        harness.open(password=Secret(env="FOREBAY_TEST_PASSWORD"))
    assert "quite-wrong-4711" not in str(caught.value)


def test_the_clock_is_the_databases_and_in_utc(source: Source) -> None:
    assert abs(source.clock_us() - time.time_ns() // 1000) < 5_000_000


def test_the_servers_identity_is_the_same_in_every_session(source_harness: SourceHarness, source: Source) -> None:
    assert source.identity()
    assert source.identity() == source_harness.open().identity()


def test_a_tables_identity_changes_when_it_is_created_again_and_by_nothing_else(
    source_harness: SourceHarness, source: Source, words: Dialect
) -> None:
    """Where the database has none it is empty, which says so, and stays so."""
    create = f"CREATE TABLE t (id {words.integer} PRIMARY KEY, a {words.integer})"
    source_harness.execute(create, "INSERT INTO t VALUES (1, 1)")
    table = TableName.parse("t")
    first = source.shape(table).identity
    for statement in (
        "INSERT INTO t VALUES (2, 2)",
        "DELETE FROM t WHERE id = 1",
        "CREATE INDEX by_a ON t (a)",
        f"ALTER TABLE t ADD COLUMN b {words.integer}",
        "ANALYZE TABLE t" if source_harness.kind == "mysql" else "ANALYZE t",
        "OPTIMIZE TABLE t" if source_harness.kind == "mysql" else "VACUUM",
    ):
        source_harness.execute(statement)
        assert source.shape(table).identity == first, statement
    source_harness.execute("DROP TABLE t", create)
    again = source.shape(table).identity
    assert (first, again) == ("", "") or first != again
    assert (source_harness.kind == "postgresql") == bool(first)


def test_a_statement_that_runs_too_long_is_a_timeout(source_harness: SourceHarness, words: Dialect) -> None:
    source_harness.execute(
        f"CREATE TABLE t (id {words.integer} PRIMARY KEY)",
        f"INSERT INTO t SELECT n FROM {words.numbers.format(3000)}",
        "CREATE VIEW slow AS SELECT count(*) AS id FROM t a, t b, t c WHERE a.id + b.id + c.id < 0",
    )
    source = source_harness.open(statement_timeout=timedelta(seconds=1))
    shape = source.shape(TableName.parse("slow"))
    with pytest.raises(errors.StatementTimeout):
        rows_of(source, shape, RowRange(()))
    assert source.shape(TableName.parse("t")).key == ("id",)
