"""What a re-read window sends: everything that changed since it was last sealed, and nothing twice."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from forebay_agent.capture.captured import Reread
from forebay_agent.config.model import OutboxConfig
from forebay_agent.outbox import Outbox, SeenChanges
from forebay_agent.outbox.seen import KEEP
from forebay_agent.reread import drop_unchanged
from tests.receiving.batches import SCHEMA, STREAM

Row = tuple[int, str | None]


class Windows:
    """Windows over one stream, with the memory in a real outbox."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.record = outbox.stream(STREAM)
        self.written = 0

    def read(self, rows: Sequence[Row], *, remember: list[bool] | None = None, last: bool = True) -> list[Row]:
        """The rows of one piece -> those that are sent."""
        marks = [True] * len(rows) if remember is None else remember
        batch = pa.record_batch(
            [
                pa.array([key for key, _ in rows], pa.int64()),
                pa.array([text for _, text in rows], pa.string()),
                pa.array(["u"] * len(rows), pa.string()),
                pa.array(["p"] * len(rows), pa.string()),
                pa.nulls(len(rows), SCHEMA.arrow.field("_committed_at").type),
                pa.nulls(len(rows), SCHEMA.arrow.field("_absent").type),
            ],
            schema=SCHEMA.arrow,
        )
        kept, changes = drop_unchanged(
            batch,
            ["id", "text"],
            SCHEMA.key,
            Reread(pa.array(marks, pa.bool_()), last),
            self.record.window,
            lambda keys: self._outbox.seen(self.record.id, keys),
        )
        self.written += len(changes.remember) + len(changes.forget)
        self.record = self._outbox.put(self.record, [], "{}", seen_changes=changes)
        return list(zip(kept.column("id").to_pylist(), kept.column("text").to_pylist(), strict=True))

    def snapshot(self) -> None:
        self.record = self._outbox.put(self.record, [], "{}", seen_changes=SeenChanges(forget_all=True))


@pytest.fixture
def windows(tmp_path: Path) -> Iterator[Windows]:
    with closing(Outbox.open(tmp_path, OutboxConfig())) as outbox:
        yield Windows(outbox)


def test_a_row_that_is_read_again_unchanged_is_not_sent_again(windows: Windows) -> None:
    assert windows.read([(1, "a"), (2, "b")]) == [(1, "a"), (2, "b")]
    assert windows.read([(1, "a"), (2, "b"), (3, "c")]) == [(3, "c")]
    assert windows.read([(1, "a"), (2, "B"), (3, "c")]) == [(2, "B")]


def test_a_row_that_changes_back_is_sent_again(windows: Windows) -> None:
    windows.read([(1, "a")])
    assert windows.read([(1, "b")]) == [(1, "b")]
    assert windows.read([(1, "a")]) == [(1, "a")]


def test_a_row_that_was_sealed_beside_the_memory_is_sent_again(windows: Windows) -> None:
    windows.read([(1, "a")])
    assert windows.read([(1, "b")], remember=[False]) == [(1, "b")]
    assert windows.read([(1, "a")]) == [(1, "a")]
    windows.snapshot()  # may have sealed any image of the row
    assert windows.read([(1, "a")]) == [(1, "a")]


def test_rows_with_one_key_in_one_piece_each_count(windows: Windows) -> None:
    assert windows.read([(1, "a"), (1, "b"), (1, "b")]) == [(1, "a"), (1, "b")]
    assert windows.read([(1, "b")]) == []


def test_null_and_empty_text_differ(windows: Windows) -> None:
    windows.read([(1, "")])
    assert windows.read([(1, None)]) == [(1, None)]


def test_an_idle_window_hardly_writes(windows: Windows) -> None:
    rows = [(number, "same") for number in range(50)]
    windows.read(rows)
    before = windows.written
    for _ in range(KEEP):
        assert windows.read(rows) == []
    assert windows.written - before <= 3 * len(rows)


def test_what_is_no_longer_read_is_forgotten_in_the_end(windows: Windows) -> None:
    windows.read([(1, "a")])
    for _ in range(3 * KEEP):
        windows.read([(2, "b")])
    assert windows.read([(1, "a"), (2, "b")]) == [(1, "a")]


@pytest.mark.parametrize("seed", range(4))
def test_what_was_sent_is_always_what_the_source_last_showed(windows: Windows, seed: int) -> None:
    """Random rows and windows: a mirror fed with what is sent equals the source, and nothing is sent unchanged."""
    draw = random.Random(seed)
    source: dict[int, str] = {}
    mirror: dict[int, str | None] = {}
    for _ in range(150):
        for _ in range(draw.randint(0, 4)):
            source[draw.randrange(12)] = draw.choice("abc")
        shown = sorted(draw.sample(sorted(source.items()), draw.randint(0, len(source))))
        middle = draw.randint(0, len(shown))
        for piece, last in ((shown[:middle], False), (shown[middle:], True)):
            marks = [draw.random() < 0.7 for _ in piece]
            mirror.update(windows.read(piece, remember=marks, last=last))
        assert all(mirror[key] == text for key, text in shown)
