"""Whether everything that was acknowledged is there: the ledger's record, the archive's bytes, the chain over all of them.

What an agent was told is durable is looked for, batch by batch, by the chain digest that the acknowledgement carried: it is
over header, payload and every batch before. The archive reads each whole and checks its digests. What else is in the ledger
and was never sent is found too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from forebay_collector.archive import Archive
from forebay_collector.errors import CollectorError
from forebay_collector.ledger import Ledger
from forebay_wire.digest import GENESIS
from forebay_wire.stream import StreamName

Acked = tuple[str, int, int, str]
"""stream, epoch, seq, chain in hexadecimal"""


@dataclass(frozen=True, slots=True)
class Judgement:
    """lost: in words. loaded: acknowledged batches that the platform holds, as the ledger has it."""

    acked: int
    lost: list[str]
    loaded: int


def judge(ledger: Ledger, archive: Archive, acked: Iterable[Acked], sent: Mapping[str, int]) -> Judgement:
    """sent: the last seq that was sent of each stream. Raises the ledger's errors."""
    lost: list[str] = []
    count = loaded = 0
    marks = {str(record.name): record for record in ledger.streams.listing()}
    chains: dict[str, bytes] = {}
    for name, epoch, seq, chain in sorted(acked):
        count += 1
        stream = StreamName.parse(name)
        mark = marks.get(name)
        where = f"{name} {epoch}/{seq}"
        if mark is None or (mark.epoch, mark.durable_seq) < (epoch, seq):
            lost.append(f"{where}: acknowledged as durable, beyond the ledger's mark")
            continue
        loaded += mark.loaded >= (epoch, seq)
        header = ledger.batches.header(stream, epoch, seq)
        try:
            batch = archive.read(stream, epoch, seq)
        except CollectorError as error:
            lost.append(f"{where}: {error}")
            continue
        if header != batch.header or batch.chain.hex() != chain:
            lost.append(f"{where}: ledger, archive and acknowledgement differ")
        elif batch.fields.previous_chain != chains.get(name, GENESIS):
            lost.append(f"{where}: was not sealed after the batch acknowledged before it")
        chains[name] = batch.chain
    for name, mark in marks.items():
        if mark.durable_seq > sent.get(name, 0):
            lost.append(f"{name}: the ledger holds up to {mark.durable_seq}; sent was up to {sent.get(name, 0)}")
    return Judgement(count, lost, loaded)
