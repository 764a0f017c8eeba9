"""Rebuild: an old ledger is brought up to what archive and platform hold.

    schemas and dictionaries   from the archive's log of them
    batches                    archived behind the ledger's durable mark, as long as each continues the chain of the one before
    what is loaded             by the platform's marks
    what was given up          batches below the platform's mark of which its history has no row

What is not rebuilt is decided again by people: accounts, approvals, offers, revocations and alerts since the backup.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from forebay_collector.archive import Archive
from forebay_collector.archive.schemas import Kept, SchemaLog
from forebay_collector.errors import ArchiveDamaged, ArchiveMissing
from forebay_collector.ledger import Arrival, BatchState, Ledger, StreamRecord, batch_rows
from forebay_collector.ledger.batches import attaches
from forebay_collector.ledger.schemas import NewSchema
from forebay_collector.platform.contract import Platform
from forebay_wire.errors import WireError
from forebay_wire.schema import TableSchema
from forebay_wire.stream import StreamName

WHO: Final = "restore"
GIVEN_UP: Final = "FB-RESTORED-GAP"
_WHY: Final = "the platform's history has no row of it: it was given up before the ledger was restored"
_WENT_IN: Final = "the platform holds it: it was replayed before the ledger was restored"
_AT_ONCE: Final = 500
_AT_ONCE_BYTES: Final = 64 << 20
At = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """One stream. recorded: batches that the ledger lacked. given_up: that a person had discarded. stopped: why batches that
    are archived were not taken, empty when all were. lost: up to where the platform holds it, beyond what is archived; None:
    nothing is beyond."""

    stream: StreamName
    recorded: int
    given_up: int
    stopped: str = ""
    lost: At | None = None

    @property
    def changed(self) -> bool:
        return bool(self.recorded or self.given_up or self.stopped or self.lost)


def rebuild(
    ledger: Ledger,
    archive: Archive,
    schemas: SchemaLog,
    platform: Platform,
    say: Callable[[str], None] = lambda _: None,
) -> list[Rebuilt]:
    """By stream. May be called again. Raises LedgerUnavailable, LedgerDamaged, ArchiveUnavailable, PlatformError."""
    agents = {one.department: one.name for one in ledger.agents.listing()}
    say("schemas")
    _keep_schemas(ledger, [*schemas.read()], agents)
    names = {record.name for record in ledger.streams.listing()} | {*archive.streams()}
    found = []
    for number, name in enumerate(sorted(names, key=str), start=1):
        say(f"stream {number} of {len(names)}: {name}")
        agent = agents.get(name.department, "")
        recorded, stopped = _record(ledger, archive, name, agent)
        given_up, lost = _settle(ledger, platform, name)
        found.append(Rebuilt(name, recorded, given_up, stopped, lost))
    return found


def _keep_schemas(ledger: Ledger, kept: list[Kept], agents: dict[str, str]) -> None:
    new = []
    for one in kept:
        agent = agents.get(one.stream.department, "")
        if isinstance(one.key, str):
            ledger.schemas.put_dictionary(one.stream, one.key, one.content, agent=agent)
            continue
        try:
            TableSchema.parse(one.content, one.key)
        except WireError:
            continue  # it opens nothing
        new.append(NewSchema(one.stream, one.key, one.content, agent))
    for first in range(0, len(new), _AT_ONCE):
        ledger.schemas.put_schemas(new[first : first + _AT_ONCE])


def _record(ledger: Ledger, archive: Archive, name: StreamName, agent: str) -> tuple[int, str]:
    """Records what is archived behind the durable mark; -> how many batches, and why not all."""
    mark = ledger.streams.get(name) or StreamRecord(0, name, agent)
    group: list[Arrival] = []
    recorded, size, stopped = 0, 0, ""
    for epoch, seq in archive.batches(name):
        if (epoch, seq) <= mark.durable:
            continue
        try:
            batch = archive.read(name, epoch, seq)
        except (ArchiveDamaged, ArchiveMissing) as error:
            stopped = str(error)
            break
        if not attaches(mark, epoch, seq, batch.fields.previous_chain):
            stopped = f"{name} {epoch}/{seq} is archived and does not continue {mark.epoch}/{mark.durable_seq}"
            break
        mark = replace(mark, epoch=epoch, durable_seq=seq, durable_chain=batch.chain)
        group.append(Arrival(mark.agent, name, batch))
        size += batch.size
        recorded += 1
        if len(group) == _AT_ONCE or size > _AT_ONCE_BYTES:
            ledger.batches.receive(group)
            group, size = [], 0
    ledger.batches.receive(group)
    return recorded, stopped


def _settle(ledger: Ledger, platform: Platform, name: StreamName) -> tuple[int, At | None]:
    """Marks as loaded what the platform holds; -> how many of it were given up, and what is lost."""
    held = platform.mark(name)
    at = (held.epoch, held.seq)
    record = ledger.streams.get(name)
    if record is None:
        return 0, None
    lost = at if at > record.durable else None
    through = min(at, record.durable)
    if through <= record.loaded:
        return 0, lost
    with ledger.database.read() as connection:
        rows = batch_rows.page(connection, record.id, (record.loaded[0], record.loaded[1] + 1), last=through)
    there = _there(platform, name, record.loaded, through)
    given_up, before = 0, record.loaded
    for row in rows:
        place = (row["epoch"], row["seq"])
        if row["row_count"] and place not in there:
            ledger.batches.mark_loaded(name, *before)
            if row["state"] == BatchState.DURABLE:
                ledger.quarantine.put(name, *place, GIVEN_UP, _WHY, who=WHO)
            ledger.quarantine.discard(name, who=WHO, why=_WHY)
            given_up += 1
        elif row["state"] == BatchState.QUARANTINED:
            ledger.quarantine.release(name, who=WHO, why=_WENT_IN)
        before = place
    ledger.batches.mark_loaded(name, *through)
    return given_up, lost


def _there(platform: Platform, name: StreamName, after: At, through: At) -> set[At]:
    """Which batches the history has rows of."""
    history = next(one for one in platform.tables() if one.stream == name and one.kind == "changes")
    quoted = '"' + history.name.replace('"', '""') + '"'
    query = (
        f"SELECT DISTINCT _epoch, _seq FROM {quoted} "
        f"WHERE (_epoch > {after[0]:d} OR (_epoch = {after[0]:d} AND _seq > {after[1]:d})) "
        f"AND (_epoch < {through[0]:d} OR (_epoch = {through[0]:d} AND _seq <= {through[1]:d}))"
    )
    return {(row["_epoch"], row["_seq"]) for row in platform.sql(query).read_all().to_pylist()}
