"""The binlog kernel over what a real MariaDB sends in its various settings."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator

import pytest

from forebay_agent.kernel import binlog, binlog_table
from forebay_agent.kernel.binlog import LogScanner, rows_at
from forebay_agent.kernel.binlog_table import WireColumn
from tests.reference.binlog_followed import Followed
from tests.reference.binlog_made import BIGINT, LONGBLOB
from tests.reference.binlog_server import dumped, new_file
from tests.servers.mariadb import MariaDB

DATABASE = "binlog_live"
NAME = (DATABASE, "t")
COLUMNS = [WireColumn(*BIGINT, binlog_table.INT64, key=True), WireColumn(*LONGBLOB, binlog_table.BYTES)]
MARIADB_ROWS = {166: 23, 167: 24, 168: 25}


@pytest.fixture
def server(mariadb: MariaDB) -> Iterator[MariaDB]:
    mariadb.execute(f"CREATE DATABASE {DATABASE}")
    mariadb.execute(
        "CREATE TABLE t (id BIGINT PRIMARY KEY, c LONGTEXT)",
        "CREATE TABLE other (id BIGINT PRIMARY KEY, c LONGTEXT)",
        "CREATE TABLE old (id BIGINT PRIMARY KEY, c LONGTEXT) ENGINE=Aria",
        database=DATABASE,
    )
    yield mariadb
    mariadb.execute(
        "SET GLOBAL log_bin_compress = 0", "SET GLOBAL binlog_checksum = CRC32", f"DROP DATABASE {DATABASE}"
    )


class Inflating(Followed):
    """Also inflates MariaDB's compressed row events."""

    inflated = 0

    def judge(self) -> None:
        kind, body = self.scanner.event_type, self.scanner.event
        if kind not in MARIADB_ROWS:
            super().judge()
            return
        at = rows_at(kind, body)
        rows = zlib.decompress(body[at + 1 + (body[at] & 7) :])
        self.scanner.decode_event(MARIADB_ROWS[kind], body[:at] + rows)
        self.inflated += 1


def changes(found: Followed, name: str = "t") -> list[tuple[object, ...]]:
    return [(change.op, *change.values) for change in found.rows[DATABASE, name]]


def work(server: MariaDB, table: str = "t") -> list[tuple[object, ...]]:
    """Some changes, and what must come of them."""
    server.execute(
        f"INSERT INTO {table} VALUES (1, REPEAT('a', 5000)), (2, NULL)",
        f"UPDATE {table} SET c = 'b' WHERE id = 2",
        f"UPDATE {table} SET id = 3 WHERE id = 2",
        f"DELETE FROM {table} WHERE id = 1",
        database=DATABASE,
    )
    return [
        ("c", 1, b"a" * 5000),
        ("c", 2, None),
        ("u", 2, b"b"),
        ("d", 2, b"b"),
        ("c", 3, b"b"),
        ("d", 1, b"a" * 5000),
    ]


@pytest.mark.parametrize("checksum", ["CRC32", "NONE"])
def test_a_log_with_or_without_checksums_is_read_from_its_start_and_from_within(server: MariaDB, checksum: str) -> None:
    server.execute(f"SET GLOBAL binlog_checksum = {checksum}")
    file = new_file(server)
    middle = int(server.execute("SHOW MASTER STATUS")[0][1])
    expected = work(server)
    places = []
    for position in (4, middle):
        found = Followed({NAME: COLUMNS}, "unknown", LogScanner(checksum=checksum == "NONE"))
        found.feed(dumped(server, file, position), 100)
        assert changes(found) == expected
        assert found.scanner.checksum == (checksum == "CRC32")
        assert found.scanner.file == file
        places.append([change.position for change in found.rows[NAME]])
    assert places[0] == places[1]
    assert found.scanner.finished_at[0] == file
    assert found.scanner.take_gtids() == [server.execute("SELECT @@gtid_binlog_pos")[0][0]]


def test_a_compressed_log_gives_the_same_rows(server: MariaDB) -> None:
    server.execute("SET GLOBAL log_bin_compress = 1, GLOBAL log_bin_compress_min_len = 10")
    file = new_file(server)
    expected = work(server)
    found = Inflating({NAME: COLUMNS}, file)
    found.feed(dumped(server, file))
    assert changes(found) == expected
    assert found.inflated == 4


def test_tables_without_transactions_end_theirs_with_a_commit(server: MariaDB) -> None:
    file = new_file(server)
    expected = work(server, "old")
    found = Followed({(DATABASE, "old"): COLUMNS}, file)
    found.feed(dumped(server, file))
    assert changes(found, "old") == expected
    assert found.scanner.finished == 4


def test_partial_row_images_are_told(server: MariaDB) -> None:
    file = new_file(server)
    work(server)
    server.execute("SET binlog_row_image = MINIMAL", "UPDATE t SET c = 'x'", database=DATABASE)
    found = Followed({NAME: COLUMNS}, file)
    found.feed(dumped(server, file))
    assert len(found.partial) == 1
    assert changes(found)[-1] == ("d", 1, b"a" * 5000)


def test_rows_longer_than_a_packet_are_read_or_passed_over(server: MariaDB) -> None:
    file = new_file(server)
    size = (1 << 24) + 12_345
    with contextlib.closing(server.connect(DATABASE)) as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION max_statement_time = 60")
        for table in ("other", "t"):
            cursor.execute(f"INSERT INTO {table} VALUES (1, REPEAT('z', {size}))")
    found = Followed({NAME: COLUMNS}, file)
    found.feed(dumped(server, file), 1 << 18)
    assert [(op, key, len(bytes(value))) for op, key, value in found_values(found)] == [("c", 1, size)]
    assert found.scanner.finished == 2


def found_values(found: Followed) -> list[tuple[str, int, bytes]]:
    return [(change.op, *change.values) for change in found.rows[NAME]]


def test_a_prepared_transaction_is_handed_over_when_it_is_prepared_and_when_it_is_committed(server: MariaDB) -> None:
    file = new_file(server)
    server.execute(
        "XA START 'a'",
        "INSERT INTO t VALUES (1, 'x')",
        "XA END 'a'",
        "XA PREPARE 'a'",
        "XA COMMIT 'a'",
        database=DATABASE,
    )
    handed: list[tuple[int, int]] = []

    class Noting(Followed):
        def judge(self) -> None:
            if self.scanner.event_type in (38, 162):
                handed.append((self.scanner.event_type, self.scanner.gtid_flags & 192))
            super().judge()

    found = Noting({NAME: COLUMNS}, file)
    found.feed(dumped(server, file))
    assert handed[:1] == [(162, 64)]
    assert (162, 128) in handed
    assert found.stops[binlog.EVENT] >= 5
