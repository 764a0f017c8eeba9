"""What the collector counts, and how a stream's standing becomes figures."""

from __future__ import annotations

from typing import Any

import pytest

from forebay_collector.ledger import Hold, StreamRecord
from forebay_collector.load.backlog import Backlog
from forebay_collector.metrics import definitions
from forebay_collector.metrics.reading import StreamFigures
from forebay_collector.metrics.tally import ACK_BOUNDS_S, Tally
from forebay_collector.service.stream_standing import stream_view
from forebay_wire.stream import StreamName

NAME = StreamName("市监局", "登记库", "public.企业")
STREAM = StreamRecord(7, NAME, "scjg-01", epoch=2, durable_seq=8, loaded_epoch=1, loaded_seq=40)
SAID = {"state": "streaming", "epoch": 2, "sealed_seq": 9, "code": ""}


def figure(name: str, said: dict[str, Any], record: StreamRecord | None = STREAM) -> float | None:
    (metric,) = (one for one in definitions.OF_STREAM if one.name == f"forebay_collector_stream_{name}")
    view = stream_view(str(NAME), said, record, {}, 1_800_000_000_000_000)
    return metric.value(StreamFigures("", view, Backlog(), 0, None, None))


@pytest.mark.parametrize(
    ("said", "waiting", "troubled"),
    [
        (SAID, 0, 0),
        ({**SAID, "state": "waiting", "reason": "batches are sent from 20:00 on"}, 1, 0),
        ({**SAID, "state": "waiting", "paused": True}, 1, 0),
        ({**SAID, "state": "waiting", "code": "FB-SOURCE-UNREACHABLE"}, 0, 1),
        ({**SAID, "state": "held", "code": "FB-STATE-LOST"}, 0, 1),
    ],
)
def test_a_stream_that_waits_as_it_should_is_told_apart_from_one_in_trouble(
    said: dict[str, Any], waiting: float, troubled: float
) -> None:
    assert (figure("waiting", said), figure("troubled", said)) == (waiting, troubled)


def test_a_stream_held_by_a_batch_is_in_trouble_even_while_paused() -> None:
    held = StreamRecord(7, NAME, "scjg-01", hold=Hold("FB-TYPE", "no number", 1, 1, 2))
    paused = {**SAID, "state": "waiting", "paused": True}
    assert (figure("waiting", paused, held), figure("troubled", paused, held)) == (0, 1)


def test_marks_count_within_the_epoch_and_what_is_not_told_is_left_out() -> None:
    marks = [figure(f"batches_{name}_total", SAID) for name in ("sealed", "durable", "loaded")]
    assert marks == [9, 8, 0], "what is loaded is of the epoch before"
    assert figure("batches_sealed_total", {}) is None, "its agent does not tell of it any more"
    assert figure("log_remaining_seconds", SAID) is None
    assert figure("log_remaining_seconds", {**SAID, "log_hours_left": 2.5}) == 9_000
    assert figure("last_change_timestamp_seconds", SAID) is None


def test_acknowledgements_are_counted_within_their_bounds() -> None:
    tally = Tally()
    tally.count_durable(30, [0.004, 0.005, 0.0051, 0.2, 31.0])
    counts, total_s = tally.ack_histogram()
    within = dict(zip((*ACK_BOUNDS_S, float("inf")), counts, strict=True))
    assert (within[0.005], within[0.01], within[0.1], within[0.2]) == (2, 3, 3, 4)
    assert (within[30.0], within[float("inf")]) == (4, 5)
    assert total_s == pytest.approx(31.2141)
    assert (tally.durable, tally.durable_bytes) == (5, 30)
