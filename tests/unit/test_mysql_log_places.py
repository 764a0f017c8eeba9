"""Places in a log, GTIDs, JSON and real numbers of MySQL, and what a TABLE_MAP says, from bytes made by hand."""

from __future__ import annotations

import contextlib
import json
import random
import struct
from uuid import UUID

import pytest

from forebay_agent.capture.mysql.log import table_map
from forebay_agent.capture.mysql.log.binary_json import json_text
from forebay_agent.capture.mysql.log.checkpoint import MARIADB, LogCheckpoint, Place
from forebay_agent.capture.mysql.log.gtids import Executed, advanced
from forebay_agent.capture.mysql.log.prepared import prepare_event
from forebay_agent.capture.mysql.log.real_text import real_text
from forebay_agent.errors import LogUnreadable

A = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
B = "4e11fa47-71ca-11e1-9e33-c80aa9429562"


def test_a_checkpoint_comes_back_as_it_was() -> None:
    prepared = Place("binlog.000002", 9, "0-1-40", 5)
    whole = LogCheckpoint("host:3306", MARIADB, Place("binlog.000003", 4711, "0-1-42", 7), prepared)
    assert LogCheckpoint.parse(whole.text()) == whole
    assert whole.start == prepared
    assert str(whole.place) == "0-1-42@binlog.000003:4711"
    assert Place("log.999999", 9).order < Place("log.1000000", 4).order


@pytest.mark.parametrize("text", ["", "x", "[]", '{"v": 1}', '{"v": 1, "server": "s", "flavor": "other"}'])
def test_a_damaged_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(LogUnreadable):
        LogCheckpoint.parse(text)


def test_mysql_s_sets_join_hold_and_lack() -> None:
    read = Executed(f"{A}:1-3:5,\n{B}:7")
    for each in (f"{A}:4", f"{A}:6-9", f"{B}:8"):
        read.add(each)
    assert str(read) == f"{A}:1-9,{B}:7-8"
    assert read.contains(Executed(f"{A}:2-9"))
    assert not read.contains(Executed(f"{A}:9-10"))
    assert read.lacking(Executed(f"{A}:1-12,{B}:1-20")) == f"{A}:10-12,{B}:1-6:9-20"
    assert advanced(False, f"{A}:1-3", [f"{A}:4", f"{B}:1"]) == f"{A}:1-4,{B}:1"
    tagged = Executed(f"{A}:1-3:tag_1:7-9")
    assert str(tagged) == f"{A}:1-3,{A}:tag_1:7-9"
    with pytest.raises(ValueError, match="tags"):
        tagged.encoded()


def test_mysql_s_sets_are_encoded_as_the_server_takes_them() -> None:
    assert Executed(f"{A}:1-3:7").encoded() == (
        struct.pack("<Q", 1) + UUID(A).bytes + struct.pack("<QQQQQ", 2, 1, 4, 7, 8)
    )
    assert Executed().encoded() == bytes(8)


def test_a_set_is_the_same_in_whatever_order_it_grows() -> None:
    source = random.Random(11)
    for _ in range(50):
        numbers = [source.randint(1, 60) for _ in range(40)]
        grown = Executed()
        for each in numbers:
            grown.add(f"{A}:{each}")
        assert str(grown) == str(Executed(",".join(f"{A}:{each}" for each in sorted(numbers))))
        assert all(grown.contains(Executed(f"{A}:{each}")) == (each in numbers) for each in range(1, 62))


def test_mariadb_s_state_keeps_the_last_of_each_domain() -> None:
    assert advanced(True, "0-1-5,7-2-9", ["0-1-6", "0-3-7", "4-1-1"]) == "0-3-7,4-1-1,7-2-9"
    assert advanced(True, "", ["0-1-1"]) == "0-1-1"


@pytest.mark.parametrize("text", ["x", "1-2", f"{A}:0", f"{A}:5-3", f"{A}:x!", "zz:1"])
def test_what_is_no_gtid_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Executed(text)
    with pytest.raises(ValueError):
        advanced(True, text, ["0-1-1"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (1.0, "1"), (-1.5, "-1.5"), (0.1, "0.1"), (1e14, "100000000000000"), (1e15, "1e15"), (1e-7, "0.0000001"),
        (1e-15, "0.000000000000001"), (1e-16, "1e-16"), (1.5e300, "1.5e300"), (1845979149704581.8, "1845979149704581.8"),
        (123456789012345680.0, "1.2345678901234568e17"),
    ],
)  # fmt: skip
def test_real_numbers_are_printed_as_the_server_does(value: float, text: str) -> None:
    assert real_text(value) == text
    assert float(text) == value


def scalar(value: object) -> tuple[int, bytes, bool]:
    """(type, bytes, whether they stand in place of an offset in a small container)"""
    if value is None or isinstance(value, bool):
        return 4, bytes([0 if value is None else 1 if value else 2]) + b"\0", True
    if isinstance(value, int):
        if -(2**15) <= value < 2**15:
            return 5, struct.pack("<h", value), True
        if -(2**31) <= value < 2**31:
            return 7, struct.pack("<i", value), False
        return (9, struct.pack("<q", value), False) if value < 2**63 else (10, struct.pack("<Q", value), False)
    if isinstance(value, float):
        return 11, struct.pack("<d", value), False
    data = str(value).encode()
    size = len(data)
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return 12, length + data, False


def document(value: object) -> bytes:
    """A small JSON document in MySQL's binary form."""
    kind, data = encoded(value)
    return bytes([kind]) + data


def encoded(value: object) -> tuple[int, bytes]:
    if not isinstance(value, dict | list):
        kind, data, _ = scalar(value)
        return kind, data[:1] if kind == 4 else data
    keys = sorted(value, key=lambda key: (len(key.encode()), key)) if isinstance(value, dict) else []
    members = [value[key] for key in keys] if isinstance(value, dict) else value
    begin = 4 + 4 * len(keys) + 3 * len(members)
    names = b"".join(key.encode() for key in keys)
    key_entries = values = b""
    at = begin
    for key in keys:
        key_entries += struct.pack("<HH", at, len(key.encode()))
        at += len(key.encode())
    entries = b""
    for member in members:
        if not isinstance(member, dict | list):
            kind, data, inline = scalar(member)
        else:
            (kind, data), inline = encoded(member), False
        if inline:
            entries += bytes([kind]) + data
            continue
        entries += bytes([kind]) + struct.pack("<H", at)
        values += data
        at += len(data)
    body = key_entries + entries + names + values
    return (0 if isinstance(value, dict) else 2), struct.pack("<HH", len(members), 4 + len(body)) + body


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, 0, -5, 70_000, -(2**63), 2**64 - 1, "", "名\"\\\n\u0001", "x" * 300, [], {},
        {"a": [1, {"中": None, "bb": [True, "x", -1]}], "z": 2**40}, [[[[]]], "", [0]],
    ],
    ids=repr,
)  # fmt: skip
def test_json_is_printed_as_mysql_does(value: object) -> None:
    text = json_text(document(value))
    assert json.loads(text) == value
    assert ", " in text or not isinstance(value, dict) or len(value) < 2


def test_json_numbers_decimals_and_moments_are_printed_as_mysql_does() -> None:
    assert json_text(document([1.0, 0.5, 1e300])) == "[1.0, 0.5, 1e300]"
    # decimal 12.34: precision 4, scale 2
    assert json_text(b"\x0f\xf6\x04\x04\x02\x8c\x22") == "12.34"
    assert json_text(b"\x0f\xf6\x04\x04\x02\x73\xdd") == "-12.34"
    moment = (((2024 * 13 + 2) << 5 | 29) << 17 | (1 << 12 | 2 << 6 | 3)) << 24 | 456
    assert json_text(b"\x0f\x0c\x08" + struct.pack("<q", moment)) == '"2024-02-29 01:02:03.000456"'
    assert json_text(b"\x0f\x0a\x08" + struct.pack("<q", moment >> 41 << 41)) == '"2024-02-29"'
    assert json_text(b"\x0f\x0b\x08" + struct.pack("<q", -((5 << 12 | 6 << 6 | 7) << 24))) == '"-05:06:07.000000"'
    assert json_text(b"\x0f\x10\x01\x05") == '"base64:type16:BQ=="'


def test_malformed_json_is_refused_in_bounded_time() -> None:
    source = random.Random(3)
    good = document({"a": [1, {"中": None, "bb": [True, "x", -1]}], "z": 2**40})
    for _ in range(3000):
        bad = bytearray(good)
        for _ in range(source.randint(1, 4)):
            bad[source.randrange(len(bad))] = source.randrange(256)
        with contextlib.suppress(ValueError):
            assert len(json_text(bytes(bad))) < 10_000
    itself = b"\x02" + struct.pack("<HH", 2, 10) + b"\x02\x00\x00\x02\x00\x00"
    with pytest.raises(ValueError, match="nested"):
        json_text(itself)


def test_an_unsigned_year_that_mysql_may_leave_out_does_not_shift_the_others() -> None:
    def body(bits: bytes) -> bytes:
        types = bytes([3, 13, 3, 8])
        return bytes(6) + b"\x01\x00\x01d\x00\x01t\x00\x04" + types + b"\x00\x00" + b"\x01" + bytes([len(bits)]) + bits

    with_year = table_map.parse(body(bytes([0b1110_0000])), mariadb=False)
    assert [column.unsigned for column in with_year.columns] == [True, True, True, False]
    without = table_map.parse(body(bytes([0b1010_0000])), mariadb=False)
    assert [column.unsigned for column in without.columns] == [True, None, False, True]


def test_malformed_table_maps_are_refused() -> None:
    good = bytes(6) + b"\x01\x00\x01d\x00\x01t\x00\x02\x03\x0f\x02\x50\x00\x02\x04\x05\x02id\x01v"
    assert [column.name for column in table_map.parse(good, mariadb=True).columns] == ["id", "v"]
    for size in range(len(good)):
        if size != good.index(b"\x04\x05\x02id"):  # without the optional part it is whole
            with pytest.raises(ValueError):
                table_map.parse(good[:size], mariadb=True)
    source = random.Random(5)
    for _ in range(3000):
        bad = bytearray(good)
        for _ in range(source.randint(1, 4)):
            bad[source.randrange(len(bad))] = source.randrange(256)
        with contextlib.suppress(ValueError):
            table_map.parse(bytes(bad), mariadb=bool(source.getrandbits(1)))


def test_the_end_of_a_prepared_transaction_is_checked() -> None:
    good = b"\x00" + struct.pack("<iii", 3, 1, 1) + b"ab"
    assert prepare_event(good) == (False, "61:62:3")
    for bad in (
        good[:-1],
        good[:12],
        b"\x01" + struct.pack("<iii", 3, -1, 1) + b"ab",
        b"\x01" + struct.pack("<iii", 3, 99, 99) + bytes(198),
    ):
        with pytest.raises(ValueError):
            prepare_event(bad)
