"""How much of each stream is durable and not loaded yet, and since when."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import case, func, literal_column, select

from forebay_collector.ledger import Ledger, tables


@dataclass(frozen=True, slots=True)
class Backlog:
    """batches, rows: durable or quarantined. Times in microseconds, 0 where there is none: of the oldest change that
    waits, of the newest change received; the source's commit time where it says one, else the time of capture."""

    batches: int = 0
    rows: int = 0
    oldest_us: int = 0
    newest_us: int = 0


def backlogs(ledger: Ledger, of_stream: int | None = None, *, newest_too: bool = True) -> dict[int, Backlog]:
    """By the stream's id, of one stream only where it is given. Reads the batches that wait and each stream's newest,
    not the whole ledger; without `newest_too` just the batches that wait."""
    batch, stream = tables.batch.c, tables.stream.c
    began = case((batch.first_committed_at > 0, batch.first_committed_at), else_=batch.captured_at)
    ended = case((batch.last_committed_at > 0, batch.last_committed_at), else_=batch.captured_at)
    found: dict[int, Backlog] = {}
    with ledger.database.read() as connection:
        newest = select(stream.id, ended).join(
            tables.batch,
            (batch.stream_id == stream.id) & (batch.epoch == stream.epoch) & (batch.seq == stream.durable_seq),
        )
        if of_stream is not None:
            newest = newest.where(stream.id == of_stream)
        for stream_id, newest_us in connection.execute(newest).all() if newest_too else ():
            found[stream_id] = Backlog(newest_us=newest_us)
        for state in ("'durable'", "'quarantined'"):
            waiting = (
                select(batch.stream_id, func.count(), func.sum(batch.row_count), func.min(began))
                .where(batch.state == literal_column(state))
                .group_by(batch.stream_id)
            )
            if of_stream is not None:
                waiting = waiting.where(batch.stream_id == of_stream)
            for stream_id, batches, rows, oldest_us in connection.execute(waiting).all():
                before = found.get(stream_id, Backlog())
                oldest = min(filter(None, (before.oldest_us, oldest_us)), default=0)
                found[stream_id] = Backlog(before.batches + batches, before.rows + rows, oldest, before.newest_us)
    return found
