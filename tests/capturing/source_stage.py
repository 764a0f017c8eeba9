"""One source's worker over a real database, stepped by the test, with approvals as the centre would send them.

What comes out is what the outbox holds: rows, and the mirror that a platform would fold of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from forebay_agent.approval.approvals import Approvals
from forebay_agent.approval.proposals import Proposal, Proposals
from forebay_agent.clock import SystemClock
from forebay_agent.config.model import CanaryConfig, OutboxConfig, TableConfig
from forebay_agent.outbox import Outbox
from forebay_agent.pulse import Pulses
from forebay_agent.source_worker import SourceWorker
from forebay_agent.stream_state import Board, StreamState
from forebay_wire.schema import TableSchema
from forebay_wire.seal import SealedBatch, open_batch
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2
from tests.contract.harness import SourceHarness

DEPARTMENT = "市监局"
OFF = CanaryConfig("off")


class SourceStage:
    """state outlives a restart. paused: why a stream is, in words."""

    def __init__(
        self, harness: SourceHarness, state: Path, *tables: TableConfig, canary: CanaryConfig = OFF, **config: object
    ) -> None:
        self.harness = harness
        self.state = state
        self.tables = tables
        self.config = {"poll_interval": timedelta(milliseconds=10), "linger": timedelta(0), "canary": canary, **config}
        self.paused: Callable[[StreamName], str] = lambda _: ""
        state.mkdir(exist_ok=True)
        self.start()

    def start(self) -> None:
        self.outbox = Outbox.open(self.state, OutboxConfig(free_disk=0))
        self.board = Board()
        self.approvals = Approvals(self.state)
        self.proposals = Proposals()
        clock = SystemClock()
        config = self.harness.config(tables=self.tables, **self.config)
        self.worker = SourceWorker(
            config,
            DEPARTMENT,
            self.outbox,
            self.board,
            Pulses(clock.monotonic),
            clock,
            approvals=self.approvals,
            proposals=self.proposals,
            paused=lambda name: self.paused(name),
        )

    def stop(self) -> None:
        self.worker.stop()
        self.worker.run()  # ends at once, and closes what is open
        self.outbox.close()

    def restart(self, *tables: TableConfig) -> None:
        """As after an end of the process; tables: as they are configured from here on."""
        self.stop()
        self.tables = tables or self.tables
        self.start()

    def stream(self, table: str) -> StreamName:
        return StreamName(DEPARTMENT, "source", table)

    def approve_all(self) -> None:
        """The centre approves whatever is proposed."""
        self.approvals.take(control_pb2.Approvals(automatic=True))

    def approve(self, **streams: Mapping[str, str] | Sequence[str]) -> None:
        """What the centre says: per table (`public.t` as `public_t`) the columns that may leave, with their masks."""
        names = {table.name.replace(".", "_"): table.name for table in self.tables}
        self.approvals.take(
            control_pb2.Approvals(
                approvals=[
                    control_pb2.Approval(
                        stream=self.stream(names[name]).to_proto(),
                        columns=[
                            control_pb2.ApprovedColumn(name=column, mask=mask)
                            for column, mask in (
                                columns.items() if isinstance(columns, Mapping) else ((each, "") for each in columns)
                            )
                        ],
                    )
                    for name, columns in streams.items()
                ],
            )
        )

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            self.worker.step()

    def until(self, holds: Callable[[], bool], seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, f"did not come to hold: {self.board.all()}"
            self.worker.step()

    def rest(self, seconds: float = 0.6) -> None:
        """Goes on for so long: nothing that must not happen happens."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.worker.step()
            time.sleep(0.01)

    def state_of(self, table: str) -> StreamState:
        return self.board.of(self.stream(table))

    def code_of(self, table: str) -> str:
        trouble = self.state_of(table).trouble
        return trouble.code if trouble else ""

    def proposal(self, table: str) -> Proposal:
        found = self.proposals.of(self.stream(table))
        assert found is not None
        return found

    def batches(self, table: str) -> list[tuple[SealedBatch, TableSchema]]:
        """All that the outbox shows of a stream, with what opens it."""
        number = self.outbox.stream(self.stream(table)).id
        found: list[tuple[SealedBatch, TableSchema]] = []
        with closing(self.outbox.reader()) as reader:
            after = (0, 0)
            while (batch := reader.next_batch(number, after)) is not None:
                after = (batch.epoch, batch.seq)
                fingerprint = batch.fields.schema_fingerprint
                serialized = reader.schema(fingerprint)
                assert serialized is not None
                found.append((batch, TableSchema.parse(serialized, fingerprint)))
        return found

    def rows(self, table: str) -> list[dict[str, Any]]:
        return [row for batch, schema in self.batches(table) for row in open_batch(batch, schema).to_pylist()]

    def columns_sealed(self, table: str) -> list[set[str]]:
        """Of each batch, the table's own columns."""
        return [{column.name for column in schema.columns} for _, schema in self.batches(table)]

    def mirror(self, table: str, key: str = "id") -> dict[Any, dict[str, Any]]:
        """The table as a platform shows it: the last image of each key of the newest epoch, whether its snapshot named it or
        a change that was told of before, beside or after it."""
        images: dict[Any, dict[str, Any]] = {}
        epoch = 0
        for batch, schema in self.batches(table):
            if batch.epoch != epoch:
                images, epoch = {}, batch.epoch
            for row in open_batch(batch, schema).to_pylist():
                image = {name: value for name, value in row.items() if not name.startswith("_")}
                if row["_op"] == "d":
                    images.pop(row[key], None)
                else:
                    before = images.get(row[key], {})
                    images[row[key]] = image | {name: before.get(name) for name in row["_absent"] or ()}
        return images

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def drop_slots(harness: SourceHarness, seconds: float = 20) -> None:
    """A PostgreSQL database with replication slots cannot be dropped, nor can a slot before the server has seen its reader end."""
    deadline = time.monotonic() + seconds
    of_database = "FROM pg_replication_slots WHERE database = current_database()"
    while harness.rows(f"SELECT 1 {of_database}"):
        assert time.monotonic() < deadline, "a slot stays in use"
        harness.rows(f"SELECT pg_drop_replication_slot(slot_name) {of_database} AND NOT active")
