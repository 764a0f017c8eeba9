"""The board of streams: what the capturing and the sending thread say of one stream, each at its own time."""

from __future__ import annotations

from forebay_agent.stream_state import Board
from forebay_wire.stream import StreamName

STREAM = StreamName("市监局", "djk", "market.enterprise")


def test_an_acknowledgement_of_an_epoch_that_is_over_says_nothing_of_the_new_one() -> None:
    board = Board()
    board.update(STREAM, epoch=5, sealed_seq=163)
    board.update(STREAM, epoch=6, sealed_seq=2)  # a snapshot was asked for
    board.update(STREAM, durable=(5, 163), loaded=(5, 162))  # the collector's answers were on their way
    state = board.of(STREAM)
    assert (state.durable_seq, state.loaded_seq) == (0, 0)
    assert (state.to_proto().durable_seq, state.to_proto().loaded_seq) == (0, 0)
    board.update(STREAM, durable=(6, 2), loaded=(6, 1))
    assert (board.of(STREAM).durable_seq, board.of(STREAM).loaded_seq) == (2, 1)


def test_a_mark_heard_before_the_capture_begins_is_shown() -> None:
    board = Board()
    board.update(STREAM, durable=(5, 163))
    assert board.of(STREAM).durable_seq == 163
    board.update(STREAM, epoch=5, sealed_seq=170)
    assert board.of(STREAM).durable_seq == 163
