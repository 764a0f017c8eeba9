"""Streamed transactions in the pgoutput kernel: kept whole, and decoded at their commit as if they had come then."""

from __future__ import annotations

import struct

import pytest

from forebay_agent.kernel import pgoutput as kernel
from forebay_agent.kernel.pgoutput import LogScanner
from tests.reference.pgoutput_followed import END, FINAL, PLAIN, TIME, Followed, T, short
from tests.reference.pgoutput_messages import (
    STREAM_STOP,
    begin,
    commit,
    insert,
    relation,
    stream_abort,
    stream_commit,
    stream_start,
    streamed,
    truncate,
    update,
)

XID, SUB = 700, 701


def segment(followed: Followed, *messages: bytes) -> bytes:
    """What the kernel kept of one stream segment."""
    assert followed.feed(stream_start(XID)) == kernel.WAITING
    begun = followed.scanner.in_segment
    for message in messages:
        assert followed.feed(message) == kernel.WAITING
    assert followed.feed(STREAM_STOP) == kernel.SEGMENT
    assert (begun, followed.scanner.in_segment) == (True, False)
    xid, frames = followed.scanner.take_segment()
    assert xid == XID
    return frames


def replayed(followed: Followed, frames: bytes, at: int = 0) -> int:
    """The reason to stop before the end, or WAITING."""
    while at < len(frames):
        stop, at = followed.scanner.replay(frames, at)
        if stop != kernel.WAITING:
            return stop
    return kernel.WAITING


def test_a_streamed_transaction_gives_its_rows_at_its_commit() -> None:
    followed = Followed()
    first = segment(
        followed,
        streamed(XID, relation(T, PLAIN.names)),
        streamed(XID, insert(T, [b"1", b"a", None])),
        b"O" + bytes(8) + b"o\0",
    )
    followed.feed(begin(1), insert(T, [b"9", b"other", None]), commit(1, 2))
    second = segment(followed, streamed(SUB, update(T, [b"1", b"b", None])))
    assert short(followed.decoder.take().to_pylist()) == [(9, "other", None, "c", None)]
    assert followed.feed(stream_commit(XID, FINAL, END, TIME)) == kernel.MESSAGE
    assert followed.scanner.message is not None
    followed.scanner.begin_streamed(followed.scanner.message)
    assert followed.scanner.open
    assert replayed(followed, first) == replayed(followed, second) == kernel.WAITING
    followed.scanner.end_streamed()
    batch = followed.decoder.take()
    assert short(batch.to_pylist()) == [(1, "a", None, "c", None), (1, "b", None, "u", None)]
    assert batch["_position"].to_pylist() == ["0/16B3748"] * 2
    scanner = followed.scanner
    assert (scanner.open, scanner.xid, scanner.final_lsn, scanner.commit_end) == (False, XID, FINAL, END)
    assert scanner.transactions == 2


def test_what_a_savepoint_took_back_is_left_out() -> None:
    followed = Followed()
    frames = segment(
        followed,
        streamed(XID, insert(T, [b"1", b"kept", None])),
        streamed(SUB, relation(T, ["id"])),
        streamed(SUB, insert(T, [b"2", b"gone", None])),
        streamed(SUB + 1, insert(T, [b"3", b"kept", None])),
    )
    assert followed.feed(stream_abort(XID, SUB)) == kernel.MESSAGE
    followed.scanner.begin_streamed(stream_commit(XID, FINAL, END), {SUB, 5})
    assert replayed(followed, frames) == kernel.WAITING
    followed.scanner.end_streamed()
    assert [row["id"] for row in followed.decoder.take().to_pylist()] == [1, 3]


def test_a_replay_stops_for_the_caller_and_goes_on_where_it_stopped() -> None:
    followed = Followed(scanner=LogScanner(most_rows=4))
    rows = [streamed(XID, insert(T, [b"%d" % number, b"", None])) for number in range(12)]
    frames = segment(followed, *rows[:11], streamed(XID, truncate(T)), rows[11])
    scanner = followed.scanner
    scanner.begin_streamed(stream_commit(XID, FINAL, END))
    taken, at = [], 0
    for expected in (kernel.FULL, kernel.FULL, kernel.MESSAGE, kernel.WAITING):
        stop, at = scanner.replay(frames, at)
        assert stop == expected
        taken.append(followed.decoder.take()["id"].to_pylist())
        if stop == kernel.MESSAGE:
            assert scanner.message == truncate(T)
    assert taken == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10], [11]]
    assert at == len(frames)
    assert scanner.replay(frames, at) == (kernel.WAITING, at)


def test_a_long_segment_is_handed_out_in_parts() -> None:
    followed = Followed(scanner=LogScanner(segment_bytes=100))
    message = streamed(XID, insert(T, [b"1", b"x" * 60, None]))
    assert followed.feed(stream_start(XID)) == kernel.WAITING
    assert [followed.feed(message) for _ in range(3)] == [kernel.WAITING, kernel.SEGMENT, kernel.SEGMENT]
    _, frames = followed.scanner.take_segment()
    assert frames == struct.pack("<IQ", len(message), 0x1234).join([b"", message, message, message])
    assert followed.scanner.in_segment
    assert followed.feed(STREAM_STOP) == kernel.WAITING
    assert followed.scanner.take_segment() == (XID, b"")


def test_a_streamed_message_given_alone_is_decoded() -> None:
    followed = Followed()
    followed.feed(begin(1))
    assert followed.scanner.feed(streamed(XID, insert(T, [b"1", b"", None])), 0, True) == kernel.WAITING
    assert followed.scanner.feed(streamed(XID, truncate(T)), 0, True) == kernel.MESSAGE
    assert followed.scanner.message == truncate(T)
    assert followed.decoder.rows == 1
    with pytest.raises(ValueError, match="cut short"):
        followed.scanner.feed(b"I\0\0\0", 0, True)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([stream_start(1), stream_start(1)], "has not ended"),
        ([begin(1), stream_start(1)], "has not ended"),
        ([stream_start(1), insert(T, []), STREAM_STOP, stream_start(2)], "has not ended"),
        ([stream_start(1), begin(1)], "within a stream segment"),
        ([stream_start(1), commit(1, 2)], "within a stream segment"),
        ([stream_start(1), stream_commit(1, 2, 3)], "within a stream segment"),
        ([stream_start(1)[:-1]], "cut short"),
        ([stream_start(1) + b"x"], "longer"),
        ([stream_start(1), STREAM_STOP + b"x"], "longer"),
    ],
)
def test_segments_that_make_no_sense_are_refused(messages: list[bytes], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Followed().feed(*messages)


def test_frames_cut_at_any_byte_are_refused() -> None:
    followed = Followed()
    frames = segment(followed, streamed(XID, insert(T, [b"1", b"abc", None])))
    for size in range(1, len(frames)):
        one = Followed()
        one.scanner.begin_streamed(stream_commit(XID, FINAL, END))
        with pytest.raises(ValueError, match="cut short"):
            one.scanner.replay(frames[:size])
        assert one.decoder.rows == 0


def test_a_replay_belongs_between_its_beginning_and_its_end() -> None:
    scanner = Followed().scanner
    with pytest.raises(ValueError, match="no streamed transaction"):
        scanner.replay(b"")
    with pytest.raises(ValueError, match="no streamed transaction"):
        scanner.end_streamed()
    for wrong in (b"", begin(1), stream_commit(1, 2, 3) + b"x", stream_abort(1, 2)):
        with pytest.raises(ValueError, match="no Stream Commit"):
            scanner.begin_streamed(wrong)
    scanner.begin_streamed(stream_commit(1, 2, 3))
    with pytest.raises(ValueError, match="no offset"):
        scanner.replay(b"", 1)
    with pytest.raises(ValueError, match="no transaction has begun"):
        scanner.feed(commit(2, 3))
