"""A process that puts, sends and deletes until it is killed: `python -m tests.daemon.sealing_process STATE CENTRE`.

What the collector holds is the file CENTRE: one durable line per batch sent, `epoch seq chain`.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path

from forebay_agent.config.model import OutboxConfig
from forebay_agent.outbox import Outbox
from tests.receiving.batches import SCHEMA, STREAM, chained


def main(state: Path, centre: Path) -> None:
    with closing(Outbox.open(state, OutboxConfig(free_disk=0))) as outbox, centre.open("a") as held:
        record = outbox.stream(STREAM)
        while True:
            batches = chained(1 + record.next_seq % 3, link=record.link, text_bytes=200 * (record.next_seq % 60))
            record = outbox.put(record, batches, f'{{"rows":{batches[-1].seq}}}', schema=SCHEMA)
            sys.stdout.write(f"{record.next_seq - 1}\n")
            sys.stdout.flush()
            if record.next_seq % 2:
                continue
            with closing(outbox.reader()) as reader:
                waiting = reader.waiting(record.id)
            for batch in waiting:
                held.write(f"{batch.epoch} {batch.seq} {batch.chain.hex()}\n")
            held.flush()
            os.fsync(held.fileno())
            outbox.delete({record.id: (waiting[-1].epoch, waiting[-1].seq)})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
