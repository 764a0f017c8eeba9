"""A session with PostgreSQL: it cannot write, is told its troubles by their codes, and survives what breaks it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from forebay_agent import errors
from forebay_agent.capture.postgresql.session import Session
from forebay_agent.capture.postgresql.sqlstate import kind_of
from forebay_agent.capture.source import RowRange, Severity, Source, TableName
from forebay_agent.config.secret import Secret
from tests.contract.sources.postgresql import PostgreSQLHarness
from tests.servers.postgresql import PostgreSQL

T = TableName("public", "t")
BY_ID = RowRange(("id",))


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PostgreSQL, Path]]:
    """A PostgreSQL whose certificate says 127.0.0.1, and the certificate."""
    with PostgreSQL.start(tmp_path_factory.mktemp("tls")) as server:
        certificate, key = server.data / "server.crt", server.data / "server.key"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-days", "2", "-subj", "/CN=db", "-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
        owner = server.data.stat()
        for file in (certificate, key):
            shutil.chown(file, owner.st_uid, owner.st_gid)
            file.chmod(0o600)
        server.execute("ALTER SYSTEM SET ssl TO on")
        server.restart()
        yield server, certificate


def numbers(harness: PostgreSQLHarness, count: int, filler: int = 0) -> None:
    harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY, filler text)",
        f"INSERT INTO t SELECT n, repeat('x', {filler}) FROM generate_series(1, {count}) n",
        "ANALYZE t",
    )


def read_ids(source: Source) -> list[int]:
    return [key for batch in source.read(source.shape(T), BY_ID) for key in batch.column("id").to_pylist()]


def test_a_source_s_session_cannot_write(postgresql_harness: PostgreSQLHarness) -> None:
    numbers(postgresql_harness, 3)
    session = Session(postgresql_harness.config())
    with pytest.raises(errors.SourceError, match="25006"):
        session.run("DELETE FROM t")
    session.close()
    assert postgresql_harness.rows("SELECT count(*) FROM t") == [(3,)]


def test_chunks_are_read_by_their_index_in_order_without_sorting(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(
        "CREATE TABLE t (a text, b int, at timestamp, v text, PRIMARY KEY (a, b))",
        "INSERT INTO t SELECT md5(n::text), n, '2024-01-01'::timestamp + n * '1 s'::interval, repeat('x', 50) "
        "FROM generate_series(1, 20000) n",
        "CREATE INDEX by_time ON t (at)",
        "ANALYZE t",
    )
    source = postgresql_harness.open()
    shape = source.shape(T)
    session = Session(postgresql_harness.config())
    ranges = {
        "t_pkey": RowRange(("a", "b"), after=("8", "5"), limit=10_000),
        "by_time": RowRange(
            ("at", "a", "b"), at_least="2024-01-01 00:00:00.000000", through="2024-01-01 05:00:00.000000"
        ),
    }

    def plan_of(rows: RowRange) -> str:
        query = source.query(shape, rows).removeprefix("COPY (").removesuffix(") TO STDOUT (FORMAT BINARY)")
        return "\n".join(line for (line,) in session.rows(f"EXPLAIN {query}"))

    for index, rows in ranges.items():
        plan = plan_of(rows)
        assert f"using {index}" in plan
        assert "Seq Scan" not in plan
        assert "Sort  " not in plan.replace("Incremental Sort  ", "")
    assert "Sort" not in plan_of(RowRange(shape.key))
    assert "Index Cond: (ROW(a, b) > ROW('8'::text, 5))" in plan_of(ranges["t_pkey"])
    session.close()


@pytest.mark.parametrize("tail", ["1 / (3000 - n)", "CASE n WHEN 3000 THEN 'secret value' ELSE '1' END::int"])
def test_an_error_in_the_middle_of_a_copy_is_an_error_not_an_end_and_quotes_no_value(
    postgresql_harness: PostgreSQLHarness, tail: str
) -> None:
    postgresql_harness.execute(f"CREATE VIEW t AS SELECT n AS id, {tail} AS v FROM generate_series(1, 5000) n")
    source = postgresql_harness.open()
    shape = source.shape(T)
    with pytest.raises(errors.SourceError, match="SQLSTATE 22") as raised:
        list(source.read(shape, RowRange(())))
    assert "secret" not in str(raised.value)
    assert source.clock_us() > 0


def test_a_reader_that_gives_up_early_can_read_again(postgresql_harness: PostgreSQLHarness) -> None:
    numbers(postgresql_harness, 200_000, 100)
    source = postgresql_harness.open()
    shape = source.shape(T)
    for _ in range(3):
        reading = source.read(shape, BY_ID)
        assert next(reading).num_rows > 0
        reading.close()  # type: ignore[attr-defined]
        active = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'COPY%'"
        assert postgresql_harness.rows(active) == [(0,)]
    assert len(read_ids(source)) == 200_000


def test_a_row_of_100_mib_comes_whole(postgresql_harness: PostgreSQLHarness) -> None:
    numbers(postgresql_harness, 2, 100 << 20)
    source = postgresql_harness.open()
    sizes = [len(value.as_buffer()) for b in source.read(source.shape(T), BY_ID) for value in b.column("filler")]
    assert sizes == [100 << 20] * 2


def test_a_server_killed_while_rows_come_is_unreachable_and_back_when_it_is_back(tmp_path: Path) -> None:
    with PostgreSQL.start(tmp_path) as server:
        harness = PostgreSQLHarness(server)
        numbers(harness, 300_000, 100)
        source = harness.open()
        identity = source.identity()
        reading = source.read(source.shape(T), BY_ID)
        assert next(reading).num_rows > 0
        server.kill()
        with pytest.raises(errors.SourceUnreachable):
            list(reading)
        with pytest.raises(errors.SourceUnreachable):
            source.clock_us()
        source.close()
        with pytest.raises(errors.SourceUnreachable):
            harness.open()
        server.restart()
        again = harness.open()
        assert again.identity() == identity
        assert len(read_ids(again)) == 300_000
        again.close()
        with PostgreSQL.start(tmp_path, fresh=True) as other:
            elsewhere = PostgreSQLHarness(other)
            assert elsewhere.open().identity() != identity
            elsewhere.close()


def test_a_connection_that_the_server_ended_is_unreachable(postgresql_harness: PostgreSQLHarness) -> None:
    source = postgresql_harness.open()
    source.clock_us()
    postgresql_harness.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'forebay-agent' "
        "AND datname = current_database()"
    )
    with pytest.raises(errors.SourceUnreachable):
        source.clock_us()


def test_a_cancelled_statement_is_a_timeout_and_the_next_one_runs(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute("CREATE VIEW t AS SELECT n AS id FROM generate_series(1, 3) n, pg_sleep(30)")
    source = postgresql_harness.open(statement_timeout=timedelta(milliseconds=300))
    with pytest.raises(errors.StatementTimeout):
        list(source.read(source.shape(T), RowRange(())))
    assert source.clock_us() > 0


def test_other_threads_run_while_a_source_waits(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute("CREATE VIEW t AS SELECT 1 AS id FROM pg_sleep(1)")
    source = postgresql_harness.open()
    shape = source.shape(T)
    ticks: list[float] = []
    reading = threading.Thread(target=lambda: list(source.read(shape, RowRange(()))))
    reading.start()
    while reading.is_alive():
        ticks.append(time.monotonic())
        time.sleep(0.01)
    gaps = [later - earlier for earlier, later in pairwise(ticks)]
    assert sum(gaps) > 0.8
    assert max(gaps) < 0.5


REFUSALS: dict[str, tuple[dict[str, object], type[errors.AgentError], str]] = {
    "wrong password": ({"password": Secret(env="FOREBAY_WRONG")}, errors.SourceDenied, "28P01"),
    "unknown user": ({"user": "nobody"}, errors.SourceDenied, "28P01"),
    "no password": ({"password": None}, errors.SourceDenied, "password"),
    "unknown database": ({"database": "nowhere"}, errors.SourceUnreachable, "3D000"),
    "closed port": ({"port": 1}, errors.SourceUnreachable, "refused"),
    "unknown host": ({"host": "no.such.host.invalid"}, errors.SourceUnreachable, "resolved"),
    "TLS where there is none": ({"tls": "required"}, errors.SourceUnreachable, "SSL"),
    "a charset in UTF8": ({"charset": "gbk"}, errors.ConfigurationError, "charset"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_connection_that_cannot_be_made_has_its_kind_and_no_secret(
    postgresql_harness: PostgreSQLHarness, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setenv("FOREBAY_WRONG", "wrong-secret")
    changes, kind, told = REFUSALS[case]
    with pytest.raises(kind, match=told) as raised:
        postgresql_harness.open(**changes)
    shown = f"{raised.value} {raised.value.remedy}"
    assert "wrong-secret" not in shown
    assert postgresql_harness.server.password not in shown
    assert "\n" not in shown


def test_a_server_that_takes_connections_and_is_silent_is_unreachable_after_the_connect_timeout(
    postgresql_harness: PostgreSQLHarness,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(errors.SourceUnreachable, match="no answer"):
            postgresql_harness.open(port=silent.getsockname()[1], connect_timeout=timedelta(seconds=1))
        assert time.monotonic() - began < 5


def test_what_is_not_there_or_not_allowed_has_its_kind_and_its_grant(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v int, w int)", "CREATE SCHEMA closed", "CREATE TABLE closed.u (id int)"
    )
    reader = postgresql_harness.reader("pg_read_all_stats")
    source = postgresql_harness.open(**reader)
    with pytest.raises(errors.TableMissing):
        source.shape(TableName("public", "missing"))
    with pytest.raises(errors.TableMissing):
        source.shape(TableName("nowhere", "t"))
    for table in (T, TableName("closed", "u")):
        with pytest.raises(errors.PrivilegeMissing) as refused:
            source.shape(table)
        postgresql_harness.execute(refused.value.sql)
        assert source.shape(table).columns
    postgresql_harness.execute(
        f"REVOKE SELECT ON t FROM {reader['user']}", f"GRANT SELECT (id) ON t TO {reader['user']}"
    )
    shape = source.shape(T)
    with pytest.raises(errors.PrivilegeMissing):
        list(source.read(shape, BY_ID))
    assert list(source.read(shape.with_columns(("id",)), BY_ID)) == []
    (finding,) = [found for found in source.examine(shape, None) if found.severity is Severity.ERROR]
    assert "v, w" in finding.message
    postgresql_harness.execute(finding.sql)
    assert list(source.read(shape, BY_ID)) == []
    postgresql_harness.execute("ALTER TABLE t DROP COLUMN v")
    with pytest.raises(errors.ColumnMissing):
        list(source.read(shape, BY_ID))
    postgresql_harness.execute(f"DROP OWNED BY {reader['user']}")


@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [
        ("28000", errors.SourceDenied),
        ("42501", errors.PrivilegeMissing),
        ("42P01", errors.TableMissing),
        ("3F000", errors.TableMissing),
        ("42703", errors.ColumnMissing),
        ("57014", errors.StatementTimeout),
        ("55P03", errors.StatementTimeout),
        ("08006", errors.SourceUnreachable),
        ("57P01", errors.SourceUnreachable),
        ("57P03", errors.SourceUnreachable),
        ("53300", errors.SourceUnreachable),
        ("22P05", errors.ValueUnrepresentable),
        ("22012", errors.SourceError),
        ("XX000", errors.SourceError),
    ],
)
def test_a_code_has_its_kind(sqlstate: str, kind: type[errors.AgentError]) -> None:
    assert kind_of(sqlstate) is kind


def test_row_security_that_hides_rows_is_told(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY)",
        "INSERT INTO t VALUES (1), (2)",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY one ON t USING (id = 1)",
    )
    source = postgresql_harness.open(**postgresql_harness.reader("SELECT ON t"))
    assert read_ids(source) == [1]
    assert "row security" in {
        f.subject for f in source.examine(source.shape(T), None) if f.severity is Severity.WARNING
    }
    postgresql_harness.execute("DROP TABLE t")


@pytest.mark.parametrize("tls", ["off", "preferred", "required", "verify"])
def test_rows_come_whole_over_tls(tls_server: tuple[PostgreSQL, Path], tls: str) -> None:
    server, certificate = tls_server
    harness = PostgreSQLHarness(server)
    numbers(harness, 100_000, 100)
    source = harness.open(tls=tls, tls_ca=certificate)
    assert read_ids(source) == list(range(1, 100_001))
    encrypted = (
        "SELECT ssl FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.application_name = 'forebay-agent'"
    )
    assert harness.rows(encrypted) == [(tls != "off",)]
    harness.close()


def test_a_certificate_of_nobody_known_is_refused(tls_server: tuple[PostgreSQL, Path]) -> None:
    harness = PostgreSQLHarness(tls_server[0])
    with pytest.raises(errors.SourceUnreachable, match="certificate"):
        harness.open(tls="verify")
    with pytest.raises(errors.SourceUnreachable, match="certificate"):
        harness.open(tls="verify", tls_ca=tls_server[1], host="localhost")
    harness.close()
