"""Rows are read by the TABLE_MAP of their own transaction, wholly or not at all."""

from __future__ import annotations

import zlib

import pytest

from forebay_agent.kernel import binlog, binlog_table
from forebay_agent.kernel.binlog import LogScanner, rows_at
from forebay_agent.kernel.binlog_table import TableDecoder, WireColumn
from tests.fuzz.binlog import one
from tests.fuzz.driver import corpus
from tests.reference.binlog import packets
from tests.reference.binlog_followed import Followed, Unknown, rows_of
from tests.reference.binlog_made import BIGINT, VARCHAR, Log, image, number, rows_body, table_map_body, text

NAME = ("d", "t")
FILE = "binlog.000003"
T = [BIGINT, VARCHAR]
COLUMNS = [
    WireColumn(*BIGINT, binlog_table.INT64, key=True),
    WireColumn(*VARCHAR, binlog_table.BYTES),
]


def row(key: int, value: str | None = "v") -> bytes:
    return image(number(key), None if value is None else text(value))


def followed(log: Log) -> Followed:
    found = Followed({NAME: COLUMNS}, FILE)
    found.feed(packets(log.raw))
    return found


def changes(found: Followed) -> list[tuple[object, ...]]:
    return [(change.op, *change.values) for change in found.rows[NAME]]


# table ids


def test_a_table_map_is_judged_once_and_again_when_it_has_changed() -> None:
    log = Log()
    for gtid in (1, 2, 3):
        log.gtid(gtid)
        log.table_map(7, "t" if gtid < 3 else "other", T)
        log.rows(23, 7, 2, row(gtid))
        log.xid()
    found = followed(log)
    assert found.stops[binlog.EVENT] == 2
    assert changes(found) == [("c", 1, b"v"), ("c", 2, b"v")]


def test_a_table_id_counts_only_in_the_transaction_of_its_table_map() -> None:
    log = Log()
    log.gtid(1)
    log.table_map(7, "t", T)
    log.rows(23, 7, 2, row(1))
    log.xid()
    log.gtid(2)
    log.rows(23, 7, 2, row(2))
    with pytest.raises(Unknown):
        followed(log)


def test_a_table_map_that_is_not_registered_ends_what_its_id_stood_for() -> None:
    log = Log()
    log.gtid(1)
    log.table_map(7, "t", T)
    log.table_map(7, "t", [BIGINT, BIGINT])
    log.rows(23, 7, 2, row(1))
    scanner = LogScanner()
    stream = bytearray(packets(log.raw))
    at = scanner.feed(stream, 0, len(stream))
    decoder = TableDecoder(COLUMNS)
    scanner.register(7, scanner.event, decoder)
    at = scanner.feed(stream, at, len(stream))
    assert (scanner.stop, scanner.event_type) == (binlog.EVENT, 19)
    at = scanner.feed(stream, at, len(stream))
    assert (scanner.stop, scanner.event_type, scanner.event_table, decoder.rows) == (binlog.EVENT, 23, 7, 0)


def test_rows_outside_any_transaction_are_refused() -> None:
    log = Log()
    start = log.rows(23, 7, 2, row(1))
    with pytest.raises(ValueError, match=f"{FILE}, event at {start} .*outside any transaction"):
        followed(log)


def test_rows_of_other_tables_are_passed_over_compressed_or_not() -> None:
    log = Log()
    log.gtid(1)
    log.table_map(7, "other", T)
    for kind in (23, 24, 25, 30, 31, 32, 39, *range(166, 172)):
        log.add(kind, (7).to_bytes(6, "little") + b"\x00\x00not read")
    log.add(160, b"INSERT INTO other")
    log.add(29, b"\x04text")
    log.add(30, (0xFFFFFF).to_bytes(6, "little") + b"\x01\x00\x02\x00\x00")
    log.xid()
    found = followed(log)
    assert (found.stops[binlog.EVENT], found.scanner.finished) == (1, 1)


def test_compressed_rows_of_a_followed_table_are_inflated_by_the_caller() -> None:
    log = Log()
    log.gtid(1)
    log.table_map(7, "t", T)
    plain = rows_body(23, 7, 2, b"".join(row(key) for key in range(100)))
    at = rows_at(23, plain)
    log.add(166, plain[:at] + b"\x81\x64" + zlib.compress(plain[at:]))
    start = log.position
    log.xid()
    scanner = LogScanner()
    scanner.set_file(FILE, 4)
    scanner.limits(5, 1 << 20, 30, 1 << 20)
    decoder = TableDecoder(COLUMNS)
    stream = bytearray(packets(log.raw))
    position = scanner.feed(stream, 0, len(stream))
    scanner.register(7, scanner.event, decoder)
    position = scanner.feed(stream, position, len(stream))
    body = scanner.event
    assert (scanner.event_type, scanner.event_table, rows_at(166, body)) == (166, 7, at)
    inflated = body[:at] + zlib.decompress(body[at + 2 :])
    taken = []
    offset = scanner.decode_event(23, inflated)
    while offset < len(inflated):
        assert scanner.stop == binlog.FULL
        taken += rows_of(decoder, COLUMNS)
        offset = scanner.decode_event(23, inflated, offset)
    assert scanner.stop == binlog.MORE
    taken += rows_of(decoder, COLUMNS)
    assert [change.values for change in taken] == [(key, b"v") for key in range(100)]
    assert {change.position for change in taken} == {f"0-1-1@{FILE}:{scanner.event_position}"}
    assert scanner.feed(stream, position, len(stream)) == len(stream)
    assert (scanner.finished, scanner.finished_at) == (1, (FILE, log.position))
    assert start < log.position


def test_a_whole_transaction_may_come_in_a_payload() -> None:
    scanner = LogScanner()
    scanner.set_file(FILE, 4)
    scanner.begin("0-1-9", 5)
    body = table_map_body(7, "t", T)
    assert (scanner.decode_event(19, body), scanner.stop, scanner.event_table) == (len(body), binlog.EVENT, 7)
    decoder = TableDecoder(COLUMNS)
    scanner.register(7, body, decoder)
    scanner.decode_event(30, rows_body(30, 7, 2, row(1)))
    scanner.decode_event(16, bytes(8))
    assert (scanner.finished, scanner.finished_gtid, decoder.rows) == (1, "0-1-9", 1)
    with pytest.raises(ValueError, match="no place in the event"):
        scanner.decode_event(16, bytes(8), 9)
    scanner.begin("0-1-10", 5)
    scanner.decode_event(19, body)
    with pytest.raises(ValueError, match="no row begins"):
        scanner.decode_event(30, rows_body(30, 7, 2, row(1)), 3)


def test_a_decoder_that_does_not_fit_its_table_map_is_refused() -> None:
    scanner = LogScanner()
    decoder = TableDecoder(COLUMNS)
    body = table_map_body(7, "t", T)
    for wrong in (
        table_map_body(7, "t", [BIGINT]),
        table_map_body(7, "t", [BIGINT, (15, b"\xfe\x00")]),
        table_map_body(7, "t", [*T, BIGINT]),
    ):
        with pytest.raises(ValueError, match="not laid out as the decoder's"):
            scanner.register(7, wrong, decoder)
    for wrong in (body[:19], b"", body[:9], table_map_body(8, "t", T)):
        with pytest.raises(ValueError, match="not the TABLE_MAP of table id 7"):
            scanner.register(7, wrong, decoder)
    scanner.register(7, body, decoder)
    scanner.register(7, body, None)


def test_many_table_ids_are_known_and_old_ones_forgotten() -> None:
    log = Log()
    for gtid in range(40_000):
        log.gtid(gtid)
        log.table_map(gtid, "t", T)
        log.rows(23, gtid, 2, row(gtid))
        log.xid()
    found = followed(log)
    assert [change.values[0] for change in found.rows[NAME]] == list(range(40_000))
    for table_id, event in ((39_999, False), (5, True)):
        scanner = found.scanner
        scanner.begin("0-1-50000", 0)
        scanner.decode_event(19, table_map_body(table_id, "t", T))
        assert (scanner.stop == binlog.EVENT) == event
    scanner.forget()
    scanner.decode_event(19, table_map_body(39_999, "t", T))
    assert scanner.stop == binlog.EVENT


# rows


def test_an_update_of_the_key_is_two_rows() -> None:
    log = Log()
    log.gtid(1)
    log.table_map(7, "t", T)
    log.rows(24, 7, 2, row(1, "a") + row(1, "b") + row(1, "b") + row(2, "b") + row(2, None) + row(2, "c"))
    log.rows(25, 7, 2, row(2, "c"))
    log.xid()
    assert changes(followed(log)) == [
        ("u", 1, b"b"),
        ("d", 1, b"b"),
        ("c", 2, b"b"),
        ("u", 2, b"c"),
        ("d", 2, b"c"),
    ]


def test_partial_images_are_told_and_not_decoded() -> None:
    log = Log()
    log.gtid(1)
    log.table_map(7, "t", T)
    head = (7).to_bytes(6, "little") + b"\x01\x00\x02"
    log.add(23, head + b"\x01" + b"\x00" + number(1))
    log.add(24, head + b"\x03\x02" + row(1) + b"\x00" + text("b"))
    log.add(24, head + b"\x01\x03" + b"\x00" + number(1) + row(1))
    log.rows(23, 7, 2, row(9))
    log.xid()
    found = followed(log)
    assert found.partial == [7, 7, 7]
    assert changes(found) == [("c", 9, b"v")]


def test_rows_of_another_width_are_refused() -> None:
    log = Log()
    log.gtid(1)
    log.table_map(7, "t", T)
    log.rows(23, 7, 3, row(1))
    with pytest.raises(ValueError, match="number of columns is not the table's"):
        followed(log)


def test_a_value_longer_than_its_column_is_refused_with_its_place() -> None:
    log = Log()
    log.gtid(1)
    log.table_map(7, "t", [BIGINT, (15, b"\x05\x00")])
    log.rows(23, 7, 2, row(1, "short") + row(2, "longer"))
    found = Followed({NAME: [COLUMNS[0], WireColumn(15, b"\x05\x00", binlog_table.SKIPPED)]}, FILE)
    with pytest.raises(ValueError, match=r"byte 25 of its body, column 1: a value is longer than its column"):
        found.feed(packets(log.raw))
    assert [change.values for change in rows_of(found.decoders[NAME], [COLUMNS[0]])] == [(1,)]


@pytest.mark.parametrize("entry", range(len(corpus("binlog"))))
def test_an_event_cut_short_anywhere_is_refused_or_read_as_the_reference_does(entry: int) -> None:
    data = corpus("binlog")[entry]
    if data[0] & 1:
        for size in range(0, len(data), 7):
            one(data[:size])
        return
    at = 1
    while at < len(data):
        size = int.from_bytes(data[at + 1 : at + 3], "little")
        for shorter in range(0, size, 1 + size // 400):
            one(data[: at + 1] + shorter.to_bytes(2, "little") + data[at + 3 : at + 3 + shorter])
        at += 3 + size


# columns


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (WireColumn(99, b"", binlog_table.SKIPPED), "no known type"),
        (WireColumn(8, b"\x01", binlog_table.INT64), "1 bytes of metadata"),
        (WireColumn(18, b"\x07", binlog_table.TEXT), "metadata that the type does not have"),
        (WireColumn(246, b"\x42\x00", binlog_table.TEXT), "metadata that the type does not have"),
        (WireColumn(246, b"\x05\x06", binlog_table.TEXT), "metadata that the type does not have"),
        (WireColumn(16, b"\x01\x08", binlog_table.TEXT), "metadata that the type does not have"),
        (WireColumn(252, b"\x05", binlog_table.BYTES), "metadata that the type does not have"),
        (WireColumn(254, b"\xf7\x03", binlog_table.INT32), "metadata that the type does not have"),
        (WireColumn(8, b"", binlog_table.DATE), "cannot become target"),
        (WireColumn(8, b"", 99), "cannot become target"),
        (WireColumn(246, b"\x0a\x02", binlog_table.DECIMAL, 10, 3), r"decimal128\(10, 3\)"),
        (WireColumn(246, b"\x27\x00", binlog_table.DECIMAL, 38, 0), r"decimal128\(38, 0\)"),
        (WireColumn(8, b"", binlog_table.DECIMAL, 39, 0), r"decimal128\(39, 0\)"),
        (WireColumn(254, b"\xf7\x01", binlog_table.TEXT), "0 labels"),
        (WireColumn(254, b"\xfe\x10", binlog_table.INET4), "cannot become target"),
        (WireColumn(15, b"\x10\x00", binlog_table.BYTES, padded=True), "only BINARY"),
        (WireColumn(3, b"", binlog_table.TEXT, zerofill=256), "zerofill 256"),
    ],
)
def test_columns_that_make_no_sense_are_refused(column: WireColumn, reason: str) -> None:
    with pytest.raises(ValueError, match=f"column 1 .*{reason}"):
        TableDecoder([COLUMNS[0], column])


def test_a_decoder_has_1_to_4096_columns() -> None:
    for columns in ([], COLUMNS * 2049):
        with pytest.raises(ValueError, match="columns; 1 to 4096"):
            TableDecoder(columns)
    assert TableDecoder(COLUMNS * 2048).take().rows == 0


def test_metadata_sizes_are_told_for_the_types_that_are_known() -> None:
    sizes = [binlog_table.metadata_size(kind) for kind in (3, 4, 15, 18, 246, 252, 254, 245)]
    assert sizes == [0, 1, 2, 1, 2, 1, 2, 1]
    with pytest.raises(ValueError, match="no known type of a column: 20"):
        binlog_table.metadata_size(20)


def test_the_first_unfit_value_is_told_until_its_rows_are_taken() -> None:
    columns = [COLUMNS[0], WireColumn(10, b"", binlog_table.SKIPPED), WireColumn(10, b"", binlog_table.DATE)]
    scanner = LogScanner()
    scanner.begin("", 0)
    decoder = TableDecoder(columns)
    body = table_map_body(7, "t", [BIGINT, (10, b""), (10, b"")])
    scanner.register(7, body, decoder)
    day = (2024 << 9 | 2 << 5 | 29).to_bytes(3, "little")
    scanner.decode_event(
        23,
        rows_body(23, 7, 3, b"".join(image(number(key), bytes(3), day if key else bytes(3)) for key in (2, 1, 0, 0))),
    )
    assert decoder.unfit == (2, 1)
    assert [change.values[1] is None for change in rows_of(decoder, columns)] == [False, False, True, True]
    assert decoder.unfit is None
