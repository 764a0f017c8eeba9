"""A session with MariaDB: it cannot write, ends what runs too long, and survives what breaks it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from forebay_agent import errors
from forebay_agent.capture.mysql.session import Session
from forebay_agent.capture.mysql.source import MySQLSource
from forebay_agent.capture.source import RowRange, TableName
from forebay_agent.config.model import SourceConfig
from forebay_agent.config.secret import Secret
from tests.contract.sources.mysql import MySQLHarness
from tests.servers.mariadb import MariaDB

T = TableName("", "t")


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[MariaDB, Path]]:
    """A MariaDB whose certificate says 127.0.0.1, and the certificate."""
    folder = Path(tempfile.mkdtemp(prefix="forebay-tls-"))
    folder.chmod(0o755)  # the server runs as a user of its own
    certificate, key = folder / "server.pem", folder / "server.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=db", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    key.chmod(0o644)
    with MariaDB.start(
        tmp_path_factory.mktemp("db"), options=(f"--ssl-cert={certificate}", f"--ssl-key={key}")
    ) as server:
        yield server, certificate
    shutil.rmtree(folder)


def numbers(harness: MySQLHarness, count: int, filler: int = 0) -> None:
    harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY, filler longtext)",
        f"INSERT INTO t SELECT seq, REPEAT('x', {filler}) FROM seq_1_to_{count}",
    )


def test_a_source_s_session_cannot_write(mysql_harness: MySQLHarness) -> None:
    numbers(mysql_harness, 3)
    session = Session(mysql_harness.config())
    try:
        with pytest.raises(errors.SourceError):
            session.rows("DELETE FROM t")
    finally:
        session.close()
    assert mysql_harness.rows("SELECT COUNT(*) FROM t") == [(3,)]


def test_a_statement_that_runs_too_long_is_ended_by_the_server(mysql_harness: MySQLHarness) -> None:
    numbers(mysql_harness, 1)
    mysql_harness.execute("CREATE VIEW slow AS SELECT id, SLEEP(id * 30) AS s FROM t")
    source = mysql_harness.open(statement_timeout=timedelta(seconds=1))
    shape = source.shape(TableName("", "slow"))
    began = time.monotonic()
    with pytest.raises(errors.StatementTimeout):
        list(source.read(shape, RowRange(())))
    assert time.monotonic() - began < 5
    assert sum(batch.num_rows for batch in source.read(source.shape(T), RowRange(()))) == 1


def test_an_error_in_the_middle_of_a_result_is_an_error_not_an_end(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY, filler text)",
        "INSERT INTO t SELECT seq, REPEAT('x', 500) FROM seq_1_to_40000",
        "CREATE VIEW late AS SELECT id, filler, IF(id = 39999, SLEEP(60), 0) AS s FROM t ORDER BY id",
    )
    source = mysql_harness.open(statement_timeout=timedelta(seconds=2))
    shape = source.shape(TableName("", "late"))
    seen: list[int] = []
    with pytest.raises(errors.StatementTimeout):
        seen.extend(batch.num_rows for batch in source.read(shape, RowRange(())))
    assert 0 < sum(seen) < 40_000


def test_a_reader_that_gives_up_early_can_read_again(mysql_harness: MySQLHarness) -> None:
    numbers(mysql_harness, 20_000, 2_000)
    source = mysql_harness.open()
    shape = source.shape(T)
    for _ in range(3):
        batches = source.read(shape, RowRange(("id",)))
        first = next(batches)
        assert 0 < first.num_rows < 20_000
        batches.close()  # type: ignore[attr-defined]
    assert sum(batch.num_rows for batch in source.read(shape, RowRange(("id",)))) == 20_000


def test_rows_of_16_mib_and_more_come_whole(mysql_harness: MySQLHarness) -> None:
    edge = 0xFFFFFF
    sizes = [edge - 11, edge - 10, edge - 9, edge - 8, edge, 2 * edge - 9, 3, 40 << 20]
    mysql_harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY, b longblob)",
        *(f"INSERT INTO t VALUES ({n}, REPEAT(CHAR({65 + n}), {size}))" for n, size in enumerate(sizes)),
    )
    source = mysql_harness.open()
    seen = []
    for batch in source.read(source.shape(T), RowRange(("id",))):
        for number, value in zip(batch.column("id"), batch.column("b"), strict=True):
            data = value.as_buffer()
            assert data.to_pybytes().count(65 + number.as_py()) == data.size
            seen.append(data.size)
    assert seen == sizes


def test_memory_stays_flat_however_many_rows(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute("CREATE TABLE t (id int PRIMARY KEY, filler varchar(300))")
    mysql_harness.execute("INSERT INTO t SELECT seq, REPEAT('中', 100) FROM seq_1_to_300000")
    script = """
import re, sys
from pathlib import Path
from forebay_agent.capture.mysql import open
from forebay_agent.capture.source import RowRange, TableName
from forebay_agent.config.model import SourceConfig
from forebay_agent.config.secret import Secret
port, database, user, file = sys.argv[1:]
source = open(SourceConfig("s", "mysql", "f", port=int(port), database=database, user=user, password=Secret(file=Path(file))))
shape = source.shape(TableName("", "t"))
def peak(limit):
    rows = sum(batch.num_rows for batch in source.read(shape, RowRange(("id",), limit=limit)))
    assert rows == limit
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) >> 10
print(peak(60_000), peak(300_000))
"""
    config = mysql_harness.config()
    assert config.password is not None
    arguments = [str(config.port), config.database, config.user, str(config.password.file)]
    done = subprocess.run([sys.executable, "-c", script, *arguments], check=True, capture_output=True, text=True)
    few, many = map(int, done.stdout.split())
    assert many < 200
    assert many - few < 15


def test_a_killed_server_is_unreachable_and_then_back(tmp_path: Path) -> None:
    with MariaDB.start(tmp_path / "db") as server:
        harness = MySQLHarness(server)
        numbers(harness, 30_000, 1_000)
        source = harness.open()
        shape = source.shape(T)
        batches = source.read(shape, RowRange(("id",)))
        next(batches)
        server.kill()
        with pytest.raises(errors.SourceUnreachable):
            list(batches)
        with pytest.raises(errors.SourceUnreachable):
            source.clock_us()
        identity = harness.config().port
        server.restart()
        assert harness.config().port == identity
        assert sum(batch.num_rows for batch in source.read(shape, RowRange(("id",)))) == 30_000
        harness.close()


def test_the_server_s_identity_is_the_same_after_a_restart_and_another_for_another(tmp_path: Path) -> None:
    with MariaDB.start(tmp_path / "a") as one, MariaDB.start(tmp_path / "b") as other:
        first, second = MySQLHarness(one), MySQLHarness(other)
        before = first.open().identity()
        assert before != second.open().identity()
        one.halt()
        one.restart()
        assert first.open().identity() == before


def test_a_connection_that_the_server_ended_is_made_again(mysql_harness: MySQLHarness) -> None:
    numbers(mysql_harness, 5)
    source = mysql_harness.open()
    shape = source.shape(T)
    killed = mysql_harness.rows(
        "SELECT ID FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND COMMAND = 'Sleep' "
        f"AND DB = '{mysql_harness.database}'"
    )
    assert killed
    mysql_harness.execute(*(f"KILL {number}" for (number,) in killed))
    with pytest.raises(errors.SourceUnreachable):
        list(source.read(shape, RowRange(())))
    assert sum(batch.num_rows for batch in source.read(shape, RowRange(()))) == 5


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"user": "nobody"}, errors.SourceDenied),
        ({"database": "not_there"}, errors.TableMissing),
        ({"port": "free"}, errors.SourceUnreachable),
        ({"socket": "/nowhere/mysqld.sock", "port": 0}, errors.SourceUnreachable),
        ({"charset": "no-such"}, errors.ConfigurationError),
        ({"tls": "required"}, errors.SourceUnreachable),
    ],
    ids=lambda value: str(value),
)
def test_a_connection_that_cannot_be_made_has_its_kind(
    mysql_harness: MySQLHarness, changes: dict[str, object], kind: type[errors.AgentError]
) -> None:
    if changes.get("port") == "free":
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            changes = {"port": probe.getsockname()[1]}
    with pytest.raises(kind) as raised:
        mysql_harness.open(**changes)
    assert mysql_harness.server.password not in str(raised.value)


def test_what_is_not_there_or_not_allowed_has_its_kind(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute("CREATE TABLE t (id int PRIMARY KEY, a int, b int)", "CREATE TABLE other (id int)")
    database = mysql_harness.database
    all_seeing = mysql_harness.open()
    with pytest.raises(errors.TableMissing):
        all_seeing.shape(TableName("", "nowhere"))
    shape = all_seeing.shape(T)
    mysql_harness.execute("ALTER TABLE t DROP COLUMN b")
    with pytest.raises(errors.ColumnMissing):
        list(all_seeing.read(shape, RowRange(())))
    mysql_harness.execute("DROP TABLE t", "CREATE TABLE t (id int PRIMARY KEY, a int)")
    reader = mysql_harness.open(**mysql_harness.reader(f"SELECT (id) ON `{database}`.t"))
    assert [column.name for column in reader.shape(T).columns] == ["id"]
    with pytest.raises(errors.PrivilegeMissing):
        list(reader.read(all_seeing.shape(T), RowRange(())))
    with pytest.raises(errors.PrivilegeMissing) as raised:
        reader.shape(TableName("", "other"))
    mysql_harness.execute(raised.value.sql.rstrip(";"))
    assert reader.shape(TableName("", "other")).columns


def test_the_unix_socket_is_a_way_in(mysql_harness: MySQLHarness) -> None:
    numbers(mysql_harness, 2)
    source = mysql_harness.open(socket=mysql_harness.server.socket, host="", port=0)
    assert sum(batch.num_rows for batch in source.read(source.shape(T), RowRange(()))) == 2


def test_a_long_passphrase_in_chinese_is_sent_as_it_is(mysql_harness: MySQLHarness, tmp_path: Path) -> None:
    mysql_harness.execute("CREATE USER chinese@'%' IDENTIFIED BY '数据共享''s 密码'")
    (tmp_path / "password").write_text("数据共享's 密码\n", "utf-8")
    try:
        secret = Secret(file=tmp_path / "password")
        assert mysql_harness.open(user="chinese", password=secret, database="").clock_us()
    finally:
        mysql_harness.execute("DROP USER chinese@'%'")


def test_the_clock_is_the_database_s(mysql_harness: MySQLHarness) -> None:
    assert abs(mysql_harness.open().clock_us() - time.time_ns() // 1000) < 5_000_000


@pytest.mark.parametrize("tls", ["preferred", "required", "verify"])
def test_rows_come_whole_over_tls(tls_server: tuple[MariaDB, Path], tls: str) -> None:
    server, certificate = tls_server
    harness = MySQLHarness(server)
    numbers(harness, 60_000, 300)
    source = harness.open(tls=tls, tls_ca=certificate if tls == "verify" else None)
    assert isinstance(source, MySQLSource)
    cipher = source._session.rows("SHOW STATUS LIKE 'Ssl_cipher'")[0][1]
    assert cipher
    rows = 0
    for batch in source.read(source.shape(T), RowRange(("id",))):
        assert batch.column("id")[0].as_py() == rows + 1
        rows += batch.num_rows
    assert rows == 60_000
    harness.close()


def test_a_certificate_of_nobody_known_is_refused_with_what_to_do(tls_server: tuple[MariaDB, Path]) -> None:
    server, certificate = tls_server
    harness = MySQLHarness(server)
    for changes in ({"tls": "verify"}, {"tls": "verify", "tls_ca": certificate, "host": "localhost"}):
        with pytest.raises(errors.SourceUnreachable) as raised:
            harness.open(**changes)
        assert "tls_ca" in raised.value.remedy
    harness.close()


def test_a_server_that_takes_connections_and_is_silent_is_unreachable_after_the_connect_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        config = SourceConfig(
            "s", "mysql", "f", port=server.getsockname()[1], user="u", connect_timeout=timedelta(seconds=1)
        )
        began = time.monotonic()
        with pytest.raises(errors.SourceUnreachable):
            Session(config)
        assert time.monotonic() - began < 5
