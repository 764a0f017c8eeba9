"""Whether the collector's mark and the outbox are one history, and what is said when they are not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from forebay_agent.config.model import OutboxConfig
from forebay_agent.errors import CollectorBehind, OutboxDamaged, StateLost
from forebay_agent.outbox import Outbox, WaitingBatch
from forebay_agent.uplink.fit import CollectorMark, check_fit
from forebay_wire.digest import GENESIS
from forebay_wire.seal import SealedBatch
from tests.receiving.batches import SCHEMA, STREAM, chained

NOTHING = CollectorMark(0, 0, GENESIS)


class Story:
    """An outbox in which batches are sealed; the first `deleted` of them were confirmed."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.batches: list[SealedBatch] = []

    def sealed(self, count: int, *, deleted: int = 0) -> Story:
        record = self.outbox.stream(STREAM)
        self.batches = chained(count, link=record.link)
        record = self.outbox.put(record, self.batches, "{}", schema=SCHEMA)
        if deleted:
            self.outbox.delete({record.id: (record.epoch, deleted)})
        return self

    def check(self, mark: CollectorMark) -> None:
        number = self.outbox.stream(STREAM).id
        with closing(self.outbox.reader()) as reader:
            record, first = reader.standing(number)
            check_fit(record, first, lambda epoch, seq: reader.find(number, epoch, seq), mark)

    def mark(self, seq: int) -> CollectorMark:
        return CollectorMark(1, seq, self.batches[seq - 1].chain)


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    with closing(Outbox.open(tmp_path, OutboxConfig())) as outbox:
        yield Story(outbox)


def test_a_stream_that_neither_knows_fits(story: Story) -> None:
    story.check(NOTHING)


def test_every_mark_within_what_waits_fits(story: Story) -> None:
    story.sealed(5, deleted=2)
    for seq in (2, 3, 4, 5):
        story.check(story.mark(seq))


def test_everything_sent_and_confirmed_fits(story: Story) -> None:
    story.sealed(5, deleted=5).check(story.mark(5))


def test_a_collector_that_holds_more_than_was_sealed_means_lost_state(story: Story) -> None:
    with pytest.raises(StateLost, match="epoch 1 seq 9"):
        story.check(CollectorMark(1, 9, b"x" * 32))
    story.sealed(5)
    with pytest.raises(StateLost, match="epoch 1 seq 6"):
        story.check(CollectorMark(1, 6, b"x" * 32))
    with pytest.raises(StateLost, match="epoch 2 seq 1"):
        story.check(CollectorMark(2, 1, b"x" * 32))


@pytest.mark.parametrize("deleted", [0, 2, 5])
def test_a_collector_that_holds_something_else_under_a_seq_means_lost_state(story: Story, deleted: int) -> None:
    story.sealed(5, deleted=deleted)
    with pytest.raises(StateLost, match="another epoch 1 seq 5"):
        story.check(CollectorMark(1, 5, b"x" * 32))


def test_a_collector_that_forgot_what_it_confirmed_is_told_so(story: Story) -> None:
    story.sealed(5, deleted=3)
    for mark in (NOTHING, story.mark(1), story.mark(2)):
        with pytest.raises(CollectorBehind):
            story.check(mark)


def test_a_reset_fits_whatever_of_the_old_epoch_is_confirmed(story: Story) -> None:
    story.sealed(5, deleted=3)
    old = story.batches
    story.outbox.reset(STREAM, who="ops", why="test")
    story.sealed(2)
    for seq in (3, 4, 5):
        story.check(CollectorMark(1, seq, old[seq - 1].chain))
    story.check(CollectorMark(2, 1, story.batches[0].chain))
    with pytest.raises(CollectorBehind):
        story.check(CollectorMark(1, 2, old[1].chain))


def test_a_reset_before_anything_was_sealed_fits_nothing(story: Story) -> None:
    story.outbox.stream(STREAM)
    story.outbox.reset(STREAM, who="ops", why="test")
    story.check(NOTHING)
    story.sealed(1)
    story.check(NOTHING)


def test_a_damaged_header_is_damage(story: Story) -> None:
    story.sealed(1)
    broken = WaitingBatch(1, 1, b"c" * 32, 10, b"no header")
    with pytest.raises(OutboxDamaged):
        check_fit(story.outbox.stream(STREAM), broken, lambda *_: None, NOTHING)
