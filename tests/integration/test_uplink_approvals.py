"""What the centre does not approve is not sent: it stays in the outbox, counted and shown, until it is approved or given up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pyarrow as pa

from forebay_agent.approval.approvals import Approvals
from forebay_agent.clock import SystemClock
from forebay_agent.config.model import CollectorConfig, OutboxConfig
from forebay_agent.outbox import Outbox
from forebay_agent.pulse import Pulses
from forebay_agent.stream_state import Board
from forebay_agent.uplink import Uplink
from forebay_wire import canary
from forebay_wire.columns import CHANGE_FIELDS
from forebay_wire.seal import SealedBatch, seal
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2, upload_pb2
from tests.daemon.scripted import Refusal, Script, ScriptedCollector
from tests.receiving.batches import DEPARTMENT, SCHEMA, STREAM, chained

OTHER = StreamName(DEPARTMENT, "登记库", "public.个体户")
WHOLE = {column.name: "" for column in SCHEMA.columns}


def approved(*streams: StreamName, less: str = "", automatic: bool = False) -> control_pb2.Approvals:
    columns = [control_pb2.ApprovedColumn(name=name, mask=mask) for name, mask in WHOLE.items() if name != less]
    return control_pb2.Approvals(
        approvals=[control_pb2.Approval(stream=name.to_proto(), columns=columns) for name in streams],
        automatic=automatic,
    )


class Site:
    def __init__(self, state: Path, collector: ScriptedCollector) -> None:
        collector.enrol(state)
        self.outbox = Outbox.open(state, OutboxConfig(free_disk=0))
        self.board = Board()
        self.approvals = Approvals(state)
        clock = SystemClock()
        settings = CollectorConfig(backoff_first=timedelta(milliseconds=20), backoff_most=timedelta(milliseconds=200))
        self.uplink = Uplink(
            state, settings, self.outbox, self.board, Pulses(clock.monotonic), clock, approvals=self.approvals
        )
        self._thread = threading.Thread(target=self.uplink.run, daemon=True)
        self._thread.start()

    def put(self, count: int, stream: StreamName = STREAM) -> list[SealedBatch]:
        record = self.outbox.stream(stream)
        batches = chained(count, stream, record.link)
        for batch in batches:
            record = self.outbox.put(record, [batch], f'{{"rows":{batch.seq}}}', schema=SCHEMA)
        return batches

    def put_canary(self) -> None:
        record = self.outbox.stream(canary.stream_of(DEPARTMENT, "登记库"))
        columns = [["登记库"], [0], ["read"], ["r"], ["canary:1"], [None], [None]]
        rows = pa.RecordBatch.from_arrays(
            [pa.array(each, field.type) for each, field in zip(columns, canary.SCHEMA.arrow, strict=True)],
            schema=canary.SCHEMA.arrow,
        )
        assert len(columns) == 3 + len(CHANGE_FIELDS)
        batch = seal(record.name, record.link, canary.SCHEMA, rows, captured_at_us=1)
        self.outbox.put(record, [batch], '{"rows":1}', schema=canary.SCHEMA)

    def waiting(self) -> int:
        return self.outbox.state().batches

    def stop(self) -> None:
        self.uplink.stop()
        self._thread.join(20)
        assert not self._thread.is_alive()
        self.outbox.close()


@contextmanager
def site(folder: Path, script: Script) -> Iterator[Site]:
    with ScriptedCollector(folder / "authority", script) as collector:
        opened = Site(folder / "state", collector)
        try:
            yield opened
        finally:
            opened.stop()


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not come to hold"
        time.sleep(0.02)


def code_of(agent: Site, stream: StreamName = STREAM) -> str:
    trouble = agent.board.of(stream).trouble
    return trouble.code if trouble else ""


def test_before_the_centre_has_said_anything_no_row_leaves(tmp_path: Path) -> None:
    script = Script()
    with site(tmp_path, script) as agent:
        agent.put(3)
        until(lambda: code_of(agent) == "FB-NOT-APPROVED")
        time.sleep(0.3)
        assert (script.came, agent.waiting()) == ([], 3)
        assert agent.board.of(STREAM).state == "waiting"
        trouble = agent.board.of(STREAM).trouble
        assert trouble is not None
        assert "forebay-collector approvals" in trouble.remedy
        agent.approvals.take(approved(automatic=True))
        until(lambda: agent.waiting() == 0)
        until(lambda: code_of(agent) == "")


def test_what_was_sealed_with_a_column_that_is_withdrawn_stays_and_other_streams_go_on(tmp_path: Path) -> None:
    script = Script()
    with site(tmp_path, script) as agent:
        agent.approvals.take(approved(STREAM, OTHER))
        agent.put(2)
        until(lambda: agent.waiting() == 0)
        agent.approvals.take(approved(OTHER))
        agent.put(3)
        agent.put(4, OTHER)
        until(lambda: script.seqs(OTHER) == [(1, seq) for seq in range(1, 5)])
        until(lambda: code_of(agent) == "FB-NOT-APPROVED")
        agent.approvals.take(
            control_pb2.Approvals(approvals=[*approved(OTHER).approvals, *approved(STREAM, less="text").approvals])
        )
        until(lambda: "not approved: text" in str(agent.board.of(STREAM).trouble))
        time.sleep(0.3)
        assert script.seqs(STREAM) == [(1, 1), (1, 2)]
        assert agent.waiting() == 3
        agent.approvals.take(approved(STREAM, OTHER))
        until(lambda: agent.waiting() == 0)
        assert script.seqs(STREAM) == [(1, seq) for seq in range(1, 6)]
        until(lambda: code_of(agent) == "")
        assert agent.outbox.stream(STREAM).hold is None


def test_a_column_whose_mask_is_another_than_was_approved_does_not_leave(tmp_path: Path) -> None:
    script = Script()
    with site(tmp_path, script) as agent:
        message = approved(STREAM)
        message.approvals[0].columns[1].mask = "name"
        agent.approvals.take(message)
        agent.put(1)
        until(lambda: code_of(agent) == "FB-NOT-APPROVED")
        time.sleep(0.3)
        assert script.came == []


def test_a_reset_gives_up_what_may_not_leave_counts_it_and_goes_on_from_the_collectors_mark(tmp_path: Path) -> None:
    script = Script()
    with site(tmp_path, script) as agent:
        agent.approvals.take(approved(STREAM))
        first = agent.put(2)
        until(lambda: agent.waiting() == 0)
        agent.approvals.take(control_pb2.Approvals())
        agent.put(3)
        until(lambda: agent.outbox.stream(STREAM).hold is not None)
        record = agent.outbox.reset(STREAM, who="ops", why="it stays withdrawn")
        assert (record.epoch, record.chain) == (2, first[-1].chain)
        with closing(agent.outbox.reader()) as reader:
            assert [each.abandoned_batches for each in reader.resets()] == [3]
        agent.approvals.take(approved(STREAM))
        agent.put(1)
        until(lambda: agent.waiting() == 0)
        assert script.seqs(STREAM) == [(1, 1), (1, 2), (2, 1)]


def test_a_reset_gives_up_what_may_not_leave_where_the_collector_has_nothing_yet(tmp_path: Path) -> None:
    script = Script()
    with site(tmp_path, script) as agent:
        agent.put(3)
        until(lambda: agent.outbox.stream(STREAM).hold is not None)
        agent.outbox.reset(STREAM, who="ops", why="it stays withdrawn")
        agent.approvals.take(approved(STREAM))
        agent.put(1)
        until(lambda: script.seqs(STREAM) == [(2, 1)])


def test_the_canary_needs_no_approval(tmp_path: Path) -> None:
    script = Script()
    with site(tmp_path, script) as agent:
        agent.put(1)
        agent.put_canary()
        until(lambda: script.seqs(canary.stream_of(DEPARTMENT, "登记库")) == [(1, 1)])
        assert agent.waiting() == 1


def test_what_the_collector_does_not_approve_is_tried_again_shown_and_never_dropped(tmp_path: Path) -> None:
    refusals = [4]

    def refuse(batch: SealedBatch) -> Refusal | None:
        if batch.stream == STREAM and batch.seq == 2 and refusals[0]:
            refusals[0] -= 1
            return upload_pb2.REFUSAL_CODE_NOT_APPROVED, "column text is not approved"
        return None

    script = Script(refuse)
    with site(tmp_path, script) as agent:
        agent.approvals.take(approved(automatic=True))
        agent.put(5)
        until(lambda: code_of(agent) == "FB-NOT-APPROVED")
        assert agent.board.of(STREAM).state == "waiting"
        assert "column text is not approved" in str(agent.board.of(STREAM).trouble)
        agent.put(2, OTHER)
        until(lambda: len(script.seqs(OTHER)) == 2)
        until(lambda: agent.waiting() == 0, 40)
        assert refusals == [0]
        assert script.seqs(STREAM) == [(1, seq) for seq in range(1, 6)]
        assert script.connections == 1
        until(lambda: code_of(agent) == "")
