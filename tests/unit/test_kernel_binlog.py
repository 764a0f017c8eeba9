"""The scanner of the replication stream: transactions and limits; what it cannot judge it hands over."""

from __future__ import annotations

import pytest

from forebay_agent.kernel import binlog, binlog_table
from forebay_agent.kernel.binlog import LogScanner
from forebay_agent.kernel.binlog_table import TableDecoder, WireColumn
from tests.reference.binlog import packets
from tests.reference.binlog_followed import Followed, rows_of
from tests.reference.binlog_made import BIGINT, SERVER, VARCHAR, Log, image, number, text

NAME = ("d", "t")
FILE = "binlog.000003"
T = [BIGINT, VARCHAR]
COLUMNS = [
    WireColumn(*BIGINT, binlog_table.INT64, key=True),
    WireColumn(*VARCHAR, binlog_table.BYTES),
]


def row(key: int, value: str | None = "v") -> bytes:
    return image(number(key), None if value is None else text(value))


def inserted(log: Log, gtid: int, *keys: int, table: str = "t", table_id: int = 7) -> int:
    """A transaction; -> where its row event begins."""
    log.gtid(gtid)
    log.table_map(table_id, table, T)
    start = log.rows(23, table_id, 2, b"".join(row(key) for key in keys))
    log.xid()
    return start


def followed(log: Log, step: int = 1 << 30, scanner: LogScanner | None = None) -> Followed:
    found = Followed({NAME: COLUMNS}, FILE, scanner)
    found.feed(packets(log.raw), step)
    return found


def keys(found: Followed) -> list[int]:
    return [change.values[0] for change in found.rows[NAME]]


# transactions


@pytest.mark.parametrize("step", [1, 3, 50, 1 << 20])
def test_rows_carry_gtid_place_and_commit_time_however_the_bytes_arrive(step: int) -> None:
    log = Log()
    first = inserted(log, 41, 1, 2)
    log.timestamp += 5
    second = inserted(log, 42, 3)
    found = followed(log, step)
    assert [(change.position, change.committed_at) for change in found.rows[NAME]] == [
        (f"0-1-41@{FILE}:{first}", 1_700_000_000_000_000),
        (f"0-1-41@{FILE}:{first}", 1_700_000_000_000_000),
        (f"0-1-42@{FILE}:{second}", 1_700_000_005_000_000),
    ]
    scanner = found.scanner
    assert (scanner.finished, scanner.finished_at, scanner.finished_gtid) == (2, (FILE, log.position), "0-1-42")
    assert scanner.finished_committed_at_us == 1_700_000_005_000_000
    assert (scanner.in_transaction, scanner.open_rows, scanner.position) == (False, 0, log.position)
    assert scanner.take_gtids() == ["0-1-42"]
    assert scanner.take_gtids() == []


def test_mysql_transactions_have_its_gtid_and_commit_time_in_microseconds() -> None:
    log = Log()
    log.mysql_gtid(23, moment=1_700_000_000_123_456 | 1 << 55)
    log.query(b"BEGIN")
    log.table_map(7, "t", T)
    start = log.rows(30, 7, 2, row(1), extra=b"\x00\x01\x02")
    log.xid()
    (change,) = followed(log).rows[NAME]
    assert change.position == f"{SERVER}:23@{FILE}:{start}"
    assert change.committed_at == 1_700_000_000_123_456


def test_ended_gtids_are_told_per_domain_and_as_sets() -> None:
    log = Log()
    for domain, sequence in ((0, 5), (1, 9), (0, 6), (2, 1), (1, 10)):
        log.gtid(sequence, domain)
        log.xid()
    for gno in (1, 2, 3, 5, 4, 6):
        log.mysql_gtid(gno)
        log.xid()
    gtids = followed(log).scanner.take_gtids()
    assert gtids == ["0-1-6", "1-1-10", "2-1-1", f"{SERVER}:1-4", f"{SERVER}:5-6"]


def test_anonymous_and_plain_transactions_stand_by_file_and_offset() -> None:
    log = Log()
    log.mysql_gtid(0, kind=34)
    log.table_map(7, "t", T)
    first = log.rows(23, 7, 2, row(1))
    log.query(b"COMMIT")
    log.query(b"BEGIN")
    log.table_map(7, "t", T)
    second = log.rows(23, 7, 2, row(2))
    log.xid()
    found = followed(log)
    assert [change.position for change in found.rows[NAME]] == [f"{FILE}:{first}", f"{FILE}:{second}"]
    assert found.scanner.take_gtids() == []
    assert (found.scanner.finished, found.scanner.finished_gtid) == (2, "")


def test_positions_go_on_past_4_gib() -> None:
    log = Log((1 << 32) - 200)
    scanner = LogScanner()
    found = Followed({NAME: COLUMNS}, FILE, scanner)
    scanner.set_file(FILE, log.position)
    inserted(log, 1, 1)
    start = inserted(log, 2, 2)
    found.feed(packets(log.raw))
    assert start > 1 << 32
    assert found.rows[NAME][1].position == f"0-1-2@{FILE}:{start}"
    assert scanner.finished_at == (FILE, log.position)


def test_a_transaction_that_begins_within_another_is_refused() -> None:
    log = Log()
    log.gtid(1)
    log.table_map(7, "t", T)
    log.rows(23, 7, 2, row(1))
    start = log.gtid(2)
    with pytest.raises(ValueError, match=f"{FILE}, event at {start} .*before the one before it has ended"):
        followed(log)


def test_an_unfinished_transaction_is_abandoned_and_its_rows_dropped() -> None:
    log = Log()
    inserted(log, 1, 1, 2)
    log.gtid(2)
    log.table_map(7, "t", T)
    log.rows(23, 7, 2, row(3) + row(4, None))
    scanner = LogScanner()
    scanner.set_file(FILE, 4)
    decoder = TableDecoder(COLUMNS)
    stream = bytearray(packets(log.raw))
    at = scanner.feed(stream, 0, len(stream))
    scanner.register(7, scanner.event, decoder)
    scanner.feed(stream, at, len(stream))
    assert (decoder.rows, decoder.open_from, scanner.open_rows, scanner.in_transaction) == (4, 2, 2, True)
    size = decoder.size
    assert decoder.drop_open() == 2
    scanner.abandon()
    assert decoder.size < size
    assert (decoder.rows, decoder.open_from, scanner.in_transaction, scanner.finished) == (2, 2, False, 1)
    assert [change.values for change in rows_of(decoder, COLUMNS)] == [(1, b"v"), (2, b"v")]


def test_what_stands_alone_is_judged_and_finished_by_the_caller() -> None:
    log = Log()
    log.gtid(8, flags=1 | 32)
    log.query(b"ALTER TABLE t ADD x INT")
    scanner = LogScanner()
    scanner.set_file(FILE, 4)
    stream = bytearray(packets(log.raw))
    scanner.feed(stream, 0, len(stream))
    assert (scanner.stop, scanner.event_type, scanner.gtid, scanner.gtid_flags) == (binlog.EVENT, 2, "0-1-8", 33)
    assert scanner.event.endswith(b"ALTER TABLE t ADD x INT")
    scanner.finish()
    assert (scanner.stop, scanner.finished_gtid, scanner.take_gtids()) == (binlog.EVENT, "0-1-8", ["0-1-8"])


@pytest.mark.parametrize(
    ("flags", "more", "seen"),
    [
        (64, b"\x01\0\0\0\x03\x01abcd", 64),
        (128 | 2, bytes(8) + b"\x01\0\0\0\x01\x00x\x02", 130 | 2 << 8),
    ],
)
def test_an_xa_transaction_is_handed_over_at_its_gtid(flags: int, more: bytes, seen: int) -> None:
    log = Log()
    log.gtid(8, flags=flags, more=more)
    scanner = LogScanner()
    stream = bytearray(packets(log.raw))
    assert scanner.feed(stream, 0, len(stream)) == len(stream)
    assert (scanner.stop, scanner.event_type, scanner.gtid_flags) == (binlog.EVENT, 162, seen)
    assert scanner.in_transaction


def test_the_two_phases_of_an_alter_are_told() -> None:
    log = Log()
    log.gtid(1, flags=41, more=b"\x02" + bytes(5))
    log.gtid(2, flags=41, more=b"\x04" + bytes(8))
    scanner = LogScanner()
    for raw, seen in zip(log.raw, (2, 4), strict=True):
        stream = bytearray(packets([raw], seen // 2))
        scanner.feed(stream, 0, len(stream))
        assert scanner.gtid_flags == 41 | seen << 8


def test_a_transaction_that_the_caller_recognises_is_begun_and_finished_by_it() -> None:
    scanner = LogScanner()
    scanner.set_file(FILE, 1000)
    scanner.begin("5-6-7", 99)
    assert (scanner.gtid, scanner.committed_at_us, scanner.in_transaction) == ("5-6-7", 99, True)
    scanner.finish()
    scanner.begin(f"{SERVER}:9", 100)
    scanner.finish()
    assert scanner.take_gtids() == ["5-6-7", f"{SERVER}:9"]
    scanner.begin("", 0)
    assert scanner.gtid == ""
    with pytest.raises(ValueError, match="no GTID: 5-6"):
        scanner.begin("5-6", 0)


def test_the_place_of_the_last_transaction_survives_the_change_of_files() -> None:
    log = Log()
    inserted(log, 1, 1)
    found = followed(log)
    assert found.scanner.finished_at == (FILE, log.position)
    found.scanner.set_file("binlog.000004", 4)
    assert found.scanner.finished_at == (FILE, log.position)
    assert found.scanner.file == "binlog.000004"
    fresh = LogScanner()
    assert fresh.finished_at == ("", 0)
    fresh.set_file("binlog.000009", 77)
    assert fresh.finished_at == ("binlog.000009", 77)


# limits


def test_enough_is_told_at_the_first_end_of_a_transaction() -> None:
    log = Log()
    for gtid in range(1, 6):
        inserted(log, gtid, 2 * gtid, 2 * gtid + 1)
    scanner = LogScanner()
    scanner.limits(3, 1 << 20, 100, 1 << 20)
    found = followed(log, 1 << 30, scanner)
    assert found.stops[binlog.ENOUGH] == 2
    assert binlog.FULL not in found.stops
    assert keys(found) == list(range(2, 12))


def test_each_end_of_a_transaction_is_told_when_asked_for() -> None:
    log = Log()
    for key in range(4):
        inserted(log, 40 + key, key)
    scanner = LogScanner()
    scanner.each_end = True
    found = followed(log, scanner=scanner)
    assert found.stops[binlog.ENOUGH] == 4
    assert keys(found) == [0, 1, 2, 3]


@pytest.mark.parametrize("most", [1, 2, 7])
def test_a_long_event_is_decoded_in_parts(most: int) -> None:
    log = Log()
    inserted(log, 1, *range(30))
    inserted(log, 2, 30)
    scanner = LogScanner()
    scanner.limits(most, 1 << 20, most, 1 << 20)
    found = followed(log, 100, scanner)
    assert keys(found) == list(range(31))
    assert (
        found.stops[binlog.FULL] == (30 - 1) // most
    )  # the last one or more of 30, and the 31st, end with a transaction
    assert len({change.position for change in found.rows[NAME]}) == 2


def test_bytes_are_limited_as_rows_are() -> None:
    log = Log()
    inserted(log, 1, *range(100))
    scanner = LogScanner()
    scanner.limits(1000, 500, 1000, 1000)
    found = followed(log, 1 << 30, scanner)
    assert keys(found) == list(range(100))
    assert found.stops[binlog.FULL] > 3
    with pytest.raises(ValueError, match="no limits"):
        scanner.limits(10, 10, 5, 10)
