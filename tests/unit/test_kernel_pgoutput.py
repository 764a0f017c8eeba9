"""The pgoutput kernel: rows from changes, when it stops, and messages that are not what they should be."""

from __future__ import annotations

import struct

import pyarrow as pa
import pytest

from forebay_agent.kernel import pgoutput as kernel
from forebay_agent.kernel.pgoutput import LogScanner, TableDecoder
from forebay_wire.columns import CHANGE_FIELDS
from tests.reference.pgoutput_followed import AT, END, FINAL, PLAIN, TIME, Followed, T, short
from tests.reference.pgoutput_messages import (
    UNCHANGED,
    begin,
    commit,
    delete,
    insert,
    relation,
    truncate,
    update,
)


def test_a_row_carries_its_commit() -> None:
    followed = Followed()
    (row,) = followed.rows(insert(T, [b"1", "贵港".encode(), None]))
    assert row == {
        "id": 1,
        "s": "贵港",
        "n": None,
        "_op": "c",
        "_position": "0/16B3748",
        "_committed_at": AT,
        "_absent": None,
    }
    scanner = followed.scanner
    assert (scanner.final_lsn, scanner.commit_end, scanner.xid, scanner.transactions) == (FINAL, END, 7, 1)
    assert (scanner.open, scanner.changes, scanner.lsn) == (False, 1, 0x1234)
    assert scanner.committed_at == TIME + 946_684_800_000_000


@pytest.mark.parametrize("lsn", [0, 1, 0x10, 0xFFFFFFFF, 1 << 32, 0xA_0000000B, (1 << 64) - 1])
def test_a_position_is_written_as_the_database_writes_it(lsn: int) -> None:
    followed = Followed()
    followed.feed(begin(lsn), insert(T, [b"1", b"", None]), commit(lsn, lsn))
    assert followed.decoder.take()["_position"].to_pylist() == [f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"]


def test_a_batch_has_the_fields_that_a_row_carries_on_the_wire() -> None:
    batch = Followed().decoder.take()
    assert batch.schema == pa.schema([*PLAIN, *CHANGE_FIELDS])
    assert batch.num_rows == 0


def test_columns_are_taken_from_their_places_and_others_are_left_out() -> None:
    decoder = TableDecoder(pa.schema([("b", pa.string()), ("a", pa.int32())]), [3, 1], 4, [1])
    scanner = LogScanner()
    scanner.register(relation(T, ["x", "a", "y", "b"], [1]), decoder)
    for message in (begin(1), insert(T, [b"x", b"5", UNCHANGED, b"b"]), delete(T, [None, b"5", None, None])):
        scanner.feed(message)
    assert short(decoder.take().to_pylist()) == [("b", 5, "c", None), (None, 5, "d", None)]


def test_an_update_is_one_row_unless_the_key_changed() -> None:
    old, new = [b"1", b"a", b"2"], [b"1", b"b", b"2"]
    moved, key = [b"9", b"b", b"2"], [b"1", None, None]
    rows = Followed().rows(
        update(T, new),
        update(T, new, key),
        update(T, new, old, b"O"),
        update(T, moved, key),
        update(T, moved, old, b"O"),
    )
    assert short(rows) == [
        (1, "b", 2, "u", None),
        (1, "b", 2, "u", None),
        (1, "b", 2, "u", None),
        (1, None, None, "d", None),
        (9, "b", 2, "c", None),
        (1, "a", 2, "d", None),
        (9, "b", 2, "c", None),
    ]


def test_keys_of_several_columns_are_compared_byte_by_byte() -> None:
    followed = Followed(keys=(1, 2))
    rows = followed.rows(
        update(T, [b"1", b"a", b"2"], [b"1", b"A", b"2"], b"O"),
        update(T, [b"1", b"a", b"2"], [b"1", b"a", None], b"O"),
        update(T, [b"1", b"a", None], [b"0", b"a", None], b"O"),
        update(T, [b"1", b"", b"2"], [b"1", b"", b"2"], b"O"),
    )
    assert [row["_op"] for row in rows] == ["d", "c", "d", "c", "u", "u"]


def test_an_unchanged_large_value_is_absent_unless_the_old_row_has_it() -> None:
    rows = Followed().rows(
        update(T, [b"1", UNCHANGED, b"2"]),
        update(T, [b"1", UNCHANGED, UNCHANGED]),
        insert(T, [b"2", b"x", None]),
        update(T, [b"1", UNCHANGED, b"2"], [b"1", b"old", b"0"], b"O"),
        update(T, [b"3", UNCHANGED, b"2"], [b"1", None, None]),
        update(T, [b"3", UNCHANGED, b"2"], [b"1", b"old", b"0"], b"O"),
        delete(T, [b"1", UNCHANGED, None], b"O"),
    )
    assert short(rows) == [
        (1, None, 2, "u", ["s"]),
        (1, None, None, "u", ["s", "n"]),
        (2, "x", None, "c", None),
        (1, "old", 2, "u", None),
        (1, None, None, "d", None),
        (3, None, 2, "c", ["s"]),
        (1, "old", 0, "d", None),
        (3, "old", 2, "c", None),
        (1, None, None, "d", None),
    ]


def test_absent_marks_are_told_before_the_rows_are_taken_and_are_gone_after() -> None:
    followed = Followed()
    followed.feed(begin(1), insert(T, [b"1", b"", None]), update(T, [b"1", UNCHANGED, UNCHANGED]))
    assert followed.decoder.absent == [(1, 1), (1, 2)]
    followed.decoder.take()
    assert followed.decoder.absent == []
    followed.feed(insert(T, [b"1", b"", None]))
    assert followed.decoder.take()["_absent"].to_pylist() == [None]


def test_a_large_key_that_did_not_change_is_taken_from_the_old_key() -> None:
    followed = Followed(keys=(1,))
    rows = followed.rows(update(T, [b"1", UNCHANGED, b"2"], [None, b"key", None]))
    assert short(rows) == [(1, "key", 2, "u", None)]


@pytest.mark.parametrize(
    "change",
    [
        update(T, [UNCHANGED, b"a", b"2"]),
        insert(T, [UNCHANGED, b"a", b"2"]),
        delete(T, [None, b"a", b"2"]),
        delete(T, [UNCHANGED, b"a", b"2"], b"O"),
        update(T, [b"1", b"a", b"2"], [None, None, None]),
        update(T, [UNCHANGED, b"a", b"2"], [None, b"a", b"2"], b"O"),
    ],
    ids=["update", "insert", "delete", "old row", "old key", "neither"],
)
def test_a_change_without_its_key_is_refused(change: bytes) -> None:
    followed = Followed()
    followed.feed(begin(1))
    with pytest.raises(ValueError, match="whole key"):
        followed.feed(change)
    assert followed.decoder.rows == 0


GOOD = [
    begin(FINAL, TIME),
    insert(T, [b"1", "贵港".encode(), b"-5"]),
    update(T, [b"1", UNCHANGED, b"3"], [b"2", b"old", None], b"O"),
    delete(T, [b"1", None, None]),
    commit(FINAL, END, TIME),
]


@pytest.mark.parametrize("number", range(len(GOOD)), ids=["B", "I", "U", "D", "C"])
def test_a_message_cut_at_any_byte_is_refused_with_its_type_and_place(number: int) -> None:
    for size in range(1, len(GOOD[number])):
        followed = Followed()
        followed.feed(*GOOD[:number])
        before = followed.decoder.rows
        with pytest.raises(
            ValueError, match=rf"message '{GOOD[number][:1].decode()}' at 0/1234: it is cut short|missing"
        ):
            followed.feed(GOOD[number][:size])
        assert followed.decoder.rows == before
        followed.decoder.take().validate(full=True)


@pytest.mark.parametrize("number", range(len(GOOD)), ids=["B", "I", "U", "D", "C"])
def test_a_message_with_more_than_it_holds_is_refused(number: int) -> None:
    followed = Followed()
    followed.feed(*GOOD[:number])
    with pytest.raises(ValueError, match="longer than what it holds"):
        followed.feed(GOOD[number] + b"\0")


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([b""], "cut short"),
        ([begin(1), begin(2)], "has not ended"),
        ([insert(T, [b"1", b"", b""])], "no transaction has begun"),
        ([commit(1, 2)], "no transaction has begun"),
        ([begin(1), commit(2, 3)], "another transaction"),
        ([begin(1), insert(T + 1, [b"1"])], "not described before"),
        ([begin(1), insert(T, [b"1"])], "another number of columns"),
        ([begin(1), insert(T, [b"1", b"", b""]).replace(b"N", b"O", 1)], "a tuple is missing"),
        ([begin(1), delete(T, [b"1", b"", b""], b"N")], "a tuple is missing"),
        ([begin(1), insert(T, [b"1", None, None])[:-2] + b"bn"], "neither NULL, unchanged nor text"),
        ([begin(1, (1 << 63) - 1)], "time is not possible"),
        ([begin(1, -(1 << 63))], "time is not possible"),
        ([b"R\0"], "cut short"),
        ([b"E"], "no stream segment"),
    ],
)
def test_what_makes_no_sense_is_refused(messages: list[bytes], reason: str) -> None:
    followed = Followed()
    with pytest.raises(ValueError, match=reason):
        followed.feed(*messages)


def test_a_relation_as_registered_is_no_reason_to_stop_and_any_other_is() -> None:
    followed = Followed()
    assert followed.feed(relation(T, PLAIN.names)) == kernel.WAITING
    for other in (relation(T, ["id", "s", "m"]), relation(T, PLAIN.names, identity=b"f"), relation(T + 1, PLAIN.names)):
        assert followed.feed(other) == kernel.MESSAGE
        assert followed.scanner.message == other
    followed.scanner.forget(T)
    followed.scanner.forget(99)
    assert followed.feed(relation(T, PLAIN.names)) == kernel.MESSAGE


def test_every_relation_stops_where_that_is_asked_for_and_keeps_its_rows() -> None:
    followed = Followed(scanner=LogScanner(each_relation=True))
    again = relation(T, PLAIN.names)
    followed.feed(begin(FINAL), insert(T, [b"1", None, None]))
    assert followed.feed(again) == kernel.MESSAGE
    followed.scanner.register(again, followed.decoder)
    followed.feed(insert(T, [b"2", None, None]), commit(FINAL, END))
    assert followed.decoder.take().column("id").to_pylist() == [1, 2]


def test_finished_transactions_are_told_by_their_xids_once() -> None:
    followed = Followed()
    for xid in range(1, 1001):
        followed.feed(begin(FINAL, xid=xid), commit(FINAL, END))
    followed.feed(begin(FINAL, xid=4_000_000_000))
    assert list(memoryview(followed.scanner.take_xids()).cast("I")) == list(range(1, 1001))
    followed.feed(commit(FINAL, END))
    assert list(memoryview(followed.scanner.take_xids()).cast("I")) == [4_000_000_000]
    assert followed.scanner.take_xids() == b""


def test_origins_and_types_are_passed_over_and_the_rest_is_for_the_caller() -> None:
    followed = Followed()
    assert followed.feed(b"O" + bytes(8) + b"o\0", b"Y" + bytes(4) + b"n\0t\0") == kernel.WAITING
    others = [
        truncate(T),
        b"M\0" + bytes(8) + b"p\0" + struct.pack("!I", 1) + b"x",
        b"b",
        b"P",
        b"K",
        b"r",
        b"p",
        b"?",
        b"A",
        b"c",
    ]
    for message in others:
        assert followed.feed(message) == kernel.MESSAGE
        assert followed.scanner.message == message
    followed.feed(begin(1))
    assert followed.scanner.message is None


def test_a_skipped_relation_leaves_no_rows_and_many_relations_are_told_apart() -> None:
    scanner = LogScanner()
    decoders = {}
    for number in range(1, 200):
        decoders[number] = TableDecoder(pa.schema([("id", pa.int64())]), [0], 1, [0]) if number % 3 else None
        scanner.register(relation(number, ["id"]), decoders[number])
    scanner.feed(begin(1))
    for number in range(1, 200):
        scanner.feed(insert(number, [b"%d" % number]))
    assert scanner.changes == 199
    for number, decoder in decoders.items():
        if decoder is not None:
            assert decoder.take()["id"].to_pylist() == [number]


def test_a_table_is_full_at_a_transactions_end_where_one_comes_in_time() -> None:
    followed = Followed(scanner=LogScanner(most_rows=8))
    row = insert(T, [b"1", b"", None])
    assert [followed.feed(message) for message in [begin(1), *[row] * 9, commit(1, 2)]] == [kernel.WAITING] * 10 + [
        kernel.FULL
    ]
    followed.decoder.take()
    assert [followed.feed(message) for message in [begin(1), *[row] * 10]] == [kernel.WAITING] * 10 + [kernel.FULL]
    followed.decoder.take()
    assert followed.feed(commit(1, 2)) == kernel.WAITING
    followed.scanner.most_bytes = 1000
    assert followed.feed(begin(3), insert(T, [b"1", b"x" * 1000, None])) == kernel.WAITING
    assert followed.decoder.bytes >= 1000
    assert followed.feed(commit(3, 4)) == kernel.FULL


def test_batches_do_not_share_memory() -> None:
    followed = Followed(pa.schema([("id", pa.int64()), ("s", pa.string()), ("b", pa.bool_())]))
    first = followed.rows(insert(T, [b"1", b"first", b"t"]), *[insert(T, [b"2", None, b"f"])] * 8)
    kept = followed.rows(insert(T, [b"3", b"second", b"f"]))
    assert short(first) == [(1, "first", True, "c", None), *[(2, None, False, "c", None)] * 8]
    assert short(kept) == [(3, "second", False, "c", None)]


@pytest.mark.parametrize(
    ("kinds", "places", "width", "keys", "forms"),
    [
        ([pa.int8()], [0], 1, [0], []),
        ([pa.timestamp("ns")], [0], 1, [0], []),
        ([pa.timestamp("us", tz="Asia/Shanghai")], [0], 1, [0], []),
        ([pa.int32()], [1], 1, [0], []),
        ([pa.int32()], [-1], 1, [0], []),
        ([pa.int32()], [0], 1, [1], []),
        ([pa.int32()], [0], 1, [-1], []),
        ([pa.int32()], [0, 1], 2, [0], []),
        ([pa.int32()], [0], 1, [0], [1]),
        ([pa.string()], [0], 1, [0], [3]),
        ([pa.string()], [0], 1, [0], [0, 0]),
        ([pa.string()], [0], 1601, [0], []),
        ([], [], 1, [], []),
    ],
)
def test_arguments_that_do_not_fit_together_are_refused(
    kinds: list[pa.DataType], places: list[int], width: int, keys: list[int], forms: list[int]
) -> None:
    with pytest.raises(ValueError):
        TableDecoder(pa.schema([(f"c{number}", kind) for number, kind in enumerate(kinds)]), places, width, keys, forms)


def test_what_is_no_relation_message_of_that_width_is_not_registered() -> None:
    scanner = LogScanner()
    decoder = TableDecoder(PLAIN, range(3), 3, [0])
    for message in (b"", b"R", begin(1), relation(T, PLAIN.names)[:16], relation(T, ["id"])):
        with pytest.raises(ValueError):
            scanner.register(message, decoder)
