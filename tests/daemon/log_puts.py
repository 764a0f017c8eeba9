"""What log capture would put, made up; and what the uplink would see of it."""

from __future__ import annotations

from dataclasses import replace

from forebay_agent.outbox import NewEpoch, OutboxReader, StreamPut, StreamRecord
from tests.receiving.batches import SCHEMA, chained


def put_of(
    before: StreamRecord, count: int = 1, checkpoint: str = '{"rows":1}', *, text_bytes: int = 8, epochs: int = 0
) -> StreamPut:
    """`count` batches, then for each of `epochs` a new one with `count` batches."""
    record, batches, new = before, [], []
    for number in range(epochs + 1):
        if number:
            new.append(NewEpoch(record.epoch + 1, record.next_seq, record.checkpoint, "log capture", "column retyped"))
            record = record.next_epoch()
        sealed = chained(count, record.name, record.link, text_bytes=text_bytes)
        batches += sealed
        link = record.link.after(sealed[-1]) if sealed else record.link
        record = replace(record, next_seq=link.seq, chain=link.previous_chain, checkpoint=checkpoint)
    return StreamPut(before, record, batches, [SCHEMA], new)


def shown(reader: OutboxReader, record: StreamRecord) -> list[tuple[int, int]]:
    """What the uplink would send, by every way in which it looks."""
    waiting = [(batch.epoch, batch.seq) for batch in reader.waiting(record.id)]
    sent: list[tuple[int, int]] = []
    while (batch := reader.next_batch(record.id, sent[-1] if sent else (0, 0))) is not None:
        sent.append((batch.epoch, batch.seq))
    assert sent == waiting
    assert all(reader.find(record.id, *each) for each in waiting)
    standing, first = reader.standing(record.id)
    assert (first and (first.epoch, first.seq)) == (waiting[0] if waiting else None)
    assert standing == next(each for each in reader.streams() if each.id == record.id)
    assert not waiting or standing.last >= waiting[-1]
    return waiting
