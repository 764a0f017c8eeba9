"""What every archive owes (`forebay_collector.archive.contract`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forebay_collector.archive import Archive, LocalArchive
from forebay_collector.errors import ArchiveMissing
from forebay_wire.seal import Link
from forebay_wire.stream import StreamName
from tests.receiving.batches import STREAM, chained

Reopen = Callable[[], Archive]


@pytest.fixture(params=["local"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopen]:
    """Opens the same archive anew, closing the one before."""
    opened: list[Archive] = []

    def again() -> Archive:
        if opened:
            opened.pop().close()
        opened.append({"local": lambda: LocalArchive(tmp_path / "archive")}[request.param]())
        return opened[-1]

    yield again
    opened.pop().close()


def test_what_was_synced_is_read_back_byte_for_byte(reopen: Reopen) -> None:
    batches = chained(5) + chained(1, link=Link(2, 1, b"c" * 32), rows_each=5_000, text_bytes=400)
    archive = reopen()
    for batch in batches:
        archive.write(batch)
    archive.sync()
    archive = reopen()
    for batch in batches:
        stored = archive.read(STREAM, batch.epoch, batch.seq)
        assert (stored.header, stored.payload) == (batch.header, batch.payload)


def test_what_was_not_synced_is_not_promised_and_not_there_after_a_restart(reopen: Reopen) -> None:
    first, second = chained(2)
    archive = reopen()
    archive.write(first)
    archive.sync()
    archive.write(second)
    archive = reopen()
    assert list(archive.batches(STREAM)) == [(1, 1)]
    with pytest.raises(ArchiveMissing):
        archive.read(STREAM, 1, 2)


def test_what_was_given_up_leaves_nothing_and_can_be_written_again(reopen: Reopen) -> None:
    archive = reopen()
    for batch in chained(3):
        archive.write(batch)
    archive.abort()
    archive.sync()
    assert list(archive.batches(STREAM)) == []
    archive.write(chained(1)[0])
    archive.sync()
    assert list(archive.batches(STREAM)) == [(1, 1)]


def test_a_batch_written_again_replaces_the_one_before(reopen: Reopen) -> None:
    archive = reopen()
    old, new = chained(1)[0], chained(1, seed=5)[0]
    archive.write(old)
    archive.write(new)
    archive.sync()
    assert archive.read(STREAM, 1, 1).header == new.header
    archive.write(old)
    archive.sync()
    assert archive.read(STREAM, 1, 1).header == old.header


def test_batches_are_listed_in_order_of_epoch_and_seq(reopen: Reopen) -> None:
    archive = reopen()
    for epoch in (10, 2, 1):
        for batch in reversed(chained(11, link=Link(epoch, 1, b"c" * 32))):
            archive.write(batch)
    archive.sync()
    expected = [(epoch, seq) for epoch in (1, 2, 10) for seq in range(1, 12)]
    assert list(archive.batches(STREAM)) == expected
    assert list(archive.batches(StreamName("x", "y", "z"))) == []


def test_deleting_is_final_and_may_be_repeated(reopen: Reopen) -> None:
    archive = reopen()
    for batch in chained(2):
        archive.write(batch)
    archive.sync()
    for _ in range(2):
        archive.delete(STREAM, 1, 1)
    assert list(archive.batches(STREAM)) == [(1, 2)]
    with pytest.raises(ArchiveMissing):
        archive.read(STREAM, 1, 1)


def test_no_name_of_a_stream_reaches_another_streams_batches(reopen: Reopen) -> None:
    names = [
        StreamName("..", "..", "../../x"),
        StreamName(".", "%2E", "a.b"),
        StreamName(".", ".", "a.b"),
        StreamName("民", "%", "a/b"),
        StreamName("民", "%", "a%2Fb"),
        StreamName("民", "%", "长" * 150),
        StreamName("民", "%", "长" * 149 + "短"),
        StreamName("民", "%", "A"),
        StreamName("民", "%", "a"),
        StreamName(".incoming", "s", "t"),
    ]
    archive = reopen()
    for number, name in enumerate(names):
        for batch in chained(1, name, seed=number):
            archive.write(batch)
    archive.sync()
    archive = reopen()
    for number, name in enumerate(names):
        assert list(archive.batches(name)) == [(1, 1)]
        assert archive.read(name, 1, 1).payload == chained(1, name, seed=number)[0].payload
