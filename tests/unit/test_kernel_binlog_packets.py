"""The packets of a replication stream: checksums, lengths and the stream's own events are checked before anything is believed."""

from __future__ import annotations

import struct

import pytest

from forebay_agent.kernel import binlog, binlog_table
from forebay_agent.kernel.binlog import LogScanner
from forebay_agent.kernel.binlog_table import WireColumn
from tests.reference.binlog import FULL_PACKET, made, packets
from tests.reference.binlog_followed import Followed
from tests.reference.binlog_made import BIGINT, LONGBLOB, VARCHAR, Log, blob, image, number, text

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


def test_a_wrong_checksum_is_refused_with_the_place() -> None:
    log = Log()
    start = inserted(log, 1, 1)
    log.raw[2] = log.raw[2][:-5] + bytes([log.raw[2][-5] ^ 1]) + log.raw[2][-4:]
    with pytest.raises(ValueError, match=rf"{FILE}, event at {start} .*checksum is wrong"):
        followed(log)
    assert keys(followed(log, scanner=LogScanner(verify=False))) == [1]


@pytest.mark.parametrize("checksums", [0, 1])
def test_the_format_description_says_whether_there_are_checksums(checksums: int) -> None:
    log = Log()
    log.artificial(4, (4).to_bytes(8, "little") + FILE.encode())
    log.add(15, bytes(57) + bytes(12) + bytes([checksums]))
    inserted(log, 1, 1)
    if not checksums:
        plain = [log.raw[0], log.raw[1]]
        for raw in log.raw[2:]:
            header = bytearray(raw[:-4])
            struct.pack_into("<I", header, 9, len(header))
            plain.append(bytes(header))
        plain[0] = bytes(bytearray(log.raw[0])[:9] + struct.pack("<I", len(log.raw[0]) - 4)) + log.raw[0][13:-4]
        log.raw = plain
    found = followed(log, scanner=LogScanner(checksum=not checksums))
    assert keys(found) == [1]
    assert (found.scanner.checksum, found.scanner.file) == (bool(checksums), FILE)


def test_a_format_that_is_not_known_is_refused() -> None:
    log = Log()
    log.add(15, bytes(57) + bytes(12) + b"\x02")
    with pytest.raises(ValueError, match="form of log that is not known"):
        followed(log)


def test_a_packet_out_of_sequence_is_refused() -> None:
    log = Log()
    inserted(log, 1, 1)
    stream = packets(log.raw[:2]) + packets(log.raw[2:], 4)
    with pytest.raises(ValueError, match="out of sequence"):
        Followed({NAME: COLUMNS}, FILE).feed(stream)


def test_nothing_is_read_after_a_refusal() -> None:
    scanner = LogScanner()
    with pytest.raises(ValueError, match="holds no event"):
        scanner.feed(bytearray(b"\x01\x00\x00\x01\x07"), 0, 5)
    with pytest.raises(ValueError, match="nothing more can be read"):
        scanner.feed(bytearray(b"\x01\x00\x00\x01\x07"), 0, 5)


def test_the_stream_ends_with_eof_or_the_servers_error() -> None:
    scanner = LogScanner()
    end = bytearray(b"\x05\x00\x00\x01\xfe\x00\x00\x02\x00")
    assert scanner.feed(end, 0, len(end)) == len(end)
    assert (scanner.stop, scanner.error) == (binlog.ENDED, None)
    scanner = LogScanner()
    error = bytearray(b"\x0a\x00\x00\x01\xff\xd4\x04#HY000x")
    assert scanner.feed(error, 0, len(error)) == 14
    assert (scanner.stop, scanner.error) == (binlog.REFUSED, bytes(error[4:14]))


def test_heartbeats_tell_how_far_the_server_is() -> None:
    log = Log()
    log.raw.append(made(27, FILE.encode(), end=4711, flags=0))
    log.raw.append(made(41, b"\x01\x04file\x02\x09\xfe" + (1 << 33).to_bytes(8, "little")))
    scanner = LogScanner()
    stream = bytearray(packets(log.raw[:1]))
    scanner.feed(stream, 0, len(stream))
    assert (scanner.heartbeats, scanner.heartbeat_at, scanner.stop) == (1, (FILE, 4711), binlog.MORE)
    stream = bytearray(packets(log.raw[1:], 2))
    scanner.feed(stream, 0, len(stream))
    assert (scanner.heartbeats, scanner.heartbeat_at, scanner.position) == (2, ("file", 1 << 33), 0)


BLOBS = [BIGINT, LONGBLOB]
BLOB_COLUMNS = [WireColumn(*BIGINT, binlog_table.INT64, key=True), WireColumn(*LONGBLOB, binlog_table.BYTES)]


def with_blobs(*sizes: int, table: str = "t") -> Log:
    log = Log()
    log.gtid(1)
    log.table_map(7, table, BLOBS)
    log.rows(23, 7, 2, b"".join(image(number(at), blob(bytes([at]) * size)) for at, size in enumerate(sizes)))
    log.xid()
    return log


@pytest.mark.parametrize(
    "sizes", [(FULL_PACKET + 70_000,), (5, 2 * FULL_PACKET), (FULL_PACKET - 19 - 4 - 1 - 9 - 8 - 5 - 3,)]
)
@pytest.mark.parametrize("most", [1, 100])
def test_events_longer_than_a_packet_are_joined_also_when_taken_in_parts(sizes: tuple[int, ...], most: int) -> None:
    log = with_blobs(*sizes)
    scanner = LogScanner()
    scanner.limits(most, 1 << 30, most, 1 << 30)
    found = Followed({NAME: BLOB_COLUMNS}, FILE, scanner)
    found.feed(packets(log.raw), 1 << 22)
    assert [(change.values[0], len(change.values[1])) for change in found.rows[NAME]] == list(enumerate(sizes))
    assert scanner.finished == 1


def test_an_event_that_is_too_long_is_refused_before_it_is_read() -> None:
    log = with_blobs(1 << 20)
    stream = packets(log.raw)
    found = Followed({NAME: BLOB_COLUMNS}, FILE, LogScanner(max_event=1 << 19))
    with pytest.raises(OverflowError, match="longer than 524288 bytes"):
        found.feed(stream[:500])


@pytest.mark.parametrize("size", [100_000, FULL_PACKET, 2 * FULL_PACKET + 5])
@pytest.mark.parametrize("cut", [False, True])
def test_long_events_of_other_tables_are_eaten_as_they_come(size: int, cut: bool) -> None:
    log = with_blobs(size, table="other")
    log.gtid(2)
    log.table_map(8, "t", T)
    log.rows(23, 8, 2, row(1))
    log.xid()
    if cut:
        log.raw[2] = log.raw[2][:-1] + bytes([log.raw[2][-1] ^ 1])
    found = followed_in_bounds(packets(log.raw), 8192)
    if cut:
        assert "checksum is wrong" in found
    else:
        assert found == "2 transactions, keys [1]"


def followed_in_bounds(stream: bytes, step: int) -> str:
    """Fed in steps, with a buffer that must never hold more than some steps."""
    found = Followed({NAME: COLUMNS}, FILE)
    buffer = bytearray()
    try:
        for at in range(0, len(stream), step):
            buffer += stream[at : at + step]
            assert len(buffer) <= 70_000
            while True:
                del buffer[: found.scanner.feed(buffer, 0, len(buffer))]
                found.stopped()
                if found.scanner.stop == binlog.MORE:
                    break
    except ValueError as error:
        return str(error)
    found.take()
    return f"{found.scanner.finished} transactions, keys {keys(found)}"
