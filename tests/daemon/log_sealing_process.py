"""A process that captures a made-up log until it is killed: `python -m tests.daemon.log_sealing_process STATE CENTRE`.

Transaction n is the same whoever captures it: `transaction(n)`. Beside it a thread sends what is visible, as the uplink
does: one durable line per batch in the file CENTRE, `stream epoch seq chain`, then the batches are deleted.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from forebay_agent.config.model import OutboxConfig
from forebay_agent.outbox import LogRecord, Outbox
from forebay_wire.stream import StreamName
from tests.daemon.log_puts import put_of
from tests.receiving.batches import STREAM

NAMES: Final = [StreamName(STREAM.department, STREAM.source, f"public.t{number}") for number in range(3)]
WHERE: Final = (STREAM.department, STREAM.source)

Piece = Sequence[tuple[int, int, int]]
"""(index of the stream, batches per epoch, new epochs)"""


def transaction(number: int) -> list[Piece]:
    """The pieces in which transaction `number` is read; all but the last are open."""
    draw = random.Random(number)
    return [
        [
            (stream, draw.choice([0, 1, 1, 2, 5]), int(draw.random() < 0.05))
            for stream in draw.sample(range(len(NAMES)), draw.randint(0, len(NAMES)))
        ]
        for _ in range(draw.choice([1, 1, 2, 3, 6]))
    ]


def main(state: Path, centre: Path) -> None:
    with closing(Outbox.open(state, OutboxConfig(free_disk=0))) as outbox:
        outbox.discard_open(*WHERE)
        records = [outbox.stream(name) for name in NAMES]
        threading.Thread(target=_send, args=(outbox, centre), daemon=True).start()
        log = outbox.log(*WHERE)
        number = int(log.checkpoint) if log else 0
        while True:
            number += 1
            pieces = transaction(number)
            for place, piece in enumerate(pieces, start=1):
                puts = [
                    put_of(
                        records[stream], count, f'{{"rows":{number}}}', text_bytes=200 * (number % 60), epochs=epochs
                    )
                    for stream, count, epochs in piece
                ]
                now = LogRecord(str(number), frozenset(name.table for name in NAMES))
                outbox.put_log(*WHERE, puts, now, open=place < len(pieces))
                for (stream, _, _), put in zip(piece, puts, strict=True):
                    records[stream] = put.after
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()


def _send(outbox: Outbox, centre: Path) -> None:
    with closing(outbox.reader()) as reader, centre.open("a") as held:
        while True:
            durable = {}
            for record in reader.streams():
                for batch in reader.waiting(record.id, limit=3):
                    sent = reader.next_batch(record.id, (batch.epoch, batch.seq - 1))
                    assert sent is not None
                    held.write(f"{NAMES.index(sent.stream)} {sent.epoch} {sent.seq} {sent.chain.hex()}\n")
                    durable[record.id] = (sent.epoch, sent.seq)
            held.flush()
            os.fsync(held.fileno())
            outbox.delete(durable)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
